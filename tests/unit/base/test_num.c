/* num: what is a number and what is not, and that what is written is read back. */
#include <check.h>
#include <string.h>

#include "base/num.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define BAD UINT64_C(0xbad)

/* What a failed read must leave alone. */
static const uint64_t untouched = UINT64_C(0x5ca1ab1e);

static const struct {
	const char *text;
	uint64_t min, max, want; /* BAD: refused */
} counts[] = {
	{ "0", 0, 9, 0 },
	{ "7", 0, 9, 7 },
	{ "9", 0, 9, 9 },
	{ "10", 0, 9, BAD },
	{ "4", 5, 9, BAD },
	{ "5", 5, 9, 5 },
	{ "000005", 5, 9, 5 },
	{ "00000000000000000000000000000000000000005", 5, 9, 5 },
	{ "18446744073709551615", 0, UINT64_MAX, UINT64_MAX },
	{ "18446744073709551616", 0, UINT64_MAX, BAD },
	{ "18446744073709551620", 0, UINT64_MAX, BAD },
	{ "99999999999999999999", 0, UINT64_MAX, BAD },
	{ "36893488147419103232", 0, UINT64_MAX, BAD },
	{ "", 0, 9, BAD },
	{ "-1", 0, UINT64_MAX, BAD },
	{ "+1", 0, 9, BAD },
	{ " 1", 0, 9, BAD },
	{ "1 ", 0, 9, BAD },
	{ "1\t", 0, 9, BAD },
	{ "1.0", 0, 9, BAD },
	{ "1,0", 0, 99, BAD },
	{ "0x1", 0, 99, BAD },
	{ "1e1", 0, 99, BAD },
	{ "/", 0, 99, BAD },
	{ ":", 0, 99, BAD },
	{ "\xb2", 0, 99, BAD },
};

START_TEST(reads_counts)
{
	uint64_t got = untouched, min = counts[_i].min, max = counts[_i].max;
	const char *text = counts[_i].text;
	int rc = num_parse_u64(text, strlen(text), min, max, &got);

	ck_assert_msg(rc == (counts[_i].want == BAD ? -1 : 0), "\"%s\"", text);
	ck_assert_uint_eq(got, counts[_i].want == BAD ? untouched : counts[_i].want);
}
END_TEST

START_TEST(reads_no_further_than_told)
{
	uint64_t got = 0;

	ck_assert_int_eq(num_parse_u64("123456", 3, 0, 1000, &got), 0);
	ck_assert_uint_eq(got, 123);
	ck_assert_int_eq(num_parse_u64("12\0"
				       "3",
			     4, 0, 1000, &got),
	    -1);
	ck_assert_int_eq(num_parse_u64(NULL, 0, 0, 1000, &got), -1);
}
END_TEST

static const struct {
	const char *text;
	uint64_t want;
} sizes[] = {
	{ "0", 0 },
	{ "0K", 0 },
	{ "512", 512 },
	{ "20K", 20480 },
	{ "20k", 20480 },
	{ "64M", UINT64_C(64) << 20 },
	{ "1G", UINT64_C(1) << 30 },
	{ "1g", UINT64_C(1) << 30 },
	{ "007G", UINT64_C(7) << 30 },
	{ "9223372036854775807", NUM_MAX },
	{ "9223372036854775808", BAD },
	{ "18446744073709551615", BAD },
	{ "8589934591G", UINT64_C(8589934591) << 30 },
	{ "8589934592G", BAD },
	{ "17179869184G", BAD },
	{ "99999999999999999999999G", BAD },
	{ "", BAD },
	{ "G", BAD },
	{ "K", BAD },
	{ "1T", BAD },
	{ "1B", BAD },
	{ "1KB", BAD },
	{ "1KiB", BAD },
	{ "1 G", BAD },
	{ "1.5G", BAD },
	{ "-1G", BAD },
	{ "1GG", BAD },
	{ "G1", BAD },
	{ "none", BAD },
	{ " 1G", BAD },
	{ "1G ", BAD },
};

START_TEST(reads_sizes)
{
	uint64_t got = untouched;
	int rc = num_parse_size(sizes[_i].text, &got);

	ck_assert_msg(rc == (sizes[_i].want == BAD ? -1 : 0), "\"%s\"", sizes[_i].text);
	ck_assert_uint_eq(got, sizes[_i].want == BAD ? untouched : sizes[_i].want);
}
END_TEST

