/* strbuf: the NUL, the maximum, the failure that stays, and who owns the text. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "tests/lib/no_memory.h"

START_TEST(begins_empty_without_memory)
{
	struct strbuf s;

	strbuf_init(&s, 100);
	ck_assert_str_eq(s.buf, "");
	ck_assert_uint_eq(s.cap, 0);
	strbuf_add(&s, NULL, 0);
	strbuf_addstr(&s, "");
	strbuf_addf(&s, "%s", "");
	strbuf_clear(&s);
	ck_assert_uint_eq(s.cap, 0);
	ck_assert(!s.failed);
	strbuf_release(&s);
	strbuf_release(&s);
}
END_TEST

START_TEST(appends_of_every_kind)
{
	struct strbuf s;

	strbuf_init(&s, SIZE_MAX);
	strbuf_add(&s, "a\0b", 3);
	strbuf_addch(&s, 'c');
	strbuf_addstr(&s, "de");
	strbuf_addf(&s, "%d-%s", 42, "f");
	ck_assert_uint_eq(s.len, 10);
	ck_assert_mem_eq(s.buf, "a\0bcde42-f", 11);
	strbuf_clear(&s);
	ck_assert_str_eq(s.buf, "");
	ck_assert_uint_gt(s.cap, 0);
	strbuf_addstr(&s, "again");
	ck_assert_str_eq(s.buf, "again");
	strbuf_release(&s);
	ck_assert_str_eq(s.buf, "");
}
END_TEST

/* Every length around every growth, by octets and by format. */
START_TEST(grows_without_a_seam)
{
	struct strbuf a, b;
	size_t i, j;

	for (i = 0; i < 300; i++) {
		strbuf_init(&a, 1000);
		strbuf_init(&b, 1000);
		for (j = 0; j < i; j++) {
			strbuf_addch(&a, (char)('a' + j % 26));
			strbuf_addf(&b, "%c", (char)('a' + j % 26));
		}
		strbuf_addf(&a, "%0*d", (int)i + 1, 7);
		strbuf_addf(&b, "%0*d", (int)i + 1, 7);
		ck_assert_uint_eq(a.len, 2 * i + 1);
		ck_assert_uint_eq(strlen(a.buf), a.len);
		ck_assert_str_eq(a.buf, b.buf);
		ck_assert_int_eq(a.buf[a.len - 1], '7');
		strbuf_release(&a);
		strbuf_release(&b);
	}
}
END_TEST

enum how { OCTETS, TEXT, ONE, FORMAT };

static const struct {
	const char *name;
	enum how how;
	size_t max, fill;
	const char *add;
	bool fails;
} maxima[] = {
	{ "octets fill it", OCTETS, 10, 7, "xyz", false },
	{ "octets pass it", OCTETS, 10, 8, "xyz", true },
	{ "text fills it", TEXT, 10, 7, "xyz", false },
	{ "text passes it", TEXT, 10, 8, "xyz", true },
	{ "one fills it", ONE, 10, 9, "x", false },
	{ "one passes it", ONE, 10, 10, "x", true },
	{ "format fills it", FORMAT, 10, 7, "xyz", false },
	{ "format passes it", FORMAT, 10, 8, "xyz", true },
	{ "format passes it from empty", FORMAT, 2, 0, "xyz", true },
	{ "format passes it beyond what is allocated", FORMAT, 70, 62, "0123456789", true },
	{ "format fills it beyond what is allocated", FORMAT, 72, 62, "0123456789", false },
	{ "maximum of nothing", ONE, 0, 0, "x", true },
};

START_TEST(maximum_holds)
{
	struct strbuf s;
	size_t i, len = strlen(maxima[_i].add);

	strbuf_init(&s, maxima[_i].max);
	for (i = 0; i < maxima[_i].fill; i++)
		strbuf_addch(&s, '.');
	ck_assert(!s.failed);
	switch (maxima[_i].how) {
	case OCTETS:
		strbuf_add(&s, maxima[_i].add, len);
		break;
	case TEXT:
		strbuf_addstr(&s, maxima[_i].add);
		break;
	case ONE:
		strbuf_addch(&s, maxima[_i].add[0]);
		break;
	case FORMAT:
		strbuf_addf(&s, "%s", maxima[_i].add);
		break;
	}
	ck_assert_msg(s.failed == maxima[_i].fails, "%s", maxima[_i].name);
	ck_assert_uint_eq(s.len, maxima[_i].fill + (s.failed ? 0 : len));
	ck_assert_uint_eq(strlen(s.buf), s.len);
	ck_assert_uint_le(s.cap, maxima[_i].max + 1);

	/* The failure stays: not even what would fit is taken. */
	strbuf_add(&s, "", 0);
	if (s.failed && s.len < s.max) {
		strbuf_addch(&s, 'x');
		strbuf_addf(&s, "x");
		ck_assert_uint_eq(s.len, maxima[_i].fill);
	}
	ck_assert(s.failed == maxima[_i].fails);
	strbuf_clear(&s);
	ck_assert(!s.failed);
	strbuf_release(&s);
}
END_TEST

START_TEST(no_memory_is_a_failure)
{
	static volatile size_t huge = SIZE_MAX;
	struct strbuf s;

	strbuf_init(&s, SIZE_MAX);
	strbuf_addstr(&s, "kept");
	strbuf_add(&s, "x", huge);
	ck_assert(s.failed);
	ck_assert_str_eq(s.buf, "kept");
	strbuf_clear(&s);
	strbuf_addstr(&s, "kept");
	strbuf_add(&s, "x", huge - 4);
	ck_assert(s.failed);
	strbuf_clear(&s);
	strbuf_addstr(&s, "kept");
	strbuf_add(&s, "x", huge / 2);
	ck_assert(s.failed);
	ck_assert_str_eq(s.buf, "kept");
	strbuf_release(&s);
}
END_TEST

START_TEST(detach_gives_it_away)
{
	struct strbuf s;
	char *text;

	strbuf_init(&s, 5);
	text = strbuf_detach(&s);
	ck_assert_str_eq(text, "");
	free(text);

	strbuf_addstr(&s, "five!");
	text = strbuf_detach(&s);
	ck_assert_str_eq(text, "five!");
	free(text);
	ck_assert_str_eq(s.buf, "");
	ck_assert_uint_eq(s.max, 5);

	strbuf_addstr(&s, "five!");
	strbuf_addch(&s, '!');
	ck_assert_ptr_null(strbuf_detach(&s));
	ck_assert_str_eq(s.buf, "five!");
	ck_assert(s.failed);
	strbuf_release(&s);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("strbuf");
	TCase *tc = tcase_create("strbuf");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, begins_empty_without_memory);
	tcase_add_test(tc, appends_of_every_kind);
	tcase_add_test(tc, grows_without_a_seam);
	tcase_add_loop_test(tc, maximum_holds, 0, sizeof(maxima) / sizeof(maxima[0]));
	tcase_add_test(tc, no_memory_is_a_failure);
	tcase_add_test(tc, detach_gives_it_away);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
