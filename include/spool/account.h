/*
 * account - domains, mailboxes, aliases, and who may log in.
 *
 * Names are compared without case and kept as they were written.  Mailboxes have
 * ids that are never given twice, so nothing that was said of a removed mailbox can be
 * true of its successor.  Everything is read from the index at the time of asking:
 * what an administrator changes is true for the daemons at once.
 *
 * Changes are on disk when the function returns SPOOL_OK.  Credentials are in a
 * database of their own, which smtpd never opens: an account is added secrets first
 * and removed index first, so a crash between leaves a secret without a mailbox,
 * which is nobody's, never a mailbox open to anybody.
 *
 * Thread: any.  Functions that take a password cost tens of milliseconds and belong
 * into a job.
 */
#ifndef SPOOL_ACCOUNT_H
#define SPOOL_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/address.h"
#include "spool/spool.h"

/* Room for local@domain with a quoted local-part, NUL included. */
#define ACCOUNT_ADDRESS_MAX (2 * ADDRESS_MAX + 4)
/* Octets; what libcrypt hashes.  A longer one is wrong, and refused when it is set. */
#define ACCOUNT_PASSWORD_MAX 511

/* --- recipients (smtpd) --- */

struct account_policy {
	char delimiter;                 /* '\0': none */
	const char *postmaster;         /* address, or NULL: the first mailbox made */
};

struct account_target {
	uint64_t mailbox;
	char *address;                  /* owned by the targets */
};

struct account_targets {
	struct account_target *list;    /* owned; account_targets_release() */
	size_t n, cap;
};

#define ACCOUNT_TARGETS_MAX 10000u

/* Which mailboxes mail to `rcpt` reaches, each once: a mailbox or alias as written;
 * the same without +tag; for postmaster and abuse the policy's postmaster; the
 * domain's catch-all.  An empty domain is <postmaster> (RFC 5321 4.5.1).  An alias
 * leads on through aliases; disabled mailboxes are passed over.
 *
 * Blocks for a few indexed look-ups in one read transaction.  *targets_r is
 * initialised here and empty but for SPOOL_OK.  SPOOL_NO_DOMAIN, SPOOL_NO_MAILBOX,
 * SPOOL_DISABLED (none of the mailboxes is enabled), SPOOL_TOO_MANY beyond
 * ACCOUNT_TARGETS_MAX, SPOOL_NO_POSTMASTER where the policy's postmaster leads
 * nowhere yet. */
enum spool_status account_resolve(struct spool *, const struct address *rcpt,
    const struct account_policy *, struct account_targets *targets_r);
void account_targets_release(struct account_targets *);

/* --- logins (pop3d) --- */

struct account_login {
	uint64_t mailbox;
	char address[ACCOUNT_ADDRESS_MAX];
};

/* `name` is the full address, or the local-part alone where only one domain exists;
 * without case, without +tag (policy), no alias; it and the password may hold any octets.
 * SPOOL_DENIED for an unknown name, a disabled mailbox and a wrong password, after the
 * same work.  SPOOL_IO when the credentials cannot be read: never SPOOL_DENIED then.
 *
 * A password that was right lately is recognised by a keyed digest over it and the
 * stored hash, so a changed password never is. */
enum spool_status account_check_password(struct spool *, const struct account_policy *,
    const void *name, size_t name_len, const void *password, size_t password_len,
    struct account_login *login_r);

/* APOP (RFC 1939 7): the digest of `stamp` and this user's secret.  As above. */
enum spool_status account_check_apop(struct spool *, const struct account_policy *,
    const void *name, size_t name_len, const char *stamp, const char digest[33],
    struct account_login *login_r);

/* Some user has a secret for APOP, so the greeting must carry a stamp.  Cheap. */
bool account_apop_exists(struct spool *);

/* Notes when somebody logged in, at most once a minute for each mailbox; not synced.
 * Blocks. */
void account_note_login(struct spool *, uint64_t mailbox);

/* Over all mailboxes: how many whole days their settings keep mail at the least, NUM_UNLIMITED
 * where nobody has a limit; and whether that is not the same for all.  Blocks for an indexed
 * look-up.  SPOOL_NOT_READY; SPOOL_IO and others when the index cannot be read. */
enum spool_status account_retention(struct spool *, uint64_t *smallest_days_r, bool *differs_r);

/* --- administration (pop-admin) --- */

/* What a mailbox may hold, and for how long.  Where `has_...` is false nothing is said of it, and
 * the next one behind decides: a mailbox's own, its domain's, the site's.  The last is in the
 * configuration, which this floor does not know: it is handed in.  NULL says nothing at all. */
struct account_limits {
	bool has_quota, has_expire;
	uint64_t quota;                 /* octets; NUM_UNLIMITED */
	uint64_t expire_s;              /* NUM_UNLIMITED */
};
/* In a domain's limits: the site's again. */
#define ACCOUNT_SITE (UINT64_MAX - 1)

struct account_domain {
	char name[ADDRESS_DOMAIN_MAX + 1];
	uint64_t users;
	uint64_t quota, expire_s;       /* what a new mailbox gets; NUM_UNLIMITED */
};

/* SPOOL_BAD_ADDRESS when `name` is no domain name, SPOOL_EXISTS.  The limits are those of its new
 * mailboxes; what is not said is the site's, now and later. */
enum spool_status account_domain_add(
    struct spool *, const char *name, const struct account_limits *);
