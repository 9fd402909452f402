/* index: what keeps nobody from writing for long, and what does until it is mended. */
#include "fault_sqlite.h"

#include "base/clock.h"
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

/* What the writer has for ROLLBACK becomes `stmt`, and is returned. */
static sqlite3_stmt *
exchange_rollback(sqlite3_stmt *stmt)
{
	struct index_stmt_slot *slot = sp->index->writer->stmts;
	sqlite3_stmt *was;

	while (strcmp(slot->sql, "ROLLBACK") != 0)
		slot++;
	was = slot->stmt;
	slot->stmt = stmt;
	return was;
}

/* ROLLBACK in name only, from now on; the real one is returned. */
static sqlite3_stmt *
break_rollback(void)
{
	sqlite3_stmt *nothing;

	ck_assert_int_eq(sqlite3_prepare_v2(sp->index->writer->db, "SELECT 1", -1, &nothing, NULL),
	    SQLITE_OK);
	return exchange_rollback(nothing);
}

START_TEST(rolled_back_later)
{
	sqlite3_stmt *rollback = break_rollback();

	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
	ck_assert(index_broken(sp));
	ck_assert_int_eq(begin_and_abandon(), SPOOL_IO);
	ck_assert_int_eq(write_elsewhere(), SQLITE_BUSY);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_IO);
	/* The fault is over. */
	sqlite3_finalize(exchange_rollback(rollback));
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert(!index_broken(sp));
	ck_assert_int_eq(write_elsewhere(), SQLITE_OK);
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
}
END_TEST

/* In a daemon without being asked, and before its keeper's next round, which is a minute away. */
START_TEST(rolled_back_by_the_keeper)
{
	sqlite3_stmt *rollback;
	uint64_t end;

	spool_close(&sp);
	sp = spool_test_open(SPOOL_SMTPD);
	ck_assert_int_eq(index_writer_take(sp->index, "test"), SPOOL_OK);
	rollback = break_rollback();
	index_writer_give(sp->index);
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
	ck_assert_int_eq(index_writer_take(sp->index, "test"), SPOOL_OK);
	sqlite3_finalize(exchange_rollback(rollback));
	index_writer_give(sp->index);
	for (end = clock_mono_ms() + 30000; clock_mono_ms() < end && index_broken(sp);)
		usleep(1000);
	ck_assert_int_eq(begin_and_abandon(), SPOOL_OK);
	ck_assert_int_eq(write_elsewhere(), SQLITE_OK);
}
END_TEST

/* SQLite's own sync of the log, before pages move, fails as ours would: nobody is told that something is
 * on disk until the log was written anew. */
START_TEST(sqlite_cannot_sync_the_log)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct index_conn *c;
	enum spool_status st;
	struct strbuf err;
	bool whole;

	spool_close(&sp);
	fault_keep();
	fault_sqlite();
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open_on(&options, &fault_disk, &sp, &err), SPOOL_OK);
	strbuf_release(&err);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(index_run(c, index_stmt(c, "UPDATE mailbox SET warned = 1")), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	/* Ours is the first call, SQLite's the second. */
	fault_arm(FAULT_ONCE, 2, EIO);
	st = index_checkpoint(sp, &whole);
	fault.mode = FAULT_NONE;
	ck_assert(atomic_load(&fault.fired) && !whole);
	ck_assert_int_eq(st, SPOOL_IO);
	ck_assert(index_broken(sp));
	ck_assert_int_eq(index_sync(sp), SPOOL_UNKNOWN);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert(!index_broken(sp));
	ck_assert_int_eq(index_sync(sp), SPOOL_OK);
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
	tcase_add_test(tc, rolled_back_by_the_keeper);
	tcase_add_test(tc, sqlite_cannot_sync_the_log);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
