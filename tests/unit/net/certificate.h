/*
 * certificate - keys and certificates for tests, made on the spot: nothing that expires
 * is kept in the tree.
 */
#ifndef TESTS_UNIT_NET_CERTIFICATE_H
#define TESTS_UNIT_NET_CERTIFICATE_H

#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>

static inline void
certificate_write_key(const char *file, EVP_PKEY *key)
{
	FILE *f = fopen(file, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	ck_assert_int_eq(fclose(f), 0);
}

/* Writes a new key and a self-signed certificate for it, with this serial number. */
static inline void
certificate_make(const char *cert_file, const char *key_file, bool rsa, long serial)
{
	EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name;
	FILE *f;

	ck_assert(key != NULL && cert != NULL);
	ck_assert_int_eq(X509_set_version(cert, X509_VERSION_3), 1);
	ck_assert_int_eq(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial), 1);
	ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notBefore(cert), -60));
	ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
	ck_assert_int_eq(X509_set_pubkey(cert, key), 1);
	name = X509_get_subject_name(cert);
	ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
			     (const unsigned char *)"mail.example.test", -1, -1, 0), 1);
	ck_assert_int_eq(X509_set_issuer_name(cert, name), 1);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	f = fopen(cert_file, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(PEM_write_X509(f, cert), 1);
	ck_assert_int_eq(fclose(f), 0);
	certificate_write_key(key_file, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

#endif
