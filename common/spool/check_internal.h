/*
 * check_internal - what the files of check share.  Private to common/spool.
 *
 * Thread: the one that checks.
 */
#ifndef SPOOL_CHECK_INTERNAL_H
#define SPOOL_CHECK_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files.h"
#include "index.h"
#include "record.h"
#include "spool/check.h"

#define CHECK_WHAT_MAX 300

struct check_mailbox {
	uint64_t id;
	uint64_t used, messages; /* as it says */
	uint64_t octets, count;  /* as its entries say */
};

enum check_kind { CHECK_LIVE, CHECK_KEPT, CHECK_APART, CHECK_GARBAGE };

/* An entry, or what is garbage. */
struct check_ref {
	uint64_t message;
	uint32_t mailbox; /* its place in mailboxes; CHECK_NOBODY */
	uint32_t blocks : 30;
	unsigned kind : 2;
};
#define CHECK_NOBODY UINT32_MAX

struct check_segment {
	uint64_t number, mark, live;
	int state;
	uint64_t found; /* messages that somebody holds */
	uint64_t end;   /* the block behind the last that an entry, or garbage, has in it */
	const struct files_entry *file;
	bool is_short; /* its file, by its mark */
};

struct check {
	struct spool *sp;
	struct index_conn *c;
	const struct check_options *options;
	struct check_result *result;
	bool mended;              /* what is said next was mended just now */
	enum spool_status failed; /* to mend */
	bool recover;             /* files that the index does not know are to be entered */

	struct files files;
	struct check_mailbox *mailboxes; /* owned, in order of id */
	size_t nmailboxes, mailboxes_cap;
	struct check_ref *refs; /* owned */
	size_t nrefs, refs_cap;
	struct check_segment *segments; /* owned, in order of number */
	size_t nsegments, segments_cap;
	uint64_t kept_blocks;

	/* While walking by message. */
	uint64_t message, n; /* of the next row of holders */
	bool holders_left;
	uint64_t end; /* the block behind the last message, as an id */
};

/* A finding about a mailbox (0: none) and a message in it (0: none). */
void check_say(struct check *, uint64_t mailbox, uint64_t message, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The same of mail that is set apart. */
void check_note(struct check *, uint64_t mailbox, uint64_t message, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Where it is to be repaired: one statement in a transaction of its own, bound as
 * account_run() does it.  The next finding says that it was mended. */
void check_mend(struct check *, const char *sql, const char *types, ...);
/* The row in holders by what holds the message now, of `n` entries that did. */
void check_mend_holders(struct check *, uint64_t message, const struct check_ref *list, size_t n);
/* Whether a closed segment has mail behind its mark, which nothing has entered. */
void check_end(struct check *, const struct check_segment *);
/* The blocks of one entry, and what is counted as kept with them. */
void check_mend_blocks(struct check *, uint64_t mailbox, uint64_t message, uint64_t blocks);

/* The header of a segment, of which `buf` is the beginning: as it stands there, or where that is
 * none as its records prove it, of which refs has some from `at` on.  That is a finding, and where
 * it is to be repaired it is written.  SPOOL_DAMAGED when nothing proves it. */
enum spool_status check_header(struct check *, int fd, uint64_t number, size_t at,
    const uint8_t buf[SEGMENT_HEADER_LEN], struct segment_id *id_r);

/* Reads the records, and what follows from that; with no transaction open. */
enum spool_status check_records(struct check *);

/* One more entry, or garbage. */
enum spool_status check_add_ref(struct check *, uint64_t message, uint32_t mailbox, uint64_t blocks,
    enum check_kind);
/* NULL when the index has none with this number. */
struct check_segment *check_find_segment(struct check *, uint64_t number);

/* Adds all that is garbage. */
enum spool_status check_read_garbage(struct check *);
/* The walk; sorts what was added, and counts what lives in each segment. */
enum spool_status check_messages(struct check *);

#endif
