/*
 * index - SQLite as this floor uses it.  Private to common/spool.
 *
 * Readers: a connection is borrowed for one short read transaction and given back; it is
 * never held across anything that waits for a network or a person.
 *
 * Writers: one connection in each process.  index_write_begin() takes, in this order, the
 * process's mutex, the turnstile and the writer's OFD bytes (docs/spool.md, "The writer's lock"), and BEGIN IMMEDIATE; the
 * end gives them back.  The holder does no terminal output and waits for no client.
 *
 * The WAL is never checkpointed by a commit: the janitor does that.
 *
 * Thread: any; a connection is one thread's from begin to end.
 */
#ifndef SPOOL_INDEX_H
#define SPOOL_INDEX_H

#include <sqlite3.h>
#include <stdbool.h>

#include "spool/spool.h"

/* A connection with the statements prepared on it so far. */
struct index_conn;

enum index_db { INDEX_MAIN, INDEX_SECRETS };

/* Begins a read transaction.  SPOOL_OK, SPOOL_IO, SPOOL_NO_MEMORY.  *c_r goes back with index_read_end(). */
enum spool_status index_read_begin(struct spool *, enum index_db, struct index_conn **c_r);
void index_read_end(struct spool *, struct index_conn **);

/* Begins a write transaction.  Blocks until the writer's lock is had.  `what` names the holder in the
 * log when it keeps the lock for more than a second ("update").
 * INDEX_SECRETS has no OFD lock of its own: SQLite's and its mutex do, since only pop-admin writes it. */
enum spool_status index_write_begin(struct spool *, enum index_db, const char *what,
    struct index_conn **c_r);
/* COMMIT, then the lock is given back; with `durable` the WAL is synced after that, and what comes
 * back as SPOOL_OK is on disk.  On a failure nothing happened, but for a failed
 * sync: then it is SPOOL_UNKNOWN, and writing stops until the janitor has mended the WAL. */
enum spool_status index_write_commit(struct spool *, struct index_conn **, bool durable);
/* ROLLBACK; NULL is harmless. */
void index_write_abandon(struct spool *, struct index_conn **);

/* The prepared statement for `sql`, a static text that is also its key: reset, bindings cleared.  NULL with a log
 * line when it cannot be prepared. */
sqlite3_stmt *index_stmt(struct index_conn *, const char *sql);

/* Steps a statement that returns no row and resets it. */
enum spool_status index_run(struct index_conn *, sqlite3_stmt *);
/* Steps: SPOOL_OK with *row_r telling whether there is a row. */
enum spool_status index_step(struct index_conn *, sqlite3_stmt *, bool *row_r);

sqlite3 *index_db(struct index_conn *);

#endif
