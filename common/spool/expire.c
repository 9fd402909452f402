/*
 * expire - due entries, found by the two partial indexes of `entry`, removed by batches.
 *
 * A batch is a part of one mailbox's entries or those of many mailboxes, which then share what a
 * transaction costs: above all its sync.  The mailboxes are looked for with no lock held; then a
 * short transaction locks the maildrop of each (tried, never waited for, so it may be inside of
 * the writer's lock), reads and removes up to BATCH entries.  All locks are given back, and only
 * then anybody is told.  Whoever wants to write, or to log in, is between two batches.
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
/* Mailboxes of a batch: each has pages of its own, whose reading and writing others wait for. */
#define MAILBOXES 64
/* So many entries more is what the pages of a mailbox take of the log (ballast.h). */
#define MAILBOX_COST 24u

static const char sql_boxes[] =
    "SELECT m.id, m.local, d.name FROM mailbox m JOIN domain d ON d.id = m.domain"
    " WHERE m.id BETWEEN ?1 AND ?3"
    " AND (EXISTS (SELECT 1 FROM entry WHERE mailbox = m.id AND state = 0"
    " AND expires_day <= ?2)"
    " OR EXISTS (SELECT 1 FROM entry WHERE mailbox = m.id AND state = 0"
    " AND retrieved_expires_day <= ?2))"
    " ORDER BY m.id LIMIT ?4";

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

/* A mailbox of a batch. */
struct box {
	uint64_t id;
	char address[ACCOUNT_ADDRESS_MAX];
	struct lock_maildrop *lock; /* NULL while it is not locked */
	size_t first, n;            /* its entries in the list */
};

/* Where the next batch begins. */
struct place {
	uint64_t mailbox;
	enum expire_why pass;
	uint64_t after_day, after_message;
};

/* All mailboxes, on the way. */
struct walk {
	struct spool *spool;
	struct expire_run *run;
	uint64_t today;
	struct place at;
	bool ended; /* `each` wants no more */

	struct box boxes[MAILBOXES];
	size_t nboxes;
	struct due list[BATCH];
	uint64_t ids[BATCH];
	size_t n;
	uint64_t busy; /* maildrops that this batch has left alone */

	struct box told;           /* the mailbox that was told of last */
	uint64_t messages, octets; /* of it, so far */
};

/* --- finding -------------------------------------------------------------- */

/* SPOOL_NO_MAILBOX where there is none of this id. */
static enum spool_status
know_mailbox(struct spool *sp, uint64_t id)
{
	enum spool_status st;
	struct index_conn *c;
	bool row;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = index_step(c, account_query(c, "SELECT 1 FROM mailbox WHERE id = ?1", "u", id), &row);
	index_read_end(sp, &c);
	return st == SPOOL_OK && !row ? SPOOL_NO_MAILBOX : st;
}

/* The next mailboxes that have something due; none at the end. */
static enum spool_status
read_boxes(struct walk *w, struct index_conn *c)
{
	uint64_t last = w->run->mailbox != 0 ? w->run->mailbox : INT64_MAX;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	w->nboxes = 0;
	stmt =
	    account_query(c, sql_boxes, "uuuu", w->at.mailbox, w->today, last, (uint64_t)MAILBOXES);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		struct box *box = &w->boxes[w->nboxes++];

		*box = (struct box){ .id = account_u64(stmt, 0) };
		st = account_text_address(stmt, 1, 2, box->address);
		if (st != SPOOL_OK)
			break;
	}
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
	w->at.after_day = w->at.pass == EXPIRE_AGE ? age : retrieved;
	w->at.after_message = d->message;
	return st;
}

/* What is due in this mailbox, from both passes and as far as it fits into the batch. */
static enum spool_status
read_box(struct walk *w, struct index_conn *c, struct box *box)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	if (w->at.mailbox != box->id)
		w->at = (struct place){ .mailbox = box->id };
	for (;;) {
		stmt = account_query(c, sql_due[w->at.pass], "uuuuu", box->id, w->today,
		    w->at.after_day, w->at.after_message, (uint64_t)(BATCH - w->n));
		while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
			st = read_due(w, stmt);
			if (st != SPOOL_OK)
				return st;
		}
		box->n = w->n - box->first;
		if (st != SPOOL_OK || w->n == BATCH)
			return st;
		if (w->at.pass == EXPIRE_RETRIEVED)
			break;
		w->at = (struct place){ .mailbox = box->id, .pass = EXPIRE_RETRIEVED };
	}
	w->at = (struct place){ .mailbox = box->id + 1 };
	return SPOOL_OK;
}

