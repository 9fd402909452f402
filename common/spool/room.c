/*
 * room - looking at RCPT, a delivery's claim from its beginning to its end, and settling.
 *
 * A claim is taken on all mailboxes in one step, or on none; with `each` on those that have room.
 * The sums and what makes them exact are in room_sums.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "delivery_internal.h"
#include "room_sums.h"
#include "spool_internal.h"

/* A claim that grows does so by this for each mailbox, and at most by this. */
#define ROOM_STEP (64u * 1024)
#define ROOM_STEP_MAX (8u * 1024 * 1024)
/* Where so many steps more would have room, the first is taken at once: most messages are smaller,
 * and need not ask again. */
#define ROOM_PLENTY 16u
/* The last octet's time is noted so often. */
#define ROOM_TOUCH_MS 1000u

/* What all mailboxes together say. */
struct verdicts {
	size_t fit, full, never, unsure;
};

static void
count(struct verdicts *t, enum room_verdict v)
{
	t->fit += v == ROOM_FITS;
	t->full += v == ROOM_FULL;
	t->never += v == ROOM_NEVER;
	t->unsure += v == ROOM_UNSURE;
}

/* --- RCPT ----------------------------------------------------------------- */

struct asking {
	uint64_t need, most;
	enum spool_status outcome;
	bool most_fits;
};

static bool
decide_look(struct room *r, struct room_reading *readings, size_t n, bool last, void *arg)
{
	struct asking *a = arg;
	struct verdicts need = { 0 }, most = { 0 };

	for (size_t i = 0; i < n; i++) {
		count(&need, room_judge(r, &readings[i], 0, a->need));
		if (readings[i].fresh || readings[i].quota == NUM_UNLIMITED)
			count(&most, room_judge(r, &readings[i], 0, a->most));
	}
	if (need.never + need.full == 0 && need.unsure + most.unsure > 0 && !last)
		return false;
	a->outcome = need.never > 0  ? SPOOL_NEVER_FITS
	             : need.full > 0 ? SPOOL_OVER_QUOTA
	                             : SPOOL_OK;
	/* What stays unsure is looked at again at DATA. */
	a->most_fits = most.full + most.never == 0;
	return true;
}

enum spool_status
room_look(struct spool *sp, const struct account_targets *targets, const struct envelope *env,
    uint64_t need, uint64_t most, bool *most_r)
{
	struct asking a = { .need = need, .most = most };
	struct room_reading few[8], *readings = few;
	enum spool_status st;
	size_t n = 0;

	*most_r = true;
	if (targets->n > sizeof(few) / sizeof(few[0]))
		readings = mem_array(targets->n, sizeof(*readings));
	if (readings == NULL)
		return SPOOL_NO_MEMORY;
	for (size_t i = 0; i < targets->n; i++)
		if (!envelope_has(env, targets->list[i].mailbox))
			readings[n++] =
			    (struct room_reading){ .mailbox = targets->list[i].mailbox };
	st = n == 0 ? SPOOL_OK : room_decide(sp, readings, n, decide_look, &a);
	if (st == SPOOL_OK && n > 0) {
		st = room_told(sp, readings, a.outcome);
		*most_r = a.most_fits;
	}
	if (readings != few)
		free(readings);
	return st;
}

/* --- a claim -------------------------------------------------------------- */

struct taking {
	struct room_claim *claim;
	uint64_t step, exact; /* growing: what is asked for, what is needed */
	enum spool_status outcome;
};

static enum spool_status
outcome_of(const struct room_claim *c, const struct verdicts *t)
{
	if (t->full + t->never == 0 || (c->each && t->fit + t->unsure > 0))
		return SPOOL_OK;
	return t->never > 0 && (c->any || t->never == c->n) ? SPOOL_NEVER_FITS : SPOOL_OVER_QUOTA;
}

static uint64_t
step_of(const struct room_claim *c)
{
	return c->n < ROOM_STEP_MAX / ROOM_STEP ? c->n * ROOM_STEP : ROOM_STEP_MAX;
}

static bool
has_plenty(struct room *r, struct room_reading *readings, const struct room_claim *c)
{
	uint64_t plenty = c->target + ROOM_PLENTY * step_of(c);

	for (size_t i = 0; i < c->n; i++)
		if (room_judge(r, &readings[i], c->list[i].octets, plenty) != ROOM_FITS)
			return false;
	return true;
}

