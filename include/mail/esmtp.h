/*
 * esmtp - parameters of MAIL and RCPT (RFC 5321 4.1.2, RFC 1870, RFC 6152).
 *
 * Pure functions.  Thread: any.
 */
#ifndef MAIL_ESMTP_H
#define MAIL_ESMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum esmtp_result {
	ESMTP_OK,
	ESMTP_SYNTAX,    /* 501: malformed, doubled, value missing or out of its grammar */
	ESMTP_UNKNOWN,   /* 555: a parameter that was not announced */
	ESMTP_BAD_VALUE, /* 501: known, but not with this value: BODY=BINARYMIME */
};

struct esmtp_mail {
	bool has_size;
	uint64_t size; /* octets declared; UINT64_MAX where 20 digits pass 64 bits */
	bool has_body;
	bool eight_bit; /* BODY=8BITMIME */
};

/* Reads what follows the path of MAIL: blanks and `SIZE=n`, `BODY=7BIT|8BITMIME`,
 * `AUTH=xtext` (taken and not believed, RFC 4954 5), each at most once,
 * keywords in any case; trailing blanks are tolerated.  The first fault decides;
 * *out_r is good after ESMTP_OK alone. */
enum esmtp_result esmtp_parse_mail(const char *text, size_t len, struct esmtp_mail *out_r);

/* The same for RCPT, for which nothing is announced: OK when only blanks, else
 * ESMTP_SYNTAX or ESMTP_UNKNOWN. */
enum esmtp_result esmtp_parse_rcpt(const char *text, size_t len);

#endif
