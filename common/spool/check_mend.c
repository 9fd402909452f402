/*
 * check_mend - what check changes, each thing in a short transaction of its own, so that deliveries
 * wait for none of it.
 */
#include <stdarg.h>
#include <string.h>

#include "account_internal.h"
#include "check_internal.h"
#include "spool_internal.h"

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
