/*
 * fault_test - a disk that fails, and a machine that loses its power.
 *
 * Every call by which the spool changes the disk is counted, SQLite's on the index
 * included, and the n-th one can fail, be done and fail all the same, or be the last thing
 * that the process does.  Beside it is kept what the disk would have if the power
 * failed now: the octets of each file at its last sync, the names of segments/ at the
 * folder's.
 */
#ifndef TESTS_UNIT_SPOOL_FAULT_TEST_H
#define TESTS_UNIT_SPOOL_FAULT_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "delivery_test.h"

enum fault_mode {
	FAULT_NONE,
	FAULT_ONCE,     /* the call is not done */
	FAULT_STUCK,    /* nor is any after it */
	FAULT_LATE,     /* done, and reported as failed */
	FAULT_HALF,     /* a write is done by half, then this one and all others fail */
	FAULT_CRASH,    /* the process ends before the call */
};

static struct {
	enum fault_mode mode;
	long at;                /* the call, from 1 */
	int errnum;
	atomic_long calls;
	atomic_bool fired;
	pthread_mutex_t mutex;  /* one change of the disk at a time, with its shadow */
} fault = { .mutex = PTHREAD_MUTEX_INITIALIZER };

#define FAULT_EXIT 99

enum fault_verdict { FAULT_DO, FAULT_FAIL, FAULT_DO_AND_FAIL, FAULT_DO_HALF };

static enum fault_verdict
fault_judge(void)
{
	long n = atomic_fetch_add(&fault.calls, 1) + 1;

	if (fault.mode == FAULT_NONE || n < fault.at)
		return FAULT_DO;
	if (n > fault.at)
		return fault.mode == FAULT_STUCK || fault.mode == FAULT_HALF ? FAULT_FAIL
									     : FAULT_DO;
	atomic_store(&fault.fired, true);
	switch (fault.mode) {
	case FAULT_CRASH:
		_exit(FAULT_EXIT);
	case FAULT_LATE:
		return FAULT_DO_AND_FAIL;
	case FAULT_HALF:
		return FAULT_DO_HALF;
	default:
		return FAULT_FAIL;
	}
}

/* --- what is durable ------------------------------------------------------ */

static char fault_shadow[300];

static void
fault_copy(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	ssize_t n;

	ck_assert_msg(in >= 0, "%s", from);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(out, 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		ck_assert_int_eq(write(out, buf, (size_t)n), n);
	ck_assert_int_eq(n, 0);
	close(in);
	close(out);
}

static char *
fault_shadow_path(char path[400], ino_t ino)
{
	snprintf(path, 400, "%s/%llu", fault_shadow, (unsigned long long)ino);
	return path;
}

/* The names of segments/, one "NAME INODE" a line. */
static void
fault_list_names(const char *to)
{
	char dir_path[300];
	const struct dirent *file;
	FILE *out = fopen(to, "w");
	DIR *dir;

	snprintf(dir_path, sizeof(dir_path), "%s/segments", spool_test_dir);
	dir = opendir(dir_path);
	while ((file = readdir(dir)) != NULL)
		if (file->d_name[0] != '.')
			fprintf(out, "%s %llu\n", file->d_name, (unsigned long long)file->d_ino);
	closedir(dir);
	ck_assert_int_eq(fclose(out), 0);
}

static void
fault_synced(int fd)
{
	char path[400], link[64];
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		snprintf(path, sizeof(path), "%s/names", fault_shadow);
		fault_list_names(path);
		return;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	fault_copy(link, fault_shadow_path(path, st.st_ino));
}

static void
fault_synced_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	fault_synced(fd);
	close(fd);
}

/* --- the spool's calls ---------------------------------------------------- */

/* Judges, calls, keeps the shadow; `sync` is the descriptor that the call syncs, or -1. */
#define FAULT_CALL(call, failure, sync)                                                          \
	do {                                                                                     \
		pthread_mutex_lock(&fault.mutex);                                                \
		enum fault_verdict verdict = fault_judge();                                      \
		rc = failure;                                                                    \
		if (verdict == FAULT_DO || verdict == FAULT_DO_AND_FAIL) {                       \
			rc = call;                                                               \
			if (rc >= 0 && (sync) >= 0)                                              \
				fault_synced(sync);                                              \
		}                                                                                \
		int errnum = errno;                                                              \
		pthread_mutex_unlock(&fault.mutex);                                              \
		errno = errnum;                                                                  \
		if (verdict != FAULT_DO) {                                                       \
			rc = failure;                                                            \
			errno = fault.errnum;                                                    \
		}                                                                                \
	} while (0)

