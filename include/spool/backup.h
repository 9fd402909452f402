/*
 * backup - a copy of the spool that is taken while the daemons run, and bringing it back.
 *
 * A backup is a folder.  Another one into the same folder copies only what came since, and takes
 * out what went; until it is complete the earlier one stays whole.  What is said to be copied was
 * read back from there.
 *
 * Failures: as everywhere; where a function takes `err` it has a sentence afterwards.
 *
 * Thread: any, one that may block for long.
 */
#ifndef SPOOL_BACKUP_H
#define SPOOL_BACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/address.h"
#include "spool/check.h"
#include "spool/spool.h"

struct backup_result {
	uint64_t messages;              /* in the backup */
	uint64_t octets;                /* that they take */
	uint64_t copied;                /* of these, octets that were written now */
	uint64_t damaged;               /* messages that cannot be read; each was a finding */
	uint64_t known;                 /* of these, those that could not when it was taken */
	uint64_t time_ms;               /* whose state it is: nothing later is in it */
	uint64_t skipped;               /* backup_bring(): the mailbox has them */
};

/* A message that is damaged.  Texts are valid during the call, which must wait for nobody. */
typedef void backup_finding_fn(void *arg, const struct check_finding *);

/* Who watches. */
struct backup_watch {
	backup_finding_fn *each;        /* NULL: nobody wants to know */
	/* Now and then: how much is done and how much there is in all, octets of records; of
	 * backup_bring() messages.  NULL: nobody wants to know. */
	void (*progress)(void *arg, uint64_t done, uint64_t all);
	void *each_arg, *progress_arg;
};

/* Backs up into `dir`, which is made (mode 0700) where it is missing.  Meanwhile no room is given
 * back in the spool; all else goes on.  SPOOL_OK also with damaged messages, which are copied as
 * they are.  SPOOL_EXISTS when `dir` holds other things, or another spool's backup; SPOOL_BUSY when
 * another backup runs, or is at that folder; SPOOL_NO_SPACE, SPOOL_IO, SPOOL_DAMAGED, ... */
enum spool_status backup_run(struct spool *, const char *dir, const struct backup_watch *,
    struct backup_result *r, struct strbuf *err);

/* Reads a whole backup.  SPOOL_OK also with damaged messages; SPOOL_NO_SPOOL when there is no
 * complete one; SPOOL_DAMAGED when it is the databases or the manifest. */
enum spool_status backup_verify(const char *dir, const struct backup_watch *,
    struct backup_result *r, struct strbuf *err);

/* Makes the spool `spool_dir` out of a backup that was just verified: damaged messages are copied
 * as they are.  UIDs are what they were, and none that was given since is given again.
 * SPOOL_EXISTS when there is a spool, or something else; SPOOL_BUSY when somebody has it open;
 * SPOOL_NOT_READY when the clock stands before the time of the backup.  One that does not come to
 * its end leaves no spool, and the next one goes on with it. */
enum spool_status backup_restore(const char *dir, const char *spool_dir,
    const struct backup_watch *, struct backup_result *r, struct strbuf *err);

/* Delivers messages out of a backup to the mailbox of the same address, under the UID and with the
 * time of receipt that they had; they are new in all else.  Those that are named, or without any
 * (n == 0) those that the mailbox does not have.  SPOOL_NO_MAILBOX, SPOOL_NO_MESSAGE and
 * SPOOL_EXISTS (the mailbox has one that is named, or keeps it deleted) say so before the first is
 * delivered, SPOOL_BUSY while a session has the maildrop; after SPOOL_OVER_QUOTA and others
 * r->messages says how many were.  SPOOL_OK also when damaged ones were left out. */
enum spool_status backup_bring(struct spool *, const char *dir, const struct address *,
    const char *const *uids, size_t n, const struct backup_watch *, struct backup_result *r,
    struct strbuf *err);

#endif
