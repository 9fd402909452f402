/*
 * conn - a connection's life: its making, its events and timers, its end.
 *
 * Whatever happens to a connection (an event, a timer, a wake) leaves a mark in it and
 * then drives it (conn_drive.c).  After each turn it is settled here what is waited
 * for: which events, which time limit.
 *
 * Events are level-triggered, and an error or a hang-up is reported whether asked for or
 * not.  Two rules keep that from turning the loop for nothing: what is no longer needed
 * is left registered (a session that waits for a moment costs no system call), but the
 * first event that nobody waits for takes it out; and what is needed and happens is
 * always read or written to its end.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "common/net/conn_private.h"
#include "common/net/net_private.h"

#define LINGER_MS 1000u

/* A connection has two: `limit` and `again`. */
#define CONN_TIMERS 2

/* --- names ----------------------------------------------------------------- */

#define ID_LEN 11 /* 55 bits in base 32 */
#define ID_COUNTER_BITS 13

/* Begins at the wall clock, in units of 2^-13 ms: so a name comes again only after a
 * process that made more than 8,000 connections in each millisecond of its life. */
static _Atomic uint64_t next_id;

static void
make_id(char id[ID_LEN + 1])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint64_t n = 0;
	int i;

	if (atomic_load(&next_id) == 0)
		(void)atomic_compare_exchange_strong(
		    &next_id, &n, clock_wall_ms() << ID_COUNTER_BITS);
	n = atomic_fetch_add(&next_id, 1);
	for (i = ID_LEN - 1; i >= 0; i--) {
		id[i] = digits[n & 31];
		n >>= 5;
	}
	id[ID_LEN] = '\0';
}

/* --- what is waited for ---------------------------------------------------- */

static uint32_t
events_needed(const struct conn *c)
{
	uint32_t events = 0;

	switch (c->phase) {
	case CONN_HANDSHAKE:
		return c->read_event;
	case CONN_OPEN:
		if (c->out.pending > 0 && !c->yields)
			events |= c->write_event;
		if (c->want == SESSION_READ && !c->eof && c->out.pending < OUTQ_HIGH_WATER)
			events |= c->read_event;
		return events;
	case CONN_CLOSING:
		return c->write_event;
	case CONN_LINGERING:
		return EPOLLIN;
	default:
		return 0;
	}
}

/* Asks the loop for what is missing.  EPOLLIN that is too much stays until it happens;
 * EPOLLOUT would happen at once. */
static int
settle_events(struct conn *c)
{
	const uint32_t have = c->watch.events;

	c->needed = c->broken ? 0 : events_needed(c);
	if ((c->needed & ~have) == 0 && (have & ~c->needed & EPOLLOUT) == 0)
		return 0;
	return loop_watch(c->link.loop, &c->watch, c->needed | (have & EPOLLIN));
}

static enum conn_limit
limit_needed(const struct conn *c)
{
	if (c->broken)
		return LIMIT_NONE;
	switch (c->phase) {
	case CONN_HANDSHAKE:
		return LIMIT_TLS;
	case CONN_OPEN:
		if (c->out.pending > 0 || c->want == SESSION_ACKED)
			return LIMIT_SEND;
		return c->want == SESSION_READ ? LIMIT_IDLE : LIMIT_NONE;
	case CONN_CLOSING:
		return LIMIT_SEND;
	case CONN_LINGERING:
		return LIMIT_LINGER;
	default:
		return LIMIT_NONE;
	}
}

static uint64_t
limit_ms(const struct conn *c, enum conn_limit kind)
{
	switch (kind) {
	case LIMIT_IDLE:
		return c->timeout_ms;
	case LIMIT_SEND:
		return CONN_SEND_TIMEOUT_MS;
	case LIMIT_TLS:
		return CONN_TLS_TIMEOUT_MS;
	default:
		return LINGER_MS;
	}
}

/* A limit begins anew when another one applies or the peer did what it waits for. */
static void
settle_limit(struct conn *c)
{
	const enum conn_limit kind = limit_needed(c);
	const bool renewed =
	    (kind == LIMIT_IDLE && c->moved_in) || (kind == LIMIT_SEND && c->moved_out);

	if (kind == LIMIT_NONE)
		timer_stop(&c->limit);
	else if (kind != c->limit_kind || renewed)
		timer_start(c->link.loop, &c->limit, limit_ms(c, kind));
	c->limit_kind = kind;
	c->moved_in = c->moved_out = false;
}

/* One turn, and what comes after each. */
static void
take_turn(struct conn *c)
{
	if (c->phase != CONN_GONE) {
		c->driving = true;
		conn_drive(c);
		c->driving = false;
	}
	if (c->phase != CONN_GONE && settle_events(c) == -1) {
		log_event(LOG_LEVEL_ERROR, "watch_failed", log_text("session", c->link.id),
		    log_errno(errno), log_text("advice", "raise fs.epoll.max_user_watches"));
		conn_break(c, SESSION_END_ERROR);
		c->needed = 0;
	}
	if (c->phase == CONN_GONE)
		conn_destroy(c);
	else
		settle_limit(c);
}

