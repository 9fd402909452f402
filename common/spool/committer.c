/*
 * committer - two threads and what waits for them.
 *
 *     submit ── large ──> to_stage ── stager: sync the body ──┐
 *        └───── small ───────────────────────────────────> to_commit ── committer: a group
 *
 * So a large body's sync holds up no small message.  While a group syncs, the next one
 * gathers: no timer, no wait for a lone sender, deep groups under load.
 *
 * The committer's segment is opened with the first message, and followed by another when
 * it is full.  It is never one that this thread did not make, so a torn tail is
 * no special case.
 */
#include "committer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "group.h"
#include "janitor.h"
#include "spool_internal.h"

struct committer {
	struct spool *spool; /* borrowed */
	pthread_t stager, thread;

	pthread_mutex_t mutex; /* guards what follows, down to `stop` */
	pthread_cond_t staging, committing;
	struct list_node to_stage, to_commit;
	bool runs, stager_runs;
	bool stop_stager, stop;

	/* The committer's thread's own. */
	struct segment segment;
	struct closing closing;
	struct group group;
};

enum spool_status
committer_new(struct spool *sp, struct committer **c_r)
{
	struct committer *c = mem_array(1, sizeof(*c));

	if (c == NULL)
		return SPOOL_NO_MEMORY;
	c->spool = sp;
	c->segment.fd = -1;
	tally_init(&c->group.tally);
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->staging, NULL);
	pthread_cond_init(&c->committing, NULL);
	list_init(&c->to_stage);
	list_init(&c->to_commit);
	*c_r = c;
	return SPOOL_OK;
}

static void
hand_over(struct committer *c, struct list_node *list, pthread_cond_t *cond, struct delivery *d)
{
	bool first;

	pthread_mutex_lock(&c->mutex);
	first = list_empty(list);
	list_append(list, &d->queued);
	pthread_mutex_unlock(&c->mutex);
	/* Behind the mutex, so that who wakes up finds it free.  Each list has one thread that takes
	 * from it, and takes all before it sleeps. */
	if (first)
		pthread_cond_signal(cond);
}

void
committer_submit(struct committer *c, struct delivery *d)
{
	if (d->outcome == SPOOL_OK && d->fd >= 0 && !delivery_is_small(d))
		hand_over(c, &c->to_stage, &c->staging, d);
	else
		hand_over(c, &c->to_commit, &c->committing, d);
}

/* The first of the list, once there is one; NULL when there is none and `stop` says so. */
static struct delivery *
take(struct committer *c, struct list_node *list, pthread_cond_t *cond, const bool *stop)
{
	struct list_node *node;

	pthread_mutex_lock(&c->mutex);
	while (list_empty(list) && !*stop)
		pthread_cond_wait(cond, &c->mutex);
	node = list_take(list);
	pthread_mutex_unlock(&c->mutex);
	return node == NULL ? NULL : LIST_OBJECT(node, struct delivery, queued);
}

static void *
stager_run(void *arg)
{
	struct committer *c = arg;
	struct delivery *d;

	while ((d = take(c, &c->to_stage, &c->staging, &c->stop_stager)) != NULL) {
		enum spool_status st = delivery_stage(d);

		if (st != SPOOL_OK)
			delivery_fail(d, st);
		hand_over(c, &c->to_commit, &c->committing, d);
	}
	return NULL;
}

/* --- groups --------------------------------------------------------------- */

static void
finish(struct delivery *d)
{
	delivery_drop_octets(d);
	d->done(d->done_arg, d);
}

/* Adds the delivery; false when it has to wait for the next group.  One alone always fits. */
static bool
group_add(struct group *g, struct delivery *d)
{
	bool file = d->fd >= 0 && !delivery_is_small(d);
	uint64_t octets = file ? 0 : delivery_header_len(d) + d->wire_len + RECORD_BLOCK;

	if (g->n > 0 && (g->n == GROUP_MESSAGES || g->octets + octets > GROUP_OCTETS ||
			    g->files + file > GROUP_FILES))
		return false;
	g->list[g->n++] = d;
	g->octets += octets;
	g->files += file;
	g->small += !file;
	return true;
}

/* Fills the group with what waits, in order; what failed before goes to `failed`.  False when there
 * will be no more. */
static bool
gather(struct committer *c, struct list_node *failed)
{
	struct group *g = &c->group;
	bool more;

	g->n = g->small = g->files = 0;
	g->octets = 0;
	pthread_mutex_lock(&c->mutex);
	while (list_empty(&c->to_commit) && !c->stop)
		pthread_cond_wait(&c->committing, &c->mutex);
	more = !list_empty(&c->to_commit);
	while (!list_empty(&c->to_commit)) {
		struct delivery *d = LIST_OBJECT(c->to_commit.next, struct delivery, queued);

		if (d->outcome == SPOOL_OK && !group_add(g, d))
			break;
		list_remove(&d->queued);
		if (d->outcome != SPOOL_OK)
			list_append(failed, &d->queued);
	}
	pthread_mutex_unlock(&c->mutex);
	return more;
}

