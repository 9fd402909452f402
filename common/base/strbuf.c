/*
 * strbuf - text that grows up to a maximum.
 *
 * `empty` stands in while nothing is allocated.  It is shared by all threads,
 * so nothing may ever be written to it: look at cap before writing.
 */
#include "base/strbuf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Most texts are lines, or a header field: one allocation for those. */
#define STRBUF_CAP_MIN 256

static char empty[1];

void
strbuf_init(struct strbuf *s, size_t max)
{
	s->buf = empty;
	s->len = 0;
	s->cap = 0;
	s->max = max;
	s->failed = false;
}

void
strbuf_release(struct strbuf *s)
{
	if (s->cap > 0)
		free(s->buf);
	strbuf_init(s, s->max);
}

void
strbuf_clear(struct strbuf *s)
{
	if (s->cap > 0)
		s->buf[0] = '\0';
	s->len = 0;
	s->failed = false;
}

/* Makes room for `more` octets and the NUL.  False, with `failed` set, when
 * that passes the maximum or there is no memory. */
static bool
make_room(struct strbuf *s, size_t more)
{
	size_t need, cap;
	char *buf;

	if (s->failed)
		return false;
	if (more > s->max - s->len || s->len + more == SIZE_MAX)
		goto err;
	need = s->len + more + 1;
	if (need <= s->cap)
		return true;

	cap = s->cap * 2;
	if (cap < STRBUF_CAP_MIN)
		cap = STRBUF_CAP_MIN;
	if (cap - 1 > s->max)
		cap = s->max + 1;
	if (cap < need)
		cap = need;
	buf = mem_resize(s->cap > 0 ? s->buf : NULL, cap);
	if (buf == NULL)
		goto err;
	if (s->cap == 0)
		buf[0] = '\0';
	s->buf = buf;
	s->cap = cap;
	return true;
err:
	s->failed = true;
	return false;
}

void
strbuf_add(struct strbuf *s, const void *buf, size_t len)
{
	if (len == 0 || !make_room(s, len))
		return;
	memcpy(s->buf + s->len, buf, len);
	s->len += len;
	s->buf[s->len] = '\0';
}

void
strbuf_addstr(struct strbuf *s, const char *text)
{
	strbuf_add(s, text, strlen(text));
}

void
strbuf_addch(struct strbuf *s, char c)
{
	strbuf_add(s, &c, 1);
}

void
strbuf_addf(struct strbuf *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vaddf(s, fmt, ap);
	va_end(ap);
}

void
strbuf_vaddf(struct strbuf *s, const char *fmt, va_list ap)
{
	size_t room = s->cap > 0 ? s->cap - s->len : 0;
	va_list again;
	int n;

	if (s->failed)
		return;
	va_copy(again, ap);
	n = vsnprintf(room > 0 ? s->buf + s->len : NULL, room, fmt, ap);
	if (n < 0) {
		s->failed = true;
	} else if ((size_t)n >= room && n > 0 && make_room(s, (size_t)n)) {
		int same = vsnprintf(s->buf + s->len, (size_t)n + 1, fmt, again);

		assert(same == n);
	}
	va_end(again);

	/* What did not fit may have left a beginning of itself behind. */
	if (!s->failed)
		s->len += (size_t)n;
	if (s->cap > 0)
		s->buf[s->len] = '\0';
}

char *
strbuf_detach(struct strbuf *s)
{
	char *text;

	if (s->failed)
		return NULL;
	text = s->cap > 0 ? s->buf : mem_dup("", 0);
	if (text != NULL)
		strbuf_init(s, s->max);
	return text;
}
