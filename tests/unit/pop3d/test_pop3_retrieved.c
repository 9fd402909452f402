/* What RETR has sent whole: when it is noted, what may not stay behind, and what EXPIRE says. */
#include <check.h>
#include <sqlite3.h>

#include "tests/unit/pop3d/drive.h"

#define JOE "joe@example.test"
#define MESSAGE "Subject: x\r\n\r\ntext\r\n"
#define GOODBYE "+OK goodbye\r\n"
#define REMOVED "+OK removed, goodbye\r\n"
#define DAY 86400

static struct site site;

/* A stranger's connection to the index: settings, and what is in it. */
static sqlite3 *
open_index(void)
{
	char path[400];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/index/index.db", site.spool_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	return db;
}

static void
sql(const char *text)
{
	sqlite3 *db = open_index();
	char *error = NULL;

	ck_assert_msg(
	    sqlite3_exec(db, text, NULL, NULL, &error) == SQLITE_OK, "%s: %s", text, error);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* The first column of the first row; -1 for NULL and for none. */
static int64_t
number(const char *text)
{
	sqlite3 *db = open_index();
	sqlite3_stmt *stmt;
	int64_t n = -1;

	ck_assert_int_eq(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	return n;
}

static void
open_site(void)
{
	site_open(&site, false);
	site_deliver(&site, JOE, MESSAGE, strlen(MESSAGE), 3);
}

static void
close_site(void)
{
	site_close(&site);
}

/* From now on the limit from the first retrieval on, for what lies there too; SQL. */
static void
keep(const char *seconds)
{
	char text[300];

	snprintf(text, sizeof(text),
	    "UPDATE mailbox SET expire_retrieved_s = %s WHERE folded = 'joe';"
	    "UPDATE entry SET keep_retrieved_s = %s",
	    seconds, seconds);
	sql(text);
}

static int64_t
noted(void)
{
	return number("SELECT count(*) FROM entry WHERE retrieved_s IS NOT NULL");
}

/* --- noting ---------------------------------------------------------------- */

START_TEST(noted_at_quit)
{
	struct drive d;

	keep("2 * 86400");
	drive_login(&d, &site);
	drive_say(&d, "RETR 2\r\nRETR 2\r\n");
	ck_assert_int_eq(noted(), 0);
	drive_forget(&d);
	drive_say(&d, "QUIT\r\n");
	ck_assert_str_eq(d.said.buf, GOODBYE);
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	ck_assert_uint_eq(d.session->removed, 0);
	/* When the reply can be read, it is done, and the lock is free. */
	ck_assert_ptr_null(d.session->maildrop);
	ck_assert_int_eq(noted(), 1);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_int_eq(number("SELECT count(*) FROM entry WHERE retrieved_expires_day ="
				" (retrieved_s + 2 * 86400 + 86399) / 86400"), 1);
	ck_assert_int_eq(
	    number("SELECT abs(retrieved_s - strftime('%s', 'now')) < 600 FROM entry"
		   " WHERE retrieved_s IS NOT NULL"), 1);
}
END_TEST

/* Sessions that read nothing new write nothing, and end without waiting. */
START_TEST(nothing_new)
{
	struct maildrop *md;
	struct drive d;
	uint64_t mailbox;
	unsigned waits;

	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nQUIT\r\n");
	drive_free(&d, SESSION_END_SELF);
	ck_assert_int_eq(noted(), 1);
	/* Without a job the lock is free at once. */
	mailbox = site_find(&site, JOE).mailbox;
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	outq_release(&d.out);
	pop3_session_ops.free(d.session, SESSION_END_PEER);
	ck_assert_int_eq(maildrop_lock(site.pop3d.spool, mailbox, "test", &md), SPOOL_OK);
	maildrop_close(&md);
	strbuf_release(&d.said);
	free(d.pending);

	for (int quit = 0; quit < 2; quit++) {
		drive_login(&d, &site);
		drive_say(&d, "RETR 1\r\n");
		drive_say(&d, "TOP 2 100\r\n");
		waits = d.waits;
		if (quit) {
			drive_say(&d, "QUIT\r\n");
			ck_assert_uint_eq(d.waits, waits);
		}
		drive_free(&d, SESSION_END_PEER);
	}
	ck_assert_int_eq(noted(), 1);
}
END_TEST

/* Whatever ends a session, what was sent whole is noted, and nothing that was marked goes. */
START_TEST(noted_at_every_end)
{
	static const enum session_end ends[] = { SESSION_END_PEER, SESSION_END_TIMEOUT,
		SESSION_END_SHUTDOWN, SESSION_END_ERROR };
	struct drive d;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		sql("UPDATE entry SET retrieved_s = NULL");
		drive_login(&d, &site);
		drive_say(&d, "RETR 1\r\nRETR 3\r\nDELE 3\r\nDELE 2\r\n");
		if (ends[i] == SESSION_END_TIMEOUT)
			ck_assert_int_eq(pop3_session_ops.timed_out(d.session), SESSION_CLOSE);
		if (ends[i] == SESSION_END_SHUTDOWN)
			ck_assert_int_eq(pop3_session_ops.shutdown(d.session), SESSION_CLOSE);
		drive_free(&d, ends[i]);
		ck_assert_int_eq(noted(), 2);
		ck_assert_uint_eq(site_count(&site, JOE), 3);
	}
}
END_TEST

/* What TOP shows, all of it too, is not what RFC 2449 6.7 means. */
START_TEST(top_is_no_retrieval)
{
	struct drive d;

	keep("0");
	drive_login(&d, &site);
	drive_say(&d, "TOP 1 0\r\nTOP 2 1000000\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf + d.said.len - strlen(GOODBYE), GOODBYE);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_int_eq(noted(), 0);
	ck_assert_uint_eq(site_count(&site, JOE), 3);
}
END_TEST

/* Lets `n` octets of what waits go to the client. */
static void
take(struct drive *d, uint64_t n)
{
	static char scratch[65536];
	const void *buf;
	ssize_t len;

	while (n > 0 && (len = outq_peek(&d->out, scratch, sizeof(scratch), &buf)) > 0) {
		if ((uint64_t)len > n)
			len = (ssize_t)n;
		outq_consume(&d->out, (size_t)len);
		d->link.out_octets += (uint64_t)len;
		n -= (uint64_t)len;
	}
}

/* Rows: how many octets of three messages have left when the peer is gone, and how many of them
 * it has had whole.  Each is as long as the first. */
static const struct {
	int lengths, octets;
	int64_t noted;
} halves[] = {
	{ 0, 0, 0 }, { 1, -1, 0 }, { 1, 0, 1 }, { 1, 1, 1 }, { 2, -1, 1 }, { 2, 0, 2 }, { 3, -1, 2 },
	{ 3, 0, 3 },
};

START_TEST(half_a_message_is_none)
{
	struct drive d;
	uint64_t length;

	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\n");
	length = d.out.pending;
	drive_say(&d, "RETR 2\r\nRETR 3\r\n");
	ck_assert_uint_eq(d.out.pending, 3 * length);
	take(&d, (uint64_t)((int64_t)length * halves[_i].lengths + halves[_i].octets));
	drive_free(&d, SESSION_END_PEER);
	ck_assert_int_eq(noted(), halves[_i].noted);
}
END_TEST

/* What is put into a queue that is thrown away never left it. */
START_TEST(peer_gone_behind_the_first_window)
{
	char *message = mem_must_array(1, 600000);
	struct drive d;
	size_t used;

	memset(message, 'x', 600000);
	for (size_t i = 78; i < 600000; i += 80)
		memcpy(message + i, "\r\n", 2);
	memcpy(message + 600000 - 2, "\r\n", 2);
	site_deliver(&site, JOE, message, 600000, 1);
	free(message);
	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 4\r\n");
	ck_assert_int_eq(d.want, SESSION_DRAIN);
	/* As net/conn_drive.c breaks a connection. */
	for (int i = 0; i < 100 && d.want != SESSION_READ; i++) {
		d.link.peer_gone = true;
		outq_release(&d.out);
		if (d.want == SESSION_WAIT)
			drive_wait(&d);
		d.want = pop3_session_ops.input(d.session, NULL, 0, &used);
	}
	ck_assert_int_eq(d.want, SESSION_READ);
	drive_free(&d, SESSION_END_PEER);
	ck_assert_int_eq(noted(), 0);
}
END_TEST

/* Nor is a message whose octets found no room. */
START_TEST(no_memory_for_the_reply)
{
	struct drive d;

	drive_login(&d, &site);
	d.out.failed = true;
	drive_say(&d, "RETR 1\r\n");
	ck_assert_int_eq(d.want, SESSION_DROP);
	/* The job that looked for the message in the page cache is over. */
	ck_assert_ptr_null(d.session->work);
	drive_free(&d, SESSION_END_ERROR);
	ck_assert_int_eq(noted(), 0);
}
END_TEST

/* Many at once, of which some have left: each is noted, none twice, none that has not. */
START_TEST(many_on_their_way)
{
	struct strbuf all;
	struct drive d;
	uint64_t first;

	site_deliver(&site, JOE, MESSAGE, strlen(MESSAGE), 197);
	strbuf_init(&all, SIZE_MAX);
	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\n");
	first = d.out.pending;
	for (unsigned i = 2; i <= 200; i++)
		strbuf_addf(&all, "RETR %u\r\n", i);
	drive_say(&d, all.buf);
	ck_assert_uint_eq(d.out.pending, 200 * first);
	ck_assert_uint_eq(d.session->nsent, 200);
	take(&d, 50 * first + 1);
	drive_say(&d, "NOOP\r\n");
	ck_assert_uint_eq(d.session->nsent, 150);
	take(&d, 149 * first);
	drive_free(&d, SESSION_END_PEER);
	ck_assert_int_eq(noted(), 199);

	/* And no memory is held by who has nothing on its way. */
	drive_login(&d, &site);
	drive_say(&d, all.buf);
	drive_say(&d, "NOOP\r\n");
	ck_assert_uint_eq(d.session->nsent, 0);
	ck_assert_ptr_null(d.session->sent);
	drive_free(&d, SESSION_END_PEER);
	ck_assert_int_eq(noted(), 200);
	strbuf_release(&all);
}
END_TEST

/* A transaction that fails: the client need not care, and the lock is given back. */
START_TEST(a_failed_note_is_no_failure)
{
	struct drive d;

	sql("CREATE TRIGGER fail BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'no'); END");
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	drive_forget(&d);
	drive_say(&d, "QUIT\r\n");
	ck_assert_str_eq(d.said.buf, GOODBYE);
	drive_free(&d, SESSION_END_SELF);
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	drive_free(&d, SESSION_END_PEER);
	ck_assert_int_eq(noted(), 0);

	/* With something to remove it is all or none. */
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nDELE 2\r\n");
	drive_forget(&d);
	drive_say(&d, "QUIT\r\n");
	ck_assert_str_eq(d.said.buf, "-ERR [SYS/TEMP] nothing was removed, try again later\r\n");
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 3);
	sql("DROP TRIGGER fail");
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nDELE 2\r\nQUIT\r\n");
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 2);
	ck_assert_int_eq(noted(), 1);
}
END_TEST

