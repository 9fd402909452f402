/*
 * index_conn - one connection of SQLite's: how it is set up, its statements, and what its errors mean.
 *
 * A statement is prepared once and found by its text's address.  Who asks for it finds it at its
 * beginning.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "index_internal.h"
#include "janitor.h"

/* Only a stranger with an sqlite3 shell is waited for this way. */
#define BUSY_TIMEOUT_MS 10000
/* As a pointer, too: index_stmt() finds it by that. */
static const char sql_rollback[] = "ROLLBACK";

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
	/* Pages have this size in a database that is made now (decisions.md). */
	rc = sqlite3_exec(c->db,
	    "PRAGMA page_size = 2048;"
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
