/*
 * expire - due entries, found by the two partial indexes of `entry`, removed by batches.
 *
 * A batch is one mailbox's: its maildrop is locked (tried, never waited for), a short
 * transaction reads and removes up to BATCH entries, both locks are given back, and only then
 * anybody is told.  Whoever wants to write, or to log in, is between two batches.
 *
 * Two passes over a mailbox: what is due by its age, then what only its retrieval made due.
 * Each goes along its index, (mailbox, day, message), from where the batch before ended.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "account_internal.h"
#include "age.h"
#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "expire_internal.h"
#include "janitor.h"
#include "lock.h"
#include "remove.h"
#include "spool_internal.h"

#define BATCH 500

#define DUE                                                                                        \
	" (EXISTS (SELECT 1 FROM entry WHERE mailbox = m.id AND state = 0"                         \
	" AND expires_day <= ?2)"                                                                  \
	" OR EXISTS (SELECT 1 FROM entry WHERE mailbox = m.id AND state = 0"                       \
	" AND retrieved_expires_day <= ?2))"

static const char sql_next[] =
    "SELECT m.id, m.local, d.name, 1 FROM mailbox m JOIN domain d ON d.id = m.domain"
    " WHERE m.id > ?1 AND" DUE " ORDER BY m.id LIMIT 1";

static const char sql_this[] = "SELECT m.id, m.local, d.name," DUE
			       " FROM mailbox m JOIN domain d ON d.id = m.domain WHERE m.id = ?1";

#define COLUMNS                                                                                    \
	"SELECT message, octets, received_ms, expires_day, retrieved_expires_day, uid FROM entry"  \
	" WHERE mailbox = ?1 AND state = 0"

static const char *const sql_due[] = {
	[EXPIRE_AGE] = COLUMNS " AND expires_day <= ?2 AND (expires_day, message) > (?3, ?4)"
			       " ORDER BY expires_day, message LIMIT ?5",
	[EXPIRE_RETRIEVED] =
	    COLUMNS " AND retrieved_expires_day <= ?2 AND (retrieved_expires_day, message) > (?3, "
		    "?4)"
		    " AND (expires_day IS NULL OR expires_day > ?2)"
		    " ORDER BY retrieved_expires_day, message LIMIT ?5",
};

struct due {
	uint64_t message;
	uint64_t octets, received_ms;
	enum expire_why why;
	uint64_t day;
	char uid[MAILDROP_UID_MAX + 1];
};

/* One mailbox, on the way. */
struct walk {
	struct spool *spool;
	struct expire_run *run;
	uint64_t today;
	uint64_t mailbox;
	char address[ACCOUNT_ADDRESS_MAX];
	uint64_t messages, octets; /* of it, so far */

	enum expire_why pass;
	uint64_t after_day, after_message;
	bool ended; /* `each` wants no more */

	struct due list[BATCH];
	uint64_t ids[BATCH];
	size_t n;
};

/* --- finding -------------------------------------------------------------- */

/* The mailbox that `sql` finds from `id` on; SPOOL_NO_MAILBOX when there is none.  *due_r is false
 * when it has nothing due. */
static enum spool_status
find_mailbox(struct walk *w, const char *sql, uint64_t id, bool *due_r)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row;

	*due_r = false;
	st = index_read_begin(w->spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql, "uu", id, w->today);
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_MAILBOX;
	if (st == SPOOL_OK) {
		w->mailbox = account_u64(stmt, 0);
		*due_r = account_u64(stmt, 3) != 0;
		st = account_text_address(stmt, 1, 2, w->address);
	}
	index_read_end(w->spool, &c);
	return st;
}

static enum spool_status
read_due(struct walk *w, sqlite3_stmt *stmt)
{
	struct due *d = &w->list[w->n];
	uint64_t age = account_limit(stmt, 3), retrieved = account_limit(stmt, 4);
	enum spool_status st = SPOOL_OK;

	d->message = account_u64(stmt, 0);
	d->octets = account_u64(stmt, 1);
	d->received_ms = account_u64(stmt, 2);
	d->why = retrieved < age ? EXPIRE_RETRIEVED : EXPIRE_AGE;
	d->day = d->why == EXPIRE_AGE ? age : retrieved;
	if (sqlite3_column_type(stmt, 5) == SQLITE_NULL)
		spool_uid_format(d->uid, d->message);
	else
		st = account_text(stmt, 5, d->uid, sizeof(d->uid));
	w->ids[w->n++] = d->message;
	w->after_day = w->pass == EXPIRE_AGE ? age : retrieved;
	w->after_message = d->message;
	return st;
}

/* Up to BATCH entries, from both passes; fewer when these are the last. */
static enum spool_status
read_batch(struct walk *w, struct index_conn *c)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	w->n = 0;
	for (;;) {
		stmt = account_query(c, sql_due[w->pass], "uuuuu", w->mailbox, w->today,
		    w->after_day, w->after_message, (uint64_t)(BATCH - w->n));
		while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
			st = read_due(w, stmt);
			if (st != SPOOL_OK)
				return st;
		}
		if (st != SPOOL_OK || w->n == BATCH || w->pass == EXPIRE_RETRIEVED)
			return st;
		w->pass = EXPIRE_RETRIEVED;
		w->after_day = w->after_message = 0;
	}
}

