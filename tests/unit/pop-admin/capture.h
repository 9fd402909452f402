/*
 * capture - what a function under test writes to standard output and standard error.
 */
#ifndef TESTS_UNIT_POP_ADMIN_CAPTURE_H
#define TESTS_UNIT_POP_ADMIN_CAPTURE_H

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CAPTURE_MAX 65536

struct capture {
	FILE *stream, *file;
	int before;             /* the stream's own descriptor, put aside */
	char text[CAPTURE_MAX];
};

static void
capture_begin(struct capture *c, FILE *stream)
{
	c->stream = stream;
	fflush(stream);
	c->file = tmpfile();
	ck_assert_ptr_nonnull(c->file);
	c->before = dup(fileno(stream));
	ck_assert_int_ge(c->before, 0);
	ck_assert_int_ge(dup2(fileno(c->file), fileno(stream)), 0);
}

/* What was written since, in text. */
static void
capture_end(struct capture *c)
{
	size_t n;

	fflush(c->stream);
	ck_assert_int_ge(dup2(c->before, fileno(c->stream)), 0);
	close(c->before);
	rewind(c->file);
	n = fread(c->text, 1, CAPTURE_MAX - 1, c->file);
	c->text[n] = '\0';
	fclose(c->file);
}

#endif
