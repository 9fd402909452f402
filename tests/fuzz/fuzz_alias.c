/*
 * fuzz_alias - names, aliases and what becomes of them, and whom an address reaches.
 *
 * The first octet of the input chooses the policy.  The rest is what an administrator does and what
 * is asked (enum deed); a name is an octet that picks one of a few (take_name()), or, when it is
 * resolved, also a path as it stands in RCPT.
 *
 * What must hold: each deed ends as it does in a plain model of names and arrows between them, all of
 * it or nothing; an address reaches the mailboxes that the model says, each once, whatever rings and
 * chains there are; and never more than ACCOUNT_TARGETS_MAX.
 */
#include <ftw.h>
#include <stdint.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "common/spool/spool_internal.h"
#include "spool/account.h"
#include "tests/fuzz/fuzz.h"

enum deed {
	DEED_ADD,    /* an alias and its targets */
	DEED_REMOVE, /* targets, or without any the alias */
	DEED_ENABLE,
	DEED_DISABLE,
	DEED_REMOVE_USER,
	DEED_RENAME_USER,
	DEED_DOMAIN, /* is added, or removed */
	DEED_RESOLVE,
	DEED_RESOLVE_PATH,
	DEEDS
};

/* So many deeds in one input: each is a transaction. */
#define DEEDS_MAX 40
#define NODES_MAX 64
#define TARGETS_MAX 3
#define DOMAINS 4
/* The last domain has one alias only, and it leads to one mailbox less than one may reach. */
#define CROWD_DOMAIN 3
#define CROWD_FIRST 100
#define CROWD (ACCOUNT_TARGETS_MAX - 1)

static const char *const locals[] = { "joe", "ann", "bob", "eve", "team", "all", "a", "b", "c",
	"joe+x", "Postmaster", "ABUSE", "", "odd name", "+x", "c-d" };
#define LOCALS (sizeof(locals) / sizeof(*locals))
static const char *const domains[DOMAINS] = { "x.test", "Y.test", "z.test", "crowd.test" };
static const char *const postmasters[] = { NULL, "joe@x.test", "team+tag@x.test", "all@y.test",
	"nobody@nowhere.test", "no address", "eve@y.test", "x@z.test" };
static const char delimiters[] = { '+', '-', '\0', '+' };

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
static unsigned crowds; /* that were resolved in this input: one alone, for it takes long */
static struct spool *sp;
static char dir[64];

/* --- the spool ------------------------------------------------------------ */

static void
change(const char *sql)
{
	struct index_conn *c;

	REQUIRE(index_write_begin(sp, INDEX_MAIN, "fuzz", &c) == SPOOL_OK);
	REQUIRE(sqlite3_exec(index_db(c), sql, NULL, NULL, NULL) == SQLITE_OK);
	REQUIRE(index_write_commit(sp, &c, false) == SPOOL_OK);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void
remove_spool(void)
{
	spool_close(&sp);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[80], sql[1000];
	const struct spool_options options = { .dir = path, .role = SPOOL_ADMIN };
	struct strbuf err;

	(void)argc, (void)argv;
	snprintf(dir, sizeof(dir), "%s/fuzz-alias-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/spool", dir);
	log_set_level(LOG_LEVEL_ERROR);
	strbuf_init(&err, 1000);
	REQUIRE(spool_create(path, &err) == SPOOL_OK);
	REQUIRE(spool_open(&options, &sp, &err) == SPOOL_OK);
	strbuf_release(&err);
	atexit(remove_spool);
	snprintf(sql, sizeof(sql),
	    "INSERT INTO domain (id, name, folded) VALUES (4, 'crowd.test', 'crowd.test');"
	    "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
	    " INSERT INTO mailbox (id, domain, local, folded, created_s)"
	    " SELECT i + %d, 4, 'c' || i, 'c' || i, 0 FROM n;"
	    "INSERT INTO alias VALUES (1, 4, 'crowd', 'crowd');"
	    "INSERT INTO alias_target SELECT 1, id, NULL FROM mailbox",
	    CROWD - 1, CROWD_FIRST);
	change(sql);
	return 0;
}

/* What was at first, in the spool and in the model. */
static void
begin(void)
{
	char sql[4000];
	int n;

	n = snprintf(sql, sizeof(sql),
	    "DELETE FROM alias_target WHERE alias > 1; DELETE FROM alias WHERE id > 1;"
	    "DELETE FROM mailbox WHERE id < %d; DELETE FROM domain WHERE id <> 4;"
	    "INSERT INTO domain (id, name, folded) VALUES (1, 'x.test', 'x.test'),"
	    " (2, 'Y.test', 'y.test')",
	    CROWD_FIRST);
	memset(nodes, 0, sizeof(nodes));
	for (size_t i = 0; i < MAILBOXES; i++) {
		struct node *node = &nodes[i];

		*node = (struct node){ .there = true,
			.enabled = mailboxes[i].enabled,
			.id = mailboxes[i].id,
			.domain = mailboxes[i].domain };
		snprintf(node->local, sizeof(node->local), "%s", mailboxes[i].local);
		n += snprintf(sql + n, sizeof(sql) - (size_t)n,
		    ";INSERT INTO mailbox (id, domain, local, folded, enabled, created_s) VALUES"
		    " (%d, %u, '%s', lower('%s'), %d, 0)",
		    (int)node->id, node->domain + 1, node->local, node->local, node->enabled);
	}
	nodes[MAILBOXES] =
	    (struct node){ .there = true, .local = "crowd", .domain = CROWD_DOMAIN, .crowd = true };
	for (unsigned i = 0; i < DOMAINS; i++)
		domain_there[i] = i != 2;
	change(sql);
}

/* --- the model ------------------------------------------------------------ */

static bool
same_text(const char *a, const char *b, size_t len)
{
	return strlen(a) == len && strncasecmp(a, b, len) == 0;
}

static struct node *
find_node(unsigned domain, const char *local, size_t len)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].domain == domain &&
		    same_text(nodes[i].local, local, len))
			return &nodes[i];
	return NULL;
}

