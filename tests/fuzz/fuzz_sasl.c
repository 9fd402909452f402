/*
 * fuzz_sasl - base64 from a client against OpenSSL's, and what it decodes to
 * taken as a PLAIN message; the raw input too.  The digest of APOP also while OpenSSL
 * runs out of memory.
 */
#include <stdint.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/num.h"
#include "mail/sasl.h"
#include "tests/fuzz/fuzz.h"

/* OpenSSL's allocations that succeed before one fails, or all from there on. */
static size_t allocations_left = SIZE_MAX;
static bool spent, failed;

static void *
scarce_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	if (allocations_left > 0) {
		allocations_left--;
		return realloc(old, size);
	}
	allocations_left = spent ? 0 : SIZE_MAX;
	failed = true;
	return NULL;
}

static void *
scarce_malloc(size_t size, const char *file, int line)
{
	return size == 0 ? NULL : scarce_realloc(NULL, size, file, line);
}

static void
scarce_free(void *old, const char *file, int line)
{
	(void)file, (void)line;
	free(old);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char digest[33];

	(void)argc, (void)argv;
	REQUIRE(CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, scarce_free) == 1);
	/* What OpenSSL makes once and keeps, it makes now. */
	REQUIRE(sasl_apop_digest("", "", digest) == 0);
	return 0;
}

/* Strict base64 is what encoding gives back, and nothing else. */
static bool
is_canonical(const char *text, size_t len)
{
	unsigned char *octets = fuzz_room(len + 3), *again = fuzz_room(len + 8);
	int n = len % 4 == 0 ? EVP_DecodeBlock(octets, (const unsigned char *)text, (int)len) : -1;
	bool same = false;

	for (int pad = 0; pad <= 2 && pad <= n; pad++)
		same |= EVP_EncodeBlock(again, octets, n - pad) == (int)len &&
		        memcmp(again, text, len) == 0;
	free(octets);
	free(again);
	return same || len == 0;
}

static void
try_plain(const uint8_t *message, size_t len)
{
	struct sasl_plain p;
	size_t nuls = 0, at[2] = { 0, 0 };
	bool good;

	for (size_t i = 0; i < len; i++)
		if (message[i] == '\0' && nuls++ < 2)
			at[nuls - 1] = i;
	good = nuls == 2 && at[1] > at[0] + 1 && len > at[1] + 1 &&
	       (at[0] == 0 || (at[0] == at[1] - at[0] - 1 &&
				  memcmp(message, message + at[0] + 1, at[0]) == 0));
	REQUIRE((sasl_plain_parse(message, len, &p) == 0) == good);
	if (!good)
		return;
	REQUIRE((const uint8_t *)p.user == message + at[0] + 1);
	REQUIRE((const uint8_t *)p.user + p.user_len == message + at[1]);
	REQUIRE((const uint8_t *)p.password == message + at[1] + 1);
	REQUIRE((const uint8_t *)p.password + p.password_len == message + len);
}

static void
try_base64(const char *text, size_t len)
{
	uint8_t *out = fuzz_room(SASL_DECODED_MAX(len)), *copy;
	char *again;
	size_t n;

	if (sasl_base64_decode(text, len, out, &n) == 0) {
		REQUIRE(n <= SASL_DECODED_MAX(len));
		again = fuzz_room((n + 2) / 3 * 4 + 1);
		sasl_base64_encode(again, out, n);
		REQUIRE(strlen(again) == len && memcmp(again, text, len) == 0);
		free(again);
		copy = fuzz_copy(out, n);
		try_plain(copy, n);
		free(copy);
	} else {
		REQUIRE(!is_canonical(text, len));
	}
	free(out);
}

/* Whichever allocation fails: there is a digest or there is none, never a wrong one. */
static void
digest_without_memory(const char *stamp, const char *secret, const char *want)
{
	char digest[33];
	int rc;

	failed = true;
	for (size_t n = 0; failed; n++) {
		allocations_left = n;
		failed = false;
		rc = sasl_apop_digest(stamp, secret, digest);
		allocations_left = SIZE_MAX;
		REQUIRE(rc == 0 ? strcmp(digest, want) == 0 : rc == -1 && failed);
	}
}

/* The input up to its first NUL is a stamp, and from there to the next a secret. */
static void
try_apop(const char *text, size_t len)
{
	char *both = fuzz_room(len + 2), digest[33], want[33];
	const char *secret;
	uint8_t md5[16];
	size_t n, m;

	memcpy(both, text, len);
	both[len] = both[len + 1] = '\0';
	n = strlen(both);
	secret = both + n + (n < len);
	m = strlen(secret);
	REQUIRE(sasl_apop_digest(both, secret, digest) == 0);
	REQUIRE(strlen(digest) == 32);
	REQUIRE(sasl_compare(both, text, n) == 0);

	for (int i = 0; i < 2; i++) {
		spent = i == 1;
		digest_without_memory(both, secret, digest);
	}

	memmove(both + n, secret, m);
	REQUIRE(EVP_Digest(both, n + m, md5, NULL, EVP_md5(), NULL) == 1);
	num_format_hex(want, md5, sizeof(md5));
	REQUIRE(sasl_compare(digest, want, sizeof(want)) == 0);
	want[n % 32] ^= 1;
	REQUIRE(sasl_compare(digest, want, sizeof(want)) != 0);
	free(both);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);

	try_plain(copy, size);
	try_base64((const char *)copy, size);
	try_apop((const char *)copy, size);
	free(copy);
	return 0;
}
