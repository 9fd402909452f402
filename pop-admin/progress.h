/*
 * progress - somebody at a terminal sees that a long command is at work.
 *
 * A thread of its own writes, so that a terminal that takes nothing (Ctrl-S) holds up nobody who
 * has a lock.  Nothing is written within the first second, or where standard error is no terminal.
 */
#ifndef POP_ADMIN_PROGRESS_H
#define POP_ADMIN_PROGRESS_H

#include <stdint.h>

struct progress;

/* What is counted. */
enum progress_unit { PROGRESS_OCTETS, PROGRESS_MESSAGES };

/* `doing` is a static text: "counting the store anew".  NULL where nothing is to be shown. */
struct progress *progress_begin(const char *doing, enum progress_unit);
/* Something else is done from now on, of which nothing is done yet. */
void progress_next(struct progress *, const char *doing);
/* How much of all is done; `all` is 0 where that is not known.  NULL is harmless.  Any thread, one
 * at a time. */
void progress_set(struct progress *, uint64_t done, uint64_t all);
/* The same, as what takes long calls it; `arg` is the progress. */
void progress_tell(void *arg, uint64_t done, uint64_t all);
/* Wipes the line out and ends; NULL is harmless.  No lock may be held. */
void progress_end(struct progress **);

#endif
