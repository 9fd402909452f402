/*
 * spool_expire: what goes, what stays, what is said of it, and who is not kept waiting.
 */
#include "delivery_test.h"

#include <errno.h>

#include "base/clock.h"
#include "common/spool/index_internal.h"
#include "common/spool/lock.h"
#include "spool/expire.h"
#include "spool/maildrop.h"

#define TODAY 20000u
#define DAY_MS UINT64_C(86400000)
#define ITEMS_MAX 4000

static struct spool *sp;

struct said {
	unsigned n;
	unsigned age, retrieved;
	uint64_t octets, day[ITEMS_MAX];
	char uid[ITEMS_MAX][MAILDROP_UID_MAX + 1];
	char address[64];
	unsigned end_after;             /* 0: never */
	unsigned batch;                 /* told at most for each sync; 0: it does not matter */
};

/* Syncs so far, all of which worked; the next one of them that is to fail, or 0. */
static unsigned syncs, failing_sync;

static int
counting_fdatasync(int fd)
{
	if (syncs + 1 == failing_sync) {
		errno = EIO;
		return -1;
	}
	syncs++;
	return fdatasync(fd);
}

/* From here on syncs are counted. */
static void
count_syncs(void)
{
	static struct disk_ops ops;
	bool whole;

	ops = disk_real;
	ops.fdatasync = counting_fdatasync;
	/* None of them is a checkpoint's. */
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
	sp->disk = &ops;
	syncs = failing_sync = 0;
}

static int
note(void *arg, const struct expire_item *item)
{
	struct said *said = arg;

	ck_assert_uint_lt(said->n, ITEMS_MAX);
	/* What is told is on disk. */
	if (said->batch > 0)
		ck_assert_uint_lt(said->n, syncs * said->batch);
	said->age += item->why == EXPIRE_AGE;
	said->retrieved += item->why == EXPIRE_RETRIEVED;
	said->octets += item->octets;
	said->day[said->n] = item->day;
	snprintf(said->uid[said->n++], sizeof(said->uid[0]), "%s", item->uid);
	snprintf(said->address, sizeof(said->address), "%s", item->address);
	return said->n == said->end_after;
}

/* A message for a mailbox, with the days on which it goes; NULL is "NULL". */
static uint64_t
message(unsigned number, uint64_t mailbox, const char *day, const char *retrieved_day)
{
	char sql[300];
	uint64_t id = 0;

	ck_assert_int_eq(test_deliver(sp, number, 500, mailbox, mailbox, &id), SPOOL_OK);
	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET expires_day = %s, retrieved_expires_day = %s"
	    " WHERE mailbox = %llu AND message = %llu",
	    day, retrieved_day, (unsigned long long)mailbox, (unsigned long long)id);
	test_sql(sp, sql);
	return id;
}

/* Without records: for what is about numbers alone. */
static void
many(uint64_t mailbox, unsigned n)
{
	char sql[900];

	snprintf(sql, sizeof(sql),
	    "INSERT OR IGNORE INTO segment VALUES (%llu, 1, 2000000, 0);"
	    "WITH RECURSIVE i (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM i WHERE k < %u)"
	    " INSERT INTO entry (mailbox, message, received_ms, octets, blocks, expires_day,"
	    " reverse_path, recipient)"
	    " SELECT %llu, (%llu << 21) + k, 1, 100, 1, 19000, '', 'x' FROM i;"
	    "UPDATE mailbox SET used = used + %u, messages = messages + %u WHERE id = %llu;"
	    "UPDATE segment SET live = live + %u WHERE number = %llu;"
	    "UPDATE meta SET value = max(value, %llu) WHERE key = 'newest_segment'",
	    (unsigned long long)mailbox, n, (unsigned long long)mailbox,
	    (unsigned long long)mailbox, n * 100, n, (unsigned long long)mailbox, n,
	    (unsigned long long)mailbox, (unsigned long long)mailbox);
	test_sql(sp, sql);
}

static void
setup(void)
{
	spool_test_make();
	clock_set(1000, TODAY * DAY_MS + 5);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 200);
}

static void
teardown(void)
{
	if (sp != NULL) {
		test_invariants(sp);
		spool_close(&sp);
	}
	spool_test_remove();
}

