/*
 * record - how a segment and its records are laid out, octet by octet.
 *
 * Numbers are little-endian, texts without a NUL.  A segment begins with a block (4,096
 * octets) that holds its header and then zeros:
 *
 *      0   8  "RSTNTSEG"
 *      8   4  version, 1
 *     12   8  number
 *     20  16  random octets
 *     36   4  CRC-32C of octets 0 to 35
 *
 * A record begins at a block, 1 or later.  Its header is a fixed part, the envelope,
 * and zeros up to the header's length; the wire form follows, and then zeros up to the
 * next block.  The fixed part:
 *
 *      0   8  "RSTNTREC"
 *      8   2  version, 1
 *     10   2  flags, 0
 *     12   4  length of the header: fixed part, envelope, zeros
 *     16  16  the segment's random octets
 *     32   8  the segment's number
 *     40   8  the block at which the record begins
 *     48   8  time received, milliseconds since 1970
 *     56   8  length of the wire form, with the final ".CRLF"
 *     64   8  octets of the message as POP3 and quotas count them, without any prefix
 *     72   8  where in the wire form the body begins
 *     80   4  CRC-32C of the wire form
 *     84   4  number of recipients
 *     88   4  length of the envelope
 *     92   4  CRC-32C of the header from octet 100 on
 *     96   4  CRC-32C of octets 0 to 95
 *
 * The envelope: the reverse-path's length (2) and text; then for each recipient
 *
 *      0   8  mailbox, below 2^48
 *      8   4  day of expiry, days since 1970; 2^32-1: never
 *     12   2  length of his address
 *     14   2  length of his address as it was written
 *     16   1  length of the UID that the message had elsewhere; 0: none
 *     17      the three texts
 *
 * A record is believed where all three checksums, the segment's random octets and
 * number, its own block and its mailboxes' ids are right.  So neither a record inside a mail nor
 * one that an earlier file left in a recycled block is taken for one.
 */
#include "record.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"

#define FORMAT_VERSION 1
#define RECIPIENT_FIXED_LEN 17
#define REVERSE_PATH_FIXED_LEN 2

/* More recipients than one message can have, each with texts of the greatest length. */
#define HEADER_MAX (64u * 1024 * 1024)
#define WIRE_MAX (UINT64_C(1) << 40)
/* That a message's id can name. */
#define BLOCKS_MAX (UINT64_C(1) << MESSAGE_BLOCK_BITS)
/* ".CRLF" */
#define WIRE_END_LEN 3

static const char segment_magic[8] = { 'R', 'S', 'T', 'N', 'T', 'S', 'E', 'G' };
static const char record_magic[8] = { 'R', 'S', 'T', 'N', 'T', 'R', 'E', 'C' };

static void
put(uint8_t *p, uint64_t n, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(n >> 8 * i);
}

static uint64_t
get(const uint8_t *p, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n |= (uint64_t)p[i] << 8 * i;
	return n;
}

void
segment_header_encode(uint8_t buf[SEGMENT_HEADER_LEN], const struct segment_id *id)
{
	memcpy(buf, segment_magic, sizeof(segment_magic));
	put(buf + 8, FORMAT_VERSION, 4);
	put(buf + 12, id->number, 8);
	memcpy(buf + 20, id->random, SEGMENT_RANDOM_LEN);
	put(buf + 36, crc32c(0, buf, 36), 4);
}

enum spool_status
segment_header_decode(const uint8_t buf[SEGMENT_HEADER_LEN], struct segment_id *id_r)
{
	if (memcmp(buf, segment_magic, sizeof(segment_magic)) != 0 ||
	    get(buf + 36, 4) != crc32c(0, buf, 36))
		return SPOOL_DAMAGED;
	if (get(buf + 8, 4) != FORMAT_VERSION)
		return SPOOL_VERSION;
	id_r->number = get(buf + 12, 8);
	memcpy(id_r->random, buf + 20, SEGMENT_RANDOM_LEN);
	return SPOOL_OK;
}

uint64_t
record_blocks(const struct record *r)
{
	return (r->header_len + r->wire_len + RECORD_BLOCK - 1) / RECORD_BLOCK;
}