static int
fault_openat(int dir, const char *name, int flags, mode_t mode)
{
	char path[400];
	struct stat st;
	int rc;

	/* What only opens changes nothing. */
	if ((flags & (O_CREAT | O_TMPFILE)) == 0)
		return openat(dir, name, flags, mode);
	FAULT_CALL(openat(dir, name, flags, mode), -1, -1);
	/* An inode's number may have been another file's. */
	if (rc >= 0 && fstat(rc, &st) == 0)
		unlink(fault_shadow_path(path, st.st_ino));
	return rc;
}

static int
fault_mkdirat(int dir, const char *name, mode_t mode)
{
	int rc;

	FAULT_CALL(mkdirat(dir, name, mode), -1, -1);
	return rc;
}

static ssize_t
fault_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	ssize_t rc;

	if (fault.mode == FAULT_HALF && atomic_load(&fault.calls) + 1 == fault.at)
		ck_assert_int_ge(pwritev(fd, iov, n / 2, offset), 0);
	FAULT_CALL(pwritev(fd, iov, n, offset), -1, -1);
	return rc;
}

static int
fault_fdatasync(int fd)
{
	int rc;

	FAULT_CALL(fdatasync(fd), -1, fd);
	return rc;
}

static int
fault_fsync(int fd)
{
	int rc;

	FAULT_CALL(fsync(fd), -1, fd);
	return rc;
}

static int
fault_ftruncate(int fd, off_t len)
{
	int rc;

	FAULT_CALL(ftruncate(fd, len), -1, -1);
	return rc;
}

static int
fault_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	int rc;

	FAULT_CALL(linkat(from_dir, from, to_dir, to, flags), -1, -1);
	return rc;
}

static int
fault_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int rc;

	FAULT_CALL(renameat2(from_dir, from, to_dir, to, flags), -1, -1);
	return rc;
}

static int
fault_unlinkat(int dir, const char *name, int flags)
{
	int rc;

	FAULT_CALL(unlinkat(dir, name, flags), -1, -1);
	return rc;
}

static int
fault_fallocate(int fd, int mode, off_t offset, off_t len)
{
	int rc;

	FAULT_CALL(fallocate(fd, mode, offset, len), -1, -1);
	return rc;
}

static const struct disk_ops fault_disk = {
	.openat = fault_openat,
	.mkdirat = fault_mkdirat,
	.pwritev = fault_pwritev,
	.fdatasync = fault_fdatasync,
	.fsync = fault_fsync,
	.ftruncate = fault_ftruncate,
	.linkat = fault_linkat,
	.renameat2 = fault_renameat2,
	.unlinkat = fault_unlinkat,
	.fallocate = fault_fallocate,
};

/* --- SQLite's calls ------------------------------------------------------- */

struct fault_file {
	sqlite3_file base;
	const char *path;       /* SQLite's; NULL for temporary files */
	sqlite3_file *real;     /* behind this */
};

#define FAULT_REAL(f) (((struct fault_file *)(f))->real)

static int
fault_x_close(sqlite3_file *f)
{
	return FAULT_REAL(f)->pMethods->xClose(FAULT_REAL(f));
}

static int
fault_x_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 offset)
{
	return FAULT_REAL(f)->pMethods->xRead(FAULT_REAL(f), buf, n, offset);
}

static int
fault_x_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 offset)
{
	enum fault_verdict verdict;
	int rc = SQLITE_IOERR_WRITE;

	pthread_mutex_lock(&fault.mutex);
	verdict = fault_judge();
	if (verdict == FAULT_DO_HALF)
		n /= 2;
	if (verdict != FAULT_FAIL)
		rc = FAULT_REAL(f)->pMethods->xWrite(FAULT_REAL(f), buf, n, offset);
	pthread_mutex_unlock(&fault.mutex);
	if (verdict == FAULT_DO)
		return rc;
	return fault.errnum == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int
fault_x_truncate(sqlite3_file *f, sqlite3_int64 len)
{
	enum fault_verdict verdict;
	int rc = SQLITE_IOERR_TRUNCATE;

	pthread_mutex_lock(&fault.mutex);
	verdict = fault_judge();
	if (verdict != FAULT_FAIL)
		rc = FAULT_REAL(f)->pMethods->xTruncate(FAULT_REAL(f), len);
	pthread_mutex_unlock(&fault.mutex);
	return verdict == FAULT_DO ? rc : SQLITE_IOERR_TRUNCATE;
}

static int
fault_x_sync(sqlite3_file *f, int flags)
{
	enum fault_verdict verdict;
	int rc = SQLITE_IOERR_FSYNC;

	pthread_mutex_lock(&fault.mutex);
	verdict = fault_judge();
	if (verdict == FAULT_DO || verdict == FAULT_DO_AND_FAIL) {
		rc = FAULT_REAL(f)->pMethods->xSync(FAULT_REAL(f), flags);
		if (rc == SQLITE_OK)
			fault_synced_path(((struct fault_file *)f)->path);
	}
	pthread_mutex_unlock(&fault.mutex);
	return verdict == FAULT_DO ? rc : SQLITE_IOERR_FSYNC;
}

static int
fault_x_size(sqlite3_file *f, sqlite3_int64 *len)
{
	return FAULT_REAL(f)->pMethods->xFileSize(FAULT_REAL(f), len);
}

static int
fault_x_lock(sqlite3_file *f, int level)
{
	return FAULT_REAL(f)->pMethods->xLock(FAULT_REAL(f), level);
}

static int
fault_x_unlock(sqlite3_file *f, int level)
{
	return FAULT_REAL(f)->pMethods->xUnlock(FAULT_REAL(f), level);
}

static int
fault_x_reserved(sqlite3_file *f, int *out)
{
	return FAULT_REAL(f)->pMethods->xCheckReservedLock(FAULT_REAL(f), out);
}

static int
fault_x_control(sqlite3_file *f, int op, void *arg)
{
	return FAULT_REAL(f)->pMethods->xFileControl(FAULT_REAL(f), op, arg);
}

static int
fault_x_sector(sqlite3_file *f)
{
	return FAULT_REAL(f)->pMethods->xSectorSize(FAULT_REAL(f));
}

static int
fault_x_device(sqlite3_file *f)
{
	return FAULT_REAL(f)->pMethods->xDeviceCharacteristics(FAULT_REAL(f));
}

static int
fault_x_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **p)
{
	return FAULT_REAL(f)->pMethods->xShmMap(FAULT_REAL(f), region, size, extend, p);
}

