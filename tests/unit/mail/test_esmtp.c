/*
 * esmtp: what MAIL and RCPT may carry behind the path, in rows; every octet at
 * every kind of place.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mail/esmtp.h"

/* Parses from memory of just that size, so that a sanitizer sees a look beyond it. */
static enum esmtp_result
parse_mail(const char *text, size_t len, struct esmtp_mail *m)
{
	char *copy = malloc(len + (len == 0));
	enum esmtp_result rc;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	memset(m, 0xa5, sizeof(*m));
	rc = esmtp_parse_mail(copy, len, m);
	free(copy);
	return rc;
}

#define NO_SIZE false, 0
#define NO_BODY false, false

/* clang-format off */
static const struct {
	const char *in;
	enum esmtp_result want;
	bool has_size;
	uint64_t size;
	bool has_body, eight_bit;
} mails[] = {
	{ "", ESMTP_OK, NO_SIZE, NO_BODY },
	{ "  \t ", ESMTP_OK, NO_SIZE, NO_BODY },
	{ " SIZE=0", ESMTP_OK, true, 0, NO_BODY },
	{ " SIZE=1000", ESMTP_OK, true, 1000, NO_BODY },
	{ " size=1000", ESMTP_OK, true, 1000, NO_BODY },
	{ " SIZE=00000000000000000001", ESMTP_OK, true, 1, NO_BODY },
	{ " SIZE=18446744073709551615", ESMTP_OK, true, UINT64_MAX, NO_BODY },
	{ " SIZE=18446744073709551616", ESMTP_OK, true, UINT64_MAX, NO_BODY },
	{ " SIZE=99999999999999999999", ESMTP_OK, true, UINT64_MAX, NO_BODY },
	{ " BODY=7BIT", ESMTP_OK, NO_SIZE, true, false },
	{ " BODY=8BITMIME", ESMTP_OK, NO_SIZE, true, true },
	{ " body=8bitmime", ESMTP_OK, NO_SIZE, true, true },
	{ " AUTH=<>", ESMTP_OK, NO_SIZE, NO_BODY },
	{ " auth=e+3Dmc2@example.com", ESMTP_OK, NO_SIZE, NO_BODY },
	{ " SIZE=5 BODY=8BITMIME AUTH=<> ", ESMTP_OK, true, 5, true, true },
	{ " BODY=7bit\t AUTH=<>   SIZE=5\t", ESMTP_OK, true, 5, true, false },

	{ " SIZE", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE= 5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE =5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=5=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=-5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=+5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=5K", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=0x5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=000000000000000000001", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=5 SIZE=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " SIZE=5SIZE=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ "SIZE=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " BODY", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " BODY=", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " BODY=7BIT BODY=7BIT", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " BODY=7BIT body=8BITMIME", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " AUTH", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " AUTH=", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " AUTH=<> AUTH=<>", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " =5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " -X=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " X_Y=5", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ " X=", ESMTP_SYNTAX, NO_SIZE, NO_BODY },
	{ ">", ESMTP_SYNTAX, NO_SIZE, NO_BODY },

	{ " BODY=BINARYMIME", ESMTP_BAD_VALUE, NO_SIZE, NO_BODY },
	{ " BODY=8BIT", ESMTP_BAD_VALUE, NO_SIZE, NO_BODY },
	{ " BODY=7BITS", ESMTP_BAD_VALUE, NO_SIZE, NO_BODY },

	{ " RET=HDRS", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " SMTPUTF8", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " SIZES=5", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " SIZ=5", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " X-Y-=5", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " SIZE=5 8X", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
	{ " X SIZE=", ESMTP_UNKNOWN, NO_SIZE, NO_BODY },
};
/* clang-format on */

START_TEST(mail_row)
{
	struct esmtp_mail m;

	ck_assert_msg(parse_mail(mails[_i].in, strlen(mails[_i].in), &m) == mails[_i].want, "%s",
	    mails[_i].in);
	if (mails[_i].want != ESMTP_OK)
		return;
	ck_assert_int_eq(m.has_size, mails[_i].has_size);
	ck_assert_uint_eq(m.size, mails[_i].size);
	ck_assert_int_eq(m.has_body, mails[_i].has_body);
	ck_assert_int_eq(m.eight_bit, mails[_i].eight_bit);
}
END_TEST

/* clang-format off */
static const struct {
	const char *in;
	enum esmtp_result want;
} rcpts[] = {
	{ "", ESMTP_OK },
	{ " \t", ESMTP_OK },
	{ " NOTIFY=NEVER", ESMTP_UNKNOWN },
	{ " ORCPT=rfc822;joe@example.org", ESMTP_UNKNOWN },
	{ " SIZE=5", ESMTP_UNKNOWN },
	{ " X", ESMTP_UNKNOWN },
	{ "X", ESMTP_SYNTAX },
	{ " X=", ESMTP_SYNTAX },
	{ " <joe@example.org>", ESMTP_SYNTAX },
};
/* clang-format on */

START_TEST(rcpt_row)
{
	ck_assert_msg(esmtp_parse_rcpt(rcpts[_i].in, strlen(rcpts[_i].in)) == rcpts[_i].want, "%s",
	    rcpts[_i].in);
}
END_TEST

/* Which octets a name and a value may hold (RFC 5321 4.1.2). */
START_TEST(every_octet)
{
	struct esmtp_mail m;
	char name[] = " X?X=5", value[] = " AUTH=x?x";
	bool alnum;

	for (int octet = 0; octet < 256; octet++) {
		alnum = (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') ||
		        (octet >= 'a' && octet <= 'z');
		name[2] = (char)octet;
		ck_assert_msg((parse_mail(name, sizeof(name) - 1, &m) == ESMTP_UNKNOWN) ==
				  (alnum || octet == '-' || octet == ' ' || octet == '\t'),
		    "octet %d in a name", octet);
		value[7] = (char)octet;
		/* A blank ends the value; what follows is an unknown parameter. */
		ck_assert_msg(parse_mail(value, sizeof(value) - 1, &m) ==
				  (octet == ' ' || octet == '\t'                  ? ESMTP_UNKNOWN
				      : octet > 32 && octet < 127 && octet != '=' ? ESMTP_OK
										  : ESMTP_SYNTAX),
		    "octet %d in a value", octet);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("esmtp");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, mail_row, 0, sizeof(mails) / sizeof(mails[0]));
	tcase_add_loop_test(all, rcpt_row, 0, sizeof(rcpts) / sizeof(rcpts[0]));
	tcase_add_test(all, every_octet);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
