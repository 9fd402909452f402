/*
 * resolve - which mailboxes mail to an address reaches.
 *
 * Runs on smtpd's loops: one short read transaction, a handful of look-ups by
 * index.  An alias is followed by one statement whose UNION is the set of what was
 * visited, so loops end by themselves and each mailbox comes once.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "account_internal.h"
#include "base/mem.h"
#include "spool/account.h"

static const char sql_follow[] =
    "WITH RECURSIVE reached (alias) AS (VALUES (?1)"
    " UNION SELECT t.next FROM reached r CROSS JOIN alias_target t ON t.alias = r.alias"
    " WHERE t.next IS NOT NULL)"
    " SELECT DISTINCT " ACCOUNT_MAILBOX_COLUMNS
    " FROM reached r CROSS JOIN alias_target t ON t.alias = r.alias"
    " CROSS JOIN mailbox m ON m.id = t.mailbox CROSS JOIN domain d ON d.id = m.domain";

static const char sql_first[] =
    "SELECT " ACCOUNT_MAILBOX_COLUMNS " FROM mailbox m JOIN domain d ON d.id = m.domain"
    " ORDER BY m.id LIMIT 1";

/* SPOOL_DISABLED where it is. */
static enum spool_status
add_mailbox(struct account_targets *targets, const struct account_mailbox *m)
{
	struct account_target *target;

	if (!m->enabled)
		return SPOOL_DISABLED;
	if (targets->n == ACCOUNT_TARGETS_MAX)
		return SPOOL_TOO_MANY;
	if (mem_grow(&targets->list, &targets->cap, targets->n + 1, sizeof(*targets->list)) != 0)
		return SPOOL_NO_MEMORY;
	target = &targets->list[targets->n];
	target->mailbox = m->id;
	target->address = mem_dup(m->address, strlen(m->address));
	if (target->address == NULL)
		return SPOOL_NO_MEMORY;
	targets->n++;
	return SPOOL_OK;
}

/* Adds the enabled ones of the mailboxes in the rows of `stmt`. */
static enum spool_status
add_rows(struct index_conn *c, sqlite3_stmt *stmt, struct account_targets *targets)
{
	enum spool_status st, empty = SPOOL_NO_MAILBOX;
	struct account_mailbox m;
	bool row;

	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = account_mailbox_of(stmt, &m);
		if (st == SPOOL_OK)
			st = add_mailbox(targets, &m);
		if (st == SPOOL_DISABLED)
			empty = st;
		else if (st != SPOOL_OK)
			break;
	}
	sqlite3_reset(stmt);
	if (st == SPOOL_OK && targets->n == 0)
		st = empty;
	return st;
}

static enum spool_status
follow(struct index_conn *c, uint64_t alias, struct account_targets *targets)
{
	sqlite3_stmt *stmt = account_query(c, sql_follow, "u", alias);

	return stmt != NULL ? add_rows(c, stmt, targets) : SPOOL_IO;
}

/* The alias of exactly this name; no octets are the catch-all.  SPOOL_NO_ALIAS. */
static enum spool_status
reach_alias(struct index_conn *c, uint64_t domain, const char *local, size_t len,
    struct account_targets *targets)
{
	uint64_t alias;
	enum spool_status st = account_find_alias(c, domain, local, len, &alias);

	return st == SPOOL_OK ? follow(c, alias, targets) : st;
}

/* As written, then without +tag; each time a mailbox before an alias.  SPOOL_NO_DOMAIN;
 * SPOOL_NO_ALIAS when there is neither, and then *domain_r is the domain. */
static enum spool_status
reach_local(struct index_conn *c, const struct address *a, char delimiter,
    struct account_targets *targets, uint64_t *domain_r)
{
	size_t len = strlen(a->local), base = address_base_len(a->local, delimiter);
	struct account_mailbox mailbox;
	enum spool_status st;

