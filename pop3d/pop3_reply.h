/*
 * pop3_reply - everything that the server says in one line of fixed text, once.
 *
 * A handler returns one of these: a reply, or what happens next where it has replied
 * itself or cannot reply yet.  The loop in pop3_session.c acts on it.
 *
 * RFC 1939 3: a reply is at most 512 octets with its CRLF.  RFC 2449 6.4: a text that
 * begins with `[` is a response code, so no other text does.
 *
 * Pure.  Thread: any.
 */
#ifndef POP3D_POP3_REPLY_H
#define POP3D_POP3_REPLY_H

#include "net/session.h"
#include "spool/spool.h"

/* No first line of a response is longer, CRLF included (RFC 1939 3). */
#define POP3_REPLY_MAX 512u

enum pop3_reply {
	/* No reply, but: */
	POP3_REPLIED,           /* the handler has written it; the next command */
	POP3_WAIT,              /* for the job or the timer that was started; then `go_on` */
	POP3_DRAIN,             /* until the queue has room; then `go_on` */
	POP3_ACKED,             /* until the peer's TCP has acknowledged all; then `go_on` */
	POP3_DROP,              /* the connection is cut */

	POP3_OK_USER,
	POP3_OK_STLS,
	POP3_OK_NOOP,
	POP3_OK_MARKED,
	POP3_OK_RESET,
	POP3_OK_GOODBYE,
	POP3_OK_REMOVED,

	POP3_ERR_UNKNOWN,
	POP3_ERR_LOGIN_FIRST,
	POP3_ERR_LOGGED_IN,
	POP3_ERR_ARGUMENT,
	POP3_ERR_LINE,
	POP3_ERR_NUL,
	POP3_ERR_USER_FIRST,
	POP3_ERR_PLAINTEXT,
	POP3_ERR_NO_APOP,
	POP3_ERR_NO_TLS,
	POP3_ERR_TLS_ACTIVE,
	POP3_ERR_MECHANISM,
	POP3_ERR_CANCELLED,
	POP3_ERR_SASL,
	POP3_ERR_NO_MESSAGE,
	POP3_ERR_MARKED,

	POP3_ERR_AUTH,
	POP3_ERR_AUTH_OFTEN,
	POP3_ERR_IN_USE,
	POP3_ERR_LOGIN_DELAY,
	POP3_ERR_TEMP,
	POP3_ERR_PERM,
	POP3_ERR_NOT_REMOVED,
	POP3_ERR_TOO_MANY,      /* instead of the greeting */

	POP3_REPLIES            /* how many there are */
};

/* The line with its CRLF; NULL for what is no reply. */
const char *pop3_reply_text(enum pop3_reply);
/* What the session wants when the line is written; SESSION_READ is the next command. */
enum session_want pop3_reply_then(enum pop3_reply);

/* What a failure of the spool is to a client.  Not for SPOOL_OK. */
enum pop3_reply pop3_reply_to(enum spool_status);

#endif
