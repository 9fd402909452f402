/* account: domains, mailboxes and aliases, made, shown, changed and removed. */
#include "delivery_test.h"

#include "base/clock.h"
#include "base/num.h"
#include "common/spool/secrets.h"
#include "spool/account.h"
#include "spool/maildrop.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static enum spool_status
add(struct spool *spool, const char *text)
{
	struct address address = spool_test_address(text);

	return account_user_add(spool, &address, "secret", 6, false, NULL, NULL);
}

static enum spool_status
rename_user(struct spool *spool, const char *from, const char *to)
{
	struct address address = spool_test_address(from), new_address = spool_test_address(to);

	return account_user_rename(spool, &address, &new_address);
}

static enum spool_status
remove_user(struct spool *spool, const char *text)
{
	struct address address = spool_test_address(text);

	return account_user_remove(spool, &address);
}

/* Adds or removes "target,target"; "" is no target. */
static enum spool_status
change_alias(struct spool *spool, bool is_add, const char *text, const char *list, size_t *bad_r)
{
	struct address alias = spool_test_address(text), targets[8];
	char one[300];
	size_t n = 0, len;

	for (; *list != '\0'; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		snprintf(one, sizeof(one), "%.*s", (int)len, list);
		targets[n++] = spool_test_address(one);
	}
	return is_add ? account_alias_add(spool, &alias, targets, n, bad_r)
	              : account_alias_remove(spool, &alias, targets, n, bad_r);
}

static enum spool_status
add_alias(struct spool *spool, const char *text, const char *list)
{
	return change_alias(spool, true, text, list, NULL);
}

static enum spool_status
remove_alias(struct spool *spool, const char *text, const char *list)
{
	return change_alias(spool, false, text, list, NULL);
}

static int
write_domain(void *arg, const struct account_domain *d)
{
	ck_assert_uint_eq(d->quota, NUM_UNLIMITED);
	ck_assert_uint_eq(d->expire_s, NUM_UNLIMITED);
	strbuf_addf(arg, "%s %llu\n", d->name, (unsigned long long)d->users);
	return 0;
}

static int
write_user(void *arg, const struct account_user *u)
{
	strbuf_addf(arg, "%s%s\n", u->address, u->enabled ? "" : " off");
	return 0;
}

static int
write_alias(void *arg, const struct account_alias *a)
{
	strbuf_addstr(arg, a->address);
	for (size_t i = 0; i < a->ntargets; i++)
		strbuf_addf(arg, " %s", a->targets[i]);
	strbuf_addch(arg, '\n');
	return 0;
}

/* Everything that is known, as one text. */
static void
assert_all(struct spool *spool, const char *want)
{
	struct strbuf all;

	strbuf_init(&all, 65536);
	ck_assert_int_eq(account_domain_list(spool, NULL, write_domain, &all), SPOOL_OK);
	ck_assert_int_eq(account_user_list(spool, write_user, &all), SPOOL_OK);
	ck_assert_int_eq(account_alias_list(spool, write_alias, &all), SPOOL_OK);
	ck_assert_str_eq(all.buf, want);
	strbuf_release(&all);
}

START_TEST(domains)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);

	assert_all(spool, "");
	ck_assert_int_eq(account_domain_add(spool, "Example.Test", NULL), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "example.test", NULL), SPOOL_EXISTS);
	ck_assert_int_eq(account_domain_add(spool, "a.test", NULL), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "", NULL), SPOOL_BAD_ADDRESS);
	ck_assert_int_eq(account_domain_add(spool, "[127.0.0.1]", NULL), SPOOL_BAD_ADDRESS);
	ck_assert_int_eq(account_domain_add(spool, "a b", NULL), SPOOL_BAD_ADDRESS);
	assert_all(spool, "a.test 0\nExample.Test 0\n");

	ck_assert_int_eq(add(spool, "joe@EXAMPLE.test"), SPOOL_OK);
	assert_all(spool, "a.test 0\nExample.Test 1\njoe@Example.Test\n");
	ck_assert_int_eq(account_domain_remove(spool, "example.test"), SPOOL_IN_USE);
	ck_assert_int_eq(account_domain_remove(spool, "b.test"), SPOOL_NO_DOMAIN);
	ck_assert_int_eq(account_domain_remove(spool, "A.TEST"), SPOOL_OK);
	assert_all(spool, "Example.Test 1\njoe@Example.Test\n");
	spool_close(&spool);
}
END_TEST

