/*
 * log: what stands on standard error, octet for octet.
 *
 * Standard error is a datagram socket while a line is written: it keeps the
 * bounds between writes, so that one line in two writes would show.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/lib/syslog_kept.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static int saved_stderr, far_end;
static char line[65536];

static void
capture_begin(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
	saved_stderr = dup(STDERR_FILENO);
	ck_assert_int_ne(saved_stderr, -1);
	ck_assert_int_ne(dup2(ends[0], STDERR_FILENO), -1);
	ck_assert_int_eq(close(ends[0]), 0);
	far_end = ends[1];
}

/* One write as it came, or NULL when there was none. */
static const char *
captured(void)
{
	ssize_t n = recv(far_end, line, sizeof(line) - 1, MSG_DONTWAIT);

	if (n <= 0)
		return NULL;
	line[n] = '\0';
	return line;
}

static void
capture_end(void)
{
	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	(void)close(far_end);
	(void)unsetenv("JOURNAL_STREAM");
	log_init();
	log_set_level(LOG_LEVEL_INFO);
	clock_set(0, 0);
}

/* Ten octets, a hundred, a thousand. */
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED

static const struct {
	const char *name, *value;
	size_t len;
	const char *want;
} values[] = {
#define ROW(name, value, want)                                                                     \
	{                                                                                          \
		name, value, sizeof(value) - 1, want                                               \
	}
	ROW("plain", "alice@example.org", "alice@example.org"),
	ROW("punctuation", "a.b:c/d<e>[f]'#;,", "a.b:c/d<e>[f]'#;,"),
	ROW("empty", "", "\"\""),
	ROW("one dash that is really there", "-", "\"-\""),
	ROW("two dashes", "--", "--"),
	ROW("blank", "two words", "\"two words\""),
	ROW("forged field", "x error=none", "\"x error=none\""),
	ROW("equals sign", "a=b", "\"a=b\""),
	ROW("quote", "say \"x\"", "\"say \\\"x\\\"\""),
	ROW("quote alone", "\"", "\"\\\"\""),
	ROW("backslash", "a\\nb", "\"a\\\\nb\""),
	ROW("forged line", "x\nevent=y", "\"x\\nevent=y\""),
	ROW("carriage return and tab", "a\r\tb", "\"a\\r\\tb\""),
	ROW("NUL inside", "a\0b", "\"a\\x00b\""),
	ROW("NUL alone", "\0", "\"\\x00\""),
	ROW("escape sequence of a terminal", "\33[2J", "\"\\x1b[2J\""),
	ROW("delete", "\x7f", "\"\\x7f\""),
	ROW("eight bits", "caf\xc3\xa9", "\"caf\\xc3\\xa9\""),
	ROW("C1 control",
	    "\x9b"
	    "A",
	    "\"\\x9bA\""),
	ROW("last octet", "\xff", "\"\\xff\""),
	ROW("1,024 octets", THOUSAND TEN TEN "0123", THOUSAND TEN TEN "0123"),
	ROW("1,025 octets", THOUSAND TEN TEN "01234", THOUSAND TEN TEN "0123..."),
	ROW("a blank beyond the cut needs no quotes", THOUSAND TEN TEN "0123 ",
	    THOUSAND TEN TEN "0123..."),
	ROW("1,025 octets in quotes", " " THOUSAND TEN TEN "0123",
	    "\" " THOUSAND TEN TEN "012...\""),
#undef ROW
};

START_TEST(values_are_escaped)
{
	char want[2048];

	capture_begin();
	log_event(LOG_LEVEL_INFO, "test", log_octets("value", values[_i].value, values[_i].len));
	(void)snprintf(want, sizeof(want), "event=test value=%s\n", values[_i].want);
	ck_assert_msg(captured() != NULL, "%s", values[_i].name);
	ck_assert_msg(strcmp(line, want) == 0, "%s: %s", values[_i].name, line);
	ck_assert_ptr_null(captured());
	capture_end();
}
END_TEST

START_TEST(fields_of_every_kind)
{
	capture_begin();
	errno = EAGAIN;
	log_event(LOG_LEVEL_ERROR, "kinds", log_text("a", "b"), log_text("none", NULL),
	    log_octets("nowhere", NULL, 0), log_num("zero", 0), log_num("most", UINT64_MAX),
	    log_errno(ENOSPC), log_errno(99999));
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_str_eq(captured(),
	    "event=kinds a=b none=- nowhere=- zero=0 most=18446744073709551615 "
	    "error=\"No space left on device\" error=99999\n");
	ck_assert_ptr_null(captured());
	capture_end();
}
END_TEST