static const struct {
	const char *text;
	uint64_t want;
} ages[] = {
	{ "0", 0 },
	{ "0s", 0 },
	{ "0w", 0 },
	{ "90s", 90 },
	{ "10m", 600 },
	{ "2h", 7200 },
	{ "30d", 2592000 },
	{ "4w", 2419200 },
	{ "007d", 604800 },
	{ "9223372036854775807s", NUM_MAX },
	{ "9223372036854775808s", BAD },
	{ "15250284452471w", UINT64_C(15250284452471) * 604800 },
	{ "15250284452472w", BAD },
	{ "00", BAD },
	{ "90", BAD },
	{ "", BAD },
	{ "s", BAD },
	{ "1y", BAD },
	{ "1M", BAD },
	{ "1D", BAD },
	{ "1h30m", BAD },
	{ "1 d", BAD },
	{ "-1d", BAD },
	{ "+1d", BAD },
	{ "1.5d", BAD },
	{ "1ms", BAD },
	{ "d1", BAD },
	{ "never", BAD },
	{ "1d ", BAD },
};

START_TEST(reads_ages)
{
	uint64_t got = untouched;
	int rc = num_parse_age(ages[_i].text, &got);

	ck_assert_msg(rc == (ages[_i].want == BAD ? -1 : 0), "\"%s\"", ages[_i].text);
	ck_assert_uint_eq(got, ages[_i].want == BAD ? untouched : ages[_i].want);
}
END_TEST

static const struct {
	uint64_t value;
	const char *want;
} written_sizes[] = {
	{ 0, "0" },
	{ 1, "1" },
	{ 1023, "1023" },
	{ 1024, "1K" },
	{ 1536, "1536" },
	{ 2048, "2K" },
	{ (UINT64_C(1) << 20) - 1, "1048575" },
	{ UINT64_C(50) << 20, "50M" },
	{ UINT64_C(1) << 30, "1G" },
	{ UINT64_C(1) << 40, "1024G" },
	{ NUM_MAX, "9223372036854775807" },
};

static const struct {
	uint64_t value;
	const char *want;
} written_ages[] = {
	{ 0, "0s" },
	{ 1, "1s" },
	{ 59, "59s" },
	{ 60, "1m" },
	{ 90, "90s" },
	{ 600, "10m" },
	{ 3600, "1h" },
	{ 5400, "90m" },
	{ 86400, "1d" },
	{ 2592000, "30d" },
	{ 604800, "1w" },
	{ 1209600, "2w" },
	{ NUM_MAX, "9223372036854775807s" },
};

static const struct {
	uint64_t value;
	const char *want;
} written_counts[] = {
	{ 0, "0" },
	{ 9, "9" },
	{ 10, "10" },
	{ 1000200, "1000200" },
	{ UINT64_MAX, "18446744073709551615" },
};

START_TEST(counts_are_written)
{
	char text[NUM_TEXT_MAX];

	ck_assert_uint_eq(num_format_u64(text, written_counts[_i].value),
	    strlen(written_counts[_i].want));
	ck_assert_str_eq(text, written_counts[_i].want);
}
END_TEST

START_TEST(sizes_are_read_back)
{
	char text[NUM_TEXT_MAX];
	uint64_t back;

	ck_assert_str_eq(num_format_size(text, written_sizes[_i].value), written_sizes[_i].want);
	ck_assert_int_eq(num_parse_size(text, &back), 0);
	ck_assert_uint_eq(back, written_sizes[_i].value);
}
END_TEST

START_TEST(ages_are_read_back)
{
	char text[NUM_TEXT_MAX];
	uint64_t back;

	ck_assert_str_eq(num_format_age(text, written_ages[_i].value), written_ages[_i].want);
	ck_assert_int_eq(num_parse_age(text, &back), 0);
	ck_assert_uint_eq(back, written_ages[_i].value);
}
END_TEST

START_TEST(unlimited_has_a_word)
{
	char text[NUM_TEXT_MAX];

	ck_assert_str_eq(num_format_size(text, NUM_UNLIMITED), "none");
	ck_assert_str_eq(num_format_size_short(text, NUM_UNLIMITED), "none");
	ck_assert_str_eq(num_format_age(text, NUM_UNLIMITED), "never");
}
END_TEST

static const struct {
	uint64_t value;
	const char *want;
} short_sizes[] = {
	{ 0, "0" },
	{ 999, "999" },
	{ 1000, "0.977K" },
	{ 1023, "0.999K" },
	{ 1024, "1.00K" },
	{ 1536, "1.50K" },
	{ 10234, "9.99K" },
	{ 10235, "10.0K" },
	{ 102348, "99.9K" },
	{ 102349, "100K" },
	{ 1023487, "999K" },
	{ 1023488, "0.976M" },
	{ 1048575, "1.00M" },
	{ UINT64_C(1567663882), "1.46G" },
	{ UINT64_C(1) << 40, "1.00T" },
	{ UINT64_C(1) << 60, "1.00E" },
	{ UINT64_MAX - 1, "16.0E" },
};

START_TEST(short_sizes_have_three_figures)
{
	char text[NUM_TEXT_MAX];

	ck_assert_str_eq(num_format_size_short(text, short_sizes[_i].value), short_sizes[_i].want);
}
END_TEST

