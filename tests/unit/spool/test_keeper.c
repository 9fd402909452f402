/*
 * The keeper: who wakes it, what it does unasked, and when.
 *
 * Times of the policy are those of the set clock; that it acts at once, and not when its timer
 * is over, is measured by the machine's.
 */
#include "delivery_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/clock.h"
#include "common/spool/janitor.h"
#include "spool/maildrop.h"

#define TODAY 20000u
#define DAY_MS UINT64_C(86400000)
#define HOUR_S 3600u
/* Well below the timer's minute; a busy machine has its time. */
#define SOON_MS 8000

static struct spool *
open_with(enum spool_role role, struct spool_policy policy)
{
	const struct spool_options options = {
		.dir = spool_test_dir,
		.role = role,
		.policy = policy,
		.segment_max = 40000,
	};
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	return sp;
}

static const struct spool_policy no_policy;

static void
nap(void)
{
	const struct timespec ms = { .tv_nsec = 5 * 1000 * 1000 };

	nanosleep(&ms, NULL);
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Until the question has this answer; fails when it does not come soon. */
static void
becomes(struct spool *sp, const char *sql, int64_t want)
{
	uint64_t end = now_ms() + SOON_MS;

	while (test_number(sp, sql) != want) {
		ck_assert_msg(now_ms() < end, "%s: %lld, not %lld", sql,
		    (long long)test_number(sp, sql), (long long)want);
		nap();
	}
}

static void
stays(struct spool *sp, const char *sql, int64_t want)
{
	for (uint64_t end = now_ms() + 400; now_ms() < end; nap())
		ck_assert_int_eq(test_number(sp, sql), want);
}

static void
remove_all(struct spool *sp, uint64_t mailbox)
{
	struct maildrop *md = test_maildrop(sp, mailbox);

	for (size_t i = 0; i < maildrop_count(md); i++)
		maildrop_mark(md, i);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
}

static void
deliver(struct spool *sp, unsigned number, const char *day)
{
	char sql[120];

	ck_assert_int_eq(test_deliver(sp, number, 500, 1, 1, NULL), SPOOL_OK);
	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET expires_day = %s WHERE received_ms >= %u * 86400000", day, TODAY);
	test_sql(sp, sql);
}

/* The first rounds are over: nothing moves by itself any more. */
static void
settle(struct spool *sp)
{
	for (int i = 0; i < 40; i++)
		nap();
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
}

#define GARBAGE "SELECT count(*) FROM garbage"
#define ENTRIES "SELECT count(*) FROM entry"

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

/* --- expiry --------------------------------------------------------------- */

static const struct spool_policy hourly = { .expire_every_s = HOUR_S };

/* One file that cannot be touched keeps nothing else from its turn. */
START_TEST(a_file_in_the_way_is_alone)
{
	struct janitor_task task = { .expire = true };
	struct spool *sp = open_with(SPOOL_ADMIN, no_policy);
	char path[300], dead[64];
	int64_t first, second;

	clock_set(1, TODAY * DAY_MS);
	test_mailboxes(sp, 2);
	/* Two large ones have segments of their own, the third does not. */
	ck_assert_int_eq(test_deliver(sp, 0, 300000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 300000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 500, 2, 2, NULL), SPOOL_OK);
	first = test_number(sp, "SELECT min(message) >> 21 FROM entry WHERE mailbox = 1");
	second = test_number(sp, "SELECT max(message) >> 21 FROM entry WHERE mailbox = 1");
	test_sql(sp, "UPDATE entry SET expires_day = 100 WHERE mailbox = 2");
	snprintf(path, sizeof(path), "%s/segments/%lld", spool_test_dir, (long long)first);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	remove_all(sp, 1);

	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_IO);
	ck_assert(task.expired);
	snprintf(dead, sizeof(dead), "SELECT count(*) FROM segment WHERE number = %lld",
	    (long long)second);
	ck_assert_int_eq(test_number(sp, dead), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 2"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 0);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 2"), 0);
	spool_close(&sp);
	clock_set(0, 0);
}
END_TEST

/* The same for records whose segment cannot be opened, and for more of either than is dealt with at
 * once. */
