/* login: who is let in by which name, with a password and by APOP. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "common/spool/secrets.h"
#include "common/spool/spool_internal.h"
#include "mail/sasl.h"
#include "spool/account.h"
#include "spool_test.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct account_policy policy = { .delimiter = '+' };

static void
add(struct spool *spool, const char *text, const char *password, bool keep_secret)
{
	struct address address = spool_test_address(text);

	ck_assert_int_eq(
	    account_user_add(spool, &address, password, strlen(password), keep_secret, NULL, NULL), SPOOL_OK);
}

static enum spool_status
check(struct spool *spool, const char *name, const char *password, struct account_login *login)
{
	return account_check_password(
	    spool, &policy, name, strlen(name), password, strlen(password), login);
}

#define NAME(name, text, want)                                                                     \
	{                                                                                          \
		name, text, sizeof(text) - 1, want                                                 \
	}

static const struct {
	const char *name, *text;
	size_t len;
	const char *want; /* NULL: denied */
} names[] = {
	NAME("address", "joe@example.test", "Joe@Example.test"),
	NAME("without case", "JOE@EXAMPLE.TEST", "Joe@Example.test"),
	NAME("quoted", "\"joe\"@example.test", "Joe@Example.test"),
	NAME("local-part alone", "joe", "Joe@Example.test"),
	NAME("local-part in capitals", "JOE", "Joe@Example.test"),
	NAME("local-part, quoted", "\"joe\"", "Joe@Example.test"),
	NAME("tag", "joe+x@example.test", "Joe@Example.test"),
	NAME("local-part and tag", "joe+x", "Joe@Example.test"),
	NAME("tag of its own", "joe+own@example.test", "joe+own@Example.test"),
	NAME("must be quoted", "\"odd joe\"@example.test", "\"odd joe\"@Example.test"),
	NAME("must be quoted, alone", "\"odd joe\"", "\"odd joe\"@Example.test"),
	NAME("alias", "sales@example.test", NULL),
	NAME("alias alone", "sales", NULL),
	NAME("postmaster", "postmaster", NULL),
	NAME("nobody", "nobody@example.test", NULL),
	NAME("elsewhere", "joe@elsewhere.test", NULL),
	NAME("empty", "", NULL),
	NAME("at sign", "@", NULL),
	NAME("no local-part", "@example.test", NULL),
	NAME("empty quoted", "\"\"@example.test", NULL),
	NAME("no domain", "joe@", NULL),
	NAME("two at signs", "joe@example.test@example.test", NULL),
	NAME("blank before", " joe", NULL),
	NAME("blank behind", "joe ", NULL),
	NAME("NUL behind", "joe\0", NULL),
	NAME("NUL and more", "joe@example.test\0x", NULL),
	NAME("NUL alone", "\0", NULL),
	NAME("wildcard", "j%", NULL),
	NAME("statement", "' OR 1=1 --", NULL),
	NAME("eight bits", "jo\xc3\xab", NULL),
	NAME("angle brackets", "<joe@example.test>", NULL),
};

START_TEST(names_that_are_known)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN), *pop3d;
	struct address sales = spool_test_address("sales@example.test");
	struct address joe = spool_test_address("joe@example.test");
	struct account_login login;
	char text[1200];

	add(spool, "Joe@Example.test", "secret", false);
	add(spool, "joe+own@example.test", "secret", false);
	add(spool, "\"odd joe\"@example.test", "secret", false);
	ck_assert_int_eq(account_alias_add(spool, &sales, &joe, 1, NULL), SPOOL_OK);
	pop3d = spool_test_open(SPOOL_POP3D);
	for (int i = 0; i < COUNT(names); i++) {
		memset(&login, 0xa5, sizeof(login));
		ck_assert_msg(
		    account_check_password(pop3d, &policy, names[i].text, names[i].len, "secret", 6,
			&login) == (names[i].want != NULL ? SPOOL_OK : SPOOL_DENIED),
		    "%s", names[i].name);
		if (names[i].want != NULL) {
			ck_assert_str_eq(login.address, names[i].want);
			ck_assert_uint_gt(login.mailbox, 0);
		}
	}
	/* The longest name that an address can be, and longer ones. */
	memset(text, 'j', sizeof(text));
	for (size_t len = ADDRESS_MAX - 20; len <= ADDRESS_MAX + 2; len++)
		ck_assert_int_eq(
		    account_check_password(pop3d, &policy, text, len, "secret", 6, &login),
		    SPOOL_DENIED);
	ck_assert_int_eq(
	    account_check_password(pop3d, &policy, text, sizeof(text), "secret", 6, &login),
	    SPOOL_DENIED);

	/* With a second domain a local-part alone says nothing. */
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);
	ck_assert_int_eq(account_domain_add(spool, "other.test", NULL), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe@example.test", "secret", &login), SPOOL_OK);
	ck_assert_int_eq(account_domain_remove(spool, "other.test"), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);
	spool_close(&pop3d);
	spool_close(&spool);
}
END_TEST

