/* backup: what is copied, when it is whole, what is noticed, and a spool made out of it. */
#include "backup_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "common/spool/backup_internal.h"
#include "common/spool/janitor.h"
#include "common/spool/lock.h"
#include "common/spool/secrets.h"
#include "spool/account.h"
#include "spool/check.h"
#include "spool/history.h"
#include "spool/maildrop.h"
#include "spool/survey.h"

#define BLOCK UINT64_C(4096)
#define MINUTE_MS UINT64_C(60000)

static char backup_dir[300], other_dir[300];

static void
setup(void)
{
	const char *dir = "/dev/shm";

	if (access(dir, W_OK) == 0)
		setenv("TMPDIR", dir, 1);
	spool_test_make();
	snprintf(backup_dir, sizeof(backup_dir), "%s-backup", spool_test_dir);
	snprintf(other_dir, sizeof(other_dir), "%s-other", spool_test_dir);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	findings = 0;
}

static void
teardown(void)
{
	clock_set(0, 0);
	if (sp != NULL)
		test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

/* What was said of how far it is came to its end. */
static void
assert_all_done(const struct backup_result *r)
{
	ck_assert_uint_eq(progress_done, r->octets);
	ck_assert_uint_eq(progress_all, r->octets);
}

static struct backup_result
back_up_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_run(sp, backup_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(strstr(err.buf, says) != NULL, "%s", err.buf);
	ck_assert(st == SPOOL_OK || err.len > 0);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
	return r;
}

static struct backup_result
back_up(void)
{
	return back_up_as(SPOOL_OK, "");
}

static struct backup_result
verify_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_verify(backup_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(strstr(err.buf, says) != NULL, "%s", err.buf);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
	return r;
}

static void
restore_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_restore(backup_dir, other_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(strstr(err.buf, says) != NULL, "%s", err.buf);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
}

/* The restored spool, in the place of the first one. */
static void
change_to_other(void)
{
	spool_close(&sp);
	ck_assert_int_eq(nftw(spool_test_dir, spool_test_unlink, 16, FTW_DEPTH | FTW_PHYS), 0);
	ck_assert_int_eq(rename(other_dir, spool_test_dir), 0);
	sp = spool_test_open(SPOOL_ADMIN);
}

static unsigned
files_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

/* A file of a segment in the backup or the spool. */
static const char *
segment_path(const char *dir, uint64_t message)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/segments/%" PRIu64, dir, message_segment(message));
	return path;
}

static void
damage(const char *dir, uint64_t message, off_t at)
{
	int fd = open(segment_path(dir, message), O_RDWR);
	off_t offset = (off_t)(message_block(message) * BLOCK) + at;
	uint8_t octet;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &octet, 1, offset), 1);
	octet ^= 1;
	ck_assert_int_eq(pwrite(fd, &octet, 1, offset), 1);
	close(fd);
}

static uint64_t
blocks_taken(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks / 8 : 0;
}

/* --- copying -------------------------------------------------------------- */

