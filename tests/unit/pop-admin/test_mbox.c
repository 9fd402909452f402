/*
 * mbox: every dialect as a row, read in pieces of every size; a file that is larger than memory
 * may be; and what is written is read back as it was.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pop-admin/mbox.h"

#define A "From a@x.test Tue Nov 24 02:11:17 2026\n"
#define B "From \"b c\"@x.test Tue Nov 24 03:11:17 +0100 2026\n"
#define A_ "{a@x.test 1795486277}"
#define B_ "{\"b c\"@x.test 1795486277}"

/* What the reader tells: {sender time}, the octets, and '|' behind each message. */
static const struct {
	const char *name, *file, *want;
	int rc;
} rows[] = {
	{ "empty", "", "", 0 },
	{ "empty lines alone", "\n\r\n", "", 0 },
	{ "one", A "S: x\n\nbody\n", A_ "S: x\n\nbody\n|", 0 },
	{ "the empty line is the file's", A "S: x\n\nbody\n\n", A_ "S: x\n\nbody\n|", 0 },
	{ "a second one is the message's", A "S: x\n\nbody\n\n\n", A_ "S: x\n\nbody\n\n|", 0 },
	{ "two", A "S: x\n\nbody\n\n" B "S: y\n\n2\n", A_ "S: x\n\nbody\n|" B_ "S: y\n\n2\n|", 0 },
	{ "no last line end", A "S: x\n\nbody", A_ "S: x\n\nbody|", 0 },
	{ "no last line end, a CR", A "S: x\n\nbody\r", A_ "S: x\n\nbody\r|", 0 },
	{ "no empty line between", A "S: x\n\nbody\n" B "S: y\n", A_ "S: x\n\nbody\n|" B_ "S: y\n|", 0 },
	{ "header alone", A "S: x\n\n" B "S: y\n", A_ "S: x\n|" B_ "S: y\n|", 0 },
	{ "nothing in it", A B "S: y\n", A_ "|" B_ "S: y\n|", 0 },
	{ "a From_ line without end", "From a@x.test Tue Nov 24 02:11:17 2026", A_ "|", 0 },
	{ "CRLF",
	    "From a@x.test Tue Nov 24 02:11:17 2026\r\nS: x\r\n\r\nbody\r\n\r\n"
	    "From a@x.test Tue Nov 24 02:11:17 2026\r\nS: y\r\n",
	    A_ "S: x\r\n\r\nbody\r\n|" A_ "S: y\r\n|", 0 },
	{ "empty lines before the first", "\n\n" A "S: x\n", A_ "S: x\n|", 0 },
	{ "mboxo", A "S: x\n\n>From me\nx >From\n", A_ "S: x\n\nFrom me\nx >From\n|", 0 },
	{ "mboxrd", A "S: x\n\n>>From me\n>>>From\n>>>From x\n",
	    A_ "S: x\n\n>From me\n>>>From\n>>From x\n|", 0 },
	{ "plain: a sentence", A "S: x\n\n\nFrom here on it is mine\nFrom \n",
	    A_ "S: x\n\n\nFrom here on it is mine\nFrom \n|", 0 },
	{ "plain: in the header", A "From: x\n>From y\n\n", A_ "From: x\nFrom y\n|", 0 },
	{ "no date at all", "From a@x.test\nS: x\n\nb\nFrom here\n\nFrom b@x.test\nS: y\n",
	    "{a@x.test 0}S: x\n\nb\nFrom here\n|{b@x.test 0}S: y\n|", 0 },
	{ "no date, and no end", "From a@x.test\nS: x\n\nFrom b@x.test", "{a@x.test 0}S: x\n|{b@x.test 0}|", 0 },
	{ "mboxcl", A "Content-Length: 9\n\n>From me\n\n" B "S: y\n",
	    A_ "Content-Length: 9\n\nFrom me\n|" B_ "S: y\n|", 0 },
	{ "mboxcl, CRLF",
	    "From a@x.test Tue Nov 24 02:11:17 2026\r\ncontent-length:   10 \r\n\r\n>From me\r\n\r\n" B "S: y\n",
	    A_ "content-length:   10 \r\n\r\nFrom me\r\n|" B_ "S: y\n|", 0 },
	{ "mboxcl2 that does not hold", A "Content-Length: 90\n\n" A ">From me\nx\n" B "S: y\n",
	    A_ "Content-Length: 90\n|" A_ "From me\nx\n|" B_ "S: y\n|", 0 },
	{ "mboxcl2 that holds", A "Content-Length: 48\n\n" A ">From me\n\n" B "S: y\n",
	    A_ "Content-Length: 48\n\n" A ">From me\n|" B_ "S: y\n|", 0 },
	{ "mboxcl2, the last", A "Content-Length: 48\n\n" A ">From me\n",
	    A_ "Content-Length: 48\n\n" A ">From me\n|", 0 },
	{ "mboxcl2, an empty line at its end", A "Content-Length: 42\n\n" A "x\n\n\n" B "S: y\n",
	    A_ "Content-Length: 42\n\n" A "x\n\n|" B_ "S: y\n|", 0 },
	{ "mboxcl, nothing in it", A "Content-Length: 0\n\n\n" B "S: y\n",
	    A_ "Content-Length: 0\n\n|" B_ "S: y\n|", 0 },
	{ "mboxcl, no line end", A "Content-Length: 3\n\nabc\n" B "S: y\n",
	    A_ "Content-Length: 3\n\nabc|" B_ "S: y\n|", 0 },
	{ "a length that hides a message", B "S: 0\n\n\n" A "Content-Length: 55\n\n" B "S: y\n\n" A "S: 2\n",
	    B_ "S: 0\n\n|" A_ "Content-Length: 55\n|" B_ "S: y\n|" A_ "S: 2\n|", 0 },
	{ "a length too short", A "Content-Length: 2\n\nabc\n\n" B "S: y\n",
	    A_ "Content-Length: 2\n\nabc\n|" B_ "S: y\n|", 0 },
	{ "a length beyond the file", A "Content-Length: 9999\n\nabc\n\n" B "S: y\n",
	    A_ "Content-Length: 9999\n\nabc\n|" B_ "S: y\n|", 0 },
	{ "a length beyond everything", A "Content-Length: 99999999999999999999\n\nabc\n",
	    A_ "Content-Length: 99999999999999999999\n\nabc\n|", 0 },
	{ "no length", A "Content-Length: -1\n\nabc\n", A_ "Content-Length: -1\n\nabc\n|", 0 },
	{ "a length in the body", A "S: x\n\nContent-Length: 0\n\nabc\n",
	    A_ "S: x\n\nContent-Length: 0\n\nabc\n|", 0 },
	{ "no mbox", "S: x\n\nbody\n", "", SOURCE_NO_MBOX },
	{ "no mbox either", "From:x\n", "", SOURCE_NO_MBOX },
};