/* Changes what is said; mailboxes that are there keep what they have.  SPOOL_NO_DOMAIN. */
enum spool_status account_domain_set(
    struct spool *, const char *name, const struct account_limits *);
/* SPOOL_NO_DOMAIN; SPOOL_IN_USE with users; its aliases go with it. */
enum spool_status account_domain_remove(struct spool *, const char *name);
/* In order of name; with `site` the limits are those that hold.  `each` returns 0, or anything
 * else to end the walk.  It runs inside a read transaction and must wait for nobody.  This is so
 * for every list of this floor. */
enum spool_status account_domain_list(struct spool *, const struct account_limits *site,
    int (*each)(void *arg, const struct account_domain *), void *arg);

struct account_user {
	uint64_t mailbox;
	char address[ACCOUNT_ADDRESS_MAX];
	bool enabled;
	uint64_t quota;                 /* octets; NUM_UNLIMITED */
	uint64_t used;                  /* octets, as STAT counts */
	uint64_t messages;
	uint64_t oldest_ms;             /* when the oldest of them came; 0: there is none */
	uint64_t expire_s;              /* from receipt on; NUM_UNLIMITED */
	uint64_t expire_retrieved_s;    /* from the first retrieval on; NUM_UNLIMITED */
	uint64_t created_s;             /* Unix time */
	uint64_t last_login_s;          /* 0: never */
	uint64_t last_delivery_s;       /* 0: never */
};

/* Creates the mailbox, and its domain when new.  SPOOL_EXISTS when a mailbox or an alias
 * has the address, SPOOL_BAD_ADDRESS for an address literal or an empty local-part,
 * SPOOL_BAD_PASSWORD.  `keep_secret` also keeps what APOP needs, in recoverable form.  Its limits
 * are `own`, else its domain's, else `site`'s, as they are now: what these become later is for
 * later mailboxes. */
enum spool_status account_user_add(struct spool *, const struct address *, const void *password,
    size_t password_len, bool keep_secret, const struct account_limits *own,
    const struct account_limits *site);
/* The functions below find the mailbox as written: SPOOL_NO_MAILBOX, also for an
 * alias. */
enum spool_status account_user_find(struct spool *, const struct address *,
    struct account_user *user_r);
/* In order of domain, then local-part. */
enum spool_status account_user_list(struct spool *,
    int (*each)(void *arg, const struct account_user *), void *arg);
/* Keeps a recoverable secret exactly where there was one.  SPOOL_BAD_PASSWORD. */
enum spool_status account_user_set_password(struct spool *, const struct address *,
    const void *password, size_t password_len);
enum spool_status account_user_enable(struct spool *, const struct address *, bool enabled);
/* NUM_UNLIMITED for none.  One that is below the use takes no mail until there is room again;
 * nothing is removed. */
enum spool_status account_user_set_quota(struct spool *, const struct address *, uint64_t quota);

/* The age at which mail goes, from receipt on or from its first retrieval on; NUM_UNLIMITED for
 * never.  A promise that a client was told holds for the mail that lay there (RFC 2449 6.7): a
 * longer age is for what lies there too, a shorter one for later mail alone.  With `now` all that
 * lies there goes by the new age, longer or shorter, which may break that promise.
 * *changed_r is how many messages got another day to go on, or may get one. */
enum spool_status account_user_set_expire(struct spool *, const struct address *, uint64_t expire_s,
    bool now, uint64_t *changed_r);
enum spool_status account_user_set_expire_retrieved(struct spool *, const struct address *,
    uint64_t expire_s, uint64_t *changed_r);
/* How many messages would be past this age already, and how many octets they are. */
enum spool_status account_user_past_age(struct spool *, const struct address *, uint64_t expire_s,
    uint64_t *messages_r, uint64_t *octets_r);

/* Its mail goes with it, and so do aliases that led nowhere else.  SPOOL_BUSY while a
 * session has the maildrop. */
enum spool_status account_user_remove(struct spool *, const struct address *);
/* Mail, password and UIDs stay; aliases that led to it still do.  SPOOL_EXISTS,
 * SPOOL_BAD_ADDRESS as above; SPOOL_NO_DOMAIN when the new domain is not one of ours. */
enum spool_status account_user_rename(struct spool *, const struct address *,
    const struct address *new_address);

/* `address` with an empty local is the domain's catch-all.  Adds to the targets that
 * exist; one that is there already is no failure.  n > 0; all of them or none: where
 * a target is at fault, *bad_r is its place (`bad_r` may be NULL).  SPOOL_NOT_LOCAL
 * for a target that is neither mailbox nor alias here, SPOOL_NO_DOMAIN for a foreign
 * alias address, SPOOL_EXISTS when the address is a mailbox. */
enum spool_status account_alias_add(struct spool *, const struct address *,
    const struct address *targets, size_t n, size_t *bad_r);
/* Removes targets, all or none, or with n == 0 the alias; the last target takes the
 * alias with it, and so it goes with the aliases that led to that one.
 * SPOOL_NO_ALIAS; with *bad_r < n, the alias is there but does not lead to that
 * target. */
enum spool_status account_alias_remove(struct spool *, const struct address *,
    const struct address *targets, size_t n, size_t *bad_r);

struct account_alias {
	char address[ACCOUNT_ADDRESS_MAX];      /* "@domain" is a catch-all */
	const char *const *targets;             /* valid during the call */
	size_t ntargets;
};
/* In order of domain, then local-part. */
enum spool_status account_alias_list(struct spool *,
    int (*each)(void *arg, const struct account_alias *), void *arg);

#endif
