/*
 * segment_image - a segment's file in memory: records laid into it, what an input makes of it, and
 * what docs/spool.md says is to be believed of it, read a record at a time.
 */
#ifndef TESTS_FUZZ_SEGMENT_IMAGE_H
#define TESTS_FUZZ_SEGMENT_IMAGE_H

#include "base/crc32c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/record_reference.h"

enum change {
	CHANGE_FLIP,   /* one octet */
	CHANGE_WRITE,  /* what follows in the input, at any octet */
	CHANGE_CUT,    /* the file ends here, or goes on with zeros to here */
	CHANGE_COPY,   /* blocks to another place */
	CHANGE_ZERO,   /* blocks */
	CHANGE_RECORD, /* a record that is right, whatever it says */
	CHANGE_RIGHT,  /* checksums, number, random octets and place of what is at a block */
	CHANGE_BLOCK,  /* what follows in the input, at the beginning of a block */
	CHANGES
};

#define BLOCKS_MAX 32u
#define ROWS_MAX 512

/* An entry. */
struct row {
	uint64_t message, mailbox, octets;
};

struct rows {
	struct row list[ROWS_MAX];
	size_t n;
};

struct image {
	uint8_t octets[BLOCKS_MAX * RECORD_BLOCK];
	size_t len;
};

/* --- laying records ------------------------------------------------------- */

/* Behind the last one, or at `block`; the header is padded with `spare` zeros. */
static inline void
put_record(struct image *im, const struct segment_id *of, uint64_t block, const char *path,
    const struct record_recipient *list, size_t n, const void *wire, size_t len, struct record *r)
{
	size_t at = block * RECORD_BLOCK, end;

	r->block = block;
	r->header_len += (uint32_t)record_header_base(path);
	for (size_t i = 0; i < n; i++)
		r->header_len += (uint32_t)record_recipient_len(&list[i]);
	r->wire_len = len;
	r->wire_crc = crc32c(0, wire, len);
	end = at + r->header_len + len;
	if (end > sizeof(im->octets))
		return;
	record_header_encode(im->octets + at, of, r, path, list, n);
	memcpy(im->octets + at + r->header_len, wire, len);
	if (im->len < end)
		im->len = end;
}

static inline void
begin_segment(struct image *im, const struct segment_id *of)
{
	memset(im, 0, sizeof(*im));
	segment_header_encode(im->octets, of);
	im->len = RECORD_BLOCK;
}

/* --- reading -------------------------------------------------------------- */

/* What docs/spool.md says is to be believed of the segment from block `from` on. */
struct reading {
	struct rows rows;
	uint64_t messages;
	uint64_t unread; /* blocks that are of no record, and not empty */
};

static inline void
add_row(struct rows *rows, uint64_t message, uint64_t mailbox, uint64_t octets)
{
	for (size_t i = 0; i < rows->n; i++)
		if (rows->list[i].message == message && rows->list[i].mailbox == mailbox)
			return;
	REQUIRE(rows->n < ROWS_MAX);
	rows->list[rows->n++] = (struct row){ message, mailbox, octets };
}

/* The record at `block`; its blocks, 0 where there is none. */
static inline uint64_t
read_record(
    const struct image *im, const struct segment_id *of, uint64_t block, struct rows *rows_r)
{
	const uint8_t *p = im->octets + block * RECORD_BLOCK, *env = p + RECORD_FIXED_LEN;
	uint64_t room = im->len - block * RECORD_BLOCK;
	struct record r;
	size_t at, path;

	if (room < RECORD_FIXED_LEN || !ref_fixed(p, of, block))
		return 0;
	r.header_len = (uint32_t)ref_number(p, 12, 4);
	r.wire_len = ref_number(p, 56, 8);
	r.octets = ref_number(p, 64, 8);
	r.recipients = (uint32_t)ref_number(p, 84, 4);
	r.envelope_len = (uint32_t)ref_number(p, 88, 4);
	r.envelope_crc = (uint32_t)ref_number(p, 92, 4);
	if (r.header_len + r.wire_len > room || !ref_envelope(env, &r) ||
	    crc32c(0, p + r.header_len, r.wire_len) != ref_number(p, 80, 4))
		return 0;
	path = ref_number(env, 0, 2);
	at = 2 + path;
	for (uint32_t i = 0; i < r.recipients; i++) {
		size_t address = ref_number(env, at + 12, 2), written = ref_number(env, at + 14, 2);

		if (rows_r != NULL)
			add_row(rows_r, message_id(of->number, block), ref_number(env, at, 8),
			    r.octets + strlen("Return-Path: <>\r\nDelivered-To: \r\n") + path +
				written);
		at += 17 + address + written + env[at + 16];
	}
	return (r.header_len + r.wire_len + RECORD_BLOCK - 1) / RECORD_BLOCK;
}