/* DOMAINS when it is none of ours. */
static unsigned
find_domain(const char *name)
{
	for (unsigned i = 0; i < DOMAINS; i++)
		if (domain_there[i] && strcasecmp(domains[i], name) == 0)
			return i;
	return DOMAINS;
}

static struct node *
find_address(const struct address *a)
{
	unsigned domain = find_domain(a->domain);

	return domain < DOMAINS ? find_node(domain, a->local, strlen(a->local)) : NULL;
}

static uint64_t
bit(const struct node *node)
{
	return UINT64_C(1) << (node - nodes);
}

static void
forget(struct node *gone)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		nodes[i].leads &= ~bit(gone);
	memset(gone, 0, sizeof(*gone));
}

/* Aliases that lead nowhere go, and then those that led only to them. */
static void
sweep(void)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (nodes[i].there && nodes[i].id == 0 && nodes[i].leads == 0 && !nodes[i].crowd) {
			forget(&nodes[i]);
			i = SIZE_MAX; /* from the beginning again */
		}
}

/* What an address reaches. */
struct reached {
	uint64_t set; /* nodes that were come by */
	bool enabled[NODES_MAX];
	bool disabled, crowd;
	size_t n;
};

static void
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

static enum spool_status
reach_node(const struct node *node, struct reached *r)
{
	walk(node, r);
	if (r->n > ACCOUNT_TARGETS_MAX)
		return SPOOL_TOO_MANY;
	return r->n > 0 ? SPOOL_OK : r->disabled ? SPOOL_DISABLED : SPOOL_NO_MAILBOX;
}

static size_t
without_tag(const char *local)
{
	size_t len = strlen(local);

	for (size_t i = 1; i < len && policy.delimiter != '\0'; i++)
		if (local[i] == policy.delimiter && local[0] != policy.delimiter)
			return i;
	return len;
}

/* Of a domain of ours: as written, without tag, or the domain's catch-all. */
static const struct node *
choose(unsigned domain, const char *local, bool catch_all)
{
	const struct node *node = find_node(domain, local, strlen(local));

	if (node == NULL)
		node = find_node(domain, local, without_tag(local));
	return node != NULL || !catch_all ? node : find_node(domain, "", 0);
}

/* One of the crowd, whom no node stands for: c0, c1, ... */
static bool
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

static enum spool_status
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

static enum spool_status
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

struct input {
	const uint8_t *p, *end;
};

