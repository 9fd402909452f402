/*
 * Segment and record headers: what was written is read, and nothing else is.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "common/spool/record.h"

static const struct segment_id id = {
	.number = 1764000000123,
	.random = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 250 },
};

static const struct record_recipient recipients[] = {
	{ .mailbox = 1, .expires_day = RECORD_NEVER, .address = "a@x", .written = "A@X" },
	{ .mailbox = UINT64_C(1) << 40,
	    .expires_day = 20500,
	    .address = "",
	    .written = "",
	    .uid = "0123456789012345678901234567890123456789012345678901234567890123456789" },
	{ .mailbox = 7,
	    .expires_day = 0,
	    .address = "b@example.test",
	    .written = "\"b\"+tag@example.test",
	    .uid = "u" },
};
#define RECIPIENTS (sizeof(recipients) / sizeof(*recipients))

static struct record
make_record(const char *path, size_t n, size_t spare)
{
	struct record r = {
		.block = 5,
		.received_ms = 1764000000999,
		.wire_len = 10000,
		.octets = 9990,
		.body = 200,
		.wire_crc = 0x12345678,
	};

	r.header_len = (uint32_t)(record_header_base(path) + spare);
	for (size_t i = 0; i < n; i++)
		r.header_len += (uint32_t)record_recipient_len(&recipients[i]);
	return r;
}

/* A header of the first `n` recipients; free(3). */
static uint8_t *
make_header(struct record *r, const char *path, size_t n, size_t spare)
{
	uint8_t *buf;

	*r = make_record(path, n, spare);
	buf = malloc(r->header_len);
	record_header_encode(buf, &id, r, path, recipients, n);
	return buf;
}

/* Fixed part and envelope, as recovery reads them. */
static bool
is_believed(const uint8_t *buf, const struct segment_id *as, uint64_t block)
{
	struct record_envelope e;
	struct record r;
	bool good;

	if (!record_fixed_decode(buf, as, block, &r))
		return false;
	good = record_envelope_decode(buf + RECORD_FIXED_LEN, &r, &e) == SPOOL_OK;
	record_envelope_release(&e);
	return good;
}

START_TEST(ids)
{
	uint64_t message = message_id(SEGMENT_NUMBER_MAX, (1u << MESSAGE_BLOCK_BITS) - 1);

	ck_assert_uint_eq(message, INT64_MAX);
	ck_assert_uint_eq(message_segment(message), SEGMENT_NUMBER_MAX);
	ck_assert_uint_eq(message_block(message), (1u << MESSAGE_BLOCK_BITS) - 1);
	ck_assert_uint_eq(message_id(3, 4), 3 * 2097152 + 4);
}
END_TEST

static const struct {
	const char *path;
	size_t recipients, spare;
} rows[] = {
	{ "", 1, 0 },
	{ "s@example.org", 1, 0 },
	{ "s@example.org", 3, 0 },
	{ "", 3, 1 },
	{ "s@example.org", 2, 5000 },
};

START_TEST(round_trip)
{
	struct record_envelope e;
	struct record r, got;
	uint8_t *buf = make_header(&r, rows[_i].path, rows[_i].recipients, rows[_i].spare);

	ck_assert(record_fixed_decode(buf, &id, 5, &got));
	ck_assert_uint_eq(got.header_len, r.header_len);
	ck_assert_uint_eq(got.recipients, rows[_i].recipients);
	ck_assert_uint_eq(got.envelope_len + RECORD_FIXED_LEN + rows[_i].spare, r.header_len);
	ck_assert_uint_eq(got.block, 5);
	ck_assert_uint_eq(got.received_ms, r.received_ms);
	ck_assert_uint_eq(got.wire_len, r.wire_len);
	ck_assert_uint_eq(got.octets, r.octets);
	ck_assert_uint_eq(got.body, r.body);
	ck_assert_uint_eq(got.wire_crc, r.wire_crc);
	ck_assert_int_eq(record_envelope_decode(buf + RECORD_FIXED_LEN, &got, &e), SPOOL_OK);
	ck_assert_str_eq(e.reverse_path, rows[_i].path);
	ck_assert_uint_eq(e.n, rows[_i].recipients);
	for (size_t i = 0; i < e.n; i++) {
		ck_assert_uint_eq(e.list[i].mailbox, recipients[i].mailbox);
		ck_assert_uint_eq(e.list[i].expires_day, recipients[i].expires_day);
		ck_assert_str_eq(e.list[i].address, recipients[i].address);
		ck_assert_str_eq(e.list[i].written, recipients[i].written);
		ck_assert_pstr_eq(e.list[i].uid, recipients[i].uid);
	}
	record_envelope_release(&e);
	free(buf);
}
END_TEST

