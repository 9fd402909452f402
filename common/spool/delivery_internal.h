/*
 * delivery_internal - a delivery as the committer sees it.  Private to common/spool.
 */
#ifndef SPOOL_DELIVERY_INTERNAL_H
#define SPOOL_DELIVERY_INTERNAL_H

#include "base/list.h"
#include "disk.h"
#include "mail/header.h"
#include "record.h"
#include "room_internal.h"
#include "spool/delivery.h"

struct delivery {
	struct spool *spool;            /* borrowed */
	struct envelope *env;           /* owned */
	struct room_claim *claim;       /* owned; NULL once the outcome is known */

	uint8_t *buf;                   /* owned: the message, or what is not yet in the file */
	size_t len, cap;                /* cap octets count in spool.delivery_memory */
	int fd;                         /* owned, -1: all is in buf; locked as a segment is */
	char tmp[DISK_TMP_NAME_MAX];
	uint32_t room;                  /* octets kept free for the header in the file */
	uint64_t written;               /* wire octets in the file */
	uint64_t started;               /* of these, those that the disk was told to begin with */

	struct header_scan header;
	uint64_t wire_len;              /* so far */
	uint32_t crc;                   /* of these */
	uint8_t last[2];                /* of these */
	uint64_t octets;                /* unstuffed; delivery_commit() says it */
	uint64_t received_ms;           /* an import's; 0: when it is settled */
	char *uid;                      /* owned: an import's; NULL for mail that has none */

	delivery_done_fn *done;
	void *done_arg;
	enum spool_status outcome;      /* SPOOL_OK until something speaks against it */
	struct list_node queued;        /* in the stager's or the committer's list */

	/* Where it goes to: the committer's, for the time of its group. */
	struct {
		struct segment_id id;
		struct record record;
		struct record_recipient *list;  /* owned: those admitted */
		struct room_sum *sums;          /* owned: one for each recipient */
		size_t n;
		uint8_t *header;                /* owned */
		bool linked;                    /* the file has its name */
	} place;
};

/* What ends a message in wire form, as it is stored. */
#define DELIVERY_END ".\r\n"
#define DELIVERY_END_LEN 3

/* The header's length if every recipient is admitted. */
size_t delivery_header_len(const struct delivery *);

/* It is in a file only because memory was short. */
bool delivery_is_small(const struct delivery *);
/* Writes what is left and the end to the file, and syncs it. */
enum spool_status delivery_stage(struct delivery *);
/* Takes a small one back out of its file. */
enum spool_status delivery_unspill(struct delivery *);
/* Lets go of the octets, the file and the place; the outcome stays. */
void delivery_drop_octets(struct delivery *);
/* Some recipients' outcome is that the message does not fit.  Without `each` that is everybody's,
 * else that of all RCPT that led to one of them: a mailbox that only these led to does not get
 * it either. */
void envelope_refuse(struct envelope *, bool each);

/* Sets the outcome, and that of each recipient who has none. */
void delivery_fail(struct delivery *, enum spool_status);

#endif
