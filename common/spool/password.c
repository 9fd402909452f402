/*
 * password - hashing passwords, and a memory of those that were right lately.
 *
 * Mail programs log in every few minutes with the same password; hashing it each
 * time would be most of what a POP3 server does.  The cache is a table of sets of
 * WAYS digests: a digest names its set, and the one that ends first makes room.  It
 * holds nothing from which a password could be tried without the key.
 *
 * What must stay true: a wrong password is always hashed, whatever else is wrong
 * with it or with the name, so its cost tells nothing.
 */
#include "password.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/sasl.h"
#include "spool/account.h"

#define WAYS 4
#define SETS (PASSWORD_CACHE_ENTRIES / WAYS)
#define DIGEST_LEN 32

_Static_assert(PASSWORD_HASH_MAX >= CRYPT_OUTPUT_SIZE, "crypt(5) writes more");
_Static_assert(ACCOUNT_PASSWORD_MAX < CRYPT_MAX_PASSPHRASE_SIZE, "libcrypt takes less");

struct known {
	uint8_t digest[DIGEST_LEN];
	uint64_t until_ms; /* monotonic; 0: nothing here */
};

struct password_cache {
	uint8_t key[DIGEST_LEN];
	pthread_mutex_t mutex; /* guards sets */
	struct known sets[SETS][WAYS];
};

bool
password_acceptable(const void *password, size_t len)
{
	return len > 0 && len <= ACCOUNT_PASSWORD_MAX && memchr(password, '\0', len) == NULL;
}

/* New settings: method, cost and salt. */
static bool
make_setting(char setting[CRYPT_GENSALT_OUTPUT_SIZE])
{
	return crypt_gensalt_rn("$y$", 0, NULL, 0, setting, CRYPT_GENSALT_OUTPUT_SIZE) != NULL;
}

static enum spool_status
crypt_failed(int errnum)
{
	if (errnum == ENOMEM)
		return SPOOL_NO_MEMORY;
	log_event(LOG_LEVEL_ERROR, "password_unreadable", log_errno(errnum),
	    log_text("advice", "libcrypt does not know this kind of hash: set the password anew"));
	return SPOOL_IO;
}

/* Hashes an acceptable password by `setting`. */
static enum spool_status
hash_with(const void *password, size_t len, const char *setting, char hash_r[PASSWORD_HASH_MAX])
{
	char phrase[ACCOUNT_PASSWORD_MAX + 1];
	struct crypt_data *data = mem_array(1, sizeof(*data));
	enum spool_status st = SPOOL_OK;
	const char *hash;

	if (data == NULL)
		return SPOOL_NO_MEMORY;
	memcpy(phrase, password, len);
	phrase[len] = '\0';
	hash = crypt_rn(phrase, setting, data, (int)sizeof(*data));
	if (hash == NULL)
		st = crypt_failed(errno);
	else
		memcpy(hash_r, hash, strlen(hash) + 1);
	mem_wipe(phrase, sizeof(phrase));
	mem_wipe(data, sizeof(*data));
	free(data);
	return st;
}

enum spool_status
password_hash(const void *password, size_t len, char hash_r[PASSWORD_HASH_MAX])
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];

	if (!password_acceptable(password, len))
		return SPOOL_BAD_PASSWORD;
	if (!make_setting(setting))
		return crypt_failed(errno);
	return hash_with(password, len, setting, hash_r);
}

struct password_cache *
password_cache_new(void)
{
	struct password_cache *cache = mem_array(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	if (getrandom(cache->key, sizeof(cache->key), 0) != (ssize_t)sizeof(cache->key) ||
	    pthread_mutex_init(&cache->mutex, NULL) != 0) {
		free(cache);
		return NULL;
	}
	return cache;
}

void
password_cache_free(struct password_cache **cp)
{
	struct password_cache *cache = *cp;

	if (cache == NULL)
		return;
	pthread_mutex_destroy(&cache->mutex);
	mem_wipe(cache, sizeof(*cache));
	mem_free(cp);
}

/* False when the library cannot; then nothing is remembered. */
static bool
make_digest(const struct password_cache *cache, uint64_t mailbox, const char *hash,
    const void *password, size_t len, uint8_t digest[DIGEST_LEN])
{
	uint8_t text[sizeof(mailbox) + PASSWORD_HASH_MAX + ACCOUNT_PASSWORD_MAX];
	size_t hash_size = strlen(hash) + 1, n = 0;
	const uint8_t *made;

	/* The NUL behind the hash keeps the two apart. */
	memcpy(text, &mailbox, sizeof(mailbox));
	n += sizeof(mailbox);
	memcpy(text + n, hash, hash_size);
	n += hash_size;
	memcpy(text + n, password, len);
	n += len;
	made = HMAC(EVP_sha256(), cache->key, (int)sizeof(cache->key), text, n, digest, NULL);
	mem_wipe(text, sizeof(text));
	return made != NULL;
}

static struct known *
find_set(struct password_cache *cache, const uint8_t digest[DIGEST_LEN])
{
	uint32_t n;

	memcpy(&n, digest, sizeof(n));
	return cache->sets[n % SETS];
}

static bool
is_known(struct password_cache *cache, const uint8_t digest[DIGEST_LEN])
{
	struct known *set = find_set(cache, digest);
	uint64_t now = clock_mono_ms();
	bool known = false;

	pthread_mutex_lock(&cache->mutex);
	for (size_t i = 0; i < WAYS; i++)
		if (set[i].until_ms > now && sasl_compare(set[i].digest, digest, DIGEST_LEN) == 0)
			known = true;
	pthread_mutex_unlock(&cache->mutex);
	return known;
}

static void
remember(struct password_cache *cache, const uint8_t digest[DIGEST_LEN])
{
	struct known *set = find_set(cache, digest), *place = set;

	pthread_mutex_lock(&cache->mutex);
	for (size_t i = 0; i < WAYS; i++) {
		if (memcmp(set[i].digest, digest, DIGEST_LEN) == 0) {
			place = &set[i];
			break;
		}
		if (set[i].until_ms < place->until_ms)
			place = &set[i];
	}
	memcpy(place->digest, digest, DIGEST_LEN);
	place->until_ms = clock_mono_ms() + PASSWORD_CACHE_MS;
	pthread_mutex_unlock(&cache->mutex);
}

/* The work that a check costs, for one that must fail. */
static enum spool_status
deny(const char *setting)
{
	static const char phrase[] = "nobody's";
	char hash[PASSWORD_HASH_MAX];
	enum spool_status st = hash_with(phrase, sizeof(phrase) - 1, setting, hash);

	mem_wipe(hash, sizeof(hash));
	return st == SPOOL_OK ? SPOOL_DENIED : st;
}

enum spool_status
password_check(struct password_cache *cache, uint64_t mailbox, const char *hash,
    const void *password, size_t len)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE], made[PASSWORD_HASH_MAX];
	uint8_t digest[DIGEST_LEN];
	enum spool_status st;
	bool digested;

	if (hash == NULL)
		return make_setting(setting) ? deny(setting) : crypt_failed(errno);
	if (!password_acceptable(password, len))
		return deny(hash);
	digested = make_digest(cache, mailbox, hash, password, len, digest);
	if (digested && is_known(cache, digest))
		return SPOOL_OK;
	st = hash_with(password, len, hash, made);
	if (st == SPOOL_OK &&
	    (strlen(made) != strlen(hash) || sasl_compare(made, hash, strlen(hash)) != 0))
		st = SPOOL_DENIED;
	if (st == SPOOL_OK && digested)
		remember(cache, digest);
	mem_wipe(made, sizeof(made));
	return st;
}
