/*
 * wire - a stored message as RETR gives it: the prefix, then the wire octets with their stuffing
 * taken off and without the final ".CRLF".
 *
 * Thread: any.
 */
#ifndef POP_ADMIN_WIRE_H
#define POP_ADMIN_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "mail/dot.h"

struct wire {
	const char *prefix;             /* borrowed, as `fd` */
	size_t prefix_len;
	int fd;
	uint64_t offset;                /* in the file */
	uint64_t len;                   /* with the final ".CRLF" */
};

enum wire_result {
	WIRE_COPIED,
	WIRE_UNREADABLE,                /* errno; 0 when the file ends too soon */
	WIRE_UNWRITTEN,                 /* emit returned other than 0; errno as it left it */
};

enum wire_result wire_copy(const struct wire *, dot_emit_fn *emit, void *arg);

#endif
