/*
 * check_mend - what check changes, each thing in a short transaction of its own, so that deliveries
 * wait for none of it.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "account_internal.h"
#include "check_internal.h"
#include "damaged.h"
#include "spool_internal.h"

static const char sql_kept[] =
    "UPDATE meta SET value = value + ?3 - e.blocks FROM entry AS e"
    " WHERE key = 'kept_blocks' AND e.mailbox = ?1 AND e.message = ?2 AND e.state = 1";
static const char sql_blocks[] = "UPDATE entry SET blocks = ?3 WHERE mailbox = ?1 AND message = ?2";

static const char sql_holds[] = "SELECT 1 FROM entry WHERE mailbox = ?1 AND message = ?2";
static const char sql_none[] = "DELETE FROM holders WHERE message = ?1";
static const char sql_some[] = "INSERT OR REPLACE INTO holders VALUES (?1, ?2)";

/* Ends the transaction on *c, and remembers how it went. */
static void
end(struct check *k, struct index_conn **c, enum spool_status st)
{
	if (st == SPOOL_OK)
		st = index_write_commit(k->sp, c, false);
	else
		index_write_abandon(k->sp, c);
	k->mended = st == SPOOL_OK;
	if (st != SPOOL_OK && k->failed == SPOOL_OK)
		k->failed = st;
}

void
check_mend(struct check *k, const char *sql, const char *types, ...)
{
	uint64_t values[3] = { 0 };
	struct index_conn *c;
	enum spool_status st;
	va_list ap;

	if (!k->options->repair)
		return;
	va_start(ap, types);
	for (size_t i = 0; i < strlen(types) && i < 3; i++)
		values[i] = va_arg(ap, uint64_t);
	va_end(ap);
	st = index_write_begin(k->sp, INDEX_MAIN, "repair", &c);
	if (st == SPOOL_OK)
		st = account_run(c, sql, types, values[0], values[1], values[2]);
	end(k, &c, st);
}

void
check_mend_blocks(struct check *k, uint64_t mailbox, uint64_t message, uint64_t blocks)
{
	struct index_conn *c;
	enum spool_status st;

	if (!k->options->repair)
		return;
	st = index_write_begin(k->sp, INDEX_MAIN, "repair", &c);
	if (st == SPOOL_OK)
		st = account_run(c, sql_kept, "uuu", mailbox, message, blocks);
	if (st == SPOOL_OK)
		st = account_run(c, sql_blocks, "uuu", mailbox, message, blocks);
	end(k, &c, st);
}

void
check_mend_holders(struct check *k, uint64_t message, const struct check_ref *list, size_t n)
{
	enum spool_status st;
	struct index_conn *c;
	uint64_t holders = 0;
	bool row;

	if (!k->options->repair)
		return;
	st = index_write_begin(k->sp, INDEX_MAIN, "repair", &c);
	/* No other mailbox gets a message than those that had it. */
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		if (list[i].mailbox == CHECK_NOBODY)
			continue;
		sqlite3_stmt *stmt =
		    account_query(c, sql_holds, "uu", k->mailboxes[list[i].mailbox].id, message);
		st = index_step(c, stmt, &row);
		holders += st == SPOOL_OK && row;
		sqlite3_reset(stmt);
	}
	if (st == SPOOL_OK)
		st = holders > 1 ? account_run(c, sql_some, "uu", message, holders)
		                 : account_run(c, sql_none, "u", message);
	end(k, &c, st);
}

enum spool_status
check_header(struct check *k, int fd, uint64_t number, size_t at,
    const uint8_t buf[SEGMENT_HEADER_LEN], struct segment_id *id_r)
{
	enum spool_status st = segment_header_decode(buf, id_r);
	struct segment_proof proof = { .found = false };

	if (st == SPOOL_VERSION || (st == SPOOL_OK && id_r->number == number))
		return st;
	segment_proof_ask(&proof, fd, number, 1);
	for (; at < k->nrefs && message_segment(k->refs[at].message) == number; at++)
		segment_proof_ask(&proof, fd, number, message_block(k->refs[at].message));
	if (!segment_proof_holds(&proof))
		return SPOOL_DAMAGED;
	*id_r = proof.id;
	if (k->options->repair) {
		st = segment_header_mend(k->sp, id_r);
		k->mended = st == SPOOL_OK;
		if (st != SPOOL_OK && k->failed == SPOOL_OK)
			k->failed = st;
		/* What lies beyond its mark could not be recovered without it. */
		k->recover = true;
	}
	check_say(k, 0, 0,
	    "the header of segment %" PRIu64
	    " is damaged, and its records say what it was: logins to mailboxes with mail in it "
	    "are refused until it is put back or mended",
	    number);
	return SPOOL_OK;
}