/* Small ones that went to files for want of memory come back; who cannot leaves the group. */
static void
unspill(struct group *g, struct list_node *failed)
{
	size_t kept = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct delivery *d = g->list[i];
		enum spool_status st = SPOOL_OK;

		if (d->fd >= 0 && delivery_is_small(d))
			st = delivery_unspill(d);
		if (st == SPOOL_OK) {
			g->list[kept++] = d;
			continue;
		}
		delivery_fail(d, st);
		list_append(failed, &d->queued);
		g->small--;
	}
	g->n = kept;
}

/* A segment of ours with room for the group; the one before is closed. */
static enum spool_status
ensure_segment(struct committer *c)
{
	uint64_t most = (c->group.octets + RECORD_BLOCK - 1) / RECORD_BLOCK;
	uint64_t max = c->spool->segment_max / RECORD_BLOCK;

	if (c->group.small == 0)
		return SPOOL_OK;
	if (c->segment.fd >= 0 && c->segment.end > 1 && c->segment.end + most > max)
		closing_add(&c->closing, &c->segment);
	return c->segment.fd >= 0 ? SPOOL_OK : segment_create(c->spool, &c->segment);
}

static void
commit(struct committer *c, struct list_node *failed)
{
	struct group *g = &c->group;
	enum spool_status st;

	unspill(g, failed);
	if (g->n == 0)
		return;
	st = ensure_segment(c);
	if (st == SPOOL_OK)
		group_commit(g);
	else
		for (size_t i = 0; i < g->n; i++)
			delivery_fail(g->list[i], st == SPOOL_NO_SPACE ? st : SPOOL_IO);
}

/* What is open is closed; where that fails recovery does it. */
static void
close_rows(struct committer *c)
{
	struct index_conn *conn;
	enum spool_status st;

	if (c->segment.fd >= 0)
		closing_add(&c->closing, &c->segment);
	if (c->closing.n == 0 ||
	    index_write_begin(c->spool, INDEX_MAIN, "segment", &conn) != SPOOL_OK)
		return;
	st = closing_write(&c->closing, conn);
	if (st == SPOOL_OK)
		index_write_commit(c->spool, &conn, false);
	else
		index_write_abandon(c->spool, &conn);
}

static void *
committer_run(void *arg)
{
	struct committer *c = arg;
	struct list_node failed;

	list_init(&failed);
	c->group.spool = c->spool;
	c->group.segment = &c->segment;
	c->group.closing = &c->closing;
	while (gather(c, &failed)) {
		struct list_node *node;
		bool unknown = false;

		if (c->group.n > 0)
			commit(c, &failed);
		/* The writer's lock was given back: whoever waits for it need not wait for these. */
		for (size_t i = 0; i < c->group.n; i++) {
			unknown = unknown || c->group.list[i]->outcome == SPOOL_UNKNOWN;
			finish(c->group.list[i]);
		}
		/* What recovery is to decide: their files are closed by now. */
		if (unknown) {
			atomic_store(&c->spool->unrecovered, true);
			keeper_wake(c->spool);
		}
		while ((node = list_take(&failed)) != NULL)
			finish(LIST_OBJECT(node, struct delivery, queued));
	}
	close_rows(c);
	return NULL;
}

/* --- life ----------------------------------------------------------------- */

enum spool_status
committer_start(struct committer *c)
{
	int rc = 0;

	pthread_mutex_lock(&c->mutex);
	if (!c->runs) {
		rc = thread_start(&c->thread, committer_run, c, "committer");
		c->runs = rc == 0;
	}
	if (c->runs && !c->stager_runs) {
		rc = thread_start(&c->stager, stager_run, c, "stager");
		c->stager_runs = rc == 0;
	}
	pthread_mutex_unlock(&c->mutex);
	return rc == 0 ? SPOOL_OK : spool_failed("thread_failed", "committer", rc);
}

/* Lets a thread finish what waits for it, and joins it. */
static void
stop_thread(struct committer *c, pthread_t thread, pthread_cond_t *cond, bool *stop)
{
	pthread_mutex_lock(&c->mutex);
	*stop = true;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(&c->mutex);
	pthread_join(thread, NULL);
}

void
committer_free(struct committer **cp)
{
	struct committer *c = *cp;

	if (c == NULL)
		return;
	/* The stager first: what it stages the committer still commits. */
	if (c->stager_runs)
		stop_thread(c, c->stager, &c->staging, &c->stop_stager);
	if (c->runs)
		stop_thread(c, c->thread, &c->committing, &c->stop);
	free(c->closing.list);
	tally_release(&c->group.tally);
	pthread_cond_destroy(&c->committing);
	pthread_cond_destroy(&c->staging);
	pthread_mutex_destroy(&c->mutex);
	mem_free(cp);
}
