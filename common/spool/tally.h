/*
 * tally - the mailboxes that a write transaction enters messages into.  Private to common/spool.
 *
 * The row of each is read once and written once, however many messages are for it.  So until
 * tally_write(), which comes before COMMIT, `used` and `messages` in the index are those of before,
 * and what counts is here.  The committer settles a message (tally_settle()) before it enters it
 * (tally_add()); recovery enters what was settled long ago.
 *
 * Thread: inside a write transaction of the index.
 */
#ifndef SPOOL_TALLY_H
#define SPOOL_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "index.h"

struct tally_mailbox {
	struct map_node node;           /* in tally.mailboxes */
	struct tally_mailbox *next;     /* in tally.first */
	uint64_t id;
	bool enabled;
	uint64_t quota;                 /* octets; NUM_UNLIMITED */
	uint64_t used;                  /* octets, with what was settled */
	uint64_t expire_s, expire_retrieved_s;  /* NUM_UNLIMITED: never */

	/* Entered, and not written yet. */
	uint64_t octets, messages;
	uint64_t last_s;                /* received, the latest, in seconds since 1970 */
};

struct tally {
	struct map mailboxes;           /* by id */
	struct tally_mailbox *first;    /* owned: all of them.  The map never shrinks again, and
					   would be long to walk */
};

void tally_init(struct tally *);
/* What was not written is forgotten. */
void tally_release(struct tally *);
/* The same, for the next transaction. */
void tally_clear(struct tally *);

/* *m_r is NULL where there is no such mailbox; else it is the tally's, until that is cleared.
 * SPOOL_NO_MEMORY, and what the index says. */
enum spool_status tally_find(
    struct tally *, struct index_conn *, uint64_t mailbox, struct tally_mailbox **m_r);
/* So many octets are to be entered into a mailbox that was found: they are used from now on. */
void tally_settle(struct tally *, uint64_t mailbox, uint64_t octets);
/* One message was entered; `octets` as this mailbox counts them. */
void tally_add(struct tally_mailbox *, uint64_t octets, uint64_t received_ms);
/* Writes what was entered.  After a failure only index_write_abandon() is left. */
enum spool_status tally_write(struct tally *, struct index_conn *);

#endif
