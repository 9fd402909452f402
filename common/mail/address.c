/*
 * address - mailboxes and paths of RFC 5321 4.1.2 and 4.1.3.
 *
 * A cursor walks over the text once; each read_*() takes one element of the
 * grammar, or returns -1 and leaves the cursor anywhere.  Nothing is written
 * beyond ADDRESS_MAX or ADDRESS_DOMAIN_MAX: what is longer is an error, never
 * cut.
 *
 * Two things are taken that the grammar does not have, because refusing them
 * loses mail and taking them harms nobody.  Dots may stand first, last and side
 * by side in a local-part without quotes: Japanese carriers gave out addresses
 * like `joe..j.@example.jp`, and such reverse-paths still arrive.  Underscores
 * count as letters in domains.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "mail/address.h"

struct cursor {
	const char *p, *end;
};

static bool
next_is(const struct cursor *c, char want)
{
	return c->p < c->end && *c->p == want;
}

static bool
take(struct cursor *c, char want)
{
	if (!next_is(c, want))
		return false;
	c->p++;
	return true;
}

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 5322 3.2.3. */
static bool
is_atext(char c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* What a quoted-string may hold, quoted-pairs included: 32 to 126. */
static bool
is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

static int
read_quoted(struct cursor *c, char local[ADDRESS_MAX + 1])
{
	size_t n = 0;

	while (!take(c, '"')) {
		if (next_is(c, '\\'))
			c->p++;
		if (c->p == c->end || !is_printable(*c->p) || n == ADDRESS_MAX)
			return -1;
		local[n++] = *c->p++;
	}
	local[n] = '\0';
	return 0;
}

static int
read_local(struct cursor *c, char local[ADDRESS_MAX + 1])
{
	size_t n = 0;

	if (take(c, '"'))
		return read_quoted(c, local);
	for (; c->p < c->end && (is_atext(*c->p) || *c->p == '.'); c->p++) {
		if (n == ADDRESS_MAX)
			return -1;
		local[n++] = *c->p;
	}
	local[n] = '\0';
	return n > 0 ? 0 : -1;
}

static int
read_domain(struct cursor *c)
{
	const char *start = c->p, *label;

	do {
		label = c->p;
		while (c->p < c->end && (is_alnum(*c->p) || *c->p == '-' || *c->p == '_'))
			c->p++;
		if (c->p == label || *label == '-' || c->p[-1] == '-')
			return -1;
	} while (take(c, '.'));
	return c->p - start <= ADDRESS_DOMAIN_MAX ? 0 : -1;
}

/* RFC 5321 4.1.3: a registered tag, a colon, and something. */
static bool
is_general_literal(const char *text)
{
	size_t tag = 0;

	while (is_alnum(text[tag]) || text[tag] == '-')
		tag++;
	return tag > 0 && text[tag - 1] != '-' && text[tag] == ':' && text[tag + 1] != '\0';
}

static int
read_literal(struct cursor *c)
{
	char text[ADDRESS_DOMAIN_MAX + 1];
	struct in_addr v4;
	struct in6_addr v6;
	size_t n = 0;

	c->p++;
	while (!take(c, ']')) {
		/* Both brackets count for the limit; dcontent knows no blank, bracket
		 * or backslash. */
		if (c->p == c->end || n == ADDRESS_DOMAIN_MAX - 2 || *c->p == ' ' || *c->p == '[' ||
		    *c->p == '\\' || !is_printable(*c->p))
			return -1;
		text[n++] = *c->p++;
	}
	text[n] = '\0';
	/* Numbers with leading zeros are refused: nobody agrees what they mean. */
	if (strncasecmp(text, "IPv6:", 5) == 0)
		return inet_pton(AF_INET6, text + 5, &v6) == 1 ? 0 : -1;
	return inet_pton(AF_INET, text, &v4) == 1 || is_general_literal(text) ? 0 : -1;
}

static void
copy(char *dst, const char *from, const char *to)
{
	memcpy(dst, from, (size_t)(to - from));
	dst[to - from] = '\0';
}

/* `local` is read already and the cursor stands behind the at sign. */
static int
read_domain_part(struct cursor *c, const char *start, struct address *out)
{
	const char *domain = c->p;

	if ((next_is(c, '[') ? read_literal(c) : read_domain(c)) != 0)
		return -1;
	if (c->p - start > ADDRESS_MAX)
		return -1;
	copy(out->domain, domain, c->p);
	copy(out->text, start, c->p);
	return 0;
}

/* RFC 5321 4.1.2, A-d-l: `@one.example,@two.example:`. */
static int
read_route(struct cursor *c)
{
	do {
		if (!take(c, '@') || read_domain(c) != 0)
			return -1;
	} while (take(c, ','));
	return take(c, ':') ? 0 : -1;
}

/* What stands between the brackets, neither the null path nor a route. */
static int
read_mailbox(struct cursor *c, bool postmaster_ok, struct address *out)
{
	const char *start = c->p;

	if (read_local(c, out->local) != 0)
		return -1;
	if (take(c, '@'))
		return read_domain_part(c, start, out);
	/* RFC 5321 4.1.1.3: the one mailbox that needs no domain. */
	if (!postmaster_ok || strcasecmp(out->local, "postmaster") != 0)
		return -1;
	out->domain[0] = '\0';
	copy(out->text, start, c->p);
	return 0;
}

int
address_parse_path(
    const char *text, size_t len, unsigned flags, struct address *out_r, size_t *used_r)
{
	struct cursor c = { text, text + len };
	const char *start;
	bool postmaster_ok = (flags & ADDRESS_POSTMASTER_OK) != 0;

	while (next_is(&c, ' ') || next_is(&c, '\t'))
		c.p++;
	if (!take(&c, '<'))
		return -1;
	start = c.p;
	if ((flags & ADDRESS_NULL_OK) && take(&c, '>')) {
		out_r->text[0] = out_r->local[0] = out_r->domain[0] = '\0';
		*used_r = (size_t)(c.p - text);
		return 0;
	}
	if (next_is(&c, '@')) {
		if (read_route(&c) != 0)
			return -1;
		postmaster_ok = false;
	}
	if (read_mailbox(&c, postmaster_ok, out_r) != 0 || c.p - start > ADDRESS_MAX)
		return -1;
	if (!take(&c, '>'))
		return -1;
	*used_r = (size_t)(c.p - text);
	return 0;
}

int
address_parse(const char *text, struct address *out_r)
{
	struct cursor c = { text, text + strlen(text) };

	return read_mailbox(&c, false, out_r) == 0 && c.p == c.end ? 0 : -1;
}

int
address_parse_domain(const char *text)
{
	struct cursor c = { text, text + strlen(text) };

	return read_domain(&c) == 0 && c.p == c.end ? 0 : -1;
}

void
address_fold(char *dst, const char *src)
{
	for (; *src != '\0'; src++)
		*dst++ = *src >= 'A' && *src <= 'Z' ? (char)(*src - 'A' + 'a') : *src;
	*dst = '\0';
}

bool
address_is_literal(const struct address *a)
{
	return a->domain[0] == '[';
}

size_t
address_base_len(const char *local, char delimiter)
{
	const char *at = strchr(local, delimiter);

	return at != NULL && at != local ? (size_t)(at - local) : strlen(local);
}

/* Dot-string of RFC 5321 4.1.2 to the letter: what we write is right everywhere. */
static bool
is_dot_string(const char *local)
{
	char before = '.';

	for (; *local != '\0'; before = *local++)
		if (*local == '.' ? before == '.' : !is_atext(*local))
			return false;
	return before != '.';
}

void
address_format(char *dst, const char *local, const char *domain)
{
	bool quotes = !is_dot_string(local);

	if (quotes)
		*dst++ = '"';
	for (; *local != '\0'; local++) {
		if (*local == '"' || *local == '\\')
			*dst++ = '\\';
		*dst++ = *local;
	}
	if (quotes)
		*dst++ = '"';
	if (*domain != '\0')
		*dst++ = '@';
	copy(dst, domain, domain + strlen(domain));
}
