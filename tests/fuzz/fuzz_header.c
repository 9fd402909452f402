/*
 * fuzz_header - a message in wire form, whole and cut, against a reader that
 * sees it all at once.
 *
 * The first two octets of the input say how it is cut; the rest is a message,
 * which is stuffed before the scanner sees it.
 */
#include <stdint.h>
#include <strings.h>

#include "mail/dot.h"
#include "mail/header.h"
#include "tests/fuzz/fuzz.h"

struct sink {
	char *buf;
	size_t len;
};

static int
collect(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	memcpy(s->buf + s->len, buf, len);
	s->len += len;
	return 0;
}

/* `line` of `len` octets without its CRLF is `Received`, blanks, a colon. */
static bool
is_received(const char *line, size_t len)
{
	size_t name = strlen("received");

	if (len < name || strncasecmp(line, "received", name) != 0)
		return false;
	while (name < len && (line[name] == ' ' || line[name] == '\t'))
		name++;
	return name < len && line[name] == ':';
}

/* Reads line by line.  What is no whole line counts all the same once its colon is there. */
static void
read_header(const char *wire, size_t len, struct header_scan *out)
{
	const char *lf;
	size_t at = 0, line;

	*out = (struct header_scan){ .offset = len };
	while (at < len) {
		lf = memmem(wire + at, len - at, "\r\n", 2);
		line = lf != NULL ? (size_t)(lf - (wire + at)) : len - at;
		if (lf != NULL && line == 0) {
			out->ended = true;
			out->body = at + 2;
			return;
		}
		out->received += is_received(wire + at, line);
		at += line + 2;
	}
}

static void
scan(struct header_scan *h, const char *wire, size_t len, size_t first, size_t step)
{
	size_t n = first;
	char *piece;

	header_scan_init(h);
	for (size_t at = 0; at < len; at += n, n = step) {
		if (n > len - at)
			n = len - at;
		piece = fuzz_copy(wire + at, n);
		header_scan(h, piece, n);
		free(piece);
	}
}

static void
require_same(const struct header_scan *got, const struct header_scan *want)
{
	REQUIRE(got->offset == want->offset);
	REQUIRE(got->received == want->received);
	REQUIRE(got->ended == want->ended);
	REQUIRE(!got->ended || got->body == want->body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;

	size_t first = data[0], step = (size_t)data[1] + 1;
	struct sink wire = { .buf = fuzz_room(2 * size) };
	struct header_scan want, got;
	struct dot d;

	dot_init(&d);
	REQUIRE(dot_stuff(&d, data + 2, size - 2, collect, &wire) == 0);
	read_header(wire.buf, wire.len, &want);
	scan(&got, wire.buf, wire.len, wire.len, wire.len);
	require_same(&got, &want);
	scan(&got, wire.buf, wire.len, first, step);
	require_same(&got, &want);
	free(wire.buf);
	return 0;
}
