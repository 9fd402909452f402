/*
 * room_sums - what is promised of mailboxes to messages on their way.
 *
 * For each mailbox stands the sum of what claims hold in it.  A promise is made in one step
 * under the mutex: what the index said is used, and what is claimed, leave room for it.
 * The index was read a moment earlier, so the two must not tell of different moments:
 *
 *     what makes the sum smaller is a delivery's end.  Where it was committed, `used` grew
 *     instead.  So each mailbox has a version: room_commit_begin() makes it odd, before COMMIT; the
 *     release of what was settled adds two, in the same step; room_commit_end() makes it even
 *     again.  Who finds another version than before his reading reads again, but for one
 *     that only became odd: then everything is still claimed, and what is being committed is
 *     counted once or twice.  Where that makes the difference he looks again.
 *
 *     What makes `used` smaller, mail that is deleted, has no version.  That promises nothing that
 *     is not there; but a refusal is told only where no claim was raised since the reading.
 *
 *     While somebody has a claim in a mailbox, what our last COMMIT said of it stands for a reading, for
 *     ROOM_KNOWN_MS.  That is less than the index says only where another process has added mail,
 *     and a quota that was lowered is seen so much later; nobody is refused for it.
 *
 * All this ROOM_TRIES times: then nothing is refused, and nothing promised (the claim counts as
 * lapsed).
 *
 * Invariants, whenever the mutex is free:
 *  1. room_mailbox.sum is the sum of the octets of its shares, .settled that of the settled ones.
 *  2. `active` has the claims that may lapse, in order of their last octet.
 *  3. `holders` has one share at most for each client and mailbox.
 *  4. Where no quota was lowered and nobody but us delivers, used + sum never passes a quota.
 *
 * Invariant 4 spares senders trouble.  That no mailbox passes its quota does not rest on it, but
 * on room_settle(), under the writer's lock.
 */
#include "room_sums.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "index.h"
#include "spool_internal.h"

/* Looks, before it is left open. */
#define ROOM_TRIES 64u
/* For so long the index is not read where a commit of ours told what it says. */
#define ROOM_KNOWN_MS 1000u

