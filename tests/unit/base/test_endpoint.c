/* endpoint: addresses and networks, read, written and compared. */
#include <check.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/endpoint.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* 107 octets: the longest path of a Unix socket. */
#define PATH_107                                                                                   \
	"/234567890123456789012345678901234567890123456789012345678901234567890123456789012345"    \
	"6789012345678901234567"

static const struct {
	const char *text;
	const char *back; /* NULL: refused */
	const char *host;
} addresses[] = {
	{ "127.0.0.1:25", "127.0.0.1:25", "127.0.0.1" },
	{ "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0" },
	{ "255.255.255.255:65535", "255.255.255.255:65535", "255.255.255.255" },
	{ "127.0.0.1:0025", "127.0.0.1:25", "127.0.0.1" },
	{ "[::1]:25", "[::1]:25", "::1" },
	{ "[::]:110", "[::]:110", "::" },
	{ "[2001:DB8:0:0::7]:995", "[2001:db8::7]:995", "2001:db8::7" },
	{ "[::ffff:192.0.2.1]:25", "[::ffff:192.0.2.1]:25", "192.0.2.1" },
	{ "[1111:2222:3333:4444:5555:6666:255.255.255.255]:65535",
	    "[1111:2222:3333:4444:5555:6666:ffff:ffff]:65535",
	    "1111:2222:3333:4444:5555:6666:ffff:ffff" },
	{ "unix:/run/lmtp", "unix:/run/lmtp", "unix" },
	{ "unix:/with blank:25", "unix:/with blank:25", "unix" },
	{ "unix:" PATH_107, "unix:" PATH_107, "unix" },
	{ "unix:" PATH_107 "8", NULL, NULL },
	{ "unix:", NULL, NULL },
	{ "unix:run/lmtp", NULL, NULL },
	{ "unix", NULL, NULL },
	{ "", NULL, NULL },
	{ ":", NULL, NULL },
	{ ":25", NULL, NULL },
	{ "25", NULL, NULL },
	{ "127.0.0.1", NULL, NULL },
	{ "127.0.0.1:", NULL, NULL },
	{ "127.0.0.1:65536", NULL, NULL },
	{ "127.0.0.1:-1", NULL, NULL },
	{ "127.0.0.1:smtp", NULL, NULL },
	{ "127.0.0.1: 25", NULL, NULL },
	{ "127.0.0.1 :25", NULL, NULL },
	{ "127.0.0.1:25 ", NULL, NULL },
	{ "127.1:25", NULL, NULL },
	{ "256.0.0.1:25", NULL, NULL },
	{ "127.0.0.1.1:25", NULL, NULL },
	{ "[127.0.0.1]:25", NULL, NULL },
	{ "localhost:25", NULL, NULL },
	{ "*:25", NULL, NULL },
	{ "::1:25", NULL, NULL },
	{ "[::1]", NULL, NULL },
	{ "[::1]25", NULL, NULL },
	{ "[::1:25", NULL, NULL },
	{ "::1]:25", NULL, NULL },
	{ "[]:25", NULL, NULL },
	{ "[:25", NULL, NULL },
	{ "]:25", NULL, NULL },
	{ "[:::1]:25", NULL, NULL },
	{ "[fe80::1%lo]:25", NULL, NULL },
	{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:25", NULL, NULL },
};

START_TEST(reads_and_writes)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e, again;
	int rc;

	memset(&e, 0x55, sizeof(e));
	rc = endpoint_parse(addresses[_i].text, &e);
	ck_assert_msg(rc == (addresses[_i].back == NULL ? -1 : 0), "%s", addresses[_i].text);
	if (rc == -1)
		return;
	ck_assert_str_eq(endpoint_format(text, &e), addresses[_i].back);
	ck_assert_int_eq(endpoint_parse(text, &again), 0);
	ck_assert_uint_eq(again.len, e.len);
	ck_assert_mem_eq(&again.addr, &e.addr, e.len);
	ck_assert_str_eq(endpoint_format_host(text, &e), addresses[_i].host);
}
END_TEST

START_TEST(is_what_the_kernel_takes)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse("1.2.3.4:258", &e), 0);
	ck_assert_int_eq(e.addr.in.sin_family, AF_INET);
	ck_assert_uint_eq(e.addr.in.sin_port, htons(258));
	ck_assert_uint_eq(e.addr.in.sin_addr.s_addr, htonl(0x01020304));
	ck_assert_uint_eq(e.len, sizeof(struct sockaddr_in));

	ck_assert_int_eq(endpoint_parse("[::5]:258", &e), 0);
	ck_assert_int_eq(e.addr.in6.sin6_family, AF_INET6);
	ck_assert_uint_eq(e.addr.in6.sin6_port, htons(258));
	ck_assert_uint_eq(e.addr.in6.sin6_scope_id, 0);
	ck_assert_int_eq(e.addr.in6.sin6_addr.s6_addr[15], 5);
	ck_assert_uint_eq(e.len, sizeof(struct sockaddr_in6));

	ck_assert_int_eq(endpoint_parse("unix:/a", &e), 0);
	ck_assert_int_eq(e.addr.un.sun_family, AF_UNIX);
	ck_assert_str_eq(e.addr.un.sun_path, "/a");
	ck_assert_uint_eq(e.len, offsetof(struct sockaddr_un, sun_path) + 3);
}
END_TEST

