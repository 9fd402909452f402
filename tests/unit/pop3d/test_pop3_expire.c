/* EXPIRE: what may not stay behind once it was retrieved, and what CAPA promises. */
#include "tests/unit/pop3d/retrieved_test.h"

#define REMOVED "+OK removed, goodbye\r\n"

/* --- EXPIRE 0 -------------------------------------------------------------- */

START_TEST(nothing_stays_behind_quit)
{
	struct drive d;

	keep("0");
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nRETR 3\r\nDELE 3\r\n");
	drive_forget(&d);
	/* It is there until then (RFC 1939 5). */
	drive_say(&d, "STAT\r\nRSET\r\nQUIT\r\n");
	ck_assert_ptr_nonnull(strstr(d.said.buf, "+OK 2 "));
	ck_assert_str_eq(d.said.buf + d.said.len - strlen(REMOVED), REMOVED);
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	ck_assert_uint_eq(d.session->removed, 2);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 1);
	ck_assert_int_eq(number("SELECT count(*) FROM removal WHERE cause = 1"), 2);

	/* What the client has marked itself is its own removal. */
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nDELE 1\r\nQUIT\r\n");
	ck_assert_uint_eq(d.session->removed, 1);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_int_eq(number("SELECT count(*) FROM removal WHERE cause = 0"), 1);
}
END_TEST

START_TEST(everything_stays_without_quit)
{
	struct drive d;

	keep("0");
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nRETR 2\r\n");
	drive_free(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, JOE), 3);
	ck_assert_int_eq(noted(), 0);
	/* A session that has read nothing removes nothing. */
	drive_login(&d, &site);
	drive_say(&d, "QUIT\r\n");
	ck_assert_str_eq(d.said.buf, GOODBYE);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 3);
}
END_TEST

/* QUIT that was pipelined ahead of mail: what the client reads to the end goes, and what it did not
 * read stays. */
START_TEST(quit_ahead_of_the_mail)
{
	struct drive d;

	keep("0");
	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\nQUIT\r\n");
	ck_assert_int_eq(d.want, SESSION_ACKED);
	take(&d, d.out.pending - 1);
	d.link.peer_gone = true;
	outq_release(&d.out);
	drive_input(&d);
	ck_assert(d.want == SESSION_CLOSE || d.want == SESSION_DROP);
	drive_free(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, JOE), 3);

	/* The first one was sent, the second was not: it said QUIT before it had either. */
	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\nRETR 2\r\nQUIT\r\n");
	take(&d, d.out.pending / 2);
	d.link.peer_gone = true;
	outq_release(&d.out);
	drive_input(&d);
	ck_assert_int_eq(d.want, SESSION_DROP);
	drive_free(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, JOE), 3);
	ck_assert_int_eq(noted(), 0);

	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf + d.said.len - strlen(REMOVED), REMOVED);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 2);
}
END_TEST

/* Nor does what has left for the socket, when nobody is there any more to acknowledge it; what the
 * client itself has marked goes. */
START_TEST(gone_before_it_was_acknowledged)
{
	struct drive d;

	keep("0");
	for (int marked = 0; marked < 2; marked++) {
		drive_login(&d, &site);
		drive_say(&d, marked ? "RETR 1\r\nRETR 2\r\nDELE 2\r\n" : "RETR 1\r\n");
		d.holding = true;
		drive_say(&d, "QUIT\r\n");
		ck_assert_int_eq(d.want, SESSION_ACKED);
		d.link.peer_gone = true;
		drive_input(&d);
		drive_free(&d, SESSION_END_PEER);
		ck_assert_uint_eq(site_count(&site, JOE), marked ? 2 : 3);
		ck_assert_int_eq(noted(), 0);
	}
}
END_TEST

/* ... and of what may stay each is noted that was sent whole, with marks or without. */
START_TEST(quit_ahead_of_mail_that_may_stay)
{
	struct drive d;

	for (int marked = 0; marked < 2; marked++) {
		sql("UPDATE entry SET retrieved_s = NULL");
		drive_login(&d, &site);
		d.holding = true;
		drive_say(&d, marked ? "RETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n"
				     : "RETR 1\r\nRETR 2\r\nQUIT\r\n");
		ck_assert_int_eq(d.want, SESSION_ACKED);
		take(&d, d.out.pending * 2 / 3);
		d.link.peer_gone = true;
		outq_release(&d.out);
		drive_input(&d);
		drive_free(&d, SESSION_END_PEER);
		ck_assert_int_eq(noted(), 1);
		ck_assert_uint_eq(site_count(&site, JOE), 3);
	}
}
END_TEST

/* --- what CAPA says -------------------------------------------------------- */

/* The line of CAPA that begins with `tag`; "" when there is none.  Static text. */
static const char *
capa(struct drive *d, const char *tag)
{
	static char line[100];
	const char *found;
	char begin[32];

	snprintf(begin, sizeof(begin), "\r\n%s ", tag);
	drive_forget(d);
	drive_say(d, "CAPA\r\n");
	found = strstr(d->said.buf, begin);
	if (found == NULL)
		return "";
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(found + 2, "\r\n"), found + 2);
	return line;
}

