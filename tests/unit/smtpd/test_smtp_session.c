/*
 * smtp_session, smtp_command: dialogues as rows, each run whole, octet by octet, and split
 * at every place.
 *
 * What is wanted is written short: a code, a slash and the enhanced code for each reply,
 * CLOSE where the session ends.
 */
#include <check.h>

#include "drive.h"

static struct site site;

#define HI "EHLO client.example\r\n"
#define FROM "MAIL FROM:<a@b.example>\r\n"
#define TO "RCPT TO:<joe@example.test>\r\n"
#define MESSAGE "Subject: hi\r\n\r\nhi\r\n.\r\n"
#define OK_ENVELOPE "250 250/2.1.0 250/2.1.5"

static const struct row {
	const char *name, *in, *want;
} rows[] = {
	{ "a message", HI FROM TO "DATA\r\n" MESSAGE "QUIT\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 221/2.0.0 CLOSE" },
	{ "HELO", "HELO client.example\r\n" FROM TO "DATA\r\n" MESSAGE "QUIT\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 221/2.0.0 CLOSE" },
	{ "HELO turns the extensions off",
	    "HELO c\r\nMAIL FROM:<a@b.example> SIZE=1\r\nBDAT 5\r\nQUIT\nNOOP\r\n",
	    "250 555/5.5.4 503/5.5.1 250/2.0.0" },
	{ "two messages", HI FROM TO "DATA\r\n.\r\n" FROM TO "DATA\r\n.\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0" },
	{ "any case",
	    "ehlo C\r\nmail from:<a@b.example> size=10 body=8bitmime\r\n"
	    "Rcpt tO:<joe@example.test>\r\ndata\r\n.\r\nquit\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 221/2.0.0 CLOSE" },
	{ "trailing blanks",
	    "EHLO c \t\r\nMAIL FROM:<a@b.example>  \r\nRCPT TO:<joe@example.test>\t\r\n"
	    "NOOP \r\nRSET  \r\nQUIT \r\n",
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0 221/2.0.0 CLOSE" },
	{ "a blank behind the colon",
	    HI "MAIL FROM: <a@b.example>\r\nRCPT TO: <joe@example.test>\r\n", OK_ENVELOPE },

	{ "tabs are blanks",
	    "EHLO\tc\r\nMAIL\tFROM:<a@b.example>\r\nRCPT \t TO:<joe@example.test>\r\n"
	    "BDAT\t2\t LAST\r\nhiNOOP\t\r\n",
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0" },
	{ "a last chunk says LAST", HI FROM TO "BDAT 2 LAXT\r\nhiNOOP\r\n",
	    OK_ENVELOPE " 501/5.5.4 250/2.0.0" },

	{ "HELO knows no chunks", "HELO c\r\n" FROM TO "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
	    OK_ENVELOPE " 503/5.5.1 250/2.0.0" },
	{ "a long chunk", HI "BDAT 4294967296\r\nQUIT\r\n", "250" },
	{ "nothing before EHLO but what moves no mail",
	    "MAIL FROM:<a@b.example>\r\n" TO "DATA\r\nNOOP\r\nRSET\r\nVRFY joe\r\nHELP\r\nQUIT\r\n",
	    "503/5.5.1 503/5.5.1 503/5.5.1 250/2.0.0 250/2.0.0 252/2.0.0 214/2.0.0 221/2.0.0 "
	    "CLOSE" },
	{ "RCPT and DATA without MAIL", HI TO "DATA\r\n", "250 503/5.5.1 503/5.5.1" },
	{ "DATA without RCPT", HI FROM "DATA\r\n" TO, "250 250/2.1.0 503/5.5.1 250/2.1.5" },
	{ "DATA when each RCPT failed", HI FROM "RCPT TO:<nobody@example.test>\r\nDATA\r\n",
	    "250 250/2.1.0 550/5.1.1 503/5.5.1" },
	{ "the first MAIL survives a second", HI FROM FROM TO FROM "DATA\r\n.\r\n",
	    "250 250/2.1.0 503/5.5.1 250/2.1.5 503/5.5.1 354 250/2.0.0" },
	{ "bad MAIL and RCPT change nothing",
	    HI "MAIL FROM:<a\r\nMAIL FROM:<@>\r\nMAIL a@b\r\n" FROM
	       "RCPT TO:<joe@\r\nRCPT joe\r\n" TO "RCPT TO:<>\r\nDATA\r\n.\r\n",
	    "250 501/5.1.7 501/5.1.7 501/5.5.4 250/2.1.0 501/5.1.3 501/5.5.4 250/2.1.5 501/5.1.3 "
	    "354 250/2.0.0" },
	{ "RSET clears", HI FROM TO "RSET\r\nDATA\r\n" TO FROM,
	    OK_ENVELOPE " 250/2.0.0 503/5.5.1 503/5.5.1 250/2.1.0" },
	{ "EHLO clears", HI FROM TO HI "DATA\r\n" FROM TO "HELO c\r\n" TO,
	    OK_ENVELOPE " 250 503/5.5.1 250/2.1.0 250/2.1.5 250 503/5.5.1" },
	{ "a bad EHLO changes nothing", HI FROM TO "EHLO\r\nHELO \r\nDATA\r\n.\r\n",
	    OK_ENVELOPE " 501/5.5.4 501/5.5.4 354 250/2.0.0" },
	{ "unwanted arguments",
	    HI FROM TO "DATA now\r\nRSET all\r\nQUIT please\r\nSTARTTLS x\r\n"
		       "DATA\r\n.\r\n",
	    OK_ENVELOPE " 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 354 250/2.0.0" },
	{ "a name is compared with nothing",
	    "EHLO [192.0.2.99]\r\nEHLO localhost\r\nHELO mail.example.test\r\nEHLO .\r\n" FROM,
	    "250 250 250 250 250/2.1.0" },
	{ "NOOP's argument is nobody's business", "NOOP <a@b> \"c\r\nNOOP\r\n",
	    "250/2.0.0 250/2.0.0" },
	{ "VRFY and EXPN", "VRFY joe@example.test\r\nVRFY nobody\r\nVRFY\r\nEXPN team\r\nEXPN\r\n",
	    "252/2.0.0 252/2.0.0 501/5.5.4 502/5.5.1 502/5.5.1" },
	{ "known, not offered",
	    "AUTH PLAIN AGEAYg==\r\nTURN\r\nETRN x\r\nSEND FROM:<a@b>\r\nSOML\r\nSAML\r\n",
	    "502/5.5.1 502/5.5.1 502/5.5.1 502/5.5.1 502/5.5.1 502/5.5.1" },
	{ "unknown", "FOO\r\nLHLO c\r\n\r\n \r\n NOOP\r\nNOOPX\r\nNOO\r\nGET / HTTP/1.1\r\n",
	    "500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2" },
	{ "QUIT drops what is open", HI FROM TO "QUIT\r\nNOOP\r\n",
	    OK_ENVELOPE " 221/2.0.0 CLOSE" },

	{ "a bare LF ends no command",
	    HI FROM "RCPT TO:<joe@example.test>\nDATA\r\nNOOP\n\nNOOP\r\n",
	    "250 250/2.1.0 500/5.5.2 503/5.5.1 500/5.5.2 500/5.5.2 250/2.0.0" },
	{ "nor does a bare CR", "NOOP\rNOOP\r\nNOOP\r\r\n", "500/5.5.2 500/5.5.2" },
	{ "controls", "NOOP \x01\r\nNOOP \x7f\r\nNOOP \x1b[2J\r\nNOOP a\tb\r\n",
	    "501/5.5.2 501/5.5.2 501/5.5.2 250/2.0.0" },
	{ "octets above ASCII",
	    HI "MAIL FROM:<\xc3\xa4@b.example>\r\n" FROM
	       "RCPT TO:<joe@ex\xc3\xa4mple.test>\r\nN\xc3\xb6\r\nEHLO \xff\r\n",
	    "250 501/5.5.2 250/2.1.0 501/5.5.2 500/5.5.2 501/5.5.2" },

	{ "the null reverse-path", HI "MAIL FROM:<>\r\n" TO "DATA\r\n.\r\nMAIL FROM:<> SIZE=99\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 250/2.1.0" },
	{ "parameters",
	    HI "MAIL FROM:<a@b.example> FOO=1\r\nMAIL FROM:<a@b.example> RET=HDRS\r\n"
	       "MAIL FROM:<a@b.example> SMTPUTF8\r\nMAIL FROM:<a@b.example> SIZE\r\n"
	       "MAIL FROM:<a@b.example> SIZE=1 SIZE=2\r\n"
	       "MAIL FROM:<a@b.example> SIZE=123456789012345678901\r\n"
	       "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n"
	       "MAIL FROM:<a@b.example> BODY=7BIT BODY=7BIT\r\n"
	       "MAIL FROM:<a@b.example> AUTH=<> BODY=7BIT SIZE=0001\r\n"
	       "RCPT TO:<joe@example.test> NOTIFY=NEVER\r\nRCPT TO:<joe@example.test> \r\n",
	    "250 555/5.5.4 555/5.5.4 555/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 "
	    "250/2.1.0 555/5.5.4 250/2.1.5" },
	{ "SIZE",
	    HI
	    "MAIL FROM:<a@b.example> SIZE=65536\r\nRSET\r\nMAIL FROM:<a@b.example> SIZE=65537\r\n"
	    "MAIL FROM:<a@b.example> SIZE=18446744073709551615\r\n"
	    "MAIL FROM:<a@b.example> SIZE=99999999999999999999\r\n",
	    "250 250/2.1.0 250/2.0.0 552/5.3.4 552/5.3.4 552/5.3.4" },

	{ "SIZE ends no message",
	    HI "MAIL FROM:<a@b.example> SIZE=3\r\n" TO "DATA\r\n" MESSAGE
	       "MAIL FROM:<a@b.example> SIZE=60000\r\n" TO "DATA\r\nx\r\n.\r\nNOOP\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0 250/2.0.0" },

	{ "recipients",
	    HI FROM "RCPT TO:<JOE@Example.TEST>\r\nRCPT TO:<\"joe\"@example.test>\r\n"
		    "RCPT TO:<\"j\\oe\"@example.test>\r\nRCPT TO:<joe+tag@example.test>\r\n"
		    "RCPT TO:<@x.example,@y.example:joe@example.test>\r\n"
		    "RCPT TO:<team@example.test>\r\nRCPT TO:<who.ever@catch.test>\r\n"
		    "DATA\r\n.\r\n",
	    OK_ENVELOPE
	    " 250/2.1.5 250/2.1.5 250/2.1.5 250/2.1.5 250/2.1.5 250/2.1.5 354 250/2.0.0" },
	{ "postmaster and abuse",
	    HI FROM "RCPT TO:<postmaster>\r\nRCPT TO:<PostMaster>\r\n"
		    "RCPT TO:<postmaster@catch.test>\r\nRCPT TO:<ABUSE@example.test>\r\n"
		    "RCPT TO:<abuse>\r\n",
	    OK_ENVELOPE " 250/2.1.5 250/2.1.5 250/2.1.5 501/5.1.3" },
	{ "not ours",
	    HI FROM "RCPT TO:<nobody@example.test>\r\nRCPT TO:<gone@example.test>\r\n"
		    "RCPT TO:<joe@elsewhere.example>\r\nRCPT TO:<joe@sub.example.test>\r\n"
		    "RCPT TO:<joe%elsewhere.example@example.test>\r\n"
		    "RCPT TO:<elsewhere.example!joe@example.test>\r\n"
		    "RCPT TO:<\"joe@elsewhere.example\"@example.test>\r\n"
		    "RCPT TO:<joe@[192.0.2.1]>\r\nRCPT TO:<joe@[IPv6:2001:db8::1]>\r\n"
		    "RCPT TO:<@example.test:joe@elsewhere.example>\r\n",
	    "250 250/2.1.0 550/5.1.1 550/5.2.1 550/5.7.1 550/5.7.1 550/5.1.1 550/5.1.1 550/5.1.1 "
	    "550/5.7.1 550/5.7.1 550/5.7.1" },
	{ "senders of every kind",
	    HI "MAIL FROM:<a@[192.0.2.7]>\r\nRSET\r\nMAIL FROM:<@x,@y:a@b.example>\r\n"
	       "RSET\r\nMAIL FROM:<\"a b\"@c.example>\r\nRSET\r\nMAIL FROM:<joe>\r\n",
	    "250 250/2.1.0 250/2.0.0 250/2.1.0 250/2.0.0 250/2.1.0 250/2.0.0 501/5.1.7" },

	{ "pipelined behind the data", HI FROM TO "DATA\r\nx\r\n.\r\nNOOP\r\n" FROM "QUIT\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 250/2.0.0 250/2.1.0 221/2.0.0 CLOSE" },
	{ "nothing but CRLF.CRLF ends the data",
	    HI FROM TO
	    "DATA\r\na\n.\nMAIL FROM:<x@y>\n.\r\nb\r\n.\nc\r.\rd\r\n.\re\r\n.\r\r\nf\r\r\n.\r\r\n"
	    "\n.\r\n.\rx\r\n..\r\n\r.\r\n.\r\nNOOP\r\n",
	    OK_ENVELOPE " 354 250/2.0.0 250/2.0.0" },
	{ "an empty message", HI FROM TO "DATA\r\n.\r\n", OK_ENVELOPE " 354 250/2.0.0" },

	{ "BDAT", HI FROM TO "BDAT 5\r\nabcdeBDAT 4\r\n\r\n.\rBDAT 5 LAST\r\n\nx\n.\nNOOP\r\n",
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0 250/2.0.0 250/2.0.0" },
	{ "BDAT in any case", HI FROM TO "bdat 0002  last \r\nabQUIT\r\n",
	    OK_ENVELOPE " 250/2.0.0 221/2.0.0 CLOSE" },
	{ "BDAT 0 LAST", HI FROM TO "BDAT 3\r\nabcBDAT 0 LAST\r\nNOOP\r\n",
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0 250/2.0.0" },
	{ "BDAT 0 LAST alone", HI FROM TO "BDAT 0\r\nBDAT 0 LAST\r\n",
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0" },
	{ "BDAT behind LAST", HI FROM TO "BDAT 1 LAST\r\nxBDAT 6\r\nQUIT\r\nNOOP\r\n",
	    OK_ENVELOPE " 250/2.0.0 503/5.5.1 250/2.0.0" },
	{ "DATA behind BDAT", HI FROM TO "BDAT 1\r\nxDATA\r\n" TO FROM "NOOP\r\nBDAT 0 LAST\r\n",
	    OK_ENVELOPE " 250/2.0.0 503/5.5.1 503/5.5.1 503/5.5.1 250/2.0.0 250/2.0.0" },
	{ "RSET between chunks", HI FROM TO "BDAT 1\r\nxRSET\r\nBDAT 6 LAST\r\nQUIT\r\n" FROM,
	    OK_ENVELOPE " 250/2.0.0 250/2.0.0 503/5.5.1 250/2.1.0" },
	{ "BDAT nowhere",
	    "BDAT 6\r\nQUIT\r\n" HI "BDAT 6 LAST\r\nQUIT\r\n" FROM
	    "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n" TO "NOOP\r\n",
	    "503/5.5.1 250 503/5.5.1 250/2.1.0 503/5.5.1 503/5.5.1 503/5.5.1 250/2.0.0" },
	{ "BDAT too large", HI FROM TO "BDAT 65537 LAST\r\n", OK_ENVELOPE },
	{ "BDAT malformed",
	    HI FROM TO "BDAT\r\nBDAT x\r\nBDAT -1\r\nBDAT 1x\r\nBDAT +1\r\nBDAT 1 LAST\r\nx",
	    OK_ENVELOPE " 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 250/2.0.0" },
	{ "BDAT with a wrong word is read",
	    HI FROM TO "BDAT 6 FIRST\r\nQUIT\r\nBDAT 4 LAST x\r\nabcdNOOP\r\n",
	    OK_ENVELOPE " 501/5.5.4 501/5.5.4 250/2.0.0" },
	{ "BDAT without end", HI FROM TO "BDAT 99999999999999999999\r\nNOOP\r\n",
	    OK_ENVELOPE " 501/5.5.4 CLOSE" },
	{ "BDAT just without end", HI FROM TO "BDAT 4294967297 LAST\r\nNOOP\r\n",
	    OK_ENVELOPE " 501/5.5.4 CLOSE" },
};

static void
check_run(const struct row *row, size_t split, bool octets)
{
	struct drive d;
	size_t len = strlen(row->in);

	drive_open(&d, &site, false);
	ck_assert_str_eq(d.said.buf, "220 mail.example.test ESMTP Restante\r\n");
	strbuf_clear(&d.said);
	if (octets)
		for (size_t i = 0; i < len; i++)
			drive_send(&d, row->in + i, 1);
	else {
		drive_send(&d, row->in, split);
		drive_send(&d, row->in + split, len - split);
	}
	const char *got = drive_take(&d);

	ck_assert_msg(strcmp(got, row->want) == 0, "%s, %s %zu:\ngot  %s\nwant %s", row->name,
	    octets ? "octet by octet" : "split at", split, got, row->want);
	drive_close(&d, SESSION_END_PEER);
}

START_TEST(whole)
{
	check_run(&rows[_i], strlen(rows[_i].in), false);
}
END_TEST

START_TEST(octet_by_octet)
{
	check_run(&rows[_i], 0, true);
}
END_TEST

START_TEST(split_everywhere)
{
	for (size_t i = 1; i < strlen(rows[_i].in); i++)
		check_run(&rows[_i], i, false);
}
END_TEST

static const char *
say(struct drive *d, const char *text)
{
	drive_say(d, text);
	return drive_take(d);
}

START_TEST(what_ehlo_announces)
{
	struct drive d;

	drive_open(&d, &site, false);
	strbuf_clear(&d.said);
	drive_say(&d, "EHLO c\r\n");
	ck_assert_str_eq(d.said.buf,
	    "250-mail.example.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
	    "250-CHUNKING\r\n250-SIZE 65536\r\n250-STARTTLS\r\n250-LIMITS RCPTMAX=100\r\n250 "
	    "HELP\r\n");
	strbuf_clear(&d.said);
	drive_say(&d, "HELO c\r\n");
	ck_assert_str_eq(d.said.buf, "250 mail.example.test at your service\r\n");
	d.link.tls_available = false;
	strbuf_clear(&d.said);
	drive_say(&d, "EHLO c\r\n");
	ck_assert_ptr_null(strstr(d.said.buf, "STARTTLS"));
	drive_take(&d);
	ck_assert_str_eq(say(&d, "STARTTLS\r\n"), "454/4.7.0");
	ck_assert_str_eq(say(&d, "NOOP\r\n"), "250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 2920 3.2: what came together is answered together. */
START_TEST(a_group_is_answered_at_once)
{
	static const char group[] = FROM "RCPT TO:<nobody@example.test>\r\n" TO "DATA\r\n";
	struct drive d;
	size_t used = 0;

	drive_open(&d, &site, false);
	drive_say(&d, HI);
	strbuf_clear(&d.said);
	ck_assert_int_eq(
	    smtp_session_ops.input(d.session, group, sizeof(group) - 1, &used), SESSION_READ);
	ck_assert_uint_eq(used, sizeof(group) - 1);
	drive_harvest(&d);
	ck_assert_str_eq(drive_take(&d), "250/2.1.0 550/5.1.1 250/2.1.5 354");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 3207 4.2, 6: everything is forgotten, and what came along in the clear is gone. */
START_TEST(starttls)
{
	struct drive d;

	drive_open(&d, &site, false);
	strbuf_clear(&d.said);
	ck_assert_str_eq(say(&d, HI FROM TO "STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b.example>\r\n"),
	    OK_ENVELOPE " 220/2.0.0");
	ck_assert_int_eq(d.want, SESSION_READ);
	ck_assert_str_eq(say(&d, "DATA\r\n"), "503/5.5.1");
	ck_assert_str_eq(say(&d, FROM), "503/5.5.1");
	drive_say(&d, "EHLO again\r\n");
	ck_assert_ptr_null(strstr(d.said.buf, "STARTTLS"));
	ck_assert_ptr_nonnull(strstr(d.said.buf, "250-LIMITS"));
	drive_take(&d);
	ck_assert_str_eq(say(&d, "STARTTLS\r\n" FROM TO "DATA\r\n.\r\n"),
	    "503/5.5.1 250/2.1.0 250/2.1.5 354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(idle_and_shutdown)
{
	static const char *const before[] = {
		"",
		HI,
		HI FROM,
		HI FROM TO,
		HI FROM TO "DATA\r\nhalf",
		HI FROM TO "BDAT 10\r\nhalf",
		HI FROM TO "BDAT 1\r\nx",
		"NOOP",
		"BDAT 10\r\n",
	};
	uint64_t count = site_count(&site, "joe@example.test");
	struct drive d;

	drive_open(&d, &site, false);
	drive_say(&d, before[_i]);
	drive_take(&d);
	d.want = smtp_session_ops.timed_out(d.session);
	drive_harvest(&d);
	ck_assert_str_eq(drive_take(&d), "421/4.4.2 CLOSE");
	drive_close(&d, SESSION_END_TIMEOUT);

	drive_open(&d, &site, false);
	drive_say(&d, before[_i]);
	drive_take(&d);
	d.want = smtp_session_ops.shutdown(d.session);
	drive_harvest(&d);
	ck_assert_str_eq(drive_take(&d), "421/4.3.2 CLOSE");
	drive_close(&d, SESSION_END_SHUTDOWN);
	/* RFC 5321 4.1.1.10: nothing of what was open is kept. */
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count);
}
END_TEST

/* RFC 5321 4.2.5, 4.1.1.10: the connection is lost at any octet of a message; before the end
 * there is none, behind it there is one. */
START_TEST(lost_connections)
{
	static const char text[] = HI FROM TO "DATA\r\n" MESSAGE;
	uint64_t count = site_count(&site, "joe@example.test");
	struct drive d;

	for (size_t i = 0; i <= strlen(text); i++) {
		drive_open(&d, &site, false);
		drive_send(&d, text, i);
		drive_close(&d, SESSION_END_PEER);
	}
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count + 1);
}
END_TEST

/* A reply that memory ran out for ends the session there and then: nothing that the client sent
 * behind it is done, and the committer has no message of a session that is gone. */
START_TEST(nothing_behind_a_lost_reply)
{
	static const char *const rest[] = { ("DATA\r\n" MESSAGE), "BDAT 3 LAST\r\nabc",
		"BDAT 3\r\nabcBDAT 0 LAST\r\n" };
	uint64_t count = site_count(&site, "joe@example.test");
	struct drive d;

	drive_open(&d, &site, false);
	drive_say(&d, HI FROM TO);
	d.out.failed = true;
	drive_say(&d, rest[_i]);
	ck_assert_int_eq(d.want, SESSION_DROP);
	ck_assert_int_ne(d.session->state, SMTP_COMMIT);
	drive_close(&d, SESSION_END_ERROR);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), count);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_session");
	TCase *t = tcase_create("dialogues");
	int n = (int)(sizeof(rows) / sizeof(rows[0]));
	SRunner *runner;
	int failed;

	site_open(&site, "max_message_size = 64K\nmax_recipients = 100", 1);
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, whole, 0, n);
	tcase_add_loop_test(t, octet_by_octet, 0, n);
	tcase_add_loop_test(t, split_everywhere, 0, n);
	tcase_add_test(t, what_ehlo_announces);
	tcase_add_test(t, a_group_is_answered_at_once);
	tcase_add_test(t, starttls);
	tcase_add_loop_test(t, idle_and_shutdown, 0, 9);
	tcase_add_test(t, lost_connections);
	tcase_add_loop_test(t, nothing_behind_a_lost_reply, 0, 3);
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
