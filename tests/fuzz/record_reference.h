/*
 * record_reference - which segment headers and records are to be believed, said once
 * more from docs/spool.md: a field at a time, with no thought for speed.
 *
 * Sums are made bit by bit, so that they are not the ones of base/crc32c.c.
 */
#ifndef TESTS_FUZZ_RECORD_REFERENCE_H
#define TESTS_FUZZ_RECORD_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/spool/record.h"

#define REF_BLOCKS_MAX (UINT64_C(1) << 21)
#define REF_HEADER_MAX (UINT64_C(64) << 20)
#define REF_WIRE_MAX (UINT64_C(1) << 40)
#define REF_UID_MAX 70
#define REF_MAILBOX_MAX 281474976710655

static inline uint64_t
ref_number(const uint8_t *buf, size_t at, size_t len)
{
	uint64_t n = 0;

	while (len > 0)
		n = n * 256 + buf[at + --len];
	return n;
}

/* CRC-32C (RFC 3720 12.1), its polynomial with the lowest bit first. */
static inline uint32_t
ref_sum(const uint8_t *buf, size_t len)
{
	uint32_t crc = 0xFFFFFFFF;

	for (size_t i = 0; i < 8 * len; i++) {
		crc ^= buf[i / 8] >> i % 8 & 1;
		crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
	}
	return ~crc;
}

static inline enum spool_status
ref_segment_header(const uint8_t *buf)
{
	if (memcmp(buf, "RSTNTSEG", 8) != 0 || ref_number(buf, 36, 4) != ref_sum(buf, 36))
		return SPOOL_DAMAGED;
	return ref_number(buf, 8, 4) == 1 ? SPOOL_OK : SPOOL_VERSION;
}

/* Whether header and wire form, so long, lie in blocks that an id can name; the first is the
 * segment's own. */
static inline bool
ref_has_place(uint64_t block, uint64_t len)
{
	uint64_t blocks = len / 4096 + (len % 4096 > 0);

	return block >= 1 && block < REF_BLOCKS_MAX && blocks <= REF_BLOCKS_MAX - block;
}

static inline bool
ref_fixed(const uint8_t *buf, const struct segment_id *id, uint64_t block)
{
	uint64_t header_len = ref_number(buf, 12, 4), wire_len = ref_number(buf, 56, 8);
	uint64_t octets = ref_number(buf, 64, 8), body = ref_number(buf, 72, 8);
	uint64_t recipients = ref_number(buf, 84, 4), envelope_len = ref_number(buf, 88, 4);

	if (memcmp(buf, "RSTNTREC\1\0\0\0", 12) != 0 || ref_number(buf, 96, 4) != ref_sum(buf, 96))
		return false;
	if (memcmp(buf + 16, id->random, SEGMENT_RANDOM_LEN) != 0 ||
	    ref_number(buf, 32, 8) != id->number || ref_number(buf, 40, 8) != block)
		return false;
	if (header_len < 100 + envelope_len || header_len > REF_HEADER_MAX)
		return false;
	if (recipients < 1 || envelope_len < 17 * recipients)
		return false;
	/* The final ".CRLF" is neither counted nor part of the body. */
	if (wire_len < 3 || wire_len > REF_WIRE_MAX || octets > wire_len - 3 || body > wire_len - 3)
		return false;
	return ref_has_place(block, header_len + wire_len);
}

/* A text of `len` octets at *at, which goes behind it; of an envelope of `max` octets. */
static inline bool
ref_text(const uint8_t *env, size_t max, size_t *at, size_t len)
{
	size_t begin = *at;

	*at += len;
	return *at <= max && memchr(env + begin, '\0', len) == NULL;
}

static inline bool
ref_envelope(const uint8_t *env, const struct record *r)
{
	size_t max = r->envelope_len, at = 2, fixed;

	if (ref_sum(env, r->header_len - 100) != r->envelope_crc)
		return false;
	if (at > max || !ref_text(env, max, &at, ref_number(env, 0, 2)))
		return false;
	for (uint32_t i = 0; i < r->recipients; i++) {
		fixed = at;
		at += 17;
		if (at > max || env[fixed + 16] > REF_UID_MAX ||
		    ref_number(env, fixed, 8) > REF_MAILBOX_MAX ||
		    !ref_text(env, max, &at, ref_number(env, fixed + 12, 2)) ||
		    !ref_text(env, max, &at, ref_number(env, fixed + 14, 2)) ||
		    !ref_text(env, max, &at, env[fixed + 16]))
			return false;
	}
	return at == max;
}

#endif
