/* reindex: the same mail under the same UIDs, with the old index and without. */
#include "reindex_test.h"

#include <errno.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "common/spool/remove.h"

static struct account_user
user(const char *text)
{
	struct address address = spool_test_address(text);
	struct account_user u;

	ck_assert_msg(account_user_find(sp, &address, &u) == SPOOL_OK, "%s", text);
	return u;
}

START_TEST(with_its_accounts)
{
	test_sql(sp, "UPDATE mailbox SET quota = 123456 WHERE id = 1;"
		     "UPDATE entry SET uid = 'another' WHERE mailbox = 2 AND octets > 60000;"
		     "INSERT INTO alias VALUES (1, 1, 'Info', 'info');"
		     "INSERT INTO alias_target (alias, mailbox) VALUES (1, 2)");
	ck_assert_int_eq(test_number(sp, "PRAGMA page_size"), 2048);
	spool_close(&sp);
	reindex();
	ck_assert_int_eq(test_number(sp, "PRAGMA page_size"), 2048);
	ck_assert(result.accounts);
	ck_assert_uint_eq(result.messages, 4);
	ck_assert_uint_eq(result.entries, 5);
	ck_assert_uint_eq(result.mailboxes, 3);
	ck_assert_uint_eq(result.recovered + result.removed + result.unread + result.unreadable, 0);
	assert_all_there();
	ck_assert_uint_eq(user("user1@example.test").quota, 123456);
	ck_assert(user("user1@example.test").enabled);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM alias_target"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE uid = 'another'"), 1);
	/* The old one is kept, and no daemon minds the new one. */
	run("ls index/index.db.before-* > /dev/null");
	spool_close(&sp);
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 9, 500, 3, 3, NULL), SPOOL_OK);
}
END_TEST

/* A day that was put off, and what its backups know the spool by, are in the index alone. */
START_TEST(what_only_the_index_knows)
{
	int64_t day = (int64_t)(clock_wall_ms() / 1000 / 86400) + 3;
	char sql[300];

	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET expires_day = %" PRId64 ", retrieved_s = 5 WHERE mailbox = 1;"
	    "UPDATE mailbox SET expire_s = 864000 WHERE id = 1;"
	    "INSERT INTO meta VALUES ('spool_id', 4711);"
	    "INSERT INTO removal VALUES (2, 0, 0, 1, 2, 9, NULL, 1, 1, '');"
	    "UPDATE mailbox SET recovered = 1, enabled = 0 WHERE id = 3", day);
	test_sql(sp, sql);
	ck_assert_int_eq(test_deliver(sp, 9, 500, 2, 2, NULL), SPOOL_OK);
	spool_close(&sp);
	reindex();
	ck_assert(result.accounts && result.aliases && result.identity);
	ck_assert_uint_eq(result.unasked, 0);
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM entry WHERE expires_day = %" PRId64
		 " AND retrieved_s = 5 AND mailbox = 1", day);
	ck_assert_int_eq(test_number(sp, sql), 3);
	ck_assert_int_eq(test_number(sp, "SELECT value FROM meta WHERE key = 'spool_id'"), 4711);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM removal"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT sum(recovered) FROM mailbox"), 1);
}
END_TEST

/* One that goes after a day came thirty days ago. */
static void
deliver_long_ago(void)
{
	test_sql(sp, "UPDATE mailbox SET expire_s = 86400 WHERE id = 1");
	clock_set(1, clock_wall_ms() - UINT64_C(30) * 86400 * 1000);
	ck_assert_int_eq(test_deliver(sp, 8, 500, 1, 1, NULL), SPOOL_OK);
	clock_set(0, 0);
}

/* Tables of the old index that cannot be read, each by itself; what is known all the same. */
static const struct {
	const char *spoil;
	bool aliases, identity, all_asked;
} partly[] = {
	{ "DROP TABLE alias_target", false, true, true },
	{ "DROP TABLE meta", true, false, true },
	{ "DROP TABLE entry", true, true, false },
	{ "DROP TABLE removal", true, true, true },
};

