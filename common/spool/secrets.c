/*
 * secrets - the rows of secrets.db: what proves who somebody is.
 */
#include "secrets.h"

#include <string.h>

#include "account_internal.h"
#include "base/log.h"

static const char sql_read[] = "SELECT hash, recoverable FROM secret WHERE mailbox = ?1";

static const char sql_any_recoverable[] =
    "SELECT 1 FROM secret WHERE recoverable IS NOT NULL LIMIT 1";

static const char sql_create[] =
    "INSERT OR REPLACE INTO secret (mailbox, hash, recoverable) VALUES (?1, ?2, ?3)";

static const char sql_change[] =
    "INSERT INTO secret (mailbox, hash) VALUES (?1, ?2)"
    " ON CONFLICT (mailbox) DO UPDATE SET hash = ?2,"
    " recoverable = CASE WHEN recoverable IS NULL THEN NULL ELSE ?3 END";

static const char sql_remove[] = "DELETE FROM secret WHERE mailbox = ?1";

enum spool_status
secrets_read(struct spool *spool, uint64_t mailbox, struct secret *s_r)
{
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;

	memset(s_r, 0, sizeof(*s_r));
	st = index_read_begin(spool, INDEX_SECRETS, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_read, "u", mailbox);
	st = stmt != NULL ? index_step(c, stmt, &s_r->found) : SPOOL_IO;
	if (st == SPOOL_OK && s_r->found) {
		s_r->recoverable = sqlite3_column_type(stmt, 1) != SQLITE_NULL;
		st = account_text(stmt, 0, s_r->hash, sizeof(s_r->hash));
		if (st == SPOOL_OK && s_r->recoverable)
			st = account_text(stmt, 1, s_r->text, sizeof(s_r->text));
	}
	sqlite3_reset(stmt);
	index_read_end(spool, &c);
	return st;
}

bool
account_apop_exists(struct spool *spool)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row = false;

	if (index_read_begin(spool, INDEX_SECRETS, &c) != SPOOL_OK)
		return false;
	stmt = account_query(c, sql_any_recoverable, "");
	if (stmt != NULL && index_step(c, stmt, &row) != SPOOL_OK)
		row = false;
	sqlite3_reset(stmt);
	index_read_end(spool, &c);
	return row;
}

static enum spool_status
change(struct spool *spool, const char *sql, uint64_t mailbox, const char *hash, const char *text)
{
	struct index_conn *c;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_SECRETS, "secrets", &c);
	if (st != SPOOL_OK)
		return st;
	if (hash == NULL)
		st = account_run(c, sql, "u", mailbox);
	else if (text == NULL)
		st = account_run(c, sql, "utn", mailbox, hash);
	else
		st = account_run(c, sql, "utt", mailbox, hash, text);
	if (st != SPOOL_OK) {
		index_write_abandon(spool, &c);
		return st;
	}
	return index_write_commit(spool, &c, true);
}

enum spool_status
secrets_create(struct spool *spool, uint64_t mailbox, const char *hash, const char *recoverable)
{
	return change(spool, sql_create, mailbox, hash, recoverable);
}

enum spool_status
secrets_change(struct spool *spool, uint64_t mailbox, const char *hash, const char *text)
{
	return change(spool, sql_change, mailbox, hash, text);
}

enum spool_status
secrets_remove(struct spool *spool, uint64_t mailbox)
{
	return change(spool, sql_remove, mailbox, NULL, NULL);
}
