/*
 * maildrop_test - a spool of 300 mailboxes, and maildrops of it.
 */
#ifndef TESTS_UNIT_SPOOL_MAILDROP_TEST_H
#define TESTS_UNIT_SPOOL_MAILDROP_TEST_H

#include "delivery_test.h"
#include "spool/maildrop.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct spool *sp;

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 300);
}

static void
teardown(void)
{
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

static uint64_t
deliver(unsigned number, size_t len, uint64_t first, uint64_t last)
{
	uint64_t id = 0;

	ck_assert_int_eq(test_deliver(sp, number, len, first, last, &id), SPOOL_OK);
	return id;
}

#endif
