/*
 * endpoint - numeric socket addresses and networks as text.
 *
 * Names are never looked up: what a daemon listens on must not depend on a
 * resolver.  Thread: any.
 */
#ifndef BASE_ENDPOINT_H
#define BASE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

struct endpoint {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} addr;
	socklen_t len;
};

/* "127.0.0.1:25", "[::1]:25", "unix:/run/lmtp".  Port 0 is taken.  0, or -1. */
int endpoint_parse(const char *text, struct endpoint *out_r);

#define ENDPOINT_TEXT_MAX 128
/* As endpoint_parse() reads it. */
const char *endpoint_format(char text[ENDPOINT_TEXT_MAX], const struct endpoint *);
/* The address alone, "127.0.0.1", "::1"; an IPv4 address mapped into IPv6 is
 * written as IPv4; ENDPOINT_HOST_UNIX for a Unix socket. */
#define ENDPOINT_HOST_UNIX "unix"
const char *endpoint_format_host(char text[ENDPOINT_TEXT_MAX], const struct endpoint *);

/* The address as 16 octets, IPv4 mapped into IPv6; zeros for a Unix socket. */
void endpoint_octets(const struct endpoint *, uint8_t octets[16]);

struct network {
	uint8_t octets[16];
	unsigned bits;          /* of the 128 */
};

/* "10.0.0.0/8", "::1", "192.0.2.7".  Bits set behind the mask are an error. */
int network_parse(const char *text, struct network *out_r);
/* A Unix socket counts as being in every network list: true when octets are all zero. */
bool network_contains(const struct network *, const uint8_t octets[16]);

#endif
