/*
 * rig - what tests of this floor need of sockets and files.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An unnamed file with these octets. */
static inline int
rig_file(const void *buf, size_t len)
{
	char path[] = "/tmp/restante-test-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(write(fd, buf, len), (ssize_t)len);
	return fd;
}

static inline void
rig_buffers(int fd, int octets)
{
	if (octets == 0)
		return;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &octets, sizeof(octets)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof(octets)), 0);
}

/* Two sockets that talk to each other, non-blocking; over TCP on the loopback
 * interface, or Unix. */
static inline void
rig_pair(int pair[2], bool tcp, int buffer)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int listener;

	if (!tcp) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		rig_buffers(pair[0], buffer);
		rig_buffers(pair[1], buffer);
		return;
	}
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ne(listener, -1);
	rig_buffers(listener, buffer);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ne(pair[1], -1);
	rig_buffers(pair[1], buffer);
	ck_assert_int_eq(connect(pair[1], (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	pair[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	ck_assert_int_ne(pair[0], -1);
	close(listener);
}

#endif
