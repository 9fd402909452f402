/*
 * jobs - a small pool of threads for what may block.
 *
 * One queue, first come first served, under one mutex.  A job is its submitter's
 * again from the moment that its post is given to the loop: the pool does not touch
 * it after that.
 */
#include "net/jobs.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"

struct jobs {
	pthread_mutex_t mutex;
	pthread_cond_t more;    /* something queued, or ending */
	struct list_node queue; /* under the mutex, as is the next */
	bool ending;
	pthread_t *threads; /* owned */
	unsigned nthreads;
};

static void
finish(struct post *post)
{
	struct job *job = LIST_OBJECT(post, struct job, post);

	job->done(job);
}

static void *
work(void *arg)
{
	struct jobs *jobs = arg;
	struct list_node *node;
	struct job *job;

	pthread_mutex_lock(&jobs->mutex);
	for (;;) {
		while ((node = list_take(&jobs->queue)) == NULL && !jobs->ending)
			pthread_cond_wait(&jobs->more, &jobs->mutex);
		if (node == NULL)
			break;
		pthread_mutex_unlock(&jobs->mutex);

		job = LIST_OBJECT(node, struct job, node);
		job->run(job);
		job->post.run = finish;
		loop_post(job->loop, &job->post);

		pthread_mutex_lock(&jobs->mutex);
	}
	pthread_mutex_unlock(&jobs->mutex);
	return NULL;
}

static int
start_threads(struct jobs *jobs, const char *name, unsigned n)
{
	char thread_name[THREAD_NAME_MAX];
	int rc = 0;

	while (jobs->nthreads < n && rc == 0) {
		(void)snprintf(thread_name, sizeof(thread_name), "%s-%u", name, jobs->nthreads);
		rc = thread_start(&jobs->threads[jobs->nthreads], work, jobs, thread_name);
		if (rc == 0)
			jobs->nthreads++;
	}
	errno = rc;
	return rc == 0 ? 0 : -1;
}

struct jobs *
jobs_new(const char *name, unsigned threads)
{
	struct jobs *jobs = mem_array(1, sizeof(*jobs));
	int errnum;

	assert(threads > 0);
	if (jobs == NULL)
		return NULL;
	list_init(&jobs->queue);
	jobs->threads = mem_array(threads, sizeof(jobs->threads[0]));
	if (jobs->threads == NULL)
		goto err_jobs;
	errno = pthread_mutex_init(&jobs->mutex, NULL);
	if (errno != 0)
		goto err_threads;
	errno = pthread_cond_init(&jobs->more, NULL);
	if (errno != 0)
		goto err_mutex;
	if (start_threads(jobs, name, threads) == -1) {
		errnum = errno;
		jobs_free(&jobs);
		errno = errnum;
		return NULL;
	}
	return jobs;

err_mutex:
	pthread_mutex_destroy(&jobs->mutex);
err_threads:
	free(jobs->threads);
err_jobs:
	free(jobs);
	return NULL;
}

void
jobs_free(struct jobs **jobs)
{
	struct jobs *j = *jobs;
	unsigned i;

	if (j == NULL)
		return;
	pthread_mutex_lock(&j->mutex);
	j->ending = true;
	pthread_cond_broadcast(&j->more);
	pthread_mutex_unlock(&j->mutex);
	for (i = 0; i < j->nthreads; i++)
		pthread_join(j->threads[i], NULL);
	pthread_cond_destroy(&j->more);
	pthread_mutex_destroy(&j->mutex);
	free(j->threads);
	mem_free(jobs);
}

void
jobs_submit(struct jobs *jobs, struct job *job)
{
	pthread_mutex_lock(&jobs->mutex);
	list_append(&jobs->queue, &job->node);
	pthread_cond_signal(&jobs->more);
	pthread_mutex_unlock(&jobs->mutex);
}
