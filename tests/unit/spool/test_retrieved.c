/* First retrievals: what is noted of them, what follows, and what is promised of ages. */
#include "delivery_test.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/num.h"
#include "common/spool/remove.h"
#include "spool/account.h"
#include "spool/maildrop.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define DAY UINT64_C(86400)
#define NOW_S (UINT64_C(20000) * DAY + 100)

static struct spool *sp;

static void
setup(void)
{
	spool_test_make();
	clock_set(1000, NOW_S * 1000);
	sp = spool_test_open(SPOOL_POP3D);
	test_mailboxes(sp, 3);
}

static void
teardown(void)
{
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

/* `n` messages in mailbox 1, the i-th of i octets and received i seconds before NOW_S; `keep` is
 * SQL. */
static void
make_entries(unsigned n, const char *keep)
{
	char sql[800], path[300];
	int fd;

	snprintf(sql, sizeof(sql),
	    "INSERT INTO segment VALUES (7, 1, 2000000, %u);"
	    "UPDATE meta SET value = 7 WHERE key = 'newest_segment' AND value < 7;"
	    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
	    " INSERT INTO entry (mailbox, message, received_ms, octets, blocks, reverse_path,"
	    " recipient, keep_retrieved_s) SELECT 1, (7 << 21) + i, (%" PRIu64 " - i) * 1000, i, 1,"
	    " '', 'x@y', %s FROM n;"
	    "UPDATE mailbox SET messages = %u,"
	    " used = (SELECT sum(octets) FROM entry WHERE mailbox = 1) WHERE id = 1",
	    n, n, NOW_S, keep, n);
	test_sql(sp, sql);
	/* As long as its mark says, and nothing in it. */
	snprintf(path, sizeof(path), "%s/segments/7", spool_test_dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, INT64_C(2000000) * 4096), 0);
	close(fd);
}

/* By its octets: the maildrop has the one with the most first. */
static size_t
at(const struct maildrop *md, uint64_t octets)
{
	for (size_t i = 0; i < maildrop_count(md); i++)
		if (maildrop_octets(md, i) == octets)
			return i;
	ck_abort_msg("no message of %" PRIu64 " octets", octets);
}

static int64_t
entry_number(const char *column, unsigned octets)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT %s FROM entry WHERE octets = %u", column, octets);
	return test_number(sp, sql);
}

/* Commits to the index so far, as the log's size tells. */
static off_t
log_size(void)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/index/index.db-wal", spool_test_dir);
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_size;
}

/* Rows: limits from the first retrieval on, and the day that follows when it was at NOW_S. */
static const struct {
	const char *keep;
	int64_t day; /* -1: NULL */
} limits[] = {
	{ "NULL", -1 },
	{ "1", 20001 },
	{ "86300", 20001 },     /* ends exactly where day 20001 begins */
	{ "86301", 20002 },
	{ "172800", 20003 },
	{ "172699", 20002 },
	{ "9223372036854775807", 4294967294 }, /* the last day */
};

START_TEST(a_retrieval_is_noted)
{
	struct maildrop *md;

	make_entries(3, limits[_i].keep);
	md = test_maildrop(sp, 1);
	ck_assert(!maildrop_has_unnoted(md));
	maildrop_note_retrieved(md, at(md, 2));
	maildrop_note_retrieved(md, at(md, 2));
	ck_assert(maildrop_has_unnoted(md));
	ck_assert(!maildrop_has_leaving(md));
	/* The index knows nothing of it yet. */
	ck_assert_int_eq(entry_number("retrieved_s", 2), -1);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 0);
	maildrop_close(&md);
	ck_assert_int_eq(entry_number("retrieved_s", 2), (int64_t)NOW_S);
	ck_assert_int_eq(entry_number("retrieved_expires_day", 2), limits[_i].day);
	ck_assert_int_eq(entry_number("retrieved_s", 1), -1);
	ck_assert_int_eq(entry_number("retrieved_expires_day", 3), -1);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM entry WHERE typeof(retrieved_expires_day)"
			    " NOT IN ('integer', 'null')"), 0);
}
END_TEST

