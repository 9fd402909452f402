/*
 * sasl: the vectors of RFC 4648, 4616 and 1939, what strict base64 refuses,
 * and every message of a few octets there and back.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "mail/sasl.h"

#define TEXT(s) s, sizeof(s) - 1

/* Decodes from and to memory of just that size. */
static int
decode(const char *text, size_t len, uint8_t out[64], size_t *n)
{
	size_t room = SASL_DECODED_MAX(len);
	char *in = malloc(len + (len == 0));
	uint8_t *buf = malloc(room + (room == 0));
	int rc;

	ck_assert_ptr_nonnull(in);
	ck_assert_ptr_nonnull(buf);
	memcpy(in, text, len);
	rc = sasl_base64_decode(in, len, buf, n);
	if (rc == 0) {
		ck_assert_uint_le(*n, room);
		memcpy(out, buf, *n);
	}
	free(in);
	free(buf);
	return rc;
}

/* clang-format off */
static const struct {
	const char *octets;
	size_t len;
	const char *text;
} vectors[] = {
	{ TEXT(""), "" },
	{ TEXT("f"), "Zg==" },
	{ TEXT("fo"), "Zm8=" },
	{ TEXT("foo"), "Zm9v" },
	{ TEXT("foob"), "Zm9vYg==" },
	{ TEXT("fooba"), "Zm9vYmE=" },
	{ TEXT("foobar"), "Zm9vYmFy" },
	{ TEXT("\0tim\0tanstaaftanstaaf"), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm" },
	{ TEXT("\xff\xef\xbe\xfb"), "/+++" "+w==" },
};
/* clang-format on */

START_TEST(vector)
{
	const char *text = vectors[_i].text;
	uint8_t out[64];
	char back[64];
	size_t n;

	ck_assert_int_eq(decode(text, strlen(text), out, &n), 0);
	ck_assert_uint_eq(n, vectors[_i].len);
	ck_assert_mem_eq(out, vectors[_i].octets, n);
	sasl_base64_encode(back, vectors[_i].octets, vectors[_i].len);
	ck_assert_str_eq(back, text);
	for (size_t cut = 1; cut < strlen(text); cut++)
		ck_assert_int_eq(decode(text, cut, out, &n), cut % 4 == 0 ? 0 : -1);
}
END_TEST

static const char *const not_base64[] = {
	"=",
	"==",
	"===",
	"====",
	"A",
	"AA",
	"AAA",
	"AAAAA",
	"A===",
	"=AAA",
	"AAA=BBB",
	"AAA=BBBB",
	"AA==BBBB",
	"A=AA",
	"AA=A",
	"AB==",
	"AAB=",
	"AA=",
	"AA= ",
	"AAA\n",
	"AAAA\r\n",
	" AAAA",
	"AA A",
	"AA\tA",
	"AA-A",
	"AA_A",
	"AAA*",
	"*",
	"AAAAAA==AAAA",
	"AA\xc1\xa1",
};

START_TEST(refused)
{
	const char *text = not_base64[_i];
	uint8_t out[64];
	size_t n;

	ck_assert_msg(decode(text, strlen(text), out, &n) == -1, "%s", text);
}
END_TEST

/* Each octet at each of four places: taken exactly when encoding gives it back. */
START_TEST(every_octet)
{
	char text[5] = "AAAA", back[8];
	uint8_t out[64];
	size_t n;

	for (size_t place = 0; place < 4; place++) {
		for (int octet = 0; octet < 256; octet++) {
			strcpy(text, "AAAA");
			text[place] = (char)octet;
			if (decode(text, 4, out, &n) == 0) {
				sasl_base64_encode(back, out, n);
				ck_assert_str_eq(back, text);
			} else {
				ck_assert_msg(
				    strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
					   "uvwxyz0123456789+/",
					octet) == NULL ||
					octet == 0,
				    "octet %d", octet);
			}
		}
	}
}
END_TEST

START_TEST(there_and_back)
{
	uint8_t in[3], out[64];
	char text[8];
	size_t n;

	for (unsigned v = 0; v < 1u << 16; v += 7) {
		for (size_t len = 1; len <= 3; len++) {
			in[0] = (uint8_t)(v >> 8);
			in[1] = (uint8_t)v;
			in[2] = (uint8_t)(v * 31);
			sasl_base64_encode(text, in, len);
			if (strlen(text) != 4 || sasl_base64_decode(text, 4, out, &n) != 0 ||
			    n != len || memcmp(in, out, n) != 0)
				ck_abort_msg("%s", text);
		}
	}
}
END_TEST