static inline bool
read_header(const struct image *im, struct segment_id *of)
{
	if (im->len < SEGMENT_HEADER_LEN || ref_segment_header(im->octets) != SPOOL_OK)
		return false;
	of->number = ref_number(im->octets, 12, 8);
	memcpy(of->random, im->octets + 20, SEGMENT_RANDOM_LEN);
	return true;
}

static inline bool
is_empty(const struct image *im, uint64_t block)
{
	for (size_t at = block * RECORD_BLOCK; at < (block + 1) * RECORD_BLOCK; at++)
		if (at < im->len && im->octets[at] != 0)
			return false;
	return true;
}

static inline void
read_records(const struct image *im, const struct segment_id *of, uint64_t from, struct reading *in)
{
	uint64_t blocks;

	for (uint64_t block = from; block * RECORD_BLOCK<im->len; block += blocks> 0 ? blocks : 1) {
		blocks = read_record(im, of, block, &in->rows);
		in->messages += blocks > 0;
		in->unread += blocks == 0 && !is_empty(im, block);
	}
}

static inline void
read_segment(const struct image *im, uint64_t number, uint64_t from, struct reading *in)
{
	struct segment_id of;

	if (read_header(im, &of) && of.number == number)
		read_records(im, &of, from, in);
}

/* What the fixed parts at block 1 and at those of `rows` say their segment is, where there is one
 * and no two differ; `number` is its name, 0 for any. */
static inline bool
prove_header(
    const struct image *im, uint64_t number, const struct rows *rows, struct segment_id *of)
{
	size_t found = 0;

	for (size_t i = 0; i <= rows->n; i++) {
		uint64_t message = i == 0 ? message_id(number, 1) : rows->list[i - 1].message;
		size_t at = message_block(message) * RECORD_BLOCK;
		struct segment_id says;

		if (message_segment(message) != number || at + RECORD_FIXED_LEN > im->len)
			continue;
		says.number = ref_number(im->octets, at + 32, 8);
		memcpy(says.random, im->octets + at + 16, SEGMENT_RANDOM_LEN);
		if (!ref_fixed(im->octets + at, &says, at / RECORD_BLOCK) ||
		    (number != 0 && says.number != number))
			continue;
		if (found++ > 0 && (says.number != of->number ||
				       memcmp(says.random, of->random, SEGMENT_RANDOM_LEN) != 0))
			return false;
		*of = says;
	}
	return found > 0;
}

/* --- changes -------------------------------------------------------------- */

struct input {
	const uint8_t *p, *end;
};

static inline uint64_t
take(struct input *in, size_t len)
{
	uint64_t n = 0;

	for (; len > 0; len--)
		n = n << 8 | (in->p < in->end ? *in->p++ : 0);
	return n;
}

/* So many octets as the next one says; behind them a NUL that is none of them. */
static inline char *
take_text(struct input *in)
{
	size_t len = take(in, 1), have = (size_t)(in->end - in->p);
	char *text = fuzz_room(len + 1);

	len = len < have ? len : have;
	memcpy(text, in->p, len);
	text[len] = '\0';
	in->p += len;
	return text;
}

/* Mailboxes are small numbers, or any. */
static inline uint64_t
take_mailbox(struct input *in)
{
	uint64_t n = take(in, 1);

	return n == 0xff ? take(in, 8) : n % 8;
}

