/*
 * conn_drive - one turn of a connection: acts on what its session wants, as long as
 * something can be done at once.
 *
 * Order of work when the session wants READ: what it left over, what the socket has,
 * and only then, when no more input is at hand, what is written goes out.  So the
 * replies to commands that came together leave together.
 *
 * A turn ends when nothing more can be done, or when its share is used up: then the
 * `again` timer goes on after all others had theirs.
 *
 * A connection that is `broken` does nothing any more with its socket; it exists for as
 * long as its session has an operation to finish.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/mem.h"
#include "common/net/conn_private.h"
#include "common/net/net_private.h"

/* How often a session is called in one turn. */
#define TURN_CALLS 64

#define ACK_WAIT_FIRST_MS 1u
#define ACK_WAIT_MAX_MS 50u

/* Octets dropped from a client that goes on sending after the end. */
#define LINGER_MAX (256u * 1024)

/* What is left over keeps its room while it uses a quarter of it. */
#define REST_ROOM_MIN 1024u

/* What is left of this turn's share. */
struct turn {
	size_t in, out;
	unsigned calls;
};

void
conn_break(struct conn *c, enum session_end why)
{
	bool finishing;

	if (c->phase == CONN_GONE)
		return;
	if (!c->broken && c->phase != CONN_CLOSING && c->phase != CONN_LINGERING)
		c->end = why;
	c->broken = true;
	c->link.peer_gone = true;
	outq_release(&c->out);
	/* A session that is just being called has not said yet what it wants. */
	if (c->asking)
		return;
	finishing = c->phase == CONN_OPEN &&
	            (c->want == SESSION_WAIT ||
			(c->want == SESSION_ACKED &&
			    (why == SESSION_END_PEER || why == SESSION_END_TIMEOUT)));
	if (!finishing)
		c->phase = CONN_GONE;
}

/* --- asking the session ---------------------------------------------------- */

static void
end_in_order(struct conn *c)
{
	conn_drop_rest(c);
	c->phase = CONN_CLOSING;
}

/* Takes on what the session wants now. */
static void
take_answer(struct conn *c, enum session_want want, enum session_end why)
{
	c->want = want;
	c->yields = want == SESSION_DRAIN && c->out.pending < OUTQ_HIGH_WATER / 2;
	if (want != SESSION_WAIT)
		c->woken = false;
	if (c->out.failed && !c->broken) {
		log_event(LOG_LEVEL_ERROR, "reply_lost", log_text("session", c->link.id),
		    log_text("error", "no memory for what is to be sent"),
		    log_text("advice", "give the process more memory, or lower max_connections"));
		conn_break(c, SESSION_END_ERROR);
	}
	if (c->broken) {
		outq_release(&c->out);
		if (want == SESSION_CLOSE || want == SESSION_DROP)
			c->end = why;
		if (want != SESSION_WAIT && want != SESSION_ACKED)
			c->phase = CONN_GONE;
		return;
	}
	switch (want) {
	case SESSION_ACKED:
		c->ack_wait_ms = ACK_WAIT_FIRST_MS;
		c->unacked = 0;
		break;
	case SESSION_CLOSE:
		c->end = why;
		end_in_order(c);
		break;
	case SESSION_DROP:
		c->end = why;
		c->phase = CONN_GONE;
		break;
	default:
		break;
	}
}

void
conn_ask(struct conn *c, enum session_want (*question)(void *session), enum session_end why)
{
	enum session_want want;

	c->asking = true;
	want = question(c->session);
	c->asking = false;
	take_answer(c, want, why);
}

/* Gives octets to the session; returns how many it left. */
static size_t
offer(struct conn *c, const void *buf, size_t len)
{
	enum session_want want;
	size_t used = 0;

	c->asking = true;
	want = c->ops->input(c->session, buf, len, &used);
	c->asking = false;
	assert(used <= len);
	take_answer(c, want, SESSION_END_SELF);
	return len - used;
}

/* The session goes on after DRAIN, WAIT, ACKED. */
static bool
resume(struct conn *c, struct turn *t)
{
	c->woken = false;
	t->calls--;
	(void)offer(c, NULL, 0);
	return true;
}

/* --- input ----------------------------------------------------------------- */

