/*
 * loop - one thread's events: descriptors, timers, and messages from other threads.
 *
 * Timers are a binary heap of slots that carry what is compared; each timer knows
 * its slot (`index`), so that stopping one is no search.  Timers that are due at
 * the same millisecond run in the order in which they were started; a turn runs
 * none that was started in its own timers' phase, known by its number.
 *
 * Posts are a list under a mutex and an eventfd, written when the list was empty:
 * one write wakes for many.
 */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "common/net/net_private.h"

/* Descriptors that one turn serves; epoll gives the others in the next. */
#define TURN_EVENTS 128

struct slot {
	uint64_t due_ms;
	uint64_t order; /* of starting: breaks ties */
	struct timer *timer;
};

struct loop {
	int epoll_fd;
	struct watch wake; /* on the eventfd */
	atomic_bool stopping;

	struct slot *heap; /* owned */
	size_t heap_cap;
	unsigned running;  /* timers in the heap */
	unsigned reserved; /* timers that owners may start */
	uint64_t next_order;

	pthread_mutex_t mutex;
	struct list_node posts; /* under the mutex */

	unsigned char *scratch;     /* owned; NULL until asked for */
	struct outq_recent *recent; /* likewise */
};

/* --- timers ---------------------------------------------------------------- */

static bool
slot_before(const struct slot *a, const struct slot *b)
{
	if (a->due_ms != b->due_ms)
		return a->due_ms < b->due_ms;
	return a->order < b->order;
}

static void
slot_place(struct loop *loop, unsigned index, struct slot slot)
{
	loop->heap[index] = slot;
	slot.timer->index = index;
}

