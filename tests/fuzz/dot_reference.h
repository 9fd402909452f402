/*
 * dot_reference - what common/mail/dot.c must do, said once more: an octet at a
 * time, over whole messages, with no state and no thought for speed.  Shared by
 * the unit test and the fuzzers of that module.
 *
 * Outputs have room for twice the input and two octets more.
 */
#ifndef TESTS_FUZZ_DOT_REFERENCE_H
#define TESTS_FUZZ_DOT_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

/* An octet at `i` begins a line: it is the first, or behind CRLF (RFC 5321 2.3.8). */
static inline bool
ref_line_start(const char *in, size_t i)
{
	return i == 0 || (i >= 2 && in[i - 2] == '\r' && in[i - 1] == '\n');
}

/* Length of DATA's lines before the final ".CRLF", which is at *end_r; without
 * one, *end_r is `len`, and a beginning of it that stands last is left out. */
static inline size_t
ref_data_len(const char *in, size_t len, size_t *end_r)
{
	for (size_t i = 0; i < len; i++) {
		if (!ref_line_start(in, i) || in[i] != '.')
			continue;
		if (len - i >= 3 && in[i + 1] == '\r' && in[i + 2] == '\n') {
			*end_r = i + 3;
			return i;
		}
		if (len - i == 1 || (len - i == 2 && in[i + 1] == '\r')) {
			*end_r = len;
			return i;
		}
	}
	*end_r = len;
	return len;
}

/* Copies; with `dots`, the dot that begins a line goes; a bare LF becomes CRLF. */
static inline size_t
ref_message(char *out, const char *in, size_t len, bool dots)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (dots && in[i] == '.' && ref_line_start(in, i))
			continue;
		if (in[i] == '\n' && (i == 0 || in[i - 1] != '\r'))
			out[n++] = '\r';
		out[n++] = in[i];
	}
	return n;
}

/* A message whose only LFs are in CRLF, with its dots doubled. */
static inline size_t
ref_stuffed(char *out, const char *message, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (message[i] == '.' && ref_line_start(message, i))
			out[n++] = '.';
		out[n++] = message[i];
	}
	return n;
}

#endif