/* What an administrator changes is true at once, for what is remembered too. */
START_TEST(changes_are_true_at_once)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN), *pop3d;
	struct address joe = spool_test_address("joe@example.test");
	struct address jim = spool_test_address("jim@example.test");
	struct account_login login, before;

	add(spool, "joe@example.test", "secret", false);
	pop3d = spool_test_open(SPOOL_POP3D);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &before), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);

	ck_assert_int_eq(account_user_enable(spool, &joe, false), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe", "wrong", &login), SPOOL_DENIED);
	ck_assert_int_eq(account_user_enable(spool, &joe, true), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);

	ck_assert_int_eq(account_user_set_password(spool, &joe, "other", 5), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_OK);

	ck_assert_int_eq(account_user_rename(spool, &joe, &jim), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "jim", "other", &login), SPOOL_OK);
	ck_assert_uint_eq(login.mailbox, before.mailbox);
	ck_assert_str_eq(login.address, "jim@example.test");

	ck_assert_int_eq(account_user_remove(spool, &jim), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "jim", "other", &login), SPOOL_DENIED);
	/* His successor is somebody else. */
	add(spool, "jim@example.test", "third", false);
	ck_assert_int_eq(check(pop3d, "jim", "other", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "jim", "third", &login), SPOOL_OK);
	ck_assert_uint_gt(login.mailbox, before.mailbox);
	spool_close(&pop3d);
	spool_close(&spool);
}
END_TEST

static const char stamp[] = "<1896.697170952@dbc.mtview.ca.us>";

static enum spool_status
check_apop(struct spool *spool, const char *name, const char *secret)
{
	struct account_login login;
	char digest[33];

	ck_assert_int_eq(sasl_apop_digest(stamp, secret, digest), 0);
	return account_check_apop(spool, &policy, name, strlen(name), stamp, digest, &login);
}

START_TEST(missing_secret_is_no_denial)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct account_login login;

	add(spool, "joe@example.test", "secret", false);
	ck_assert_int_eq(check(spool, "joe", "secret", &login), SPOOL_OK);
	ck_assert_int_eq(secrets_remove(spool, login.mailbox), SPOOL_OK);
	ck_assert_int_eq(check(spool, "joe", "secret", &login), SPOOL_IO);
	ck_assert_int_eq(check(spool, "joe", "wrong", &login), SPOOL_IO);
	ck_assert_int_eq(check_apop(spool, "joe", "secret"), SPOOL_IO);
	ck_assert_int_eq(check(spool, "ann", "secret", &login), SPOOL_DENIED);
	spool_close(&spool);
}
END_TEST

START_TEST(apop)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct address ann = spool_test_address("ann@example.test");
	struct address joe = spool_test_address("joe@example.test");
	struct account_login login;

	ck_assert(!account_apop_exists(spool));
	add(spool, "joe@example.test", "plain", false);
	ck_assert(!account_apop_exists(spool));
	add(spool, "ann@example.test", "tanstaaf", true);
	ck_assert(account_apop_exists(spool));

	/* RFC 1939 7, the example. */
	ck_assert_int_eq(account_check_apop(spool, &policy, "ann", 3, stamp,
			     "c4c9334bac560ecc979e58001b3e22fb", &login),
	    SPOOL_OK);
	ck_assert_str_eq(login.address, "ann@example.test");
	ck_assert_int_eq(account_check_apop(spool, &policy, "ann", 3, stamp,
			     "c4c9334bac560ecc979e58001b3e22fc", &login),
	    SPOOL_DENIED);
	ck_assert_int_eq(account_check_apop(spool, &policy, "ann", 3, "<another@stamp>",
			     "c4c9334bac560ecc979e58001b3e22fb", &login),
	    SPOOL_DENIED);
	ck_assert_int_eq(check_apop(spool, "ann", ""), SPOOL_DENIED);
	/* Who has no such secret: neither his password nor nothing will do. */
	ck_assert_int_eq(check_apop(spool, "joe", "plain"), SPOOL_DENIED);
	ck_assert_int_eq(check_apop(spool, "joe", ""), SPOOL_DENIED);
	ck_assert_int_eq(check_apop(spool, "nobody", ""), SPOOL_DENIED);
	ck_assert_int_eq(check_apop(spool, "", ""), SPOOL_DENIED);
	/* His password is a password as well. */
	ck_assert_int_eq(check(spool, "ann", "tanstaaf", &login), SPOOL_OK);

	/* A new password is kept recoverable exactly where the old one was. */
	ck_assert_int_eq(account_user_set_password(spool, &ann, "fresh", 5), SPOOL_OK);
	ck_assert_int_eq(account_user_set_password(spool, &joe, "fresh", 5), SPOOL_OK);
	ck_assert_int_eq(check_apop(spool, "ann", "fresh"), SPOOL_OK);
	ck_assert_int_eq(check_apop(spool, "ann", "tanstaaf"), SPOOL_DENIED);
	ck_assert_int_eq(check_apop(spool, "joe", "fresh"), SPOOL_DENIED);
	ck_assert_int_eq(check(spool, "joe", "fresh", &login), SPOOL_OK);

	ck_assert_int_eq(account_user_enable(spool, &ann, false), SPOOL_OK);
	ck_assert_int_eq(check_apop(spool, "ann", "fresh"), SPOOL_DENIED);
	ck_assert_int_eq(account_user_enable(spool, &ann, true), SPOOL_OK);
	ck_assert_int_eq(check_apop(spool, "ann", "fresh"), SPOOL_OK);
	ck_assert_int_eq(account_user_remove(spool, &ann), SPOOL_OK);
	ck_assert(!account_apop_exists(spool));
	spool_close(&spool);
}
END_TEST

