/* The keeper: who wakes it, and what it does then. */
#include "keeper_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/spool/janitor.h"

/* --- waking --------------------------------------------------------------- */

static const struct {
	const char *name;
	enum spool_role who;            /* removes */
	bool smtpd;                     /* listens */
} wakers[] = {
	{ "smtpd by itself", SPOOL_SMTPD, true },
	{ "pop3d wakes smtpd", SPOOL_POP3D, true },
	{ "pop-admin wakes smtpd", SPOOL_ADMIN, true },
	{ "pop3d alone", SPOOL_POP3D, false },
};

START_TEST(garbage_goes_soon)
{
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);
	struct spool *who = sp;
	uint64_t began;

	test_mailboxes(sp, 1);
	deliver(sp, 1, "NULL");
	if (!wakers[_i].smtpd)
		spool_close(&sp);
	if (wakers[_i].who != SPOOL_SMTPD)
		who = open_with(wakers[_i].who, no_policy);
	settle(who);
	began = now_ms();
	remove_all(who, 1);
	becomes(who, GARBAGE, 0);
	ck_assert_msg(now_ms() - began < SOON_MS, "%s", wakers[_i].name);
	if (who != sp)
		spool_close(&who);
	spool_close(&sp);
}
END_TEST

/* What dies right after room was given back waits for its neighbours, but not for the timer.  A busy
 * machine may take longer over it than the wait lasts, and tries again. */
START_TEST(garbage_waits_a_moment)
{
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);
	bool waited = false;

	test_mailboxes(sp, 1);
	settle(sp);
	for (unsigned i = 1; i <= 10 && !waited; i++) {
		deliver(sp, i, "NULL");
		remove_all(sp, 1);
		becomes(sp, GARBAGE, 0);
		deliver(sp, 10 + i, "NULL");
		remove_all(sp, 1);
		for (uint64_t end = now_ms() + 400; now_ms() < end;)
			nap();
		waited = test_number(sp, GARBAGE) == 1;
		becomes(sp, GARBAGE, 0);
	}
	ck_assert(waited);
	spool_close(&sp);
}
END_TEST

/* Who is woken and finds another process at it comes again: that one may have looked before. */
START_TEST(a_busy_round_is_tried_again)
{
	struct spool *smtpd = open_with(SPOOL_SMTPD, no_policy);
	struct spool *pop3d = open_with(SPOOL_POP3D, no_policy);
	struct spool *admin = open_with(SPOOL_ADMIN, no_policy);

	test_mailboxes(smtpd, 1);
	deliver(smtpd, 1, "NULL");
	settle(admin);
	ck_assert_int_eq(lock_role_try(&admin->locks, LOCK_JANITOR, false), 0);
	remove_all(pop3d, 1);
	stays(admin, GARBAGE, 1);
	ck_assert_int_eq(lock_role_release(&admin->locks, LOCK_JANITOR), 0);
	becomes(admin, GARBAGE, 0);
	spool_close(&admin);
	spool_close(&pop3d);
	spool_close(&smtpd);
}
END_TEST

/* pop-admin does a round itself where nobody listens: smtpd's name is still there. */
START_TEST(pop_admin_alone)
{
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);
	char path[300];
	struct stat st;

	test_mailboxes(sp, 1);
	deliver(sp, 1, "NULL");
	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/run/smtpd-wake", spool_test_dir);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 0777, 0600);

	sp = open_with(SPOOL_ADMIN, no_policy);
	remove_all(sp, 1);
	ck_assert_int_eq(test_number(sp, GARBAGE), 1);
	spool_close(&sp);
	sp = open_with(SPOOL_ADMIN, no_policy);
	ck_assert_int_eq(test_number(sp, GARBAGE), 0);
	spool_close(&sp);
}
END_TEST

/* Whoever starts last is called, also while the one before still ends its sessions. */
START_TEST(the_last_has_the_name)
{
	struct spool *first = open_with(SPOOL_SMTPD, no_policy);
	struct spool *second = open_with(SPOOL_SMTPD, no_policy);
	struct spool *pop3d;

	test_mailboxes(first, 1);
	deliver(first, 1, "NULL");
	settle(second);
	spool_close(&first);
	pop3d = open_with(SPOOL_POP3D, no_policy);
	settle(pop3d);
	remove_all(pop3d, 1);
	becomes(second, GARBAGE, 0);
	spool_close(&pop3d);
	spool_close(&second);
}
END_TEST

/* A flood of calls neither blocks who calls nor keeps the keeper from its end. */
START_TEST(a_flood_of_calls)
{
	struct spool *smtpd = open_with(SPOOL_SMTPD, no_policy);
	struct spool *pop3d = open_with(SPOOL_POP3D, no_policy);
	uint64_t began = now_ms();

	for (int i = 0; i < 20000; i++)
		janitor_wake(pop3d);
	ck_assert_uint_lt(now_ms() - began, SOON_MS);
	spool_close(&pop3d);
	spool_close(&smtpd);
}
END_TEST

