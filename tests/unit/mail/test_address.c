/*
 * address: each spelling of RFC 5321 4.1.2 and 4.1.3, every octet at every
 * kind of place, the limits to the octet, and every path cut short.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mail/address.h"

/* Parses from memory of just that size, so that a sanitizer sees a look beyond it. */
static int
parse(const char *text, size_t len, unsigned flags, struct address *a, size_t *used)
{
	char *copy = malloc(len + (len == 0));
	int rc;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	memset(a, 'x', sizeof(*a));
	rc = address_parse_path(copy, len, flags, a, used);
	free(copy);
	return rc;
}

#define BOTH (ADDRESS_NULL_OK | ADDRESS_POSTMASTER_OK)

/* clang-format off */
static const struct {
	const char *in;
	unsigned flags;
	const char *text, *local, *domain;
} good[] = {
	{ "<joe@example.org>", 0, "joe@example.org", "joe", "example.org" },
	{ "<Joe@Example.ORG>", 0, "Joe@Example.ORG", "Joe", "Example.ORG" },
	{ "<\"joe\"@x>", 0, "\"joe\"@x", "joe", "x" },
	{ "<\"j\\oe\"@x>", 0, "\"j\\oe\"@x", "joe", "x" },
	{ "<\"\\j\\o\\e\"@x>", 0, "\"\\j\\o\\e\"@x", "joe", "x" },
	{ "<\"a b\"@x>", 0, "\"a b\"@x", "a b", "x" },
	{ "<\"a\\\"\\\\>@b\"@x>", 0, "\"a\\\"\\\\>@b\"@x", "a\"\\>@b", "x" },
	{ "<\"\"@x>", 0, "\"\"@x", "", "x" },
	{ "<a.b.c@x>", 0, "a.b.c@x", "a.b.c", "x" },
	{ "<a..b@c>", 0, "a..b@c", "a..b", "c" },
	{ "<.a@c>", 0, ".a@c", ".a", "c" },
	{ "<a.@c>", 0, "a.@c", "a.", "c" },
	{ "<!#$%&'*+-/=?^_`{|}~@x>", 0, "!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x" },
	{ "<joe+tag@x>", 0, "joe+tag@x", "joe+tag", "x" },
	{ "<a@1.2.3>", 0, "a@1.2.3", "a", "1.2.3" },
	{ "<a@a-b.c--d.0>", 0, "a@a-b.c--d.0", "a", "a-b.c--d.0" },
	{ "<a@_x.b_c>", 0, "a@_x.b_c", "a", "_x.b_c" },
	{ "<@one:joe@x>", 0, "joe@x", "joe", "x" },
	{ "<@one.example,@two:joe@x>", 0, "joe@x", "joe", "x" },
	{ "<@one:\"joe\"@[192.0.2.1]>", 0, "\"joe\"@[192.0.2.1]", "joe", "[192.0.2.1]" },
	{ "<a@[192.0.2.1]>", 0, "a@[192.0.2.1]", "a", "[192.0.2.1]" },
	{ "<a@[255.255.255.255]>", 0, "a@[255.255.255.255]", "a", "[255.255.255.255]" },
	{ "<a@[IPv6:2001:db8::1]>", 0, "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]" },
	{ "<a@[ipV6:::]>", 0, "a@[ipV6:::]", "a", "[ipV6:::]" },
	{ "<a@[IPv6:::ffff:192.0.2.1]>", 0, "a@[IPv6:::ffff:192.0.2.1]", "a",
	    "[IPv6:::ffff:192.0.2.1]" },
	{ "<a@[x-25:some!thing]>", 0, "a@[x-25:some!thing]", "a", "[x-25:some!thing]" },
	{ "<>", BOTH, "", "", "" },
	{ "<postmaster>", BOTH, "postmaster", "postmaster", "" },
	{ "<PostMaster>", BOTH, "PostMaster", "PostMaster", "" },
	{ "<\"postmaster\">", BOTH, "\"postmaster\"", "postmaster", "" },
	{ "<postmaster@x>", BOTH, "postmaster@x", "postmaster", "x" },
	{ "  \t<a@b>", 0, "a@b", "a", "b" },
};
/* clang-format on */

