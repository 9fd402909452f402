/*
 * index - SQLite as this floor uses it.  Private to common/spool.
 *
 * Readers: a connection is borrowed for one short read transaction and given back; it
 * is never held across anything that waits for a network or a person.
 *
 * Writers: one connection in each process.  index_write_begin() takes, in this order,
 * the process's turn, the turnstile and the writer's OFD byte (docs/spool.md, "The
 * writer's lock"), and BEGIN IMMEDIATE; the end gives them back.  The holder does no
 * terminal output and waits for no client.
 *
 * The log (WAL) of the main database is never checkpointed by a commit: the janitor
 * does that.  Nor does a commit sync it: what need not survive alone is brought back from
 * the segments, and what somebody is told is synced after the lock was given back.
 *
 * Thread: any; a connection is one thread's from begin to end.
 */
#ifndef SPOOL_INDEX_H
#define SPOOL_INDEX_H

#include <sqlite3.h>
#include <stdbool.h>

#include "disk.h"
#include "spool/spool.h"

/* A connection with the statements prepared on it so far. */
struct index_conn;
/* A database: its readers, its writer, its log. */
struct index_store;

enum index_db {
	INDEX_MAIN,
	INDEX_SECRETS,
	INDEX_NEW,                      /* the index while it is rebuilt */
};

/* In the spool's folder: while it is there the index is being rebuilt. */
#define INDEX_REBUILT "index/rebuild.db"

/* Begins a read transaction.  SPOOL_OK, SPOOL_IO, SPOOL_NO_MEMORY; SPOOL_NOT_READY before the
 * databases could be opened, SPOOL_IO too while the index is not to be believed (health.h), and
 * while there are no secrets that can be opened.
 * *c_r goes back with index_read_end(); NULL is harmless there. */
enum spool_status index_read_begin(struct spool *, enum index_db, struct index_conn **c_r);
void index_read_end(struct spool *, struct index_conn **);

/* Begins a write transaction.  Blocks until the writer's lock is had.  `what` names the
 * holder in the log when it keeps the lock for more than a second ("update"); a static text.
 * INDEX_SECRETS has no OFD lock of its own: SQLite's and a mutex do, since only pop-admin
 * writes it, and each of its commits is synced. */
enum spool_status index_write_begin(struct spool *, enum index_db, const char *what,
    struct index_conn **c_r);
/* COMMIT, then the lock is given back; with `durable` the log is synced after that, and what
 * comes back as SPOOL_OK is on disk.  SPOOL_UNKNOWN when it could not be made sure whether
 * the transaction will be there after a power cut (a failed sync, or a failed COMMIT that
 * could not be buried): writing stops then until the janitor has mended the log.  After any
 * other failure nothing happened, a restart included. */
enum spool_status index_write_commit(struct spool *, struct index_conn **, bool durable);
/* The same, durable, and the lock is given back only once it is on disk: so that nobody writes
 * what needs it and is on disk earlier. */
enum spool_status index_write_commit_synced(struct spool *, struct index_conn **);
/* ROLLBACK; NULL is harmless. */
void index_write_abandon(struct spool *, struct index_conn **);

/* The prepared statement for `sql`, a static text that is also its key: reset, bindings
 * cleared.  NULL with a log line when it cannot be prepared; index_run() and index_step()
 * take that NULL and say SPOOL_IO. */
sqlite3_stmt *index_stmt(struct index_conn *, const char *sql);

/* Steps a statement that returns no row and resets it.  SPOOL_OK; SPOOL_EXISTS, not logged,
 * where a UNIQUE or PRIMARY KEY speaks against it; SPOOL_NO_SPACE, SPOOL_NO_MEMORY,
 * SPOOL_DAMAGED, SPOOL_IO. */
enum spool_status index_run(struct index_conn *, sqlite3_stmt *);
/* Steps: SPOOL_OK with *row_r telling whether there is a row.  Without one it is reset. */
enum spool_status index_step(struct index_conn *, sqlite3_stmt *, bool *row_r);
/* Steps a statement that asks for one number, and resets it.  Without a row *n_r stays as it is. */
enum spool_status index_number(struct index_conn *, sqlite3_stmt *, int64_t *n_r);

sqlite3 *index_db(struct index_conn *);

/* Somebody's view of whether the main database changed; zeroed before the first call. */
struct index_watch {
	struct index_conn *conn;        /* owned */
	int version;
};

/* Something was committed since the last call, by any process; true also when that cannot be
 * told.  A few microseconds.  Thread: the watch's. */
bool index_changed(struct spool *, struct index_watch *);
void index_watch_close(struct index_watch *);

/* --- for spool.c, the janitor and recovery --- */

/* Makes folder and database where they are missing and brings the schema up to date.  In
 * err a sentence. */
enum spool_status index_create(const struct disk_ops *, const char *spool_dir, int spool_fd,
    enum index_db, struct strbuf *err);
/* The newest version of this database that is known here. */
int index_version(enum index_db);
/* That of a database; 0 for a database that has none yet. */
enum spool_status index_read_version(struct index_conn *, int *version_r);
/* SPOOL_NO_SPOOL, SPOOL_VERSION and others, with a sentence in err. */
enum spool_status index_open(struct spool *, enum index_db, struct index_store **store_r,
    struct strbuf *err);
/* Opens it anew where another file has its name by now, or `always`.  SPOOL_OK when nothing is to
 * be done.  Before anything is borrowed. */
enum spool_status index_reopen(struct spool *, bool always);
/* A descriptor of index.db itself, borrowed. */
int index_file(struct spool *);
/* NULL is harmless.  Nothing may be borrowed. */
void index_close(struct index_store **);

/* The log of the main database on disk: what was committed before the call survives.  Those who
 * ask at once share one sync.  SPOOL_OK or SPOOL_UNKNOWN, after which nothing can
 * be written until index_mend(). */
enum spool_status index_sync(struct spool *);

/* The log that this connection reads is the one that was committed to, as far as its first octets
 * tell: SQLite verifies a log when it is opened, and later takes from it what lies there.  Else it
 * is noted (health.h), and the status is SPOOL_IO.  One small read; at the end of what was read,
 * since who overwrites a file begins with these. */
enum spool_status index_log_compare(struct index_conn *);

/* Frames in the log when this process last committed. */
unsigned index_frames(struct spool *);
/* A log of so many frames wakes the janitor.  While it moves them nobody can commit. */
#define INDEX_FRAMES_MANY 250

/* Syncs the log without the writer's lock, then moves what it can of it into the database with
 * it.  *whole_r: that was all of it, and the database was synced; where a reader kept some of it
 * from being moved the rest may be in the page cache alone. */
enum spool_status index_checkpoint(struct spool *, bool *whole_r);
/* Writing has stopped, after a failed sync or with a transaction that could not be ended. */
bool index_broken(struct spool *);
/* Makes sure that all of the log is on disk though a process that is gone may have seen a sync of
 * it fail.  Before anything is added to it or moved out of it.  SPOOL_OK, SPOOL_IO,
 * SPOOL_NO_SPACE. */
enum spool_status index_renew_log(struct spool *);
/* Empties the log into the database and opens everything anew; then writing goes on. */
enum spool_status index_mend(struct spool *);

#endif
