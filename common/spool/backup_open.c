/*
 * backup_open - a backup's folder: whose it is, and reading one that is complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup_internal.h"
#include "lock.h"
#include "spool_internal.h"

enum spool_status
backup_failed(struct strbuf *err, const char *dir, const char *what)
{
	int errnum = errno;

	strbuf_addf(err, "%s/%s: %s", dir, what, strerror(errnum));
	if (errnum == ENOSPC || errnum == EDQUOT) {
		strbuf_addf(err, ": make room there and run it again, it goes on where it was");
		return SPOOL_NO_SPACE;
	}
	return SPOOL_IO;
}

enum spool_status
backup_lock(const struct disk_ops *disk, const char *dir, int fd, bool create, int *lock_r,
    struct strbuf *err)
{
	int lock = disk_open(disk, fd, BACKUP_LOCK, false), rc;

	if (lock < 0 && errno == ENOENT && create)
		lock = disk_open(disk, fd, BACKUP_LOCK, true);
	*lock_r = lock;
	/* One that lies on a disk that cannot be written is written by nobody. */
	if (lock < 0 && !create && (errno == EROFS || errno == ENOENT))
		return SPOOL_OK;
	rc = lock < 0 ? -1 : lock_segment(lock);
	if (rc < 0)
		return backup_failed(err, dir, BACKUP_LOCK);
	if (rc == 0)
		return SPOOL_OK;
	strbuf_addf(err, "%s: another backup or restore is at work there", dir);
	return SPOOL_BUSY;
}

static enum spool_status
check_file(const char *dir, int fd, const struct backup_file *want, struct strbuf *err)
{
	struct backup_file found = *want;
	enum spool_status st = backup_file_sum(dir, fd, &found, err);

	if (st == SPOOL_OK && (found.size != want->size || found.crc != want->crc)) {
		strbuf_addf(
		    err, "%s/%s: is damaged: it is not what was backed up", dir, want->name);
		st = SPOOL_DAMAGED;
	}
	return st;
}

/* SPOOL_VERSION for one that would be no spool for us. */
static enum spool_status
check_version(struct backup *b, struct strbuf *err)
{
	int version;
	enum spool_status st = index_read_version(b->index, &version);

	if (st != SPOOL_OK || version <= index_version(INDEX_MAIN))
		return st;
	strbuf_addf(err, "%s: made by a newer Restante (schema %d, this one knows %d)", b->dir,
	    version, index_version(INDEX_MAIN));
	return SPOOL_VERSION;
}

static enum spool_status
open_index(struct backup *b, struct strbuf *err)
{
	enum spool_status st;
	struct strbuf path;

	strbuf_init(&path, 4096);
	strbuf_addf(&path, "%s/%s", b->dir, b->manifest.index.name);
	st = path.failed ? SPOOL_NO_MEMORY : backup_db_open(path.buf, false, &b->index);
	strbuf_release(&path);
	if (st == SPOOL_OK)
		st = check_version(b, err);
	if (st == SPOOL_OK)
		st = backup_list_read(b->index, &b->list);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s/%s: cannot be read: %s", b->dir, b->manifest.index.name,
		    spool_status_text(st));
	return st;
}

enum spool_status
backup_open(const char *dir, struct backup *b, struct strbuf *err)
{
	enum spool_status st;

	*b = (struct backup){ .dir = dir, .fd = -1, .lock = -1, .segments = -1 };
	b->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->fd < 0) {
		strbuf_addf(err, "%s: %s", dir, strerror(errno));
		return errno == ENOENT || errno == ENOTDIR ? SPOOL_NO_SPOOL : SPOOL_IO;
	}
	st = backup_lock(&disk_real, dir, b->fd, false, &b->lock, err);
	if (st == SPOOL_OK)
		st = backup_manifest_read(dir, b->fd, &b->manifest, err);
	if (st == SPOOL_NO_MESSAGE) {
		strbuf_addf(
		    err, "%s: holds no backup that came to its end: it has no manifest", dir);
		st = SPOOL_NO_SPOOL;
	}
	if (st == SPOOL_OK)
		st = check_file(dir, b->fd, &b->manifest.index, err);
	if (st == SPOOL_OK)
		st = check_file(dir, b->fd, &b->manifest.secrets, err);
	if (st != SPOOL_OK)
		return st;
	b->segments = openat(b->fd, BACKUP_SEGMENTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->segments < 0)
		return backup_failed(err, dir, BACKUP_SEGMENTS);
	return open_index(b, err);
}

void
backup_release(struct backup *b)
{
	backup_list_release(&b->list);
	backup_db_close(&b->index);
	if (b->segments >= 0)
		close(b->segments);
	if (b->lock >= 0)
		close(b->lock);
	if (b->fd >= 0)
		close(b->fd);
}

enum spool_status
backup_verify(
    const char *dir, const struct backup_watch *watch, struct backup_result *r, struct strbuf *err)
{
	struct backup b;
	enum spool_status st = backup_open(dir, &b, err);
	struct backup_copier copier = { .from = b.segments,
		.to = -1,
		.index = b.index,
		.watch = *watch,
		.result = r,
		.err = err };

	*r = (struct backup_result){ .known = b.manifest.damaged, .time_ms = b.manifest.time_ms };
	if (st == SPOOL_OK)
		st = backup_read(&copier, &b.list);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: cannot be read: %s", dir, spool_status_text(st));
	backup_release(&b);
	return st;
}