START_TEST(good_path)
{
	static const char *const behind[] = { "", " SIZE=1", ">", "<a@b>" };
	struct address a;
	char line[256];
	size_t used, len = strlen(good[_i].in);

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		strcpy(line, good[_i].in);
		strcpy(line + len, behind[i]);
		ck_assert_msg(
		    parse(line, strlen(line), good[_i].flags, &a, &used) == 0, "%s", line);
		ck_assert_uint_eq(used, len);
		ck_assert_str_eq(a.text, good[_i].text);
		ck_assert_str_eq(a.local, good[_i].local);
		ck_assert_str_eq(a.domain, good[_i].domain);
		ck_assert_int_eq(address_is_literal(&a), good[_i].domain[0] == '[');
	}
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_msg(
		    parse(line, cut, good[_i].flags, &a, &used) == -1, "%.*s", (int)cut, line);
}
END_TEST

/* Text that a path holds, if it has a domain, is a mailbox by itself; and written anew
 * it means the same. */
START_TEST(good_mailbox)
{
	struct address a, again;
	char text[2 * ADDRESS_MAX + 3];

	if (good[_i].domain[0] == '\0') {
		ck_assert_int_eq(address_parse(good[_i].text, &a), -1);
		return;
	}
	ck_assert_int_eq(address_parse(good[_i].text, &a), 0);
	ck_assert_str_eq(a.text, good[_i].text);
	ck_assert_str_eq(a.local, good[_i].local);
	ck_assert_str_eq(a.domain, good[_i].domain);
	address_format(text, a.local, a.domain);
	ck_assert_int_eq(address_parse(text, &again), 0);
	ck_assert_str_eq(again.local, a.local);
	ck_assert_str_eq(again.domain, a.domain);
}
END_TEST

/* clang-format off */
static const struct {
	const char *in;
	unsigned flags;
} bad[] = {
	{ "", BOTH },
	{ "joe@example.org", BOTH },
	{ "joe@example.org>", BOTH },
	{ "<joe@example.org", BOTH },
	{ "<>", ADDRESS_POSTMASTER_OK },
	{ "< >", BOTH },
	{ "<postmaster>", ADDRESS_NULL_OK },
	{ "<postmaste>", BOTH },
	{ "<postmasters>", BOTH },
	{ "<@a:postmaster>", BOTH },
	{ "<@a:>", BOTH },
	{ "<joe>", BOTH },
	{ "<@>", BOTH },
	{ "<joe@>", BOTH },
	{ "<@x>", BOTH },
	{ "< a@b>", BOTH },
	{ "<a@b >", BOTH },
	{ "<a @b>", BOTH },
	{ "<a@ b>", BOTH },
	{ "<<a@b>", BOTH },
	{ "x<a@b>", BOTH },
	{ "<a@b@c>", BOTH },
	{ "<a@.b>", BOTH },
	{ "<a@b.>", BOTH },
	{ "<a@b..c>", BOTH },
	{ "<a@-b>", BOTH },
	{ "<a@b->", BOTH },
	{ "<a@b.-c>", BOTH },
	{ "<a@b-.c>", BOTH },
	{ "<a@b,c>", BOTH },
	{ "<a,b@c>", BOTH },
	{ "<a;b@c>", BOTH },
	{ "<a(b)@c>", BOTH },
	{ "<a\\b@c>", BOTH },
	{ "<\"a@b>", BOTH },
	{ "<\"a\"b@c>", BOTH },
	{ "<a\"b\"@c>", BOTH },
	{ "<\"a\".b@c>", BOTH },
	{ "<\"a\\\"@c>", BOTH },
	{ "<@a,b:joe@x>", BOTH },
	{ "<@a,:joe@x>", BOTH },
	{ "<@a,joe@x>", BOTH },
	{ "<@a;@b:joe@x>", BOTH },
	{ "<@a joe@x>", BOTH },
	{ "<@a:@b:joe@x>", BOTH },
	{ "<a@[]>", BOTH },
	{ "<a@[192.0.2]>", BOTH },
	{ "<a@[192.0.2.256]>", BOTH },
	{ "<a@[192.0.2.01]>", BOTH },
	{ "<a@[192.0.2.1>", BOTH },
	{ "<a@[192.0.2.1]x>", BOTH },
	{ "<a@192.0.2.1]>", BOTH },
	{ "<a@[IPv6:]>", BOTH },
	{ "<a@[IPv6:192.0.2.1]>", BOTH },
	{ "<a@[IPv6:1::2::3]>", BOTH },
	{ "<a@[:x]>", BOTH },
	{ "<a@[x-:y]>", BOTH },
	{ "<a@[x:]>", BOTH },
	{ "<a@[x:y z]>", BOTH },
	{ "<a@[x:[y]>", BOTH },
	{ "<a@[x:\\y]>", BOTH },
	{ "<a@[tag]>", BOTH },
};
/* clang-format on */

