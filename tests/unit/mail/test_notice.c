/* notice: the fields, the subject and the text that come of a template, whatever it says. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "mail/dot.h"
#include "mail/notice.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct notice usual = {
	.hostname = "mail.example.org",
	.postmaster = "boss@example.org",
	.address = "joe@example.org",
	.id = "warning.7.abc",
	.unix_seconds = 1795489877,
	.percent = 81,
	.used = 850000000,
	.quota = UINT64_C(1) << 30,
	.messages = 1234,
};

/* The message as it is fetched: unstuffed; *octets_r what it was told to have.  free(3). */
static char *
compose_one(const struct notice *n, uint64_t *octets_r)
{
	struct strbuf wire;
	char *text;

	strbuf_init(&wire, NOTICE_MAX);
	ck_assert_int_eq(notice_compose(n, &wire, octets_r), 0);
	ck_assert_str_eq(wire.buf + wire.len - 2, "\r\n");
	text = strbuf_detach(&wire);
	ck_assert_ptr_nonnull(text);
	return text;
}

static int
keep(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

static char *
unstuffed(const char *wire)
{
	struct strbuf text;
	struct dot dot;

	dot_init(&dot);
	strbuf_init(&text, NOTICE_MAX);
	ck_assert_int_eq(dot_unstuff(&dot, wire, strlen(wire), keep, &text), 0);
	return strbuf_detach(&text);
}

static char *
compose(const char *template)
{
	struct notice n = usual;
	uint64_t octets;
	char *wire, *text;

	n.template = template;
	wire = compose_one(&n, &octets);
	text = unstuffed(wire);
	ck_assert_uint_eq(octets, strlen(text));
	free(wire);
	return text;
}

START_TEST(a_whole_notice)
{
	char *text;

	setenv("TZ", "UTC0", 1);
	tzset();
	text = compose("Subject: {percent} %\n\n.\nYours, {postmaster}\n");
	ck_assert_str_eq(text,
	    "Received: by mail.example.org\r\n\tid warning.7.abc;\r\n"
	    "\tTue, 24 Nov 2026 03:11:17 +0000\r\n"
	    "Date: Tue, 24 Nov 2026 03:11:17 +0000\r\n"
	    "From: \"Postmaster of mail.example.org\"\r\n <boss@example.org>\r\n"
	    "To: <joe@example.org>\r\n"
	    "Subject: 81 %\r\n"
	    "Message-ID: <warning.7.abc@mail.example.org>\r\n"
	    "Auto-Submitted: auto-generated\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n"
	    "\r\n"
	    ".\r\nYours, boss@example.org\r\n");
	free(text);
}
END_TEST

/* --- what the template says ------------------------------------------------- */

#define TEN "abcdefghi "
#define FIFTY TEN TEN TEN TEN TEN
#define UMLAUTS "\xc3\xa4\xc3\xb6\xc3\xbc"

static const struct {
	const char *template, *subject, *body;
} rows[] = {
	{ "Subject: a\n\nb\n", "a", "b\r\n" },
	{ "Subject: a\r\n\r\nb\r\nc\r\n", "a", "b\r\nc\r\n" },
	{ "\xef\xbb\xbfSubject: a\n\nb\n", "a", "b\r\n" },
	{ "SUBJECT:a\n\nb", "a", "b\r\n" },
	{ "subject: \t a \t \n\n\n b \n\n", "a", "\r\n b \r\n\r\n" },
	{ "Subject: a", "a", "" },
	{ "Subject: a\n", "a", "" },
	{ "Subject: a\n\n", "a", "" },
	{ "Subject: a\n\n.", "a", ".\r\n" },
	{ "Subject: a\n\n.\n..\n.b\n", "a", ".\r\n..\r\n.b\r\n" },
	{ "Subject: a\n\nb\rc\r\r\nd\r", "a", "b c \r\nd \r\n" },
	{ "Subject: a\n\n" UMLAUTS "\n", "a", UMLAUTS "\r\n" },
	{ "Subject: {address}|{percent}|{used}|{quota}|{messages}|{hostname}|{postmaster}\n\n"
	  "{address}|{percent}|{used}|{quota}|{messages}|{hostname}|{postmaster}\n",
	    "joe@example.org|81|811M|1.00G|1234|mail.example.org|boss@example.org",
	    "joe@example.org|81|811M|1.00G|1234|mail.example.org|boss@example.org\r\n" },
	{ "Subject: {a}{}{Used}{used }{used\n\n{a} {} {{used}} {quot\na} {used} }{\n",
	    "{a}{}{Used}{used }{used", "{a} {} {811M} {quot\r\na} 811M }{\r\n" },
	{ "Subject: {used\n\nb}\n", "{used", "b}\r\n" },
	{ "Subject: {used\r\n\r\n}\r\n", "{used", "}\r\n" },
	{ "Subject: " FIFTY TEN "abcdefghi\n\n", FIFTY TEN "abcdefghi", "" },
	{ "Subject: " FIFTY TEN "abcdefghij\n\n", FIFTY TEN "\r\n abcdefghij", "" },
	{ "Subject: " FIFTY FIFTY "x\n\n", FIFTY TEN "abcdefghi\r\n " TEN TEN TEN "x", "" },
	{ "Subject: a  b\n\n", "a  b", "" },
	{ "Subject: a\tb\n\n", "=?utf-8?B?YQli?=", "" },
	{ "Subject: a\x01" "b\n\n", "=?utf-8?B?YQFi?=", "" },
	{ "Subject: =?utf-8?Q?a?=\n\n", "=?utf-8?B?PT91dGYtOD9RP2E/PQ==?=", "" },
	{ "Subject: \xc3\xa4\n\n", "=?utf-8?B?w6Q=?=", "" },
	{ "Subject: {messages} \xe2\x82\xac\n\n", "=?utf-8?B?MTIzNCDigqw=?=", "" },
	{ "no subject\n\nb\n", "no subject", "b\r\n" },
	{ "", "", "" },
};

/* What stands behind "Subject: ", down to the next field; folds as they are. */
static void
take_subject(const char *text, char *subject, size_t size)
{
	const char *start = strstr(text, "\r\nSubject: ");
	const char *end = strstr(text, "\r\nMessage-ID: ");

	ck_assert_ptr_nonnull(start);
	ck_assert_ptr_nonnull(end);
	start += strlen("\r\nSubject: ");
	ck_assert_uint_lt((size_t)(end - start), size);
	memcpy(subject, start, (size_t)(end - start));
	subject[end - start] = '\0';
}

static const char *
body_of(const char *text)
{
	const char *body = strstr(text, "\r\n\r\n");

	ck_assert_ptr_nonnull(body);
	return body + 4;
}

START_TEST(a_template_says)
{
	char subject[4096], want[4096], *fold, *text = compose(rows[_i].template);
	size_t len = 0;

	take_subject(text, subject, sizeof(subject));
	/* A fold comes before a blank that is there anyway. */
	for (const char *p = rows[_i].subject; *p != '\0'; p++)
		if (strncmp(p, " \r\n", 3) != 0)
			want[len++] = *p;
	want[len] = '\0';
	ck_assert_str_eq(subject, want);
	ck_assert_str_eq(body_of(text), rows[_i].body);
	for (fold = subject; (fold = strstr(fold, "\r\n")) != NULL; fold += 2)
		ck_assert_int_eq(fold[2], ' ');
	free(text);
}
END_TEST

/* --- encoded words ---------------------------------------------------------- */

static size_t
decode(const char *text, size_t len, char *out)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	unsigned n = 0;
	size_t done = 0;

	for (size_t i = 0; i < len && text[i] != '='; i++) {
		const char *digit = strchr(digits, text[i]);

		ck_assert_ptr_nonnull(digit);
		bits = bits << 6 | (uint32_t)(digit - digits);
		n += 6;
		if (n >= 8)
			out[done++] = (char)(bits >> (n -= 8));
	}
	return done;
}

