/*
 * fuzz_dot - DATA, whole and cut, against the reference.
 *
 * The first two octets of the input say how it is cut: so many octets in the
 * first call, so many in each that follows.  The rest is what a client sent.
 */
#include <stdint.h>

#include "mail/dot.h"
#include "tests/fuzz/dot_reference.h"
#include "tests/fuzz/fuzz.h"

struct sink {
	char *buf;
	size_t len;
};

static int
collect(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	REQUIRE(len > 0);
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
	for (size_t at = 0; at < wire->len; at += n, n = step) {
		if (n > wire->len - at)
			n = wire->len - at;
		piece = fuzz_copy(wire->buf + at, n);
		REQUIRE(dot_unstuff(d, piece, n, collect, out) == 0);
		free(piece);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;

	size_t first = data[0], step = (size_t)data[1] + 1, len = size - 2, end;
	const char *in = (const char *)data + 2;
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

	free(message);
	free(want);
	free(whole.buf);
	free(cut.buf);
	return 0;
}
