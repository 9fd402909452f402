/*
 * date - dates as RFC 5322 3.3 writes them.  Thread: any.
 */
#ifndef MAIL_DATE_H
#define MAIL_DATE_H

#include <stdint.h>

#define DATE_MAX 40

/* "Tue, 24 Nov 2026 03:11:17 +0100" in the machine's zone, with its offset (RFC 5321
 * 4.4).  Returns `text`. */
const char *date_format(char text[DATE_MAX], uint64_t unix_seconds);

#endif
