/*
 * dot - from what a sender says to wire form (docs/spool.md, "Wire form").
 *
 * In wire form only CRLF ends a line, every line that begins with a dot has a
 * second one before it (RFC 5321 4.5.2), and CRLF.CRLF ends the message.  There
 * is one wire form for a message: what is unstuffed and stuffed again is as it was.
 *
 * Two sources lead there: DATA, which is stuffed already and must be scanned
 * for its end, and BDAT or a file, which has a length and must be stuffed.
 * Both turn a bare LF into CRLF and then stuff the line that it begins; a bare CR
 * stays an octet.  Neither ever takes anything but CRLF.CRLF for the end.
 * A dot that begins a line of DATA and is not followed by another goes (the
 * sender did not stuff; RFC 5321 4.5.2 has the receiver delete it all the same).
 *
 * Output goes to `emit` in runs, most of them straight from the input; emit
 * returns 0, or anything else to stop: the scanner returns at once and must
 * not be used again.  It is never called for no octets.
 *
 * How the input is cut into calls changes the runs, never what they say.
 *
 * Pure but for emit.  Thread: the session's.
 */
#ifndef MAIL_DOT_H
#define MAIL_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int dot_emit_fn(void *arg, const void *buf, size_t len);

struct dot {
	enum {
		DOT_LINE_START, /* behind CRLF, or at the very beginning */
		DOT_BARE_LF,    /* behind a bare LF: a line begins, which cannot end DATA */
		DOT_IN_LINE,
		DOT_CR,         /* behind a CR inside a line */
		DOT_DOT,        /* DATA only: behind a line's first dot, not yet emitted */
		DOT_DOT_CR,     /* DATA only: behind such a dot and a CR, neither emitted */
		DOT_END         /* DATA only: the end has been seen */
	} state;
	/* Of the message so far as STAT and SIZE count it: unstuffed, lines ended by CRLF,
	 * without the final dot (RFC 1870 5). */
	uint64_t octets;
	uint64_t bare_lf; /* how many were found */
};

void dot_init(struct dot *);

/* DATA.  Takes up to `len` octets, emits their wire form without the final
 * ".CRLF", and stops behind it: then the state is DOT_END and what was not
 * consumed is the next command.  Returns how many octets were consumed: all of
 * them while the end was not seen and emit did not stop it. */
size_t dot_scan(struct dot *, const void *buf, size_t len, dot_emit_fn *emit, void *arg);

/* BDAT, a file.  Emits all of `len` octets, stuffed.  0, or what emit returned. */
int dot_stuff(struct dot *, const void *buf, size_t len, dot_emit_fn *emit, void *arg);

/* Ends a stuffed message: emits CRLF where the last line lacks it.  An empty
 * message stays empty.  0, or what emit returned. */
int dot_stuff_end(struct dot *, dot_emit_fn *emit, void *arg);

/* Wire form, as the functions above emit it, back to the message: the dot that
 * begins a line goes.  The caller leaves the final ".CRLF" out.  Uses state and
 * octets alone.  0, or what emit returned. */
int dot_unstuff(struct dot *, const void *buf, size_t len, dot_emit_fn *emit, void *arg);

#endif
