/*
 * warn - who is due a warning, and when that is looked at.
 *
 * Invariants:
 *  1. mailbox.warned is committed, on disk, before the warning is given to the committer: a crash
 *     between loses a warning and never sends it twice.
 *  2. It is taken back only when the message is known to be in no mailbox, for a reason that
 *     passes; then the next round tries again.
 *  3. A round is one thread's, and none begins once warn_stop() was called: what it gives to the
 *     committer, the committer still finishes.
 *
 * Shares are compared as octets, rounded up; quotas of any size are multiplied without
 * overflow, in C and in SQL alike.
 */
#include "warn.h"

#include <stdlib.h>
#include <string.h>

#include "account_internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "janitor.h"
#include "spool_internal.h"
#include "warn_internal.h"

/* A share is told again once use has fallen so far below it. */
#define FALL 10
/* Looking takes no more than one part in so many of the time. */
#define LOOK_SHARE 20

/* --- settings ------------------------------------------------------------- */

enum spool_status
warn_new(struct warner **w_r)
{
	struct warner *w = mem_array(1, sizeof(*w));

	if (w == NULL)
		return SPOOL_NO_MEMORY;
	pthread_mutex_init(&w->text_mutex, NULL);
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	*w_r = w;
	return SPOOL_OK;
}

void
warn_stop(struct spool *sp)
{
	struct warner *w = sp->warner;

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->mutex);
	w->stop = true;
	while (w->busy)
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}

void
warn_free(struct warner **wp)
{
	struct warner *w = *wp;

	if (w == NULL)
		return;
	free(w->hostname);
	free(w->postmaster);
	free(w->template);
	index_watch_close(&w->watch);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	pthread_mutex_destroy(&w->text_mutex);
	mem_free(wp);
}

/* NULL for NULL, and with *ok false where there is no memory. */
static char *
copy(const char *text, bool *ok)
{
	char *dup = text == NULL ? NULL : mem_dup(text, strlen(text));

	if (text != NULL && dup == NULL)
		*ok = false;
	return dup;
}

static void
exchange(char **a, char **b)
{
	char *kept = *a;

	*a = *b;
	*b = kept;
}

enum spool_status
spool_set_warning(struct spool *sp, const struct spool_warning *settings)
{
	struct warner *w = sp->warner;
	char *hostname, *postmaster, *template;
	bool ok = true;

	if (w == NULL)
		return SPOOL_OK;
	hostname = copy(settings->hostname, &ok);
	postmaster = copy(settings->postmaster, &ok);
	template = copy(settings->template, &ok);
	if (ok) {
		pthread_mutex_lock(&w->text_mutex);
		exchange(&w->hostname, &hostname);
		exchange(&w->postmaster, &postmaster);
		exchange(&w->template, &template);
		pthread_mutex_unlock(&w->text_mutex);
		pthread_mutex_lock(&w->mutex);
		memcpy(w->shares.percent, settings->percent, sizeof(w->shares.percent));
		w->shares.n = settings->n;
		w->pending = w->urgent = true;
		pthread_mutex_unlock(&w->mutex);
		janitor_wake(sp);
	}
	free(hostname);
	free(postmaster);
	free(template);
	return ok ? SPOOL_OK : SPOOL_NO_MEMORY;
}

static struct warn_shares
shares_of(struct warner *w)
{
	struct warn_shares s;

	pthread_mutex_lock(&w->mutex);
	s = w->shares;
	pthread_mutex_unlock(&w->mutex);
	return s;
}

/* --- shares --------------------------------------------------------------- */

/* In SQL, of m.quota and a parameter. */
#define SHARE(percent) "m.quota / 100 * " percent " + (m.quota % 100 * " percent " + 99) / 100"

static uint64_t
share(uint64_t quota, unsigned percent)
{
	return quota / 100 * percent + (quota % 100 * percent + 99) / 100;
}

