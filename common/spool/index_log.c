/*
 * index_log - the write-ahead log of the main database: syncs, checkpoints, and what
 * follows when a sync fails.
 *
 * Invariants:
 *  1. Of a log whose sync failed nothing is said to be on disk, and nothing is added to it,
 *     until all of it has gone into the database and it was truncated.  A failed sync is
 *     never tried again: its pages may be gone.  They are written again instead, before
 *     the first of them goes into the database.  Who saw it fail may end before that and tell
 *     nobody, so recovery begins with it too.
 *  2. A checkpoint runs under the writer's lock, so no commit can begin the log anew at the
 *     same time (SQLite before 3.51.3 may lose that commit).  Its long part, the log's sync, was
 *     done before, without the lock.
 *  3. Of a transaction whose COMMIT failed nothing comes back: its frames may all be in the
 *     file, and a crash would find them valid, so another commit is written over the first
 *     of them, and synced, before the failure is told.
 *  4. A transaction that could not be ended, and with it SQLite's lock, does not outlast the mending
 *     that it causes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "health.h"
#include "index_internal.h"
#include "janitor.h"

#define LOG_DIR "index"
#define LOG_FILE "index.db-wal"

static int
open_log(struct index_store *s)
{
	const struct disk_ops *disk = s->spool->disk;
	int dir, fd;

	dir = openat(s->spool->dir_fd, LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	fd = disk_open(disk, dir, LOG_FILE, false);
	/* SQLite may just have made the file, and we sync by a descriptor that SQLite
	 * knows nothing of: the name is ours to make durable. */
	if (fd >= 0 && disk_sync(disk, dir) != 0) {
		close(fd);
		fd = -1;
	}
	close(dir);
	return fd;
}

enum spool_status
index_log_open(struct index_store *s)
{
	s->log_fd = open_log(s);
	return s->log_fd >= 0 ? SPOOL_OK : spool_failed("log_open_failed", LOG_FILE, errno);
}

bool
index_log_in_place(struct index_store *s)
{
	struct stat file;
	int rc;

	pthread_mutex_lock(&s->log_mutex);
	rc = fstat(s->log_fd, &file);
	pthread_mutex_unlock(&s->log_mutex);
	return rc != 0 || file.st_nlink > 0;
}

/* What SQLite's format says of both (walformat.html): the log's header, and that of its index in shared
 * memory, which is there twice, and has the first one's salts where it has frames. */
#define LOG_HEADER_LEN 32
#define LOG_SALTS_AT 16
#define SHARED_REGION 32768
#define SHARED_HEADER_LEN 48
#define SHARED_FRAMES_AT 16
#define SHARED_SALTS_AT 32
#define SALTS_LEN 8
/* A log that is begun anew as often while we look has a living writer. */
#define LOOKS 8

struct shared {
	uint8_t copies[2][SHARED_HEADER_LEN];
};

static struct shared
read_shared(const volatile void *memory)
{
	struct shared shared;

	atomic_thread_fence(memory_order_seq_cst);
	memcpy(&shared, (const void *)(uintptr_t)memory, sizeof(shared));
	atomic_thread_fence(memory_order_seq_cst);
	return shared;
}

/* False while it is being written, or where it says that the log has nothing. */
static bool
has_frames(const struct shared *shared)
{
	uint32_t frames;

	memcpy(&frames, shared->copies[0] + SHARED_FRAMES_AT, sizeof(frames));
	return frames > 0 && memcmp(shared->copies[0], shared->copies[1], SHARED_HEADER_LEN) == 0;
}

enum spool_status
index_log_compare(struct index_conn *c)
{
	struct spool *sp = c->store->spool;
	uint8_t header[LOG_HEADER_LEN];
	sqlite3_file *db = NULL, *log = NULL;
	struct shared before, after;
	volatile void *memory = NULL;
	int rc = SQLITE_OK;

	/* Where nobody else can be by now, or the secrets are, which each writer opens anew. */
	if (c->store->which != INDEX_MAIN || sp == NULL)
		return SPOOL_OK;
	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &db) != SQLITE_OK ||
	    sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK ||
	    log->pMethods == NULL ||
	    db->pMethods->xShmMap(db, 0, SHARED_REGION, 0, &memory) != SQLITE_OK || memory == NULL)
		return SPOOL_OK;
	for (int i = 0; i < LOOKS; i++) {
		before = read_shared(memory);
		if (!has_frames(&before))
			return SPOOL_OK;
		rc = log->pMethods->xRead(log, header, sizeof(header), 0);
		if (rc == SQLITE_OK && memcmp(header + LOG_SALTS_AT,
					   before.copies[0] + SHARED_SALTS_AT, SALTS_LEN) == 0)
			return SPOOL_OK;
		after = read_shared(memory);
		if (memcmp(&before, &after, sizeof(after)) != 0)
			continue;
		if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
			return spool_failed("index_look_failed", LOG_FILE, EIO);
		health_note_index(
		    sp, "index/index.db-wal was exchanged or overwritten", HEALTH_INDEX_ADVICE);
		return SPOOL_IO;
	}
	return SPOOL_OK;
}

