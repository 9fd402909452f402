/* history: what went and why, what is kept of it, and how it comes back. */
#include "delivery_test.h"

#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/num.h"
#include "common/spool/index_internal.h"
#include "common/spool/remove.h"
#include "spool/history.h"

#define DAY 86400ull

static struct spool *sp;
static char texts[8][MAILDROP_UID_MAX + 1];

static void
keep(uint64_t seconds)
{
	const struct spool_policy policy = { .keep_deleted_s = seconds,
		.keep_deleted_max = UINT64_C(1) << 30 };

	spool_set_policy(sp, &policy);
}

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	keep(7 * DAY);
}

static void
teardown(void)
{
	clock_set(0, 0);
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

static uint64_t
deliver(unsigned number, uint64_t first, uint64_t last)
{
	uint64_t id = 0;

	ck_assert_int_eq(test_deliver(sp, number, 200 + number, first, last, &id), SPOOL_OK);
	return id;
}

static void
remove_as(uint64_t mailbox, uint64_t message, enum remove_cause cause)
{
	struct index_conn *c;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_entries(sp, c, mailbox, &message, 1, cause), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
}

static const char *
uid_of(unsigned slot, uint64_t message)
{
	spool_uid_format(texts[slot], message);
	return texts[slot];
}

static enum spool_status
restore(uint64_t mailbox, const char *uid, bool new_uid, uint64_t want)
{
	struct history_restored r;
	enum spool_status st =
	    history_restore(sp, mailbox, &uid, uid != NULL ? 1 : 0, new_uid, &r);

	if (st == SPOOL_OK)
		ck_assert_uint_eq(r.messages, want);
	return st;
}

/* --- what is told --------------------------------------------------------- */

static int
write_removal(void *arg, const struct history_removal *r)
{
	ck_assert_str_eq(r->from, "sender@example.org");
	strbuf_addf(arg, "%" PRIu64 " %s %s %" PRIu64 " %" PRIu64 "\n", r->removed_s, r->cause,
	    r->uid, r->octets, r->received_ms);
	return 0;
}

static int
write_kept(void *arg, const struct history_kept *k)
{
	ck_assert_str_eq(k->from, "sender@example.org");
	ck_assert_str_eq(k->delivered_to, "user1@example.test");
	strbuf_addf(arg, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", k->uid, k->octets,
	    k->received_ms, k->removed_s);
	return 0;
}

static int
write_uid(void *arg, const struct maildrop_entry *e)
{
	strbuf_addf(arg, "%s ", e->uid);
	return 0;
}

static void
assert_history(uint64_t mailbox, const char *want)
{
	struct strbuf text;

	strbuf_init(&text, 65536);
	ck_assert_int_eq(history_list(sp, mailbox, write_removal, &text), SPOOL_OK);
	ck_assert_str_eq(text.buf, want);
	strbuf_release(&text);
}

static void
assert_kept(uint64_t mailbox, const char *want)
{
	struct strbuf text;

	strbuf_init(&text, 65536);
	ck_assert_int_eq(history_kept(sp, mailbox, write_kept, &text), SPOOL_OK);
	ck_assert_str_eq(text.buf, want);
	strbuf_release(&text);
}

static void
assert_uids(uint64_t mailbox, const char *want)
{
	struct strbuf text;

	strbuf_init(&text, 65536);
	ck_assert_int_eq(maildrop_list(sp, mailbox, write_uid, &text), SPOOL_OK);
	ck_assert_str_eq(text.buf, want);
	strbuf_release(&text);
}

START_TEST(newest_first)
{
	uint64_t ids[3], octets;
	char want[1024], kept[1024];

	clock_set(1, 1000 * DAY * 1000);
	for (unsigned i = 0; i < 3; i++)
		ids[i] = deliver(i, 1, 1);
	test_sql(sp, "UPDATE entry SET uid = 'elsewhere' WHERE octets ="
	    " (SELECT max(octets) FROM entry)");
	octets = (uint64_t)test_number(sp, "SELECT min(octets) FROM entry");
	assert_history(1, "");
	assert_kept(1, "");
	clock_set(1, 1001 * DAY * 1000);
	remove_as(1, ids[1], REMOVE_POP3);
	clock_set(1, 1002 * DAY * 1000);
	remove_as(1, ids[2], REMOVE_EXPIRE);
	keep(0);
	remove_as(1, ids[0], REMOVE_ADMIN);
	snprintf(want, sizeof(want),
	    "%llu admin %s %" PRIu64 " %llu\n%llu expire elsewhere %" PRIu64
	    " %llu\n%llu pop3 %s %" PRIu64 " %llu\n", 1002 * DAY, uid_of(0, ids[0]), octets,
	    1000 * DAY * 1000, 1002 * DAY, octets + 2, 1000 * DAY * 1000, 1001 * DAY,
	    uid_of(1, ids[1]), octets + 1, 1000 * DAY * 1000);
	assert_history(1, want);
	assert_history(2, "");
	assert_history(99, "");
	/* Of these one was not kept. */
	snprintf(kept, sizeof(kept),
	    "%s %" PRIu64 " %llu %llu\nelsewhere %" PRIu64 " %llu %llu\n", uid_of(1, ids[1]),
	    octets + 1, 1000 * DAY * 1000, 1001 * DAY, octets + 2, 1000 * DAY * 1000, 1002 * DAY);
	assert_kept(1, kept);
	assert_kept(2, "");
	/* What comes back stays in the history. */
	ck_assert_int_eq(restore(1, NULL, false, 2), SPOOL_OK);
	assert_history(1, want);
	assert_kept(1, "");
}
END_TEST

static int
end_walk(void *arg, const struct history_removal *r)
{
	(void)r;
	return ++*(int *)arg == 2;
}

static int
end_kept(void *arg, const struct history_kept *k)
{
	(void)k;
	return ++*(int *)arg == 2;
}

START_TEST(ends_when_nobody_wants_more)
{
	int calls = 0;

	for (unsigned i = 0; i < 3; i++)
		remove_as(1, deliver(i, 1, 1), REMOVE_POP3);
	ck_assert_int_eq(history_list(sp, 1, end_walk, &calls), SPOOL_OK);
	ck_assert_int_eq(calls, 2);
	calls = 0;
	ck_assert_int_eq(history_kept(sp, 1, end_kept, &calls), SPOOL_OK);
	ck_assert_int_eq(calls, 2);
}
END_TEST

static int
add_removed_uid(void *arg, const struct history_removal *r)
{
	struct strbuf *text = arg;

	strbuf_addf(text, "%s ", r->uid);
	return 0;
}

/* One QUIT of more than are remembered leaves the last of them, and they are all there. */
START_TEST(the_last_ones_of_many)
{
	uint64_t ids[REMOVE_HISTORY + 2];
	struct strbuf text, want;
	struct index_conn *c;
	char uid[SPOOL_UID_LEN + 1];
	size_t n = REMOVE_HISTORY + 2;

	for (size_t i = 0; i < n; i++)
		ids[i] = deliver((unsigned)i, 1, 1);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_entries(sp, c, 1, ids, n, REMOVE_POP3), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	strbuf_init(&text, 65536);
	strbuf_init(&want, 65536);
	ck_assert_int_eq(history_list(sp, 1, add_removed_uid, &text), SPOOL_OK);
	for (size_t i = n; i > 2; i--) {
		spool_uid_format(uid, ids[i - 1]);
		strbuf_addf(&want, "%s ", uid);
	}
	ck_assert_str_eq(text.buf, want.buf);
	strbuf_release(&text);
	strbuf_release(&want);
}
END_TEST

/* Of what is handed to it, mail that came back meanwhile stays. */
START_TEST(kept_is_ended_alone)
{
	uint64_t ids[2] = { deliver(0, 1, 1), deliver(1, 1, 1) };
	char want[128];
	struct index_conn *c;

	remove_as(1, ids[0], REMOVE_POP3);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_kept(c, 1, ids, 2), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	assert_kept(1, "");
	snprintf(want, sizeof(want), "%s ", uid_of(1, ids[1]));
	assert_uids(1, want);
}
END_TEST

/* Where fewer blocks are counted than what goes has, no more goes for it. */
START_TEST(young_mail_stays_whatever_is_counted)
{
	uint64_t ids[3];

	for (unsigned i = 0; i < 3; i++) {
		ids[i] = deliver(i, 1, 1);
		remove_as(1, ids[i], REMOVE_POP3);
	}
	test_sql(sp, "UPDATE entry SET removed_s = 1 WHERE message ="
		     " (SELECT min(message) FROM entry);"
		     "UPDATE meta SET value = value - 3 WHERE key = 'kept_blocks'");
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state = 1"), 2);
	test_sql(sp, "UPDATE meta SET value = value + 3 WHERE key = 'kept_blocks'");
}
END_TEST

/* --- bringing back -------------------------------------------------------- */

START_TEST(one_and_all)
{
	uint64_t ids[3], used;
	char want[300];
	const char *twice[2], *wrong[2];
	struct history_restored r;

	for (unsigned i = 0; i < 3; i++)
		ids[i] = deliver(i, 1, 2);
	used = (uint64_t)test_number(sp, "SELECT used FROM mailbox WHERE id = 1");
	for (unsigned i = 0; i < 3; i++)
		remove_as(1, ids[i], REMOVE_POP3);
	ck_assert_int_eq(test_number(sp, "SELECT used FROM mailbox WHERE id = 1"), 0);
	/* Nobody's, not kept, another's, upper case. */
	ck_assert_int_eq(restore(2, uid_of(0, ids[0]), false, 0), SPOOL_NO_MESSAGE);
	ck_assert_int_eq(restore(1, "", false, 0), SPOOL_NO_MESSAGE);
	ck_assert_int_eq(restore(99, uid_of(0, ids[0]), false, 0), SPOOL_NO_MESSAGE);
	ck_assert_int_eq(restore(99, NULL, false, 0), SPOOL_OK);

	/* All that are named or none; what is named twice is named. */
	wrong[0] = uid_of(1, ids[1]);
	wrong[1] = "x";
	ck_assert_int_eq(history_restore(sp, 1, wrong, 2, false, &r), SPOOL_NO_MESSAGE);
	ck_assert_uint_eq(r.bad, 1);
	assert_uids(1, "");
	twice[0] = twice[1] = uid_of(1, ids[1]);
	ck_assert_int_eq(history_restore(sp, 1, twice, 2, false, &r), SPOOL_OK);
	ck_assert_uint_eq(r.messages, 1);
	snprintf(want, sizeof(want), "%s ", uid_of(1, ids[1]));
	assert_uids(1, want);
	ck_assert_int_eq(restore(1, uid_of(1, ids[1]), false, 0), SPOOL_NO_MESSAGE);
	test_invariants(sp);

	ck_assert_int_eq(restore(1, NULL, false, 2), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT used FROM mailbox WHERE id = 1"), (int64_t)used);
	ck_assert_int_eq(test_number(sp, "SELECT value FROM meta WHERE key = 'kept_blocks'"), 0);
	snprintf(want, sizeof(want), "%s %s %s ", uid_of(0, ids[0]), uid_of(1, ids[1]),
	    uid_of(2, ids[2]));
	assert_uids(1, want);
	assert_uids(2, want);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(test_read_back(sp, ids[i], 1), i);
	ck_assert_int_eq(restore(1, NULL, false, 0), SPOOL_OK);
}
END_TEST

START_TEST(new_uids)
{
	uint64_t id = deliver(0, 1, 1);
	char first[80], second[100];

	remove_as(1, id, REMOVE_POP3);
	ck_assert_int_eq(restore(1, uid_of(0, id), true, 1), SPOOL_OK);
	snprintf(first, sizeof(first), "%s.1", uid_of(0, id));
	snprintf(second, sizeof(second), "%s ", first);
	assert_uids(1, second);
	/* By the old one it is found no more, and the next one is new again. */
	remove_as(1, id, REMOVE_POP3);
	ck_assert_int_eq(restore(1, uid_of(0, id), true, 1), SPOOL_NO_MESSAGE);
	ck_assert_int_eq(restore(1, first, true, 1), SPOOL_OK);
	snprintf(second, sizeof(second), "%s.2 ", uid_of(0, id));
	assert_uids(1, second);
	/* A new one that is kept stays when it is not asked for another. */
	remove_as(1, id, REMOVE_POP3);
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	assert_uids(1, second);
}
END_TEST

/* Two messages never show one UID. */
START_TEST(uid_of_another)
{
	uint64_t old = deliver(0, 1, 1), new;

	test_sql(sp, "UPDATE entry SET uid = 'x'");
	remove_as(1, old, REMOVE_POP3);
	new = deliver(1, 1, 1);
	test_sql(sp, "UPDATE entry SET uid = 'x' WHERE state = 0");
	ck_assert_int_eq(restore(1, "x", false, 0), SPOOL_EXISTS);
	assert_uids(1, "x ");
	ck_assert_int_eq(restore(1, "x", true, 1), SPOOL_OK);
	/* Of two that had it, the one that went last. */
	clock_set(1, 1);
	remove_as(1, old, REMOVE_POP3);
	test_sql(sp, "UPDATE entry SET uid = 'x'");
	clock_set(1, 1000 * DAY * 1000);
	remove_as(1, new, REMOVE_POP3);
	ck_assert_int_eq(restore(1, "x", false, 1), SPOOL_OK);
	ck_assert_int_eq(
	    test_number(sp, "SELECT message FROM entry WHERE state = 0"), (int64_t) new);
}
END_TEST

/* Under the writer's lock a mailbox is not searched for each message that comes back to it. */
START_TEST(no_mailbox_is_searched_for_a_uid)
{
	unsigned found = 0;
	struct index_conn *c;

	remove_as(1, deliver(0, 1, 1), REMOVE_POP3);
	ck_assert_int_eq(restore(1, NULL, true, 1), SPOOL_OK);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	for (size_t i = 0; i < c->nstmts; i++) {
		char sql[1000];
		sqlite3_stmt *stmt;

		if (strstr(c->stmts[i].sql, "uid = ?2") == NULL)
			continue;
		snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", c->stmts[i].sql);
		ck_assert_int_eq(sqlite3_prepare_v2(index_db(c), sql, -1, &stmt, NULL), SQLITE_OK);
		ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
		ck_assert_ptr_nonnull(strstr((const char *)sqlite3_column_text(stmt, 3),
		    "INDEX entry_uid (uid=?"));
		sqlite3_finalize(stmt);
		found++;
	}
	index_write_abandon(sp, &c);
	ck_assert_uint_eq(found, 1);
}
END_TEST

START_TEST(quota_holds)
{
	uint64_t a = deliver(0, 1, 1), b = deliver(1, 1, 1);
	struct history_restored r;
	char sql[100];
	int64_t used = test_number(sp, "SELECT used FROM mailbox WHERE id = 1");

	remove_as(1, a, REMOVE_POP3);
	remove_as(1, b, REMOVE_POP3);
	/* One octet short for both: neither. */
	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %lld", (long long)used - 1);
	test_sql(sp, sql);
	ck_assert_int_eq(history_restore(sp, 1, NULL, 0, false, &r), SPOOL_OVER_QUOTA);
	ck_assert_uint_eq(r.messages, 2);
	ck_assert_uint_eq(r.octets, (uint64_t)used);
	assert_uids(1, "");
	ck_assert_int_eq(restore(1, uid_of(0, a), false, 1), SPOOL_OK);
	ck_assert_int_eq(restore(1, uid_of(1, b), false, 0), SPOOL_OVER_QUOTA);
	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %lld", (long long)used);
	test_sql(sp, sql);
	ck_assert_int_eq(restore(1, uid_of(1, b), false, 1), SPOOL_OK);
	/* Beyond its quota already. */
	remove_as(1, a, REMOVE_POP3);
	test_sql(sp, "UPDATE mailbox SET quota = 1");
	ck_assert_int_eq(restore(1, NULL, false, 0), SPOOL_OVER_QUOTA);
}
END_TEST

/* Its age begins anew, but no announced day comes nearer. */
START_TEST(ages)
{
	uint64_t id;

	clock_set(1, 100 * DAY * 1000);
	test_sql(sp, "UPDATE mailbox SET expire_s = 10 * 86400, expire_retrieved_s = 3 * 86400");
	id = deliver(0, 1, 1);
	test_sql(sp, "UPDATE entry SET retrieved_s = 101 * 86400, retrieved_expires_day = 104");
	clock_set(1, 102 * DAY * 1000);
	remove_as(1, id, REMOVE_POP3);
	clock_set(1, 105 * DAY * 1000);
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry"), 115);
	ck_assert_int_eq(test_number(sp, "SELECT retrieved_s FROM entry"), -1);
	ck_assert_int_eq(test_number(sp, "SELECT retrieved_expires_day FROM entry"), -1);
	ck_assert_int_eq(test_number(sp, "SELECT removed_s FROM entry"), -1);
	ck_assert_int_eq(test_number(sp, "SELECT keep_retrieved_s FROM entry"), 3 * 86400);

	/* Shorter ones since. */
	remove_as(1, id, REMOVE_POP3);
	test_sql(sp, "UPDATE mailbox SET expire_s = 86400, expire_retrieved_s = 86400");
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry"), 115);
	ck_assert_int_eq(test_number(sp, "SELECT keep_retrieved_s FROM entry"), 3 * 86400);
	/* Never since. */
	remove_as(1, id, REMOVE_POP3);
	test_sql(sp, "UPDATE mailbox SET expire_s = NULL, expire_retrieved_s = NULL");
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry"), -1);
	ck_assert_int_eq(test_number(sp, "SELECT keep_retrieved_s FROM entry"), -1);
	/* Never before. */
	remove_as(1, id, REMOVE_POP3);
	test_sql(sp, "UPDATE mailbox SET expire_s = 86400, expire_retrieved_s = 86400");
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry"), -1);
	ck_assert_int_eq(test_number(sp, "SELECT keep_retrieved_s FROM entry"), -1);
}
END_TEST

START_TEST(needs_the_lock)
{
	uint64_t id = deliver(0, 1, 1);
	struct maildrop *md;

	remove_as(1, id, REMOVE_POP3);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(restore(1, NULL, false, 0), SPOOL_BUSY);
	maildrop_close(&md);
	ck_assert_int_eq(restore(1, "x", false, 0), SPOOL_NO_MESSAGE);
	ck_assert_int_eq(restore(1, NULL, false, 1), SPOOL_OK);
	/* And gave it back each time. */
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	maildrop_close(&md);
}
END_TEST

static int
failing_fdatasync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

START_TEST(failed_sync_is_no_success)
{
	struct disk_ops ops = disk_real;
	uint64_t id = deliver(0, 1, 1);
	enum spool_status st;

	remove_as(1, id, REMOVE_POP3);
	ops.fdatasync = failing_fdatasync;
	sp->disk = &ops;
	st = restore(1, NULL, false, 1);
	sp->disk = &disk_real;
	ck_assert_int_eq(st, SPOOL_UNKNOWN);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
}
END_TEST

static const char *const failures[] = {
	"BEFORE UPDATE ON entry WHEN old.message = (SELECT max(message) FROM entry)",
	"BEFORE UPDATE ON mailbox", "BEFORE UPDATE ON meta",
};

START_TEST(all_or_none)
{
	char sql[300];

	for (unsigned i = 0; i < 3; i++)
		remove_as(1, deliver(i, 1, 1), REMOVE_POP3);
	snprintf(sql, sizeof(sql), "CREATE TRIGGER fail %s BEGIN SELECT RAISE(ABORT, 'no'); END",
	    failures[_i]);
	test_sql(sp, sql);
	ck_assert_int_eq(restore(1, NULL, true, 0), SPOOL_IO);
	assert_uids(1, "");
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE uid IS NULL"), 3);
	test_invariants(sp);
	test_sql(sp, "DROP TRIGGER fail");
	ck_assert_int_eq(restore(1, NULL, false, 3), SPOOL_OK);
}
END_TEST

/* mail list: when it was retrieved, and the earlier of its two days. */
static int
write_days(void *arg, const struct maildrop_entry *e)
{
	if (e->expires_s == NUM_UNLIMITED)
		strbuf_addf(arg, "%" PRIu64 " never ", e->retrieved_s);
	else
		strbuf_addf(arg, "%" PRIu64 " %llu ", e->retrieved_s, e->expires_s / DAY);
	return 0;
}

START_TEST(either_age)
{
	struct strbuf text;

	for (unsigned i = 0; i < 4; i++) {
		clock_set(1, (i + 1) * 1000);
		deliver(i, 1, 1);
	}
	test_sql(sp,
	    "UPDATE entry SET expires_day = 20 WHERE received_ms IN (2000, 3000);"
	    "UPDATE entry SET retrieved_expires_day = 30, retrieved_s = 7 WHERE received_ms = 2000;"
	    "UPDATE entry SET retrieved_expires_day = 10, retrieved_s = 8 WHERE received_ms = 3000;"
	    "UPDATE entry SET retrieved_expires_day = 5, retrieved_s = 9 WHERE received_ms = 4000");
	strbuf_init(&text, 4096);
	ck_assert_int_eq(maildrop_list(sp, 1, write_days, &text), SPOOL_OK);
	ck_assert_str_eq(text.buf, "0 never 7 20 8 10 9 5 ");
	strbuf_release(&text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("history");
	TCase *tc = tcase_create("history");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, newest_first);
	tcase_add_test(tc, ends_when_nobody_wants_more);
	tcase_add_test(tc, the_last_ones_of_many);
	tcase_add_test(tc, kept_is_ended_alone);
	tcase_add_test(tc, young_mail_stays_whatever_is_counted);
	tcase_add_test(tc, one_and_all);
	tcase_add_test(tc, new_uids);
	tcase_add_test(tc, uid_of_another);
	tcase_add_test(tc, no_mailbox_is_searched_for_a_uid);
	tcase_add_test(tc, quota_holds);
	tcase_add_test(tc, ages);
	tcase_add_test(tc, needs_the_lock);
	tcase_add_test(tc, failed_sync_is_no_success);
	tcase_add_loop_test(tc, all_or_none, 0, 3);
	tcase_add_test(tc, either_age);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
