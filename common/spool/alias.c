/*
 * alias - names that lead to mailboxes and to other aliases.
 *
 * Targets are ids, not names: an alias goes on leading to a mailbox that was renamed,
 * and not to another that is given the old name.  No alias is without a target, but
 * within a transaction: whoever takes one away ends with account_sweep_aliases().
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "account_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/account.h"

static const char sql_add[] = "INSERT INTO alias (domain, local, folded) VALUES (?1, ?2, ?3)";

static const char sql_add_target[] =
    "INSERT OR IGNORE INTO alias_target (alias, mailbox, next) VALUES (?1, ?2, ?3)";

static const char sql_remove_to_mailbox[] =
    "DELETE FROM alias_target WHERE alias = ?1 AND mailbox = ?2";

static const char sql_remove_to_alias[] = "DELETE FROM alias_target WHERE alias = ?1 AND next = ?2";

static const char sql_empty[] = "DELETE FROM alias_target WHERE alias = ?1";

static const char sql_empty_domain[] =
    "DELETE FROM alias_target WHERE alias IN (SELECT id FROM alias WHERE domain = ?1)";

static const char sql_forget_mailbox[] = "DELETE FROM alias_target WHERE mailbox = ?1";

static const char sql_forget_alias[] = "DELETE FROM alias_target WHERE next = ?1";

static const char sql_remove[] = "DELETE FROM alias WHERE id = ?1";

static const char sql_list_empty[] =
    "SELECT a.id, a.local, d.name FROM alias a JOIN domain d ON d.id = a.domain"
    " WHERE NOT EXISTS (SELECT 1 FROM alias_target t WHERE t.alias = a.id)";

static const char sql_list[] =
    "SELECT a.id, a.local, d.name, coalesce(m.local, n.local), coalesce(md.name, nd.name)"
    " FROM domain d JOIN alias a ON a.domain = d.id"
    " JOIN alias_target t ON t.alias = a.id"
    " LEFT JOIN mailbox m ON m.id = t.mailbox LEFT JOIN domain md ON md.id = m.domain"
    " LEFT JOIN alias n ON n.id = t.next LEFT JOIN domain nd ON nd.id = n.domain"
    " ORDER BY d.folded, a.folded, 5, 4";

/* One of the two is 0. */
struct target {
	uint64_t mailbox, next;
};

struct empties {
	uint64_t *list; /* owned */
	size_t n, cap;
};

/* SPOOL_NOT_LOCAL when there is neither mailbox nor alias of this name. */
static enum spool_status
find_target(struct index_conn *c, const struct address *address, struct target *t_r)
{
	struct account_mailbox mailbox;
	enum spool_status st;
	uint64_t domain;
	size_t len = strlen(address->local);

	memset(t_r, 0, sizeof(*t_r));
	st = account_find_domain(c, address->domain, &domain);
	if (st == SPOOL_OK)
		st = account_find_mailbox(c, domain, address->local, len, &mailbox);
	if (st == SPOOL_OK)
		t_r->mailbox = mailbox.id;
	else if (st == SPOOL_NO_MAILBOX)
		st = account_find_alias(c, domain, address->local, len, &t_r->next);
	return st == SPOOL_NO_DOMAIN || st == SPOOL_NO_ALIAS ? SPOOL_NOT_LOCAL : st;
}

static enum spool_status
add_target(struct index_conn *c, uint64_t alias, const struct target *t)
{
	if (t->mailbox != 0)
		return account_run(c, sql_add_target, "uun", alias, t->mailbox);
	return account_run(c, sql_add_target, "unu", alias, t->next);
}

static enum spool_status
need_alias(struct index_conn *c, const struct address *address, uint64_t *id_r)
{
	char folded[ADDRESS_MAX + 1];
	struct account_mailbox mailbox;
	size_t len = strlen(address->local);
	enum spool_status st;
	uint64_t domain;

	st = account_find_domain(c, address->domain, &domain);
	if (st != SPOOL_OK)
		return st;
	st = account_find_mailbox(c, domain, address->local, len, &mailbox);
	if (st != SPOOL_NO_MAILBOX)
		return st == SPOOL_OK ? SPOOL_EXISTS : st;
	st = account_find_alias(c, domain, address->local, len, id_r);
	if (st != SPOOL_NO_ALIAS)
		return st;
	address_fold(folded, address->local);
	st = account_run(c, sql_add, "utt", domain, address->local, folded);
	if (st == SPOOL_OK)
		*id_r = (uint64_t)sqlite3_last_insert_rowid(index_db(c));
	return st;
}

