/*
 * fault_sqlite - the calls by which SQLite changes the index, on the disk of fault_test.
 *
 * A VFS that stands before the usual one: writes, truncations and syncs are judged, all else is
 * handed on.
 */
#ifndef TESTS_UNIT_SPOOL_FAULT_SQLITE_H
#define TESTS_UNIT_SPOOL_FAULT_SQLITE_H

#include <sqlite3.h>

#include "fault_test.h"

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

#endif
