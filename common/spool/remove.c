/*
 * remove - entries, and with the last of a message the message itself.
 *
 * Invariants, true at the end of each transaction:
 *  1. mailbox.used and .messages are the sum and the count of its entries.
 *  2. holders has a row, with their number, for each message that more than one
 *     mailbox holds, and for no other.
 *  3. segment.live is the number of its messages that somebody holds; each other one is
 *     in garbage, or its blocks were given back.
 */
#include "remove.h"

#include "record.h"

/* Entries that are taken out of the index at once when all go. */
#define BATCH 1000

/* What one call has found, not yet written: messages come in runs of one segment. */
struct removal {
	struct index_conn *c;
	uint64_t mailbox;
	uint64_t octets, entries; /* taken out */
	uint64_t segment;
	uint64_t dead; /* messages of this segment */
};

static enum spool_status
flush_segment(struct removal *r)
{
	sqlite3_stmt *stmt;

	if (r->dead == 0)
		return SPOOL_OK;
	stmt = index_stmt(r->c, "UPDATE segment SET live = live - ?2 WHERE number = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->segment);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)r->dead);
	r->dead = 0;
	return index_run(r->c, stmt);
}

static enum spool_status
make_garbage(struct removal *r, uint64_t message, uint64_t blocks)
{
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;

	if (message_segment(message) != r->segment)
		st = flush_segment(r);
	if (st != SPOOL_OK)
		return st;
	r->segment = message_segment(message);
	r->dead++;
	stmt = index_stmt(r->c, "INSERT INTO garbage VALUES (?1, ?2)");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)blocks);
	return index_run(r->c, stmt);
}

/* One mailbox fewer holds the message; *last_r when it was the only one. */
static enum spool_status
drop_holder(struct removal *r, uint64_t message, bool *last_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	sqlite3_int64 n;
	bool row;

	stmt = index_stmt(r->c, "SELECT n FROM holders WHERE message = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	st = index_step(r->c, stmt, &row);
	*last_r = !row;
	if (st != SPOOL_OK || !row)
		return st;
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	if (n > 2) {
		stmt = index_stmt(r->c, "UPDATE holders SET n = ?2 WHERE message = ?1");
		sqlite3_bind_int64(stmt, 2, n - 1);
	} else {
		stmt = index_stmt(r->c, "DELETE FROM holders WHERE message = ?1");
	}
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	return index_run(r->c, stmt);
}

static enum spool_status
remove_entry(struct removal *r, uint64_t message)
{
	uint64_t octets, blocks;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row, last;

	stmt = index_stmt(
	    r->c, "SELECT octets, blocks FROM entry WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	st = index_step(r->c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	octets = (uint64_t)sqlite3_column_int64(stmt, 0);
	blocks = (uint64_t)sqlite3_column_int64(stmt, 1);
	sqlite3_reset(stmt);
	r->octets += octets;
	r->entries++;

	stmt = index_stmt(r->c, "DELETE FROM entry WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	st = index_run(r->c, stmt);
	if (st == SPOOL_OK)
		st = drop_holder(r, message, &last);
	if (st == SPOOL_OK && last)
		st = make_garbage(r, message, blocks);
	return st;
}

enum spool_status
remove_entries(struct index_conn *c, uint64_t mailbox, const uint64_t *messages, size_t n)
{
	struct removal r = { .c = c, .mailbox = mailbox };
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;

	for (size_t i = 0; st == SPOOL_OK && i < n; i++)
		st = remove_entry(&r, messages[i]);
	if (st == SPOOL_OK)
		st = flush_segment(&r);
	if (st != SPOOL_OK || r.entries == 0)
		return st;
	stmt = index_stmt(
	    c, "UPDATE mailbox SET used = used - ?2, messages = messages - ?3 WHERE id = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)r.octets);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)r.entries);
	return index_run(c, stmt);
}

enum spool_status
remove_all_entries(struct index_conn *c, uint64_t mailbox)
{
	uint64_t messages[BATCH];
	enum spool_status st;
	sqlite3_stmt *stmt;
	size_t n;
	bool row;

	do {
		stmt = index_stmt(c, "SELECT message FROM entry WHERE mailbox = ?1 LIMIT ?2");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
		sqlite3_bind_int64(stmt, 2, BATCH);
		n = 0;
		while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row)
			messages[n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
		if (st == SPOOL_OK)
			st = remove_entries(c, mailbox, messages, n);
	} while (st == SPOOL_OK && n == BATCH);
	return st;
}
