/* Lines that are too long, or hold what no line may: one reply, and the next line is read. */
#include <check.h>

#include "tests/unit/pop3d/drive.h"

#define TOO_LONG "-ERR line too long\r\n"
#define GOODBYE "+OK goodbye\r\n"

/* As the documents promise it, so that another number in the code is noticed. */
#define LONGEST 512
#define LONGEST_CREDENTIALS 12288

static struct site site;

static void
open_site(void)
{
	site_open(&site, false);
}

static void
close_site(void)
{
	site_close(&site);
}

/* `before`, `n` times `c`, `after`; the caller frees it. */
static char *
line_of(const char *before, size_t n, char c, const char *after)
{
	char *line = mem_must_array(strlen(before) + n + strlen(after) + 1, 1);

	strcpy(line, before);
	memset(line + strlen(before), c, n);
	strcpy(line + strlen(before) + n, after);
	return line;
}

struct row {
	const char *name;
	const char *begin; /* before the line */
	const char *before;
	size_t n; /* octets in the middle */
	const char *after;
	const char *server;
};

#define UNKNOWN "-ERR unknown command\r\n"

static const struct row rows[] = {
	{ "255 octets", "", "", 253, "\r\nQUIT\r\n", UNKNOWN GOODBYE },
	{ "as long as may be", "", "", LONGEST - 2, "\r\nQUIT\r\n", UNKNOWN GOODBYE },
	{ "one more", "", "", LONGEST - 1, "\r\nQUIT\r\n", TOO_LONG GOODBYE },
	{ "as long as may be, LF", "", "", LONGEST - 1, "\nQUIT\r\n", UNKNOWN GOODBYE },
	{ "one more, LF", "", "", LONGEST, "\nQUIT\r\n", TOO_LONG GOODBYE },
	{ "very long", "", "", 200000, "\r\nQUIT\r\n", TOO_LONG GOODBYE },
	{ "the tail is no command", "", "", 600, "\rQUIT\rQUIT\r\nQUIT\r\n", TOO_LONG GOODBYE },
	{ "nor is its argument", "", "RETR ", 100000, " QUIT\r\nQUIT\r\n", TOO_LONG GOODBYE },
	{ "a name as long as may be", "", "USER ", LONGEST - 7, "\r\nQUIT\r\n",
	    "+OK send PASS\r\n" GOODBYE },
	{ "a long password", "", "PASS ", 511, "\r\nQUIT\r\n", "-ERR send USER first\r\n" GOODBYE },
	{ "an endless password", "", "PASS ", LONGEST_CREDENTIALS - 6, "\r\nQUIT\r\n",
	    TOO_LONG GOODBYE },
	{ "AUTH as long as may be", "", "AUTH PLAIN ", LONGEST_CREDENTIALS - 13, "\r\nQUIT\r\n",
	    "-ERR malformed response\r\n" GOODBYE },
	{ "AUTH that is longer", "", "AUTH PLAIN ", LONGEST_CREDENTIALS - 12, "\r\nQUIT\r\n",
	    TOO_LONG GOODBYE },
	{ "an answer as long as may be", "AUTH PLAIN\r\n", "", LONGEST_CREDENTIALS - 2,
	    "\r\nQUIT\r\n", "+ \r\n-ERR malformed response\r\n" GOODBYE },
	{ "an answer that is longer", "AUTH PLAIN\r\n", "", LONGEST_CREDENTIALS - 1, "\r\nQUIT\r\n",
	    "+ \r\n" TOO_LONG GOODBYE },
	{ "PASS is short after login", "USER joe\r\nPASS secret\r\n", "PASS ", LONGEST,
	    "\r\nQUIT\r\n", "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n" TOO_LONG GOODBYE },
	{ "a long line forgets USER", "USER joe\r\n", "", 600, "\r\nPASS secret\r\nQUIT\r\n",
	    "+OK send PASS\r\n" TOO_LONG "-ERR send USER first\r\n" GOODBYE },
};

START_TEST(long_lines)
{
	static const size_t steps[] = { SIZE_MAX, 1, 7, 511, 512, 513, 4096 };
	const struct row *row = &rows[_i];
	char *line = line_of(row->before, row->n, 'A', row->after);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		size_t len = strlen(line), step = steps[i] < len ? steps[i] : len;
		struct drive d;

		drive_start(&d, &site);
		drive_say(&d, row->begin);
		for (size_t at = 0; at < len; at += step)
			drive_send(&d, line + at, len - at < step ? len - at : step);
		ck_assert_msg(
		    strcmp(d.said.buf, row->server) == 0, "%s: %s", row->name, d.said.buf);
		ck_assert_int_eq(d.want, SESSION_CLOSE);
		drive_free(&d, SESSION_END_SELF);
	}
	free(line);
}
END_TEST

/* A line that never ends is given up, however it comes, and holds no memory. */
START_TEST(endless_line)
{
	char *piece = line_of("", 65536, 'A', "");
	struct drive d;

	drive_start(&d, &site);
	for (int i = 0; i < 100; i++) {
		drive_send(&d, piece, 65536);
		ck_assert_uint_eq(d.npending, 0);
	}
	ck_assert_str_eq(d.said.buf, TOO_LONG);
	drive_free(&d, SESSION_END_PEER);
	free(piece);
}
END_TEST