static int
fault_x_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return FAULT_REAL(f)->pMethods->xShmLock(FAULT_REAL(f), offset, n, flags);
}

static void
fault_x_shm_barrier(sqlite3_file *f)
{
	FAULT_REAL(f)->pMethods->xShmBarrier(FAULT_REAL(f));
}

static int
fault_x_shm_unmap(sqlite3_file *f, int delete)
{
	return FAULT_REAL(f)->pMethods->xShmUnmap(FAULT_REAL(f), delete);
}

static const sqlite3_io_methods fault_methods = {
	.iVersion = 2,
	.xClose = fault_x_close,
	.xRead = fault_x_read,
	.xWrite = fault_x_write,
	.xTruncate = fault_x_truncate,
	.xSync = fault_x_sync,
	.xFileSize = fault_x_size,
	.xLock = fault_x_lock,
	.xUnlock = fault_x_unlock,
	.xCheckReservedLock = fault_x_reserved,
	.xFileControl = fault_x_control,
	.xSectorSize = fault_x_sector,
	.xDeviceCharacteristics = fault_x_device,
	.xShmMap = fault_x_shm_map,
	.xShmLock = fault_x_shm_lock,
	.xShmBarrier = fault_x_shm_barrier,
	.xShmUnmap = fault_x_shm_unmap,
};

static sqlite3_vfs fault_vfs, *fault_real_vfs;

static int
fault_x_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *flags_r)
{
	struct fault_file *f = (struct fault_file *)file;
	int rc;

	(void)vfs;
	f->real = (sqlite3_file *)(f + 1);
	f->path = path;
	rc = fault_real_vfs->xOpen(fault_real_vfs, path, f->real, flags, flags_r);
	/* The secrets are not what is tested. */
	f->base.pMethods = rc == SQLITE_OK ? &fault_methods : NULL;
	return rc;
}

/* All databases that are opened from now on. */
static void
fault_sqlite(void)
{
	fault_real_vfs = sqlite3_vfs_find(NULL);
	fault_vfs = *fault_real_vfs;
	fault_vfs.zName = "fault";
	fault_vfs.szOsFile = (int)sizeof(struct fault_file) + fault_real_vfs->szOsFile;
	fault_vfs.xOpen = fault_x_open;
	ck_assert_int_eq(sqlite3_vfs_register(&fault_vfs, 1), SQLITE_OK);
}

/* --- control -------------------------------------------------------------- */

static const char *const fault_index_files[] = { "index/index.db", "index/index.db-wal" };

/* All that there is now is on disk. */
static void
fault_all_synced(void)
{
	char path[600];
	const struct dirent *file;
	DIR *dir;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", spool_test_dir, fault_index_files[i]);
		fault_synced_path(path);
	}
	snprintf(path, sizeof(path), "%s/segments", spool_test_dir);
	fault_synced_path(path);
	dir = opendir(path);
	while ((file = readdir(dir)) != NULL)
		if (file->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/segments/%s", spool_test_dir,
			    file->d_name);
			fault_synced_path(path);
		}
	closedir(dir);
}

static char fault_template[300];

