/*
 * janitor - one round of upkeep.
 *
 * Invariants:
 *  1. Nothing is punched or unlinked before the transaction that made it garbage is on disk:
 *     what was read is synced, and only what was read is given back.
 *  2. A dead segment is marked dead, on disk, before its file is touched, and forgotten only
 *     when its name is gone from the folder, on disk.  Without the mark recovery would take
 *     the file for one that the index has not seen, and bring all its deleted mail back.
 *  3. A round is one process's at a time (the janitor's byte) and one thread's in it.
 *  4. What cannot be done holds nothing else up: one file that cannot be opened keeps neither
 *     other segments nor mail past its age, and the log does not grow because of it.
 *  5. Nothing is punched or unlinked while a backup runs, which reads what was alive when it began:
 *     the backup's byte is held shared for as long as blocks and files are given back.
 */
#include "janitor.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "expire_internal.h"
#include "health.h"
#include "kept.h"
#include "spool_internal.h"

/* Records, or segments, that are dealt with at once. */
#define BATCH 1000

struct garbage {
	uint64_t message, blocks;
};

struct batch {
	struct garbage list[BATCH];
	size_t n;
};

/* What failed first is what is told. */
static enum spool_status
first_of(enum spool_status st, enum spool_status next)
{
	return st == SPOOL_OK ? next : st;
}

/* The next that lies behind `after`. */
static enum spool_status
read_garbage(struct spool *sp, uint64_t after, struct batch *b)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row;

	b->n = 0;
	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(c, "SELECT message, blocks FROM garbage WHERE message > ?2"
			     " ORDER BY message LIMIT ?1");
	sqlite3_bind_int64(stmt, 1, BATCH);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)after);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		b->list[b->n].message = (uint64_t)sqlite3_column_int64(stmt, 0);
		b->list[b->n++].blocks = (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	index_read_end(sp, &c);
	return st;
}

/* The first `n` of the list lie one behind the other in this open segment. */
static enum spool_status
punch_run(struct spool *sp, int fd, const struct garbage *list, size_t n)
{
	uint64_t first = message_block(list[0].message);
	uint64_t end = message_block(list[n - 1].message) + list[n - 1].blocks;
	char name[SEGMENT_NAME_MAX];

	if (disk_punch(sp->disk, fd, first * RECORD_BLOCK, (end - first) * RECORD_BLOCK) == 0)
		return SPOOL_OK;
	if (errno != EOPNOTSUPP)
		return spool_failed(
		    "punch_failed", segment_name(name, message_segment(list[0].message)), errno);
	if (!atomic_exchange(&sp->no_holes, true))
		log_event(LOG_LEVEL_WARNING, "no_holes", log_text("path", sp->dir),
		    log_text("advice",
			"this file system cannot give blocks back from within a file: room "
			"returns when all of a segment is deleted; ext4, xfs and btrfs can"));
	return SPOOL_OK;
}

/* The garbage at the head of the list that lies in one segment; *n_r is how many. */
static enum spool_status
punch_segment(struct spool *sp, const struct garbage *list, size_t n, size_t *n_r)
{
	uint64_t number = message_segment(list[0].message);
	enum spool_status st = SPOOL_OK;
	char name[SEGMENT_NAME_MAX];
	size_t i, run;
	int fd;

	for (i = 1; i < n && message_segment(list[i].message) == number;)
		i++;
	*n_r = n = i;
	fd = disk_open(sp->disk, sp->segments_fd, segment_name(name, number), false);
	if (fd < 0 && errno != ENOENT)
		return spool_failed("segment_open_failed", name, errno);
	for (i = 0; st == SPOOL_OK && i < n; i += run) {
		for (run = 1; i + run < n && list[i + run].message == list[i + run - 1].message +
									  list[i + run - 1].blocks;)
			run++;
		if (fd >= 0)
			st = punch_run(sp, fd, list + i, run);
	}
	/* A segment that is gone has given all back. */
	if (fd >= 0)
		close(fd);
	return st;
}

/* What was given back stays in the list, the rest leaves it. */
static enum spool_status
punch_batch(struct spool *sp, struct batch *b)
{
	enum spool_status st = SPOOL_OK, punched;
	size_t kept = 0, n;

	for (size_t i = 0; i < b->n; i += n) {
		punched = punch_segment(sp, b->list + i, b->n - i, &n);
		st = first_of(st, punched);
		if (punched != SPOOL_OK)
			continue;
		memmove(b->list + kept, b->list + i, n * sizeof(*b->list));
		kept += n;
	}
	b->n = kept;
	return st;
}

static enum spool_status
forget_garbage(struct spool *sp, const struct batch *b)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;

	st = index_write_begin(sp, INDEX_MAIN, "garbage", &c);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; st == SPOOL_OK && i < b->n; i++) {
		stmt = index_stmt(c, "DELETE FROM garbage WHERE message = ?1");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->list[i].message);
		st = index_run(c, stmt);
	}
	/* Not synced: what is punched twice is no different. */
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, false);
	index_write_abandon(sp, &c);
	return st;
}

