/*
 * header - where the header of a message in wire form ends, and its fields.
 *
 * Only the first octets of a line are looked at one by one; once they cannot
 * become "Received:" or an empty line, memchr() passes the rest.  In wire form
 * there is a CR before every LF, so LF alone ends a line here.
 */
#include <string.h>

#include "mail/header.h"

static const char received[] = "received";

enum {
	HEADER_NAME = sizeof(received) - 1, /* all of the name was seen: blanks or a colon follow */
	HEADER_CR = 254,                    /* the line is a CR so far */
	HEADER_OTHER = 255,                 /* any other line */
};

void
header_scan_init(struct header_scan *h)
{
	*h = (struct header_scan){ .column = 0 };
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* One octet, not LF, of a line that may still become one of those we want. */
static void
match(struct header_scan *h, char c)
{
	if (h->column == 0 && c == '\r') {
		h->column = HEADER_CR;
	} else if (h->column < HEADER_NAME && lower(c) == received[h->column]) {
		h->column++;
	} else if (h->column == HEADER_NAME && (c == ' ' || c == '\t')) {
		/* RFC 5322 4.5: blanks before the colon are obsolete, not gone. */
	} else {
		if (h->column == HEADER_NAME && c == ':')
			h->received++;
		h->column = HEADER_OTHER;
	}
}

void
header_scan(struct header_scan *h, const void *wire, size_t len)
{
	const char *begin = wire, *p = begin, *end = begin + len;

	while (p != end && !h->ended) {
		if (h->column == HEADER_OTHER) {
			p = memchr(p, '\n', (size_t)(end - p));
			if (p == NULL)
				break;
		}
		if (*p != '\n') {
			match(h, *p++);
			continue;
		}
		p++;
		if (h->column == HEADER_CR) {
			h->ended = true;
			h->body = h->offset + (size_t)(p - begin);
		}
		h->column = 0;
	}
	h->offset += len;
}
