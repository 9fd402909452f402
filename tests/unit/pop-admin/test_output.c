/* output: the same rows as columns, as lines, and as JSON. */
#include <stdlib.h>

#include "base/num.h"
#include "capture.h"
#include "pop-admin/output.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct capture out;

static const char *const all_keys[] = { "text", "count", "size", "age", "time", "bool",
	"percent", "texts", NULL };

static void
show_all(enum output_shape shape, bool json, int rows)
{
	static const char *const two[] = { "a@b.test", "c@d.test" };
	const struct cell some[] = { cell_text("joe"), cell_count(3), cell_size(2048),
		cell_age(86400), cell_time(1700000000), cell_bool(true), cell_percent(100),
		cell_texts(two, 2) };
	const struct cell none[] = { cell_text(NULL), cell_count(0), cell_size(NUM_UNLIMITED),
		cell_age(NUM_UNLIMITED), cell_time(0), cell_bool(false),
		cell_percent(NUM_UNLIMITED), cell_texts(NULL, 0) };
	struct output *o = output_new(shape, json, all_keys);

	capture_begin(&out, stdout);
	if (rows > 0)
		output_row(o, some);
	if (rows > 1)
		output_row(o, none);
	/* Nothing before the end: whoever lists may hold a lock. */
	fflush(stdout);
	ck_assert_int_eq(ftell(stdout), 0);
	ck_assert_int_eq(output_end(&o), 0);
	ck_assert_ptr_null(o);
	capture_end(&out);
}

#define SOME_JSON                                                                                  \
	"{\"text\":\"joe\",\"count\":3,\"size\":2048,\"age\":86400,"                               \
	"\"time\":\"2023-11-14T22:13:20Z\",\"bool\":true,\"percent\":100,\"texts\":[\"a@b.test\",\"c@d.test\"]}"
#define NONE_JSON                                                                                  \
	"{\"text\":null,\"count\":0,\"size\":null,\"age\":null,\"time\":null,\"bool\":false,"      \
	"\"percent\":null,\"texts\":[]}"

static const struct {
	const char *name;
	enum output_shape shape;
	bool json;
	int rows;
	const char *want;
} shapes[] = {
	{ "listing, JSON", OUTPUT_LISTING, true, 2, "[" SOME_JSON ",\n" NONE_JSON "]\n" },
	{ "one row, JSON", OUTPUT_LISTING, true, 1, "[" SOME_JSON "]\n" },
	{ "no row, JSON", OUTPUT_LISTING, true, 0, "[]\n" },
	{ "single, JSON", OUTPUT_SINGLE, true, 1, SOME_JSON "\n" },
	{ "listing, text", OUTPUT_LISTING, false, 2,
	    "text  count  size   age    time                  bool  percent  texts\n"
	    "joe   3      2.00K  1d     2023-11-14T22:13:20Z  yes   100%     a@b.test c@d.test\n"
	    "-     0      none   never  never                 no    -        \n" },
	{ "no row, text", OUTPUT_LISTING, false, 0, "" },
	{ "single, text", OUTPUT_SINGLE, false, 1,
	    "text: joe\ncount: 3\nsize: 2.00K\nage: 1d\ntime: 2023-11-14T22:13:20Z\nbool: yes\n"
	    "percent: 100%\ntexts: a@b.test c@d.test\n" },
};

START_TEST(each_shape)
{
	show_all(shapes[_i].shape, shapes[_i].json, shapes[_i].rows);
	ck_assert_str_eq(out.text, shapes[_i].want);
}
END_TEST

