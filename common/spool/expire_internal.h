/*
 * expire_internal - expiry as the janitor runs it.  Private to common/spool.
 */
#ifndef SPOOL_EXPIRE_INTERNAL_H
#define SPOOL_EXPIRE_INTERNAL_H

#include "spool/expire.h"

/* How a run goes; zeros are an ordinary one. */
struct expire_run {
	uint64_t mailbox;               /* 0: all */
	bool dry_run;
	int (*each)(void *arg, const struct expire_item *);
	void *arg;
	/* After each batch, with no lock of expiry's held; anything but SPOOL_OK ends the run. */
	enum spool_status (*between)(struct spool *);
	struct expire_result result;
};

/* As spool_expire(); the outcome is in the run. */
enum spool_status expire_run(struct spool *, struct expire_run *);

#endif
