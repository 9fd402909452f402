/*
 * fuzz_record - what a disk may hold where a segment's header or a record should be,
 * against the reference; and records that were written, read again.
 *
 * The first octet of the input says what is left as it came (enum as_it_came); all else is made
 * right, or no hostile length would ever get beyond the checksums.  Then come a segment's
 * header, and a record's to the end of the input; what is missing is zeros.  In
 * a run of its own the input is numbers and texts for a record that is written.
 */
#include "common/spool/record.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/record_reference.h"

enum as_it_came {
	SEGMENT_SUM = 1,   /* the segment header's checksum */
	MAGIC = 2,         /* magic, version and flags of both */
	PLACE = 4,         /* the random octets and the number that the record repeats */
	HEADER_LEN = 8,    /* else the header ends with the input */
	ENVELOPE_LEN = 16, /* else the envelope ends with the header */
	ENVELOPE_SUM = 32,
	FIXED_SUM = 64,
};

/* Beyond it an envelope is not made up from an input that does not hold it. */
#define HEADER_ROOM 16384

static void
put_number(uint8_t *p, uint64_t n, size_t len)
{
	for (size_t i = 0; i < len; i++, n /= 256)
		p[i] = (uint8_t)(n % 256);
}

/* --- segment headers ------------------------------------------------------ */

static void
make_segment_right(uint8_t *buf, unsigned flags)
{
	if (!(flags & MAGIC))
		memcpy(buf, "RSTNTSEG\1\0\0\0", 12);
	if (!(flags & SEGMENT_SUM))
		put_number(buf + 36, ref_sum(buf, 36), 4);
}

static void
try_segment_header(const uint8_t *buf, struct segment_id *id)
{
	uint8_t *copy = fuzz_copy(buf, SEGMENT_HEADER_LEN), again[SEGMENT_HEADER_LEN];
	enum spool_status st = segment_header_decode(copy, id);

	REQUIRE(st == ref_segment_header(buf));
	if (st == SPOOL_OK) {
		segment_header_encode(again, id);
		REQUIRE(memcmp(again, buf, SEGMENT_HEADER_LEN) == 0);
	} else {
		id->number = ref_number(buf, 12, 8);
		memcpy(id->random, buf + 20, SEGMENT_RANDOM_LEN);
	}
	free(copy);
}

/* --- records that came ---------------------------------------------------- */

static void
make_record_right(uint8_t *buf, size_t len, unsigned flags, const struct segment_id *id)
{
	if (!(flags & MAGIC))
		memcpy(buf, "RSTNTREC\1\0\0\0", 12);
	if (!(flags & PLACE)) {
		memcpy(buf + 16, id->random, SEGMENT_RANDOM_LEN);
		put_number(buf + 32, id->number, 8);
	}
	if (!(flags & HEADER_LEN))
		put_number(buf + 12, len, 4);
	if (!(flags & ENVELOPE_LEN))
		put_number(buf + 88, ref_number(buf, 12, 4) - RECORD_FIXED_LEN, 4);
}

/* What the fixed part says of them comes behind it, whatever the input holds. */
static void
make_sums_right(uint8_t *fixed, const uint8_t *rest, size_t rest_len, unsigned flags)
{
	if (!(flags & ENVELOPE_SUM))
		put_number(fixed + 92, ref_sum(rest, rest_len), 4);
	if (!(flags & FIXED_SUM))
		put_number(fixed + 96, ref_sum(fixed, 96), 4);
}

static void
require_fixed(const uint8_t *fixed, const struct record *r)
{
	uint64_t len = (uint64_t)r->header_len + r->wire_len;

	REQUIRE(r->header_len == ref_number(fixed, 12, 4));
	REQUIRE(r->block == ref_number(fixed, 40, 8));
	REQUIRE(r->received_ms == ref_number(fixed, 48, 8));
	REQUIRE(r->wire_len == ref_number(fixed, 56, 8));
	REQUIRE(r->octets == ref_number(fixed, 64, 8));
	REQUIRE(r->body == ref_number(fixed, 72, 8));
	REQUIRE(r->wire_crc == ref_number(fixed, 80, 4));
	REQUIRE(r->recipients == ref_number(fixed, 84, 4));
	REQUIRE(r->envelope_len == ref_number(fixed, 88, 4));
	REQUIRE(r->envelope_crc == ref_number(fixed, 92, 4));
	REQUIRE(record_blocks(r) * RECORD_BLOCK >= len);
	REQUIRE((record_blocks(r) - 1) * RECORD_BLOCK < len);
}