struct memory {
	const char *file;
	size_t len, step;
	struct strbuf told;
};

static ssize_t
read_memory(void *arg, void *buf, size_t len, uint64_t offset)
{
	const struct memory *m = arg;

	if (offset >= m->len)
		return 0;
	if (len > m->len - offset)
		len = m->len - offset;
	if (len > m->step)
		len = m->step;
	memcpy(buf, m->file + offset, len);
	return (ssize_t)len;
}

static int
tell_begin(void *arg, const struct source_message *s)
{
	struct memory *m = arg;

	strbuf_addf(&m->told, "{%s %" PRIu64 "}", s->sender, s->time_s);
	return 0;
}

static int
tell_octets(void *arg, const void *buf, size_t len)
{
	struct memory *m = arg;

	ck_assert_uint_gt(len, 0);
	strbuf_add(&m->told, buf, len);
	return 0;
}

static int
tell_end(void *arg)
{
	struct memory *m = arg;

	strbuf_addch(&m->told, '|');
	return 0;
}

static int
read_all(struct memory *m)
{
	const struct mbox_input in = { .read = read_memory, .arg = m };
	const struct source_sink sink = { tell_begin, tell_octets, tell_end, m };

	return mbox_read(&in, &sink);
}

START_TEST(row)
{
	for (size_t step = 1; step < 100; step += step < 8 ? 1 : 30) {
		struct memory m = { rows[_i].file, strlen(rows[_i].file), step, { .len = 0 } };

		strbuf_init(&m.told, 1 << 20);
		ck_assert_int_eq(read_all(&m), rows[_i].rc);
		ck_assert_msg(strcmp(m.told.buf, rows[_i].want) == 0, "%s, by %zu:\n%s\nnot\n%s",
		    rows[_i].name, step, m.told.buf, rows[_i].want);
		strbuf_release(&m.told);
	}
}
END_TEST

/* Lines far longer than what is looked at, and quoting at the edges of what is held. */
START_TEST(long_lines)
{
	for (size_t len = 65200; len < 65900; len += 7) {
		struct memory m = { .step = 70000 };
		struct strbuf file, want;

		strbuf_init(&file, 1 << 20);
		strbuf_init(&want, 1 << 20);
		strbuf_init(&m.told, 1 << 20);
		strbuf_addstr(&file, A "S: x\n\n");
		strbuf_addstr(&want, A_ "S: x\n\n");
		for (size_t i = 0; i < len; i++) {
			strbuf_addch(&file, 'y');
			strbuf_addch(&want, 'y');
		}
		strbuf_addstr(&file, "\n>From me\n\n" B "S: y\n");
		strbuf_addstr(&want, "\nFrom me\n|" B_ "S: y\n|");
		m.file = file.buf;
		m.len = file.len;
		ck_assert_int_eq(read_all(&m), 0);
		ck_assert(strcmp(m.told.buf, want.buf) == 0);
		strbuf_release(&file);
		strbuf_release(&want);
		strbuf_release(&m.told);
	}
}
END_TEST

