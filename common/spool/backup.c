/*
 * backup - taking one.
 *
 *     DIR/manifest               what makes it a backup; written last
 *     DIR/index-TIME.db          the index as it was at TIME, in milliseconds
 *     DIR/secrets-TIME.db        the secrets
 *     DIR/segments/NUMBER        the records that the index names, and holes
 *     DIR/lock                   empty; its first octet is locked by who is at work
 *
 * The index first, then the segments. A record is on disk before its rows are committed and is
 * never written again, so what an index of one instant names lies in the segments from then on, for
 * as long as nothing is given back: this is what the backup's byte is held for, from before that
 * instant on. The other way round the copied segments would lack what the index has by then.
 *
 * Invariants:
 *  1. The backup's byte is held, exclusively, before the index's state is fixed, until the last
 *     segment is copied: nothing that it names is punched or unlinked meanwhile.
 *  2. The state of the secrets is fixed at one instant with the index's: their writer's lock is
 *     held while both are. An account is added secrets first and removed index first, so each
 *     mailbox in the index has its secrets.
 *  3. What the index's state has is on disk in the spool too before any of it counts as backed up:
 *     the log is synced after the state was fixed. Otherwise a removal that is answered with -ERR,
 *     for its sync failed, is in the backup and not in the spool.
 *  4. At every instant a whole backup lies in the folder, once there was one: records are only
 *     added, under names of their own lie the new databases, and one rename of the manifest, when
 *     all of it is on disk, ends the old one. Only then goes what the new one does not need.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "account_internal.h"
#include "backup_internal.h"
#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "janitor.h"
#include "lock.h"
#include "spool_internal.h"

/* How long a round of upkeep is waited for. */
#define WAIT_TRIES 600
#define WAIT_MS 50

struct run {
	struct spool *sp;
	const char *dir;
	int fd, lock, segments; /* the folder, and in it */
	bool held;              /* the backup's byte */
	struct backup_manifest manifest;
	struct index_conn *index; /* the copy */
	struct backup_list list;
	struct strbuf *err;
};

/* --- the folder ----------------------------------------------------------- */

/* A folder of ours, or one in which there is nothing: of a file system of its own, next to nothing. */
static enum spool_status
check_ours(struct run *run)
{
	int fd = openat(run->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *file;
	bool other = false;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return backup_failed(run->err, run->dir, "");
	}
	while ((file = readdir(dir)) != NULL)
		other =
		    other || (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0 &&
				 strcmp(file->d_name, "lost+found") != 0);
	closedir(dir);
	if (!other || (faccessat(run->fd, BACKUP_LOCK, F_OK, 0) == 0 &&
			  faccessat(run->fd, "locks", F_OK, 0) != 0))
		return SPOOL_OK;
	strbuf_addf(
	    run->err, "%s: holds other things than a backup: name a folder of its own", run->dir);
	return SPOOL_EXISTS;
}