START_TEST(what_is_restored_is_what_was)
{
	uint64_t ids[5] = { deliver(0, 500, 1, 1), deliver(1, 9000, 1, 3), deliver(2, 300000, 2, 2),
		deliver(3, 100, 1, 2), deliver(4, 200, 3, 3) };
	unsigned count[5];
	struct backup_result r;
	struct check_result check;
	struct stat st;

	remove_message(3, ids[4]);
	r = back_up();
	ck_assert_uint_eq(r.messages, 4);
	ck_assert_uint_eq(r.damaged, 0);
	ck_assert_int_eq(stat(backup_dir, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(stat(segment_path(backup_dir, ids[0]), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	/* Never one file by two names. */
	ck_assert_uint_eq(st.st_nlink, 1);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 4);

	/* What comes or goes afterwards is not in it. */
	deliver(5, 300, 1, 1);
	remove_message(1, ids[0]);
	restore_as(SPOOL_OK, "");
	change_to_other();
	test_invariants(sp);
	/* Also where a segment's last record was gone: a login finds as much of it as it looks for. */
	ck_assert_int_eq(check_spool(sp, &(struct check_options){ .each = note_finding }, &check), SPOOL_OK);
	ck_assert_uint_eq(check.wrong, 0);
	test_count(sp, 1, count, 5);
	ck_assert(count[0] == 1 && count[1] == 1 && count[3] == 1);
	test_count(sp, 2, count, 5);
	ck_assert(count[1] == 1 && count[2] == 1 && count[3] == 1);
	test_count(sp, 3, count, 5);
	ck_assert(count[1] == 1 && count[4] == 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 7);
	/* UIDs stay. */
	for (unsigned i = 0; i < 4; i++) {
		char sql[100];

		snprintf(sql, sizeof(sql), "SELECT 1 FROM entry WHERE message = %" PRIu64, ids[i]);
		ck_assert_int_eq(test_number(sp, sql), 1);
	}
}
END_TEST

START_TEST(a_second_one_copies_what_is_new)
{
	uint64_t first = deliver(0, 500, 1, 1), gone = deliver(1, 9000, 1, 1);
	uint64_t large = deliver(2, 300000, 1, 1), mark;
	struct backup_result r;
	char path[400];
	struct stat st;

	/* Two headers of segments and three records, the last without its padding. */
	ck_assert_int_eq(stat(segment_path(spool_test_dir, large), &st), 0);
	ck_assert_uint_eq(back_up().copied, BLOCK + BLOCK + 3 * BLOCK + (uint64_t)st.st_size);
	ck_assert_uint_eq(back_up().copied, 0);
	mark = blocks_taken(segment_path(backup_dir, gone));

	deliver(3, 500, 1, 1);
	remove_message(1, gone);
	remove_message(1, large);
	r = back_up();
	ck_assert_uint_eq(r.messages, 2);
	ck_assert_uint_eq(r.copied, BLOCK);
	/* What went is given back there too: one block came, three went. */
	ck_assert_uint_eq(blocks_taken(segment_path(backup_dir, first)), mark + 1 - 3);
	snprintf(path, sizeof(path), "%s", segment_path(backup_dir, large));
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 2);
}
END_TEST

START_TEST(nothing_is_given_back_meanwhile)
{
	struct janitor_task task = { .expire = false };
	uint64_t id = deliver(0, 9000, 1, 1), large = deliver(1, 300000, 1, 1);
	struct spool *other = spool_test_open(SPOOL_ADMIN);
	uint64_t taken = blocks_taken(segment_path(spool_test_dir, id));
	struct survey survey;

	deliver(2, 500, 1, 1);
	taken++;
	ck_assert_int_eq(lock_role_try(&other->locks, LOCK_BACKUP, false), 0);
	remove_message(1, id);
	remove_message(1, large);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_uint_eq(blocks_taken(segment_path(spool_test_dir, id)), taken);
	ck_assert_uint_gt(blocks_taken(segment_path(spool_test_dir, large)), 70);
	ck_assert_int_eq(survey_spool(sp, &survey), SPOOL_OK);
	ck_assert(survey.backup_running);
	back_up_as(SPOOL_BUSY, "another backup of it runs");

	lock_role_release(&other->locks, LOCK_BACKUP);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_uint_eq(blocks_taken(segment_path(spool_test_dir, id)), taken - 3);
	ck_assert_int_ne(access(segment_path(spool_test_dir, large), F_OK), 0);
	/* Giving back is no backup. */
	ck_assert_int_eq(lock_role_try(&other->locks, LOCK_BACKUP, true), 0);
	ck_assert_int_eq(survey_spool(sp, &survey), SPOOL_OK);
	ck_assert(!survey.backup_running);
	spool_close(&other);
}
END_TEST

START_TEST(the_folder_is_its_own)
{
	char path[400];
	int fd;

	ck_assert_int_eq(mkdir(backup_dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/letter", backup_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	back_up_as(SPOOL_EXISTS, "holds other things");
	ck_assert_int_eq(unlink(path), 0);
	verify_as(SPOOL_NO_SPOOL, "no backup that came to its end");
	back_up();

	/* Another's. */
	test_sql(sp, "UPDATE meta SET value = value + 1 WHERE key = 'spool_id'");
	back_up_as(SPOOL_EXISTS, "another spool");
	test_sql(sp, "UPDATE meta SET value = value - 1 WHERE key = 'spool_id'");
	/* A later one of ours. */
	deliver(0, 500, 1, 1);
	back_up();
	test_sql(sp, "UPDATE meta SET value = value - 1 WHERE key = 'newest_segment'");
	back_up_as(SPOOL_EXISTS, "later state");
	test_sql(sp, "UPDATE meta SET value = value + 1 WHERE key = 'newest_segment'");
	back_up();

	/* At work. */
	snprintf(path, sizeof(path), "%s/" BACKUP_LOCK, backup_dir);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(lock_segment(fd), 0);
	back_up_as(SPOOL_BUSY, "another backup or restore");
	verify_as(SPOOL_BUSY, "another backup or restore");
	close(fd);
}
END_TEST

/* --- damage --------------------------------------------------------------- */

START_TEST(damage_is_noticed_and_mended)
{
	uint64_t a = deliver(0, 500, 1, 1), b = deliver(1, 9000, 2, 2);
	struct backup_result r;
	char uid[SPOOL_UID_LEN + 1];

	back_up();
	/* In the octets, in the envelope, in the fixed part. */
	for (off_t at = 50; at < 300; at += 110) {
		damage(backup_dir, b, at == 270 ? 4096 : at);
		findings = 0;
		r = verify_as(SPOOL_OK, "");
		ck_assert_uint_eq(r.damaged, 1);
		ck_assert_uint_eq(r.known, 0);
		ck_assert_uint_eq(findings, 1);
		ck_assert_str_eq(found_address, "user2@example.test");
		spool_uid_format(uid, b);
		ck_assert_str_eq(found_uid, uid);
		/* The next backup copies it anew. */
		r = back_up();
		ck_assert_uint_eq(r.copied, 3 * BLOCK);
		ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
	}
	/* The header of a segment; a segment. */
	int fd = open(segment_path(backup_dir, a), O_RDWR);
	ck_assert_int_eq(pwrite(fd, "x", 1, 20), 1);
	close(fd);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 2);
	back_up();
	ck_assert_int_eq(unlink(segment_path(backup_dir, a)), 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 2);
	back_up();
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
}
END_TEST

START_TEST(damage_of_the_spool_is_copied_and_told)
{
	uint64_t a = deliver(0, 500, 1, 1), b = deliver(1, 9000, 2, 2);
	struct backup_result r;

	damage(spool_test_dir, b, 200);
	r = back_up();
	ck_assert_uint_eq(r.damaged, 1);
	ck_assert_uint_eq(findings, 1);
	r = verify_as(SPOOL_OK, "");
	ck_assert_uint_eq(r.damaged, 1);
	ck_assert_uint_eq(r.known, 1);
	/* It is what an earlier backup is for: a good copy is never replaced by a bad one. */
	damage(spool_test_dir, b, 200);
	ck_assert_uint_eq(back_up().damaged, 0);
	damage(spool_test_dir, a, 200);
	ck_assert_uint_eq(back_up().damaged, 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
	damage(spool_test_dir, a, 200);
}
END_TEST

static void
flip(const char *name, off_t at)
{
	char path[400];
	uint8_t octet;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", backup_dir, name);
	fd = open(path, O_RDWR);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(pread(fd, &octet, 1, at), 1);
	octet ^= 1;
	ck_assert_int_eq(pwrite(fd, &octet, 1, at), 1);
	close(fd);
}

START_TEST(damage_of_the_rest_is_noticed)
{
	struct backup_manifest m;
	struct strbuf err;
	struct stat st;
	char path[400];
	int fd;

	deliver(0, 500, 1, 1);
	back_up();
	fd = open(backup_dir, O_RDONLY | O_DIRECTORY);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_OK);
	flip(m.index.name, (off_t)m.index.size - 1);
	verify_as(SPOOL_DAMAGED, m.index.name);
	restore_as(SPOOL_DAMAGED, m.index.name);
	flip(m.index.name, (off_t)m.index.size - 1);
	flip(m.secrets.name, 5000);
	verify_as(SPOOL_DAMAGED, m.secrets.name);
	flip(m.secrets.name, 5000);

	/* Each octet of the manifest. */
	snprintf(path, sizeof(path), "%s/" BACKUP_MANIFEST, backup_dir);
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t i = 0; i < st.st_size; i++) {
		enum spool_status got;

		flip(BACKUP_MANIFEST, i);
		strbuf_clear(&err);
		got = backup_manifest_read(backup_dir, fd, &m, &err);
		ck_assert_msg(got == SPOOL_DAMAGED || got == SPOOL_VERSION, "octet %d: %d", (int)i, got);
		ck_assert_uint_gt(err.len, 0);
		flip(BACKUP_MANIFEST, i);
	}
	/* Cut anywhere. */
	for (off_t i = st.st_size - 1; i >= 0; i--) {
		ck_assert_int_eq(truncate(path, i), 0);
		ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_DAMAGED);
	}
	ck_assert_int_eq(access(other_dir, F_OK), -1);
	/* It is no backup then, and the next one makes it one. */
	ck_assert_uint_eq(back_up().copied, 0);
	verify_as(SPOOL_OK, "");
	strbuf_release(&err);
	close(fd);
}
END_TEST

START_TEST(a_newer_one_is_refused)
{
	deliver(0, 500, 1, 1);
	test_sql(sp, "PRAGMA user_version = 99");
	back_up();
	verify_as(SPOOL_VERSION, "newer Restante");
	restore_as(SPOOL_VERSION, "newer Restante");
	ck_assert_int_ne(access(other_dir, F_OK), 0);
}
END_TEST

START_TEST(a_damaged_index_is_no_backup)
{
	char path[400];
	uint8_t page[4096];
	struct stat st;
	sqlite3 *db;
	int fd;

	for (unsigned i = 0; i < 150; i++)
		deliver(i, 200, 1, 3);
	back_up();
	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/index/index.db", spool_test_dir);
	/* All pages are read from the database itself. */
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
	    SQLITE_OK);
	sqlite3_close(db);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	/* Each page behind the first in turn. */
	for (off_t at = 4096; at < st.st_size; at += 4096) {
		uint8_t kept[4096];

		ck_assert_int_eq(pread(fd, kept, sizeof(kept), at), 4096);
		memset(page, 0x5a, sizeof(page));
		ck_assert_int_eq(pwrite(fd, page, sizeof(page), at), 4096);
		const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
		struct backup_result r;
		struct strbuf err;

		strbuf_init(&err, 1024);
		/* Some are seen as soon as it is opened. */
		if (spool_open(&options, &sp, &err) == SPOOL_OK)
			ck_assert_msg(backup_run(sp, backup_dir, watched(), &r, &err) !=
			    SPOOL_OK, "page %d", (int)(at / 4096));
		spool_close(&sp);
		strbuf_release(&err);
		ck_assert_int_eq(pwrite(fd, kept, sizeof(kept), at), 4096);
		ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 150);
	}
	close(fd);
	sp = spool_test_open(SPOOL_ADMIN);
	back_up();
}
END_TEST

