/*
 * smtp_data, lmtp: what is kept of what was sent, by DATA and by BDAT, octet for octet
 * behind our trace fields; what is refused behind the data; and LMTP's replies.
 */
#include <check.h>

#include "base/clock.h"
#include "drive.h"
#include "mail/dot.h"
#include "spool/maildrop.h"

static struct site site;

#define HI "EHLO client.example\r\n"
#define FROM "MAIL FROM:<a@b.example>\r\n"
#define TO "RCPT TO:<joe@example.test>\r\n"

static int
into_strbuf(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

/* The newest message of a mailbox as RETR would give it, unstuffed; checks its size. */
static void
newest(const char *name, struct strbuf *message_r)
{
	struct address a;
	struct account_user user;
	struct maildrop *md;
	struct maildrop_message *m;
	struct dot dot;

	ck_assert_int_eq(address_parse(name, &a), 0);
	ck_assert_int_eq(account_user_find(site.spool, &a, &user), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(site.spool, user.mailbox, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	size_t last = maildrop_count(md) - 1;

	ck_assert_uint_gt(maildrop_count(md), 0);
	ck_assert_int_eq(maildrop_open_message(md, last, true, &m), SPOOL_OK);
	char *wire = mem_must_array(m->wire_len, 1);

	ck_assert_int_eq(pread(m->fd, wire, m->wire_len, (off_t)m->wire_offset), m->wire_len);
	ck_assert_mem_eq(wire + m->wire_len - 5, "\r\n.\r\n", 5);
	strbuf_init(message_r, SIZE_MAX);
	strbuf_add(message_r, m->prefix, m->prefix_len);
	dot_init(&dot);
	dot_unstuff(&dot, wire, m->wire_len - 3, into_strbuf, message_r);
	/* RFC 1939 11: what LIST says is what RETR sends. */
	ck_assert_uint_eq(message_r->len, maildrop_octets(md, last));
	free(wire);
	maildrop_close_message(&m);
	maildrop_close(&md);
}

/* Time goes on for each message, so the newest is the last. */
static void
tick(void)
{
	static uint64_t ms = 1795489877000;

	ms += 1000;
	clock_set(ms, ms);
}

static void
begin(struct drive *d, bool lmtp)
{
	tick();
	drive_open(d, &site, lmtp);
	d->link.id[0] = 's';
	strbuf_clear(&d->said);
}

static const char *
say(struct drive *d, const char *text)
{
	drive_say(d, text);
	return drive_take(d);
}

#define L(text) text, sizeof(text) - 1

static const struct row {
	const char *name;
	const char *data; /* stuffed, with the end */
	size_t data_len;
	const char *kept; /* behind our field */
	size_t kept_len;
} rows[] = {
	{ "plain", L("Subject: x\r\n\r\nhi\r\n.\r\n"), L("Subject: x\r\n\r\nhi\r\n") },
	{ "empty", L(".\r\n"), L("") },
	{ "an empty line is kept, none is added", L("\r\n.\r\n"), L("\r\n") },
	{ "dots", L("..\r\n...\r\n..a\r\na.\r\n.\r\n"), L(".\r\n..\r\n.a\r\na.\r\n") },
	{ "a dot that was not stuffed goes", L(".a\r\n.\r\n"), L("a\r\n") },
	{ "bare LF", L("a\n.\nb\n..c\r\n.\r\n"), L("a\r\n.\r\nb\r\n..c\r\n") },
	{ "bare CR", L("a\rb\r\r\nc\r\n.\r\n"), L("a\rb\r\r\nc\r\n") },
	{ "8 bit, controls and NUL", L("\0\x01\xff\xc3\xa4\x7f\x1b\r\n.\r\n"),
	    L("\0\x01\xff\xc3\xa4\x7f\x1b\r\n") },
	{ "trace fields that came stay",
	    L("Return-Path: <x@y>\r\nDelivered-To: z\r\nReceived: q\r\nAuthentication-Results: "
	      "mail.example.test; none\r\n\r\n.\r\n"),
	    L("Return-Path: <x@y>\r\nDelivered-To: z\r\nReceived: q\r\nAuthentication-Results: "
	      "mail.example.test; none\r\n\r\n") },
	{ "defects of the message",
	    L("From\r\n: x\r\nDate: never\r\nResent-To: a@b\r\nFrom: a, b\r\nFrom: c\r\n\tx\r\n "
	      "\r\nResent-Date:\r\n.\r\n"),
	    L("From\r\n: x\r\nDate: never\r\nResent-To: a@b\r\nFrom: a, b\r\nFrom: c\r\n\tx\r\n "
	      "\r\nResent-Date:\r\n") },
	{ "smuggled",
	    L("a\n.\r\nMAIL FROM:<e@v>\r\n\r.\r\nRCPT "
	      "TO:<joe@example.test>\r\n.\r\r\nDATA\r\n.\r\n"),
	    L("a\r\n.\r\nMAIL FROM:<e@v>\r\n\r.\r\nRCPT TO:<joe@example.test>\r\n\r\r\nDATA\r\n") },
};

static void
check_kept(const char *name, const char *kept, size_t len, const char *with)
{
	static const char prefix[] =
	    "Return-Path: <a@b.example>\r\nDelivered-To: joe@example.test\r\n"
	    "Received: from client.example ([192.0.2.7])\r\n"
	    "\tby mail.example.test with ";
	struct strbuf message;
	const char *end;

	newest("joe@example.test", &message);
	ck_assert_msg(
	    message.len > sizeof(prefix) && memcmp(message.buf, prefix, sizeof(prefix) - 1) == 0,
	    "%s: %s", name, message.buf);
	ck_assert_msg(strncmp(message.buf + sizeof(prefix) - 1, with, strlen(with)) == 0, "%s: %s",
	    name, message.buf);
	end = strstr(message.buf, " +0000\r\n");
	ck_assert_ptr_nonnull(end);
	end += 8;
	ck_assert_msg(
	    (size_t)(message.buf + message.len - end) == len && memcmp(end, kept, len) == 0,
	    "%s: kept %.*s", name, (int)(message.buf + message.len - end), end);
	strbuf_release(&message);
}

START_TEST(data_is_kept)
{
	const struct row *r = &rows[_i];
	struct drive d;

	for (size_t split = 0; split <= r->data_len; split++) {
		begin(&d, false);
		ck_assert_str_eq(say(&d, HI FROM TO "DATA\r\n"), "250 250/2.1.0 250/2.1.5 354");
		drive_send(&d, r->data, split);
		drive_send(&d, r->data + split, r->data_len - split);
		ck_assert_str_eq(drive_take(&d), "250/2.0.0");
		drive_close(&d, SESSION_END_PEER);
		check_kept(
		    r->name, r->kept, r->kept_len, "ESMTP id s1-1\r\n\tfor <joe@example.test>; ");
	}
}
END_TEST

/* RFC 3030 2: a chunk's octets are the message's, wherever the chunks are cut. */
START_TEST(chunks_are_kept)
{
	const struct row *r = &rows[_i];
	char command[64];
	struct drive d;

	for (size_t split = 0; split <= r->kept_len; split++) {
		begin(&d, false);
		say(&d, HI FROM TO);
		snprintf(command, sizeof(command), "BDAT %zu\r\n", split);
		drive_say(&d, command);
		drive_send(&d, r->kept, split);
		ck_assert_str_eq(drive_take(&d), "250/2.0.0");
		snprintf(command, sizeof(command), "BDAT %zu LAST\r\n", r->kept_len - split);
		drive_say(&d, command);
		drive_send(&d, r->kept + split, r->kept_len - split);
		ck_assert_str_eq(drive_take(&d), "250/2.0.0");
		drive_close(&d, SESSION_END_PEER);
		check_kept(r->name, r->kept, r->kept_len, "ESMTP id ");
	}
}
END_TEST

START_TEST(chunks_of_bare_lf)
{
	struct drive d;

	begin(&d, false);
	ck_assert_str_eq(
	    say(&d, HI FROM TO "BDAT 8 LAST\r\na\n.\n\n.\rb"), "250 250/2.1.0 250/2.1.5 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	check_kept("bare LF", L("a\r\n.\r\n\r\n.\rb\r\n"), "ESMTP id ");
}
END_TEST

/* Runs of all lengths, gathered and not, keep their order. */
START_TEST(runs_of_all_lengths)
{
	struct strbuf said, kept;
	char line[100], command[64];
	struct drive d;

	strbuf_init(&said, SIZE_MAX);
	strbuf_init(&kept, SIZE_MAX);
	for (size_t i = 0; i < 1000; i++) {
		size_t len = i * 37 % sizeof(line);

		memset(line, 'a' + (int)(i % 26), len);
		strbuf_add(&said, line, len);
		strbuf_addstr(&said, i % 5 == 4 ? "\r\n" : "\n");
		strbuf_add(&kept, line, len);
		strbuf_addstr(&kept, "\r\n");
		/* Behind CRLF a lone dot would be stuffed, or the end. */
		if (i % 5 < 4) {
			strbuf_addstr(&said, ".\n");
			strbuf_addstr(&kept, ".\r\n");
		}
	}
	begin(&d, false);
	if (_i == 0) {
		say(&d, HI FROM TO "DATA\r\n");
		drive_send(&d, said.buf, said.len);
		drive_say(&d, ".\r\n");
	} else {
		say(&d, HI FROM TO);
		snprintf(command, sizeof(command), "BDAT %zu LAST\r\n", said.len);
		drive_say(&d, command);
		drive_send(&d, said.buf, said.len);
	}
	ck_assert_str_eq(drive_take(&d), "250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	check_kept("runs", kept.buf, kept.len, "ESMTP id ");
	strbuf_release(&said);
	strbuf_release(&kept);
}
END_TEST

START_TEST(how_it_came)
{
	struct drive d;

	begin(&d, false);
	say(&d, "HELO client.example\r\n" FROM TO "DATA\r\n.\r\n");
	drive_close(&d, SESSION_END_PEER);
	check_kept("HELO", L(""), "SMTP id ");

	begin(&d, false);
	say(&d, HI "STARTTLS\r\n");
	say(&d, HI FROM TO "DATA\r\n.\r\n");
	drive_close(&d, SESSION_END_PEER);
	check_kept("TLS", L(""), "ESMTPS id ");

	begin(&d, true);
	say(&d, "LHLO client.example\r\n" FROM TO "DATA\r\n.\r\n");
	drive_close(&d, SESSION_END_PEER);
	check_kept("LMTP", L(""), "LMTP id ");

	begin(&d, true);
	say(&d, "LHLO c\r\nSTARTTLS\r\n");
	say(&d, "LHLO client.example\r\n" FROM TO "DATA\r\n.\r\n");
	drive_close(&d, SESSION_END_PEER);
	check_kept("LMTP and TLS", L(""), "LMTPS id ");
}
END_TEST

/* RFC 5321 4.4, 7.2: one path at most, and none of several. */
START_TEST(recipients_are_not_told_of_each_other)
{
	struct strbuf message;
	struct drive d;

	begin(&d, false);
	say(&d, HI FROM TO "RCPT TO:<ann@example.test>\r\nDATA\r\n.\r\n");
	drive_close(&d, SESSION_END_PEER);
	check_kept("two", L(""), "ESMTP id s1-1;\r\n\t");
	newest("ann@example.test", &message);
	ck_assert_ptr_null(strstr(message.buf, "joe"));
	strbuf_release(&message);
}
END_TEST

/* A refused message: one reply, no transaction, nothing kept, the session lives. */
static void
check_refused(const char *text, const char *want)
{
	uint64_t count = site_count(&site, "joe@example.test");
	struct drive d;

	begin(&d, false);
	say(&d, HI FROM TO);
	ck_assert_str_eq(say(&d, text), want);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count);
	ck_assert_str_eq(say(&d, "DATA\r\n" TO FROM TO "DATA\r\n.\r\n"),
	    "503/5.5.1 503/5.5.1 250/2.1.0 250/2.1.5 354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count + 1);
}

/* `lines` times `line`, between `before` and `after`. */
static char *
repeated(const char *before, const char *line, size_t lines, const char *after)
{
	struct strbuf text;

	strbuf_init(&text, SIZE_MAX);
	strbuf_addstr(&text, before);
	for (size_t i = 0; i < lines; i++)
		strbuf_addstr(&text, line);
	strbuf_addstr(&text, after);
	return strbuf_detach(&text);
}

/* RFC 1870 5: stuffing does not count; the last octet that fits does. */
START_TEST(largest_message)
{
	uint64_t count = site_count(&site, "joe@example.test");
	char *fits = repeated("DATA\r\n", "..\r\n", 21845, ".\r\n");
	char *fits_not = repeated("DATA\r\n", "..\r\n", 21845, "x\r\n.\r\n");
	char *chunk = repeated("BDAT 65536 LAST\r\n", "ab\r\n", 16384, "");
	char *chunk_of_lf = repeated("BDAT 60000 LAST\r\n", "12345\n", 10000, "");
	char *two_chunks = repeated("BDAT 65534 LAST\r\n", "x", 65534, "");
	struct drive d;

	begin(&d, false);
	say(&d, HI FROM TO);
	/* 21,845 lines of three octets are one less than 64 KiB. */
	ck_assert_str_eq(say(&d, fits), "354 250/2.0.0");
	say(&d, FROM TO);
	ck_assert_str_eq(say(&d, chunk), "250/2.0.0");
	say(&d, FROM TO);
	/* A line that was not ended is, and that counts. */
	ck_assert_str_eq(say(&d, two_chunks), "250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count + 3);
	check_refused(fits_not, "354 552/5.3.4");
	check_refused(chunk_of_lf, "552/5.3.4");
	free(fits);
	free(fits_not);
	free(chunk);
	free(chunk_of_lf);
	free(two_chunks);
	char *too_long = repeated("BDAT 65537 LAST\r\n", "x", 65537, "");
	char *unended = repeated("BDAT 65535 LAST\r\n", "x", 65535, "");
	char *huge = repeated("DATA\r\n", "0123456789abcdef", 200000, "\r\n.\r\n");

	check_refused(too_long, "552/5.3.4");
	check_refused(unended, "552/5.3.4");
	check_refused(huge, "354 552/5.3.4");
	free(too_long);
	free(unended);
	free(huge);
}
END_TEST

/* RFC 5321 6.3. */
START_TEST(loops)
{
	char *fits = repeated("DATA\r\n", "rEcEiVeD: x\r\n", 100, "\r\nReceived: not one\r\n.\r\n");
	char *fits_not = repeated("DATA\r\n", "Received: x\r\n", 101, "\r\n.\r\n");
	struct drive d;

	begin(&d, false);
	say(&d, HI FROM TO);
	ck_assert_str_eq(say(&d, fits), "354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	check_refused(fits_not, "354 554/5.4.6");
	free(fits);
	free(fits_not);
}
END_TEST

/* bare_newline = reject: the true end is waited for all the same. */
START_TEST(bare_newlines_refused)
{
	bool *reject = &site.config->smtpd.bare_newline_reject;

	*reject = true;
	check_refused("DATA\r\na\n.\nb\n.\r\nc\r\n.\r\n", "354 550/5.5.2");
	check_refused("BDAT 3 LAST\r\na\nb", "550/5.5.2");
	check_refused("BDAT 2\r\na\nBDAT 0 LAST\r\n", "250/2.0.0 550/5.5.2");
	*reject = false;
}
END_TEST

/* RFC 2033 4.1, 4.2. */
static const struct {
	const char *name, *in, *want;
} lmtp_rows[] = {
	{ "LHLO alone", "HELO c\r\nEHLO c\r\nLHLO c\r\nHELP\r\n",
	    "500/5.5.2 500/5.5.2 250 214/2.0.0" },
	{ "nothing before LHLO", FROM "BDAT 6\r\nQUIT\r\n", "503/5.5.1 503/5.5.1" },
	{ "a reply for each",
	    "LHLO c\r\n" FROM TO "RCPT TO:<nobody@example.test>\r\n"
	    "RCPT TO:<ann@example.test>\r\n" TO "DATA\r\n.\r\nNOOP\r\n",
	    "250 250/2.1.0 250/2.1.5 550/5.1.1 250/2.1.5 250/2.1.5 354 250/2.0.0 250/2.0.0 "
	    "250/2.0.0 "
	    "250/2.0.0" },
	{ "DATA without RCPT", "LHLO c\r\n" FROM "DATA\r\n", "250 250/2.1.0 503/5.5.1" },
	{ "chunks", "LHLO c\r\n" FROM TO TO "BDAT 1\r\nxBDAT 1 LAST\r\ny",
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 250/2.0.0 250/2.0.0 250/2.0.0" },
	{ "a refused chunk", "LHLO c\r\n" FROM TO TO "BDAT 6 x\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n",
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 501/5.5.4 503/5.5.1 250/2.0.0" },
	{ "a last chunk nowhere", "LHLO c\r\n" FROM "BDAT 0 LAST\r\nNOOP\r\n",
	    "250 250/2.1.0 503/5.5.1 250/2.0.0" },
};

START_TEST(lmtp)
{
	struct drive d;
	size_t len = strlen(lmtp_rows[_i].in);

	for (size_t split = 0; split <= len; split++) {
		begin(&d, true);
		drive_send(&d, lmtp_rows[_i].in, split);
		drive_send(&d, lmtp_rows[_i].in + split, len - split);
		const char *got = drive_take(&d);

		ck_assert_msg(strcmp(got, lmtp_rows[_i].want) == 0,
		    "%s, split at %zu:\ngot  %s\nwant %s", lmtp_rows[_i].name, split, got,
		    lmtp_rows[_i].want);
		drive_close(&d, SESSION_END_PEER);
	}
}
END_TEST

START_TEST(lmtp_refuses_each)
{
	char *huge = repeated("DATA\r\n", "0123456789abcdef", 5000, "\r\n.\r\nNOOP\r\n");
	char *chunk = repeated("BDAT 80000 LAST\r\n", "0123456789abcdef", 5000, "NOOP\r\n");
	struct drive d;

	begin(&d, true);
	ck_assert_str_eq(d.said.buf, "");
	say(&d, "LHLO c\r\n" FROM TO TO "RCPT TO:<ann@example.test>\r\n");
	ck_assert_str_eq(say(&d, huge), "354 552/5.3.4 552/5.3.4 552/5.3.4 250/2.0.0");
	say(&d, FROM TO "RCPT TO:<ann@example.test>\r\n");
	ck_assert_str_eq(say(&d, chunk), "552/5.3.4 552/5.3.4 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	free(huge);
	free(chunk);
}
END_TEST

/* A mailbox that is removed between RCPT and the dot drops out. */
START_TEST(mailbox_removed_meanwhile)
{
	struct spool_options options = { .role = SPOOL_ADMIN };
	char dir[96];
	struct spool *admin;
	struct address a;
	struct strbuf err;
	struct drive d;

	strbuf_init(&err, 1000);
	snprintf(dir, sizeof(dir), "%s/spool", site.dir);
	options.dir = dir;
	ck_assert_int_eq(spool_open(&options, &admin, &err), SPOOL_OK);
	for (int lmtp_too = 0; lmtp_too < 2; lmtp_too++) {
		for (int alone = 0; alone < 2; alone++) {
			site_user(admin, "late@example.test");
			begin(&d, lmtp_too);
			say(&d, lmtp_too ? "LHLO c\r\n" FROM : HI FROM);
			if (!alone)
				say(&d, TO);
			say(&d, "RCPT TO:<late@example.test>\r\n");
			ck_assert_int_eq(address_parse("late@example.test", &a), 0);
			ck_assert_int_eq(account_user_remove(admin, &a), SPOOL_OK);
			const char *got = say(&d, "DATA\r\n.\r\n");

			if (lmtp_too)
				ck_assert_str_eq(
				    got, alone ? "354 550/5.1.1" : "354 250/2.0.0 550/5.1.1");
			else
				ck_assert_str_eq(got, alone ? "354 550/5.1.1" : "354 250/2.0.0");
			drive_close(&d, SESSION_END_PEER);
		}
	}
	spool_close(&admin);
	strbuf_release(&err);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_data");
	TCase *t = tcase_create("messages");
	int n = (int)(sizeof(rows) / sizeof(rows[0]));
	SRunner *runner;
	int failed;

	setenv("TZ", "UTC", 1);
	site_open(&site, "max_message_size = 64K\nmax_recipients = 100", 1);
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, data_is_kept, 0, n);
	tcase_add_loop_test(t, chunks_are_kept, 0, n);
	tcase_add_test(t, chunks_of_bare_lf);
	tcase_add_loop_test(t, runs_of_all_lengths, 0, 2);
	tcase_add_test(t, how_it_came);
	tcase_add_test(t, recipients_are_not_told_of_each_other);
	tcase_add_test(t, largest_message);
	tcase_add_test(t, loops);
	tcase_add_test(t, bare_newlines_refused);
	tcase_add_loop_test(t, lmtp, 0, (int)(sizeof(lmtp_rows) / sizeof(lmtp_rows[0])));
	tcase_add_test(t, lmtp_refuses_each);
	tcase_add_test(t, mailbox_removed_meanwhile);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	/* The spool's threads would not survive a fork. */
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	clock_set(0, 0);
	site_close(&site);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
