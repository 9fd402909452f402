/*
 * listener: binding, Unix sockets and stale ones, sockets handed over, and what accepted
 * connections come with.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/listener.h"
#include "rig.h"

static struct listener l;
static struct strbuf err;
static char folder[] = "/tmp/restante-test-XXXXXX";
static char path[64];

static void
begin(void)
{
	strbuf_init(&err, 4096);
	l.fd = -1;
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/socket", folder);
}

static void
end(void)
{
	listener_close(&l);
	listener_close(&l);
	strbuf_release(&err);
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static struct endpoint
at(const char *text)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse(text, &e), 0);
	return e;
}

static struct endpoint
at_path(void)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "unix:%s", path);
	return at(text);
}

static int
open_at(struct endpoint e)
{
	return listener_open(&l, &e, "smtp", false, &err);
}

static int
connect_to(const struct endpoint *e)
{
	int fd = socket(e->addr.sa.sa_family, SOCK_STREAM, 0);

	ck_assert_int_ne(fd, -1);
	if (connect(fd, &e->addr.sa, e->len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The kernel may take a moment to hand a connection over. */
static int
accept_soon(struct endpoint *peer, struct endpoint *local)
{
	struct pollfd p = { .fd = l.fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	return listener_accept(&l, peer, local);
}

static int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void
require_accepted(int fd)
{
	ck_assert_int_ne(fd, -1);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

/* --- TCP ------------------------------------------------------------------- */

/* Rows: bound to one address and to all. */
static const struct {
	const char *listen, *client;
} tcp[] = { { "127.0.0.1:0", "127.0.0.1" }, { "0.0.0.0:0", "127.0.0.1" } };

START_TEST(a_connection_has_what_it_needs)
{
	struct endpoint peer, local, to;
	char text[ENDPOINT_TEXT_MAX], peer_text[ENDPOINT_TEXT_MAX], want[64];
	int client, fd;

	ck_assert_int_eq(open_at(at(tcp[_i].listen)), 0);
	ck_assert_str_eq(l.proto, "smtp");
	ck_assert_int_ne(ntohs(l.bound.addr.in.sin_port), 0);
	(void)snprintf(
	    want, sizeof(want), "%s:%u", tcp[_i].client, ntohs(l.bound.addr.in.sin_port));
	to = at(want);
	ck_assert_int_eq(listener_accept(&l, &peer, &local), -1);
	ck_assert_int_eq(errno, EAGAIN);

	client = connect_to(&to);
	ck_assert_int_ne(client, -1);
	fd = accept_soon(&peer, &local);
	require_accepted(fd);
	ck_assert_str_eq(endpoint_format(text, &local), want);
	to.len = sizeof(to.addr);
	ck_assert_int_eq(getsockname(client, &to.addr.sa, &to.len), 0);
	ck_assert_str_eq(endpoint_format(text, &peer), endpoint_format(peer_text, &to));
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), LISTENER_USER_TIMEOUT_MS);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), LISTENER_KEEPALIVE_IDLE_S);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), LISTENER_KEEPALIVE_INTERVAL_S);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), LISTENER_KEEPALIVE_PROBES);
	close(fd);
	close(client);
}
END_TEST

START_TEST(a_port_in_use_is_said)
{
	struct listener other;
	struct endpoint same;

	ck_assert_int_eq(open_at(at("127.0.0.1:0")), 0);
	same = l.bound;
	ck_assert_int_eq(listener_open(&other, &same, "pop3", false, &err), -1);
	ck_assert_int_eq(other.fd, -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "another program listens there"));
	ck_assert_ptr_nonnull(strstr(err.buf, "127.0.0.1:"));
}
END_TEST

START_TEST(an_address_of_another_machine_is_said)
{
	ck_assert_int_eq(open_at(at("192.0.2.1:0")), -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "192.0.2.1:0"));
	ck_assert_int_eq(l.fd, -1);
}
END_TEST

START_TEST(a_low_port_needs_leave)
{
	int low = -1;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%d", &low), 1);
	(void)fclose(f);
	if (geteuid() == 0 && seteuid(65534) == -1)
		return;
	if (low > 7) {
		ck_assert_int_eq(open_at(at("127.0.0.1:7")), -1);
		ck_assert_ptr_nonnull(strstr(err.buf, "start as root"));
	}
	ck_assert(seteuid(0) == 0 || geteuid() != 0);
}
END_TEST

/* A machine may lack IPv6, then that is logged and no failure; either way the IPv4
 * port of the same number stays free. */
