/*
 * dot: rows for what must be seen at a glance, then every message of a few
 * octets over a hostile alphabet, and longer random ones, against the
 * reference; whole, octet by octet, and cut at every place.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mail/dot.h"
#include "tests/fuzz/dot_reference.h"

#define INPUT_MAX 4096
#define STOPPED 7

struct sink {
	char buf[2 * INPUT_MAX + 4];
	size_t len;
	unsigned calls, stop_at;
};

/* ck_assert() leaves a mark in a file at each call, which is dear a million times. */
static void
require(bool ok, const char *what)
{
	if (!ok)
		ck_abort_msg("%s", what);
}

static int
collect(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	require(len > 0, "emit of nothing");
	require(s->stop_at == 0 || s->calls < s->stop_at, "emit after a stop");
	if (++s->calls == s->stop_at)
		return STOPPED;
	require(s->len + len <= sizeof(s->buf), "too much is emitted");
	memcpy(s->buf + s->len, buf, len);
	s->len += len;
	return 0;
}

/* Feeds one piece from memory of just that size, so that a sanitizer sees a
 * look beyond it. */
static size_t
scan_piece(struct dot *d, const char *in, size_t len, struct sink *s)
{
	char *copy = malloc(len + (len == 0));
	size_t used;

	require(copy != NULL, "memory");
	memcpy(copy, in, len);
	used = dot_scan(d, copy, len, collect, s);
	require(d->state == DOT_END || used == len, "all is consumed before the end");
	free(copy);
	return used;
}

static int
stuff_piece(struct dot *d, const char *in, size_t len, struct sink *s)
{
	char *copy = malloc(len + (len == 0));
	int rc;

	require(copy != NULL, "memory");
	memcpy(copy, in, len);
	rc = dot_stuff(d, copy, len, collect, s);
	free(copy);
	return rc;
}

/* `step` octets a call, but the first takes `first`.  Returns what was consumed. */
static size_t
scan_cut(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *s)
{
	size_t at = 0, n = first;

	dot_init(d);
	s->len = 0;
	while (at < len && d->state != DOT_END) {
		if (n > len - at)
			n = len - at;
		at += scan_piece(d, in + at, n, s);
		n = step;
	}
	return at;
}

static void
stuff_cut(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *s)
{
	size_t n = first;

	dot_init(d);
	s->len = 0;
	for (size_t at = 0; at < len; at += n, n = step) {
		if (n > len - at)
			n = len - at;
		require(stuff_piece(d, in + at, n, s) == 0, "stuff");
	}
	require(dot_stuff_end(d, collect, s) == 0, "stuff_end");
}

static void
unstuff_cut(struct dot *d, const char *in, size_t len, size_t first, size_t step, struct sink *s)
{
	size_t n = first;

	dot_init(d);
	s->len = 0;
	for (size_t at = 0; at < len; at += n, n = step) {
		if (n > len - at)
			n = len - at;
		require(dot_unstuff(d, in + at, n, collect, s) == 0, "unstuff");
	}
}

static void
same(const struct sink *s, const char *want, size_t len)
{
	if (s->len != len || memcmp(s->buf, want, len) != 0)
		ck_abort_msg("got '%.*s', want '%.*s'", (int)s->len, s->buf, (int)len, want);
}

/* Scans `in` in one way of cutting and compares all that can be seen. */
static void
check_scan(const char *in, size_t len, size_t first, size_t step)
{
	static char message[INPUT_MAX * 2 + 2], wire[INPUT_MAX * 4 + 2];
	static struct sink out;
	struct dot d, back;
	size_t end, data = ref_data_len(in, len, &end);
	size_t message_len = ref_message(message, in, data, true);
	size_t wire_len = ref_stuffed(wire, message, message_len);
	bool ended = end >= 3 && data == end - 3;

	require(scan_cut(&d, in, len, first, step, &out) == end, "consumed");
	require((d.state == DOT_END) == ended, "end seen");
	same(&out, wire, wire_len);
	require(d.octets == message_len, "octets");

	unstuff_cut(&back, wire, wire_len, first, step, &out);
	same(&out, message, message_len);
	require(back.octets == message_len, "octets unstuffed");
}

