/*
 * Messages of every size into the spool and out of it, one by one and in groups.
 */
#include "delivery_test.h"

#include "base/clock.h"
#include "common/spool/committer.h"
#include "common/spool/delivery_internal.h"

static struct spool *sp;

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_SMTPD);
	test_mailboxes(sp, 5);
}

static void
teardown(void)
{
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

/* --- envelopes ------------------------------------------------------------ */

static struct account_targets
targets_of(struct account_target *list, size_t n)
{
	return (struct account_targets){ .list = list, .n = n };
}

START_TEST(envelope_each_mailbox_once)
{
	struct account_target many[] = { { 7, (char[]){ "g@x" } }, { 3, (char[]){ "c@x" } } };
	struct account_target one[] = { { 3, (char[]){ "c@x" } } };
	struct account_target two[] = { { 9, (char[]){ "i@x" } }, { 7, (char[]){ "g@x" } } };
	struct account_targets t = targets_of(many, 2);
	struct envelope *env = envelope_new("");

	ck_assert_int_eq(envelope_add(env, "all@x", &t), SPOOL_OK);
	t = targets_of(one, 1);
	ck_assert_int_eq(envelope_add(env, "C@X", &t), SPOOL_OK);
	t = targets_of(two, 2);
	ck_assert_int_eq(envelope_add(env, "i+g@x", &t), SPOOL_OK);
	ck_assert_uint_eq(env->n, 3);
	ck_assert_uint_eq(env->rcpts, 3);
	ck_assert_str_eq(env->recipients[0].written, "all@x");
	ck_assert_str_eq(env->recipients[1].written, "all@x");
	ck_assert_uint_eq(env->recipients[1].mailbox, 3);
	ck_assert_str_eq(env->recipients[2].written, "i+g@x");
	ck_assert_str_eq(env->recipients[2].address, "i@x");

	/* 7 and 9 are gone, 3 is there: the first RCPT led to 3 as well. */
	env->recipients[0].outcome = SPOOL_NO_MAILBOX;
	env->recipients[2].outcome = SPOOL_DISABLED;
	ck_assert_int_eq(envelope_outcome(env, 0), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 1), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(env, 2), SPOOL_DISABLED);
	envelope_free(&env);
	ck_assert_ptr_null(env);
	envelope_free(&env);
}
END_TEST

START_TEST(envelope_limits)
{
	struct account_target *list = mem_array(ACCOUNT_TARGETS_MAX + 1, sizeof(*list));
	char address[] = "a@x";
	struct envelope *env = envelope_new("s@x");
	struct account_targets t;

	for (size_t i = 0; i <= ACCOUNT_TARGETS_MAX; i++)
		list[i] = (struct account_target){ (i * 7919) % 20011 + 1, address };
	t = targets_of(list, ACCOUNT_TARGETS_MAX);
	ck_assert_int_eq(envelope_add(env, "all@x", &t), SPOOL_OK);
	t = targets_of(list + ACCOUNT_TARGETS_MAX, 1);
	ck_assert_int_eq(envelope_add(env, "one@x", &t), SPOOL_TOO_MANY);
	ck_assert_uint_eq(env->rcpts, 1);
	ck_assert_uint_eq(env->n, ACCOUNT_TARGETS_MAX);
	/* The same again brings nobody new, but may not go on for ever. */
	t = targets_of(list, ACCOUNT_TARGETS_MAX);
	for (unsigned i = 1; i < 10; i++)
		ck_assert_int_eq(envelope_add(env, "all@x", &t), SPOOL_OK);
	ck_assert_int_eq(envelope_add(env, "all@x", &t), SPOOL_TOO_MANY);
	ck_assert_uint_eq(env->rcpts, 10);
	for (size_t i = 1; i < env->n; i++)
		ck_assert_uint_lt(env->recipients[env->order[i - 1]].mailbox,
		    env->recipients[env->order[i]].mailbox);
	envelope_free(&env);
	free(list);
}
END_TEST

/* --- one message ---------------------------------------------------------- */

static const size_t sizes[] = {
	TEST_MESSAGE_MIN,
	3700,
	4096,
	5000,
	DELIVERY_MEMORY - 1,
	DELIVERY_MEMORY,
	DELIVERY_MEMORY + 1,
	DELIVERY_MEMORY + 20000,
	9 << 20,
};

