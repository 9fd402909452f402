/*
 * progress - somebody at a terminal sees that a long command is at work.
 */
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/thread.h"

struct progress {
	_Atomic(const char *) doing;
	enum progress_unit unit;
	atomic_uint_least64_t done, all; /* all: 0 where it is not known */
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool ended;
};

/* The line anew: "exporting: 120 of 480 messages, 25 %, 3 s".  Where the two numbers are of different
 * instants it is of none, and right again in a second. */
static void
show(struct progress *p, unsigned seconds)
{
	uint64_t done = atomic_load(&p->done), all = atomic_load(&p->all);
	char done_text[NUM_TEXT_MAX], all_text[NUM_TEXT_MAX];
	const char *what = p->unit == PROGRESS_MESSAGES ? " messages" : "";

	if (p->unit == PROGRESS_MESSAGES) {
		snprintf(done_text, sizeof(done_text), "%" PRIu64, done);
		snprintf(all_text, sizeof(all_text), "%" PRIu64, all);
	} else {
		num_format_size_short(done_text, done);
		num_format_size_short(all_text, all);
	}
	fprintf(stderr, "\r%s: ", atomic_load(&p->doing));
	if (all > 0)
		fprintf(stderr, "%s of %s%s, %u %%, ", done_text, all_text, what,
		    done < all ? (unsigned)(100.0 * (double)done / (double)all) : 100);
	else if (done > 0)
		fprintf(stderr, "%s%s, ", done_text, what);
	fprintf(stderr, "%u s\033[K", seconds);
}

static void *
run(void *arg)
{
	struct progress *p = arg;
	struct timespec at;
	bool shown = false;

	clock_gettime(CLOCK_MONOTONIC, &at);
	pthread_mutex_lock(&p->mutex);
	for (unsigned seconds = 1; !p->ended; seconds++) {
		at.tv_sec++;
		for (int rc = 0; !p->ended && rc != ETIMEDOUT;)
			rc = pthread_cond_timedwait(&p->changed, &p->mutex, &at);
		if (p->ended)
			break;
		pthread_mutex_unlock(&p->mutex);
		show(p, seconds);
		shown = true;
		pthread_mutex_lock(&p->mutex);
	}
	pthread_mutex_unlock(&p->mutex);
	if (shown)
		fprintf(stderr, "\r\033[K");
	return NULL;
}

struct progress *
progress_begin(const char *doing, enum progress_unit unit)
{
	struct progress *p;
	pthread_condattr_t attr;

	if (!isatty(STDERR_FILENO))
		return NULL;
	p = mem_must_array(1, sizeof(*p));
	atomic_init(&p->doing, doing);
	p->unit = unit;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	/* Without it nothing but the sight is missing. */
	if (thread_start(&p->thread, run, p, "progress") != 0) {
		pthread_cond_destroy(&p->changed);
		pthread_mutex_destroy(&p->mutex);
		mem_free(&p);
	}
	return p;
}

void
progress_set(struct progress *p, uint64_t done, uint64_t all)
{
	if (p == NULL)
		return;
	atomic_store(&p->done, done);
	atomic_store(&p->all, all);
}

void
progress_next(struct progress *p, const char *doing)
{
	progress_set(p, 0, 0);
	if (p != NULL)
		atomic_store(&p->doing, doing);
}

void
progress_tell(void *arg, uint64_t done, uint64_t all)
{
	progress_set(arg, done, all);
}

void
progress_end(struct progress **pp)
{
	struct progress *p = *pp;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->mutex);
	p->ended = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->mutex);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->mutex);
	mem_free(pp);
}
