/*
 * files - the segments as they lie in their folder.  Private to common/spool.
 *
 * Thread: any.
 */
#ifndef SPOOL_FILES_H
#define SPOOL_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"
#include "spool/survey.h"

struct files_entry {
	uint64_t number;
	uint64_t size;                  /* octets */
	uint64_t given_back;            /* octets of these that take no room */
};

struct files {
	struct files_entry *list;       /* owned, in order of number */
	size_t n, cap;
};

/* What is in segments/ and has a segment's name.  One that goes meanwhile is passed over.  *f_r is
 * the caller's to release in any case. */
enum spool_status files_list(struct spool *, struct files *f_r);
/* The same of any folder that is open. */
enum spool_status files_list_at(int dir, struct files *f_r);
void files_release(struct files *);
/* NULL when there is none with this number. */
const struct files_entry *files_find(const struct files *, uint64_t number);

/* Where no block can be given back from within a file, garbage is forgotten all the same, and lies
 * there until its segment goes.  There, what of `blocks`, all of those that are indexed, is none of
 * what *space tells is added to what is dead. */
void files_add_dead(struct spool *, uint64_t blocks, struct survey_space *space);

#endif
