/* UPDATE: what is removed, when, and above all when nothing is (RFC 1939 6). */
#include <check.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/pop3d/drive.h"

#define JOE "joe@example.test"
#define MARKED "+OK marked, QUIT removes it\r\n"
#define REMOVED "+OK removed, goodbye\r\n"

static struct site site;

static void
open_site(void)
{
	static const char message[] = "Subject: x\r\n\r\ntext\r\n";

	site_open(&site, false);
	site_deliver(&site, JOE, message, sizeof(message) - 1, 3);
}

static void
close_site(void)
{
	site_close(&site);
}

static uint64_t
left(void)
{
	return site_count(&site, JOE);
}

/* Marks live in their session alone. */
static void
check_nothing_marked(uint64_t messages)
{
	char want[64];
	struct drive d;

	ck_assert_uint_eq(left(), messages);
	drive_login(&d, &site);
	drive_say(&d, "STAT\r\n");
	snprintf(want, sizeof(want), "+OK %llu %llu\r\n", (unsigned long long)messages,
	    (unsigned long long)messages *
		(strlen("Subject: x\r\n\r\ntext\r\n") +
		    strlen("Return-Path: <sender@client.example>\r\nDelivered-To: " JOE "\r\n")));
	ck_assert_str_eq(d.said.buf, want);
	drive_free(&d, SESSION_END_PEER);
}

