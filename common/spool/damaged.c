/*
 * damaged - the folder for what is damaged, and headers of segments.
 *
 * Invariant: a header is written only where it is none, of octets that a record has that no mail
 * holds.
 */
#include "damaged.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "segment.h"
#include "spool_internal.h"

#define FOLDER "damaged"

int
damaged_folder(struct spool *sp)
{
	int fd;

	if (disk_mkdir(sp->disk, sp->dir_fd, FOLDER) != 0)
		return -1;
	fd = openat(sp->dir_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && disk_sync(sp->disk, sp->dir_fd) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int
damaged_keep(struct spool *sp, int folder, const char *name, damaged_write_fn *write, void *arg)
{
	char half[NAME_MAX + 1];
	int fd, rc, saved;

	if (faccessat(folder, name, F_OK, 0) == 0)
		return disk_sync(sp->disk, folder);
	/* Under another name until it is whole: one that was killed may have left a half. */
	snprintf(half, sizeof(half), "%s.new", name);
	if (disk_unlink(sp->disk, folder, half) != 0)
		return -1;
	fd = disk_open(sp->disk, folder, half, true);
	if (fd < 0)
		return -1;
	rc = write(arg, fd);
	if (rc == 0)
		rc = disk_sync(sp->disk, fd);
	if (rc == 0)
		rc = disk_rename(sp->disk, folder, half, name);
	if (rc == 0)
		rc = disk_sync(sp->disk, folder);
	saved = errno;
	if (rc != 0)
		disk_unlink(sp->disk, folder, half);
	close(fd);
	errno = saved;
	return rc;
}

void
segment_proof_ask(struct segment_proof *p, int fd, uint64_t number, uint64_t block)
{
	uint8_t buf[RECORD_FIXED_LEN];
	struct segment_id id;

	if (pread(fd, buf, sizeof(buf), (off_t)(block * RECORD_BLOCK)) != (ssize_t)sizeof(buf) ||
	    !record_fixed_says(buf, block, &id) || (number != 0 && id.number != number))
		return;
	if (p->found &&
	    (id.number != p->id.number || memcmp(id.random, p->id.random, sizeof(id.random)) != 0))
		p->contradicted = true;
	p->id = id;
	p->found = true;
}

bool
segment_proof_holds(const struct segment_proof *p)
{
	return p->found && !p->contradicted;
}

struct header {
	const struct disk_ops *disk;
	uint8_t block[RECORD_BLOCK];
	size_t len;
};

static int
write_header(void *arg, int fd)
{
	const struct header *h = arg;

	return disk_write_buf(h->disk, fd, h->block, h->len, 0);
}

/* Where it can be read, and was not kept before. */
static int
copy_header(struct spool *sp, int segment, uint64_t number)
{
	struct header h = { .disk = sp->disk };
	ssize_t n = pread(segment, h.block, sizeof(h.block), 0);
	char name[SEGMENT_NAME_MAX + sizeof(".header")];
	int dir, rc;

	if (n <= 0)
		return 0;
	h.len = (size_t)n;
	dir = damaged_folder(sp);
	if (dir < 0)
		return -1;
	snprintf(name, sizeof(name), "%" PRIu64 ".header", number);
	rc = damaged_keep(sp, dir, name, write_header, &h);
	close(dir);
	return rc;
}

enum spool_status
segment_header_mend(struct spool *sp, const struct segment_id *id)
{
	uint8_t block[RECORD_BLOCK] = { 0 };
	char name[SEGMENT_NAME_MAX];
	enum spool_status st = SPOOL_OK;
	int fd = disk_open(sp->disk, sp->segments_fd, segment_name(name, id->number), false);

	if (fd < 0)
		return spool_failed("segment_open_failed", name, errno);
	segment_header_encode(block, id);
	if (copy_header(sp, fd, id->number) != 0)
		st = spool_failed("copy_failed", name, errno);
	else if (disk_write_buf(sp->disk, fd, block, sizeof(block), 0) != 0 ||
		 disk_sync_data(sp->disk, fd) != 0)
		st = spool_failed("header_not_mended", name, errno);
	close(fd);
	return st;
}
