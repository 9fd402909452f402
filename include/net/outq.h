/*
 * outq - octets on their way out: memory and ranges of files, in order.
 *
 * A session writes, the connection drains.  Memory is kept in chunks and given back
 * as soon as they are sent, so an idle queue holds none.  A failed append sets
 * `failed` for good: the session cannot have been understood and is to be dropped.
 *
 * Thread: the loop's.
 */
#ifndef NET_OUTQ_H
#define NET_OUTQ_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

/* Above this a session stops producing (SESSION_DRAIN), below half it goes on. */
#define OUTQ_HIGH_WATER (64u * 1024)

/* Small enough to be still in the processor's own cache when it is sent. */
#define OUTQ_RECENT_MAX (256u * 1024)
/* A place among the recent octets that is none. */
#define OUTQ_NOWHERE UINT64_MAX

/* A ring of octets that were read from files a moment ago, say to check them: who sends copies
 * finds them here and does not read them once more.  What comes later takes the place of what
 * came first, sent or not, so any number of queues share one. */
struct outq_recent {
	uint64_t put;           /* octets that ever came, and those left out at the ring's end */
	unsigned char octets[OUTQ_RECENT_MAX];
};

struct outq {
	struct list_node slices;        /* none of them is empty */
	struct outq_recent *recent;     /* borrowed, shared with other queues of the thread; NULL:
					   there is none */
	uint64_t pending;       /* octets not yet sent, memory and files */
	bool failed;            /* memory ran out, or a file could not be read as far as its
				   slice reaches */
};

/* `recent` may be NULL. */
void outq_init(struct outq *, struct outq_recent *recent);
/* Drops what is left, and runs the `release` of each file slice; the queue is empty and
 * may be used again, `failed` stays. */
void outq_release(struct outq *);

void outq_add(struct outq *, const void *buf, size_t len);
void outq_addstr(struct outq *, const char *text);
void outq_addf(struct outq *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Room in the ring for `len` octets, at most OUTQ_RECENT_MAX, that the caller reads from a
 * file now; *place_r tells outq_add_file() where they are. */
unsigned char *outq_recent_room(struct outq_recent *, size_t len, uint64_t *place_r);

/* Adds `len` octets of `fd` from `offset`; `place` is where the same are in the queue's
 * `recent`, or OUTQ_NOWHERE.  `release(arg)` runs once, when they are sent or dropped; it may
 * be NULL.  When memory is out, or len is 0, it runs at once. */
void outq_add_file(struct outq *, int fd, uint64_t offset, uint64_t len, uint64_t place,
    void (*release)(void *arg), void *arg);

/* Sends what the socket takes, at most `budget` octets, so joined that only the last segment is a
 * short one.  Of files that is a copy, which nothing that happens to the file changes any more: out
 * of `recent`, or read into `scratch` first, at most `cap` octets at a time.  The number of octets
 * sent (0: the socket is full, or there is nothing), or -1 with errno: ENODATA when a file ended
 * before its slice.  With `failed` set as well the fault is the file's, else the socket's. */
ssize_t outq_send(struct outq *, int socket, size_t budget, void *scratch, size_t cap);

/* For TLS and for tests: the next octets as memory.  Points *buf_r at them (short slices
 * and files are gathered in `scratch`), at most `cap`; 0 when there is nothing, -1 with
 * errno as above.  outq_consume() then takes what was used; until then the same octets
 * come again, and as many or more of them. */
ssize_t outq_peek(struct outq *, void *scratch, size_t cap, const void **buf_r);
void outq_consume(struct outq *, size_t len);

#endif
