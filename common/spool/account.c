/*
 * account - looking up domains, mailboxes and aliases by name.
 *
 * Names are looked up folded and shown as they were written.  What all files about
 * accounts have in common is here; who owns which table is said by its SQL.
 */
#include "account_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "spool/account.h"

static const char sql_domain[] = "SELECT id FROM domain WHERE folded = ?1";

static const char sql_mailbox[] =
    "SELECT " ACCOUNT_MAILBOX_COLUMNS " FROM mailbox m JOIN domain d ON d.id = m.domain"
    " WHERE m.domain = ?1 AND m.folded = ?2";

static const char sql_user[] =
    "SELECT " ACCOUNT_MAILBOX_COLUMNS " FROM domain d CROSS JOIN mailbox m ON m.domain = d.id"
    " WHERE d.folded = ?1 AND m.folded = ?2";

static const char sql_alias[] = "SELECT id FROM alias WHERE domain = ?1 AND folded = ?2";

static sqlite3_stmt *
bind(struct index_conn *c, const char *sql, const char *types, va_list ap)
{
	sqlite3_stmt *stmt = index_stmt(c, sql);
	int rc = SQLITE_OK;

	if (stmt == NULL)
		return NULL;
	for (int i = 0; types[i] != '\0' && rc == SQLITE_OK; i++) {
		if (types[i] == 'u') {
			rc = sqlite3_bind_int64(stmt, i + 1, (sqlite3_int64)va_arg(ap, uint64_t));
		} else if (types[i] == 'l') {
			uint64_t limit = va_arg(ap, uint64_t);

			if (limit != NUM_UNLIMITED)
				rc = sqlite3_bind_int64(stmt, i + 1, (sqlite3_int64)limit);
		} else if (types[i] == 't') {
			rc = sqlite3_bind_text(
			    stmt, i + 1, va_arg(ap, const char *), -1, SQLITE_STATIC);
		} else {
			assert(types[i] == 'n');
			rc = sqlite3_bind_null(stmt, i + 1);
		}
	}
	assert(rc != SQLITE_RANGE);
	return rc == SQLITE_OK ? stmt : NULL;
}

sqlite3_stmt *
account_query(struct index_conn *c, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, types);
	stmt = bind(c, sql, types, ap);
	va_end(ap);
	return stmt;
}

enum spool_status
account_run(struct index_conn *c, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, types);
	stmt = bind(c, sql, types, ap);
	va_end(ap);
	return stmt != NULL ? index_run(c, stmt) : SPOOL_IO;
}

uint64_t
account_u64(sqlite3_stmt *stmt, int column)
{
	sqlite3_int64 n = sqlite3_column_int64(stmt, column);

	return n > 0 ? (uint64_t)n : 0;
}

uint64_t
account_limit(sqlite3_stmt *stmt, int column)
{
	if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
		return NUM_UNLIMITED;
	return account_u64(stmt, column);
}

enum spool_status
account_number(struct index_conn *c, sqlite3_stmt *stmt, uint64_t *n_r)
{
	int64_t n = 0;
	enum spool_status st = index_number(c, stmt, &n);

	*n_r = n > 0 ? (uint64_t)n : 0;
	return st;
}

static enum spool_status
damaged(const char *what)
{
	log_event(LOG_LEVEL_ERROR, "index_damaged", log_text("error", what),
	    log_text("advice", "somebody has changed index.db by hand: restore it from a backup"));
	return SPOOL_DAMAGED;
}

enum spool_status
account_text(sqlite3_stmt *stmt, int column, char *dst, size_t size)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);
	size_t len;

	if (text == NULL)
		return SPOOL_NO_MEMORY;
	len = (size_t)sqlite3_column_bytes(stmt, column);
	if (len >= size)
		return damaged("a name is too long");
	memcpy(dst, text, len + 1);
	return SPOOL_OK;
}