static const struct {
	uint64_t value;
	const char *want;
} times[] = {
	{ 0, "1970-01-01T00:00:00Z" },
	{ 951782400, "2000-02-29T00:00:00Z" },
	{ UINT64_C(1795489877), "2026-11-24T03:11:17Z" },
	{ UINT64_C(4102444799), "2099-12-31T23:59:59Z" },
	{ UINT64_C(253402300799), "9999-12-31T23:59:59Z" },
	{ UINT64_C(253402300800), "9999-12-31T23:59:59Z" },
	{ UINT64_MAX, "9999-12-31T23:59:59Z" },
};

START_TEST(times_are_rfc_3339)
{
	char text[NUM_TEXT_MAX];

	ck_assert_str_eq(num_format_time(text, times[_i].value), times[_i].want);
}
END_TEST

static const struct {
	const char *text;
	size_t len;
	const char *want; /* NULL: refused */
} hexes[] = {
	{ "", 0, "" },
	{ "00", 1, "\0" },
	{ "0aF9", 2, "\x0a\xf9" },
	{ "deadBEEF", 4, "\xde\xad\xbe\xef" },
	{ "de", 2, NULL },
	{ "dead", 1, NULL },
	{ "dea", 1, NULL },
	{ "dea", 2, NULL },
	{ "dg", 1, NULL },
	{ "g0", 1, NULL },
	{ "/0", 1, NULL },
	{ ":0", 1, NULL },
	{ "@0", 1, NULL },
	{ "`0", 1, NULL },
	{ " 0", 1, NULL },
};

START_TEST(hexadecimal_both_ways)
{
	unsigned char octets[8] = "untouch";
	char text[17];
	int rc = num_parse_hex(hexes[_i].text, strlen(hexes[_i].text), octets, hexes[_i].len);

	ck_assert_msg(rc == (hexes[_i].want == NULL ? -1 : 0), "\"%s\"", hexes[_i].text);
	if (hexes[_i].want == NULL) {
		ck_assert_mem_eq(octets, "untouch", 8);
		return;
	}
	ck_assert_mem_eq(octets, hexes[_i].want, hexes[_i].len);
	num_format_hex(text, octets, hexes[_i].len);
	ck_assert_uint_eq(strlen(text), 2 * hexes[_i].len);
	ck_assert_int_eq(strcasecmp(text, hexes[_i].text), 0);
	ck_assert_ptr_null(strpbrk(text, "ABCDEF"));
}
END_TEST

static const struct {
	uint64_t list[6], want[6];
	size_t n;
} unsorted[] = {
	{ { 9, 1 }, { 9, 1 }, 0 },
	{ { 9, 1 }, { 9, 1 }, 1 },
	{ { 9, 1, 0 }, { 1, 9, 0 }, 2 },
	{ { 1, 1, 2, 3, 9, 9 }, { 1, 1, 2, 3, 9, 9 }, 6 },
	/* Only the last pair is wrong, and only the first. */
	{ { 1, 2, 3, 4, 9, 5 }, { 1, 2, 3, 4, 5, 9 }, 6 },
	{ { 2, 1, 3, 4, 5, 9 }, { 1, 2, 3, 4, 5, 9 }, 6 },
	/* Too far apart for a difference. */
	{ { UINT64_MAX, 0, INT64_MAX, UINT64_MAX, 1 }, { 0, 1, INT64_MAX, UINT64_MAX, UINT64_MAX },
	    5 },
};

START_TEST(numbers_in_order)
{
	uint64_t list[6];

	memcpy(list, unsorted[_i].list, sizeof(list));
	num_sort(list, unsorted[_i].n);
	for (size_t i = 0; i < COUNT(list); i++)
		ck_assert_uint_eq(list[i], unsorted[_i].want[i]);
	num_sort(NULL, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("num");
	TCase *tc = tcase_create("num");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, reads_counts, 0, COUNT(counts));
	tcase_add_test(tc, reads_no_further_than_told);
	tcase_add_loop_test(tc, reads_sizes, 0, COUNT(sizes));
	tcase_add_loop_test(tc, reads_ages, 0, COUNT(ages));
	tcase_add_loop_test(tc, counts_are_written, 0, COUNT(written_counts));
	tcase_add_loop_test(tc, sizes_are_read_back, 0, COUNT(written_sizes));
	tcase_add_loop_test(tc, ages_are_read_back, 0, COUNT(written_ages));
	tcase_add_test(tc, unlimited_has_a_word);
	tcase_add_loop_test(tc, short_sizes_have_three_figures, 0, COUNT(short_sizes));
	tcase_add_loop_test(tc, times_are_rfc_3339, 0, COUNT(times));
	tcase_add_loop_test(tc, hexadecimal_both_ways, 0, COUNT(hexes));
	tcase_add_loop_test(tc, numbers_in_order, 0, COUNT(unsorted));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
