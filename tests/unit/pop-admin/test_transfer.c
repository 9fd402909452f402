/* head, maildir, uidlist: what beginnings, names and lists say. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "pop-admin/head.h"
#include "pop-admin/maildir.h"
#include "pop-admin/uidlist.h"

/* --- head --------------------------------------------------------------------- */

#define DATE_A "Tue, 24 Nov 2026 03:11:17 +0100"
#define TIME_A 1795486277

static const struct {
	const char *text;
	const char *reverse_path, *written; /* NULL: none */
	size_t skip;
	bool received;
	uint64_t time_s;
} heads[] = {
	{ "", NULL, NULL, 0, false, 0 },
	{ "Subject: x\r\n\r\n", NULL, NULL, 0, false, 0 },
	{ "Return-Path: <a@b.test>\r\nDelivered-To: j@x.test\r\nReceived: by x;\r\n\t" DATE_A "\r\n\r\n",
	    "a@b.test", "j@x.test", 49, true, TIME_A },
	{ "Return-Path: <>\nDelivered-To: j@x.test\nSubject: x\n", "", "j@x.test", 39, false, 0 },
	{ "Return-Path: <a@b.test>\nX: y\nDelivered-To: j@x.test\n", "a@b.test", NULL, 24, false, 0 },
	/* Told by them, but not what we would write: they stay. */
	{ "Return-path: <a@b.test>\nDelivered-To: j@x.test\n", "a@b.test", NULL, 0, false, 0 },
	{ "Return-Path:  <a@b.test>\n", "a@b.test", NULL, 0, false, 0 },
	{ "Return-Path: <@r.test:a@b.test>\n", "a@b.test", NULL, 0, false, 0 },
	{ "Return-Path: a@b.test\n", NULL, NULL, 0, false, 0 },
	{ "Return-Path: <a@b.test> \n", NULL, NULL, 0, false, 0 },
	{ "Return-Path: <a@b.test>\nDelivered-To: j\n", "a@b.test", NULL, 24, false, 0 },
	{ "Return-Path: <a@b.test>\nDelivered-To: j@x.test \n", "a@b.test", NULL, 24, false, 0 },
	{ "Return-Path: <a@b.test>", "a@b.test", NULL, 23, false, 0 },
	{ "X: y\nReturn-Path: <a@b.test>\n", NULL, NULL, 0, false, 0 },
	/* Dates: the first Received:, else Date:, none behind the header. */
	{ "RECEIVED: x; a;\n " DATE_A "\nReceived: x; 1 Jan 2000 00:00:00\n", NULL, NULL, 0, true, TIME_A },
	{ "Received: x; never\nDate: " DATE_A "\n", NULL, NULL, 0, true, TIME_A },
	{ "Received: x\ndate: " DATE_A "\nDate: 1 Jan 2000 00:00:00\n", NULL, NULL, 0, true, TIME_A },
	{ "Subject: x\n\nDate: " DATE_A "\n", NULL, NULL, 0, false, 0 },
	{ "Subject: x\n Date: 1 Jan 2000 00:00:00\nDate:" DATE_A, NULL, NULL, 0, false, TIME_A },
};

START_TEST(head)
{
	size_t len = strlen(heads[_i].text);
	/* Of its own length, so that a sanitizer sees more. */
	char *text = malloc(len + (len == 0));
	struct head h;

	memcpy(text, heads[_i].text, len);
	head_parse(text, len, &h);
	ck_assert_int_eq(h.has_reverse_path, heads[_i].reverse_path != NULL);
	if (h.has_reverse_path)
		ck_assert_str_eq(h.reverse_path, heads[_i].reverse_path);
	ck_assert_int_eq(h.has_written, heads[_i].written != NULL);
	if (h.has_written)
		ck_assert_str_eq(h.written, heads[_i].written);
	ck_assert_uint_eq(h.skip, heads[_i].skip);
	ck_assert_int_eq(h.received, heads[_i].received);
	ck_assert_uint_eq(h.time_s, heads[_i].time_s);
	free(text);
}
END_TEST

/* --- names ----------------------------------------------------------------------- */

START_TEST(names)
{
	char name[256];

	ck_assert_uint_eq(maildir_time("1795486277.M1P2.host:2,S"), 1795486277);
	ck_assert_uint_eq(maildir_time("1795486277.x"), 1795486277);
	ck_assert_uint_eq(maildir_time("1795486277"), 0);
	ck_assert_uint_eq(maildir_time("x1795486277.x"), 0);
	ck_assert_uint_eq(maildir_time(".x"), 0);
	ck_assert_uint_eq(maildir_time("99999999999999999999999.x"), 0);
	ck_assert_uint_eq(maildir_time("0.x"), 0);
	ck_assert_uint_eq(maildir_base_len("1.x:2,FRS"), 3);
	ck_assert_uint_eq(maildir_base_len("1.x"), 3);
	ck_assert_uint_eq(maildir_base_len(":2,"), 0);
	maildir_name_of_uid(name, "00aZ_-.~/%.");
	ck_assert_str_eq(name, "00aZ_-.%7E%2F%25.");
	maildir_name_of_uid(name, "../x");
	ck_assert_str_eq(name, "%2E.%2Fx");
}
END_TEST

