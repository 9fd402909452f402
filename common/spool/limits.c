/*
 * limits - what a mailbox may hold, and for how long.
 *
 * An entry's days are fixed when it is delivered and when it is first retrieved.  What is changed
 * here never brings one nearer, unless that is asked for: POP3 announced them (RFC 2449 6.7).
 */
#include "account_internal.h"
#include "age.h"
#include "base/clock.h"
#include "spool/account.h"

#define EXPIRES AGE_DAY_SQL("(received_ms + 999) / 1000", "?2")
#define RETRIEVED_EXPIRES AGE_DAY_SQL("retrieved_s", "?2")
#define IN_MAILBOX " WHERE mailbox = ?1 AND state = 0"

static const char sql_quota[] = "UPDATE mailbox SET quota = ?2 WHERE id = ?1";

static const char sql_expire[] = "UPDATE mailbox SET expire_s = ?2 WHERE id = ?1";

/* Where ?2 is NULL the day becomes NULL, never. */
static const char sql_all[] =
    "UPDATE entry SET expires_day = " EXPIRES IN_MAILBOX " AND expires_day IS NOT " EXPIRES;

/* Those that never go are not touched: NULL is less than nothing. */
static const char sql_later[] =
    "UPDATE entry SET expires_day = " EXPIRES IN_MAILBOX " AND (expires_day < " EXPIRES
    " OR (?2 IS NULL AND expires_day IS NOT NULL))";

static const char sql_retrieved[] = "UPDATE mailbox SET expire_retrieved_s = ?2 WHERE id = ?1";

/* An age that is longer cannot lead to an earlier day, so what had none yet has the day that
 * follows from it. */
static const char sql_retrieved_later[] =
    "UPDATE entry SET keep_retrieved_s = ?2, retrieved_expires_day = " RETRIEVED_EXPIRES IN_MAILBOX
    " AND (keep_retrieved_s < ?2 OR (?2 IS NULL AND keep_retrieved_s IS NOT NULL))";

static const char sql_past[] =
    "SELECT count(*), coalesce(sum(octets), 0) FROM entry" IN_MAILBOX " AND " EXPIRES " <= ?3";

static enum spool_status
set(struct index_conn *c, const struct address *address, uint64_t limit, const char *sql,
    const char *sql_entries, uint64_t *changed_r)
{
	struct account_mailbox mailbox;
	enum spool_status st;

	st = account_find_user(c, address, &mailbox);
	if (st == SPOOL_OK)
		st = account_run(c, sql, "ul", mailbox.id, limit);
	if (st != SPOOL_OK || sql_entries == NULL)
		return st;
	st = account_run(c, sql_entries, "ul", mailbox.id, limit);
	*changed_r = (uint64_t)sqlite3_changes64(index_db(c));
	return st;
}

/* Mailbox and entries in one transaction, so that no message lies there by neither age. */
static enum spool_status
set_limit(struct spool *spool, const struct address *address, uint64_t limit, const char *sql,
    const char *sql_entries, uint64_t *changed_r)
{
	struct index_conn *c;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "limits", &c);
	if (st != SPOOL_OK)
		return st;
	st = set(c, address, limit, sql, sql_entries, changed_r);
	return account_end(spool, &c, st);
}

enum spool_status
account_user_set_quota(struct spool *spool, const struct address *address, uint64_t quota)
{
	return set_limit(spool, address, quota, sql_quota, NULL, NULL);
}

enum spool_status
account_user_set_expire(struct spool *spool, const struct address *address, uint64_t expire_s,
    bool now, uint64_t *changed_r)
{
	*changed_r = 0;
	return set_limit(
	    spool, address, expire_s, sql_expire, now ? sql_all : sql_later, changed_r);
}

enum spool_status
account_user_set_expire_retrieved(
    struct spool *spool, const struct address *address, uint64_t expire_s, uint64_t *changed_r)
{
	*changed_r = 0;
	return set_limit(spool, address, expire_s, sql_retrieved, sql_retrieved_later, changed_r);
}

enum spool_status
account_user_past_age(struct spool *spool, const struct address *address, uint64_t expire_s,
    uint64_t *messages_r, uint64_t *octets_r)
{
	uint64_t today = clock_wall_ms() / 1000 / AGE_DAY_S;
	struct account_mailbox mailbox;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	*messages_r = *octets_r = 0;
	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_user(c, address, &mailbox);
	if (st == SPOOL_OK) {
		stmt = account_query(c, sql_past, "ulu", mailbox.id, expire_s, today);
		st = index_step(c, stmt, &row);
		if (st == SPOOL_OK && row) {
			*messages_r = account_u64(stmt, 0);
			*octets_r = account_u64(stmt, 1);
		}
	}
	index_read_end(spool, &c);
	return st;
}
