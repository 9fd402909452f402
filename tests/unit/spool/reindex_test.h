/*
 * reindex_test - the spool of damage_test, whose index is made anew.
 */
#ifndef TESTS_UNIT_SPOOL_REINDEX_TEST_H
#define TESTS_UNIT_SPOOL_REINDEX_TEST_H

#include "common/spool/reindex_internal.h"
#include "damage_test.h"

static struct reindex_result result;

SPOOL_TEST_MAYBE static void
reindex(void)
{
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(reindex_spool(spool_test_dir, NULL, NULL, &result, &err) == SPOOL_OK, "%s",
	    err.buf);
	strbuf_release(&err);
	ck_assert_int_ne(access(path_of("index/rebuild.db"), F_OK), 0);
	open_as(SPOOL_ADMIN);
	test_invariants(sp);
}

static void
assert_all_there(void)
{
	assert_right();
	ck_assert_uint_eq(shown(1), 3);
	ck_assert_uint_eq(shown(2), 2);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(test_read_back(sp, ids[i], i == 1 ? 2 : 1), i);
}

#endif
