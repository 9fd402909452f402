/* index: a transaction that cannot be ended at once keeps nobody from writing for long. */
#include "delivery_test.h"

#include "common/spool/index_internal.h"
#include "common/spool/janitor.h"
#include "common/spool/spool_internal.h"

static struct spool *sp;

static void
setup(void)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct strbuf err;

	spool_test_make();
	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	test_mailboxes(sp, 1);
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

/* By a connection of its own, as another process would. */
static int
write_elsewhere(void)
{
	char path[400];
	sqlite3 *db;
	int rc;

	snprintf(path, sizeof(path), "%s/index/index.db", spool_test_dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	rc = sqlite3_exec(db, "UPDATE mailbox SET warned = warned", NULL, NULL, NULL);
	sqlite3_close(db);
	return rc;
}

static enum spool_status
begin_and_abandon(void)
{
	struct index_conn *c;
	enum spool_status st = index_write_begin(sp, INDEX_MAIN, "test", &c);

	if (st == SPOOL_OK)
		index_write_abandon(sp, &c);
	return st;
}

/* Where nothing can be prepared any more, as without memory. */
START_TEST(rolled_back_unprepared)
{
	struct index_conn *c;
	int most;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	most = sqlite3_limit(index_db(c), SQLITE_LIMIT_SQL_LENGTH, 1);
	index_write_abandon(sp, &c);
	ck_assert(!index_broken(sp));
	ck_assert_int_eq(write_elsewhere(), SQLITE_OK);
	sqlite3_limit(sp->index->writer->db, SQLITE_LIMIT_SQL_LENGTH, most);
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
}
END_TEST

/* ROLLBACK in name only. */
START_TEST(rolled_back_later)
{
	struct index_conn *w = sp->index->writer;
	struct index_stmt_slot *slot = w->stmts;
	sqlite3_stmt *rollback, *nothing;

	while (strcmp(slot->sql, "ROLLBACK") != 0)
		slot++;
	rollback = slot->stmt;
	ck_assert_int_eq(sqlite3_prepare_v2(w->db, "SELECT 1", -1, &nothing, NULL), SQLITE_OK);
	slot->stmt = nothing;
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
	ck_assert(index_broken(sp));
	ck_assert_int_eq(begin_and_abandon(), SPOOL_IO);
	ck_assert_int_eq(write_elsewhere(), SQLITE_BUSY);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_IO);
	/* The fault is over. */
	slot->stmt = rollback;
	sqlite3_finalize(nothing);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert(!index_broken(sp));
	ck_assert_int_eq(write_elsewhere(), SQLITE_OK);
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("index");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("index");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, rolled_back_unprepared);
	tcase_add_test(tc, rolled_back_later);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
