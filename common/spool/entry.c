/*
 * entry - entries and holders for a record, and what mailboxes count.  The invariants are those of
 * remove.c.
 */
#include "entry.h"

#include <string.h>

#include "base/num.h"

/* Nothing where the mailbox is gone.  SPOOL_EXISTS when it has the message. */
static enum spool_status
add_one(struct index_conn *c, struct tally *tally, uint64_t message, const struct record *r,
    const char *reverse_path, const struct record_recipient *to, size_t *held)
{
	uint64_t octets = r->octets + record_prefix_len(reverse_path, to->written);
	struct tally_mailbox *mailbox;
	enum spool_status st;
	sqlite3_stmt *stmt;

	st = tally_find(tally, c, to->mailbox, &mailbox);
	if (st != SPOOL_OK || mailbox == NULL)
		return st;
	/* One row of values: for an INSERT out of a SELECT SQLite keeps a journal of its own. */
	stmt = index_stmt(c,
	    "INSERT INTO entry (mailbox, message, received_ms, octets, blocks, expires_day, uid,"
	    " reverse_path, recipient, keep_retrieved_s)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)to->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)r->received_ms);
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)octets);
	sqlite3_bind_int64(stmt, 5, (sqlite3_int64)record_blocks(r));
	if (to->expires_day != RECORD_NEVER)
		sqlite3_bind_int64(stmt, 6, to->expires_day);
	if (to->uid != NULL)
		sqlite3_bind_text(stmt, 7, to->uid, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 8, reverse_path, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 9, to->written, -1, SQLITE_STATIC);
	if (mailbox->expire_retrieved_s != NUM_UNLIMITED)
		sqlite3_bind_int64(stmt, 10, (sqlite3_int64)mailbox->expire_retrieved_s);
	st = index_run(c, stmt);
	if (st != SPOOL_OK)
		return st;
	++*held;
	tally_add(mailbox, octets, r->received_ms);
	return SPOOL_OK;
}

static bool
is_named(const struct record_recipient *list, size_t n, uint64_t mailbox)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].mailbox == mailbox)
			return true;
	return false;
}

enum spool_status
entry_add(struct index_conn *c, struct tally *tally, uint64_t message, const struct record *r,
    const char *reverse_path, const struct record_recipient *list, size_t n, size_t *held_r)
{
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;

	*held_r = 0;
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		st = add_one(c, tally, message, r, reverse_path, &list[i], held_r);
		/* A record that names a mailbox twice must not hold up the recovery of all others. */
		if (st == SPOOL_EXISTS && is_named(list, i, list[i].mailbox))
			st = SPOOL_OK;
	}
	if (st != SPOOL_OK || *held_r < 2)
		return st;
	stmt = index_stmt(c, "INSERT INTO holders VALUES (?1, ?2)");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)*held_r);
	return index_run(c, stmt);
}

enum spool_status
entry_add_garbage(struct index_conn *c, uint64_t message, uint64_t blocks)
{
	sqlite3_stmt *stmt = index_stmt(c, "INSERT INTO garbage VALUES (?1, ?2)");

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)blocks);
	return index_run(c, stmt);
}
