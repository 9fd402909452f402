/*
 * importer_pipe - many messages on their way at once, so that they share syncs.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/mem.h"
#include "importer_internal.h"

/* On their way at most: messages, and octets of them (one larger than that goes alone). */
#define MESSAGES 500
#define OCTETS (UINT64_C(16) << 20)

struct underway {
	struct pipe *pipe;
	uint64_t octets, counted;
};

struct pipe {
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t done;
	uint64_t underway, underway_octets;
	uint64_t messages, octets;
	enum spool_status status;
};

struct pipe *
pipe_new(void)
{
	struct pipe *p = mem_array(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->done, NULL);
	return p;
}

void
pipe_free(struct pipe **pp)
{
	struct pipe *p = *pp;

	if (p == NULL)
		return;
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->mutex);
	mem_free(pp);
}

/* The committer's thread.  The delivery has nobody else by now. */
static void
done(void *arg, struct delivery *d)
{
	struct underway *u = arg;
	struct pipe *p = u->pipe;
	enum spool_status st = delivery_outcome(d);

	delivery_abandon(&d);
	pthread_mutex_lock(&p->mutex);
	p->underway--;
	p->underway_octets -= u->octets;
	if (st == SPOOL_OK) {
		p->messages++;
		p->octets += u->counted;
	} else if (p->status == SPOOL_OK) {
		p->status = st;
	}
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->mutex);
	free(u);
}

void
pipe_put(struct pipe *p, struct delivery *d, uint64_t octets, uint64_t counted)
{
	struct underway *u = mem_must_array(1, sizeof(*u));

	*u = (struct underway){ .pipe = p, .octets = octets, .counted = counted };
	pthread_mutex_lock(&p->mutex);
	while (p->underway > 0 && (p->underway >= MESSAGES || p->underway_octets + octets > OCTETS))
		pthread_cond_wait(&p->done, &p->mutex);
	p->underway++;
	p->underway_octets += octets;
	pthread_mutex_unlock(&p->mutex);
	delivery_commit(d, octets, done, u);
}

void
pipe_drain(struct pipe *p)
{
	pthread_mutex_lock(&p->mutex);
	while (p->underway > 0)
		pthread_cond_wait(&p->done, &p->mutex);
	pthread_mutex_unlock(&p->mutex);
}

enum spool_status
pipe_status(struct pipe *p)
{
	enum spool_status st;

	pthread_mutex_lock(&p->mutex);
	st = p->status;
	pthread_mutex_unlock(&p->mutex);
	return st;
}

uint64_t
pipe_messages(struct pipe *p)
{
	return p->messages;
}

uint64_t
pipe_octets(struct pipe *p)
{
	return p->octets;
}
