/* smtp_reply: both tables, whole. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "net/outq.h"
#include "smtpd/smtp_reply.h"

static char line[2048];

static const char *
written(enum smtp_reply id, const char *hostname, const char *text)
{
	struct outq out;
	const void *buf;
	ssize_t n;

	outq_init(&out, NULL);
	smtp_reply_write(&out, id, hostname, text);
	n = outq_peek(&out, line, sizeof(line), &buf);
	ck_assert_int_ge(n, 0);
	if (n > 0)
		memmove(line, buf, (size_t)n);
	line[n] = '\0';
	outq_release(&out);
	return line;
}

static bool
has_no_enhanced_code(enum smtp_reply id)
{
	return id == REPLY_GREETING || id == REPLY_GREETING_LMTP || id == REPLY_HELO ||
	       id == REPLY_GO_AHEAD;
}

START_TEST(every_reply_is_well_formed)
{
	enum smtp_reply id = (enum smtp_reply)_i;
	char host[256];
	const char *text;
	size_t len;

	/* The longest name that there is. */
	memset(host, 'h', 255);
	host[255] = '\0';
	text = written(id, host, NULL);
	len = strlen(text);
	if (id == REPLY_NONE || id == REPLY_DROP) {
		ck_assert_str_eq(text, "");
		ck_assert_uint_eq(smtp_reply_class(id), 0);
		return;
	}
	ck_assert_uint_le(len, SMTP_REPLY_MAX);
	ck_assert_str_eq(text + len - 2, "\r\n");
	ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
	ck_assert(text[0] >= '2' && text[0] <= '5' && text[1] >= '0' && text[1] <= '5' &&
		  text[2] >= '0' && text[2] <= '9' && text[3] == ' ');
	ck_assert_uint_eq(smtp_reply_class(id), (unsigned)(text[0] - '0'));
	for (size_t i = 0; i < len - 2; i++)
		ck_assert(text[i] >= ' ' && text[i] <= '~');
	if (has_no_enhanced_code(id)) {
		ck_assert(text[4] < '0' || text[4] > '9');
		return;
	}
	/* RFC 2034 4: its class is the code's. */
	ck_assert_int_eq(text[4], text[0]);
	ck_assert_int_eq(text[5], '.');
	ck_assert_int_eq(text[7], '.');
	ck_assert_int_eq(text[9], ' ');
}
END_TEST

START_TEST(what_follows_a_reply)
{
	enum smtp_reply id = (enum smtp_reply)_i;
	const char *text = written(id, "mail.example.test", NULL);
	enum session_want then = smtp_reply_then(id);

	if (id == REPLY_DROP)
		ck_assert_int_eq(then, SESSION_DROP);
	else if (strncmp(text, "421", 3) == 0 || strncmp(text, "221", 3) == 0) {
		ck_assert_int_eq(then, SESSION_CLOSE);
		/* RFC 5321 4.2.3: they name the host. */
		ck_assert_ptr_nonnull(strstr(text, " mail.example.test "));
	} else if (id == REPLY_START_TLS)
		ck_assert_int_eq(then, SESSION_START_TLS);
	else if (id == REPLY_ENDLESS_CHUNK)
		ck_assert_int_eq(then, SESSION_CLOSE);
	else
		ck_assert_int_eq(then, SESSION_READ);
}
END_TEST

START_TEST(no_reply_stands_twice)
{
	char a[SMTP_REPLY_MAX], b[SMTP_REPLY_MAX];

	for (int i = REPLY_GREETING; i < _i; i++)
		ck_assert_str_ne(smtp_reply_format(a, (enum smtp_reply)i),
		    smtp_reply_format(b, (enum smtp_reply)_i));
}
END_TEST

static const struct {
	enum spool_status status;
	const char *want;
} outcomes[] = {
	{ SPOOL_OK, "250 2.0.0" },
	{ SPOOL_NOT_READY, "451 4.3.0" },
	{ SPOOL_NO_DOMAIN, "550 5.7.1" },
	{ SPOOL_NO_MAILBOX, "550 5.1.1" },
	{ SPOOL_NO_POSTMASTER, "451 4.3.0" },
	{ SPOOL_DISABLED, "550 5.2.1" },
	{ SPOOL_TOO_MANY, "452 4.5.3" },
	{ SPOOL_OVER_QUOTA, "452 4.2.2" },
	{ SPOOL_NEVER_FITS, "552 5.2.3" },
	{ SPOOL_NO_SPACE, "452 4.3.1" },
	{ SPOOL_NO_MEMORY, "451 4.3.0" },
	{ SPOOL_IO, "451 4.3.0" },
	{ SPOOL_DAMAGED, "451 4.3.0" },
	{ SPOOL_UNKNOWN, "" },
};

START_TEST(what_the_spool_says)
{
	enum smtp_reply id = smtp_reply_for(outcomes[_i].status);

	ck_assert_msg(
	    strncmp(written(id, "h", NULL), outcomes[_i].want, strlen(outcomes[_i].want)) == 0,
	    "%s: %s", spool_status_text(outcomes[_i].status), line);
	if (outcomes[_i].want[0] == '\0')
		ck_assert_int_eq(smtp_reply_then(id), SESSION_DROP);
}
END_TEST

/* Whatever it says, a sender is told something, and never that a good address is bad
 * because our store is. */
START_TEST(every_status_has_a_reply)
{
	enum spool_status st = (enum spool_status)_i;
	enum smtp_reply id = smtp_reply_for(st);

	ck_assert_int_ne(id, REPLY_NONE);
	if (st != SPOOL_OK)
		ck_assert_int_ne(id, REPLY_OK);
	ck_assert_int_eq(id == REPLY_DROP, st == SPOOL_UNKNOWN);
}
END_TEST

START_TEST(words_of_the_caller)
{
	ck_assert_str_eq(written(REPLY_KEPT, "h", "kept as s1-1"), "250 2.0.0 kept as s1-1\r\n");
	ck_assert_str_eq(written(REPLY_GREETING, "h", NULL), "220 h ESMTP Restante\r\n");
	ck_assert_str_eq(written(REPLY_GREETING_LMTP, "h", NULL), "220 h LMTP Restante\r\n");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_reply");
	TCase *t = tcase_create("tables");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, every_reply_is_well_formed, REPLY_NONE, REPLIES);
	tcase_add_loop_test(t, what_follows_a_reply, REPLY_NONE, REPLIES);
	tcase_add_loop_test(t, no_reply_stands_twice, REPLY_GREETING, REPLIES);
	tcase_add_loop_test(
	    t, what_the_spool_says, 0, (int)(sizeof(outcomes) / sizeof(outcomes[0])));
	tcase_add_loop_test(t, every_status_has_a_reply, 0, SPOOL_STATUSES);
	tcase_add_test(t, words_of_the_caller);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