/* No octet of a header can be another: padding neither. */
START_TEST(each_octet_counts)
{
	struct record r;
	uint8_t *buf = make_header(&r, "s@x", RECIPIENTS, 9);

	ck_assert(is_believed(buf, &id, 5));
	for (size_t i = 0; i < r.header_len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			buf[i] ^= (uint8_t)(1 << bit);
			ck_assert_msg(!is_believed(buf, &id, 5), "octet %zu, bit %u", i, bit);
			buf[i] ^= (uint8_t)(1 << bit);
		}
	ck_assert(is_believed(buf, &id, 5));
	free(buf);
}
END_TEST

START_TEST(only_in_its_place)
{
	struct segment_id other = id;
	struct record r;
	uint8_t *buf = make_header(&r, "s@x", 1, 0);

	ck_assert(!is_believed(buf, &id, 4));
	ck_assert(!is_believed(buf, &id, 6));
	other.number++;
	ck_assert(!is_believed(buf, &other, 5));
	for (size_t i = 0; i < SEGMENT_RANDOM_LEN; i++) {
		other = id;
		other.random[i] ^= 0x10;
		ck_assert(!is_believed(buf, &other, 5));
	}
	free(buf);
}
END_TEST

static void
put32(uint8_t *p, uint32_t n)
{
	for (size_t i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> 8 * i);
}

/* Lengths that cannot be are refused though the checksum is right: what made the octets need not
 * have been this program. */
static const struct {
	const char *name;
	size_t offset, len;
	uint64_t value;
	bool good;
} lies[] = {
	{ "nothing", 80, 1, 0x78, true },
	{ "a version to come", 8, 2, 2, false },
	{ "flags", 10, 2, 1, false },
	{ "header shorter than its fixed part", 12, 4, RECORD_FIXED_LEN - 1, false },
	{ "header beyond all bounds", 12, 4, 1u << 30, false },
	{ "envelope beyond the header", 88, 4, 1000, false },
	{ "nobody", 84, 4, 0, false },
	{ "more recipients than octets for them", 84, 4, 1u << 31, false },
	{ "shorter than its end", 56, 8, 2, false },
	{ "longer than any file", 56, 8, UINT64_MAX, false },
	{ "beyond the last block", 56, 8, UINT64_C(1) << 33, false },
	{ "body behind the end", 72, 8, 9998, false },
	{ "body at the end", 72, 8, 9997, true },
	{ "more octets than on the wire", 64, 8, 9998, false },
	{ "as many octets as on the wire", 64, 8, 9997, true },
};

START_TEST(lengths_are_bounded)
{
	struct record r, got;
	uint8_t *buf = make_header(&r, "s@x", 1, 0);

	for (size_t i = 0; i < lies[_i].len; i++)
		buf[lies[_i].offset + i] = (uint8_t)(lies[_i].value >> 8 * i);
	put32(buf + 96, crc32c(0, buf, 96));
	ck_assert_msg(record_fixed_decode(buf, &id, 5, &got) == lies[_i].good, "%s", lies[_i].name);
	free(buf);
}
END_TEST

/* The envelope's own lengths, with checksums made right again. */
START_TEST(envelope_is_bounded)
{
	struct record_envelope e;
	struct record r, got;
	uint8_t *buf, *env;
	unsigned good = 0;

	for (size_t i = 0; i < 60; i++)
		for (unsigned value = 0; value < 256; value++) {
			buf = make_header(&r, "s@x", 1, 20);
			env = buf + RECORD_FIXED_LEN;
			env[i % r.envelope_len] = (uint8_t)value;
			got = r;
			got.envelope_crc = crc32c(0, env, r.header_len - RECORD_FIXED_LEN);
			if (record_envelope_decode(env, &got, &e) == SPOOL_OK) {
				ck_assert_uint_eq(e.n, 1);
				good++;
				record_envelope_release(&e);
			}
			free(buf);
		}
	ck_assert_uint_gt(good, 0);
	/* Cut at every length: texts that pass the envelope's end are none. */
	buf = make_header(&r, "s@x", 1, 20);
	for (uint32_t len = 0; len < r.envelope_len; len++) {
		got = r;
		got.envelope_len = len;
		ck_assert_int_eq(
		    record_envelope_decode(buf + RECORD_FIXED_LEN, &got, &e), SPOOL_DAMAGED);
	}
	/* A NUL would make two different texts one. */
	env = buf + RECORD_FIXED_LEN;
	env[3] = '\0';
	got = r;
	got.envelope_crc = crc32c(0, env, r.header_len - RECORD_FIXED_LEN);
	ck_assert_int_eq(record_envelope_decode(env, &got, &e), SPOOL_DAMAGED);
	free(buf);
}
END_TEST