	/* Mostly this is all there is to it. */
	st = account_find_user(c, a, &mailbox);
	if (st != SPOOL_NO_MAILBOX)
		return st == SPOOL_OK ? add_mailbox(targets, &mailbox) : st;
	st = account_find_domain(c, a->domain, domain_r);
	if (st == SPOOL_OK)
		st = reach_alias(c, *domain_r, a->local, len, targets);
	if (st != SPOOL_NO_ALIAS || base == len)
		return st;
	st = account_find_mailbox(c, *domain_r, a->local, base, &mailbox);
	if (st != SPOOL_NO_MAILBOX)
		return st == SPOOL_OK ? add_mailbox(targets, &mailbox) : st;
	return reach_alias(c, *domain_r, a->local, base, targets);
}

static enum spool_status
reach_first(struct index_conn *c, struct account_targets *targets)
{
	sqlite3_stmt *stmt = account_query(c, sql_first, "");

	return stmt != NULL ? add_rows(c, stmt, targets) : SPOOL_IO;
}

/* The site's postmaster.  Never led on to himself, whatever he is called. */
static enum spool_status
reach_postmaster(
    struct index_conn *c, const struct account_policy *policy, struct account_targets *targets)
{
	struct address address;
	enum spool_status st;
	uint64_t domain;

	if (policy->postmaster == NULL) {
		st = reach_first(c, targets);
	} else if (address_parse(policy->postmaster, &address) != 0) {
		st = SPOOL_NO_MAILBOX;
	} else {
		st = reach_local(c, &address, policy->delimiter, targets, &domain);
		if (st == SPOOL_NO_ALIAS)
			st = reach_alias(c, domain, "", 0, targets);
	}
	if (st == SPOOL_NO_DOMAIN || st == SPOOL_NO_MAILBOX || st == SPOOL_NO_ALIAS ||
	    st == SPOOL_DISABLED)
		st = SPOOL_NO_POSTMASTER;
	return st;
}

/* RFC 5321 4.5.1 and RFC 2142 4: these names are answered for in every domain. */
static bool
is_role(const char *local, char delimiter)
{
	static const char *const roles[] = { "postmaster", "abuse" };
	size_t len = address_base_len(local, delimiter);

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (len == strlen(roles[i]) && strncasecmp(local, roles[i], len) == 0)
			return true;
	return false;
}

static enum spool_status
reach(struct index_conn *c, const struct address *rcpt, const struct account_policy *policy,
    struct account_targets *targets)
{
	enum spool_status st;
	uint64_t domain;

	if (rcpt->domain[0] == '\0')
		return reach_postmaster(c, policy, targets);
	st = reach_local(c, rcpt, policy->delimiter, targets, &domain);
	if (st == SPOOL_NO_ALIAS && is_role(rcpt->local, policy->delimiter))
		return reach_postmaster(c, policy, targets);
	if (st == SPOOL_NO_ALIAS)
		st = reach_alias(c, domain, "", 0, targets);
	return st == SPOOL_NO_ALIAS ? SPOOL_NO_MAILBOX : st;
}

enum spool_status
account_resolve(struct spool *spool, const struct address *rcpt,
    const struct account_policy *policy, struct account_targets *targets_r)
{
	struct index_conn *c;
	enum spool_status st;

	memset(targets_r, 0, sizeof(*targets_r));
	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = reach(c, rcpt, policy, targets_r);
	/* Nobody is refused for good by what somebody put in the log's place. */
	if (st != SPOOL_OK && index_log_compare(c) != SPOOL_OK)
		st = SPOOL_IO;
	index_read_end(spool, &c);
	if (st != SPOOL_OK)
		account_targets_release(targets_r);
	return st;
}

void
account_targets_release(struct account_targets *targets)
{
	for (size_t i = 0; i < targets->n; i++)
		free(targets->list[i].address);
	free(targets->list);
	memset(targets, 0, sizeof(*targets));
}
