/*
 * password: hashing, equal work for whatever is wrong, and what is remembered.
 *
 * The work is counted, not timed: crypt_rn() here stands before the library's and counts.
 */
#include <check.h>
#include <crypt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "common/spool/password.h"
#include "spool/account.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static atomic_int hashed;
/* Takes the place of hashing where a test needs thousands of passwords. */
static bool quick;
static char setting_seen[PASSWORD_HASH_MAX];

char *
crypt_rn(const char *phrase, const char *setting, void *data, int size)
{
	typedef char *crypt_fn(const char *, const char *, void *, int);
	crypt_fn *real;
	void *found;

	atomic_fetch_add(&hashed, 1);
	if (quick) {
		snprintf(data, (size_t)size, "quick:%s", phrase);
		return data;
	}
	snprintf(setting_seen, sizeof(setting_seen), "%s", setting);
	found = dlsym(RTLD_NEXT, "crypt_rn");
	memcpy(&real, &found, sizeof(real));
	return real(phrase, setting, data, size);
}

static struct password_cache *
new_cache(void)
{
	struct password_cache *cache = password_cache_new();

	ck_assert_ptr_nonnull(cache);
	return cache;
}

/* How many times a password was hashed for this check. */
static int
work(struct password_cache *cache, uint64_t mailbox, const char *hash, const void *password,
    size_t len, enum spool_status want)
{
	int before = hashed;

	ck_assert_int_eq(password_check(cache, mailbox, hash, password, len), want);
	return hashed - before;
}

static char octets[ACCOUNT_PASSWORD_MAX + 2];

static const struct {
	const char *name, *password;
	size_t len;
	bool want;
} acceptable[] = {
	{ "empty", "", 0, false },
	{ "one octet", "x", 1, true },
	{ "blank", " ", 1, true },
	{ "any octets", "\xff\x01\r\n\x80", 5, true },
	{ "NUL alone", "", 1, false },
	{ "NUL inside", "a\0b", 3, false },
	{ "NUL at the end", "ab", 3, false },
	{ "longest", octets, ACCOUNT_PASSWORD_MAX, true },
	{ "too long", octets, ACCOUNT_PASSWORD_MAX + 1, false },
};

START_TEST(what_can_be_kept)
{
	struct password_cache *cache = new_cache();
	char hash[PASSWORD_HASH_MAX];

	memset(octets, 'p', sizeof(octets));
	ck_assert_int_eq(
	    password_acceptable(acceptable[_i].password, acceptable[_i].len), acceptable[_i].want);
	if (!acceptable[_i].want) {
		ck_assert_int_eq(password_hash(acceptable[_i].password, acceptable[_i].len, hash),
		    SPOOL_BAD_PASSWORD);
	} else {
		ck_assert_int_eq(
		    password_hash(acceptable[_i].password, acceptable[_i].len, hash), SPOOL_OK);
		ck_assert_int_eq(strncmp(hash, "$y$", 3), 0);
		ck_assert_int_eq(
		    password_check(cache, 1, hash, acceptable[_i].password, acceptable[_i].len),
		    SPOOL_OK);
	}
	password_cache_free(&cache);
	ck_assert_ptr_null(cache);
	password_cache_free(&cache);
}
END_TEST

START_TEST(two_hashes_of_one_password_differ)
{
	char first[PASSWORD_HASH_MAX], second[PASSWORD_HASH_MAX];

	ck_assert_int_eq(password_hash("secret", 6, first), SPOOL_OK);
	ck_assert_int_eq(password_hash("secret", 6, second), SPOOL_OK);
	ck_assert_str_ne(first, second);
}
END_TEST

static char secret[ACCOUNT_PASSWORD_MAX + 2] = "secret";

static const struct {
	const char *name, *password;
	size_t len;
	bool unknown;
} wrongs[] = {
	{ "another", "Secret", 6, false },
	{ "beginning", "secre", 5, false },
	{ "longer", "secretx", 7, false },
	{ "empty", "", 0, false },
	{ "right, then a NUL", "secret", 7, false },
	{ "right, NUL and more", "secret\0x", 8, false },
	{ "longest", octets, ACCOUNT_PASSWORD_MAX, false },
	{ "too long", octets, ACCOUNT_PASSWORD_MAX + 1, false },
	{ "nobody", "secret", 6, true },
	{ "nobody, empty", "", 0, true },
	{ "nobody, too long", octets, ACCOUNT_PASSWORD_MAX + 1, true },
};

START_TEST(wrong_costs_one_hash)
{
	struct password_cache *cache = new_cache();
	char hash[PASSWORD_HASH_MAX], cost[8] = "";

	memset(octets, 'p', sizeof(octets));
	ck_assert_int_eq(password_hash("secret", 6, hash), SPOOL_OK);
	memcpy(cost, hash, strlen("$y$j9T$"));
	/* Known, and still a wrong one is hashed each time. */
	ck_assert_int_eq(password_check(cache, 7, hash, "secret", 6), SPOOL_OK);
	for (int i = 0; i < 2; i++) {
		setting_seen[0] = '\0';
		ck_assert_int_eq(
		    work(cache, wrongs[_i].unknown ? 0 : 7, wrongs[_i].unknown ? NULL : hash,
			wrongs[_i].password, wrongs[_i].len, SPOOL_DENIED),
		    1);
		ck_assert_int_eq(strncmp(setting_seen, cost, strlen(cost)), 0);
	}
	password_cache_free(&cache);
}
END_TEST

