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
	p = progress_begin("counting");
	ck_assert_ptr_nonnull(p);
	usleep(2500000);
	progress_end(&p);
	ck_assert_ptr_null(p);
	give_terminal();
	ck_assert_msg(strcmp(text, "\rcounting: 1 s\rcounting: 2 s\r\033[K") == 0, "%s", text);
}
END_TEST

START_TEST(short_ones_show_nothing)
{
	struct progress *p;

	take_terminal();
	p = progress_begin("counting");
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
	p = progress_begin("counting");
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
	tcase_add_test(tc, short_ones_show_nothing);
	tcase_add_test(tc, no_terminal);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
