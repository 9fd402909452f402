/*
 * index - stores and transactions.
 *
 * A store keeps its idle readers in a list and its one writer, which is opened
 * first and closed last: while it is open no stranger's sqlite3 shell is the last to
 * close the database, so the log keeps its name and our descriptor of it stays true.
 *
 * A connection is in index_conn.c, what happens to the log in index_log.c.
 */
#include "index_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "health.h"

/* Readers that are kept open while nobody uses them. */
#define IDLE_MAX 16
/* The holder of the writer's lock is named in the log after this. */
#define HELD_LONG_MS 1000

static struct index_store *
store_of(struct spool *sp, enum index_db which)
{
	struct index_store *s = which == INDEX_MAIN ? sp->index : sp->secrets;

	/* smtpd has no secrets. */
	assert(s != NULL);
	return s;
}

/* 1: the name leads to what is open.  0: it does not.  -1 with errno: that could not be seen. */
static int
leads_to(int dir, const char *name, int fd)
{
	struct stat open_file, named;

	if (fstat(fd, &open_file) != 0)
		return -1;
	if (fstatat(dir, name, &named, 0) != 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	return open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

int
index_in_place(const struct index_store *s)
{
	return leads_to(AT_FDCWD, s->path, s->file_fd);
}

int
index_file(struct spool *sp)
{
	return sp->index->file_fd;
}

/* Once a second, and when nothing is open that will find out anyway: somebody may have exchanged the
 * file under us, by name or in place.  A look that fails shows nothing of the kind: it is a failure
 * to read, which may pass. */
static enum spool_status
look_at_file(struct spool *sp, struct index_store *s, bool *looked_r)
{
	uint_least64_t before = atomic_load(&s->looked_s);
	struct timespec now;
	int in_place, holds = 1, segments;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (before == (uint64_t)now.tv_sec ||
	    !atomic_compare_exchange_strong(&s->looked_s, &before, (uint64_t)now.tv_sec))
		return SPOOL_OK;
	*looked_r = true;
	in_place = index_in_place(s);
	if (in_place == 1)
		holds = epoch_file_holds(sp, s->file_fd);
	if (in_place == -1 || holds == -1)
		return spool_failed("index_look_failed", s->path, errno);
	segments = leads_to(sp->dir_fd, "segments", sp->segments_fd);
	if (segments == -1)
		return spool_failed("index_look_failed", "segments", errno);
	if (in_place == 0)
		health_note_index(sp, "index/index.db is not there any more, or is another file",
		    HEALTH_INDEX_ADVICE);
	else if (holds == 0)
		health_note_index(
		    sp, "index/index.db was exchanged for an older copy", HEALTH_INDEX_ADVICE);
	else if (!index_log_in_place(s))
		health_note_index(
		    sp, "index/index.db-wal was removed or exchanged", HEALTH_INDEX_ADVICE);
	else if (segments == 0)
		health_note_index(sp, "segments/ is not the folder any more that it was",
		    "no mail is taken or shown: put it back and start the daemons anew; where it "
		    "is lost, stop them, run pop-admin init and check --repair, and bring the mail "
		    "back from a backup");
	return SPOOL_OK;
}

/* *looked_r is set where it is time to look at the log too. */
static enum spool_status
usable(struct spool *sp, enum index_db which, bool *looked_r)
{
	enum spool_status st;

	if (!atomic_load(&sp->databases_open))
		return SPOOL_NOT_READY;
	if (which != INDEX_MAIN || !spool_ready(sp))
		return SPOOL_OK;
	st = look_at_file(sp, sp->index, looked_r);
	return st != SPOOL_OK || health_index(sp) ? st : SPOOL_IO;
}

/* The secrets that have the name when somebody wants them are what counts: a daemon opens those that
 * were put there meanwhile.  pop-admin, which writes them, opens them by name each time. */
static enum spool_status
hold_secrets(struct index_store *s)
{
	enum spool_status st = SPOOL_OK;

	pthread_rwlock_rdlock(&s->exchange);
	if (s->spool->role != SPOOL_POP3D || index_followed(s))
		return SPOOL_OK;
	pthread_rwlock_unlock(&s->exchange);
	pthread_rwlock_wrlock(&s->exchange);
	st = index_follow(s);
	pthread_rwlock_unlock(&s->exchange);
	if (st != SPOOL_OK)
		return st;
	pthread_rwlock_rdlock(&s->exchange);
	/* Once more exchanged in between, for one that cannot be opened. */
	if (s->writer != NULL)
		return SPOOL_OK;
	pthread_rwlock_unlock(&s->exchange);
	return SPOOL_IO;
}

static void
let_secrets_go(struct index_store *s)
{
	if (s->which == INDEX_SECRETS)
		pthread_rwlock_unlock(&s->exchange);
}

enum spool_status
index_read_begin(struct spool *sp, enum index_db which, struct index_conn **c_r)
{
	bool looked = false;
	enum spool_status st = usable(sp, which, &looked);
	struct index_store *s;
	struct index_conn *c;

	*c_r = NULL;
	if (st != SPOOL_OK)
		return st;
	s = store_of(sp, which);
	if (which == INDEX_SECRETS)
		st = hold_secrets(s);
	if (st != SPOOL_OK)
		return st;
	pthread_mutex_lock(&s->mutex);
	c = s->idle;
	if (c != NULL) {
		s->idle = c->next;
		s->nidle--;
	}
	pthread_mutex_unlock(&s->mutex);
	if (c == NULL)
		st = index_conn_open(s, false, &c);
	if (st == SPOOL_OK)
		st = index_run(c, index_stmt(c, "BEGIN"));
	if (st == SPOOL_OK && looked)
		st = index_log_compare(c);
	if (st != SPOOL_OK) {
		index_conn_close(c);
		let_secrets_go(s);
		c = NULL;
	}
	*c_r = c;
	return st;
}

/* Keeps a reader for the next who wants one, unless it is not to be trusted or one too many. */
static void
put_idle(struct index_conn *c)
{
	struct index_store *s = c->store;

	index_reset_all(c);
	/* After some failures SQLite has ended it already. */
	if (sqlite3_get_autocommit(c->db) || index_run(c, index_stmt(c, "COMMIT")) != SPOOL_OK) {
		index_conn_close(c);
		return;
	}
	pthread_mutex_lock(&s->mutex);
	if (s->nidle < IDLE_MAX && c->generation == s->generation) {
		c->next = s->idle;
		s->idle = c;
		s->nidle++;
		c = NULL;
	}
	pthread_mutex_unlock(&s->mutex);
	index_conn_close(c);
}

void
index_read_end(struct spool *sp, struct index_conn **cp)
{
	struct index_conn *c = *cp;

	(void)sp;
	if (c == NULL)
		return;
	*cp = NULL;
	struct index_store *s = c->store;

	put_idle(c);
	let_secrets_go(s);
}

bool
index_changed(struct spool *sp, struct index_watch *watch)
{
	struct index_store *s = store_of(sp, INDEX_MAIN);
	struct index_conn *c = watch->conn;
	sqlite3_stmt *stmt;
	bool row, changed = true;

	if (c != NULL && c->generation != atomic_load(&s->generation))
		index_watch_close(watch);
	if (watch->conn == NULL) {
		index_conn_open(s, false, &watch->conn);
		watch->version = -1;
	}
	c = watch->conn;
	if (c == NULL)
		return true;
	/* Of one connection alone: a number that is another one after others' commits. */
	stmt = index_stmt(c, "PRAGMA data_version");
	if (index_step(c, stmt, &row) == SPOOL_OK && row) {
		changed = sqlite3_column_int(stmt, 0) != watch->version;
		watch->version = sqlite3_column_int(stmt, 0);
	}
	sqlite3_reset(stmt);
	return changed;
}

void
index_watch_close(struct index_watch *watch)
{
	index_conn_close(watch->conn);
	watch->conn = NULL;
}

/* The writer's lock, without a transaction. */
enum spool_status
index_writer_take(struct index_store *s, const char *what)
{
	if (s->which == INDEX_SECRETS)
		pthread_mutex_lock(&s->write_mutex);
	else if (lock_writer(&s->spool->locks) != 0)
		return spool_failed("lock_failed", "locks/writer", errno);
	s->held_by = what;
	s->held_since_ms = clock_mono_ms();
	return SPOOL_OK;
}

void
index_writer_give(struct index_store *s)
{
	uint64_t held_ms = clock_mono_ms() - s->held_since_ms;
	const char *held_by = s->held_by;

	if (s->which == INDEX_SECRETS)
		pthread_mutex_unlock(&s->write_mutex);
	else
		lock_writer_release(&s->spool->locks);
	if (held_ms >= HELD_LONG_MS)
		log_event(LOG_LEVEL_WARNING, "writer_held_long", log_text("holder", held_by),
		    log_num("held_ms", held_ms),
		    log_text("advice", "deliveries waited for this: is the disk slow?"));
}

enum spool_status
index_write_begin(struct spool *sp, enum index_db which, const char *what, struct index_conn **c_r)
{
	bool looked = false; /* it is before each commit */
	enum spool_status st = usable(sp, which, &looked);
	struct index_store *s;

	*c_r = NULL;
	if (st != SPOOL_OK)
		return st;
	s = store_of(sp, which);
	st = index_writer_take(s, what);
	if (st != SPOOL_OK)
		return st;
	/* Asked under the lock: mending exchanges the writer. */
	if (atomic_load(&s->broken))
		st = SPOOL_IO;
	if (st == SPOOL_OK)
		st = index_run(s->writer, index_stmt(s->writer, "BEGIN IMMEDIATE"));
	if (st != SPOOL_OK) {
		index_writer_give(s);
		return st;
	}
	*c_r = s->writer;
	return SPOOL_OK;
}

/* COMMIT, with the lock held before and after. */
static enum spool_status
commit(struct index_conn *c)
{
	enum spool_status st;

	index_reset_all(c);
	st = index_log_compare(c);
	if (st != SPOOL_OK) {
		index_rollback(c);
		return st;
	}
	st = index_run(c, index_stmt(c, "COMMIT"));
	if (st != SPOOL_OK) {
		index_rollback(c);
		/* On a full disk what buries it has no room either. */
		if (st == SPOOL_NO_SPACE && c->store->spool != NULL)
			ballast_prepare(c->store->spool, 0);
		if (index_bury(c) != SPOOL_OK)
			st = SPOOL_UNKNOWN;
	}
	return st;
}

enum spool_status
index_write_commit(struct spool *sp, struct index_conn **cp, bool durable)
{
	struct index_store *s = (*cp)->store;
	enum spool_status st = commit(*cp);

	*cp = NULL;
	/* What was removed is overwritten in the database; this takes it out of the log.  Where a
	 * reader is in the way, the next change does it. */
	if (st == SPOOL_OK && s->which == INDEX_SECRETS)
		sqlite3_wal_checkpoint_v2(
		    s->writer->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	index_writer_give(s);
	/* Each commit of the secrets was synced by SQLite. */
	if (st == SPOOL_OK && durable && s->which == INDEX_MAIN)
		st = index_sync(sp);
	return st;
}

enum spool_status
index_write_commit_synced(struct spool *sp, struct index_conn **cp)
{
	struct index_store *s = (*cp)->store;
	enum spool_status st = commit(*cp);

	*cp = NULL;
	if (st == SPOOL_OK && s->which == INDEX_MAIN)
		st = index_sync(sp);
	index_writer_give(s);
	return st;
}

void
index_write_abandon(struct spool *sp, struct index_conn **cp)
{
	struct index_conn *c = *cp;

	(void)sp;
	if (c == NULL)
		return;
	*cp = NULL;
	index_rollback(c);
	index_writer_give(c->store);
}
