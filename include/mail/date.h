/*
 * date - dates as RFC 5322 3.3 writes them, and as old mail has them.
 *
 * Reading is lenient: the date of a message that is moved here shall be kept where anybody can
 * tell what it is.  Thread: any.
 */
#ifndef MAIL_DATE_H
#define MAIL_DATE_H

#include <stddef.h>
#include <stdint.h>

#define DATE_MAX 40

/* "Tue, 24 Nov 2026 03:11:17 +0100" in the machine's zone, with its offset (RFC 5321
 * 4.4).  Returns `text`. */
const char *date_format(char text[DATE_MAX], uint64_t unix_seconds);

/* "Tue Nov 24 03:11:17 2026" in UTC, as From_ lines of mbox files have it (RFC 4155 A). */
const char *date_format_from(char text[DATE_MAX], uint64_t unix_seconds);

/* The value of a Date: field, or what follows the last ';' of a Received: field, folded or not:
 * RFC 5322 3.3 and the obsolete forms of 4.3, comments, names of zones, none at all (UTC), years
 * of two digits.  0 with seconds since 1970, or -1 for what is no date or is an earlier one. */
int date_parse(const char *text, size_t len, uint64_t *unix_seconds_r);

/* What stands behind the sender in a From_ line: "Tue Nov 24 03:11:17 2026", seconds left out or
 * not, a zone before or behind the year, " remote from ..." behind all.  Without a zone it is UTC
 * (RFC 4155 A).  As above. */
int date_parse_from(const char *text, size_t len, uint64_t *unix_seconds_r);

#endif