/* --- removing ------------------------------------------------------------- */

static enum spool_status
look(struct walk *w)
{
	enum spool_status st;
	struct index_conn *c;

	st = index_read_begin(w->spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = read_batch(w, c);
	index_read_end(w->spool, &c);
	return st;
}

static enum spool_status
remove_batch(struct walk *w)
{
	bool durable = w->run->each != NULL || w->spool->role == SPOOL_ADMIN;
	enum spool_status st;
	struct index_conn *c;

	st = index_write_begin(w->spool, INDEX_MAIN, "expire", &c);
	if (st != SPOOL_OK)
		return st;
	st = read_batch(w, c);
	if (st == SPOOL_OK && w->n > 0)
		st = remove_entries(w->spool, c, w->mailbox, w->ids, w->n, REMOVE_EXPIRE);
	if (st == SPOOL_OK && w->n > 0)
		return index_write_commit(w->spool, &c, durable);
	index_write_abandon(w->spool, &c);
	return st;
}

/* SPOOL_BUSY when the maildrop is open. */
static enum spool_status
expire_batch(struct walk *w)
{
	enum expire_why pass = w->pass;
	uint64_t after_day = w->after_day, after_message = w->after_message;
	struct lock_maildrop *lock;
	enum spool_status st;

	if (w->run->dry_run)
		return look(w);
	ballast_prepare(w->spool, BATCH);
	st = lock_maildrop(&w->spool->locks, w->mailbox, "expiry", &lock);
	if (st != SPOOL_OK)
		return st;
	do {
		w->pass = pass;
		w->after_day = after_day;
		w->after_message = after_message;
		st = remove_batch(w);
	} while (ballast_helps(w->spool, st));
	lock_maildrop_release(&w->spool->locks, &lock);
	return st;
}

static void
tell(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct due *d = &w->list[i];
		const struct expire_item item = {
			.address = w->address,
			.uid = d->uid,
			.octets = d->octets,
			.received_ms = d->received_ms,
			.why = d->why,
			.day = d->day,
		};

		w->messages++;
		w->octets += d->octets;
		if (w->run->each != NULL && !w->ended)
			w->ended = w->run->each(w->run->arg, &item) != 0;
	}
}

static void
account_for(struct walk *w)
{
	struct expire_result *result = &w->run->result;

	result->messages += w->messages;
	result->octets += w->octets;
	result->mailboxes += w->messages > 0;
	if (w->messages > 0 && !w->run->dry_run)
		log_event(LOG_LEVEL_INFO, "removed",
		    log_text("cause", remove_cause_text(REMOVE_EXPIRE)),
		    log_text("user", w->address), log_num("messages", w->messages),
		    log_num("octets", w->octets));
}

static enum spool_status
expire_mailbox(struct walk *w)
{
	enum spool_status st;

	w->messages = w->octets = 0;
	w->pass = EXPIRE_AGE;
	w->after_day = w->after_message = 0;
	do {
		st = expire_batch(w);
		if (st == SPOOL_OK)
			tell(w);
		if (st == SPOOL_OK && w->run->between != NULL)
			st = w->run->between(w->spool);
	} while (st == SPOOL_OK && w->n == BATCH && !w->ended);
	if (st == SPOOL_BUSY) {
		w->run->result.busy++;
		st = SPOOL_OK;
	}
	account_for(w);
	return st;
}

enum spool_status
expire_run(struct spool *sp, struct expire_run *run)
{
	struct walk *w = mem_array(1, sizeof(*w));
	enum spool_status st;
	bool due;

	if (w == NULL)
		return SPOOL_NO_MEMORY;
	w->spool = sp;
	w->run = run;
	w->today = clock_wall_ms() / 1000 / AGE_DAY_S;
	if (run->mailbox != 0) {
		st = find_mailbox(w, sql_this, w->run->mailbox, &due);
		if (st == SPOOL_OK && due)
			st = expire_mailbox(w);
	} else {
		while (
		    (st = find_mailbox(w, sql_next, w->mailbox, &due)) == SPOOL_OK && !w->ended) {
			st = expire_mailbox(w);
			if (st != SPOOL_OK)
				break;
		}
		if (st == SPOOL_NO_MAILBOX)
			st = SPOOL_OK;
	}
	free(w);
	return st;
}

enum spool_status
spool_expire(struct spool *sp, uint64_t mailbox, bool dry_run,
    int (*each)(void *arg, const struct expire_item *), void *arg, struct expire_result *result_r)
{
	struct expire_run run = {
		.mailbox = mailbox,
		.dry_run = dry_run,
		.each = each,
		.arg = arg,
		.between = dry_run ? NULL : janitor_checkpoint,
	};
	enum spool_status st = SPOOL_NOT_READY;

	if (spool_ready(sp))
		st = expire_run(sp, &run);
	if (run.result.messages > 0 && !dry_run)
		janitor_wake(sp);
	*result_r = run.result;
	return st;
}
