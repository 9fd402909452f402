/* progress: what a terminal shows of a command that takes long. */
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>

#include "capture.h"
#include "pop-admin/progress.h"

static int before, master;
static char text[4096];

static void
take_terminal(void)
{
	int slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	before = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(slave, STDERR_FILENO), 0);
	close(slave);
}

static void
give_terminal(void)
{
	size_t len = 0;
	ssize_t n;

	fflush(stderr);
	ck_assert_int_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	while ((n = read(master, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
	close(master);
}

START_TEST(after_a_second)
{
	struct progress *p;

	take_terminal();
	p = progress_begin("counting", PROGRESS_MESSAGES);
	ck_assert_ptr_nonnull(p);
	usleep(2500000);
	progress_end(&p);
	ck_assert_ptr_null(p);
	give_terminal();
	ck_assert_msg(strcmp(text, "\rcounting: 1 s\033[K\rcounting: 2 s\033[K\r\033[K") == 0, "%s", text);
}
END_TEST

static const struct {
	enum progress_unit unit;
	uint64_t done, all;
	const char *shown;
} how_far[] = {
	{ PROGRESS_MESSAGES, 119, 480, "\rfetching: 119 of 480 messages, 24 %, 1 s\033[K\r\033[K" },
	{ PROGRESS_MESSAGES, 7, 0, "\rfetching: 7 messages, 1 s\033[K\r\033[K" },
	{ PROGRESS_OCTETS, 3 << 20, 4 << 20, "\rfetching: 3.00M of 4.00M, 75 %, 1 s\033[K\r\033[K" },
	{ PROGRESS_OCTETS, 9, 8, "\rfetching: 9 of 8, 100 %, 1 s\033[K\r\033[K" },
};

START_TEST(how_far_it_is)
{
	struct progress *p;

	take_terminal();
	p = progress_begin("counting", how_far[_i].unit);
	progress_set(p, 1, 2);
	progress_next(p, "fetching");
	progress_tell(p, how_far[_i].done, how_far[_i].all);
	usleep(1500000);
	progress_end(&p);
	give_terminal();
	ck_assert_str_eq(text, how_far[_i].shown);
	progress_set(NULL, 1, 2);
	progress_next(NULL, "nothing");
}
END_TEST

START_TEST(short_ones_show_nothing)
{
	struct progress *p;

	take_terminal();
	p = progress_begin("counting", PROGRESS_MESSAGES);
	progress_end(&p);
	progress_end(&p);
	give_terminal();
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(no_terminal)
{
	struct capture err;
	struct progress *p;

	capture_begin(&err, stderr);
	p = progress_begin("counting", PROGRESS_MESSAGES);
	progress_end(&p);
	capture_end(&err);
	ck_assert_ptr_null(p);
	ck_assert_str_eq(err.text, "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("progress");
	TCase *tc = tcase_create("progress");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, after_a_second);
	tcase_add_loop_test(tc, how_far_it_is, 0, 4);
	tcase_add_test(tc, short_ones_show_nothing);
	tcase_add_test(tc, no_terminal);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
