/*
 * record - one message as it lies in a segment: header, then wire form.  Private to
 * common/spool.
 *
 * The layout, octet by octet, and what makes a record one that is believed, stand
 * at the top of record.c.  Thread: any; pure.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"

/* Records begin at multiples of this. */
#define RECORD_BLOCK 4096u

/* A message's id says where it lies: segment << 21 | block. */
#define MESSAGE_BLOCK_BITS 21
#define SEGMENT_NUMBER_MAX ((UINT64_C(1) << (63 - MESSAGE_BLOCK_BITS)) - 1)

static inline uint64_t
message_id(uint64_t segment, uint64_t block)
{
	return segment << MESSAGE_BLOCK_BITS | block;
}

static inline uint64_t
message_segment(uint64_t message)
{
	return message >> MESSAGE_BLOCK_BITS;
}

static inline uint64_t
message_block(uint64_t message)
{
	return message & ((UINT64_C(1) << MESSAGE_BLOCK_BITS) - 1);
}

/* The greatest mailbox id that is ever given.  A record that names a greater one is damaged:
 * entered, it would use up the ids of all mailboxes to come. */
#define RECORD_MAILBOX_MAX ((UINT64_C(1) << 48) - 1)

/* Which segment: what its first block says, and each of its records repeats. */
#define SEGMENT_RANDOM_LEN 16
struct segment_id {
	uint64_t number;
	uint8_t random[SEGMENT_RANDOM_LEN];
};

/* Octets of a segment's header at the start of its first block; the rest is zeros. */
#define SEGMENT_HEADER_LEN 40
void segment_header_encode(uint8_t buf[SEGMENT_HEADER_LEN], const struct segment_id *);
/* SPOOL_OK, SPOOL_VERSION, SPOOL_DAMAGED. */
enum spool_status segment_header_decode(const uint8_t buf[SEGMENT_HEADER_LEN],
    struct segment_id *id_r);

/* The record's fixed part, which alone says where the message's octets are. */
#define RECORD_FIXED_LEN 100
struct record {
	uint32_t header_len;            /* fixed part, envelope and padding */
	uint32_t envelope_len;          /* of these, the envelope */
	uint32_t recipients;            /* in the envelope */
	uint64_t block;
	uint64_t received_ms;
	uint64_t wire_len;              /* behind the header, with the final ".CRLF" */
	uint64_t octets;                /* unstuffed, without any recipient's prefix */
	uint64_t body;                  /* wire octets up to and with the empty line; all but the
					   final ".CRLF" where there is none */
	uint32_t wire_crc;              /* CRC-32C of the wire form */
	uint32_t envelope_crc;          /* CRC-32C of envelope and padding */
};

/* Header and wire form, in blocks. */
uint64_t record_blocks(const struct record *);

/* Whether `buf` is the fixed part of the record at `block` of this segment: bits,
 * number, block, lengths and checksum say so. */
bool record_fixed_decode(const uint8_t buf[RECORD_FIXED_LEN], const struct segment_id *,
    uint64_t block, struct record *r_r);

/* The segment that the fixed part says it is of, where all else in it is right for this block: for
 * a segment whose own header is lost. */
bool record_fixed_says(const uint8_t buf[RECORD_FIXED_LEN], uint64_t block,
    struct segment_id *id_r);

/* The day of expiry that stands for "never". */
#define RECORD_NEVER UINT32_MAX
#define RECORD_FOREIGN_UID_MAX 70

struct record_recipient {
	uint64_t mailbox;               /* at most RECORD_MAILBOX_MAX */
	uint32_t expires_day;           /* days since 1970, or RECORD_NEVER */
	const char *address;            /* the mailbox's own */
	const char *written;            /* as Delivered-To shows it */
	const char *uid;                /* that it had elsewhere; NULL: the id */
};

/* Octets of fixed part and envelope before any recipient, and of one recipient. */
size_t record_header_base(const char *reverse_path);
size_t record_recipient_len(const struct record_recipient *);

/* Writes fixed part, envelope and padding: `header_len` octets, at least what the two functions
 * above add up to.  Of *r the caller has set block, received_ms, wire_len, octets, body,
 * wire_crc, header_len; the rest is set here. */
void record_header_encode(uint8_t *buf, const struct segment_id *, struct record *r,
    const char *reverse_path, const struct record_recipient *list, size_t n);

/* The envelope of a decoded header.  Texts point into memory of its own. */
struct record_envelope {
	char *reverse_path;             /* in texts */
	struct record_recipient *list;  /* owned */
	size_t n;
	char *texts;                    /* owned */
};
/* `buf` is what stands behind the fixed part: header_len - RECORD_FIXED_LEN octets.  SPOOL_OK,
 * SPOOL_DAMAGED, SPOOL_NO_MEMORY. */
enum spool_status record_envelope_decode(const uint8_t *buf, const struct record *,
    struct record_envelope *e_r);
void record_envelope_release(struct record_envelope *);

/* What stands before the shared octets for one recipient, and counts in his sizes:
 * Return-Path: and Delivered-To:.  No line of it needs stuffing.  NULL: no memory. */
size_t record_prefix_len(const char *reverse_path, const char *written);
char *record_prefix(const char *reverse_path, const char *written, size_t *len_r);

#endif