/* The longest name that an address of a socket holds is shorter than a spool's may be. */
START_TEST(a_long_path)
{
	char longer[256], *base = strdup(spool_test_dir);
	struct spool *smtpd, *pop3d;

	*strrchr(base, '/') = '\0';
	snprintf(longer, sizeof(longer), "%s/%0120d", base, 7);
	ck_assert_int_eq(rename(spool_test_dir, longer), 0);
	snprintf(spool_test_dir, sizeof(spool_test_dir), "%s", longer);
	smtpd = open_with(SPOOL_SMTPD, no_policy);
	pop3d = open_with(SPOOL_POP3D, no_policy);
	test_mailboxes(smtpd, 1);
	deliver(smtpd, 1, "NULL");
	settle(smtpd);
	spool_close(&pop3d);
	pop3d = open_with(SPOOL_POP3D, no_policy);
	settle(pop3d);
	/* pop3d's own is kept away, so it is smtpd's that must have been called. */
	pthread_mutex_lock(&pop3d->round_mutex);
	remove_all(pop3d, 1);
	becomes(smtpd, GARBAGE, 0);
	pthread_mutex_unlock(&pop3d->round_mutex);
	spool_close(&pop3d);
	spool_close(&smtpd);
	free(base);
}
END_TEST

/* Without run/ there is a log line, and the timer. */
START_TEST(no_folder_to_listen_in)
{
	struct spool *sp;
	char path[300];

	snprintf(path, sizeof(path), "%s/run", spool_test_dir);
	ck_assert_int_eq(rmdir(path), 0);
	sp = open_with(SPOOL_SMTPD, no_policy);
	test_mailboxes(sp, 1);
	deliver(sp, 1, "NULL");
	settle(sp);
	/* Its own removals it hears of all the same. */
	remove_all(sp, 1);
	becomes(sp, GARBAGE, 0);
	spool_close(&sp);
}
END_TEST

/* Segments in which nothing lives go soon: those that are closed, and one that is closed after
 * its last message went. */
START_TEST(dead_segments_go_soon)
{
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);

	test_mailboxes(sp, 2);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(test_deliver(sp, i, 30000, 1, 1, NULL), SPOOL_OK);
	settle(sp);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 3);
	remove_all(sp, 1);
	becomes(sp, "SELECT count(*) FROM segment", 1);
	ck_assert_int_eq(test_deliver(sp, 9, 30000, 2, 2, NULL), SPOOL_OK);
	becomes(sp, "SELECT count(*) FROM segment", 1);
	spool_close(&sp);
}
END_TEST

/* --- what recovery is to decide --------------------------------------------- */

static atomic_bool disk_fails;

static int
failing_fdatasync(int fd)
{
	errno = EIO;
	return atomic_load(&disk_fails) ? -1 : fdatasync(fd);
}

static int
failing_ftruncate(int fd, off_t len)
{
	errno = EIO;
	return atomic_load(&disk_fails) ? -1 : ftruncate(fd, len);
}

/* A group that could neither be synced nor cut off is in its mailboxes or not, and soon: not when
 * somebody starts smtpd the next time, and its recipient has long had the sender's second try. */
START_TEST(unknown_is_decided_soon)
{
	struct disk_ops disk = disk_real;
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);

	test_mailboxes(sp, 1);
	settle(sp);
	deliver(sp, 1, "NULL");
	disk.fdatasync = failing_fdatasync;
	disk.ftruncate = failing_ftruncate;
	sp->disk = &disk;
	atomic_store(&disk_fails, true);
	ck_assert_int_eq(test_deliver(sp, 2, 500, 1, 1, NULL), SPOOL_UNKNOWN);
	atomic_store(&disk_fails, false);
	becomes(sp, ENTRIES, 2);
	becomes(sp, "SELECT count(*) FROM segment WHERE state = 0", 0);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
	test_invariants(sp);
	spool_close(&sp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("keeper");
	TCase *tc = tcase_create("keeper");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, unknown_is_decided_soon);
	tcase_add_checked_fixture(tc, setup, spool_test_remove);
	tcase_add_loop_test(tc, garbage_goes_soon, 0, sizeof(wakers) / sizeof(wakers[0]));
	tcase_add_test(tc, garbage_waits_a_moment);
	tcase_add_test(tc, a_busy_round_is_tried_again);
	tcase_add_test(tc, pop_admin_alone);
	tcase_add_test(tc, the_last_has_the_name);
	tcase_add_test(tc, a_flood_of_calls);
	tcase_add_test(tc, a_long_path);
	tcase_add_test(tc, no_folder_to_listen_in);
	tcase_add_test(tc, dead_segments_go_soon);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
