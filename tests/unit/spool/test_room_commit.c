/*
 * What the committer makes of quotas and of what was promised: each message in its turn, all of an
 * alias or none, and recovery beyond any quota.
 */
#include "common/spool/delivery_internal.h"
#include "common/spool/room_sums.h"
#include "room_test.h"

/* The index forgets all mail, and `sql` is run on it; a start finds the mail again. */
static void
recover_with(const char *sql)
{
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	test_sql(sp, "DELETE FROM entry; DELETE FROM segment");
	test_sql(sp, sql);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_SMTPD);
}

/* --- settling ------------------------------------------------------------- */

/* Lets what is committed from here on gather into one group: the writer's lock is held, and a
 * message waits for it already. */
static struct index_conn *
hold_committer(struct delivery **first_r, struct test_wait *w)
{
	struct index_conn *c;

	*first_r = begun(12, 12, trusted(1000));
	write_octets(*first_r, 0, 500);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	delivery_commit(*first_r, 500, test_done, w);
	usleep(50000);
	return c;
}

/* Messages of one client, of which one at most has a claim: the committer alone decides. */
START_TEST(five_into_room_for_three)
{
	struct delivery *d[5], *first;
	struct test_wait w;
	struct index_conn *c;
	unsigned kept = 0;

	set_quota(1, (int64_t)(3 * counted(6000) + counted(6000) - 1));
	for (unsigned i = 0; i < 5; i++) {
		d[i] = begun(1, 1, from(counted(6000), 1, 0, 0));
		write_octets(d[i], i, 6000);
	}
	ck_assert_uint_eq(room_claimed(sp, 1), counted(6000));
	test_wait_init(&w);
	c = hold_committer(&first, &w);
	/* The one with the claim comes last, and has what was promised. */
	for (unsigned i = 5; i-- > 0;)
		delivery_commit(d[i], 6000, test_done, &w);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	test_wait_for(&w, 6);
	for (unsigned i = 0; i < 5; i++) {
		kept += delivery_outcome(d[i]) == SPOOL_OK;
		ck_assert(delivery_outcome(d[i]) == SPOOL_OK ||
			  delivery_outcome(d[i]) == SPOOL_OVER_QUOTA);
		ck_assert_uint_eq(test_copies(sp, 1, i), delivery_outcome(d[i]) == SPOOL_OK);
	}
	ck_assert_uint_eq(kept, 3);
	ck_assert_int_eq(delivery_outcome(d[0]), SPOOL_OK);
	ck_assert_uint_eq(used(1), 3 * counted(6000));
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	/* What was refused is in no segment: two blocks each, one for the first message. */
	ck_assert_int_eq(test_number(sp, "SELECT max(mark) FROM segment"), 1 + 1 + 3 * 2);
	for (unsigned i = 0; i < 5; i++)
		delivery_abandon(&d[i]);
	delivery_abandon(&first);
	test_invariants(sp);
}
END_TEST

/* Commits a message to mailboxes `first` to `last` that was promised room which is gone by now. */
static struct delivery *
commit_into(uint64_t first, uint64_t last, size_t len, bool each, const char *meanwhile)
{
	struct delivery_options o = trusted(0);
	struct test_wait w;
	struct delivery *d;

	o.each = each;
	d = begun(first, last, o);
	write_octets(d, 7, len);
	test_sql(sp, meanwhile);
	test_wait_init(&w);
	delivery_commit(d, len, test_done, &w);
	test_wait_for(&w, 1);
	return d;
}

START_TEST(all_or_none)
{
	struct delivery *d;

	d = commit_into(1, 3, 5000, false, "UPDATE mailbox SET quota = 5000 WHERE id = 2");
	/* It would fit the others at any time: this is not final. */
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OVER_QUOTA);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(envelope_outcome(delivery_envelope(d), i), SPOOL_OVER_QUOTA);
	delivery_abandon(&d);
	d = commit_into(2, 2, 5000, false, "SELECT 1");
	ck_assert_int_eq(delivery_outcome(d), SPOOL_NEVER_FITS);
	delivery_abandon(&d);
	for (uint64_t i = 1; i <= 3; i++)
		ck_assert_uint_eq(test_copies(sp, i, 7) + used(i), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
	test_invariants(sp);
}
END_TEST

START_TEST(each_for_himself)
{
	struct delivery *d;
	const struct envelope *env;

	d = commit_into(1, 3, 5000, true,
	    "UPDATE mailbox SET quota = 5000 WHERE id = 2;"
	    "UPDATE mailbox SET quota = 5200, used = 5100 WHERE id = 3");
	env = delivery_envelope(d);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 0), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 1), SPOOL_NEVER_FITS);
	ck_assert_int_eq(envelope_outcome(env, 2), SPOOL_OVER_QUOTA);
	delivery_abandon(&d);
	ck_assert_uint_eq(test_copies(sp, 1, 7), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 7), 0);
	ck_assert_uint_eq(test_copies(sp, 3, 7), 0);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 3");
	test_invariants(sp);
}
END_TEST

