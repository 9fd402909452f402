/*
 * survey - what the spool holds and what the disk has left, at a glance.
 *
 * Sums that the index keeps are believed here; check.h counts them anew.
 *
 * Thread: any; every function blocks.
 */
#ifndef SPOOL_SURVEY_H
#define SPOOL_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool.h"

/* Octets of the segments, by what becomes of them.  A message that several mailboxes hold counts
 * once. */
struct survey_space {
	uint64_t live;                  /* in a mailbox */
	uint64_t kept;                  /* deleted, and kept for those who want it back */
	uint64_t apart;                 /* set apart: damaged */
	uint64_t dead;                  /* nobody's, and not yet given back */
	uint64_t given_back;            /* of the files' lengths, what takes no room */
};

struct survey {
	uint64_t domains, mailboxes;
	uint64_t messages, used;        /* in them; as the quotas count */
	uint64_t set_apart;             /* entries that are damaged and not shown */
	uint64_t oldest_ms;             /* when the oldest of them came; 0: there is none */
	struct survey_space space;
	uint64_t free, reserve;         /* octets of the spool's file system; below the second no
					   mail is taken */
	uint64_t free_inodes;           /* NUM_UNLIMITED where they are not counted */
	uint64_t reserve_inodes;        /* as for octets */
	uint64_t newest_segment_ms;     /* no new message's id is below this time's; 0: none yet */
	bool open_elsewhere;            /* some other process has the spool open */
	bool backup_running;            /* another one copies it: no room comes back meanwhile */
};

/* SPOOL_OK, SPOOL_IO, SPOOL_NO_MEMORY, SPOOL_DAMAGED. */
enum spool_status survey_spool(struct spool *, struct survey *survey_r);

/* Names mail that is set apart, as much as `max`: its mailbox's address, its UID.  Texts are valid
 * during the call.  As survey_spool(). */
enum spool_status survey_set_apart(struct spool *, size_t max,
    void (*each)(void *arg, const char *address, const char *uid), void *arg);

/* Looks at the segments' files: how many are missing, or shorter than what was written to them.
 * Each is logged.  As survey_spool(). */
enum spool_status survey_segments(struct spool *, uint64_t *damaged_r);

/* Tries on an unnamed file whether the file system gives blocks back from within one. */
enum spool_status survey_holes(struct spool *, bool *possible_r);

#endif
