/*
 * tls: certificates good and bad, and the sentences about the bad ones.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "net/tls.h"
#include "rig.h"

static char folder[] = "/tmp/restante-test-XXXXXX";
static char cert[80], key[80], other_key[80], rsa_cert[80], rsa_key[80];
static struct strbuf err;

static void
name(char path[80], const char *file)
{
	(void)snprintf(path, 80, "%s/%s", folder, file);
}

static void
begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	name(cert, "cert");
	name(key, "key");
	name(rsa_cert, "rsa-cert");
	name(rsa_key, "rsa-key");
	name(other_key, "other-key");
	certificate_make(cert, other_key, false, 2);
	certificate_make(cert, key, false, 1);
	certificate_make(rsa_cert, rsa_key, true, 3);
	strbuf_init(&err, 4096);
}

static void
end(void)
{
	strbuf_release(&err);
	(void)unlink(cert);
	(void)unlink(key);
	(void)unlink(other_key);
	(void)unlink(rsa_cert);
	(void)unlink(rsa_key);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void
require_refused(const char *cert_file, const char *key_file, const char *file, const char *why)
{
	ck_assert_ptr_null(tls_context_load(cert_file, key_file, &err));
	ck_assert_msg(
	    strstr(err.buf, file) != NULL && strstr(err.buf, why) != NULL, "it says: %s", err.buf);
	strbuf_clear(&err);
}

START_TEST(a_pair_is_loaded)
{
	struct tls_context *a = tls_context_load(cert, key, &err), *b;

	ck_assert_ptr_nonnull(a);
	ck_assert_uint_eq(err.len, 0);
	b = tls_context_ref(a);
	tls_context_unref(&a);
	ck_assert_ptr_null(a);
	tls_context_unref(&b);
	tls_context_unref(&b);
	a = tls_context_load(rsa_cert, rsa_key, &err);
	ck_assert_ptr_nonnull(a);
	tls_context_unref(&a);
}
END_TEST

/* Of OpenSSL's allocations this one fails; below 0: none. */
static int fails_at = -1;

static void *
allocate(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	if (fails_at >= 0 && fails_at-- == 0)
		return NULL;
	return malloc(size);
}

static void *
allocate_again(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(old, size);
}

