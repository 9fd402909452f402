/*
 * damaged - SPOOL/damaged/, where what is damaged is put aside; and a segment's header anew, out of
 * the records in it.  Private to common/spool.
 *
 * A header holds a number, which is the file's name, and random octets, which each of its records
 * repeats.  They are worth what they are because nobody who sends mail knows them: a record within
 * a mail is told by them.  So only a record is asked that is known to be none of these, by where it
 * begins: at block 1, where each segment's first one does, or where the index says that one does.
 *
 * Thread: any; every function blocks.
 */
#ifndef SPOOL_DAMAGED_H
#define SPOOL_DAMAGED_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"
#include "spool/spool.h"

/* The folder, made where it is not there; the caller's.  -1 with errno. */
int damaged_folder(struct spool *);

/* Writes what is to be kept; 0, or -1 with errno. */
typedef int damaged_write_fn(void *arg, int fd);
/* Keeps something in the folder under a name, whole and on disk or not at all; what has the name
 * already stays.  0, or -1 with errno. */
int damaged_keep(struct spool *, int folder, const char *name, damaged_write_fn *write, void *arg);

/* What the records of one segment say of it. */
struct segment_proof {
	struct segment_id id;           /* where one was found */
	bool found;
	bool contradicted;              /* two say different things */
};

/* Asks the record that is known to begin at this block of the file; what is no record says
 * nothing.  `number` is the file's name; 0: it is not known. */
void segment_proof_ask(struct segment_proof *, int fd, uint64_t number, uint64_t block);
/* What the header was is known. */
bool segment_proof_holds(const struct segment_proof *);

/* Writes the header of segments/NUMBER anew, durably, after a copy of the block as it was found in
 * damaged/NUMBER.header, where there is none yet.  No record is touched, so whoever writes these
 * need not be waited for.  SPOOL_OK, SPOOL_IO, SPOOL_NO_SPACE. */
enum spool_status segment_header_mend(struct spool *, const struct segment_id *);

#endif
