/*
 * fuzz_dot - DATA, whole and cut, against the reference; and the way back.
 *
 * The first two octets of the input say how it is cut: so many octets in the
 * first call, so many in each that follows.  The third says which call of emit
 * stops it all, in a run of its own.  The rest is what a client sent.
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

/* Calls that a client's packets could have made.  Returns what was consumed. */
static size_t
scan(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *out)
{
	size_t at = 0, n = first, used;
	char *piece;

	dot_init(d);
	out->len = 0;
	out->calls_left = SIZE_MAX;
	while (at < len && d->state != DOT_END) {
		if (n > len - at)
			n = len - at;
		piece = fuzz_copy(in + at, n);
		used = dot_scan(d, piece, n, collect, out);
		free(piece);
		REQUIRE(used == n || d->state == DOT_END);
		at += used;
		n = step;
	}
	return at;
}

static void
unstuff(struct dot *d, const struct sink *wire, size_t first, size_t step, struct sink *out)
{
	size_t n = first;
	char *piece;

	dot_init(d);
	out->len = 0;
	out->calls_left = SIZE_MAX;
	for (size_t at = 0; at < wire->len; at += n, n = step) {
		if (n > wire->len - at)
			n = wire->len - at;
		piece = fuzz_copy(wire->buf + at, n);
		REQUIRE(dot_unstuff(d, piece, n, collect, out) == 0);
		free(piece);
	}
}

/* A message that came in one piece comes to the same wire form. */
static void
stuff(const char *message, size_t len, struct sink *out)
{
	struct dot d;

	dot_init(&d);
	out->len = 0;
	out->calls_left = SIZE_MAX;
	REQUIRE(dot_stuff(&d, message, len, collect, out) == 0);
	REQUIRE(dot_stuff_end(&d, collect, out) == 0);
}

/* Whatever it was doing when emit said stop, nothing is emitted after that, and
 * what was emitted before is how `want` begins. */
static void
stop(const char *in, size_t len, size_t calls, const char *message, size_t message_len,
    const struct sink *want, struct sink *out)
{
	struct dot d;
	int rc;

	dot_init(&d);
	out->len = 0;
	out->calls_left = calls;
	dot_scan(&d, in, len, collect, out);
	REQUIRE(out->len <= want->len && memcmp(out->buf, want->buf, out->len) == 0);

	dot_init(&d);
	out->len = 0;
	out->calls_left = calls;
	rc = dot_stuff(&d, message, message_len, collect, out);
	REQUIRE(rc == (out->calls_left > 0 ? 0 : STOPPED));
	REQUIRE(out->len <= want->len && memcmp(out->buf, want->buf, out->len) == 0);

	dot_init(&d);
	out->len = 0;
	out->calls_left = calls;
	rc = dot_unstuff(&d, want->buf, want->len, collect, out);
	REQUIRE(rc == (out->calls_left > 0 ? 0 : STOPPED));
	REQUIRE(out->len <= message_len && memcmp(out->buf, message, out->len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;

	size_t first = data[0], step = (size_t)data[1] + 1, len = size - 3, end;
	const char *in = (const char *)data + 3;
	char *message = fuzz_room(2 * len + 2), *want = fuzz_room(4 * len + 4);
	size_t data_len = ref_data_len(in, len, &end);
	size_t message_len = ref_message(message, in, data_len, true);
	size_t want_len = ref_stuffed(want, message, message_len);
	struct sink whole = { .buf = fuzz_room(4 * len + 4) };
	struct sink cut = { .buf = fuzz_room(4 * len + 4) };
	struct dot d, again;

	REQUIRE(scan(&d, in, len, len, len, &whole) == end);
	REQUIRE((d.state == DOT_END) == (data_len + 3 == end));
	REQUIRE(d.octets == message_len);
	REQUIRE(whole.len == want_len && memcmp(whole.buf, want, want_len) == 0);

	REQUIRE(scan(&again, in, len, first, step, &cut) == end);
	REQUIRE(again.state == d.state && again.octets == d.octets && again.bare_lf == d.bare_lf);
	REQUIRE(cut.len == want_len && memcmp(cut.buf, want, want_len) == 0);

	unstuff(&again, &whole, first, step, &cut);
	REQUIRE(again.octets == message_len);
	REQUIRE(cut.len == message_len && memcmp(cut.buf, message, message_len) == 0);

	stop(in, len, (size_t)data[2] + 1, message, message_len, &whole, &cut);

	/* The raw octets are a message too, if one that nobody sent. */
	stuff(in, data_len, &whole);
	message_len = ref_message(message, in, data_len, false);
	if (!ref_line_start(message, message_len)) {
		memcpy(message + message_len, "\r\n", 2);
		message_len += 2;
	}
	want_len = ref_stuffed(want, message, message_len);
	REQUIRE(whole.len == want_len && memcmp(whole.buf, want, want_len) == 0);

	free(message);
	free(want);
	free(whole.buf);
	free(cut.buf);
	return 0;
}
