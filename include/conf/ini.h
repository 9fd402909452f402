/*
 * ini - the lines of an INI file: sections, keys, values and their places.
 *
 *     # a comment
 *     [section]
 *     key = value ; and this belongs to the value
 *
 * Blanks around a name or a value do not count.  A comment has a line of its own
 * and begins with # or ;.  A line ends in LF or CRLF, the last one need not end.  A
 * byte order mark at the start is passed over.  Control characters other than the
 * tab are an error, and so is whatever is none of the above.
 *
 * Own code because libinih, as Debian builds it, cuts lines at 200 octets
 * without a word.  Thread: any.
 */
#ifndef CONF_INI_H
#define CONF_INI_H

#include <stddef.h>

#include "base/strbuf.h"

/* The longest line, its end not counted. */
#define INI_LINE_MAX 8192

/* Called for each section line, with key and value NULL, and for each key, in turn.
 * Texts are valid during the call; the value may be empty.  Returns 0, or -1 with a
 * reason in err, which ini_read() completes with the place. */
typedef int ini_key_fn(void *arg, const char *section, const char *key, const char *value,
    unsigned line, struct strbuf *err);

/* Reads `len` octets of text that came from `file`.  0, or -1 with `FILE:LINE: reason`
 * in err; nothing behind the first error is looked at. */
int ini_read(const char *file, const char *text, size_t len, ini_key_fn *each, void *arg,
    struct strbuf *err);

#endif