/* --- ends ----------------------------------------------------------------- */

/* The n-th call to the disk is the last, or fails. */
static long calls, calls_end;
static int calls_errno; /* 0: the process ends */

static bool
fails(void)
{
	if (++calls != calls_end)
		return false;
	if (calls_errno == 0)
		_exit(77);
	errno = calls_errno;
	return true;
}

static int
f_openat(int dir, const char *name, int flags, mode_t mode)
{
	return fails() ? -1 : disk_real.openat(dir, name, flags, mode);
}
static ssize_t
f_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	return fails() ? -1 : disk_real.pwritev(fd, iov, n, at);
}
static int
f_fsync(int fd)
{
	return fails() ? -1 : disk_real.fsync(fd);
}
static int
f_ftruncate(int fd, off_t len)
{
	return fails() ? -1 : disk_real.ftruncate(fd, len);
}
static int
f_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	return fails() ? -1 : disk_real.renameat2(a, from, b, to, flags);
}
static int
f_unlinkat(int dir, const char *name, int flags)
{
	return fails() ? -1 : disk_real.unlinkat(dir, name, flags);
}
static int
f_fallocate(int fd, int mode, off_t at, off_t len)
{
	return fails() ? -1 : disk_real.fallocate(fd, mode, at, len);
}

/* Backs up in a child, whose disk ends or fails at call n; false when it came to its end before. */
static bool
back_up_until(long n, int errnum)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct disk_ops disk = disk_real;
		const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
		struct backup_result r;
		enum spool_status st;
		struct strbuf err;

		disk.openat = f_openat;
		disk.pwritev = f_pwritev;
		disk.fsync = f_fsync;
		disk.ftruncate = f_ftruncate;
		disk.renameat2 = f_renameat2;
		disk.unlinkat = f_unlinkat;
		disk.fallocate = f_fallocate;
		strbuf_init(&err, 1024);
		if (freopen("/dev/null", "w", stderr) == NULL ||
		    spool_open_on(&options, &disk, &sp, &err) != SPOOL_OK)
			_exit(1);
		calls = 0;
		calls_end = n;
		calls_errno = errnum;
		st = backup_run(sp, backup_dir, watched(), &r, &err);
		if (calls < n)
			_exit(st == SPOOL_OK ? 0 : 2);
		/* A failure is told, with a sentence and the right code. */
		if (st != SPOOL_OK && err.len == 0)
			_exit(3);
		if (errnum == ENOSPC && st != SPOOL_NO_SPACE && st != SPOOL_IO)
			_exit(4);
		calls_end = 0;
		spool_close(&sp);
		_exit(st == SPOOL_OK ? 78 : 77);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "call %ld: %d", n, status);
	ck_assert_msg(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) >= 77, "call %ld: %d", n,
	    WEXITSTATUS(status));
	return WEXITSTATUS(status) != 0;
}