static bool
decide_take(struct room *r, struct room_reading *readings, size_t n, bool last, void *arg)
{
	struct taking *t = arg;
	struct room_claim *c = t->claim;
	struct verdicts tally = { 0 };
	bool holds = false;

	for (size_t i = 0; i < n; i++)
		count(&tally, room_judge(r, &readings[i], c->list[i].octets, c->target));
	t->outcome = outcome_of(c, &tally);
	if (tally.unsure > 0 && !last && (t->outcome == SPOOL_OK || c->each))
		return false;
	if (t->outcome != SPOOL_OK)
		return true;
	/* The first: what lapsed is taken anew as it was. */
	if (c->grows && c->target == ROOM_TRACE_MAX && has_plenty(r, readings, c))
		c->target += step_of(c);
	for (size_t i = 0; i < n; i++) {
		struct room_share *s = &c->list[i];

		if (room_judge(r, &readings[i], s->octets, c->target) == ROOM_FITS &&
		    room_become_holder(r, c, s))
			room_hold(r, s, c->target);
		holds = holds || s->at != NULL;
	}
	/* What stays unsure is asked for again with the next octets. */
	c->lapsed = tally.unsure > 0;
	c->touched_ms = clock_mono_ms();
	if (holds) {
		list_remove(&c->active);
		list_append(&r->active, &c->active);
	}
	return true;
}

static bool
decide_grow(struct room *r, struct room_reading *readings, size_t n, bool last, void *arg)
{
	struct taking *t = arg;
	struct verdicts tally = { 0 };

	for (size_t i = 0; i < n; i++) {
		struct room_share *s = &t->claim->list[i];
		enum room_verdict step, exact;

		if (s->at == NULL || s->octets >= t->step)
			continue;
		step = room_judge(r, &readings[i], s->octets, t->step);
		exact = room_judge(r, &readings[i], s->octets, t->exact);
		count(&tally, step);
		if (step == ROOM_FITS) {
			room_hold(r, s, t->step);
		} else if (step == ROOM_FULL || step == ROOM_NEVER) {
			/* It has come near the end; what may be missing is the committer's. */
			if (exact == ROOM_FITS && t->exact > s->octets)
				room_hold(r, s, t->exact);
		}
	}
	return tally.unsure == 0 || last;
}

static enum spool_status
decide_for(struct spool *sp, struct taking *t, room_decide_fn *decide)
{
	struct room_claim *c = t->claim;
	struct room_reading few[8], *readings = few;
	enum spool_status st;

	memset(few, 0, sizeof(few));
	if (c->n > sizeof(few) / sizeof(few[0]))
		readings = mem_array(c->n, sizeof(*readings));
	if (readings == NULL)
		return SPOOL_NO_MEMORY;
	for (size_t i = 0; i < c->n; i++)
		readings[i].mailbox = c->list[i].mailbox;
	st = room_decide(sp, readings, c->n, decide, t);
	if (st == SPOOL_OK)
		st = room_told(sp, readings, t->outcome);
	if (readings != few)
		free(readings);
	return st;
}

/* IPv6 by /64, as peers are counted; an IPv4 address is in the last octets. */
static void
set_client(struct room_claim *c, const uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = memcmp(address, mapped, sizeof(mapped)) == 0;

	memcpy(c->client, v4 ? address + 8 : address, sizeof(c->client));
}

enum spool_status
room_claim(struct spool *sp, const struct envelope *env, const struct delivery_options *o,
    struct room_claim **claim_r)
{
	struct room_claim *c = mem_array(1, sizeof(*c));
	struct taking t = { .claim = c };
	enum spool_status st;

	*claim_r = NULL;
	if (c == NULL)
		return SPOOL_NO_MEMORY;
	list_init(&c->active);
	c->trusted = o->trusted;
	c->each = o->each;
	c->any = env->rcpts == 1;
	set_client(c, o->client);
	c->grows = o->need == 0;
	c->target = c->grows ? ROOM_TRACE_MAX : o->need;
	c->n = env->n;
	c->list = mem_array(c->n, sizeof(*c->list));
	for (size_t i = 0; c->list != NULL && i < c->n; i++)
		c->list[i].mailbox = env->recipients[i].mailbox;
	st = c->list == NULL ? SPOOL_NO_MEMORY : decide_for(sp, &t, decide_take);
	if (st == SPOOL_OK)
		*claim_r = c;
	else
		room_release(sp, &c);
	return st;
}