START_TEST(domain_takes_its_aliases_along)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "b.test", NULL), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "x@b.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "@b.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "only@a.test", "x@b.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "both@a.test", "x@b.test,joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "far@a.test", "only@a.test"), SPOOL_OK);
	assert_all(spool,
	    "a.test 1\nb.test 0\njoe@a.test\n"
	    "both@a.test joe@a.test x@b.test\nfar@a.test only@a.test\nonly@a.test x@b.test\n"
	    "@b.test joe@a.test\nx@b.test joe@a.test\n");
	ck_assert_int_eq(account_domain_remove(spool, "b.test"), SPOOL_OK);
	assert_all(spool, "a.test 1\njoe@a.test\nboth@a.test joe@a.test\n");
	spool_close(&spool);
}
END_TEST

static const struct {
	const char *name;
	struct address address;
	const char *password;
	size_t len;
	enum spool_status want;
} refusals[] = {
	{ "address literal", { .local = "joe", .domain = "[127.0.0.1]" }, "secret", 6,
	    SPOOL_BAD_ADDRESS },
	{ "no domain", { .local = "joe" }, "secret", 6, SPOOL_BAD_ADDRESS },
	{ "empty local-part", { .domain = "example.test" }, "secret", 6, SPOOL_BAD_ADDRESS },
	{ "empty password", { .local = "joe", .domain = "example.test" }, "", 0,
	    SPOOL_BAD_PASSWORD },
	{ "NUL in the password", { .local = "joe", .domain = "example.test" }, "a\0b", 3,
	    SPOOL_BAD_PASSWORD },
	{ "mailbox", { .local = "ANN", .domain = "Example.test" }, "secret", 6, SPOOL_EXISTS },
	{ "alias", { .local = "Sales", .domain = "example.test" }, "secret", 6, SPOOL_EXISTS },
};