/* Nothing but what is below PIPE_BUF arrives in one piece through a pipe. */
START_TEST(long_lines_share_what_there_is)
{
	char blanks[1024], nuls[1024] = { 0 };
	const char *p;

	memset(blanks, ' ', sizeof(blanks));
	capture_begin();
	log_event(LOG_LEVEL_INFO, "long", log_octets("from", nuls, sizeof(nuls)),
	    log_octets("to", nuls, sizeof(nuls)), log_octets("helo", blanks, sizeof(blanks)),
	    log_num("octets", 4711), log_text("advice", "look at \"it\""));
	ck_assert_ptr_nonnull(captured());
	ck_assert_ptr_null(captured());
	ck_assert_uint_le(strlen(line), 4096);
	ck_assert_uint_gt(strlen(line), 2000);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);

	p = strstr(line, " to=\"\\x00");
	ck_assert_ptr_nonnull(p);
	ck_assert_mem_eq(p - 7, "x00...\"", 7);
	p = strstr(p, " helo=\"  ");
	ck_assert_ptr_nonnull(p);
	ck_assert_mem_eq(p - 7, "x00...\"", 7);
	p = strstr(p, " octets=4711 advice=\"look at \\\"it\\\"\"\n");
	ck_assert_ptr_nonnull(p);
	ck_assert_mem_eq(p - 5, " ...\"", 5);
	capture_end();
}
END_TEST

/* Octets that values are made of, and how each stands in its line. */
static const struct {
	char octet;
	const char *shown, *quote;
} octets[] = {
	{ 'x', "x", "" },
	{ ' ', " ", "\"" },
	{ '\n', "\\n", "\"" },
	{ '\1', "\\x01", "\"" },
};

/* Each value stands there as a whole while all of them fit, and else up to its share of the line, of
 * which three octets are the priority's, whether it is written or not. */
START_TEST(values_fill_their_share_and_no_more)
{
	const char *shown = octets[_i].shown, *quote = octets[_i].quote;
	const size_t frame = strlen("<N>event=share a= b= c= d= e=\n"), room = (4096 - frame) / 5;
	const size_t unit = strlen(shown), quotes = 2 * strlen(quote);
	char text[1024], want[8192], *p;

	memset(text, octets[_i].octet, sizeof(text));
	capture_begin();
	for (size_t n = 1; n < sizeof(text); n++) {
		bool all = frame + 5 * (n * unit + quotes) + unit <= 4096;

		p = stpcpy(want, "event=share");
		for (char key = 'a'; key <= 'e'; key++) {
			size_t kept = key == 'e' ? n + 1 : n;
			bool whole = all || kept * unit + quotes <= room;

			p += sprintf(p, " %c=%s", key, quote);
			for (kept = whole ? kept : (room - quotes - 3) / unit; kept > 0; kept--)
				p = stpcpy(p, shown);
			p = stpcpy(stpcpy(p, whole ? "" : "..."), quote);
		}
		(void)stpcpy(p, "\n");
		log_event(LOG_LEVEL_INFO, "share", log_octets("a", text, n),
		    log_octets("b", text, n), log_octets("c", text, n), log_octets("d", text, n),
		    log_octets("e", text, n + 1));
		ck_assert_ptr_nonnull(captured());
		ck_assert_msg(strcmp(line, want) == 0, "%zu octets: %s", n, line);
	}
	capture_end();
}
END_TEST

static const struct {
	enum log_level level;
	const char *name, *prefix;
} levels[] = {
	{ LOG_LEVEL_ERROR, "error", "<3>" },
	{ LOG_LEVEL_WARNING, "warning", "<4>" },
	{ LOG_LEVEL_INFO, "info", "<6>" },
	{ LOG_LEVEL_DEBUG, "debug", "<7>" },
};

