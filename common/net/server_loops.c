/*
 * server_loops - the loops' threads, and what main orders them to do.
 *
 * A loop's state is its thread's; main speaks to it by posts, and is answered by posts.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "common/net/server_private.h"

#define LOOPS_MAX 16

/* --- main's orders --------------------------------------------------------- */

static void
deaf_told(struct post *post)
{
	struct server *s = LIST_OBJECT(post, struct server_loop, deaf)->server;

	s->deaf++;
	server_loop_told(s);
}

static void
empty_told(struct post *post)
{
	struct server *s = LIST_OBJECT(post, struct server_loop, empty)->server;

	s->empty++;
	server_loop_told(s);
}

static void
hear(struct post *post)
{
	server_clients_hear(LIST_OBJECT(post, struct server_loop, hear));
}

static void
drain(struct post *post)
{
	struct server_loop *l = LIST_OBJECT(post, struct server_loop, drain);

	server_clients_deafen(l);
	server_clients_shutdown(l);
	l->draining = true;
	loop_post(l->server->loop, &l->deaf);
	if (list_empty(&l->clients))
		loop_post(l->server->loop, &l->empty);
}

static void
drop(struct post *post)
{
	server_clients_drop(LIST_OBJECT(post, struct server_loop, drop));
}

void
server_loops_drain(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->nloops; i++)
		loop_post(s->loops[i].loop, &s->loops[i].drain);
}

void
server_loops_drop(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->nloops; i++)
		loop_post(s->loops[i].loop, &s->loops[i].drop);
}

/* --- threads --------------------------------------------------------------- */

static void *
run(void *arg)
{
	struct server_loop *l = arg;

	if (loop_run(l->loop) == -1) {
		/* Its clients cannot be served, nor told; what was accepted is on disk. */
		log_event(LOG_LEVEL_ERROR, "loop_failed", log_errno(errno),
		    log_text("advice", "start the daemon again"));
		_exit(EX_TEMPFAIL);
	}
	return NULL;
}

static unsigned
count_cores(void)
{
	cpu_set_t set;
	int n;

	/* It fails on machines with more cores than the set has room for. */
	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return LOOPS_MAX;
	n = CPU_COUNT(&set);
	return n > LOOPS_MAX ? LOOPS_MAX : (unsigned)n;
}

static int
loop_begin(struct server *s, struct server_loop *l)
{
	l->server = s;
	l->hear.run = hear;
	l->drain.run = drain;
	l->drop.run = drop;
	l->deaf.run = deaf_told;
	l->empty.run = empty_told;
	l->loop = loop_new();
	return l->loop == NULL ? -1 : server_clients_open(l);
}

static int
thread_begin(struct server_loop *l, unsigned number)
{
	char name[THREAD_NAME_MAX];

	(void)snprintf(name, sizeof(name), "loop-%u", number);
	errno = thread_start(&l->thread, run, l, name);
	l->running = errno == 0;
	return l->running ? 0 : -1;
}

int
server_loops_start(struct server *s, struct strbuf *err)
{
	const unsigned n = count_cores();
	unsigned i;
	int errnum;

	s->loops = mem_array(n, sizeof(s->loops[0]));
	if (s->loops == NULL)
		goto err;
	for (i = 0; i < n; i++) {
		s->nloops++;
		if (loop_begin(s, &s->loops[i]) == -1)
			goto err;
	}
	for (i = 0; i < n; i++) {
		if (thread_begin(&s->loops[i], i) == -1)
			goto err;
	}
	/* Not before all threads run: then a failure finds no client. */
	for (i = 0; i < n; i++)
		loop_post(s->loops[i].loop, &s->loops[i].hear);
	return 0;

err:
	errnum = errno;
	strbuf_addf(err, "starting the loops: %s", strerrordesc_np(errnum));
	server_loops_stop(s);
	server_loops_free(s);
	return -1;
}

void
server_loops_stop(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->nloops; i++) {
		if (!s->loops[i].running)
			continue;
		loop_stop(s->loops[i].loop);
		pthread_join(s->loops[i].thread, NULL);
		s->loops[i].running = false;
	}
}

void
server_loops_run_posts(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->nloops; i++)
		(void)loop_turn(s->loops[i].loop, 0);
}

void
server_loops_free(struct server *s)
{
	unsigned i;

	for (i = 0; i < s->nloops; i++) {
		if (s->loops[i].loop != NULL)
			server_clients_close(&s->loops[i]);
		loop_free(&s->loops[i].loop);
	}
	s->nloops = 0;
	mem_free(&s->loops);
}
