/* import: received elsewhere and long ago, with the UID that it had there. */
#include <fcntl.h>
#include <pthread.h>

#include "base/clock.h"
#include "common/spool/lock.h"
#include "delivery_test.h"
#include "spool/history.h"
#include "spool/import.h"
#include "spool/maildrop.h"

#define DAY_MS UINT64_C(86400000)
#define LONG_AGO (1000 * DAY_MS + 1234)
#define NOW (20000 * DAY_MS + 5000)

static struct spool *sp;

static void
set_up(void)
{
	spool_test_make();
	clock_set(1, NOW);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 2);
}

static void
tear_down(void)
{
	spool_close(&sp);
	spool_test_remove();
}

static enum spool_status
import_one(unsigned number, size_t len, uint64_t received_ms, const char *uid)
{
	char address[] = "user1@example.test";
	const struct account_target to = { .mailbox = 1, .address = address };
	char *text = test_message(number, len);
	struct test_wait w;
	struct delivery *d;
	enum spool_status st;

	st = import_begin(sp, &to, "sender@example.org", "old@example.org", &d);
	for (size_t i = 0; st == SPOOL_OK && i < len; i += 30000)
		st = delivery_write(d, text + i, len - i < 30000 ? len - i : 30000);
	ck_assert_int_eq(st, SPOOL_OK);
	free(text);
	import_set(d, received_ms, uid);
	test_wait_init(&w);
	delivery_commit(d, len, test_done, &w);
	test_wait_for(&w, 1);
	st = delivery_outcome(d);
	delivery_abandon(&d);
	return st;
}