START_TEST(whole_message)
{
	size_t len = sizes[_i];
	uint64_t id, count, prefix = record_prefix_len("sender@example.org", "user1@example.test");

	ck_assert_int_eq(test_deliver(sp, 17, len, 1, 2, &id), SPOOL_OK);
	ck_assert_uint_eq(test_copies(sp, 1, 17), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 17), 1);
	ck_assert_int_eq(test_number(sp, "SELECT used FROM mailbox WHERE id = 1"), len + prefix);
	ck_assert_int_eq(
	    test_number(sp, "SELECT octets FROM entry WHERE mailbox = 2"), len + prefix);
	ck_assert_int_eq(test_number(sp, "SELECT n FROM holders"), 2);
	ck_assert_uint_eq((uint64_t)test_number(sp, "SELECT message FROM entry"), id);
	/* A file of its own is closed as it comes. */
	count = (uint64_t)test_number(sp, "SELECT count(*) FROM segment WHERE state = 1");
	ck_assert_uint_eq(count, len > DELIVERY_MEMORY);
	ck_assert_uint_eq(atomic_load(&sp->delivery_memory), 0);
}
END_TEST

START_TEST(header_alone)
{
	struct envelope *env = test_envelope(1, 1);
	struct segment_file *f;
	struct test_wait w;
	struct delivery *d;
	struct record r;

	/* No empty line: the body begins where the message ends. */
	ck_assert_int_eq(delivery_begin(sp, &env, &test_trusted, &d), SPOOL_OK);
	ck_assert_ptr_null(env);
	ck_assert_int_eq(delivery_write(d, "Received: by a\r\n", 16), SPOOL_OK);
	ck_assert_int_eq(delivery_write(d, "RECEIVED: by b\r", 15), SPOOL_OK);
	ck_assert_int_eq(delivery_write(d, "\n", 1), SPOOL_OK);
	ck_assert_uint_eq(delivery_hops(d), 2);
	test_wait_init(&w);
	delivery_commit(d, 32, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	ck_assert_int_eq(segment_find(sp, delivery_message(d), true, &f, &r), SPOOL_OK);
	ck_assert_uint_eq(r.body, 32);
	ck_assert_uint_eq(r.wire_len, 35);
	segment_put(sp, &f);
	delivery_abandon(&d);
}
END_TEST

START_TEST(unended_is_refused)
{
	static const char *const ends[] = { "Received: x", "Received: x\r", "Received: x\n", "" };
	struct envelope *env = test_envelope(1, 1);
	struct test_wait w;
	struct delivery *d;

	ck_assert_int_eq(delivery_begin(sp, &env, &test_trusted, &d), SPOOL_OK);
	ck_assert_int_eq(delivery_write(d, ends[_i], strlen(ends[_i])), SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, 11, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_DAMAGED);
	ck_assert_int_eq(envelope_outcome(delivery_envelope(d), 0), SPOOL_DAMAGED);
	delivery_abandon(&d);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
}
END_TEST

/* --- who gets it ---------------------------------------------------------- */

START_TEST(gone_and_disabled)
{
	struct test_wait w;
	enum spool_status st;
	struct delivery *d;

	test_sql(sp, "UPDATE mailbox SET enabled = 0 WHERE id = 2");
	d = test_written(sp, 1, _i == 0 ? 500 : 400000, test_envelope(1, 3), &st);
	ck_assert_ptr_nonnull(d);
	/* Between RCPT and the commit. */
	test_sql(sp, "DELETE FROM mailbox WHERE id = 3");
	test_wait_init(&w);
	delivery_commit(d, _i == 0 ? 500 : 400000, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(delivery_envelope(d), 0), SPOOL_OK);
	ck_assert_int_eq(envelope_outcome(delivery_envelope(d), 1), SPOOL_DISABLED);
	ck_assert_int_eq(envelope_outcome(delivery_envelope(d), 2), SPOOL_NO_MAILBOX);
	delivery_abandon(&d);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM holders"), 0);

	/* Nobody left: nothing is written. */
	ck_assert_int_eq(test_deliver(sp, 2, _i == 0 ? 500 : 400000, 2, 3, NULL), SPOOL_DISABLED);
	ck_assert_int_eq(test_deliver(sp, 2, _i == 0 ? 500 : 400000, 3, 3, NULL), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(test_number(sp, "SELECT sum(live) FROM segment"), 1);
}
END_TEST

START_TEST(refused_is_in_no_header)
{
	struct record_envelope e;
	struct segment_file *f;
	struct record r;
	uint64_t id;

	test_sql(sp, "UPDATE mailbox SET enabled = 0 WHERE id = 2");
	ck_assert_int_eq(test_deliver(sp, 1, _i == 0 ? 500 : 400000, 1, 3, &id), SPOOL_OK);
	ck_assert_int_eq(segment_find(sp, id, true, &f, &r), SPOOL_OK);
	ck_assert_int_eq(recover_read(f->fd, &f->id, r.block, &r, &e), SPOOL_OK);
	ck_assert_uint_eq(e.n, 2);
	ck_assert_uint_eq(e.list[0].mailbox, 1);
	ck_assert_uint_eq(e.list[1].mailbox, 3);
	ck_assert_str_eq(e.list[1].address, "user3@example.test");
	record_envelope_release(&e);
	segment_put(sp, &f);
}
END_TEST

START_TEST(day_of_expiry)
{
	clock_set(1000, 86400000ull * 100 + 1);
	test_sql(sp, "UPDATE mailbox SET expire_s = 86400 WHERE id = 1");
	ck_assert_int_eq(test_deliver(sp, 1, 500, 1, 2, NULL), SPOOL_OK);
	/* A day later is a millisecond behind the beginning of day 101. */
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry WHERE mailbox = 1"), 102);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry WHERE mailbox = 2"), -1);
	clock_set(2000, 86400000ull * 100);
	ck_assert_int_eq(test_deliver(sp, 1, 500, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT min(expires_day) FROM entry"), 101);
	clock_set(2000, 86400000ull * 100 + 1000);
	ck_assert_int_eq(test_deliver(sp, 1, 500, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(
	    test_number(sp, "SELECT last_delivery_s FROM mailbox WHERE id = 1"), 86400 * 100 + 1);
	clock_set(0, 0);
}
END_TEST

/* --- many ----------------------------------------------------------------- */

#define MANY 300

START_TEST(many_at_once)
{
	struct delivery *d[MANY];
	unsigned count[MANY];
	enum spool_status st;
	struct test_wait w;

	test_wait_init(&w);
	for (unsigned i = 0; i < MANY; i++) {
		size_t len = i % 50 == 0 ? 300000 + i : 200 + i * 97;

		d[i] = test_written(sp, i, len, test_envelope(1 + i % 3, 3 + i % 3), &st);
		ck_assert_ptr_nonnull(d[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		delivery_commit(d[i], i % 50 == 0 ? 300000 + i : 200 + i * 97, test_done, &w);
	test_wait_for(&w, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(delivery_outcome(d[i]), SPOOL_OK);
		delivery_abandon(&d[i]);
	}
	ck_assert_uint_eq(atomic_load(&sp->delivery_memory), 0);
	for (unsigned m = 1; m <= 5; m++) {
		test_count(sp, m, count, MANY);
		for (unsigned i = 0; i < MANY; i++)
			ck_assert_uint_eq(count[i], m >= 1 + i % 3 && m <= 3 + i % 3);
	}
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct delivery *hogs[DELIVERY_MEMORY_TOTAL / DELIVERY_MEMORY], *small, *large;
	size_t n = sizeof(hogs) / sizeof(*hogs);
	enum spool_status st;
	struct test_wait w;

	for (size_t i = 0; i < n; i++)
		hogs[i] = test_written(sp, 1, DELIVERY_MEMORY, test_envelope(1, 1), &st);
	ck_assert_uint_le(atomic_load(&sp->delivery_memory), DELIVERY_MEMORY_TOTAL);
	small = test_written(sp, 2, 60000, test_envelope(1, 2), &st);
	ck_assert_ptr_nonnull(small);
	large = test_written(sp, 3, DELIVERY_MEMORY + 1, test_envelope(1, 2), &st);
	ck_assert_ptr_nonnull(large);
	ck_assert_uint_le(atomic_load(&sp->delivery_memory), DELIVERY_MEMORY_TOTAL);
	ck_assert_int_ge(small->fd, 0);
	test_wait_init(&w);
	delivery_commit(small, 60000, test_done, &w);
	delivery_commit(large, DELIVERY_MEMORY + 1, test_done, &w);
	test_wait_for(&w, 2);
	ck_assert_int_eq(delivery_outcome(small), SPOOL_OK);
	ck_assert_int_eq(delivery_outcome(large), SPOOL_OK);
	delivery_abandon(&small);
	delivery_abandon(&large);
	for (size_t i = 0; i < n; i++)
		delivery_abandon(&hogs[i]);
	ck_assert_uint_eq(atomic_load(&sp->delivery_memory), 0);
	ck_assert_uint_eq(test_copies(sp, 2, 2), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 3), 1);
	/* The small one lies in the common segment: only the large one's was closed as it came. */
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 1"), 1);
}
END_TEST

START_TEST(segments_roll)
{
	struct spool_options options = {
		.dir = spool_test_dir,
		.role = SPOOL_SMTPD,
		.segment_max = 100000,
	};
	struct strbuf err;

	spool_close(&sp);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_OK);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(test_deliver(sp, i, 30000, 1, 1, NULL), SPOOL_OK);
	/* One beyond the limit alone still fits. */
	ck_assert_int_eq(test_deliver(sp, 20, 200000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_ge(test_number(sp, "SELECT count(*) FROM segment"), 7);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 0"), 1);
	for (unsigned i = 0; i <= 20; i++)
		ck_assert_uint_eq(test_copies(sp, 1, i), 1);
	/* A proper end closes it; the next start opens another. */
	spool_close(&sp);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_OK);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 0"), 0);
	ck_assert_int_eq(test_deliver(sp, 21, 500, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 0"), 1);
	strbuf_release(&err);
}
END_TEST

START_TEST(closing_finishes_what_waits)
{
	struct delivery *d[50];
	enum spool_status st;
	struct test_wait w;

	test_wait_init(&w);
	for (unsigned i = 0; i < 50; i++)
		d[i] = test_written(sp, i, i % 10 == 0 ? 300000 : 1000, test_envelope(1, 1), &st);
	for (unsigned i = 0; i < 50; i++)
		delivery_commit(d[i], i % 10 == 0 ? 300000 : 1000, test_done, &w);
	committer_free(&sp->committer);
	ck_assert_uint_eq(w.done, 50);
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(delivery_outcome(d[i]), SPOOL_OK);
		delivery_abandon(&d[i]);
		ck_assert_uint_eq(test_copies(sp, 1, i), 1);
	}
}
END_TEST

START_TEST(admin_delivers_too)
{
	struct spool *admin = spool_test_open(SPOOL_ADMIN);

	ck_assert_int_eq(test_deliver(admin, 1, 500, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 500, 1, 1, NULL), SPOOL_OK);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 2);
	spool_close(&admin);
}
END_TEST

START_TEST(space_is_asked_for)
{
	struct spool_options options = {
		.dir = spool_test_dir,
		.role = SPOOL_SMTPD,
		.policy.reserve = UINT64_MAX / 2,
	};
	struct spool *full;
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &full, &err), SPOOL_OK);
	ck_assert_int_eq(spool_wait_ready(full), SPOOL_OK);
	ck_assert_int_eq(spool_may_deliver(full), SPOOL_NO_SPACE);
	ck_assert_int_eq(test_deliver(full, 1, 500, 1, 1, NULL), SPOOL_NO_SPACE);
	/* Asked anew only after a second. */
	full->reserve = 0;
	ck_assert_int_eq(spool_may_deliver(full), SPOOL_NO_SPACE);
	full->space_asked_ms = 0;
	ck_assert_int_eq(spool_may_deliver(full), SPOOL_OK);
	spool_close(&full);
	strbuf_release(&err);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("delivery");
	TCase *pure = tcase_create("envelope"), *tc = tcase_create("delivery");
	SRunner *runner;
	int failed;

	tcase_add_test(pure, envelope_each_mailbox_once);
	tcase_add_test(pure, envelope_limits);
	suite_add_tcase(s, pure);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, whole_message, 0, sizeof(sizes) / sizeof(*sizes));
	tcase_add_test(tc, header_alone);
	tcase_add_loop_test(tc, unended_is_refused, 0, 4);
	tcase_add_loop_test(tc, gone_and_disabled, 0, 2);
	tcase_add_loop_test(tc, refused_is_in_no_header, 0, 2);
	tcase_add_test(tc, day_of_expiry);
	tcase_add_test(tc, many_at_once);
	tcase_add_test(tc, memory_is_bounded);
	tcase_add_test(tc, segments_roll);
	tcase_add_test(tc, closing_finishes_what_waits);
	tcase_add_test(tc, admin_delivers_too);
	tcase_add_test(tc, space_is_asked_for);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