/* What a record that was written here cannot be otherwise. */
static bool
record_plausible(const struct record *r)
{
	if (r->header_len < RECORD_FIXED_LEN || r->header_len > HEADER_MAX ||
	    r->envelope_len > r->header_len - RECORD_FIXED_LEN || r->recipients == 0 ||
	    r->recipients > r->envelope_len / RECIPIENT_FIXED_LEN)
		return false;
	if (r->wire_len < WIRE_END_LEN || r->wire_len > WIRE_MAX ||
	    r->body > r->wire_len - WIRE_END_LEN || r->octets > r->wire_len - WIRE_END_LEN)
		return false;
	/* Not a sum, which might be a small one again. */
	return r->block < BLOCKS_MAX && record_blocks(r) <= BLOCKS_MAX - r->block;
}

bool
record_fixed_decode(const uint8_t buf[RECORD_FIXED_LEN], const struct segment_id *id,
    uint64_t block, struct record *r_r)
{
	if (memcmp(buf, record_magic, sizeof(record_magic)) != 0 ||
	    get(buf + 96, 4) != crc32c(0, buf, 96))
		return false;
	if (get(buf + 8, 2) != FORMAT_VERSION || get(buf + 10, 2) != 0 ||
	    memcmp(buf + 16, id->random, SEGMENT_RANDOM_LEN) != 0 ||
	    get(buf + 32, 8) != id->number || get(buf + 40, 8) != block || block == 0)
		return false;
	struct record r = {
		.header_len = (uint32_t)get(buf + 12, 4),
		.envelope_len = (uint32_t)get(buf + 88, 4),
		.recipients = (uint32_t)get(buf + 84, 4),
		.block = block,
		.received_ms = get(buf + 48, 8),
		.wire_len = get(buf + 56, 8),
		.octets = get(buf + 64, 8),
		.body = get(buf + 72, 8),
		.wire_crc = (uint32_t)get(buf + 80, 4),
		.envelope_crc = (uint32_t)get(buf + 92, 4),
	};
	if (!record_plausible(&r))
		return false;
	*r_r = r;
	return true;
}

bool
record_fixed_says(const uint8_t buf[RECORD_FIXED_LEN], uint64_t block, struct segment_id *id_r)
{
	struct segment_id id = { .number = get(buf + 32, 8) };
	struct record r;

	memcpy(id.random, buf + 16, SEGMENT_RANDOM_LEN);
	if (!record_fixed_decode(buf, &id, block, &r))
		return false;
	*id_r = id;
	return true;
}

size_t
record_header_base(const char *reverse_path)
{
	return RECORD_FIXED_LEN + REVERSE_PATH_FIXED_LEN + strlen(reverse_path);
}

static size_t
uid_len(const struct record_recipient *to)
{
	return to->uid == NULL ? 0 : strlen(to->uid);
}

size_t
record_recipient_len(const struct record_recipient *to)
{
	return RECIPIENT_FIXED_LEN + strlen(to->address) + strlen(to->written) + uid_len(to);
}

static uint8_t *
put_text(uint8_t *p, const char *text, size_t len)
{
	memcpy(p, text, len);
	return p + len;
}

static uint8_t *
put_recipient(uint8_t *p, const struct record_recipient *to)
{
	size_t address_len = strlen(to->address), written_len = strlen(to->written);

	assert(address_len <= UINT16_MAX && written_len <= UINT16_MAX && uid_len(to) <= UINT8_MAX);
	put(p, to->mailbox, 8);
	put(p + 8, to->expires_day, 4);
	put(p + 12, address_len, 2);
	put(p + 14, written_len, 2);
	put(p + 16, uid_len(to), 1);
	p = put_text(p + RECIPIENT_FIXED_LEN, to->address, address_len);
	p = put_text(p, to->written, written_len);
	return to->uid == NULL ? p : put_text(p, to->uid, uid_len(to));
}

void
record_header_encode(uint8_t *buf, const struct segment_id *id, struct record *r,
    const char *reverse_path, const struct record_recipient *list, size_t n)
{
	size_t path_len = strlen(reverse_path);
	uint8_t *p = buf + RECORD_FIXED_LEN, *end = buf + r->header_len;

	assert(path_len <= UINT16_MAX);
	put(p, path_len, REVERSE_PATH_FIXED_LEN);
	p = put_text(p + REVERSE_PATH_FIXED_LEN, reverse_path, path_len);
	for (size_t i = 0; i < n; i++)
		p = put_recipient(p, &list[i]);
	assert(p <= end);
	memset(p, 0, (size_t)(end - p));
	r->recipients = (uint32_t)n;
	r->envelope_len = (uint32_t)(p - (buf + RECORD_FIXED_LEN));
	r->envelope_crc = crc32c(0, buf + RECORD_FIXED_LEN, r->header_len - RECORD_FIXED_LEN);

	memcpy(buf, record_magic, sizeof(record_magic));
	put(buf + 8, FORMAT_VERSION, 2);
	put(buf + 10, 0, 2);
	put(buf + 12, r->header_len, 4);
	memcpy(buf + 16, id->random, SEGMENT_RANDOM_LEN);
	put(buf + 32, id->number, 8);
	put(buf + 40, r->block, 8);
	put(buf + 48, r->received_ms, 8);
	put(buf + 56, r->wire_len, 8);
	put(buf + 64, r->octets, 8);
	put(buf + 72, r->body, 8);
	put(buf + 80, r->wire_crc, 4);
	put(buf + 84, r->recipients, 4);
	put(buf + 88, r->envelope_len, 4);
	put(buf + 92, r->envelope_crc, 4);
	put(buf + 96, crc32c(0, buf, 96), 4);
}

