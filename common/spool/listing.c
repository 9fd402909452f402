/*
 * listing - what lies in a mailbox, for an administrator.
 *
 * Straight out of the index, without the maildrop's lock: a session may hold that for hours.
 */
#include "account_internal.h"
#include "age.h"
#include "base/num.h"
#include "maildrop_internal.h"
#include "spool/maildrop.h"

static const char sql_list[] =
    "SELECT message, received_ms, octets, uid, expires_day, reverse_path, recipient, retrieved_s,"
    " retrieved_expires_day, state FROM entry"
    " WHERE mailbox = ?1 AND state IN (0, 2) ORDER BY received_ms, message";

/* The beginning of the earlier of the two days. */
static uint64_t
expires_s(sqlite3_stmt *stmt, int column, int other)
{
	uint64_t day = account_limit(stmt, column), other_day = account_limit(stmt, other);

	if (other_day < day)
		day = other_day;
	return day == NUM_UNLIMITED ? NUM_UNLIMITED : day * AGE_DAY_S;
}

/* Texts of the row live until the next step. */
static enum spool_status
read_entry(sqlite3_stmt *stmt, struct maildrop_entry *e)
{
	maildrop_write_uid(
	    e->uid, account_u64(stmt, 0), (const char *)sqlite3_column_text(stmt, 3));
	e->received_ms = account_u64(stmt, 1);
	e->octets = account_u64(stmt, 2);
	e->expires_s = expires_s(stmt, 4, 8);
	e->from = (const char *)sqlite3_column_text(stmt, 5);
	e->delivered_to = (const char *)sqlite3_column_text(stmt, 6);
	e->retrieved_s = account_u64(stmt, 7);
	e->set_apart = sqlite3_column_int(stmt, 9) == 2;
	/* It does not age. */
	if (e->set_apart)
		e->expires_s = NUM_UNLIMITED;
	return e->from != NULL && e->delivered_to != NULL ? SPOOL_OK : SPOOL_NO_MEMORY;
}

enum spool_status
maildrop_list(struct spool *spool, uint64_t mailbox,
    int (*each)(void *arg, const struct maildrop_entry *), void *arg)
{
	struct maildrop_entry entry;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_list, "u", mailbox);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = read_entry(stmt, &entry);
		if (st != SPOOL_OK || each(arg, &entry) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}