/* Rows: settings of joe, of all others, and what CAPA says before and after joe's login. */
static const struct {
	const char *joe, *others, *before, *after;
} expires[] = {
	{ "expire_s = NULL", "expire_s = NULL", "EXPIRE NEVER", "EXPIRE NEVER" },
	{ "expire_s = 30 * 86400", "expire_s = 30 * 86400", "EXPIRE 30", "EXPIRE 30" },
	{ "expire_s = 31 * 86400 - 1", "expire_s = 30 * 86400", "EXPIRE 30", "EXPIRE 30" },
	{ "expire_s = 30 * 86400", "expire_s = NULL", "EXPIRE 30 USER", "EXPIRE 30" },
	{ "expire_s = NULL", "expire_s = 7 * 86400", "EXPIRE 7 USER", "EXPIRE NEVER" },
	{ "expire_s = 30 * 86400, expire_retrieved_s = 0", "expire_s = 7 * 86400", "EXPIRE 0 USER",
	    "EXPIRE 0" },
};

START_TEST(expire_says)
{
	char text[300];
	struct drive d;

	snprintf(text, sizeof(text),
	    "UPDATE mailbox SET %s WHERE folded = 'joe'; UPDATE mailbox SET %s WHERE folded <> 'joe'",
	    expires[_i].joe, expires[_i].others);
	sql(text);
	drive_start(&d, &site);
	ck_assert_str_eq(capa(&d, "EXPIRE"), expires[_i].before);
	drive_say(&d, "USER joe\r\nPASS secret\r\n");
	ck_assert_str_eq(capa(&d, "EXPIRE"), expires[_i].after);
	/* A promise, to this session: what changes is true for the next. */
	sql("UPDATE mailbox SET expire_s = 86400, expire_retrieved_s = NULL");
	ck_assert_str_eq(capa(&d, "EXPIRE"), expires[_i].after);
	drive_free(&d, SESSION_END_PEER);
	drive_start(&d, &site);
	ck_assert_str_eq(capa(&d, "EXPIRE"), "EXPIRE 1");
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* What lies there under an older, shorter limit counts. */
START_TEST(expire_of_what_lies_there)
{
	struct drive d;

	sql("UPDATE mailbox SET expire_s = 365 * 86400;"
	    "UPDATE entry SET expires_day = received_ms / 86400000 + 8"
	    " WHERE message = (SELECT min(message) FROM entry)");
	drive_start(&d, &site);
	ck_assert_str_eq(capa(&d, "EXPIRE"), "EXPIRE 365");
	drive_say(&d, "USER joe\r\nPASS secret\r\n");
	ck_assert_str_eq(capa(&d, "EXPIRE"), "EXPIRE 7");
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* A promise that cannot be looked up is not made; all else is said. */
START_TEST(expire_is_no_guess)
{
	struct drive d;

	sql("ALTER TABLE mailbox RENAME TO elsewhere");
	drive_start(&d, &site);
	ck_assert_str_eq(capa(&d, "EXPIRE"), "");
	ck_assert_str_eq(capa(&d, "SASL"), "SASL PLAIN LOGIN");
	ck_assert_ptr_null(strstr(d.said.buf, "EXPIRE"));
	ck_assert_str_eq(d.said.buf + d.said.len - 5, "\r\n.\r\n");
	drive_free(&d, SESSION_END_PEER);
	sql("ALTER TABLE elsewhere RENAME TO mailbox");
}
END_TEST

/* Thousands of CAPA that each ask the index give way to the others of the loop. */
START_TEST(capa_gives_way)
{
	const unsigned commands = 2000;
	struct strbuf all;
	struct drive d;
	size_t each;

	strbuf_init(&all, SIZE_MAX);
	for (unsigned i = 0; i < commands; i++)
		strbuf_addstr(&all, "CAPA\r\n");
	drive_start(&d, &site);
	drive_say(&d, "CAPA\r\n");
	each = d.said.len;
	drive_forget(&d);
	drive_say(&d, all.buf);
	ck_assert_uint_ge(d.waits, commands / (POP3_LOOKS_MAX / POP3_LOOKS_CAPA) - 1);
	ck_assert_uint_eq(d.said.len, commands * each);
	drive_free(&d, SESSION_END_PEER);
	strbuf_release(&all);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_expire");
	TCase *tc = tcase_create("retrieved");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_test(tc, nothing_stays_behind_quit);
	tcase_add_test(tc, everything_stays_without_quit);
	tcase_add_test(tc, quit_ahead_of_the_mail);
	tcase_add_test(tc, gone_before_it_was_acknowledged);
	tcase_add_test(tc, quit_ahead_of_mail_that_may_stay);
	tcase_add_loop_test(tc, expire_says, 0, sizeof(expires) / sizeof(expires[0]));
	tcase_add_test(tc, expire_of_what_lies_there);
	tcase_add_test(tc, expire_is_no_guess);
	tcase_add_test(tc, capa_gives_way);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
