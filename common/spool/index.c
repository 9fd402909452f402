/*
 * index - connections, statements and transactions.
 *
 * A store keeps its idle readers in a list and its one writer, which is opened
 * first and closed last: while it is open no stranger's sqlite3 shell is the last to
 * close the database, so the log keeps its name and our descriptor of it stays true.
 *
 * What happens to the log is in index_log.c.
 */
#include "index_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "health.h"
#include "janitor.h"

/* Readers that are kept open while nobody uses them. */
#define IDLE_MAX 16
/* Only a stranger with an sqlite3 shell is waited for this way. */
#define BUSY_TIMEOUT_MS 10000
/* As a pointer, too: index_stmt() finds it by that. */
static const char sql_rollback[] = "ROLLBACK";
/* The holder of the writer's lock is named in the log after this. */
#define HELD_LONG_MS 1000

enum spool_status
index_failed(struct index_conn *c, const char *what, int rc)
{
	enum spool_status st = SPOOL_IO;
	const char *advice = "look at the disk and at the kernel's log";

	int errnum = sqlite3_system_errno(c->db);

	/* SQLite says so of its log, but not of what lies beside it. */
	if ((rc & 0xff) == SQLITE_IOERR && (errnum == ENOSPC || errnum == EDQUOT))
		rc = SQLITE_FULL;
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		st = SPOOL_NO_MEMORY;
		advice = "give the daemon more memory";
		break;
	case SQLITE_FULL:
		st = SPOOL_NO_SPACE;
		advice = "make room on the spool's file system";
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		st = SPOOL_DAMAGED;
		advice = "stop the daemons and look at the disk before anything else";
		break;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		advice = "the spool and all in it must belong to the account of the daemons, and "
			 "their limit of open files must be high enough";
		break;
	case SQLITE_BUSY:
		advice = "another program has locked the database: end it";
		break;
	}
	log_event(LOG_LEVEL_ERROR, "index_failed", log_text("path", c->store->path),
	    log_text("doing", what), log_text("error", sqlite3_errmsg(c->db)),
	    log_num("code", (uint64_t)sqlite3_extended_errcode(c->db)), log_text("advice", advice));
	return st;
}

void
index_conn_close(struct index_conn *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->nstmts; i++)
		sqlite3_finalize(c->stmts[i].stmt);
	free(c->stmts);
	sqlite3_close(c->db);
	free(c);
}

static int
on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
	struct index_store *s = arg;

	(void)db;
	(void)name;
	atomic_store(&s->frames, (unsigned)frames);
	if (frames >= INDEX_FRAMES_MANY)
		keeper_wake(s->spool);
	return SQLITE_OK;
}

