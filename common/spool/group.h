/*
 * group - deliveries that are committed together.  Private to common/spool.
 *
 * Thread: the committer's.
 */
#ifndef SPOOL_GROUP_H
#define SPOOL_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "delivery_internal.h"
#include "segment.h"
#include "tally.h"

#define GROUP_MESSAGES 1000
#define GROUP_OCTETS (4u * 1024 * 1024)
/* Messages that have a file of their own: each costs two syncs under the writer's lock. */
#define GROUP_FILES 16

/* Segments whose rows are to say that they are closed, at the next chance. */
struct closing {
	uint64_t *list;                 /* owned */
	size_t n, cap;
};

struct group {
	struct spool *spool;            /* borrowed */
	struct segment *segment;        /* the committer's, open when `small` is not 0 */
	struct closing *closing;        /* the committer's */
	struct delivery *list[GROUP_MESSAGES];  /* borrowed; outcome SPOOL_OK */
	size_t n;
	size_t small;                   /* of these, those for the common segment */
	uint64_t octets;                /* of these, with their headers, at most */
	size_t files;                   /* the others */
	struct tally tally;             /* empty between groups */
};

/* Makes the group permanent and sets its outcomes, all of them in one way but for recipients
 * that are gone or have no room.  Afterwards the segment may be closed. */
void group_commit(struct group *);

/* Closes the segment; its row follows.  A number that there is no memory for is recovery's. */
void closing_add(struct closing *, struct segment *);
/* Brings the rows up to date, in the transaction on `c`.  The list is emptied by the caller, once
 * that is committed. */
enum spool_status closing_write(const struct closing *, struct index_conn *c);

#endif
