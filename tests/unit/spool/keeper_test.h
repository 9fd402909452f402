/*
 * keeper_test - spools whose keepers are watched.
 *
 * Times of the policy are those of the set clock; that it acts at once, and not when its timer
 * is over, is measured by the machine's.
 */
#ifndef TESTS_UNIT_SPOOL_KEEPER_TEST_H
#define TESTS_UNIT_SPOOL_KEEPER_TEST_H

#include <time.h>

#include "base/clock.h"
#include "delivery_test.h"
#include "spool/maildrop.h"

#define TODAY 20000u
#define DAY_MS UINT64_C(86400000)
#define HOUR_S 3600u
/* Well below the timer's minute; a busy machine has its time. */
#define SOON_MS 8000

SPOOL_TEST_MAYBE static struct spool *
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

SPOOL_TEST_MAYBE static void
nap(void)
{
	const struct timespec ms = { .tv_nsec = 5 * 1000 * 1000 };

	nanosleep(&ms, NULL);
}

SPOOL_TEST_MAYBE static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Until the question has this answer; fails when it does not come soon. */
SPOOL_TEST_MAYBE static void
becomes(struct spool *sp, const char *sql, int64_t want)
{
	uint64_t end = now_ms() + SOON_MS;

	while (test_number(sp, sql) != want) {
		ck_assert_msg(now_ms() < end, "%s: %lld, not %lld", sql,
		    (long long)test_number(sp, sql), (long long)want);
		nap();
	}
}

SPOOL_TEST_MAYBE static void
stays(struct spool *sp, const char *sql, int64_t want)
{
	for (uint64_t end = now_ms() + 400; now_ms() < end; nap())
		ck_assert_int_eq(test_number(sp, sql), want);
}

SPOOL_TEST_MAYBE static void
remove_all(struct spool *sp, uint64_t mailbox)
{
	struct maildrop *md = test_maildrop(sp, mailbox);

	for (size_t i = 0; i < maildrop_count(md); i++)
		maildrop_mark(md, i);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
}

SPOOL_TEST_MAYBE static void
deliver(struct spool *sp, unsigned number, const char *day)
{
	char sql[120];

	ck_assert_int_eq(test_deliver(sp, number, 500, 1, 1, NULL), SPOOL_OK);
	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET expires_day = %s WHERE received_ms >= %u * 86400000", day, TODAY);
	test_sql(sp, sql);
}

/* The first rounds are over: nothing moves by itself any more. */
SPOOL_TEST_MAYBE static void
settle(struct spool *sp)
{
	for (int i = 0; i < 40; i++)
		nap();
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
}

#define GARBAGE "SELECT count(*) FROM garbage"
#define ENTRIES "SELECT count(*) FROM entry"

SPOOL_TEST_MAYBE static void
setup(void)
{
	spool_test_make();
	clock_set(1000, TODAY * DAY_MS);
}

#endif
