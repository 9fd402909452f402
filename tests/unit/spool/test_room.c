/*
 * room: what is promised to messages on their way is exact to the octet, ends when it must, and
 * can be had by nobody alone.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "base/num.h"
#include "common/spool/delivery_internal.h"
#include "common/spool/index_internal.h"
#include "common/spool/remove.h"
#include "common/spool/room_sums.h"
#include "common/spool/spool_internal.h"
#include "room_test.h"

/* --- promises ------------------------------------------------------------- */

START_TEST(exact_to_the_octet)
{
	struct delivery *a, *b;
	bool most;

	set_quota(1, 10000);
	a = begun(1, 1, trusted(6000));
	ck_assert_uint_eq(room_claimed(sp, 1), 6000);
	ck_assert_int_eq(refused(1, 1, trusted(4001)), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(refused(1, 1, trusted(10001)), SPOOL_NEVER_FITS);
	ck_assert_int_eq(refused(1, 2, trusted(4001)), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(look(1, 4001, 0, &most), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(look(1, 10001, 0, &most), SPOOL_NEVER_FITS);
	ck_assert_int_eq(look(1, 4000, 4000, &most), SPOOL_OK);
	ck_assert(most);
	ck_assert_int_eq(look(1, 4000, 4001, &most), SPOOL_OK);
	ck_assert(!most);
	/* For one of two: another time it may be sent to them apart. */
	set_quota(3, 5000);
	ck_assert_int_eq(refused(2, 3, trusted(6000)), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(refused(3, 3, trusted(6000)), SPOOL_NEVER_FITS);
	/* Nothing stays of what was refused. */
	ck_assert_uint_eq(room_claimed(sp, 1), 6000);
	ck_assert_uint_eq(room_claimed(sp, 2), 0);
	b = begun(1, 2, trusted(4000));
	ck_assert_uint_eq(room_claimed(sp, 1), 10000);
	ck_assert_uint_eq(room_claimed(sp, 2), 4000);
	delivery_abandon(&a);
	ck_assert_uint_eq(room_claimed(sp, 1), 4000);
	ck_assert_int_eq(look(1, 6000, 6000, &most), SPOOL_OK);
	delivery_abandon(&b);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	ck_assert_uint_eq(room_claimed(sp, 2), 0);
}
END_TEST

/* What is there counts, and where there is no quota nothing does. */
START_TEST(used_and_unlimited)
{
	bool most;

	ck_assert_int_eq(test_deliver(sp, 0, 3000, 1, 1, NULL), SPOOL_OK);
	ck_assert_uint_eq(used(1), counted(3000));
	set_quota(1, 8000);
	ck_assert_int_eq(look(1, 8000 - counted(3000), 0, &most), SPOOL_OK);
	ck_assert_int_eq(look(1, 8001 - counted(3000), 0, &most), SPOOL_OVER_QUOTA);
	set_quota(1, 100);
	ck_assert_int_eq(look(1, 50, 0, &most), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(look(2, UINT64_C(1) << 40, UINT64_MAX, &most), SPOOL_OK);
	ck_assert(most);
	/* A mailbox that is gone is the committer's to tell of. */
	ck_assert_int_eq(look(99, 1, 1, &most), SPOOL_OK);
}
END_TEST

/* Mailboxes of the envelope are not looked at again. */
START_TEST(look_passes_over_the_envelope)
{
	struct envelope *env = test_envelope(1, 1);
	struct account_target list[] = {
		{ .mailbox = 1, .address = (char *)(uintptr_t)"a@b" },
		{ .mailbox = 2, .address = (char *)(uintptr_t)"c@d" },
	};
	struct account_targets targets = { .list = list, .n = 2 };
	bool most;

	set_quota(1, 10);
	ck_assert_int_eq(room_look(sp, &targets, env, 100, 100, &most), SPOOL_OK);
	ck_assert(most);
	set_quota(2, 10);
	ck_assert_int_eq(room_look(sp, &targets, env, 100, 100, &most), SPOOL_NEVER_FITS);
	targets.n = 1;
	ck_assert_int_eq(room_look(sp, &targets, env, 100, 100, &most), SPOOL_OK);
	envelope_free(&env);
}
END_TEST

/* What a full mailbox says is not told for good once something else lies in the log's place. */
START_TEST(no_refusal_by_another_log)
{
	static const uint8_t other[32];
	int fd = openat(sp->dir_fd, "index/index.db-wal", O_WRONLY | O_CLOEXEC);
	struct delivery *d;
	struct timespec now;
	bool most;

	set_quota(1, 10000);
	ck_assert_int_eq(look(1, 10001, 0, &most), SPOOL_NEVER_FITS);
	ck_assert_int_eq(refused(1, 1, trusted(10001)), SPOOL_NEVER_FITS);
	/* This second's look was before. */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	atomic_store(&sp->index->looked_s, (uint64_t)now.tv_sec);
	ck_assert_int_eq(pwrite(fd, other, sizeof(other), 0), sizeof(other));
	close(fd);
	if (_i == 0)
		ck_assert_int_eq(look(1, 10001, 0, &most), SPOOL_IO);
	else
		ck_assert_int_eq(begin(1, 1, trusted(10001), &d), SPOOL_IO);
}
END_TEST

/* --- lapse ---------------------------------------------------------------- */

START_TEST(lapses_after_thirty_seconds)
{
	struct delivery *a, *b;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	a = begun(1, 1, from(9000, 1, 0, 0));
	clock_set(1000000 + ROOM_LAPSE_MS - 1, 1);
	ck_assert_int_eq(refused(1, 1, from(9000, 2, 0, 0)), SPOOL_OVER_QUOTA);
	ck_assert_uint_eq(room_claimed(sp, 1), 9000);
	clock_set(1000000 + ROOM_LAPSE_MS, 1);
	b = begun(1, 1, from(9000, 2, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 9000);

	/* With its next octet it is too late. */
	ck_assert_int_eq(delivery_write(a, "x\r\n", 3), SPOOL_OVER_QUOTA);
	ck_assert_uint_eq(room_claimed(sp, 1), 9000);
	delivery_abandon(&a);
	delivery_abandon(&b);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
}
END_TEST

START_TEST(is_taken_anew)
{
	struct delivery *a, *b;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	a = begun(1, 1, from(9000, 1, 0, 0));
	clock_set(1000000 + ROOM_LAPSE_MS, 1);
	b = begun(1, 1, from(9000, 2, 0, 0));
	delivery_abandon(&b);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	ck_assert_int_eq(delivery_write(a, "x\r\n", 3), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), 9000);
	ck_assert_int_eq(refused(1, 1, from(9000, 2, 0, 0)), SPOOL_OVER_QUOTA);
	delivery_abandon(&a);
}
END_TEST

/* An octet now and then keeps it. */
START_TEST(octets_keep_it)
{
	struct delivery *a, *b;

	clock_set(1000000, 1);
	set_quota(1, 10000);
	a = begun(1, 1, trusted(5000));
	b = begun(1, 1, trusted(5000));
	for (int i = 1; i <= 5; i++) {
		clock_set(1000000 + (uint64_t)i * (ROOM_LAPSE_MS - 1), 1);
		ck_assert_int_eq(delivery_write(a, "x\r\n", 3), SPOOL_OK);
		ck_assert_uint_eq(room_claimed(sp, 1), i == 1 ? 10000 : 5000);
	}
	/* Then none comes. */
	clock_set(1000000 + 5 * (ROOM_LAPSE_MS - 1) + ROOM_LAPSE_MS, 1);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	delivery_abandon(&a);
	delivery_abandon(&b);
}
END_TEST

START_TEST(whole_ones_do_not_lapse)
{
	struct index_conn *c;
	struct test_wait w;
	struct delivery *d;

	clock_set(1000000, 1795489877000);
	set_quota(1, 10000);
	d = begun(1, 1, trusted(5000));
	write_octets(d, 1, 2000);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, 2000, test_done, &w);
	clock_set(10000000, 1795489877000);
	ck_assert_uint_eq(room_claimed(sp, 1), 5000);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	delivery_abandon(&d);
}
END_TEST

/* --- one for each address -------------------------------------------------- */

START_TEST(one_for_each_address)
{
	struct delivery *d[8];

	set_quota(1, 10000);
	d[0] = begun(1, 2, from(3000, 1, 0, 0));
	/* Received, and nobody is kept out by it. */
	d[1] = begun(1, 2, from(3000, 1, 0, 0));
	d[2] = begun(1, 1, from(4000, 1, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 3000);
	ck_assert_uint_eq(room_claimed(sp, 2), 3000);
	/* In another mailbox it holds none. */
	d[3] = begun(1, 3, from(3000, 1, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 3000);
	ck_assert_uint_eq(room_claimed(sp, 3), 3000);
	d[4] = begun(1, 1, from(3000, 2, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 6000);
	d[5] = begun(1, 1, from(1000, 0, 1, 1));
	d[6] = begun(1, 1, from(1000, 0, 1, 2));
	ck_assert_uint_eq(room_claimed(sp, 1), 7000);
	d[7] = begun(1, 1, from(1000, 0, 2, 1));
	ck_assert_uint_eq(room_claimed(sp, 1), 8000);
	/* Where there is no room they are refused as everybody. */
	ck_assert_int_eq(refused(1, 1, from(3000, 1, 0, 0)), SPOOL_OVER_QUOTA);
	delivery_abandon(&d[0]);
	ck_assert_uint_eq(room_claimed(sp, 1), 5000);
	d[0] = begun(1, 1, from(3000, 1, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 8000);
	for (size_t i = 0; i < 8; i++)
		delivery_abandon(&d[i]);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
}
END_TEST

START_TEST(trusted_ones_hold_many)
{
	struct delivery *a, *b;

	a = begun(1, 1, trusted(3000));
	b = begun(1, 1, trusted(3000));
	ck_assert_uint_eq(room_claimed(sp, 1), 6000);
	delivery_abandon(&a);
	delivery_abandon(&b);
}
END_TEST

/* One whose claim lapsed holds none, so another of his may. */
START_TEST(lapsed_makes_way)
{
	struct delivery *a, *b;

	clock_set(1000000, 1);
	a = begun(1, 1, from(3000, 1, 0, 0));
	clock_set(1000000 + ROOM_LAPSE_MS, 1);
	b = begun(1, 1, from(2000, 1, 0, 0));
	ck_assert_uint_eq(room_claimed(sp, 1), 2000);
	ck_assert_int_eq(delivery_write(a, "x\r\n", 3), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), 2000);
	delivery_abandon(&a);
	ck_assert_uint_eq(room_claimed(sp, 1), 2000);
	delivery_abandon(&b);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
}
END_TEST

/* --- growth --------------------------------------------------------------- */

START_TEST(grows_with_what_comes)
{
	struct delivery *d;

	set_quota(1, 190000);
	d = begun(1, 1, trusted(0));
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX);
	write_octets(d, 1, ROOM_TRACE_MAX - ROOM_OWN_MAX);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX);
	ck_assert_int_eq(delivery_write(d, "\n", 1), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + 65536);
	write_octets(d, 2, 65536);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + 2 * 65536);
	/* The next step does not fit: exactly what is there, until the step after it. */
	write_octets(d, 3, 65536);
	ck_assert_uint_eq(room_claimed(sp, 1), d->wire_len + ROOM_OWN_MAX);
	write_octets(d, 4, 100);
	ck_assert_uint_eq(room_claimed(sp, 1), d->wire_len + ROOM_OWN_MAX - 100);
	/* Passing the quota is told at the end. */
	write_octets(d, 5, 100000);
	delivery_abandon(&d);
	set_quota(1, ROOM_TRACE_MAX);
	d = begun(1, 1, trusted(0));
	ck_assert_int_eq(refused(1, 1, trusted(0)), SPOOL_OVER_QUOTA);
	delivery_abandon(&d);
}
END_TEST

/* Where there is room for sixteen steps more the first is taken at once; in all mailboxes or in none. */
START_TEST(takes_a_step_where_there_is_plenty)
{
	const uint64_t step = 65536;
	struct delivery *d;

	set_quota(1, ROOM_TRACE_MAX + 16 * step);
	d = begun(1, 1, trusted(0));
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + step);
	write_octets(d, 1, ROOM_TRACE_MAX + step - ROOM_OWN_MAX);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + step);
	ck_assert_int_eq(delivery_write(d, "\n", 1), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + 2 * step);
	delivery_abandon(&d);
	set_quota(1, ROOM_TRACE_MAX + 16 * step - 1);
	d = begun(1, 1, trusted(0));
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX);
	delivery_abandon(&d);
	/* Mailbox 2 has no quota. */
	d = begun(1, 2, trusted(0));
	ck_assert_uint_eq(room_claimed(sp, 2), ROOM_TRACE_MAX);
	delivery_abandon(&d);
	/* What was declared is not added to. */
	d = begun(2, 2, trusted(5000));
	ck_assert_uint_eq(room_claimed(sp, 2), 5000);
	delivery_abandon(&d);
}
END_TEST

/* Taken anew after each pause, it does not take that step once more. */
START_TEST(takes_no_step_for_a_pause)
{
	const uint64_t step = 65536;
	struct delivery *d;

	clock_set(1000000, 1);
	set_quota(1, 100 * step);
	d = begun(1, 1, trusted(0));
	for (uint64_t i = 1; i <= 3; i++) {
		clock_set(1000000 + i * ROOM_LAPSE_MS, 1);
		ck_assert_uint_eq(room_claimed(sp, 1), 0);
		ck_assert_int_eq(delivery_write(d, "x\r\n", 3), SPOOL_OK);
		ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX + step);
	}
	delivery_abandon(&d);
}
END_TEST