START_TEST(a_round_comes_to_the_end)
{
	struct janitor_task task = { 0 };
	struct spool *sp = open_with(SPOOL_ADMIN, no_policy);
	char path[300];

	/* Their files are gone already; of those with a live message one is a folder. */
	test_sql(sp, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
	    " INSERT INTO segment SELECT i, 1, 1, 0 FROM n");
	test_sql(sp, "INSERT INTO segment VALUES (5000, 1, 1, 1), (5001, 1, 1, 1)");
	test_sql(sp, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
	    " INSERT INTO garbage SELECT (5000 << 21) + i * 2, 1 FROM n"
	    " UNION ALL SELECT (5001 << 21) + i * 2, 1 FROM n");
	snprintf(path, sizeof(path), "%s/segments/5000", spool_test_dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_IO);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 2);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 2500);
	ck_assert_int_eq(test_number(sp, "SELECT max(message) >> 21 FROM garbage"), 5000);
	ck_assert_int_eq(rmdir(path), 0);
	spool_close(&sp);
}
END_TEST

START_TEST(expires_at_the_start)
{
	struct spool *sp = open_with(SPOOL_ADMIN, no_policy);
	enum spool_role role = _i == 0 ? SPOOL_SMTPD : SPOOL_POP3D;

	test_mailboxes(sp, 1);
	deliver(sp, 1, "19999");
	spool_close(&sp);
	sp = open_with(role, no_policy);
	stays(sp, ENTRIES, 1);
	spool_close(&sp);
	sp = open_with(role, hourly);
	becomes(sp, ENTRIES, 0);
	becomes(sp, GARBAGE, 0);
	spool_close(&sp);
}
END_TEST

/* Two daemons may for a while have read two policies: smtpd's ends what is kept. */
START_TEST(kept_mail_is_smtpds)
{
	struct spool *sp = open_with(SPOOL_ADMIN, no_policy);

	test_mailboxes(sp, 1);
	deliver(sp, 1, "NULL");
	test_sql(sp, "UPDATE entry SET state = 1, removed_s = 1;"
		     "UPDATE mailbox SET used = 0, messages = 0;"
		     "UPDATE meta SET value = (SELECT sum(blocks) FROM entry)"
		     " WHERE key = 'kept_blocks'");
	spool_close(&sp);
	sp = open_with(SPOOL_POP3D, hourly);
	janitor_wake(sp);
	stays(sp, ENTRIES, 1);
	spool_close(&sp);
	sp = open_with(SPOOL_SMTPD, hourly);
	becomes(sp, ENTRIES, 0);
	spool_close(&sp);
}
END_TEST

/* Every hour and not before; a changed policy at once. */
START_TEST(expires_by_its_schedule)
{
	struct spool *sp = open_with(SPOOL_SMTPD, hourly);

	test_mailboxes(sp, 1);
	settle(sp);
	deliver(sp, 1, "19999");
	clock_set(HOUR_S * 1000, TODAY * DAY_MS + HOUR_S * 1000 - 1000);
	janitor_wake(sp);
	stays(sp, ENTRIES, 1);
	clock_set(HOUR_S * 1000 + 1000, TODAY * DAY_MS + HOUR_S * 1000);
	janitor_wake(sp);
	becomes(sp, ENTRIES, 0);

	spool_set_policy(sp, &no_policy);
	deliver(sp, 2, "19999");
	clock_set(9 * HOUR_S * 1000, TODAY * DAY_MS + 9 * HOUR_S * 1000);
	janitor_wake(sp);
	stays(sp, ENTRIES, 1);
	spool_set_policy(sp, &hourly);
	becomes(sp, ENTRIES, 0);
	spool_close(&sp);
}
END_TEST

/* An open maildrop is come back to within seconds, not within the hour. */
START_TEST(comes_back_for_open_maildrops)
{
	struct spool *sp = open_with(SPOOL_SMTPD, no_policy);
	struct maildrop *md;

	test_mailboxes(sp, 1);
	deliver(sp, 1, "19999");
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	settle(sp);
	spool_set_policy(sp, &hourly);
	stays(sp, ENTRIES, 1);
	maildrop_close(&md);
	clock_set(1000 + 4900, TODAY * DAY_MS + 4900);
	janitor_wake(sp);
	stays(sp, ENTRIES, 1);
	clock_set(1000 + 5000, TODAY * DAY_MS + 5000);
	janitor_wake(sp);
	becomes(sp, ENTRIES, 0);
	spool_close(&sp);
}
END_TEST

/* --- what is kept --------------------------------------------------------- */

#define KEPT "SELECT count(*) FROM entry WHERE state = 1"

