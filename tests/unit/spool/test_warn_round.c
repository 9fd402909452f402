/* warn: when mailboxes are looked at, and what becomes of a warning that cannot be sent now. */
#include "warn_test.h"

#include "base/clock.h"
#include "common/spool/index_internal.h"

/* --- when it is looked at ---------------------------------------------------- */

START_TEST(changes_are_seen_and_nothing_else)
{
	struct spool *sp = open_filled(1), *other = spool_test_open(SPOOL_POP3D);
	struct index_watch watch = { NULL, 0 };

	ck_assert(index_changed(sp, &watch));
	ck_assert(!index_changed(sp, &watch));
	test_number(sp, "SELECT count(*) FROM mailbox");
	ck_assert(!index_changed(sp, &watch));
	test_sql(sp, "UPDATE mailbox SET warned = 1");
	ck_assert(index_changed(sp, &watch));
	ck_assert(!index_changed(sp, &watch));
	test_sql(other, "UPDATE mailbox SET warned = 0");
	ck_assert(index_changed(sp, &watch));
	ck_assert(!index_changed(sp, &watch));
	index_watch_close(&watch);
	spool_close(&other);

	/* Without a change no round looks: this one is kept from the counter. */
	round_of(sp);
	round_of(sp);
	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9");
	ck_assert(index_changed(sp, &sp->warner->watch));
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 0);
	test_sql(sp, "UPDATE mailbox SET last_login_s = 0");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	spool_close(&sp);
}
END_TEST

/* Looking takes its share of the time and no more; what mail brings about does not wait for it. */
START_TEST(looks_keep_their_distance)
{
	struct spool *sp = open_filled(1);

	round_of(sp);
	sp->warner->next_look_ms = clock_mono_ms() + 1000000;
	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9");
	ck_assert_int_eq(warn_round(sp), SPOOL_OK);
	ck_assert_int_eq(warnings_of(sp, 1), 0);
	sp->warner->next_look_ms = clock_mono_ms();
	ck_assert_int_eq(warn_round(sp), SPOOL_OK);
	ck_assert_int_eq(warnings_of(sp, 1), 1);

	sp->warner->next_look_ms = clock_mono_ms() + 1000000;
	ck_assert_int_eq(test_deliver(sp, 2, 200000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(warn_round(sp), SPOOL_OK);
	ck_assert_int_eq(number_of(sp, "warned", 1), 95);
	spool_close(&sp);
}
END_TEST

/* The committer tells of a crossing, and of nothing else. */
START_TEST(the_committer_tells_of_a_crossing)
{
	struct spool *sp = open_filled(3);

	test_sql(sp, "UPDATE mailbox SET quota = used + 1000000 WHERE id = 2");
	round_of(sp);
	ck_assert(!sp->warner->urgent);
	ck_assert_int_eq(test_deliver(sp, 2, 300000, 1, 3, NULL), SPOOL_OK);
	ck_assert(!sp->warner->urgent);
	ck_assert_int_eq(test_deliver(sp, 3, 300000, 1, 3, NULL), SPOOL_OK);
	ck_assert(sp->warner->urgent);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 2), 1);
	ck_assert_int_eq(warnings_of(sp, 1) + warnings_of(sp, 3), 0);
	/* Told already. */
	ck_assert_int_eq(test_deliver(sp, 4, 1000, 1, 3, NULL), SPOOL_OK);
	ck_assert(!sp->warner->urgent);
	/* Nobody is warned who may have no mail. */
	test_sql(sp, "UPDATE mailbox SET enabled = 0, quota = used + 9000 WHERE id = 3");
	ck_assert_int_eq(test_deliver(sp, 5, 1000, 1, 3, NULL), SPOOL_OK);
	ck_assert(!sp->warner->urgent);
	set_shares(sp, "");
	sp->warner->urgent = false;
	test_sql(sp, "UPDATE mailbox SET warned = 0");
	ck_assert_int_eq(test_deliver(sp, 6, 1000, 2, 2, NULL), SPOOL_OK);
	ck_assert(!sp->warner->urgent);
	spool_close(&sp);
}
END_TEST

/* In the daemon it comes by itself. */
START_TEST(the_keeper_does_it)
{
	struct spool *sp = spool_test_open(SPOOL_SMTPD);
	uint64_t end;

	test_mailboxes(sp, 1);
	test_sql(sp, "UPDATE mailbox SET quota = 1000000");
	ck_assert_int_eq(spool_set_warning(sp, &usual), SPOOL_OK);
	for (unsigned i = 0; i < 9; i++)
		ck_assert_int_eq(test_deliver(sp, i, 99000, 1, 1, NULL), SPOOL_OK);
	for (end = clock_mono_ms() + 20000; clock_mono_ms() < end && warnings_of(sp, 1) == 0;)
		usleep(1000);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	spool_close(&sp);
}
END_TEST

/* A spool that is closed while warnings are on their way: each is there or not told. */
START_TEST(the_end_in_the_middle)
{
	struct spool *sp = open_filled(300);

	spool_close(&sp);
	sp = spool_test_open(SPOOL_SMTPD);
	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9");
	ck_assert_int_eq(spool_set_warning(sp, &usual), SPOOL_OK);
	usleep((useconds_t)_i * 3000);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	test_invariants(sp);
	for (unsigned i = 1; i <= 300; i++)
		ck_assert_int_eq(warnings_of(sp, i), number_of(sp, "warned", i) == 80);
	spool_close(&sp);
}
END_TEST

/* --- rounds that come to nothing --------------------------------------------- */

/* While no mail is taken none is made, and none is forgotten. */
START_TEST(it_waits_for_room_on_the_disk)
{
	struct spool_policy policy = { .reserve = INT64_MAX };
	struct spool *sp = open_filled(1);

	spool_set_policy(sp, &policy);
	set_use(sp, 1, 900);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	policy.reserve = 0;
	spool_set_policy(sp, &policy);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	spool_close(&sp);
}
END_TEST

/* What could not be written down is looked at again, though nothing was committed. */
START_TEST(a_round_that_fails_is_made_up_for)
{
	struct spool *sp = open_filled(1);

	set_use(sp, 1, 900);
	atomic_store(&sp->index->broken, true);
	ck_assert_int_eq(warn_round(sp), SPOOL_IO);
	atomic_store(&sp->index->broken, false);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	spool_close(&sp);
}
END_TEST

START_TEST(no_round_begins_after_the_end)
{
	struct spool *sp = open_filled(1);

	set_use(sp, 1, 900);
	warn_stop(sp);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	spool_close(&sp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("warn_round");
	TCase *tc = tcase_create("warn_round");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, changes_are_seen_and_nothing_else);
	tcase_add_test(tc, looks_keep_their_distance);
	tcase_add_test(tc, the_committer_tells_of_a_crossing);
	tcase_add_test(tc, the_keeper_does_it);
	tcase_add_loop_test(tc, the_end_in_the_middle, 0, 6);
	tcase_add_test(tc, it_waits_for_room_on_the_disk);
	tcase_add_test(tc, a_round_that_fails_is_made_up_for);
	tcase_add_test(tc, no_round_begins_after_the_end);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