static void
log_broken(struct index_store *s, int errnum)
{
	atomic_store(&s->broken, true);
	log_event(LOG_LEVEL_ERROR, "log_sync_failed", log_text("path", LOG_FILE), log_errno(errnum),
	    log_text("advice", "nothing is written until the log is mended: look at the disk"));
	keeper_wake(s->spool);
}

enum spool_status
index_sync(struct spool *sp)
{
	struct index_store *s = sp->index;
	enum spool_status st;

	pthread_mutex_lock(&s->log_mutex);
	uint64_t mine = ++s->asked;
	while (s->done < mine && s->failed < mine) {
		if (atomic_load(&s->broken)) {
			s->failed = s->asked;
			break;
		}
		if (s->syncing) {
			pthread_cond_wait(&s->log_synced, &s->log_mutex);
			continue;
		}
		/* Whoever asks from now on may have committed after the sync began. */
		uint64_t covered = s->asked;
		s->syncing = true;
		pthread_mutex_unlock(&s->log_mutex);
		int rc = disk_sync_data(sp->disk, s->log_fd);
		int errnum = errno;
		pthread_mutex_lock(&s->log_mutex);
		s->syncing = false;
		if (rc == 0) {
			s->done = covered;
		} else {
			s->failed = covered;
			log_broken(s, errnum);
		}
		pthread_cond_broadcast(&s->log_synced);
	}
	st = s->failed < mine ? SPOOL_OK : SPOOL_UNKNOWN;
	pthread_mutex_unlock(&s->log_mutex);
	return st;
}

unsigned
index_frames(struct spool *sp)
{
	return atomic_load(&sp->index->frames);
}

bool
index_broken(struct spool *sp)
{
	return atomic_load(&sp->index->broken);
}

/* Changes a page without changing what it says. */
static enum spool_status
rewrite_page(struct index_conn *c)
{
	enum spool_status st;
	char sql[64];
	int version;

	st = index_read_version(c, &version);
	if (st != SPOOL_OK)
		return st;
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? SPOOL_OK : index_failed(c, sql, rc);
}

enum spool_status
index_bury(struct index_conn *c)
{
	struct index_store *s = c->store;
	enum spool_status st;

	st = index_run(c, index_stmt(c, "BEGIN IMMEDIATE"));
	if (st == SPOOL_OK)
		st = rewrite_page(c);
	if (st == SPOOL_OK)
		st = index_run(c, index_stmt(c, "COMMIT"));
	if (st != SPOOL_OK) {
		index_rollback(c);
		/* The secrets have no log of ours: SQLite syncs them, and only pop-admin
		 * writes them, once. */
		if (s->which == INDEX_MAIN)
			log_broken(s, EIO);
		return st;
	}
	return s->which == INDEX_MAIN ? index_sync(s->spool) : SPOOL_OK;
}

/* With the writer's lock. */
static enum spool_status
checkpoint(struct index_store *s, int mode, bool *whole_r)
{
	struct index_conn *c = s->writer;
	int frames = -1, moved = -1;
	int rc;
	enum spool_status st = index_log_compare(c);

	/* Another log's pages would go into the database. */
	*whole_r = false;
	if (st != SPOOL_OK)
		return st;
	rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, &frames, &moved);
	*whole_r = rc == SQLITE_OK && frames == moved;
	if (*whole_r)
		atomic_store(&s->frames, 0);
	/* A stranger who checkpoints, or a reader who is still at it: the next round goes on. */
	if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
		return SPOOL_OK;
	st = index_failed(c, "checkpoint", rc);
	/* It does not say which file's: of the log's, our next one would say that all is well. */
	if (rc == SQLITE_IOERR_FSYNC && !atomic_load(&s->broken))
		log_broken(s, EIO);
	return st;
}