/* The first one counts, and those that follow cost no transaction. */
START_TEST(noted_once)
{
	struct maildrop *md;
	off_t size;

	make_entries(2, "172800");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 1));
	ck_assert_int_eq(maildrop_note(md), SPOOL_OK);
	maildrop_close(&md);

	clock_set(1000, (NOW_S + 5 * DAY) * 1000);
	size = log_size();
	for (int quit = 0; quit < 2; quit++) {
		md = test_maildrop(sp, 1);
		maildrop_note_retrieved(md, at(md, 1));
		ck_assert(!maildrop_has_unnoted(md));
		ck_assert_int_eq(quit ? maildrop_update(md) : maildrop_note(md), SPOOL_OK);
		maildrop_close(&md);
	}
	ck_assert_int_eq(log_size(), size);

	/* Nor does it change where a transaction is due. */
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 1));
	maildrop_note_retrieved(md, at(md, 2));
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_gt(log_size(), size);
	ck_assert_int_eq(entry_number("retrieved_s", 1), (int64_t)NOW_S);
	ck_assert_int_eq(entry_number("retrieved_expires_day", 1), 20003);
	ck_assert_int_eq(entry_number("retrieved_s", 2), (int64_t)(NOW_S + 5 * DAY));
}
END_TEST

/* ... also in one session. */
START_TEST(noted_once_by_two_updates)
{
	struct maildrop *md;

	make_entries(1, "172800");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, 0);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	clock_set(1000, (NOW_S + 5 * DAY) * 1000);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_eq(entry_number("retrieved_s", 1), (int64_t)NOW_S);
	ck_assert_int_eq(entry_number("retrieved_expires_day", 1), 20003);
}
END_TEST

/* With QUIT: what was retrieved and may not stay goes, with its own cause; marks go with theirs. */
START_TEST(nothing_stays_behind_quit)
{
	struct maildrop *md;

	make_entries(5, "CASE WHEN i < 4 THEN 0 ELSE 172800 END");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 1));
	maildrop_note_retrieved(md, at(md, 2));
	maildrop_mark(md, at(md, 2));
	maildrop_note_retrieved(md, at(md, 4));
	maildrop_mark(md, at(md, 5));
	ck_assert(maildrop_has_leaving(md));
	/* As LIST and STAT see it, it is there until then. */
	ck_assert_uint_eq(maildrop_live_count(md), 3);
	ck_assert_uint_eq(maildrop_live_octets(md), 1 + 3 + 4);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 3);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT sum(octets) FROM entry WHERE mailbox = 1"), 3 + 4);
	ck_assert_int_eq(entry_number("retrieved_s", 3), -1);
	ck_assert_int_eq(entry_number("retrieved_s", 4), (int64_t)NOW_S);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM removal WHERE cause = 1 AND octets = 1"), 1);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM removal WHERE cause = 0 AND octets IN (2, 5)"), 2);
	ck_assert_int_eq(test_number(sp, "SELECT removals FROM mailbox WHERE id = 1"), 3);
}
END_TEST

/* RSET takes marks back, and nothing else. */
START_TEST(unmarked_and_still_retrieved)
{
	struct maildrop *md;

	make_entries(3, "CASE WHEN i = 1 THEN 0 ELSE NULL END");
	md = test_maildrop(sp, 1);
	for (size_t i = 0; i < 3; i++) {
		maildrop_mark(md, i);
		maildrop_note_retrieved(md, i);
	}
	maildrop_unmark_all(md);
	ck_assert_uint_eq(maildrop_live_count(md), 3);
	ck_assert_uint_eq(maildrop_live_octets(md), 6);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 1);
	maildrop_close(&md);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM entry WHERE retrieved_s IS NOT NULL"), 2);
}
END_TEST