/* What a group before found is not what this one finds. */
START_TEST(each_group_reads_anew)
{
	struct delivery *d;

	ck_assert_int_eq(test_deliver(sp, 8, 600, 1, 1, NULL), SPOOL_OK);
	d = commit_into(1, 1, 5000, false, "UPDATE mailbox SET quota = 5000 WHERE id = 1");
	ck_assert_int_eq(delivery_outcome(d), SPOOL_NEVER_FITS);
	delivery_abandon(&d);
	test_invariants(sp);
}
END_TEST

/* Of mail whose rows cannot be entered nothing stays, and the segment goes on behind what it has. */
START_TEST(unentered_mail_is_cut_off)
{
	ck_assert_int_eq(test_deliver(sp, 7, 600, 1, 1, NULL), SPOOL_OK);
	test_sql(sp, "CREATE TRIGGER bad BEFORE INSERT ON entry WHEN new.mailbox = 2"
		     " BEGIN SELECT RAISE(ABORT, 'no'); END");
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(test_deliver(sp, 8, 9000, 1, 2, NULL), SPOOL_IO);
	ck_assert_int_eq(test_deliver(sp, 9, 600, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 8, 9000, 1, 2, NULL), SPOOL_IO);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT max(mark) FROM segment"), 3);
	test_sql(sp, "DROP TRIGGER bad");
	test_invariants(sp);
	recover_with("UPDATE mailbox SET used = 0, messages = 0");
	ck_assert_uint_eq(test_copies(sp, 1, 7), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 9), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 8) + test_copies(sp, 2, 8), 0);
	test_invariants(sp);
}
END_TEST

/* A quota that is met exactly is met; one octet less is not. */
START_TEST(exactly_full)
{
	char sql[100];
	struct delivery *d;

	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %llu WHERE id = 1",
	    (unsigned long long)(counted(300000) + counted(600)));
	d = commit_into(1, 1, 300000, false, sql);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	delivery_abandon(&d);
	ck_assert_int_eq(test_deliver(sp, 8, 601, 1, 1, NULL), SPOOL_OVER_QUOTA);
	d = NULL;
	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %llu WHERE id = 1",
	    (unsigned long long)(counted(300000) + counted(600) + ROOM_TRACE_MAX));
	test_sql(sp, sql);
	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %llu WHERE id = 1",
	    (unsigned long long)(counted(300000) + counted(600)));
	d = commit_into(1, 1, 600, false, sql);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	delivery_abandon(&d);
	ck_assert_uint_eq(used(1), counted(300000) + counted(600));
	test_invariants(sp);
}
END_TEST

/* A large one that is refused leaves no file. */
START_TEST(large_one_refused)
{
	struct delivery *d;

	d = commit_into(1, 1, 400000, false, "UPDATE mailbox SET quota = 399999 WHERE id = 1");
	ck_assert_int_eq(delivery_outcome(d), SPOOL_NEVER_FITS);
	delivery_abandon(&d);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 0);
}
END_TEST

/* Where a quota was lowered, what was promised is kept as far as it goes. */
START_TEST(quota_lowered_meanwhile)
{
	struct delivery *other;
	struct delivery *d;

	set_quota(1, 20000);
	other = begun(1, 1, trusted(10000));
	d = commit_into(1, 1, 1200, false, "UPDATE mailbox SET quota = 10000 WHERE id = 1");
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	delivery_abandon(&d);
	delivery_abandon(&other);
}
END_TEST

/* What nobody promised has no right to what was promised to another. */
START_TEST(promised_to_another)
{
	struct delivery *other, *a, *b;
	struct test_wait w;

	set_quota(1, 10000);
	a = begun(1, 1, from(2000, 1, 0, 0));
	b = begun(1, 1, from(2000, 1, 0, 0));
	other = begun(1, 1, trusted(7500));
	write_octets(b, 1, 1500);
	test_wait_init(&w);
	delivery_commit(b, 1500, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(b), SPOOL_OVER_QUOTA);
	delivery_abandon(&a);
	delivery_abandon(&b);
	delivery_abandon(&other);
}
END_TEST

/* --- envelopes ------------------------------------------------------------ */

