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
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "health.h"
#include "janitor.h"
#include "recover.h"
#include "spool_internal.h"
#include "wake.h"
#include "warn.h"

/* Between rounds, when nobody wakes the keeper. */
#define ROUND_MS 60000
/* After it was woken, so that what comes at once is done at once. */
#define GATHER_MS 100
/* After a round that another process was at. */
#define BUSY_MS 1000
/* Until maildrops that were open when expiry came are tried again. */
#define LEFT_MS 5000
/* After a round, or a recovery, that failed: the first time, and at most. */
#define RETRY_MIN_MS 250
#define RETRY_MS 10000
/* How often a lock that another process has is tried. */
#define POLL_MS 20

struct keeper {
	pthread_t thread;
	bool running;      /* the thread's owner's */
	struct wake *wake; /* owned */
	atomic_bool stop;
	atomic_bool owes; /* pop-admin: a round before it ends */

	pthread_mutex_t mutex; /* guards what follows, down to `outcome` */
	pthread_cond_t changed;
	bool tried;                /* recovery was over once, well or not */
	enum spool_status outcome; /* how */

	/* The thread's own. */
	unsigned failures;  /* rounds and recoveries, the last ones in a row */
	uint64_t looked_ms; /* monotonic: when segments and epoch were last looked after */
	struct index_watch watch;
	bool woken;
	uint64_t reclaimed_ms; /* monotonic: when a round last saw to what is dead */
	bool dead_waits;       /* the last one did not */
	bool expired;          /* once at least */
	bool left;             /* maildrops were open */
	uint64_t expired_ms;   /* monotonic: when it last was */
	bool came_back;        /* to what recovery left, once at least */
	uint64_t back_ms;      /* monotonic: when it last did */
};

