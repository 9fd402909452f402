/* ini: what a file's lines come to, and the place of the first that comes to nothing. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/ini.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Writes each call down as `LINE[section]` or `LINE:section.key=value`, and a bar. */
static int
note(void *arg, const char *section, const char *key, const char *value, unsigned line,
    struct strbuf *err)
{
	struct strbuf *seen = arg;

	if (key == NULL) {
		ck_assert_ptr_null(value);
		strbuf_addf(seen, "%u[%s]|", line, section);
		return 0;
	}
	strbuf_addf(seen, "%u:%s.%s=%s|", line, section, key, value);
	if (strcmp(key, "refuse") != 0)
		return 0;
	strbuf_addf(err, "refused %s", value);
	return -1;
}

#define ROW(name, text, seen, error)                                                               \
	{                                                                                          \
		name, text, sizeof(text) - 1, seen, error                                          \
	}

static const struct {
	const char *name, *text;
	size_t len;
	const char *seen, *error; /* error NULL: read to the end */
} rows[] = {
	ROW("nothing", "", "", NULL),
	ROW("empty lines", "\n\n \n\t\n\r\n", "", NULL),
	ROW("one key", "[s]\nk = v\n", "1[s]|2:s.k=v|", NULL),
	ROW("no final newline", "[s]\nk = v", "1[s]|2:s.k=v|", NULL),
	ROW("section alone at the end", "[s]", "1[s]|", NULL),
	ROW("no blanks", "[s]\nk=v\n", "1[s]|2:s.k=v|", NULL),
	ROW("blanks everywhere", " \t[ s ]\t\n\t k\t=\t v w \t\n", "1[s]|2:s.k=v w|", NULL),
	ROW("CRLF", "[s]\r\nk = v\r\n\r\nl = w", "1[s]|2:s.k=v|4:s.l=w|", NULL),
	ROW("empty value", "[s]\nk =\nl = \t\nm=", "1[s]|2:s.k=|3:s.l=|4:s.m=|", NULL),
	ROW("equals signs in the value", "[s]\nk = a=b = c\n", "1[s]|2:s.k=a=b = c|", NULL),
	ROW("value that is an equals sign", "[s]\nk==\n", "1[s]|2:s.k==|", NULL),
	ROW("comment signs in the value", "[s]\nk = v # w ; x\nl = #\n",
	    "1[s]|2:s.k=v # w ; x|3:s.l=#|", NULL),
	ROW("comments", "# a = b\n;[c]\n \t# d\n[s]\n#k = v\n", "4[s]|", NULL),
	ROW("brackets in the value", "[s]\nk = [::]:25\n", "1[s]|2:s.k=[::]:25|", NULL),
	ROW("brackets in a section", "[[s]]\nk=v\n", "1[[s]]|2:[s].k=v|", NULL),
	ROW("two sections", "[s]\nk=v\n[t]\nk=w\n[s]\nl=x\n",
	    "1[s]|2:s.k=v|3[t]|4:t.k=w|5[s]|6:s.l=x|", NULL),
	ROW("quotes are text", "[s]\nk = \"v\"\n", "1[s]|2:s.k=\"v\"|", NULL),
	ROW("byte order mark", "\xef\xbb\xbf[s]\nk = v\n", "1[s]|2:s.k=v|", NULL),
	ROW("byte order mark alone", "\xef\xbb\xbf", "", NULL),
	ROW("eight bits", "[s]\nk = caf\xc3\xa9\n", "1[s]|2:s.k=caf\xc3\xa9|", NULL),
	ROW("tab inside a value", "[s]\nk = a\tb\n", "1[s]|2:s.k=a\tb|", NULL),

	ROW("byte order mark later", "[s]\n\xef\xbb\xbf[t]\n", "1[s]|",
	    "FILE:2: \"\xef\xbb\xbf[t]\" has no =: write KEY = VALUE, or # before a comment"),
	ROW("half a byte order mark", "\xef\xbb", "",
	    "FILE:1: \"\xef\xbb\" has no =: write KEY = VALUE, or # before a comment"),
	ROW("word", "[s]\n\nword\nk = v\n", "1[s]|",
	    "FILE:3: \"word\" has no =: write KEY = VALUE, or # before a comment"),
	ROW("long word is cut",
	    "[s]\n"
	    "0123456789012345678901234567890123456789012345678901234567890123456789\n",
	    "1[s]|",
	    "FILE:2: \"0123456789012345678901234567890123456789012345678901234567890123\" has "
	    "no =: write KEY = VALUE, or # before a comment"),
	ROW("no key", "[s]\n = v\n", "1[s]|",
	    "FILE:2: \"v\" has no key before its =: write KEY = VALUE"),
	ROW("equals sign alone", "[s]\n=", "1[s]|",
	    "FILE:2: \"\" has no key before its =: write KEY = VALUE"),
	ROW("key before any section", "\nk = v\n[s]\n", "",
	    "FILE:2: \"k\" stands before any section: write [NAME] above it"),
	ROW("open section", "[s\nk = v\n", "",
	    "FILE:1: \"[s\" does not end in ]: write [NAME] and nothing else"),
	ROW("bracket alone", "[", "",
	    "FILE:1: \"[\" does not end in ]: write [NAME] and nothing else"),
	ROW("section and comment", "[s] # c\n", "",
	    "FILE:1: \"[s] # c\" does not end in ]: write [NAME] and nothing else"),
	ROW("section without a name", "[]\n", "", "FILE:1: \"[]\" has no name: write [NAME]"),
	ROW("blank section", "[ \t]\n", "", "FILE:1: \"[]\" has no name: write [NAME]"),
	ROW("refused by whom it is for", "[s]\na=b\nrefuse = it\nc=d\n",
	    "1[s]|2:s.a=b|3:s.refuse=it|", "FILE:3: refused it"),
	ROW("NUL in a value", "[s]\nk = a\0b\n", "1[s]|",
	    "FILE:2: the line has the control character 0x00 in column 6: save the file as plain "
	    "text"),
	ROW("NUL at once", "\0[s]\n", "",
	    "FILE:1: the line has the control character 0x00 in column 1: save the file as plain "
	    "text"),
	ROW("NUL in a comment", "[s]\n# \0\n", "1[s]|",
	    "FILE:2: the line has the control character 0x00 in column 3: save the file as plain "
	    "text"),
	ROW("CR inside", "[s]\nk = a\rb\n", "1[s]|",
	    "FILE:2: the line has the control character 0x0d in column 6: save the file as plain "
	    "text"),
	ROW("two CRs", "[s]\r\r\n", "",
	    "FILE:1: the line has the control character 0x0d in column 4: save the file as plain "
	    "text"),
	ROW("escape", "[s]\nk = \33[2J\n", "1[s]|",
	    "FILE:2: the line has the control character 0x1b in column 5: save the file as plain "
	    "text"),
	ROW("delete", "[s]\nk\x7f = v\n", "1[s]|",
	    "FILE:2: the line has the control character 0x7f in column 2: save the file as plain "
	    "text"),
	ROW("UTF-16", "\xff\xfe[\0s\0]\0\n\0", "",
	    "FILE:1: the line has the control character 0x00 in column 4: save the file as plain "
	    "text"),
};