/* Calls `each_box` for as many mailboxes as fit into the batch. */
static enum spool_status
fill_batch(struct walk *w, struct index_conn *c,
    enum spool_status (*each_box)(struct walk *, struct index_conn *, struct box *))
{
	enum spool_status st = SPOOL_OK;

	w->n = w->busy = 0;
	for (size_t i = 0; i < w->nboxes; i++)
		w->boxes[i].n = 0;
	for (size_t i = 0; st == SPOOL_OK && i < w->nboxes && w->n < BATCH; i++) {
		w->boxes[i].first = w->n;
		st = each_box(w, c, &w->boxes[i]);
	}
	return st;
}

static enum spool_status
look(struct walk *w)
{
	enum spool_status st;
	struct index_conn *c;

	st = index_read_begin(w->spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = read_boxes(w, c);
	if (st == SPOOL_OK && w->run->dry_run)
		st = fill_batch(w, c, read_box);
	index_read_end(w->spool, &c);
	return st;
}

/* --- removing ------------------------------------------------------------- */

static enum spool_status
remove_box(struct walk *w, struct index_conn *c, struct box *box)
{
	enum spool_status st;

	st = lock_maildrop(&w->spool->locks, box->id, "expiry", &box->lock);
	if (st == SPOOL_BUSY) {
		w->busy++;
		w->at = (struct place){ .mailbox = box->id + 1 };
		return SPOOL_OK;
	}
	if (st == SPOOL_OK)
		st = read_box(w, c, box);
	if (st != SPOOL_OK || box->n == 0)
		return st;
	return remove_entries(w->spool, c, box->id, w->ids + box->first, box->n, REMOVE_EXPIRE);
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
	st = fill_batch(w, c, remove_box);
	if (st == SPOOL_OK && w->n > 0)
		return index_write_commit(w->spool, &c, durable);
	index_write_abandon(w->spool, &c);
	return st;
}

static enum spool_status
expire_batch(struct walk *w)
{
	const struct place at = w->at;
	enum spool_status st;

	ballast_prepare(w->spool, BATCH + w->nboxes * MAILBOX_COST);
	do {
		w->at = at;
		st = remove_batch(w);
		for (size_t i = 0; i < w->nboxes; i++)
			lock_maildrop_release(&w->spool->locks, &w->boxes[i].lock);
	} while (ballast_helps(w->spool, st));
	if (st == SPOOL_OK)
		w->run->result.busy += w->busy;
	return st;
}

/* --- telling -------------------------------------------------------------- */

/* Nothing more will be told of the mailbox that was told of last. */
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
		    log_text("user", w->told.address), log_num("messages", w->messages),
		    log_num("octets", w->octets));
	w->messages = w->octets = 0;
}

static void
tell_box(struct walk *w, const struct box *box)
{
	if (box->id != w->told.id)
		account_for(w);
	w->told = *box;
	for (size_t i = box->first; i < box->first + box->n; i++) {
		const struct due *d = &w->list[i];
		const struct expire_item item = {
			.address = box->address,
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

static enum spool_status
walk(struct walk *w)
{
	enum spool_status st;

	while (!w->ended) {
		st = look(w);
		if (st != SPOOL_OK || w->nboxes == 0)
			return st;
		if (!w->run->dry_run)
			st = expire_batch(w);
		if (st != SPOOL_OK)
			return st;
		for (size_t i = 0; i < w->nboxes; i++)
			if (w->boxes[i].n > 0)
				tell_box(w, &w->boxes[i]);
		if (w->run->between != NULL)
			st = w->run->between(w->spool);
		if (st != SPOOL_OK)
			return st;
	}
	return SPOOL_OK;
}

enum spool_status
expire_run(struct spool *sp, struct expire_run *run)
{
	struct walk *w = mem_array(1, sizeof(*w));
	enum spool_status st = SPOOL_OK;

	if (w == NULL)
		return SPOOL_NO_MEMORY;
	w->spool = sp;
	w->run = run;
	w->today = clock_wall_ms() / 1000 / AGE_DAY_S;
	w->at.mailbox = run->mailbox;
	if (run->mailbox != 0)
		st = know_mailbox(sp, run->mailbox);
	if (st == SPOOL_OK)
		st = walk(w);
	account_for(w);
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
