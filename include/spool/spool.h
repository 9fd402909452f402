/*
 * spool - the store: one folder that holds all mail, and what is known of it.
 *
 * The format, the numbered invariants and what a crash leaves behind are in
 * docs/spool.md.  This floor alone knows of SQLite and of segments.
 *
 * A spool is opened by several processes at once (smtpd, pop3d, pop-admin).
 * Whoever opens it first, and every daemon that delivers, recovers it: until that
 * is done spool_ready() is false, and what needs the store returns SPOOL_NOT_READY.
 *
 * Failures: every function returns an enum spool_status.  The detail is logged
 * once, where it arose, with what the administrator can do.
 *
 * Thread: any, where a header does not say otherwise.
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

enum spool_status {
	SPOOL_OK,
	SPOOL_NOT_READY,        /* being recovered */
	SPOOL_BUSY,             /* the maildrop is in use */
	SPOOL_WOULD_BLOCK,      /* the octets are not in the page cache: ask again from a job */
	SPOOL_NO_DOMAIN,        /* not one of ours */
	SPOOL_NO_MAILBOX,       /* no such mailbox or alias */
	SPOOL_NO_ALIAS,
	SPOOL_NO_POSTMASTER,    /* mail to postmaster or abuse leads nowhere yet: 451 4.3.0 */
	SPOOL_NO_MESSAGE,       /* no such UID, or deleted meanwhile */
	SPOOL_DISABLED,         /* the mailbox takes no mail and no logins */
	SPOOL_EXISTS,
	SPOOL_IN_USE,           /* a domain that still has users */
	SPOOL_NOT_LOCAL,        /* an alias target elsewhere: Restante does not forward */
	SPOOL_BAD_ADDRESS,      /* one that no mailbox or alias of ours can have */
	SPOOL_BAD_PASSWORD,     /* a new one that cannot be kept: empty, too long, with a NUL */
	SPOOL_DENIED,           /* login refused; never says why */
	SPOOL_TOO_MANY,         /* recipients */
	SPOOL_OVER_QUOTA,       /* no room just now */
	SPOOL_NEVER_FITS,       /* larger than the mailbox's quota */
	SPOOL_NO_SPACE,         /* free disk is below the reserve, or the disk is full */
	SPOOL_NO_MEMORY,
	SPOOL_IO,               /* reading, writing or syncing failed, or SQLite did */
	SPOOL_DAMAGED,          /* a message or a file is not what it must be */
	SPOOL_UNKNOWN,          /* the outcome could not be made sure: say nothing to the sender */
	SPOOL_NO_SPOOL,         /* not created yet: pop-admin init */
	SPOOL_VERSION,          /* made by a newer Restante */
	SPOOL_NETWORK_FS,       /* on a file system that does not keep the promises */
	SPOOL_STATUSES          /* how many there are */
};

/* A short sentence in lower case, for logs and pop-admin. */
const char *spool_status_text(enum spool_status);

struct spool;

enum spool_role {
	SPOOL_SMTPD,            /* delivers: recovers at every start, has committer and janitor */
	SPOOL_POP3D,            /* has secrets and a janitor */
	SPOOL_ADMIN,            /* has secrets; recovery is waited for inside spool_open() */
};

/* What may change while a spool is open. */
struct spool_policy {
	uint64_t reserve;               /* octets; free disk below it is SPOOL_NO_SPACE */
	uint64_t keep_deleted_s;        /* how long deleted mail can be brought back; 0: never */
	uint64_t keep_deleted_max;      /* octets on the disk that it may take */
	uint64_t expire_every_s;        /* 0: the janitor removes nothing past its age */
};

struct spool_options {
	const char *dir;
	enum spool_role role;
	struct spool_policy policy;
	uint64_t segment_max;           /* octets; 0 is the usual 128 MiB.  For tests. */
	uint64_t reclaim_ms;            /* between two times that what is dead gives its room back;
					   0 is the usual second.  For tests. */
};

/* Opens a spool that exists and, for the daemons, starts its threads: the keeper, which
 * recovers and then is the janitor, and smtpd's committer.  On failure a sentence for the
 * administrator is in err. */
enum spool_status spool_open(const struct spool_options *, struct spool **spool_r,
    struct strbuf *err);

/* SQLite maps the -shm files of the databases.  From now on a process under which one is cut ends
 * with 74 and a sentence, not by SIGBUS: there is no going on, and what was promised is on disk, as
 * at every instant.  For the daemons, before spool_open(); main. */
void spool_end_on_lost_pages(void);

/* Makes folders and databases where they are missing; harmless where they exist.  The
 * only function that creates a spool. */
enum spool_status spool_create(const char *dir, struct strbuf *err);

/* Ends the threads (what was given to the committer is finished first) and closes.  No
 * maildrop, delivery or message may be left. */
void spool_close(struct spool **);

/* Recovery is over. */
bool spool_ready(struct spool *);

/* It is over, or was tried and failed: from then on clients are answered, if only by putting them
 * off. */
bool spool_tried(struct spool *);

/* Blocks until recovery is over.  For tests. */
enum spool_status spool_wait_ready(struct spool *);

/* SPOOL_OK, SPOOL_NOT_READY or SPOOL_NO_SPACE: may mail come in just now?  Asks the file
 * system once a second at most. */
enum spool_status spool_may_deliver(struct spool *);

/* Another policy from now on.  Any thread. */
void spool_set_policy(struct spool *, const struct spool_policy *);

/* A message's id as UIDL, the log and pop-admin show it: lower-case hexadecimal digits. */
#define SPOOL_UID_LEN 16
void spool_uid_format(char uid[SPOOL_UID_LEN + 1], uint64_t message);
/* 0, or -1 when `uid` is not what spool_uid_format() writes. */
int spool_uid_parse(const char *uid, uint64_t *message_r);

/* One turn of upkeep, now, in the caller's thread: checkpoint, holes for dead records,
 * dead segments unlinked.  The janitor does this by itself; pop-admin and tests call it. */
enum spool_status spool_upkeep(struct spool *);

#endif
