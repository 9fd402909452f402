/*
 * sasl - what the authentication mechanisms send, taken apart.
 *
 * OpenSSL's own base64 decoder passes over blanks and foreign octets, so ours
 * stands here.  Whatever holds a secret belongs to the caller, who wipes it.
 */
#include <assert.h>
#include <limits.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/num.h"
#include "mail/sasl.h"

#define MD5_OCTETS 16

/* The six bits of a character of the alphabet (RFC 4648 4), or -1. */
static int
sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* Decodes four characters of which the last `pad` are padding. */
static int
decode_group(const char *text, size_t pad, uint8_t *out)
{
	uint32_t bits = 0;
	int six;

	for (size_t i = 0; i < 4; i++) {
		six = i < 4 - pad ? sextet(text[i]) : 0;
		if (six < 0)
			return -1;
		bits = bits << 6 | (uint32_t)six;
	}
	/* RFC 4648 3.5: bits that stand for nothing are zero. */
	if ((bits & ((1u << 8 * pad) - 1)) != 0)
		return -1;
	for (size_t i = 0; i < 3 - pad; i++)
		out[i] = (uint8_t)(bits >> (16 - 8 * i));
	return 0;
}

int
sasl_base64_decode(const char *text, size_t len, uint8_t *out, size_t *out_len_r)
{
	size_t pad = 0, n = 0;

	if (len % 4 != 0)
		return -1;
	if (len > 0 && text[len - 1] == '=')
		pad = text[len - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < len; i += 4, n += 3)
		if (decode_group(text + i, i + 4 == len ? pad : 0, out + n) != 0)
			return -1;
	*out_len_r = n - pad;
	return 0;
}

void
sasl_base64_encode(char *out, const void *buf, size_t len)
{
	assert(len <= INT_MAX);
	EVP_EncodeBlock((unsigned char *)out, buf, (int)len);
}

int
sasl_plain_parse(const uint8_t *message, size_t len, struct sasl_plain *out_r)
{
	const char *authzid = (const char *)message, *end = authzid + len;
	const char *nul = memchr(authzid, '\0', len), *nul2;
	size_t authzid_len;

	if (nul == NULL)
		return -1;
	nul2 = memchr(nul + 1, '\0', (size_t)(end - nul - 1));
	if (nul2 == NULL || memchr(nul2 + 1, '\0', (size_t)(end - nul2 - 1)) != NULL)
		return -1;
	authzid_len = (size_t)(nul - authzid);
	out_r->user = nul + 1;
	out_r->user_len = (size_t)(nul2 - nul - 1);
	out_r->password = nul2 + 1;
	out_r->password_len = (size_t)(end - nul2 - 1);
	if (out_r->user_len == 0 || out_r->password_len == 0)
		return -1;
	/* RFC 4616 2: nobody here may act for another. */
	if (authzid_len != 0 &&
	    (authzid_len != out_r->user_len || memcmp(authzid, out_r->user, authzid_len) != 0))
		return -1;
	return 0;
}

int
sasl_apop_digest(const char *stamp, const char *secret, char digest_r[33])
{
	uint8_t digest[MD5_OCTETS];
	EVP_MD *md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok;

	/* RFC 1939 7: the stamp with its brackets, and the secret at once behind it. */
	ok = md5 != NULL && ctx != NULL && EVP_DigestInit_ex2(ctx, md5, NULL) == 1 &&
	     EVP_DigestUpdate(ctx, stamp, strlen(stamp)) == 1 &&
	     EVP_DigestUpdate(ctx, secret, strlen(secret)) == 1 &&
	     EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_MD_free(md5);
	if (!ok)
		return -1;
	num_format_hex(digest_r, digest, MD5_OCTETS);
	OPENSSL_cleanse(digest, sizeof(digest));
	return 0;
}

int
sasl_prepare(void)
{
	/* What is asked for first takes locks that are not there where they could not be made; this
	 * alone looks whether they could. */
	EVP_MD *md = OSSL_LIB_CTX_get0_global_default() != NULL
	                 ? EVP_MD_fetch(NULL, "SHA2-256", NULL)
	                 : NULL;

	EVP_MD_free(md);
	return md != NULL ? 0 : -1;
}

int
sasl_compare(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len);
}
