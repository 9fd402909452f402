/* spool_failed: what runs out and comes back is told from what the disk refuses. */
#include "spool_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "common/spool/segment.h"
#include "common/spool/spool_internal.h"

static const struct {
	int errnum;
	enum spool_status want;
} failures[] = {
	{ EIO, SPOOL_IO },
	{ EACCES, SPOOL_IO },
	{ EROFS, SPOOL_IO },
	{ ENOSPC, SPOOL_NO_SPACE },
	{ EDQUOT, SPOOL_NO_SPACE },
	{ ENOMEM, SPOOL_NO_MEMORY },
	{ EMFILE, SPOOL_NO_MEMORY },
	{ ENFILE, SPOOL_NO_MEMORY },
};

START_TEST(each_failure)
{
	ck_assert_int_eq(spool_failed("test", "test", failures[_i].errnum), failures[_i].want);
}
END_TEST

/* A client must be told to try again, not that its mail is damaged. */
START_TEST(no_descriptor_is_left)
{
	struct spool *sp = spool_test_open(SPOOL_ADMIN);
	struct segment_file *file;
	struct rlimit before, none;
	int next = open("/dev/null", O_RDONLY);

	ck_assert_int_ge(next, 0);
	ck_assert_int_eq(close(next), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(segment_get(sp, 1, true, &file), SPOOL_NO_MEMORY);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(segment_get(sp, 1, true, &file), SPOOL_DAMAGED);
	spool_close(&sp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("scarce");
	TCase *tc = tcase_create("scarce");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_add_loop_test(tc, each_failure, 0, sizeof(failures) / sizeof(failures[0]));
	tcase_add_test(tc, no_descriptor_is_left);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
