/*
 * spool_internal - the spool's own struct.  Private to common/spool.
 */
#ifndef SPOOL_INTERNAL_H
#define SPOOL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk.h"
#include "index.h"
#include "lock.h"
#include "segment.h"
#include "spool/spool.h"

/* Free inodes below which no mail is taken. */
#define SPOOL_RESERVE_INODES 1024

struct committer;
struct keeper;
struct password_cache;
struct warner;
struct room;
struct health;

struct spool {
	char *dir;                      /* owned */
	enum spool_role role;
	uint64_t segment_max;
	uint64_t reclaim_ms;
	const struct disk_ops *disk;    /* shared, immutable */

	int dir_fd;
	int segments_fd;
	struct locks locks;
	bool locks_open;
	struct index_store *index;      /* owned */
	struct index_store *secrets;    /* owned; NULL for smtpd */
	struct segment_cache *files;    /* owned */
	struct health *health;          /* owned */
	struct password_cache *passwords; /* owned; NULL for smtpd */
	struct keeper *keeper;          /* owned; for pop-admin it has no thread */
	struct committer *committer;    /* owned; NULL where nothing is delivered */
	struct warner *warner;          /* owned; as the committer */
	struct room *room;              /* owned; NULL there too */

	pthread_mutex_t round_mutex;    /* held for one round of upkeep; guards reclaimed_ms */
	uint64_t reclaimed_ms;          /* monotonic: when blocks were last given back */
	atomic_bool no_holes;           /* the file system cannot punch: said once */
	atomic_bool no_ballast;         /* nor set blocks aside: said once */

	atomic_bool ready;
	atomic_bool unrecovered;        /* a segment was left whose tail the index has not */
	atomic_bool databases_open;     /* index and secrets are set, once and for all */
	atomic_uint_least32_t epoch;    /* health.h: that the index had last */
	atomic_uint_least32_t epoch_file; /* and index.db alone */
	atomic_uint_least64_t keep_deleted_s;
	atomic_uint_least64_t keep_deleted_max; /* octets */
	atomic_uint_least64_t expire_every_s;
	atomic_size_t delivery_memory;  /* octets that all deliveries hold */

	pthread_mutex_t space_mutex;    /* guards these */
	uint64_t reserve;
	uint64_t space_asked_ms;        /* monotonic; 0: never */
	bool space_low;
};

/* spool_open() on other disk calls, for tests. */
enum spool_status spool_open_on(const struct spool_options *, const struct disk_ops *,
    struct spool **spool_r, struct strbuf *err);

/* Makes the spool's folder and all in it but the databases, on disk; what is there stays.  *fd_r is
 * the folder, the caller's to close; -1 on failure, with a sentence in err. */
enum spool_status spool_make_folders(const char *dir, int *fd_r, struct strbuf *err);
/* A file of this name in the spool's folder: a restore fills it. */
#define SPOOL_RESTORING "restoring"

/* Whether a file system of this type (statfs.f_type) cannot keep the promises: locks, shared
 * memory or syncs that reach other machines late or never. */
bool spool_fs_refused(unsigned long type);

/* Opens index and, but for smtpd, secrets, where that is not done yet.  In err a sentence. */
enum spool_status spool_open_databases(struct spool *, struct strbuf *err);

/* Enters what dead writers have left in their segments; what living ones have is theirs.  Waits for
 * whoever is recovering.  A maildrop may be held, none of the later locks (lock.h).  Thread: one of
 * pop-admin's. */
enum spool_status spool_recover(struct spool *);

/* What is free is another amount than a moment ago: whoever wants to know asks anew. */
void spool_space_changed(struct spool *);

/* Logs that something failed on `what`, and what errno means as a status. */
enum spool_status spool_failed(const char *event, const char *what, int errnum);

#endif