static enum spool_status
collect_garbage(struct spool *sp)
{
	struct batch b;
	enum spool_status st, left = SPOOL_OK;
	uint64_t after = 0;
	bool more;

	do {
		st = read_garbage(sp, after, &b);
		if (st != SPOOL_OK || b.n == 0)
			break;
		more = b.n == BATCH;
		after = b.list[b.n - 1].message;
		st = index_sync(sp);
		if (st != SPOOL_OK)
			break;
		left = first_of(left, punch_batch(sp, &b));
		/* What was punched may have been all that a full disk has free. */
		ballast_prepare(sp, 0);
		do
			st = forget_garbage(sp, &b);
		while (ballast_helps(sp, st));
	} while (st == SPOOL_OK && more);
	return first_of(st, left);
}

struct segments {
	uint64_t list[BATCH];
	size_t n;
};

/* The next whose number is above `after`. */
static enum spool_status
read_segments(struct spool *sp, const char *sql, uint64_t after, struct segments *s)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row;

	s->n = 0;
	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(c, sql);
	sqlite3_bind_int64(stmt, 1, BATCH);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)after);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row)
		s->list[s->n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
	index_read_end(sp, &c);
	return st;
}

/* Each statement for each segment of the list, in one transaction that is not synced. */
static enum spool_status
write_segments(struct spool *sp, const struct segments *s, const char *const *sql, size_t nsql)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;

	st = index_write_begin(sp, INDEX_MAIN, "dead segments", &c);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; st == SPOOL_OK && i < s->n; i++)
		for (size_t j = 0; st == SPOOL_OK && j < nsql; j++) {
			stmt = index_stmt(c, sql[j]);
			sqlite3_bind_int64(stmt, 1, (sqlite3_int64)s->list[i]);
			st = index_run(c, stmt);
		}
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, false);
	index_write_abandon(sp, &c);
	return st;
}

/* Truncated first: another process that has read from it keeps it open for a while. */
static enum spool_status
remove_file(struct spool *sp, uint64_t number)
{
	char name[SEGMENT_NAME_MAX];
	enum spool_status st = SPOOL_OK;
	int fd;

	fd = disk_open(sp->disk, sp->segments_fd, segment_name(name, number), false);
	if (fd < 0 && errno == ENOENT)
		return SPOOL_OK;
	if (fd < 0 || disk_truncate(sp->disk, fd, 0) != 0 ||
	    disk_unlink(sp->disk, sp->segments_fd, name) != 0)
		st = spool_failed("segment_remove_failed", name, errno);
	if (fd >= 0)
		close(fd);
	return st;
}

/* Those in which nothing lives.  Nothing is added to a closed segment, so what is read here as
 * empty stays so. */
static enum spool_status
mark_dead_segments(struct spool *sp)
{
	static const char *const mark[] = {
		"UPDATE segment SET state = 2 WHERE number = ?1 AND state = 1 AND live = 0",
		"DELETE FROM garbage WHERE message >= ?1 << 21 AND message < (?1 + 1) << 21",
	};
	struct segments s;
	enum spool_status st;

	do {
		st = read_segments(sp,
		    "SELECT number FROM segment WHERE live = 0 AND state = 1 AND number > ?2"
		    " ORDER BY number LIMIT ?1",
		    0, &s);
		if (st == SPOOL_OK && s.n > 0)
			st = write_segments(sp, &s, mark, 2);
	} while (st == SPOOL_OK && s.n == BATCH);
	return st;
}

/* Those whose file is gone stay in the list. */
static enum spool_status
remove_files(struct spool *sp, struct segments *s)
{
	enum spool_status st = SPOOL_OK, removed;
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		removed = remove_file(sp, s->list[i]);
		st = first_of(st, removed);
		if (removed == SPOOL_OK)
			s->list[kept++] = s->list[i];
	}
	s->n = kept;
	return st;
}

static enum spool_status
remove_dead_segments(struct spool *sp)
{
	static const char *const forget[] = {
		"DELETE FROM segment WHERE number = ?1 AND state = 2",
	};
	enum spool_status st = mark_dead_segments(sp), left = SPOOL_OK;
	uint64_t after = 0;
	struct segments s;
	bool more;

	while (st == SPOOL_OK) {
		/* Also those that somebody marked who did not come to the end. */
		st = read_segments(sp,
		    "SELECT number FROM segment WHERE state <> 1 AND state = 2 AND number > ?2"
		    " ORDER BY number LIMIT ?1",
		    after, &s);
		if (st != SPOOL_OK || s.n == 0)
			break;
		more = s.n == BATCH;
		after = s.list[s.n - 1];
		ballast_prepare(sp, 0);
		/* The marks on disk, ours and those that another process made and left. */
		st = index_sync(sp);
		if (st != SPOOL_OK)
			break;
		left = first_of(left, remove_files(sp, &s));
		if (disk_sync(sp->disk, sp->segments_fd) != 0)
			st = spool_failed("segment_remove_failed", "segments", errno);
		if (st == SPOOL_OK)
			st = write_segments(sp, &s, forget, 1);
		if (!more)
			break;
	}
	return first_of(st, left);
}

