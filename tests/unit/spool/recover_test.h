/*
 * recover_test - a spool that loses what its index learned.
 */
#ifndef TESTS_UNIT_SPOOL_RECOVER_TEST_H
#define TESTS_UNIT_SPOOL_RECOVER_TEST_H

#include "delivery_test.h"

static const struct delivery_options usual = { .trusted = true };
static struct spool *sp;

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
}

static void
teardown(void)
{
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

/* Closes the spool as it is and forgets all that the index learned since the last upkeep, as
 * if the power had failed: the log was never synced. */
static void
lose_log(void)
{
	char path[400];

	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/index/index.db-wal", spool_test_dir);
	ck_assert_int_eq(truncate(path, 0), 0);
}

#endif
