/*
 * keeper - who opens the spool first recovers it; afterwards the janitor's clock.
 *
 * Each opener takes the recovery byte, and then tries the open byte exclusively: who
 * gets it is the first, and recovers everything.  smtpd recovers in any case, since its own
 * predecessor may have ended while others had the spool open; segments whose writers
 * live are left alone.  Then the open byte is held shared as long as the spool is open,
 * and the recovery byte given back.
 */
#include <errno.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "janitor.h"
#include "recover.h"
#include "spool_internal.h"
#include "warn.h"

#define ROUND_MS 1000
/* After a round, or a recovery, that failed. */
#define RETRY_MS 10000
/* How often a lock that another process has is tried. */
#define POLL_MS 20

struct keeper {
	pthread_t thread;
	bool running; /* the thread's owner's */

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool stop;
	bool woken;
	bool tried;                /* recovery was over once, well or not */
	enum spool_status outcome; /* how */
};

/* Until somebody wakes the keeper or the time is over; false when it is to end. */
static bool
keeper_wait(struct keeper *k, unsigned ms, bool may_wake)
{
	struct timespec until;
	bool goes_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&k->mutex);
	while (!k->stop && !(may_wake && k->woken))
		if (pthread_cond_timedwait(&k->changed, &k->mutex, &until) == ETIMEDOUT)
			break;
	k->woken = false;
	goes_on = !k->stop;
	pthread_mutex_unlock(&k->mutex);
	return goes_on;
}

/* With the recovery byte held. */
static enum spool_status
recover_and_open(struct spool *sp)
{
	enum spool_status st = SPOOL_OK;
	int rc = lock_role_try(&sp->locks, LOCK_OPEN, false);

	if (rc < 0)
		return spool_failed("lock_failed", "locks/roles", errno);
	if (rc == 0 || sp->role == SPOOL_SMTPD)
		st = recover_spool(sp);
	/* Nobody else has it exclusively: that takes the recovery byte. */
	if (st == SPOOL_OK && lock_role_try(&sp->locks, LOCK_OPEN, true) != 0)
		st = spool_failed("lock_failed", "locks/roles", errno);
	if (st != SPOOL_OK)
		lock_role_release(&sp->locks, LOCK_OPEN);
	return st;
}

/* SPOOL_NOT_READY when the keeper is to end before it comes to anything. */
static enum spool_status
become_ready(struct spool *sp)
{
	enum spool_status st;
	int rc;

	while ((rc = lock_role_try(&sp->locks, LOCK_RECOVERY, false)) > 0)
		if (!keeper_wait(sp->keeper, POLL_MS, false))
			return SPOOL_NOT_READY;
	if (rc < 0)
		return spool_failed("lock_failed", "locks/roles", errno);
	st = recover_and_open(sp);
	lock_role_release(&sp->locks, LOCK_RECOVERY);
	if (st == SPOOL_OK)
		atomic_store(&sp->ready, true);
	else
		log_event(LOG_LEVEL_ERROR, "recovery_failed", log_text("path", sp->dir),
		    log_text("error", spool_status_text(st)),
		    log_text("advice", "no mail is taken or shown until it succeeds"));
	return st;
}

static void
tell_outcome(struct keeper *k, enum spool_status st)
{
	pthread_mutex_lock(&k->mutex);
	k->tried = true;
	k->outcome = st;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->mutex);
}

static void *
keeper_run(void *arg)
{
	struct spool *sp = arg;
	struct keeper *k = sp->keeper;
	enum spool_status st;
	bool failed;

	do {
		st = become_ready(sp);
		tell_outcome(k, st);
		if (st != SPOOL_OK && !keeper_wait(k, RETRY_MS, false))
			return NULL;
	} while (st != SPOOL_OK);
	do {
		st = janitor_round(sp, false);
		if (st == SPOOL_OK || st == SPOOL_BUSY)
			st = warn_round(sp);
		failed = st != SPOOL_OK && st != SPOOL_BUSY;
	} while (keeper_wait(k, failed ? RETRY_MS : ROUND_MS, !failed));
	return NULL;
}

enum spool_status
keeper_start(struct spool *sp)
{
	struct keeper *k = mem_array(1, sizeof(*k));
	pthread_condattr_t attr;
	enum spool_status st;
	int rc;

	if (k == NULL)
		return SPOOL_NO_MEMORY;
	pthread_mutex_init(&k->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &attr);
	pthread_condattr_destroy(&attr);
	sp->keeper = k;
	if (sp->role == SPOOL_ADMIN) {
		st = become_ready(sp);
		tell_outcome(k, st);
		return st;
	}
	rc = spool_thread(&k->thread, keeper_run, sp, "keeper");
	k->running = rc == 0;
	return rc == 0 ? SPOOL_OK : spool_failed("thread_failed", "keeper", rc);
}

void
keeper_stop(struct spool *sp)
{
	struct keeper *k = sp->keeper;

	if (k == NULL)
		return;
	pthread_mutex_lock(&k->mutex);
	k->stop = true;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->mutex);
	if (k->running)
		pthread_join(k->thread, NULL);
	/* Commands that change much and end at once would leave a long log for others to read. */
	if (spool_ready(sp) && (index_broken(sp) || index_frames(sp) >= INDEX_FRAMES_MANY))
		janitor_round(sp, false);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->mutex);
	mem_free(&sp->keeper);
}

void
janitor_wake(struct spool *sp)
{
	struct keeper *k = sp->keeper;

	if (k == NULL)
		return;
	pthread_mutex_lock(&k->mutex);
	k->woken = true;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->mutex);
}

enum spool_status
spool_wait_ready(struct spool *sp)
{
	struct keeper *k = sp->keeper;
	enum spool_status st;

	pthread_mutex_lock(&k->mutex);
	while (!k->tried)
		pthread_cond_wait(&k->changed, &k->mutex);
	st = k->outcome;
	pthread_mutex_unlock(&k->mutex);
	return st;
}

enum spool_status
spool_upkeep(struct spool *sp)
{
	enum spool_status st;
	unsigned tries = RETRY_MS / POLL_MS;

	while ((st = janitor_round(sp, true)) == SPOOL_BUSY && tries-- > 0)
		keeper_wait(sp->keeper, POLL_MS, false);
	return st;
}