static const int ends[] = { 0, ENOSPC, EIO };

START_TEST(at_every_instant_there_is_a_whole_one)
{
	uint64_t ids[4] = { deliver(0, 500, 1, 1), deliver(1, 9000, 2, 2), deliver(2, 300000, 1, 1),
		deliver(3, 500, 1, 1) };
	struct backup_result r, old = back_up();
	long n = 1;

	remove_message(2, ids[1]);
	remove_message(1, ids[2]);
	deliver(4, 700, 1, 2);
	deliver(5, 290000, 1, 2);
	spool_close(&sp);
	for (; back_up_until(n, ends[_i]); n++) {
		/* Those that fail do not pile up. */
		ck_assert_uint_le(files_in(backup_dir), 9);
		findings = 0;
		r = verify_as(SPOOL_OK, "");
		ck_assert_uint_eq(r.damaged, 0);
		ck_assert_uint_eq(findings, 0);
		/* Old or new. */
		ck_assert_msg(r.time_ms == old.time_ms || r.messages == 4, "call %ld", n);
		if (r.time_ms == old.time_ms)
			ck_assert_uint_eq(r.messages, 4);
	}
	ck_assert_int_gt(n, 15);
	sp = spool_test_open(SPOOL_ADMIN);
	r = back_up();
	ck_assert_uint_eq(r.copied, 0);
	ck_assert_uint_gt(r.time_ms, old.time_ms);
	/* Nothing is left of those that did not come to their ends. */
	ck_assert_uint_eq(files_in(backup_dir), 5);
	ck_assert_int_ne(access(segment_path(backup_dir, ids[2]), F_OK), 0);
	restore_as(SPOOL_OK, "");
	change_to_other();
	ck_assert_uint_eq(test_copies(sp, 1, 4), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 5), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
}
END_TEST