START_TEST(bad_path)
{
	struct address a;
	size_t used;

	ck_assert_msg(parse(bad[_i].in, strlen(bad[_i].in), bad[_i].flags, &a, &used) == -1, "%s",
	    bad[_i].in);
}
END_TEST

/* Each octet that there is, at each kind of place. */
/* clang-format off */
static const struct {
	const char *before, *behind, *taken;
} places[] = {
	{ "<a", "a@b>", ".!#$%&'*+-/=?^_`{|}~@" },
	{ "<\"a", "a\"@b>", " .!#$%&'*+-/=?^_`{|}~@()<>[]:;,\\" },
	{ "<\"a\\", "a\"@b>", " .!#$%&'*+-/=?^_`{|}~@()<>[]:;,\\\"" },
	{ "<a@b", "b>", ".-_>" },
	{ "<a@[x:b", "b]>", ".!#$%&'*+-/=?^_`{|}~@()<>:;,\"" },
	{ "<@a", "a:b@c>", ".-_" },
};
/* clang-format on */

START_TEST(every_octet)
{
	struct address a;
	char text[32];
	size_t used, n = strlen(places[_i].before);
	bool want;

	for (int octet = 0; octet < 256; octet++) {
		strcpy(text, places[_i].before);
		text[n] = (char)octet;
		strcpy(text + n + 1, places[_i].behind);
		want = (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') ||
		       (octet >= 'a' && octet <= 'z') ||
		       (octet != 0 && strchr(places[_i].taken, octet) != NULL);
		/* A second at sign makes `a@a@b`. */
		if (octet == '@' && _i == 0)
			want = false;
		ck_assert_msg(
		    (parse(text, n + 1 + strlen(places[_i].behind), 0, &a, &used) == 0) == want,
		    "octet %d behind %s", octet, places[_i].before);
	}
}
END_TEST

/* A path of `route` + `local` + 1 + `domain` octets between its brackets. */
static int
parse_long(size_t route, size_t local, size_t domain, bool quoted, struct address *a)
{
	char text[4096];
	size_t n = 0, used;
	int rc;

	text[n++] = '<';
	if (route > 0) {
		memset(text + n, 'r', route);
		text[n] = '@';
		for (size_t i = 200; i < route - 2; i += 200)
			memcpy(text + n + i, ",@", 2);
		text[n + route - 1] = ':';
		n += route;
	}
	memset(text + n, 'l', local);
	if (quoted)
		text[n] = text[n + local - 1] = '"';
	n += local;
	text[n++] = '@';
	memset(text + n, 'd', domain);
	for (size_t i = 60; i < domain - 1; i += 60)
		text[n + i] = '.';
	n += domain;
	text[n++] = '>';
	rc = parse(text, n, 0, a, &used);
	if (rc == 0) {
		ck_assert_uint_eq(used, n);
		ck_assert_uint_eq(strlen(a->local), local - (quoted ? 2 : 0));
		ck_assert_uint_eq(strlen(a->domain), domain);
		ck_assert_uint_eq(strlen(a->text), local + 1 + domain);
	}
	return rc;
}

START_TEST(limits)
{
	struct address a;

	ck_assert_int_eq(parse_long(0, 64, 11, false, &a), 0);
	ck_assert_int_eq(parse_long(0, 64, 189, false, &a), 0);
	ck_assert_int_eq(parse_long(0, 1, ADDRESS_DOMAIN_MAX, false, &a), 0);
	ck_assert_int_eq(parse_long(0, 1, ADDRESS_DOMAIN_MAX + 1, false, &a), -1);
	ck_assert_int_eq(parse_long(0, ADDRESS_MAX - 2, 1, false, &a), 0);
	ck_assert_int_eq(parse_long(0, ADDRESS_MAX - 1, 1, false, &a), -1);
	ck_assert_int_eq(parse_long(0, ADDRESS_MAX - 2, 1, true, &a), 0);
	ck_assert_int_eq(parse_long(0, ADDRESS_MAX - 1, 1, true, &a), -1);
	ck_assert_int_eq(parse_long(0, 254, 255, false, &a), 0);
	ck_assert_int_eq(parse_long(0, 255, 255, false, &a), -1);
	ck_assert_int_eq(parse_long(ADDRESS_MAX - 3, 1, 1, false, &a), 0);
	ck_assert_int_eq(parse_long(ADDRESS_MAX - 2, 1, 1, false, &a), -1);
	for (size_t n = ADDRESS_MAX; n < ADDRESS_MAX + 4; n++) {
		ck_assert_int_eq(parse_long(0, n, 1, false, &a), -1);
		ck_assert_int_eq(parse_long(0, n, 1, true, &a), -1);
	}
	ck_assert_int_eq(parse_long(0, 3000, 1, false, &a), -1);
	ck_assert_int_eq(parse_long(0, 1, 3000, false, &a), -1);
	ck_assert_int_eq(parse_long(3000, 1, 1, false, &a), -1);
}
END_TEST

START_TEST(literal_limits)
{
	struct address a;
	char text[400];
	size_t n, used;

	for (size_t content = ADDRESS_DOMAIN_MAX - 4; content < ADDRESS_DOMAIN_MAX + 4; content++) {
		n = (size_t)sprintf(text, "<a@[x:");
		memset(text + n, 'c', content - 2);
		n += content - 2;
		n += (size_t)sprintf(text + n, "]>");
		ck_assert_int_eq(
		    parse(text, n, 0, &a, &used), content + 2 <= ADDRESS_DOMAIN_MAX ? 0 : -1);
		/* Without its bracket it is none, however long. */
		text[n - 2] = '>';
		ck_assert_int_eq(parse(text, n - 1, 0, &a, &used), -1);
	}
}
END_TEST

/* clang-format off */
static const struct {
	const char *local, *domain, *want;
} formats[] = {
	{ "joe", "example.org", "joe@example.org" },
	{ "joe+tag", "x", "joe+tag@x" },
	{ "a.b", "x", "a.b@x" },
	{ "a b", "x", "\"a b\"@x" },
	{ "a\"b\\", "x", "\"a\\\"b\\\\\"@x" },
	{ "", "x", "\"\"@x" },
	{ ".a", "x", "\".a\"@x" },
	{ "a.", "x", "\"a.\"@x" },
	{ "a..b", "x", "\"a..b\"@x" },
	{ "a@b", "[192.0.2.1]", "\"a@b\"@[192.0.2.1]" },
	{ "postmaster", "", "postmaster" },
};
/* clang-format on */

START_TEST(format)
{
	char text[2 * ADDRESS_MAX + 3];

	address_format(text, formats[_i].local, formats[_i].domain);
	ck_assert_str_eq(text, formats[_i].want);
}
END_TEST

/* The longest that can come out, and the local-part that grows most. */
START_TEST(format_limits)
{
	struct address a;
	char in[ADDRESS_MAX + 1], *text = malloc(2 * ADDRESS_MAX + 3);

	ck_assert_ptr_nonnull(text);
	memset(in, '\\', sizeof(in));
	in[0] = in[ADDRESS_MAX - 3] = '"';
	strcpy(in + ADDRESS_MAX - 2, "@x");
	ck_assert_int_eq(address_parse(in, &a), 0);
	address_format(text, a.local, a.domain);
	ck_assert_str_eq(text, in);

	memset(in, '.', sizeof(in));
	strcpy(in + ADDRESS_MAX - 2, "@x");
	ck_assert_int_eq(address_parse(in, &a), 0);
	address_format(text, a.local, a.domain);
	ck_assert_uint_eq(strlen(text), ADDRESS_MAX + 2);
	/* With its quotes it is too long to be read again. */
	ck_assert_int_eq(address_parse(text, &a), -1);
	free(text);
}
END_TEST

START_TEST(whole_text)
{
	struct address a;

	ck_assert_int_eq(address_parse("joe@example.org", &a), 0);
	ck_assert_int_eq(address_parse("", &a), -1);
	ck_assert_int_eq(address_parse("joe", &a), -1);
	ck_assert_int_eq(address_parse("postmaster", &a), -1);
	ck_assert_int_eq(address_parse("joe@example.org ", &a), -1);
	ck_assert_int_eq(address_parse(" joe@example.org", &a), -1);
	ck_assert_int_eq(address_parse("<joe@example.org>", &a), -1);
	ck_assert_int_eq(address_parse("@a:joe@example.org", &a), -1);
	ck_assert_int_eq(address_parse("@example.org", &a), -1);

	ck_assert_int_eq(address_parse_domain("example.org"), 0);
	ck_assert_int_eq(address_parse_domain("localhost"), 0);
	ck_assert_int_eq(address_parse_domain("_x.EXAMPLE"), 0);
	ck_assert_int_eq(address_parse_domain(""), -1);
	ck_assert_int_eq(address_parse_domain("."), -1);
	ck_assert_int_eq(address_parse_domain("example.org."), -1);
	ck_assert_int_eq(address_parse_domain("example.org "), -1);
	ck_assert_int_eq(address_parse_domain("[192.0.2.1]"), -1);
	ck_assert_int_eq(address_parse_domain("b\xc3\xbc"
					      "cher.example"),
	    -1);
}
END_TEST

START_TEST(fold)
{
	char in[256], out[256];

	for (int i = 0; i < 255; i++)
		in[i] = (char)(i + 1);
	in[255] = '\0';
	address_fold(out, in);
	for (int i = 0; i < 255; i++)
		ck_assert_int_eq(out[i], i + 1 >= 'A' && i + 1 <= 'Z' ? in[i] + 32 : in[i]);
	ck_assert_int_eq(out[255], '\0');
	address_fold(in, in);
	ck_assert_str_eq(in, out);
}
END_TEST

START_TEST(base_len)
{
	ck_assert_uint_eq(address_base_len("joe+tag", '+'), 3);
	ck_assert_uint_eq(address_base_len("joe+a+b", '+'), 3);
	ck_assert_uint_eq(address_base_len("joe+", '+'), 3);
	ck_assert_uint_eq(address_base_len("joe", '+'), 3);
	ck_assert_uint_eq(address_base_len("+tag", '+'), 4);
	ck_assert_uint_eq(address_base_len("joe-tag", '-'), 3);
	ck_assert_uint_eq(address_base_len("", '+'), 0);
}
END_TEST

#define ROWS(a) (int)(sizeof(a) / sizeof((a)[0]))

int
main(void)
{
	Suite *suite = suite_create("address");
	TCase *all = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(all, good_path, 0, ROWS(good));
	tcase_add_loop_test(all, good_mailbox, 0, ROWS(good));
	tcase_add_loop_test(all, bad_path, 0, ROWS(bad));
	tcase_add_loop_test(all, every_octet, 0, ROWS(places));
	tcase_add_test(all, limits);
	tcase_add_test(all, literal_limits);
	tcase_add_loop_test(all, format, 0, ROWS(formats));
	tcase_add_test(all, format_limits);
	tcase_add_test(all, whole_text);
	tcase_add_test(all, fold);
	tcase_add_test(all, base_len);
	suite_add_tcase(suite, all);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
