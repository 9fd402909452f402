/*
 * pop3_session - one POP3 session (RFC 1939), apart from its connection.  Private to pop3d.
 *
 * What the files of this folder share: the session, and the tables that its commands
 * stand in.
 *
 * Thread: the loop of its connection, or, while `work` is not NULL, the one that does
 * it: a session that waits is not touched and not freed (net/session.h).
 */
#ifndef POP3D_POP3_SESSION_H
#define POP3D_POP3_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "net/session.h"
#include "pop3_reply.h"
#include "pop3d.h"
#include "spool/maildrop.h"

/* RFC 2449 4 asks for 255 octets with CRLF; more is taken from clients that send more. */
#define POP3_LINE_MAX 512
/* AUTH, its responses and PASS (RFC 5034 4: a mechanism may need more than 255). */
#define POP3_LINE_MAX_CREDENTIALS 12288
/* Messages of its list that a session may look at in a row. */
#define POP3_LOOKS_MAX 65536
/* What CAPA costs before login, in these terms: it asks the index. */
#define POP3_LOOKS_CAPA 1024
/* What a message costs that is opened: its record is read and taken apart. */
#define POP3_LOOKS_OPEN 512
/* After so many wrong passwords the connection ends. */
#define POP3_LOGIN_FAILURES 5

enum pop3_state { POP3_AUTHORIZATION, POP3_TRANSACTION, POP3_UPDATE };

struct pop3_credentials;
struct pop3_message;
struct pop3_sent;

struct pop3_session {
	struct pop3d *pop3d;            /* borrowed; outlives every session */
	struct session_link *link;      /* borrowed; the connection's */
	struct config *config;          /* a reference, kept until the session ends */

	enum pop3_state state;          /* changed by pop3_session_enter() alone */
	bool skipping;                  /* up to the next LF: a line was too long */
	uint64_t lines;                 /* that came */

	/* What goes on before the next line is looked at, or NULL.  With it stands what is
	 * waited for: a job, the timer, or room in the queue. */
	enum pop3_reply (*go_on)(struct pop3_session *);
	enum spool_status (*work)(struct pop3_session *);       /* not NULL: waiting for it */
	enum spool_status status;       /* what `work` returned last */
	struct job job;
	struct timer timer;             /* running: waiting for it */

	/* AUTHORIZATION */
	/* Takes the next line as the client's answer to a challenge (RFC 5034 4), or NULL. */
	enum pop3_reply (*answer)(struct pop3_session *, const char *line, size_t len);
	char *user;                     /* owned; from USER or AUTH LOGIN; or NULL */
	size_t user_len;
	uint64_t user_line;             /* `lines` when USER gave it */
	uint64_t stamp_ms;              /* these two make the greeting's stamp; 0: it has none */
	uint64_t stamp_count;
	unsigned failures;              /* wrong passwords */
	struct pop3_credentials *login; /* owned: a login on its way, or NULL */

	/* TRANSACTION and UPDATE */
	struct maildrop *maildrop;      /* owned; NULL before login and after UPDATE */
	char *address;                  /* owned: the mailbox's; NULL before login */
	size_t next;                    /* where a listing goes on */
	bool uidl;                      /* it is UIDL's */
	size_t looks;                   /* at messages of the list, since others had a turn; what
					   else a loop does for a client, in these terms */
	struct pop3_message *message;   /* a reference: being sent; or NULL */
	uint64_t mail_end;              /* which of the octets sent ends the last message */
	struct pop3_sent *sent;         /* owned: by RETR, in order; not all of it has left */
	size_t nsent, sent_cap;
	uint64_t retention_days;        /* as announced by EXPIRE until the session ends */
	bool blind;                     /* QUIT came before that octet had left */

	/* For the last line in the log */
	uint64_t retr, retr_octets, top, top_octets, removed;
	const char *end;                /* static text: why the session closes; or NULL */
};

/* The hooks for the connection. */
extern const struct session_ops pop3_session_ops;

/* NULL: no memory.  `config` passes to the session, also then. */
struct pop3_session *pop3_session_new(struct pop3d *, struct session_link *,
    struct config *);

/* The one setter of `state`: AUTHORIZATION to TRANSACTION to UPDATE. */
void pop3_session_enter(struct pop3_session *, enum pop3_state);

/* Has `work` done by a thread of `pool`; when it is done, `go_on` runs.  Returns
 * POP3_WAIT. */
enum pop3_reply pop3_session_work(struct pop3_session *, struct jobs *pool,
    enum spool_status (*work)(struct pop3_session *),
    enum pop3_reply (*go_on)(struct pop3_session *));
/* `go_on` runs after so many milliseconds.  Returns POP3_WAIT. */
enum pop3_reply pop3_session_sleep(struct pop3_session *, uint64_t ms,
    enum pop3_reply (*go_on)(struct pop3_session *));
/* `go_on` runs when the other sessions of the loop had their turns: for who has looked
 * POP3_LOOKS_MAX times.  Returns POP3_WAIT. */
enum pop3_reply pop3_session_yield(struct pop3_session *,
    enum pop3_reply (*go_on)(struct pop3_session *));

/* What may follow the keyword. */
enum pop3_argument {
	POP3_ARG_NONE,
	POP3_ARG_TEXT,                  /* the rest of the line as it is, at least one octet */
	POP3_ARG_MAY,                   /* the rest but for blanks at its end, or nothing */
	POP3_ARG_MESSAGE,               /* the number of a message that is not marked */
	POP3_ARG_MAY_MESSAGE,           /* the same, or nothing */
	POP3_ARG_MESSAGE_COUNT,         /* the same, and a count */
};

/* What the dispatcher made of the argument. */
struct pop3_arguments {
	const char *text;               /* valid during the call; not NUL-terminated */
	size_t len;
	bool has_message;
	size_t message;                 /* from 0, as maildrop.h counts */
	uint64_t count;
};

struct pop3_command {
	const char *keyword;
	enum pop3_reply (*run)(struct pop3_session *, const struct pop3_arguments *);
	enum pop3_argument argument;
};

/* The commands of each state; both end with a row without keyword. */
extern const struct pop3_command pop3_authorization_commands[];
extern const struct pop3_command pop3_transaction_commands[];

/* The stamp of this session's greeting (RFC 1939 7), with its angle brackets and a NUL;
 * false when it has none. */
#define POP3_STAMP_MAX 384
bool pop3_stamp(const struct pop3_session *, char stamp[POP3_STAMP_MAX]);

/* CAPA (RFC 2449 5), the same in both states. */
enum pop3_reply pop3_capa(struct pop3_session *, const struct pop3_arguments *);

#endif
