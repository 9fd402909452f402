/*
 * janitor - upkeep: checkpoints, holes for dead records, dead segments.  Private to
 * common/spool.
 *
 * The keeper is a thread of each daemon: it recovers the spool, then is the janitor
 * until the spool is closed.  Of all processes one at a time does a round.
 *
 * Thread: any.
 */
#ifndef SPOOL_JANITOR_H
#define SPOOL_JANITOR_H

#include "spool/spool.h"

/* Recovers in this thread (pop-admin) or starts the keeper's.  When this fails nothing runs. */
enum spool_status keeper_start(struct spool *);
/* Ends the thread; NULL inside the spool is harmless. */
void keeper_stop(struct spool *);

/* There is something to do before the next round is due.  Never waits. */
void janitor_wake(struct spool *);

/* One round, in this thread: SPOOL_BUSY when somebody else is at it.  The log is checkpointed
 * when it is long, or else when `all`. */
enum spool_status janitor_round(struct spool *, bool all);

#endif