/* --- lists ------------------------------------------------------------------------- */

static struct uidlist *
parse(const char *text)
{
	size_t len = strlen(text);
	char *copy = malloc(len + (len == 0));
	struct uidlist *l;
	struct strbuf err;

	memcpy(copy, text, len);
	strbuf_init(&err, 1000);
	ck_assert_msg(uidlist_parse("L", copy, len, &l, &err) == 0, "%s", err.buf);
	ck_assert_uint_eq(err.len, 0);
	free(copy);
	return l;
}

static void
finds(const struct uidlist *l, const char *name, uint64_t number, const char *want)
{
	const char *uid = uidlist_find(l, name, number);

	ck_assert_msg((uid == NULL) == (want == NULL), "%s %u", name != NULL ? name : "", (unsigned)number);
	if (want != NULL)
		ck_assert_str_eq(uid, want);
}

START_TEST(saved)
{
	struct uidlist *l = parse("u1 1.x:2,S\r\n\nu2  a b.eml\nu3 3\n~!\t4");

	ck_assert_uint_eq(uidlist_count(l), 4);
	finds(l, "1.x", 9, "u1");
	finds(l, "1.x:2,FS", 9, "u1");
	finds(l, "a b.eml", 9, "u2");
	finds(l, "other", 3, "u3");
	finds(l, NULL, 3, "u3");
	finds(l, NULL, 4, "~!");
	finds(l, NULL, 5, NULL);
	finds(l, "x", 5, NULL);
	uidlist_free(&l);
	l = parse("");
	finds(l, "x", 1, NULL);
	uidlist_free(&l);
}
END_TEST

START_TEST(dovecot)
{
	struct uidlist *l = parse("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
				  "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n"
				  "25017 W2481 Pmy-uidl :1276533073.M242911P3632.kurkku:2,F\n");

	finds(l, "1276528487.M364837P9451.kurkku,S=1355,W=1394:2,S", 1, "000061ae4c0907b0");
	finds(l, "1276533073.M242911P3632.kurkku", 2, "my-uidl");
	finds(l, "x", 25006, NULL);
	uidlist_free(&l);
	l = parse("1 1173189136 20221\n20212 1166484692.V9I9.host\n");
	finds(l, "1166484692.V9I9.host:2,", 1, "00004ef445ed7210");
	uidlist_free(&l);
	/* A list of our own that only looks like one. */
	l = parse("1 5\n3 V\n");
	finds(l, NULL, 5, "1");
	finds(l, "V", 9, "3");
	uidlist_free(&l);
}
END_TEST

static const struct {
	const char *text, *wrong;
} bad[] = {
	{ "u1 1\nu2\n", "L:2: does not say which message" },
	{ "u1 1\n 2\n", "L:2: a UID has 1 to 70 characters from ! to ~" },
	{ "\x80 2\n", "L:1: a UID has 1 to 70 characters from ! to ~" },
	{ "u1 1\nu2 1:2,S\n", "L: has a UID for 1 twice" },
	{ "01234567890123456789012345678901234567890123456789012345678901234567890 1",
	    "L:1: a UID has 70 characters at most" },
	{ "3 V1 N2\nx :y\n", "L:2: does not begin with a UID of Dovecot's" },
	{ "3 V1 N2\n7 W1\n", "L:2: does not say which message" },
	{ "3 V1 N2\n7 P :y\n", "L:2: a UID has 1 to 70 characters from ! to ~" },
	{ "1 1 2\n9\n", "L:2: does not say which message" },
};

START_TEST(bad_list)
{
	struct uidlist *l;
	struct strbuf err;

	strbuf_init(&err, 1000);
	ck_assert_int_eq(uidlist_parse("L", bad[_i].text, strlen(bad[_i].text), &l, &err), -1);
	ck_assert_str_eq(err.buf, bad[_i].wrong);
	ck_assert_ptr_null(l);
	strbuf_release(&err);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("transfer");
	TCase *tc = tcase_create("transfer");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, head, 0, sizeof(heads) / sizeof(heads[0]));
	tcase_add_test(tc, names);
	tcase_add_test(tc, saved);
	tcase_add_test(tc, dovecot);
	tcase_add_loop_test(tc, bad_list, 0, sizeof(bad) / sizeof(bad[0]));
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
