/*
 * smtp_session - a client that hands us mail, by SMTP or by LMTP.
 *
 * A session is the connection's life; a transaction is one message of it.  They are
 * two objects, so RSET, a second EHLO and a failed message free one and keep the
 * other.  The states and their edges are at the top of smtp_session.c.
 *
 * Private to smtpd/.  Thread: the session's loop.
 */
#ifndef SMTPD_SMTP_SESSION_H
#define SMTPD_SMTP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endpoint.h"
#include "conf/config.h"
#include "mail/dot.h"
#include "net/loop.h"
#include "net/session.h"
#include "smtp_reply.h"
#include "spool/delivery.h"

/* A command line, CRLF included.  RFC 5321 4.5.3.1.4 asks for 512, RFC 1870 3 for 26 more,
 * RFC 4954 4.3 for 500 more, and our paths may be twice as long as its. */
#define SMTP_LINE_MAX 2048u
/* The name given with EHLO (RFC 5321 4.5.3.1.2). */
#define SMTP_NAME_MAX 255u
/* Replies of 5yz that a session may earn; the next one is 421 and the end
 * (RFC 5321 7.8).  An accepted message wipes the slate. */
#define SMTP_ERRORS_MAX 20u
/* NOOP, RSET, VRFY, HELP and greetings between two messages; each one beyond counts
 * as an error. */
#define SMTP_JUNK_MAX 100u
/* Octets of a chunk that are read though nothing of them is kept, twice the largest
 * message that can be configured.  A longer one is the end of the session: it would be
 * read for ever. */
#define SMTP_CHUNK_MAX (UINT64_C(4) << 30)
/* Look-ups, of RCPT and of each mailbox that it led to, before the others of the loop get
 * their turns: an alias may have thousands. */
#define SMTP_LOOKS_MAX 512u
/* Received: fields that a message may come with (RFC 5321 6.3). */
#define SMTP_HOPS_MAX 100u

enum smtp_state {
	SMTP_START,
	SMTP_READY,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_CHUNK,
	SMTP_CHUNKS,
	SMTP_COMMIT,
	SMTP_CLOSING,
	SMTP_STATES             /* how many there are */
};

struct smtp_transaction {
	struct envelope *envelope;      /* owned; NULL once the delivery has it */
	struct delivery *delivery;      /* owned, in COMMIT lent to the committer; NULL before
					   the data and after a failure */
	char id[32];                    /* the session's, a hyphen, a number */
	uint64_t commands;              /* RCPT, good and bad */
	uint64_t rcpts;                 /* RCPT accepted */
	uint64_t size;                  /* as MAIL declared it; 0: it did not */
	bool lone;                      /* of unknown size, and its first recipient might not have
					   room for all that may come: it takes no further one */
	struct dot dot;
	uint64_t trace_octets;          /* of our Received: field */
	struct smtp_session *session;   /* borrowed: this is its transaction */
	struct post post;               /* from the committer to the session's loop */
	bool committed;                 /* the outcome is known; the loop's thread only */
};

struct smtp_session {
	struct session_link *link;      /* borrowed; outlives the session */
	struct spool *spool;            /* borrowed */
	struct config *config;          /* a reference, for as long as the session lives */
	enum smtp_state state;          /* changed by smtp_session_enter() alone */
	bool lmtp;
	bool esmtp;                     /* EHLO or LHLO, not HELO */
	bool skip_line;                 /* the rest of a line that was too long goes */
	bool said_auth;                 /* refused, but a password may be on its way */
	bool chunk_last;
	bool chunks_refused;            /* a chunk was, and those that were sent along with it
					   are no further mistakes */
	char peer[ENDPOINT_TEXT_MAX];   /* as text: each message tells it twice */
	char *client;                   /* owned; the name given with EHLO; NULL before */
	struct smtp_transaction *tx;    /* owned; NULL outside MAIL .. COMMIT */
	uint64_t chunk_left;            /* octets of the chunk still to come */
	enum smtp_reply failure;        /* what is said behind the data, when something is
					   wrong already and the rest is but read */
	unsigned errors, junk;          /* since the last accepted message */
	size_t looks;                   /* since the connection was last given its way */
	uint64_t commands, transactions, messages, refused;
};

extern const struct session_ops smtp_session_ops;

/* Takes a reference to the configuration of its own.  NULL: no memory. */
struct smtp_session *smtp_session_new(struct spool *, struct config *, struct session_link *,
    bool lmtp);

/* --- for the other files of smtpd/ --- */

void smtp_session_enter(struct smtp_session *, enum smtp_state);

/* Ends the transaction, if there is one, and is READY for the next (START before EHLO). */
void smtp_session_reset(struct smtp_session *);

/* Writes the reply, counts it, logs it when it refuses something; `line` is the
 * command, or NULL.  What follows it. */
enum session_want smtp_session_say(struct smtp_session *, enum smtp_reply, const void *line,
    size_t len);

#endif
