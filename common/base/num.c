/*
 * num - numbers, sizes, ages and times as people and protocols write them.
 *
 * Units stand in one table each, the largest first, for reading and writing.
 */
#include "base/num.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct unit {
	char letter;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ 'G', UINT64_C(1) << 30 },
	{ 'M', UINT64_C(1) << 20 },
	{ 'K', UINT64_C(1) << 10 },
	{ '\0', 1 },
};

static const struct unit age_units[] = {
	{ 'w', 604800 },
	{ 'd', 86400 },
	{ 'h', 3600 },
	{ 'm', 60 },
	{ 's', 1 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int
num_parse_u64(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *out_r)
{
	uint64_t n = 0;
	size_t i;

	if (len == 0)
		return -1;
	for (i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(text[i] - '0'), &n))
			return -1;
	}
	if (n < min || n > max)
		return -1;
	*out_r = n;
	return 0;
}

static int
parse_with_unit(
    const char *text, size_t len, const struct unit *units, char letter, uint64_t *out_r)
{
	const struct unit *u = units;
	uint64_t n;

	while (u->letter != letter) {
		if (u->factor == 1)
			return -1;
		u++;
	}
	if (num_parse_u64(text, len, 0, NUM_MAX / u->factor, &n) == -1)
		return -1;
	*out_r = n * u->factor;
	return 0;
}

int
num_parse_size(const char *text, uint64_t *octets_r)
{
	size_t len = strlen(text);
	char last = len > 0 ? text[len - 1] : '\0';

	if (last >= '0' && last <= '9')
		return parse_with_unit(text, len, size_units, '\0', octets_r);
	if (last >= 'a' && last <= 'z')
		last = (char)(last - 'a' + 'A');
	if (len == 0 || last == '\0')
		return -1;
	return parse_with_unit(text, len - 1, size_units, last, octets_r);
}

int
num_parse_age(const char *text, uint64_t *seconds_r)
{
	size_t len = strlen(text);

	if (strcmp(text, "0") == 0) {
		*seconds_r = 0;
		return 0;
	}
	if (len == 0)
		return -1;
	return parse_with_unit(text, len - 1, age_units, text[len - 1], seconds_r);
}

/* The largest unit that leaves no remainder; nothing is written in the smallest. */
static const struct unit *
exact_unit(const struct unit *units, size_t n, uint64_t value)
{
	size_t i;

	if (value == 0)
		return &units[n - 1];
	for (i = 0; value % units[i].factor != 0; i++)
		assert(i + 1 < n);
	return &units[i];
}

size_t
num_format_u64(char *text, uint64_t n)
{
	char digits[NUM_TEXT_MAX];
	size_t at = sizeof(digits), len;

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	len = sizeof(digits) - at;
	memcpy(text, digits + at, len);
	text[len] = '\0';
	return len;
}

const char *
num_format_size(char text[NUM_TEXT_MAX], uint64_t octets)
{
	const struct unit *u = exact_unit(size_units, COUNT(size_units), octets);
	int n;

	if (octets == NUM_UNLIMITED)
		return strcpy(text, "none");
	n = snprintf(text, NUM_TEXT_MAX - 1, "%" PRIu64, octets / u->factor);
	assert(n > 0 && n < NUM_TEXT_MAX - 1);
	text[n] = u->letter;
	text[n + 1] = '\0';
	return text;
}

const char *
num_format_age(char text[NUM_TEXT_MAX], uint64_t seconds)
{
	const struct unit *u = exact_unit(age_units, COUNT(age_units), seconds);
	int n;

	if (seconds == NUM_UNLIMITED)
		return strcpy(text, "never");
	n = snprintf(text, NUM_TEXT_MAX, "%" PRIu64 "%c", seconds / u->factor, u->letter);
	assert(n > 0 && n < NUM_TEXT_MAX);
	return text;
}

const char *
num_format_size_short(char text[NUM_TEXT_MAX], uint64_t octets)
{
	static const char units[] = "KMGTPE";
	double value = (double)octets;
	size_t u = 0;
	int n;

	if (octets == NUM_UNLIMITED)
		return strcpy(text, "none");
	if (octets < 1000) {
		n = snprintf(text, NUM_TEXT_MAX, "%" PRIu64, octets);
		assert(n > 0 && n < NUM_TEXT_MAX);
		return text;
	}
	/* The bounds are where rounding would make a fourth figure. */
	value /= 1024;
	while (value >= 999.5) {
		value /= 1024;
		u++;
	}
	n = snprintf(text, NUM_TEXT_MAX, "%.*f%c",
	    value < 0.9995  ? 3
	    : value < 9.995 ? 2
	    : value < 99.95 ? 1
			    : 0,
	    value, units[u]);
	assert(n > 0 && n < NUM_TEXT_MAX);
	return text;
}

const char *
num_format_time(char text[NUM_TEXT_MAX], uint64_t unix_seconds)
{
	/* RFC 3339 5.6: a year has four digits. */
	const uint64_t last = UINT64_C(253402300799);
	time_t t = (time_t)(unix_seconds < last ? unix_seconds : last);
	struct tm tm;
	size_t n;

	if (gmtime_r(&t, &tm) == NULL)
		return strcpy(text, "-");
	n = strftime(text, NUM_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	assert(n == sizeof("2026-11-24T03:11:17Z") - 1);
	return text;
}

void
num_format_hex(char *text, const void *buf, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = buf;
	size_t i;

	for (i = 0; i < len; i++) {
		text[2 * i] = digits[p[i] >> 4];
		text[2 * i + 1] = digits[p[i] & 15];
	}
	text[2 * len] = '\0';
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
num_parse_hex(const char *text, size_t text_len, void *buf, size_t len)
{
	uint8_t *p = buf;
	size_t i;

	if (text_len % 2 != 0 || text_len / 2 != len)
		return -1;
	for (i = 0; i < text_len; i++) {
		if (hex_digit(text[i]) == -1)
			return -1;
	}
	for (i = 0; i < len; i++)
		p[i] = (uint8_t)((unsigned)hex_digit(text[2 * i]) << 4 |
				 (unsigned)hex_digit(text[2 * i + 1]));
	return 0;
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void
num_sort(uint64_t *list, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (list[i - 1] > list[i]) {
			qsort(list, n, sizeof(*list), compare_numbers);
			return;
		}
}