static uint8_t
take(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

/* Low bits: the local-part; then the domain; the top bit: in capitals. */
static struct address
take_name(struct input *in)
{
	unsigned n = take(in), domain = n >> 4 & 3;
	struct address a = { .text = "" };

	snprintf(a.domain, sizeof(a.domain), "%s", domains[domain]);
	snprintf(
	    a.local, sizeof(a.local), "%s", domain == CROWD_DOMAIN ? "crowd" : locals[n % LOCALS]);
	for (char *p = a.local; n & 0x80 && *p != '\0'; p++)
		*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
	return a;
}

static size_t
take_targets(struct input *in, struct address targets[TARGETS_MAX])
{
	size_t n = take(in) % (TARGETS_MAX + 1);

	for (size_t i = 0; i < n; i++)
		targets[i] = take_name(in);
	return n;
}

static struct node *
new_node(void)
{
	for (size_t i = MAILBOXES + 1; i < NODES_MAX; i++)
		if (!nodes[i].there)
			return &nodes[i];
	return NULL;
}

static enum spool_status
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

static enum spool_status
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

static enum spool_status
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

static enum spool_status
remove_user(const struct address *name)
{
	struct node *node = find_address(name);

	if (node == NULL || node->id == 0)
		return SPOOL_NO_MAILBOX;
	forget(node);
	sweep();
	return SPOOL_OK;
}

static enum spool_status
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

static void
change_domain(unsigned domain)
{
	if (domain == CROWD_DOMAIN)
		return;
	if (domain_there[domain]) {
		REQUIRE(account_domain_remove(sp, domains[domain]) == remove_domain(domain));
		return;
	}
	REQUIRE(account_domain_remove(sp, domains[domain]) == SPOOL_NO_DOMAIN);
	REQUIRE(account_domain_add(sp, domains[domain], NULL) == SPOOL_OK);
	domain_there[domain] = true;
}

static void
enable(const struct address *name, bool enabled)
{
	struct node *node = find_address(name);
	bool is_user = node != NULL && node->id != 0;

	REQUIRE(account_user_enable(sp, name, enabled) == (is_user ? SPOOL_OK : SPOOL_NO_MAILBOX));
	if (is_user)
		node->enabled = enabled;
}

/* One that is reached: by its id, once, under its own address. */
static void
check_target(const struct account_target *t, struct reached *r)
{
	char address[ACCOUNT_ADDRESS_MAX];

	if (t->mailbox >= CROWD_FIRST) {
		REQUIRE(strstr(t->address, "@crowd.test") != NULL);
		return;
	}
	for (size_t i = 0; i < NODES_MAX; i++)
		if (r->enabled[i] && nodes[i].id == t->mailbox) {
			r->enabled[i] = false;
			address_format(address, nodes[i].local, domains[nodes[i].domain]);
			/* The domain is written as it was when it was added. */
			REQUIRE(strcmp(address, t->address) == 0);
			return;
		}
	REQUIRE(!"it is reached");
}

static void
resolve(const struct address *a)
{
	struct reached r = { .set = 0 };
	struct account_targets targets;
	enum spool_status st = reach(a, &r);

	if (r.crowd && crowds++ > 0)
		return;
	REQUIRE(account_resolve(sp, a, &policy, &targets) == st);
	REQUIRE(targets.n == (st == SPOOL_OK ? r.n : 0));
	REQUIRE(targets.n <= ACCOUNT_TARGETS_MAX);
	for (size_t i = 0; i < targets.n; i++)
		check_target(&targets.list[i], &r);
	account_targets_release(&targets);
}

/* What stands in RCPT, up to a NUL. */
static void
resolve_path(struct input *in)
{
	const uint8_t *nul = memchr(in->p, '\0', (size_t)(in->end - in->p));
	size_t len = (size_t)((nul != NULL ? nul : in->end) - in->p), used;
	char *text = fuzz_copy(in->p, len);
	struct address a;

	in->p += len + (nul != NULL);
	if (address_parse_path(text, len, ADDRESS_POSTMASTER_OK, &a, &used) == 0)
		resolve(&a);
	free(text);
}

static void
act(struct input *in)
{
	enum deed deed = take(in) % DEEDS;
	struct address name = { .text = "" }, others[TARGETS_MAX];
	bool crowd;
	size_t n;

	if (deed != DEED_RESOLVE_PATH)
		name = take_name(in);
	/* That one stays as it is, but for who leads to it. */
	crowd = find_domain(name.domain) == CROWD_DOMAIN;
	switch (deed) {
	case DEED_ADD:
		n = take_targets(in, others);
		if (n > 0 && !crowd && (find_address(&name) != NULL || new_node() != NULL))
			REQUIRE(account_alias_add(sp, &name, others, n, NULL) ==
				add_alias(&name, others, n));
		break;
	case DEED_REMOVE:
		n = take_targets(in, others);
		if (!crowd)
			REQUIRE(account_alias_remove(sp, &name, others, n, NULL) ==
				remove_alias(&name, others, n));
		break;
	case DEED_ENABLE:
	case DEED_DISABLE:
		enable(&name, deed == DEED_ENABLE);
		break;
	case DEED_REMOVE_USER:
		REQUIRE(account_user_remove(sp, &name) == remove_user(&name));
		break;
	case DEED_RENAME_USER:
		others[0] = take_name(in);
		REQUIRE(
		    account_user_rename(sp, &name, &others[0]) == rename_user(&name, &others[0]));
		break;
	case DEED_DOMAIN:
		change_domain(find_domain(name.domain) < DOMAINS ? find_domain(name.domain) : 2);
		break;
	case DEED_RESOLVE:
		/* <postmaster> */
		if (crowd && take(in) % 2 == 0)
			name.domain[0] = '\0';
		resolve(&name);
		break;
	default:
		resolve_path(in);
		break;
	}
}

static int64_t
count_arrows(void)
{
	struct index_conn *c;
	int64_t n = -1;

	REQUIRE(index_read_begin(sp, INDEX_MAIN, &c) == SPOOL_OK);
	REQUIRE(index_number(c, index_stmt(c, "SELECT count(*) FROM alias_target WHERE alias > 1"),
		    &n) == SPOOL_OK);
	index_read_end(sp, &c);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	int64_t arrows = 0;
	uint8_t mode = take(&in);

	crowds = 0;
	policy.postmaster = postmasters[mode % 8];
	policy.delimiter = delimiters[mode >> 3 & 3];
	begin();
	for (size_t i = 0; i < DEEDS_MAX && in.p < in.end; i++)
		act(&in);
	for (size_t i = 0; i < NODES_MAX; i++)
		arrows += __builtin_popcountll(nodes[i].leads);
	REQUIRE(count_arrows() == arrows);
	return 0;
}