static void
ready(struct watch *watch, uint32_t events)
{
	struct conn *c = LIST_OBJECT(watch, struct conn, watch);
	const uint32_t ended = EPOLLERR | EPOLLHUP;

	if (events & (c->read_event | ended))
		c->readable = true;
	if (events & (c->write_event | ended))
		c->writable = true;
	if (c->needed == 0 || (events & (c->needed | ended)) == 0) {
		/* Taking away never fails, nor does asking for less of the same. */
		(void)loop_watch(c->link.loop, &c->watch, c->needed);
		return;
	}
	take_turn(c);
}

static void
limit_due(struct timer *timer)
{
	struct conn *c = LIST_OBJECT(timer, struct conn, limit);

	switch (c->limit_kind) {
	case LIMIT_IDLE:
		conn_ask(c, c->ops->timed_out, SESSION_END_TIMEOUT);
		break;
	case LIMIT_SEND:
	case LIMIT_TLS:
		conn_break(c, SESSION_END_TIMEOUT);
		break;
	default:
		conn_break(c, c->end);
		break;
	}
	c->limit_kind = LIMIT_NONE;
	take_turn(c);
}

static void
again_due(struct timer *timer)
{
	struct conn *c = LIST_OBJECT(timer, struct conn, again);

	c->yields = false;
	take_turn(c);
}

static void
wake(struct session_link *link)
{
	struct conn *c = LIST_OBJECT(link, struct conn, link);

	/* While the session is being called, it may be about to say that it waits. */
	if (!c->asking && (c->phase != CONN_OPEN || c->want != SESSION_WAIT))
		return;
	c->woken = true;
	timer_start(c->link.loop, &c->again, 0);
}

/* --- life ------------------------------------------------------------------ */

struct conn *
conn_new(struct loop *loop, int fd, const struct endpoint *peer, const struct endpoint *local,
    const struct conn_options *options)
{
	struct conn *c = mem_array(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	if (loop_reserve_timers(loop, CONN_TIMERS) == -1) {
		free(c);
		return NULL;
	}
	c->peer = *peer;
	c->local = *local;
	outq_init(&c->out, loop_recent(loop));
	c->link = (struct session_link){ .loop = loop,
		.out = &c->out,
		.peer = &c->peer,
		.local = &c->local,
		.trusted = options->trusted,
		.tls_available = options->tls != NULL,
		.wake = wake };
	make_id(c->link.id);
	c->watch = (struct watch){ .fd = fd, .ready = ready };
	c->limit.due = limit_due;
	c->again.due = again_due;
	c->timeout_ms = options->timeout_ms;
	c->context = options->tls != NULL ? tls_context_ref(options->tls) : NULL;
	c->tls_first = options->tls_first;
	c->gone = options->gone;
	c->gone_arg = options->gone_arg;
	c->read_event = EPOLLIN;
	c->write_event = EPOLLOUT;
	c->writable = true;
	return c;
}

struct session_link *
conn_link(struct conn *c)
{
	return &c->link;
}

void
conn_start(struct conn *c, const struct session_ops *ops, void *session)
{
	assert(c->phase == CONN_NEW);
	c->ops = ops;
	c->session = session;
	c->phase = CONN_OPEN;
	if (c->tls_first)
		c->want = SESSION_START_TLS;
	else
		conn_ask(c, ops->greet, SESSION_END_SELF);
	take_turn(c);
}

void
conn_shutdown(struct conn *c)
{
	c->ending = true;
	timer_start(c->link.loop, &c->again, 0);
}

void
conn_drop(struct conn *c, enum session_end why)
{
	conn_break(c, why);
	if (!c->driving && !c->asking)
		take_turn(c);
}

void
conn_drop_rest(struct conn *c)
{
	mem_free(&c->rest);
	c->rest_len = c->rest_cap = 0;
	c->rest_seen = false;
}

void
conn_free_session(struct conn *c)
{
	void *session = c->session;

	outq_release(&c->out);
	c->session = NULL;
	if (session != NULL)
		c->ops->free(session, c->end);
}

void
conn_destroy(struct conn *c)
{
	loop_unwatch(&c->watch);
	timer_stop(&c->limit);
	timer_stop(&c->again);
	(void)loop_reserve_timers(c->link.loop, -CONN_TIMERS);
	conn_free_session(c);
	conn_drop_rest(c);
	tls_free(&c->tls);
	tls_context_unref(&c->context);
	close(c->watch.fd);
	if (c->gone != NULL)
		c->gone(c->gone_arg);
	free(c);
}
