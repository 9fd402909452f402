/*
 * smtp_trace - the Received: field (RFC 5321 4.4).
 *
 * Private to smtpd/.  Pure.  Thread: any.
 */
#ifndef SMTPD_SMTP_TRACE_H
#define SMTPD_SMTP_TRACE_H

#include <stdint.h>

#include "base/endpoint.h"
#include "base/strbuf.h"

struct smtp_trace {
	const char *client;             /* as given with EHLO: may be anything */
	const char *peer;               /* as endpoint_format_host() writes it */
	const char *hostname;
	const char *with;               /* "ESMTPS" (RFC 3848) */
	const char *id;                 /* an atom */
	const char *recipient;          /* as written, without brackets; NULL: not told */
	uint64_t unix_seconds;
};

/* Room for the longest field: three names of 255 octets and one path at most, folds, and words
 * between them.  ROOM_TRACE_MAX counts on it. */
#define SMTP_TRACE_MAX 1500u

/* Appends the field, CRLF included, folded.  A client's name that is neither a domain
 * nor an address literal is not repeated: what stands there is the peer's address. */
void smtp_trace_received(const struct smtp_trace *, struct strbuf *out);

#endif