START_TEST(quit_removes_what_is_marked)
{
	char first[128], third[128];
	struct drive d;

	drive_login(&d, &site);
	drive_say(&d, "UIDL 1\r\n");
	snprintf(first, sizeof(first), "%s", d.said.buf + strlen("+OK 1 "));
	drive_forget(&d);
	drive_say(&d, "UIDL 3\r\n");
	snprintf(third, sizeof(third), "%s", d.said.buf + strlen("+OK 3 "));
	drive_forget(&d);
	drive_say(&d, "DELE 2\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, MARKED REMOVED);
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	ck_assert_uint_eq(d.session->removed, 1);
	drive_free(&d, SESSION_END_SELF);
	check_nothing_marked(2);

	drive_login(&d, &site);
	drive_say(&d, "UIDL 1\r\n");
	ck_assert_str_eq(d.said.buf + strlen("+OK 1 "), first);
	drive_forget(&d);
	drive_say(&d, "UIDL 2\r\n");
	ck_assert_str_eq(d.said.buf + strlen("+OK 2 "), third);
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* RSET, and a QUIT with nothing marked. */
START_TEST(quit_with_nothing_marked)
{
	struct drive d;

	drive_login(&d, &site);
	drive_say(&d, "DELE 1\r\nDELE 3\r\nRSET\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, MARKED MARKED "+OK nothing is marked\r\n+OK goodbye\r\n");
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	drive_free(&d, SESSION_END_SELF);
	check_nothing_marked(3);
}
END_TEST

/* Whatever ends a session but QUIT removes nothing, and is done without a word. */
START_TEST(other_ends_remove_nothing)
{
	static const enum session_end ends[] = { SESSION_END_PEER, SESSION_END_TIMEOUT,
		SESSION_END_SHUTDOWN, SESSION_END_ERROR };
	struct drive d;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		drive_login(&d, &site);
		drive_say(&d, "DELE 1\r\nDELE 2\r\nDELE 3\r\nQUI");
		drive_forget(&d);
		if (ends[i] == SESSION_END_TIMEOUT)
			ck_assert_int_eq(pop3_session_ops.timed_out(d.session), SESSION_CLOSE);
		if (ends[i] == SESSION_END_SHUTDOWN)
			ck_assert_int_eq(pop3_session_ops.shutdown(d.session), SESSION_CLOSE);
		drive_read(&d);
		ck_assert_str_eq(d.said.buf, "");
		drive_free(&d, ends[i]);
		check_nothing_marked(3);
	}
}
END_TEST

/* The blocks of a message go when it is removed; so what the kernel still has to send of them is
 * sent, and acknowledged, before. */
START_TEST(update_waits_for_every_octet)
{
	struct drive d;

	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\nDELE 1\r\nQUIT\r\n");
	ck_assert_int_eq(d.want, SESSION_ACKED);
	ck_assert_uint_eq(left(), 3);
	d.holding = false;
	drive_read(&d);
	ck_assert_uint_eq(left(), 3);
	drive_run(&d);
	ck_assert_uint_eq(left(), 2);
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	ck_assert_str_eq(d.said.buf + d.said.len - strlen(REMOVED), REMOVED);
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* When the reply can be read, the next session can log in. */
START_TEST(lock_is_free_before_the_reply)
{
	struct drive d, next;

	drive_login(&d, &site);
	drive_say(&d, "DELE 1\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, MARKED REMOVED);
	drive_login(&next, &site);
	drive_free(&next, SESSION_END_PEER);
	drive_free(&d, SESSION_END_SELF);

	drive_login(&d, &site);
	drive_say(&d, "QUIT\r\n");
	drive_login(&next, &site);
	drive_free(&next, SESSION_END_PEER);
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* QUIT was said: a client that does not wait for the answer gets what it asked for. */
START_TEST(client_gone_behind_quit)
{
	struct drive d;

	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	drive_say(&d, "DELE 1\r\n");
	d.holding = true;
	drive_say(&d, "QUIT\r\n");
	ck_assert_int_eq(d.want, SESSION_ACKED);
	d.link.peer_gone = true;
	drive_input(&d);
	ck_assert_int_eq(d.want, SESSION_WAIT);
	drive_free(&d, SESSION_END_PEER);
	check_nothing_marked(2);
}
END_TEST

/* ... but it cannot mean a message that it never had. */
START_TEST(client_gone_before_its_message)
{
	struct drive d;

	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\nDELE 1\r\nQUIT\r\n");
	ck_assert_int_eq(d.want, SESSION_ACKED);
	d.link.peer_gone = true;
	drive_input(&d);
	ck_assert_int_eq(d.want, SESSION_DROP);
	drive_free(&d, SESSION_END_PEER);
	check_nothing_marked(3);
}
END_TEST

/* A session sees the maildrop as it was at its login (RFC 1939 4, 5). */
START_TEST(mail_that_comes_meanwhile)
{
	struct drive d;

	drive_login(&d, &site);
	site_deliver(&site, JOE, "X: y\r\n\r\n", 8, 1);
	drive_say(&d, "RETR 4\r\nLIST 4\r\nDELE 3\r\nQUIT\r\n");
	ck_assert_str_eq(
	    d.said.buf, "-ERR no such message\r\n-ERR no such message\r\n" MARKED REMOVED);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(left(), 3);
	drive_login(&d, &site);
	drive_say(&d, "RETR 3\r\n");
	ck_assert_ptr_nonnull(strstr(d.said.buf, "\r\nX: y\r\n\r\n.\r\n"));
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 1939 6: when nothing could be removed, the client is told so, and nothing is.  Where
 * not even that can be made sure, nothing is said. */
START_TEST(update_that_fails)
{
	struct rlimit limit, none;
	struct drive d, next;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	drive_login(&d, &site);
	/* No file may be written to from now on, so that what COMMIT did is not known. */
	none = limit;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	drive_say(&d, "DELE 1\r\nDELE 2\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, MARKED MARKED);
	ck_assert_int_eq(d.want, SESSION_DROP);
	drive_free(&d, SESSION_END_SELF);

	/* Now it is known beforehand that nothing can be written. */
	drive_login(&d, &site);
	drive_say(&d, "DELE 1\r\nDELE 2\r\nQUIT\r\n");
	ck_assert_str_eq(
	    d.said.buf, MARKED MARKED "-ERR [SYS/TEMP] nothing was removed, try again later\r\n");
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	/* RFC 1939 6: the lock is released all the same. */
	drive_login(&next, &site);
	drive_free(&next, SESSION_END_PEER);
	drive_free(&d, SESSION_END_SELF);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	check_nothing_marked(3);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_update");
	TCase *tc = tcase_create("update");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_test(tc, quit_removes_what_is_marked);
	tcase_add_test(tc, quit_with_nothing_marked);
	tcase_add_test(tc, other_ends_remove_nothing);
	tcase_add_test(tc, update_waits_for_every_octet);
	tcase_add_test(tc, lock_is_free_before_the_reply);
	tcase_add_test(tc, client_gone_behind_quit);
	tcase_add_test(tc, client_gone_before_its_message);
	tcase_add_test(tc, mail_that_comes_meanwhile);
	tcase_add_test(tc, update_that_fails);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
