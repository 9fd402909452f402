/*
 * delivery - taking a message's octets in, to memory or to a file.
 *
 * The file is laid out as the segment that it will be: a block and room for the header are
 * left free, the wire form follows.  The room is reckoned from the whole envelope, which
 * is complete before the first octet comes; what the header does not need of it is zeros.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "committer.h"
#include "delivery_internal.h"
#include "segment.h"
#include "spool_internal.h"

/* The first allocation: a short message with its trace fields needs no other. */
#define BUFFER_MIN 8192
/* What stands between small writes and the file, where there is memory for it. */
#define FILE_BUFFER (16u * 1024)
/* The disk begins with so much at a time, so that the sync does not find all of it. */
#define START_EVERY (UINT64_C(4) << 20)

/* Makes the buffer `cap` octets; false when all deliveries together would hold too much,
 * or there is no memory. */
static bool
resize_buffer(struct delivery *d, size_t cap)
{
	struct spool *sp = d->spool;
	size_t held = atomic_fetch_add(&sp->delivery_memory, cap) + cap;
	uint8_t *buf = NULL;

	if (cap <= d->cap || held - d->cap <= DELIVERY_MEMORY_TOTAL)
		buf = realloc(d->buf, cap);
	if (buf == NULL) {
		atomic_fetch_sub(&sp->delivery_memory, cap);
		return false;
	}
	atomic_fetch_sub(&sp->delivery_memory, d->cap);
	d->buf = buf;
	d->cap = cap;
	return true;
}

static void
free_buffer(struct delivery *d)
{
	atomic_fetch_sub(&d->spool->delivery_memory, d->cap);
	free(d->buf);
	d->buf = NULL;
	d->len = d->cap = 0;
}

static void
close_file(struct delivery *d)
{
	if (d->fd < 0)
		return;
	if (d->tmp[0] != '\0' && !d->place.linked)
		disk_unlink(d->spool->disk, d->spool->segments_fd, d->tmp);
	close(d->fd);
	d->fd = -1;
}

enum spool_status
delivery_begin(struct spool *sp, struct envelope **env, const struct delivery_options *options,
    struct delivery **d_r)
{
	struct delivery *d;
	enum spool_status st;

	*d_r = NULL;
	assert(sp->committer != NULL);
	st = spool_may_deliver(sp);
	if (st == SPOOL_OK)
		st = committer_start(sp->committer);
	if (st != SPOOL_OK)
		return st;
	d = mem_array(1, sizeof(*d));
	if (d == NULL)
		return SPOOL_NO_MEMORY;
	st = room_claim(sp, *env, options, &d->claim);
	if (st != SPOOL_OK) {
		free(d);
		return st;
	}
	d->spool = sp;
	d->env = *env;
	*env = NULL;
	d->fd = -1;
	list_init(&d->queued);
	header_scan_init(&d->header);
	*d_r = d;
	return SPOOL_OK;
}

size_t
delivery_header_len(const struct delivery *d)
{
	size_t len = record_header_base(d->env->reverse_path);

	for (size_t i = 0; i < d->env->n; i++) {
		struct record_recipient to = {
			.address = d->env->recipients[i].address,
			.written = d->env->recipients[i].written,
			.uid = d->env->recipients[i].uid,
		};
		len += record_recipient_len(&to);
	}
	return len;
}

/* Writes the buffer and `len` octets more behind what the file has. */
static enum spool_status
file_write(struct delivery *d, const void *more, size_t len)
{
	struct iovec iov[2] = {
		{ .iov_base = d->buf, .iov_len = d->len },
		{ .iov_base = (void *)(uintptr_t)more, .iov_len = len },
	};
	uint64_t base = RECORD_BLOCK + (uint64_t)d->room;

	if (disk_write(d->spool->disk, d->fd, iov, 2, base + d->written) != 0)
		return spool_failed("delivery_write_failed", "segments/tmp", errno);
	d->written += d->len + len;
	d->len = 0;
	if (d->written - d->started >= START_EVERY) {
		if (disk_start_writing(d->fd, base + d->started, d->written - d->started) != 0)
			return spool_failed("delivery_write_failed", "segments/tmp", errno);
		d->started = d->written;
	}
	return SPOOL_OK;
}

/* From memory to a file. */
static enum spool_status
spill(struct delivery *d)
{
	enum spool_status st;

	d->room = (uint32_t)delivery_header_len(d);
	d->fd = disk_open_tmp(d->spool->disk, d->spool->segments_fd, d->tmp);
	if (d->fd < 0)
		return spool_failed("delivery_file_failed", "segments/tmp", errno);
	/* Held until the file has its name and its rows: recovery leaves it alone. */
	if ((d->tmp[0] != '\0' ? segment_lock_new(d->fd) : lock_segment(d->fd)) != 0)
		return spool_failed("delivery_file_failed", "segments/tmp", errno);
	st = file_write(d, NULL, 0);
	free_buffer(d);
	/* Without it each run of octets is a write of its own. */
	if (st == SPOOL_OK)
		resize_buffer(d, FILE_BUFFER);
	return st;
}

