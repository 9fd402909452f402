/*
 * header - where the header of a message in wire form ends, and its fields.
 *
 * Fed in runs of any length, keeps a few octets.  Thread: the caller's.
 */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct header_scan {
	uint64_t offset;      /* wire octets seen so far */
	uint64_t body;        /* of the first octet behind the empty line; once `ended` */
	unsigned received;    /* Received: fields so far, in any case (RFC 5321 6.3) */
	bool ended;           /* the empty line was seen; some messages have none */
	unsigned char column; /* so many octets of "received", or one of HEADER_* in the .c */
};

void header_scan_init(struct header_scan *);

/* Takes the next `len` octets of wire form, our own fields included, the final ".CRLF"
 * not.  Cheap once the header has ended. */
void header_scan(struct header_scan *, const void *wire, size_t len);

#endif
