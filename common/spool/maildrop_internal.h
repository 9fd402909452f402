/*
 * maildrop_internal - what the files about mail in a mailbox share, and opening a message by
 * its id.  Private to common/spool.
 *
 * Thread: as spool/maildrop.h; message_open() any.
 */
#ifndef SPOOL_MAILDROP_INTERNAL_H
#define SPOOL_MAILDROP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "spool/maildrop.h"

struct lock_maildrop;

/* The bits above a message's octets. */
#define MAILDROP_MARK (UINT64_C(1) << 63)       /* DELE */
#define MAILDROP_RETRIEVED (UINT64_C(1) << 62)  /* sent whole by RETR in this session */
#define MAILDROP_KNOWN (UINT64_C(1) << 61)      /* so it was before, as the index says */
#define MAILDROP_AT_QUIT (UINT64_C(1) << 60)    /* its limit from then on is 0 (RFC 2449 6.7) */
#define MAILDROP_OCTETS (MAILDROP_AT_QUIT - 1)

/* mailbox.retention_days where there is no limit (schema/index-002.sql). */
#define RETENTION_NEVER (INT64_MAX / 86400)

struct maildrop_item {
	uint64_t message;
	uint64_t octets;                /* and the bits above */
};

struct maildrop_foreign {
	size_t item;
	size_t text;                    /* where in texts */
};

struct maildrop {
	struct spool *spool;            /* borrowed */
	uint64_t mailbox;
	struct lock_maildrop *lock;     /* owned; NULL in a view */
	char *address;                  /* owned; NULL until it is loaded */

	struct maildrop_item *items;    /* owned, in order */
	size_t n;
	struct maildrop_foreign *foreign; /* owned, in order of item */
	size_t nforeign, foreign_cap;
	struct strbuf texts;            /* foreign UIDs, a NUL behind each */
	uint64_t octets;                /* of all messages */
	uint64_t retention_days;

	size_t marked;
	uint64_t marked_octets;
	size_t at_quit;                 /* RETRIEVED and AT_QUIT; 0 once `spares` */
	bool spares;                    /* none of these goes */
	size_t fresh;                   /* RETRIEVED, and neither KNOWN nor AT_QUIT */
	size_t removed;                 /* by the last update */

	uint64_t *apart;                /* owned: messages that are set apart and are to go */
	size_t napart, apart_cap;
	uint64_t apart_octets;
};

/* maildrop_open_message() of a message that counts `octets` in this mailbox. */
enum spool_status message_open(struct spool *, uint64_t mailbox, uint64_t id, uint64_t octets,
    bool may_block, struct maildrop_message **m_r);

/* Writes the UID of a message: the one that it had elsewhere, or else (NULL) its id.  Returns its
 * length. */
size_t maildrop_write_uid(char uid[MAILDROP_UID_MAX + 1], uint64_t message, const char *foreign);

#endif