/* Keeps `len` octets that the session left; `left` may lie in c->rest itself. */
static void
keep_rest(struct conn *c, const unsigned char *left, size_t len)
{
	unsigned char *smaller;

	if (len == 0 || c->phase != CONN_OPEN) {
		conn_drop_rest(c);
		return;
	}
	if (mem_grow(&c->rest, &c->rest_cap, len, 1) == -1) {
		conn_break(c, SESSION_END_ERROR);
		return;
	}
	memmove(c->rest, left, len);
	c->rest_len = len;
	c->rest_seen = c->want == SESSION_READ;
	if (c->rest_cap > REST_ROOM_MIN && len < c->rest_cap / 4) {
		smaller = realloc(c->rest, len);
		if (smaller != NULL) {
			c->rest = smaller;
			c->rest_cap = len;
		}
	}
}

static bool
offer_rest(struct conn *c, struct turn *t)
{
	const size_t len = c->rest_len, left = offer(c, c->rest, len);

	t->calls--;
	/* Where the session has ended it is gone by now. */
	if (c->rest != NULL)
		keep_rest(c, c->rest + (len - left), left);
	return true;
}

/* What is left over stands in front of what is read, so that the session sees a run. */
static bool
read_more(struct conn *c, struct turn *t)
{
	unsigned char *buf = loop_scratch(c->link.loop);
	size_t have = c->rest_len, len, left;

	if (buf == NULL || have == SESSION_INPUT_MAX) {
		log_event(LOG_LEVEL_ERROR, "input_lost", log_text("session", c->link.id),
		    log_text("error",
			buf == NULL ? "no memory" : "the session takes nothing of its input"));
		conn_break(c, SESSION_END_ERROR);
		return true;
	}
	switch (conn_read(c, buf + have, SESSION_INPUT_MAX - have, &len)) {
	case CONN_IO_OK:
		break;
	case CONN_IO_BLOCKED:
		return true;
	case CONN_IO_EOF:
		c->eof = true;
		return true;
	case CONN_IO_BROKEN:
		conn_break(c, SESSION_END_PEER);
		return true;
	default:
		conn_break(c, SESSION_END_ERROR);
		return true;
	}
	if (have > 0)
		memcpy(buf, c->rest, have);
	t->in -= len < t->in ? len : t->in;
	t->calls--;
	left = offer(c, buf, have + len);
	keep_rest(c, buf + have + len - left, left);
	return true;
}

/* --- output ---------------------------------------------------------------- */

static bool
send_some(struct conn *c, struct turn *t)
{
	size_t len;
	enum conn_io io = conn_send(c, t->out, &len);

	t->out -= len < t->out ? len : t->out;
	if (io == CONN_IO_BROKEN)
		conn_break(c, SESSION_END_PEER);
	else if (io == CONN_IO_FAILED)
		conn_break(c, SESSION_END_ERROR);
	return true;
}

/* --- a step for each want: true when another may follow at once -------------- */

static bool
step_read(struct conn *c, struct turn *t)
{
	/* A client that sends and does not read is not read from either. */
	if (c->out.pending < OUTQ_HIGH_WATER) {
		if (c->rest_len > 0 && !c->rest_seen)
			return offer_rest(c, t);
		if (c->readable && !c->eof)
			return read_more(c, t);
	}
	if (c->out.pending > 0)
		return c->writable && send_some(c, t);
	if (!c->eof)
		return false;
	c->end = SESSION_END_PEER;
	end_in_order(c);
	return true;
}

static bool
step_drain(struct conn *c, struct turn *t)
{
	if (c->yields) {
		if (c->again.loop == NULL)
			timer_start(c->link.loop, &c->again, 0);
		return false;
	}
	if (c->out.pending < OUTQ_HIGH_WATER / 2)
		return resume(c, t);
	return c->writable && send_some(c, t);
}

static bool
step_wait(struct conn *c, struct turn *t)
{
	if (c->woken)
		return resume(c, t);
	return c->out.pending > 0 && c->writable && send_some(c, t);
}

static bool
step_acked(struct conn *c, struct turn *t)
{
	if (c->broken)
		return resume(c, t);
	if (c->out.pending > 0)
		return c->writable && send_some(c, t);
	if (conn_acked(c))
		return resume(c, t);
	if (c->again.loop == NULL) {
		timer_start(c->link.loop, &c->again, c->ack_wait_ms);
		c->ack_wait_ms *= 2;
		if (c->ack_wait_ms > ACK_WAIT_MAX_MS)
			c->ack_wait_ms = ACK_WAIT_MAX_MS;
	}
	return false;
}

