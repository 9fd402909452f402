/*
 * A disk that is full to the last octet: nothing that was acknowledged is lost, nothing is
 * damaged, mail can be removed, and then mail comes in again by itself.
 *
 * Each test has a small tmpfs in a mount namespace of its own.  Where that is not possible it
 * says so and tests nothing.
 */
#include "delivery_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#include "common/spool/ballast.h"
#include "spool/expire.h"
#include "spool/maildrop.h"

#define DISK_MIB 40
#define BALLAST (((uint64_t)DISK_MIB << 20) / 16)
#define MESSAGE 60000u
#define MOST 2000u
#define SOON_MS 20000

static char outer[200];
static bool possible;
static struct spool *sp;
static unsigned filler;

static bool
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Root of a namespace of our own, if not of this one. */
static bool
own_mounts(void)
{
	char map[64];

	if (unshare(CLONE_NEWNS) == 0)
		return true;
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)getuid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	    write_text("/proc/self/uid_map", map);
}

static struct spool *
open_as(enum spool_role role, uint64_t reserve)
{
	const struct spool_options options = {
		.dir = spool_test_dir,
		.role = role,
		.policy = { .reserve = reserve },
		.segment_max = 4 << 20,
	};
	struct spool *opened;
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &opened, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	ck_assert_int_eq(spool_wait_ready(opened), SPOOL_OK);
	return opened;
}

static uint64_t
octets_free(void)
{
	struct statvfs fs;

	ck_assert_int_eq(statvfs(spool_test_dir, &fs), 0);
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static uint64_t
ballast_size(void)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/ballast", spool_test_dir);
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
nap(void)
{
	const struct timespec ms = { .tv_nsec = 10 * 1000 * 1000 };

	nanosleep(&ms, NULL);
}

static void
setup(void)
{
	char options[64];

	snprintf(outer, sizeof(outer), "%s/full-disk-XXXXXX", test_disk());
	ck_assert_ptr_nonnull(mkdtemp(outer));
	snprintf(options, sizeof(options), "size=%um", DISK_MIB);
	possible = own_mounts() && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("none", outer, "tmpfs", 0, options) == 0;
	if (!possible) {
		printf("full_disk: skipped, no file system can be mounted here: %s\n",
		    strerror(errno));
		rmdir(outer);
		return;
	}
	spool_test_make_in(outer);
}

static void
teardown(void)
{
	if (!possible)
		return;
	ck_assert_int_eq(umount(outer), 0);
	rmdir(outer);
}

/* Somebody else fills what is free, to the last octet. */
static void
fill_the_rest(void)
{
	static const char zeros[65536];
	size_t len = sizeof(zeros);
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/foreign%u", outer, filler++);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	while (len > 0)
		if (write(fd, zeros, len) <= 0) {
			ck_assert_int_eq(errno, ENOSPC);
			len /= 2;
		}
	close(fd);
	ck_assert_uint_eq(octets_free(), 0);
}

static void
wait_for_ballast(void)
{
	for (uint64_t end = now_ms() + SOON_MS; ballast_size() != BALLAST; nap())
		ck_assert_uint_lt(now_ms(), end);
}

/* Delivers until there is no room; how many were acknowledged.  Every third one has a file of
 * its own. */
static unsigned
fill_by_mail(void)
{
	enum spool_status st;
	unsigned n = 0;

	for (; n < MOST; n++) {
		st = test_deliver(sp, n, n % 3 == 0 ? 5 * MESSAGE : MESSAGE, 1, 1, NULL);
		if (st != SPOOL_OK)
			break;
	}
	ck_assert_int_eq(st, SPOOL_NO_SPACE);
	ck_assert_uint_gt(n, 20);
	return n;
}

/* All of them are there, octet for octet, and nothing else is. */
static void
all_there(struct spool *reader, unsigned n)
{
	static unsigned count[MOST];

	test_count(reader, 1, count, MOST);
	for (unsigned i = 0; i < MOST; i++)
		ck_assert_msg(count[i] == (i < n), "message %u: %u times", i, count[i]);
	test_invariants(reader);
}

static void
deliveries_come_back(unsigned number)
{
	enum spool_status st;

	for (uint64_t end = now_ms() + SOON_MS;
	     (st = test_deliver(sp, number, MESSAGE, 2, 2, NULL)) != SPOOL_OK; nap()) {
		ck_assert_int_eq(st, SPOOL_NO_SPACE);
		ck_assert_uint_lt(now_ms(), end);
	}
	ck_assert_uint_eq(test_copies(sp, 2, number), 1);
}

static enum spool_status
remove_from(struct maildrop *md, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		maildrop_mark(md, i);
	return maildrop_update(md);
}

static const uint64_t reserves[] = { 0, 3 << 20 };

/* A POP3 server that starts on the full disk too: it opens, reads, removes. */
START_TEST(mail_is_removed_by_its_owner)
{
	struct spool *pop3d;
	struct maildrop *md;
	unsigned n;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, reserves[_i]);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	n = fill_by_mail();
	fill_the_rest();
	while (spool_may_deliver(sp) == SPOOL_OK)
		nap();
	ck_assert_int_eq(spool_may_deliver(sp), SPOOL_NO_SPACE);

	pop3d = open_as(SPOOL_POP3D, reserves[_i]);
	all_there(pop3d, n);
	account_note_login(pop3d, 1);
	ck_assert_int_eq(maildrop_lock(pop3d, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_count(md), n);
	fill_the_rest();
	ck_assert_int_eq(remove_from(md, 0, n - 2), SPOOL_OK);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(pop3d, "SELECT messages FROM mailbox WHERE id = 1"), 2);
	deliveries_come_back(MOST);
	wait_for_ballast();
	test_invariants(pop3d);
	spool_close(&pop3d);
	spool_close(&sp);
}
END_TEST