static enum spool_status
open_folder(struct run *run)
{
	const struct disk_ops *disk = run->sp->disk;
	bool made = access(run->dir, F_OK) != 0;
	enum spool_status st;
	int parent;

	if (disk_mkdir(disk, AT_FDCWD, run->dir) != 0)
		return backup_failed(run->err, run->dir, "");
	run->fd = open(run->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->fd < 0)
		return backup_failed(run->err, run->dir, "");
	st = check_ours(run);
	if (st != SPOOL_OK)
		return st;
	/* There are passwords' hashes in it. */
	if (fchmod(run->fd, 0700) != 0)
		return backup_failed(run->err, run->dir, "");
	st = backup_lock(disk, run->dir, run->fd, true, &run->lock, run->err);
	if (st != SPOOL_OK)
		return st;
	if (disk_mkdir(disk, run->fd, BACKUP_SEGMENTS) != 0)
		return backup_failed(run->err, run->dir, BACKUP_SEGMENTS);
	run->segments = openat(run->fd, BACKUP_SEGMENTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->segments < 0 || disk_sync(disk, run->fd) != 0)
		return backup_failed(run->err, run->dir, BACKUP_SEGMENTS);
	parent = made ? openat(run->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (parent >= 0) {
		int rc = disk_sync(disk, parent);

		close(parent);
		if (rc != 0)
			return backup_failed(run->err, run->dir, "..");
	}
	return SPOOL_OK;
}

/* The spool's own number, which it gets with its first backup and keeps when it is restored. */
static enum spool_status
spool_number(struct spool *sp, uint64_t *number_r)
{
	struct index_conn *c;
	enum spool_status st;
	uint64_t number;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st == SPOOL_OK)
		st = backup_meta(c, "spool_id", number_r);
	index_read_end(sp, &c);
	if (st != SPOOL_OK || *number_r != 0)
		return st;
	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return spool_failed("getrandom_failed", "backup", errno);
	/* Where the disk is full a backup is wanted most. */
	ballast_prepare(sp, 0);
	st = index_write_begin(sp, INDEX_MAIN, "backup", &c);
	if (st != SPOOL_OK)
		return st;
	st = account_run(
	    c, "INSERT OR IGNORE INTO meta VALUES ('spool_id', ?1)", "u", (number >> 1) | 1);
	if (st == SPOOL_OK)
		st = backup_meta(c, "spool_id", number_r);
	return account_end(sp, &c, st);
}

/* Removes databases that the manifest does not name, of runs that did not come to their ends and of
 * the backup before, and what SQLite left beside them. */
static enum spool_status
drop_others(struct run *run, const struct backup_manifest *keep)
{
	int fd = openat(run->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *file;
	enum spool_status st = SPOOL_OK;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return backup_failed(run->err, run->dir, "");
	}
	while (st == SPOOL_OK && (file = readdir(dir)) != NULL) {
		if ((strncmp(file->d_name, BACKUP_INDEX, strlen(BACKUP_INDEX)) != 0 &&
			strncmp(file->d_name, BACKUP_SECRETS, strlen(BACKUP_SECRETS)) != 0) ||
		    strcmp(file->d_name, keep->index.name) == 0 ||
		    strcmp(file->d_name, keep->secrets.name) == 0)
			continue;
		if (disk_unlink(run->sp->disk, run->fd, file->d_name) != 0)
			st = backup_failed(run->err, run->dir, file->d_name);
	}
	closedir(dir);
	return st;
}

/* What lies there must be an earlier backup of this spool: all that it has and this one has not is
 * taken out in the end. */
static enum spool_status
check_earlier(struct run *run, uint64_t newest)
{
	struct backup_manifest old;
	enum spool_status st = backup_manifest_read(run->dir, run->fd, &old, run->err);

	/* A damaged one is no backup; its records still save their copying, and its index may save
	 * somebody else's day until there is another. */
	if (st == SPOOL_DAMAGED) {
		strbuf_clear(run->err);
		return SPOOL_OK;
	}
	if (st == SPOOL_NO_MESSAGE)
		return drop_others(run, &old);
	if (st != SPOOL_OK)
		return st;
	if (old.spool != run->manifest.spool) {
		strbuf_addf(run->err, "%s: holds the backup of another spool", run->dir);
		return SPOOL_EXISTS;
	}
	if (old.newest > newest) {
		strbuf_addf(run->err,
		    "%s: holds a backup of this spool in a later state than it has now: keep that, "
		    "and name another folder",
		    run->dir);
		return SPOOL_EXISTS;
	}
	return drop_others(run, &old);
}

/* --- the databases -------------------------------------------------------- */

