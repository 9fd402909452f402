/*
 * alias_model - what aliases mean: names, and arrows between them.
 *
 * It is written as plainly as can be, without a thought of speed: the fuzzer holds the spool to it.
 * A deed does here what docs/administration.md says that it does, and returns how it must end.
 */
#ifndef TESTS_FUZZ_ALIAS_MODEL_H
#define TESTS_FUZZ_ALIAS_MODEL_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mail/address.h"
#include "spool/account.h"

#define NODES_MAX 64
#define DOMAINS 4
/* The last domain has one alias only, and it leads to one mailbox less than one may reach. */
#define CROWD_DOMAIN 3
#define CROWD_FIRST 100
#define CROWD (ACCOUNT_TARGETS_MAX - 1)

static const char *const domains[DOMAINS] = { "x.test", "Y.test", "z.test", "crowd.test" };

static const struct {
	uint64_t id;
	const char *local;
	unsigned domain;
	bool enabled;
} mailboxes[] = {
	{ 1, "joe", 0, true },
	{ 2, "Ann", 0, true },
	{ 3, "bob", 1, true },
	{ 4, "eve", 1, false },
	{ 5, "odd name", 0, true },
	{ 6, "joe+x", 1, true },
};
#define MAILBOXES (sizeof(mailboxes) / sizeof(*mailboxes))

/* A mailbox, with an id, or an alias. */
struct node {
	bool there, enabled;
	uint64_t id;
	char local[ADDRESS_MAX + 1];
	unsigned domain;
	uint64_t leads; /* to the nodes with these bits */
	bool crowd;     /* and to all of that domain */
};

static struct node nodes[NODES_MAX];
static bool domain_there[DOMAINS];
static struct account_policy policy;

/* --- names ---------------------------------------------------------------- */

/* What was at first. */
static inline void
model_begin(void)
{
	memset(nodes, 0, sizeof(nodes));
	for (size_t i = 0; i < MAILBOXES; i++) {
		nodes[i] = (struct node){ .there = true,
			.enabled = mailboxes[i].enabled,
			.id = mailboxes[i].id,
			.domain = mailboxes[i].domain };
		snprintf(nodes[i].local, sizeof(nodes[i].local), "%s", mailboxes[i].local);
	}
	nodes[MAILBOXES] =
	    (struct node){ .there = true, .local = "crowd", .domain = CROWD_DOMAIN, .crowd = true };
	for (unsigned i = 0; i < DOMAINS; i++)
		domain_there[i] = i != 2;
}

static inline bool
same_text(const char *a, const char *b, size_t len)
{
	return strlen(a) == len && strncasecmp(a, b, len) == 0;
}

static inline struct node *
find_node(unsigned domain, const char *local, size_t len)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].domain == domain &&
		    same_text(nodes[i].local, local, len))
			return &nodes[i];
	return NULL;
}

/* DOMAINS when it is none of ours. */
static inline unsigned
find_domain(const char *name)
{
	for (unsigned i = 0; i < DOMAINS; i++)
		if (domain_there[i] && strcasecmp(domains[i], name) == 0)
			return i;
	return DOMAINS;
}

static inline struct node *
find_address(const struct address *a)
{
	unsigned domain = find_domain(a->domain);

	return domain < DOMAINS ? find_node(domain, a->local, strlen(a->local)) : NULL;
}

static inline uint64_t
bit(const struct node *node)
{
	return UINT64_C(1) << (node - nodes);
}

static inline void
forget(struct node *gone)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		nodes[i].leads &= ~bit(gone);
	memset(gone, 0, sizeof(*gone));
}

/* Aliases that lead nowhere go, and then those that led only to them. */
static inline void
sweep(void)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].id == 0 && nodes[i].leads == 0 && !nodes[i].crowd) {
			forget(&nodes[i]);
			i = SIZE_MAX; /* from the beginning again */
		}
}

/* --- whom an address reaches ---------------------------------------------- */

/* What an address reaches. */
struct reached {
	uint64_t set; /* nodes that were come by */
	bool enabled[NODES_MAX];
	bool disabled, crowd;
	size_t n;
};

static inline void
walk(const struct node *from, struct reached *r)
{
	if (r->set & bit(from))
		return;
	r->set |= bit(from);
	if (from->id != 0) {
		r->enabled[from - nodes] = from->enabled;
		r->n += from->enabled;
		r->disabled |= !from->enabled;
	}
	if (from->crowd) {
		r->crowd = true;
		r->n += CROWD;
	}
	for (size_t i = 0; i < NODES_MAX; i++)
		if (from->leads & UINT64_C(1) << i)
			walk(&nodes[i], r);
}

static inline enum spool_status
reach_node(const struct node *node, struct reached *r)
{
	walk(node, r);
	if (r->n > ACCOUNT_TARGETS_MAX)
		return SPOOL_TOO_MANY;
	return r->n > 0 ? SPOOL_OK : r->disabled ? SPOOL_DISABLED : SPOOL_NO_MAILBOX;
}

static inline size_t
without_tag(const char *local)
{
	size_t len = strlen(local);

	for (size_t i = 1; i < len && policy.delimiter != '\0'; i++)
		if (local[i] == policy.delimiter && local[0] != policy.delimiter)
			return i;
	return len;
}

