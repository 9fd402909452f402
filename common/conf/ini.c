/*
 * ini - the lines of an INI file: sections, keys, values and their places.
 *
 * Each line is copied once, to have its NULs; everything after that is pointers
 * into the copy.  The section's name is a copy of its own, because it outlives
 * its line.
 */
#include "conf/ini.h"

#include <stdbool.h>
#include <string.h>

#define INI_REASON_MAX 1024

/* How much of a wrong text a message repeats. */
#define INI_QUOTE 64

struct reader {
	ini_key_fn *each;
	void *arg;
	unsigned line;
	bool in_section;
	char section[INI_LINE_MAX + 1];
	char text[INI_LINE_MAX + 1]; /* the line at hand */
	struct strbuf reason;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* What stands between the blanks at both ends of start..end, with a NUL behind. */
static char *
trim(char *start, char *end)
{
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	*end = '\0';
	return start;
}

static bool
is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

static int
fail(struct reader *r, const char *quoted, const char *what)
{
	strbuf_addf(&r->reason, "\"%.*s\" %s", INI_QUOTE, quoted, what);
	return -1;
}

static int
read_section(struct reader *r, char *text)
{
	char *end = text + strlen(text) - 1, *name;

	if (*end != ']')
		return fail(r, text, "does not end in ]: write [NAME] and nothing else");
	name = trim(text + 1, end);
	if (*name == '\0')
		return fail(r, "[]", "has no name: write [NAME]");
	memcpy(r->section, name, strlen(name) + 1);
	r->in_section = true;
	return r->each(r->arg, r->section, NULL, NULL, r->line, &r->reason);
}

static int
read_key(struct reader *r, char *text)
{
	char *equals = strchr(text, '='), *key, *value;

	if (equals == NULL)
		return fail(r, text, "has no =: write KEY = VALUE, or # before a comment");
	value = trim(equals + 1, equals + 1 + strlen(equals + 1));
	key = trim(text, equals);
	if (*key == '\0')
		return fail(r, value, "has no key before its =: write KEY = VALUE");
	if (!r->in_section)
		return fail(r, key, "stands before any section: write [NAME] above it");
	return r->each(r->arg, r->section, key, value, r->line, &r->reason);
}

static int
read_line(struct reader *r, const char *line, size_t len)
{
	char *text;
	size_t i;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len > INI_LINE_MAX) {
		strbuf_addf(
		    &r->reason, "the line has %zu octets: at most %d are read", len, INI_LINE_MAX);
		return -1;
	}
	for (i = 0; i < len; i++) {
		if (is_control(line[i])) {
			strbuf_addf(&r->reason,
			    "the line has the control character 0x%02x in column %zu: save the "
			    "file as plain text",
			    (unsigned char)line[i], i + 1);
			return -1;
		}
	}
	memcpy(r->text, line, len);
	text = trim(r->text, r->text + len);
	switch (*text) {
	case '\0':
	case '#':
	case ';':
		return 0;
	case '[':
		return read_section(r, text);
	default:
		return read_key(r, text);
	}
}

int
ini_read(
    const char *file, const char *text, size_t len, ini_key_fn *each, void *arg, struct strbuf *err)
{
	static const char mark[] = "\xef\xbb\xbf";
	struct reader r = { .each = each, .arg = arg };
	const char *at = text, *end = text + len;
	int rc = 0;

	strbuf_init(&r.reason, INI_REASON_MAX);
	if (len >= strlen(mark) && memcmp(text, mark, strlen(mark)) == 0)
		at += strlen(mark);
	while (rc == 0 && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline != NULL ? newline : end;

		r.line++;
		rc = read_line(&r, at, (size_t)(stop - at));
		at = newline != NULL ? newline + 1 : end;
	}
	if (rc == -1)
		strbuf_addf(err, "%s:%u: %s", file, r.line,
		    r.reason.len > 0 ? r.reason.buf : "there is not enough memory");
	strbuf_release(&r.reason);
	return rc;
}