START_TEST(users_that_cannot_be)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address address;

	ck_assert_int_eq(add(spool, "ann@example.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "sales@example.test", "ann@example.test"), SPOOL_OK);
	for (int i = 0; i < COUNT(refusals); i++)
		ck_assert_msg(account_user_add(spool, &refusals[i].address, refusals[i].password,
				  refusals[i].len, true, NULL, NULL) == refusals[i].want,
		    "%s", refusals[i].name);
	/* What was refused left nothing behind, a domain included. */
	address = spool_test_address("joe@new.test");
	ck_assert_int_eq(account_user_add(spool, &address, "", 0, false, NULL, NULL), SPOOL_BAD_PASSWORD);
	assert_all(
	    spool, "example.test 1\nann@example.test\nsales@example.test ann@example.test\n");
	ck_assert(!account_apop_exists(spool));
	spool_close(&spool);
}
END_TEST

START_TEST(users)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address ann = spool_test_address("Ann@b.test"), address;
	struct account_user user;

	clock_set(1, 1700000000123);
	ck_assert_int_eq(add(spool, "Zoe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "Ann@b.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann+x@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "\"a b\"@a.test"), SPOOL_OK);
	clock_set(0, 0);
	assert_all(spool, "a.test 3\nb.test 1\n"
			  "\"a b\"@a.test\nann+x@a.test\nZoe@a.test\nAnn@b.test\n");

	memset(&user, 0xa5, sizeof(user));
	ck_assert_int_eq(account_user_find(spool, &ann, &user), SPOOL_OK);
	ck_assert_str_eq(user.address, "Ann@b.test");
	ck_assert(user.enabled);
	ck_assert_uint_eq(user.quota, NUM_UNLIMITED);
	ck_assert_uint_eq(user.used, 0);
	ck_assert_uint_eq(user.messages, 0);
	ck_assert_uint_eq(user.expire_s, NUM_UNLIMITED);
	ck_assert_uint_eq(user.created_s, 1700000000);
	ck_assert_uint_eq(user.last_login_s, 0);
	ck_assert_uint_eq(user.last_delivery_s, 0);

	/* As written: neither alias nor tag leads to a user. */
	ck_assert_int_eq(add_alias(spool, "sales@b.test", "ann@b.test"), SPOOL_OK);
	address = spool_test_address("sales@b.test");
	ck_assert_int_eq(account_user_find(spool, &address, &user), SPOOL_NO_MAILBOX);
	address = spool_test_address("ann+tag@b.test");
	ck_assert_int_eq(account_user_find(spool, &address, &user), SPOOL_NO_MAILBOX);
	address = spool_test_address("ann@elsewhere.test");
	ck_assert_int_eq(account_user_find(spool, &address, &user), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(account_user_enable(spool, &address, false), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(account_user_set_password(spool, &address, "secret", 6), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(account_user_remove(spool, &address), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(account_user_set_password(spool, &ann, "", 0), SPOOL_BAD_PASSWORD);

	ck_assert_int_eq(account_user_enable(spool, &ann, false), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &ann, &user), SPOOL_OK);
	ck_assert(!user.enabled);
	ck_assert_int_eq(account_user_enable(spool, &ann, true), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &ann, &user), SPOOL_OK);
	ck_assert(user.enabled);
	spool_close(&spool);
}
END_TEST

static const struct {
	const char *name, *from, *to;
	enum spool_status want;
} renames[] = {
	{ "new name", "joe@a.test", "jim@a.test", SPOOL_OK },
	{ "other case", "joe@a.test", "JOE@a.test", SPOOL_OK },
	{ "same", "joe@a.test", "joe@a.test", SPOOL_OK },
	{ "other domain", "joe@a.test", "joe@b.test", SPOOL_OK },
	{ "mailbox there", "joe@a.test", "Ann@a.test", SPOOL_EXISTS },
	{ "alias there", "joe@a.test", "sales@a.test", SPOOL_EXISTS },
	{ "foreign domain", "joe@a.test", "joe@c.test", SPOOL_NO_DOMAIN },
	{ "literal", "joe@a.test", "joe@[127.0.0.1]", SPOOL_NO_DOMAIN },
	{ "catch-all", "joe@a.test", "@b.test", SPOOL_BAD_ADDRESS },
	{ "nobody", "jim@a.test", "joe@b.test", SPOOL_NO_MAILBOX },
	{ "alias", "sales@a.test", "joe@b.test", SPOOL_NO_MAILBOX },
};

START_TEST(renamed)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct account_user before, after;
	struct address address;
	char list[200], want[300];

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "b.test", NULL), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "sales@a.test", "joe@a.test"), SPOOL_OK);
	address = spool_test_address("joe@a.test");
	ck_assert_int_eq(account_user_find(spool, &address, &before), SPOOL_OK);
	ck_assert_int_eq(rename_user(spool, renames[_i].from, renames[_i].to), renames[_i].want);
	if (renames[_i].want == SPOOL_OK) {
		address = spool_test_address(renames[_i].to);
		ck_assert_int_eq(account_user_find(spool, &address, &after), SPOOL_OK);
		ck_assert_uint_eq(after.mailbox, before.mailbox);
		ck_assert_str_eq(after.address, renames[_i].to);
	}
	/* The alias goes on leading to him. */
	snprintf(list, sizeof(list), "sales@a.test %s\n",
	    renames[_i].want == SPOOL_OK ? renames[_i].to : "joe@a.test");
	if (strcmp(renames[_i].name, "other domain") == 0)
		snprintf(
		    want, sizeof(want), "a.test 1\nb.test 1\nann@a.test\njoe@b.test\n%s", list);
	else
		snprintf(want, sizeof(want), "a.test 2\nb.test 0\nann@a.test\n%s\n%s",
		    renames[_i].want == SPOOL_OK ? renames[_i].to : "joe@a.test", list);
	assert_all(spool, want);
	spool_close(&spool);
}
END_TEST

