/*
 * envelope - who sent a message, and whom it is for, each mailbox once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "delivery_internal.h"

/* What all RCPT commands of a message may lead to together, the same mailboxes counted
 * again: a hundred names of one long alias must not cost memory without end. */
#define LEADS_MAX (10 * ACCOUNT_TARGETS_MAX)

struct envelope *
envelope_new(const char *reverse_path)
{
	struct envelope *e = mem_array(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->reverse_path = mem_dup(reverse_path, strlen(reverse_path));
	if (e->reverse_path == NULL)
		mem_free(&e);
	return e;
}

static void
recipient_release(struct recipient *r)
{
	free(r->address);
	free(r->written);
}

void
envelope_free(struct envelope **ep)
{
	struct envelope *e = *ep;

	if (e == NULL)
		return;
	for (size_t i = 0; i < e->n; i++)
		recipient_release(&e->recipients[i]);
	free(e->recipients);
	free(e->order);
	free(e->leads);
	free(e->lead_ends);
	free(e->reverse_path);
	mem_free(ep);
}

/* Where in `order` the mailbox is, or belongs. */
static size_t
order_find(const struct envelope *e, uint64_t mailbox, bool *there_r)
{
	size_t low = 0, high = e->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (e->recipients[e->order[mid]].mailbox < mailbox)
			low = mid + 1;
		else
			high = mid;
	}
	*there_r = low < e->n && e->recipients[e->order[low]].mailbox == mailbox;
	return low;
}

bool
envelope_has(const struct envelope *e, uint64_t mailbox)
{
	bool there;

	order_find(e, mailbox, &there);
	return there;
}

/* There is room for one more. */
static enum spool_status
add_recipient(
    struct envelope *e, const char *written, const struct account_target *target, size_t place)
{
	struct recipient *r = &e->recipients[e->n];

	r->mailbox = target->mailbox;
	r->outcome = SPOOL_OK;
	r->uid = NULL;
	r->address = mem_dup(target->address, strlen(target->address));
	r->written = mem_dup(written, strlen(written));
	if (r->address == NULL || r->written == NULL) {
		recipient_release(r);
		return SPOOL_NO_MEMORY;
	}
	memmove(e->order + place + 1, e->order + place, (e->n - place) * sizeof(*e->order));
	e->order[place] = (uint32_t)e->n++;
	return SPOOL_OK;
}

/* Back to the first `n` recipients. */
static void
drop_recipients(struct envelope *e, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->n; i++)
		if (e->order[i] < n)
			e->order[kept++] = e->order[i];
	while (e->n > n)
		recipient_release(&e->recipients[--e->n]);
}

/* How many of the targets are new; room for them is made. */
static enum spool_status
make_room(struct envelope *e, const struct account_targets *targets)
{
	size_t new = 0;
	bool there;

	for (size_t i = 0; i < targets->n; i++) {
		order_find(e, targets->list[i].mailbox, &there);
		new += !there;
	}
	if (e->n + new > ACCOUNT_TARGETS_MAX || e->nleads + targets->n > LEADS_MAX)
		return SPOOL_TOO_MANY;
	if (mem_grow(&e->recipients, &e->cap, e->n + new, sizeof(*e->recipients)) != 0 ||
	    mem_grow(&e->order, &e->order_cap, e->n + new, sizeof(*e->order)) != 0 ||
	    mem_grow(&e->leads, &e->leads_cap, e->nleads + targets->n, sizeof(*e->leads)) != 0 ||
	    mem_grow(&e->lead_ends, &e->lead_ends_cap, e->rcpts + 1, sizeof(*e->lead_ends)) != 0)
		return SPOOL_NO_MEMORY;
	return SPOOL_OK;
}

enum spool_status
envelope_add(struct envelope *e, const char *written, const struct account_targets *targets)
{
	size_t before = e->n, nleads = e->nleads;
	enum spool_status st;
	size_t place;
	bool there;

	st = make_room(e, targets);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; i < targets->n; i++) {
		place = order_find(e, targets->list[i].mailbox, &there);
		if (!there)
			st = add_recipient(e, written, &targets->list[i], place);
		if (st != SPOOL_OK) {
			drop_recipients(e, before);
			return st;
		}
		e->leads[nleads++] = e->order[place];
	}
	e->nleads = nleads;
	e->lead_ends[e->rcpts++] = (uint32_t)nleads;
	return SPOOL_OK;
}

static size_t
first_lead(const struct envelope *e, size_t rcpt)
{
	return rcpt == 0 ? 0 : e->lead_ends[rcpt - 1];
}

static bool
has_no_room(enum spool_status st)
{
	return st == SPOOL_OVER_QUOTA || st == SPOOL_NEVER_FITS;
}

/* The outcome of those that the RCPT led to and that have no room, a final one before one that
 * passes; SPOOL_OK when all have room. */
static enum spool_status
room_of_rcpt(const struct envelope *e, size_t rcpt)
{
	enum spool_status st = SPOOL_OK;

	for (size_t i = first_lead(e, rcpt); i < e->lead_ends[rcpt]; i++) {
		enum spool_status outcome = e->recipients[e->leads[i]].outcome;

		if (has_no_room(outcome) && st != SPOOL_NEVER_FITS)
			st = outcome;
	}
	return st;
}

/* What a sender hears who gets one answer for all: final only where it is so for each RCPT. */
static enum spool_status
room_of_all(const struct envelope *e)
{
	for (size_t i = 0; i < e->rcpts; i++)
		if (room_of_rcpt(e, i) != SPOOL_NEVER_FITS)
			return SPOOL_OVER_QUOTA;
	return SPOOL_NEVER_FITS;
}

void
envelope_refuse(struct envelope *e, bool each)
{
	enum spool_status all = room_of_all(e);

	for (size_t i = 0; i < e->n; i++)
		e->recipients[i].kept = false;
	for (size_t i = 0; each && i < e->rcpts; i++)
		if (room_of_rcpt(e, i) == SPOOL_OK)
			for (size_t k = first_lead(e, i); k < e->lead_ends[i]; k++)
				e->recipients[e->leads[k]].kept = true;
	for (size_t i = 0; i < e->n; i++) {
		struct recipient *r = &e->recipients[i];

		if (!each && (r->outcome == SPOOL_OK || has_no_room(r->outcome)))
			r->outcome = all;
		else if (each && r->outcome == SPOOL_OK && !r->kept)
			r->outcome = SPOOL_OVER_QUOTA;
	}
}

enum spool_status
envelope_outcome(const struct envelope *e, size_t rcpt)
{
	size_t first = first_lead(e, rcpt), end = e->lead_ends[rcpt];
	enum spool_status st = room_of_rcpt(e, rcpt);

	if (st != SPOOL_OK)
		return st;
	for (size_t i = first; i < end; i++)
		if (e->recipients[e->leads[i]].outcome == SPOOL_OK)
			return SPOOL_OK;
	return first == end ? SPOOL_NO_MAILBOX : e->recipients[e->leads[first]].outcome;
}