static const struct {
	const char *name, *text, *want;
} texts[] = {
	{ "empty", "", "\"\"" },
	{ "plain", "joe@example.test", "\"joe@example.test\"" },
	{ "quote", "\"odd joe\"@x", "\"\\\"odd joe\\\"@x\"" },
	{ "backslash", "a\\b", "\"a\\\\b\"" },
	{ "slash", "a/b", "\"a/b\"" },
	{ "controls", "\x01\t\n\r\x1f\x7f", "\"\\u0001\\u0009\\u000a\\u000d\\u001f\\u007f\"" },
	{ "two octets", "\xc3\xab", "\"\xc3\xab\"" },
	{ "three octets", "\xe2\x82\xac", "\"\xe2\x82\xac\"" },
	{ "four octets", "\xf0\x9f\x93\xac", "\"\xf0\x9f\x93\xac\"" },
	{ "last", "\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"" },
	{ "beyond the last", "\xf4\x90\x80\x80", "\"\\u00f4\\u0090\\u0080\\u0080\"" },
	{ "latin", "\xeb", "\"\\u00eb\"" },
	{ "latin before text",
	    "\xeb"
	    "b",
	    "\"\\u00ebb\"" },
	{ "continuation alone", "\x80\xbf", "\"\\u0080\\u00bf\"" },
	{ "cut short", "\xe2\x82", "\"\\u00e2\\u0082\"" },
	{ "cut short inside", "\xe2\x82x", "\"\\u00e2\\u0082x\"" },
	{ "overlong of two", "\xc0\xaf", "\"\\u00c0\\u00af\"" },
	{ "overlong of two, most", "\xc1\xbf", "\"\\u00c1\\u00bf\"" },
	{ "overlong of three", "\xe0\x9f\xbf", "\"\\u00e0\\u009f\\u00bf\"" },
	{ "least of three", "\xe0\xa0\x80", "\"\xe0\xa0\x80\"" },
	{ "overlong of four", "\xf0\x8f\xbf\xbf", "\"\\u00f0\\u008f\\u00bf\\u00bf\"" },
	{ "surrogate", "\xed\xa0\x80", "\"\\u00ed\\u00a0\\u0080\"" },
	{ "before the surrogates", "\xed\x9f\xbf", "\"\xed\x9f\xbf\"" },
	{ "never", "\xf5\xfe\xff", "\"\\u00f5\\u00fe\\u00ff\"" },
};

START_TEST(json_of_any_octets)
{
	static const char *const keys[] = { "t", NULL };
	struct output *o = output_new(OUTPUT_SINGLE, true, keys);
	char want[200];

	snprintf(want, sizeof(want), "{\"t\":%s}\n", texts[_i].want);
	capture_begin(&out, stdout);
	output_row(o, &(struct cell){ .type = CELL_TEXT, .text = texts[_i].text });
	ck_assert_int_eq(output_end(&o), 0);
	capture_end(&out);
	ck_assert_str_eq(out.text, want);
}
END_TEST

START_TEST(columns)
{
	static const char *const keys[] = { "name", "n", NULL };
	static const struct {
		const char *name;
		unsigned n;
	} rows[] = { { "a", 1 }, { "zo\xc3\xab", 22 }, { "", 3 }, { "escape\x1b[2J\n", 4 } };
	struct output *o = output_new(OUTPUT_LISTING, false, keys);

	capture_begin(&out, stdout);
	for (int i = 0; i < COUNT(rows); i++)
		output_row(
		    o, (const struct cell[]){ cell_text(rows[i].name), cell_count(rows[i].n) });
	ck_assert_int_eq(output_end(&o), 0);
	capture_end(&out);
	ck_assert_str_eq(out.text, "name         n\n"
				   "a            1\n"
				   "zo\xc3\xab          22\n"
				   "             3\n"
				   "escape?[2J?  4\n");
}
END_TEST

START_TEST(standard_output_that_is_full)
{
	static const char *const keys[] = { "t", NULL };
	struct output *o = output_new(OUTPUT_LISTING, true, keys);
	FILE *full = fopen("/dev/full", "w");
	int before = dup(STDOUT_FILENO), rc;

	ck_assert_ptr_nonnull(full);
	output_row(o, &(struct cell){ .type = CELL_TEXT, .text = "x" });
	fflush(stdout);
	ck_assert_int_ge(dup2(fileno(full), STDOUT_FILENO), 0);
	rc = output_end(&o);
	ck_assert_int_ge(dup2(before, STDOUT_FILENO), 0);
	close(before);
	fclose(full);
	ck_assert_int_eq(rc, -1);
}
END_TEST

START_TEST(rows_within_an_object)
{
	static const char *const keys[] = { "n", "rows", NULL }, *const inner_keys[] = { "t", NULL };
	struct output *inner = output_new(OUTPUT_LISTING, true, inner_keys),
		      *o = output_new(OUTPUT_SINGLE, true, keys);

	capture_begin(&out, stdout);
	output_row(o, (const struct cell[]){ cell_count(1), cell_rows(inner) });
	ck_assert_int_eq(output_end(&o), 0);
	capture_end(&out);
	ck_assert_str_eq(out.text, "{\"n\":1,\"rows\":[]}\n");
	output_row(inner, &(struct cell){ .type = CELL_TEXT, .text = "x" });
	output_row(inner, &(struct cell){ .type = CELL_TEXT, .text = "y" });
	o = output_new(OUTPUT_SINGLE, true, keys);
	capture_begin(&out, stdout);
	output_row(o, (const struct cell[]){ cell_count(2), cell_rows(inner) });
	output_discard(&inner);
	ck_assert_int_eq(output_end(&o), 0);
	capture_end(&out);
	ck_assert_str_eq(out.text, "{\"n\":2,\"rows\":[{\"t\":\"x\"},\n{\"t\":\"y\"}]}\n");
}
END_TEST

START_TEST(discarded)
{
	static const char *const keys[] = { "t", NULL };
	struct output *o = output_new(OUTPUT_LISTING, false, keys);

	capture_begin(&out, stdout);
	output_row(o, &(struct cell){ .type = CELL_TEXT, .text = "x" });
	output_discard(&o);
	ck_assert_ptr_null(o);
	capture_end(&out);
	ck_assert_str_eq(out.text, "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("output");
	TCase *tc = tcase_create("output");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, each_shape, 0, COUNT(shapes));
	tcase_add_loop_test(tc, json_of_any_octets, 0, COUNT(texts));
	tcase_add_test(tc, columns);
	tcase_add_test(tc, standard_output_that_is_full);
	tcase_add_test(tc, rows_within_an_object);
	tcase_add_test(tc, discarded);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