/* --- restoring ------------------------------------------------------------ */

START_TEST(no_uid_is_given_twice)
{
	uint64_t now = UINT64_C(1800000000000), id, later, again;

	clock_set(1000, now);
	deliver(0, 500, 1, 1);
	back_up();
	/* The original goes on for a minute, many segments in one millisecond. */
	clock_set(1000, now + MINUTE_MS);
	for (unsigned i = 1; i < 20; i++)
		later = deliver(i, 270000, 1, 1);
	ck_assert_uint_gt(message_segment(later), now + MINUTE_MS);

	clock_set(1000, now - 1);
	restore_as(SPOOL_NOT_READY, "set the clock");
	ck_assert_int_ne(access(other_dir, F_OK), 0);
	clock_set(1000, now + MINUTE_MS);
	restore_as(SPOOL_OK, "");
	change_to_other();
	id = deliver(20, 500, 1, 1);
	again = deliver(21, 270000, 1, 1);
	ck_assert_uint_gt(message_segment(id), message_segment(later));
	ck_assert_uint_gt(message_segment(again), message_segment(later));
}
END_TEST

START_TEST(numbers_ahead_of_the_clock)
{
	uint64_t now = UINT64_C(1800000000000), later, id;

	/* A clock that was once a year ahead. */
	clock_set(1000, now + UINT64_C(365) * 86400 * 1000);
	deliver(0, 500, 1, 1);
	spool_close(&sp);
	clock_set(1000, now);
	sp = spool_test_open(SPOOL_ADMIN);
	back_up();
	later = deliver(1, 300000, 1, 1);
	restore_as(SPOOL_OK, "");
	change_to_other();
	id = deliver(2, 500, 1, 1);
	ck_assert_uint_gt(message_segment(id), message_segment(later));
}
END_TEST

