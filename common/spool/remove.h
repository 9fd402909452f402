/*
 * remove - taking entries out of mailboxes.  Private to common/spool.
 *
 * The one place where mail stops being somebody's: UPDATE, an administrator's removal, a
 * mailbox's removal, expiry.  Sums, holders, live counts, garbage, what is kept and the
 * history change together.
 *
 * Where the spool keeps deleted mail (spool_policy.keep_deleted_s) an entry is taken out in two
 * steps: first it only leaves its mailbox, as POP3 and the quota see it, and an administrator
 * can bring it back; remove_kept() ends it.
 *
 * Thread: inside a write transaction of the index; with the maildrop's lock held but for
 * remove_kept().  After a failure only index_write_abandon() is left.
 */
#ifndef SPOOL_REMOVE_H
#define SPOOL_REMOVE_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"

/* As removal.cause has it. */
enum remove_cause { REMOVE_POP3, REMOVE_EXPIRE, REMOVE_ADMIN };

/* The word for the log and for pop-admin: "pop3", "expire", "admin"; "?" for any other. */
const char *remove_cause_text(unsigned cause);

/* Of each mailbox so many removals are remembered; of more in one call those with the highest
 * ids. */
#define REMOVE_HISTORY 256

/* Removes the entries (mailbox, messages[i]) that are in the mailbox.  One that is not there is
 * passed over.  Here and below `messages` is put in order of the ids. */
enum spool_status remove_entries(struct spool *, struct index_conn *, uint64_t mailbox,
    uint64_t *messages, size_t n, enum remove_cause);

/* Ends entries that were removed and kept; others are passed over. */
enum spool_status remove_kept(struct index_conn *, uint64_t mailbox, uint64_t *messages,
    size_t n);

/* Ends entries that are set apart, and remembers them as removed; others are passed over.  They
 * left the sums when they were set apart. */
enum spool_status remove_apart(struct index_conn *, uint64_t mailbox, uint64_t *messages,
    size_t n, enum remove_cause);

/* Ends all entries of a mailbox, in it and kept, and forgets its history. */
enum spool_status remove_all_entries(struct index_conn *, uint64_t mailbox);

#endif
