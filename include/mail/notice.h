/*
 * notice - the message that tells a mailbox's owner how full it is.
 *
 * Its text is a template: a first line `Subject: TEXT`, an empty line, and what stands in the
 * message, in UTF-8, with LF or CRLF.  In both parts {address}, {percent}, {used}, {quota},
 * {messages}, {hostname} and {postmaster} are replaced; any other {word} stays as it is.
 *
 * Pure functions.  Thread: any.
 */
#ifndef MAIL_NOTICE_H
#define MAIL_NOTICE_H

#include <stdint.h>

#include "base/strbuf.h"

/* The text where the site has none of its own. */
extern const char notice_template[];

struct notice {
	const char *template;           /* NULL: notice_template */
	const char *hostname;           /* a domain name */
	const char *postmaster;         /* an address; anything else becomes postmaster@hostname */
	const char *address;            /* whom it is to, as address_format() writes it */
	const char *id;                 /* an atom that no other notice of this host has */
	uint64_t unix_seconds;
	uint64_t percent;               /* of the quota that is used */
	uint64_t used, quota;           /* octets */
	uint64_t messages;
};

/* No notice is larger, in wire form. */
#define NOTICE_MAX (256u * 1024)

/* Appends the message in wire form (docs/spool.md), without the final dot: Received, the fields of
 * RFC 5322 and MIME, Auto-Submitted (RFC 3834), the text.  No line has more than 998 octets but
 * for what stuffing adds.  *octets_r is its size unstuffed.  0, or -1 when it does not fit `out`,
 * or NOTICE_MAX, or there is no memory. */
int notice_compose(const struct notice *, struct strbuf *out, uint64_t *octets_r);

#endif