START_TEST(old_index_in_part)
{
	int64_t today = (int64_t)(clock_wall_ms() / 1000 / 86400);
	char sql[200];

	deliver_long_ago();
	/* Put off by an age that became longer. */
	test_sql(sp, "UPDATE mailbox SET expire_s = 86400 * 40 WHERE id = 1;"
		     "INSERT INTO alias VALUES (1, 1, 'Info', 'info');"
		     "INSERT INTO alias_target (alias, mailbox) VALUES (1, 2)");
	snprintf(sql, sizeof(sql), "UPDATE entry SET expires_day = %" PRId64
		 " WHERE mailbox = 1 AND expires_day IS NOT NULL", today + 30);
	test_sql(sp, sql);
	test_sql(sp, partly[_i].spoil);
	spool_close(&sp);
	reindex();
	ck_assert(result.accounts);
	ck_assert_int_eq(result.aliases, partly[_i].aliases);
	ck_assert_int_eq(result.identity, partly[_i].identity);
	ck_assert_int_eq(result.unasked == 0, partly[_i].all_asked);
	snprintf(sql, sizeof(sql), "SELECT min(expires_day) - %" PRId64 " FROM entry WHERE mailbox = 1", today);
	ck_assert_int_ge(test_number(sp, sql), partly[_i].all_asked ? 30 : 10);
	ck_assert_int_le(test_number(sp, sql), partly[_i].all_asked ? 30 : 11);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM alias_target"), partly[_i].aliases);
	ck_assert_uint_eq(shown(1), 4);
}
END_TEST

/* A mailbox that was made here has no age, and its mail no day: the one of its record may have been put
 * off. */
START_TEST(no_age_without_the_index)
{
	deliver_long_ago();
	spool_close(&sp);
	run("rm index/index.db*");
	reindex();
	ck_assert(!result.accounts && !result.aliases && !result.identity);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE expires_day IS NOT NULL"), 0);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_uint_eq(shown(1), 4);
}
END_TEST

START_TEST(a_newer_index_is_refused)
{
	struct strbuf err;

	test_sql(sp, "PRAGMA user_version = 99");
	spool_close(&sp);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(reindex_spool(spool_test_dir, NULL, NULL, &result, &err), SPOOL_VERSION);
	ck_assert_ptr_nonnull(strstr(err.buf, "newer Restante"));
	strbuf_release(&err);
	ck_assert_int_ne(access(path_of("index/rebuild.db"), F_OK), 0);
	run("! ls index/index.db.before-*");
}
END_TEST

/* index.db may be gone, spoiled anywhere, or of another day. */
static const char *const lost[] = {
	"rm -r index",
	"rm index/index.db*",
	": > index/index.db; rm index/index.db-wal",
	"dd if=/dev/urandom of=index/index.db bs=4096 count=4 2>/dev/null; rm index/index.db-wal",
};

START_TEST(without_the_index)
{
	spool_close(&sp);
	run(lost[_i]);
	if (_i == 0)
		run("mkdir -m 700 index");
	reindex();
	ck_assert(!result.accounts);
	ck_assert_uint_eq(result.mailboxes, 2);
	ck_assert_uint_eq(result.recovered, 2);
	assert_all_there();
	ck_assert(!user("user1@example.test").enabled);
	ck_assert_uint_eq(user("user1@example.test").mailbox, 1);
	ck_assert_uint_eq(user("user2@example.test").mailbox, 2);
}
END_TEST

/* A password makes a mailbox of what came back; its id is given to nobody else. */
START_TEST(disabled_until_a_password)
{
	struct address one = spool_test_address("user1@example.test");
	struct address two = spool_test_address("user2@example.test");
	struct address new_one = spool_test_address("new@example.test");
	struct account_limits none = { 0 };

	spool_close(&sp);
	run("rm index/index.db*");
	reindex();
	ck_assert_int_eq(account_user_set_password(sp, &one, "secret", 6), SPOOL_OK);
	ck_assert(user("user1@example.test").enabled);
	/* Who is disabled by an administrator stays so. */
	ck_assert_int_eq(account_user_enable(sp, &one, false), SPOOL_OK);
	ck_assert_int_eq(account_user_set_password(sp, &one, "secret", 6), SPOOL_OK);
	ck_assert(!user("user1@example.test").enabled);
	ck_assert(!user("user2@example.test").enabled);
	ck_assert_int_eq(account_user_remove(sp, &two), SPOOL_OK);
	ck_assert_int_eq(
	    account_user_add(sp, &new_one, "secret", 6, false, &none, &none), SPOOL_OK);
	ck_assert_uint_gt(user("new@example.test").mailbox, 2);
}
END_TEST