/* One mailbox at its end keeps no other from growing. */
START_TEST(grows_in_each_mailbox)
{
	struct delivery_options o = trusted(0);
	struct delivery *d;

	o.each = true;
	set_quota(1, 10000);
	set_quota(3, 100);
	d = begun(1, 3, o);
	ck_assert_uint_eq(room_claimed(sp, 3), 0);
	write_octets(d, 1, 50000);
	ck_assert_uint_eq(room_claimed(sp, 1), ROOM_TRACE_MAX);
	ck_assert_uint_eq(room_claimed(sp, 2), ROOM_TRACE_MAX + 3 * 65536);
	ck_assert_uint_eq(room_claimed(sp, 3), 0);
	delivery_abandon(&d);
	set_quota(2, 10000);
	d = begun(2, 2, trusted(0));
	write_octets(d, 1, 8000);
	ck_assert_uint_eq(room_claimed(sp, 2), 8000 + ROOM_OWN_MAX);
	delivery_abandon(&d);
}
END_TEST

/* --- while something is being committed ------------------------------------- */

/* What may be counted twice refuses nobody, and gives nobody what may not be there. */
START_TEST(commit_counts_once_or_twice)
{
	struct delivery *a, *b;
	bool most;
	struct room_sum sum = { .used = 0, .quota = 10000, .octets = 4000 };

	set_quota(1, 10000);
	a = begun(1, 1, trusted(4000));
	room_settle(sp, a->claim, a->env, &sum);
	/* Before COMMIT. */
	ck_assert_int_eq(look(1, 6000, 6000, &most), SPOOL_OK);
	ck_assert_int_eq(look(1, 6001, 0, &most), SPOOL_OVER_QUOTA);
	room_commit_begin(sp);
	test_sql(sp, "UPDATE mailbox SET used = 4000 WHERE id = 1");
	/* Between COMMIT and the release: counted twice. */
	ck_assert_int_eq(look(1, 2000, 2000, &most), SPOOL_OK);
	ck_assert(most);
	ck_assert_int_eq(look(1, 6000, 6000, &most), SPOOL_OK);
	ck_assert(most);
	ck_assert_int_eq(look(1, 1000, 6001, &most), SPOOL_OK);
	ck_assert(!most);
	ck_assert_int_eq(look(1, 6001, 0, &most), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(look(1, 10001, 0, &most), SPOOL_NEVER_FITS);
	b = begun(1, 1, trusted(6000));
	ck_assert_uint_eq(room_claimed(sp, 1), 4000);
	room_release(sp, &a->claim);
	room_commit_end(sp);
	/* It was left open, and is taken with the next octets. */
	clock_set(clock_mono_ms() + 1000, 1);
	ck_assert_int_eq(delivery_write(b, "x\r\n", 3), SPOOL_OK);
	ck_assert_uint_eq(room_claimed(sp, 1), 6000);
	ck_assert_int_eq(look(1, 1, 1, &most), SPOOL_OVER_QUOTA);
	delivery_abandon(&a);
	delivery_abandon(&b);
	test_sql(sp, "UPDATE mailbox SET used = 0 WHERE id = 1");
}
END_TEST

/* What was read before a COMMIT, and is judged behind the release, tells of neither. */
START_TEST(reading_that_a_commit_overtook)
{
	struct room_reading old = { .mailbox = 1, .quota = 10000 }, begun_since;
	struct room_sum sum = { .used = 0, .quota = 10000, .octets = 4000 };
	struct delivery *a = begun(1, 1, trusted(4000));

	old.raises = sp->room->raises[1];
	begun_since = old;
	room_settle(sp, a->claim, a->env, &sum);
	ck_assert_int_eq(room_judge(sp->room, &old, 0, 6001), ROOM_FULL);
	room_commit_begin(sp);
	/* COMMIT has not made anything smaller yet. */
	ck_assert_int_eq(room_judge(sp->room, &begun_since, 0, 6000), ROOM_FITS);
	ck_assert(begun_since.fresh);
	room_release(sp, &a->claim);
	ck_assert_int_eq(room_judge(sp->room, &old, 0, 10000), ROOM_UNSURE);
	ck_assert(!old.fresh);
	room_commit_end(sp);
	ck_assert_int_eq(room_judge(sp->room, &old, 0, 10000), ROOM_UNSURE);
	ck_assert_int_eq(room_judge(sp->room, &begun_since, 0, 10000), ROOM_UNSURE);
	old.version = 4;
	ck_assert_int_eq(room_judge(sp->room, &old, 0, 10000), ROOM_FITS);
	ck_assert_int_eq(room_judge(sp->room, &old, 0, 10000), ROOM_FITS);
	/* Other mailboxes are not disturbed. */
	begun_since = (struct room_reading){ .mailbox = 2, .quota = 10000 };
	ck_assert_int_eq(room_judge(sp->room, &begun_since, 0, 10000), ROOM_FITS);
	delivery_abandon(&a);
}
END_TEST

/* What was read may have been deleted since, and its room be promised: no reason to refuse. */
START_TEST(reading_that_a_claim_overtook)
{
	struct room_reading r = { .mailbox = 1, .used = 4000, .quota = 10000 };
	struct delivery *a;

	r.raises = sp->room->raises[1];
	ck_assert_int_eq(room_judge(sp->room, &r, 0, 6001), ROOM_FULL);
	a = begun(1, 1, trusted(4000));
	ck_assert_int_eq(room_judge(sp->room, &r, 0, 2000), ROOM_FITS);
	ck_assert_int_eq(room_judge(sp->room, &r, 0, 6000), ROOM_UNSURE);
	ck_assert(!r.fresh);
	delivery_abandon(&a);
	ck_assert_int_eq(room_judge(sp->room, &r, 0, 6000), ROOM_FITS);
}
END_TEST

enum { THREADS = 4, ROUNDS = 250, LEN = 2000 };

static atomic_uint refusals, granted, granted_max;
static pthread_mutex_t remove_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Delivers to mailbox 1 and removes it again, over and over. */
static void *
come_and_go(void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg;
	uint64_t id;

	for (int i = 0; i < ROUNDS; i++) {
		struct test_wait w;
		struct delivery *d;
		struct index_conn *c;

		if (begin(1, 1, trusted(counted(LEN)), &d) != SPOOL_OK) {
			atomic_fetch_add(&refusals, 1);
			continue;
		}
		/* Who was disturbed each time he looked may go on, but nothing is promised. */
		if (d->claim->list[0].at == NULL) {
			delivery_abandon(&d);
			continue;
		}
		unsigned now = atomic_fetch_add(&granted, 1) + 1;
		unsigned max = atomic_load(&granted_max);

		while (now > max && !atomic_compare_exchange_weak(&granted_max, &max, now))
			;
		write_octets(d, number, LEN);
		test_wait_init(&w);
		delivery_commit(d, LEN, test_done, &w);
		test_wait_for(&w, 1);
		ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
		id = delivery_message(d);
		delivery_abandon(&d);
		pthread_mutex_lock(&remove_mutex);
		ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
		ck_assert_int_eq(remove_entries(sp, c, 1, &id, 1, REMOVE_ADMIN), SPOOL_OK);
		/* Before others may have the room. */
		atomic_fetch_sub(&granted, 1);
		ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
		pthread_mutex_unlock(&remove_mutex);
	}
	return NULL;
}

static void
run_threads(void)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, come_and_go, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(room_claimed(sp, 1), 0);
	ck_assert_uint_eq(used(1), 0);
	test_invariants(sp);
}