/* The highest share that is crossed; 0 for none. */
static unsigned
crossed(const struct warn_shares *s, uint64_t used, uint64_t quota)
{
	for (size_t i = s->n; i > 0; i--)
		if (used >= share(quota, s->percent[i - 1]))
			return s->percent[i - 1];
	return 0;
}

/* Use is not yet so far below the share that it would be told again.  What is not above FALL is told
 * again once the mailbox was empty. */
static bool
still_told(uint64_t used, uint64_t quota, unsigned percent)
{
	return used > 0 && used >= share(quota, percent > FALL ? percent - FALL : 0);
}

static unsigned
told_at_most(const struct warn_shares *s, uint64_t used, uint64_t quota)
{
	for (size_t i = s->n; i > 0; i--)
		if (still_told(used, quota, s->percent[i - 1]))
			return s->percent[i - 1];
	return 0;
}

/* What the state is to be. */
static unsigned
state_now(const struct warn_shares *s, const struct warn_due *d)
{
	unsigned up;

	if (d->quota == NUM_UNLIMITED)
		return 0;
	up = crossed(s, d->used, d->quota);
	if (up > d->warned)
		return d->enabled ? up : d->warned;
	if (d->warned == 0 || still_told(d->used, d->quota, d->warned))
		return d->warned;
	return told_at_most(s, d->used, d->quota);
}

/* --- looking -------------------------------------------------------------- */

#define DUE_COLUMNS                                                                                \
	"SELECT m.id, m.local, d.name, m.enabled, m.used, m.quota, m.messages, m.warned"           \
	" FROM mailbox m JOIN domain d ON d.id = m.domain"

/* Everybody whose state may be another one than it is. */
static const char sql_due[] =
    DUE_COLUMNS " WHERE m.id > ?1 AND (m.warned > 0 OR m.used >= " SHARE("?2") ") ORDER BY m.id";

static const char sql_one[] = DUE_COLUMNS " WHERE m.id = ?1";

static enum spool_status
due_of_row(sqlite3_stmt *stmt, const struct warn_shares *s, struct warn_due *d)
{
	d->mailbox = account_u64(stmt, 0);
	d->enabled = sqlite3_column_int(stmt, 3) != 0;
	d->used = account_u64(stmt, 4);
	d->quota = account_limit(stmt, 5);
	d->messages = account_u64(stmt, 6);
	d->warned = (unsigned)sqlite3_column_int(stmt, 7);
	d->now = state_now(s, d);
	d->delivery = NULL;
	d->outcome = SPOOL_OK;
	if (d->now == d->warned)
		return SPOOL_OK;
	return account_text_address(stmt, 1, 2, d->address);
}

/* The next mailboxes whose state is to change; none when all were looked at. */
static enum spool_status
read_due(struct spool *sp, const struct warn_shares *s, struct warn_batch *b)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row = true;

	b->n = 0;
	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(c, sql_due);
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->last);
	sqlite3_bind_int64(stmt, 2, s->percent[0]);
	while (b->n < WARN_BATCH && (st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = due_of_row(stmt, s, &b->list[b->n]);
		if (st != SPOOL_OK)
			break;
		b->last = b->list[b->n].mailbox;
		b->n += b->list[b->n].now != b->list[b->n].warned;
	}
	index_read_end(sp, &c);
	return st;
}

/* Looked at once more, under the writer's lock; the others leave the batch. */
static enum spool_status
commit_states(struct spool *sp, const struct warn_shares *s, struct warn_batch *b)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	size_t kept = 0;
	bool row, up = false;

	st = index_write_begin(sp, INDEX_MAIN, "warnings", &c);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; st == SPOOL_OK && i < b->n; i++) {
		struct warn_due *d = &b->list[kept];

		stmt = index_stmt(c, sql_one);
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->list[i].mailbox);
		st = index_step(c, stmt, &row);
		if (st == SPOOL_OK && row)
			st = due_of_row(stmt, s, d);
		if (st != SPOOL_OK || !row || d->now == d->warned)
			continue;
		st = account_run(
		    c, "UPDATE mailbox SET warned = ?2 WHERE id = ?1", "uu", d->mailbox, d->now);
		up = up || d->now > d->warned;
		kept++;
	}
	b->n = kept;
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, up);
	index_write_abandon(sp, &c);
	return st;
}

