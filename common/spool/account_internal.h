/*
 * account_internal - what the files about accounts share.  Private to common/spool.
 *
 * All functions work inside a transaction of the caller's on `c`.  Thread: any.
 */
#ifndef SPOOL_ACCOUNT_INTERNAL_H
#define SPOOL_ACCOUNT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "index.h"
#include "spool/account.h"

/* The statement for `sql` with its parameters bound in order.  `types` has a letter
 * for each: 'u' a uint64_t, 'l' one in which NUM_UNLIMITED is NULL, 't' a text, which must live
 * until the statement has been stepped, 'n' NULL (no argument).  NULL when it cannot be had; then
 * it was logged, and the status is SPOOL_IO. */
sqlite3_stmt *account_query(struct index_conn *c, const char *sql, const char *types, ...);
/* The same for one that returns no row, run at once. */
enum spool_status account_run(struct index_conn *c, const char *sql, const char *types, ...);

/* A column as a number, 0 for NULL; one in which NULL is "no limit". */
uint64_t account_u64(sqlite3_stmt *, int column);
uint64_t account_limit(sqlite3_stmt *, int column);
/* The number that a statement asks for, by account_u64(); 0 also without a row.  Resets it. */
enum spool_status account_number(struct index_conn *, sqlite3_stmt *, uint64_t *n_r);
/* Copies a text that fits by what the index took in.  SPOOL_NO_MEMORY, SPOOL_DAMAGED. */
enum spool_status account_text(sqlite3_stmt *, int column, char *dst, size_t size);
/* Writes local@domain out of two columns; "@domain" where the local-part is empty. */
enum spool_status account_text_address(
    sqlite3_stmt *, int local, int domain, char address[ACCOUNT_ADDRESS_MAX]);

/* SPOOL_NO_DOMAIN, without a look for an address literal or no domain at all. */
enum spool_status account_find_domain(struct index_conn *c, const char *name, uint64_t *id_r);

struct account_mailbox {
	uint64_t id;
	bool enabled;
	char address[ACCOUNT_ADDRESS_MAX];
};

/* Of mailbox m and domain d, in a row as account_mailbox_of() takes it.  SPOOL_NO_MEMORY,
 * SPOOL_DAMAGED. */
#define ACCOUNT_MAILBOX_COLUMNS "m.id, m.enabled, m.local, d.name"
enum spool_status account_mailbox_of(sqlite3_stmt *, struct account_mailbox *m_r);

/* The mailbox of this name; `local` is `len` octets of an unquoted local-part, in any
 * case. SPOOL_NO_MAILBOX. */
enum spool_status account_find_mailbox(struct index_conn *c, uint64_t domain, const char *local,
    size_t len, struct account_mailbox *m_r);
/* The same for an alias; no octets are the catch-all.  SPOOL_NO_ALIAS. */
enum spool_status account_find_alias(
    struct index_conn *c, uint64_t domain, const char *local, size_t len, uint64_t *id_r);

/* Both at once, as an administrator writes them: no alias, no tag.  SPOOL_NO_MAILBOX also for a
 * domain that is not ours. */
enum spool_status account_find_user(
    struct index_conn *c, const struct address *, struct account_mailbox *m_r);

/* The limits of a new mailbox in this domain: the domain's own, else the site's (NULL: none). */
enum spool_status account_domain_limits(struct index_conn *c, uint64_t domain,
    const struct account_limits *site, struct account_limits *limits_r);

/* The domain's id; it is made when it is new.  SPOOL_BAD_ADDRESS when this is no
 * domain name. */
enum spool_status account_need_domain(struct index_conn *c, const char *name, uint64_t *id_r);

/* No alias leads to this mailbox any more; no alias of this domain leads anywhere any
 * more. account_sweep_aliases() must follow. */
enum spool_status account_forget_mailbox(struct index_conn *c, uint64_t mailbox);
enum spool_status account_empty_aliases(struct index_conn *c, uint64_t domain);
/* Removes the aliases that lead nowhere, and then those that led only to them.  Their
 * addresses are added to `gone`, a NUL behind each; account_log_gone() logs them once
 * the writer's lock has been given back. */
enum spool_status account_sweep_aliases(struct index_conn *c, struct strbuf *gone);
void account_log_gone(const struct strbuf *gone);
#define ACCOUNT_GONE_MAX (16u * 1024 * 1024)

/* Ends the write transaction on *c: commits durably when `st` is SPOOL_OK, else takes
 * all back and returns `st`. */
enum spool_status account_end(struct spool *, struct index_conn **c, enum spool_status st);

#endif