/* Both limits, each on its day and not before; the earlier one is the reason. */
static const struct {
	const char *name, *day, *retrieved_day;
	int why;                        /* -1: it stays */
	unsigned due;
} days[] = {
	{ "never", "NULL", "NULL", -1, 0 },
	{ "yesterday", "19999", "NULL", EXPIRE_AGE, 19999 },
	{ "today", "20000", "NULL", EXPIRE_AGE, 20000 },
	{ "tomorrow", "20001", "NULL", -1, 0 },
	{ "retrieved, today", "NULL", "20000", EXPIRE_RETRIEVED, 20000 },
	{ "retrieved, tomorrow", "NULL", "20001", -1, 0 },
	{ "retrieved before its age", "20001", "20000", EXPIRE_RETRIEVED, 20000 },
	{ "both, retrieved earlier", "20000", "19998", EXPIRE_RETRIEVED, 19998 },
	{ "both, age earlier", "19998", "20000", EXPIRE_AGE, 19998 },
	{ "both on one day", "20000", "20000", EXPIRE_AGE, 20000 },
};

START_TEST(each_day)
{
	struct expire_result result;
	struct said said = { 0 };
	uint64_t id = message(1, 1, days[_i].day, days[_i].retrieved_day);
	char uid[SPOOL_UID_LEN + 1];
	bool goes = days[_i].why >= 0;

	spool_uid_format(uid, id);
	/* A dry run says the same and does nothing. */
	for (int dry = 1; dry >= 0; dry--) {
		memset(&said, 0, sizeof(said));
		ck_assert_int_eq(spool_expire(sp, 0, dry, note, &said, &result), SPOOL_OK);
		ck_assert_msg(said.n == goes, "%s", days[_i].name);
		ck_assert_uint_eq(result.messages, goes);
		ck_assert_uint_eq(result.mailboxes, goes);
		ck_assert_uint_eq(result.octets, said.octets);
		ck_assert_uint_eq(result.busy, 0);
		if (goes) {
			ck_assert_uint_eq(said.retrieved, days[_i].why == EXPIRE_RETRIEVED);
			ck_assert_uint_eq(said.day[0], days[_i].due);
			ck_assert_str_eq(said.uid[0], uid);
			ck_assert_str_eq(said.address, "user1@example.test");
		}
		ck_assert_uint_eq(test_copies(sp, 1, 1), dry || !goes);
	}
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM removal WHERE cause = 1"), goes);
}
END_TEST

START_TEST(foreign_uid)
{
	struct expire_result result;
	struct said said = { 0 };

	message(1, 1, "19999", "NULL");
	test_sql(sp, "UPDATE entry SET uid = 'from-elsewhere'");
	ck_assert_int_eq(spool_expire(sp, 0, false, note, &said, &result), SPOOL_OK);
	ck_assert_str_eq(said.uid[0], "from-elsewhere");
}
END_TEST

START_TEST(one_mailbox)
{
	struct expire_result result;

	message(1, 1, "19999", "NULL");
	message(2, 2, "19999", "NULL");
	ck_assert_int_eq(spool_expire(sp, 2, false, NULL, NULL, &result), SPOOL_OK);
	ck_assert_uint_eq(result.messages, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 2), 0);
	ck_assert_int_eq(spool_expire(sp, 2, false, NULL, NULL, &result), SPOOL_OK);
	ck_assert_uint_eq(result.messages, 0);
	ck_assert_int_eq(spool_expire(sp, 999, false, NULL, NULL, &result), SPOOL_NO_MAILBOX);
}
END_TEST

/* An open maildrop is left, and counted; a dry run looks into it all the same. */
START_TEST(open_maildrop)
{
	struct expire_result result;
	struct maildrop *md;

	message(1, 1, "19999", "NULL");
	message(2, 2, "19999", "NULL");
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(spool_expire(sp, 0, true, NULL, NULL, &result), SPOOL_OK);
	ck_assert_uint_eq(result.messages, 2);
	ck_assert_int_eq(spool_expire(sp, 0, false, NULL, NULL, &result), SPOOL_OK);
	ck_assert_uint_eq(result.messages, 1);
	ck_assert_uint_eq(result.busy, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	maildrop_close(&md);
	ck_assert_int_eq(spool_expire(sp, 0, false, NULL, NULL, &result), SPOOL_OK);
	ck_assert_uint_eq(result.messages, 1);
	ck_assert_uint_eq(result.busy, 0);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 0);
}
END_TEST

/* In each call everything can be had: the maildrop's lock and the writer's. */
static int
take_all_locks(void *arg, const struct expire_item *item)
{
	struct maildrop *md;

	(void)item;
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_eq(maildrop_lock(sp, 2, "test", &md), SPOOL_OK);
	maildrop_close(&md);
	test_sql(sp, "UPDATE mailbox SET warned = warned + 1 WHERE id = 1");
	++*(unsigned *)arg;
	return 0;
}