static void
check_stuff(const char *in, size_t len, size_t first, size_t step)
{
	static char message[INPUT_MAX * 2 + 4], wire[INPUT_MAX * 4 + 8];
	static struct sink out;
	struct dot d;
	size_t message_len = ref_message(message, in, len, false), wire_len;

	if (!ref_line_start(message, message_len)) {
		memcpy(message + message_len, "\r\n", 2);
		message_len += 2;
	}
	wire_len = ref_stuffed(wire, message, message_len);

	stuff_cut(&d, in, len, first, step, &out);
	same(&out, wire, wire_len);
	require(d.octets == message_len, "octets");

	unstuff_cut(&d, wire, wire_len, first, step, &out);
	same(&out, message, message_len);

	/* What was stuffed is what DATA would have brought, and ends where it ends. */
	memcpy(wire + wire_len, ".\r\nQ", 4);
	require(
	    scan_cut(&d, wire, wire_len + 4, first, step, &out) == wire_len + 3, "wire form ends");
	require(d.state == DOT_END, "wire form ended");
	same(&out, wire, wire_len);
	require(d.octets == message_len, "octets");
	require(d.bare_lf == 0, "bare LF in wire form");
}

static void
check_every_cut(const char *in, size_t len)
{
	for (size_t first = 0; first <= len; first++) {
		check_scan(in, len, first, INPUT_MAX);
		check_stuff(in, len, first, INPUT_MAX);
	}
	check_scan(in, len, 1, 1);
	check_stuff(in, len, 1, 1);
}

/* --- rows --- */

#define TEXT(s) s, sizeof(s) - 1

/* clang-format off */
static const struct {
	const char *name;
	const char *in;
	size_t in_len;
	const char *wire;
	size_t wire_len;
	const char *rest; /* NULL: the end was not seen */
	unsigned octets, bare_lf;
} scans[] = {
	{ "empty message", TEXT(".\r\n"), TEXT(""), "", 0, 0 },
	{ "one line", TEXT("a\r\n.\r\n"), TEXT("a\r\n"), "", 3, 0 },
	{ "rest is left", TEXT("a\r\n.\r\nQUIT\r\n"), TEXT("a\r\n"), "QUIT\r\n", 3, 0 },
	{ "stuffed dot stays", TEXT("..\r\n.\r\n"), TEXT("..\r\n"), "", 3, 0 },
	{ "three dots", TEXT("...\r\n.\r\n"), TEXT("...\r\n"), "", 4, 0 },
	{ "unstuffed dot goes", TEXT("a\r\n.b\r\n.\r\n"), TEXT("a\r\nb\r\n"), "", 6, 0 },
	{ "dot inside a line", TEXT("a.\r\n.\r\n"), TEXT("a.\r\n"), "", 4, 0 },
	{ "NUL and 8 bits stay", TEXT("\0\xff\r\n.\r\n"), TEXT("\0\xff\r\n"), "", 4, 0 },
	{ "NUL behind the dot", TEXT("\r\n.\0\r\n.\r\n"), TEXT("\r\n\0\r\n"), "", 5, 0 },
	{ "no end yet", TEXT("a\r\n."), TEXT("a\r\n"), NULL, 3, 0 },
	{ "no end yet, CR", TEXT("a\r\n.\r"), TEXT("a\r\n"), NULL, 3, 0 },
	{ "LF.LF", TEXT("a\n.\nb\r\n.\r\n"), TEXT("a\r\n..\r\nb\r\n"), "", 9, 2 },
	{ "LF.CRLF", TEXT("a\n.\r\nb\r\n.\r\n"), TEXT("a\r\n..\r\nb\r\n"), "", 9, 1 },
	{ "CRLF.LF", TEXT("a\r\n.\nb\r\n.\r\n"), TEXT("a\r\n\r\nb\r\n"), "", 8, 1 },
	{ "CR.CR", TEXT("a\r.\rb\r\n.\r\n"), TEXT("a\r.\rb\r\n"), "", 7, 0 },
	{ "CRLF.CR", TEXT("a\r\n.\rb\r\n.\r\n"), TEXT("a\r\n\rb\r\n"), "", 7, 0 },
	{ "CR.CRLF", TEXT("a\r.\r\nb\r\n.\r\n"), TEXT("a\r.\r\nb\r\n"), "", 8, 0 },
	{ "CRCRLF.CRCRLF", TEXT("a\r\r\n.\r\r\nb\r\n.\r\n"), TEXT("a\r\r\n\r\r\nb\r\n"), "", 10,
	    0 },
	{ "CRLF.CRCRLF", TEXT("a\r\n.\r\r\nb\r\n.\r\n"), TEXT("a\r\n\r\r\nb\r\n"), "", 9, 0 },
	{ "CRCRLF.CRLF ends", TEXT("a\r\r\n.\r\nb"), TEXT("a\r\r\n"), "b", 4, 0 },
	{ "LFCR.LFCR", TEXT("a\n\r.\n\rb\r\n.\r\n"), TEXT("a\r\n\r.\r\n\rb\r\n"), "", 11, 2 },
	{ "dot LF at once", TEXT(".\n.\r\n\r\n.\r\n"), TEXT("\r\n..\r\n\r\n"), "", 7, 1 },
	{ "dots behind bare LF", TEXT("\n..\n.a\r\n.\r\n"), TEXT("\r\n...\r\n..a\r\n"), "", 10, 2 },
};
/* clang-format on */

