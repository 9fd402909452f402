/*
 * output - one way to show things: text for people, JSON for programs.
 *
 * JSON is made row by row into one text; a table needs the width of its columns
 * first, so its cells are kept as texts until the end.
 */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "base/utf8.h"

struct output {
	enum output_shape shape;
	bool json;
	const char *const *keys;
	size_t ncolumns;
	struct strbuf text; /* what JSON there is so far */
	char **cells;       /* a table's, row after row; owned */
	size_t ncells, cells_cap;
	size_t rows;
};

struct cell
cell_text(const char *text)
{
	return (struct cell){ .type = CELL_TEXT, .text = text };
}

struct cell
cell_count(uint64_t n)
{
	return (struct cell){ .type = CELL_COUNT, .num = n };
}

struct cell
cell_size(uint64_t octets)
{
	return (struct cell){ .type = CELL_SIZE, .num = octets };
}

struct cell
cell_age(uint64_t seconds)
{
	return (struct cell){ .type = CELL_AGE, .num = seconds };
}

struct cell
cell_time(uint64_t unix_seconds)
{
	return (struct cell){ .type = CELL_TIME,
		.num = unix_seconds == 0 ? NUM_UNLIMITED : unix_seconds };
}

struct cell
cell_oldest(uint64_t unix_seconds)
{
	return unix_seconds == 0 ? cell_text(NULL) : cell_time(unix_seconds);
}

struct cell
cell_bool(bool yes)
{
	return (struct cell){ .type = CELL_BOOL, .num = yes };
}

struct cell
cell_percent(uint64_t n)
{
	return (struct cell){ .type = CELL_PERCENT, .num = n };
}

struct cell
cell_texts(const char *const *texts, size_t n)
{
	return (struct cell){ .type = CELL_TEXTS, .texts = texts, .n = n };
}

struct cell
cell_rows(const struct output *rows)
{
	return (struct cell){ .type = CELL_ROWS, .rows = rows };
}

/* RFC 8259 7.  An octet that is no UTF-8 becomes the character of the same number, so
 * that the text is valid and nothing disappears. */
static void
add_json_text(struct strbuf *out, const char *text)
{
	size_t left = strlen(text);

	strbuf_addch(out, '"');
	while (left > 0) {
		const unsigned char *s = (const unsigned char *)text;
		size_t len = utf8_first(text, left);

		if (*s == '"' || *s == '\\')
			strbuf_addf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f || len == 0)
			strbuf_addf(out, "\\u%04x", *s);
		else
			strbuf_add(out, s, len);
		text += len == 0 ? 1 : len;
		left -= len == 0 ? 1 : len;
	}
	strbuf_addch(out, '"');
}

static void
add_json_cell(struct strbuf *out, const struct cell *c)
{
	char time[NUM_TEXT_MAX];

	switch (c->type) {
	case CELL_TEXT:
		if (c->text == NULL)
			strbuf_addstr(out, "null");
		else
			add_json_text(out, c->text);
		break;
	case CELL_COUNT:
		strbuf_addf(out, "%" PRIu64, c->num);
		break;
	case CELL_SIZE:
	case CELL_AGE:
	case CELL_PERCENT:
		if (c->num == NUM_UNLIMITED)
			strbuf_addstr(out, "null");
		else
			strbuf_addf(out, "%" PRIu64, c->num);
		break;
	case CELL_TIME:
		if (c->num == NUM_UNLIMITED)
			strbuf_addstr(out, "null");
		else
			strbuf_addf(out, "\"%s\"", num_format_time(time, c->num));
		break;
	case CELL_BOOL:
		strbuf_addstr(out, c->num != 0 ? "true" : "false");
		break;
	case CELL_TEXTS:
		strbuf_addch(out, '[');
		for (size_t i = 0; i < c->n; i++) {
			if (i > 0)
				strbuf_addch(out, ',');
			add_json_text(out, c->texts[i]);
		}
		strbuf_addch(out, ']');
		break;
	case CELL_ROWS:
		strbuf_addch(out, '[');
		strbuf_add(out, c->rows->text.buf, c->rows->text.len);
		strbuf_addch(out, ']');
		out->failed = out->failed || c->rows->text.failed;
		break;
	}
}

/* What a terminal would take for a command is shown as a question mark. */
static void
add_plain(struct strbuf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		strbuf_addch(out, c < 0x20 || c == 0x7f ? '?' : (char)c);
	}
}