static bool
step_start_tls(struct conn *c, struct turn *t)
{
	if (c->out.pending > 0)
		return c->writable && send_some(c, t);
	/* RFC 3207 6, RFC 2595 4: nothing that came in the clear counts after the handshake.
	 * What the socket still holds of it breaks the handshake. */
	conn_drop_rest(c);
	if (c->context != NULL && c->tls == NULL)
		c->tls = tls_new(c->context, c->watch.fd);
	if (c->tls == NULL || c->link.tls) {
		log_event(LOG_LEVEL_ERROR, "tls_failed", log_text("session", c->link.id),
		    log_text("error", c->link.tls          ? "TLS is there already"
				      : c->context == NULL ? "there is no certificate"
							   : "no memory"));
		conn_break(c, SESSION_END_ERROR);
		return false;
	}
	c->phase = CONN_HANDSHAKE;
	c->read_event = EPOLLIN;
	c->readable = false;
	return false;
}

static bool
step_open(struct conn *c, struct turn *t)
{
	if (c->ending && (c->want == SESSION_READ || c->want == SESSION_DRAIN)) {
		if (!c->told) {
			c->told = true;
			conn_ask(c, c->ops->shutdown, SESSION_END_SHUTDOWN);
			return true;
		}
		if (c->want == SESSION_READ) {
			take_answer(c, SESSION_CLOSE, SESSION_END_SHUTDOWN);
			return true;
		}
	}
	switch (c->want) {
	case SESSION_READ:
		return step_read(c, t);
	case SESSION_DRAIN:
		return step_drain(c, t);
	case SESSION_WAIT:
		return step_wait(c, t);
	case SESSION_ACKED:
		return step_acked(c, t);
	default:
		return step_start_tls(c, t);
	}
}

static bool
linger(struct conn *c)
{
	conn_free_session(c);
	c->phase = c->eof ? CONN_GONE : CONN_LINGERING;
	c->readable = true;
	return true;
}

static bool
step_handshake(struct conn *c)
{
	if (c->ending) {
		conn_break(c, SESSION_END_SHUTDOWN);
		return false;
	}
	if (!c->readable)
		return false;
	switch (conn_handshake(c)) {
	case CONN_IO_OK:
		c->phase = CONN_OPEN;
		conn_ask(c, c->tls_first ? c->ops->greet : c->ops->tls_started, SESSION_END_SELF);
		return true;
	case CONN_IO_BLOCKED:
		return false;
	case CONN_IO_BROKEN:
		conn_break(c, SESSION_END_PEER);
		return false;
	default:
		/* The alert that says why is on its way: it must not be lost to a reset. */
		c->end = SESSION_END_ERROR;
		c->phase = CONN_CLOSING;
		return true;
	}
}

static bool
step_closing(struct conn *c, struct turn *t)
{
	if (!c->writable)
		return false;
	if (c->out.pending > 0)
		return send_some(c, t);
	switch (conn_end_sending(c)) {
	case CONN_IO_OK:
		return linger(c);
	case CONN_IO_BLOCKED:
		return false;
	default:
		conn_break(c, c->end);
		return false;
	}
}

static bool
step_lingering(struct conn *c, struct turn *t)
{
	size_t len;

	if (!c->readable)
		return false;
	switch (conn_discard(c, &len)) {
	case CONN_IO_OK:
		t->in -= len < t->in ? len : t->in;
		c->lingered += (unsigned)len;
		if (c->lingered < LINGER_MAX)
			return true;
		break;
	case CONN_IO_BLOCKED:
		return false;
	default:
		break;
	}
	c->phase = CONN_GONE;
	return false;
}

static bool
step(struct conn *c, struct turn *t)
{
	switch (c->phase) {
	case CONN_HANDSHAKE:
		return step_handshake(c);
	case CONN_OPEN:
		return step_open(c, t);
	case CONN_CLOSING:
		return step_closing(c, t);
	case CONN_LINGERING:
		return step_lingering(c, t);
	default:
		return false;
	}
}

void
conn_drive(struct conn *c)
{
	struct turn t = { .in = CONN_TURN, .out = CONN_TURN, .calls = TURN_CALLS };

	while (step(c, &t)) {
		if (t.in == 0 || t.out == 0 || t.calls == 0) {
			if (c->phase != CONN_GONE)
				timer_start(c->link.loop, &c->again, 0);
			return;
		}
	}
}