/* Keeps the spool's index, for fault_reset(); nobody has it open. */
SPOOL_TEST_MAYBE static void
fault_keep(void)
{
	char from[600], to[600];

	snprintf(fault_shadow, sizeof(fault_shadow), "%.250s-shadow", spool_test_dir);
	snprintf(fault_template, sizeof(fault_template), "%.250s-template", spool_test_dir);
	ck_assert_int_eq(mkdir(fault_shadow, 0700), 0);
	ck_assert_int_eq(mkdir(fault_template, 0700), 0);
	for (size_t i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/%s", spool_test_dir, fault_index_files[i]);
		snprintf(to, sizeof(to), "%s/%zu", fault_template, i);
		fault_copy(from, to);
	}
}

/* The spool as it was kept, without segments; nothing is known to be durable. */
SPOOL_TEST_MAYBE static void
fault_reset(void)
{
	char from[600], to[600];

	for (size_t i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/%zu", fault_template, i);
		snprintf(to, sizeof(to), "%s/%s", spool_test_dir, fault_index_files[i]);
		fault_copy(from, to);
	}
	snprintf(to, sizeof(to), "%s/index/index.db-shm", spool_test_dir);
	unlink(to);
	snprintf(to, sizeof(to), "%s/segments", spool_test_dir);
	ck_assert_int_eq(nftw(to, spool_test_unlink, 16, FTW_DEPTH | FTW_PHYS), 0);
	ck_assert_int_eq(nftw(fault_shadow, spool_test_unlink, 16, FTW_DEPTH | FTW_PHYS), 0);
	ck_assert_int_eq(mkdir(to, 0700), 0);
	ck_assert_int_eq(mkdir(fault_shadow, 0700), 0);
}

SPOOL_TEST_MAYBE static void
fault_arm(enum fault_mode mode, long at, int errnum)
{
	fault.mode = mode;
	fault.at = atomic_load(&fault.calls) + at;
	fault.errnum = errnum;
	atomic_store(&fault.fired, false);
}

/* --- after the end -------------------------------------------------------- */

enum fault_end {
	FAULT_END_KILL,         /* the process ended, the machine did not */
	FAULT_END_LOST,         /* power: nothing that was not synced is there */
	FAULT_END_INDEX,        /* power: of the index what was synced, of the segments all */
	FAULT_END_MIXED,        /* power: of some files what was synced, of some all */
	FAULT_ENDS
};

static bool
fault_toss(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return (*random >> 28 & 1) != 0;
}

static void
fault_restore_segments(enum fault_end end, uint32_t *random)
{
	char names[400], old[400], was[700], is[700], shadow[400], name[64];
	unsigned long long ino;
	FILE *list;

	/* What it has now stands aside, by inode. */
	snprintf(names, sizeof(names), "%s/now", fault_shadow);
	fault_list_names(names);
	snprintf(old, sizeof(old), "%s/segments", spool_test_dir);
	snprintf(is, sizeof(is), "%s/aside", fault_shadow);
	ck_assert_int_eq(mkdir(is, 0700), 0);
	list = fopen(names, "r");
	while (fscanf(list, "%63s %llu\n", name, &ino) == 2) {
		snprintf(was, sizeof(was), "%s/%s", old, name);
		snprintf(is, sizeof(is), "%s/aside/%llu", fault_shadow, ino);
		ck_assert_int_eq(rename(was, is), 0);
	}
	fclose(list);
	if (end == FAULT_END_LOST || fault_toss(random))
		snprintf(names, sizeof(names), "%s/names", fault_shadow);
	list = fopen(names, "r");
	while (fscanf(list, "%63s %llu\n", name, &ino) == 2) {
		snprintf(is, sizeof(is), "%s/%s", old, name);
		snprintf(was, sizeof(was), "%s/aside/%llu", fault_shadow, ino);
		fault_shadow_path(shadow, (ino_t)ino);
		if (end == FAULT_END_MIXED && access(was, F_OK) == 0 && fault_toss(random))
			fault_copy(was, is);
		else if (access(shadow, F_OK) == 0)
			fault_copy(shadow, is);
		else
			ck_assert_int_ge(close(open(is, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	}
	fclose(list);
}

/* Makes of the spool what such an end leaves; nobody has it open. */
SPOOL_TEST_MAYBE static void
fault_apply_end(enum fault_end end, uint32_t random)
{
	char path[400], shadow[400];
	struct stat st;

	if (end == FAULT_END_KILL)
		return;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", spool_test_dir, fault_index_files[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		if (end != FAULT_END_MIXED || fault_toss(&random))
			fault_copy(fault_shadow_path(shadow, st.st_ino), path);
	}
	snprintf(path, sizeof(path), "%s/index/index.db-shm", spool_test_dir);
	unlink(path);
	if (end != FAULT_END_INDEX)
		fault_restore_segments(end, &random);
}

#endif
