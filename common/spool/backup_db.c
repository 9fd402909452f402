/*
 * backup_db - the two databases of a backup.
 *
 * A copy is one state of the database, made by SQLite's own online backup inside a read transaction,
 * so that no commit makes it begin anew.  It is kept with a rollback journal: reading it needs no
 * file beside it, and leaves none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "backup_internal.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "index_internal.h"

#define READ_SIZE (256u * 1024)
/* More than the removals that a mailbox can have had since; a multiple of the history's slots. */
#define REMOVALS_STEP "1048576"

static const char sql_settle_index[] =
    /* No blocks of it come along. */
    "DELETE FROM garbage; DELETE FROM segment WHERE live = 0;"
    /* No writer lives where it is read. */
    "UPDATE segment SET state = 1;";

static const char sql_floor[] = "UPDATE meta SET value = max(value, ?1)"
				" WHERE key = 'newest_segment'";

/* A copy ends behind the last record that is named.  A mark beyond that is a file that is too short,
 * to whoever looks before a login. */
static const char sql_marks[] =
    "UPDATE segment SET mark = min(mark, named.end) FROM"
    " (SELECT message >> 21 AS number, max((message & 0x1fffff) + blocks) AS end"
    " FROM entry GROUP BY 1) AS named WHERE segment.number = named.number";

/* They are part of UIDs that mail got when it was brought back (restore.c). */
static const char sql_removals[] = "UPDATE mailbox SET removals = removals + " REMOVALS_STEP;

void
backup_db_close(struct index_conn **cp)
{
	struct index_conn *c = *cp;

	if (c == NULL)
		return;
	free(c->store->path);
	struct index_store *s = c->store;
	*cp = NULL;
	index_conn_close(c);
	free(s);
}

/* What it ends may not be underway. */
static enum spool_status
exec(struct index_conn *c, const char *sql)
{
	int rc;

	index_reset_all(c);
	rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? SPOOL_OK : index_failed(c, sql, rc);
}

enum spool_status
backup_db_open(const char *path, bool write, struct index_conn **c_r)
{
	struct index_store *s = mem_array(1, sizeof(*s));
	struct index_conn *c = mem_array(1, sizeof(*c));
	enum spool_status st = SPOOL_OK;
	int rc;

	*c_r = NULL;
	if (s != NULL)
		s->path = mem_dup(path, strlen(path));
	if (s == NULL || c == NULL || s->path == NULL) {
		if (s != NULL)
			free(s->path);
		free(s);
		free(c);
		return SPOOL_NO_MEMORY;
	}
	c->store = s;
	rc = sqlite3_open_v2(path, &c->db,
	    (write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_NOMUTEX |
		SQLITE_OPEN_PRIVATECACHE,
	    NULL);
	if (rc != SQLITE_OK)
		st = c->db == NULL ? SPOOL_NO_MEMORY : index_failed(c, "open", rc);
	if (st == SPOOL_OK) {
		sqlite3_extended_result_codes(c->db, 1);
		/* Exclusive: no shared memory is made beside one in WAL mode. */
		st = exec(c, "PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0;"
			     "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;"
			     "PRAGMA locking_mode = EXCLUSIVE");
	}
	if (st == SPOOL_OK)
		*c_r = c;
	else
		backup_db_close(&c);
	return st;
}

enum spool_status
backup_db_copy(struct index_conn *from, const char *path)
{
	struct index_conn *to;
	enum spool_status st;
	sqlite3_backup *copy;
	int rc;

	st = backup_db_open(path, true, &to);
	if (st != SPOOL_OK)
		return st;
	/* The caller syncs it; one that is not whole is thrown away. */
	st = exec(to, "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF");
	if (st == SPOOL_OK) {
		copy = sqlite3_backup_init(to->db, "main", from->db, "main");
		if (copy != NULL) {
			sqlite3_backup_step(copy, -1);
			rc = sqlite3_backup_finish(copy);
		} else {
			rc = sqlite3_errcode(to->db);
		}
		if (rc != SQLITE_OK)
			st = index_failed(to, "backup", rc);
	}
	backup_db_close(&to);
	return st;
}

/* Pages are copied unread: one that is damaged must not take the place of an earlier backup's. */
static enum spool_status
check_pages(struct index_conn *c)
{
	sqlite3_stmt *stmt = index_stmt(c, "PRAGMA quick_check(1)");
	const char *text;
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st != SPOOL_OK)
		return st;
	text = row ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
	if (text == NULL || strcmp(text, "ok") != 0)
		st = SPOOL_DAMAGED;
	sqlite3_reset(stmt);
	return st;
}

enum spool_status
backup_db_settle(const char *path, enum index_db which)
{
	struct index_conn *c;
	enum spool_status st = backup_db_open(path, true, &c);

	if (st != SPOOL_OK)
		return st;
	st = check_pages(c);
	if (st == SPOOL_OK)
		st = exec(c, "PRAGMA synchronous = OFF; PRAGMA journal_mode = DELETE");
	if (st == SPOOL_OK && which == INDEX_MAIN)
		st = exec(c, "BEGIN");
	if (st == SPOOL_OK && which == INDEX_MAIN)
		st = exec(c, sql_settle_index);
	if (st == SPOOL_OK && which == INDEX_MAIN)
		st = exec(c, "COMMIT");
	backup_db_close(&c);
	return st;
}

enum spool_status
backup_db_revive(const char *path, enum index_db which, uint64_t floor)
{
	struct index_conn *c;
	enum spool_status st = backup_db_open(path, true, &c);

	if (st != SPOOL_OK)
		return st;
	if (which == INDEX_MAIN) {
		st = account_run(c, sql_floor, "u", floor);
		if (st == SPOOL_OK)
			st = account_run(c, sql_removals, "");
		if (st == SPOOL_OK)
			st = account_run(c, sql_marks, "");
	}
	/* The last of it: who opens it as a spool's expects it so. */
	if (st == SPOOL_OK)
		st = exec(c, "PRAGMA journal_mode = WAL");
	backup_db_close(&c);
	return st;
}

enum spool_status
backup_file_sum(const char *dir, int fd, struct backup_file *f, struct strbuf *err)
{
	int file = openat(fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t *buf = mem_array(1, READ_SIZE);
	enum spool_status st = SPOOL_OK;
	ssize_t n = 0;

	f->size = 0;
	f->crc = 0;
	if (file < 0) {
		st = backup_failed(err, dir, f->name);
	} else if (buf == NULL) {
		st = SPOOL_NO_MEMORY;
	} else {
		while ((n = read(file, buf, READ_SIZE)) > 0 || (n < 0 && errno == EINTR)) {
			if (n < 0)
				continue;
			f->crc = crc32c(f->crc, buf, (size_t)n);
			f->size += (uint64_t)n;
		}
		if (n < 0)
			st = backup_failed(err, dir, f->name);
	}
	free(buf);
	if (file >= 0)
		close(file);
	return st;
}

enum spool_status
backup_meta(struct index_conn *c, const char *key, uint64_t *value_r)
{
	sqlite3_stmt *stmt = account_query(c, "SELECT value FROM meta WHERE key = ?1", "t", key);

	return account_number(c, stmt, value_r);
}