static enum spool_status
grow(struct spool *sp, struct room_claim *c, uint64_t octets)
{
	struct taking t = { .claim = c, .exact = octets };

	while (c->target < octets)
		c->target += step_of(c);
	t.step = c->target;
	return decide_for(sp, &t, decide_grow);
}

enum spool_status
room_touch(struct spool *sp, struct room_claim *c, uint64_t wire)
{
	uint64_t now = clock_mono_ms(), octets = wire + ROOM_OWN_MAX;
	struct taking t = { .claim = c };
	enum spool_status st = SPOOL_OK;
	bool lapsed = false;

	/* Within that time nobody may have dropped it. */
	if (now - c->touched_ms >= ROOM_TOUCH_MS) {
		pthread_mutex_lock(&sp->room->mutex);
		lapsed = c->lapsed;
		c->touched_ms = now;
		if (!list_empty(&c->active)) {
			list_remove(&c->active);
			list_append(&sp->room->active, &c->active);
		}
		pthread_mutex_unlock(&sp->room->mutex);
	}
	if (lapsed) {
		if (c->grows && c->target < octets)
			c->target = octets;
		st = decide_for(sp, &t, decide_take);
	}
	if (st == SPOOL_OK && c->grows && c->target < octets)
		st = grow(sp, c, octets);
	return st;
}

void
room_whole(struct spool *sp, struct room_claim *c)
{
	pthread_mutex_lock(&sp->room->mutex);
	list_remove(&c->active);
	pthread_mutex_unlock(&sp->room->mutex);
}

void
room_release(struct spool *sp, struct room_claim **cp)
{
	struct room_claim *c = *cp;

	if (c == NULL)
		return;
	pthread_mutex_lock(&sp->room->mutex);
	list_remove(&c->active);
	for (size_t i = 0; c->list != NULL && i < c->n; i++)
		room_let_go(sp->room, &c->list[i]);
	pthread_mutex_unlock(&sp->room->mutex);
	free(c->list);
	mem_free(cp);
}

/* --- settling ------------------------------------------------------------- */

/* What was claimed is had, up to the quota; what was not, leaves the others theirs. */
static enum spool_status
settle_one(const struct room *r, const struct room_share *s, const struct room_sum *sum)
{
	const struct room_mailbox *m = room_find(r, s->mailbox);
	uint64_t own = s->octets;
	/* What the group settled before is in `used`. */
	uint64_t others = m == NULL ? 0 : m->sum - m->settled - own;

	if (sum->quota == NUM_UNLIMITED)
		return SPOOL_OK;
	if (sum->octets > sum->quota)
		return SPOOL_NEVER_FITS;
	return room_fits(sum->used, sum->octets <= own ? 0 : others, sum->octets, sum->quota)
	           ? SPOOL_OK
	           : SPOOL_OVER_QUOTA;
}

void
room_settle(
    struct spool *sp, struct room_claim *c, struct envelope *env, const struct room_sum *sums)
{
	struct room *r = sp->room;
	bool refused = false;

	pthread_mutex_lock(&r->mutex);
	room_drop_lapsed(r, clock_mono_ms());
	for (size_t i = 0; i < env->n; i++)
		if (env->recipients[i].outcome == SPOOL_OK) {
			env->recipients[i].outcome = settle_one(r, &c->list[i], &sums[i]);
			refused = refused || env->recipients[i].outcome != SPOOL_OK;
		}
	if (refused)
		envelope_refuse(env, c->each);
	for (size_t i = 0; i < env->n; i++) {
		struct room_share *s = &c->list[i];

		if (env->recipients[i].outcome != SPOOL_OK)
			continue;
		room_hold(r, s, sums[i].octets);
		if (s->at == NULL)
			continue;
		s->at->settled += s->octets;
		s->at->entered_used = sums[i].used + sums[i].octets;
		s->at->entered_quota = sums[i].quota;
		s->settled = true;
		room_mark(r, s->mailbox);
	}
	pthread_mutex_unlock(&r->mutex);
}
