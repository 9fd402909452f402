/*
 * extract - a segment file read block by block, without a spool.
 */
#include "spool/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "damaged.h"
#include "record.h"
#include "recover.h"

/* Return-Path and Delivered-To of every recipient. */
#define PREFIX_MAX (64u * 1024 * 1024)

struct extract {
	int fd; /* owned */
	struct segment_id id;
	bool has_id; /* out of its header, or of its first record */
	uint64_t block, end;
	uint64_t unread;
	struct record_envelope envelope; /* of the last message */
	struct strbuf prefix;
};

enum spool_status
extract_open(const char *path, struct extract **x_r, struct strbuf *err)
{
	struct extract *x = mem_array(1, sizeof(*x));
	struct segment_proof first = { .found = false };
	uint8_t buf[SEGMENT_HEADER_LEN];
	struct stat file;

	*x_r = NULL;
	if (x == NULL)
		return SPOOL_NO_MEMORY;
	strbuf_init(&x->prefix, PREFIX_MAX);
	x->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (x->fd < 0 || fstat(x->fd, &file) != 0) {
		strbuf_addf(err, "%s: %s", path, strerror(errno));
		extract_close(&x);
		return SPOOL_IO;
	}
	if (!S_ISREG(file.st_mode) || file.st_size <= RECORD_BLOCK) {
		strbuf_addf(err, "%s: is no segment with mail in it", path);
		extract_close(&x);
		return SPOOL_DAMAGED;
	}
	x->has_id = pread(x->fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf) &&
	            segment_header_decode(buf, &x->id) == SPOOL_OK;
	if (!x->has_id) {
		segment_proof_ask(&first, x->fd, 0, 1);
		x->id = first.id;
		x->has_id = segment_proof_holds(&first);
	}
	x->block = 1;
	x->end = ((uint64_t)file.st_size + RECORD_BLOCK - 1) / RECORD_BLOCK;
	*x_r = x;
	return SPOOL_OK;
}

void
extract_close(struct extract **xp)
{
	struct extract *x = *xp;

	if (x == NULL)
		return;
	if (x->fd >= 0)
		close(x->fd);
	record_envelope_release(&x->envelope);
	strbuf_release(&x->prefix);
	mem_free(xp);
}

bool
extract_without_header(const struct extract *x)
{
	return !x->has_id;
}

uint64_t
extract_unread(const struct extract *x)
{
	return x->unread;
}

/* The segment by what the record at this block says of it. */
static void
take_id(struct extract *x)
{
	uint8_t buf[RECORD_FIXED_LEN];

	x->id = (struct segment_id){ 0 };
	if (pread(x->fd, buf, sizeof(buf), (off_t)(x->block * RECORD_BLOCK)) ==
	    (ssize_t)sizeof(buf))
		record_fixed_says(buf, x->block, &x->id);
}

static bool
block_is_empty(const struct extract *x)
{
	uint8_t buf[RECORD_BLOCK];
	ssize_t n = pread(x->fd, buf, sizeof(buf), (off_t)(x->block * RECORD_BLOCK));

	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != 0)
			return false;
	return n >= 0;
}

static enum spool_status
describe(struct extract *x, const struct record *r, struct extract_message *m)
{
	const struct record_envelope *e = &x->envelope;

	strbuf_clear(&x->prefix);
	strbuf_addf(&x->prefix, "Return-Path: <%s>\r\n", e->reverse_path);
	for (size_t i = 0; i < e->n; i++)
		strbuf_addf(&x->prefix, "Delivered-To: %s\r\n", e->list[i].written);
	if (x->prefix.failed)
		return SPOOL_NO_MEMORY;
	spool_uid_format(m->uid, message_id(x->id.number, r->block));
	m->received_ms = r->received_ms;
	m->from = e->reverse_path;
	m->prefix = x->prefix.buf;
	m->prefix_len = x->prefix.len;
	m->fd = x->fd;
	m->wire_offset = r->block * RECORD_BLOCK + r->header_len;
	m->wire_len = r->wire_len;
	return SPOOL_OK;
}

enum spool_status
extract_next(struct extract *x, struct extract_message *m)
{
	enum spool_status st;
	struct record r;

	record_envelope_release(&x->envelope);
	while (x->block < x->end) {
		if (!x->has_id)
			take_id(x);
		st = recover_read(x->fd, &x->id, x->block, &r, &x->envelope);
		if (st == SPOOL_OK) {
			x->block += record_blocks(&r);
			return describe(x, &r, m);
		}
		if (st != SPOOL_NO_MESSAGE)
			return st;
		x->unread += !block_is_empty(x);
		x->block++;
	}
	return SPOOL_NO_MESSAGE;
}
