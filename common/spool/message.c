/*
 * message - one message opened for reading.
 *
 * All that is needed is in the record's header, so opening reads no index and needs no
 * transaction.  What the header says must agree with what the index said at login:
 * otherwise it is damaged, and nothing of it is sent.
 *
 * An opened message holds its segment's descriptor, so it can be read to its end
 * whatever becomes of its name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "health.h"
#include "maildrop_internal.h"
#include "segment.h"
#include "spool_internal.h"

/* Octets that are read at a time. */
#define STEP (64u * 1024)
/* And while a checksum is made of them: small enough for the processor's own cache. */
#define CHECK_STEP (16u * 1024)
/* An envelope longer than this has a hundred recipients: not for a loop to take apart. */
#define LOOP_HEADER_MAX (8u * 1024)
/* ".CRLF" */
#define WIRE_END_LEN 3

struct message {
	struct maildrop_message message; /* first, so that it is also this */
	struct spool *spool;             /* borrowed */
	struct segment_file *file;       /* counted */
	uint64_t id;
	uint32_t wire_crc;
	uint32_t crc; /* of the wire octets before `checked` */
	uint64_t checked;
};

/* Of the damage to a file that another one has replaced nothing follows: that one is read the next
 * time. */
static enum spool_status
damaged(const struct message *m, const char *why)
{
	char uid[SPOOL_UID_LEN + 1];

	if (segment_exchanged(m->spool, m->file))
		return SPOOL_IO;
	spool_uid_format(uid, m->id);
	log_event(LOG_LEVEL_ERROR, "message_damaged", log_text("message", uid),
	    log_text("error", why),
	    log_text("advice", "it cannot be read: look at the disk and at backups"));
	return SPOOL_DAMAGED;
}

/* Reads exactly `len` octets. */
static enum spool_status
read_octets(const struct message *m, void *buf, size_t len, uint64_t offset, bool may_block)
{
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	size_t done = 0;

	while (done < len) {
		struct iovec iov = { .iov_base = (char *)buf + done, .iov_len = len - done };
		ssize_t n = preadv2(
		    m->file->fd, &iov, 1, (off_t)(offset + done), may_block ? 0 : RWF_NOWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !may_block && (errno == EAGAIN || errno == EOPNOTSUPP))
			return SPOOL_WOULD_BLOCK;
		if (n < 0)
			return spool_failed("segment_read_failed",
			    segment_name(name, message_segment(m->id)), errno);
		/* Without waiting, a short read may also be a page that is not there. */
		if (n == 0 && !may_block)
			return SPOOL_WOULD_BLOCK;
		if (n == 0) {
			st = damaged(m, "its segment is too short");
			if (st == SPOOL_DAMAGED)
				health_note_segment(m->spool, message_segment(m->id),
				    "it is shorter than what was written to it");
			return st;
		}
		done += (size_t)n;
	}
	return SPOOL_OK;
}

static enum spool_status
read_envelope(
    struct message *m, const struct record *r, bool may_block, struct record_envelope *e_r)
{
	size_t len = r->header_len - RECORD_FIXED_LEN;
	enum spool_status st;
	uint8_t *buf;

	if (!may_block && len > LOOP_HEADER_MAX)
		return SPOOL_WOULD_BLOCK;
	buf = mem_array(1, len);
	if (buf == NULL)
		return SPOOL_NO_MEMORY;
	st = read_octets(m, buf, len, r->block * RECORD_BLOCK + RECORD_FIXED_LEN, may_block);
	if (st == SPOOL_OK)
		st = record_envelope_decode(buf, r, e_r);
	if (st == SPOOL_DAMAGED)
		st = damaged(m, "its envelope is not one");
	free(buf);
	return st;
}

static enum spool_status
make_prefix(struct message *m, const struct record_envelope *e, uint64_t mailbox)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].mailbox == mailbox) {
			m->message.prefix = record_prefix(
			    e->reverse_path, e->list[i].written, &m->message.prefix_len);
			return m->message.prefix != NULL ? SPOOL_OK : SPOOL_NO_MEMORY;
		}
	return damaged(m, "it was for somebody else");
}

static enum spool_status
open_parts(struct message *m, uint64_t mailbox, uint64_t octets, bool may_block)
{
	struct record_envelope envelope;
	enum spool_status st;
	struct record r;

	st = segment_find(m->spool, m->id, may_block, &m->file, &r);
	if (st == SPOOL_OK)
		st = read_envelope(m, &r, may_block, &envelope);
	if (st != SPOOL_OK)
		return st;
	st = make_prefix(m, &envelope, mailbox);
	record_envelope_release(&envelope);
	if (st != SPOOL_OK)
		return st;
	if (m->message.prefix_len + r.octets != octets)
		return damaged(m, "its length is not what the index says");
	m->message.fd = m->file->fd;
	m->message.wire_offset = r.block * RECORD_BLOCK + r.header_len;
	m->message.wire_len = r.wire_len;
	m->message.header_len = r.body;
	m->wire_crc = r.wire_crc;
	return SPOOL_OK;
}

