/*
 * fuzz_bdat - a message that comes in chunks of known length, against the
 * reference; what is stored must end where DATA would have ended it, and be what
 * DATA would have stored.
 *
 * The first two octets of the input say how it is cut: so many octets in the
 * first chunk, so many in each that follows.  The third says which call of emit
 * stops it all, in a run of its own.  The rest is the message.
 */
#include <stdint.h>

#include "mail/dot.h"
#include "tests/fuzz/dot_reference.h"
#include "tests/fuzz/fuzz.h"

#define STOPPED 7

struct sink {
	char *buf;
	size_t len;
	size_t calls_left; /* 0: stopped, nothing may come any more */
};

static int
collect(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	REQUIRE(len > 0);
	REQUIRE(s->calls_left > 0);
	if (--s->calls_left == 0)
		return STOPPED;
	memcpy(s->buf + s->len, buf, len);
	s->len += len;
	return 0;
}

static void
stuff(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *out)
{
	size_t n = first;
	char *piece;

	dot_init(d);
	out->len = 0;
	for (size_t at = 0; at < len; at += n, n = step) {
		if (n > len - at)
			n = len - at;
		piece = fuzz_copy(in + at, n);
		REQUIRE(dot_stuff(d, piece, n, collect, out) == 0);
		free(piece);
	}
	REQUIRE(dot_stuff_end(d, collect, out) == 0);
}

static void
unstuff(const struct sink *wire, size_t first, size_t step, struct sink *out)
{
	struct dot d;
	size_t n = first;
	char *piece;

	dot_init(&d);
	out->len = 0;
	for (size_t at = 0; at < wire->len; at += n, n = step) {
		if (n > wire->len - at)
			n = wire->len - at;
		piece = fuzz_copy(wire->buf + at, n);
		REQUIRE(dot_unstuff(&d, piece, n, collect, out) == 0);
		free(piece);
	}
}

/* Calls that a client's packets could have made, up to the end that is there. */
static void
scan(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *out)
{
	size_t at = 0, n = first, used;
	char *piece;

	dot_init(d);
	out->len = 0;
	for (; d->state != DOT_END; at += used, n = step) {
		REQUIRE(at < len);
		if (n > len - at)
			n = len - at;
		piece = fuzz_copy(in + at, n);
		used = dot_scan(d, piece, n, collect, out);
		free(piece);
	}
	REQUIRE(at == len);
}

/* Nothing is emitted after a stop, and what was emitted before is how `want` begins. */
static void
require_stopped(int rc, struct sink *out, const char *want, size_t want_len)
{
	REQUIRE(rc == (out->calls_left > 0 ? 0 : STOPPED));
	REQUIRE(out->len <= want_len && memcmp(out->buf, want, out->len) == 0);
	out->calls_left = SIZE_MAX;
	out->len = 0;
}

static void
stop(const char *in, size_t len, size_t calls, const char *want, size_t want_len, struct sink *out)
{
	struct dot d;
	int rc;

	dot_init(&d);
	out->len = 0;
	out->calls_left = calls;
	rc = dot_stuff(&d, in, len, collect, out);
	if (rc == 0)
		rc = dot_stuff_end(&d, collect, out);
	require_stopped(rc, out, want, want_len);
}

/* The same lines sent by DATA, whose sender sees them end in CRLF alone and doubles dots there.
 * One that is not ended he ends, as he must before the final dot. */
static void
by_data(const uint8_t *data, const char *in, size_t len, struct sink *wire, struct sink *back)
{
	size_t first = (size_t)data[0] + 1, step = (size_t)data[1] + 1, said_len;
	char *lines = fuzz_room(len + 2), *said = fuzz_room(2 * len + 7);
	struct dot bdat, d;

	memcpy(lines, in, len);
	if (!ref_line_start(in, len)) {
		memcpy(lines + len, "\r\n", 2);
		len += 2;
	}
	said_len = ref_stuffed(said, lines, len);
	memcpy(said + said_len, ".\r\n", 3);
	said_len += 3;

	stuff(&bdat, lines, len, len, len, wire);
	scan(&d, said, said_len, first, step, back);
	REQUIRE(d.octets == bdat.octets && d.bare_lf == bdat.bare_lf);
	REQUIRE(back->len == wire->len && memcmp(back->buf, wire->buf, wire->len) == 0);

	dot_init(&d);
	back->len = 0;
	back->calls_left = (size_t)data[2] + 1;
	dot_scan(&d, said, said_len, collect, back);
	require_stopped(back->calls_left > 0 ? 0 : STOPPED, back, wire->buf, wire->len);
	free(said);
	free(lines);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;

	size_t first = data[0], step = (size_t)data[1] + 1, len = size - 3;
	const char *in = (const char *)data + 3;
	char *message = fuzz_room(2 * len + 2), *want = fuzz_room(4 * len + 4);
	size_t message_len = ref_message(message, in, len, false), want_len;
	struct sink wire = { fuzz_room(4 * len + 8), 0, SIZE_MAX };
	struct sink back = { fuzz_room(4 * len + 8), 0, SIZE_MAX };
	struct dot d;
	uint64_t bare_lf;

	if (!ref_line_start(message, message_len)) {
		memcpy(message + message_len, "\r\n", 2);
		message_len += 2;
	}
	want_len = ref_stuffed(want, message, message_len);

	stuff(&d, in, len, len, len, &wire);
	bare_lf = d.bare_lf;
	REQUIRE(d.octets == message_len);
	REQUIRE(wire.len == want_len && memcmp(wire.buf, want, want_len) == 0);

	stuff(&d, in, len, first, step, &wire);
	REQUIRE(d.octets == message_len && d.bare_lf == bare_lf);
	REQUIRE(wire.len == want_len && memcmp(wire.buf, want, want_len) == 0);

	stop(in, len, (size_t)data[2] + 1, want, want_len, &back);

	/* There is one wire form: stuffing what was unstuffed changes nothing. */
	unstuff(&wire, first, step, &back);
	REQUIRE(back.len == message_len && memcmp(back.buf, message, message_len) == 0);
	dot_init(&d);
	back.len = 0;
	back.calls_left = (size_t)data[2] + 1;
	int rc = dot_unstuff(&d, wire.buf, wire.len, collect, &back);
	require_stopped(rc, &back, message, message_len);
	stuff(&d, message, message_len, first, step, &wire);
	REQUIRE(d.bare_lf == 0);
	REQUIRE(wire.len == want_len && memcmp(wire.buf, want, want_len) == 0);

	memcpy(wire.buf + wire.len, ".\r\n.", 4);
	dot_init(&d);
	back.len = 0;
	REQUIRE(dot_scan(&d, wire.buf, wire.len + 4, collect, &back) == wire.len + 3);
	REQUIRE(d.state == DOT_END && d.octets == message_len && d.bare_lf == 0);
	REQUIRE(back.len == want_len && memcmp(back.buf, want, want_len) == 0);

	by_data(data, in, len, &wire, &back);

	free(message);
	free(want);
	free(wire.buf);
	free(back.buf);
	return 0;
}
