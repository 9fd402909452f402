/* maildrop: the list and its marks, and who may have it at a time. */
#include "maildrop_test.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/num.h"

static uint64_t
prefix_len(uint64_t mailbox)
{
	char address[64];

	snprintf(address, sizeof(address), "user%" PRIu64 "@example.test", mailbox);
	return record_prefix_len("sender@example.org", address);
}

/* The UIDs in order, each with a blank behind. */
static void
write_uids(const struct maildrop *md, struct strbuf *uids)
{
	char uid[MAILDROP_UID_MAX + 1];

	for (size_t i = 0; i < maildrop_count(md); i++) {
		ck_assert_uint_eq(maildrop_uid(md, i, uid), strlen(uid));
		strbuf_addf(uids, "%s ", uid);
	}
}

static int
write_entry(void *arg, const struct maildrop_entry *e)
{
	strbuf_addf(arg, "%s ", e->uid);
	ck_assert_str_eq(e->from, "sender@example.org");
	ck_assert_str_eq(e->delivered_to, "user1@example.test");
	ck_assert_uint_eq(e->expires_s, NUM_UNLIMITED);
	return 0;
}

START_TEST(empty)
{
	struct maildrop *md = test_maildrop(sp, 1);
	size_t i;

	ck_assert_uint_eq(maildrop_count(md), 0);
	ck_assert_uint_eq(maildrop_live_count(md), 0);
	ck_assert_uint_eq(maildrop_live_octets(md), 0);
	ck_assert_int_eq(maildrop_find(md, "1", &i), SPOOL_NO_MESSAGE);
	maildrop_unmark_all(md);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_ptr_null(md);
	maildrop_close(&md);
}
END_TEST

/* In order of time received, then id; each message of a mailbox and of no other. */
START_TEST(order)
{
	static const uint64_t times[] = { 2000000, 1000000, 3000000, 2000000, 2000000 };
	uint64_t ids[5], want[5], sum = 0;
	char uid[MAILDROP_UID_MAX + 1];
	struct strbuf listed, shown;
	struct maildrop *md;
	size_t i, at;

	for (i = 0; i < 5; i++) {
		clock_set(1, times[i]);
		ids[i] = deliver((unsigned)i, 200 + i, 1, 1);
	}
	clock_set(0, 0);
	deliver(9, 500, 2, 2);
	want[0] = ids[1];
	want[1] = ids[0];
	want[2] = ids[3];
	want[3] = ids[4];
	want[4] = ids[2];

	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_count(md), 5);
	for (i = 0; i < 5; i++) {
		spool_uid_format(uid, want[i]);
		ck_assert_int_eq(maildrop_find(md, uid, &at), SPOOL_OK);
		ck_assert_uint_eq(at, i);
		sum += maildrop_octets(md, i);
	}
	ck_assert_uint_eq(maildrop_octets(md, 0), 201 + prefix_len(1));
	ck_assert_uint_eq(sum, 200 + 201 + 202 + 203 + 204 + 5 * prefix_len(1));
	ck_assert_uint_eq(maildrop_live_octets(md), sum);

	/* pop-admin is shown the same. */
	strbuf_init(&listed, 4096);
	strbuf_init(&shown, 4096);
	write_uids(md, &shown);
	ck_assert_int_eq(maildrop_list(sp, 1, write_entry, &listed), SPOOL_OK);
	ck_assert_str_eq(listed.buf, shown.buf);
	strbuf_clear(&listed);
	ck_assert_int_eq(maildrop_list(sp, 999, write_entry, &listed), SPOOL_OK);
	ck_assert_str_eq(listed.buf, "");
	strbuf_release(&listed);
	strbuf_release(&shown);
	maildrop_close(&md);
}
END_TEST

static const char *const no_uids[] = { "", "0", "x", " 1", "-1", "18446744073709551616",
	"9223372036854775808", "0000000000000000", "344178bfa00049eg" };

START_TEST(uids)
{
	char uid[MAILDROP_UID_MAX + 2], sql[512], longest[MAILDROP_UID_MAX + 1];
	uint64_t ids[4], parsed;
	struct maildrop *md;
	size_t at;

	for (unsigned i = 0; i < 4; i++)
		ids[i] = deliver(i, 200, 1, 1);
	memset(longest, '~', MAILDROP_UID_MAX);
	longest[MAILDROP_UID_MAX] = '\0';
	/* Two have UIDs that they had elsewhere; one looks like another's id. */
	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET uid = '%s' WHERE message = %" PRIu64
	    "; UPDATE entry SET uid = '%016" PRIx64 "' WHERE message = %" PRIu64,
	    longest, ids[1], ids[1], ids[3]);
	test_sql(sp, sql);

	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_uid(md, 1, uid), MAILDROP_UID_MAX);
	ck_assert_str_eq(uid, longest);
	ck_assert_int_eq(maildrop_find(md, longest, &at), SPOOL_OK);
	ck_assert_uint_eq(at, 1);
	/* By the UID that is shown, never by an id that is not. */
	spool_uid_format(uid, ids[1]);
	ck_assert_int_eq(maildrop_find(md, uid, &at), SPOOL_OK);
	ck_assert_uint_eq(at, 3);
	spool_uid_format(uid, ids[3]);
	ck_assert_int_eq(maildrop_find(md, uid, &at), SPOOL_NO_MESSAGE);
	spool_uid_format(uid, ids[0]);
	ck_assert_int_eq(maildrop_find(md, uid, &at), SPOOL_OK);
	/* Upper case, or one digit fewer, is another's. */
	ck_assert_int_eq(spool_uid_parse("344178bfa00049ef", &parsed), 0);
	ck_assert_uint_eq(parsed, UINT64_C(0x344178bfa00049ef));
	ck_assert_int_eq(spool_uid_parse("344178BFA00049EF", &parsed), -1);
	ck_assert_int_eq(maildrop_find(md, uid + 1, &at), SPOOL_NO_MESSAGE);
	for (int i = 0; i < COUNT(no_uids); i++)
		ck_assert_int_eq(maildrop_find(md, no_uids[i], &at), SPOOL_NO_MESSAGE);
	maildrop_close(&md);
}
END_TEST

