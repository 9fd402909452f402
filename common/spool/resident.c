/*
 * resident - whether a message's octets are in the page cache.
 *
 * sendfile(2) waits for the disk where they are not, and a loop must not wait:
 * a session asks here first and, on a miss, lets a job read ahead.
 *
 * Thread: any.
 */
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "spool/maildrop.h"

/* cachestat(2), Linux 6.5 and later, has no wrapper in the C library yet; the number is the same
 * on every architecture. */
#define SYS_CACHESTAT 451

struct cachestat_range {
	uint64_t off;
	uint64_t len;
};

struct cachestat {
	uint64_t nr_cache;
	uint64_t nr_dirty;
	uint64_t nr_writeback;
	uint64_t nr_evicted;
	uint64_t nr_recently_evicted;
};

/* Distance of the octets that are tried where the kernel cannot count pages: it
 * reads ahead by no less. */
#define PROBE_STEP (32u * 1024)

static bool
octet_resident(int fd, uint64_t offset)
{
	char octet;
	struct iovec iov = { .iov_base = &octet, .iov_len = 1 };

	return preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT) == 1;
}

bool
maildrop_resident(const struct maildrop_message *m, uint64_t from, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t first = m->wire_offset + from, end = first + len;
	struct cachestat_range range = { .off = first, .len = len };
	struct cachestat found;

	if (len == 0)
		return true;
	if (syscall(SYS_CACHESTAT, m->fd, &range, &found, 0u) == 0)
		return found.nr_cache >= (end - 1) / page - first / page + 1;
	for (uint64_t at = first; at < end; at += PROBE_STEP)
		if (!octet_resident(m->fd, at))
			return false;
	return octet_resident(m->fd, end - 1);
}