/* What was removed stays so where that is known. */
START_TEST(removed_mailbox)
{
	struct address two = spool_test_address("user2@example.test");

	ck_assert_int_eq(account_user_remove(sp, &two), SPOOL_OK);
	/* Before its room is given back. */
	test_sql(sp, "DELETE FROM garbage");
	spool_close(&sp);
	reindex();
	ck_assert(result.accounts);
	ck_assert_uint_eq(result.mailboxes, 2);
	ck_assert_uint_le(result.removed, 1);
	ck_assert_uint_eq(shown(1), 3);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM mailbox WHERE recovered <> 0"), 0);
}
END_TEST

/* A mailbox that an index of last week does not know. */
START_TEST(newer_than_the_index)
{
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	run("cp index/index.db old");
	open_as(SPOOL_ADMIN);
	test_sql(sp, "INSERT INTO mailbox (id, domain, local, folded, created_s)"
		     " VALUES (4, 1, 'user4', 'user4', 0)");
	ck_assert_int_eq(test_deliver(sp, 4, 700, 4, 4, NULL), SPOOL_OK);
	spool_close(&sp);
	run("rm index/index.db-*; cp old index/index.db");
	reindex();
	ck_assert(result.accounts);
	ck_assert_uint_eq(result.recovered, 1);
	ck_assert_uint_eq(shown(4), 1);
	ck_assert(!user("user4@example.test").enabled);
	ck_assert(user("user1@example.test").enabled);
	assert_all_there();
}
END_TEST

static void
deliver_to(uint64_t mailbox, const char *address)
{
	struct account_target list[] = { { mailbox, (char *)(uintptr_t)address } };
	struct account_targets targets = { .list = list, .n = 1 };
	struct envelope *env = envelope_new("sender@example.org");
	enum spool_status st;
	struct test_wait w;
	struct delivery *d;

	ck_assert_int_eq(envelope_add(env, address, &targets), SPOOL_OK);
	d = test_written(sp, 5, 900, env, &st);
	ck_assert_int_eq(st, SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, 900, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	delivery_abandon(&d);
}

/* A record for the last mailbox that SQLite could number brings none of that id, and does not use up
 * those of all to come. */
START_TEST(id_beyond_all)
{
	struct address next = spool_test_address("next@example.test");
	struct account_limits none = { 0 };

	test_sql(sp, "INSERT INTO mailbox (id, domain, local, folded, created_s)"
		     " VALUES (9223372036854775807, 1, 'user4', 'user4', 0)");
	deliver_to(INT64_MAX, "user4@example.test");
	spool_close(&sp);
	run("rm index/index.db*");
	reindex();
	ck_assert_uint_eq(result.recovered, 2);
	ck_assert_uint_gt(result.unread, 0);
	ck_assert_int_eq(account_user_add(sp, &next, "secret", 6, false, &none, &none), SPOOL_OK);
	ck_assert_uint_eq(user("next@example.test").mailbox, 3);
	assert_all_there();
}
END_TEST

/* Two mailboxes in turn had one address: each has its own mail. */
START_TEST(one_address_after_another)
{
	test_sql(sp, "UPDATE mailbox SET local = 'x', folded = 'x' WHERE id = 1;"
		     "UPDATE mailbox SET local = 'user1', folded = 'user1' WHERE id = 3");
	deliver_to(3, "user1@example.test");
	spool_close(&sp);
	run("rm index/index.db*");
	reindex();
	ck_assert_uint_eq(user("user1@example.test").mailbox, 3);
	ck_assert_uint_eq(user("user1@example.test").messages, 1);
	ck_assert_uint_eq(user("user1.mailbox-1@example.test").mailbox, 1);
	ck_assert_uint_eq(shown(1), 3);
}
END_TEST

START_TEST(refused_while_open)
{
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_int_eq(fork() == 0 ? (_exit(reindex_spool(spool_test_dir, NULL, NULL, &result,
						    &err) == SPOOL_BUSY ? 0 : 1), 0) : 0, 0);
	int status = 0;
	ck_assert_int_gt(wait(&status), 0);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	strbuf_release(&err);
	assert_all_there();
}
END_TEST

/* The locks were removed and made anew under a living writer: what he adds to a segment that was taken
 * for closed would be in no mailbox. */
START_TEST(refused_while_written)
{
	struct strbuf err;
	int status = 0;

	spool_close(&sp);
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 9, 500, 3, 3, NULL), SPOOL_OK);
	run("rm -r locks");
	ck_assert_int_eq(locks_create(&disk_real, sp->dir_fd), 0);
	if (fork() == 0) {
		strbuf_init(&err, 1024);
		if (reindex_spool(spool_test_dir, NULL, NULL, &result, &err) != SPOOL_BUSY)
			_exit(1);
		_exit(strstr(err.buf, "segments/") != NULL ? 0 : 2);
	}
	ck_assert_int_gt(wait(&status), 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_ne(access(path_of("index/rebuild.db"), F_OK), 0);
	ck_assert_int_eq(test_deliver(sp, 10, 500, 3, 3, NULL), SPOOL_OK);
	spool_close(&sp);
	reindex();
	ck_assert_uint_eq(shown(3), 2);
}
END_TEST

