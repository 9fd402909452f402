/*
 * jobs - a small pool of threads for what may block: hashing a password, opening a
 * maildrop, an UPDATE, reading a cold page.
 *
 * A job belongs to its submitter again when `done` runs, on the loop that it named.
 * The queue is bounded because each session has at most one job.  A job cannot be
 * called back; it may live in its session, which is never freed while it WAITs.
 *
 * Thread: jobs_submit() any; `run` one of the pool's; `done` the loop's.
 */
#ifndef NET_JOBS_H
#define NET_JOBS_H

#include "base/list.h"
#include "net/loop.h"

struct jobs;

struct job {
	void (*run)(struct job *);      /* may block; touches nothing that a loop owns */
	void (*done)(struct job *);
	struct loop *loop;              /* borrowed: where `done` runs */
	struct list_node node;
	struct post post;
};

/* NULL with errno. */
struct jobs *jobs_new(const char *name, unsigned threads);
/* Runs what is queued to its end, posts the last `done`s, ends the threads. */
void jobs_free(struct jobs **);

void jobs_submit(struct jobs *, struct job *);

#endif
