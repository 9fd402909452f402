/*
 * trace_vfs - SQLite's calls, on their way to SQLite's own VFS.
 *
 * The shared memory beside the log is mapped and written without a call.  It is never synced, so
 * after a power cut it may be anything: image.c makes it that.
 */
#include "trace_internal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct vfs_file {
	sqlite3_file base;
	ino_t ino;              /* 0: not followed */
	enum folder folder;
	bool fresh;             /* made by SQLite, its folder not synced since */
	sqlite3_file *real;     /* behind this */
};

#define REAL(f) (((struct vfs_file *)(f))->real)
#define CALL(f, method, ...) (REAL(f)->pMethods->method(REAL(f), ##__VA_ARGS__))

static int
x_close(sqlite3_file *f)
{
	return CALL(f, xClose);
}

static int
x_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 offset)
{
	return CALL(f, xRead, buf, n, offset);
}

static int
x_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 offset)
{
	const struct vfs_file *file = (struct vfs_file *)f;
	struct op *op;
	int rc;

	trace_lock();
	rc = file->ino != 0 && trace_fails(OP_WRITE, file->ino)
		 ? SQLITE_IOERR_WRITE
		 : CALL(f, xWrite, buf, n, offset);
	if (rc == SQLITE_OK && file->ino != 0 && (op = trace_note(file->ino, OP_WRITE)) != NULL) {
		op->offset = (uint64_t)offset;
		op->len = (uint64_t)n;
		op->data = malloc((size_t)n);
		if (op->data == NULL)
			die("no memory");
		memcpy(op->data, buf, (size_t)n);
		mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

static int
x_truncate(sqlite3_file *f, sqlite3_int64 len)
{
	const struct vfs_file *file = (struct vfs_file *)f;
	struct op *op;
	int rc;

	trace_lock();
	rc = CALL(f, xTruncate, len);
	if (rc == SQLITE_OK && file->ino != 0 && (op = trace_note(file->ino, OP_TRUNCATE)) != NULL) {
		op->len = (uint64_t)len;
		mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

static int
x_sync(sqlite3_file *f, int flags)
{
	struct vfs_file *file = (struct vfs_file *)f;
	int rc;

	trace_lock();
	rc = CALL(f, xSync, flags);
	if (rc == SQLITE_OK && file->ino != 0 && trace_note(file->ino, OP_SYNC) != NULL) {
		mutation_apply(&trace);
		/* With the first sync of a log that it made goes one of the folder. */
		if (file->fresh)
			trace_note_name(OP_SYNC_FOLDER, file->folder, "");
		file->fresh = false;
	}
	trace_unlock();
	return rc;
}

static int
x_size(sqlite3_file *f, sqlite3_int64 *len)
{
	return CALL(f, xFileSize, len);
}

static int
x_lock(sqlite3_file *f, int level)
{
	return CALL(f, xLock, level);
}

static int
x_unlock(sqlite3_file *f, int level)
{
	return CALL(f, xUnlock, level);
}

static int
x_reserved(sqlite3_file *f, int *out)
{
	return CALL(f, xCheckReservedLock, out);
}

static int
x_control(sqlite3_file *f, int op, void *arg)
{
	return CALL(f, xFileControl, op, arg);
}

static int
x_sector(sqlite3_file *f)
{
	return CALL(f, xSectorSize);
}

static int
x_device(sqlite3_file *f)
{
	return CALL(f, xDeviceCharacteristics);
}

static int
x_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **p)
{
	return CALL(f, xShmMap, region, size, extend, p);
}

static int
x_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return CALL(f, xShmLock, offset, n, flags);
}

static void
x_shm_barrier(sqlite3_file *f)
{
	CALL(f, xShmBarrier);
}

static int
x_shm_unmap(sqlite3_file *f, int delete)
{
	return CALL(f, xShmUnmap, delete);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = x_close,
	.xRead = x_read,
	.xWrite = x_write,
	.xTruncate = x_truncate,
	.xSync = x_sync,
	.xFileSize = x_size,
	.xLock = x_lock,
	.xUnlock = x_unlock,
	.xCheckReservedLock = x_reserved,
	.xFileControl = x_control,
	.xSectorSize = x_sector,
	.xDeviceCharacteristics = x_device,
	.xShmMap = x_shm_map,
	.xShmLock = x_shm_lock,
	.xShmBarrier = x_shm_barrier,
	.xShmUnmap = x_shm_unmap,
};

static sqlite3_vfs vfs, *real_vfs;

/* The folder that a path is in and its last part; false when the folder is not followed. */
static bool
locate(const char *path, enum folder *folder_r, const char **name_r)
{
	const char *slash = strrchr(path, '/');
	char dir[600];
	struct stat st;

	if (slash == NULL || (size_t)(slash - path) >= sizeof(dir))
		return false;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	*name_r = slash + 1;
	return stat(dir, &st) == 0 && trace_folder(st.st_ino, folder_r);
}

static int
x_open(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *flags_r)
{
	struct vfs_file *f = (struct vfs_file *)file;
	struct stat st;
	const char *name;
	int rc;

	(void)self;
	memset(f, 0, sizeof(*f));
	f->real = (sqlite3_file *)(f + 1);
	trace_lock();
	bool there = path != NULL && stat(path, &st) == 0;
	rc = real_vfs->xOpen(real_vfs, path, f->real, flags, flags_r);
	if (rc == SQLITE_OK && path != NULL && locate(path, &f->folder, &name) &&
	    stat(path, &st) == 0) {
		f->ino = st.st_ino;
		if (!there && trace_note_new(OP_CREATE, f->folder, name, st.st_ino) != NULL)
			f->fresh = true;
	}
	trace_unlock();
	f->base.pMethods = rc == SQLITE_OK ? &methods : NULL;
	return rc;
}

static int
x_delete(sqlite3_vfs *self, const char *path, int sync)
{
	enum folder folder;
	const char *name;
	int rc;

	(void)self;
	trace_lock();
	rc = real_vfs->xDelete(real_vfs, path, sync);
	if (rc == SQLITE_OK && locate(path, &folder, &name)) {
		trace_note_name(OP_UNLINK, folder, name);
		if (sync)
			trace_note_name(OP_SYNC_FOLDER, folder, "");
	}
	trace_unlock();
	return rc;
}

void
trace_sqlite(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	vfs = *real_vfs;
	vfs.zName = "trace";
	vfs.szOsFile = (int)sizeof(struct vfs_file) + real_vfs->szOsFile;
	vfs.xOpen = x_open;
	vfs.xDelete = x_delete;
	if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
		die("SQLite takes no VFS");
}
