/*
 * mbox - a reader that goes through the file once, a line's beginning at a time.
 *
 *     seek ── From_ line ──> header ── empty line ──> body ── From_ line ──> header
 *
 * An empty line is held back until it is known whether a From_ line, or nothing, follows it: then it
 * is the file's.  Of a long line the beginning is looked at, the rest only passes through.
 */
#include "mbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"
#include "mail/date.h"

#define BUFFER (64u * 1024)
/* What is seen of a line before it is decided what it is.  No From_ line is longer. */
#define LOOK 1024u
#define FROM "From "
#define FROM_LEN 5u
#define LENGTH_FIELD "Content-Length:"

struct reader {
	const struct mbox_input *in;
	const struct source_sink *sink;
	char *buf;       /* owned: BUFFER octets */
	size_t at, end;  /* what is in it and was not consumed */
	uint64_t offset; /* of buf[at] in the file */
	bool eof;        /* behind buf[end] is nothing */
	uint64_t number; /* messages begun */
	bool loose;      /* From_ lines need no date, but an empty line before them */
	bool open;       /* a message was begun */
	bool any;        /* it has octets */
	bool header;     /* its empty line has not come yet */
	char held[3];    /* the empty line held back; "" is none */
	uint64_t length; /* Content-Length; NUM_UNLIMITED: none */
	uint64_t stop;   /* of the body by it, an offset; NUM_UNLIMITED */
	bool raw;        /* nothing in that body is quoted */
	bool counted;    /* the first message has a Content-Length: so has each, then */
};

/* --- octets --------------------------------------------------------------- */

/* Brings `want` octets into the buffer, as far as the file has them. */
static int
fill(struct reader *r, size_t want)
{
	if (r->end - r->at >= want || r->eof)
		return 0;
	memmove(r->buf, r->buf + r->at, r->end - r->at);
	r->end -= r->at;
	r->at = 0;
	while (r->end < want && !r->eof) {
		ssize_t n =
		    r->in->read(r->in->arg, r->buf + r->end, BUFFER - r->end, r->offset + r->end);

		if (n < 0)
			return SOURCE_READ_FAILED;
		r->eof = n == 0;
		r->end += (size_t)n;
	}
	return 0;
}

static void
consume(struct reader *r, size_t n)
{
	r->at += n;
	r->offset += n;
}

static int
emit(struct reader *r, const char *buf, size_t len)
{
	if (len == 0)
		return 0;
	r->any = true;
	return r->sink->octets(r->sink->arg, buf, len);
}

static int
emit_held(struct reader *r)
{
	int rc = emit(r, r->held, strlen(r->held));

	r->held[0] = '\0';
	return rc;
}

/* --- From_ lines ---------------------------------------------------------- */