static inline void
add_record(struct input *in, struct image *im, const struct segment_id *of, uint64_t block)
{
	static const char wire[] = "Subject: added\r\n\r\n.\r\n";
	struct record_recipient list[4] = { 0 };
	struct record r = { .received_ms = take(in, 8), .octets = take(in, 1) % sizeof(wire) };
	size_t n = 1 + take(in, 1) % 4;
	char *texts[12] = { NULL }, *path = take_text(in);

	r.header_len = (uint32_t)take(in, 1);
	r.body = r.octets;
	for (size_t i = 0; i < n; i++) {
		list[i].mailbox = take_mailbox(in);
		list[i].expires_day = (uint32_t)take(in, 4);
		list[i].address = texts[3 * i] = take_text(in);
		list[i].written = texts[3 * i + 1] = take_text(in);
		list[i].uid = texts[3 * i + 2] = take_text(in);
		if (strlen(list[i].uid) == 0 || strlen(list[i].uid) > RECORD_FOREIGN_UID_MAX)
			list[i].uid = NULL;
	}
	put_record(im, of, block, path, list, n, wire, sizeof(wire) - 1, &r);
	for (size_t i = 0; i < 12; i++)
		free(texts[i]);
	free(path);
}

static inline void
put_number(uint8_t *p, uint64_t n, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(n >> 8 * i);
}

/* What is there becomes believable, as far as its lengths are. */
static inline void
make_right(struct image *im, const struct segment_id *of, uint64_t block)
{
	uint8_t *p = im->octets + block * RECORD_BLOCK;
	uint64_t room = im->len - block * RECORD_BLOCK, header_len, wire_len;

	if (block == 0) {
		put_number(p + 36, crc32c(0, p, 36), 4);
		return;
	}
	header_len = ref_number(p, 12, 4);
	wire_len = ref_number(p, 56, 8);
	memcpy(p, "RSTNTREC\1\0\0\0", 12);
	memcpy(p + 16, of->random, SEGMENT_RANDOM_LEN);
	put_number(p + 32, of->number, 8);
	put_number(p + 40, block, 8);
	if (header_len >= RECORD_FIXED_LEN && header_len <= room) {
		put_number(p + 92, crc32c(0, p + 100, header_len - 100), 4);
		if (wire_len <= room - header_len)
			put_number(p + 80, crc32c(0, p + header_len, wire_len), 4);
	}
	put_number(p + 96, crc32c(0, p, 96), 4);
}

static inline void
write_octets(struct input *in, struct image *im, size_t at)
{
	char *text = take_text(in);
	size_t len = strlen(text);

	if (at + len <= sizeof(im->octets)) {
		memcpy(im->octets + at, text, len);
		if (im->len < at + len)
			im->len = at + len;
	}
	free(text);
}

/* True for one that no disk does. */
static inline bool
change(struct input *in, struct image *im, const struct segment_id *of)
{
	enum change what = take(in, 1) % CHANGES;
	uint64_t block = take(in, 1) % BLOCKS_MAX, at = block * RECORD_BLOCK;
	uint64_t n;

	switch (what) {
	case CHANGE_FLIP:
		at += take(in, 2) % RECORD_BLOCK;
		im->octets[at] ^= (uint8_t)take(in, 1);
		break;
	case CHANGE_WRITE:
		write_octets(in, im, at + take(in, 2) % RECORD_BLOCK);
		break;
	case CHANGE_CUT:
		n = at + take(in, 2) % RECORD_BLOCK;
		memset(im->octets + n, 0, sizeof(im->octets) - n);
		im->len = n;
		break;
	case CHANGE_COPY:
		n = take(in, 1) % BLOCKS_MAX;
		memmove(im->octets + at, im->octets + n * RECORD_BLOCK, RECORD_BLOCK);
		if (im->len < at + RECORD_BLOCK)
			im->len = at + RECORD_BLOCK;
		break;
	case CHANGE_ZERO:
		memset(im->octets + at, 0, RECORD_BLOCK);
		break;
	case CHANGE_RECORD:
		add_record(in, im, of, block);
		return true;
	case CHANGE_RIGHT:
		if (im->len >= at + RECORD_BLOCK)
			make_right(im, of, block);
		return true;
	default:
		write_octets(in, im, at);
		break;
	}
	return false;
}

#endif