static struct maildrop *
load(void)
{
	struct maildrop *md;

	ck_assert_int_eq(maildrop_view(sp, 1, &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	return md;
}

static void
check_uid(const struct maildrop *md, size_t i, const char *want)
{
	char uid[MAILDROP_UID_MAX + 1];

	maildrop_uid(md, i, uid);
	ck_assert_str_eq(uid, want);
}

#define UID_70 "0123456789012345678901234567890123456789012345678901234567890123456789"

/* Small and large ones, in the order of when they were received there. */
START_TEST(uid_and_time)
{
	struct maildrop *md;

	ck_assert_int_eq(import_one(1, 500, LONG_AGO + 1, "second"), SPOOL_OK);
	ck_assert_int_eq(import_one(2, 400000, LONG_AGO, "!first~"), SPOOL_OK);
	ck_assert_int_eq(import_one(3, 300000, LONG_AGO + 2, UID_70), SPOOL_OK);
	ck_assert_int_eq(import_one(4, 400000, LONG_AGO + 3, NULL), SPOOL_OK);
	md = load();
	ck_assert_uint_eq(maildrop_count(md), 4);
	check_uid(md, 0, "!first~");
	check_uid(md, 1, "second");
	check_uid(md, 2, UID_70);
	maildrop_close(&md);
	for (unsigned i = 1; i <= 4; i++)
		ck_assert_uint_eq(test_copies(sp, 1, i), 1);
	ck_assert_int_eq(test_number(sp, "SELECT min(received_ms) FROM entry"), LONG_AGO);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE uid IS NULL"), 1);
	test_invariants(sp);
}
END_TEST

/* Before its UID is known it has room for the longest. */
START_TEST(recovered)
{
	struct maildrop *md;

	ck_assert_int_eq(import_one(1, 400000, LONG_AGO, UID_70), SPOOL_OK);
	ck_assert_int_eq(import_one(2, 500, LONG_AGO + 1, "b"), SPOOL_OK);
	/* As if the power had taken the rows. */
	test_sql(sp, "DELETE FROM entry; DELETE FROM segment;"
		     " UPDATE mailbox SET used = 0, messages = 0");
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	md = load();
	ck_assert_uint_eq(maildrop_count(md), 2);
	check_uid(md, 0, UID_70);
	check_uid(md, 1, "b");
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT min(received_ms) FROM entry"), LONG_AGO);
}
END_TEST

/* Killed behind the sync of what it brought, while a daemon has the spool open: nobody recovers it, and
 * the next import would bring it a second time. */
START_TEST(killed_beside_a_daemon)
{
	struct spool *daemon = spool_test_open(SPOOL_POP3D);
	struct maildrop *md;

	ck_assert_int_eq(spool_wait_ready(daemon), SPOOL_OK);
	ck_assert_int_eq(import_one(1, 400000, LONG_AGO, "a"), SPOOL_OK);
	ck_assert_int_eq(import_one(2, 500, LONG_AGO + 1, "b"), SPOOL_OK);
	spool_close(&sp);
	test_sql(daemon, "DELETE FROM entry; UPDATE mailbox SET used = 0, messages = 0;"
			 " UPDATE segment SET state = 0, mark = 1, live = 0");
	sp = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
	ck_assert_int_eq(import_lock(sp, 1, "import", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_count(md), 2);
	check_uid(md, 0, "a");
	check_uid(md, 1, "b");
	maildrop_close(&md);
	/* What a living writer has open is his. */
	ck_assert_int_eq(import_one(3, 500, LONG_AGO + 2, "c"), SPOOL_OK);
	ck_assert_int_eq(spool_recover(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 0"), 1);
	test_invariants(sp);
	spool_close(&daemon);
}
END_TEST

static void *
lock_it(void *arg)
{
	struct maildrop **md_r = arg;

	ck_assert_int_eq(import_lock(sp, 1, "import", md_r), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(*md_r), SPOOL_OK);
	return NULL;
}

static struct flock
byte_of(uint64_t byte, short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1 };
}

/* One that is killed when another has looked after dead writers, and before that one has the maildrop:
 * so he looks when he has it. */
START_TEST(killed_before_the_lock)
{
	struct flock recovery = byte_of(LOCK_RECOVERY, F_WRLCK), taken;
	struct spool *daemon = spool_test_open(SPOOL_POP3D);
	struct maildrop *md = NULL;
	char path[400];
	int roles, drops;
	pthread_t thread;

	ck_assert_int_eq(import_one(1, 500, LONG_AGO, "a"), SPOOL_OK);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	snprintf(path, sizeof(path), "%s/locks/roles", spool_test_dir);
	roles = open(path, O_RDWR);
	snprintf(path, sizeof(path), "%s/locks/1", spool_test_dir);
	drops = open(path, O_RDWR);
	/* The other comes as far as his recovery, and he has the maildrop. */
	ck_assert_int_eq(fcntl(roles, F_OFD_SETLK, &recovery), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, lock_it, &md), 0);
	do {
		taken = byte_of(1, F_WRLCK);
		ck_assert_int_eq(fcntl(drops, F_OFD_GETLK, &taken), 0);
	} while (taken.l_type == F_UNLCK && usleep(1000) == 0);
	/* Nobody who would have had it since can have left anything; who had it before did. */
	test_sql(daemon, "DELETE FROM entry; UPDATE mailbox SET used = 0, messages = 0;"
			 " UPDATE segment SET state = 0, mark = 1, live = 0");
	recovery.l_type = F_UNLCK;
	ck_assert_int_eq(fcntl(roles, F_OFD_SETLK, &recovery), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(maildrop_count(md), 1);
	check_uid(md, 0, "a");
	maildrop_close(&md);
	close(drops);
	close(roles);
	spool_close(&daemon);
}
END_TEST

/* From the import on, or it would go at once. */
START_TEST(age)
{
	test_sql(sp, "UPDATE mailbox SET expire_s = 10 * 86400");
	ck_assert_int_eq(import_one(1, 500, LONG_AGO, "a"), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT expires_day FROM entry"), 20011);
}
END_TEST

START_TEST(last_delivery_is_the_latest)
{
	ck_assert_int_eq(test_deliver(sp, 1, 500, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(import_one(2, 500, LONG_AGO, "a"), SPOOL_OK);
	ck_assert_int_eq(
	    test_number(sp, "SELECT last_delivery_s FROM mailbox WHERE id = 1"), NOW / 1000);
}
END_TEST

START_TEST(quota)
{
	uint64_t own = import_own_octets("sender@example.org", "old@example.org");
	char sql[80];

	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %u", (unsigned)(1000 + 2 * own));
	test_sql(sp, sql);
	ck_assert_int_eq(import_one(1, 500, LONG_AGO, "a"), SPOOL_OK);
	ck_assert_int_eq(import_one(2, 501, LONG_AGO, "b"), SPOOL_OVER_QUOTA);
	ck_assert_int_eq(import_one(3, 500, LONG_AGO, "c"), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT used FROM mailbox WHERE id = 1"),
	    (int64_t)(1000 + 2 * own));
	test_invariants(sp);
}
END_TEST

START_TEST(disabled)
{
	test_sql(sp, "UPDATE mailbox SET enabled = 0");
	ck_assert_int_eq(import_one(1, 500, LONG_AGO, "a"), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 500, 1, 1, NULL), SPOOL_DISABLED);
}
END_TEST

START_TEST(valid)
{
	ck_assert(import_uid_valid("a") && import_uid_valid("!~") && import_uid_valid(UID_70));
	ck_assert(!import_uid_valid("") && !import_uid_valid(UID_70 "0"));
	ck_assert(!import_uid_valid("a b") && !import_uid_valid("a\x7f") &&
	    !import_uid_valid("\xc3\xa4"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("import");
	TCase *tc = tcase_create("import");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, uid_and_time);
	tcase_add_test(tc, recovered);
	tcase_add_test(tc, killed_beside_a_daemon);
	tcase_add_test(tc, killed_before_the_lock);
	tcase_add_test(tc, age);
	tcase_add_test(tc, last_delivery_is_the_latest);
	tcase_add_test(tc, quota);
	tcase_add_test(tc, disabled);
	tcase_add_test(tc, valid);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