/* What an administrator could still bring back is not mail any more. */
START_TEST(only_what_is_there)
{
	struct maildrop *md;
	struct strbuf listed;

	strbuf_init(&listed, 4096);
	deliver(0, 200, 1, 1);
	deliver(1, 300, 1, 1);
	/* Deleted, and kept where an administrator alone finds it. */
	test_sql(sp,
	    "UPDATE mailbox SET messages = 1,"
	    " used = used - (SELECT min(octets) FROM entry) WHERE id = 1;"
	    "UPDATE meta SET value = 1 WHERE key = 'kept_blocks';"
	    "UPDATE entry SET state = 1 WHERE octets < 300");
	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_count(md), 1);
	ck_assert_uint_eq(maildrop_octets(md, 0), 300 + prefix_len(1));
	ck_assert_int_eq(maildrop_list(sp, 1, write_entry, &listed), SPOOL_OK);
	ck_assert_ptr_eq(strchr(listed.buf, ' '), listed.buf + listed.len - 1);
	strbuf_release(&listed);
	maildrop_close(&md);
}
END_TEST

START_TEST(uids_stay)
{
	struct strbuf before, after;
	struct maildrop *md;

	strbuf_init(&before, 4096);
	strbuf_init(&after, 4096);
	for (unsigned i = 0; i < 5; i++)
		deliver(i, 150, 1, 2);
	md = test_maildrop(sp, 1);
	write_uids(md, &before);
	maildrop_close(&md);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	deliver(5, 150, 2, 2);
	md = test_maildrop(sp, 1);
	write_uids(md, &after);
	ck_assert_str_eq(after.buf, before.buf);
	/* What goes takes no other's UID along. */
	maildrop_mark(md, 0);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	md = test_maildrop(sp, 1);
	strbuf_clear(&after);
	write_uids(md, &after);
	ck_assert_str_eq(after.buf, strchr(before.buf, ' ') + 1);
	maildrop_close(&md);
	strbuf_release(&before);
	strbuf_release(&after);
}
END_TEST

/* Not when all mail is gone, and its segments with it, and not when the clock is set back. */
START_TEST(uids_are_never_used_again)
{
	static const uint64_t walls[] = { 1795489877000, 1795489877000, 1795489877000,
		1795486277000, 1795489877005 };
	uint64_t newest = 0, id;
	struct maildrop *md;

	spool_close(&sp);
	for (int i = 0; i < COUNT(walls); i++) {
		clock_set(1000, walls[i]);
		sp = spool_test_open(SPOOL_ADMIN);
		id = deliver((unsigned)i, 150, 1, 1);
		ck_assert_uint_gt(id, newest);
		newest = id;
		md = test_maildrop(sp, 1);
		ck_assert_uint_eq(maildrop_count(md), 1);
		maildrop_mark(md, 0);
		ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
		maildrop_close(&md);
		spool_close(&sp);
		/* Its writer has closed it: now it is dead. */
		sp = spool_test_open(SPOOL_ADMIN);
		ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
		ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 0);
		spool_close(&sp);
	}
	clock_set(0, 0);
	sp = spool_test_open(SPOOL_ADMIN);
}
END_TEST

START_TEST(marks)
{
	struct maildrop *md;
	uint64_t all;

	for (unsigned i = 0; i < 3; i++)
		deliver(i, 150 + i, 1, 1);
	md = test_maildrop(sp, 1);
	all = maildrop_live_octets(md);
	ck_assert(!maildrop_marked(md, 1));
	maildrop_mark(md, 1);
	maildrop_mark(md, 1);
	ck_assert(maildrop_marked(md, 1));
	ck_assert(!maildrop_marked(md, 0));
	ck_assert_uint_eq(maildrop_live_count(md), 2);
	ck_assert_uint_eq(maildrop_count(md), 3);
	ck_assert_uint_eq(maildrop_octets(md, 1), 151 + prefix_len(1));
	ck_assert_uint_eq(maildrop_live_octets(md), all - maildrop_octets(md, 1));
	maildrop_unmark_all(md);
	ck_assert(!maildrop_marked(md, 1));
	ck_assert_uint_eq(maildrop_live_count(md), 3);
	ck_assert_uint_eq(maildrop_live_octets(md), all);
	/* Nothing is marked: nothing goes. */
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_mark(md, 2);
	maildrop_close(&md);
	md = test_maildrop(sp, 1);
	ck_assert_uint_eq(maildrop_live_count(md), 3);
	maildrop_close(&md);
}
END_TEST

