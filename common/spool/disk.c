/*
 * disk - the system calls, and what every caller of them would have to do.
 *
 * Nothing is kept here.  A call that is not listed in struct disk_ops does not
 * change what survives a power cut, or does not belong into this floor.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

/* The most vectors of one call; the kernel's IOV_MAX. */
#define WRITE_VECTORS 1024
#define REWRITE_SIZE (64u * 1024)

static int
real_openat(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags, mode);
}

const struct disk_ops disk_real = {
	.openat = real_openat,
	.mkdirat = mkdirat,
	.pwritev = pwritev,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.ftruncate = ftruncate,
	.linkat = linkat,
	.renameat2 = renameat2,
	.unlinkat = unlinkat,
	.fallocate = fallocate,
};

static int
open_retrying(const struct disk_ops *ops, int dir, const char *name, int flags)
{
	int fd;

	do
		fd = ops->openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int
disk_open(const struct disk_ops *ops, int dir, const char *name, bool create)
{
	return open_retrying(ops, dir, name, O_RDWR | (create ? O_CREAT | O_EXCL : 0));
}

int
disk_open_tmp(const struct disk_ops *ops, int dir, char tmp[DISK_TMP_NAME_MAX])
{
	uint8_t random[16];
	char hex[2 * sizeof(random) + 1];
	int fd;

	tmp[0] = '\0';
	/* An unnamed file gets its name through /proc; without that it would be lost. */
	if (access("/proc/self/fd", X_OK) == 0) {
		fd = open_retrying(ops, dir, ".", O_TMPFILE | O_RDWR);
		if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
			return fd;
	}
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -1;
	num_format_hex(hex, random, sizeof(random));
	snprintf(tmp, DISK_TMP_NAME_MAX, DISK_TMP_PREFIX "%s", hex);
	return disk_open(ops, dir, tmp, true);
}

int
disk_name_tmp(const struct disk_ops *ops, int dir, int fd, const char *tmp, const char *name)
{
	char link[32];

	if (tmp[0] != '\0')
		return ops->renameat2(dir, tmp, dir, name, RENAME_NOREPLACE);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return ops->linkat(AT_FDCWD, link, dir, name, AT_SYMLINK_FOLLOW);
}

int
disk_mkdir(const struct disk_ops *ops, int dir, const char *name)
{
	if (ops->mkdirat(dir, name, 0700) == 0 || errno == EEXIST)
		return 0;
	return -1;
}

int
disk_write(const struct disk_ops *ops, int fd, struct iovec *iov, size_t n, uint64_t offset)
{
	while (n > 0) {
		int vectors = n < WRITE_VECTORS ? (int)n : WRITE_VECTORS;
		ssize_t written = ops->pwritev(fd, iov, vectors, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		if (written == 0 && iov->iov_len > 0) {
			errno = EIO;
			return -1;
		}
		offset += (uint64_t)written;
		while (n > 0 && (size_t)written >= iov->iov_len) {
			written -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + written;
			iov->iov_len -= (size_t)written;
		}
	}
	return 0;
}

int
disk_write_buf(const struct disk_ops *ops, int fd, const void *buf, size_t len, uint64_t offset)
{
	/* pwritev(2) does not write through the pointer that its type takes. */
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	return disk_write(ops, fd, &iov, 1, offset);
}

int
disk_rewrite(const struct disk_ops *ops, int fd, uint64_t offset, uint64_t end)
{
	uint8_t buf[REWRITE_SIZE];
	ssize_t n;

	do {
		n = pread(fd, buf, end - offset < sizeof(buf) ? end - offset : sizeof(buf),
		    (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || disk_write_buf(ops, fd, buf, (size_t)n, offset) != 0)
			return -1;
		offset += (uint64_t)n;
	} while (n != 0);
	return 0;
}

int
disk_start_writing(int fd, uint64_t offset, uint64_t len)
{
	/* Some file systems know nothing of it; then the sync has more to do. */
	if (sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE) != 0 &&
	    errno != ENOSYS && errno != EINVAL && errno != ESPIPE)
		return -1;
	return 0;
}

int
disk_sync_data(const struct disk_ops *ops, int fd)
{
	return ops->fdatasync(fd);
}

int
disk_sync(const struct disk_ops *ops, int fd)
{
	return ops->fsync(fd);
}

int
disk_truncate(const struct disk_ops *ops, int fd, uint64_t len)
{
	int rc;

	do
		rc = ops->ftruncate(fd, (off_t)len);
	while (rc != 0 && errno == EINTR);
	return rc;
}

int
disk_rename(const struct disk_ops *ops, int dir, const char *from, const char *to)
{
	return ops->renameat2(dir, from, dir, to, 0);
}

int
disk_unlink(const struct disk_ops *ops, int dir, const char *name)
{
	if (ops->unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	return -1;
}

static int
fallocate_retrying(const struct disk_ops *ops, int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	do
		rc = ops->fallocate(fd, mode, (off_t)offset, (off_t)len);
	while (rc != 0 && errno == EINTR);
	return rc;
}

int
disk_allocate(const struct disk_ops *ops, int fd, uint64_t offset, uint64_t len)
{
	return fallocate_retrying(ops, fd, 0, offset, len);
}

int
disk_punch(const struct disk_ops *ops, int fd, uint64_t offset, uint64_t len)
{
	return fallocate_retrying(ops, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
}