static uint64_t
now_ms(void)
{
	struct timespec ts;

	/* The machine's: in tests clock_mono_ms() stands still. */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Until somebody wakes the keeper or the time is over; false when it is to end.  What woke it
 * although it may not be is remembered. */
static bool
keeper_wait(struct keeper *k, uint64_t ms, bool may_wake)
{
	uint64_t now = now_ms(), until = now + ms;

	while (!atomic_load(&k->stop) && !(may_wake && k->woken) && now < until) {
		k->woken = wake_wait(k->wake, (unsigned)(until - now)) || k->woken;
		now = now_ms();
	}
	return !atomic_load(&k->stop);
}

/* With the recovery byte held. */
static enum spool_status
recover_and_open(struct spool *sp)
{
	enum spool_status st = SPOOL_OK;
	int rc = lock_role_try(&sp->locks, LOCK_OPEN, false);

	if (rc < 0)
		return spool_failed("lock_failed", "locks/roles", errno);
	/* Who lives and has the log open hears of a sync that failed at his own next one. */
	if (rc == 0 || sp->role != SPOOL_ADMIN)
		st = index_renew_log(sp);
	if (st == SPOOL_OK && (rc == 0 || sp->role == SPOOL_SMTPD))
		st = recover_spool(sp);
	/* Nobody else has it exclusively: that takes the recovery byte. */
	if (st == SPOOL_OK && lock_role_try(&sp->locks, LOCK_OPEN, true) != 0)
		st = spool_failed("lock_failed", "locks/roles", errno);
	if (st != SPOOL_OK)
		lock_role_release(&sp->locks, LOCK_OPEN);
	return st;
}

/* With the recovery byte held: databases that could not be opened at first, or that were exchanged
 * since, and whether the index is that of this mail. */
static enum spool_status
open_index(struct spool *sp)
{
	enum spool_status st;
	struct strbuf err;

	strbuf_init(&err, 4096);
	if (atomic_load(&sp->databases_open)) {
		st = index_reopen(sp, sp->keeper->failures > 0);
	} else {
		st = spool_open_databases(sp, &err);
		if (st != SPOOL_OK)
			log_event(LOG_LEVEL_ERROR, "index_not_opened", log_text("path", sp->dir),
			    log_text("error", err.len > 0 ? err.buf : spool_status_text(st)),
			    log_text("advice", "no mail is taken or shown until it can be opened"));
	}
	strbuf_release(&err);
	return st == SPOOL_OK ? epoch_check(sp) : st;
}

/* What is known of the segments, and a new epoch.  Commands of an administrator end soon, and are to
 * show what can be shown. */
static void
look_after_recovery(struct spool *sp)
{
	if (sp->role == SPOOL_ADMIN)
		return;
	epoch_raise(sp);
	sp->keeper->looked_ms = now_ms();
}

/* Waits for the recovery byte; SPOOL_NOT_READY when the keeper is to end before it comes to
 * anything. */
static enum spool_status
take_recovery(struct spool *sp)
{
	int rc;

	while ((rc = lock_role_try(&sp->locks, LOCK_RECOVERY, false)) > 0)
		if (!keeper_wait(sp->keeper, POLL_MS, false))
			return SPOOL_NOT_READY;
	return rc < 0 ? spool_failed("lock_failed", "locks/roles", errno) : SPOOL_OK;
}

enum spool_status
spool_recover(struct spool *sp)
{
	enum spool_status st = take_recovery(sp);

	if (st != SPOOL_OK)
		return st;
	atomic_store(&sp->unrecovered, false);
	st = recover_spool(sp);
	lock_role_release(&sp->locks, LOCK_RECOVERY);
	if (st != SPOOL_OK)
		atomic_store(&sp->unrecovered, true);
	/* Who wants to know all that there is does not. */
	return st == SPOOL_OK && atomic_load(&sp->unrecovered) ? SPOOL_IO : st;
}

/* With the recovery byte held, so no restore is at it: one that gave the index its name had come to its
 * end.  Its marker goes before there is mail that the backup has not, or a restore that finds the
 * index lost would go on with this folder and take out what the backup has not. */
static enum spool_status
forget_restore(struct spool *sp)
{
	if (faccessat(sp->dir_fd, SPOOL_RESTORING, F_OK, 0) != 0)
		return SPOOL_OK;
	if (disk_unlink(sp->disk, sp->dir_fd, SPOOL_RESTORING) == 0 &&
	    disk_sync(sp->disk, sp->dir_fd) == 0)
		return SPOOL_OK;
	return spool_failed("leftover_not_removed", SPOOL_RESTORING, errno);
}

static enum spool_status
become_ready(struct spool *sp)
{
	enum spool_status st = take_recovery(sp);

	if (st != SPOOL_OK)
		return st;
	st = open_index(sp);
	if (st == SPOOL_OK)
		st = forget_restore(sp);
	if (st == SPOOL_OK)
		st = recover_and_open(sp);
	if (st == SPOOL_OK && sp->role != SPOOL_ADMIN)
		st = health_look(sp);
	if (st == SPOOL_OK)
		look_after_recovery(sp);
	/* One at a time takes the name. */
	if (st == SPOOL_OK && sp->role == SPOOL_SMTPD)
		wake_listen(sp->keeper->wake);
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

static bool
expiry_is_due(struct spool *sp, const struct keeper *k)
{
	uint64_t every_s = atomic_load(&sp->expire_every_s), now = clock_mono_ms();

	if (every_s == 0)
		return false;
	return !k->expired || (now - k->expired_ms) / 1000 >= every_s ||
	       (k->left && now - k->expired_ms >= LEFT_MS);
}

static void
count_failure(struct keeper *k, bool failed)
{
	k->failures = failed ? k->failures + 1 : 0;
}

/* Twice as long each time.  Nearly every fault is over soon, and until then nobody has his mail. */
static uint64_t
retry_after(const struct keeper *k)
{
	uint64_t ms = RETRY_MIN_MS;

	for (unsigned i = 1; i < k->failures && ms < RETRY_MS; i++)
		ms *= 2;
	return ms < RETRY_MS ? ms : RETRY_MS;
}

/* Milliseconds until there is something to do unasked. */
static uint64_t
next_round(struct spool *sp, const struct keeper *k, enum spool_status st)
{
	uint64_t every_s = atomic_load(&sp->expire_every_s), gone;

	if (st == SPOOL_BUSY)
		return BUSY_MS;
	if (st != SPOOL_OK)
		return retry_after(k);
	if (k->dead_waits) {
		gone = now_ms() - k->reclaimed_ms;
		return gone < sp->reclaim_ms ? sp->reclaim_ms - gone : 0;
	}
	if (every_s == 0)
		return ROUND_MS;
	if (k->left)
		return LEFT_MS;
	gone = clock_mono_ms() - k->expired_ms;
	if (every_s >= (gone + ROUND_MS) / 1000)
		return ROUND_MS;
	return every_s * 1000 > gone ? every_s * 1000 - gone : 0;
}

/* Once a minute: are the segments still there; and, by smtpd for all, where something was committed
 * since, a new epoch, which is to come into index.db itself: true then. */
static bool
look_after(struct spool *sp, struct keeper *k)
{
	uint64_t now = now_ms();

	if (now - k->looked_ms < ROUND_MS || !health_index(sp))
		return false;
	k->looked_ms = now;
	health_look(sp);
	if (sp->role != SPOOL_SMTPD || !index_changed(sp, &k->watch))
		return false;
	epoch_raise(sp);
	/* That was our own. */
	index_changed(sp, &k->watch);
	return true;
}

static enum spool_status
keeper_round(struct spool *sp, struct keeper *k)
{
	struct janitor_task task = { .expire = expiry_is_due(sp, k) };
	uint64_t began_ms = clock_mono_ms();
	enum spool_status st;

	k->woken = false;
	task.checkpoint = look_after(sp, k);
	/* On a full disk nothing waits. */
	task.dead_waits = now_ms() - k->reclaimed_ms < sp->reclaim_ms && ballast_missing(sp) == 0;
	st = janitor_round(sp, &task);
	if (st == SPOOL_OK && !task.dead_waits)
		k->reclaimed_ms = now_ms();
	k->dead_waits = task.dead_waits;
	if (task.expired) {
		k->expired = true;
		k->expired_ms = began_ms;
		k->left = task.busy > 0;
	}
	return st;
}

/* Segments that recovery could not read, and those that the committer closed without knowing what is in
 * them: not only when somebody starts the next time. */
static void
come_back(struct spool *sp, struct keeper *k)
{
	uint64_t now = clock_mono_ms();

	if (!atomic_load(&sp->unrecovered) || index_broken(sp) ||
	    (k->came_back && now - k->back_ms < ROUND_MS))
		return;
	k->came_back = true;
	k->back_ms = now;
	(void)spool_recover(sp);
}

static void *
keeper_run(void *arg)
{
	struct spool *sp = arg;
	struct keeper *k = sp->keeper;
	enum spool_status st;

	do {
		st = become_ready(sp);
		tell_outcome(k, st);
		count_failure(k, st != SPOOL_OK);
		if (st != SPOOL_OK && !keeper_wait(k, retry_after(k), false))
			return NULL;
	} while (st != SPOOL_OK);
	do {
		st = keeper_round(sp, k);
		come_back(sp, k);
		if (st == SPOOL_OK || st == SPOOL_BUSY) {
			enum spool_status warned = warn_round(sp);

			st = warned == SPOOL_OK ? st : warned;
		}
		count_failure(k, st != SPOOL_OK && st != SPOOL_BUSY);
	} while (keeper_wait(k, next_round(sp, k, st), k->failures == 0) &&
		 (!k->woken || keeper_wait(k, GATHER_MS, false)));
	return NULL;
}

enum spool_status
keeper_start(struct spool *sp)
{
	struct keeper *k = mem_array(1, sizeof(*k));
	enum spool_status st;
	int rc;

	if (k == NULL)
		return SPOOL_NO_MEMORY;
	pthread_mutex_init(&k->mutex, NULL);
	pthread_cond_init(&k->changed, NULL);
	sp->keeper = k;
	st = wake_new(sp, &k->wake);
	if (st != SPOOL_OK)
		return st;
	if (sp->role == SPOOL_ADMIN) {
		st = become_ready(sp);
		tell_outcome(k, st);
		return st;
	}
	rc = thread_start(&k->thread, keeper_run, sp, "keeper");
	k->running = rc == 0;
	return rc == 0 ? SPOOL_OK : spool_failed("thread_failed", "keeper", rc);
}

void
keeper_stop(struct spool *sp)
{
	struct janitor_task task = { .expire = false };
	struct keeper *k = sp->keeper;

	if (k == NULL)
		return;
	atomic_store(&k->stop, true);
	if (k->running) {
		wake_ring(k->wake);
		pthread_join(k->thread, NULL);
	}
	/* Commands that change much and end at once would leave a long log for others to read. */
	if (spool_ready(sp) &&
	    (atomic_load(&k->owes) || index_broken(sp) || index_frames(sp) >= INDEX_FRAMES_MANY))
		janitor_round(sp, &task);
	index_watch_close(&k->watch);
	wake_free(&k->wake);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->mutex);
	mem_free(&sp->keeper);
}

void
keeper_wake(struct spool *sp)
{
	if (sp->keeper != NULL && sp->role != SPOOL_ADMIN)
		wake_ring(sp->keeper->wake);
}

void
janitor_wake(struct spool *sp)
{
	struct keeper *k = sp->keeper;

	if (k == NULL || (sp->role != SPOOL_SMTPD && wake_call(k->wake)))
		return;
	if (sp->role == SPOOL_ADMIN)
		atomic_store(&k->owes, true);
	else
		wake_ring(k->wake);
}

bool
spool_tried(struct spool *sp)
{
	struct keeper *k = sp->keeper;
	bool tried;

	pthread_mutex_lock(&k->mutex);
	tried = k->tried;
	pthread_mutex_unlock(&k->mutex);
	return tried;
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
	struct janitor_task task = { .checkpoint = true };
	enum spool_status st;
	unsigned tries = RETRY_MS / POLL_MS;

	while ((st = janitor_round(sp, &task)) == SPOOL_BUSY && tries-- > 0)
		poll(NULL, 0, POLL_MS);
	return st;
}