/* What the committer told stands for the index, while somebody has a claim. */
START_TEST(a_commit_tells)
{
	struct delivery *d;
	bool most;

	clock_set(1000000, UINT64_C(1800000000000));
	set_quota(1, 20000);
	d = begun(1, 1, trusted(5000));
	ck_assert_int_eq(test_deliver(sp, 8, 600, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 9, 700, 1, 1, NULL), SPOOL_OK);
	/* Were it read, nothing would have room. */
	set_quota(1, 1);
	ck_assert_int_eq(
	    look(1, 15000 - counted(600) - counted(700), 1, &most), SPOOL_OK);
	ck_assert_int_eq(
	    look(1, 15001 - counted(600) - counted(700), 1, &most), SPOOL_NEVER_FITS);
	delivery_abandon(&d);
	test_invariants(sp);
}
END_TEST

/* Mailboxes 1 and 2 by an alias, 1 by its own name, 3 alone. */
START_TEST(an_alias_is_all_or_none)
{
	struct envelope *env = envelope_new("");
	struct account_target list[] = {
		{ .mailbox = 1, .address = (char *)(uintptr_t)"a@b" },
		{ .mailbox = 2, .address = (char *)(uintptr_t)"c@d" },
		{ .mailbox = 3, .address = (char *)(uintptr_t)"e@f" },
	};
	const struct account_targets alias = { .list = list, .n = 2 };
	const struct account_targets one = { .list = list, .n = 1 };
	const struct account_targets three = { .list = list + 2, .n = 1 };

	ck_assert_int_eq(envelope_add(env, "team", &alias), SPOOL_OK);
	ck_assert_int_eq(envelope_add(env, "e", &three), SPOOL_OK);
	ck_assert(envelope_has(env, 2) && envelope_has(env, 3) && !envelope_has(env, 4));
	env->recipients[1].outcome = SPOOL_OVER_QUOTA;
	envelope_refuse(env, true);
	ck_assert_int_eq(env->recipients[0].outcome, SPOOL_OVER_QUOTA);
	ck_assert_int_eq(env->recipients[2].outcome, SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 0), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(envelope_outcome(env, 1), SPOOL_OK);

	/* Who is also named himself gets it; the alias is answered truly all the same. */
	env->recipients[0].outcome = SPOOL_OK;
	ck_assert_int_eq(envelope_add(env, "a", &one), SPOOL_OK);
	envelope_refuse(env, true);
	ck_assert_int_eq(env->recipients[0].outcome, SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 0), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(envelope_outcome(env, 2), SPOOL_OK);

	/* Final only where it is so for each. */
	env->recipients[1].outcome = SPOOL_NEVER_FITS;
	env->recipients[2].outcome = SPOOL_DISABLED;
	envelope_refuse(env, false);
	ck_assert_int_eq(env->recipients[1].outcome, SPOOL_OVER_QUOTA);
	ck_assert_int_eq(env->recipients[0].outcome, SPOOL_OVER_QUOTA);
	ck_assert_int_eq(env->recipients[2].outcome, SPOOL_DISABLED);
	envelope_free(&env);
}
END_TEST

/* --- recovery ------------------------------------------------------------- */

/* What was acknowledged is not lost to a quota. */
START_TEST(recovery_admits_beyond_quotas)
{
	ck_assert_int_eq(test_deliver(sp, 1, 5000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 300000, 1, 1, NULL), SPOOL_OK);
	recover_with("UPDATE mailbox SET used = 0, messages = 0, quota = 100 WHERE id = 1");
	ck_assert_uint_eq(used(1), counted(5000) + counted(300000));
	ck_assert_int_eq(test_deliver(sp, 3, 500, 1, 1, NULL), SPOOL_NEVER_FITS);
	test_invariants(sp);
}
END_TEST

/* The constant of include/spool/room.h, against what is really put before a message. */
START_TEST(own_lines_are_bounded)
{
	char path[ADDRESS_MAX + 1];

	memset(path, 'a', ADDRESS_MAX);
	path[ADDRESS_MAX] = '\0';
	ck_assert_uint_eq(record_prefix_len(path, path), ROOM_OWN_MAX);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("room_commit");
	TCase *tc = tcase_create("room_commit");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, five_into_room_for_three);
	tcase_add_test(tc, all_or_none);
	tcase_add_test(tc, each_for_himself);
	tcase_add_test(tc, each_group_reads_anew);
	tcase_add_test(tc, unentered_mail_is_cut_off);
	tcase_add_test(tc, exactly_full);
	tcase_add_test(tc, large_one_refused);
	tcase_add_test(tc, quota_lowered_meanwhile);
	tcase_add_test(tc, promised_to_another);
	tcase_add_test(tc, a_commit_tells);
	tcase_add_test(tc, an_alias_is_all_or_none);
	tcase_add_test(tc, recovery_admits_beyond_quotas);
	tcase_add_test(tc, own_lines_are_bounded);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
