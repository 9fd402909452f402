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

int
main(void)
{
	Suite *suite = suite_create("date");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, row, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(all, names);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