/* Without QUIT nothing goes, and what may not stay is as if it had not been retrieved. */
START_TEST(other_ends)
{
	struct maildrop *md;

	make_entries(3, "CASE WHEN i = 1 THEN 0 ELSE 172800 END");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 1));
	ck_assert(!maildrop_has_unnoted(md));
	ck_assert_int_eq(maildrop_note(md), SPOOL_OK);
	maildrop_note_retrieved(md, at(md, 2));
	maildrop_mark(md, at(md, 2));
	maildrop_mark(md, at(md, 3));
	ck_assert_int_eq(maildrop_note(md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 3);
	ck_assert_int_eq(entry_number("retrieved_s", 1), -1);
	ck_assert_int_eq(entry_number("retrieved_s", 2), (int64_t)NOW_S);
	ck_assert_int_eq(entry_number("retrieved_s", 3), -1);
}
END_TEST

/* Whoever was given more time meanwhile has it. */
START_TEST(more_time_meanwhile)
{
	struct maildrop *md;

	make_entries(2, "0");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 1));
	maildrop_note_retrieved(md, at(md, 2));
	test_sql(sp, "UPDATE entry SET keep_retrieved_s = 86400 WHERE octets = 1");
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 1);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 1);
	ck_assert_int_eq(entry_number("retrieved_s", 1), (int64_t)NOW_S);
	ck_assert_int_eq(entry_number("retrieved_expires_day", 1), 20002);
}
END_TEST

/* ... and who was given none, by a settings' change that breaks a promise, is not noted. */
START_TEST(less_time_meanwhile)
{
	struct maildrop *md;

	make_entries(1, "172800");
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, 0);
	test_sql(sp, "UPDATE entry SET keep_retrieved_s = 0");
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 0);
	maildrop_close(&md);
	ck_assert_int_eq(entry_number("retrieved_s", 1), -1);
}
END_TEST

START_TEST(a_failed_note_is_none)
{
	struct maildrop *md;

	make_entries(3, "172800");
	test_sql(sp, "CREATE TRIGGER fail BEFORE UPDATE ON entry WHEN OLD.octets = 1"
		     " BEGIN SELECT RAISE(ABORT, 'no'); END");
	md = test_maildrop(sp, 1);
	for (size_t i = 0; i < 3; i++)
		maildrop_note_retrieved(md, i);
	ck_assert_int_eq(maildrop_note(md), SPOOL_IO);
	ck_assert_int_eq(entry_number("retrieved_s", 3), -1);
	/* The lock of the writer was given back. */
	test_sql(sp, "DROP TRIGGER fail");
	ck_assert_int_eq(maildrop_note(md), SPOOL_OK);
	ck_assert_int_eq(entry_number("retrieved_s", 3), (int64_t)NOW_S);
	maildrop_close(&md);
}
END_TEST

/* Where in the transaction something fails. */
static const char *const failures[] = {
	"BEFORE UPDATE OF retrieved_s ON entry WHEN OLD.octets = 3",
	"BEFORE DELETE ON entry WHEN OLD.octets = 1",
	"BEFORE DELETE ON entry WHEN OLD.octets = 5",
	"BEFORE INSERT ON removal WHEN NEW.octets = 5",
	"BEFORE UPDATE ON mailbox",
};

START_TEST(all_or_none)
{
	struct maildrop *md;
	char sql[300];

	make_entries(5, "CASE WHEN i = 5 THEN 0 ELSE 172800 END");
	snprintf(sql, sizeof(sql), "CREATE TRIGGER fail %s BEGIN SELECT RAISE(ABORT, 'no'); END",
	    failures[_i]);
	test_sql(sp, sql);
	md = test_maildrop(sp, 1);
	maildrop_mark(md, at(md, 1));
	maildrop_note_retrieved(md, at(md, 2));
	maildrop_note_retrieved(md, at(md, 3));
	maildrop_note_retrieved(md, at(md, 5));
	ck_assert_int_eq(maildrop_update(md), SPOOL_IO);
	ck_assert_uint_eq(maildrop_removed(md), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 5);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM removal"), 0);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM entry WHERE retrieved_s IS NOT NULL"), 0);
	test_invariants(sp);

	test_sql(sp, "DROP TRIGGER fail");
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_removed(md), 2);
	maildrop_close(&md);
	ck_assert_int_eq(
	    test_number(sp, "SELECT count(*) FROM entry WHERE retrieved_s IS NOT NULL"), 2);
}
END_TEST

