/*
 * Rows of mailboxes that are read at the first message and written after the last.
 */
#include "base/num.h"
#include "common/spool/tally.h"
#include "delivery_test.h"

static struct spool *sp;
static struct index_conn *c;
static struct tally tally;

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_SMTPD);
	test_mailboxes(sp, 3);
	test_sql(sp, "UPDATE mailbox SET quota = 9000, used = 100, messages = 1, expire_s = 86400,"
		     " expire_retrieved_s = 3600, last_delivery_s = 50 WHERE id = 2");
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	tally_init(&tally);
}

static void
teardown(void)
{
	tally_release(&tally);
	index_write_abandon(sp, &c);
	spool_close(&sp);
	spool_test_remove();
}

static struct tally_mailbox *
find(uint64_t mailbox)
{
	struct tally_mailbox *m;

	ck_assert_int_eq(tally_find(&tally, c, mailbox, &m), SPOOL_OK);
	return m;
}

/* A column of a mailbox, inside the transaction. */
static int64_t
column(const char *name, uint64_t mailbox)
{
	char sql[100];
	sqlite3_stmt *stmt;
	int64_t n;

	snprintf(sql, sizeof(sql), "SELECT %s FROM mailbox WHERE id = %llu", name,
	    (unsigned long long)mailbox);
	ck_assert_int_eq(sqlite3_prepare_v2(index_db(c), sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return n;
}

static void
run(const char *sql)
{
	ck_assert_int_eq(sqlite3_exec(index_db(c), sql, NULL, NULL, NULL), SQLITE_OK);
}

START_TEST(reads_a_row)
{
	struct tally_mailbox *m = find(2);

	ck_assert(m->enabled);
	ck_assert_uint_eq(m->id, 2);
	ck_assert_uint_eq(m->quota, 9000);
	ck_assert_uint_eq(m->used, 100);
	ck_assert_uint_eq(m->expire_s, 86400);
	ck_assert_uint_eq(m->expire_retrieved_s, 3600);
	m = find(1);
	ck_assert_uint_eq(m->quota, NUM_UNLIMITED);
	ck_assert_uint_eq(m->expire_s, NUM_UNLIMITED);
	ck_assert_uint_eq(m->expire_retrieved_s, NUM_UNLIMITED);
	run("UPDATE mailbox SET enabled = 0 WHERE id = 3");
	ck_assert(!find(3)->enabled);
}
END_TEST

START_TEST(reads_once)
{
	struct tally_mailbox *m = find(2);

	run("UPDATE mailbox SET quota = 1 WHERE id = 2");
	ck_assert_ptr_eq(find(2), m);
	ck_assert_uint_eq(find(2)->quota, 9000);
	tally_clear(&tally);
	ck_assert_uint_eq(find(2)->quota, 1);
}
END_TEST

/* A mailbox that is made later in the same transaction is found then. */
START_TEST(does_not_remember_who_is_not_there)
{
	ck_assert_ptr_null(find(9));
	run("INSERT INTO mailbox (id, domain, local, folded, created_s)"
	    " SELECT 9, domain, 'nine', 'nine', 0 FROM mailbox WHERE id = 1");
	ck_assert_ptr_nonnull(find(9));
}
END_TEST

START_TEST(what_is_settled_is_used)
{
	tally_settle(&tally, find(2)->id, 700);
	tally_settle(&tally, 2, 200);
	ck_assert_uint_eq(find(2)->used, 1000);
	/* It was not entered. */
	ck_assert_int_eq(tally_write(&tally, c), SPOOL_OK);
	ck_assert_int_eq(column("used", 2), 100);
	ck_assert_int_eq(column("messages", 2), 1);
	ck_assert_int_eq(column("last_delivery_s", 2), 50);
}
END_TEST

START_TEST(writes_what_was_entered)
{
	find(3);
	tally_add(find(1), 300, 7999);
	tally_add(find(2), 20, 60000);
	tally_add(find(2), 3, 55000);
	ck_assert_int_eq(column("used", 2), 100);
	ck_assert_int_eq(tally_write(&tally, c), SPOOL_OK);
	ck_assert_int_eq(column("used", 1), 300);
	ck_assert_int_eq(column("messages", 1), 1);
	ck_assert_int_eq(column("last_delivery_s", 1), 7);
	ck_assert_int_eq(column("used", 2), 123);
	ck_assert_int_eq(column("messages", 2), 3);
	ck_assert_int_eq(column("last_delivery_s", 2), 60);
	ck_assert_int_eq(column("messages", 3), 0);
	/* Once. */
	ck_assert_int_eq(tally_write(&tally, c), SPOOL_OK);
	ck_assert_int_eq(column("used", 2), 123);
	/* Mail that came with an earlier date does not make the last delivery earlier. */
	tally_add(find(2), 1, 1000);
	ck_assert_int_eq(tally_write(&tally, c), SPOOL_OK);
	ck_assert_int_eq(column("used", 2), 124);
	ck_assert_int_eq(column("last_delivery_s", 2), 60);
	tally_add(find(1), 5, 0);
	tally_clear(&tally);
	ck_assert_int_eq(tally_write(&tally, c), SPOOL_OK);
	ck_assert_int_eq(column("used", 1), 300);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tally");
	TCase *tc = tcase_create("tally");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reads_a_row);
	tcase_add_test(tc, reads_once);
	tcase_add_test(tc, does_not_remember_who_is_not_there);
	tcase_add_test(tc, what_is_settled_is_used);
	tcase_add_test(tc, writes_what_was_entered);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
