/* Who gets in: greeting and stamp, credentials, plaintext and TLS, the lock. */
#include <check.h>
#include <fcntl.h>

#include "common/spool/lock.h"
#include "mail/sasl.h"
#include "pop3d/pop3_login.h"
#include "tests/unit/pop3d/drive.h"

#define AUTH_FAILED "-ERR [AUTH] wrong user name or password\r\n"
#define IN_USE "-ERR [IN-USE] another session has this mailbox\r\n"
#define PLAINTEXT "-ERR passwords are taken under TLS only\r\n"

static struct site site;

static void
open_site(void)
{
	site_open(&site, false);
}

static void
open_apop_site(void)
{
	site_open(&site, true);
}

static void
close_site(void)
{
	site_close(&site);
}

/* --- the greeting and APOP ------------------------------------------------- */

START_TEST(greeting_without_stamp)
{
	struct drive d;

	drive_open(&d, &site, "203.0.113.9:4711");
	drive_greet(&d);
	ck_assert_str_eq(d.said.buf, "+OK mail.example.test POP3 ready\r\n");
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* The stamp of a greeting; static text. */
static const char *
stamp_of(const struct drive *d)
{
	static char stamp[512];
	char process[32], wall[32], count[32];
	char after[8];

	ck_assert_int_eq(sscanf(d->said.buf,
			     "+OK mail.example.test POP3 ready <%31[0-9].%31[0-9].%31[0-9]"
			     "@mail.example.test>%7c",
			     process, wall, count, after),
	    4);
	snprintf(stamp, sizeof(stamp), "<%s.%s.%s@mail.example.test>", process, wall, count);
	return stamp;
}

/* RFC 1939 7: a stamp is never said twice. */
START_TEST(each_greeting_has_its_stamp)
{
	struct drive a, b;
	char first[512];

	drive_open(&a, &site, "203.0.113.9:4711");
	drive_open(&b, &site, "203.0.113.9:4711");
	drive_greet(&a);
	drive_greet(&b);
	snprintf(first, sizeof(first), "%s", stamp_of(&a));
	ck_assert_str_ne(stamp_of(&b), first);
	drive_free(&a, SESSION_END_PEER);
	drive_free(&b, SESSION_END_PEER);
}
END_TEST

/* RFC 1939 3: 512 octets, also with the longest name that a host may have, once or twice. */
START_TEST(greeting_fits_a_line)
{
	char **hostname = &site.pop3d.config->site.hostname;

	for (size_t len = 200; len <= 255; len++) {
		const char *stamp;
		struct drive d;
		bool named;

		free(*hostname);
		*hostname = mem_must_array(len + 1, 1);
		memset(*hostname, 'h', len);
		(*hostname)[1] = '.';
		drive_open(&d, &site, "203.0.113.9:4711");
		drive_greet(&d);
		ck_assert_uint_le(d.said.len, 512);
		ck_assert(strncmp(d.said.buf, "+OK ", 4) == 0);
		stamp = strchr(d.said.buf, '<');
		ck_assert_ptr_nonnull(stamp);
		ck_assert_str_eq(d.said.buf + d.said.len - 3, ">\r\n");
		/* The stamp has the whole name, whatever is left out. */
		ck_assert_ptr_nonnull(strstr(stamp, *hostname));
		named = strncmp(d.said.buf + 4, *hostname, len) == 0;
		ck_assert(named || strncmp(d.said.buf, "+OK POP3 ready <", 16) == 0);
		/* Where it goes depends on how long the numbers are. */
		ck_assert(named ? len < 240 : len > 220);
		drive_free(&d, SESSION_END_PEER);
	}
}
END_TEST

START_TEST(apop)
{
	static const struct {
		const char *name;
		const char *user;
		const char *secret;
		const char *want;
	} rows[] = {
		{ "right", "apop@example.test", "tanstaaf", "+OK 0 messages (0 octets)\r\n" },
		{ "the local part is enough", "apop", "tanstaaf", "+OK 0 messages (0 octets)\r\n" },
		{ "wrong secret", "apop@example.test", "tanstaag", AUTH_FAILED },
		{ "a user without a secret", "joe@example.test", "secret", AUTH_FAILED },
		{ "nobody", "nobody@example.test", "secret", AUTH_FAILED },
		{ "a name with blanks", "a b c", "secret", AUTH_FAILED },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char digest[33], line[256];
		struct drive d;

		drive_open(&d, &site, "203.0.113.9:4711");
		drive_greet(&d);
		ck_assert_int_eq(sasl_apop_digest(stamp_of(&d), rows[i].secret, digest), 0);
		drive_forget(&d);
		snprintf(line, sizeof(line), "APOP %s %s\r\n", rows[i].user, digest);
		drive_say(&d, line);
		ck_assert_msg(
		    strcmp(d.said.buf, rows[i].want) == 0, "%s: %s", rows[i].name, d.said.buf);
		drive_free(&d, SESSION_END_PEER);
	}
}
END_TEST

START_TEST(apop_is_strict)
{
	static const char *const rows[] = {
		"APOP\r\n",
		"APOP apop\r\n",
		"APOP apop 0123456789abcdef0123456789abcde\r\n",
		"APOP apop 0123456789abcdef0123456789abcdef0\r\n",
		"APOP apop 0123456789ABCDEF0123456789abcdef\r\n",
		"APOP apop 0123456789abcdeg0123456789abcdef\r\n",
		"APOP  0123456789abcdef0123456789abcdef\r\n",
		"APOP 0123456789abcdef0123456789abcdef\r\n",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct drive d;

		drive_start(&d, &site);
		drive_say(&d, rows[i]);
		ck_assert_str_eq(d.said.buf, "-ERR wrong or missing argument\r\n");
		drive_free(&d, SESSION_END_PEER);
	}
}
END_TEST

/* --- wrong credentials ----------------------------------------------------- */

/* One answer for all, so that nobody learns which names exist. */
START_TEST(every_wrong_login_is_one)
{
	static const char *const rows[] = {
		"USER joe\r\nPASS wrong\r\n",
		"USER nobody\r\nPASS secret\r\n",
		"USER gone\r\nPASS secret\r\n",
		"USER joe@elsewhere.test\r\nPASS secret\r\n",
		"USER ann\r\nPASS pass  word \r\n",
		"USER joe\r\nPASS Secret\r\n",
	};
	struct drive d;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		drive_start(&d, &site);
		drive_say(&d, rows[i]);
		ck_assert_msg(strcmp(d.said.buf, "+OK send PASS\r\n" AUTH_FAILED) == 0, "%s%s",
		    rows[i], d.said.buf);
		/* RFC 1939 4: and the session is as it was. */
		drive_forget(&d);
		drive_say(&d, "PASS secret\r\nSTAT\r\nUSER joe\r\nPASS secret\r\n");
		ck_assert_str_eq(d.said.buf,
		    "-ERR send USER first\r\n-ERR log in first\r\n+OK send PASS\r\n"
		    "+OK 0 messages (0 octets)\r\n");
		drive_free(&d, SESSION_END_PEER);
	}
	drive_start(&d, &site);
	drive_say(&d, "AUTH PLAIN AGpvZQB3cm9uZw==\r\nAUTH LOGIN am9l\r\nd3Jvbmc=\r\n");
	ck_assert_str_eq(d.said.buf, AUTH_FAILED "+ UGFzc3dvcmQ6\r\n" AUTH_FAILED);
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(wrong_once_too_often)
{
	struct drive d;

	drive_start(&d, &site);
	for (int i = 1; i < POP3_LOGIN_FAILURES; i++) {
		drive_forget(&d);
		drive_say(&d, "USER joe\r\nPASS wrong\r\n");
		ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n" AUTH_FAILED);
	}
	drive_forget(&d);
	drive_say(&d, "USER joe\r\nPASS wrong\r\nUSER joe\r\nPASS secret\r\n");
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n-ERR [AUTH] wrong once too often\r\n");
	ck_assert_int_eq(d.want, SESSION_CLOSE);
	/* Nothing but the hash was waited for: a trusted peer's answers are not put off. */
	ck_assert_uint_eq(d.waits, POP3_LOGIN_FAILURES);
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* The second failure from one address is answered late, and nothing else happens before. */
START_TEST(guessing_is_slowed_down)
{
	uint64_t began;
	struct drive d;

	drive_open(&d, &site, "203.0.113.77:4711");
	d.link.trusted = false;
	drive_greet(&d);
	drive_say(&d, "USER joe\r\nPASS wrong\r\n");
	drive_forget(&d);
	began = clock_mono_ms();
	drive_say(&d, "USER joe\r\nPASS wrong\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n" AUTH_FAILED "+OK goodbye\r\n");
	ck_assert_uint_ge(clock_mono_ms() - began, 500);
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* --- plaintext and TLS ----------------------------------------------------- */

START_TEST(plaintext)
{
	static const struct {
		const char *name;
		const char *keys;
		const char *peer;
		bool tls;
		bool allowed;
	} rows[] = {
		{ "never", "plaintext_auth = never", "127.0.0.1:4711", false, false },
		{ "never, TLS", "plaintext_auth = never", "203.0.113.9:4711", true, true },
		{ "loopback", "", "127.0.0.1:4711", false, true },
		{ "loopback, another", "", "127.255.0.7:4711", false, true },
		{ "loopback, IPv6", "", "[::1]:4711", false, true },
		{ "elsewhere", "", "203.0.113.9:4711", false, false },
		{ "elsewhere, IPv6", "", "[2001:db8::1]:4711", false, false },
		{ "nearly loopback", "", "126.0.0.1:4711", false, false },
		{ "nearly loopback, IPv6", "", "[::2]:4711", false, false },
		{ "elsewhere, TLS", "", "203.0.113.9:4711", true, true },
		{ "always", "plaintext_auth = always", "203.0.113.9:4711", false, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct drive d;

		site_configure(&site, rows[i].keys);
		drive_open(&d, &site, rows[i].peer);
		d.link.tls = rows[i].tls;
		drive_greet(&d);
		drive_forget(&d);
		drive_say(&d, "CAPA\r\n");
		ck_assert_msg(
		    (strstr(d.said.buf, "\r\nUSER\r\n") != NULL) == rows[i].allowed &&
			(strstr(d.said.buf, "\r\nSASL PLAIN LOGIN\r\n") != NULL) == rows[i].allowed,
		    "%s: %s", rows[i].name, d.said.buf);
		drive_forget(&d);
		drive_say(&d, "AUTH\r\n");
		ck_assert_str_eq(d.said.buf,
		    rows[i].allowed ? "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n" : "+OK\r\n.\r\n");
		drive_forget(&d);
		/* RFC 8314 4.1: right and wrong passwords get the same answer. */
		if (rows[i].allowed) {
			drive_say(&d, "USER joe\r\nPASS secret\r\nQUIT\r\n");
			ck_assert_str_eq(d.said.buf,
			    "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n+OK goodbye\r\n");
		} else {
			drive_say(&d,
			    "USER joe\r\nPASS secret\r\nUSER joe\r\nPASS wrong\r\n"
			    "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\nAUTH PLAIN AGpvZQB3cm9uZw==\r\n"
			    "AUTH PLAIN\r\nAUTH LOGIN\r\n");
			ck_assert_str_eq(d.said.buf, PLAINTEXT PLAINTEXT PLAINTEXT PLAINTEXT
							 PLAINTEXT PLAINTEXT PLAINTEXT PLAINTEXT);
		}
		drive_free(&d, SESSION_END_PEER);
	}
}
END_TEST

/* RFC 2595 4 */
START_TEST(stls)
{
	struct drive d;

	drive_start(&d, &site);
	drive_say(&d, "USER joe\r\nSTLS\r\nPASS secret\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n+OK begin TLS\r\n");
	ck_assert(d.link.tls);
	drive_forget(&d);
	drive_say(&d, "PASS secret\r\n");
	ck_assert_str_eq(d.said.buf, "-ERR send USER first\r\n");
	drive_forget(&d);
	drive_say(&d, "CAPA\r\n");
	ck_assert_ptr_null(strstr(d.said.buf, "STLS"));
	ck_assert_ptr_nonnull(strstr(d.said.buf, "\r\nSASL PLAIN LOGIN\r\n"));
	drive_forget(&d);
	drive_say(&d, "STLS\r\nUSER joe\r\nPASS secret\r\nSTLS\r\n");
	ck_assert_str_eq(d.said.buf,
	    "-ERR TLS is active already\r\n+OK send PASS\r\n+OK 0 messages (0 octets)\r\n"
	    "-ERR not after login\r\n");
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(no_stls_without_certificate)
{
	struct drive d;

	drive_open(&d, &site, "203.0.113.9:4711");
	d.link.tls_available = false;
	drive_greet(&d);
	drive_forget(&d);
	drive_say(&d, "CAPA\r\n");
	ck_assert_ptr_null(strstr(d.said.buf, "STLS"));
	drive_forget(&d);
	drive_say(&d, "STLS\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf, "-ERR TLS is not available\r\n+OK goodbye\r\n");
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* --- the lock -------------------------------------------------------------- */

START_TEST(one_session_at_a_time)
{
	struct drive a, b;

	drive_login(&a, &site);
	drive_start(&b, &site);
	drive_say(&b, "USER joe\r\nPASS secret\r\n");
	ck_assert_str_eq(b.said.buf, "+OK send PASS\r\n" IN_USE);
	/* RFC 2449 8.1.2: a wrong password learns nothing of the lock. */
	drive_forget(&b);
	drive_say(&b, "USER joe\r\nPASS wrong\r\n");
	ck_assert_str_eq(b.said.buf, "+OK send PASS\r\n" AUTH_FAILED);
	drive_say(&a, "STAT\r\n");
	ck_assert_str_eq(a.said.buf, "+OK 0 0\r\n");
	drive_free(&a, SESSION_END_PEER);

	drive_forget(&b);
	drive_say(&b, "USER joe\r\nPASS secret\r\n");
	ck_assert_str_eq(b.said.buf, "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n");
	drive_free(&b, SESSION_END_PEER);
}
END_TEST

/* Waiting for a busy maildrop ends when it is free. */
START_TEST(lock_is_waited_for)
{
	struct drive a, b;
	size_t used;

	site_configure(&site, "plaintext_auth = always\nlock_wait = 30s");
	drive_login(&a, &site);
	drive_start(&b, &site);
	b.holding = true;
	b.pending = mem_must_dup("USER joe\r\nPASS secret\r\n");
	b.npending = strlen(b.pending);
	drive_input(&b);
	/* The password is found right; then a few tries at the lock. */
	for (int tries = 0; tries < 4; tries++) {
		ck_assert_int_eq(b.want, SESSION_WAIT);
		drive_wait(&b);
		b.want = pop3_session_ops.input(b.session, NULL, 0, &used);
	}
	ck_assert_int_eq(b.want, SESSION_WAIT);
	drive_free(&a, SESSION_END_PEER);
	while (b.want == SESSION_WAIT) {
		drive_wait(&b);
		b.want = pop3_session_ops.input(b.session, NULL, 0, &used);
	}
	b.holding = false;
	drive_read(&b);
	ck_assert_str_eq(b.said.buf, "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n");
	drive_free(&b, SESSION_END_PEER);
}
END_TEST

/* A client that has gone does not wait for the lock, and leaves none behind. */
START_TEST(gone_while_waiting_for_the_lock)
{
	struct drive a, b, c;
	size_t used;

	site_configure(&site, "plaintext_auth = always\nlock_wait = 30s");
	drive_login(&a, &site);
	drive_start(&b, &site);
	b.pending = mem_must_dup("USER joe\r\nPASS secret\r\n");
	b.npending = strlen(b.pending);
	drive_input(&b);
	drive_wait(&b);
	b.want = pop3_session_ops.input(b.session, NULL, 0, &used);
	ck_assert_int_eq(b.want, SESSION_WAIT);
	b.link.peer_gone = true;
	drive_wait(&b);
	b.want = pop3_session_ops.input(b.session, NULL, 0, &used);
	ck_assert_int_eq(b.want, SESSION_DROP);
	drive_free(&b, SESSION_END_PEER);
	drive_free(&a, SESSION_END_PEER);
	drive_login(&c, &site);
	drive_free(&c, SESSION_END_PEER);
}
END_TEST

/* RFC 1939 4: a login that fails behind the lock gives it back before it says so. */
START_TEST(list_that_cannot_be_read)
{
	struct spool *admin = site_spool(&site, SPOOL_ADMIN);
	struct maildrop *maildrop;
	struct address joe;
	struct drive d;
	uint64_t mailbox;
	size_t used;

	drive_start(&d, &site);
	d.pending = mem_must_dup("USER joe\r\nPASS secret\r\n");
	d.npending = strlen(d.pending);
	drive_input(&d);
	drive_wait(&d);
	/* The password was right; now the mailbox goes. */
	mailbox = d.session->login->found.mailbox;
	ck_assert_uint_ne(mailbox, 0);
	ck_assert_int_eq(address_parse("joe@example.test", &joe), 0);
	ck_assert_int_eq(account_user_remove(admin, &joe), SPOOL_OK);
	spool_close(&admin);
	d.want = pop3_session_ops.input(d.session, NULL, 0, &used);
	ck_assert_int_eq(d.want, SESSION_WAIT);
	drive_wait(&d);
	drive_run(&d);
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n-ERR [SYS/TEMP] try again later\r\n");
	ck_assert_int_eq(d.want, SESSION_READ);
	ck_assert_int_eq(
	    maildrop_lock(site.pop3d.spool, mailbox, "somebody else", &maildrop), SPOOL_OK);
	maildrop_close(&maildrop);
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* --- a spool that is not ready --------------------------------------------- */

/* Holds the byte that whoever recovers holds; closing the descriptor ends it. */
static int
hold_recovery(void)
{
	struct flock byte = { .l_type = F_WRLCK, .l_start = LOCK_RECOVERY, .l_len = 1 };
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/locks/roles", site.spool_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLKW, &byte), 0);
	return fd;
}

/* Until the spool is recovered nobody is told that there is no mail, nor that a password is
 * wrong. */
START_TEST(spool_that_is_being_recovered)
{
	const struct spool_options options = { .dir = site.spool_dir, .role = SPOOL_POP3D };
	struct strbuf err;
	struct drive d;
	size_t used;
	int fd;

	strbuf_init(&err, 1000);
	spool_close(&site.pop3d.spool);
	fd = hold_recovery();
	ck_assert_int_eq(spool_open(&options, &site.pop3d.spool, &err), SPOOL_OK);
	ck_assert(!spool_ready(site.pop3d.spool));
	drive_start(&d, &site);
	drive_say(&d,
	    "USER joe\r\nPASS secret\r\nUSER joe\r\nPASS wrong\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"
	    "STAT\r\n");
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n-ERR [SYS/TEMP] try again later\r\n"
				     "+OK send PASS\r\n-ERR [SYS/TEMP] try again later\r\n"
				     "-ERR [SYS/TEMP] try again later\r\n-ERR log in first\r\n");
	drive_free(&d, SESSION_END_PEER);

	/* A short one is waited for. */
	site_configure(&site, "plaintext_auth = always\nlock_wait = 30s");
	drive_start(&d, &site);
	d.pending = mem_must_dup("USER joe\r\nPASS secret\r\n");
	d.npending = strlen(d.pending);
	drive_input(&d);
	ck_assert_int_eq(d.want, SESSION_WAIT);
	close(fd);
	while (d.want == SESSION_WAIT) {
		drive_wait(&d);
		d.want = pop3_session_ops.input(d.session, NULL, 0, &used);
	}
	drive_read(&d);
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n");
	drive_free(&d, SESSION_END_PEER);
	strbuf_release(&err);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_login");
	TCase *tc = tcase_create("login"), *apops = tcase_create("apop");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_test(tc, greeting_without_stamp);
	tcase_add_test(tc, every_wrong_login_is_one);
	tcase_add_test(tc, wrong_once_too_often);
	tcase_add_test(tc, guessing_is_slowed_down);
	tcase_add_test(tc, plaintext);
	tcase_add_test(tc, stls);
	tcase_add_test(tc, no_stls_without_certificate);
	tcase_add_test(tc, one_session_at_a_time);
	tcase_add_test(tc, lock_is_waited_for);
	tcase_add_test(tc, gone_while_waiting_for_the_lock);
	tcase_add_test(tc, list_that_cannot_be_read);
	tcase_add_test(tc, spool_that_is_being_recovered);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(apops, 60);
	tcase_add_checked_fixture(apops, open_apop_site, close_site);
	tcase_add_test(apops, each_greeting_has_its_stamp);
	tcase_add_test(apops, greeting_fits_a_line);
	tcase_add_test(apops, apop);
	tcase_add_test(apops, apop_is_strict);
	suite_add_tcase(suite, apops);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