static void
add_text_cell(struct strbuf *out, const struct cell *c)
{
	char num[NUM_TEXT_MAX];

	switch (c->type) {
	case CELL_TEXT:
		add_plain(out, c->text == NULL ? "-" : c->text);
		break;
	case CELL_COUNT:
		strbuf_addf(out, "%" PRIu64, c->num);
		break;
	case CELL_SIZE:
		strbuf_addstr(
		    out, c->num == NUM_UNLIMITED ? "none" : num_format_size_short(num, c->num));
		break;
	case CELL_AGE:
		strbuf_addstr(out, num_format_age(num, c->num));
		break;
	case CELL_TIME:
		strbuf_addstr(
		    out, c->num == NUM_UNLIMITED ? "never" : num_format_time(num, c->num));
		break;
	case CELL_BOOL:
		strbuf_addstr(out, c->num != 0 ? "yes" : "no");
		break;
	case CELL_PERCENT:
		if (c->num == NUM_UNLIMITED)
			strbuf_addch(out, '-');
		else
			strbuf_addf(out, "%" PRIu64 "%%", c->num);
		break;
	case CELL_TEXTS:
		for (size_t i = 0; i < c->n; i++) {
			if (i > 0)
				strbuf_addch(out, ' ');
			add_plain(out, c->texts[i]);
		}
		break;
	case CELL_ROWS:
		break;
	}
}

struct output *
output_new(enum output_shape shape, bool json, const char *const *keys)
{
	struct output *o = mem_must_array(1, sizeof(*o));

	o->shape = shape;
	o->json = json;
	o->keys = keys;
	while (keys[o->ncolumns] != NULL)
		o->ncolumns++;
	strbuf_init(&o->text, SIZE_MAX);
	return o;
}

static void
keep_cell(struct output *o, const struct cell *c)
{
	struct strbuf text;

	strbuf_init(&text, SIZE_MAX);
	add_text_cell(&text, c);
	if (mem_grow(&o->cells, &o->cells_cap, o->ncells + 1, sizeof(*o->cells)) == 0 &&
	    !text.failed)
		o->cells[o->ncells++] = mem_must_dup(text.buf);
	else
		o->text.failed = true;
	strbuf_release(&text);
}

void
output_row(struct output *o, const struct cell *cells)
{
	if (o->json) {
		if (o->rows > 0)
			strbuf_addstr(&o->text, ",\n");
		for (size_t i = 0; i < o->ncolumns; i++) {
			strbuf_addf(&o->text, "%s\"%s\":", i == 0 ? "{" : ",", o->keys[i]);
			add_json_cell(&o->text, &cells[i]);
		}
		strbuf_addch(&o->text, '}');
	} else {
		for (size_t i = 0; i < o->ncolumns; i++)
			keep_cell(o, &cells[i]);
	}
	o->rows++;
}

/* Octets that begin a character: a terminal's columns, near enough. */
static size_t
width_of(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void
write_table(const struct output *o)
{
	size_t *widths = mem_must_array(o->ncolumns, sizeof(*widths));

	for (size_t i = 0; i < o->ncolumns; i++)
		widths[i] = strlen(o->keys[i]);
	for (size_t i = 0; i < o->ncells; i++) {
		size_t w = width_of(o->cells[i]);

		if (w > widths[i % o->ncolumns])
			widths[i % o->ncolumns] = w;
	}
	for (size_t i = 0; i < o->ncells + o->ncolumns; i++) {
		const char *cell = i < o->ncolumns ? o->keys[i] : o->cells[i - o->ncolumns];
		bool last = i % o->ncolumns == o->ncolumns - 1;
		size_t pad = last ? 0 : widths[i % o->ncolumns] - width_of(cell) + 2;

		printf("%s%*s", cell, (int)pad, "");
		if (last)
			putchar('\n');
	}
	free(widths);
}

static void
write_text(const struct output *o)
{
	if (o->shape == OUTPUT_SINGLE) {
		for (size_t i = 0; i < o->ncells; i++)
			printf("%s: %s\n", o->keys[i % o->ncolumns], o->cells[i]);
	} else if (o->rows > 0) {
		write_table(o);
	}
}

void
output_discard(struct output **op)
{
	struct output *o = *op;

	*op = NULL;
	for (size_t i = 0; i < o->ncells; i++)
		free(o->cells[i]);
	free(o->cells);
	strbuf_release(&o->text);
	free(o);
}

int
output_end(struct output **op)
{
	struct output *o = *op;
	bool listing = o->shape == OUTPUT_LISTING;
	bool lacked_memory = o->text.failed;

	if (!lacked_memory && o->json) {
		printf("%s", listing ? "[" : "");
		fwrite(o->text.buf, 1, o->text.len, stdout);
		printf("%s\n", listing ? "]" : "");
	} else if (!lacked_memory) {
		write_text(o);
	}
	output_discard(op);
	if (lacked_memory) {
		errno = ENOMEM;
		return -1;
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -1;
}
