/*
 * history - which mail went, and why; what can be brought back.
 *
 * Of each mailbox the last removals are remembered, a few hundred.  Where the spool keeps deleted
 * mail (spool_policy.keep_deleted_s) it lies there for a while yet, where neither POP3 nor quotas
 * see it.
 *
 * Thread: any; every function blocks.
 */
#ifndef SPOOL_HISTORY_H
#define SPOOL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/maildrop.h"

struct history_removal {
	uint64_t removed_s;             /* Unix time */
	const char *cause;              /* "pop3", "expire", "admin" */
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t octets;
	uint64_t received_ms;
	const char *from;               /* reverse-path; valid during the call */
};

/* The newest first; none when there is no such mailbox. */
enum spool_status history_list(struct spool *, uint64_t mailbox,
    int (*each)(void *arg, const struct history_removal *), void *arg);

struct history_kept {
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t octets;
	uint64_t received_ms;
	uint64_t removed_s;             /* Unix time */
	const char *from;               /* reverse-path; valid during the call */
	const char *delivered_to;
};

/* What can be brought back, in the order of receipt. */
enum spool_status history_kept(struct spool *, uint64_t mailbox,
    int (*each)(void *arg, const struct history_kept *), void *arg);

struct history_restored {
	uint64_t messages, octets;
	size_t bad;                     /* SPOOL_NO_MESSAGE: the place of the UID; else `n` */
};

/* Brings deleted mail back, all that is named or none; with n == 0 all that is kept.  It counts in
 * the quota again, is as if it had never been retrieved, and goes by the mailbox's ages from now
 * on, yet on no earlier day than before.  It keeps its UID; with `new_uid` it gets one that the
 * mailbox never had, for clients that remember having seen the old one.  What history_list() tells
 * stays.  On disk when this returns SPOOL_OK.
 *
 * SPOOL_NO_MESSAGE for a UID that is not kept; SPOOL_OVER_QUOTA; SPOOL_EXISTS when other mail has
 * the UID by now; SPOOL_BUSY while a session, expiry or another administrator has the maildrop;
 * SPOOL_NO_MAILBOX. */
enum spool_status history_restore(struct spool *, uint64_t mailbox, const char *const *uids,
    size_t n, bool new_uid, struct history_restored *r);

#endif
