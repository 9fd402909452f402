/*
 * ballast - room that is kept for removals.  Private to common/spool.
 *
 * On a full disk nobody could remove mail: a removal is a transaction too, and grows the
 * index's log.  So SPOOL/ballast holds blocks with nothing in them, which are given up, a part
 * at a time, for a removal that needs them.  The janitor takes them again when there is room;
 * as long as they are missing they count as not free for mail (spool_may_deliver()), or the
 * next message would have them.
 *
 * Thread: any.  Blocks for a file's truncation and sync, where there is something to give up.
 */
#ifndef SPOOL_BALLAST_H
#define SPOOL_BALLAST_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool.h"

/* Octets; on a small file system a sixteenth of it. */
#define BALLAST_OCTETS (UINT64_C(16) << 20)

/* Before a transaction that removes about so many entries, or before the index is opened: where
 * little is free, gives up what the transaction needs. */
void ballast_prepare(struct spool *, uint64_t entries);

/* After such a transaction, in whose place nothing was written: true when the disk was full
 * and room was made, so that it is to be tried once more.  Says true a few times at most. */
bool ballast_helps(struct spool *, enum spool_status);

/* Octets that it lacks, and that no mail may have. */
uint64_t ballast_missing(struct spool *);

/* Takes again what it lacks, or what there is of it, and leaves something free.  The janitor's. */
void ballast_fill(struct spool *);

#endif