/* n messages, removed a second apart. */
static struct spool *
with_kept(unsigned n, struct spool_policy policy)
{
	struct spool *sp = open_with(SPOOL_SMTPD, policy);

	test_mailboxes(sp, 1);
	for (unsigned i = 0; i < n; i++) {
		clock_set(1000 + i * 1000, TODAY * DAY_MS + i * 1000);
		deliver(sp, i, "NULL");
		remove_all(sp, 1);
	}
	ck_assert_int_eq(test_number(sp, ENTRIES), n);
	return sp;
}

static const struct spool_policy keep = { .keep_deleted_s = HOUR_S, .keep_deleted_max = 1 << 30 };

START_TEST(kept_for_its_time)
{
	struct spool *sp = with_kept(3, keep);

	stays(sp, KEPT, 3);
	/* The second before the first is due, then second by second. */
	for (unsigned i = 0; i <= 3; i++) {
		clock_set(9000, TODAY * DAY_MS + (HOUR_S - 1 + i) * 1000);
		janitor_wake(sp);
		becomes(sp, KEPT, 3 - i);
		ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
		ck_assert_int_eq(test_number(sp, KEPT), 3 - i);
		test_invariants(sp);
	}
	becomes(sp, GARBAGE, 0);
	spool_close(&sp);
}
END_TEST

START_TEST(keeping_is_turned_off)
{
	struct spool *sp = with_kept(3, keep);

	spool_set_policy(sp, &no_policy);
	becomes(sp, KEPT, 0);
	spool_close(&sp);
}
END_TEST

/* A block each: room for `blocks` of them, the youngest. */
START_TEST(kept_in_its_room)
{
	struct spool_policy policy = keep;
	struct spool *sp = with_kept(5, policy);
	unsigned blocks = 4 - (unsigned)_i;

	policy.keep_deleted_max = blocks * RECORD_BLOCK + (_i % 2 ? RECORD_BLOCK - 1 : 0);
	spool_set_policy(sp, &policy);
	becomes(sp, KEPT, blocks);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, KEPT), blocks);
	if (blocks > 0)
		ck_assert_int_eq(test_number(sp, "SELECT min(removed_s) FROM entry"),
		    TODAY * 86400 + 5 - blocks);
	test_invariants(sp);
	spool_close(&sp);
}
END_TEST

/* More than one batch. */
START_TEST(much_was_kept)
{
	struct spool *sp = open_with(SPOOL_ADMIN, keep);

	test_mailboxes(sp, 1);
	test_sql(sp, "INSERT INTO segment VALUES (1, 1, 2000000, 1201);"
		     "UPDATE meta SET value = 1 WHERE key = 'newest_segment';"
		     "WITH RECURSIVE i (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM i WHERE k < 1200)"
		     " INSERT INTO entry (mailbox, message, received_ms, octets, blocks, state,"
		     " removed_s, reverse_path, recipient)"
		     " SELECT 1, (1 << 21) + k, 1, 100, 1, 1, k / 7, '', 'x' FROM i;"
		     "UPDATE meta SET value = 1201 WHERE key = 'kept_blocks'");
	test_invariants(sp);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, KEPT), 0);
	test_invariants(sp);
	spool_close(&sp);
}
END_TEST

static void
setup(void)
{
	spool_test_make();
	clock_set(1000, TODAY * DAY_MS);
}

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
	tcase_add_test(tc, a_busy_round_is_tried_again);
	tcase_add_test(tc, pop_admin_alone);
	tcase_add_test(tc, the_last_has_the_name);
	tcase_add_test(tc, a_flood_of_calls);
	tcase_add_test(tc, a_long_path);
	tcase_add_test(tc, no_folder_to_listen_in);
	tcase_add_test(tc, dead_segments_go_soon);
	tcase_add_test(tc, a_file_in_the_way_is_alone);
	tcase_add_test(tc, a_round_comes_to_the_end);
	tcase_add_loop_test(tc, expires_at_the_start, 0, 2);
	tcase_add_test(tc, kept_mail_is_smtpds);
	tcase_add_test(tc, expires_by_its_schedule);
	tcase_add_test(tc, comes_back_for_open_maildrops);
	tcase_add_test(tc, kept_for_its_time);
	tcase_add_test(tc, keeping_is_turned_off);
	tcase_add_loop_test(tc, kept_in_its_room, 0, 5);
	tcase_add_test(tc, much_was_kept);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
