/*
 * mbox - reading and writing mbox files, in all their dialects.
 *
 * A line "From SENDER DATE" begins a message; the empty line before it belongs to the file.  A
 * line that does not end in such a date begins nothing, whether somebody quoted it or not (a
 * file whose first From_ line has no date is read without them: there an empty line must stand
 * before it).  What was quoted, ">From " with any number of '>', loses one (mboxrd, mboxo).
 *
 * Content-Length (mboxcl) is believed where the file ends behind so many octets of body, or the
 * next From_ line stands there; in such a body From_ lines begin nothing, and when one of them is
 * not quoted none is (mboxcl2).  That last only where the first message has one too: a sender who
 * guesses how long the mail behind his own will be shall not hide it.
 *
 * Lines end in LF or CRLF, the last one in nothing.
 *
 * Pure but for the calls that it is given.  Thread: one at a time.
 */
#ifndef POP_ADMIN_MBOX_H
#define POP_ADMIN_MBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "source.h"

struct mbox_input {
	/* Up to `len` octets from `offset` on; 0 at the end and behind it, -1 with errno. */
	ssize_t (*read)(void *arg, void *buf, size_t len, uint64_t offset);
	void *arg;
	uint64_t file_s;                /* as in struct source_message */
};

/* Reads to the end.  0; what the sink returned; SOURCE_READ_FAILED with errno; SOURCE_NO_MBOX when
 * the first line that is not empty is no From_ line; SOURCE_NO_MEMORY.  An empty file has no
 * messages. */
int mbox_read(const struct mbox_input *, const struct source_sink *);

/* Quotes lines as mboxrd does, and ends them with LF.  Zeroed before a message's first octet. */
struct mbox_quote {
	enum { MBOX_LINE_START, MBOX_IN_LINE, MBOX_CR, MBOX_CR_CR } state;
	uint64_t marks;                 /* '>' at the line's beginning, held back */
	size_t matched;                 /* of "From ", held back too */
};
typedef int mbox_emit_fn(void *arg, const void *buf, size_t len);

/* The next octets of a message whose lines end in CRLF: with LF, and with `quote` From_ lines are
 * quoted.  A line that ends in a CR of its own keeps CRLF, so that what is read back is the same.
 * 0, or what emit returned. */
int mbox_write(struct mbox_quote *, bool quote, const void *buf, size_t len, mbox_emit_fn *emit,
    void *arg);

#endif
