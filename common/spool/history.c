/*
 * history - the last removals of a mailbox, and what is kept of them.
 *
 * remove.c writes both; here they are read, without the maildrop's lock.
 */
#include "spool/history.h"

#include "account_internal.h"
#include "maildrop_internal.h"
#include "remove.h"

static const char sql_removals[] =
    "SELECT removed_s, cause, message, uid, octets, received_ms, reverse_path"
    " FROM removal WHERE mailbox = ?1 ORDER BY number DESC";

static const char sql_kept[] =
    "SELECT message, uid, octets, received_ms, removed_s, reverse_path, recipient FROM entry"
    " WHERE mailbox = ?1 AND state = 1 ORDER BY received_ms, message";

static enum spool_status
read_removal(sqlite3_stmt *stmt, struct history_removal *r)
{
	r->removed_s = account_u64(stmt, 0);
	r->cause = remove_cause_text((unsigned)sqlite3_column_int(stmt, 1));
	maildrop_write_uid(
	    r->uid, account_u64(stmt, 2), (const char *)sqlite3_column_text(stmt, 3));
	r->octets = account_u64(stmt, 4);
	r->received_ms = account_u64(stmt, 5);
	r->from = (const char *)sqlite3_column_text(stmt, 6);
	return r->from != NULL ? SPOOL_OK : SPOOL_NO_MEMORY;
}

enum spool_status
history_list(struct spool *spool, uint64_t mailbox,
    int (*each)(void *arg, const struct history_removal *), void *arg)
{
	struct history_removal removal;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_removals, "u", mailbox);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = read_removal(stmt, &removal);
		if (st != SPOOL_OK || each(arg, &removal) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}

static enum spool_status
read_kept(sqlite3_stmt *stmt, struct history_kept *k)
{
	maildrop_write_uid(
	    k->uid, account_u64(stmt, 0), (const char *)sqlite3_column_text(stmt, 1));
	k->octets = account_u64(stmt, 2);
	k->received_ms = account_u64(stmt, 3);
	k->removed_s = account_u64(stmt, 4);
	k->from = (const char *)sqlite3_column_text(stmt, 5);
	k->delivered_to = (const char *)sqlite3_column_text(stmt, 6);
	return k->from != NULL && k->delivered_to != NULL ? SPOOL_OK : SPOOL_NO_MEMORY;
}

enum spool_status
history_kept(struct spool *spool, uint64_t mailbox,
    int (*each)(void *arg, const struct history_kept *), void *arg)
{
	struct history_kept kept;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_kept, "u", mailbox);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = read_kept(stmt, &kept);
		if (st != SPOOL_OK || each(arg, &kept) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}
