/*
 * sasl - what the authentication mechanisms send, taken apart.
 *
 * Base64 is strict as RFC 5034 4 asks: no foreign octets, no blanks, padding
 * exactly where it belongs, no bits set behind the end.  Nobody here knows a
 * password to be right: that is spool/account.h's.
 *
 * Pure functions.  The caller wipes what it was given.  Thread: any.
 */
#ifndef MAIL_SASL_H
#define MAIL_SASL_H

#include <stddef.h>
#include <stdint.h>

/* Octets that `len` characters of base64 can stand for at most. */
#define SASL_DECODED_MAX(len) ((len) / 4 * 3)

/* 0 with *out_len_r, or -1.  `out` has room for SASL_DECODED_MAX(len). */
int sasl_base64_decode(const char *text, size_t len, uint8_t *out, size_t *out_len_r);

/* Writes base64 and a NUL; `out` has room for (len + 2) / 3 * 4 + 1. */
void sasl_base64_encode(char *out, const void *buf, size_t len);

/* RFC 4616: [authzid] NUL authcid NUL password.  Results point into the
 * message.  -1 when NULs are missing or too many, authcid or password is empty,
 * or an authorization identity is asked for that is not the authentication identity. */
struct sasl_plain {
	const char *user;
	size_t user_len;
	const char *password;
	size_t password_len;
};
int sasl_plain_parse(const uint8_t *message, size_t len, struct sasl_plain *out_r);

/* RFC 1939 7: MD5 of stamp and secret as 32 lower-case hexadecimal digits and a NUL.
 * The stamp has its angle brackets.  0, or -1 when the library has no MD5. */
int sasl_apop_digest(const char *stamp, const char *secret, char digest_r[33]);

/* Sets OpenSSL up as far as digests need it.  Its own first use does not survive that memory is
 * out; after this no later one does worse than fail.  0, or -1 where memory is out or OpenSSL has
 * no SHA-256; it cannot be tried again in this process.  Before there are other threads. */
int sasl_prepare(void);

/* Compares without telling by its time where two texts of `len` octets differ.  0 is
 * equal. */
int sasl_compare(const void *a, const void *b, size_t len);

#endif