static enum spool_status
hold_janitor(struct run *run)
{
	const struct timespec pause = { .tv_nsec = WAIT_MS * 1000000L };
	struct locks *locks = &run->sp->locks;
	int rc = 1;

	for (int i = 0; rc > 0 && i < WAIT_TRIES; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		rc = lock_role_taken(locks, LOCK_BACKUP);
		if (rc > 0) {
			strbuf_addf(run->err, "%s: another backup of it runs", run->sp->dir);
			return SPOOL_BUSY;
		}
		if (rc == 0)
			rc = lock_role_try(locks, LOCK_BACKUP, false);
	}
	run->held = rc == 0;
	if (rc < 0)
		return spool_failed("lock_failed", "locks/roles", errno);
	if (rc > 0)
		strbuf_addf(run->err, "%s: upkeep does not come to its end", run->sp->dir);
	return rc == 0 ? SPOOL_OK : SPOOL_BUSY;
}

static void
let_janitor_go(struct run *run)
{
	if (!run->held)
		return;
	lock_role_release(&run->sp->locks, LOCK_BACKUP);
	run->held = false;
	/* What it left lies there since. */
	janitor_wake(run->sp);
}

/* Begins both read transactions at one instant (invariant 2); ends them on failure. */
static enum spool_status
fix_states(struct run *run, struct index_conn **index_r, struct index_conn **secrets_r)
{
	struct spool *sp = run->sp;
	struct index_conn *writer;
	enum spool_status st;
	uint64_t n = 0;

	*index_r = *secrets_r = NULL;
	st = index_write_begin(sp, INDEX_SECRETS, "backup", &writer);
	if (st != SPOOL_OK)
		return st;
	st = index_read_begin(sp, INDEX_SECRETS, secrets_r);
	/* A transaction has its state from its first statement on. */
	if (st == SPOOL_OK)
		st = index_run(*secrets_r, index_stmt(*secrets_r, "SELECT 1 FROM secret LIMIT 1"));
	if (st == SPOOL_OK)
		st = index_read_begin(sp, INDEX_MAIN, index_r);
	if (st == SPOOL_OK)
		st = backup_meta(*index_r, "newest_segment", &n);
	run->manifest.newest = n;
	run->manifest.time_ms = clock_wall_ms();
	index_write_abandon(sp, &writer);
	if (st == SPOOL_OK)
		st = index_sync(sp);
	return st;
}

/* The earlier backup's databases stay until its manifest goes. */
static void
name_databases(struct run *run)
{
	struct backup_manifest *m = &run->manifest;

	do {
		snprintf(m->index.name, sizeof(m->index.name), BACKUP_INDEX "%" PRIu64 ".db",
		    m->time_ms);
		snprintf(m->secrets.name, sizeof(m->secrets.name), BACKUP_SECRETS "%" PRIu64 ".db",
		    m->time_ms);
	} while ((faccessat(run->fd, m->index.name, F_OK, 0) == 0 ||
		     faccessat(run->fd, m->secrets.name, F_OK, 0) == 0) &&
		 ++m->time_ms != 0);
}

