/*
 * remove - taking entries out of mailboxes.  Private to common/spool.
 *
 * The one place where mail stops being somebody's: UPDATE, an administrator's removal, a
 * mailbox's removal, expiry.  Sums, holders, live counts and garbage change together.
 *
 * Thread: inside a write transaction of the index, with the maildrop's lock held.
 */
#ifndef SPOOL_REMOVE_H
#define SPOOL_REMOVE_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"

/* Removes the entries (mailbox, messages[i]).  One that is not there is passed over.
 * Adjusts mailbox.used and .messages, holders, segment.live, and puts what nobody holds any
 * more into garbage.  After a failure only index_write_abandon() is left. */
enum spool_status remove_entries(struct index_conn *, uint64_t mailbox, const uint64_t *messages,
    size_t n);
/* The same for all entries of a mailbox. */
enum spool_status remove_all_entries(struct index_conn *, uint64_t mailbox);

#endif
