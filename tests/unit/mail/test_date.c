/*
 * date: rows of zones and moments; the days come from an independent source
 * (date -R).
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mail/date.h"

/* clang-format off */
static const struct {
	const char *zone; /* as TZ has it: what is west of Greenwich is positive */
	uint64_t seconds;
	const char *want;
} rows[] = {
	{ "UTC0", 0, "Thu, 1 Jan 1970 00:00:00 +0000" },
	{ "CET-1", UINT64_C(1795486277), "Tue, 24 Nov 2026 03:11:17 +0100" },
	{ "UTC0", UINT64_C(1795486277), "Tue, 24 Nov 2026 02:11:17 +0000" },
	{ "EST5", UINT64_C(1795486277), "Mon, 23 Nov 2026 21:11:17 -0500" },
	{ "NST3:30", UINT64_C(1795486277), "Mon, 23 Nov 2026 22:41:17 -0330" },
	{ "XXX0:30", UINT64_C(1795486277), "Tue, 24 Nov 2026 01:41:17 -0030" },
	{ "NPT-5:45", UINT64_C(1795486277), "Tue, 24 Nov 2026 07:56:17 +0545" },
	{ "LINT-14", UINT64_C(1795486277), "Tue, 24 Nov 2026 16:11:17 +1400" },
	{ "CET-1CEST,M3.5.0,M10.5.0/3", UINT64_C(1782871200), "Wed, 1 Jul 2026 04:00:00 +0200" },
	{ "UTC0", UINT64_C(1709164800), "Thu, 29 Feb 2024 00:00:00 +0000" },
	{ "UTC0", UINT64_C(4102444799), "Thu, 31 Dec 2099 23:59:59 +0000" },
	{ "UTC0", UINT64_C(2147483648), "Tue, 19 Jan 2038 03:14:08 +0000" },
	{ "UTC0", UINT64_C(253402214400), "Fri, 31 Dec 9999 00:00:00 +0000" },
	{ "LINT-14", UINT64_MAX, "Fri, 31 Dec 9999 14:00:00 +1400" },
	{ "UTC0", (uint64_t)INT64_MAX + 1, "Fri, 31 Dec 9999 00:00:00 +0000" },
};
/* clang-format on */

START_TEST(row)
{
	char text[DATE_MAX];

	setenv("TZ", rows[_i].zone, 1);
	tzset();
	ck_assert_ptr_eq(date_format(text, rows[_i].seconds), text);
	ck_assert_str_eq(text, rows[_i].want);
}
END_TEST

/* Every month and day has its name. */
START_TEST(names)
{
	char text[DATE_MAX], want[DATE_MAX];
	time_t t;
	struct tm tm;

	setenv("TZ", "UTC0", 1);
	tzset();
	for (uint64_t day = 0; day < 800; day++) {
		t = (time_t)(day * 86400 + 86399);
		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%a, %e %b %Y %H:%M:%S +0000", &tm);
		if (want[5] == ' ')
			memmove(want + 5, want + 6, strlen(want + 5));
		ck_assert_str_eq(date_format(text, (uint64_t)t), want);
	}
}
END_TEST

