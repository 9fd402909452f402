/*
 * pop3_reply - the table of replies, and the table from spool statuses to them.
 *
 * RFC 3206 6: whoever announces AUTH-RESP-CODE sends [AUTH] for every failure of the
 * credentials and for nothing else, so one row alone has it.
 */
#include <assert.h>
#include <stddef.h>

#include "pop3_reply.h"

struct reply {
	const char *text;
	enum session_want then;
};

static const struct reply replies[POP3_REPLIES] = {
	[POP3_OK_USER] = { "+OK send PASS\r\n", SESSION_READ },
	[POP3_OK_STLS] = { "+OK begin TLS\r\n", SESSION_START_TLS },
	[POP3_OK_NOOP] = { "+OK\r\n", SESSION_READ },
	[POP3_OK_MARKED] = { "+OK marked, QUIT removes it\r\n", SESSION_READ },
	[POP3_OK_RESET] = { "+OK nothing is marked\r\n", SESSION_READ },
	[POP3_OK_GOODBYE] = { "+OK goodbye\r\n", SESSION_CLOSE },
	[POP3_OK_REMOVED] = { "+OK removed, goodbye\r\n", SESSION_CLOSE },

	[POP3_ERR_UNKNOWN] = { "-ERR unknown command\r\n", SESSION_READ },
	[POP3_ERR_LOGIN_FIRST] = { "-ERR log in first\r\n", SESSION_READ },
	[POP3_ERR_LOGGED_IN] = { "-ERR not after login\r\n", SESSION_READ },
	[POP3_ERR_ARGUMENT] = { "-ERR wrong or missing argument\r\n", SESSION_READ },
	[POP3_ERR_LINE] = { "-ERR line too long\r\n", SESSION_READ },
	[POP3_ERR_NUL] = { "-ERR NUL in a command\r\n", SESSION_READ },
	[POP3_ERR_USER_FIRST] = { "-ERR send USER first\r\n", SESSION_READ },
	[POP3_ERR_PLAINTEXT] = { "-ERR passwords are taken under TLS only\r\n", SESSION_READ },
	[POP3_ERR_NO_APOP] = { "-ERR APOP is not offered\r\n", SESSION_READ },
	[POP3_ERR_NO_TLS] = { "-ERR TLS is not available\r\n", SESSION_READ },
	[POP3_ERR_TLS_ACTIVE] = { "-ERR TLS is active already\r\n", SESSION_READ },
	[POP3_ERR_MECHANISM] = { "-ERR unknown mechanism\r\n", SESSION_READ },
	[POP3_ERR_CANCELLED] = { "-ERR cancelled\r\n", SESSION_READ },
	[POP3_ERR_SASL] = { "-ERR malformed response\r\n", SESSION_READ },
	[POP3_ERR_NO_MESSAGE] = { "-ERR no such message\r\n", SESSION_READ },
	[POP3_ERR_MARKED] = { "-ERR message is marked for removal\r\n", SESSION_READ },

	[POP3_ERR_AUTH] = { "-ERR [AUTH] wrong user name or password\r\n", SESSION_READ },
	[POP3_ERR_AUTH_OFTEN] = { "-ERR [AUTH] wrong once too often\r\n", SESSION_CLOSE },
	[POP3_ERR_IN_USE] = { "-ERR [IN-USE] another session has this mailbox\r\n", SESSION_READ },
	[POP3_ERR_LOGIN_DELAY] = { "-ERR [LOGIN-DELAY] too soon after the last login\r\n",
	    SESSION_READ },
	[POP3_ERR_TEMP] = { "-ERR [SYS/TEMP] try again later\r\n", SESSION_READ },
	[POP3_ERR_PERM] = { "-ERR [SYS/PERM] damaged, tell the postmaster\r\n", SESSION_READ },
	[POP3_ERR_NOT_REMOVED] = { "-ERR [SYS/TEMP] nothing was removed, try again later\r\n",
	    SESSION_CLOSE },
	[POP3_ERR_TOO_MANY] = { "-ERR [SYS/TEMP] too many connections, try again later\r\n",
	    SESSION_CLOSE },
};

/* What the spool says of deliveries, aliases and administration reaches no POP3 session;
 * should it, trying again is the advice that loses nothing. */
static const enum pop3_reply outcomes[SPOOL_STATUSES] = {
	[SPOOL_NOT_READY] = POP3_ERR_TEMP,
	[SPOOL_BUSY] = POP3_ERR_IN_USE,
	[SPOOL_WOULD_BLOCK] = POP3_ERR_TEMP,
	[SPOOL_NO_DOMAIN] = POP3_ERR_TEMP,
	[SPOOL_NO_MAILBOX] = POP3_ERR_TEMP,
	[SPOOL_NO_ALIAS] = POP3_ERR_TEMP,
	[SPOOL_NO_POSTMASTER] = POP3_ERR_TEMP,
	[SPOOL_NO_MESSAGE] = POP3_ERR_NO_MESSAGE,
	[SPOOL_DISABLED] = POP3_ERR_TEMP,
	[SPOOL_EXISTS] = POP3_ERR_TEMP,
	[SPOOL_IN_USE] = POP3_ERR_TEMP,
	[SPOOL_NOT_LOCAL] = POP3_ERR_TEMP,
	[SPOOL_BAD_ADDRESS] = POP3_ERR_TEMP,
	[SPOOL_BAD_PASSWORD] = POP3_ERR_TEMP,
	[SPOOL_DENIED] = POP3_ERR_AUTH,
	[SPOOL_TOO_MANY] = POP3_ERR_TEMP,
	[SPOOL_OVER_QUOTA] = POP3_ERR_TEMP,
	[SPOOL_NEVER_FITS] = POP3_ERR_TEMP,
	[SPOOL_NO_SPACE] = POP3_ERR_TEMP,
	[SPOOL_NO_MEMORY] = POP3_ERR_TEMP,
	[SPOOL_IO] = POP3_ERR_TEMP,
	[SPOOL_DAMAGED] = POP3_ERR_PERM,
	[SPOOL_UNKNOWN] = POP3_DROP,
	[SPOOL_NO_SPOOL] = POP3_ERR_TEMP,
	[SPOOL_VERSION] = POP3_ERR_TEMP,
	[SPOOL_NETWORK_FS] = POP3_ERR_TEMP,
};

const char *
pop3_reply_text(enum pop3_reply reply)
{
	assert(reply < POP3_REPLIES);
	return replies[reply].text;
}

enum session_want
pop3_reply_then(enum pop3_reply reply)
{
	assert(reply < POP3_REPLIES);
	return replies[reply].then;
}

enum pop3_reply
pop3_reply_to(enum spool_status status)
{
	assert(status != SPOOL_OK && status < SPOOL_STATUSES);
	return outcomes[status];
}