START_TEST(removed_users_take_their_aliases_along)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address joe = spool_test_address("joe@a.test");
	struct maildrop *md;
	struct account_user user;
	struct secret secret;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "one@a.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "two@a.test", "joe@a.test,ann@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "far@a.test", "one@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "@a.test", "far@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &joe, &user), SPOOL_OK);

	/* A session has his maildrop. */
	ck_assert_int_eq(maildrop_lock(spool, user.mailbox, "test", &md), SPOOL_OK);
	ck_assert_int_eq(remove_user(spool, "joe@a.test"), SPOOL_BUSY);
	maildrop_close(&md);
	assert_all(spool,
	    "a.test 2\nann@a.test\njoe@a.test\n@a.test far@a.test\nfar@a.test one@a.test\n"
	    "one@a.test joe@a.test\ntwo@a.test ann@a.test joe@a.test\n");

	ck_assert_int_eq(remove_user(spool, "JOE@a.test"), SPOOL_OK);
	assert_all(spool, "a.test 1\nann@a.test\ntwo@a.test ann@a.test\n");
	ck_assert_int_eq(secrets_read(spool, user.mailbox, &secret), SPOOL_OK);
	ck_assert(!secret.found);
	ck_assert_int_eq(remove_user(spool, "joe@a.test"), SPOOL_NO_MAILBOX);
	/* The lock was given back. */
	ck_assert_int_eq(maildrop_lock(spool, user.mailbox, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_NO_MAILBOX);
	maildrop_close(&md);
	spool_close(&spool);
}
END_TEST

