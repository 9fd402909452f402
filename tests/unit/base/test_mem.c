/* mem: sizes that do not fit, growth, copies, and the end of a process without memory. */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/lib/no_memory.h"

/* More than a machine has, known to the compiler as little as a size from outside. */
static volatile size_t huge = SIZE_MAX / 2;

START_TEST(array_is_zeroed_and_checked)
{
	static const unsigned char zeros[64];
	void *p = mem_array(8, 8);

	ck_assert_ptr_nonnull(p);
	ck_assert_mem_eq(p, zeros, 64);
	free(p);

	ck_assert_ptr_null(mem_array(huge, 3));
	ck_assert_ptr_null(mem_array(3, huge));

	p = mem_array(0, 8);
	ck_assert_ptr_nonnull(p);
	free(p);
	p = mem_array(8, 0);
	ck_assert_ptr_nonnull(p);
	free(p);
}
END_TEST

START_TEST(grow_keeps_zeroes_and_is_linear)
{
	int *list = NULL, *before;
	size_t cap = 0, i, moves = 0, seen = 0;

	for (i = 0; i < 10000; i++) {
		ck_assert_int_eq(mem_grow(&list, &cap, i + 1, sizeof(*list)), 0);
		ck_assert_uint_gt(cap, i);
		if (cap != seen)
			moves++;
		seen = cap;
		ck_assert_int_eq(list[i], 0);
		list[i] = (int)i + 1;
	}
	for (i = 0; i < 10000; i++)
		ck_assert_int_eq(list[i], (int)i + 1);
	for (; i < cap; i++)
		ck_assert_int_eq(list[i], 0);
	ck_assert_uint_lt(moves, 40);

	before = list;
	ck_assert_int_eq(mem_grow(&list, &cap, 5, sizeof(*list)), 0);
	ck_assert_uint_eq(cap, seen);
	ck_assert_int_eq(mem_grow(&list, &cap, huge, sizeof(*list)), -1);
	ck_assert_uint_eq(cap, seen);
	ck_assert_ptr_eq(list, before);
	mem_free(&list);
	ck_assert_ptr_null(list);
	mem_free(&list);
}
END_TEST

START_TEST(dup_ends_in_nul)
{
	char *copy = mem_dup("a\0b", 3);

	ck_assert_ptr_nonnull(copy);
	ck_assert_mem_eq(copy, "a\0b", 4);
	mem_free(&copy);
	ck_assert_ptr_null(copy);

	copy = mem_dup(NULL, 0);
	ck_assert_str_eq(copy, "");
	free(copy);

	errno = 0;
	ck_assert_ptr_null(mem_dup("x", huge * 2 + 1));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

START_TEST(wipe_overwrites)
{
	char secret[] = "tanstaaf";

	mem_wipe(secret, 5);
	ck_assert_mem_eq(secret, "\0\0\0\0\0aaf", 9);
	mem_wipe(NULL, 0);
}
END_TEST

/* What was asked for and what to do about it, once for each failure. */
START_TEST(failures_are_logged)
{
	static const char line[] =
	    "event=no_memory octets=9223372036854775807 advice=\"give the process more memory\"\n";
	char said[4096], *p = said, *list = NULL;
	int ends[2], err = dup(STDERR_FILENO);
	size_t cap = 0;
	ssize_t n;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	ck_assert_ptr_null(mem_array(huge, 1));
	ck_assert_ptr_null(mem_resize(NULL, huge));
	ck_assert_ptr_null(mem_dup("", huge - 1));
	ck_assert_int_eq(mem_grow(&list, &cap, huge, 1), -1);
	ck_assert_int_eq(dup2(err, STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	close(err);
	n = read(ends[0], said, sizeof(said) - 1);
	close(ends[0]);
	ck_assert_int_gt(n, 0);
	said[n] = '\0';
	/* A sanitizer says something of its own between them. */
	for (int i = 0; i < 4; i++, p += strlen(line)) {
		p = strstr(p, line);
		ck_assert_ptr_nonnull(p);
	}
	ck_assert_ptr_null(strstr(p, "event=no_memory"));
}
END_TEST

START_TEST(must_gives_or_ends)
{
	char *text = mem_must_dup("text"), *list = mem_must_array(2, 3);
	int status;
	pid_t pid;

	ck_assert_str_eq(text, "text");
	ck_assert_mem_eq(list, "\0\0\0\0\0", 6);
	free(text);
	free(list);

	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		(void)close(STDERR_FILENO);
		(void)mem_must_array(huge, 3);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), EX_TEMPFAIL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mem");
	TCase *tc = tcase_create("mem");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, array_is_zeroed_and_checked);
	tcase_add_test(tc, grow_keeps_zeroes_and_is_linear);
	tcase_add_test(tc, dup_ends_in_nul);
	tcase_add_test(tc, wipe_overwrites);
	tcase_add_test(tc, failures_are_logged);
	tcase_add_test(tc, must_gives_or_ends);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