/* What accept(2) and getsockname(2) give, which nobody can write. */
START_TEST(strange_sockets_have_a_text)
{
	const socklen_t start = offsetof(struct sockaddr_un, sun_path);
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e;
	uint8_t octets[16];

	memset(&e, 0, sizeof(e));
	e.addr.sa.sa_family = AF_UNIX;
	e.len = start;
	ck_assert_str_eq(endpoint_format(text, &e), "unix:");
	ck_assert_str_eq(endpoint_format_host(text, &e), "unix");

	memcpy(e.addr.un.sun_path, "\0abc", 4);
	e.len = start + 4;
	ck_assert_str_eq(endpoint_format(text, &e), "unix:@abc");

	memset(e.addr.un.sun_path, 'x', sizeof(e.addr.un.sun_path));
	e.len = sizeof(e.addr.un);
	ck_assert_uint_eq(strlen(endpoint_format(text, &e)), 5 + 108);
	e.len++;
	ck_assert_str_eq(endpoint_format(text, &e), "unix:");

	e.addr.sa.sa_family = AF_NETLINK;
	ck_assert_str_eq(endpoint_format(text, &e), "unknown");
	ck_assert_str_eq(endpoint_format_host(text, &e), "unknown");
	endpoint_octets(&e, octets);
	ck_assert_mem_eq(octets, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}
END_TEST

static const struct {
	const char *net;
	const char *in;  /* NULL: the network is refused */
	const char *out; /* NULL: nothing is outside */
} networks[] = {
	{ "10.0.0.0/8", "10.0.0.0:0", "11.0.0.0:0" },
	{ "10.0.0.0/8", "10.255.255.255:0", "9.255.255.255:0" },
	{ "10.0.0.0/8", "[::ffff:10.1.2.3]:0", "[::10.1.2.3]:0" },
	{ "192.0.2.7", "192.0.2.7:0", "192.0.2.6:0" },
	{ "192.0.2.7/32", "192.0.2.7:0", "192.0.2.8:0" },
	{ "192.0.2.6/31", "192.0.2.7:0", "192.0.2.8:0" },
	{ "192.0.2.128/25", "192.0.2.255:0", "192.0.2.127:0" },
	{ "192.0.2.0/23", "192.0.3.255:0", "192.0.4.0:0" },
	{ "0.0.0.0/0", "255.1.2.3:0", "[2001:db8::1]:0" },
	{ "0.0.0.0/0", "unix:/x", NULL },
	{ "::1", "[::1]:0", "[::2]:0" },
	{ "::1/128", "unix:/x", "127.0.0.1:0" },
	{ "2001:db8::/32", "[2001:db8:ffff::1]:0", "[2001:db9::]:0" },
	{ "2001:db8::/33", "[2001:db8:7fff::1]:0", "[2001:db8:8000::]:0" },
	{ "fe80::/10", "[febf::1]:0", "[fec0::1]:0" },
	{ "::/0", "[1::]:0", NULL },
	{ "::ffff:10.0.0.0/104", "10.9.9.9:0", "11.0.0.0:0" },
	{ "10.0.0.1/8", NULL, NULL },
	{ "10.0.0.0/7", "10.0.0.0:0", "12.0.0.0:0" },
	{ "10.0.0.0/6", NULL, NULL },
	{ "192.0.2.129/25", NULL, NULL },
	{ "2001:db8::1/64", NULL, NULL },
	{ "10.0.0.0/33", NULL, NULL },
	{ "::/129", NULL, NULL },
	{ "10.0.0.0/", NULL, NULL },
	{ "10.0.0.0/-8", NULL, NULL },
	{ "10.0.0.0/8/8", NULL, NULL },
	{ "10.0.0.0/255.0.0.0", NULL, NULL },
	{ "10/8", NULL, NULL },
	{ "10.0.0.0:25", NULL, NULL },
	{ "[::1]", NULL, NULL },
	{ "localhost", NULL, NULL },
	{ "/8", NULL, NULL },
	{ "", NULL, NULL },
};

START_TEST(networks_contain)
{
	struct network net = { .bits = 77 };
	int rc = network_parse(networks[_i].net, &net);
	struct endpoint e;
	uint8_t octets[16];

	ck_assert_msg(rc == (networks[_i].in == NULL ? -1 : 0), "%s", networks[_i].net);
	if (rc == -1) {
		ck_assert_uint_eq(net.bits, 77);
		return;
	}
	ck_assert_int_eq(endpoint_parse(networks[_i].in, &e), 0);
	endpoint_octets(&e, octets);
	ck_assert_msg(network_contains(&net, octets), "%s", networks[_i].in);
	if (networks[_i].out == NULL)
		return;
	ck_assert_int_eq(endpoint_parse(networks[_i].out, &e), 0);
	endpoint_octets(&e, octets);
	ck_assert_msg(!network_contains(&net, octets), "%s", networks[_i].out);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("endpoint");
	TCase *tc = tcase_create("endpoint");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, reads_and_writes, 0, COUNT(addresses));
	tcase_add_test(tc, is_what_the_kernel_takes);
	tcase_add_test(tc, strange_sockets_have_a_text);
	tcase_add_loop_test(tc, networks_contain, 0, COUNT(networks));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
