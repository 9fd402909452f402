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
#include <stdint.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "common/spool/spool_internal.h"
#include "spool/account.h"
#include "tests/fuzz/alias_model.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/folder.h"

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
#define TARGETS_MAX 3

static const char *const locals[] = { "joe", "ann", "bob", "eve", "team", "all", "a", "b", "c",
	"joe+x", "Postmaster", "ABUSE", "", "odd name", "+x", "c-d" };
#define LOCALS (sizeof(locals) / sizeof(*locals))
static const char *const postmasters[] = { NULL, "joe@x.test", "team+tag@x.test", "all@y.test",
	"nobody@nowhere.test", "no address", "eve@y.test", "x@z.test" };
static const char delimiters[] = { '+', '-', '\0', '+' };

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

static void
remove_spool(void)
{
	spool_close(&sp);
	folder_remove(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[80], sql[1000];
	const struct spool_options options = { .dir = path, .role = SPOOL_ADMIN };
	struct strbuf err;

	(void)argc, (void)argv;
	snprintf(dir, sizeof(dir), "%s/fuzz-alias-XXXXXX", test_memory());
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

	model_begin();
	n = snprintf(sql, sizeof(sql),
	    "DELETE FROM alias_target WHERE alias > 1; DELETE FROM alias WHERE id > 1;"
	    "DELETE FROM mailbox WHERE id < %d; DELETE FROM domain WHERE id <> 4;"
	    "INSERT INTO domain (id, name, folded) VALUES (1, 'x.test', 'x.test'),"
	    " (2, 'Y.test', 'y.test')",
	    CROWD_FIRST);
	for (const struct node *node = nodes; node < nodes + MAILBOXES; node++)
		n += snprintf(sql + n, sizeof(sql) - (size_t)n,
		    ";INSERT INTO mailbox (id, domain, local, folded, enabled, created_s) VALUES"
		    " (%d, %u, '%s', lower('%s'), %d, 0)",
		    (int)node->id, node->domain + 1, node->local, node->local, node->enabled);
	change(sql);
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
