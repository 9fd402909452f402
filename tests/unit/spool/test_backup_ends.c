/* backup: what is left of one that ends, or fails, at any of its calls. */
#include "backup_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

/* Names of databases that no sync of the folder has found yet. */
static unsigned unsure_names, manifests;

static int
n_openat(int dir, const char *name, int flags, mode_t mode)
{
	unsure_names += (flags & O_CREAT) != 0 && strstr(name, "-1") != NULL;
	return disk_real.openat(dir, name, flags, mode);
}

static int
n_fsync(int fd)
{
	struct stat found, folder;

	ck_assert_int_eq(fstat(fd, &found), 0);
	if (stat(backup_dir, &folder) == 0 && found.st_ino == folder.st_ino)
		unsure_names = 0;
	return disk_real.fsync(fd);
}

static int
n_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	ck_assert_str_eq(to, "manifest");
	ck_assert_uint_eq(unsure_names, 0);
	manifests++;
	return disk_real.renameat2(a, from, b, to, flags);
}

/* A manifest whose name is on disk, and an index whose name is not, are no backup. */
START_TEST(names_before_the_manifest)
{
	struct disk_ops disk = disk_real;

	disk.openat = n_openat;
	disk.fsync = n_fsync;
	disk.renameat2 = n_renameat2;
	deliver(0, 500, 1, 1);
	sp->disk = &disk;
	back_up();
	deliver(1, 500, 1, 1);
	back_up();
	sp->disk = &disk_real;
	ck_assert_uint_eq(manifests, 2);
}
END_TEST

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

int
main(void)
{
	Suite *suite = suite_create("backup_ends");
	TCase *tc = tcase_create("backup_ends");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, names_before_the_manifest);
	tcase_add_loop_test(tc, at_every_instant_there_is_a_whole_one, 0, 3);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
