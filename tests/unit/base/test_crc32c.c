/* crc32c: the vectors of RFC 3720 appendix B.4, and both ways against each other. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "common/base/crc32c_internal.h"

static uint8_t block[10000 + 16];

typedef uint32_t crc_fn(uint32_t crc, const void *buf, size_t len);

static crc_fn *const ways[] = { crc32c, crc32c_portable, crc32c_instruction };

static bool
passed_over(int way)
{
	if (ways[way] != crc32c_instruction || crc32c_has_instruction())
		return false;
	printf("no instruction for crc32c on this machine: its way was not tried\n");
	return true;
}

START_TEST(known_vectors)
{
	crc_fn *crc = ways[_i];
	size_t i;

	if (passed_over(_i))
		return;
	ck_assert_uint_eq(crc(0, "", 0), 0);
	ck_assert_uint_eq(crc(0, NULL, 0), 0);
	ck_assert_uint_eq(crc(0, "123456789", 9), 0xe3069283);

	/* RFC 3720 B.4, whose octets are the value's, the lowest first. */
	memset(block, 0, 32);
	ck_assert_uint_eq(crc(0, block, 32), 0x8a9136aa);
	memset(block, 0xff, 32);
	ck_assert_uint_eq(crc(0, block, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		block[i] = (uint8_t)i;
	ck_assert_uint_eq(crc(0, block, 32), 0x46dd794e);
	for (i = 0; i < 32; i++)
		block[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(crc(0, block, 32), 0x113fdb5c);
}
END_TEST

static void
fill_block(void)
{
	uint32_t x = 1;
	size_t i;

	for (i = 0; i < sizeof(block); i++) {
		x = x * 1664525 + 1013904223;
		block[i] = (uint8_t)(x >> 24);
	}
}

/* The definition, a bit at a time. */
static uint32_t
by_bits(const uint8_t *p, size_t len)
{
	uint32_t crc = ~UINT32_C(0);
	int k;

	while (len-- > 0) {
		crc ^= *p++;
		for (k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

START_TEST(every_length_and_alignment)
{
	/* The last ones on both sides of what is taken as lanes, once, twice and three times. */
	static const size_t long_ones[] = { 3071, 3072, 3073, 4096, 6143, 6144, 6145, 9999 };
	crc_fn *crc = ways[_i];
	size_t len, at;

	if (passed_over(_i))
		return;
	fill_block();
	for (at = 0; at < 9; at++) {
		for (len = 0; len < 70; len++)
			ck_assert_uint_eq(crc(0, block + at, len), by_bits(block + at, len));
	}
	for (size_t k = 0; k < sizeof(long_ones) / sizeof(long_ones[0]); k++)
		ck_assert_uint_eq(
		    crc(0, block + 3, long_ones[k]), by_bits(block + 3, long_ones[k]));
}
END_TEST

START_TEST(goes_on_at_any_place)
{
	crc_fn *crc = ways[_i];
	uint32_t whole;
	size_t at;

	if (passed_over(_i))
		return;
	fill_block();
	whole = crc(0, block, 100);
	for (at = 0; at <= 100; at++)
		ck_assert_uint_eq(crc(crc(0, block, at), block + at, 100 - at), whole);
	whole = by_bits(block, 9000);
	for (at = 0; at <= 9000; at += 100)
		ck_assert_uint_eq(crc(crc(0, block, at), block + at, 9000 - at), whole);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("crc32c");
	TCase *tc = tcase_create("crc32c");
	SRunner *runner = srunner_create(suite);
	int failed, n = sizeof(ways) / sizeof(ways[0]);

	tcase_add_loop_test(tc, known_vectors, 0, n);
	tcase_add_loop_test(tc, every_length_and_alignment, 0, n);
	tcase_add_loop_test(tc, goes_on_at_any_place, 0, n);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