enum spool_status
message_open(struct spool *spool, uint64_t mailbox, uint64_t id, uint64_t octets, bool may_block,
    struct maildrop_message **m_r)
{
	struct message *m = mem_array(1, sizeof(*m));
	enum spool_status st;

	*m_r = NULL;
	if (m == NULL)
		return SPOOL_NO_MEMORY;
	m->spool = spool;
	m->id = id;
	*m_r = &m->message;
	st = open_parts(m, mailbox, octets, may_block);
	if (st != SPOOL_OK)
		maildrop_close_message(m_r);
	return st;
}

void
maildrop_close_message(struct maildrop_message **mp)
{
	struct message *m = (struct message *)*mp;

	if (m == NULL)
		return;
	segment_put(m->spool, &m->file);
	free(m->message.prefix);
	mem_free(mp);
}

/* Behind the `lines`-th line end of `buf`, or NULL; *lines is how many are still wanted.  In
 * wire form an LF ends a line wherever it is. */
static const char *
pass_lines(const char *buf, size_t len, uint64_t *lines)
{
	const char *p = buf, *end = buf + len;

	while (*lines > 0) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (p == NULL)
			return NULL;
		p++;
		--*lines;
	}
	return p;
}

enum spool_status
maildrop_top(const struct maildrop_message *message, uint64_t lines, uint64_t *wire_len_r)
{
	const struct message *m = (const struct message *)message;
	uint64_t at = message->header_len, end = message->wire_len - WIRE_END_LEN;
	enum spool_status st = SPOOL_OK;
	char *buf = mem_array(1, STEP);
	const char *stop;

	if (buf == NULL)
		return SPOOL_NO_MEMORY;
	while (lines > 0 && at < end) {
		size_t len = end - at < STEP ? (size_t)(end - at) : STEP;

		st = read_octets(m, buf, len, message->wire_offset + at, true);
		if (st != SPOOL_OK)
			break;
		stop = pass_lines(buf, len, &lines);
		at += stop != NULL ? (size_t)(stop - buf) : len;
	}
	free(buf);
	*wire_len_r = at;
	return st;
}

enum spool_status
maildrop_verify(const struct maildrop_message *message)
{
	const struct message *m = (const struct message *)message;
	enum spool_status st = SPOOL_OK;
	char *buf = mem_array(1, STEP);
	uint32_t crc = 0;

	if (buf == NULL)
		return SPOOL_NO_MEMORY;
	for (uint64_t at = 0; st == SPOOL_OK && at < message->wire_len;) {
		uint64_t left = message->wire_len - at;
		size_t len = left < STEP ? (size_t)left : STEP;

		st = read_octets(m, buf, len, message->wire_offset + at, true);
		if (st == SPOOL_OK)
			crc = crc32c(crc, buf, len);
		at += len;
	}
	free(buf);
	if (st == SPOOL_OK && crc != m->wire_crc)
		st = damaged(m, "its checksum is wrong");
	return st;
}

/* The next octets, `max` at most, into the checksum. */
static enum spool_status
check_some(struct message *m, uint64_t end, bool may_block, unsigned char *buf, size_t max)
{
	uint64_t left = end - m->checked;
	size_t len = left < max ? (size_t)left : max;
	enum spool_status st;

	st = read_octets(m, buf, len, m->message.wire_offset + m->checked, may_block);
	if (st != SPOOL_OK)
		return st;
	m->crc = crc32c(m->crc, buf, len);
	m->checked += len;
	return SPOOL_OK;
}

enum spool_status
maildrop_check_to(
    struct maildrop_message *message, uint64_t end, bool may_block, unsigned char *octets)
{
	struct message *m = (struct message *)message;
	const uint64_t from = m->checked;
	enum spool_status st = SPOOL_OK;
	unsigned char step[CHECK_STEP];

	while (st == SPOOL_OK && m->checked < end) {
		if (octets != NULL)
			st = check_some(m, end, may_block, octets + (m->checked - from), STEP);
		else
			st = check_some(m, end, may_block, step, sizeof(step));
	}
	if (st == SPOOL_OK && m->checked == message->wire_len && m->crc != m->wire_crc)
		st = damaged(m, "its checksum is wrong");
	return st;
}

void
maildrop_read_ahead(const struct maildrop_message *message, uint64_t from, uint64_t len)
{
	uint64_t left = from < message->wire_len ? message->wire_len - from : 0;
	uint64_t end = from + (len < left ? len : left);
	char *buf = mem_array(1, STEP);

	/* Read, not advised: whoever asks next must find it there. */
	while (buf != NULL && from < end) {
		size_t step = end - from < STEP ? (size_t)(end - from) : STEP;
		ssize_t n = pread(message->fd, buf, step, (off_t)(message->wire_offset + from));

		if (n <= 0)
			break;
		from += (uint64_t)n;
	}
	free(buf);
}
