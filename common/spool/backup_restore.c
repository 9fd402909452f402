/*
 * backup_restore - a spool out of a backup.
 *
 * Invariants:
 *  1. index/index.db gets its name last, when all else is on disk and was read back: until then
 *     there is no spool there for anybody. SPOOL/restoring says so to who would make one, and to the
 *     next restore that what lies there is its own.
 *  2. No UID that the lost spool gave is given again, though the backup does not know the last of
 *     them. A segment's number is the time of its birth in milliseconds, or one more than the newest,
 *     whichever is more. So each number that was given after the backup is below what the clock says
 *     now, or it is above the newest by less than how many were made, or the clock has been ahead
 *     meanwhile. The first number here is above the later of the two and SEGMENT_SLACK beyond, which
 *     covers so many segments made faster than one a millisecond, and a clock that was ahead by so
 *     much. A clock that stands before the backup's own time is no clock to go by, and refused.
 *  3. UIDs that mail got when it was brought back are made of the mailbox's count of removals, which
 *     is raised likewise.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup_internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "lock.h"
#include "segment.h"
#include "spool_internal.h"

#define NEW_INDEX "index.db.new"
#define NEW_SECRETS "secrets.db.new"
#define COPY_SIZE (256u * 1024)

struct restore {
	const char *dir;  /* of the spool */
	int fd, segments; /* owned */
	struct locks locks;
	bool locked;
	const struct backup *b;
	uint64_t floor;
	struct strbuf *err;
};

/* --- the place ------------------------------------------------------------ */

static enum spool_status
exists(struct restore *r)
{
	struct locks locks;
	int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool live = false;

	if (fd >= 0 && locks_open(&locks, &disk_real, fd) == 0) {
		live = lock_role_elsewhere(&locks, LOCK_OPEN) > 0;
		locks_close(&locks);
	}
	if (fd >= 0)
		close(fd);
	if (live) {
		strbuf_addf(r->err,
		    "%s: is a spool that is in use: end the daemons, then move it aside", r->dir);
		return SPOOL_BUSY;
	}
	strbuf_addf(r->err, "%s: is not empty: move it aside; nothing is written over it", r->dir);
	return SPOOL_EXISTS;
}

/* Nothing is there, or what a restore left that did not come to its end. */
static enum spool_status
check_place(struct restore *r)
{
	DIR *dir = opendir(r->dir);
	bool other = false, ours = false, index = false;
	const struct dirent *file;

	if (dir == NULL && errno == ENOENT)
		return SPOOL_OK;
	if (dir == NULL)
		return backup_failed(r->err, r->dir, "");
	while ((file = readdir(dir)) != NULL)
		if (strcmp(file->d_name, SPOOL_RESTORING) == 0)
			ours = true;
		else if (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0 &&
			 strcmp(file->d_name, "lost+found") != 0)
			other = true;
	index = faccessat(dirfd(dir), "index/index.db", F_OK, 0) == 0;
	closedir(dir);
	return (other && !ours) || index ? exists(r) : SPOOL_OK;
}

static enum spool_status
check_clock(struct restore *r)
{
	uint64_t now = clock_wall_ms(), newest = r->b->manifest.newest;
	char clock[NUM_TEXT_MAX], time[NUM_TEXT_MAX];

	if (now < r->b->manifest.time_ms) {
		strbuf_addf(r->err,
		    "the clock says %s, and the backup is of %s: set the clock, or UIDs would be "
		    "given again that clients know",
		    num_format_time(clock, now / 1000),
		    num_format_time(time, r->b->manifest.time_ms / 1000));
		return SPOOL_NOT_READY;
	}
	r->floor = (now > newest ? now : newest) + SEGMENT_SLACK;
	return SPOOL_OK;
}

/* The marker before anything else, so that what follows is known as ours. */
static enum spool_status
mark_place(struct restore *r)
{
	int fd, mark;

	if (disk_mkdir(&disk_real, AT_FDCWD, r->dir) != 0)
		return backup_failed(r->err, r->dir, "");
	fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return backup_failed(r->err, r->dir, "");
	mark = disk_open(&disk_real, fd, SPOOL_RESTORING, true);
	if ((mark < 0 && errno != EEXIST) || disk_sync(&disk_real, fd) != 0) {
		close(fd);
		return backup_failed(r->err, r->dir, SPOOL_RESTORING);
	}
	if (mark >= 0)
		close(mark);
	close(fd);
	return SPOOL_OK;
}