enum spool_status
index_checkpoint(struct spool *sp, bool *whole_r)
{
	struct index_store *s = sp->index;
	enum spool_status st;

	*whole_r = false;
	st = index_sync(sp);
	if (st == SPOOL_OK)
		st = index_writer_take(s, "checkpoint");
	if (st != SPOOL_OK)
		return st;
	st = checkpoint(s, SQLITE_CHECKPOINT_PASSIVE, whole_r);
	index_writer_give(s);
	return st;
}

/* Opens writer and log anew and lets go of all idle readers.  With the writer's lock. */
static enum spool_status
reopen(struct index_store *s)
{
	struct index_conn *writer, *idle, *next;
	enum spool_status st;
	int fd;

	st = index_conn_open(s, true, &writer);
	if (st != SPOOL_OK)
		return st;
	fd = open_log(s);
	if (fd < 0) {
		index_conn_close(writer);
		return spool_failed("log_open_failed", LOG_FILE, errno);
	}
	pthread_mutex_lock(&s->mutex);
	atomic_fetch_add(&s->generation, 1);
	writer->generation = s->generation;
	idle = s->idle;
	s->idle = NULL;
	s->nidle = 0;
	pthread_mutex_unlock(&s->mutex);
	for (; idle != NULL; idle = next) {
		next = idle->next;
		index_conn_close(idle);
	}
	index_conn_close(s->writer);
	s->writer = writer;

	pthread_mutex_lock(&s->log_mutex);
	while (s->syncing)
		pthread_cond_wait(&s->log_synced, &s->log_mutex);
	close(s->log_fd);
	s->log_fd = fd;
	atomic_store(&s->broken, false);
	pthread_mutex_unlock(&s->log_mutex);
	return SPOOL_OK;
}

/* Writes the log over itself and syncs that.  After a sync that failed another one, SQLite's before it
 * moves pages into the database, succeeds without writing what was lost.  A power cut in the midst
 * of that would find pages of the database half written and a log that cannot mend them; and what
 * is added to the log and synced lies behind a hole.  With the writer's lock. */
static enum spool_status
rewrite_log(struct index_store *s)
{
	const struct disk_ops *disk = s->spool->disk;

	if (disk_rewrite(disk, s->log_fd, 0, DISK_TO_END) != 0 ||
	    disk_sync_data(disk, s->log_fd) != 0)
		return spool_failed("log_rewrite_failed", LOG_FILE, errno);
	return SPOOL_OK;
}

enum spool_status
index_renew_log(struct spool *sp)
{
	struct index_store *s = sp->index;
	enum spool_status st;

	st = index_writer_take(s, "recovery");
	if (st != SPOOL_OK)
		return st;
	st = rewrite_log(s);
	index_writer_give(s);
	return st;
}

enum spool_status
index_reopen(struct spool *sp, bool always)
{
	struct index_store *s = sp->index;
	enum spool_status st;

	if (!always && index_in_place(s) == 1)
		return SPOOL_OK;
	st = index_writer_take(s, "reopen");
	if (st != SPOOL_OK)
		return st;
	st = reopen(s);
	/* Now that SQLite has nothing of the other file open. */
	if (st == SPOOL_OK && index_in_place(s) != 1 && index_open_file(s) != 0)
		st = spool_failed("index_open_failed", s->path, errno);
	index_writer_give(s);
	return st;
}

enum spool_status
index_mend(struct spool *sp)
{
	struct index_store *s = sp->index;
	enum spool_status st;
	bool whole;

	st = index_writer_take(s, "mend");
	if (st != SPOOL_OK)
		return st;
	/* One that could not be ended when it failed. */
	index_rollback(s->writer);
	st = sqlite3_get_autocommit(s->writer->db) ? rewrite_log(s) : SPOOL_IO;
	if (st == SPOOL_OK)
		st = checkpoint(s, SQLITE_CHECKPOINT_TRUNCATE, &whole);
	if (st == SPOOL_OK && !whole)
		st = SPOOL_BUSY;
	if (st == SPOOL_OK)
		st = reopen(s);
	index_writer_give(s);
	if (st == SPOOL_OK)
		log_event(LOG_LEVEL_WARNING, "log_mended", log_text("path", LOG_FILE));
	return st;
}