/* Whoever fills the disk goes on, and takes what is freed at once: single messages can be
 * removed again and again. */
START_TEST(again_and_again)
{
	unsigned n;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	n = fill_by_mail();
	for (unsigned i = 1; i <= 5; i++) {
		struct maildrop *md;

		fill_the_rest();
		ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
		ck_assert_msg(remove_from(md, 0, 1) == SPOOL_OK, "removal %u", i);
		maildrop_close(&md);
		ck_assert_int_eq(
		    test_number(sp, "SELECT messages FROM mailbox WHERE id = 1"), n - i);
	}
	test_invariants(sp);
	spool_close(&sp);
}
END_TEST

/* What is due goes, and what an administrator removes. */
START_TEST(others_remove_too)
{
	struct expire_result result;
	struct spool *admin;
	struct address address;
	unsigned n;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	/* What comes is old already: later there is no room to say so. */
	test_sql(sp, "CREATE TRIGGER aged AFTER INSERT ON entry BEGIN UPDATE entry"
		     " SET expires_day = 100 WHERE message = new.message; END");
	n = fill_by_mail();
	fill_the_rest();
	admin = open_as(SPOOL_ADMIN, 0);
	if (_i == 0) {
		ck_assert_int_eq(spool_expire(admin, 1, false, NULL, NULL, &result), SPOOL_OK);
		ck_assert_uint_eq(result.messages, n);
	} else {
		address = spool_test_address("user1@example.test");
		ck_assert_int_eq(account_user_remove(admin, &address), SPOOL_OK);
	}
	ck_assert_int_eq(test_number(admin, "SELECT count(*) FROM entry"), 0);
	spool_close(&admin);
	deliveries_come_back(MOST);
	spool_close(&sp);
}
END_TEST