struct room *
room_new(void)
{
	struct room *r = mem_array(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	pthread_mutex_init(&r->mutex, NULL);
	map_init(&r->mailboxes);
	map_init(&r->holders);
	list_init(&r->active);
	return r;
}

void
room_free(struct room **rp)
{
	struct room *r = *rp;

	if (r == NULL)
		return;
	map_release(&r->holders);
	map_release(&r->mailboxes);
	pthread_mutex_destroy(&r->mutex);
	mem_free(rp);
}

/* --- sums; the mutex is held ---------------------------------------------- */

struct room_mailbox *
room_find(const struct room *r, uint64_t mailbox)
{
	struct map_node *node = map_find(&r->mailboxes, map_key_u64(mailbox));

	return node == NULL ? NULL : MAP_OBJECT(node, struct room_mailbox, node);
}

static struct room_mailbox *
need_mailbox(struct room *r, uint64_t mailbox)
{
	struct room_mailbox *m = room_find(r, mailbox);

	if (m != NULL)
		return m;
	m = mem_array(1, sizeof(*m));
	if (m == NULL)
		return NULL;
	m->node.key = map_key_u64(mailbox);
	if (map_add(&r->mailboxes, &m->node) != 0)
		mem_free(&m);
	return m;
}

/* The share holds `octets` from now on; without memory for it, nothing. */
void
room_hold(struct room *r, struct room_share *s, uint64_t octets)
{
	if (s->at == NULL) {
		s->at = need_mailbox(r, s->mailbox);
		if (s->at == NULL)
			return;
		s->at->shares++;
		s->octets = 0;
	}
	s->at->sum += octets - s->octets;
	r->raises[s->mailbox % ROOM_SLOTS] += octets > s->octets;
	s->octets = octets;
}

static uint64_t *
version_of(struct room *r, uint64_t mailbox)
{
	return &r->versions[mailbox % ROOM_SLOTS];
}

void
room_let_go(struct room *r, struct room_share *s)
{
	struct room_mailbox *m = s->at;

	if (s->held)
		map_remove(&r->holders, &s->holder);
	s->held = false;
	if (m == NULL)
		return;
	m->sum -= s->octets;
	if (s->settled) {
		m->settled -= s->octets;
		*version_of(r, s->mailbox) += 2;
	}
	/* Where it is not known to be in the index, nor is what that says. */
	if (s->settled) {
		m->used = m->entered_used;
		m->quota = m->entered_quota;
		m->known_ms = r->entered_ms;
	}
	s->settled = false;
	s->octets = 0;
	s->at = NULL;
	if (--m->shares == 0) {
		map_remove(&r->mailboxes, &m->node);
		free(m);
	}
}

void
room_mark(struct room *r, uint64_t mailbox)
{
	uint16_t slot = (uint16_t)(mailbox % ROOM_SLOTS);

	if (!r->marked[slot])
		r->marks[r->nmarks++] = slot;
	r->marked[slot] = true;
}

/* One message of a client at a time, unless we trust it: what stands for that. */
bool
room_become_holder(struct room *r, const struct room_claim *c, struct room_share *s)
{
	if (c->trusted || s->held)
		return true;
	memcpy(s->holder.key.octets, c->client, sizeof(c->client));
	memcpy(s->holder.key.octets + sizeof(c->client), &s->mailbox, sizeof(s->mailbox));
	if (map_find(&r->holders, s->holder.key) != NULL)
		return false;
	s->held = map_add(&r->holders, &s->holder) == 0;
	return s->held;
}

void
room_drop_lapsed(struct room *r, uint64_t now)
{
	while (!list_empty(&r->active)) {
		struct room_claim *c = LIST_OBJECT(r->active.next, struct room_claim, active);

		if (now - c->touched_ms < ROOM_LAPSE_MS)
			return;
		list_remove(&c->active);
		c->lapsed = true;
		for (size_t i = 0; i < c->n; i++)
			room_let_go(r, &c->list[i]);
	}
}

/* --- looking -------------------------------------------------------------- */

bool
room_fits(uint64_t used, uint64_t more, uint64_t need, uint64_t quota)
{
	return used <= quota && more <= quota - used && need <= quota - used - more;
}

static enum room_verdict
judge(struct room *r, struct room_reading *l, uint64_t own, uint64_t need)
{
	const struct room_mailbox *m = room_find(r, l->mailbox);
	uint64_t version = *version_of(r, l->mailbox);
	uint64_t others = m == NULL ? 0 : m->sum - own;
	uint64_t settled = m == NULL ? 0 : m->settled;

	if (l->quota == NUM_UNLIMITED)
		return ROOM_FITS;
	if (need > l->quota)
		return ROOM_NEVER;
	/* Something was released since: committed before the reading, or behind it. */
	l->fresh = version == l->version || (version == l->version + 1 && version % 2 == 1);
	if (!l->fresh)
		return ROOM_UNSURE;
	if (room_fits(l->used, others, need, l->quota))
		return ROOM_FITS;
	/* What is being committed may be in `used` already; what was in it at the reading may be
	 * deleted by now, and its room promised anew. */
	if ((version % 2 == 1 && room_fits(l->used, others - settled, need, l->quota)) ||
	    r->raises[l->mailbox % ROOM_SLOTS] != l->raises) {
		l->fresh = false;
		return ROOM_UNSURE;
	}
	return ROOM_FULL;
}

/* Whether somebody who holds `own` in the mailbox already may hold `need`.  The mutex is held. */
enum room_verdict
room_judge(struct room *r, struct room_reading *l, uint64_t own, uint64_t need)
{
	enum room_verdict v = judge(r, l, own, need);

	if (!l->remembered || v == ROOM_FITS)
		return v;
	l->fresh = false;
	return ROOM_UNSURE;
}

static void
read_one(struct index_conn *c, struct room_reading *l, enum spool_status *st)
{
	sqlite3_stmt *stmt = index_stmt(c, "SELECT used, quota FROM mailbox WHERE id = ?1");
	bool row;

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)l->mailbox);
	*st = index_step(c, stmt, &row);
	/* A mailbox that is gone is the committer's to tell of. */
	l->used = 0;
	l->quota = NUM_UNLIMITED;
	if (*st != SPOOL_OK || !row)
		return;
	l->used = (uint64_t)sqlite3_column_int64(stmt, 0);
	if (sqlite3_column_type(stmt, 1) != SQLITE_NULL)
		l->quota = (uint64_t)sqlite3_column_int64(stmt, 1);
	sqlite3_reset(stmt);
}

