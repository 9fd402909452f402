/*
 * apart - setting entries apart, and taking them back.  The invariants are those of remove.c.
 */
#include "apart.h"

#include <string.h>

#include "account_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "health.h"
#include "maildrop_internal.h"
#include "record.h"
#include "spool_internal.h"

static const char sql_entry[] = "SELECT state, octets, blocks, removed_s IS NOT NULL FROM entry"
				" WHERE mailbox = ?1 AND message = ?2";

static const char sql_apart[] =
    "SELECT message, octets, uid FROM entry WHERE mailbox = ?1 AND state = 2";

static const char sql_state[] = "UPDATE entry SET state = ?3 WHERE mailbox = ?1 AND message = ?2";

static const char sql_leave[] = "UPDATE mailbox SET used = used - ?2, messages = messages - 1"
				" WHERE id = ?1";
static const char sql_return[] = "UPDATE mailbox SET used = used + ?2, messages = messages + 1"
				 " WHERE id = ?1";

static const char sql_kept_less[] = "UPDATE meta SET value = value - ?1 WHERE key = 'kept_blocks'";
static const char sql_kept_more[] = "UPDATE meta SET value = value + ?1 WHERE key = 'kept_blocks'";

struct entry {
	int state;
	uint64_t octets, blocks;
	bool was_kept;
};

static enum spool_status
find(struct index_conn *c, uint64_t mailbox, uint64_t message, struct entry *e, bool *there_r)
{
	sqlite3_stmt *stmt = account_query(c, sql_entry, "uu", mailbox, message);
	enum spool_status st = index_step(c, stmt, there_r);

	if (st != SPOOL_OK || !*there_r)
		return st;
	e->state = sqlite3_column_int(stmt, 0);
	e->octets = account_u64(stmt, 1);
	e->blocks = account_u64(stmt, 2);
	e->was_kept = sqlite3_column_int(stmt, 3) != 0;
	sqlite3_reset(stmt);
	return st;
}

enum spool_status
apart_set(struct index_conn *c, uint64_t mailbox, uint64_t message, bool *done_r)
{
	enum spool_status st;
	struct entry e;
	bool there;

	*done_r = false;
	st = find(c, mailbox, message, &e, &there);
	if (st != SPOOL_OK || !there || (e.state != 0 && e.state != 1))
		return st;
	st = account_run(c, sql_state, "uuu", mailbox, message, UINT64_C(2));
	if (st == SPOOL_OK)
		st = e.state == 0 ? account_run(c, sql_leave, "uu", mailbox, e.octets)
		                  : account_run(c, sql_kept_less, "u", e.blocks);
	*done_r = st == SPOOL_OK;
	return st;
}

enum spool_status
apart_take_back(struct index_conn *c, uint64_t mailbox, uint64_t message, bool *done_r)
{
	enum spool_status st;
	struct entry e;
	bool there;

	*done_r = false;
	st = find(c, mailbox, message, &e, &there);
	if (st != SPOOL_OK || !there || e.state != 2)
		return st;
	st = account_run(c, sql_state, "uuu", mailbox, message, (uint64_t)e.was_kept);
	if (st == SPOOL_OK)
		st = e.was_kept ? account_run(c, sql_kept_more, "u", e.blocks)
		                : account_run(c, sql_return, "uu", mailbox, e.octets);
	*done_r = st == SPOOL_OK;
	return st;
}

enum spool_status
maildrop_set_apart(struct maildrop *md, size_t i)
{
	uint64_t message = md->items[i].message;
	char uid[MAILDROP_UID_MAX + 1];
	enum spool_status st;
	struct index_conn *c;
	bool done;

	/* Not for a segment that somebody may put back: all in it would go one by one. */
	if (!health_segment(md->spool, message_segment(message)))
		return SPOOL_OK;
	st = index_write_begin(md->spool, INDEX_MAIN, "set apart", &c);
	if (st != SPOOL_OK)
		return st;
	st = apart_set(c, md->mailbox, message, &done);
	if (st == SPOOL_OK)
		st = index_write_commit(md->spool, &c, false);
	else
		index_write_abandon(md->spool, &c);
	if (st != SPOOL_OK || !done)
		return st;
	maildrop_uid(md, i, uid);
	log_event(LOG_LEVEL_ERROR, "message_set_apart", log_text("user", md->address),
	    log_text("uid", uid),
	    log_text("advice", "it is damaged and is not shown from the next login on: look at the "
			       "disk, run pop-admin check, and bring it back from a backup"));
	return SPOOL_OK;
}

/* In memory alone. */
static enum spool_status
mark(struct maildrop *md, uint64_t message, uint64_t octets)
{
	for (size_t i = 0; i < md->napart; i++)
		if (md->apart[i] == message)
			return SPOOL_OK;
	if (mem_grow(&md->apart, &md->apart_cap, md->napart + 1, sizeof(*md->apart)) != 0)
		return SPOOL_NO_MEMORY;
	md->apart[md->napart++] = message;
	md->apart_octets += octets;
	return SPOOL_OK;
}

enum spool_status
maildrop_mark_apart(struct maildrop *md, const char *uid)
{
	char found[MAILDROP_UID_MAX + 1];
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	uint64_t message = 0, octets = 0;
	bool row, same = false;

	st = index_read_begin(md->spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_apart, "u", md->mailbox);
	while (!same && (st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		message = account_u64(stmt, 0);
		octets = account_u64(stmt, 1);
		maildrop_write_uid(found, message, (const char *)sqlite3_column_text(stmt, 2));
		same = strcmp(found, uid) == 0;
	}
	index_read_end(md->spool, &c);
	if (st != SPOOL_OK)
		return st;
	return same ? mark(md, message, octets) : SPOOL_NO_MESSAGE;
}