/* Killed on the full disk: whoever starts next recovers. */
START_TEST(killed_meanwhile)
{
	unsigned n;
	int status, told[2];
	pid_t child;

	if (!possible)
		return;
	ck_assert_int_eq(pipe(told), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		sp = open_as(SPOOL_SMTPD, 0);
		test_mailboxes(sp, 2);
		wait_for_ballast();
		n = fill_by_mail();
		if (write(told[1], &n, sizeof(n)) != sizeof(n))
			abort();
		kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	ck_assert_int_eq(read(told[0], &n, sizeof(n)), sizeof(n));
	fill_the_rest();
	sp = open_as(SPOOL_SMTPD, 0);
	all_there(sp, n);
	spool_close(&sp);
}
END_TEST

/* What the ballast lacks is no room for mail, whatever the reserve. */
START_TEST(mail_does_not_take_its_room)
{
	uint64_t end = now_ms() + SOON_MS;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	ck_assert_uint_eq(ballast_missing(sp), 0);
	fill_by_mail();
	fill_the_rest();
	ck_assert(ballast_helps(sp, SPOOL_NO_SPACE));
	ck_assert_uint_eq(ballast_size(), 0);
	ck_assert_uint_eq(octets_free(), BALLAST);
	ck_assert(!ballast_helps(sp, SPOOL_NO_SPACE));
	ck_assert_uint_eq(ballast_missing(sp), BALLAST);
	ck_assert_int_eq(test_deliver(sp, 1, MESSAGE, 2, 2, NULL), SPOOL_NO_SPACE);
	/* With somewhat more, both have what they need. */
	char path[300];

	snprintf(path, sizeof(path), "%s/foreign0", outer);
	ck_assert_int_eq(unlink(path), 0);
	if (octets_free() < BALLAST + (3 << 20)) {
		/* The foreign file was small: mail makes room. */
		struct maildrop *md;

		ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
		ck_assert_int_eq(remove_from(md, 0, maildrop_count(md)), SPOOL_OK);
		maildrop_close(&md);
	}
	deliveries_come_back(2);
	for (; ballast_size() != BALLAST; nap())
		ck_assert_uint_lt(now_ms(), end);
	spool_close(&sp);
}
END_TEST

/* A COMMIT that finds no room is buried with a little of the ballast, and writing goes on. */
START_TEST(a_commit_without_room)
{
	struct index_conn *c;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	ck_assert_int_eq(test_deliver(sp, 1, MESSAGE, 1, 1, NULL), SPOOL_OK);
	fill_the_rest();
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(sqlite3_exec(index_db(c),
	    "INSERT INTO meta VALUES ('large', zeroblob(4000000))", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_NO_SPACE);
	ck_assert(!index_broken(sp));
	ck_assert_uint_gt(ballast_size(), BALLAST / 2);
	test_sql(sp, "UPDATE mailbox SET warned = 1");
	spool_close(&sp);
}
END_TEST

/* One that needs more than was reckoned: an entry of each page. */
START_TEST(all_of_it_is_needed)
{
	struct maildrop *md;
	char sql[500];

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	test_mailboxes(sp, 2);
	wait_for_ballast();
	test_sql(sp, "INSERT INTO segment VALUES (1, 1, 2000000, 10000);"
		     "UPDATE meta SET value = 1 WHERE key = 'newest_segment'");
	/* By parts, so that the log stays short. */
	for (unsigned i = 0; i < 10000; i += 500) {
		snprintf(sql, sizeof(sql),
		    "WITH RECURSIVE i (k) AS (SELECT %u UNION ALL SELECT k + 1 FROM i WHERE k < %u)"
		    " INSERT INTO entry (mailbox, message, received_ms, octets, blocks,"
		    " reverse_path, recipient) SELECT 1, (1 << 21) + k, k, 100, 1,"
		    " 'a-sender-with-a-name-of-some-length@example.org',"
		    " 'a-recipient-with-one-too@example.test' FROM i", i, i + 499);
		test_sql(sp, sql);
		ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	}
	test_sql(sp, "UPDATE mailbox SET messages = 10000, used = 1000000 WHERE id = 1");
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	for (size_t i = 0; i < maildrop_count(md); i += 16)
		maildrop_mark(md, i);
	fill_the_rest();
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	ck_assert_uint_eq(ballast_size(), 0);
	maildrop_close(&md);
	ck_assert_int_eq(test_number(sp, "SELECT messages FROM mailbox WHERE id = 1"), 9375);
	spool_close(&sp);
}
END_TEST

/* Who measured before somebody else gave all of it up cuts it to a length that it has no more. */
START_TEST(two_cut_it_at_once)
{
	char path[300];
	struct stat st;
	int fd;

	if (!possible)
		return;
	sp = open_as(SPOOL_SMTPD, 0);
	wait_for_ballast();
	snprintf(path, sizeof(path), "%s/ballast", spool_test_dir);
	/* The second time there is something behind the hole: it was being filled. */
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(truncate(path, BALLAST - 65536), 0);
	ck_assert_uint_eq(ballast_missing(sp), BALLAST);
	ck_assert(!ballast_helps(sp, SPOOL_NO_SPACE));
	if (_i == 1) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(fallocate(fd, 0, BALLAST - 65536, 65536), 0);
		close(fd);
		ck_assert_uint_eq(ballast_missing(sp), BALLAST - 65536);
	}
	ballast_fill(sp);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, BALLAST);
	ck_assert_uint_ge((uint64_t)st.st_blocks * 512, BALLAST);
	ck_assert_uint_eq(ballast_missing(sp), 0);
	spool_close(&sp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("full disk");
	TCase *tc = tcase_create("full disk");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, mail_is_removed_by_its_owner, 0, 2);
	tcase_add_test(tc, again_and_again);
	tcase_add_loop_test(tc, others_remove_too, 0, 2);
	tcase_add_test(tc, killed_meanwhile);
	tcase_add_test(tc, mail_does_not_take_its_room);
	tcase_add_test(tc, a_commit_without_room);
	tcase_add_test(tc, all_of_it_is_needed);
	tcase_add_loop_test(tc, two_cut_it_at_once, 0, 2);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