/* Everything that is dead gives its room back; what dies while a backup runs, once it is over. */
static enum spool_status
reclaim(struct spool *sp)
{
	enum spool_status st;
	int rc = lock_role_try(&sp->locks, LOCK_BACKUP, true);

	if (rc != 0)
		return rc > 0 ? SPOOL_OK : spool_failed("lock_failed", "locks/roles", errno);
	do
		st = remove_dead_segments(sp);
	while (ballast_helps(sp, st));
	st = first_of(st, collect_garbage(sp));
	lock_role_release(&sp->locks, LOCK_BACKUP);
	sp->reclaimed_ms = clock_mono_ms();
	return st;
}

static enum spool_status
checkpoint(struct spool *sp, bool short_too)
{
	enum spool_status st;
	bool whole;

	if (!short_too && index_frames(sp) < INDEX_FRAMES_MANY)
		return SPOOL_OK;
	do
		st = index_checkpoint(sp, &whole);
	while (ballast_helps(sp, st));
	/* SQLite syncs index.db when all of the log is in it, and not before. */
	if (st == SPOOL_OK && whole)
		epoch_note_file(sp);
	return st;
}

/* So that neither the log nor what is dead grows with how much is due at once. */
static enum spool_status
between_batches(struct spool *sp)
{
	enum spool_status st = checkpoint(sp, false);

	/* What cannot be given back is told at the end of the round. */
	if (st == SPOOL_OK && clock_mono_ms() - sp->reclaimed_ms >= sp->reclaim_ms)
		(void)reclaim(sp);
	return st;
}

static enum spool_status
expire(struct spool *sp, struct janitor_task *task)
{
	struct expire_run run = { .between = between_batches };
	enum spool_status st = SPOOL_OK;

	task->busy = 0;
	task->expired = false;
	if (!task->expire)
		return st;
	st = expire_run(sp, &run);
	task->busy = run.result.busy;
	task->expired = st == SPOOL_OK;
	return st;
}

static enum spool_status
mend(struct spool *sp)
{
	enum spool_status st = SPOOL_OK;

	while (index_broken(sp)) {
		st = index_mend(sp);
		if (st != SPOOL_OK && !ballast_helps(sp, st))
			break;
	}
	return st;
}

/* With the janitor's byte.  Each part has its turn, whatever became of those before it. */
static enum spool_status
work(struct spool *sp, struct janitor_task *task)
{
	enum spool_status st = mend(sp);

	if (st != SPOOL_OK)
		return st;
	/* First, and again at the end: on a full disk the rest may need it. */
	if (!task->dead_waits)
		(void)reclaim(sp);
	st = expire(sp, task);
	/* By one daemon's word: where one has read a longer keep_deleted and the other has not yet,
	 * the shorter would end all. */
	if (sp->role != SPOOL_POP3D)
		st = first_of(st, kept_purge(sp));
	if (!task->dead_waits)
		st = first_of(st, reclaim(sp));
	/* pop-admin comes and goes. */
	if (sp->role != SPOOL_ADMIN)
		ballast_fill(sp);
	st = first_of(st, checkpoint(sp, task->checkpoint));
	/* What this round broke is not left to the next: that comes late after a failure, and nobody can
	 * write until then. */
	return first_of(st, mend(sp));
}

static enum spool_status
take_role(struct spool *sp)
{
	int rc = lock_role_try(&sp->locks, LOCK_JANITOR, false);

	if (rc == 0)
		return SPOOL_OK;
	return rc > 0 ? SPOOL_BUSY : spool_failed("lock_failed", "locks/roles", errno);
}

enum spool_status
janitor_round(struct spool *sp, struct janitor_task *task)
{
	enum spool_status st;

	pthread_mutex_lock(&sp->round_mutex);
	st = take_role(sp);
	if (st == SPOOL_OK) {
		st = work(sp, task);
		lock_role_release(&sp->locks, LOCK_JANITOR);
	}
	pthread_mutex_unlock(&sp->round_mutex);
	return st;
}

enum spool_status
janitor_checkpoint(struct spool *sp)
{
	enum spool_status st;

	if (index_frames(sp) < INDEX_FRAMES_MANY || pthread_mutex_trylock(&sp->round_mutex) != 0)
		return SPOOL_OK;
	st = take_role(sp);
	if (st == SPOOL_OK) {
		st = checkpoint(sp, false);
		lock_role_release(&sp->locks, LOCK_JANITOR);
	}
	pthread_mutex_unlock(&sp->round_mutex);
	return st == SPOOL_BUSY ? SPOOL_OK : st;
}