/* clang-format off */
static const struct {
	const char *message;
	size_t len;
	const char *user, *password; /* NULL: refused */
} plains[] = {
	/* RFC 4616 4; the second asks to act for somebody else. */
	{ TEXT("\0tim\0tanstaaftanstaaf"), "tim", "tanstaaftanstaaf" },
	{ TEXT("Ursel\0Kurt\0xipj3plmq"), NULL, NULL },
	{ TEXT("tim\0tim\0x"), "tim", "x" },
	{ TEXT("\0joe@example.org\0p q "), "joe@example.org", "p q " },
	{ TEXT("\0j\xc3\xb6\0p\xff"), "j\xc3\xb6", "p\xff" },
	{ TEXT(""), NULL, NULL },
	{ TEXT("\0"), NULL, NULL },
	{ TEXT("\0\0"), NULL, NULL },
	{ TEXT("tim"), NULL, NULL },
	{ TEXT("\0tim"), NULL, NULL },
	{ TEXT("tim\0x"), NULL, NULL },
	{ TEXT("\0tim\0"), NULL, NULL },
	{ TEXT("\0\0x"), NULL, NULL },
	{ TEXT("tim\0\0x"), NULL, NULL },
	{ TEXT("\0tim\0x\0"), NULL, NULL },
	{ TEXT("\0tim\0x\0y"), NULL, NULL },
	{ TEXT("\0tim\0\0x"), NULL, NULL },
	{ TEXT("ti\0tim\0x"), NULL, NULL },
	{ TEXT("timm\0tim\0x"), NULL, NULL },
	{ TEXT("tin\0tim\0x"), NULL, NULL },
};
/* clang-format on */

START_TEST(plain)
{
	struct sasl_plain p;
	uint8_t *copy = malloc(plains[_i].len + 1);
	size_t len = plains[_i].len;

	/* The octet behind the message is not part of it. */
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, plains[_i].message, len);
	copy[len] = '\0';
	if (plains[_i].user == NULL) {
		ck_assert_int_eq(sasl_plain_parse(copy, len, &p), -1);
	} else {
		ck_assert_int_eq(sasl_plain_parse(copy, len, &p), 0);
		ck_assert_uint_eq(p.user_len, strlen(plains[_i].user));
		ck_assert_mem_eq(p.user, plains[_i].user, p.user_len);
		ck_assert_uint_eq(p.password_len, strlen(plains[_i].password));
		ck_assert_mem_eq(p.password, plains[_i].password, p.password_len);
	}
	free(copy);
}
END_TEST

START_TEST(apop)
{
	char digest[33];

	/* RFC 1939 7. */
	ck_assert_int_eq(
	    sasl_apop_digest("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf", digest), 0);
	ck_assert_str_eq(digest, "c4c9334bac560ecc979e58001b3e22fb");
	/* RFC 1321 A.5: nothing and nothing. */
	ck_assert_int_eq(sasl_apop_digest("", "", digest), 0);
	ck_assert_str_eq(digest, "d41d8cd98f00b204e9800998ecf8427e");
}
END_TEST

/* As on a machine whose OpenSSL allows what is approved and nothing else. */
START_TEST(apop_without_md5)
{
	char digest[33];

	ck_assert_int_eq(EVP_set_default_properties(NULL, "fips=yes"), 1);
	ck_assert_int_eq(sasl_apop_digest("<a@b>", "secret", digest), -1);
	ck_assert_int_eq(EVP_set_default_properties(NULL, ""), 1);
	ck_assert_int_eq(sasl_apop_digest("<a@b>", "secret", digest), 0);
}
END_TEST

START_TEST(prepare)
{
	ck_assert_int_eq(sasl_prepare(), 0);
	ck_assert_int_eq(sasl_prepare(), 0);
	ck_assert_int_eq(EVP_set_default_properties(NULL, "fips=yes"), 1);
	ck_assert_int_eq(sasl_prepare(), -1);
	ck_assert_int_eq(EVP_set_default_properties(NULL, ""), 1);
}
END_TEST

START_TEST(compare)
{
	ck_assert_int_eq(sasl_compare("abc", "abc", 3), 0);
	ck_assert_int_eq(sasl_compare("abc", "abd", 2), 0);
	ck_assert_int_ne(sasl_compare("abc", "abd", 3), 0);
	ck_assert_int_ne(sasl_compare("xbc", "abc", 3), 0);
	ck_assert_int_eq(sasl_compare("", "", 0), 0);
}
END_TEST

#define ROWS(a) (int)(sizeof(a) / sizeof((a)[0]))

int
main(void)
{
	Suite *suite = suite_create("sasl");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, vector, 0, ROWS(vectors));
	tcase_add_loop_test(all, refused, 0, ROWS(not_base64));
	tcase_add_test(all, every_octet);
	tcase_add_test(all, there_and_back);
	tcase_add_loop_test(all, plain, 0, ROWS(plains));
	tcase_add_test(all, apop);
	tcase_add_test(all, prepare);
	tcase_add_test(all, compare);
	tcase_add_test(all, apop_without_md5);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