/* Of a domain of ours: as written, without tag, or the domain's catch-all. */
static inline const struct node *
choose(unsigned domain, const char *local, bool catch_all)
{
	const struct node *node = find_node(domain, local, strlen(local));

	if (node == NULL)
		node = find_node(domain, local, without_tag(local));
	return node != NULL || !catch_all ? node : find_node(domain, "", 0);
}

/* One of the crowd, whom no node stands for: c0, c1, ... */
static inline bool
is_member(unsigned domain, const char *local)
{
	size_t len = without_tag(local);
	char name[16];

	for (unsigned i = 0; domain == CROWD_DOMAIN && i < CROWD; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		if (same_text(name, local, len) || same_text(name, local, strlen(local)))
			return true;
	}
	return false;
}

static inline enum spool_status
reach_postmaster(struct reached *r)
{
	const struct node *node = NULL;
	enum spool_status st = SPOOL_NO_POSTMASTER;
	struct address a;
	unsigned domain;

	if (policy.postmaster == NULL) {
		for (size_t i = 0; i < MAILBOXES; i++)
			if (nodes[i].there && (node == NULL || nodes[i].id < node->id))
				node = &nodes[i];
		/* The first of the crowd. */
		if (node == NULL) {
			r->n = 1;
			return SPOOL_OK;
		}
	} else if (address_parse(policy.postmaster, &a) == 0 &&
		   (domain = find_domain(a.domain)) < DOMAINS) {
		node = choose(domain, a.local, true);
	}
	if (node != NULL)
		st = reach_node(node, r);
	return st == SPOOL_OK || st == SPOOL_TOO_MANY ? st : SPOOL_NO_POSTMASTER;
}

static inline enum spool_status
reach(const struct address *a, struct reached *r)
{
	unsigned domain = find_domain(a->domain);
	size_t len = without_tag(a->local);
	const struct node *node;

	if (a->domain[0] == '\0')
		return reach_postmaster(r);
	if (domain == DOMAINS)
		return SPOOL_NO_DOMAIN;
	if (is_member(domain, a->local)) {
		r->n = 1;
		return SPOOL_OK;
	}
	node = choose(domain, a->local, false);
	if (node == NULL &&
	    (same_text("postmaster", a->local, len) || same_text("abuse", a->local, len)))
		return reach_postmaster(r);
	if (node == NULL)
		node = choose(domain, a->local, true);
	return node != NULL ? reach_node(node, r) : SPOOL_NO_MAILBOX;
}

/* --- deeds ---------------------------------------------------------------- */

static inline struct node *
new_node(void)
{
	for (size_t i = MAILBOXES + 1; i < NODES_MAX; i++)
		if (!nodes[i].there)
			return &nodes[i];
	return NULL;
}

static inline enum spool_status
add_alias(const struct address *name, const struct address *targets, size_t n)
{
	struct node *node = find_address(name), *to;
	uint64_t leads = 0;

	for (size_t i = 0; i < n; i++) {
		to = find_address(&targets[i]);
		if (to == NULL)
			return SPOOL_NOT_LOCAL;
		leads |= bit(to);
	}
	if (find_domain(name->domain) == DOMAINS)
		return SPOOL_NO_DOMAIN;
	if (node != NULL && node->id != 0)
		return SPOOL_EXISTS;
	if (node == NULL) {
		node = new_node();
		node->there = true;
		node->domain = find_domain(name->domain);
		snprintf(node->local, sizeof(node->local), "%s", name->local);
	}
	node->leads |= leads;
	return SPOOL_OK;
}

static inline enum spool_status
remove_alias(const struct address *name, const struct address *targets, size_t n)
{
	struct node *node = find_address(name), *to;
	uint64_t left;

	if (node == NULL || node->id != 0)
		return SPOOL_NO_ALIAS;
	left = node->leads;
	for (size_t i = 0; i < n; i++) {
		to = find_address(&targets[i]);
		if (to == NULL || !(left & bit(to)))
			return SPOOL_NO_ALIAS;
		left &= ~bit(to);
	}
	node->leads = left;
	if (n == 0)
		forget(node);
	sweep();
	return SPOOL_OK;
}

static inline enum spool_status
rename_user(const struct address *name, const struct address *as)
{
	struct node *node = find_address(name), *other = find_address(as);

	if (as->local[0] == '\0')
		return SPOOL_BAD_ADDRESS;
	if (node == NULL || node->id == 0)
		return SPOOL_NO_MAILBOX;
	if (find_domain(as->domain) == DOMAINS)
		return SPOOL_NO_DOMAIN;
	if (other != NULL && other != node)
		return SPOOL_EXISTS;
	node->domain = find_domain(as->domain);
	snprintf(node->local, sizeof(node->local), "%s", as->local);
	return SPOOL_OK;
}

static inline enum spool_status
remove_user(const struct address *name)
{
	struct node *node = find_address(name);

	if (node == NULL || node->id == 0)
		return SPOOL_NO_MAILBOX;
	forget(node);
	sweep();
	return SPOOL_OK;
}

static inline enum spool_status
remove_domain(unsigned domain)
{
	if (!domain_there[domain])
		return SPOOL_NO_DOMAIN;
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].domain == domain && nodes[i].id != 0)
			return SPOOL_IN_USE;
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].domain == domain)
			nodes[i].leads = 0;
	sweep();
	domain_there[domain] = false;
	return SPOOL_OK;
}

#endif
