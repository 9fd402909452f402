/* The keeper: when mail goes by its age, and what is kept for how long. */
#include "keeper_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/spool/janitor.h"

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

int
main(void)
{
	Suite *suite = suite_create("keeper_expiry");
	TCase *tc = tcase_create("keeper_expiry");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, spool_test_remove);
	tcase_set_timeout(tc, 120);
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
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