START_TEST(scan_row)
{
	struct sink out = { .len = 0 };
	struct dot d;
	size_t used, rest = scans[_i].rest != NULL ? strlen(scans[_i].rest) : 0;

	for (size_t first = 0; first <= scans[_i].in_len; first++) {
		for (size_t step = 1; step <= scans[_i].in_len; step++) {
			used = scan_cut(&d, scans[_i].in, scans[_i].in_len, first, step, &out);
			ck_assert_msg(
			    used == scans[_i].in_len - rest, "%s: %zu used", scans[_i].name, used);
			ck_assert_msg((d.state == DOT_END) == (scans[_i].rest != NULL), "%s: end",
			    scans[_i].name);
			ck_assert_msg(out.len == scans[_i].wire_len &&
					  memcmp(out.buf, scans[_i].wire, out.len) == 0,
			    "%s: %.*s", scans[_i].name, (int)out.len, out.buf);
			ck_assert_uint_eq(d.octets, scans[_i].octets);
			ck_assert_uint_eq(d.bare_lf, scans[_i].bare_lf);
		}
	}
}
END_TEST

/* clang-format off */
static const struct {
	const char *name;
	const char *in;
	size_t in_len;
	const char *wire;
	size_t wire_len;
	unsigned octets, bare_lf;
} stuffs[] = {
	{ "empty stays empty", TEXT(""), TEXT(""), 0, 0 },
	{ "line is ended", TEXT("a"), TEXT("a\r\n"), 3, 0 },
	{ "ended line stays", TEXT("a\r\n"), TEXT("a\r\n"), 3, 0 },
	{ "ended by bare LF", TEXT("a\n"), TEXT("a\r\n"), 3, 1 },
	{ "lone CR", TEXT("a\r"), TEXT("a\r\r\n"), 4, 0 },
	{ "lone dot", TEXT("."), TEXT("..\r\n"), 3, 0 },
	{ "end of data inside", TEXT("a\r\n.\r\nb\r\n"), TEXT("a\r\n..\r\nb\r\n"), 9, 0 },
	{ "LF.LF", TEXT("a\n.\nb"), TEXT("a\r\n..\r\nb\r\n"), 9, 2 },
	{ "CR.CR", TEXT("\r.\r"), TEXT("\r.\r\r\n"), 5, 0 },
	{ "NULs", TEXT("\0\n\0"), TEXT("\0\r\n\0\r\n"), 6, 1 },
	{ "dots", TEXT("...\r\n.."), TEXT("....\r\n...\r\n"), 9, 0 },
};
/* clang-format on */

START_TEST(stuff_row)
{
	struct sink out = { .len = 0 };
	struct dot d;

	for (size_t first = 0; first <= stuffs[_i].in_len; first++) {
		for (size_t step = 1; step <= stuffs[_i].in_len; step++) {
			stuff_cut(&d, stuffs[_i].in, stuffs[_i].in_len, first, step, &out);
			ck_assert_msg(out.len == stuffs[_i].wire_len &&
					  memcmp(out.buf, stuffs[_i].wire, out.len) == 0,
			    "%s: %.*s", stuffs[_i].name, (int)out.len, out.buf);
			ck_assert_uint_eq(d.octets, stuffs[_i].octets);
			ck_assert_uint_eq(d.bare_lf, stuffs[_i].bare_lf);
		}
	}
}
END_TEST

/* --- properties --- */

START_TEST(every_short_input)
{
	static const char alphabet[] = { '\r', '\n', '.', 'a', '\0' };
	char in[8] = { 0 };
	size_t digits[8] = { 0 }, len = (size_t)_i, at;

	do {
		for (size_t i = 0; i < len; i++)
			in[i] = alphabet[digits[i]];
		check_every_cut(in, len);
		for (at = 0; at < len && ++digits[at] == sizeof(alphabet); at++)
			digits[at] = 0;
	} while (at < len);
}
END_TEST

static uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 16;
}