/* Its id leads back to it, and nothing else does. */
static void
require_one_place(const uint8_t *fixed, const struct segment_id *id, uint64_t block)
{
	struct segment_id other = *id;
	struct record r;

	if (id->number <= SEGMENT_NUMBER_MAX) {
		REQUIRE(message_segment(message_id(id->number, block)) == id->number);
		REQUIRE(message_block(message_id(id->number, block)) == block);
	}
	for (unsigned i = 0; i < 64; i++) {
		REQUIRE(!record_fixed_decode(fixed, id, block ^ UINT64_C(1) << i, &r));
		other.number = id->number ^ UINT64_C(1) << i;
		REQUIRE(!record_fixed_decode(fixed, &other, block, &r));
	}
	other = *id;
	for (unsigned i = 0; i < 8 * SEGMENT_RANDOM_LEN; i++) {
		other.random[i / 8] ^= (uint8_t)(1 << i % 8);
		REQUIRE(!record_fixed_decode(fixed, &other, block, &r));
		other.random[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void
require_prefix(const char *reverse_path, const char *written)
{
	static const char first[] = "Return-Path: <", second[] = ">\r\nDelivered-To: ";
	size_t want = strlen(first) + strlen(reverse_path) + strlen(second) + strlen(written) + 2;
	char *text = fuzz_room(want + 1), *prefix;
	size_t len = SIZE_MAX;

	strcpy(text, first);
	strcat(text, reverse_path);
	strcat(text, second);
	strcat(text, written);
	strcat(text, "\r\n");
	prefix = record_prefix(reverse_path, written, &len);
	REQUIRE(prefix != NULL && strcmp(prefix, text) == 0);
	REQUIRE(len == want && record_prefix_len(reverse_path, written) == want);
	free(prefix);
	free(text);
}

/* What was believed is written as it was; padding, which may have been anything, as zeros. */
static void
require_same_again(const uint8_t *fixed, const uint8_t *rest, const struct segment_id *id,
    const struct record *r, const struct record_envelope *e)
{
	size_t used = RECORD_FIXED_LEN + r->envelope_len, len = record_header_base(e->reverse_path);
	struct record again = *r;
	uint8_t *buf = fuzz_room(r->header_len);
	bool zeros = true;

	again.recipients = again.envelope_len = again.envelope_crc = 0;
	record_header_encode(buf, id, &again, e->reverse_path, e->list, e->n);
	REQUIRE(again.recipients == r->recipients && again.envelope_len == r->envelope_len);
	REQUIRE(memcmp(buf + RECORD_FIXED_LEN, rest, r->envelope_len) == 0);
	for (size_t i = used; i < r->header_len; i++) {
		REQUIRE(buf[i] == 0);
		zeros = zeros && rest[i - RECORD_FIXED_LEN] == 0;
	}
	REQUIRE(memcmp(buf, fixed, zeros ? RECORD_FIXED_LEN : 92) == 0);
	for (size_t i = 0; i < e->n; i++) {
		len += record_recipient_len(&e->list[i]);
		require_prefix(e->reverse_path, e->list[i].written);
	}
	REQUIRE(len == used);
	free(buf);
}

static void
try_envelope(
    const uint8_t *fixed, const uint8_t *rest, const struct segment_id *id, const struct record *r)
{
	struct record_envelope e;
	enum spool_status st;

	memset(&e, 'x', sizeof(e));
	st = record_envelope_decode(rest, r, &e);
	REQUIRE(st == (ref_envelope(rest, r) ? SPOOL_OK : SPOOL_DAMAGED));
	if (st == SPOOL_OK)
		require_same_again(fixed, rest, id, r, &e);
	record_envelope_release(&e);
	REQUIRE(e.list == NULL && e.texts == NULL);
}

static void
try_record(const uint8_t *data, size_t len, unsigned flags, const struct segment_id *id)
{
	uint8_t *fixed = fuzz_room(RECORD_FIXED_LEN), *rest;
	size_t have = len < RECORD_FIXED_LEN ? len : RECORD_FIXED_LEN, rest_len;
	struct record r;
	uint64_t block;

	memset(fixed, 0, RECORD_FIXED_LEN);
	memcpy(fixed, data, have);
	make_record_right(fixed, len < RECORD_FIXED_LEN ? RECORD_FIXED_LEN : len, flags, id);
	rest_len = ref_number(fixed, 12, 4) - RECORD_FIXED_LEN;
	if (rest_len > HEADER_ROOM)
		rest_len = 0;
	rest = fuzz_room(rest_len);
	memset(rest, 0, rest_len);
	memcpy(rest, data + have, len - have < rest_len ? len - have : rest_len);
	make_sums_right(fixed, rest, rest_len, flags);

	block = ref_number(fixed, 40, 8);
	if (record_fixed_decode(fixed, id, block, &r)) {
		REQUIRE(ref_fixed(fixed, id, block));
		require_fixed(fixed, &r);
		require_one_place(fixed, id, block);
		if (r.header_len - RECORD_FIXED_LEN == rest_len)
			try_envelope(fixed, rest, id, &r);
	} else {
		REQUIRE(!ref_fixed(fixed, id, block));
	}
	free(rest);
	free(fixed);
}

/* --- records that are written --------------------------------------------- */

/* When it is used up, it goes on with zeros and empty texts. */
struct input {
	const uint8_t *p, *end;
};

static uint64_t
take_number(struct input *in, size_t len)
{
	uint64_t n = 0;

	for (; len > 0; len--)
		n = n * 256 + (in->p < in->end ? *in->p++ : 0);
	return n;
}

/* Up to a NUL, and no more than `max` octets. */
static char *
take_text(struct input *in, size_t max)
{
	size_t len = strnlen((const char *)in->p, (size_t)(in->end - in->p));
	char *text;

	if (len > max)
		len = max;
	text = fuzz_room(len + 1);
	memcpy(text, in->p, len);
	text[len] = '\0';
	in->p += len;
	if (in->p < in->end && *in->p == 0)
		in->p++;
	return text;
}

static void
require_written(const uint8_t *buf, const struct segment_id *id, const struct record *r,
    const char *reverse_path, const struct record_recipient *list, size_t n)
{
	uint8_t *rest = fuzz_copy(buf + RECORD_FIXED_LEN, r->header_len - RECORD_FIXED_LEN);
	struct record_envelope e;
	struct record got;

	REQUIRE(record_fixed_decode(buf, id, r->block, &got));
	REQUIRE(got.header_len == r->header_len && got.envelope_len == r->envelope_len);
	REQUIRE(got.block == r->block && got.received_ms == r->received_ms);
	REQUIRE(got.wire_len == r->wire_len && got.octets == r->octets && got.body == r->body);
	REQUIRE(got.wire_crc == r->wire_crc && got.envelope_crc == r->envelope_crc);
	REQUIRE(record_envelope_decode(rest, &got, &e) == SPOOL_OK);
	REQUIRE(got.recipients == n && e.n == n && strcmp(e.reverse_path, reverse_path) == 0);
	for (size_t i = 0; i < n; i++) {
		REQUIRE(e.list[i].mailbox == list[i].mailbox);
		REQUIRE(e.list[i].expires_day == list[i].expires_day);
		REQUIRE(strcmp(e.list[i].address, list[i].address) == 0);
		REQUIRE(strcmp(e.list[i].written, list[i].written) == 0);
		if (list[i].uid == NULL || list[i].uid[0] == '\0')
			REQUIRE(e.list[i].uid == NULL);
		else
			REQUIRE(e.list[i].uid != NULL && strcmp(e.list[i].uid, list[i].uid) == 0);
	}
	record_envelope_release(&e);
	free(rest);
}

/* No octet of a header can be another. */
static void
require_no_other(uint8_t *buf, const struct segment_id *id, const struct record *r, uint64_t bit)
{
	struct record_envelope e;
	struct record got;

	bit %= 8 * (uint64_t)r->header_len;
	buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	if (record_fixed_decode(buf, id, r->block, &got)) {
		REQUIRE(record_envelope_decode(buf + RECORD_FIXED_LEN, &got, &e) == SPOOL_DAMAGED);
		record_envelope_release(&e);
	}
}

static void
try_written(const uint8_t *data, size_t size, const struct segment_id *id)
{
	struct input in = { data, data + size };
	size_t n = 1 + take_number(&in, 1) % 4, spare = take_number(&in, 1);
	uint64_t bit = take_number(&in, 2);
	struct record r = { .block = 1 + take_number(&in, 2) };
	struct record_recipient list[4] = { 0 };
	char *reverse_path, *texts[12] = { NULL };
	uint8_t *buf;

	r.received_ms = take_number(&in, 8);
	r.wire_len = 3 + take_number(&in, 4);
	r.octets = take_number(&in, 4) % (r.wire_len - 2);
	r.body = take_number(&in, 4) % (r.wire_len - 2);
	r.wire_crc = (uint32_t)take_number(&in, 4);
	reverse_path = take_text(&in, UINT16_MAX);
	r.header_len = (uint32_t)(record_header_base(reverse_path) + spare);
	for (size_t i = 0; i < n; i++) {
		list[i].mailbox = take_number(&in, 8) & RECORD_MAILBOX_MAX;
		list[i].expires_day = (uint32_t)take_number(&in, 4);
		list[i].address = texts[3 * i] = take_text(&in, UINT16_MAX);
		list[i].written = texts[3 * i + 1] = take_text(&in, UINT16_MAX);
		list[i].uid = texts[3 * i + 2] = take_text(&in, RECORD_FOREIGN_UID_MAX);
		if (list[i].uid[0] == '\0' && list[i].mailbox % 2 == 0)
			list[i].uid = NULL;
		r.header_len += (uint32_t)record_recipient_len(&list[i]);
	}
	buf = fuzz_room(r.header_len);
	record_header_encode(buf, id, &r, reverse_path, list, n);
	require_written(buf, id, &r, reverse_path, list, n);
	require_no_other(buf, id, &r, bit);
	free(buf);
	for (size_t i = 0; i < 12; i++)
		free(texts[i]);
	free(reverse_path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[SEGMENT_HEADER_LEN] = { 0 };
	size_t have;
	struct segment_id id;
	unsigned flags;

	if (size < 1)
		return 0;
	flags = *data++;
	size--;
	have = size < SEGMENT_HEADER_LEN ? size : SEGMENT_HEADER_LEN;
	memcpy(header, data, have);
	make_segment_right(header, flags);
	try_segment_header(header, &id);
	try_record(data + have, size - have, flags, &id);
	try_written(data + have, size - have, &id);
	return 0;
}
