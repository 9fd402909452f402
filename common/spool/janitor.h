/*
 * janitor - upkeep: holes for dead records, dead segments, mail past its age, deleted mail that
 * was kept long enough, the ballast, checkpoints.  Private to common/spool.
 *
 * The keeper is a thread of each daemon: it recovers the spool, then is the janitor
 * until the spool is closed.  Of all processes one at a time does a round.
 *
 * Thread: any.
 */
#ifndef SPOOL_JANITOR_H
#define SPOOL_JANITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool.h"

/* Recovers in this thread (pop-admin) or starts the keeper's.  When this fails nothing runs. */
enum spool_status keeper_start(struct spool *);
/* Ends the thread; NULL inside the spool is harmless. */
void keeper_stop(struct spool *);

/* A message became nobody's, or a whole segment: smtpd's keeper looks before its next round is
 * due; where there is none this process's own, and in pop-admin whoever closes the spool.
 * Never waits. */
void janitor_wake(struct spool *);

/* This process's keeper looks: at its log, at its policy.  Never waits.  Nothing in pop-admin. */
void keeper_wake(struct spool *);

/* Milliseconds between two times that a process gives the room of what is dead back.  Of mail that
 * came together and is removed by one session after another, neighbours are dead by then, and
 * leave one hole, not many. */
#define JANITOR_RECLAIM_MS 1000

struct janitor_task {
	bool checkpoint;                /* also when the log is short */
	bool expire;                    /* mail past its age goes */
	bool dead_waits;                /* what is dead gives its room back in a later round */
	bool expired;                   /* afterwards: it went, whatever became of the rest */
	uint64_t busy;                  /* maildrops that were left for later */
};

/* One round, in this thread: SPOOL_BUSY when somebody else is at it. */
enum spool_status janitor_round(struct spool *, struct janitor_task *);

/* A checkpoint where the log is long and nobody else is at it, from outside of a round. */
enum spool_status janitor_checkpoint(struct spool *);

#endif
