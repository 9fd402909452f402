/* smtp_trace: the Received: field, its grammar, its folds, and what a client may not put in. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/smtp_trace.h"
#include "spool/room.h"

static char field[SMTP_TRACE_MAX];

static const char *
received(const char *client, const char *peer, const char *with, const char *recipient)
{
	char host[ENDPOINT_TEXT_MAX];
	struct endpoint e;
	struct smtp_trace t = {
		.client = client,
		.peer = host,
		.hostname = "mail.example.test",
		.with = with,
		.id = "s1-1",
		.recipient = recipient,
		.unix_seconds = 1795489877,
	};
	struct strbuf out;

	ck_assert_int_eq(endpoint_parse(peer, &e), 0);
	endpoint_format_host(host, &e);
	strbuf_init(&out, SMTP_TRACE_MAX);
	smtp_trace_received(&t, &out);
	ck_assert(!out.failed);
	memcpy(field, out.buf, out.len + 1);
	strbuf_release(&out);
	return field;
}

static const struct {
	const char *client, *peer, *with, *recipient, *want;
} rows[] = {
	{ "client.example", "192.0.2.7:4711", "ESMTPS", "joe@example.test",
	    "Received: from client.example ([192.0.2.7])\r\n"
	    "\tby mail.example.test with ESMTPS id s1-1\r\n"
	    "\tfor <joe@example.test>; Tue, 24 Nov 2026 03:11:17 +0000\r\n" },
	{ "client.example", "192.0.2.7:4711", "SMTP", NULL,
	    "Received: from client.example ([192.0.2.7])\r\n"
	    "\tby mail.example.test with SMTP id s1-1;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n" },
	{ "[IPv6:2001:db8::9]", "[2001:db8::1]:4711", "ESMTP", NULL,
	    "Received: from [IPv6:2001:db8::9] ([IPv6:2001:db8::1])\r\n"
	    "\tby mail.example.test with ESMTP id s1-1;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n" },
	{ "[::ffff:192.0.2.1]", "[::ffff:192.0.2.7]:4711", "ESMTP", NULL,
	    "Received: from [::ffff:192.0.2.1] ([192.0.2.7])\r\n"
	    "\tby mail.example.test with ESMTP id s1-1;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n" },
	{ "mta.example", "unix:/run/lmtp", "LMTP", "<>@example.test",
	    "Received: from mta.example (unix socket)\r\n"
	    "\tby mail.example.test with LMTP id s1-1\r\n"
	    "\tfor <<>@example.test>; Tue, 24 Nov 2026 03:11:17 +0000\r\n" },
	{ "not a name", "unix:/run/lmtp", "LMTP", NULL,
	    "Received: from localhost (unix socket)\r\n"
	    "\tby mail.example.test with LMTP id s1-1;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n" },
};

START_TEST(fields)
{
	ck_assert_str_eq(
	    received(rows[_i].client, rows[_i].peer, rows[_i].with, rows[_i].recipient),
	    rows[_i].want);
}
END_TEST

/* Names that are none are not repeated. */
static const char *const forged[] = {
	"",
	" ",
	"a b",
	"a)\r\n",
	"evil.example (trust me)",
	"a\tb",
	"a\r\nX-Forged: yes",
	"a;b",
	"[",
	"[]",
	"[a b]",
	"[1.2.3.4",
	"[1.2.3.4]]",
	"[192.0.2.1])",
	"(",
	"\"a\"",
	"a@b",
	"a\x01z",
	"a\xc3\xa4.example",
	".",
	"a..b",
	"<a>",
	"a\\b",
	"[a\rb]",
};

START_TEST(no_client_writes_a_header)
{
	ck_assert_str_eq(received(forged[_i], "192.0.2.7:4711", "ESMTP", NULL),
	    "Received: from [192.0.2.7] ([192.0.2.7])\r\n"
	    "\tby mail.example.test with ESMTP id s1-1;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n");
}
END_TEST

/* The longest field that there can be: SMTP_TRACE_MAX holds it, and so does ROOM_TRACE_MAX. */
START_TEST(longest)
{
	char name[256], recipient[ADDRESS_MAX + 1];
	struct smtp_trace t = {
		.client = name,
		.peer = "2001:db8:1111:2222:3333:4444:5555:6666",
		.hostname = name,
		.with = "LMTPS",
		.id = "s123456789012345-01234567890123",
		.recipient = recipient,
		.unix_seconds = 1795489877,
	};
	struct strbuf out;

	for (size_t i = 0; i < 255; i++)
		name[i] = i % 64 == 63 ? '.' : 'a';
	name[255] = '\0';
	memset(recipient, 'r', ADDRESS_MAX);
	recipient[ADDRESS_MAX] = '\0';
	strbuf_init(&out, SMTP_TRACE_MAX);
	smtp_trace_received(&t, &out);
	ck_assert(!out.failed);
	ck_assert_uint_gt(out.len, 2 * 255 + ADDRESS_MAX);
	ck_assert_uint_le(out.len + ROOM_OWN_MAX + 2, ROOM_TRACE_MAX);
	strbuf_release(&out);
}
END_TEST

/* RFC 5322 2.1.1: never beyond 998; beyond 78 only where a single word is. */
START_TEST(long_names_are_folded)
{
	char client[256], recipient[600];
	const char *p, *lf;

	/* Sixty-three letters, a dot, and so on: the longest domain. */
	for (size_t i = 0; i < 255; i++)
		client[i] = i % 64 == 63 ? '.' : 'a';
	client[255] = '\0';
	memset(recipient, 'r', 500);
	memcpy(recipient + 500, "@b.test", 8);
	p = received(client, "[2001:db8:1111:2222:3333:4444:5555:6666]:1", "LMTPS", recipient);
	ck_assert_ptr_nonnull(strstr(p, client));
	ck_assert_ptr_nonnull(strstr(p, recipient));
	while ((lf = strchr(p, '\n')) != NULL) {
		size_t len = (size_t)(lf - p) - 1;

		ck_assert_int_eq(lf[-1], '\r');
		ck_assert_uint_lt(len, 998);
		if (len > 78) {
			/* One word, behind the tab or behind `for`. */
			size_t skip = strncmp(p, "\tfor ", 5) == 0 ? 5 : 1;

			ck_assert_int_eq(p[0], '\t');
			ck_assert_ptr_null(memchr(p + skip, ' ', len - skip));
		}
		/* A folded line begins with a blank, so nothing of it is a field. */
		if (lf[1] != '\0')
			ck_assert_int_eq(lf[1], '\t');
		p = lf + 1;
	}
	ck_assert_str_eq(p, "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_trace");
	TCase *t = tcase_create("received");
	SRunner *runner;
	int failed;

	setenv("TZ", "UTC", 1);
	tcase_add_loop_test(t, fields, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_loop_test(
	    t, no_client_writes_a_header, 0, (int)(sizeof(forged) / sizeof(forged[0])));
	tcase_add_test(t, longest);
	tcase_add_test(t, long_names_are_folded);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
