/*
 * committer - makes deliveries permanent.  Private to common/spool.
 *
 * Two threads, started with the first delivery: the stager syncs the bodies of large
 * messages, the committer does everything else, a group at a time.
 *
 * Thread: any.
 */
#ifndef SPOOL_COMMITTER_H
#define SPOOL_COMMITTER_H

#include "spool/delivery.h"
#include "spool/spool.h"

struct committer;

enum spool_status committer_new(struct spool *, struct committer **c_r);
/* Finishes what was submitted, closes the segment, ends the threads.  NULL is harmless. */
void committer_free(struct committer **);

/* Starts the threads where they do not run yet.  SPOOL_OK, SPOOL_IO. */
enum spool_status committer_start(struct committer *);

/* Takes the delivery; its `done` runs once, whatever comes.  The threads run. */
void committer_submit(struct committer *, struct delivery *);

#endif