/* The daemon ends while retrievals are being noted: they are, before the spool is closed. */
START_TEST(the_daemon_ends_meanwhile)
{
	struct drive d;

	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\nRETR 2\r\n");
	outq_release(&d.out);
	pop3_session_ops.free(d.session, SESSION_END_SHUTDOWN);
	strbuf_release(&d.said);
	free(d.pending);
	jobs_free(&site.pop3d.disk_jobs);
	ck_assert_int_eq(noted(), 2);
}
END_TEST

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

/* --- EXPIRE ---------------------------------------------------------------- */

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
	Suite *suite = suite_create("pop3_retrieved");
	TCase *tc = tcase_create("retrieved");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_test(tc, noted_at_quit);
	tcase_add_test(tc, nothing_new);
	tcase_add_test(tc, noted_at_every_end);
	tcase_add_test(tc, top_is_no_retrieval);
	tcase_add_loop_test(tc, half_a_message_is_none, 0, sizeof(halves) / sizeof(halves[0]));
	tcase_add_test(tc, peer_gone_behind_the_first_window);
	tcase_add_test(tc, no_memory_for_the_reply);
	tcase_add_test(tc, many_on_their_way);
	tcase_add_test(tc, a_failed_note_is_no_failure);
	tcase_add_test(tc, the_daemon_ends_meanwhile);
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
