/*
 * utf8 - what is UTF-8 (RFC 3629), and where it may be cut.
 */
#include "base/utf8.h"

#include <stdint.h>

/* RFC 3629 4: beside their first octet, what the forms differ in is what their second may be. */
static size_t
form(uint8_t first, uint8_t *low_r, uint8_t *high_r)
{
	*low_r = 0x80;
	*high_r = 0xbf;
	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	if (first < 0xe0)
		return 2;
	switch (first) {
	case 0xe0:
		*low_r = 0xa0;
		break;
	case 0xed:
		*high_r = 0x9f;
		break;
	case 0xf0:
		*low_r = 0x90;
		break;
	case 0xf4:
		*high_r = 0x8f;
		break;
	}
	return first < 0xf0 ? 3 : 4;
}

size_t
utf8_first(const char *text, size_t len)
{
	uint8_t low, high, octet;
	size_t n = len > 0 ? form((uint8_t)text[0], &low, &high) : 0;

	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		octet = (uint8_t)text[i];
		if (octet < low || octet > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

size_t
utf8_span(const char *text, size_t len)
{
	size_t at = 0, n;

	while ((n = utf8_first(text + at, len - at)) > 0)
		at += n;
	return at;
}
