/*
 * verify - opens a spool as it is found after a power cut, by the code with which the daemons
 * start, and compares it with what its users know.
 *
 * Thread: one.
 */
#ifndef TESTS_CRASH_VERIFY_H
#define TESTS_CRASH_VERIFY_H

#include "facts.h"

/* True when all is as it must be; else the first things that are not are in `why`.  It changes
 * the spool: recovery, deliveries, upkeep.  `fresh` is the number of the first message that it may
 * send; `large` sends one with a segment of its own too. */
bool verify(const char *dir, const struct facts *, bool pop3d_first, unsigned fresh, bool large,
    char *why, size_t size);

#endif