/* --- larger than memory may be --------------------------------------------- */

#define HUGE_LEN (UINT64_C(3) << 30)
static const char huge_begin[] = A "S: x\n\n";
static uint64_t huge_octets, huge_messages;

/* Three gibibytes that nobody holds: a message every 1,500 MiB, lines of 64 octets. */
static ssize_t
read_huge(void *arg, void *buf, size_t len, uint64_t offset)
{
	const uint64_t each = UINT64_C(1500) << 20;
	char *p = buf;

	(void)arg;
	for (size_t i = 0; i < len;) {
		uint64_t at = offset + i, in = at % each;
		size_t n;

		if (at >= HUGE_LEN)
			return (ssize_t)i;
		if (in < sizeof(huge_begin) - 1) {
			p[i++] = huge_begin[in];
			continue;
		}
		n = 64 - (size_t)(in % 64);
		if (n > len - i)
			n = len - i;
		memset(p + i, 'z', n);
		if (in % 64 + n == 64)
			p[i + n - 1] = '\n';
		i += n;
	}
	return (ssize_t)len;
}

static int
huge_begun(void *arg, const struct source_message *s)
{
	(void)arg;
	(void)s;
	huge_messages++;
	return 0;
}

static int
count_octets(void *arg, const void *buf, size_t len)
{
	(void)arg;
	(void)buf;
	huge_octets += len;
	return 0;
}

static int
huge_ended(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(three_gibibytes)
{
	const struct mbox_input in = { .read = read_huge };
	const struct source_sink sink = { huge_begun, count_octets, huge_ended, NULL };

	ck_assert_int_eq(mbox_read(&in, &sink), 0);
	ck_assert_uint_eq(huge_messages, 3);
	ck_assert_uint_eq(huge_octets, HUGE_LEN - 3 * strlen(A));
}
END_TEST

/* --- failures ---------------------------------------------------------------- */

static ssize_t
read_nothing(void *arg, void *buf, size_t len, uint64_t offset)
{
	(void)arg;
	if (offset == 0 && len >= 20) {
		memcpy(buf, "From a@x.test Tue No", 20);
		return 20;
	}
	errno = EIO;
	return -1;
}

static int
refuse(void *arg)
{
	(void)arg;
	return 7;
}

START_TEST(failures)
{
	const struct mbox_input in = { .read = read_nothing };
	struct memory m = { A "S: x\n\n", strlen(A "S: x\n\n"), 100, { .len = 0 } };
	const struct mbox_input memory = { .read = read_memory, .arg = &m };
	const struct source_sink sink = { tell_begin, tell_octets, refuse, &m };

	strbuf_init(&m.told, 1000);
	ck_assert_int_eq(mbox_read(&in, &sink), SOURCE_READ_FAILED);
	ck_assert_int_eq(errno, EIO);
	ck_assert_int_eq(mbox_read(&memory, &sink), 7);
	strbuf_release(&m.told);
}
END_TEST

/* --- writing ------------------------------------------------------------------ */

static int
append(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

static const struct {
	const char *wire, *quoted, *plain;
} written[] = {
	{ "S: x\r\n\r\nFrom me\r\n", "S: x\n\n>From me\n", "S: x\n\nFrom me\n" },
	{ ">>From me\r\n>From\r\nFro\r\n>\r\n", ">>>From me\n>From\nFro\n>\n",
	    ">>From me\n>From\nFro\n>\n" },
	{ "a\rb\r\r\n\r\r\r\n", "a\rb\r\r\n\r\r\r\n", "a\rb\r\r\n\r\r\r\n" },
	{ "\r\nFFrom x\r\n", "\nFFrom x\n", "\nFFrom x\n" },
	{ "a\r>From \r\n>From \r\n", "a\r>From \n>>From \n", "a\r>From \n>From \n" },
};

START_TEST(writing)
{
	for (size_t step = 1; step < 9; step++)
		for (unsigned quote = 0; quote < 2; quote++) {
			const char *wire = written[_i].wire;
			struct mbox_quote q = { .marks = 0 };
			struct strbuf out;

			strbuf_init(&out, 1000);
			for (size_t i = 0; i < strlen(wire); i += step)
				ck_assert_int_eq(mbox_write(&q, quote, wire + i,
						     strlen(wire) - i < step ? strlen(wire) - i : step,
						     append, &out), 0);
			ck_assert_str_eq(out.buf, quote ? written[_i].quoted : written[_i].plain);
			strbuf_release(&out);
		}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("mbox");
	TCase *tc = tcase_create("mbox");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, row, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, long_lines);
	tcase_add_test(tc, three_gibibytes);
	tcase_add_test(tc, failures);
	tcase_add_loop_test(tc, writing, 0, sizeof(written) / sizeof(written[0]));
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
