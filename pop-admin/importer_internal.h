/*
 * importer_internal - what tells messages apart, and what is on its way.  Private to importer.c,
 * importer_known.c and importer_pipe.c.
 */
#ifndef POP_ADMIN_IMPORTER_INTERNAL_H
#define POP_ADMIN_IMPORTER_INTERNAL_H

#include "base/map.h"
#include "base/sha256.h"
#include "importer.h"
#include "spool/delivery.h"

/* --- known: UIDs that are taken, and octets that came before ---------------- */

struct known {
	struct map uids, digests;
};

enum known_verdict {
	KNOWN_NEW,
	KNOWN_THERE,                    /* the mailbox has, or had, this message */
	KNOWN_OTHER,                    /* other mail has the UID */
	KNOWN_NO_MEMORY,
};

/* All UIDs that the mailbox has, keeps, or remembers to have removed. */
enum spool_status known_init(struct known *, struct spool *, uint64_t mailbox,
    const struct maildrop *md);
void known_release(struct known *);

/* How many messages of this digest came before in this reading; -1: no memory.  Counts it. */
int64_t known_count(struct known *, const uint8_t digest[SHA256_LEN], bool bring);
/* Of the message with this UID, of so many octets in the mailbox; notes that it came.  With
 * `hashed` the UID tells all.  *place_r is 1 + the place of what has it in the maildrop, or 0. */
enum known_verdict known_judge(struct known *, const char *uid, bool hashed, uint64_t octets,
    bool bring, size_t *place_r);

/* --- pipe: deliveries that the committer has -------------------------------- */

struct pipe;

struct pipe *pipe_new(void);    /* NULL: no memory */
/* Nothing may be on its way.  NULL is harmless. */
void pipe_free(struct pipe **);
/* Gives the message to the committer, and before that waits while too much is on its way.  `octets`
 * as delivery_commit(), `counted` in the mailbox. */
void pipe_put(struct pipe *, struct delivery *, uint64_t octets, uint64_t counted);
/* Waits for all of it. */
void pipe_drain(struct pipe *);
/* The first outcome that was not SPOOL_OK; else that. */
enum spool_status pipe_status(struct pipe *);
/* What has come in. */
uint64_t pipe_messages(struct pipe *);
uint64_t pipe_octets(struct pipe *);

#endif
