/*
 * ini - the lines of an INI file: sections, keys, values and their places.
 *
 *     [section]
 *     key = value      ; a comment needs a line of its own: "#" and ";" inside
 *                      ; a value belong to it
 *
 * Own code because libinih, as Debian builds it, cuts lines at 200 octets
 * without a word.  Thread: any.
 */
#ifndef CONF_INI_H
#define CONF_INI_H

#include <stddef.h>
#include <stdio.h>

#include "base/strbuf.h"

#define INI_LINE_MAX 8192

/* Called for each key in turn; texts are valid during the call.  Returns 0, or -1 with a
 * reason in err, which ini_read() completes with the place. */
typedef int ini_key_fn(void *arg, const char *section, const char *key, const char *value,
    unsigned line, struct strbuf *err);

/* Reads `len` octets of text that came from `file`.  0, or -1 with `FILE:LINE: reason` in err. */
int ini_read(const char *file, const char *text, size_t len, ini_key_fn *each, void *arg,
    struct strbuf *err);

#endif