/* Umlauts, or characters of four octets, with 0 to 3 letters before them, so that the words' ends
 * fall everywhere: RFC 2047 2 and 5. */
START_TEST(long_subjects_are_cut_between_characters)
{
	static const char *const characters[] = { "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x93\xab" };
	char template[2048] = "Subject: ", subject[4096], got[2048], *line, *text;
	size_t n = 0;

	strcat(template, &"aaa"[3 - _i % 4]);
	for (int i = 0; i < 300; i++)
		strcat(template, characters[_i / 4]);
	text = compose(template);
	take_subject(text, subject, sizeof(subject));
	for (line = subject;; line += 3) {
		size_t len = strcspn(line, "\r");
		size_t end = line == subject ? 9 + len : 1 + len, octets;

		ck_assert_uint_le(len, 75);
		ck_assert_uint_le(end, 76);
		ck_assert_int_eq(strncmp(line, "=?utf-8?B?", 10), 0);
		ck_assert_int_eq(strncmp(line + len - 2, "?=", 2), 0);
		octets = decode(line + 10, len - 12, got + n);
		ck_assert_uint_eq(utf8_span(got + n, octets), octets);
		n += octets;
		line += len;
		if (*line == '\0')
			break;
		ck_assert_int_eq(strncmp(line, "\r\n ", 3), 0);
	}
	got[n] = '\0';
	ck_assert_str_eq(got, template + strlen("Subject: "));
	free(text);
}
END_TEST