START_TEST(no_lock_while_it_tells)
{
	struct expire_result result;
	unsigned calls = 0;

	many(1, 1100);
	many(2, 20);
	ck_assert_int_eq(spool_expire(sp, 0, false, take_all_locks, &calls, &result), SPOOL_OK);
	ck_assert_uint_eq(calls, 1120);
	ck_assert_uint_eq(result.messages, 1120);
	ck_assert_int_eq(test_number(sp, "SELECT warned FROM mailbox WHERE id = 1"), 1120);
	/* The dead segments have no file. */
	test_sql(sp, "DELETE FROM garbage; DELETE FROM segment WHERE number < 3");
}
END_TEST

/* Of one mailbox after the other, `each` entries in `mailboxes`: what goes, and how many syncs that
 * takes. */
static const struct {
	unsigned mailboxes, each, syncs;
	unsigned batch;                 /* the most that one sync may be for */
} spread[] = {
	{ 1, 1000, 2, 500 },
	{ 2, 250, 1, 500 },
	{ 4, 300, 3, 500 },
	{ 40, 30, 3, 500 },
	{ 200, 3, 4, 192 },             /* 64 mailboxes at a time */
	{ 64, 1, 1, 64 },
};

static void
fill_spread(unsigned i)
{
	for (unsigned k = 1; k <= spread[i].mailboxes; k++)
		many(k, spread[i].each);
}

static void
forget_files(void)
{
	test_sql(sp, "DELETE FROM garbage; DELETE FROM segment WHERE live = 0");
}

START_TEST(mailboxes_share_a_sync)
{
	unsigned n = spread[_i].mailboxes * spread[_i].each;
	struct expire_result result;
	static struct said said;

	fill_spread((unsigned)_i);
	count_syncs();
	for (int dry = 1; dry >= 0; dry--) {
		memset(&said, 0, sizeof(said));
		said.batch = dry ? 0 : spread[_i].batch;
		ck_assert_int_eq(spool_expire(sp, 0, dry, note, &said, &result), SPOOL_OK);
		ck_assert_uint_eq(said.n, n);
		ck_assert_uint_eq(result.messages, n);
		ck_assert_uint_eq(result.octets, n * 100);
		ck_assert_uint_eq(result.mailboxes, spread[_i].mailboxes);
		ck_assert_uint_eq(syncs, dry ? 0 : spread[_i].syncs);
		for (unsigned i = 1; i < n; i++)
			ck_assert_str_ne(said.uid[i - 1], said.uid[i]);
	}
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
	forget_files();
}
END_TEST

/* What a sync that failed was for is not told, and not counted; what was told before stays so. */
START_TEST(failed_sync_is_not_told)
{
	struct expire_result result;
	struct said said = { .batch = 500 };

	fill_spread(3);
	count_syncs();
	failing_sync = 2;
	ck_assert_int_eq(spool_expire(sp, 0, false, note, &said, &result), SPOOL_UNKNOWN);
	ck_assert_uint_eq(said.n, 500);
	ck_assert_uint_eq(result.messages, 500);
	ck_assert_uint_eq(result.mailboxes, 17);
	failing_sync = 0;
	ck_assert_int_eq(index_mend(sp), SPOOL_OK);
	forget_files();
}
END_TEST

/* Open ones, wherever they stand in a batch, are counted once and hold nobody else up. */
START_TEST(open_among_many)
{
	static const uint64_t open[] = { 1, 17, 18, 40 };
	struct maildrop *md[4];
	struct expire_result result;
	struct said said = { .batch = 500 };

	fill_spread(3);
	count_syncs();
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(maildrop_lock(sp, open[i], "test", &md[i]), SPOOL_OK);
	ck_assert_int_eq(spool_expire(sp, 0, false, note, &said, &result), SPOOL_OK);
	ck_assert_uint_eq(result.busy, 4);
	ck_assert_uint_eq(result.mailboxes, 36);
	ck_assert_uint_eq(result.messages, 1080);
	ck_assert_uint_eq(said.n, 1080);
	for (size_t i = 0; i < 4; i++)
		maildrop_close(&md[i]);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox IN (1, 17, 18,"
	    " 40)"), 120);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 120);
	forget_files();
}
END_TEST

/* All of each mailbox goes, whatever the batches; each message is told once. */
START_TEST(batches)
{
	static const unsigned sizes[] = { 1, 499, 500, 501, 1000, 1501 };
	struct expire_result result;
	static struct said said;
	unsigned n = sizes[_i];
	char half[200];

	many(1, n);
	/* Every third one goes for the other reason. */
	snprintf(half, sizeof(half), "UPDATE entry SET expires_day = NULL,"
	    " retrieved_expires_day = 19000 WHERE message %% 3 = 0");
	test_sql(sp, half);
	memset(&said, 0, sizeof(said));
	for (int dry = 1; dry >= 0; dry--) {
		memset(&said, 0, sizeof(said));
		ck_assert_int_eq(spool_expire(sp, 0, dry, note, &said, &result), SPOOL_OK);
		ck_assert_uint_eq(said.n, n);
		ck_assert_uint_eq(result.messages, n);
		for (unsigned i = 1; i < n; i++)
			ck_assert_str_ne(said.uid[i - 1], said.uid[i]);
	}
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
	ck_assert_int_eq(test_number(sp, "SELECT removals FROM mailbox WHERE id = 1"), n);
	test_sql(sp, "DELETE FROM garbage; DELETE FROM segment WHERE number = 1");
}
END_TEST

