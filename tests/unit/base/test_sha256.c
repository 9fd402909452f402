/* sha256: the examples of FIPS 180-4, and how octets are cut into calls says nothing. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/sha256.h"

static const struct {
	const char *text, *want;
} rows[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void
digest(char text[65], const void *buf, size_t len, size_t step)
{
	uint8_t octets[SHA256_LEN];
	struct sha256 s;

	sha256_init(&s);
	for (size_t i = 0; i < len; i += step)
		sha256_add(&s, (const char *)buf + i, len - i < step ? len - i : step);
	sha256_end(&s, octets);
	num_format_hex(text, octets, sizeof(octets));
}

START_TEST(row)
{
	char text[65];

	digest(text, rows[_i].text, strlen(rows[_i].text), 1000);
	ck_assert_str_eq(text, rows[_i].want);
}
END_TEST

START_TEST(million)
{
	char *a = malloc(1000000), text[65];

	memset(a, 'a', 1000000);
	digest(text, a, 1000000, 4093);
	ck_assert_str_eq(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(a);
}
END_TEST

START_TEST(any_cut)
{
	char buf[300], whole[65], cut[65];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7);
	for (size_t len = 0; len < sizeof(buf); len++) {
		digest(whole, buf, len, sizeof(buf));
		for (size_t step = 1; step < 130; step += 9) {
			digest(cut, buf, len, step);
			ck_assert_str_eq(cut, whole);
		}
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sha256");
	TCase *tc = tcase_create("sha256");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, row, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, million);
	tcase_add_test(tc, any_cut);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
