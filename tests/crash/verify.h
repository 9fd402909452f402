/*
 * verify - opens a spool as it is found after a power cut, by the code with which the daemons
 * start, and compares it with what its users know.
 *
 * Thread: one.
 */
#ifndef TESTS_CRASH_VERIFY_H
#define TESTS_CRASH_VERIFY_H

#include "facts.h"

struct verify_how {
	bool pop3d_first;
	bool large;             /* a message with a segment of its own is sent too */
	bool restore;           /* a spool is made of the backup */
	unsigned fresh;         /* the number of the first message that may be sent */
};

/* True when all is as it must be; else the first things that are not are in `why`.  It changes
 * the spool: recovery, deliveries, upkeep, a backup. */
bool verify(const char *dir, const struct facts *, const struct verify_how *, char *why,
    size_t size);

#endif
