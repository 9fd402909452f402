/*
 * wire - block by block, by pread: the descriptor is the spool's, and others read from it.
 */
#include "wire.h"

#include <errno.h>
#include <unistd.h>

#define COPY_BLOCK (64u * 1024)

/* The final ".CRLF". */
#define WIRE_END_LEN 3

enum wire_result
wire_copy(const struct wire *w, dot_emit_fn *emit, void *arg)
{
	uint64_t left = w->len - WIRE_END_LEN, at = w->offset;
	char block[COPY_BLOCK];
	struct dot dot;

	dot_init(&dot);
	if (emit(arg, w->prefix, w->prefix_len) != 0)
		return WIRE_UNWRITTEN;
	while (left > 0) {
		size_t want = left < sizeof(block) ? (size_t)left : sizeof(block);
		ssize_t got = pread(w->fd, block, want, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = 0;
		if (got <= 0)
			return WIRE_UNREADABLE;
		if (dot_unstuff(&dot, block, (size_t)got, emit, arg) != 0)
			return WIRE_UNWRITTEN;
		at += (uint64_t)got;
		left -= (uint64_t)got;
	}
	return WIRE_COPIED;
}