/* There is room for all at any time: each refusal would be wrong. */
START_TEST(no_refusal_is_wrong)
{
	set_quota(1, (int64_t)(THREADS * counted(LEN)));
	run_threads();
	ck_assert_uint_eq(refusals, 0);
	ck_assert_uint_gt(granted_max, 1);
}
END_TEST

/* There is room for two: never is it promised to three. */
START_TEST(no_promise_is_wrong)
{
	set_quota(1, (int64_t)(3 * counted(LEN) - 1));
	run_threads();
	ck_assert_uint_gt(refusals, 0);
	ck_assert_uint_le(granted_max, 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("room");
	TCase *tc = tcase_create("room");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, exact_to_the_octet);
	tcase_add_test(tc, used_and_unlimited);
	tcase_add_test(tc, look_passes_over_the_envelope);
	tcase_add_loop_test(tc, no_refusal_by_another_log, 0, 2);
	tcase_add_test(tc, lapses_after_thirty_seconds);
	tcase_add_test(tc, is_taken_anew);
	tcase_add_test(tc, octets_keep_it);
	tcase_add_test(tc, whole_ones_do_not_lapse);
	tcase_add_test(tc, one_for_each_address);
	tcase_add_test(tc, trusted_ones_hold_many);
	tcase_add_test(tc, lapsed_makes_way);
	tcase_add_test(tc, grows_with_what_comes);
	tcase_add_test(tc, takes_a_step_where_there_is_plenty);
	tcase_add_test(tc, takes_no_step_for_a_pause);
	tcase_add_test(tc, grows_in_each_mailbox);
	tcase_add_test(tc, commit_counts_once_or_twice);
	tcase_add_test(tc, reading_that_a_commit_overtook);
	tcase_add_test(tc, reading_that_a_claim_overtook);
	tcase_add_test(tc, no_refusal_is_wrong);
	tcase_add_test(tc, no_promise_is_wrong);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