START_TEST(random_input)
{
	static const char *const alphabets[] = { "\r\n.", "\r\n.aaaaaaaa", "\r\n.ab" };
	uint32_t seed = (uint32_t)_i + 1;
	const char *alphabet = alphabets[_i % 3];
	char in[300];
	size_t len = next_random(&seed) % sizeof(in), n;

	/* Mostly whole lines, so that dots and ends stand where they count. */
	for (size_t i = 0; i < len; i++) {
		in[i] = alphabet[next_random(&seed) % strlen(alphabet)];
		if (in[i] == '\n' && i > 0 && next_random(&seed) % 4 != 0)
			in[i - 1] = '\r';
	}
	check_every_cut(in, len);
	for (n = 2; n < 20; n++) {
		check_scan(in, len, n, n);
		check_stuff(in, len, n, n);
	}
}
END_TEST

START_TEST(octets_after_each_line)
{
	static const char in[] = "Subject: x\r\n\r\n..\r\n...a\r\nb\nc\r\n.d\r\n";
	char message[sizeof(in) * 2];
	struct sink out = { .len = 0 };
	struct dot d;
	const char *lf;

	dot_init(&d);
	for (const char *p = in; *p != '\0'; p = lf + 1) {
		lf = strstr(p, "\r\n") + 1;
		ck_assert_uint_eq(scan_piece(&d, p, (size_t)(lf + 1 - p), &out), lf + 1 - p);
		ck_assert_uint_eq(d.octets, ref_message(message, in, (size_t)(lf + 1 - in), true));
	}
	ck_assert_uint_eq(d.octets, 12 + 2 + 3 + 5 + 6 + 3);
}
END_TEST

/* Lines that are wire form already leave in one run, however many there are. */
START_TEST(long_runs)
{
	static const char in[] = "a: b\r\n\r\nc\rd\r\n..\r\n....\r\ne\r\n.\r\nQUIT\r\n";
	struct sink out = { .len = 0 };
	struct dot d;

	dot_init(&d);
	scan_piece(&d, in, sizeof(in) - 1, &out);
	ck_assert_int_eq(d.state, DOT_END);
	ck_assert_uint_eq(out.calls, 1);
}
END_TEST

/* Whichever call of emit says stop, none comes after it. */
START_TEST(stop)
{
	static const char in[] = "a\n.b\r\n.c\r\n..d\r\n.\re\r\n\n";
	struct sink out;
	struct dot d;
	unsigned calls;

	for (size_t step = 1; step < sizeof(in); step++) {
		out = (struct sink){ .len = 0 };
		scan_cut(&d, in, sizeof(in) - 1, step, step, &out);
		calls = out.calls;
		for (unsigned stop_at = 1; stop_at <= calls; stop_at++) {
			out = (struct sink){ .stop_at = stop_at };
			dot_init(&d);
			for (size_t at = 0; at < sizeof(in) - 1 && out.calls < stop_at; at += step)
				dot_scan(&d, in + at,
				    step < sizeof(in) - 1 - at ? step : sizeof(in) - 1 - at,
				    collect, &out);
			ck_assert_uint_eq(out.calls, stop_at);
		}
	}
}
END_TEST

START_TEST(stop_stuffing)
{
	static const char in[] = "a\n.b\r\n.c\nd";
	struct sink out = { .len = 0 };
	struct dot d;
	unsigned calls;
	int rc;

	stuff_cut(&d, in, sizeof(in) - 1, sizeof(in) - 1, 1, &out);
	calls = out.calls;
	ck_assert_uint_gt(calls, 4);
	for (unsigned stop_at = 1; stop_at <= calls; stop_at++) {
		out = (struct sink){ .stop_at = stop_at };
		dot_init(&d);
		rc = dot_stuff(&d, in, sizeof(in) - 1, collect, &out);
		if (stop_at == calls) {
			ck_assert_int_eq(rc, 0);
			rc = dot_stuff_end(&d, collect, &out);
		}
		ck_assert_int_eq(rc, STOPPED);
	}
	for (unsigned stop_at = 1; stop_at <= 3; stop_at++) {
		out = (struct sink){ .stop_at = stop_at };
		dot_init(&d);
		ck_assert_int_eq(dot_unstuff(&d, "a\r\n..b\r\n..c", 11, collect, &out), STOPPED);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("dot");
	TCase *rows = tcase_create("rows"), *properties = tcase_create("properties");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(rows, scan_row, 0, sizeof(scans) / sizeof(scans[0]));
	tcase_add_loop_test(rows, stuff_row, 0, sizeof(stuffs) / sizeof(stuffs[0]));
	tcase_add_test(rows, octets_after_each_line);
	tcase_add_test(rows, long_runs);
	tcase_add_test(rows, stop);
	tcase_add_test(rows, stop_stuffing);
	suite_add_tcase(suite, rows);

	tcase_set_timeout(properties, 60);
	tcase_add_loop_test(properties, every_short_input, 0, 7);
	tcase_add_loop_test(properties, random_input, 0, 60);
	suite_add_tcase(suite, properties);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
