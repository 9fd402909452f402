/*
 * fault_test - a disk that fails.
 *
 * Every call by which the spool changes the disk is counted, SQLite's on the index (fault_sqlite.h)
 * included, and the n-th one can fail, be done and fail all the same, or be the last thing
 * that the process does.  What was synced is told to fault_shadow.h.
 */
#ifndef TESTS_UNIT_SPOOL_FAULT_TEST_H
#define TESTS_UNIT_SPOOL_FAULT_TEST_H

#include <errno.h>
#include <stdatomic.h>

#include "fault_shadow.h"

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

SPOOL_TEST_MAYBE static void
fault_arm(enum fault_mode mode, long at, int errnum)
{
	fault.mode = mode;
	fault.at = atomic_load(&fault.calls) + at;
	fault.errnum = errnum;
	atomic_store(&fault.fired, false);
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

#endif