static atomic_uint syncs;

static int
counting_fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	return fdatasync(fd);
}

/* What nobody is told need not be on disk; what goes must be. */
START_TEST(synced_where_something_goes)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_POP3D };
	static struct disk_ops ops;     /* until the tear-down */
	struct maildrop *md;
	struct strbuf err;
	unsigned before;

	make_entries(3, "CASE WHEN i = 1 THEN 0 ELSE NULL END");
	spool_close(&sp);
	ops = disk_real;
	ops.fdatasync = counting_fdatasync;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open_on(&options, &ops, &sp, &err), SPOOL_OK);
	strbuf_release(&err);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	md = test_maildrop(sp, 1);
	maildrop_note_retrieved(md, at(md, 2));
	before = syncs;
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(syncs, before);
	maildrop_note_retrieved(md, at(md, 3));
	ck_assert_int_eq(maildrop_note(md), SPOOL_OK);
	ck_assert_uint_eq(syncs, before);
	maildrop_note_retrieved(md, at(md, 1));
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_gt(syncs, before);
	maildrop_close(&md);
}
END_TEST

/* --- what is promised ------------------------------------------------------ */

/* Rows: a mailbox's settings, and one message of it that came at 100 s into day 20000. */
static const struct {
	const char *name, *settings, *entry;
	uint64_t days;
} promises[] = {
	{ "no limit at all", "expire_s = NULL", "expires_day = NULL", NUM_UNLIMITED },
	{ "the settings'", "expire_s = 7 * 86400", "expires_day = NULL", 7 },
	{ "whole days alone", "expire_s = 8 * 86400 - 1", "expires_day = NULL", 7 },
	{ "the smaller of two", "expire_s = 7 * 86400, expire_retrieved_s = 3 * 86400",
	    "expires_day = NULL", 3 },
	{ "less than a day", "expire_retrieved_s = 3600", "expires_day = NULL", 0 },
	{ "at QUIT", "expire_retrieved_s = 0", "expires_day = NULL", 0 },
	{ "an older, shorter one", "expire_s = 7 * 86400", "expires_day = 20005", 4 },
	{ "from the beginning of a day", "expire_s = 7 * 86400",
	    "received_ms = 20000 * 86400000, expires_day = 20005", 5 },
	{ "a millisecond later", "expire_s = 7 * 86400",
	    "received_ms = 20000 * 86400000 + 1, expires_day = 20005", 4 },
	{ "an older, longer one", "expire_s = 7 * 86400", "expires_day = 20030", 7 },
	{ "an older one alone", "expire_s = NULL", "expires_day = 20030", 29 },
	{ "from the first retrieval", "expire_s = 7 * 86400", "keep_retrieved_s = 2 * 86400 + 5", 2 },
	{ "at QUIT, from before", "expire_s = 7 * 86400", "keep_retrieved_s = 0", 0 },
	{ "behind its day", "expire_s = 7 * 86400", "expires_day = 19999", 0 },
	{ "of what is not there any more", "expire_s = 7 * 86400",
	    "state = 1, expires_day = 20002, keep_retrieved_s = 0", 7 },
};

