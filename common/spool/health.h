/*
 * health - what of the spool is known not to be there.  Private to common/spool.
 *
 * A mail program forgets what it has fetched when a listing comes back empty or short.  So a
 * mailbox with mail in a segment that is missing, cannot be read or is shorter than its mark is not
 * shown at all; and nobody's is while the index is not to be believed.
 *
 * What is known is in memory alone, and is found anew at each start.  Thread: any.
 */
#ifndef SPOOL_HEALTH_H
#define SPOOL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "index.h"
#include "spool/spool.h"

struct health;

/* Of so many bad segments each one is known; beyond that all that are asked about are looked at. */
#define HEALTH_SEGMENTS_MAX 65536

/* NULL: no memory. */
struct health *health_new(void);
/* NULL is harmless. */
void health_free(struct health **);

/* Looks at each segment in which the index says that mail lies: one stat for each, no file is
 * opened.  SPOOL_OK also when some are bad: these are logged once, and remembered.  Blocks. */
enum spool_status health_look(struct spool *);

/* Notes that a segment could not be opened or is too short; logged once.  Never waits. */
void health_note_segment(struct spool *, uint64_t number, const char *why);
/* Some segment is noted; false is the usual case, and costs a look at a number. */
bool health_any(struct spool *);
/* How many, as far as is known. */
size_t health_known(struct spool *);
/* Whether its messages may be listed.  One that was noted is looked at again, and forgotten when it
 * is well: somebody may have put it back.  Blocks for that. */
bool health_segment(struct spool *, uint64_t number);

#define HEALTH_INDEX_ADVICE \
	"no mail is taken or shown: stop the daemons, put the right index/index.db back or run " \
	"pop-admin reindex, and start them"
/* The index is not to be believed until the spool is opened anew; logged once. */
void health_note_index(struct spool *, const char *why, const char *advice);
/* It may be believed as far as is known. */
bool health_index(struct spool *);

/*
 * The epoch tells an index of another day: a number in the database's header that is raised now
 * and then.  segments/epoch says which one was on disk, in the index as a whole and in index.db
 * without its log; it lies with the mail, not with the index.  An index that has a lower one is an
 * older copy: mail and mailboxes that it does not know would be taken for nobody's.
 */

/* SPOOL_OK; SPOOL_DAMAGED, logged, for an older index; SPOOL_IO and others.  Blocks. */
enum spool_status epoch_check(struct spool *);
/* Raises it and has it on disk in both places.  A failure is logged: the old one still tells much.
 * Blocks for two syncs. */
enum spool_status epoch_raise(struct spool *);
/* After a checkpoint of all that the log had, by who holds the janitor's role: notes what is in
 * index.db itself.  A failure is logged.  Blocks for a sync where that is more than before. */
void epoch_note_file(struct spool *);
/* Inside a transaction: the index is still the one that it was.  Else it is noted, and the
 * status is SPOOL_IO. */
enum spool_status epoch_compare(struct spool *, struct index_conn *);
/* What segments/epoch says of the index as a whole; 0 when it does not say. */
uint32_t epoch_said(struct spool *);
/* 1: what stands in index.db is at least what was known to.  0: it is not.  -1 with errno: it could
 * not be read. */
int epoch_file_holds(struct spool *, int fd);

#endif
