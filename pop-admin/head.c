/*
 * head - trace fields and dates at the beginning of a message.
 *
 * RFC 5321 4.4: the final delivery puts Return-Path: before all else, and there is one of them.  A
 * message that moves from one mailbox to another has it already: it is taken off and becomes the
 * envelope's, from which it is made again.  Only where that gives the same octets, though.
 */
#include "head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mail/date.h"

#define RETURN_PATH "Return-Path:"
#define DELIVERED_TO "Delivered-To: "
#define RECEIVED "Received:"
#define DATE "Date:"

static bool
begins(const char *p, size_t len, const char *name)
{
	return len >= strlen(name) && strncasecmp(p, name, strlen(name)) == 0;
}

/* With its end; all of it where it has none. */
static size_t
line_len(const char *p, size_t len)
{
	const char *newline = memchr(p, '\n', len);

	return newline != NULL ? (size_t)(newline - p) + 1 : len;
}

/* Without its end. */
static size_t
text_len(const char *p, size_t len)
{
	if (len > 0 && p[len - 1] == '\n')
		len--;
	if (len > 0 && p[len - 1] == '\r')
		len--;
	return len;
}

static bool
is_text(const char *p, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(p, text, len) == 0;
}

static void
read_return_path(const char *buf, size_t len, struct head *h)
{
	char again[sizeof(RETURN_PATH) + ADDRESS_MAX + 4];
	size_t line = line_len(buf, len), n = text_len(buf, line), name = strlen(RETURN_PATH), used;
	struct address a;

	if (!begins(buf, n, RETURN_PATH) ||
	    address_parse_path(buf + name, n - name, ADDRESS_NULL_OK, &a, &used) != 0 ||
	    used != n - name)
		return;
	h->has_reverse_path = true;
	memcpy(h->reverse_path, a.text, sizeof(a.text));
	snprintf(again, sizeof(again), RETURN_PATH " <%s>", a.text);
	if (is_text(buf, n, again))
		h->skip = line;
}

static void
read_delivered_to(const char *buf, size_t len, struct head *h)
{
	size_t line = line_len(buf, len), n = text_len(buf, line), name = strlen(DELIVERED_TO);
	char text[ADDRESS_MAX + 1];
	struct address a;

	if (n <= name || n - name > ADDRESS_MAX || memcmp(buf, DELIVERED_TO, name) != 0 ||
	    memchr(buf, '\0', n) != NULL)
		return;
	memcpy(text, buf + name, n - name);
	text[n - name] = '\0';
	if (address_parse(text, &a) != 0 || strcmp(a.text, text) != 0)
		return;
	h->has_written = true;
	memcpy(h->written, a.text, sizeof(a.text));
	h->skip += line;
}

/* The length of the field at `p`, its folded lines and their ends with it (RFC 5322 2.2.3). */
static size_t
field_len(const char *p, size_t len)
{
	size_t n = line_len(p, len);

	while (n < len && (p[n] == ' ' || p[n] == '\t'))
		n += line_len(p + n, len - n);
	return n;
}

static void
read_dates(const char *p, size_t len, struct head *h)
{
	uint64_t received = 0, date = 0;
	bool received_seen = false, date_seen = false;

	while (len > 0 && text_len(p, line_len(p, len)) > 0) {
		size_t n = field_len(p, len);

		if (!received_seen && begins(p, n, RECEIVED)) {
			const char *semicolon = memrchr(p, ';', n);

			received_seen = true;
			if (semicolon != NULL &&
			    date_parse(semicolon + 1, (size_t)(p + n - semicolon) - 1, &received) !=
				0)
				received = 0;
		} else if (!date_seen && begins(p, n, DATE)) {
			date_seen = true;
			if (date_parse(p + strlen(DATE), n - strlen(DATE), &date) != 0)
				date = 0;
		}
		p += n;
		len -= n;
	}
	h->time_s = received != 0 ? received : date;
}

void
head_parse(const char *buf, size_t len, struct head *h)
{
	memset(h, 0, sizeof(*h));
	if (len == 0)
		return;
	read_return_path(buf, len, h);
	if (h->skip > 0 && h->skip < len)
		read_delivered_to(buf + h->skip, len - h->skip, h);
	h->received = begins(buf + h->skip, len - h->skip, RECEIVED);
	read_dates(buf, len, h);
}
