/*
 * Limits of a session (RFC 5321 4.5.3, 7.8), each with the right reply and the session
 * still usable where it is to be; and a store that cannot take mail.
 */
#include <check.h>

#include "drive.h"

static struct site site;

#define HI "EHLO client.example\r\n"
#define FROM "MAIL FROM:<a@b.example>\r\n"
#define TO "RCPT TO:<joe@example.test>\r\n"

static const char *
say(struct drive *d, const char *text)
{
	drive_say(d, text);
	return drive_take(d);
}

static void
begin(struct drive *d, const char *text)
{
	drive_open(d, &site, false);
	strbuf_clear(&d->said);
	say(d, text);
}

/* A line of `len` octets, CRLF included: a NOOP. */
static void
send_long(struct drive *d, size_t len, size_t step)
{
	char *line = mem_must_array(len, 1);

	memset(line, 'x', len);
	memcpy(line, "NOOP ", 5);
	memcpy(line + len - 2, "\r\n", 2);
	for (size_t at = 0; at < len; at += step)
		drive_send(d, line + at, len - at < step ? len - at : step);
	free(line);
}

static const struct {
	size_t len;
	const char *want;
} lines[] = {
	{ 512, "250/2.0.0" },
	{ 2047, "250/2.0.0" },
	{ 2048, "250/2.0.0" },
	{ 2049, "500/5.5.2" },
	{ 2050, "500/5.5.2" },
	{ 100000, "500/5.5.2" },
};
static const size_t steps[] = { 1, 7, 2047, 2048, 2049, 65536, 1000000 };

