/* survey: what lives, is kept, is dead and was given back; what the disk has; who else is there. */
#include "check_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/statvfs.h>

START_TEST(sizes)
{
	uint64_t a, b, c, before;
	struct check_result r;
	struct survey s;
	char *found;

	clock_set(1, 1700000000000);
	a = deliver(1, 10000, 1, 1);
	clock_set(1, 1700000001000);
	b = deliver(2, 5000, 1, 3);
	c = deliver(3, 20000, 2, 2);
	clock_set(0, 0);
	assert_right();
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	/* 3, 2 and 5 blocks, headers included. */
	ck_assert_uint_eq(s.space.live, (3 + 2 + 5) * 4096);
	ck_assert_uint_eq(s.space.kept + s.space.dead, 0);
	ck_assert_uint_eq(s.domains, 1);
	ck_assert_uint_eq(s.mailboxes, 5);
	ck_assert_uint_eq(s.messages, 5);
	ck_assert_uint_eq(s.oldest_ms, 1700000000000);
	ck_assert_uint_eq(s.newest_segment_ms,
	    (uint64_t)test_number(sp, "SELECT max(number) FROM segment"));
	ck_assert_int_eq(test_number(sp, "SELECT sum(used) FROM mailbox"), (int64_t)s.used);

	/* A message is kept when nobody has it any more, and some kept it. */
	remove_one(1, b, false);
	remove_one(2, b, false);
	assert_right();
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_uint_eq(s.space.live, (3 + 2 + 5) * 4096);
	remove_one(3, b, false);
	remove_one(3, b, true);
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_uint_eq(s.space.live, (3 + 5) * 4096);
	ck_assert_uint_eq(s.space.kept, 2 * 4096);
	keep(0);
	remove_one(1, a, false);
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_uint_eq(s.space.live, 5 * 4096);
	ck_assert_uint_eq(s.space.dead, 3 * 4096);
	ck_assert_uint_eq(s.oldest_ms, 1700000001000);
	assert_right();
	before = s.space.given_back;
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	found = check(&r);
	ck_assert_str_eq(found, "");
	free(found);
	ck_assert_uint_eq(r.space.dead, 0);
	/* What was kept goes along, now that nothing is. */
	ck_assert_uint_eq(r.space.kept, 0);
	ck_assert_uint_eq(r.space.given_back, before + (3 + 2) * 4096);
	ck_assert_uint_eq(test_read_back(sp, c, 2), 3);
}
END_TEST

START_TEST(disk_and_others)
{
	struct statvfs fs;
	struct survey s;
	bool possible = false;
	pid_t child;
	int status;

	spool_set_policy(sp, &(struct spool_policy){ .reserve = 4711 });
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_int_eq(statvfs(spool_test_dir, &fs), 0);
	ck_assert_uint_eq(s.reserve, 4711);
	ck_assert_uint_gt(s.free, 0);
	ck_assert_uint_le(s.free, (uint64_t)fs.f_blocks * fs.f_frsize);
	ck_assert(!s.open_elsewhere);
	/* Another process has it open. */
	child = take_elsewhere(LOCK_OPEN, true, 60000);
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert(s.open_elsewhere);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert(!s.open_elsewhere);
	/* Nothing is left of the trial. */
	ck_assert_int_eq(survey_holes(sp, &possible), SPOOL_OK);
	ck_assert(possible);
	assert_right();
}
END_TEST

/* A file system without holes, and one on which nothing goes. */
static int punch_errno;

static int
fallocate_fails(int fd, int mode, off_t offset, off_t len)
{
	(void)fd;
	(void)mode;
	(void)offset;
	(void)len;
	errno = punch_errno;
	return -1;
}

START_TEST(no_holes)
{
	struct disk_ops disk = disk_real;
	struct check_result r;
	struct survey s;
	bool possible = true;
	uint64_t a;

	disk.fallocate = fallocate_fails;
	sp->disk = &disk;
	punch_errno = EOPNOTSUPP;
	ck_assert_int_eq(survey_holes(sp, &possible), SPOOL_OK);
	ck_assert(!possible);

	/* What is dead lies there until its segment goes, though it is garbage no more. */
	keep(0);
	a = deliver(1, 9000, 1, 2);
	deliver(2, 5000, 3, 3);
	remove_one(1, a, false);
	remove_one(2, a, false);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 0);
	free(check(&r));
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_uint_eq(s.space.live, 2 * 4096);
	ck_assert_uint_eq(s.space.dead, 3 * 4096);
	ck_assert_uint_eq(s.space.given_back, 0);
	ck_assert_uint_eq(r.space.dead, s.space.dead);
	ck_assert_uint_eq(r.space.live, s.space.live);

	punch_errno = EIO;
	ck_assert_int_eq(survey_holes(sp, &possible), SPOOL_IO);
	sp->disk = &disk_real;
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("survey");
	TCase *tc = tcase_create("survey");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, disk_and_others);
	tcase_add_test(tc, no_holes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