START_TEST(ipv6_is_of_its_own)
{
	struct listener other;
	char text[64];
	struct endpoint v4;
	int rc;

	ck_assert_int_eq(open_at(at("[::]:0")), 0);
	if (l.fd == -1)
		return;
	(void)snprintf(text, sizeof(text), "0.0.0.0:%u", ntohs(l.bound.addr.in6.sin6_port));
	v4 = at(text);
	rc = listener_open(&other, &v4, "smtp", false, &err);
	ck_assert_int_eq(rc, 0);
	listener_close(&other);
}
END_TEST

/* --- Unix ------------------------------------------------------------------ */

START_TEST(a_unix_socket_is_for_its_group)
{
	struct endpoint peer, local;
	char text[ENDPOINT_TEXT_MAX];
	struct stat st;
	int client, fd;

	ck_assert_int_eq(open_at(at_path()), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0660);
	client = connect_to(&l.bound);
	ck_assert_int_ne(client, -1);
	fd = accept_soon(&peer, &local);
	require_accepted(fd);
	ck_assert_str_eq(endpoint_format_host(text, &peer), "unix");
	ck_assert_str_eq(endpoint_format_host(text, &local), "unix");
	close(fd);
	close(client);
	listener_close(&l);
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(a_stale_unix_socket_is_replaced)
{
	struct endpoint e = at_path();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;

	ck_assert_int_eq(bind(fd, &e.addr.sa, e.len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd);
	ck_assert_int_eq(open_at(e), 0);
	client = connect_to(&e);
	ck_assert_int_ne(client, -1);
	close(client);
}
END_TEST

START_TEST(a_living_unix_socket_is_left_alone)
{
	struct endpoint e = at_path();
	struct listener other;
	int client;

	ck_assert_int_eq(open_at(e), 0);
	ck_assert_int_eq(listener_open(&other, &e, "lmtp", false, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "another program listens there"));
	client = connect_to(&e);
	ck_assert_int_ne(client, -1);
	close(client);
}
END_TEST

START_TEST(a_file_is_not_taken_for_a_socket)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	struct stat st;

	close(fd);
	ck_assert_int_eq(open_at(at_path()), -1);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
}
END_TEST

START_TEST(a_missing_folder_is_said)
{
	ck_assert_int_eq(open_at(at("unix:/nowhere/at/all")), -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "make the folder first"));
}
END_TEST

/* --- handed over ----------------------------------------------------------- */

START_TEST(a_socket_handed_over_is_used)
{
	struct endpoint e = at("127.0.0.1:0"), peer, local;
	int given = socket(AF_INET, SOCK_STREAM, 0), client, fd;

	ck_assert_int_eq(bind(given, &e.addr.sa, e.len), 0);
	ck_assert_int_eq(listen(given, 5), 0);
	ck_assert_int_eq(listener_adopt(&l, given, "pop3s", true, &err), 0);
	ck_assert(l.tls_first);
	ck_assert_int_ne(ntohs(l.bound.addr.in.sin_port), 0);
	ck_assert_ptr_null(l.unix_path);
	client = connect_to(&l.bound);
	ck_assert_int_ne(client, -1);
	fd = accept_soon(&peer, &local);
	require_accepted(fd);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), LISTENER_USER_TIMEOUT_MS);
	close(fd);
	close(client);
}
END_TEST

START_TEST(what_is_no_listening_socket_is_refused)
{
	int fd = _i == 0 ? open("/dev/null", O_RDONLY)
	                 : socket(AF_INET, _i == 1 ? SOCK_STREAM : SOCK_DGRAM, 0);

	ck_assert_int_eq(listener_adopt(&l, fd, "smtp", false, &err), -1);
	ck_assert_int_eq(l.fd, -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "no listening stream socket"));
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("listener");
	TCase *tc = tcase_create("listener");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_connection_has_what_it_needs, 0, 2);
	tcase_add_test(tc, a_port_in_use_is_said);
	tcase_add_test(tc, an_address_of_another_machine_is_said);
	tcase_add_test(tc, a_low_port_needs_leave);
	tcase_add_test(tc, ipv6_is_of_its_own);
	tcase_add_test(tc, a_unix_socket_is_for_its_group);
	tcase_add_test(tc, a_stale_unix_socket_is_replaced);
	tcase_add_test(tc, a_living_unix_socket_is_left_alone);
	tcase_add_test(tc, a_file_is_not_taken_for_a_socket);
	tcase_add_test(tc, a_missing_folder_is_said);
	tcase_add_test(tc, a_socket_handed_over_is_used);
	tcase_add_loop_test(tc, what_is_no_listening_socket_is_refused, 0, 3);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
