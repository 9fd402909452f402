/*
 * backup_internal - what the files about backups share.  Private to common/spool.
 *
 * How a backup lies in its folder, and why at every instant a whole one does, stands at the top of
 * backup.c.
 *
 * Thread: the one that backs up or restores; all of it blocks.
 */
#ifndef SPOOL_BACKUP_INTERNAL_H
#define SPOOL_BACKUP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"
#include "index.h"
#include "record.h"
#include "spool/backup.h"

#define BACKUP_MANIFEST "manifest"
#define BACKUP_LOCK "lock"
#define BACKUP_SEGMENTS "segments"
/* index-TIME.db and secrets-TIME.db, which the manifest names. */
#define BACKUP_INDEX "index-"
#define BACKUP_SECRETS "secrets-"
#define BACKUP_NAME_MAX 48

/* Says what failed on `what` in `dir`, errno's text; SPOOL_NO_SPACE or SPOOL_IO. */
enum spool_status backup_failed(struct strbuf *err, const char *dir, const char *what);

/* --- the manifest (backup_manifest.c) --- */

struct backup_file {
	char name[BACKUP_NAME_MAX];
	uint64_t size;
	uint32_t crc;                   /* CRC-32C of all of it */
};

struct backup_manifest {
	uint64_t time_ms;               /* when the index was copied */
	uint64_t spool;                 /* which spool: meta.spool_id */
	uint64_t newest;                /* meta.newest_segment */
	uint64_t messages, octets;      /* records, with header and padding */
	uint64_t damaged;               /* of these, so they were in the spool already */
	struct backup_file index, secrets;
};

struct backup_list;

/* Puts it in the place of the earlier one, on disk; what it names must be there by then. */
enum spool_status backup_manifest_write(const struct disk_ops *, const char *dir, int fd,
    const struct backup_manifest *, const struct backup_list *, struct strbuf *err);
/* SPOOL_NO_MESSAGE, nothing said, when there is none; SPOOL_DAMAGED, SPOOL_VERSION, SPOOL_IO. */
enum spool_status backup_manifest_read(
    const char *dir, int fd, struct backup_manifest *m_r, struct strbuf *err);

/* --- databases (backup_db.c) --- */

/* A database that is nobody else's: a copy in a backup, or one in a spool that is being made.  Read
 * only, unless `write`.  Freed by backup_db_close(), where NULL is harmless. */
enum spool_status backup_db_open(const char *path, bool write, struct index_conn **c_r);
void backup_db_close(struct index_conn **);
/* Copies what the read transaction on `from` sees into the empty file `path`. */
enum spool_status backup_db_copy(struct index_conn *from, const char *path);
/* Makes the copy one that needs no file beside it; of the index, takes out what is no mail.
 * SPOOL_DAMAGED when its pages are no database. */
enum spool_status backup_db_settle(const char *path, enum index_db);
/* Makes it a spool's own again; of the index, one that gives no number up to `floor`. */
enum spool_status backup_db_revive(const char *path, enum index_db, uint64_t floor);
/* Size and checksum of a file. */
enum spool_status backup_file_sum(
    const char *dir, int fd, struct backup_file *f, struct strbuf *err);
/* meta.value of a key; 0 when there is none. */
enum spool_status backup_meta(struct index_conn *, const char *key, uint64_t *value_r);

/* --- records (backup_copy.c) --- */

struct backup_record {
	uint64_t message, blocks;
};

/* The records that an index names, in order, each once. */
struct backup_list {
	struct backup_record *list;     /* owned */
	size_t n, cap;
};

enum spool_status backup_list_read(struct index_conn *, struct backup_list *l_r);
void backup_list_release(struct backup_list *);
/* How many of them, from `i` on, lie in the segment of number `i`. */
size_t backup_list_segment(const struct backup_list *, size_t i);

/* From one folder of segments into another. */
struct backup_copier {
	const struct disk_ops *disk;
	const char *to_dir;             /* for what is said */
	int from, to;                   /* folders */
	struct index_conn *index;       /* names what is found; borrowed */
	struct backup_watch watch;
	struct backup_result *result;
	struct strbuf *err;
	uint8_t *buf;                   /* owned while it copies */
};

/* Copies what is not there whole already, syncs it and reads it back.  A record that is damaged
 * where it comes from is a finding. */
enum spool_status backup_copy(struct backup_copier *, const struct backup_list *);
/* Only reads what lies in `from`. */
enum spool_status backup_read(struct backup_copier *, const struct backup_list *);
/* Gives back what lies in `to` and is not in the list. */
enum spool_status backup_trim(struct backup_copier *, const struct backup_list *);

/* --- a backup that is there (backup_open.c) --- */

struct backup {
	const char *dir;                /* borrowed */
	int fd, lock, segments;         /* owned */
	struct backup_manifest manifest;
	struct index_conn *index;       /* owned */
	struct backup_list list;        /* owned */
};

/* Takes the folder's lock: SPOOL_BUSY. */
enum spool_status backup_lock(
    const struct disk_ops *, const char *dir, int fd, bool create, int *lock_r, struct strbuf *);
/* Opens a complete one: both databases are what the manifest says.  *b_r is released in any
 * case. */
enum spool_status backup_open(const char *dir, struct backup *b_r, struct strbuf *err);
void backup_release(struct backup *);

#endif