/* --- rounds --------------------------------------------------------------- */

static bool
stopping(struct warner *w)
{
	bool stop;

	pthread_mutex_lock(&w->mutex);
	stop = w->stop;
	pthread_mutex_unlock(&w->mutex);
	return stop;
}

/* *ms_r is how long looking took, without what came of it. */
static enum spool_status
look_at_all(struct spool *sp, const struct warn_shares *s, uint64_t *ms_r)
{
	struct warn_batch *b = mem_array(1, sizeof(*b));
	enum spool_status st;
	uint64_t begun;
	bool more;

	*ms_r = 0;
	if (b == NULL)
		return SPOOL_NO_MEMORY;
	do {
		begun = clock_mono_ms();
		st = read_due(sp, s, b);
		*ms_r += clock_mono_ms() - begun;
		more = b->n == WARN_BATCH;
		if (st == SPOOL_OK && b->n > 0)
			st = commit_states(sp, s, b);
		if (st == SPOOL_UNKNOWN)
			warn_lost(b);
		if (st == SPOOL_OK && b->n > 0)
			st = warn_deliver(sp, b);
	} while (st == SPOOL_OK && more && !stopping(sp->warner));
	free(b);
	return st;
}

/* Something was committed since the last look, or that one came to no end.  Who crosses a share by
 * mail that comes in is not kept waiting. */
static bool
is_time(struct spool *sp)
{
	struct warner *w = sp->warner;
	bool look = index_changed(sp, &w->watch);

	pthread_mutex_lock(&w->mutex);
	w->pending = w->pending || look;
	look = w->pending && !w->stop && (w->urgent || clock_mono_ms() >= w->next_look_ms);
	if (look) {
		w->pending = w->urgent = false;
		w->busy = true;
	}
	pthread_mutex_unlock(&w->mutex);
	return look;
}

enum spool_status
warn_round(struct spool *sp)
{
	struct warner *w = sp->warner;
	enum spool_status st;
	struct warn_shares s;
	uint64_t ms;

	if (w == NULL)
		return SPOOL_OK;
	s = shares_of(w);
	if (s.n == 0 || spool_may_deliver(sp) != SPOOL_OK || !is_time(sp))
		return SPOOL_OK;
	st = look_at_all(sp, &s, &ms);
	w->next_look_ms = clock_mono_ms() + ms * LOOK_SHARE;
	pthread_mutex_lock(&w->mutex);
	w->busy = false;
	w->pending = w->pending || st != SPOOL_OK;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	return st;
}

/* --- the committer's ------------------------------------------------------ */

enum spool_status
warn_look(struct spool *sp, struct index_conn *c, uint64_t mailbox, uint64_t used, uint64_t quota)
{
	struct warner *w = sp->warner;
	int64_t warned = 0;
	enum spool_status st;
	sqlite3_stmt *stmt;

	if (w->noted || quota == NUM_UNLIMITED)
		return SPOOL_OK;

	struct warn_shares s = shares_of(w);
	unsigned percent = crossed(&s, used, quota);

	if (percent == 0)
		return SPOOL_OK;
	stmt = index_stmt(c, "SELECT warned FROM mailbox WHERE id = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	st = index_number(c, stmt, &warned);
	w->noted = st == SPOOL_OK && percent > (uint64_t)warned;
	return st;
}

void
warn_looked(struct spool *sp, bool committed)
{
	struct warner *w = sp->warner;
	bool noted = w->noted;

	w->noted = false;
	if (!noted || !committed)
		return;
	pthread_mutex_lock(&w->mutex);
	w->pending = w->urgent = true;
	pthread_mutex_unlock(&w->mutex);
	janitor_wake(sp);
}
