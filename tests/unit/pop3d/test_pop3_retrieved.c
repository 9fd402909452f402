/* What RETR has sent whole: when it is noted, and when it is not. */
#include "tests/unit/pop3d/retrieved_test.h"

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
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
