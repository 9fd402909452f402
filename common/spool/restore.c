/*
 * restore - deleted mail is brought back.
 *
 * An entry that is kept has left the sums of its mailbox and nothing else: its message has its
 * holders and its blocks still (remove.c, invariants 2 to 4).  So only the entry, the mailbox's
 * sums and kept_blocks change here, in one transaction.
 *
 * The maildrop's lock is held meanwhile: a session's list, and what it will say to QUIT, must not
 * meet mail that comes back under a UID it has just removed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "account_internal.h"
#include "age.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "lock.h"
#include "maildrop_internal.h"
#include "spool/history.h"
#include "spool_internal.h"

static const char sql_mailbox[] = "SELECT m.quota, m.used, m.removals, m.local, d.name FROM "
				  "mailbox m JOIN domain d ON d.id = m.domain"
				  " WHERE m.id = ?1";

static const char sql_all[] = "SELECT message FROM entry WHERE mailbox = ?1 AND state = 1";

/* By the UID that is shown; the one removed last, where it was two messages' in turn. */
static const char sql_by_uid[] = "SELECT message FROM entry WHERE mailbox = ?1 AND state = 1"
				 " AND uid = ?2 ORDER BY removed_s DESC LIMIT 1";

static const char sql_by_id[] = "SELECT message FROM entry WHERE mailbox = ?1 AND message = ?2"
				" AND state = 1 AND uid IS NULL";

static const char sql_kept[] = "SELECT octets, blocks, uid FROM entry"
			       " WHERE mailbox = ?1 AND message = ?2 AND state = 1";

static const char sql_uid_is_used[] =
    "SELECT 1 FROM entry WHERE mailbox = ?1 AND uid = ?2 AND state = 0 AND message <> ?3";

/* Ages anew: the mailbox's of today, from now on, unless the old day is a later one, for that one
 * was announced.  NULL, never, is the latest of all. */
#define AGE "(SELECT expire_s FROM mailbox WHERE id = ?1)"
#define AGE_RETRIEVED "(SELECT expire_retrieved_s FROM mailbox WHERE id = ?1)"
static const char sql_restore[] =
    "UPDATE entry SET state = 0, removed_s = NULL, retrieved_s = NULL,"
    " retrieved_expires_day = NULL,"
    " keep_retrieved_s = max(keep_retrieved_s, " AGE_RETRIEVED "),"
    " expires_day = max(expires_day, " AGE_DAY_SQL(
	"?3", AGE) ")"
		   " WHERE mailbox = ?1 AND message = ?2";

static const char sql_new_uid[] = "UPDATE entry SET uid = ?3 WHERE mailbox = ?1 AND message = ?2";

static const char sql_sums[] = "UPDATE mailbox SET used = used + ?2, messages = messages + ?3"
			       " WHERE id = ?1";

static const char sql_kept_blocks[] = "UPDATE meta SET value = value - ?1"
				      " WHERE key = 'kept_blocks'";

struct restore {
	struct index_conn *c;
	uint64_t mailbox;
	uint64_t *messages; /* owned */
	size_t n, cap;
	bool all; /* none was named */
	bool new_uid;
	uint64_t now_s;
	uint64_t quota, used, removals;
	char address[ACCOUNT_ADDRESS_MAX];
	uint64_t back, octets, blocks; /* brought back so far */
};

static enum spool_status
add_message(struct restore *r, uint64_t message)
{
	if (mem_grow(&r->messages, &r->cap, r->n + 1, sizeof(*r->messages)) != 0)
		return SPOOL_NO_MEMORY;
	r->messages[r->n++] = message;
	return SPOOL_OK;
}

/* What is named twice is named. */
static void
drop_doubles(struct restore *r)
{
	size_t kept = 0;

	num_sort(r->messages, r->n);
	for (size_t i = 0; i < r->n; i++)
		if (i == 0 || r->messages[i] != r->messages[kept - 1])
			r->messages[kept++] = r->messages[i];
	r->n = kept;
}

/* The message of one row, or SPOOL_NO_MESSAGE. */
static enum spool_status
find_row(struct index_conn *c, sqlite3_stmt *stmt, uint64_t *message_r)
{
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_MESSAGE;
	if (st == SPOOL_OK) {
		*message_r = account_u64(stmt, 0);
		sqlite3_reset(stmt);
	}
	return st;
}

static enum spool_status
find_uid(struct restore *r, const char *uid)
{
	enum spool_status st;
	uint64_t message;

	st = find_row(r->c, account_query(r->c, sql_by_uid, "ut", r->mailbox, uid), &message);
	if (st == SPOOL_NO_MESSAGE && spool_uid_parse(uid, &message) == 0)
		st = find_row(
		    r->c, account_query(r->c, sql_by_id, "uu", r->mailbox, message), &message);
	return st == SPOOL_OK ? add_message(r, message) : st;
}

static enum spool_status
find_all(struct restore *r)
{
	sqlite3_stmt *stmt = account_query(r->c, sql_all, "u", r->mailbox);
	enum spool_status st;
	bool row;

	while ((st = index_step(r->c, stmt, &row)) == SPOOL_OK && row) {
		st = add_message(r, account_u64(stmt, 0));
		if (st != SPOOL_OK)
			break;
	}
	return st;
}

/* Outside the writer's lock: many UIDs take long. */
static enum spool_status
find_messages(
    struct spool *spool, struct restore *r, const char *const *uids, size_t n, size_t *bad_r)
{
	enum spool_status st;

