/* LOGIN-DELAY (RFC 2449 6.5): who is told to come back later, and that it is forgotten in time. */
#include <check.h>

#include "mail/sasl.h"
#include "tests/unit/pop3d/drive.h"

#define TOO_EARLY "-ERR [LOGIN-DELAY] too soon after the last login\r\n"
#define LOGGED_IN "+OK 0 messages (0 octets)\r\n"
#define SEND_PASS "+OK send PASS\r\n"
#define AUTH_FAILED "-ERR [AUTH] wrong user name or password\r\n"
#define KEYS "plaintext_auth = always\nlock_wait = 0s\nlogin_delay = "
#define LOGIN "USER joe\r\nPASS secret\r\n"

/* --- what is remembered ---------------------------------------------------- */

static void
set_s(uint64_t mono_s)
{
	clock_set(mono_s * 1000, UINT64_C(1800000000000));
}

START_TEST(each_mailbox_by_itself)
{
	struct pop3_delay *d = pop3_delay_new();

	set_s(100);
	ck_assert(!pop3_delay_too_early(d, 1, 30));
	pop3_delay_note(d, 1, 30);
	ck_assert(pop3_delay_too_early(d, 1, 30));
	ck_assert(!pop3_delay_too_early(d, 2, 30));
	ck_assert(!pop3_delay_too_early(d, 1, 0));
	clock_set(129999, 1);
	ck_assert(pop3_delay_too_early(d, 1, 30));
	set_s(130);
	ck_assert(!pop3_delay_too_early(d, 1, 30));
	/* Who is asked with another limit is judged by it. */
	ck_assert(pop3_delay_too_early(d, 1, 31));
	pop3_delay_note(d, 1, 30);
	set_s(159);
	ck_assert(pop3_delay_too_early(d, 1, 30));
	pop3_delay_free(&d);
	ck_assert_ptr_null(d);
	pop3_delay_free(&d);
}
END_TEST

START_TEST(no_more_than_that)
{
	struct pop3_delay *d = pop3_delay_new();

	set_s(100);
	for (uint64_t i = 1; i <= POP3_DELAY_MAX; i++)
		pop3_delay_note(d, i, 30);
	/* The first is the last to have logged in now. */
	pop3_delay_note(d, 1, 30);
	ck_assert(pop3_delay_too_early(d, 2, 30));
	pop3_delay_note(d, POP3_DELAY_MAX + 1, 30);
	ck_assert(!pop3_delay_too_early(d, 2, 30));
	ck_assert(pop3_delay_too_early(d, 1, 30));
	ck_assert(pop3_delay_too_early(d, 3, 30));
	ck_assert(pop3_delay_too_early(d, POP3_DELAY_MAX + 1, 30));

	/* What is over is forgotten: nothing of it is there for a longer limit. */
	set_s(130);
	pop3_delay_note(d, 7, 30);
	ck_assert(!pop3_delay_too_early(d, 1, 1000));
	ck_assert(pop3_delay_too_early(d, 7, 1000));
	pop3_delay_free(&d);
}
END_TEST

/* --- dialogues ------------------------------------------------------------- */

static struct site site;

static void
open_site(void)
{
	site_open(&site, true);
	site_configure(&site, KEYS "30s");
	set_s(100);
}

static void
close_site(void)
{
	clock_set(0, 0);
	site_close(&site);
}

/* One session: what the server answers to `client`, if need be with QUIT behind. */
static void
check_session(const char *client, const char *want)
{
	struct drive d;

	drive_start(&d, &site);
	drive_say(&d, client);
	ck_assert_str_eq(d.said.buf, want);
	drive_free(&d, SESSION_END_PEER);
}