/* What is known of the mailbox without reading, if that will do; the mutex is held. */
static void
remember(const struct room *r, struct room_reading *l)
{
	const struct room_mailbox *m = room_find(r, l->mailbox);

	if (m == NULL || m->known_ms == 0 || clock_mono_ms() - m->known_ms >= ROOM_KNOWN_MS)
		return;
	l->used = m->used;
	l->quota = m->quota;
	l->fresh = l->remembered = true;
}

/* Reads what is not fresh, each mailbox's version first.  At `first`, and only then, what is
 * remembered will do. */
static enum spool_status
refresh(struct spool *sp, struct room_reading *readings, size_t n, bool first)
{
	struct room *r = sp->room;
	struct index_conn *c;
	enum spool_status st;
	size_t stale = 0;

	pthread_mutex_lock(&r->mutex);
	for (size_t i = 0; i < n; i++) {
		struct room_reading *l = &readings[i];

		if (l->fresh && (first || !l->remembered))
			continue;
		l->version = *version_of(r, l->mailbox);
		l->raises = r->raises[l->mailbox % ROOM_SLOTS];
		l->fresh = l->remembered = false;
		if (first)
			remember(r, l);
		stale += !l->fresh;
	}
	pthread_mutex_unlock(&r->mutex);
	if (stale == 0)
		return SPOOL_OK;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	for (size_t i = 0; st == SPOOL_OK && i < n; i++)
		if (!readings[i].fresh) {
			read_one(c, &readings[i], &st);
			readings[i].fresh = true;
		}
	index_read_end(sp, &c);
	return st;
}

/* What was remembered of one will not do.  A decision has to rest on what is read of it, also where
 * another has decided already: whether a refusal is final is a matter of all. */
static bool
is_doubted(const struct room_reading *readings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (readings[i].remembered && !readings[i].fresh)
			return true;
	return false;
}

enum spool_status
room_decide(
    struct spool *sp, struct room_reading *readings, size_t n, room_decide_fn *decide, void *arg)
{
	struct room *r = sp->room;
	enum spool_status st;
	bool decided = false;

	for (unsigned tries = 1; !decided; tries++) {
		if (tries > 1)
			sched_yield();
		st = refresh(sp, readings, n, tries == 1);
		if (st != SPOOL_OK)
			return st;
		pthread_mutex_lock(&r->mutex);
		room_drop_lapsed(r, clock_mono_ms());
		decided =
		    decide(r, readings, n, tries >= ROOM_TRIES, arg) && !is_doubted(readings, n);
		pthread_mutex_unlock(&r->mutex);
	}
	return SPOOL_OK;
}

enum spool_status
room_told(struct spool *sp, struct room_reading *l, enum spool_status outcome)
{
	struct index_conn *c;
	enum spool_status st;

	if (outcome == SPOOL_OK)
		return SPOOL_OK;
	st = index_read_begin(sp, INDEX_MAIN, &c);
	/* SQLite knows of a log from the first look-up on. */
	if (st == SPOOL_OK)
		read_one(c, l, &st);
	if (st == SPOOL_OK)
		st = index_log_compare(c);
	index_read_end(sp, &c);
	return st == SPOOL_OK ? outcome : st;
}

void
room_commit_begin(struct spool *sp)
{
	struct room *r = sp->room;

	pthread_mutex_lock(&r->mutex);
	for (size_t i = 0; i < r->nmarks; i++)
		r->versions[r->marks[i]]++;
	pthread_mutex_unlock(&r->mutex);
}

void
room_committed(struct spool *sp)
{
	pthread_mutex_lock(&sp->room->mutex);
	sp->room->entered_ms = clock_mono_ms();
	pthread_mutex_unlock(&sp->room->mutex);
}

void
room_commit_end(struct spool *sp)
{
	struct room *r = sp->room;

	pthread_mutex_lock(&r->mutex);
	r->entered_ms = 0;
	while (r->nmarks > 0) {
		uint16_t slot = r->marks[--r->nmarks];

		r->versions[slot]++;
		r->marked[slot] = false;
	}
	pthread_mutex_unlock(&r->mutex);
}

uint64_t
room_claimed(struct spool *sp, uint64_t mailbox)
{
	const struct room_mailbox *m;
	uint64_t sum;

	pthread_mutex_lock(&sp->room->mutex);
	room_drop_lapsed(sp->room, clock_mono_ms());
	m = room_find(sp->room, mailbox);
	sum = m == NULL ? 0 : m->sum;
	pthread_mutex_unlock(&sp->room->mutex);
	return sum;
}