START_TEST(longest_password_counts_to_its_end)
{
	struct password_cache *cache = new_cache();
	char hash[PASSWORD_HASH_MAX];

	memset(secret, 's', sizeof(secret));
	ck_assert_int_eq(password_hash(secret, ACCOUNT_PASSWORD_MAX, hash), SPOOL_OK);
	ck_assert_int_eq(password_check(cache, 1, hash, secret, ACCOUNT_PASSWORD_MAX), SPOOL_OK);
	ck_assert_int_eq(
	    password_check(cache, 1, hash, secret, ACCOUNT_PASSWORD_MAX + 1), SPOOL_DENIED);
	secret[ACCOUNT_PASSWORD_MAX - 1] = 't';
	ck_assert_int_eq(
	    password_check(cache, 1, hash, secret, ACCOUNT_PASSWORD_MAX), SPOOL_DENIED);
	password_cache_free(&cache);
}
END_TEST

static const char *const unreadable[] = { "$y$", "$nonsense$abc", "*0", "*", "!" };

START_TEST(a_hash_that_is_none_is_no_denial)
{
	struct password_cache *cache = new_cache();

	ck_assert_int_eq(password_check(cache, 1, unreadable[_i], "secret", 6), SPOOL_IO);
	password_cache_free(&cache);
}
END_TEST

START_TEST(right_is_remembered_for_a_while)
{
	struct password_cache *cache = new_cache(), *other = new_cache();
	char hash[PASSWORD_HASH_MAX], changed[PASSWORD_HASH_MAX];

	clock_set(1000, 1000);
	ck_assert_int_eq(password_hash("secret", 6, hash), SPOOL_OK);
	ck_assert_int_eq(password_hash("secret", 6, changed), SPOOL_OK);
	ck_assert_int_eq(work(cache, 1, hash, "secret", 6, SPOOL_OK), 1);
	ck_assert_int_eq(work(cache, 1, hash, "secret", 6, SPOOL_OK), 0);

	/* Another mailbox, another hash, another process know nothing of it. */
	ck_assert_int_eq(work(cache, 2, hash, "secret", 6, SPOOL_OK), 1);
	ck_assert_int_eq(work(cache, 1, changed, "secret", 6, SPOOL_OK), 1);
	ck_assert_int_eq(work(other, 1, hash, "secret", 6, SPOOL_OK), 1);

	/* A login does not make it last longer: hashing does. */
	clock_set(1000 + PASSWORD_CACHE_MS - 1, 1000);
	ck_assert_int_eq(work(cache, 1, hash, "secret", 6, SPOOL_OK), 0);
	clock_set(1000 + PASSWORD_CACHE_MS, 1000);
	ck_assert_int_eq(work(cache, 1, hash, "secret", 6, SPOOL_OK), 1);
	ck_assert_int_eq(work(cache, 1, hash, "secret", 6, SPOOL_OK), 0);
	password_cache_free(&cache);
	password_cache_free(&other);
}
END_TEST

static enum spool_status
check_number(struct password_cache *cache, unsigned n)
{
	char password[32], hash[64];
	int len;

	len = snprintf(password, sizeof(password), "%u", n);
	snprintf(hash, sizeof(hash), "quick:%u", n);
	return password_check(cache, n, hash, password, (size_t)len);
}

START_TEST(memory_is_bounded_and_keeps_the_newest)
{
	struct password_cache *cache = new_cache();
	unsigned known = 0;

	quick = true;
	for (unsigned i = 0; i < 3 * PASSWORD_CACHE_ENTRIES; i++) {
		clock_set(i + 1, 1000);
		ck_assert_int_eq(check_number(cache, i), SPOOL_OK);
	}
	for (unsigned i = 3 * PASSWORD_CACHE_ENTRIES; i-- > 0;) {
		int before = hashed;

		ck_assert_int_eq(check_number(cache, i), SPOOL_OK);
		if (hashed == before)
			known++;
		/* Of the last thousand hardly one has gone, each set having room for several. */
		if (i == 3 * PASSWORD_CACHE_ENTRIES - 1000)
			ck_assert_uint_gt(known, 950);
	}
	ck_assert_uint_gt(known, 100);
	ck_assert_uint_le(known, PASSWORD_CACHE_ENTRIES);
	password_cache_free(&cache);
}
END_TEST

static void *
log_in_often(void *arg)
{
	struct password_cache *cache = arg;

	for (unsigned i = 0; i < 4000; i++) {
		if (check_number(cache, i % 300) != SPOOL_OK)
			return arg;
		if (password_check(cache, i % 300, "quick:right", "wrong", 5) != SPOOL_DENIED)
			return arg;
	}
	return NULL;
}

START_TEST(threads_share_it)
{
	struct password_cache *cache = new_cache();
	pthread_t threads[4];
	void *failed;

	quick = true;
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, log_in_often, cache), 0);
	for (int i = 0; i < COUNT(threads); i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	password_cache_free(&cache);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("password");
	TCase *tc = tcase_create("password");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, what_can_be_kept, 0, COUNT(acceptable));
	tcase_add_test(tc, two_hashes_of_one_password_differ);
	tcase_add_loop_test(tc, wrong_costs_one_hash, 0, COUNT(wrongs));
	tcase_add_test(tc, longest_password_counts_to_its_end);
	tcase_add_loop_test(tc, a_hash_that_is_none_is_no_denial, 0, COUNT(unreadable));
	tcase_add_test(tc, right_is_remembered_for_a_while);
	tcase_add_test(tc, memory_is_bounded_and_keeps_the_newest);
	tcase_add_test(tc, threads_share_it);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