/* Takes texts out of the envelope and into `texts`, each with a NUL. */
struct text_reader {
	const uint8_t *p, *end;
	char *texts;
};

static char *
take_text(struct text_reader *in, size_t len)
{
	char *text = in->texts;

	if ((size_t)(in->end - in->p) < len || memchr(in->p, '\0', len) != NULL)
		return NULL;
	memcpy(text, in->p, len);
	in->p += len;
	text[len] = '\0';
	in->texts += len + 1;
	return text;
}

static bool
take_recipient(struct text_reader *in, struct record_recipient *to)
{
	const uint8_t *fixed = in->p;

	if (in->end - in->p < RECIPIENT_FIXED_LEN)
		return false;
	in->p += RECIPIENT_FIXED_LEN;
	to->mailbox = get(fixed, 8);
	to->expires_day = (uint32_t)get(fixed + 8, 4);
	to->address = take_text(in, get(fixed + 12, 2));
	to->written = to->address == NULL ? NULL : take_text(in, get(fixed + 14, 2));
	if (to->written == NULL || to->mailbox > RECORD_MAILBOX_MAX)
		return false;
	if (fixed[16] == 0)
		return true;
	to->uid = take_text(in, fixed[16]);
	return to->uid != NULL && fixed[16] <= RECORD_FOREIGN_UID_MAX;
}

enum spool_status
record_envelope_decode(const uint8_t *buf, const struct record *r, struct record_envelope *e_r)
{
	struct record_envelope e = { 0 };
	struct text_reader in;
	bool good;

	memset(e_r, 0, sizeof(*e_r));
	if (crc32c(0, buf, r->header_len - RECORD_FIXED_LEN) != r->envelope_crc ||
	    r->envelope_len < REVERSE_PATH_FIXED_LEN)
		return SPOOL_DAMAGED;
	e.n = r->recipients;
	e.list = mem_array(e.n, sizeof(*e.list));
	/* The NULs: one text for the path, three for each recipient. */
	e.texts = mem_array(1, r->envelope_len + 1 + 3 * e.n);
	if (e.list == NULL || e.texts == NULL) {
		record_envelope_release(&e);
		return SPOOL_NO_MEMORY;
	}
	in.p = buf + REVERSE_PATH_FIXED_LEN;
	in.end = buf + r->envelope_len;
	in.texts = e.texts;
	e.reverse_path = take_text(&in, get(buf, REVERSE_PATH_FIXED_LEN));
	good = e.reverse_path != NULL;
	for (size_t i = 0; good && i < e.n; i++)
		good = take_recipient(&in, &e.list[i]);
	if (!good || in.p != in.end) {
		record_envelope_release(&e);
		return SPOOL_DAMAGED;
	}
	*e_r = e;
	return SPOOL_OK;
}

void
record_envelope_release(struct record_envelope *e)
{
	free(e->list);
	free(e->texts);
	memset(e, 0, sizeof(*e));
}

#define PREFIX_FORMAT "Return-Path: <%s>\r\nDelivered-To: %s\r\n"

size_t
record_prefix_len(const char *reverse_path, const char *written)
{
	return sizeof(PREFIX_FORMAT) - 1 - 2 * strlen("%s") + strlen(reverse_path) +
	       strlen(written);
}

char *
record_prefix(const char *reverse_path, const char *written, size_t *len_r)
{
	size_t len = record_prefix_len(reverse_path, written);
	char *prefix = mem_array(1, len + 1);

	if (prefix == NULL)
		return NULL;
	snprintf(prefix, len + 1, PREFIX_FORMAT, reverse_path, written);
	*len_r = len;
	return prefix;
}