enum spool_status
account_text_address(
    sqlite3_stmt *stmt, int local_column, int domain_column, char address[ACCOUNT_ADDRESS_MAX])
{
	char local[ADDRESS_MAX + 1], domain[ADDRESS_DOMAIN_MAX + 1];
	enum spool_status st;

	st = account_text(stmt, local_column, local, sizeof(local));
	if (st == SPOOL_OK)
		st = account_text(stmt, domain_column, domain, sizeof(domain));
	if (st != SPOOL_OK)
		return st;
	/* What address_format() has room for. */
	if (strlen(local) + 1 + strlen(domain) > ADDRESS_MAX)
		return damaged("an address is too long");
	if (local[0] == '\0')
		snprintf(address, ACCOUNT_ADDRESS_MAX, "@%s", domain);
	else
		address_format(address, local, domain);
	return SPOOL_OK;
}

enum spool_status
account_find_domain(struct index_conn *c, const char *name, uint64_t *id_r)
{
	char folded[ADDRESS_DOMAIN_MAX + 1];
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	if (name[0] == '\0' || name[0] == '[')
		return SPOOL_NO_DOMAIN;
	address_fold(folded, name);
	stmt = account_query(c, sql_domain, "t", folded);
	if (stmt == NULL)
		return SPOOL_IO;
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_DOMAIN;
	if (st == SPOOL_OK)
		*id_r = account_u64(stmt, 0);
	sqlite3_reset(stmt);
	return st;
}

/* Steps a look-up of `len` octets of a local-part in a domain. */
static enum spool_status
find_local(struct index_conn *c, const char *sql, uint64_t domain, const char *local, size_t len,
    sqlite3_stmt **stmt_r, bool *row_r)
{
	char part[ADDRESS_MAX + 1], folded[ADDRESS_MAX + 1];

	assert(len <= ADDRESS_MAX);
	memcpy(part, local, len);
	part[len] = '\0';
	address_fold(folded, part);
	*stmt_r = account_query(c, sql, "ut", domain, folded);
	return *stmt_r != NULL ? index_step(c, *stmt_r, row_r) : SPOOL_IO;
}

enum spool_status
account_mailbox_of(sqlite3_stmt *stmt, struct account_mailbox *m_r)
{
	m_r->id = account_u64(stmt, 0);
	m_r->enabled = sqlite3_column_int(stmt, 1) != 0;
	return account_text_address(stmt, 2, 3, m_r->address);
}

/* The mailbox that was looked for, if there is a row; the statement is reset. */
static enum spool_status
found(sqlite3_stmt *stmt, bool row, struct account_mailbox *m_r)
{
	enum spool_status st = row ? account_mailbox_of(stmt, m_r) : SPOOL_NO_MAILBOX;

	sqlite3_reset(stmt);
	return st;
}

enum spool_status
account_find_mailbox(struct index_conn *c, uint64_t domain, const char *local, size_t len,
    struct account_mailbox *m_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row = false;

	st = find_local(c, sql_mailbox, domain, local, len, &stmt, &row);
	return st == SPOOL_OK ? found(stmt, row, m_r) : st;
}

enum spool_status
account_find_alias(
    struct index_conn *c, uint64_t domain, const char *local, size_t len, uint64_t *id_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row = false;

	st = find_local(c, sql_alias, domain, local, len, &stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_ALIAS;
	if (st == SPOOL_OK)
		*id_r = account_u64(stmt, 0);
	sqlite3_reset(stmt);
	return st;
}

enum spool_status
account_find_user(struct index_conn *c, const struct address *address, struct account_mailbox *m_r)
{
	char domain[ADDRESS_DOMAIN_MAX + 1], local[ADDRESS_MAX + 1];
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	address_fold(domain, address->domain);
	address_fold(local, address->local);
	stmt = account_query(c, sql_user, "tt", domain, local);
	if (stmt == NULL)
		return SPOOL_IO;
	st = index_step(c, stmt, &row);
	return st == SPOOL_OK ? found(stmt, row, m_r) : st;
}

enum spool_status
account_end(struct spool *spool, struct index_conn **c, enum spool_status st)
{
	if (st == SPOOL_OK)
		return index_write_commit(spool, c, true);
	index_write_abandon(spool, c);
	return st;
}
