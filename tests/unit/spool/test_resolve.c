/* resolve: which mailboxes mail to an address reaches. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "common/spool/account_internal.h"
#include "common/spool/spool_internal.h"
#include "spool/account.h"
#include "spool_test.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* A mailbox without a password: nobody logs in here. */
static void
make_mailbox(struct spool *spool, const char *text, bool enabled)
{
	struct address address = spool_test_address(text);
	char folded[ADDRESS_MAX + 1];
	struct index_conn *c;
	uint64_t domain;

	address_fold(folded, address.local);
	ck_assert_int_eq(index_write_begin(spool, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(account_need_domain(c, address.domain, &domain), SPOOL_OK);
	ck_assert_int_eq(account_run(c,
			     "INSERT INTO mailbox (domain, local, folded, enabled, created_s) "
			     "VALUES (?1, ?2, ?3, ?4, 0)",
			     "uttu", domain, address.local, folded, (uint64_t)enabled),
	    SPOOL_OK);
	ck_assert_int_eq(index_write_commit(spool, &c, false), SPOOL_OK);
}

static void
make_alias(struct spool *spool, const char *from, const char *to)
{
	struct address alias = spool_test_address(from), target = spool_test_address(to);

	ck_assert_msg(
	    account_alias_add(spool, &alias, &target, 1, NULL) == SPOOL_OK, "%s -> %s", from, to);
}

/* The addresses that mail to `path` reaches, with commas between. */
static enum spool_status
resolve(struct spool *spool, const char *path, const struct account_policy *policy,
    struct strbuf *reached)
{
	struct account_targets targets;
	struct address rcpt;
	enum spool_status st;
	size_t used;

	ck_assert_msg(
	    address_parse_path(path, strlen(path), ADDRESS_POSTMASTER_OK, &rcpt, &used) == 0, "%s",
	    path);
	/* What stands here before is of no account. */
	memset(&targets, 0xa5, sizeof(targets));
	st = account_resolve(spool, &rcpt, policy, &targets);
	if (st != SPOOL_OK) {
		ck_assert_uint_eq(targets.n, 0);
		ck_assert_ptr_null(targets.list);
	}
	for (size_t i = 0; i < targets.n; i++) {
		ck_assert_uint_gt(targets.list[i].mailbox, 0);
		strbuf_addf(reached, "%s%s", i > 0 ? "," : "", targets.list[i].address);
	}
	account_targets_release(&targets);
	account_targets_release(&targets);
	return st;
}

/* joe is the first mailbox made; off is disabled. */
static void
fill(struct spool *spool)
{
	static const char *const mailboxes[] = { "Joe@Example.Test", "ann@example.test",
		"ann+lists@example.test", "\"odd name\"@example.test", "root@other.test",
		"Abuse@other.test" };
	static const char *const aliases[][2] = {
		{ "sales@example.test", "joe@example.test" },
		{ "sales@example.test", "ann@example.test" },
		{ "all@example.test", "sales@example.test" },
		{ "all@example.test", "ann@example.test" },
		{ "all@example.test", "off@example.test" },
		{ "gone@example.test", "off@example.test" },
		{ "ring1@example.test", "joe@example.test" },
		{ "ring2@example.test", "ring1@example.test" },
		{ "ring3@example.test", "ring2@example.test" },
		{ "ring1@example.test", "ring3@example.test" },
		{ "self@example.test", "ann@example.test" },
		{ "self@example.test", "self@example.test" },
		{ "far@other.test", "joe@example.test" },
		{ "news+weekly@example.test", "ann@example.test" },
		{ "@catch.test", "root@other.test" },
		{ "@catch.test", "joe@example.test" },
		{ "postmaster@third.test", "ann@example.test" },
		{ "nowhere@example.test", "joe@example.test" },
		{ "nowhere@example.test", "nowhere@example.test" },
	};
	struct address address;

	for (int i = 0; i < COUNT(mailboxes); i++)
		make_mailbox(spool, mailboxes[i], true);
	make_mailbox(spool, "off@example.test", false);
	ck_assert_int_eq(account_domain_add(spool, "catch.test", NULL), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "third.test", NULL), SPOOL_OK);
	for (int i = 0; i < COUNT(aliases); i++)
		make_alias(spool, aliases[i][0], aliases[i][1]);
	/* An alias that leads to itself alone can only come about by removal. */
	address = spool_test_address("nowhere@example.test");
	ck_assert_int_eq(
	    account_alias_remove(spool, &address,
		&(struct address){ .local = "joe", .domain = "example.test" }, 1, NULL),
	    SPOOL_OK);
}

static const struct {
	const char *name, *path;
	enum spool_status want;
	const char *reached;
} rows[] = {
	{ "mailbox", "<ann@example.test>", SPOOL_OK, "ann@Example.Test" },
	{ "kept as written", "<joe@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "without case", "<ANN@EXAMPLE.TEST>", SPOOL_OK, "ann@Example.Test" },
	{ "quoted spelling", "<\"ann\"@example.test>", SPOOL_OK, "ann@Example.Test" },
	{ "quoted pair", "<\"a\\nn\"@example.test>", SPOOL_OK, "ann@Example.Test" },
	{ "must be quoted", "<\"Odd Name\"@example.test>", SPOOL_OK, "\"odd name\"@Example.Test" },
	{ "tag", "<joe+tag@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "two tags", "<joe+a+b@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "empty tag", "<joe+@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "tag of its own", "<ann+lists@example.test>", SPOOL_OK, "ann+lists@Example.Test" },
	{ "tag alone", "<+joe@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "tag behind its own tag", "<ann+lists+x@example.test>", SPOOL_OK, "ann@Example.Test" },
	{ "alias", "<sales@example.test>", SPOOL_OK, "Joe@Example.Test,ann@Example.Test" },
	{ "alias and tag", "<Sales+x@example.test>", SPOOL_OK,
	    "Joe@Example.Test,ann@Example.Test" },
	{ "alias with a tag of its own", "<news+weekly@example.test>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "alias has no name without it", "<news@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "alias to alias, each once", "<all@example.test>", SPOOL_OK,
	    "ann@Example.Test,Joe@Example.Test" },
	{ "alias to disabled alone", "<gone@example.test>", SPOOL_DISABLED, "" },
	{ "disabled", "<off@example.test>", SPOOL_DISABLED, "" },
	{ "disabled and tag", "<off+x@example.test>", SPOOL_DISABLED, "" },
	{ "ring", "<ring1@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "ring from elsewhere", "<ring3@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "itself and another", "<self@example.test>", SPOOL_OK, "ann@Example.Test" },
	{ "itself alone", "<nowhere@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "into another domain", "<far@other.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "catch-all", "<anybody@catch.test>", SPOOL_OK, "Joe@Example.Test,root@other.test" },
	{ "catch-all and tag", "<any+body@catch.test>", SPOOL_OK,
	    "Joe@Example.Test,root@other.test" },
	{ "empty quoted string", "<\"\"@catch.test>", SPOOL_OK,
	    "Joe@Example.Test,root@other.test" },
	{ "empty without catch-all", "<\"\"@other.test>", SPOOL_NO_MAILBOX, "" },
	{ "no such mailbox", "<nobody@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "no such domain", "<joe@elsewhere.test>", SPOOL_NO_DOMAIN, "" },
	{ "domain below ours", "<joe@sub.example.test>", SPOOL_NO_DOMAIN, "" },
	{ "address literal", "<joe@[127.0.0.1]>", SPOOL_NO_DOMAIN, "" },
	{ "percent is no route", "<joe%elsewhere.test@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "source route", "<@a.test,@b.test:ann@example.test>", SPOOL_OK, "ann@Example.Test" },

	{ "postmaster alone", "<Postmaster>", SPOOL_OK, "Joe@Example.Test" },
	{ "postmaster of a domain", "<postmaster@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "postmaster in capitals", "<POSTMASTER@other.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "postmaster and tag", "<postmaster+x@other.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "postmaster before catch-all", "<postmaster@catch.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "postmaster of its own", "<postmaster@third.test>", SPOOL_OK, "ann@Example.Test" },
	{ "postmaster elsewhere", "<postmaster@elsewhere.test>", SPOOL_NO_DOMAIN, "" },
	{ "abuse", "<abuse@example.test>", SPOOL_OK, "Joe@Example.Test" },
	{ "abuse of its own", "<abuse@other.test>", SPOOL_OK, "Abuse@other.test" },
	{ "hostmaster is nobody", "<hostmaster@example.test>", SPOOL_NO_MAILBOX, "" },
};

/* Both are addresses with commas between; which comes first is nobody's business. */
static bool
same(const char *got, const char *want)
{
	char all[1024], one[600];
	size_t len;

	snprintf(all, sizeof(all), ",%s,", got);
	for (const char *p = want; *p != '\0'; p += len + (p[len] == ',')) {
		len = strcspn(p, ",");
		snprintf(one, sizeof(one), ",%.*s,", (int)len, p);
		if (strstr(all, one) == NULL)
			return false;
	}
	return strlen(got) == strlen(want);
}

START_TEST(addresses)
{
	static const struct account_policy policy = { .delimiter = '+' };
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct strbuf reached;

	fill(spool);
	for (int i = 0; i < COUNT(rows); i++) {
		strbuf_init(&reached, 4096);
		ck_assert_msg(resolve(spool, rows[i].path, &policy, &reached) == rows[i].want, "%s",
		    rows[i].name);
		ck_assert_msg(
		    same(reached.buf, rows[i].reached), "%s: %s", rows[i].name, reached.buf);
		strbuf_release(&reached);
	}
	spool_close(&spool);
}
END_TEST

static const struct {
	const char *name;
	struct account_policy policy;
	const char *path;
	enum spool_status want;
	const char *reached;
} policies[] = {
	{ "no delimiter", { '\0', NULL }, "<joe+tag@example.test>", SPOOL_NO_MAILBOX, "" },
	{ "no delimiter, as written", { '\0', NULL }, "<ann+lists@example.test>", SPOOL_OK,
	    "ann+lists@Example.Test" },
	{ "another delimiter", { '-', NULL }, "<joe-tag@example.test>", SPOOL_OK,
	    "Joe@Example.Test" },
	{ "another delimiter, plus", { '-', NULL }, "<joe+tag@example.test>", SPOOL_NO_MAILBOX,
	    "" },
	{ "mailbox", { '+', "ann@example.test" }, "<postmaster@other.test>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "mailbox, without domain", { '+', "ann@example.test" }, "<postmaster>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "mailbox, abuse", { '+', "ann@example.test" }, "<abuse@example.test>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "own name first", { '+', "joe@example.test" }, "<postmaster@third.test>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "alias", { '+', "sales@example.test" }, "<postmaster>", SPOOL_OK,
	    "ann@Example.Test,Joe@Example.Test" },
	{ "with a tag", { '+', "ann+post@example.test" }, "<postmaster>", SPOOL_OK,
	    "ann@Example.Test" },
	{ "by catch-all", { '+', "whoever@catch.test" }, "<postmaster>", SPOOL_OK,
	    "Joe@Example.Test,root@other.test" },
	{ "itself", { '+', "postmaster@example.test" }, "<postmaster@example.test>",
	    SPOOL_NO_POSTMASTER, "" },
	{ "not made yet", { '+', "boss@example.test" }, "<postmaster>", SPOOL_NO_POSTMASTER, "" },
	{ "not made yet, not abuse's", { '+', "boss@example.test" }, "<abuse@other.test>", SPOOL_OK,
	    "Abuse@other.test" },
	{ "disabled", { '+', "off@example.test" }, "<postmaster@example.test>", SPOOL_NO_POSTMASTER,
	    "" },
	{ "alias to disabled", { '+', "gone@example.test" }, "<abuse@example.test>",
	    SPOOL_NO_POSTMASTER, "" },
	{ "elsewhere", { '+', "joe@elsewhere.test" }, "<postmaster>", SPOOL_NO_POSTMASTER, "" },
	{ "no address", { '+', "joe" }, "<postmaster>", SPOOL_NO_POSTMASTER, "" },
};

START_TEST(policies_of_a_site)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct strbuf reached;

	fill(spool);
	for (int i = 0; i < COUNT(policies); i++) {
		strbuf_init(&reached, 4096);
		ck_assert_msg(resolve(spool, policies[i].path, &policies[i].policy, &reached) ==
				  policies[i].want,
		    "%s", policies[i].name);
		ck_assert_msg(same(reached.buf, policies[i].reached), "%s: %s", policies[i].name,
		    reached.buf);
		strbuf_release(&reached);
	}
	spool_close(&spool);
}
END_TEST

START_TEST(empty_spool_has_no_postmaster)
{
	static const struct account_policy policy = { .delimiter = '+' };
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct strbuf reached;

	strbuf_init(&reached, 64);
	ck_assert_int_eq(resolve(spool, "<postmaster>", &policy, &reached), SPOOL_NO_POSTMASTER);
	ck_assert_int_eq(account_domain_add(spool, "example.test", NULL), SPOOL_OK);
	ck_assert_int_eq(
	    resolve(spool, "<abuse@example.test>", &policy, &reached), SPOOL_NO_POSTMASTER);
	ck_assert_int_eq(resolve(spool, "<joe@example.test>", &policy, &reached), SPOOL_NO_MAILBOX);
	spool_close(&spool);
}
END_TEST

/* Mailboxes m0 to m(n-1), all of them targets of everybody@big.test. */
static void
make_crowd(struct spool *spool, unsigned n)
{
	struct address everybody = spool_test_address("everybody@big.test"), joe;
	struct index_conn *c;
	char sql[512];

	make_mailbox(spool, "joe@big.test", true);
	joe = spool_test_address("joe@big.test");
	ck_assert_int_eq(account_alias_add(spool, &everybody, &joe, 1, NULL), SPOOL_OK);
	snprintf(sql, sizeof(sql),
	    "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %u)"
	    " INSERT INTO mailbox (domain, local, folded, created_s)"
	    " SELECT (SELECT id FROM domain), 'm' || i, 'm' || i, 0 FROM n;"
	    "INSERT INTO alias_target (alias, mailbox)"
	    " SELECT (SELECT id FROM alias), id FROM mailbox WHERE local <> 'joe'",
	    n);
	ck_assert_int_eq(index_write_begin(spool, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(sqlite3_exec(index_db(c), sql, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(index_write_commit(spool, &c, false), SPOOL_OK);
}

static const struct {
	unsigned crowd;
	enum spool_status want;
} crowds[] = {
	{ ACCOUNT_TARGETS_MAX - 1, SPOOL_OK },
	{ ACCOUNT_TARGETS_MAX, SPOOL_TOO_MANY },
};

START_TEST(targets_are_bounded)
{
	static const struct account_policy policy = { .delimiter = '+' };
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address rcpt = spool_test_address("everybody@big.test");
	struct account_targets targets;

	make_crowd(spool, crowds[_i].crowd);
	ck_assert_int_eq(account_resolve(spool, &rcpt, &policy, &targets), crowds[_i].want);
	ck_assert_uint_eq(targets.n, crowds[_i].want == SPOOL_OK ? ACCOUNT_TARGETS_MAX : 0);
	account_targets_release(&targets);
	spool_close(&spool);
}
END_TEST

/* The loops must not wait long: no look-up walks a table. */
START_TEST(look_ups_use_indexes)
{
	static const struct account_policy policy = { .delimiter = '+' };
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct index_conn *c;
	sqlite3_stmt *stmt, *plan;
	unsigned seen = 0;
	struct strbuf reached;
	char *sql;

	fill(spool);
	strbuf_init(&reached, 4096);
	ck_assert_int_eq(resolve(spool, "<all+x@example.test>", &policy, &reached), SPOOL_OK);
	ck_assert_int_eq(resolve(spool, "<postmaster>", &policy, &reached), SPOOL_OK);
	strbuf_release(&reached);
	/* The reader that was used comes back with its statements. */
	ck_assert_int_eq(index_read_begin(spool, INDEX_MAIN, &c), SPOOL_OK);
	for (stmt = sqlite3_next_stmt(index_db(c), NULL); stmt != NULL;
	     stmt = sqlite3_next_stmt(index_db(c), stmt)) {
		if (strstr(sqlite3_sql(stmt), "SELECT") == NULL)
			continue;
		seen++;
		sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sqlite3_sql(stmt));
		ck_assert_int_eq(sqlite3_prepare_v2(index_db(c), sql, -1, &plan, NULL), SQLITE_OK);
		while (sqlite3_step(plan) == SQLITE_ROW) {
			const char *step = (const char *)sqlite3_column_text(plan, 3);

			/* What an alias has reached so far is walked; the first mailbox is the
			 * first row of its table. */
			ck_assert_msg(strncmp(step, "SCAN", 4) != 0 ||
					  strcmp(step, "SCAN r") == 0 ||
					  strcmp(step, "SCAN m") == 0 ||
					  strcmp(step, "SCAN CONSTANT ROW") == 0,
			    "%s: %s", sqlite3_sql(stmt), step);
		}
		sqlite3_finalize(plan);
		sqlite3_free(sql);
	}
	ck_assert_uint_ge(seen, 5);
	index_read_end(spool, &c);
	spool_close(&spool);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("resolve");
	TCase *tc = tcase_create("resolve");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_add_test(tc, addresses);
	tcase_add_test(tc, policies_of_a_site);
	tcase_add_test(tc, empty_spool_has_no_postmaster);
	tcase_add_loop_test(tc, targets_are_bounded, 0, COUNT(crowds));
	tcase_add_test(tc, look_ups_use_indexes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
