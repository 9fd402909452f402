/*
 * progress - somebody at a terminal sees that a long command is at work.
 */
#include "progress.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

struct progress {
	const char *doing;
	atomic_uint_least64_t percent; /* one more than that; 0: not known */
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool ended;
};

static void *
run(void *arg)
{
	struct progress *p = arg;
	struct timespec at;
	uint64_t percent;
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
		percent = atomic_load(&p->percent);
		if (percent > 0)
			fprintf(
			    stderr, "\r%s: %u %%, %u s ", p->doing, (unsigned)percent - 1, seconds);
		else
			fprintf(stderr, "\r%s: %u s", p->doing, seconds);
		shown = true;
		pthread_mutex_lock(&p->mutex);
	}
	pthread_mutex_unlock(&p->mutex);
	if (shown)
		fprintf(stderr, "\r\033[K");
	return NULL;
}

struct progress *
progress_begin(const char *doing)
{
	struct progress *p;
	pthread_condattr_t attr;
	sigset_t all, before;
	int rc;

	if (!isatty(STDERR_FILENO))
		return NULL;
	p = mem_must_array(1, sizeof(*p));
	p->doing = doing;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are for main. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* Without it nothing but the sight is missing. */
	if (rc != 0) {
		pthread_cond_destroy(&p->changed);
		pthread_mutex_destroy(&p->mutex);
		mem_free(&p);
	}
	return p;
}

void
progress_set(struct progress *p, uint64_t done, uint64_t all)
{
	if (p != NULL && all > 0)
		atomic_store(&p->percent,
		    1 + (done < all ? (uint64_t)(100.0 * (double)done / (double)all) : 100));
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