START_TEST(levels_and_priorities)
{
	enum log_level level = (enum log_level)77, other;
	char stream[64], want[64];
	struct stat st;
	int i;

	ck_assert_int_eq(log_parse_level(levels[_i].name, &level), 0);
	ck_assert_int_eq(level, levels[_i].level);

	capture_begin();
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(
	    stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init();
	log_set_level(level);
	for (i = 0; i < COUNT(levels); i++) {
		other = levels[i].level;
		log_event(other, "level", log_num("n", 1));
		if (other > level) {
			ck_assert_ptr_null(captured());
			continue;
		}
		(void)snprintf(want, sizeof(want), "%sevent=level n=1\n", levels[i].prefix);
		ck_assert_str_eq(captured(), want);
	}

	/* Somebody else's stream, handed down in the environment. */
	ck_assert_int_eq(setenv("JOURNAL_STREAM", "1:2", 1), 0);
	log_init();
	log_event(LOG_LEVEL_ERROR, "level", log_num("n", 1));
	ck_assert_str_eq(captured(), "event=level n=1\n");
	capture_end();
}
END_TEST

/* Who typed a command sees what went wrong; what happened is found afterwards. */
START_TEST(commands_log_to_syslog)
{
	char stream[64];
	struct stat st;

	capture_begin();
	ck_assert(!log_enabled(LOG_LEVEL_DEBUG));
	log_event(LOG_LEVEL_WARNING, "before", log_num("n", 1));
	ck_assert_str_eq(captured(), "event=before n=1\n");
	ck_assert_str_eq(syslog_kept, "");
	log_of_command("test");
	log_event(LOG_LEVEL_DEBUG, "quiet", log_num("n", 1));
	log_event(LOG_LEVEL_INFO, "done", log_text("what", "100%s a\nline"));
	ck_assert_ptr_null(captured());
	log_event(LOG_LEVEL_WARNING, "odd", log_num("n", 2));
	ck_assert_str_eq(captured(), "event=odd n=2\n");
	ck_assert_str_eq(syslog_kept, "6 event=done what=\"100%s a\\nline\"\n4 event=odd n=2\n");

	/* The journal has what goes to standard error. */
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(
	    stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
	syslog_kept[0] = '\0';
	log_init();
	log_of_command("test");
	log_event(LOG_LEVEL_INFO, "done", log_num("n", 1));
	ck_assert_str_eq(captured(), "<6>event=done n=1\n");
	ck_assert_str_eq(syslog_kept, "");
	capture_end();
}
END_TEST

START_TEST(unknown_levels_are_refused)
{
	static const char *const texts[] = { "", "Info", "info ", "warn", "notice", "4" };
	enum log_level level = LOG_LEVEL_WARNING;

	ck_assert_int_eq(log_parse_level(texts[_i], &level), -1);
	ck_assert_int_eq(level, LOG_LEVEL_WARNING);
}
END_TEST

static int asked;

static uint64_t
ask(void)
{
	asked++;
	return 1;
}

START_TEST(what_is_not_logged_costs_nothing)
{
	asked = 0;
	capture_begin();
	log_event(LOG_LEVEL_DEBUG, "quiet", log_num("n", ask()));
	ck_assert_int_eq(asked, 0);
	log_event(LOG_LEVEL_INFO, "loud", log_num("n", ask()));
	ck_assert_int_eq(asked, 1);
	capture_end();
}
END_TEST

START_TEST(permits_so_many_a_minute)
{
	struct log_limit state = { 0 };
	uint64_t left_out = 99;
	int i;

	clock_set(60000, 1);
	for (i = 0; i < 3; i++) {
		ck_assert(log_permit(&state, 3, &left_out));
		ck_assert_uint_eq(left_out, 0);
	}
	for (i = 0; i < 5; i++)
		ck_assert(!log_permit(&state, 3, &left_out));
	clock_set(119999, 1);
	ck_assert(!log_permit(&state, 3, &left_out));
	clock_set(120000, 1);
	ck_assert(log_permit(&state, 3, &left_out));
	ck_assert_uint_eq(left_out, 6);
	ck_assert(log_permit(&state, 3, &left_out));
	ck_assert_uint_eq(left_out, 0);
	clock_set(0, 0);
}
END_TEST

static void *
write_many(void *arg)
{
	char text[300];
	int i;

	memset(text, *(const char *)arg, sizeof(text));
	for (i = 0; i < 50; i++)
		log_event(LOG_LEVEL_INFO, "thread", log_octets("text", text, sizeof(text)));
	return NULL;
}

/* Through a pipe, where a line in pieces would mix with another's. */
START_TEST(threads_do_not_mix)
{
	static char names[] = "abcd";
	pthread_t threads[4];
	int ends[2], i;
	FILE *in;

	ck_assert_int_eq(pipe(ends), 0);
	saved_stderr = dup(STDERR_FILENO);
	ck_assert_int_ne(dup2(ends[1], STDERR_FILENO), -1);
	(void)close(ends[1]);
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, &names[i]), 0);
	in = fdopen(ends[0], "r");
	ck_assert_ptr_nonnull(in);
	for (i = 0; i < 200; i++) {
		const char *head = "event=thread text=";

		ck_assert_ptr_nonnull(fgets(line, sizeof(line), in));
		ck_assert_uint_eq(strlen(line), strlen(head) + 301);
		ck_assert_mem_eq(line, head, strlen(head));
		ck_assert_uint_eq(strspn(line + strlen(head), (char[]){ line[40], '\0' }), 300);
	}
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	far_end = -1;
	(void)fclose(in);
	capture_end();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, values_are_escaped, 0, COUNT(values));
	tcase_add_test(tc, fields_of_every_kind);
	tcase_add_test(tc, long_lines_share_what_there_is);
	tcase_add_loop_test(tc, values_fill_their_share_and_no_more, 0, COUNT(octets));
	tcase_add_loop_test(tc, levels_and_priorities, 0, COUNT(levels));
	tcase_add_test(tc, commands_log_to_syslog);
	tcase_add_loop_test(tc, unknown_levels_are_refused, 0, 6);
	tcase_add_test(tc, what_is_not_logged_costs_nothing);
	tcase_add_test(tc, permits_so_many_a_minute);
	tcase_add_test(tc, threads_do_not_mix);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
