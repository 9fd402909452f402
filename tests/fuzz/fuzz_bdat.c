/*
 * fuzz_bdat - a message that comes in chunks of known length, against the
 * reference; what is stored must end where DATA would have ended it.
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

/* Nothing is emitted after a stop, and what was emitted before is how `want` begins. */
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
	REQUIRE(rc == (out->calls_left > 0 ? 0 : STOPPED));
	REQUIRE(out->len <= want_len && memcmp(out->buf, want, out->len) == 0);
	out->calls_left = SIZE_MAX;
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
	back.len = 0;

	/* There is one wire form: stuffing what was unstuffed changes nothing. */
	dot_init(&d);
	REQUIRE(dot_unstuff(&d, wire.buf, wire.len, collect, &back) == 0);
	REQUIRE(back.len == message_len && memcmp(back.buf, message, message_len) == 0);
	stuff(&d, message, message_len, first, step, &wire);
	REQUIRE(d.bare_lf == 0);
	REQUIRE(wire.len == want_len && memcmp(wire.buf, want, want_len) == 0);

	memcpy(wire.buf + wire.len, ".\r\n.", 4);
	dot_init(&d);
	back.len = 0;
	REQUIRE(dot_scan(&d, wire.buf, wire.len + 4, collect, &back) == wire.len + 3);
	REQUIRE(d.state == DOT_END && d.octets == message_len && d.bare_lf == 0);
	REQUIRE(back.len == want_len && memcmp(back.buf, want, want_len) == 0);

	free(message);
	free(want);
	free(wire.buf);
	free(back.buf);
	return 0;
}