START_TEST(retention_of_a_maildrop)
{
	struct maildrop *md;
	char sql[400];

	make_entries(2, "NULL");
	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET received_ms = 20000 * 86400000 + 100000;"
	    "UPDATE mailbox SET %s WHERE id = 1; UPDATE entry SET %s WHERE octets = 2;"
	    "UPDATE mailbox SET messages = (SELECT count(*) FROM entry WHERE state = 0)"
	    " WHERE id = 1",
	    promises[_i].settings, promises[_i].entry);
	test_sql(sp, sql);
	md = test_maildrop(sp, 1);
	ck_assert_msg(maildrop_retention_days(md) == promises[_i].days, "%s: %" PRIu64,
	    promises[_i].name, maildrop_retention_days(md));
	maildrop_close(&md);
	/* So that the invariants hold. */
	test_sql(sp, "UPDATE entry SET state = 0; UPDATE mailbox SET messages = 2 WHERE id = 1");
}
END_TEST

static void
check_retention(const char *sql, uint64_t smallest, bool differs)
{
	bool differ = !differs;
	uint64_t days = 0;

	if (sql != NULL)
		test_sql(sp, sql);
	ck_assert_int_eq(account_retention(sp, &days, &differ), SPOOL_OK);
	ck_assert_msg(days == smallest && differ == differs, "%s: %" PRIu64 ", %d", sql, days, differ);
}

START_TEST(retention_of_all)
{
	uint64_t days;
	bool differs;

	check_retention(NULL, NUM_UNLIMITED, false);
	check_retention("UPDATE mailbox SET expire_s = 30 * 86400 WHERE id = 2", 30, true);
	check_retention("UPDATE mailbox SET expire_s = 30 * 86400 + 5", 30, false);
	check_retention("UPDATE mailbox SET expire_retrieved_s = 0 WHERE id = 3", 0, true);
	check_retention("DELETE FROM mailbox", NUM_UNLIMITED, false);
	atomic_store(&sp->ready, false);
	ck_assert_int_eq(account_retention(sp, &days, &differs), SPOOL_NOT_READY);
	atomic_store(&sp->ready, true);
}
END_TEST

/* A loop asks, so it may not be slower with more mailboxes: ten thousand of them are not
 * looked at. */
START_TEST(retention_is_looked_up)
{
	struct index_conn *c;
	sqlite3_stmt *stmt = NULL;
	uint64_t days;
	bool differs;
	int steps;

	test_sql(sp,
	    "WITH RECURSIVE n (i) AS (VALUES (10) UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
	    " INSERT INTO mailbox (id, domain, local, folded, created_s, expire_s)"
	    " SELECT i, 1, 'm' || i, 'm' || i, 0, i * 86400 FROM n");
	ck_assert_int_eq(account_retention(sp, &days, &differs), SPOOL_OK);
	ck_assert_uint_eq(days, 10);
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_OK);
	while ((stmt = sqlite3_next_stmt(index_db(c), stmt)) != NULL)
		if (strstr(sqlite3_sql(stmt), "retention_days") != NULL)
			break;
	ck_assert_ptr_nonnull(stmt);
	steps = sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0);
	ck_assert_int_gt(steps, 0);
	ck_assert_int_lt(steps, 100);
	ck_assert_int_eq(sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0), 0);
	index_read_end(sp, &c);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("retrieved");
	TCase *tc = tcase_create("retrieved");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_retrieval_is_noted, 0, COUNT(limits));
	tcase_add_test(tc, noted_once);
	tcase_add_test(tc, noted_once_by_two_updates);
	tcase_add_test(tc, nothing_stays_behind_quit);
	tcase_add_test(tc, unmarked_and_still_retrieved);
	tcase_add_test(tc, other_ends);
	tcase_add_test(tc, more_time_meanwhile);
	tcase_add_test(tc, less_time_meanwhile);
	tcase_add_test(tc, a_failed_note_is_none);
	tcase_add_loop_test(tc, all_or_none, 0, COUNT(failures));
	tcase_add_test(tc, synced_where_something_goes);
	tcase_add_loop_test(tc, retention_of_a_maildrop, 0, COUNT(promises));
	tcase_add_test(tc, retention_of_all);
	tcase_add_test(tc, retention_is_looked_up);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
