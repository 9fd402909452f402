/*
 * outq - octets on their way out: memory and ranges of files, in order.
 *
 * A slice is a chunk of memory or a range of a file.  Chunks are small at first and
 * double, so a lone reply costs little and a long listing few allocations.  Only the
 * last slice, when it is memory, is appended to.
 *
 * Invariants: `pending` is the sum of what all slices hold; no slice is empty.
 */
#include "net/outq.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"

/* What a chunk costs, its header included. */
#define CHUNK_MIN 512u
#define CHUNK_MAX (16u * 1024)

#define FORMAT_ON_STACK 512u
#define SEND_IOVECS 64

struct slice {
	struct list_node node;
	uint64_t from, to; /* in `memory`, or in the file */
	int fd;            /* borrowed until `release`; -1: memory */
	union {
		struct {
			void (*release)(void *arg);
			void *arg;
			uint64_t place; /* of `from` among the recent octets */
		} file;
		uint32_t cap; /* of `memory` */
	} u;
	unsigned char memory[];
};

static struct slice *
slice_at(const struct list_node *node)
{
	return LIST_OBJECT(node, struct slice, node);
}

/* NULL behind the last. */
static struct slice *
slice_after(const struct outq *q, const struct slice *s)
{
	struct list_node *next = s->node.next;

	return next == &q->slices ? NULL : slice_at(next);
}

static struct slice *
slice_first(const struct outq *q)
{
	return list_empty(&q->slices) ? NULL : slice_at(q->slices.next);
}

static uint64_t
slice_len(const struct slice *s)
{
	return s->to - s->from;
}

static void
slice_free(struct slice *s)
{
	list_remove(&s->node);
	if (s->fd != -1 && s->u.file.release != NULL)
		s->u.file.release(s->u.file.arg);
	free(s);
}

void
outq_init(struct outq *q, struct outq_recent *recent)
{
	q->recent = recent;
	list_init(&q->slices);
	q->pending = 0;
	q->failed = false;
}

void
outq_release(struct outq *q)
{
	struct slice *s;

	while ((s = slice_first(q)) != NULL) {
		q->pending -= slice_len(s);
		slice_free(s);
	}
}

/* --- adding ---------------------------------------------------------------- */

/* The last slice, when more memory can be put into it. */
static struct slice *
open_chunk(const struct outq *q)
{
	struct slice *last;

	if (list_empty(&q->slices))
		return NULL;
	last = slice_at(q->slices.prev);
	return last->fd == -1 && last->to < last->u.cap ? last : NULL;
}

static struct slice *
add_chunk(struct outq *q, size_t want)
{
	size_t size = CHUNK_MIN;
	struct slice *s;

	if (!list_empty(&q->slices) && slice_at(q->slices.prev)->fd == -1)
		size = 2 * (sizeof(*s) + slice_at(q->slices.prev)->u.cap);
	while (size < sizeof(*s) + want)
		size *= 2;
	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	s = malloc(size);
	if (s == NULL)
		return NULL;
	s->from = s->to = 0;
	s->fd = -1;
	s->u.cap = (uint32_t)(size - sizeof(*s));
	list_append(&q->slices, &s->node);
	return s;
}

void
outq_add(struct outq *q, const void *buf, size_t len)
{
	const unsigned char *from = buf;

	if (q->failed)
		return;
	while (len > 0) {
		struct slice *s = open_chunk(q);
		size_t n;

		if (s == NULL)
			s = add_chunk(q, len < CHUNK_MAX ? len : CHUNK_MAX);
		if (s == NULL) {
			q->failed = true;
			return;
		}
		n = s->u.cap - (size_t)s->to;
		if (n > len)
			n = len;
		memcpy(s->memory + s->to, from, n);
		s->to += n;
		q->pending += n;
		from += n;
		len -= n;
	}
}

void
outq_addstr(struct outq *q, const char *text)
{
	outq_add(q, text, strlen(text));
}

void
outq_addf(struct outq *q, const char *fmt, ...)
{
	char small[FORMAT_ON_STACK], *large = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(small)) {
		va_start(ap, fmt);
		len = vasprintf(&large, fmt, ap);
		va_end(ap);
	}
	if (len < 0)
		q->failed = true;
	else
		outq_add(q, large != NULL ? large : small, (size_t)len);
	if (len >= 0)
		free(large);
}

void
outq_add_file(struct outq *q, int fd, uint64_t offset, uint64_t len, uint64_t place,
    void (*release)(void *arg), void *arg)
{
	struct slice *s = NULL;

	assert(fd >= 0);
	if (!q->failed && len > 0) {
		s = malloc(sizeof(*s));
		if (s == NULL || offset > INT64_MAX || len > INT64_MAX - offset)
			q->failed = true;
	}
	if (s == NULL || q->failed) {
		free(s);
		if (release != NULL)
			release(arg);
		return;
	}
	s->from = offset;
	s->to = offset + len;
	s->fd = fd;
	s->u.file.release = release;
	s->u.file.arg = arg;
	s->u.file.place = place;
	list_append(&q->slices, &s->node);
	q->pending += len;
}

