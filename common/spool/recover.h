/*
 * recover - making the index know what lies in the segments.  Private to common/spool.
 *
 * Thread: the keeper's, or in pop-admin the one that opens the spool or imports; with the
 * recovery byte held.
 */
#ifndef SPOOL_RECOVER_H
#define SPOOL_RECOVER_H

#include "segment.h"
#include "spool/spool.h"

/* Every segment beyond whose mark records may lie and whose writer is not alive: indexed and
 * closed.  Removes what deliveries left behind.  One that cannot be read is left, and noted in
 * spool.unrecovered. */
enum spool_status recover_spool(struct spool *);

/* Reads the record that begins at `block`, header, envelope and wire form, and checks all of
 * it.  SPOOL_NO_MESSAGE when there is none; else SPOOL_OK, SPOOL_IO, SPOOL_NO_MEMORY.
 * *e_r is released by the caller after SPOOL_OK. */
enum spool_status recover_read(int fd, const struct segment_id *, uint64_t block,
    struct record *r_r, struct record_envelope *e_r);

#endif