/* Finds the place of a slot that may stand wrong at `index`, and puts it there. */
static void
heap_settle(struct loop *loop, unsigned index, struct slot slot)
{
	unsigned child;

	while (index > 0 && slot_before(&slot, &loop->heap[(index - 1) / 2])) {
		slot_place(loop, index, loop->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	while ((child = 2 * index + 1) < loop->running) {
		if (child + 1 < loop->running &&
		    slot_before(&loop->heap[child + 1], &loop->heap[child]))
			child++;
		if (!slot_before(&loop->heap[child], &slot))
			break;
		slot_place(loop, index, loop->heap[child]);
		index = child;
	}
	slot_place(loop, index, slot);
}

int
loop_reserve_timers(struct loop *loop, int n)
{
	if (n < 0) {
		assert(loop->reserved >= (unsigned)-n);
		loop->reserved -= (unsigned)-n;
		return 0;
	}
	if (loop->reserved > (unsigned)INT_MAX - (unsigned)n)
		return -1;
	if (mem_grow(&loop->heap, &loop->heap_cap, loop->reserved + (unsigned)n,
		sizeof(loop->heap[0])) == -1)
		return -1;
	loop->reserved += (unsigned)n;
	return 0;
}

void
timer_start(struct loop *loop, struct timer *timer, uint64_t in_ms)
{
	uint64_t now = clock_mono_ms();

	assert(timer->loop == NULL || timer->loop == loop);
	timer->due_ms = in_ms <= UINT64_MAX - now ? now + in_ms : UINT64_MAX;
	if (timer->loop == NULL) {
		assert(loop->running < loop->reserved);
		timer->loop = loop;
		timer->index = loop->running++;
	}
	heap_settle(loop, timer->index,
	    (struct slot){ .due_ms = timer->due_ms, .order = loop->next_order++, .timer = timer });
}

void
timer_stop(struct timer *timer)
{
	struct loop *loop = timer->loop;
	struct slot last;

	if (loop == NULL)
		return;
	timer->loop = NULL;
	last = loop->heap[--loop->running];
	if (last.timer != timer)
		heap_settle(loop, timer->index, last);
}

static void
run_timers(struct loop *loop)
{
	const uint64_t now = clock_mono_ms(), newest = loop->next_order;
	struct timer *timer;

	/* A timer started meanwhile is due now at the earliest, and behind all older ones
	 * that are: the first such ends the phase. */
	while (loop->running > 0 && loop->heap[0].due_ms <= now && loop->heap[0].order < newest) {
		timer = loop->heap[0].timer;
		timer_stop(timer);
		timer->due(timer);
	}
}

/* How long epoll_wait(2) may sleep, so as not to pass the next timer. */
static int
wait_ms(const struct loop *loop, int timeout_ms)
{
	uint64_t now, left = 0;

	if (loop->running == 0)
		return timeout_ms;
	now = clock_mono_ms();
	if (loop->heap[0].due_ms > now)
		left = loop->heap[0].due_ms - now;
	if (timeout_ms >= 0 && left > (uint64_t)timeout_ms)
		return timeout_ms;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* --- posts ----------------------------------------------------------------- */

static void
wake_up(struct loop *loop)
{
	const uint64_t one = 1;
	ssize_t n;

	/* EAGAIN would mean that the counter is full, which takes 2^64 wakings; nothing else can
	 * happen to an eventfd that is open. */
	do
		n = write(loop->wake.fd, &one, sizeof(one));
	while (n == -1 && errno == EINTR);
}

/* What counts is in `stopping` and in the list, which are looked at each turn; and what is in the
 * eventfd is not read: each write to it is an edge. */
static void
woken(struct watch *watch, uint32_t events)
{
	(void)watch, (void)events;
}

void
loop_post(struct loop *loop, struct post *post)
{
	bool first;

	pthread_mutex_lock(&loop->mutex);
	first = list_empty(&loop->posts);
	list_append(&loop->posts, &post->node);
	/* Still under the mutex: once it is free the post may run, and be what frees the
	 * loop. */
	if (first)
		wake_up(loop);
	pthread_mutex_unlock(&loop->mutex);
}

static void
run_posts(struct loop *loop)
{
	struct list_node batch, *node;

	list_init(&batch);
	pthread_mutex_lock(&loop->mutex);
	while ((node = list_take(&loop->posts)) != NULL)
		list_append(&batch, node);
	pthread_mutex_unlock(&loop->mutex);

	while ((node = list_take(&batch)) != NULL) {
		struct post *post = LIST_OBJECT(node, struct post, node);

		post->run(post);
	}
}

/* --- descriptors ----------------------------------------------------------- */

int
loop_watch(struct loop *loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	assert(watch->loop == NULL || watch->loop == loop);
	if (events == 0) {
		loop_unwatch(watch);
		return 0;
	}
	if (watch->loop != NULL && watch->events == events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, watch->loop == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
		watch->fd, &event) == -1)
		return -1;
	if (watch->loop == NULL)
		watch->slot = NULL;
	watch->loop = loop;
	watch->events = events;
	return 0;
}

void
loop_unwatch(struct watch *watch)
{
	int rc;

	if (watch->loop == NULL)
		return;
	rc = epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	assert(rc == 0);
	(void)rc;
	if (watch->slot != NULL)
		*watch->slot = NULL;
	watch->slot = NULL;
	watch->loop = NULL;
	watch->events = 0;
}

static int
run_watches(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[TURN_EVENTS];
	struct watch *pending[TURN_EVENTS];
	int n, i;

	n = epoll_wait(loop->epoll_fd, events, TURN_EVENTS, timeout_ms);
	if (n == -1)
		return errno == EINTR ? 0 : -1;

	for (i = 0; i < n; i++) {
		pending[i] = events[i].data.ptr;
		pending[i]->slot = &pending[i];
	}
	for (i = 0; i < n; i++) {
		struct watch *watch = pending[i];
		uint32_t happened;

		if (watch == NULL)
			continue;
		watch->slot = NULL;
		happened = events[i].events & (watch->events | EPOLLERR | EPOLLHUP);
		if (happened != 0)
			watch->ready(watch, happened);
	}
	return 0;
}

/* --- the loop -------------------------------------------------------------- */

int
loop_turn(struct loop *loop, int timeout_ms)
{
	if (run_watches(loop, wait_ms(loop, timeout_ms)) == -1)
		return -1;
	run_posts(loop);
	run_timers(loop);
	return 0;
}

int
loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->stopping)) {
		if (loop_turn(loop, -1) == -1)
			return -1;
	}
	return 0;
}

void
loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake_up(loop);
}

unsigned char *
loop_scratch(struct loop *loop)
{
	if (loop->scratch == NULL)
		loop->scratch = malloc(LOOP_SCRATCH);
	return loop->scratch;
}

struct outq_recent *
loop_recent(struct loop *loop)
{
	if (loop->recent == NULL)
		loop->recent = mem_array(1, sizeof(*loop->recent));
	return loop->recent;
}

struct loop *
loop_new(void)
{
	struct loop *loop = mem_array(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd == -1)
		goto err_loop;
	loop->wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->wake.fd == -1)
		goto err_epoll;
	loop->wake.ready = woken;
	if (loop_watch(loop, &loop->wake, EPOLLIN | EPOLLET) == -1)
		goto err_wake;
	if (pthread_mutex_init(&loop->mutex, NULL) != 0)
		goto err_wake;
	list_init(&loop->posts);
	return loop;

err_wake:
	close(loop->wake.fd);
err_epoll:
	close(loop->epoll_fd);
err_loop:
	free(loop);
	return NULL;
}

void
loop_free(struct loop **loop)
{
	struct loop *l = *loop;

	if (l == NULL)
		return;
	assert(l->running == 0);
	pthread_mutex_destroy(&l->mutex);
	close(l->wake.fd);
	close(l->epoll_fd);
	free(l->heap);
	free(l->scratch);
	free(l->recent);
	free(l);
	*loop = NULL;
}
