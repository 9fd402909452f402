/* utf8: the forms of RFC 3629 4, each at its bounds and one beyond. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define TEXT(literal) literal, sizeof(literal) - 1

static const struct {
	const char *text;
	size_t len, first, span;
} rows[] = {
	{ TEXT(""), 0, 0 },
	{ TEXT("a"), 1, 1 },
	{ TEXT("\0"), 1, 1 },
	{ TEXT("\x7f"), 1, 1 },
	{ TEXT("\x80"), 0, 0 },
	{ TEXT("\xbf"), 0, 0 },
	{ TEXT("\xc1\xbf"), 0, 0 },
	{ TEXT("\xc2\x80"), 2, 2 },
	{ TEXT("\xc2\x7f"), 0, 0 },
	{ TEXT("\xc2\xc0"), 0, 0 },
	{ TEXT("\xdf\xbf"), 2, 2 },
	{ TEXT("\xdf"), 0, 0 },
	{ TEXT("\xe0\x9f\xbf"), 0, 0 },
	{ TEXT("\xe0\xa0\x80"), 3, 3 },
	{ TEXT("\xe0\xa0\x7f"), 0, 0 },
	{ TEXT("\xe0\xbf\xc0"), 0, 0 },
	{ TEXT("\xe1\x80\x80"), 3, 3 },
	{ TEXT("\xe1\xbf"), 0, 0 },
	{ TEXT("\xed\x9f\xbf"), 3, 3 },
	{ TEXT("\xed\xa0\x80"), 0, 0 },
	{ TEXT("\xee\xbf\xbf"), 3, 3 },
	{ TEXT("\xf0\x8f\xbf\xbf"), 0, 0 },
	{ TEXT("\xf0\x90\x80\x80"), 4, 4 },
	{ TEXT("\xf0\x90\x80"), 0, 0 },
	{ TEXT("\xf3\xbf\xbf\xbf"), 4, 4 },
	{ TEXT("\xf4\x8f\xbf\xbf"), 4, 4 },
	{ TEXT("\xf4\x90\x80\x80"), 0, 0 },
	{ TEXT("\xf5\x80\x80\x80"), 0, 0 },
	{ TEXT("\xff"), 0, 0 },
	{ TEXT("ab\xc3\xa4" "c"), 1, 5 },
	{ TEXT("\xe2\x82\xac\xe4"), 3, 3 },
	{ TEXT("ok\xe4ok"), 1, 2 },
};

/* Out of a block of its own, so that a look beyond the end is seen. */
START_TEST(characters_are_told)
{
	char *text = malloc(rows[_i].len > 0 ? rows[_i].len : 1);

	ck_assert_ptr_nonnull(text);
	memcpy(text, rows[_i].text, rows[_i].len);
	ck_assert_uint_eq(utf8_first(text, rows[_i].len), rows[_i].first);
	ck_assert_uint_eq(utf8_span(text, rows[_i].len), rows[_i].span);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("utf8");
	TCase *tc = tcase_create("utf8");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, characters_are_told, 0, COUNT(rows));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
