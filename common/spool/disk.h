/*
 * disk - every call by which the spool changes the disk.  Private to common/spool.
 *
 * The only file of this floor that opens for writing, writes, syncs, truncates,
 * links, renames, unlinks and punches.  (SQLite has its own; the sync of its log goes
 * through here too.)  The calls are a struct that tests replace with ones that fail or
 * record; each member does what the system call of its name does.
 *
 * What disk_* adds: short writes are gone on with, EINTR is tried again, but a
 * sync that failed never is: the pages it was for may be gone.
 *
 * Failures are -1 with errno; the caller logs.  Thread: any.
 */
#ifndef SPOOL_DISK_H
#define SPOOL_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk_ops {
	int (*openat)(int dir, const char *name, int flags, mode_t mode);
	int (*mkdirat)(int dir, const char *name, mode_t mode);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t offset);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*ftruncate)(int fd, off_t len);
	int (*linkat)(int from_dir, const char *from, int to_dir, const char *to, int flags);
	int (*renameat2)(int from_dir, const char *from, int to_dir, const char *to,
	    unsigned flags);
	int (*unlinkat)(int dir, const char *name, int flags);
	int (*fallocate)(int fd, int mode, off_t offset, off_t len);
};

extern const struct disk_ops disk_real;

/* A file to read and write; with `create` it must not exist yet (mode 0600). */
int disk_open(const struct disk_ops *, int dir, const char *name, bool create);

/* An unnamed file in `dir`, and an empty name; where the file system has none, one named
 * tmp.* that is removed by recovery if this process does not live to do it. */
#define DISK_TMP_NAME_MAX 40
#define DISK_TMP_PREFIX "tmp."
int disk_open_tmp(const struct disk_ops *, int dir, char tmp[DISK_TMP_NAME_MAX]);
/* Gives the file its name, which nothing may have yet. */
int disk_name_tmp(const struct disk_ops *, int dir, int fd, const char *tmp, const char *name);

/* Makes the folder (mode 0700); one that is there already will do. */
int disk_mkdir(const struct disk_ops *, int dir, const char *name);

/* Writes all of it.  The vectors are changed on the way. */
int disk_write(const struct disk_ops *, int fd, struct iovec *iov, size_t n, uint64_t offset);
int disk_write_buf(const struct disk_ops *, int fd, const void *buf, size_t len, uint64_t offset);

/* Writes what the file has from `offset` up to `end` over itself, the same octets, so that the next
 * sync is about them: the pages of one that failed are clean for the kernel, lost or not, and a
 * sync by somebody who does not know finds nothing to do.  Nobody else may write there
 * meanwhile. */
#define DISK_TO_END UINT64_MAX
int disk_rewrite(const struct disk_ops *, int fd, uint64_t offset, uint64_t end);

/* Lets the disk begin with what was written there; nothing is waited for, nothing promised. */
int disk_start_writing(int fd, uint64_t offset, uint64_t len);

int disk_sync_data(const struct disk_ops *, int fd);
/* A file with its metadata, or a folder. */
int disk_sync(const struct disk_ops *, int fd);

int disk_truncate(const struct disk_ops *, int fd, uint64_t len);

/* Gives a file another name in its folder, in the place of what has it. */
int disk_rename(const struct disk_ops *, int dir, const char *from, const char *to);

/* One that is gone already is no failure. */
int disk_unlink(const struct disk_ops *, int dir, const char *name);

/* Sets blocks aside and lengthens the file over them.  EOPNOTSUPP where that is not possible. */
int disk_allocate(const struct disk_ops *, int fd, uint64_t offset, uint64_t len);

/* Gives blocks back to the file system; the file keeps its length.  EOPNOTSUPP where it cannot. */
int disk_punch(const struct disk_ops *, int fd, uint64_t offset, uint64_t len);

#endif