static enum spool_status
make_place(struct restore *r)
{
	enum spool_status st = mark_place(r);
	int rc;

	if (st == SPOOL_OK)
		st = spool_make_folders(r->dir, &r->fd, r->err);
	if (st != SPOOL_OK)
		return st;
	if (disk_mkdir(&disk_real, r->fd, "index") != 0 ||
	    disk_mkdir(&disk_real, r->fd, "secrets") != 0 ||
	    locks_open(&r->locks, &disk_real, r->fd) != 0)
		return backup_failed(r->err, r->dir, "");
	r->locked = true;
	/* Against another restore, and against who finds the index a moment too early. */
	rc = lock_role_try(&r->locks, LOCK_RECOVERY, false);
	if (rc == 0)
		rc = lock_role_try(&r->locks, LOCK_OPEN, false);
	if (rc < 0)
		return backup_failed(r->err, r->dir, "locks/roles");
	if (rc > 0) {
		strbuf_addf(r->err, "%s: another restore is at work there", r->dir);
		return SPOOL_BUSY;
	}
	r->segments = openat(r->fd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->segments >= 0 ? SPOOL_OK : backup_failed(r->err, r->dir, "segments");
}

/* --- the databases -------------------------------------------------------- */

/* All of a file into another one, that is empty. */
static int
copy_octets(int from, int to)
{
	uint8_t *buf = mem_array(1, COPY_SIZE);
	uint64_t at = 0;
	ssize_t n = -1;

	if (buf == NULL) {
		errno = ENOMEM;
		return -1;
	}
	while ((n = read(from, buf, COPY_SIZE)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (disk_write_buf(&disk_real, to, buf, (size_t)n, at) != 0) {
			n = -1;
			break;
		}
		at += (uint64_t)n;
	}
	mem_free(&buf);
	return n == 0 ? 0 : -1;
}

static enum spool_status
copy_file(struct restore *r, const struct backup_file *f, int folder, const char *name)
{
	enum spool_status st = SPOOL_OK;
	struct backup_file copy = { 0 };
	int from, to = -1;

	from = openat(r->b->fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0)
		return backup_failed(r->err, r->b->dir, f->name);
	if (disk_unlink(&disk_real, folder, name) != 0 ||
	    (to = disk_open(&disk_real, folder, name, true)) < 0 || copy_octets(from, to) != 0 ||
	    disk_sync(&disk_real, to) != 0)
		st = backup_failed(r->err, r->dir, name);
	if (st == SPOOL_OK) {
		posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED);
		snprintf(copy.name, sizeof(copy.name), "%s", name);
		st = backup_file_sum(r->dir, folder, &copy, r->err);
	}
	if (st == SPOOL_OK && (copy.size != f->size || copy.crc != f->crc)) {
		strbuf_addf(r->err,
		    "%s/%s: other octets were read back than were written: do not trust this disk",
		    r->dir, name);
		st = SPOOL_IO;
	}
	close(from);
	if (to >= 0)
		close(to);
	return st;
}

/* Under a name that is nobody's yet; on disk, as it will be. */
static enum spool_status
make_database(struct restore *r, const struct backup_file *f, const char *folder, const char *name,
    enum index_db which)
{
	int dir = openat(r->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	enum spool_status st;
	struct strbuf path;

	if (dir < 0)
		return backup_failed(r->err, r->dir, folder);
	strbuf_init(&path, 4096);
	strbuf_addf(&path, "%s/%s/%s", r->dir, folder, name);
	st = path.failed ? SPOOL_NO_MEMORY : copy_file(r, f, dir, name);
	if (st == SPOOL_OK) {
		st = backup_db_revive(path.buf, which, r->floor);
		if (st != SPOOL_OK)
			strbuf_addf(
			    r->err, "%s: cannot be made: %s", path.buf, spool_status_text(st));
	}
	if (st == SPOOL_OK) {
		fd = disk_open(&disk_real, dir, name, false);
		if (fd < 0 || disk_sync(&disk_real, fd) != 0 || disk_sync(&disk_real, dir) != 0)
			st = backup_failed(r->err, r->dir, name);
		if (fd >= 0)
			close(fd);
	}
	strbuf_release(&path);
	close(dir);
	return st;
}

static enum spool_status
name_database(struct restore *r, const char *folder, const char *from, const char *to)
{
	int dir = openat(r->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum spool_status st = SPOOL_OK;

	/* Never in the place of one that somebody made meanwhile. */
	if (dir < 0 || disk_name_tmp(&disk_real, dir, -1, from, to) != 0 ||
	    disk_sync(&disk_real, dir) != 0)
		st = backup_failed(r->err, r->dir, folder);
	if (dir >= 0)
		close(dir);
	return st;
}

static int
unlink_secrets(struct restore *r)
{
	int dir = openat(r->fd, "secrets", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = dir < 0 ? -1 : disk_unlink(&disk_real, dir, "secrets.db");

	if (dir >= 0)
		close(dir);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

static enum spool_status
fill_place(struct restore *r, const struct backup_watch *watch, struct backup_result *result)
{
	const struct backup_manifest *m = &r->b->manifest;
	struct backup_copier copier = { .disk = &disk_real,
		.to_dir = r->dir,
		.from = r->b->segments,
		.to = r->segments,
		.index = r->b->index,
		.watch = { .progress = watch->progress, .progress_arg = watch->progress_arg },
		.result = result,
		.err = r->err };
	enum spool_status st;

	st = make_database(r, &m->secrets, "secrets", NEW_SECRETS, INDEX_SECRETS);
	if (st == SPOOL_OK)
		st = make_database(r, &m->index, "index", NEW_INDEX, INDEX_MAIN);
	if (st == SPOOL_OK)
		st = backup_copy(&copier, &r->b->list);
	/* Of another backup, where an earlier restore was begun with that. */
	if (st == SPOOL_OK)
		st = backup_trim(&copier, &r->b->list);
	/* An earlier restore may have come as far as this. */
	if (st == SPOOL_OK && unlink_secrets(r) != 0)
		st = backup_failed(r->err, r->dir, "secrets");
	if (st == SPOOL_OK)
		st = name_database(r, "secrets", NEW_SECRETS, "secrets.db");
	if (st == SPOOL_OK && disk_sync(&disk_real, r->fd) != 0)
		st = backup_failed(r->err, r->dir, "");
	if (st == SPOOL_OK)
		st = name_database(r, "index", NEW_INDEX, "index.db");
	/* It is a spool from here on; where the marker stays who opens it takes it away (keeper.c). */
	if (st == SPOOL_OK && (disk_unlink(&disk_real, r->fd, SPOOL_RESTORING) != 0 ||
				  disk_sync(&disk_real, r->fd) != 0))
		st = backup_failed(r->err, r->dir, SPOOL_RESTORING);
	return st;
}

enum spool_status
backup_restore(const char *dir, const char *spool_dir, const struct backup_watch *watch,
    struct backup_result *result, struct strbuf *err)
{
	struct backup b;
	struct restore r = { .dir = spool_dir, .fd = -1, .segments = -1, .b = &b, .err = err };
	enum spool_status st = backup_open(dir, &b, err);

	*result =
	    (struct backup_result){ .known = b.manifest.damaged, .time_ms = b.manifest.time_ms };
	if (st == SPOOL_OK)
		st = check_place(&r);
	if (st == SPOOL_OK)
		st = check_clock(&r);
	if (st == SPOOL_OK)
		st = make_place(&r);
	if (st == SPOOL_OK)
		st = fill_place(&r, watch, result);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: cannot be restored: %s", spool_dir, spool_status_text(st));
	if (r.locked)
		locks_close(&r.locks);
	if (r.segments >= 0)
		close(r.segments);
	if (r.fd >= 0)
		close(r.fd);
	backup_release(&b);
	return st;
}
