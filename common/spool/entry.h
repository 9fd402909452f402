/*
 * entry - a record's rows in the index.  Private to common/spool.
 *
 * What the committer writes for a message and what recovery writes for it are the same rows,
 * made here from the same record.
 *
 * Thread: inside a write transaction of the index.
 */
#ifndef SPOOL_ENTRY_H
#define SPOOL_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"
#include "record.h"
#include "tally.h"

/* Puts the message into the mailbox of each recipient, as far as these still exist, and notes
 * how many hold it; *held_r is their number.  What they count is in `tally`; to write that, and
 * segment.live, is the caller's.  One that is named twice gets it once; SPOOL_EXISTS when one of
 * them had it already.  After a failure only index_write_abandon() is left. */
enum spool_status entry_add(struct index_conn *, struct tally *, uint64_t message,
    const struct record *, const char *reverse_path, const struct record_recipient *list, size_t n,
    size_t *held_r);

/* A record that nobody holds: its blocks are to be given back. */
enum spool_status entry_add_garbage(struct index_conn *, uint64_t message, uint64_t blocks);

#endif