/* Room for `len` more octets in memory. */
static bool
grow(struct delivery *d, size_t len)
{
	size_t cap = d->cap == 0 ? BUFFER_MIN : d->cap;

	if (d->len + len <= d->cap)
		return true;
	while (cap < d->len + len)
		cap *= 2;
	return resize_buffer(d, cap);
}

static enum spool_status
put(struct delivery *d, const void *wire, size_t len)
{
	enum spool_status st;

	if (d->fd < 0 && (d->len + len > DELIVERY_MEMORY || !grow(d, len))) {
		st = spill(d);
		if (st != SPOOL_OK)
			return st;
	}
	if (d->len + len > d->cap)
		return file_write(d, wire, len);
	memcpy(d->buf + d->len, wire, len);
	d->len += len;
	return SPOOL_OK;
}

enum spool_status
delivery_write(struct delivery *d, const void *wire, size_t len)
{
	const uint8_t *octets = wire;
	enum spool_status st;

	if (len == 0)
		return SPOOL_OK;
	st = room_touch(d->spool, d->claim, d->wire_len + len);
	if (st != SPOOL_OK)
		return st;
	header_scan(&d->header, wire, len);
	d->crc = crc32c(d->crc, wire, len);
	d->wire_len += len;
	d->last[0] = len > 1 ? octets[len - 2] : d->last[1];
	d->last[1] = octets[len - 1];
	return put(d, wire, len);
}

unsigned
delivery_hops(const struct delivery *d)
{
	return d->header.received;
}

bool
delivery_is_small(const struct delivery *d)
{
	return d->wire_len <= DELIVERY_MEMORY;
}

enum spool_status
delivery_stage(struct delivery *d)
{
	enum spool_status st = file_write(d, DELIVERY_END, DELIVERY_END_LEN);

	free_buffer(d);
	if (st == SPOOL_OK && disk_sync_data(d->spool->disk, d->fd) != 0)
		st = spool_failed("delivery_sync_failed", "segments/tmp", errno);
	return st;
}

enum spool_status
delivery_unspill(struct delivery *d)
{
	size_t done = 0, cap = d->written + d->len;
	uint8_t *buf = mem_resize(NULL, cap);
	ssize_t n;

	if (buf == NULL)
		return SPOOL_NO_MEMORY;
	while (done < d->written) {
		n = pread(
		    d->fd, buf + done, d->written - done, (off_t)(RECORD_BLOCK + d->room + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(buf);
			return spool_failed(
			    "delivery_read_failed", "segments/tmp", n < 0 ? errno : EIO);
		}
		done += (size_t)n;
	}
	if (d->len > 0)
		memcpy(buf + done, d->buf, d->len);
	free_buffer(d);
	/* Beyond the bound by no more than a group, and for no longer. */
	atomic_fetch_add(&d->spool->delivery_memory, cap);
	d->buf = buf;
	d->len = d->cap = cap;
	close_file(d);
	return SPOOL_OK;
}

void
delivery_commit(struct delivery *d, uint64_t octets, delivery_done_fn *done, void *arg)
{
	d->octets = octets;
	d->done = done;
	d->done_arg = arg;
	room_whole(d->spool, d->claim);
	/* Whatever came last, the end that we put behind it must end the message. */
	if (d->last[0] != '\r' || d->last[1] != '\n') {
		log_event(LOG_LEVEL_ERROR, "delivery_unended", log_num("octets", octets),
		    log_text("advice", "this is a fault of Restante: please report it"));
		delivery_fail(d, SPOOL_DAMAGED);
	}
	committer_submit(d->spool->committer, d);
}

void
delivery_fail(struct delivery *d, enum spool_status st)
{
	/* The next MAIL need not send its octets in vain. */
	if (st == SPOOL_NO_SPACE)
		spool_space_changed(d->spool);
	d->outcome = st;
	for (size_t i = 0; i < d->env->n; i++)
		if (d->env->recipients[i].outcome == SPOOL_OK)
			d->env->recipients[i].outcome = st;
}

void
delivery_drop_octets(struct delivery *d)
{
	room_release(d->spool, &d->claim);
	free_buffer(d);
	close_file(d);
	mem_free(&d->place.list);
	mem_free(&d->place.sums);
	mem_free(&d->place.header);
}

enum spool_status
delivery_outcome(const struct delivery *d)
{
	return d->outcome;
}

const struct envelope *
delivery_envelope(const struct delivery *d)
{
	return d->env;
}

uint64_t
delivery_message(const struct delivery *d)
{
	return message_id(d->place.id.number, d->place.record.block);
}

void
delivery_abandon(struct delivery **dp)
{
	struct delivery *d = *dp;

	if (d == NULL)
		return;
	delivery_drop_octets(d);
	envelope_free(&d->env);
	free(d->uid);
	mem_free(dp);
}