START_TEST(ended_by_the_caller)
{
	struct expire_result result;
	struct said said = { .end_after = 3 };

	many(1, 700);
	many(2, 10);
	ck_assert_int_eq(spool_expire(sp, 0, false, note, &said, &result), SPOOL_OK);
	ck_assert_uint_eq(said.n, 3);
	/* What was removed is counted, told or not. */
	ck_assert_uint_eq(result.messages, 500);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 210);
	test_sql(sp, "DELETE FROM garbage WHERE message >> 21 = 1");
}
END_TEST

/* Kept ones are nobody's any more, so they are not due; and what expires can be kept. */
START_TEST(kept_is_not_due)
{
	struct spool_policy policy = { .keep_deleted_s = 3600, .keep_deleted_max = 1 << 30 };
	struct expire_result result;

	spool_set_policy(sp, &policy);
	message(1, 1, "19999", "NULL");
	for (int i = 1; i >= 0; i--) {
		ck_assert_int_eq(spool_expire(sp, 0, false, NULL, NULL, &result), SPOOL_OK);
		ck_assert_int_eq(result.messages, i);
	}
	ck_assert_int_eq(test_number(sp, "SELECT state FROM entry"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT removed_s FROM entry"), TODAY * 86400);
}
END_TEST

/* Of the statements that ran on this connection those that look for due entries. */
static unsigned
uses_indexes(struct index_conn *c)
{
	unsigned found = 0;

	for (size_t i = 0; i < c->nstmts; i++) {
		char sql[1200], plan[2000] = "";
		sqlite3_stmt *stmt;

		if (strstr(c->stmts[i].sql, "expires_day <= ?2") == NULL)
			continue;
		snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", c->stmts[i].sql);
		ck_assert_int_eq(
		    sqlite3_prepare_v2(index_db(c), sql, -1, &stmt, NULL), SQLITE_OK);
		while (sqlite3_step(stmt) == SQLITE_ROW)
			snprintf(plan + strlen(plan), sizeof(plan) - strlen(plan), "%s\n",
			    (const char *)sqlite3_column_text(stmt, 3));
		sqlite3_finalize(stmt);
		ck_assert_msg(strstr(plan, "SCAN entry") == NULL &&
			strstr(plan, "entry USING PRIMARY KEY") == NULL &&
			strstr(plan, "TEMP B-TREE") == NULL, "%s\n%s", sql, plan);
		ck_assert_msg(strstr(plan, "INDEX entry_expires (mailbox=? AND ") != NULL ||
			strstr(plan, "INDEX entry_retrieved_expires (mailbox=? AND ") != NULL,
		    "%s\n%s", sql, plan);
		ck_assert_msg(strstr(plan, "expires_day<?)") != NULL, "%s\n%s", sql, plan);
		found++;
	}
	return found;
}

START_TEST(nothing_is_scanned)
{
	struct expire_result result;
	struct index_conn *c;

	message(1, 1, "19999", "NULL");
	ck_assert_int_eq(spool_expire(sp, 1, true, NULL, NULL, &result), SPOOL_OK);
	ck_assert_int_eq(spool_expire(sp, 0, false, NULL, NULL, &result), SPOOL_OK);
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_OK);
	ck_assert_uint_eq(uses_indexes(c), 3);
	index_read_end(sp, &c);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_uint_eq(uses_indexes(c), 2);
	index_write_abandon(sp, &c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("expire");
	TCase *tc = tcase_create("expire");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_day, 0, sizeof(days) / sizeof(days[0]));
	tcase_add_test(tc, foreign_uid);
	tcase_add_test(tc, one_mailbox);
	tcase_add_test(tc, open_maildrop);
	tcase_add_test(tc, no_lock_while_it_tells);
	tcase_add_loop_test(tc, mailboxes_share_a_sync, 0, sizeof(spread) / sizeof(spread[0]));
	tcase_add_test(tc, failed_sync_is_not_told);
	tcase_add_test(tc, open_among_many);
	tcase_add_loop_test(tc, batches, 0, 6);
	tcase_add_test(tc, ended_by_the_caller);
	tcase_add_test(tc, kept_is_not_due);
	tcase_add_test(tc, nothing_is_scanned);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
