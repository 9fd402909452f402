/* update: the end of a session with a maildrop takes away what was marked, all or none. */
#include "maildrop_test.h"

#include <errno.h>

START_TEST(update)
{
	uint64_t shared, own, late;
	struct maildrop *md;

	shared = deliver(0, 200, 1, 3);
	own = deliver(1, 300, 1, 1);
	deliver(2, 400, 1, 2);
	md = test_maildrop(sp, 1);
	/* What comes while it is open is not in the list and does not go. */
	late = deliver(3, 500, 1, 1);
	ck_assert_uint_eq(maildrop_count(md), 3);
	maildrop_mark(md, 0);
	maildrop_mark(md, 1);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	/* Once more is no harm. */
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &(struct maildrop *){ NULL }), SPOOL_BUSY);
	maildrop_close(&md);
	test_invariants(sp);

	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT message FROM garbage"), (int64_t)own);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 0);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 3), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 0), 1);
	ck_assert_uint_eq(test_copies(sp, 3, 0), 1);
	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_count(md), 2);
	ck_assert_uint_gt(late, shared);
	maildrop_close(&md);

	/* The last who holds it makes it garbage. */
	for (uint64_t i = 2; i <= 3; i++) {
		md = test_maildrop(sp, i);
		maildrop_mark(md, 0);
		ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
		maildrop_close(&md);
	}
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 2);
}
END_TEST

/* Entries of messages that nobody opens. */
static void
make_entries(unsigned n)
{
	char sql[700];

	snprintf(sql, sizeof(sql),
	    "INSERT INTO segment VALUES (7, 1, 2000000, %u);"
	    "UPDATE meta SET value = 7 WHERE key = 'newest_segment' AND value < 7;"
	    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
	    " INSERT INTO entry (mailbox, message, received_ms, octets, blocks, reverse_path,"
	    " recipient) SELECT 1, (7 << 21) + i, %u - i, i, 1, '', 'x@y' FROM n;"
	    "UPDATE mailbox SET messages = %u,"
	    " used = (SELECT sum(octets) FROM entry WHERE mailbox = 1) WHERE id = 1",
	    n, n, n + 1, n);
	test_sql(sp, sql);
}

START_TEST(fifty_thousand_at_once)
{
	const unsigned n = 50000;
	char uid[MAILDROP_UID_MAX + 1];
	struct maildrop *md;

	make_entries(n + 1);
	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_count(md), n + 1);
	for (unsigned i = 0; i < n; i++) {
		/* The greatest id was received first. */
		ck_assert_uint_eq(maildrop_octets(md, i), n + 1 - i);
		maildrop_mark(md, i);
	}
	ck_assert_uint_eq(maildrop_live_count(md), 1);
	ck_assert_uint_eq(maildrop_live_octets(md), 1);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_count(md), 1);
	maildrop_uid(md, 0, uid);
	ck_assert_str_eq(uid, "0000000000e00001");
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), n);
}
END_TEST

/* Where in the transaction something fails. */
static const struct {
	const char *name, *trigger;
} failures[] = {
	{ "first entry", "BEFORE DELETE ON entry WHEN OLD.message = (7 << 21) + 1" },
	{ "some entry", "BEFORE DELETE ON entry WHEN OLD.message = (7 << 21) + 50" },
	{ "last entry", "AFTER DELETE ON entry WHEN OLD.message = (7 << 21) + 100" },
	{ "garbage", "BEFORE INSERT ON garbage WHEN NEW.message = (7 << 21) + 70" },
	{ "segment", "BEFORE UPDATE ON segment" },
	{ "sums", "BEFORE UPDATE ON mailbox" },
};

START_TEST(all_or_none)
{
	char sql[300];
	struct maildrop *md;

	make_entries(100);
	snprintf(sql, sizeof(sql), "CREATE TRIGGER fail %s BEGIN SELECT RAISE(ABORT, 'no'); END",
	    failures[_i].trigger);
	test_sql(sp, sql);
	md = test_maildrop(sp, 1);
	for (size_t i = 0; i < 100; i++)
		maildrop_mark(md, i);
	ck_assert_int_eq(maildrop_update(md), SPOOL_IO);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 1"), 100);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 0);
	test_invariants(sp);

	/* Without what failed, the same goes well. */
	test_sql(sp, "DROP TRIGGER fail");
	md = test_maildrop(sp, 1);
	for (size_t i = 0; i < 100; i++)
		maildrop_mark(md, i);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 1"), 0);
}
END_TEST

static bool sync_fails;

static int
failing_fdatasync(int fd)
{
	if (!sync_fails)
		return fdatasync(fd);
	errno = EIO;
	return -1;
}

/* What may not be on disk is not said to be. */
START_TEST(failed_sync_is_no_success)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct disk_ops ops = disk_real;
	struct maildrop *md;
	struct strbuf err;

	make_entries(10);
	spool_close(&sp);
	ops.fdatasync = failing_fdatasync;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open_on(&options, &ops, &sp, &err), SPOOL_OK);
	strbuf_release(&err);
	md = test_maildrop(sp, 1);
	maildrop_mark(md, 3);
	sync_fails = true;
	ck_assert_int_eq(maildrop_update(md), SPOOL_UNKNOWN);
	sync_fails = false;
	maildrop_close(&md);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("update");
	TCase *tc = tcase_create("update");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, update);
	tcase_add_test(tc, fifty_thousand_at_once);
	tcase_add_loop_test(tc, all_or_none, 0, COUNT(failures));
	tcase_add_test(tc, failed_sync_is_no_success);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