/* The longest password that an account can have is taken by PASS and by AUTH. */
START_TEST(longest_password)
{
	char *line = line_of("USER long@example.test\r\nPASS ", ACCOUNT_PASSWORD_MAX, 'p', "\r\n");
	char *password = line_of("", ACCOUNT_PASSWORD_MAX, 'p', "");
	struct spool *admin = site_spool(&site, SPOOL_ADMIN);
	struct drive d;

	site_user(admin, "long@example.test", password, false);
	spool_close(&admin);
	drive_start(&d, &site);
	drive_say(&d, line);
	ck_assert_str_eq(d.said.buf, "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n");
	drive_free(&d, SESSION_END_PEER);
	free(line);
	free(password);
}
END_TEST

/* Lines that come faster than their answers are read stop being read. */
START_TEST(answers_that_nobody_reads)
{
	char *noops = mem_must_array(1, 20001);
	struct drive d;

	for (int i = 0; i < 10000; i++)
		memcpy(noops + 2L * i, "x\n", 2);
	drive_start(&d, &site);
	d.holding = true;
	drive_send(&d, noops, 20000);
	ck_assert_int_eq(d.want, SESSION_DRAIN);
	ck_assert_uint_lt(d.most, OUTQ_HIGH_WATER + 512);
	d.holding = false;
	drive_read(&d);
	drive_run(&d);
	ck_assert_uint_eq(d.said.len, 10000 * strlen(UNKNOWN));
	drive_free(&d, SESSION_END_PEER);
	free(noops);
}
END_TEST

/* Rows: commands that walk the whole list and say next to nothing, and the reply to each. */
static const struct {
	const char *name, *command, *reply;
} walks[] = {
	{ "LIST of marked messages", "LIST\r\n", "+OK 0 messages\r\n.\r\n" },
	{ "UIDL of marked messages", "UIDL\r\n", "+OK 0 messages\r\n.\r\n" },
	{ "RSET", "RSET\r\n", "+OK nothing is marked\r\n" },
};

/* Thousands of them at once do not hold up the others of the loop. */
START_TEST(walks_give_way)
{
	const unsigned messages = 300, commands = 2000;
	struct strbuf all;
	struct drive d;
	unsigned waits;

	strbuf_init(&all, SIZE_MAX);
	site_deliver(&site, "joe@example.test", "x\r\n", 3, messages);
	drive_login(&d, &site);
	for (unsigned i = 1; i <= messages; i++)
		strbuf_addf(&all, "DELE %u\r\n", i);
	drive_say(&d, all.buf);
	drive_forget(&d);
	strbuf_clear(&all);
	for (unsigned i = 0; i < commands; i++)
		strbuf_addstr(&all, walks[_i].command);
	waits = d.waits;
	drive_say(&d, all.buf);
	ck_assert_uint_ge(d.waits - waits, messages * commands / POP3_LOOKS_MAX - 1);
	ck_assert_uint_eq(d.said.len, commands * strlen(walks[_i].reply));
	ck_assert(strncmp(d.said.buf, walks[_i].reply, strlen(walks[_i].reply)) == 0);
	drive_free(&d, SESSION_END_PEER);
	strbuf_release(&all);
}
END_TEST

/* Nor do messages of a few octets that are asked for again and again: each is opened anew. */
START_TEST(opening_gives_way)
{
	const unsigned commands = 2000;
	struct strbuf all;
	struct drive d;
	struct site disk;
	unsigned waits;
	size_t each;

	strbuf_init(&all, SIZE_MAX);
	/* In memory a loop cannot read without waiting. */
	site_open_where(&disk, false, true);
	site_deliver(&disk, "joe@example.test", "x\r\n", 3, 1);
	for (unsigned i = 0; i < commands; i++)
		strbuf_addstr(&all, _i == 0 ? "TOP 1 0\r\n" : "RETR 1\r\n");
	drive_login(&d, &disk);
	/* The first one is read by a job. */
	drive_say(&d, _i == 0 ? "TOP 1 0\r\n" : "RETR 1\r\n");
	each = d.said.len;
	drive_forget(&d);
	waits = d.waits;
	drive_say(&d, all.buf);
	ck_assert_uint_ge(d.waits - waits, commands / (POP3_LOOKS_MAX / POP3_LOOKS_OPEN) - 1);
	ck_assert_uint_eq(d.said.len, commands * each);
	drive_free(&d, SESSION_END_PEER);
	site_close(&disk);
	strbuf_release(&all);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_limits");
	TCase *tc = tcase_create("limits");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_loop_test(tc, long_lines, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, endless_line);
	tcase_add_test(tc, longest_password);
	tcase_add_test(tc, answers_that_nobody_reads);
	tcase_add_loop_test(tc, walks_give_way, 0, sizeof(walks) / sizeof(walks[0]));
	tcase_add_loop_test(tc, opening_gives_way, 0, 2);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