/* --- long lines ------------------------------------------------------------- */

static const struct {
	const char *name, *unit;
	size_t units;
	const char *first;      /* behind so many units the first line ends... */
	size_t first_len;       /* ... having so many octets */
} lines[] = {
	{ "just fits", "x", 998, "x", 998 },
	{ "no blank", "x", 2000, "x", 998 },
	{ "a blank", "abcdefghi ", 200, "i", 989 },
	{ "two octets", "\xc3\xa4", 1000, "\xa4", 998 },
	{ "three octets", "\xe2\x82\xac", 700, "\xac", 996 },
	{ "four octets", "\xf0\x9f\x93\xab", 500, "\xab", 996 },
};

START_TEST(long_lines_are_broken)
{
	char template[4096] = "Subject: a\n\n", *text, *line, joined[4096] = "";
	const char *unit = lines[_i].unit;

	for (size_t i = 0; i < lines[_i].units; i++)
		strcat(template, unit);
	text = compose(template);
	line = (char *)body_of(text);
	ck_assert_uint_eq(strcspn(line, "\r"), lines[_i].first_len);
	ck_assert_int_eq(line[lines[_i].first_len - 1], lines[_i].first[0]);
	while (*line != '\0') {
		size_t len = strcspn(line, "\r");

		ck_assert_uint_le(len, 998);
		ck_assert_uint_eq(utf8_span(line, len), len);
		if (joined[0] != '\0' && strchr(unit, ' ') != NULL)
			strcat(joined, " ");
		strncat(joined, line, len);
		line += len + 2;
	}
	ck_assert_str_eq(joined, template + strlen("Subject: a\n\n"));
	free(text);
}
END_TEST

/* --- what is not believed --------------------------------------------------- */

static const struct {
	const char *postmaster, *want;
} postmasters[] = {
	{ NULL, "postmaster@mail.example.org" },
	{ "", "postmaster@mail.example.org" },
	{ "boss", "postmaster@mail.example.org" },
	{ "b\xc3\xb6ss@example.org", "postmaster@mail.example.org" },
	{ "a>b@example.org", "postmaster@mail.example.org" },
	{ "\"the boss\"@example.org", "\"the boss\"@example.org" },
};

START_TEST(from_is_an_address)
{
	struct notice n = usual;
	uint64_t octets;
	char want[256], *text;

	n.postmaster = postmasters[_i].postmaster;
	n.template = "Subject: a\n\n{postmaster}";
	text = compose_one(&n, &octets);
	snprintf(want, sizeof(want), "\r\nFrom: \"Postmaster of mail.example.org\"\r\n <%s>\r\nTo:",
	    postmasters[_i].want);
	ck_assert_msg(strstr(text, want) != NULL, "%s", text);
	snprintf(want, sizeof(want), "%s\r\n", postmasters[_i].want);
	ck_assert_str_eq(body_of(text), want);
	free(text);
}
END_TEST

START_TEST(an_endless_address_is_not_shown_to_programs)
{
	char address[1024];
	struct notice n = usual;
	uint64_t octets;
	char *text;

	memset(address, 'x', sizeof(address));
	strcpy(address + 990, "@example.org");
	n.address = address;
	n.template = "Subject: {address}\n\n{address}";
	text = compose_one(&n, &octets);
	ck_assert_ptr_nonnull(strstr(text, "\r\nTo: undisclosed-recipients:;\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\nSubject: =?utf-8?B?"));
	free(text);
}
END_TEST