/* The length of the line end at `p`: 0 where there is none. */
static size_t
line_end(const char *p, size_t len)
{
	if (len > 0 && p[0] == '\n')
		return 1;
	return len > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

struct from_line {
	size_t len;    /* with its end */
	size_t sender; /* his length; he stands behind FROM */
	uint64_t time_s;
};

/* Whether there is a From_ line at `p`.  `whole` says that the text ends where the file does. */
static bool
parse_from(const char *p, size_t len, bool whole, bool loose, struct from_line *f)
{
	const char *newline;
	size_t n;

	if (len < FROM_LEN || memcmp(p, FROM, FROM_LEN) != 0)
		return false;
	newline = memchr(p, '\n', len < LOOK ? len : LOOK);
	if (newline == NULL && (!whole || len > LOOK))
		return false;
	f->len = newline != NULL ? (size_t)(newline - p) + 1 : len;
	n = newline != NULL ? f->len - 1 : len;
	/* Senders may have blanks (RFC 5321 4.1.2, Quoted-string): the date decides. */
	for (size_t i = FROM_LEN - 1; i < n; i++) {
		if (p[i] != ' ' || date_parse_from(p + i + 1, n - i - 1, &f->time_s) != 0)
			continue;
		f->sender = i < FROM_LEN ? 0 : i - FROM_LEN;
		return true;
	}
	f->time_s = 0;
	f->sender = 0;
	while (FROM_LEN + f->sender < n && strchr(" \t\r", p[FROM_LEN + f->sender]) == NULL)
		f->sender++;
	return loose;
}

static bool
at_from(struct reader *r, struct from_line *f)
{
	bool loose = r->loose && (!r->any || r->held[0] != '\0');

	return parse_from(r->buf + r->at, r->end - r->at, r->eof, loose, f);
}

static int
end_message(struct reader *r)
{
	if (!r->open)
		return 0;
	r->open = false;
	r->held[0] = '\0';
	return r->sink->end(r->sink->arg);
}

static int
begin_message(struct reader *r, const struct from_line *f)
{
	char sender[LOOK];
	struct source_message m = { .number = ++r->number, .sender = sender };
	int rc = end_message(r);

	if (rc != 0)
		return rc;
	memcpy(sender, r->buf + r->at + FROM_LEN, f->sender);
	sender[f->sender] = '\0';
	m.time_s = f->time_s;
	m.file_s = r->in->file_s;
	consume(r, f->len);
	r->open = r->header = true;
	r->any = r->raw = false;
	r->length = r->stop = NUM_UNLIMITED;
	return r->sink->begin(r->sink->arg, &m);
}

/* --- Content-Length ------------------------------------------------------- */

static void
note_length(struct reader *r)
{
	const char *p = r->buf + r->at, *end;
	size_t len = r->end - r->at, name = sizeof(LENGTH_FIELD) - 1;

	if (len < name || strncasecmp(p, LENGTH_FIELD, name) != 0)
		return;
	end = memchr(p, '\n', len < LOOK ? len : LOOK);
	if (end == NULL)
		return;
	for (p += name; p < end && (*p == ' ' || *p == '\t'); p++)
		;
	while (end > p && strchr(" \t\r\n", end[-1]) != NULL)
		end--;
	if (num_parse_u64(p, (size_t)(end - p), 0, INT64_MAX, &r->length) != 0)
		r->length = NUM_UNLIMITED;
}

/* Reads up to `len` octets at `offset`, past the buffer. */
static ssize_t
read_at(const struct reader *r, char *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = r->in->read(r->in->arg, buf + done, len - done, offset + done);

		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Whether a message may end at `offset`, as Content-Length says; -1. */
static int
may_end(const struct reader *r, uint64_t offset)
{
	char look[1 + 2 + LOOK];
	struct from_line f;
	ssize_t got = read_at(r, look, sizeof(look), offset - 1);
	size_t len, n;
	bool ended;

	if (got < 0)
		return -1;
	/* The octet before is the body's last, or the empty line's end. */
	if (got < 1)
		return 0;
	ended = look[0] == '\n';
	len = (size_t)got - 1;
	n = line_end(look + 1, len);
	if (n == len)
		return 1;
	if (!ended && n == 0)
		return 0;
	return parse_from(look + 1 + n, len - n, got < (ssize_t)sizeof(look), r->loose, &f);
}

/* Whether some line within [from, to) begins with "From "; -1. */
static int
has_from(const struct reader *r, uint64_t from, uint64_t to)
{
	/* The end of one part is looked at again with the next. */
	char *part = malloc(BUFFER);
	int found = part == NULL ? -1 : 0;

	for (uint64_t at = from - 1; found == 0 && at < to;) {
		size_t want = to - at < BUFFER ? (size_t)(to - at) : BUFFER;
		ssize_t got = read_at(r, part, want, at);
		char *hit = part;

		if (got < 0)
			found = -1;
		if (got <= (ssize_t)FROM_LEN)
			break;
		while (found == 0 && (hit = memmem(hit, (size_t)(part + got - hit), "\n" FROM,
					  FROM_LEN + 1)) != NULL)
			found = 1;
		at += (size_t)got - FROM_LEN;
		if ((size_t)got < want || at + FROM_LEN >= to)
			break;
	}
	free(part);
	return found;
}

/* The header has just ended. */
static int
begin_body(struct reader *r)
{
	int rc;

	r->header = false;
	if (r->number == 1)
		r->counted = r->length != NUM_UNLIMITED;
	if (r->length == NUM_UNLIMITED || r->length > INT64_MAX - r->offset)
		return 0;
	rc = may_end(r, r->offset + r->length);
	if (rc <= 0)
		return rc < 0 ? SOURCE_READ_FAILED : 0;
	rc = has_from(r, r->offset, r->offset + r->length);
	if (rc < 0)
		return SOURCE_READ_FAILED;
	/* Whoever sends a length that reaches to the end of a later message must not hide what
	 * lies between. */
	if (rc == 1 && !r->counted)
		return 0;
	r->raw = rc == 1;
	r->stop = r->offset + r->length;
	/* All of it is the body's, the empty line before it the header's. */
	return emit_held(r);
}

/* --- lines ---------------------------------------------------------------- */

/* One '>' of ">>From ". */
static void
unquote(struct reader *r)
{
	const char *p = r->buf + r->at;
	size_t len = r->end - r->at, n = 0;

	if (r->stop != NUM_UNLIMITED && len > r->stop - r->offset)
		len = (size_t)(r->stop - r->offset);
	if (len > LOOK)
		len = LOOK;
	while (n < len && p[n] == '>')
		n++;
	if (n > 0 && len - n >= FROM_LEN && memcmp(p + n, FROM, FROM_LEN) == 0)
		consume(r, 1);
}

/* The rest of the line, or what the body by its length has of it. */
static int
pass_line(struct reader *r)
{
	int rc = 0;

	for (bool ended = false; rc == 0 && !ended;) {
		const char *p = r->buf + r->at, *newline;
		size_t len = r->end - r->at;

		if (r->stop != NUM_UNLIMITED && len > r->stop - r->offset)
			len = (size_t)(r->stop - r->offset);
		newline = memchr(p, '\n', len);
		if (newline != NULL)
			len = (size_t)(newline - p) + 1;
		rc = emit(r, p, len);
		consume(r, len);
		ended = newline != NULL || r->offset == r->stop;
		if (rc == 0 && !ended) {
			rc = fill(r, 1);
			ended = r->at == r->end;
		}
	}
	return rc;
}

static int
empty_line(struct reader *r, size_t len)
{
	int rc = emit_held(r);

	memcpy(r->held, r->buf + r->at, len);
	r->held[len] = '\0';
	consume(r, len);
	if (rc == 0 && r->header)
		rc = begin_body(r);
	return rc;
}

/* Within a body whose length is known. */
static int
counted_line(struct reader *r)
{
	if (!r->raw)
		unquote(r);
	return pass_line(r);
}

/* Behind such a body: the empty line is the file's. */
static void
end_counted(struct reader *r)
{
	r->stop = NUM_UNLIMITED;
	consume(r, line_end(r->buf + r->at, r->end - r->at));
}

static int
other_line(struct reader *r)
{
	int rc = emit_held(r);

	if (rc != 0)
		return rc;
	if (r->header)
		note_length(r);
	unquote(r);
	return pass_line(r);
}

static int
next_line(struct reader *r)
{
	size_t empty = line_end(r->buf + r->at, r->end - r->at);
	struct from_line f;

	if (r->stop != NUM_UNLIMITED) {
		if (r->offset < r->stop)
			return counted_line(r);
		end_counted(r);
		return 0;
	}
	if (at_from(r, &f))
		return begin_message(r, &f);
	if (!r->open) {
		/* Before the first one. */
		if (empty == 0 && !parse_from(r->buf + r->at, r->end - r->at, r->eof, true, &f))
			return SOURCE_NO_MBOX;
		r->loose = empty == 0;
		consume(r, empty);
		return 0;
	}
	return empty > 0 ? empty_line(r, empty) : other_line(r);
}

int
mbox_read(const struct mbox_input *in, const struct source_sink *sink)
{
	struct reader r = { .in = in, .sink = sink, .buf = malloc(BUFFER) };
	int rc = r.buf == NULL ? SOURCE_NO_MEMORY : 0;

	r.stop = r.length = NUM_UNLIMITED;
	while (rc == 0) {
		rc = fill(&r, LOOK + 1);
		if (rc != 0)
			break;
		/* An empty body ends the file. */
		if (r.at == r.end)
			break;
		rc = next_line(&r);
	}
	if (rc == 0)
		rc = end_message(&r);
	free(r.buf);
	return rc;
}

/* --- writing -------------------------------------------------------------- */

static int
emit_marks(struct mbox_quote *q, bool one_more, mbox_emit_fn *fn, void *arg)
{
	int rc = one_more ? fn(arg, ">", 1) : 0;

	for (; rc == 0 && q->marks > 0; q->marks--)
		rc = fn(arg, ">", 1);
	if (rc == 0 && q->matched > 0)
		rc = fn(arg, FROM, q->matched);
	q->matched = 0;
	return rc;
}

/* Takes what of a line's beginning may be a From_ line, octet by octet; *used_r of them.  In the
 * line is who comes out of here. */
static int
write_start(
    struct mbox_quote *q, const char *p, size_t len, size_t *used_r, mbox_emit_fn *fn, void *arg)
{
	size_t i = 0;

	*used_r = 0;
	for (; i < len; i++) {
		if (q->matched == 0 && p[i] == '>') {
			q->marks++;
		} else if (p[i] == FROM[q->matched]) {
			if (++q->matched == FROM_LEN) {
				*used_r = i + 1;
				q->state = MBOX_IN_LINE;
				return emit_marks(q, true, fn, arg);
			}
		} else {
			*used_r = i;
			q->state = MBOX_IN_LINE;
			return emit_marks(q, false, fn, arg);
		}
	}
	*used_r = len;
	return 0;
}

/* Octets within a line: up to and with its end.  A CR is held back until what follows is known. */
static int
write_line(
    struct mbox_quote *q, const char *p, size_t len, size_t *used_r, mbox_emit_fn *fn, void *arg)
{
	const char *cr;
	size_t n;
	int rc = 0;

	*used_r = 1;
	if (q->state == MBOX_IN_LINE) {
		cr = memchr(p, '\r', len);
		n = cr != NULL ? (size_t)(cr - p) : len;
		*used_r = n + (cr != NULL);
		if (cr != NULL)
			q->state = MBOX_CR;
		return n > 0 ? fn(arg, p, n) : 0;
	}
	if (*p == '\n') {
		rc = q->state == MBOX_CR_CR ? fn(arg, "\r\n", 2) : fn(arg, "\n", 1);
		q->state = MBOX_LINE_START;
	} else if (*p == '\r') {
		rc = fn(arg, "\r", 1);
		q->state = MBOX_CR_CR;
	} else {
		rc = fn(arg, "\r", 1);
		*used_r = 0;
		q->state = MBOX_IN_LINE;
	}
	return rc;
}

int
mbox_write(
    struct mbox_quote *q, bool quote, const void *buf, size_t len, mbox_emit_fn *fn, void *arg)
{
	const char *p = buf;
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t used = 0;

		if (q->state == MBOX_LINE_START && !quote)
			q->state = MBOX_IN_LINE;
		if (q->state == MBOX_LINE_START)
			rc = write_start(q, p, len, &used, fn, arg);
		else
			rc = write_line(q, p, len, &used, fn, arg);
		p += used;
		len -= used;
	}
	return rc;
}
