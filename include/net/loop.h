/*
 * loop - one thread's events: descriptors, timers, and messages from other threads.
 *
 * Watches, timers and posts are embedded in their owners' structs and belong to
 * them; the loop only links them.  An owner takes them out before it goes.  Within
 * one turn: descriptors, then posts, then timers.  A watch that is removed, or no
 * longer asks for what happened, while its event is pending in the same turn is not
 * called; what starts in a turn's posts or timers runs in the next turn at the
 * earliest, so nothing can keep a turn from ending.
 *
 * Thread: the one that runs the loop, but for loop_post() and loop_stop().
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct loop;

/* NULL with errno. */
struct loop *loop_new(void);
void loop_free(struct loop **);

/* Runs until loop_stop().  0, or -1 with errno when epoll itself fails. */
int loop_run(struct loop *);
/* One turn: waits `timeout_ms` at most (-1: until something happens).  For tests. */
int loop_turn(struct loop *, int timeout_ms);
/* Any thread. */
void loop_stop(struct loop *);

/* `events` are those of epoll_ctl(2): EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLEXCLUSIVE.  All
 * level-triggered; EPOLLERR and EPOLLHUP come unasked for as long as fd is watched. */
struct watch {
	int fd;
	uint32_t events;        /* as last asked for; 0 while not watched */
	void (*ready)(struct watch *, uint32_t events);
	struct loop *loop;      /* borrowed; NULL while not watched */
	struct watch **slot;    /* the loop's: where its pending event stands; else NULL */
};

/* Begins, changes (same loop) or, with events 0, ends watching.  0, or -1 with errno and
 * everything as it was; ending never fails. */
int loop_watch(struct loop *, struct watch *, uint32_t events);
void loop_unwatch(struct watch *);

struct timer {
	uint64_t due_ms;        /* by clock_mono_ms() */
	void (*due)(struct timer *);
	struct loop *loop;      /* borrowed; NULL while not running */
	unsigned index;         /* the loop's */
};

/* Starts or restarts it.  Memory for it is set aside by loop_reserve_timers(). */
void timer_start(struct loop *, struct timer *, uint64_t in_ms);
void timer_stop(struct timer *);

/* Each owner of timers calls this with their number before it starts the first, and with
 * the negative number when it goes: then timer_start() cannot fail.  0 or -1 (no memory);
 * giving back never fails. */
int loop_reserve_timers(struct loop *, int n);

/* A message from another thread.  Runs once on the loop's thread; may be freed or posted
 * again from there, not before.  Never fails. */
struct post {
	struct list_node node;
	void (*run)(struct post *);
};

void loop_post(struct loop *, struct post *);

#endif
