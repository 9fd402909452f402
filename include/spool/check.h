/*
 * check - counts the whole store anew.
 *
 * In one state of the index: the sums of mailboxes, who holds each message, what lives in each
 * segment, what is kept and what is garbage, all against the entries; and the entries against the
 * segments' files: there, and long enough.  The records themselves are not read.  Nothing is
 * changed.  Mail comes and goes meanwhile; only upkeep waits.
 *
 * Thread: any, one that may block for long.
 */
#ifndef SPOOL_CHECK_H
#define SPOOL_CHECK_H

#include <stdint.h>

#include "spool/spool.h"
#include "spool/survey.h"

/* Texts are valid during the call. */
struct check_finding {
	const char *address;            /* whose mailbox; NULL where it is nobody's, or no one's */
	const char *uid;                /* of the message; NULL where it is about none */
	const char *what;               /* what is wrong, and what that means */
};

struct check_result {
	uint64_t mailboxes;
	uint64_t messages;              /* in them, counted */
	uint64_t wrong;                 /* findings */
	struct survey_space space;      /* counted */
};

/* `each` is told every finding and must wait for nobody.  SPOOL_OK also when there are some;
 * SPOOL_BUSY when upkeep does not end for so long; else why it could not be found out. */
enum spool_status check_run(struct spool *, void (*each)(void *arg, const struct check_finding *),
    void *arg, struct check_result *r);

#endif
