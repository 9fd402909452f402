/*
 * dot - from what a sender says to wire form.
 *
 * Every octet of every message passes here once, so lines are found by
 * memchr() and a run that is wire form already is emitted as it lies in the
 * input, however many lines it spans.  A run is broken only where an octet
 * must go or come: a bare LF, a dot to be stuffed or deleted, the end.
 *
 * What must stay true: octets before `run` are emitted or deleted; from `run`
 * to where the scanner stands the input is wire form; state describes what
 * lies before that place.  A dot or CR that might belong to the final
 * ".CRLF" is behind `run` only once it is known not to.
 */
#include <string.h>

#include "mail/dot.h"

struct output {
	struct dot *dot;
	const char *run;
	dot_emit_fn *emit;
	void *arg;
	int rc; /* what emit returned last */
};

void
dot_init(struct dot *d)
{
	*d = (struct dot){ .state = DOT_LINE_START };
}

static int
put(struct output *out, const char *buf, size_t len)
{
	if (len == 0)
		return 0;
	out->dot->octets += len;
	out->rc = out->emit(out->arg, buf, len);
	return out->rc;
}

/* Emits what lies between `run` and `to`; the next run begins at `next`. */
static int
put_run(struct output *out, const char *to, const char *next)
{
	const char *run = out->run;

	out->run = next;
	return put(out, run, (size_t)(to - run));
}

/* Stands on a dot that begins a line and belongs to the message. */
static int
stuff_dot(struct output *out, const char *dot)
{
	if (put_run(out, dot + 1, dot) != 0)
		return out->rc;
	out->dot->octets--;
	out->dot->state = DOT_IN_LINE;
	return 0;
}

/* Passes to the beginning of the next line, or to the end of the input.  NULL
 * when emit stopped it. */
static const char *
pass_line(struct output *out, const char *p, const char *end)
{
	struct dot *d = out->dot;
	const char *lf = memchr(p, '\n', (size_t)(end - p));

	if (lf == NULL) {
		d->state = end[-1] == '\r' ? DOT_CR : DOT_IN_LINE;
		return end;
	}
	if (lf > p ? lf[-1] == '\r' : d->state == DOT_CR) {
		d->state = DOT_LINE_START;
		return lf + 1;
	}
	d->state = DOT_BARE_LF;
	d->bare_lf++;
	if (put_run(out, lf, lf) != 0 || put(out, "\r", 1) != 0)
		return NULL;
	return lf + 1;
}

/*
 * A line of DATA that begins with a dot: `p` is on the octet behind what
 * `state` stands for.  Returns where to go on, NULL when emit stopped it.
 * RFC 5321 4.1.1.4, 4.5.2.
 */
static const char *
pass_dot(struct output *out, const char *p, const char *end)
{
	struct dot *d = out->dot;

	switch (d->state) {
	case DOT_LINE_START:
		if (end - p >= 2 && p[1] == '.') {
			d->octets--;
			d->state = DOT_IN_LINE;
			return p + 2;
		}
		d->state = DOT_DOT;
		return put_run(out, p, p + 1) == 0 ? p + 1 : NULL;
	case DOT_DOT:
		if (*p == '\r') {
			d->state = DOT_DOT_CR;
			out->run = p + 1;
			return p + 1;
		}
		d->state = DOT_IN_LINE;
		if (*p != '.')
			return p;
		d->octets--;
		return put(out, ".", 1) == 0 ? p + 1 : NULL;
	default: /* DOT_DOT_CR */
		if (*p == '\n') {
			d->state = DOT_END;
			out->run = p + 1;
			return p + 1;
		}
		d->state = DOT_CR;
		return put(out, "\r", 1) == 0 ? p : NULL;
	}
}

size_t
dot_scan(struct dot *d, const void *buf, size_t len, dot_emit_fn *emit, void *arg)
{
	const char *p = buf, *end = p + len;
	struct output out = { .dot = d, .run = p, .emit = emit, .arg = arg };

	while (p != NULL && p < end && d->state != DOT_END) {
		if (d->state == DOT_DOT || d->state == DOT_DOT_CR ||
		    (d->state == DOT_LINE_START && *p == '.')) {
			p = pass_dot(&out, p, end);
			continue;
		}
		/* RFC 5321 4.1.1.4: to the sender this dot begins no line, so it
		 * is no end; in wire form it begins one, so it is stuffed. */
		if (d->state == DOT_BARE_LF && *p == '.' && stuff_dot(&out, p) != 0)
			return len;
		p = pass_line(&out, p, end);
	}
	if (p == NULL || put_run(&out, p, p) != 0)
		return len;
	return (size_t)(p - (const char *)buf);
}

int
dot_stuff(struct dot *d, const void *buf, size_t len, dot_emit_fn *emit, void *arg)
{
	const char *p = buf, *end = p + len;
	struct output out = { .dot = d, .run = p, .emit = emit, .arg = arg };

	while (p != NULL && p < end) {
		if (*p == '.' && (d->state == DOT_LINE_START || d->state == DOT_BARE_LF) &&
		    stuff_dot(&out, p) != 0)
			return out.rc;
		p = pass_line(&out, p, end);
	}
	return p == NULL ? out.rc : put_run(&out, end, end);
}

int
dot_stuff_end(struct dot *d, dot_emit_fn *emit, void *arg)
{
	struct output out = { .dot = d, .emit = emit, .arg = arg };

	if (d->state == DOT_LINE_START || d->state == DOT_BARE_LF)
		return 0;
	d->state = DOT_LINE_START;
	return put(&out, "\r\n", 2);
}

int
dot_unstuff(struct dot *d, const void *buf, size_t len, dot_emit_fn *emit, void *arg)
{
	const char *p = buf, *end = p + len, *lf;
	struct output out = { .dot = d, .run = p, .emit = emit, .arg = arg };

	while (p < end) {
		if (d->state == DOT_LINE_START && *p == '.' && put_run(&out, p, p + 1) != 0)
			return out.rc;
		/* In wire form there is a CR before every LF. */
		lf = memchr(p, '\n', (size_t)(end - p));
		d->state = lf != NULL ? DOT_LINE_START : DOT_IN_LINE;
		p = lf != NULL ? lf + 1 : end;
	}
	return put_run(&out, end, end);
}
