/* remove: whatever goes, in whatever order it is named, just that goes and everything agrees. */
#include "check_test.h"

#define MAILBOXES 5
#define MESSAGES 60
/* Named beside those that are in the mailbox: unknown ones, and some twice. */
#define NAMED_MAX (2 * MESSAGES)

/* The first three as entry.state has them. */
enum state { LIVE, KEPT, APART, GONE };
enum how { LEAVES, IS_KEPT, KEPT_ENDS, APART_ENDS, HOWS };

static uint64_t ids[MESSAGES];
static enum state want[MAILBOXES + 1][MESSAGES];
static uint64_t removals[MAILBOXES + 1];

/* Each for some mailboxes that follow one another. */
static void
deliver_all(void)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		uint64_t first = 1 + (uint64_t)random() % MAILBOXES;
		uint64_t last = first + (uint64_t)random() % (MAILBOXES + 1 - first);

		ids[i] = deliver(i, 200 + i, first, last);
		for (uint64_t m = 1; m <= MAILBOXES; m++)
			want[m][i] = m < first || m > last ? GONE : LIVE;
	}
}

static void
set_apart(uint64_t mailbox, size_t i)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
	    "UPDATE mailbox SET messages = messages - 1, used = used - (SELECT octets FROM entry"
	    " WHERE mailbox = id AND message = %llu) WHERE id = %llu;"
	    "UPDATE entry SET state = 2 WHERE message = %llu AND mailbox = %llu",
	    (unsigned long long)ids[i], (unsigned long long)mailbox, (unsigned long long)ids[i],
	    (unsigned long long)mailbox);
	test_sql(sp, sql);
	want[mailbox][i] = APART;
}

/* What becomes of one entry; true when it counts as removed. */
static bool
expect(enum state *state, enum how how)
{
	static const enum state of[HOWS] = { LIVE, LIVE, KEPT, APART };
	bool goes = *state == of[how];

	if (goes)
		*state = how == IS_KEPT ? KEPT : GONE;
	return goes && how != KEPT_ENDS;
}

static size_t
name_some(uint64_t mailbox, enum how how, long eighths, uint64_t named[NAMED_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < MESSAGES; i++) {
		if (random() % 8 >= eighths)
			continue;
		named[n++] = ids[i];
		if (random() % 16 == 0)
			named[n++] = ids[i] + ((uint64_t)random() % 2 << 20);
		removals[mailbox] += expect(&want[mailbox][i], how);
	}
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)random() % i;
		uint64_t id = named[k];

		named[k] = named[i - 1];
		named[i - 1] = id;
	}
	return n;
}

static void
remove_some(uint64_t mailbox, enum how how, long eighths)
{
	uint64_t named[NAMED_MAX];
	size_t n = name_some(mailbox, how, eighths, named);
	enum spool_status st;
	struct index_conn *c;

	keep(how == IS_KEPT ? 3600 : 0);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	if (how == KEPT_ENDS)
		st = remove_kept(c, mailbox, named, n);
	else if (how == APART_ENDS)
		st = remove_apart(c, mailbox, named, n, REMOVE_ADMIN);
	else
		st = remove_entries(sp, c, mailbox, named, n, REMOVE_POP3);
	ck_assert_int_eq(st, SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
}

/* -1: it is not there. */
static int64_t
state_of(uint64_t mailbox, uint64_t message)
{
	char sql[128];

	snprintf(sql, sizeof(sql),
	    "SELECT state FROM entry WHERE mailbox = %llu AND message = %llu",
	    (unsigned long long)mailbox, (unsigned long long)message);
	return test_number(sp, sql);
}

/* How many removals are remembered and bear a number of their own below that of the next one; -1
 * where the next one's is not `next`. */
static int64_t
remembered(uint64_t mailbox, uint64_t next)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
	    "SELECT (SELECT count(*) FROM removal WHERE mailbox = id AND slot = number"
	    " AND number < removals) FROM mailbox WHERE id = %llu AND removals = %llu",
	    (unsigned long long)mailbox, (unsigned long long)next);
	return test_number(sp, sql);
}

static void
assert_as_wanted(uint64_t mailbox)
{
	for (size_t i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(state_of(mailbox, ids[i]),
		    want[mailbox][i] == GONE ? -1 : (int64_t)want[mailbox][i]);
	ck_assert_uint_lt(removals[mailbox], REMOVE_HISTORY);
	ck_assert_int_eq(remembered(mailbox, removals[mailbox]), (int64_t)removals[mailbox]);
}

START_TEST(what_is_named_goes)
{
	srandom((unsigned)_i + 1);
	memset(removals, 0, sizeof(removals));
	deliver_all();
	for (unsigned round = 0; round < 30; round++) {
		uint64_t mailbox = 1 + (uint64_t)random() % MAILBOXES;
		size_t i = (size_t)random() % MESSAGES;

		if (want[mailbox][i] == LIVE)
			set_apart(mailbox, i);
		/* From a few to all: lone entries and long runs. */
		remove_some(mailbox, (enum how)(random() % HOWS), 1 + random() % 8);
		assert_as_wanted(mailbox);
	}
	/* Sums, holders, live counts, what is kept and what is garbage; check has its say of what is
	 * set apart. */
	test_invariants(sp);
	for (uint64_t m = 1; m <= MAILBOXES; m++)
		remove_some(m, APART_ENDS, 8);
	assert_right();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("remove");
	TCase *tc = tcase_create("remove");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, what_is_named_goes, 0, 6);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
