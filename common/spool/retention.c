/*
 * retention - for how long mail is kept at the least, over all mailboxes (RFC 2449 6.7).
 *
 * Both ends of an index are looked up, so the number of mailboxes does not matter: a loop
 * may ask.
 */
#include "account_internal.h"
#include "base/num.h"
#include "maildrop_internal.h"
#include "spool_internal.h"

/* Two queries, because SQLite takes one min() or max() from the index, and both by a scan. */
static const char sql_retention[] = "SELECT (SELECT min(retention_days) FROM mailbox),"
				    " (SELECT max(retention_days) FROM mailbox)";

enum spool_status
account_retention(struct spool *spool, uint64_t *smallest_days_r, bool *differs_r)
{
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	if (!spool_ready(spool))
		return SPOOL_NOT_READY;
	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_retention, "");
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK) {
		/* NULL where there is no mailbox. */
		uint64_t smallest = account_limit(stmt, 0), largest = account_limit(stmt, 1);

		*smallest_days_r = smallest < RETENTION_NEVER ? smallest : NUM_UNLIMITED;
		*differs_r = smallest != largest;
	}
	index_read_end(spool, &c);
	return st;
}