START_TEST(announced)
{
	struct drive d;

	drive_start(&d, &site);
	drive_say(&d, "CAPA\r\n");
	ck_assert_ptr_nonnull(strstr(d.said.buf, "\r\nLOGIN-DELAY 30\r\n"));
	drive_say(&d, LOGIN);
	drive_forget(&d);
	drive_say(&d, "CAPA\r\n");
	ck_assert_ptr_nonnull(strstr(d.said.buf, "\r\nLOGIN-DELAY 30\r\n"));
	drive_free(&d, SESSION_END_PEER);
	site_configure(&site, KEYS "0s");
	drive_start(&d, &site);
	drive_say(&d, "CAPA\r\n");
	ck_assert_ptr_null(strstr(d.said.buf, "LOGIN-DELAY"));
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 2449 8.1.1: said when the password was found right, and never to USER. */
START_TEST(enforced)
{
	struct drive d;

	check_session(LOGIN, SEND_PASS LOGGED_IN);
	set_s(129);
	check_session("USER joe\r\n", SEND_PASS);
	check_session("USER joe\r\nPASS wrong\r\n", SEND_PASS AUTH_FAILED);
	check_session("USER ann\r\nPASS  pass  word \r\n", SEND_PASS LOGGED_IN);
	check_session("AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", TOO_EARLY);
	/* The session goes on, and others need not wait. */
	check_session(LOGIN "NOOP\r\nUSER apop\r\nPASS tanstaaf\r\n",
	    SEND_PASS TOO_EARLY "-ERR log in first\r\n" SEND_PASS LOGGED_IN);

	/* A login that was refused is none, and has left no lock behind. */
	set_s(130);
	drive_start(&d, &site);
	drive_say(&d, LOGIN);
	ck_assert_str_eq(d.said.buf, SEND_PASS LOGGED_IN);
	/* Nor is it said of a maildrop that is in use. */
	check_session(LOGIN, SEND_PASS "-ERR [IN-USE] another session has this mailbox\r\n");
	drive_free(&d, SESSION_END_PEER);
	check_session(LOGIN, SEND_PASS TOO_EARLY);
}
END_TEST

START_TEST(enforced_with_apop)
{
	char digest[33], line[256], stamp[200];
	struct drive d;

	check_session("USER apop\r\nPASS tanstaaf\r\n", SEND_PASS LOGGED_IN);
	for (int again = 0; again < 2; again++) {
		set_s(again ? 130 : 129);
		drive_open(&d, &site, "203.0.113.9:4711");
		drive_greet(&d);
		ck_assert_int_eq(sscanf(strchr(d.said.buf, '<'), "%199[^\r]", stamp), 1);
		ck_assert_int_eq(sasl_apop_digest(stamp, "tanstaaf", digest), 0);
		drive_forget(&d);
		snprintf(line, sizeof(line), "APOP apop %s\r\n", digest);
		drive_say(&d, line);
		ck_assert_str_eq(d.said.buf, again ? LOGGED_IN : TOO_EARLY);
		drive_free(&d, SESSION_END_PEER);
	}
}
END_TEST

/* A reload is for new sessions; those that are there keep to what they announced. */
START_TEST(reloaded)
{
	struct drive old;

	drive_start(&old, &site);
	check_session(LOGIN, SEND_PASS LOGGED_IN);
	set_s(115);
	site_configure(&site, KEYS "10s");
	drive_say(&old, LOGIN);
	ck_assert_str_eq(old.said.buf, SEND_PASS TOO_EARLY);
	check_session(LOGIN, SEND_PASS LOGGED_IN);
	site_configure(&site, KEYS "0s");
	check_session(LOGIN, SEND_PASS LOGGED_IN);
	check_session(LOGIN, SEND_PASS LOGGED_IN);
	drive_free(&old, SESSION_END_PEER);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_delay");
	TCase *table = tcase_create("table");
	TCase *tc = tcase_create("delay");
	SRunner *sr;
	int failed;

	tcase_add_test(table, each_mailbox_by_itself);
	tcase_add_test(table, no_more_than_that);
	suite_add_tcase(suite, table);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_test(tc, announced);
	tcase_add_test(tc, enforced);
	tcase_add_test(tc, enforced_with_apop);
	tcase_add_test(tc, reloaded);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