START_TEST(command_lines)
{
	struct drive d;

	begin(&d, "");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		send_long(&d, lines[_i].len, steps[i]);
		ck_assert_str_eq(drive_take(&d), lines[_i].want);
		/* What is behind a line that was too long is a command again. */
		ck_assert_str_eq(say(&d, "NOOP\r\n"), "250/2.0.0");
	}
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* A line that never ends is answered once and held by nobody. */
START_TEST(endless_line)
{
	struct drive d;
	char block[4096];

	begin(&d, "");
	memset(block, 'a', sizeof(block));
	for (int i = 0; i < 1000; i++) {
		drive_send(&d, block, sizeof(block));
		ck_assert_uint_eq(d.npending, 0);
	}
	ck_assert_str_eq(drive_take(&d), "500/5.5.2");
	ck_assert_str_eq(say(&d, "\r\nNOOP\r\n"), "250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(long_names)
{
	struct drive d;
	char text[4096], a[600];

	/* RFC 5321 4.5.3.1.2: 255 octets of domain, and no more. */
	begin(&d, "");
	memset(a, 'a', sizeof(a));
	snprintf(text, sizeof(text), "EHLO %.255s\r\n", a);
	ck_assert_str_eq(say(&d, text), "250");
	snprintf(text, sizeof(text), "EHLO %.256s\r\n", a);
	ck_assert_str_eq(say(&d, text), "501/5.5.4");
	/* 4.5.3.1.1 and .3: 64 octets of local-part, 256 of path, are the least. */
	snprintf(text, sizeof(text), "MAIL FROM:<%.64s@%.63s.%.63s.%.60s>\r\n", a, a, a, a);
	ck_assert_str_eq(say(&d, text), "250/2.1.0");
	ck_assert_str_eq(say(&d, "RSET\r\n"), "250/2.0.0");
	snprintf(
	    text, sizeof(text), "MAIL FROM:<%.64s@%.63s.%.63s.%.63s.%.63s>\r\n", a, a, a, a, a);
	ck_assert_str_eq(say(&d, text), "250/2.1.0");
	snprintf(text, sizeof(text), "RCPT TO:<%.300s@catch.test>\r\n", a);
	ck_assert_str_eq(say(&d, text), "250/2.1.5");
	snprintf(text, sizeof(text), "RCPT TO:<%.500s@catch.test>\r\n", a);
	ck_assert_str_eq(say(&d, text), "501/5.1.3");
	ck_assert_str_eq(say(&d, "DATA\r\n.\r\n"), "354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 5321 4.5.3.1.8 and .10: those before the limit are kept and served; RFC 9422 4.2: the
 * ones that failed count. */
START_TEST(recipients)
{
	struct drive d;
	uint64_t count = site_count(&site, "joe@example.test");

	begin(&d, HI FROM);
	for (int i = 0; i < 100; i++)
		ck_assert_str_eq(say(&d, i % 10 == 3 ? "RCPT TO:<nobody@example.test>\r\n" : TO),
		    i % 10 == 3 ? "550/5.1.1" : "250/2.1.5");
	/* More of them than errors are borne: they are none. */
	for (int i = 0; i < 40; i++)
		ck_assert_str_eq(say(&d, TO), "452/4.5.3");
	ck_assert_str_eq(say(&d, "DATA\r\n.\r\n"), "354 250/2.0.0");
	ck_assert_str_eq(say(&d, FROM TO), "250/2.1.0 250/2.1.5");
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count + 1);
}
END_TEST

START_TEST(too_many_errors)
{
	static const char *const wrong[] = {
		"FOO\r\n",
		"NOOP\n",
		"RCPT TO:<joe@elsewhere.example>\r\n",
		"BDAT 3 LAST x\r\nabc",
		"DATA\r\n",
		"MAIL FROM:<@>\r\n",
	};
	struct drive d;

	begin(&d, _i == 2 ? HI FROM : HI);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(say(&d, wrong[_i])[0], '5');
	/* Good commands are answered all the same. */
	ck_assert_str_eq(say(&d, "NOOP\r\n"), "250/2.0.0");
	ck_assert_str_eq(say(&d, wrong[_i]), "421/4.7.0 CLOSE");
	drive_close(&d, SESSION_END_SELF);
}
END_TEST

/* An accepted message wipes the slate. */
START_TEST(errors_are_forgiven)
{
	struct drive d;

	begin(&d, HI);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SMTP_ERRORS_MAX; i++)
			ck_assert_str_eq(say(&d, "FOO\r\n"), "500/5.5.2");
		/* EHLO was the first of them. */
		for (unsigned i = 1; i < SMTP_JUNK_MAX; i++)
			ck_assert_str_eq(say(&d, "NOOP\r\n"), "250/2.0.0");
		ck_assert_str_eq(
		    say(&d, FROM TO "DATA\r\n.\r\n"), "250/2.1.0 250/2.1.5 354 250/2.0.0");
	}
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(too_much_junk)
{
	static const char *const junk[] = { "NOOP\r\n", "VRFY a\r\n", "HELP\r\n", "EHLO c\r\n" };
	struct drive d;

	begin(&d, "");
	for (unsigned i = 0; i < SMTP_JUNK_MAX + SMTP_ERRORS_MAX; i++)
		ck_assert_int_eq(say(&d, junk[_i])[0], '2');
	/* RFC 5321 4.1.1.5: RSET closes nothing.  Nor is QUIT refused. */
	for (int i = 0; i < 300; i++)
		ck_assert_str_eq(say(&d, "RSET\r\n"), "250/2.0.0");
	ck_assert_str_eq(say(&d, _i % 2 == 0 ? junk[_i] : "QUIT\r\n"),
	    _i % 2 == 0 ? "421/4.7.0 CLOSE" : "221/2.0.0 CLOSE");
	drive_close(&d, SESSION_END_SELF);
}
END_TEST

/* Chunks that a client had sent before it could see the first refused are no mistakes. */
START_TEST(chunks_in_the_wake_of_a_refused_one)
{
	struct drive d;

	begin(&d, HI FROM TO);
	for (int i = 0; i < 60; i++) {
		static char chunk[2000];

		memset(chunk, 'x', sizeof(chunk));
		ck_assert(!drive_closed(&d));
		drive_say(&d, i < 59 ? "BDAT 2000\r\n" : "BDAT 2000 LAST\r\n");
		drive_send(&d, chunk, sizeof(chunk));
		const char *got = drive_take(&d);

		/* 32 of them fit into 64 KiB. */
		ck_assert_str_eq(got, i < 32 ? "250/2.0.0" : i == 32 ? "552/5.3.4" : "503/5.5.1");
	}
	ck_assert_str_eq(say(&d, "FOO\r\n" FROM TO "DATA\r\n.\r\n"),
	    "500/5.5.2 250/2.1.0 250/2.1.5 354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* Many short commands at once: the session stops while replies pile up, and goes on. */
START_TEST(replies_do_not_pile_up)
{
	struct drive d;
	char *text = mem_must_array(20000, 8);
	size_t used, n;

	begin(&d, HI);
	for (size_t i = 0; i < 20000; i++)
		memcpy(text + i * 6, "RSET\r\n", 6);
	n = 0;
	do {
		used = 0;
		d.want = smtp_session_ops.input(d.session, text + n, 20000 * 6 - n, &used);
		n += used;
		ck_assert_uint_le(d.out.pending, OUTQ_HIGH_WATER + SMTP_REPLY_MAX);
		drive_harvest(&d);
	} while (d.want == SESSION_DRAIN);
	ck_assert_int_eq(d.want, SESSION_READ);
	ck_assert_uint_eq(n, 20000 * 6);
	ck_assert_uint_eq(d.said.len, 20000 * strlen("250 2.0.0 ok\r\n"));
	free(text);
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* Nor do look-ups, each of which may take a while: the others of the loop get their turns. */
START_TEST(look_ups_give_way)
{
	struct strbuf text;
	struct drive d;
	size_t used, n = 0, most = 0;

	strbuf_init(&text, SIZE_MAX);
	for (int i = 0; i < 10; i++) {
		strbuf_addstr(&text, FROM);
		for (int k = 0; k < 100; k++)
			strbuf_addstr(&text, TO);
		strbuf_addstr(&text, "RSET\r\n");
	}
	begin(&d, HI);
	do {
		used = 0;
		d.want = smtp_session_ops.input(d.session, text.buf + n, text.len - n, &used);
		n += used;
		most = used > most ? used : most;
		drive_harvest(&d);
	} while (d.want == SESSION_DRAIN);
	ck_assert_int_eq(d.want, SESSION_READ);
	ck_assert_uint_eq(n, text.len);
	ck_assert_uint_gt(most, 0);
	ck_assert_uint_le(most, (SMTP_LOOKS_MAX / 2 + 8) * strlen(TO));
	strbuf_release(&text);
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* A disk that is nearly full: 452 at MAIL (RFC 1870 6.1), and no harm done. */
START_TEST(full_disk)
{
	struct site full = { 0 };
	struct drive d;

	site_open(&full, "", UINT64_MAX / 2);
	drive_open(&d, &full, false);
	strbuf_clear(&d.said);
	ck_assert_str_eq(say(&d, HI FROM TO "DATA\r\nQUIT\r\n"),
	    "250 452/4.3.1 503/5.5.1 503/5.5.1 221/2.0.0 CLOSE");
	drive_close(&d, SESSION_END_SELF);
	site_close(&full);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_limits");
	TCase *t = tcase_create("limits");
	SRunner *runner;
	int failed;

	site_open(&site, "max_message_size = 64K\nmax_recipients = 100", 1);
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, command_lines, 0, (int)(sizeof(lines) / sizeof(lines[0])));
	tcase_add_test(t, endless_line);
	tcase_add_test(t, long_names);
	tcase_add_test(t, recipients);
	tcase_add_loop_test(t, too_many_errors, 0, 6);
	tcase_add_test(t, errors_are_forgiven);
	tcase_add_loop_test(t, too_much_junk, 0, 4);
	tcase_add_test(t, chunks_in_the_wake_of_a_refused_one);
	tcase_add_test(t, replies_do_not_pile_up);
	tcase_add_test(t, look_ups_give_way);
	tcase_add_test(t, full_disk);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	/* The spool's threads would not survive a fork. */
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	site_close(&site);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