static enum spool_status
add(struct index_conn *c, const struct address *address, const struct address *targets, size_t n,
    size_t *bad_r)
{
	struct target target;
	enum spool_status st;
	uint64_t alias;

	/* Before the alias is made, so that a new one cannot lead to itself alone. */
	for (*bad_r = 0; *bad_r < n; ++*bad_r) {
		st = find_target(c, &targets[*bad_r], &target);
		if (st != SPOOL_OK)
			return st;
	}
	st = need_alias(c, address, &alias);
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		st = find_target(c, &targets[i], &target);
		if (st == SPOOL_OK)
			st = add_target(c, alias, &target);
	}
	return st;
}

enum spool_status
account_alias_add(struct spool *spool, const struct address *address, const struct address *targets,
    size_t n, size_t *bad_r)
{
	struct index_conn *c;
	enum spool_status st;
	size_t bad;

	assert(n > 0);
	st = index_write_begin(spool, INDEX_MAIN, "alias add", &c);
	if (st != SPOOL_OK)
		return st;
	st = add(c, address, targets, n, bad_r != NULL ? bad_r : &bad);
	return account_end(spool, &c, st);
}

static enum spool_status
remove_target(struct index_conn *c, uint64_t alias, const struct address *address)
{
	struct target target;
	enum spool_status st;

	st = find_target(c, address, &target);
	if (st != SPOOL_OK)
		return st == SPOOL_NOT_LOCAL ? SPOOL_NO_ALIAS : st;
	if (target.mailbox != 0)
		st = account_run(c, sql_remove_to_mailbox, "uu", alias, target.mailbox);
	else
		st = account_run(c, sql_remove_to_alias, "uu", alias, target.next);
	if (st == SPOOL_OK && sqlite3_changes(index_db(c)) == 0)
		st = SPOOL_NO_ALIAS;
	return st;
}

/* It and whatever led to it. */
static enum spool_status
remove_alias(struct index_conn *c, uint64_t alias)
{
	enum spool_status st = account_run(c, sql_empty, "u", alias);

	if (st == SPOOL_OK)
		st = account_run(c, sql_forget_alias, "u", alias);
	return st == SPOOL_OK ? account_run(c, sql_remove, "u", alias) : st;
}

static enum spool_status
remove_targets(struct index_conn *c, const struct address *address, const struct address *targets,
    size_t n, size_t *bad_r)
{
	enum spool_status st;
	uint64_t domain, alias;

	*bad_r = n;
	st = account_find_domain(c, address->domain, &domain);
	if (st == SPOOL_OK)
		st = account_find_alias(c, domain, address->local, strlen(address->local), &alias);
	if (st != SPOOL_OK)
		return st == SPOOL_NO_DOMAIN ? SPOOL_NO_ALIAS : st;
	if (n == 0)
		return remove_alias(c, alias);
	for (*bad_r = 0; *bad_r < n; ++*bad_r) {
		st = remove_target(c, alias, &targets[*bad_r]);
		if (st != SPOOL_OK)
			return st;
	}
	return SPOOL_OK;
}

enum spool_status
account_alias_remove(struct spool *spool, const struct address *address,
    const struct address *targets, size_t n, size_t *bad_r)
{
	struct index_conn *c;
	struct strbuf gone;
	enum spool_status st;
	size_t bad;

	st = index_write_begin(spool, INDEX_MAIN, "alias remove", &c);
	if (st != SPOOL_OK)
		return st;
	strbuf_init(&gone, ACCOUNT_GONE_MAX);
	st = remove_targets(c, address, targets, n, bad_r != NULL ? bad_r : &bad);
	if (st == SPOOL_OK)
		st = account_sweep_aliases(c, &gone);
	st = account_end(spool, &c, st);
	if (st == SPOOL_OK)
		account_log_gone(&gone);
	strbuf_release(&gone);
	return st;
}

enum spool_status
account_forget_mailbox(struct index_conn *c, uint64_t mailbox)
{
	return account_run(c, sql_forget_mailbox, "u", mailbox);
}

