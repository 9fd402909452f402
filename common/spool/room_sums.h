/*
 * room_sums - what is claimed in each mailbox, and whether more fits beside it.  Private to the
 * files called room*.
 *
 * Thread: any; what says so wants the mutex held.
 */
#ifndef SPOOL_ROOM_SUMS_H
#define SPOOL_ROOM_SUMS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "room_internal.h"

/* Versions are shared by mailboxes of the same remainder: one that is disturbed for nothing
 * only reads again. */
#define ROOM_SLOTS 1024u

/* A mailbox in which something is claimed. */
struct room_mailbox {
	struct map_node node;           /* in room.mailboxes */
	uint64_t sum;                   /* octets that are claimed */
	uint64_t settled;               /* of these, by the group that is being committed */
	size_t shares;

	/* What the index says when the group that settled last is committed, and what it said after
	 * the last COMMIT, while there is a claim. */
	uint64_t entered_used, entered_quota;
	uint64_t used, quota;
	uint64_t known_ms;              /* when that was; 0: never */
};

/* A claim's part in one mailbox. */
struct room_share {
	uint64_t mailbox;
	struct room_mailbox *at;        /* where it holds something; NULL: nothing */
	uint64_t octets;                /* that it holds; 0 without `at` */
	struct map_node holder;         /* in room.holders, where `held` */
	bool held;
	bool settled;
};

struct room {
	pthread_mutex_t mutex;          /* guards all of this but the marks, and the shares */
	struct map mailboxes;           /* struct room_mailbox */
	struct map holders;             /* struct room_share, by client and mailbox */
	struct list_node active;        /* claims that may lapse, in order of their last octet */
	uint64_t versions[ROOM_SLOTS];
	uint64_t raises[ROOM_SLOTS];    /* how often a sum grew */
	uint64_t entered_ms;            /* when the group that is being released was committed;
					   0: it was not */

	/* The committer's: slots of what was settled, each once. */
	bool marked[ROOM_SLOTS];
	uint16_t marks[ROOM_SLOTS];
	size_t nmarks;
};

struct room_claim {
	struct list_node active;
	struct room_share *list;        /* owned; as the envelope's recipients */
	size_t n;
	uint8_t client[8];
	bool trusted, each;
	bool any;                       /* one mailbox that never takes it is enough for
					   SPOOL_NEVER_FITS */
	bool lapsed;                    /* guarded by the mutex */
	uint64_t touched_ms;            /* written by the owner, under the mutex */

	/* The owner's alone. */
	bool grows;
	uint64_t target;                /* octets to hold in each mailbox */
};

/* --- the mutex is held --- */

/* NULL: nothing is claimed there. */
struct room_mailbox *room_find(const struct room *, uint64_t mailbox);
/* The share holds `octets` from now on; nothing where there is no memory for it. */
void room_hold(struct room *, struct room_share *, uint64_t octets);
void room_let_go(struct room *, struct room_share *);
/* What is settled in the mailbox is being committed from room_commit_begin() to
 * room_commit_end().  The committer's. */
void room_mark(struct room *, uint64_t mailbox);
/* Of an untrusted client one share in a mailbox may hold something: true when it may be this. */
bool room_become_holder(struct room *, const struct room_claim *, struct room_share *);
/* Takes what lapsed out of the sums. */
void room_drop_lapsed(struct room *, uint64_t now_ms);

/* used + more + need <= quota */
bool room_fits(uint64_t used, uint64_t more, uint64_t need, uint64_t quota);

/* What the index said of a mailbox, and when. */
struct room_reading {
	uint64_t mailbox;
	uint64_t used, quota;
	uint64_t version, raises;
	bool fresh;
	bool remembered;                /* from the last COMMIT: nobody is refused for it */
};

enum room_verdict { ROOM_FITS, ROOM_FULL, ROOM_NEVER, ROOM_UNSURE };

/* Whether somebody who holds `own` in the mailbox already may hold `need`.  ROOM_UNSURE: it has to
 * be read again. */
enum room_verdict room_judge(struct room *, struct room_reading *, uint64_t own, uint64_t need);

/* --- the mutex is free --- */

/* Decides on what was read, under the mutex.  False when something is unsure and may be asked
 * again; never with `last`. */
typedef bool room_decide_fn(struct room *, struct room_reading *, size_t n, bool last, void *arg);

/* Reads `n` mailboxes, of which nothing but the id is set, and lets `decide` decide, again where it
 * was unsure.  SPOOL_IO, SPOOL_NO_MEMORY. */
enum spool_status room_decide(struct spool *, struct room_reading *, size_t n,
    room_decide_fn *decide, void *arg);
/* What is to be told after that: `outcome`, but where it is a refusal and rests on what somebody
 * put in the place of the index's log, SPOOL_IO.  Any reading will do; it is read again. */
enum spool_status room_told(struct spool *, struct room_reading *, enum spool_status outcome);

#endif