START_TEST(removed_users_mail_goes_along)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address joe = spool_test_address("joe@a.test");
	struct account_user user;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@a.test"), SPOOL_OK);
	ck_assert_int_eq(test_deliver(spool, 0, 300, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(spool, 1, 300, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(spool, 2, 300, 2, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &joe, &user), SPOOL_OK);
	ck_assert_uint_eq(user.mailbox, 1);
	ck_assert_uint_eq(user.messages, 2);
	ck_assert_uint_gt(user.used, 600);
	ck_assert_uint_gt(user.last_delivery_s, 0);
	ck_assert_int_eq(remove_user(spool, "joe@a.test"), SPOOL_OK);
	test_invariants(spool);
	ck_assert_int_eq(test_number(spool, "SELECT count(*) FROM entry WHERE mailbox = 1"), 0);
	ck_assert_int_eq(test_number(spool, "SELECT count(*) FROM garbage"), 1);
	ck_assert_uint_eq(test_copies(spool, 2, 0), 1);
	ck_assert_uint_eq(test_copies(spool, 2, 2), 1);
	spool_close(&spool);
}
END_TEST

/* Made secrets first, removed index first. */
START_TEST(no_mailbox_without_a_secret)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct index_conn *c;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(index_write_begin(spool, INDEX_SECRETS, "test", &c), SPOOL_OK);
	ck_assert_int_eq(
	    sqlite3_exec(index_db(c), "DROP TABLE secret", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(index_write_commit(spool, &c, true), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@b.test"), SPOOL_IO);
	assert_all(spool, "a.test 1\njoe@a.test\n");
	ck_assert_int_eq(remove_user(spool, "joe@a.test"), SPOOL_IO);
	assert_all(spool, "a.test 0\n");
	spool_close(&spool);
}
END_TEST

/* Behind the last id no mailbox is made whose mail recovery would not believe. */
START_TEST(ids_are_bounded)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct index_conn *c;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(index_write_begin(spool, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(sqlite3_exec(index_db(c),
			     "UPDATE sqlite_sequence SET seq = 281474976710654"
			     " WHERE name = 'mailbox'", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(index_write_commit(spool, &c, true), SPOOL_OK);
	ck_assert_int_eq(add(spool, "last@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "none@a.test"), SPOOL_IO);
	assert_all(spool, "a.test 2\njoe@a.test\nlast@a.test\n");
	spool_close(&spool);
}
END_TEST

START_TEST(aliases)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	size_t bad = 99;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@a.test"), SPOOL_OK);

	/* Nothing is added where one target is not local. */
	ck_assert_int_eq(change_alias(spool, true, "x@a.test", "joe@a.test,nobody@a.test", &bad),
	    SPOOL_NOT_LOCAL);
	ck_assert_uint_eq(bad, 1);
	ck_assert_int_eq(
	    change_alias(spool, true, "x@a.test", "joe@elsewhere.test,ann@a.test", &bad),
	    SPOOL_NOT_LOCAL);
	ck_assert_uint_eq(bad, 0);
	/* No new alias leads to itself. */
	ck_assert_int_eq(add_alias(spool, "x@a.test", "x@a.test"), SPOOL_NOT_LOCAL);
	ck_assert_int_eq(add_alias(spool, "x@elsewhere.test", "joe@a.test"), SPOOL_NO_DOMAIN);
	ck_assert_int_eq(add_alias(spool, "Joe@a.test", "ann@a.test"), SPOOL_EXISTS);
	assert_all(spool, "a.test 2\nann@a.test\njoe@a.test\n");

	ck_assert_int_eq(add_alias(spool, "Sales@a.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "sales@a.test", "ann@a.test,joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "@a.test", "SALES@A.TEST"), SPOOL_OK);
	assert_all(spool, "a.test 2\nann@a.test\njoe@a.test\n@a.test Sales@a.test\n"
			  "Sales@a.test ann@a.test joe@a.test\n");

	/* Nothing is removed where one target is not there. */
	ck_assert_int_eq(
	    change_alias(spool, false, "sales@a.test", "joe@a.test,@a.test", &bad), SPOOL_NO_ALIAS);
	ck_assert_uint_eq(bad, 1);
	ck_assert_int_eq(
	    change_alias(spool, false, "other@a.test", "joe@a.test", &bad), SPOOL_NO_ALIAS);
	ck_assert_uint_eq(bad, 1);
	ck_assert_int_eq(
	    change_alias(spool, false, "other@elsewhere.test", "", &bad), SPOOL_NO_ALIAS);
	ck_assert_int_eq(remove_alias(spool, "sales@a.test", "nobody@a.test"), SPOOL_NO_ALIAS);
	assert_all(spool, "a.test 2\nann@a.test\njoe@a.test\n@a.test Sales@a.test\n"
			  "Sales@a.test ann@a.test joe@a.test\n");

	ck_assert_int_eq(remove_alias(spool, "sales@a.test", "joe@a.test"), SPOOL_OK);
	assert_all(spool,
	    "a.test 2\nann@a.test\njoe@a.test\n@a.test Sales@a.test\nSales@a.test ann@a.test\n");
	/* With the last target the alias goes, and what led to it. */
	ck_assert_int_eq(remove_alias(spool, "SALES@a.test", "Ann@a.test"), SPOOL_OK);
	assert_all(spool, "a.test 2\nann@a.test\njoe@a.test\n");

	ck_assert_int_eq(add_alias(spool, "a@a.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "b@a.test", "a@a.test,joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "a@a.test", "b@a.test"), SPOOL_OK);
	ck_assert_int_eq(remove_alias(spool, "a@a.test", ""), SPOOL_OK);
	assert_all(spool, "a.test 2\nann@a.test\njoe@a.test\nb@a.test joe@a.test\n");
	ck_assert_int_eq(add(spool, "a@a.test"), SPOOL_OK);
	spool_close(&spool);
}
END_TEST

static int
end_walk(void *arg, const struct account_user *u)
{
	(void)u;
	++*(int *)arg;
	return *(int *)arg == 2;
}

START_TEST(a_list_ends_when_nobody_wants_more)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	int calls = 0;

	ck_assert_int_eq(add(spool, "a@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "b@a.test"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "c@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_user_list(spool, end_walk, &calls), SPOOL_OK);
	ck_assert_int_eq(calls, 2);
	spool_close(&spool);
}
END_TEST

/* Made secrets first: a mailbox that was not made leaves a secret at most, for an id that the
 * next one has and replaces. */
/* How often `text` occurs in a file of the secrets. */
static unsigned
occurs(const char *name, const char *text)
{
	static char buf[1 << 20];
	char path[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/secrets/%s", spool_test_dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		return 0;
	size_t len = fread(buf, 1, sizeof(buf), f);
	for (char *p = buf; (p = memmem(p, len - (size_t)(p - buf), text, strlen(text))) != NULL;
	     p++)
		n++;
	fclose(f);
	return n;
}

/* What APOP needs can be read by whoever reads the disk, but not after it was removed. */
START_TEST(removed_secret_is_nowhere)
{
	static const char secret[] = "a-secret-that-can-be-found";
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address joe = spool_test_address("joe@a.test");

	ck_assert_int_eq(
	    account_user_add(spool, &joe, secret, sizeof(secret) - 1, true, NULL, NULL), SPOOL_OK);
	ck_assert_uint_eq(occurs("secrets.db", secret) + occurs("secrets.db-wal", secret), 1);
	ck_assert_int_eq(account_user_remove(spool, &joe), SPOOL_OK);
	ck_assert_uint_eq(occurs("secrets.db", secret) + occurs("secrets.db-wal", secret), 0);
	spool_close(&spool);
}
END_TEST

START_TEST(left_secret_is_nobodys)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	const struct account_policy policy = { .delimiter = '+' };
	struct account_login login;
	struct account_user user;
	struct address ann;

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ann = spool_test_address("joe@a.test");
	ck_assert_int_eq(account_user_find(spool, &ann, &user), SPOOL_OK);
	ck_assert_int_eq(secrets_create(spool, user.mailbox + 1, "$y$left", "left"), SPOOL_OK);
	ck_assert_int_eq(add(spool, "ann@a.test"), SPOOL_OK);
	ck_assert_int_eq(
	    account_check_password(spool, &policy, "ann", 3, "secret", 6, &login), SPOOL_OK);
	ck_assert_uint_eq(login.mailbox, user.mailbox + 1);
	ck_assert(!account_apop_exists(spool));
	spool_close(&spool);
}
END_TEST

START_TEST(everything_outlives_the_process)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	uint64_t before;
	struct account_user user;
	struct address joe = spool_test_address("joe@a.test");

	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(add_alias(spool, "x@a.test", "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &joe, &user), SPOOL_OK);
	before = user.mailbox;
	spool_close(&spool);
	spool = spool_test_open(SPOOL_ADMIN);
	assert_all(spool, "a.test 1\njoe@a.test\nx@a.test joe@a.test\n");
	ck_assert_int_eq(remove_user(spool, "joe@a.test"), SPOOL_OK);
	spool_close(&spool);
	/* No id is given twice, not even the last one. */
	spool = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_eq(add(spool, "joe@a.test"), SPOOL_OK);
	ck_assert_int_eq(account_user_find(spool, &joe, &user), SPOOL_OK);
	ck_assert_uint_gt(user.mailbox, before);
	spool_close(&spool);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("account");
	TCase *tc = tcase_create("account");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_add_test(tc, domains);
	tcase_add_test(tc, domain_takes_its_aliases_along);
	tcase_add_test(tc, users_that_cannot_be);
	tcase_add_test(tc, users);
	tcase_add_loop_test(tc, renamed, 0, COUNT(renames));
	tcase_add_test(tc, removed_users_take_their_aliases_along);
	tcase_add_test(tc, removed_users_mail_goes_along);
	tcase_add_test(tc, no_mailbox_without_a_secret);
	tcase_add_test(tc, ids_are_bounded);
	tcase_add_test(tc, aliases);
	tcase_add_test(tc, a_list_ends_when_nobody_wants_more);
	tcase_add_test(tc, removed_secret_is_nowhere);
	tcase_add_test(tc, left_secret_is_nobodys);
	tcase_add_test(tc, everything_outlives_the_process);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