static int
conn_setup(struct index_conn *c, bool writer)
{
	bool main_db = c->store->which == INDEX_MAIN;
	int on = 1, rc;

	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	rc = sqlite3_exec(c->db,
	    "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0;"
	    "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;",
	    NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(c->db,
		    writer ? "PRAGMA cache_size = -8192"
			   : "PRAGMA cache_size = -1024;"
			     "PRAGMA query_only = ON",
		    NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(c->db,
		    main_db ? "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0"
			    : "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON",
		    NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
	if (rc == SQLITE_OK && main_db) {
		rc = sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		if (writer && c->store->spool != NULL)
			sqlite3_wal_hook(c->db, on_commit, c->store);
	}
	return rc;
}

/* Where descriptors are out SQLite settles for reading: of the database for this connection, of the
 * shared memory for the whole process, as long as it has any connection. */
static int
check_writable(struct index_conn *c)
{
	int rc;

	if (sqlite3_db_readonly(c->db, "main") == 1)
		return SQLITE_READONLY;
	/* Who writes now is not waited for: that he keeps us out says enough. */
	sqlite3_busy_timeout(c->db, 0);
	rc = sqlite3_exec(c->db, "BEGIN IMMEDIATE; ROLLBACK", NULL, NULL, NULL);
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	return (rc & 0xff) == SQLITE_BUSY ? SQLITE_OK : rc;
}

enum spool_status
index_conn_open(struct index_store *s, bool writer, struct index_conn **c_r)
{
	struct index_conn *c = mem_array(1, sizeof(*c));
	enum spool_status st;
	int rc;

	*c_r = NULL;
	if (c == NULL)
		return SPOOL_NO_MEMORY;
	c->store = s;
	c->generation = s->generation;
	rc = sqlite3_open_v2(s->path, &c->db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
	if (rc == SQLITE_OK)
		rc = conn_setup(c, writer);
	if (rc == SQLITE_OK && writer)
		rc = check_writable(c);
	/* Where memory is out is no time to prepare what gives the lock back. */
	if (rc == SQLITE_OK && writer && index_stmt(c, sql_rollback) == NULL)
		rc = SQLITE_NOMEM;
	if (rc == SQLITE_OK) {
		*c_r = c;
		return SPOOL_OK;
	}
	if (c->db == NULL)
		st = spool_failed("index_failed", s->path, ENOMEM);
	else
		st = index_failed(c, "open", rc);
	index_conn_close(c);
	return st;
}

sqlite3 *
index_db(struct index_conn *c)
{
	return c->db;
}

/* Of a connection's statements most stand at their beginning: index_step() resets what has ended. */
static void
reset(sqlite3_stmt *stmt)
{
	if (sqlite3_stmt_busy(stmt))
		sqlite3_reset(stmt);
}

sqlite3_stmt *
index_stmt(struct index_conn *c, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int rc;

	for (size_t i = 0; i < c->nstmts; i++)
		if (c->stmts[i].sql == sql) {
			reset(c->stmts[i].stmt);
			sqlite3_clear_bindings(c->stmts[i].stmt);
			return c->stmts[i].stmt;
		}
	if (mem_grow(&c->stmts, &c->cap, c->nstmts + 1, sizeof(*c->stmts)) != 0)
		return NULL;
	rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	if (rc != SQLITE_OK) {
		index_failed(c, sql, rc);
		return NULL;
	}
	c->stmts[c->nstmts].sql = sql;
	c->stmts[c->nstmts++].stmt = stmt;
	return stmt;
}

enum spool_status
index_step(struct index_conn *c, sqlite3_stmt *stmt, bool *row_r)
{
	enum spool_status st = SPOOL_OK;
	int rc;

	*row_r = false;
	if (stmt == NULL)
		return SPOOL_IO;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*row_r = true;
		return SPOOL_OK;
	}
	if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
		st = SPOOL_EXISTS;
	else if (rc != SQLITE_DONE)
		st = index_failed(c, sqlite3_sql(stmt), rc);
	sqlite3_reset(stmt);
	return st;
}

enum spool_status
index_run(struct index_conn *c, sqlite3_stmt *stmt)
{
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (row)
		sqlite3_reset(stmt);
	return st;
}

enum spool_status
index_number(struct index_conn *c, sqlite3_stmt *stmt, int64_t *n_r)
{
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (row) {
		*n_r = sqlite3_column_int64(stmt, 0);
		sqlite3_reset(stmt);
	}
	return st;
}

void
index_reset_all(struct index_conn *c)
{
	for (size_t i = 0; i < c->nstmts; i++)
		reset(c->stmts[i].stmt);
}

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
		c = NULL;
	}
	*c_r = c;
	return st;
}

void
index_read_end(struct spool *sp, struct index_conn **cp)
{
	struct index_conn *c = *cp;

	(void)sp;
	if (c == NULL)
		return;
	*cp = NULL;
	index_reset_all(c);
	/* After some failures SQLite has ended it already. */
	if (sqlite3_get_autocommit(c->db) || index_run(c, index_stmt(c, "COMMIT")) != SPOOL_OK) {
		index_conn_close(c);
		return;
	}
	struct index_store *s = c->store;
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

/* SQLite rolls back by itself after some failures.  A transaction that stays would keep SQLite's lock,
 * and everybody's mail with it: mending ends it. */
void
index_rollback(struct index_conn *c)
{
	struct index_store *s = c->store;

	index_reset_all(c);
	if (!sqlite3_get_autocommit(c->db))
		index_run(c, index_stmt(c, sql_rollback));
	if (!sqlite3_get_autocommit(c->db) && s->which == INDEX_MAIN && s->spool != NULL) {
		atomic_store(&s->broken, true);
		keeper_wake(s->spool);
	}
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