START_TEST(what_is_dead_stays_behind)
{
	uint64_t id = deliver(0, 500, 1, 1), large = deliver(1, 300000, 1, 1);
	struct history_restored restored;
	struct check_result r;
	const struct spool_policy keep = { .keep_deleted_s = 86400, .keep_deleted_max = 1 << 30 };

	deliver(2, 500, 1, 1);
	remove_message(1, id);
	remove_message(1, large);
	/* Deleted and kept comes along. */
	spool_set_policy(sp, &keep);
	remove_message(1, deliver(3, 500, 1, 1));
	ck_assert_int_gt(test_number(sp, "SELECT count(*) FROM garbage"), 1);
	ck_assert_uint_eq(back_up().messages, 2);
	restore_as(SPOOL_OK, "");
	change_to_other();
	findings = 0;
	ck_assert_int_eq(check_run(sp, note_finding, NULL, &r), SPOOL_OK);
	ck_assert_uint_eq(r.wrong, 0);
	ck_assert_uint_eq(r.space.dead, 0);
	/* A UID by number of removals is new in any case. */
	ck_assert_int_ge(test_number(sp, "SELECT removals FROM mailbox WHERE id = 1"), 1 << 20);
	ck_assert_int_eq(history_restore(sp, 1, NULL, 0, true, &restored), SPOOL_OK);
	ck_assert_uint_eq(restored.messages, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 3), 1);
}
END_TEST

