/*
 * crc32c - the Castagnoli checksum, by instruction or by tables.
 *
 * tables[0] is the classic table of one octet; tables[k] is what an octet does
 * k places further ahead, so that eight octets cost eight look-ups that do not
 * wait for each other.
 *
 * The instruction's result is there some cycles after it began, but another may begin in each: so
 * long input is taken as three lanes side by side, and lane_tables[], which is what LANE octets of
 * zeros make of each octet of a checksum, joins the three.
 */
#include "base/crc32c.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <string.h>

#include "common/base/crc32c_internal.h"

/* RFC 3720 12.1: the polynomial 0x1EDC6F41, its bits in reverse. */
#define CRC32C_POLYNOMIAL UINT32_C(0x82f63b78)

/* Octets of a lane, a multiple of eight: a window of a message has many, joining them costs little. */
#define LANE 1024

static uint32_t tables[8][256];
static uint32_t lane_tables[4][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* What comes of each bit comes of all of them together: the checksum is linear. */
static void
make_lane_tables(void)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t crc = UINT32_C(1) << bit;

		for (int i = 0; i < LANE; i++)
			crc = crc >> 8 ^ tables[0][crc & 0xff];
		for (unsigned octet = 0; octet < 256; octet++)
			if ((octet >> bit % 8 & 1) != 0)
				lane_tables[bit / 8][octet] ^= crc;
	}
}

static void
make_tables(void)
{
	uint32_t i, crc;
	int k;

	for (i = 0; i < 256; i++) {
		crc = i;
		for (k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
		tables[0][i] = crc;
	}
	for (k = 1; k < 8; k++) {
		for (i = 0; i < 256; i++)
			tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 0xff];
	}
	make_lane_tables();
}

uint32_t
crc32c_portable(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	int rc = pthread_once(&once, make_tables);

	assert(rc == 0);
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint32_t low, high;

		memcpy(&low, p, sizeof(low));
		memcpy(&high, p + 4, sizeof(high));
		low = le32toh(low) ^ crc;
		high = le32toh(high);
		crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^
		      tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^ tables[3][high & 0xff] ^
		      tables[2][high >> 8 & 0xff] ^ tables[1][high >> 16 & 0xff] ^
		      tables[0][high >> 24];
	}
	for (; len > 0; len--)
		crc = crc >> 8 ^ tables[0][(crc ^ *p++) & 0xff];
	return ~crc;
}

#ifdef __x86_64__

bool
crc32c_has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2") != 0;
}

static uint64_t
word_at(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

static uint64_t
pass_lane(uint64_t crc)
{
	return lane_tables[0][crc & 0xff] ^ lane_tables[1][crc >> 8 & 0xff] ^
	       lane_tables[2][crc >> 16 & 0xff] ^ lane_tables[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint64_t
three_lanes(uint64_t first, const uint8_t *p)
{
	uint64_t second = 0, third = 0;

	for (const uint8_t *end = p + LANE; p < end; p += 8) {
		first = __builtin_ia32_crc32di(first, word_at(p));
		second = __builtin_ia32_crc32di(second, word_at(p + LANE));
		third = __builtin_ia32_crc32di(third, word_at(p + 2 * LANE));
	}
	return pass_lane(pass_lane(first) ^ second) ^ third;
}

__attribute__((target("sse4.2"))) uint32_t
crc32c_instruction(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t wide = (uint32_t)~crc;
	int rc = len >= 3 * LANE ? pthread_once(&once, make_tables) : 0;

	assert(rc == 0);
	for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE)
		wide = three_lanes(wide, p);
	for (; len >= 8; len -= 8, p += 8)
		wide = __builtin_ia32_crc32di(wide, word_at(p));
	crc = (uint32_t)wide;
	for (; len > 0; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return ~crc;
}

#else

bool
crc32c_has_instruction(void)
{
	return false;
}

uint32_t
crc32c_instruction(uint32_t crc, const void *buf, size_t len)
{
	return crc32c_portable(crc, buf, len);
}

#endif

uint32_t
crc32c(uint32_t crc, const void *buf, size_t len)
{
	return crc32c_has_instruction() ? crc32c_instruction(crc, buf, len)
	                                : crc32c_portable(crc, buf, len);
}
