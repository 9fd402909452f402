/*
 * smtp_reply - the table of replies, and the one from the spool's words to SMTP's.
 *
 * A failure that trying again may cure is 4yz, whatever went wrong inside
 * (RFC 5321 3.3: a store that cannot be read never says 550).
 */
#include "smtp_reply.h"

#include <assert.h>
#include <stdio.h>

#include "base/num.h"

enum flags {
	NAMED = 1, /* the hostname goes before the words (RFC 5321 4.2.3) */
	END = 2,   /* closes the connection */
	TLS = 4,   /* a handshake follows */
	CUT = 8,   /* is not said: the connection is dropped */
};

struct reply {
	enum smtp_reply id;   /* the row's own place */
	unsigned code;        /* 0: nothing is said */
	const char *enhanced; /* NULL: none */
	const char *text;
	unsigned flags;
};

static const struct reply replies[] = {
	{ REPLY_NONE, 0, NULL, "", 0 },
	{ REPLY_DROP, 0, NULL, "", CUT },

	{ REPLY_GREETING, 220, NULL, "ESMTP Restante", NAMED },
	{ REPLY_GREETING_LMTP, 220, NULL, "LMTP Restante", NAMED },
	{ REPLY_HELO, 250, NULL, "at your service", NAMED },
	{ REPLY_OK, 250, "2.0.0", "ok", 0 },
	{ REPLY_SENDER_OK, 250, "2.1.0", "sender ok", 0 },
	{ REPLY_RECIPIENT_OK, 250, "2.1.5", "recipient ok", 0 },
	{ REPLY_GO_AHEAD, 354, NULL, "go ahead, a line with nothing but a dot ends the message",
	    0 },
	{ REPLY_CHUNK_OK, 250, "2.0.0", "chunk taken", 0 },
	{ REPLY_KEPT, 250, "2.0.0", "kept", 0 },
	{ REPLY_START_TLS, 220, "2.0.0", "begin TLS now", TLS },
	{ REPLY_HELP, 214, "2.0.0",
	    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT; see RFC 5321", 0 },
	{ REPLY_HELP_LMTP, 214, "2.0.0",
	    "LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT; see RFC 2033", 0 },
	/* RFC 5321 3.5.3: not looked up, and so not confirmed. */
	{ REPLY_NOT_VERIFIED, 252, "2.0.0", "not verified, but mail to it will be tried", 0 },
	{ REPLY_BYE, 221, "2.0.0", "bye", NAMED | END },

	{ REPLY_IDLE, 421, "4.4.2", "nothing came for too long, closing", NAMED | END },
	{ REPLY_SHUTDOWN, 421, "4.3.2", "shutting down, try again later", NAMED | END },
	{ REPLY_TOO_MANY_ERRORS, 421, "4.7.0", "too many errors, closing", NAMED | END },
	{ REPLY_NOT_READY, 451, "4.3.0", "not ready for mail yet, try again later", 0 },
	{ REPLY_NO_POSTMASTER, 451, "4.3.0", "nobody is postmaster here yet, try again later", 0 },
	{ REPLY_NOT_STORED, 451, "4.3.0", "could not be stored, try again later", 0 },
	{ REPLY_NO_MEMORY, 451, "4.3.0", "out of memory, try again later", 0 },
	{ REPLY_MAILBOX_FULL, 452, "4.2.2", "mailbox is full", 0 },
	{ REPLY_DISK_FULL, 452, "4.3.1", "disk is nearly full, try again later", 0 },
	{ REPLY_TOO_MANY_RECIPIENTS, 452, "4.5.3", "too many recipients, send the rest apart", 0 },
	{ REPLY_LONE_RECIPIENT, 452, "4.5.3",
	    "of unknown size, this message goes to one recipient; send it to this one apart, now",
	    0 },
	{ REPLY_NO_TLS, 454, "4.7.0", "no TLS here", 0 },

	{ REPLY_UNKNOWN_COMMAND, 500, "5.5.2", "unknown command", 0 },
	{ REPLY_LINE_TOO_LONG, 500, "5.5.2", "line too long", 0 },
	{ REPLY_BARE_LF, 500, "5.5.2", "a line ends in CR LF, not in LF alone", 0 },
	{ REPLY_NOT_ASCII, 501, "5.5.2", "commands are printable ASCII", 0 },
	{ REPLY_ARGUMENT_MISSING, 501, "5.5.4", "an argument is missing", 0 },
	{ REPLY_ARGUMENT_UNWANTED, 501, "5.5.4", "this command takes no argument", 0 },
	{ REPLY_BAD_NAME, 501, "5.5.4", "that name is too long", 0 },
	{ REPLY_BAD_MAIL, 501, "5.5.4", "say MAIL FROM:<address>", 0 },
	{ REPLY_BAD_RCPT, 501, "5.5.4", "say RCPT TO:<address>", 0 },
	{ REPLY_BAD_SENDER, 501, "5.1.7", "not an address: <local-part@domain> or <>", 0 },
	{ REPLY_BAD_RECIPIENT, 501, "5.1.3", "not an address: <local-part@domain>", 0 },
	{ REPLY_BAD_PARAMETER, 501, "5.5.4", "malformed parameter", 0 },
	{ REPLY_BAD_CHUNK, 501, "5.5.4", "say BDAT octets or BDAT octets LAST", 0 },
	/* Where it ends and commands begin is too far away, or cannot even be counted. */
	{ REPLY_ENDLESS_CHUNK, 501, "5.5.4", "no chunk is as long as that, closing", END },
	{ REPLY_NOT_IMPLEMENTED, 502, "5.5.1", "not offered here", 0 },
	{ REPLY_SAY_EHLO, 503, "5.5.1", "say EHLO first", 0 },
	{ REPLY_SAY_LHLO, 503, "5.5.1", "say LHLO first", 0 },
	{ REPLY_SAY_MAIL, 503, "5.5.1", "say MAIL first", 0 },
	{ REPLY_SAY_RCPT, 503, "5.5.1", "a sender is known, but no recipient: say RCPT", 0 },
	{ REPLY_SAY_DATA, 503, "5.5.1", "a transaction is open: say DATA, BDAT or RSET", 0 },
	{ REPLY_SAY_BDAT, 503, "5.5.1", "a message has begun: say BDAT or RSET", 0 },
	{ REPLY_UNDER_TLS, 503, "5.5.1", "TLS is in use already", 0 },
	{ REPLY_NO_MAILBOX, 550, "5.1.1", "no such mailbox here", 0 },
	{ REPLY_DISABLED, 550, "5.2.1", "mailbox is disabled", 0 },
	{ REPLY_RELAY, 550, "5.7.1", "no mail is relayed, and that domain is not ours", 0 },
	{ REPLY_BARE_NEWLINE, 550, "5.5.2", "the message has lines that end in LF alone", 0 },
	{ REPLY_NEVER_FITS, 552, "5.2.3", "message is larger than the mailbox will ever take", 0 },
	{ REPLY_TOO_LARGE, 552, "5.3.4", "message is larger than we take", 0 },
	{ REPLY_LARGER_THAN_SAID, 552, "5.3.4", "message is larger than its SIZE, and has no room",
	    0 },
	{ REPLY_LOOP, 554, "5.4.6", "too many Received fields: the message goes in circles", 0 },
	{ REPLY_UNKNOWN_PARAMETER, 555, "5.5.4", "unknown parameter", 0 },
};

_Static_assert(sizeof(replies) / sizeof(replies[0]) == REPLIES, "a row for each reply");

const char smtp_reply_refusal[] = "421 4.3.2 too many connections, try again later\r\n";

static const struct reply *
row(enum smtp_reply id)
{
	assert(id < REPLIES && replies[id].id == id);
	return &replies[id];
}

static void
add_word(struct outq *out, const char *word)
{
	if (word == NULL)
		return;
	outq_add(out, " ", 1);
	outq_addstr(out, word);
}

void
smtp_reply_write(struct outq *out, enum smtp_reply id, const char *hostname, const char *text)
{
	const struct reply *r = row(id);
	char code[NUM_TEXT_MAX];

	if (r->code == 0)
		return;
	outq_add(out, code, num_format_u64(code, r->code));
	add_word(out, r->enhanced);
	if (r->flags & NAMED)
		add_word(out, hostname);
	add_word(out, text != NULL ? text : r->text);
	outq_addstr(out, "\r\n");
}

enum session_want
smtp_reply_then(enum smtp_reply id)
{
	unsigned flags = row(id)->flags;

	if (flags & CUT)
		return SESSION_DROP;
	if (flags & TLS)
		return SESSION_START_TLS;
	return flags & END ? SESSION_CLOSE : SESSION_READ;
}

unsigned
smtp_reply_class(enum smtp_reply id)
{
	return row(id)->code / 100;
}

const char *
smtp_reply_format(char text[SMTP_REPLY_MAX], enum smtp_reply id)
{
	const struct reply *r = row(id);

	snprintf(text, SMTP_REPLY_MAX, "%u %s%s%s", r->code, r->enhanced != NULL ? r->enhanced : "",
	    r->enhanced != NULL ? " " : "", r->text);
	return text;
}

enum smtp_reply
smtp_reply_for(enum spool_status st)
{
	switch (st) {
	case SPOOL_OK:
		return REPLY_OK;
	case SPOOL_NOT_READY:
		return REPLY_NOT_READY;
	case SPOOL_NO_DOMAIN:
	case SPOOL_NOT_LOCAL:
		return REPLY_RELAY;
	case SPOOL_NO_MAILBOX:
	case SPOOL_NO_ALIAS:
		return REPLY_NO_MAILBOX;
	case SPOOL_DISABLED:
		return REPLY_DISABLED;
	case SPOOL_NO_POSTMASTER:
		return REPLY_NO_POSTMASTER;
	case SPOOL_BAD_ADDRESS:
		return REPLY_BAD_RECIPIENT;
	case SPOOL_TOO_MANY:
		return REPLY_TOO_MANY_RECIPIENTS;
	case SPOOL_OVER_QUOTA:
		return REPLY_MAILBOX_FULL;
	case SPOOL_NEVER_FITS:
		return REPLY_NEVER_FITS;
	case SPOOL_NO_SPACE:
		return REPLY_DISK_FULL;
	case SPOOL_NO_MEMORY:
		return REPLY_NO_MEMORY;
	case SPOOL_UNKNOWN:
		return REPLY_DROP;
	/* What is left is our trouble or cannot be the answer to anything asked here. */
	case SPOOL_BUSY:
	case SPOOL_WOULD_BLOCK:
	case SPOOL_NO_MESSAGE:
	case SPOOL_EXISTS:
	case SPOOL_IN_USE:
	case SPOOL_DENIED:
	case SPOOL_BAD_PASSWORD:
	case SPOOL_IO:
	case SPOOL_DAMAGED:
	case SPOOL_NO_SPOOL:
	case SPOOL_VERSION:
	case SPOOL_NETWORK_FS:
	case SPOOL_STATUSES:
		break;
	}
	return REPLY_NOT_STORED;
}
