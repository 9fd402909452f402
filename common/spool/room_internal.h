/*
 * room_internal - claims, as deliveries and the committer see them.  Private to common/spool.
 *
 * The order of locks: the mutex of `room` is a leaf.  It is never held across SQLite, the disk
 * or another lock.
 */
#ifndef SPOOL_ROOM_INTERNAL_H
#define SPOOL_ROOM_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "spool/room.h"

struct room;
struct room_claim;

/* NULL: no memory. */
struct room *room_new(void);
/* No claim may be left.  NULL is harmless. */
void room_free(struct room **);

/* --- a delivery's; the thread that owns it --- */

/* Takes a claim on all mailboxes of the envelope.  SPOOL_OVER_QUOTA and SPOOL_NEVER_FITS when they
 * have no room: then there is no claim.  SPOOL_NO_MEMORY, SPOOL_IO.  A claim may be of nothing,
 * where the same client has one on the mailbox already. */
enum spool_status room_claim(struct spool *, const struct envelope *,
    const struct delivery_options *, struct room_claim **claim_r);

/* Octets are coming: the message has `wire` of them then, stuffed.  A claim that grows, grows; one
 * that lapsed is taken anew, or this is SPOOL_OVER_QUOTA or SPOOL_NEVER_FITS. */
enum spool_status room_touch(struct spool *, struct room_claim *, uint64_t wire);

/* The message is here, whole: its claim does not lapse any more. */
void room_whole(struct spool *, struct room_claim *);

/* Gives all of it back and frees it; NULL is harmless. */
void room_release(struct spool *, struct room_claim **);

/* --- the committer's, under the writer's lock --- */

/* What the index says of a recipient, in the transaction that the message is entered in, and what
 * the group settled before. */
struct room_sum {
	uint64_t used;
	uint64_t quota;                 /* NUM_UNLIMITED */
	uint64_t octets;                /* of the message, as this mailbox counts them */
};

/* Decides for each recipient whose outcome is SPOOL_OK whether the message fits, sets the outcomes
 * of those it does not fit (for SMTP of all of them), and the claim on the others to
 * exactly their octets.  `sums` has one for each recipient.  What it takes is in the sums
 * of the next delivery that is settled. */
void room_settle(struct spool *, struct room_claim *, struct envelope *,
    const struct room_sum *sums);

/* Around COMMIT and the release of what it made visible: what is counted in that moment may be
 * counted twice, and who reads it knows. */
void room_commit_begin(struct spool *);
/* COMMIT has happened for certain: what is released from here to the end is in the index, and what
 * was settled tells what that says of the mailboxes. */
void room_committed(struct spool *);
void room_commit_end(struct spool *);

/* --- for tests --- */

/* Octets that are claimed in a mailbox. */
uint64_t room_claimed(struct spool *, uint64_t mailbox);

#endif