	st = index_read_begin(spool, INDEX_MAIN, &r->c);
	if (st == SPOOL_OK && n == 0)
		st = find_all(r);
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		st = find_uid(r, uids[i]);
		if (st == SPOOL_NO_MESSAGE)
			*bad_r = i;
	}
	index_read_end(spool, &r->c);
	drop_doubles(r);
	return st;
}

static enum spool_status
read_mailbox(struct restore *r)
{
	sqlite3_stmt *stmt = account_query(r->c, sql_mailbox, "u", r->mailbox);
	enum spool_status st;
	bool row;

	st = index_step(r->c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_MAILBOX;
	if (st != SPOOL_OK)
		return st;
	r->quota = account_limit(stmt, 0);
	r->used = account_u64(stmt, 1);
	r->removals = account_u64(stmt, 2);
	st = account_text_address(stmt, 3, 4, r->address);
	sqlite3_reset(stmt);
	return st;
}

/* SPOOL_EXISTS when mail in the mailbox has it. */
static enum spool_status
uid_is_free(struct restore *r, const char *uid, uint64_t message)
{
	sqlite3_stmt *stmt = account_query(r->c, sql_uid_is_used, "utu", r->mailbox, uid, message);
	enum spool_status st;
	bool row;

	st = index_step(r->c, stmt, &row);
	if (st == SPOOL_OK && row) {
		sqlite3_reset(stmt);
		st = SPOOL_EXISTS;
	}
	return st;
}

/* The id, which no other message ever has, and how many removals there were: between two times
 * that it is brought back there is its own. */
static enum spool_status
give_new_uid(struct restore *r, uint64_t message)
{
	char id[SPOOL_UID_LEN + 1], uid[MAILDROP_UID_MAX + 1];
	enum spool_status st;

	spool_uid_format(id, message);
	snprintf(uid, sizeof(uid), "%s.%" PRIu64, id, r->removals);
	st = uid_is_free(r, uid, message);
	if (st == SPOOL_OK)
		st = account_run(r->c, sql_new_uid, "uut", r->mailbox, message, uid);
	return st;
}

static enum spool_status
restore_one(struct restore *r, uint64_t message)
{
	sqlite3_stmt *stmt = account_query(r->c, sql_kept, "uu", r->mailbox, message);
	char uid[MAILDROP_UID_MAX + 1] = "";
	enum spool_status st;
	bool row;

	st = index_step(r->c, stmt, &row);
	/* The janitor ended it meanwhile: whoever wants all gets what there is. */
	if (st == SPOOL_OK && !row)
		return r->all ? SPOOL_OK : SPOOL_NO_MESSAGE;
	if (st != SPOOL_OK)
		return st;
	r->back++;
	r->octets += account_u64(stmt, 0);
	r->blocks += account_u64(stmt, 1);
	if (sqlite3_column_type(stmt, 2) != SQLITE_NULL)
		st = account_text(stmt, 2, uid, sizeof(uid));
	sqlite3_reset(stmt);
	if (st == SPOOL_OK && r->new_uid)
		st = give_new_uid(r, message);
	else if (st == SPOOL_OK && uid[0] != '\0')
		st = uid_is_free(r, uid, message);
	if (st == SPOOL_OK)
		st = account_run(r->c, sql_restore, "uuu", r->mailbox, message, r->now_s);
	return st;
}

static enum spool_status
restore_all(struct restore *r)
{
	enum spool_status st = read_mailbox(r);

	for (size_t i = 0; st == SPOOL_OK && i < r->n; i++)
		st = restore_one(r, r->messages[i]);
	if (st == SPOOL_OK && r->quota != NUM_UNLIMITED &&
	    (r->used > r->quota || r->octets > r->quota - r->used))
		st = SPOOL_OVER_QUOTA;
	if (st == SPOOL_OK)
		st = account_run(r->c, sql_sums, "uuu", r->mailbox, r->octets, r->back);
	if (st == SPOOL_OK)
		st = account_run(r->c, sql_kept_blocks, "u", r->blocks);
	return st;
}

static enum spool_status
restore_locked(struct spool *spool, struct restore *r)
{
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "restore", &r->c);
	if (st != SPOOL_OK)
		return st;
	st = restore_all(r);
	st = account_end(spool, &r->c, st);
	if (st == SPOOL_OK)
		log_event(LOG_LEVEL_INFO, "restored", log_text("user", r->address),
		    log_num("messages", r->back), log_num("octets", r->octets));
	return st;
}

enum spool_status
history_restore(struct spool *spool, uint64_t mailbox, const char *const *uids, size_t n,
    bool new_uid, struct history_restored *result)
{
	struct restore r = { .mailbox = mailbox, .all = n == 0, .new_uid = new_uid };
	struct lock_maildrop *lock;
	enum spool_status st;

	*result = (struct history_restored){ .bad = n };
	st = lock_maildrop(&spool->locks, mailbox, "restore", &lock);
	if (st != SPOOL_OK)
		return st;
	r.now_s = clock_wall_ms() / 1000;
	st = find_messages(spool, &r, uids, n, &result->bad);
	if (st == SPOOL_OK && r.n > 0)
		st = restore_locked(spool, &r);
	if (st == SPOOL_OK || st == SPOOL_OVER_QUOTA) {
		result->messages = r.back;
		result->octets = r.octets;
	}
	lock_maildrop_release(&spool->locks, &lock);
	free(r.messages);
	return st;
}
