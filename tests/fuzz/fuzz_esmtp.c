/*
 * fuzz_esmtp - what follows the path of MAIL and RCPT, against a reader that
 * cuts the text at its blanks and looks at each word by itself.
 */
#include <stdint.h>
#include <strings.h>

#include "mail/esmtp.h"
#include "tests/fuzz/fuzz.h"

#define DIGITS "0123456789"
#define NAME "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS "-"

/* A parameter that obeys RFC 5321 4.1.2; *value_r is NULL where it has none. */
static bool
is_param(char *word, const char **value_r)
{
	char *equals = strchr(word, '=');

	*value_r = NULL;
	if (equals != NULL) {
		*equals = '\0';
		*value_r = equals + 1;
		if (equals[1] == '\0' || strchr(equals + 1, '=') != NULL)
			return false;
		for (const char *p = equals + 1; *p != '\0'; p++)
			if (*p < 33 || *p > 126)
				return false;
	}
	return word[0] != '\0' && word[0] != '-' && word[strspn(word, NAME)] == '\0';
}

static uint64_t
size_of(const char *digits)
{
	unsigned __int128 n = 0;

	for (; *digits != '\0'; digits++)
		n = n * 10 + (unsigned)(*digits - '0');
	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

static enum esmtp_result
expect_param(char *word, struct esmtp_mail *out, bool *auth)
{
	const char *value;

	if (!is_param(word, &value))
		return ESMTP_SYNTAX;
	if (strcasecmp(word, "size") == 0) {
		if (out->has_size || value == NULL || strlen(value) > 20 ||
		    value[strspn(value, DIGITS)] != '\0')
			return ESMTP_SYNTAX;
		out->has_size = true;
		out->size = size_of(value);
		return ESMTP_OK;
	}
	if (strcasecmp(word, "body") == 0) {
		if (out->has_body || value == NULL)
			return ESMTP_SYNTAX;
		out->has_body = true;
		out->eight_bit = strcasecmp(value, "8bitmime") == 0;
		return out->eight_bit || strcasecmp(value, "7bit") == 0 ? ESMTP_OK
		                                                        : ESMTP_BAD_VALUE;
	}
	if (strcasecmp(word, "auth") == 0) {
		if (*auth || value == NULL)
			return ESMTP_SYNTAX;
		*auth = true;
		return ESMTP_OK;
	}
	return ESMTP_UNKNOWN;
}

static enum esmtp_result
expect(const char *data, size_t size, struct esmtp_mail *out)
{
	char *text = fuzz_room(size + 1), *word, *save = NULL;
	enum esmtp_result want = ESMTP_OK;
	bool auth = false;

	memcpy(text, data, size);
	text[size] = '\0';
	/* What the grammar allows nowhere, so that a NUL does not look like the end. */
	for (size_t i = 0; i < size; i++)
		if (text[i] == '\0')
			text[i] = '\1';
	*out = (struct esmtp_mail){ .size = 0 };
	if (size > 0 && text[0] != ' ' && text[0] != '\t')
		want = ESMTP_SYNTAX;
	for (word = strtok_r(text, " \t", &save); word != NULL && want == ESMTP_OK;
	     word = strtok_r(NULL, " \t", &save))
		want = expect_param(word, out, &auth);
	free(text);
	return want;
}

static bool
all_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != ' ' && text[i] != '\t')
			return false;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size);
	struct esmtp_mail got, want;
	enum esmtp_result expected = expect(text, size, &want), rcpt;

	memset(&got, 0x5a, sizeof(got));
	REQUIRE(esmtp_parse_mail(text, size, &got) == expected);
	if (expected == ESMTP_OK) {
		REQUIRE(got.has_size == want.has_size && got.size == want.size);
		REQUIRE(got.has_body == want.has_body && got.eight_bit == want.eight_bit);
	}

	/* RCPT takes nothing but blanks, and calls malformed what MAIL does. */
	rcpt = esmtp_parse_rcpt(text, size);
	REQUIRE(rcpt == ESMTP_OK || rcpt == ESMTP_UNKNOWN || rcpt == ESMTP_SYNTAX);
	REQUIRE((rcpt == ESMTP_OK) == all_blank(text, size));
	REQUIRE(expected != ESMTP_UNKNOWN || rcpt == ESMTP_UNKNOWN);
	free(text);
	return 0;
}