static enum spool_status
copy_database(struct run *run, struct index_conn *from, enum index_db which, struct backup_file *f)
{
	const struct disk_ops *disk = run->sp->disk;
	enum spool_status st = SPOOL_OK;
	struct strbuf path;
	int fd;

	fd = disk_open(disk, run->fd, f->name, true);
	if (fd < 0)
		return backup_failed(run->err, run->dir, f->name);
	strbuf_init(&path, 4096);
	strbuf_addf(&path, "%s/%s", run->dir, f->name);
	if (path.failed)
		st = SPOOL_NO_MEMORY;
	if (st == SPOOL_OK)
		st = backup_db_copy(from, path.buf);
	if (st == SPOOL_OK)
		st = backup_db_settle(path.buf, which);
	if (st == SPOOL_NO_SPACE) {
		errno = ENOSPC;
		backup_failed(run->err, run->dir, f->name);
	} else if (st == SPOOL_DAMAGED)
		strbuf_addf(run->err,
		    "%s: the spool's %s is damaged: no backup is made of that; an earlier one "
		    "stays "
		    "what it was",
		    run->sp->dir, which == INDEX_MAIN ? "index" : "file of secrets");
	else if (st != SPOOL_OK)
		strbuf_addf(run->err, "%s: cannot be written: %s", path.buf, spool_status_text(st));
	else if (disk_sync(disk, fd) != 0)
		st = backup_failed(run->err, run->dir, f->name);
	strbuf_release(&path);
	/* It is read back from the disk: by its sum, and by all that follows. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return st == SPOOL_OK ? backup_file_sum(run->dir, run->fd, f, run->err) : st;
}

static enum spool_status
copy_databases(struct run *run)
{
	struct index_conn *index, *secrets;
	enum spool_status st = fix_states(run, &index, &secrets);

	if (st == SPOOL_OK)
		st = check_earlier(run, run->manifest.newest);
	name_databases(run);
	/* Quickly, for who changes a password waits until nobody reads the old one. */
	if (st == SPOOL_OK)
		st = copy_database(run, secrets, INDEX_SECRETS, &run->manifest.secrets);
	if (secrets != NULL)
		index_read_end(run->sp, &secrets);
	if (st == SPOOL_OK)
		st = copy_database(run, index, INDEX_MAIN, &run->manifest.index);
	if (index != NULL)
		index_read_end(run->sp, &index);
	return st;
}

/* --- the whole ------------------------------------------------------------ */

static enum spool_status
copy_records(struct run *run, struct backup_copier *copier)
{
	struct strbuf path;
	enum spool_status st;

	strbuf_init(&path, 4096);
	strbuf_addf(&path, "%s/%s", run->dir, run->manifest.index.name);
	st = backup_db_open(path.buf, false, &run->index);
	strbuf_release(&path);
	if (st == SPOOL_OK)
		st = backup_list_read(run->index, &run->list);
	copier->index = run->index;
	return st == SPOOL_OK ? backup_copy(copier, &run->list) : st;
}

static enum spool_status
take(struct run *run, struct backup_copier *copier, struct backup_result *r)
{
	enum spool_status st;

	st = spool_number(run->sp, &run->manifest.spool);
	if (st == SPOOL_OK)
		st = hold_janitor(run);
	if (st == SPOOL_OK)
		st = copy_databases(run);
	if (st == SPOOL_OK)
		st = copy_records(run, copier);
	let_janitor_go(run);
	if (st != SPOOL_OK)
		return st;
	run->manifest.messages = r->messages;
	run->manifest.octets = r->octets;
	run->manifest.damaged = r->known = r->damaged;
	r->time_ms = run->manifest.time_ms;
	st = backup_manifest_write(
	    run->sp->disk, run->dir, run->fd, &run->manifest, &run->list, run->err);
	if (st == SPOOL_OK)
		st = backup_trim(copier, &run->list);
	if (st == SPOOL_OK)
		st = drop_others(run, &run->manifest);
	return st;
}

enum spool_status
backup_run(struct spool *sp, const char *dir, const struct backup_watch *watch,
    struct backup_result *r, struct strbuf *err)
{
	struct run run = { .sp = sp, .dir = dir, .fd = -1, .lock = -1, .segments = -1, .err = err };
	struct backup_copier copier = { .disk = sp->disk,
		.to_dir = dir,
		.from = sp->segments_fd,
		.watch = *watch,
		.result = r,
		.err = err };
	enum spool_status st;

	*r = (struct backup_result){ 0 };
	st = open_folder(&run);
	copier.to = run.segments;
	if (st == SPOOL_OK)
		st = take(&run, &copier, r);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: cannot be backed up: %s", sp->dir, spool_status_text(st));
	backup_list_release(&run.list);
	backup_db_close(&run.index);
	if (run.segments >= 0)
		close(run.segments);
	if (run.lock >= 0)
		close(run.lock);
	if (run.fd >= 0)
		close(run.fd);
	return st;
}