/* clang-format off */
static const struct {
	const char *text;
	int64_t want; /* -1: no date */
} read_rows[] = {
	{ "Tue, 24 Nov 2026 03:11:17 +0100", 1795486277 },
	{ " Tue, 24 Nov 2026\r\n\t03:11:17 +0100 (CET)", 1795486277 },
	{ "24 Nov 2026 02:11:17 GMT", 1795486277 },
	{ "24 nov 2026 02:11:17", 1795486277 },
	{ "Tue, 24 Nov 26 02:11:17 UT", 1795486277 },
	{ "Tue (a (nested \\) one)), 24 Nov 2026 02:11:17 -0000", 1795486277 },
	{ "Mon, 23 Nov 2026 21:11:17 EST", 1795486277 },
	{ "Tue, 24 Nov 2026 02:11:17 NOWHERE", 1795486277 },
	{ "Tue, 24 Nov 2026 02:11:17 A", 1795486277 },
	{ "Tue, 24 November 2026 2:11:17 +0000", 1795486277 },
	{ "Tuesday, 24 Nov 2026 02:11:17 +0000", 1795486277 },
	{ "Thu, 1 Jan 1970 00:00 +0000", 0 },
	{ "1 Jan 70 00:00", 0 },
	{ "1 Jan 100 00:00", 946684800 },
	{ "29 Feb 2024 00:00:00 +0000", 1709164800 },
	{ "31 Dec 2016 23:59:60 +0000", 1483228800 },
	{ "29 Feb 2023 00:00:00 +0000", -1 },
	{ "31 Apr 2023 00:00:00 +0000", -1 },
	{ "1 Jan 1970 00:00:00 +0100", -1 },
	{ "1 Jan 1969 00:00:00 +0000", -1 },
	{ "0 Jan 2026 00:00:00 +0000", -1 },
	{ "1 Jan 2026 24:00:00 +0000", -1 },
	{ "1 Jan 2026 00:60:00 +0000", -1 },
	{ "31 Feb 2026 23:59:60 +0000", -1 },
	{ "1 Jan 2026 00 +0000", -1 },
	{ "1 Jan 2026 00:00:00:00 +0000", -1 },
	{ "1 Jan 2026", -1 },
	{ "1 Foo 2026 00:00:00", -1 },
	{ "-1 Jan 2026 00:00:00", -1 },
	{ "Tue, 24 Nov 2026 02:11:17 Z", 1795486277 },
	{ "Tue, 24 Nov 2026 02:11:17 !", 1795486277 },
	{ "Tue, 24 Nov 2026 02:11:17 +0060", 1795486277 },
	{ "Tue, 24 Nov 2026 02:11:17 +01x0", 1795486277 },
	{ "24 Nov 2026 02:11:17 +0000 and a word that is none of the date's behind it", 1795486277 },
	{ "24 Nov 2026 02:11:17 a-zone-that-is-longer-than-any-that-anybody-knows", 1795486277 },
	{ "24 Nov 2026(no blank)02:11:17", 1795486277 },
	{ "024 Nov 2026 02:11:17", -1 },
	{ "24 Nov 20260 02:11:17", -1 },
	{ "24 Nov 6 02:11:17", -1 },
	{ "24 Nov 20x6 02:11:17", -1 },
	{ "24 Nov 2026 002:11:17", -1 },
	{ "24 Nov 2026 02::17", -1 },
	{ "24 Nov 2026 02:11:", -1 },
	{ "24 Nov 2026 02:1x:17", -1 },
	{ "", -1 }, { "(", -1 }, { "Tue,", -1 }, { "(()", -1 }, { "\\", -1 }, { "(\\", -1 },
}, from_rows[] = {
	{ "Tue Nov 24 02:11:17 2026", 1795486277 },
	{ "Tue Nov 24 02:11:17 2026\r\n", 1795486277 },
	{ "Tue Nov 24 03:11:17 +0100 2026", 1795486277 },
	{ "Tue Nov 24 03:11:17 2026 +0100", 1795486277 },
	{ "Mon Nov 23 21:11:17 EST 2026", 1795486277 },
	{ "Mon Nov 23 21:11:17 2026 EST", 1795486277 },
	{ "Tue Nov 24 02:11:17 2026 remote from uunet", 1795486277 },
	{ "Tue Nov 24 02:11:17 26", 1795486277 },
	{ "Thu Jan  1 00:00 1970", 0 },
	{ "Tue Nov 24 02:11:17", -1 },
	{ "Nov 24 02:11:17 2026", -1 },
	{ "Tuesday Nov 24 02:11:17 2026", -1 },
	{ "Tue 24 Nov 2026 02:11:17", -1 },
	{ "Tue Nov 24 02:11:17 2026 and so on", -1 },
	{ "Tue Nov 31 02:11:17 2026", -1 },
	{ "Tue Nove 24 02:11:17 2026", -1 },
	{ "Foo Nov 24 02:11:17 2026", -1 },
	{ "Tue Foo 24 02:11:17 2026", -1 },
	{ "Tue Nov 32 02:11:17 2026", -1 },
	{ "Tue Nov 24 24:11:17 2026", -1 },
	{ "Tue Nov 24 02:11:17 20x6", -1 },
	{ "Tue Nov 24 02:11:17 Nowhere 2026", -1 },
	{ "here on, it is all mine", -1 },
	{ "", -1 },
};
/* clang-format on */

START_TEST(read_row)
{
	const char *text = read_rows[_i].text;
	uint64_t seconds = 7;
	/* Its own length, without a NUL, so that a sanitizer sees more. */
	char *copy = malloc(strlen(text) + (strlen(text) == 0));

	memcpy(copy, text, strlen(text));
	ck_assert_msg(date_parse(copy, strlen(text), &seconds) == (read_rows[_i].want < 0 ? -1 : 0),
	    "%s", text);
	ck_assert_int_eq((int64_t)seconds, read_rows[_i].want < 0 ? 7 : read_rows[_i].want);
	free(copy);
}
END_TEST

START_TEST(read_from_row)
{
	const char *text = from_rows[_i].text;
	uint64_t seconds = 7;
	char *copy = malloc(strlen(text) + (strlen(text) == 0));

	memcpy(copy, text, strlen(text));
	ck_assert_msg(
	    date_parse_from(copy, strlen(text), &seconds) == (from_rows[_i].want < 0 ? -1 : 0),
	    "%s", text);
	ck_assert_int_eq((int64_t)seconds, from_rows[_i].want < 0 ? 7 : from_rows[_i].want);
	free(copy);
}
END_TEST

/* What is written is read, in any zone. */
START_TEST(round_trip)
{
	static const char *const zones[] = { "UTC0", "NST3:30", "LINT-14", "CET-1CEST,M3.5.0,M10.5.0/3" };
	char text[DATE_MAX];
	uint64_t seconds;

	setenv("TZ", zones[_i], 1);
	tzset();
	for (uint64_t t = 86400; t < UINT64_C(250000000000); t += t / 3 + 12345) {
		date_format(text, t);
		ck_assert_int_eq(date_parse(text, strlen(text), &seconds), 0);
		ck_assert_uint_eq(seconds, t);
		date_format_from(text, t);
		ck_assert_int_eq(date_parse_from(text, strlen(text), &seconds), 0);
		ck_assert_uint_eq(seconds, t);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("date");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, row, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(all, names);
	tcase_add_loop_test(all, read_row, 0, sizeof(read_rows) / sizeof(read_rows[0]));
	tcase_add_loop_test(all, read_from_row, 0, sizeof(from_rows) / sizeof(from_rows[0]));
	tcase_add_loop_test(all, round_trip, 0, 4);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
