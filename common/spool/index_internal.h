/*
 * index_internal - what index.c, index_conn.c, index_log.c and index_schema.c share.
 */
#ifndef SPOOL_INDEX_INTERNAL_H
#define SPOOL_INDEX_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>

#include "index.h"
#include "spool_internal.h"

struct index_stmt_slot {
	const char *sql;                /* static; compared as a pointer */
	sqlite3_stmt *stmt;             /* owned */
};

struct index_conn {
	struct index_store *store;      /* borrowed */
	sqlite3 *db;                    /* owned */
	struct index_stmt_slot *stmts;  /* owned */
	size_t nstmts, cap;
	unsigned generation;            /* the store's when it was opened */
	struct index_conn *next;        /* in store.idle */
};

struct index_store {
	struct spool *spool;            /* borrowed; NULL while a spool is created */
	enum index_db which;
	char *path;                     /* owned */
	/* Of the database's file, kept for as long as SQLite has it open: closing any descriptor
	 * of it takes SQLite's locks away. */
	int file_fd;                    /* owned; -1 */
	atomic_uint_least64_t looked_s; /* when its name was last looked at */

	pthread_mutex_t mutex;          /* guards what follows, down to `generation` */
	struct index_conn *idle;        /* owned readers */
	size_t nidle;
	atomic_uint generation;         /* readers of an older one are closed when they come back */

	/* The secrets: shared while a reader is borrowed; exclusively to open another file. */
	pthread_rwlock_t exchange;      /* guards `lost`, and the writer of a daemon */
	bool lost;                      /* what has the name could not be opened, which was told */
	pthread_mutex_t write_mutex;    /* the secrets' writer */
	struct index_conn *writer;      /* owned; guarded by the writer's lock, as the two below */
	const char *held_by;
	uint64_t held_since_ms;

	/* The log of the main database. */
	atomic_uint frames;
	atomic_bool broken;
	pthread_mutex_t log_mutex;      /* guards what follows */
	pthread_cond_t log_synced;
	int log_fd;                     /* owned; exchanged while nobody syncs */
	bool syncing;
	uint64_t asked;                 /* syncs asked for so far */
	uint64_t done;                  /* of these, on disk */
	uint64_t failed;                /* of these, up to here not */
};

enum spool_status index_conn_open(struct index_store *, bool writer, struct index_conn **c_r);
void index_conn_close(struct index_conn *);
/* Logs what SQLite says about `what`; the status that it means. */
enum spool_status index_failed(struct index_conn *, const char *what, int rc);
void index_reset_all(struct index_conn *);
void index_rollback(struct index_conn *);
/* The writer's lock, without a transaction. */
enum spool_status index_writer_take(struct index_store *, const char *what);
void index_writer_give(struct index_store *);

/* A new, empty index in INDEX_REBUILT, instead of one that is there: its writer has no
 * transaction and no spool.  In err a sentence. */
enum spool_status index_rebuild_begin(const struct disk_ops *, const char *spool_dir, int spool_fd,
    struct index_store **store_r, struct strbuf *err);
/* All of it is in its file, and on disk; then it is closed. */
enum spool_status index_rebuild_end(
    const struct disk_ops *, int spool_fd, struct index_store **);
/* Takes INDEX_REBUILT away again. */
void index_rebuild_forget(const struct disk_ops *, int spool_fd);

/* 1: the file that has the database's name now is the one that is open.  0: it is not.  -1 with
 * errno: that could not be seen. */
int index_in_place(const struct index_store *);
/* Opens `file_fd` anew.  0 or -1 with errno. */
int index_open_file(struct index_store *);
/* The secrets that are open have their name still, and can be read.  With `exchange`, shared. */
bool index_followed(struct index_store *);
/* Opens the secrets that have the name now, instead of those that are open.  With `exchange`,
 * exclusively.  SPOOL_OK, SPOOL_IO: in the log, once. */
enum spool_status index_follow(struct index_store *);
/* index_log.c: opens our descriptor of the log and makes its name durable. */
enum spool_status index_log_open(struct index_store *);
/* The log that is open has its name still. */
bool index_log_in_place(struct index_store *);
/* After a COMMIT that failed: makes sure that none of it can come back.  With the writer's lock. */
enum spool_status index_bury(struct index_conn *);

#endif
