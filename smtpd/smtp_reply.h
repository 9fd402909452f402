/*
 * smtp_reply - everything that smtpd says, each sentence once.
 *
 * Each reply has a code, an enhanced code of the same class (RFC 2034 4) on all but
 * 3yz, the greeting and the answer to HELO and EHLO, and says what follows it: most
 * often the next command, sometimes the end or a handshake.
 *
 * Thread: any.
 */
#ifndef SMTPD_SMTP_REPLY_H
#define SMTPD_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "net/session.h"
#include "spool/spool.h"

enum smtp_reply {
	REPLY_NONE,             /* nothing to say now */
	REPLY_DROP,             /* nothing may be said: the connection is cut */
	REPLY_GREETING,
	REPLY_GREETING_LMTP,
	REPLY_HELO,
	REPLY_OK,
	REPLY_SENDER_OK,
	REPLY_RECIPIENT_OK,
	REPLY_GO_AHEAD,
	REPLY_CHUNK_OK,
	REPLY_KEPT,
	REPLY_START_TLS,
	REPLY_HELP,
	REPLY_HELP_LMTP,
	REPLY_NOT_VERIFIED,
	REPLY_BYE,
	REPLY_IDLE,
	REPLY_SHUTDOWN,
	REPLY_TOO_MANY_ERRORS,
	REPLY_NOT_READY,
	REPLY_NO_POSTMASTER,
	REPLY_NOT_STORED,
	REPLY_NO_MEMORY,
	REPLY_MAILBOX_FULL,
	REPLY_DISK_FULL,
	REPLY_TOO_MANY_RECIPIENTS,
	REPLY_LONE_RECIPIENT,
	REPLY_NO_TLS,
	REPLY_UNKNOWN_COMMAND,
	REPLY_LINE_TOO_LONG,
	REPLY_BARE_LF,
	REPLY_NOT_ASCII,
	REPLY_ARGUMENT_MISSING,
	REPLY_ARGUMENT_UNWANTED,
	REPLY_BAD_NAME,
	REPLY_BAD_MAIL,
	REPLY_BAD_RCPT,
	REPLY_BAD_SENDER,
	REPLY_BAD_RECIPIENT,
	REPLY_BAD_PARAMETER,
	REPLY_BAD_CHUNK,
	REPLY_ENDLESS_CHUNK,
	REPLY_NOT_IMPLEMENTED,
	REPLY_SAY_EHLO,
	REPLY_SAY_LHLO,
	REPLY_SAY_MAIL,
	REPLY_SAY_RCPT,
	REPLY_SAY_DATA,
	REPLY_SAY_BDAT,
	REPLY_UNDER_TLS,
	REPLY_NO_MAILBOX,
	REPLY_DISABLED,
	REPLY_RELAY,
	REPLY_BARE_NEWLINE,
	REPLY_NEVER_FITS,
	REPLY_TOO_LARGE,
	REPLY_LARGER_THAN_SAID,
	REPLY_LOOP,
	REPLY_UNKNOWN_PARAMETER,
	REPLIES                 /* how many there are */
};

/* No reply line is longer, CRLF included (RFC 5321 4.5.3.1.5). */
#define SMTP_REPLY_MAX 512

/* The line for a connection that is one too many: there is no session to say it. */
extern const char smtp_reply_refusal[];

/* Writes the reply, with `text` in place of its own words where it is not NULL.  The
 * greeting and the last words begin with the hostname (RFC 5321 4.2.3). */
void smtp_reply_write(struct outq *, enum smtp_reply, const char *hostname, const char *text);

/* What follows the reply. */
enum session_want smtp_reply_then(enum smtp_reply);

/* The first digit of the code, 2 to 5; 0 for REPLY_NONE and REPLY_DROP. */
unsigned smtp_reply_class(enum smtp_reply);

/* The line without CRLF, with the reply's own words, for the log. */
const char *smtp_reply_format(char text[SMTP_REPLY_MAX], enum smtp_reply);

/* How a sender is told what the spool said.  SPOOL_UNKNOWN is REPLY_DROP. */
enum smtp_reply smtp_reply_for(enum spool_status);

#endif