enum spool_status
account_empty_aliases(struct index_conn *c, uint64_t domain)
{
	return account_run(c, sql_empty_domain, "u", domain);
}

/* The ids of the aliases that lead nowhere; their addresses are added to `gone`. */
static enum spool_status
find_empty(struct index_conn *c, struct empties *e, struct strbuf *gone)
{
	sqlite3_stmt *stmt = account_query(c, sql_list_empty, "");
	char address[ACCOUNT_ADDRESS_MAX];
	enum spool_status st;
	bool row;

	e->n = 0;
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&e->list, &e->cap, e->n + 1, sizeof(*e->list)) != 0)
			return SPOOL_NO_MEMORY;
		e->list[e->n++] = account_u64(stmt, 0);
		st = account_text_address(stmt, 1, 2, address);
		if (st != SPOOL_OK)
			return st;
		strbuf_add(gone, address, strlen(address) + 1);
	}
	return st;
}

enum spool_status
account_sweep_aliases(struct index_conn *c, struct strbuf *gone)
{
	struct empties empties = { .n = 0 };
	enum spool_status st;

	/* Each turn may empty those that led to what it removed. */
	do {
		st = find_empty(c, &empties, gone);
		for (size_t i = 0; st == SPOOL_OK && i < empties.n; i++)
			st = remove_alias(c, empties.list[i]);
	} while (st == SPOOL_OK && empties.n > 0);
	free(empties.list);
	return st;
}

void
account_log_gone(const struct strbuf *gone)
{
	for (size_t at = 0; at < gone->len; at += strlen(gone->buf + at) + 1)
		log_event(LOG_LEVEL_WARNING, "alias_removed", log_text("alias", gone->buf + at),
		    log_text("cause", "it led nowhere any more"));
}

/* An alias on its way to `each`, its targets in one text, a NUL behind each. */
struct listing {
	struct account_alias alias;
	uint64_t id; /* 0: none yet */
	struct strbuf texts;
	const char **targets; /* owned */
	size_t n, cap;
	int (*each)(void *arg, const struct account_alias *);
	void *arg;
};

/* SPOOL_OK, SPOOL_NO_MEMORY; *end_r when nobody wants more. */
static enum spool_status
hand_over(struct listing *l, bool *end_r)
{
	size_t at = 0;

	if (l->id == 0)
		return SPOOL_OK;
	if (l->texts.failed || mem_grow(&l->targets, &l->cap, l->n, sizeof(*l->targets)) != 0)
		return SPOOL_NO_MEMORY;
	for (size_t i = 0; i < l->n; i++) {
		l->targets[i] = l->texts.buf + at;
		at += strlen(l->targets[i]) + 1;
	}
	l->alias.targets = l->targets;
	l->alias.ntargets = l->n;
	*end_r = l->each(l->arg, &l->alias) != 0;
	strbuf_clear(&l->texts);
	l->n = 0;
	return SPOOL_OK;
}

static enum spool_status
list(struct index_conn *c, struct listing *l)
{
	char target[ACCOUNT_ADDRESS_MAX];
	sqlite3_stmt *stmt = account_query(c, sql_list, "");
	enum spool_status st;
	bool row, end = false;

	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (account_u64(stmt, 0) != l->id) {
			st = hand_over(l, &end);
			if (st != SPOOL_OK || end)
				return st;
			l->id = account_u64(stmt, 0);
			st = account_text_address(stmt, 1, 2, l->alias.address);
			if (st != SPOOL_OK)
				return st;
		}
		st = account_text_address(stmt, 3, 4, target);
		if (st != SPOOL_OK)
			return st;
		strbuf_add(&l->texts, target, strlen(target) + 1);
		l->n++;
	}
	return st == SPOOL_OK ? hand_over(l, &end) : st;
}

enum spool_status
account_alias_list(
    struct spool *spool, int (*each)(void *arg, const struct account_alias *), void *arg)
{
	struct listing listing = { .each = each, .arg = arg };
	struct index_conn *c;
	enum spool_status st;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	strbuf_init(&listing.texts, ACCOUNT_GONE_MAX);
	st = list(c, &listing);
	index_read_end(spool, &c);
	strbuf_release(&listing.texts);
	free(listing.targets);
	return st;
}
