/*
 * reindex_internal - what reindex.c and reindex_accounts.c share.  Private to common/spool.
 *
 * Thread: the one that rebuilds.
 */
#ifndef SPOOL_REINDEX_INTERNAL_H
#define SPOOL_REINDEX_INTERNAL_H

#include "damaged.h"
#include "index.h"
#include "record.h"
#include "spool/reindex.h"
#include "spool_internal.h"
#include "tally.h"

struct reindex {
	struct spool spool;             /* of it: dir, dir_fd, segments_fd, locks, disk */
	struct index_store *store;      /* owned: the new index */
	struct index_conn *c;           /* its writer, in a transaction while it is filled */
	struct tally tally;             /* of that transaction */
	struct reindex_result *result;
	uint64_t last_known;            /* mailboxes up to this one were given by the old index */
	bool old;                       /* it is attached */
	int old_version;                /* of its schema */
};

/* reindex_spool() on another disk. */
enum spool_status reindex_spool_on(const char *dir, const struct disk_ops *,
    void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct reindex_result *r,
    struct strbuf *err);

/* Attaches what is left of the old index and takes the accounts out of it, all of them or none;
 * then the aliases, the same, and what its backups know it by.  That it cannot be asked is no
 * failure; SPOOL_VERSION, and a sentence, where a newer version made it. */
enum spool_status reindex_take_accounts(struct reindex *, struct strbuf *err);
/* Makes the mailboxes that a record is for and that nobody knows, under a name that is
 * nobody's, and remembers their addresses. */
enum spool_status reindex_need_mailboxes(struct reindex *, const struct record_envelope *);
/* Asks the records of a segment that the old index knows, where it can be asked, what its header
 * was. */
void reindex_ask_old(struct reindex *, int fd, uint64_t number, struct segment_proof *);
/* The block up to which the old index has this segment's records, which were on disk before: 1
 * where it cannot be asked. */
uint64_t reindex_old_mark(struct reindex *, uint64_t number);
/* At the end: gives these mailboxes their addresses; takes what the old index said beside the
 * records; and sees that no mailbox's id is given again. */
enum spool_status reindex_finish_accounts(struct reindex *);
/* Outside of a transaction. */
void reindex_detach(struct reindex *);

#endif
