/*
 * fuzz_mbox - mbox files of any octets, and messages of any octets in one that we write.
 *
 * A file read by pieces of any length tells the same.  Two messages that were written are two when
 * they are read, octet for octet, whatever their lines begin with.
 */
#include <stdint.h>
#include <strings.h>

#include "base/strbuf.h"
#include "fuzz.h"
#include "mail/dot.h"
#include "pop-admin/mbox.h"

struct file {
	const uint8_t *data;
	size_t len, step;
	struct strbuf told; /* octets, and marks that cannot be in them: lengths tell */
	size_t messages, octets;
	bool open;
};

static ssize_t
read_file(void *arg, void *buf, size_t len, uint64_t offset)
{
	const struct file *f = arg;

	REQUIRE(len > 0);
	if (offset >= f->len)
		return 0;
	if (len > f->len - offset)
		len = f->len - offset;
	if (len > f->step)
		len = f->step;
	memcpy(buf, f->data + offset, len);
	return (ssize_t)len;
}

static int
begin(void *arg, const struct source_message *m)
{
	struct file *f = arg;

	REQUIRE(!f->open && m->number == f->messages + 1);
	f->open = true;
	f->messages++;
	f->octets = 0;
	strbuf_addf(&f->told, "<%s %llu>", m->sender, (unsigned long long)m->time_s);
	return 0;
}

static int
octets(void *arg, const void *buf, size_t len)
{
	struct file *f = arg;

	REQUIRE(f->open && len > 0);
	f->octets += len;
	strbuf_add(&f->told, buf, len);
	return 0;
}

static int
end(void *arg)
{
	struct file *f = arg;

	REQUIRE(f->open);
	f->open = false;
	strbuf_addf(&f->told, "<%zu>", f->octets);
	return 0;
}

static int
read_by(struct file *f, size_t step)
{
	const struct mbox_input in = { .read = read_file, .arg = f };
	const struct source_sink sink = { begin, octets, end, f };
	int rc;

	f->step = step;
	f->messages = 0;
	strbuf_init(&f->told, SIZE_MAX);
	rc = mbox_read(&in, &sink);
	REQUIRE(rc == 0 || rc == SOURCE_NO_MBOX);
	REQUIRE(!f->open);
	return rc;
}

static void
check_pieces(const uint8_t *data, size_t size)
{
	struct file whole = { .data = data, .len = size }, pieces = whole;
	int rc = read_by(&whole, SIZE_MAX);

	REQUIRE(read_by(&pieces, 1 + size % 7) == rc);
	REQUIRE(whole.told.len == pieces.told.len &&
	    memcmp(whole.told.buf, pieces.told.buf, whole.told.len) == 0);
	strbuf_release(&whole.told);
	strbuf_release(&pieces.told);
}

static int
append(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

/* As the store has it, unstuffed: lines end in CRLF. */
static void
normalise(const void *data, size_t size, struct strbuf *out)
{
	struct strbuf wire;
	struct dot dot;

	strbuf_init(&wire, SIZE_MAX);
	strbuf_init(out, SIZE_MAX);
	dot_init(&dot);
	dot_stuff(&dot, data, size, append, &wire);
	dot_stuff_end(&dot, append, &wire);
	dot_init(&dot);
	dot_unstuff(&dot, wire.buf, wire.len, append, out);
	strbuf_release(&wire);
}

static int
take_second(void *arg, const void *buf, size_t len)
{
	struct file *f = arg;

	if (f->messages == 2)
		strbuf_add(&f->told, buf, len);
	return 0;
}

static int
note_begin(void *arg, const struct source_message *m)
{
	struct file *f = arg;

	f->messages++;
	REQUIRE(m->time_s == 1795486277 && strcmp(m->sender, "a b@x.test") == 0);
	return 0;
}

static int
note_end(void *arg)
{
	(void)arg;
	return 0;
}

/* A length that somebody sent may well make one message of two. */
static bool
has_length(const struct strbuf *s)
{
	static const char field[] = "content-length:";

	for (size_t i = 0; i + sizeof(field) - 1 <= s->len; i++)
		if (strncasecmp(s->buf + i, field, sizeof(field) - 1) == 0)
			return true;
	return false;
}

static void
check_written(const uint8_t *data, size_t size)
{
	static const char from[] = "From a b@x.test Tue Nov 24 02:11:17 2026\n";
	struct strbuf message, again, box;
	struct file f = { .step = SIZE_MAX };
	const struct mbox_input in = { .read = read_file, .arg = &f };
	const struct source_sink sink = { note_begin, take_second, note_end, &f };

	normalise(data, size, &message);
	strbuf_init(&box, SIZE_MAX);
	for (unsigned i = 0; i < 2; i++) {
		struct mbox_quote q = { .marks = 0 };

		strbuf_addstr(&box, from);
		for (size_t at = 0, step = 1 + size % 11; at < message.len; at += step)
			mbox_write(&q, true, message.buf + at,
			    message.len - at < step ? message.len - at : step, append, &box);
		strbuf_addch(&box, '\n');
	}
	f.data = (const uint8_t *)box.buf;
	f.len = box.len;
	strbuf_init(&f.told, SIZE_MAX);
	if (!has_length(&message)) {
		REQUIRE(mbox_read(&in, &sink) == 0);
		REQUIRE(f.messages == 2);
		normalise(f.told.buf, f.told.len, &again);
		REQUIRE(again.len == message.len && memcmp(again.buf, message.buf, again.len) == 0);
		strbuf_release(&again);
	}
	strbuf_release(&message);
	strbuf_release(&box);
	strbuf_release(&f.told);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_pieces(data, size);
	check_written(data, size);
	return 0;
}