/* A record of 3 blocks; the last one may be the last that an id can name, and not one behind it. */
static const struct {
	uint64_t block;
	bool good;
} ends[] = {
	{ 0, false },
	{ 1, true },
	{ (UINT64_C(1) << MESSAGE_BLOCK_BITS) - 3, true },
	{ (UINT64_C(1) << MESSAGE_BLOCK_BITS) - 2, false },
	{ UINT64_MAX - 2, false },
	{ UINT64_MAX, false },
};

START_TEST(place_is_bounded)
{
	struct record r = make_record("s@x", 1, 0), got;
	uint8_t *buf = malloc(r.header_len);

	r.block = ends[_i].block;
	record_header_encode(buf, &id, &r, "s@x", recipients, 1);
	ck_assert_uint_eq(record_blocks(&r), 3);
	ck_assert(record_fixed_decode(buf, &id, ends[_i].block, &got) == ends[_i].good);
	free(buf);
}
END_TEST

/* The greatest id that an index gives, and those with which it could give none any more. */
static const struct {
	uint64_t mailbox;
	enum spool_status st;
} mailboxes[] = {
	{ (UINT64_C(1) << 48) - 1, SPOOL_OK },
	{ UINT64_C(1) << 48, SPOOL_DAMAGED },
	{ INT64_MAX, SPOOL_DAMAGED },
	{ UINT64_MAX, SPOOL_DAMAGED },
};

START_TEST(mailbox_is_bounded)
{
	struct record_recipient list[] = { recipients[0], recipients[0] };
	struct record r = make_record("s@x", 2, 0), got;
	uint8_t *buf = malloc(r.header_len);
	struct record_envelope e;

	list[1].mailbox = mailboxes[_i].mailbox;
	record_header_encode(buf, &id, &r, "s@x", list, 2);
	ck_assert(record_fixed_decode(buf, &id, r.block, &got));
	ck_assert_int_eq(
	    record_envelope_decode(buf + RECORD_FIXED_LEN, &got, &e), mailboxes[_i].st);
	record_envelope_release(&e);
	free(buf);
}
END_TEST

START_TEST(segment_header)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	struct segment_id got;

	segment_header_encode(buf, &id);
	ck_assert_int_eq(segment_header_decode(buf, &got), SPOOL_OK);
	ck_assert_uint_eq(got.number, id.number);
	ck_assert_mem_eq(got.random, id.random, SEGMENT_RANDOM_LEN);
	for (size_t i = 0; i < sizeof(buf); i++) {
		buf[i] ^= 0x40;
		ck_assert_int_eq(segment_header_decode(buf, &got), SPOOL_DAMAGED);
		buf[i] ^= 0x40;
	}
	put32(buf + 8, 2);
	put32(buf + 36, crc32c(0, buf, 36));
	ck_assert_int_eq(segment_header_decode(buf, &got), SPOOL_VERSION);
}
END_TEST

START_TEST(prefix)
{
	size_t len;
	char *text = record_prefix("s@example.org", "\"a b\"@x", &len);

	ck_assert_str_eq(text, "Return-Path: <s@example.org>\r\nDelivered-To: \"a b\"@x\r\n");
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_uint_eq(len, record_prefix_len("s@example.org", "\"a b\"@x"));
	free(text);
	text = record_prefix("", "b@x", &len);
	ck_assert_str_eq(text, "Return-Path: <>\r\nDelivered-To: b@x\r\n");
	ck_assert_uint_eq(len, record_prefix_len("", "b@x"));
	free(text);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("record");
	TCase *tc = tcase_create("record");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, ids);
	tcase_add_loop_test(tc, round_trip, 0, sizeof(rows) / sizeof(*rows));
	tcase_add_test(tc, each_octet_counts);
	tcase_add_test(tc, only_in_its_place);
	tcase_add_loop_test(tc, lengths_are_bounded, 0, sizeof(lies) / sizeof(*lies));
	tcase_add_test(tc, envelope_is_bounded);
	tcase_add_loop_test(tc, place_is_bounded, 0, sizeof(ends) / sizeof(*ends));
	tcase_add_loop_test(tc, mailbox_is_bounded, 0, sizeof(mailboxes) / sizeof(*mailboxes));
	tcase_add_test(tc, segment_header);
	tcase_add_test(tc, prefix);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