START_TEST(reads_lines)
{
	struct strbuf seen, err;
	/* No octet behind the text, so that a sanitizer sees who looks there. */
	char *text = malloc(rows[_i].len + (rows[_i].len == 0));
	int rc;

	ck_assert_ptr_nonnull(text);
	memcpy(text, rows[_i].text, rows[_i].len);
	strbuf_init(&seen, 4096);
	strbuf_init(&err, 4096);
	rc = ini_read("FILE", text, rows[_i].len, note, &seen, &err);
	ck_assert_msg(rc == (rows[_i].error == NULL ? 0 : -1), "%s: %s", rows[_i].name, err.buf);
	ck_assert_str_eq(seen.buf, rows[_i].seen);
	ck_assert_str_eq(err.buf, rows[_i].error == NULL ? "" : rows[_i].error);
	strbuf_release(&seen);
	strbuf_release(&err);
	free(text);
}
END_TEST

static const struct {
	size_t len; /* of the line, without its end */
	const char *end;
	const char *error;
} lengths[] = {
	{ 255, "\n", NULL },
	{ 1024, "\n", NULL },
	{ 8191, "\n", NULL },
	{ 8192, "\n", NULL },
	{ 8192, "\r\n", NULL },
	{ 8192, "", NULL },
	{ 8193, "\n", "FILE:2: the line has 8193 octets: at most 8192 are read" },
	{ 8193, "\r\n", "FILE:2: the line has 8193 octets: at most 8192 are read" },
	{ 8193, "", "FILE:2: the line has 8193 octets: at most 8192 are read" },
	{ 9000, "\n", "FILE:2: the line has 9000 octets: at most 8192 are read" },
};

