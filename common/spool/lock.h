/*
 * lock - who may do what, between processes and inside one.  Private to common/spool.
 *
 * All are OFD locks on bytes of empty files in locks/, so they end with the process
 * that holds them, in whatever way it ends.  One description is granted the same
 * byte twice: what stands beside the bytes inside a process is said with each.
 *
 * Order, everywhere: role, maildrop, turnstile, writer, SQLite's own.  Recovery alone may be waited
 * for with a maildrop held: it takes none.
 *
 * Thread: any.
 */
#ifndef SPOOL_LOCK_H
#define SPOOL_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "disk.h"
#include "spool/spool.h"

#define LOCK_MAILDROP_FILES 256

/* Bytes of locks/roles.  Nothing stands beside them: each is one thread's. */
enum lock_role {
	LOCK_RECOVERY,  /* exclusive while a process finds out whether, and does, recover */
	LOCK_OPEN,      /* shared while a spool is open: who gets it exclusively is the first */
	LOCK_JANITOR,   /* exclusive for one round of upkeep */
	LOCK_BACKUP,    /* exclusive while one is taken; shared while blocks and files are given
			   back: nothing is then, and nothing is copied now */
};

struct locks {
	const struct disk_ops *disk;    /* shared, immutable */
	int dir;                        /* locks/ */
	int roles;
	int writer;

	/* Those who want to write, inside the process, are served in the order they came. */
	pthread_mutex_t queue;          /* guards next, serving */
	pthread_cond_t moved;
	uint64_t next, serving;

	pthread_mutex_t mutex;          /* guards what follows */
	struct map held;                /* of struct lock_maildrop, by mailbox */
	int files[LOCK_MAILDROP_FILES]; /* -1: not yet opened */
};

/* `spool_dir` is the spool's folder.  0 or -1 with errno. */
int locks_create(const struct disk_ops *, int spool_dir);
int locks_open(struct locks *, const struct disk_ops *, int spool_dir);
void locks_close(struct locks *);

/* Exclusive or shared, without waiting: 0, 1 when somebody else has it, -1 with errno.  What is
 * held exclusively may be made shared. */
int lock_role_try(struct locks *, enum lock_role, bool shared);
int lock_role_release(struct locks *, enum lock_role);
/* Whether another process has it, shared or not: 1, 0, or -1 with errno. */
int lock_role_elsewhere(struct locks *, enum lock_role);
/* Whether another process has it exclusively: 1, 0, or -1 with errno. */
int lock_role_taken(struct locks *, enum lock_role);

/* The writer's lock of the index: turnstile, writer, turnstile back.  Waits in the kernel.
 * 0 or -1 with errno. */
int lock_writer(struct locks *);
void lock_writer_release(struct locks *);

/* One mailbox's maildrop, held. */
struct lock_maildrop;

#define LOCK_WHO_MAX 128

/* SPOOL_OK, SPOOL_BUSY, SPOOL_NO_MEMORY or SPOOL_IO; never waits.  `who` is cut at
 * LOCK_WHO_MAX - 1. */
enum spool_status lock_maildrop(struct locks *, uint64_t mailbox, const char *who,
    struct lock_maildrop **l_r);
/* NULL is harmless. */
void lock_maildrop_release(struct locks *, struct lock_maildrop **);
/* False when nobody of this process has it.  `since_ms` is of the wall clock. */
bool lock_maildrop_holder(struct locks *, uint64_t mailbox, char who[LOCK_WHO_MAX],
    uint64_t *since_ms_r);

/* The lock of a segment's one writer, for as long as `fd` is open: 0, 1 when somebody else has it,
 * -1 with errno.  It is on the description: whoever opens the file again is somebody else. */
int lock_segment(int fd);

#endif
