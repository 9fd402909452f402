/*
 * expire - removing mail whose time is up.
 *
 * Which day an entry goes on was fixed when it came, and by its first retrieval; it is never
 * reckoned from the times of a file.  An entry is due from the beginning of its day, UTC.  The
 * keeper of each daemon expires by itself (spool_policy.expire_every_s); pop-admin does it when
 * it is asked to.
 *
 * Thread: any; blocks.
 */
#ifndef SPOOL_EXPIRE_H
#define SPOOL_EXPIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/maildrop.h"
#include "spool/spool.h"

enum expire_why {
	EXPIRE_AGE,             /* counted from its arrival */
	EXPIRE_RETRIEVED,       /* counted from its first retrieval, which came to an earlier day */
};

struct expire_item {
	const char *address;    /* the mailbox's; valid during the call, as the UID is */
	const char *uid;        /* what UIDL says */
	uint64_t octets;        /* as STAT counts */
	uint64_t received_ms;   /* since 1970 */
	enum expire_why why;
	uint64_t day;           /* on which it was due; days since 1970 */
};

struct expire_result {
	uint64_t messages, octets;
	uint64_t mailboxes;     /* in which something was due and was reached */
	uint64_t busy;          /* in which something due is left for later: maildrops are open */
};

/* Removes what is due in `mailbox`, or with 0 in all; with `dry_run` only looks, into open
 * maildrops too.  An open maildrop is not waited for.  Removals go in short transactions of
 * their own, a few hundred messages of one mailbox or of many in each; deliveries are between
 * them.
 *
 * `each` may be NULL.  It is called for each message once it is gone and that is on disk,
 * with no lock held; it returns 0, or anything else to end the walk.  Without it, and not in
 * pop-admin, nothing is synced: what a power cut brings back is due again.
 *
 * SPOOL_OK also where maildrops were busy.  SPOOL_NO_MAILBOX, SPOOL_NOT_READY, SPOOL_NO_SPACE,
 * SPOOL_IO and so on: then *result_r tells what was removed before. */
enum spool_status spool_expire(struct spool *, uint64_t mailbox, bool dry_run,
    int (*each)(void *arg, const struct expire_item *), void *arg,
    struct expire_result *result_r);

#endif
