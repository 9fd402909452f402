/*
 * segment - the files that hold the records.  Private to common/spool.
 *
 * segments/NUMBER is a header block and then records, each at the start of a block.  A
 * segment has one writer for its whole life, who holds its lock (lock.h) as long as it
 * is open.  Reading needs no lock: what an index row names is never written again.
 *
 * Thread: the cache any; a struct segment its owner's.
 */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index.h"
#include "record.h"
#include "spool/spool.h"

#define SEGMENT_NAME_MAX 24
/* The file's name in segments/: its number in decimal. */
const char *segment_name(char name[SEGMENT_NAME_MAX], uint64_t number);
/* False when this is not the name of a segment. */
bool segment_parse_name(const char *name, uint64_t *number_r);

/* Some file in the folder has a segment's name; true also when that cannot be told. */
bool segment_any(int segments_fd);

/* --- reading --- */

/* An open segment out of the spool's cache, counted. */
struct segment_file {
	int fd;                         /* read-only */
	struct segment_id id;
};

/* With `may_block` false SPOOL_WOULD_BLOCK rather than open a file.  SPOOL_DAMAGED when
 * the file is not there or not that segment; SPOOL_IO, SPOOL_NO_MEMORY. */
enum spool_status segment_get(struct spool *, uint64_t number, bool may_block,
    struct segment_file **f_r);
/* Gives one back; NULL is harmless. */
void segment_put(struct spool *, struct segment_file **);
/* To be asked before something in the file is called damaged: true when its name leads to another
 * file by now, which somebody put there.  Who gets the segment from then on gets that one. */
bool segment_exchanged(struct spool *, struct segment_file *);

/* Whether the file, -1 being none, begins with the header of this segment.  Says nothing in the
 * log: who asks knows what follows from it. */
bool segment_header_is(int fd, uint64_t number, struct segment_id *id_r);

/* The file and the verified fixed part of a message's record; its header begins at
 * record.block * RECORD_BLOCK of the file.  As segment_get(); SPOOL_IO also when the file was
 * exchanged. */
enum spool_status segment_find(struct spool *, uint64_t message, bool may_block,
    struct segment_file **f_r, struct record *r_r);

struct segment_cache;
struct segment_cache *segment_cache_new(void);
/* Nothing of it may be in use. */
void segment_cache_free(struct segment_cache **);

/* --- writing --- */

struct segment {
	int fd;                         /* owned, with the lock; -1: none */
	struct segment_id id;
	uint64_t end;                   /* the first free block */
};

/* Where the newest number may have been lost with the index, the next one is above the later of
 * what is known and the clock, and this beyond: for as many segments that were made faster than
 * one a millisecond, and for a clock that was ahead by so much. */
#define SEGMENT_SLACK UINT64_C(60000)

/* The next number that no segment has had, noted in the transaction on `c`. */
enum spool_status segment_next_number(struct spool *, struct index_conn *c, uint64_t *number_r);
/* Fills in random bits. */
enum spool_status segment_id_make(uint64_t number, struct segment_id *id_r);

/* Creates the next segment, with its row: file and folder are synced, the row is committed. */
enum spool_status segment_create(struct spool *, struct segment *s_r);

/* Locks a file in segments/ that was just made with a name, while it has that: until then it looks
 * like one whose writer is dead, and whoever recovers may have removed it.  0 or -1 with errno. */
int segment_lock_new(int fd);

/* Opens a segment and takes its writer's lock.  SPOOL_BUSY when its writer is alive,
 * SPOOL_NO_MESSAGE when the file is gone, SPOOL_DAMAGED when its header cannot be read. */
enum spool_status segment_open(struct spool *, uint64_t number, struct segment *s_r);

/* Throws away what lies from block `end` on, durably.  SPOOL_OK or SPOOL_IO. */
enum spool_status segment_cut(struct spool *, struct segment *, uint64_t end);
/* Gives descriptor and lock back.  Its row is not touched. */
void segment_close(struct segment *);

#endif