START_TEST(only_where_nothing_is)
{
	struct strbuf err;
	char path[400];
	int fd;

	deliver(0, 500, 1, 1);
	back_up();
	ck_assert_int_eq(mkdir(other_dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/letter", other_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	restore_as(SPOOL_EXISTS, "not empty");
	ck_assert_int_eq(unlink(path), 0);

	/* One that did not come to its end is nobody's spool, and gone on with. */
	snprintf(path, sizeof(path), "%s/" SPOOL_RESTORING, other_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_create(other_dir, &err), SPOOL_BUSY);
	ck_assert_ptr_nonnull(strstr(err.buf, "has not come to its end"));
	strbuf_release(&err);
	restore_as(SPOOL_OK, "");
	ck_assert_int_ne(access(path, F_OK), 0);
	restore_as(SPOOL_EXISTS, "not empty");

	/* In use. */
	snprintf(other_dir, sizeof(other_dir), "%s", spool_test_dir);
	struct spool *live = spool_test_open(SPOOL_ADMIN);
	restore_as(SPOOL_BUSY, "in use");
	spool_close(&live);
}
END_TEST

START_TEST(accounts_come_along)
{
	const struct address joe = spool_test_address("joe@example.test");
	const struct account_policy policy = { .delimiter = '+' };
	struct account_login login;

	ck_assert_int_eq(account_user_add(sp, &joe, "secret", 6, true, NULL, NULL), SPOOL_OK);
	back_up();
	restore_as(SPOOL_OK, "");
	change_to_other();
	ck_assert_int_eq(account_check_password(sp, &policy, "joe@example.test", 16, "secret", 6,
			     &login), SPOOL_OK);
	ck_assert(account_apop_exists(sp));
	ck_assert_int_eq(account_user_set_password(sp, &joe, "other", 5), SPOOL_OK);
	/* The spool is the same one: its backups go on. */
	back_up();
}
END_TEST

/* Accounts come and go as user.c has it: secrets first, index first. */
static atomic_bool accounts_end;
static atomic_uint accounts_made;

static void *
make_accounts(void *arg)
{
	struct spool *other = arg;
	char sql[200];

	for (unsigned id = 1000; !atomic_load(&accounts_end); id++) {
		ck_assert_int_eq(secrets_create(other, id, "hash", NULL), SPOOL_OK);
		snprintf(sql, sizeof(sql), "INSERT INTO mailbox (id, domain, local, folded, created_s)"
		    " VALUES (%u, 1, 'a%u', 'a%u', 0)", id, id, id);
		test_sql(other, sql);
		snprintf(sql, sizeof(sql), "DELETE FROM mailbox WHERE id = %u", id - 1);
		if (id == 1000)
			continue;
		test_sql(other, sql);
		ck_assert_int_eq(secrets_remove(other, id - 1), SPOOL_OK);
		atomic_fetch_add(&accounts_made, 1);
	}
	return NULL;
}

/* The one number that a query on a copied database gives. */
static int64_t
copied_number(const struct backup_file *f, const char *sql)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	char path[400];
	int64_t n = -1;
	bool row;

	snprintf(path, sizeof(path), "%s/%s", backup_dir, f->name);
	ck_assert_int_eq(backup_db_open(path, false, &c), SPOOL_OK);
	stmt = index_stmt(c, sql);
	ck_assert_int_eq(index_step(c, stmt, &row), SPOOL_OK);
	if (row)
		n = sqlite3_column_int64(stmt, 0);
	backup_db_close(&c);
	return n;
}

START_TEST(each_mailbox_has_its_secrets)
{
	struct spool *other = spool_test_open(SPOOL_ADMIN);
	struct backup_manifest m;
	pthread_t thread;
	struct strbuf err;
	char sql[100];
	int fd;

	ck_assert_int_eq(pthread_create(&thread, NULL, make_accounts, other), 0);
	strbuf_init(&err, 1024);
	for (unsigned i = 0; i < 100; i++) {
		int64_t id;

		back_up();
		fd = open(backup_dir, O_RDONLY | O_DIRECTORY);
		ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_OK);
		close(fd);
		id = copied_number(&m.index, "SELECT min(id) FROM mailbox WHERE id >= 1000");
		snprintf(sql, sizeof(sql), "SELECT 1 FROM secret WHERE mailbox = %lld",
		    (long long)id);
		ck_assert_msg(id <= 0 || copied_number(&m.secrets, sql) == 1, "%u: %s", i, sql);
	}
	atomic_store(&accounts_end, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(atomic_load(&accounts_made), 20);
	strbuf_release(&err);
	spool_close(&other);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backup");
	TCase *tc = tcase_create("backup");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_restored_is_what_was);
	tcase_add_test(tc, a_second_one_copies_what_is_new);
	tcase_add_test(tc, nothing_is_given_back_meanwhile);
	tcase_add_test(tc, the_folder_is_its_own);
	tcase_add_test(tc, damage_is_noticed_and_mended);
	tcase_add_test(tc, damage_of_the_spool_is_copied_and_told);
	tcase_add_test(tc, damage_of_the_rest_is_noticed);
	tcase_add_test(tc, a_newer_one_is_refused);
	tcase_add_test(tc, a_damaged_index_is_no_backup);
	tcase_add_loop_test(tc, at_every_instant_there_is_a_whole_one, 0, 3);
	tcase_add_test(tc, no_uid_is_given_twice);
	tcase_add_test(tc, numbers_ahead_of_the_clock);
	tcase_add_test(tc, what_is_dead_stays_behind);
	tcase_add_test(tc, only_where_nothing_is);
	tcase_add_test(tc, accounts_come_along);
	tcase_add_test(tc, each_mailbox_has_its_secrets);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
