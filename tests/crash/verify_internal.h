/*
 * verify_internal - what verify.c and verify_backup.c share.
 *
 * Thread: one.
 */
#ifndef TESTS_CRASH_VERIFY_INTERNAL_H
#define TESTS_CRASH_VERIFY_INTERNAL_H

#include "spool/spool.h"
#include "verify.h"

struct verdict {
	struct facts facts;     /* with what this program itself sent */
	uint8_t count[BOXES][MESSAGES];
	bool there[BOXES];
	const char *when;
	char *why;
	size_t size, len;
};

void verify_wrong(struct verdict *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Logs in to each mailbox; before the spool is `ready` nothing need be shown. */
void verify_boxes(struct verdict *, struct spool *, bool ready);

/* The backup's folder in the spool `dir`: the last backup that was told to be done is whole, or a
 * later one is; the next one goes on with it.  With `restore` a spool is made of it. */
void verify_backup(struct verdict *, const char *dir, bool restore);

#endif
