/*
 * kept - ending deleted mail that was kept for an administrator.  Private to common/spool.
 *
 * Thread: any; blocks.
 */
#ifndef SPOOL_KEPT_H
#define SPOOL_KEPT_H

#include "spool/spool.h"

/* Ends what was kept for spool_policy.keep_deleted_s, and, the oldest first, what passes
 * keep_deleted_max, in short transactions of their own that are not synced: what a power cut
 * brings back is ended again. */
enum spool_status kept_purge(struct spool *);

#endif