static uint64_t
last_login(struct spool *spool)
{
	struct address joe = spool_test_address("joe@example.test");
	struct account_user user;

	ck_assert_int_eq(account_user_find(spool, &joe, &user), SPOOL_OK);
	return user.last_login_s;
}

START_TEST(login_is_noted_once_a_minute)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN);
	struct account_login login;

	add(spool, "joe@example.test", "secret", false);
	ck_assert_int_eq(check(spool, "joe", "secret", &login), SPOOL_OK);
	ck_assert_uint_eq(last_login(spool), 0);
	clock_set(1, 1000000000);
	account_note_login(spool, login.mailbox);
	ck_assert_uint_eq(last_login(spool), 1000000);
	clock_set(1, 1000059999);
	account_note_login(spool, login.mailbox);
	ck_assert_uint_eq(last_login(spool), 1000000);
	clock_set(1, 1000060000);
	account_note_login(spool, login.mailbox);
	ck_assert_uint_eq(last_login(spool), 1000060);
	/* The clock was set back. */
	clock_set(1, 900000000);
	account_note_login(spool, login.mailbox);
	ck_assert_uint_eq(last_login(spool), 900000);
	/* Removed meanwhile. */
	account_note_login(spool, login.mailbox + 1);
	clock_set(0, 0);
	spool_close(&spool);
}
END_TEST

/* A database that is no database: nobody's password is called wrong. */
START_TEST(unreadable_secrets_are_no_denial)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN), *pop3d;
	struct account_login login;
	char path[300];
	FILE *f;

	add(spool, "joe@example.test", "secret", false);
	spool_close(&spool);
	pop3d = spool_test_open(SPOOL_POP3D);
	snprintf(path, sizeof(path), "%s/secrets/secrets.db", spool_test_dir);
	f = fopen(path, "r+");
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < 20000; i++)
		ck_assert_int_ne(fputc('x', f), EOF);
	ck_assert_int_eq(fclose(f), 0);
	snprintf(path, sizeof(path), "%s/secrets/secrets.db-wal", spool_test_dir);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_IO);
	ck_assert_int_eq(check(pop3d, "nobody", "secret", &login), SPOOL_IO);
	ck_assert_int_eq(check_apop(pop3d, "joe", "secret"), SPOOL_IO);
	spool_close(&pop3d);
}
END_TEST

static void
secrets_move(const char *from, const char *to)
{
	char old[300], new[300];

	snprintf(old, sizeof(old), "%s/secrets/%s", spool_test_dir, from);
	snprintf(new, sizeof(new), "%s/secrets/%s", spool_test_dir, to);
	ck_assert_int_eq(rename(old, new), 0);
}