/* One that was interrupted is begun anew, and meanwhile nobody opens the index. */
START_TEST(interrupted)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct strbuf err;

	spool_close(&sp);
	run("cp index/index.db index/rebuild.db; echo junk > index/rebuild.db-wal");
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_NOT_READY);
	ck_assert_ptr_nonnull(strstr(err.buf, "reindex"));
	strbuf_release(&err);
	reindex();
	assert_all_there();
}
END_TEST

static int
no_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	(void)from_dir;
	(void)from;
	(void)to_dir;
	(void)to;
	(void)flags;
	errno = EIO;
	return -1;
}

/* When all is done but the one rename: what the old index had in its log alone is not lost. */
START_TEST(interrupted_before_the_rename)
{
	struct disk_ops disk = disk_real;
	struct strbuf err;

	test_sql(sp, "UPDATE mailbox SET quota = 123456 WHERE id = 1");
	spool_close(&sp);
	disk.renameat2 = no_rename;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(
	    reindex_spool_on(spool_test_dir, &disk, NULL, NULL, &result, &err), SPOOL_IO);
	strbuf_release(&err);
	ck_assert_int_eq(access(path_of("index/rebuild.db"), F_OK), 0);
	reindex();
	ck_assert(result.accounts);
	ck_assert_uint_eq(user("user1@example.test").quota, 123456);
	assert_all_there();
}
END_TEST

/* A clock that was ahead has made numbers that are none of a time, one after the other; the last of them
 * went with their mail, and no index says that they were given. */
START_TEST(no_number_twice)
{
	const uint64_t ahead_ms = clock_wall_ms() + 3600000;
	struct index_conn *c;
	uint64_t gone, next;

	spool_close(&sp);
	clock_set(1, ahead_ms);
	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(test_deliver(sp, 10, 500, 3, 3, NULL), SPOOL_OK);
	spool_close(&sp);
	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(test_deliver(sp, 11, 500, 3, 3, &gone), SPOOL_OK);
	spool_close(&sp);
	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_entries(sp, c, 3, &gone, 1, REMOVE_POP3), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_ne(access(segment_path(gone), F_OK), 0);
	spool_close(&sp);
	clock_set(0, 0);
	run("rm index/index.db*");
	reindex();
	test_sql(sp, "UPDATE mailbox SET enabled = 1");
	ck_assert_int_eq(test_deliver(sp, 12, 500, 3, 3, &next), SPOOL_OK);
	ck_assert_uint_gt(next, gone);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("reindex");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("reindex");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, with_its_accounts);
	tcase_add_test(tc, no_number_twice);
	tcase_add_test(tc, what_only_the_index_knows);
	tcase_add_loop_test(tc, old_index_in_part, 0, 4);
	tcase_add_test(tc, no_age_without_the_index);
	tcase_add_test(tc, a_newer_index_is_refused);
	tcase_add_loop_test(tc, without_the_index, 0, 4);
	tcase_add_test(tc, disabled_until_a_password);
	tcase_add_test(tc, removed_mailbox);
	tcase_add_test(tc, newer_than_the_index);
	tcase_add_test(tc, id_beyond_all);
	tcase_add_test(tc, one_address_after_another);
	tcase_add_test(tc, refused_while_open);
	tcase_add_test(tc, refused_while_written);
	tcase_add_test(tc, interrupted);
	tcase_add_test(tc, interrupted_before_the_rename);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
