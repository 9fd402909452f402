/*
 * room: what the last commit told of a mailbox stands for a reading, for a second, while somebody has a
 * claim in it; and nobody is refused for it.
 */
#include "common/spool/delivery_internal.h"
#include "common/spool/spool_internal.h"
#include "room_test.h"

/* A message of `octets` is committed in mailbox 1, of which the group found `quota`; while it is, and
 * behind it, there is a claim that is returned. */
static struct delivery *
commit_beside_claim(uint64_t octets, uint64_t quota, bool succeeds)
{
	struct room_sum sum = { .used = 0, .quota = quota, .octets = octets };
	struct delivery *stays = begun(1, 1, trusted(0)), *a = begun(1, 1, trusted(octets));
	char sql[100];

	snprintf(sql, sizeof(sql), "UPDATE mailbox SET used = %llu WHERE id = 1",
	    (unsigned long long)octets);
	room_settle(sp, a->claim, a->env, &sum);
	room_commit_begin(sp);
	if (succeeds) {
		test_sql(sp, sql);
		room_committed(sp);
	}
	room_release(sp, &a->claim);
	room_commit_end(sp);
	delivery_abandon(&a);
	return stays;
}

static void
end_claim(struct delivery **d)
{
	delivery_abandon(d);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 1");
}

/* The index is not read within that second, and then it is. */
START_TEST(promises_by_the_last_commit)
{
	const uint64_t rest = 10000 - 4000 - ROOM_TRACE_MAX;
	struct delivery *d;
	bool most;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	d = commit_beside_claim(4000, 10000, true);
	set_quota(1, 1000);
	clock_set(1000999, 1);
	ck_assert_int_eq(look(1, rest, rest, &most), SPOOL_OK);
	ck_assert(most);
	ck_assert_int_eq(look(1, rest + 1, rest + 1, &most), SPOOL_NEVER_FITS);
	clock_set(1001000, 1);
	ck_assert_int_eq(look(1, rest, rest, &most), SPOOL_NEVER_FITS);
	end_claim(&d);
}
END_TEST

/* Nobody is refused for what is remembered: mail may be gone, or the quota another one. */
START_TEST(refuses_by_the_index_alone)
{
	struct delivery *d;
	bool most;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	d = commit_beside_claim(7000, 10000, true);
	ck_assert_int_eq(look(1, 1000, 1000, &most), SPOOL_OVER_QUOTA);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 1");
	ck_assert_int_eq(look(1, 7000, 7440, &most), SPOOL_OK);
	ck_assert(most);
	set_quota(1, 100000);
	ck_assert_int_eq(look(1, 50000, 50000, &most), SPOOL_OK);
	/* A claim grows by a step that has room in truth, not by what there was of the rest. */
	set_quota(1, 400000);
	write_octets(d, 1, ROOM_TRACE_MAX - ROOM_OWN_MAX + 1);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + 65536);
	end_claim(&d);
}
END_TEST

/* Whether a refusal is final rests on all mailboxes, though one of them has no room for certain. */
START_TEST(what_is_final_rests_on_all)
{
	struct account_target list[] = {
		{ .mailbox = 1, .address = (char *)(uintptr_t)"a@b" },
		{ .mailbox = 2, .address = (char *)(uintptr_t)"c@d" },
	};
	const struct account_targets targets = { .list = list, .n = 2 };
	struct envelope *env = envelope_new("");
	struct delivery *d;
	bool most;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	d = commit_beside_claim(4000, 10000, true);
	test_sql(sp, "UPDATE mailbox SET quota = 20000, used = 19000 WHERE id = 2");
	ck_assert_int_eq(room_look(sp, &targets, env, 15000, 15000, &most), SPOOL_NEVER_FITS);
	set_quota(1, 16000);
	ck_assert_int_eq(room_look(sp, &targets, env, 15000, 15000, &most), SPOOL_OVER_QUOTA);
	envelope_free(&env);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 2");
	end_claim(&d);
}
END_TEST

START_TEST(forgets_with_the_last_claim)
{
	struct delivery *d;
	bool most;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	d = commit_beside_claim(4000, 10000, true);
	delivery_abandon(&d);
	set_quota(1, 5000);
	ck_assert_int_eq(look(1, 3000, 3000, &most), SPOOL_OVER_QUOTA);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 1");
}
END_TEST

/* What was settled and not committed tells nothing. */
START_TEST(learns_nothing_of_a_failure)
{
	struct delivery *d, *e;
	bool most;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	d = commit_beside_claim(4000, 10000, false);
	set_quota(1, 5000);
	ck_assert_int_eq(look(1, 3000, 3000, &most), SPOOL_OVER_QUOTA);
	/* Nor behind one that succeeded. */
	set_quota(1, 10000);
	e = commit_beside_claim(1000, 10000, true);
	delivery_abandon(&e);
	e = commit_beside_claim(1, 20000, false);
	delivery_abandon(&e);
	ck_assert_int_eq(look(1, 9000 - ROOM_TRACE_MAX, 1, &most), SPOOL_OK);
	ck_assert_int_eq(look(1, 9001 - ROOM_TRACE_MAX, 1, &most), SPOOL_OVER_QUOTA);
	/* Recovery may enter what failed: what was known before is forgotten. */
	e = commit_beside_claim(1000, 10000, true);
	delivery_abandon(&e);
	e = commit_beside_claim(3000, 10000, false);
	delivery_abandon(&e);
	test_sql(sp, "UPDATE mailbox SET used = 4000 WHERE id = 1");
	ck_assert_int_eq(look(1, 6001 - ROOM_TRACE_MAX, 1, &most), SPOOL_OVER_QUOTA);
	end_claim(&d);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("room_told");
	TCase *tc = tcase_create("room_told");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, promises_by_the_last_commit);
	tcase_add_test(tc, refuses_by_the_index_alone);
	tcase_add_test(tc, what_is_final_rests_on_all);
	tcase_add_test(tc, forgets_with_the_last_claim);
	tcase_add_test(tc, learns_nothing_of_a_failure);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
