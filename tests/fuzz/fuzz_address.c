/*
 * fuzz_address - paths from MAIL and RCPT.
 *
 * The first octet of the input is the flags, the rest what follows the colon.
 * What is taken must be inside the limits, must be what the text says, and
 * must mean the same when it is read again, alone and written anew.
 */
#include <stdint.h>
#include <strings.h>

#include "mail/address.h"
#include "tests/fuzz/fuzz.h"

static bool
all_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static void
require_sound(const struct address *a)
{
	REQUIRE(memchr(a->text, '\0', sizeof(a->text)) != NULL);
	REQUIRE(memchr(a->local, '\0', sizeof(a->local)) != NULL);
	REQUIRE(memchr(a->domain, '\0', sizeof(a->domain)) != NULL);
	REQUIRE(all_printable(a->text) && all_printable(a->local) && all_printable(a->domain));
	REQUIRE(strlen(a->local) <= strlen(a->text));
	REQUIRE(address_is_literal(a) == (a->domain[0] == '['));
	REQUIRE(
	    a->domain[0] == '\0' || address_is_literal(a) || address_parse_domain(a->domain) == 0);
}

static void
require_meaning(const struct address *a)
{
	struct address *again = fuzz_room(sizeof(*again));
	char *text = fuzz_room(2 * ADDRESS_MAX + 3), *folded = fuzz_room(strlen(a->local) + 1);
	size_t at = strlen(a->text) - strlen(a->domain);

	REQUIRE(strcmp(a->text + at, a->domain) == 0 && a->text[at - 1] == '@');
	REQUIRE(address_parse(a->text, again) == 0);
	REQUIRE(strcmp(again->text, a->text) == 0);
	REQUIRE(strcmp(again->local, a->local) == 0 && strcmp(again->domain, a->domain) == 0);

	address_format(text, a->local, a->domain);
	if (strlen(text) <= ADDRESS_MAX) {
		REQUIRE(address_parse(text, again) == 0);
		REQUIRE(strcmp(again->local, a->local) == 0);
		REQUIRE(strcmp(again->domain, a->domain) == 0);
	}

	address_fold(folded, a->local);
	REQUIRE(strcasecmp(folded, a->local) == 0);
	for (const char *p = folded; *p != '\0'; p++)
		REQUIRE(*p < 'A' || *p > 'Z');
	at = address_base_len(a->local, '+');
	REQUIRE(
	    at <= strlen(a->local) && (a->local[at] == '\0' || (at > 0 && a->local[at] == '+')));
	free(folded);
	free(text);
	free(again);
}

static void
try_path(const uint8_t *data, size_t size)
{
	struct address *a = fuzz_room(sizeof(*a));
	unsigned flags = data[0];
	char *text = fuzz_copy(data + 1, size - 1);
	size_t used = SIZE_MAX;

	memset(a, 'x', sizeof(*a));
	if (address_parse_path(text, size - 1, flags, a, &used) == 0) {
		REQUIRE(used >= 2 && used <= size - 1 && text[used - 1] == '>');
		require_sound(a);
		/* As written: it stands there, just before the bracket. */
		REQUIRE(strlen(a->text) <= used - 2);
		REQUIRE(memcmp(a->text, text + used - 1 - strlen(a->text), strlen(a->text)) == 0);
		if (a->domain[0] != '\0')
			require_meaning(a);
		else if (a->text[0] == '\0')
			REQUIRE((flags & ADDRESS_NULL_OK) && a->local[0] == '\0');
		else
			REQUIRE((flags & ADDRESS_POSTMASTER_OK) &&
				strcasecmp(a->local, "postmaster") == 0);
	}
	free(text);
	free(a);
}

static void
try_text(const uint8_t *data, size_t size)
{
	struct address *a = fuzz_room(sizeof(*a));
	char *text = fuzz_room(size);

	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	memset(a, 'x', sizeof(*a));
	if (address_parse(text, a) == 0) {
		REQUIRE(strcmp(a->text, text) == 0);
		require_sound(a);
		require_meaning(a);
	}
	if (address_parse_domain(text) == 0)
		REQUIRE(strlen(text) >= 1 && strlen(text) <= ADDRESS_DOMAIN_MAX);
	free(text);
	free(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	try_path(data, size);
	try_text(data, size);
	return 0;
}