static void
give_back(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

/* The first connection, which came when memory was out, does not spoil those that come later. */
START_TEST(memory_comes_back)
{
	struct tls_context *context = tls_context_load(cert, key, &err);
	struct tls *tls;

	ck_assert_ptr_nonnull(context);
	fails_at = _i;
	tls = tls_new(context, 0);
	tls_free(&tls);
	fails_at = -1;
	tls = tls_new(context, 0);
	ck_assert_ptr_nonnull(tls);
	tls_free(&tls);
	tls_context_unref(&context);
}
END_TEST

START_TEST(what_is_wrong_is_said)
{
	char junk[80];
	FILE *f;

	require_refused("/nowhere/cert", key, "/nowhere/cert", "does not exist");
	require_refused(cert, "/nowhere/key", "/nowhere/key", "does not exist");
	require_refused(cert, other_key, other_key, "does not belong to the certificate");
	require_refused(cert, rsa_key, rsa_key, "does not belong to the certificate");
	require_refused(rsa_cert, key, key, "does not belong to the certificate");
	require_refused(key, key, key, "must hold the certificate");
	require_refused(cert, cert, cert, "one private key as PEM");

	name(junk, "junk");
	f = fopen(junk, "we");
	ck_assert_ptr_nonnull(f);
	(void)fputs("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", f);
	(void)fclose(f);
	require_refused(junk, key, junk, "must hold the certificate");
	(void)unlink(junk);
	/* Nothing is left in OpenSSL's queue for the next to trip over. */
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(a_passphrase_is_not_asked_for)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	char locked[80];
	FILE *f;

	name(locked, "locked");
	f = fopen(locked, "we");
	ck_assert(f != NULL && k != NULL);
	ck_assert_int_eq(PEM_write_PrivateKey(f, k, EVP_aes_128_cbc(),
			     (const unsigned char *)"secret", 6, NULL, NULL),
	    1);
	(void)fclose(f);
	EVP_PKEY_free(k);
	require_refused(cert, locked, locked, "without a passphrase");
	(void)unlink(locked);
}
END_TEST

START_TEST(who_must_read_it_is_said)
{
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chmod(folder, 0755), 0);
	ck_assert_int_eq(chmod(cert, 0644), 0);
	ck_assert_int_eq(chmod(key, 0600), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	require_refused(cert, key, key, "cannot be read: let nobody read it");
	ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* --- a handshake, both sides in one thread ----------------------------------- */

/* Rows: the newest version that the client has; whether it is enough (RFC 8314 4). */
static const struct {
	int newest;
	bool taken;
	const char *version;
} versions[] = {
	{ TLS1_VERSION, false, NULL },
	{ TLS1_1_VERSION, false, NULL },
	{ TLS1_2_VERSION, true, "TLSv1.2" },
	{ TLS1_3_VERSION, true, "TLSv1.3" },
};

/* RFC 8314 4.2: a client that has a certificate is never asked for it. */
static bool asked;

static int
note_asked(SSL *ssl, X509 **x509, EVP_PKEY **pkey)
{
	(void)ssl, (void)x509, (void)pkey;
	asked = true;
	return 0;
}

START_TEST(versions_from_1_2_on_are_taken)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_context *context = tls_context_load(cert, key, &err);
	enum tls_result result = TLS_WANT_READ;
	struct tls *tls;
	char text[128];
	int pair[2], i;
	SSL *client;

	ck_assert(ctx != NULL && context != NULL);
	asked = false;
	SSL_CTX_set_client_cert_cb(ctx, note_asked);
	SSL_CTX_set_security_level(ctx, 0);
	ck_assert_int_eq(SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION), 1);
	ck_assert_int_eq(SSL_CTX_set_max_proto_version(ctx, versions[_i].newest), 1);
	rig_pair(pair, false, 0);
	tls = tls_new(context, pair[0]);
	client = SSL_new(ctx);
	ck_assert(tls != NULL && client != NULL);
	ck_assert_int_eq(SSL_set_fd(client, pair[1]), 1);
	for (i = 0; i < 20 && (result == TLS_WANT_READ || result == TLS_WANT_WRITE); i++) {
		(void)SSL_connect(client);
		result = tls_handshake(tls);
	}
	if (versions[_i].taken) {
		ck_assert_int_eq(result, TLS_OK);
		ck_assert_str_eq(tls_version(tls), versions[_i].version);
		ck_assert_uint_gt(strlen(tls_cipher(tls)), 5);
		ck_assert(!asked);
	} else {
		ck_assert_int_eq(result, TLS_FAILED);
		ck_assert_ptr_nonnull(strstr(tls_error(tls, text, sizeof(text)), "protocol"));
	}
	SSL_free(client);
	SSL_CTX_free(ctx);
	tls_free(&tls);
	ck_assert_ptr_null(tls);
	tls_free(&tls);
	tls_context_unref(&context);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* --- renewing keys ------------------------------------------------------------ */

/* So many, and "text" behind them, in one go. */
static void
send_key_updates(SSL *client, int fd, unsigned n)
{
	BIO *all = BIO_new(BIO_s_mem());
	char *octets;
	long len;

	ck_assert_ptr_nonnull(all);
	SSL_set0_wbio(client, all);
	for (; n > 0; n--) {
		ck_assert_int_eq(SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		ck_assert_int_eq(SSL_do_handshake(client), 1);
	}
	ck_assert_int_eq(SSL_write(client, "text", 4), 4);
	len = BIO_get_mem_data(all, &octets);
	ck_assert_int_eq(send(fd, octets, (size_t)len, MSG_NOSIGNAL), len);
}

/* A client may renew its keys, but who does nothing else keeps us busy for ever: each one costs us
 * far more than the octets cost that say it. */
START_TEST(renewing_keys_has_its_bound)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_context *context = tls_context_load(cert, key, &err);
	enum tls_result result = TLS_WANT_READ;
	struct tls *tls;
	int pair[2], i, left = 0;
	char text[128];
	SSL *client;
	size_t len;

	ck_assert(ctx != NULL && context != NULL);
	rig_pair(pair, true, 0);
	tls = tls_new(context, pair[0]);
	client = SSL_new(ctx);
	ck_assert(tls != NULL && client != NULL);
	ck_assert_int_eq(SSL_set_fd(client, pair[1]), 1);
	for (i = 0; i < 20 && result == TLS_WANT_READ; i++) {
		(void)SSL_connect(client);
		result = tls_handshake(tls);
	}
	ck_assert_int_eq(result, TLS_OK);
	ck_assert_int_eq(SSL_connect(client), 1);
	for (i = 0; i < 2; i++) {
		send_key_updates(client, pair[1], 50);
		ck_assert_int_eq(tls_read(tls, text, sizeof(text), &len), TLS_OK);
		ck_assert_uint_eq(len, 4);
	}
	/* One more, and with it all that follow: most of them are not even looked at. */
	send_key_updates(client, pair[1], 2000);
	ck_assert_int_eq(tls_read(tls, text, sizeof(text), &len), TLS_FAILED);
	ck_assert_uint_eq(len, 0);
	ck_assert_str_eq(tls_error(tls, text, sizeof(text)), "too many key updates");
	ck_assert_int_eq(ioctl(pair[0], FIONREAD, &left), 0);
	ck_assert_int_gt(left, 1000 * 27);
	ck_assert_int_eq(tls_read(tls, text, sizeof(text), &len), TLS_FAILED);
	SSL_free(client);
	SSL_CTX_free(ctx);
	tls_free(&tls);
	tls_context_unref(&context);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tc = tcase_create("tls");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (CRYPTO_set_mem_functions(allocate, allocate_again, give_back) != 1)
		return 1;
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_pair_is_loaded);
	tcase_add_loop_test(tc, memory_comes_back, 0, 16);
	tcase_add_test(tc, what_is_wrong_is_said);
	tcase_add_test(tc, a_passphrase_is_not_asked_for);
	tcase_add_test(tc, who_must_read_it_is_said);
	tcase_add_loop_test(tc, versions_from_1_2_on_are_taken, 0, 4);
	tcase_add_test(tc, renewing_keys_has_its_bound);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