static void
secrets_write(const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/secrets/secrets.db", spool_test_dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

/* A new secrets.db, in which joe and ann have this password. */
static void
secrets_make(const char *password)
{
	struct address joe = spool_test_address("joe@example.test");
	struct address ann = spool_test_address("ann@example.test");
	struct strbuf err;
	struct spool *spool;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_create(spool_test_dir, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	spool = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_eq(
	    account_user_set_password(spool, &joe, password, strlen(password)), SPOOL_OK);
	ck_assert_int_eq(
	    account_user_set_password(spool, &ann, password, strlen(password)), SPOOL_OK);
	spool_close(&spool);
}

/* The file that has the name is what counts, whatever is open and remembered. */
START_TEST(exchanged_secrets_are_noticed)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN), *pop3d;
	struct account_login login;

	add(spool, "joe@example.test", "secret", false);
	add(spool, "ann@example.test", "secret", true);
	spool_close(&spool);
	pop3d = spool_test_open(SPOOL_POP3D);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);
	ck_assert_int_eq(check_apop(pop3d, "ann", "secret"), SPOOL_OK);

	/* Nobody's password is called wrong while there is none. */
	secrets_move("secrets.db", "old.db");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_IO);
		ck_assert_int_eq(check(pop3d, "joe", "wrong", &login), SPOOL_IO);
		ck_assert_int_eq(check(pop3d, "nobody", "secret", &login), SPOOL_IO);
		ck_assert_int_eq(check_apop(pop3d, "ann", "secret"), SPOOL_IO);
		ck_assert(!account_apop_exists(pop3d));
	}
	secrets_move("old.db", "secrets.db");
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);
	ck_assert(account_apop_exists(pop3d));

	secrets_move("secrets.db", "old.db");
	secrets_make("other");
	ck_assert(!account_apop_exists(pop3d));
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_DENIED);
	ck_assert_int_eq(check_apop(pop3d, "ann", "secret"), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_OK);
	ck_assert_int_eq(check(pop3d, "ann", "other", &login), SPOOL_OK);

	/* One that cannot be read is not gone past; the next one is. */
	secrets_move("secrets.db", "other.db");
	secrets_write("no database");
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_IO);
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_IO);
	ck_assert(!account_apop_exists(pop3d));
	secrets_move("old.db", "secrets.db");
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_OK);
	ck_assert(account_apop_exists(pop3d));
	spool_close(&pop3d);
}
END_TEST

struct asker {
	struct spool *spool;
	pthread_t thread;
	atomic_bool stop;
	unsigned right, other;
};

static void *
ask(void *arg)
{
	struct asker *a = arg;
	struct secret secret;

	while (!atomic_load(&a->stop)) {
		if (secrets_read(a->spool, 1, &secret) == SPOOL_OK && secret.found)
			a->right++;
		else
			a->other++;
		account_apop_exists(a->spool);
	}
	return NULL;
}

/* Put there by hand, beside the log and the shared memory of the one before.  Who reads meanwhile reads
 * one or the other. */
START_TEST(secrets_are_exchanged_under_readers)
{
	struct spool *spool = spool_test_open(SPOOL_ADMIN), *pop3d;
	struct asker askers[4];
	struct account_login login;
	char two[300], name[300];

	add(spool, "joe@example.test", "secret", false);
	add(spool, "ann@example.test", "secret", true);
	spool_close(&spool);
	secrets_move("secrets.db", "one.db");
	secrets_make("other");
	secrets_move("secrets.db", "two.db");
	secrets_move("one.db", "secrets.db");
	snprintf(two, sizeof(two), "%s/secrets/two.db", spool_test_dir);
	snprintf(name, sizeof(name), "%s/secrets/secrets.db", spool_test_dir);
	pop3d = spool_test_open(SPOOL_POP3D);
	for (int i = 0; i < COUNT(askers); i++) {
		askers[i] = (struct asker){ .spool = pop3d };
		ck_assert_int_eq(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < 51; i++) {
		usleep(2000);
		ck_assert_int_eq(renameat2(AT_FDCWD, two, AT_FDCWD, name, RENAME_EXCHANGE), 0);
	}
	for (int i = 0; i < COUNT(askers); i++) {
		atomic_store(&askers[i].stop, true);
		ck_assert_int_eq(pthread_join(askers[i].thread, NULL), 0);
		ck_assert_uint_gt(askers[i].right, 0);
		ck_assert_uint_eq(askers[i].other, 0);
	}
	ck_assert_int_eq(check(pop3d, "joe", "secret", &login), SPOOL_DENIED);
	ck_assert_int_eq(check(pop3d, "joe", "other", &login), SPOOL_OK);
	spool_close(&pop3d);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("login");
	TCase *tc = tcase_create("login");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_add_test(tc, names_that_are_known);
	tcase_add_test(tc, changes_are_true_at_once);
	tcase_add_test(tc, missing_secret_is_no_denial);
	tcase_add_test(tc, apop);
	tcase_add_test(tc, login_is_noted_once_a_minute);
	tcase_add_test(tc, unreadable_secrets_are_no_denial);
	tcase_add_test(tc, exchanged_secrets_are_noticed);
	tcase_add_test(tc, secrets_are_exchanged_under_readers);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