START_TEST(what_is_too_large_fails)
{
	char template[16 * 1024 + 1] = "Subject: a\n\n", address[900];
	struct notice n = usual;
	struct strbuf out;
	uint64_t octets;

	memset(address, 'x', sizeof(address));
	strcpy(address + 880, "@example.org");
	n.address = address;
	n.template = template;
	for (int i = 0; i < 1800; i++)
		strcat(template, "{address}");
	strbuf_init(&out, NOTICE_MAX);
	ck_assert_int_eq(notice_compose(&n, &out, &octets), -1);
	strbuf_release(&out);
	/* It fits, but not the caller's. */
	n.template = NULL;
	strbuf_init(&out, 500);
	ck_assert_int_eq(notice_compose(&n, &out, &octets), -1);
	strbuf_release(&out);
	strbuf_init(&out, NOTICE_MAX);
	ck_assert_int_eq(notice_compose(&n, &out, &octets), 0);
	strbuf_release(&out);
}
END_TEST

/* --- any template ----------------------------------------------------------- */

/* In every line only what may be there, and our fields, each once. */
static void
check_message(const char *text)
{
	static const char *const fields[] = { "Received: ", "Date: ", "From: ", "To: ", "Subject: ",
		"Message-ID: ", "Auto-Submitted: ", "MIME-Version: ", "Content-Type: ",
		"Content-Transfer-Encoding: " };
	size_t field = 0;
	bool header = true;

	while (*text != '\0') {
		size_t len = strcspn(text, "\r\n");

		ck_assert_uint_le(len, 998);
		ck_assert_int_eq(strncmp(text + len, "\r\n", 2), 0);
		if (header && len == 0) {
			header = false;
			ck_assert_uint_eq(field, COUNT(fields));
		} else if (header) {
			for (size_t i = 0; i < len; i++)
				ck_assert((unsigned char)text[i] < 0x7f);
			if (*text != ' ' && *text != '\t') {
				ck_assert_uint_lt(field, COUNT(fields));
				ck_assert_int_eq(
				    strncmp(text, fields[field], strlen(fields[field])), 0);
				field++;
			} else {
				/* RFC 5322 3.2.2: no line of blanks alone. */
				ck_assert_uint_lt(strspn(text, " \t"), len);
			}
		}
		text += len + 2;
	}
	ck_assert(!header);
}

START_TEST(any_template_makes_a_message)
{
	static const char *const pieces[] = { "a", " ", "\n", "\r", "\r\n", "{used}", "{address}", "{",
		"}", "\t", ".", "\n.", "\xc3\xa4", "\xff", "\xe2\x82", "Subject: ", "To: x\r\n", "=?",
		"?=", "\x01", "abcdefghijklmnopqrstuvwxyz", "          " };
	uint32_t random = (uint32_t)_i * 2654435761u + 1;
	char template[4096] = "Subject: ", *text;
	size_t run, which;

	while (strlen(template) < 3000) {
		random = random * 1664525 + 1013904223;
		which = (random >> 8) % COUNT(pieces);
		run = (random >> 24) < 240 ? 1 : (random >> 16) % 200;
		for (; run > 0 && strlen(template) < 4000; run--)
			strcat(template, pieces[which]);
		if ((random >> 4) % 128 == 0)
			break;
	}
	text = compose(template);
	check_message(text);
	free(text);
}
END_TEST

/* The built-in text is the one that is installed, and every placeholder in it is one. */
START_TEST(the_installed_template_is_the_built_in_one)
{
	char got[16384], *text;
	FILE *in = fopen("init/quota-warning.txt", "r");

	ck_assert_ptr_nonnull(in);
	got[fread(got, 1, sizeof(got) - 1, in)] = '\0';
	(void)fclose(in);
	ck_assert_str_eq(got, notice_template);
	text = compose(NULL);
	ck_assert_ptr_nonnull(strstr(text, "\r\nSubject: Your mailbox is 81% full\r\n"));
	ck_assert_ptr_null(strchr(text, '{'));
	check_message(text);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("notice");
	TCase *tc = tcase_create("notice");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, a_whole_notice);
	tcase_add_loop_test(tc, a_template_says, 0, COUNT(rows));
	tcase_add_loop_test(tc, long_subjects_are_cut_between_characters, 0, 12);
	tcase_add_loop_test(tc, long_lines_are_broken, 0, COUNT(lines));
	tcase_add_loop_test(tc, from_is_an_address, 0, COUNT(postmasters));
	tcase_add_test(tc, an_endless_address_is_not_shown_to_programs);
	tcase_add_test(tc, what_is_too_large_fails);
	tcase_add_loop_test(tc, any_template_makes_a_message, 0, 500);
	tcase_add_test(tc, the_installed_template_is_the_built_in_one);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
