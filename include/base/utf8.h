/*
 * utf8 - what is UTF-8 (RFC 3629), and where it may be cut.
 *
 * Pure functions.  Thread: any.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How many of the `len` octets at `text` make the first character, 1 to 4; 0 where none stands
 * there: no octets, an end too early, a form longer than need be, a surrogate, or beyond
 * U+10FFFF. */
size_t utf8_first(const char *text, size_t len);

/* Octets up to the first that is no part of a character; `len` when all of it is UTF-8. */
size_t utf8_span(const char *text, size_t len);

#endif