START_TEST(lock_inside_a_process)
{
	struct spool *other = spool_test_open(SPOOL_ADMIN);
	struct maildrop *md, *second = NULL, *view;

	deliver(0, 200, 1, 2);
	ck_assert_int_eq(maildrop_lock(sp, 1, "first", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "second", &second), SPOOL_BUSY);
	ck_assert_ptr_null(second);
	ck_assert_int_eq(maildrop_lock(other, 1, "second", &second), SPOOL_BUSY);
	ck_assert_ptr_null(second);
	/* Others are free, one whose byte is in the same file too. */
	ck_assert_int_eq(maildrop_lock(sp, 2, "second", &second), SPOOL_OK);
	maildrop_close(&second);
	ck_assert_int_eq(maildrop_lock(other, 257, "second", &second), SPOOL_OK);
	maildrop_close(&second);
	/* Looking and delivering need no lock. */
	ck_assert_int_eq(maildrop_view(other, 1, &view), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(view), SPOOL_OK);
	ck_assert_uint_eq(maildrop_count(view), 1);
	maildrop_close(&view);
	deliver(1, 200, 1, 1);
	maildrop_close(&md);
	ck_assert_int_eq(maildrop_lock(other, 1, "second", &second), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "first", &md), SPOOL_BUSY);
	maildrop_close(&second);
	ck_assert_int_eq(maildrop_lock(sp, 1, "first", &md), SPOOL_OK);
	maildrop_close(&md);
	spool_close(&other);
}
END_TEST

/* Holds mailbox 1 until it is killed; one octet into `fd` says that it does. */
static void
hold(int fd)
{
	struct spool *mine = spool_test_open(SPOOL_POP3D);
	struct maildrop *md;

	if (maildrop_lock(mine, 1, "child", &md) != SPOOL_OK || write(fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

START_TEST(lock_between_processes)
{
	struct maildrop *md = NULL;
	int fds[2], status;
	char octet;
	pid_t pid;

	spool_close(&sp);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		hold(fds[1]);
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], &octet, 1), 1);
	sp = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_eq(maildrop_lock(sp, 1, "parent", &md), SPOOL_BUSY);
	ck_assert_ptr_null(md);
	ck_assert_int_eq(maildrop_lock(sp, 2, "parent", &md), SPOOL_OK);
	maildrop_close(&md);
	/* It dies with the process, in whatever way that ends. */
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(maildrop_lock(sp, 1, "parent", &md), SPOOL_OK);
	maildrop_close(&md);
	close(fds[0]);
}
END_TEST

START_TEST(not_before_recovery)
{
	struct maildrop *md = NULL;

	atomic_store(&sp->ready, false);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_NOT_READY);
	ck_assert_ptr_null(md);
	ck_assert_int_eq(maildrop_view(sp, 1, &md), SPOOL_NOT_READY);
	atomic_store(&sp->ready, true);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	maildrop_close(&md);
}
END_TEST

/* RFC 1939 11: a maildrop beyond 32 bits, in one message and in the sum. */
START_TEST(large_totals)
{
	static const char grow[] = "UPDATE entry SET octets = octets + (5 << 30) WHERE mailbox = 2";
	static const char sums[] = "UPDATE mailbox SET used = used + (10 << 30) WHERE id = 2";
	const uint64_t each = 100 + prefix_len(2) + (UINT64_C(5) << 30);
	struct index_conn *c;
	struct maildrop *md;

	deliver(1, 100, 2, 2);
	deliver(2, 100, 2, 2);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(index_run(c, index_stmt(c, grow)), SPOOL_OK);
	ck_assert_int_eq(index_run(c, index_stmt(c, sums)), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
	md = test_maildrop(sp, 2);
	ck_assert_uint_eq(maildrop_octets(md, 0), each);
	ck_assert_uint_eq(maildrop_live_octets(md), 2 * each);
	maildrop_mark(md, 1);
	ck_assert_uint_eq(maildrop_octets(md, 1), each);
	ck_assert_uint_eq(maildrop_live_octets(md), each);
	maildrop_close(&md);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("maildrop");
	TCase *tc = tcase_create("maildrop");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, empty);
	tcase_add_test(tc, order);
	tcase_add_test(tc, uids);
	tcase_add_test(tc, only_what_is_there);
	tcase_add_test(tc, uids_stay);
	tcase_add_test(tc, uids_are_never_used_again);
	tcase_add_test(tc, marks);
	tcase_add_test(tc, large_totals);
	tcase_add_test(tc, lock_inside_a_process);
	tcase_add_test(tc, lock_between_processes);
	tcase_add_test(tc, not_before_recovery);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