/* Long lines come whole or not at all, as a key and as a section. */
START_TEST(long_lines)
{
	static const char *const starts[] = { "k = ", "[", "#" };
	const size_t len = lengths[_i].len, before = strlen("[s]\n");
	struct strbuf seen, err;
	size_t size = before + len + strlen(lengths[_i].end), i;
	char *text = malloc(size + 1);

	ck_assert_ptr_nonnull(text);
	for (i = 0; i < 3; i++) {
		const char *start = starts[i];
		int rc;

		memcpy(text, "[s]\n", before);
		memset(text + before, 'x', len);
		memcpy(text + before, start, strlen(start));
		if (start[0] == '[')
			text[before + len - 1] = ']';
		memcpy(text + before + len, lengths[_i].end, strlen(lengths[_i].end) + 1);

		strbuf_init(&seen, 20000);
		strbuf_init(&err, 4096);
		rc = ini_read("FILE", text, size, note, &seen, &err);
		ck_assert_int_eq(rc, lengths[_i].error == NULL ? 0 : -1);
		ck_assert_str_eq(err.buf, lengths[_i].error == NULL ? "" : lengths[_i].error);
		if (rc == 0 && start[0] == 'k')
			ck_assert_uint_eq(seen.len, strlen("1[s]|2:s.k=|") + len - 4);
		if (rc == 0 && start[0] == '[')
			ck_assert_uint_eq(seen.len, strlen("1[s]|2[]|") + len - 2);
		strbuf_release(&seen);
		strbuf_release(&err);
	}
	free(text);
}
END_TEST

/* Every single octet, in each place of a line, is text or an error, and nothing else. */
START_TEST(every_octet_everywhere)
{
	const char *frame = "[s]\nk = v\n";
	struct strbuf seen, err;
	char text[16];
	size_t at;
	int rc;

	for (at = 0; at < strlen(frame); at++) {
		memcpy(text, frame, strlen(frame));
		text[at] = (char)_i;
		strbuf_init(&seen, 200);
		strbuf_init(&err, 400);
		rc = ini_read("FILE", text, strlen(frame), note, &seen, &err);
		ck_assert((rc == 0) == (err.len == 0));
		if (rc == -1)
			ck_assert_ptr_eq(strstr(err.buf, "FILE:"), err.buf);
		if (_i < ' ' && _i != '\t' && _i != '\n' && _i != '\r')
			ck_assert_ptr_nonnull(strstr(err.buf, "control character"));
		strbuf_release(&seen);
		strbuf_release(&err);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ini");
	TCase *tc = tcase_create("ini");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, reads_lines, 0, COUNT(rows));
	tcase_add_loop_test(tc, long_lines, 0, COUNT(lengths));
	tcase_add_loop_test(tc, every_octet_everywhere, 0, 256);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
