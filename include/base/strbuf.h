/*
 * strbuf - text that grows up to a maximum.
 *
 * Invariants: `buf` always ends in a NUL at buf[len] (a shared empty string
 * while nothing was allocated); len never passes the maximum given at init.
 * An append that would pass it, or that finds no memory, changes nothing and
 * sets `failed`, which stays set until strbuf_clear(); nor do later appends change
 * anything, so that the text is a true beginning.  A caller builds the whole text and
 * looks at `failed` once, at the end.  What is appended must not be part of the
 * strbuf itself.
 *
 * The caller owns the struct and releases it.  Thread: one at a time.
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct strbuf {
	char *buf;      /* owned, or the shared empty string while cap is 0 */
	size_t len;     /* octets before the NUL */
	size_t cap;     /* octets allocated */
	size_t max;     /* len never passes this */
	bool failed;
};

void strbuf_init(struct strbuf *, size_t max);
void strbuf_release(struct strbuf *);

/* Empties it and clears `failed`; keeps what is allocated. */
void strbuf_clear(struct strbuf *);

void strbuf_add(struct strbuf *, const void *buf, size_t len);
void strbuf_addstr(struct strbuf *, const char *text);
void strbuf_addch(struct strbuf *, char c);
void strbuf_addf(struct strbuf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* Gives the text to the caller, who frees it; the strbuf is empty then.  NULL, with
 * the strbuf as it was, when it had failed or memory is out. */
char *strbuf_detach(struct strbuf *);

#endif
