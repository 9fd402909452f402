/* Who recovers, whose files are left alone, and who waits for it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "recover_test.h"

static int
openat_without_unnamed(int dir, const char *name, int flags, mode_t mode)
{
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return openat(dir, name, flags, mode);
}

START_TEST(living_writer_is_left_alone)
{
	struct disk_ops disk = disk_real;
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct spool *other;
	struct test_wait w;
	struct delivery *d;
	enum spool_status st;
	struct strbuf err;

	/* A large one on its way has a name then, which an ended delivery leaves behind. */
	spool_close(&sp);
	disk.openat = openat_without_unnamed;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open_on(&options, &disk, &sp, &err), SPOOL_OK);
	strbuf_release(&err);
	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, NULL), SPOOL_OK);
	d = test_written(sp, 1, 400000, test_envelope(1, 1), &st);
	ck_assert_ptr_nonnull(d);

	other = spool_test_open(SPOOL_SMTPD);
	ck_assert_int_eq(test_number(sp, "SELECT state FROM segment"), 0);
	ck_assert_int_eq(test_deliver(sp, 2, 1000, 1, 1, NULL), SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, 400000, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	delivery_abandon(&d);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(test_copies(other, 1, i), 1);
	spool_close(&other);
}
END_TEST

static int
openat_and_lose(int dir, const char *name, int flags, mode_t mode)
{
	int fd = openat_without_unnamed(dir, name, flags, mode);

	if (fd >= 0 && strncmp(name, DISK_TMP_PREFIX, strlen(DISK_TMP_PREFIX)) == 0)
		ck_assert_int_eq(unlinkat(dir, name, 0), 0);
	return fd;
}

/* Who recovers may come between a delivery's file and its lock: that delivery is told so at once, and
 * takes no group with it. */
START_TEST(leftover_that_was_none)
{
	struct disk_ops disk = disk_real;
	enum spool_status st;

	disk.openat = openat_and_lose;
	sp->disk = &disk;
	ck_assert_ptr_null(test_written(sp, 0, 300000, test_envelope(1, 1), &st));
	ck_assert_int_eq(st, SPOOL_IO);
	sp->disk = &disk_real;
	ck_assert_int_eq(test_deliver(sp, 0, 300000, 1, 1, NULL), SPOOL_OK);
}
END_TEST

/* Only the first to open recovers, but for smtpd. */
START_TEST(first_one_recovers)
{
	struct spool *other;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, NULL), SPOOL_OK);
	lose_log();
	sp = spool_test_open(SPOOL_POP3D);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
	test_sql(sp, "UPDATE segment SET state = 0");
	other = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_eq(test_number(sp, "SELECT state FROM segment"), 0);
	spool_close(&other);
	other = spool_test_open(SPOOL_SMTPD);
	ck_assert_int_eq(test_number(sp, "SELECT state FROM segment"), 1);
	spool_close(&other);
}
END_TEST

START_TEST(not_ready_until_recovered)
{
	struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_SMTPD };
	struct envelope *env = test_envelope(1, 1);
	struct spool *other;
	struct delivery *d;
	struct strbuf err;

	/* Somebody else is at it. */
	ck_assert_int_eq(lock_role_try(&sp->locks, LOCK_RECOVERY, false), 0);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &other, &err), SPOOL_OK);
	usleep(100000);
	ck_assert(!spool_ready(other));
	ck_assert_int_eq(spool_may_deliver(other), SPOOL_NOT_READY);
	ck_assert_int_eq(delivery_begin(other, &env, &usual, &d), SPOOL_NOT_READY);
	ck_assert_ptr_nonnull(env);
	ck_assert_int_eq(lock_role_release(&sp->locks, LOCK_RECOVERY), 0);
	ck_assert_int_eq(spool_wait_ready(other), SPOOL_OK);
	ck_assert(spool_ready(other));
	ck_assert_int_eq(delivery_begin(other, &env, &usual, &d), SPOOL_OK);
	delivery_abandon(&d);
	spool_close(&other);

	/* And closing does not wait for it. */
	ck_assert_int_eq(lock_role_try(&sp->locks, LOCK_RECOVERY, false), 0);
	ck_assert_int_eq(spool_open(&options, &other, &err), SPOOL_OK);
	spool_close(&other);
	ck_assert_int_eq(lock_role_release(&sp->locks, LOCK_RECOVERY), 0);
	strbuf_release(&err);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("recover_who");
	TCase *tc = tcase_create("recover_who");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, living_writer_is_left_alone);
	tcase_add_test(tc, leftover_that_was_none);
	tcase_add_test(tc, first_one_recovers);
	tcase_add_test(tc, not_ready_until_recovered);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
