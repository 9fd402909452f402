/*
 * delivery - one message on its way from a session into the spool.
 *
 * A delivery belongs to the session that began it until delivery_commit(); from then on
 * to the committer, until `done` has run; then to whoever `done` told.  Before it says
 * SPOOL_OK nothing has been promised to the sender; after any other outcome but
 * SPOOL_UNKNOWN no maildrop ever shows the message, a restart included.
 *
 * Small messages are held in memory, larger ones in an unnamed file in the segments'
 * folder.  When all deliveries together hold DELIVERY_MEMORY_TOTAL, small ones go to files
 * too: senders that dawdle can neither exhaust memory nor hold others up.
 *
 * Thread: the loop that owns the session, but for `done`.
 */
#ifndef SPOOL_DELIVERY_H
#define SPOOL_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/account.h"
#include "spool/spool.h"

#define DELIVERY_MEMORY (256u * 1024)
#define DELIVERY_MEMORY_TOTAL (64u * 1024 * 1024)

/*
 * The envelope (RFC 5321 2.3.1): who sent it, and the mailboxes that its accepted
 * RCPT commands led to, each mailbox once.
 */
struct recipient {
	uint64_t mailbox;
	char *address;                  /* owned: the mailbox's own */
	char *written;                  /* owned: as the first RCPT that led here wrote it */
	const char *uid;                /* that it had elsewhere, of an import's; NULL: the id */
	enum spool_status outcome;      /* once committed */
	bool kept;                      /* the committer's, while it settles */
};

struct envelope {
	char *reverse_path;             /* owned; "" is the null reverse-path */
	struct recipient *recipients;   /* owned */
	size_t n, cap;
	uint32_t *order;                /* owned: the recipients in order of mailbox */
	size_t order_cap;
	size_t rcpts;                   /* RCPT commands accepted */
	uint32_t *leads;                /* owned: for each RCPT the recipients it led to, one
					   after the other */
	size_t nleads, leads_cap;
	uint32_t *lead_ends;            /* owned: where in `leads` each RCPT's end */
	size_t lead_ends_cap;
};

/* NULL: no memory.  `reverse_path` is copied. */
struct envelope *envelope_new(const char *reverse_path);
void envelope_free(struct envelope **);
/* One accepted RCPT.  SPOOL_TOO_MANY beyond ACCOUNT_TARGETS_MAX mailboxes, or when all RCPT
 * together led to ten times as many; SPOOL_NO_MEMORY; then nothing changed. */
enum spool_status envelope_add(struct envelope *, const char *written,
    const struct account_targets *);
/* Some RCPT led to this mailbox already. */
bool envelope_has(const struct envelope *, uint64_t mailbox);
/* After the commit: SPOOL_OK when the message is in the mailboxes that RCPT number `rcpt` led to,
 * as far as these still take mail, and in one of them at least. */
enum spool_status envelope_outcome(const struct envelope *, size_t rcpt);

struct delivery;

/* What a delivery asks for in its mailboxes until it is committed (spool/room.h). */
struct delivery_options {
	uint64_t need;                  /* octets in each of them, trace fields included; 0: not
					   known, it grows with what comes */
	bool each;                      /* every RCPT has an outcome of its own (LMTP) */
	bool trusted;                   /* not held to one claim in a mailbox at a time */
	uint8_t client[16];             /* whose it is: his address, as endpoint_octets() has it */
};

/* Begins a message, and takes the room that it needs.  *env passes to the delivery and becomes
 * NULL on SPOOL_OK.  Otherwise SPOOL_OVER_QUOTA, SPOOL_NEVER_FITS (with `each`, when no mailbox
 * has room), SPOOL_NO_SPACE, SPOOL_NOT_READY, SPOOL_NO_MEMORY, SPOOL_IO.  Not in a spool opened as
 * SPOOL_POP3D. */
enum spool_status delivery_begin(struct spool *, struct envelope **env,
    const struct delivery_options *, struct delivery **d_r);

/* Adds `len` octets in wire form, without the final dot; the first ones are the Received:
 * field.  Copies them.  SPOOL_OVER_QUOTA and SPOOL_NEVER_FITS when nothing came for so long that
 * the room was given to others; SPOOL_NO_SPACE, SPOOL_NO_MEMORY, SPOOL_IO; then only
 * delivery_abandon() is left. */
enum spool_status delivery_write(struct delivery *, const void *wire, size_t len);

/* Received: fields so far, ours included (RFC 5321 6.3). */
unsigned delivery_hops(const struct delivery *);

/* Gives the message to the committer.  What was written must end in CRLF; otherwise the
 * outcome is SPOOL_DAMAGED.  `octets` is its size unstuffed, without what stands before
 * Received:.  `done` runs exactly once, on the committer's thread, also at shutdown, and
 * must do no more than hand the delivery over to its loop. */
typedef void delivery_done_fn(void *arg, struct delivery *);
void delivery_commit(struct delivery *, uint64_t octets, delivery_done_fn *done, void *arg);

/* After `done`: SPOOL_OK when the message is in at least one mailbox, else why it is in none.
 * Without `each` no mailbox has it when one had no room: SPOOL_OVER_QUOTA, or SPOOL_NEVER_FITS
 * where no other time would do. */
enum spool_status delivery_outcome(const struct delivery *);
const struct envelope *delivery_envelope(const struct delivery *);
/* After SPOOL_OK: the message's id, as UIDL shows it (for the log). */
uint64_t delivery_message(const struct delivery *);

/* Ends a delivery that is not with the committer; NULL is harmless. */
void delivery_abandon(struct delivery **);

#endif