unsigned char *
outq_recent_room(struct outq_recent *r, size_t len, uint64_t *place_r)
{
	uint64_t left = OUTQ_RECENT_MAX - r->put % OUTQ_RECENT_MAX;

	assert(len <= OUTQ_RECENT_MAX);
	/* In one piece. */
	if (left < len)
		r->put += left;
	*place_r = r->put;
	r->put += len;
	return r->octets + *place_r % OUTQ_RECENT_MAX;
}

/* --- taking ---------------------------------------------------------------- */

void
outq_consume(struct outq *q, size_t len)
{
	assert(len <= q->pending);
	q->pending -= len;
	while (len > 0) {
		struct slice *s = slice_first(q);

		if (slice_len(s) > len) {
			s->from += len;
			if (s->fd != -1 && s->u.file.place != OUTQ_NOWHERE)
				s->u.file.place += len;
			return;
		}
		len -= (size_t)slice_len(s);
		slice_free(s);
	}
}

/* Reads all `len` octets; less is a failure of the queue. */
static int
read_file(struct outq *q, int fd, void *buf, size_t len, uint64_t offset)
{
	unsigned char *to = buf;

	while (len > 0) {
		ssize_t n = pread(fd, to, len, (off_t)offset);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENODATA;
			q->failed = true;
			return -1;
		}
		to += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Where the slice's octets lie as memory; NULL: in its file alone. */
static const unsigned char *
slice_memory(const struct outq *q, const struct slice *s)
{
	const struct outq_recent *r = q->recent;

	if (s->fd == -1)
		return s->memory + s->from;
	if (r == NULL || s->u.file.place == OUTQ_NOWHERE ||
	    r->put - s->u.file.place > OUTQ_RECENT_MAX)
		return NULL;
	return r->octets + s->u.file.place % OUTQ_RECENT_MAX;
}

ssize_t
outq_peek(struct outq *q, void *scratch, size_t cap, const void **buf_r)
{
	const struct slice *s = slice_first(q);
	const unsigned char *from;
	unsigned char *to = scratch;
	size_t have = 0;

	if (s == NULL)
		return 0;
	from = slice_memory(q, s);
	if (from != NULL && (slice_len(s) >= cap || slice_after(q, s) == NULL)) {
		*buf_r = from;
		return slice_len(s) < cap ? (ssize_t)slice_len(s) : (ssize_t)cap;
	}
	for (; s != NULL && have < cap; s = slice_after(q, s)) {
		size_t n = cap - have;

		if (n > slice_len(s))
			n = (size_t)slice_len(s);
		from = slice_memory(q, s);
		if (from != NULL)
			memcpy(to + have, from, n);
		else if (read_file(q, s->fd, to + have, n, s->from) == -1)
			return -1;
		have += n;
	}
	*buf_r = scratch;
	return (ssize_t)have;
}

/* --- sending --------------------------------------------------------------- */

/* Room for octets that have to be read from a file before they are sent. */
struct room {
	unsigned char *at;
	size_t len;
};

/* What is to be sent at once, of memory and, as far as there is room, of files. */
struct gathered {
	struct iovec iov[SEND_IOVECS];
	size_t n, len;
};

static void
gather(struct gathered *g, const unsigned char *from, size_t len)
{
	g->iov[g->n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)from, .iov_len = len };
	g->len += len;
}

/* 0, or -1 with errno when a file cannot be read. */
static int
gather_slices(struct outq *q, size_t budget, struct room room, struct gathered *g)
{
	const struct slice *s = slice_first(q);

	for (; s != NULL && g->n < SEND_IOVECS && g->len < budget; s = slice_after(q, s)) {
		const unsigned char *from = slice_memory(q, s);
		size_t n = budget - g->len;

		if (n > slice_len(s))
			n = (size_t)slice_len(s);
		if (from != NULL) {
			gather(g, from, n);
			continue;
		}
		if (n > room.len)
			n = room.len;
		if (n == 0)
			break;
		if (read_file(q, s->fd, room.at, n, s->from) == -1)
			return -1;
		gather(g, room.at, n);
		room.at += n;
		room.len -= n;
		if (n < slice_len(s))
			break;
	}
	return 0;
}

/* *full_r: the socket did not take all that it was offered. */
static ssize_t
send_some(struct outq *q, int socket, size_t budget, struct room room, bool *full_r)
{
	struct gathered g = { .n = 0 };
	struct msghdr msg = { .msg_iov = g.iov };
	ssize_t n;

	if (gather_slices(q, budget, room, &g) == -1)
		return -1;
	msg.msg_iovlen = g.n;
	/* What follows is on its way at once, so the segment may wait to be filled by it. */
	n = sendmsg(
	    socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL | (g.len < q->pending ? MSG_MORE : 0));
	*full_r = n >= 0 && (size_t)n < g.len;
	return n;
}

ssize_t
outq_send(struct outq *q, int socket, size_t budget, void *scratch, size_t cap)
{
	const struct room room = { .at = scratch, .len = cap };
	bool full = false;
	size_t sent = 0;
	ssize_t n;

	while (!full && sent < budget && q->pending > 0) {
		n = send_some(q, socket, budget - sent, room, &full);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n == -1)
			return -1;
		outq_consume(q, (size_t)n);
		sent += (size_t)n;
	}
	return (ssize_t)sent;
}
