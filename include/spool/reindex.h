/*
 * reindex - makes the index anew out of the segments, for one that is lost, damaged or another
 * day's.
 *
 * What the old index can still be asked for is kept: domains, mailboxes, aliases, and what was
 * said of a message beside its record (a UID given at a restore, retrievals, a later day of
 * expiry).  Without it, and for mailboxes that it does not know yet, mailboxes come back out of the
 * records under the address that they had last, disabled until they get a password and without an
 * age: a day that its record has may have been put off since.  Where only the mail cannot be asked
 * for, none goes before the age that its mailbox has.
 *
 * Mail that was deleted and whose blocks were not given back yet comes back too: nothing in a
 * segment tells it from mail that is there.
 *
 * The new index is made beside the old one and takes its place at the end, by one rename; until
 * then daemons that start put everybody off.  The old one stays, as
 * index/index.db.before-SECONDS.
 *
 * Thread: any, one that may block for long; the spool must not be open, in any process.
 */
#ifndef SPOOL_REINDEX_H
#define SPOOL_REINDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool.h"

struct reindex_result {
	bool accounts;                  /* the old index could be asked for them */
	bool aliases;                   /* for these too */
	bool identity;                  /* and for what its backups know the spool by */
	uint64_t unasked;               /* mailboxes of whose mail it could not be asked what was
					   said beside the records; UINT64_MAX: of none */
	uint64_t mailboxes;             /* that there are now */
	uint64_t recovered;             /* of these, made out of the records */
	uint64_t segments;              /* that were read */
	uint64_t headers;               /* of these, whose header was damaged and is mended */
	uint64_t unreadable;            /* whose header is damaged for good: not believed */
	uint64_t messages, entries;     /* in the index */
	uint64_t removed;               /* messages of removed mailboxes alone */
	uint64_t unread;                /* blocks neither empty nor of a whole record */
};

/* `progress` may be NULL: octets of segments read so far, and of all.  SPOOL_BUSY while some
 * process has the spool open; SPOOL_NO_SPOOL, SPOOL_IO, SPOOL_NO_SPACE, SPOOL_NO_MEMORY.
 * After a failure the old index is as it was.  In err a sentence. */
enum spool_status reindex_spool(const char *dir,
    void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct reindex_result *r,
    struct strbuf *err);

#endif
