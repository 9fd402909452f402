/*
 * endpoint - numeric socket addresses and networks as text.
 */
#include "base/endpoint.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define UNIX_PREFIX "unix:"

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* An address of either family as 16 octets; inet_pton(3) wants a NUL behind it. */
static int
parse_host(int family, const char *text, size_t len, uint8_t octets[16])
{
	char host[INET6_ADDRSTRLEN];

	if (len >= sizeof(host))
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	if (family == AF_INET6)
		return inet_pton(AF_INET6, host, octets) == 1 ? 0 : -1;
	memcpy(octets, mapped_prefix, sizeof(mapped_prefix));
	return inet_pton(AF_INET, host, octets + 12) == 1 ? 0 : -1;
}

static int
parse_unix(const char *path, struct endpoint *out_r)
{
	size_t len = strlen(path);

	/* A daemon has no folder of its own that a relative path could mean. */
	if (path[0] != '/' || len >= sizeof(out_r->addr.un.sun_path))
		return -1;
	memset(out_r, 0, sizeof(*out_r));
	out_r->addr.un.sun_family = AF_UNIX;
	memcpy(out_r->addr.un.sun_path, path, len);
	out_r->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

int
endpoint_parse(const char *text, struct endpoint *out_r)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : 0;
	uint8_t octets[16];
	uint64_t port;
	bool v6;

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_unix(text + strlen(UNIX_PREFIX), out_r);
	if (colon == NULL || num_parse_u64(colon + 1, strlen(colon + 1), 0, 65535, &port) == -1)
		return -1;
	v6 = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	if (parse_host(v6 ? AF_INET6 : AF_INET, v6 ? text + 1 : text, v6 ? len - 2 : len, octets) ==
	    -1)
		return -1;

	memset(out_r, 0, sizeof(*out_r));
	if (v6) {
		out_r->addr.in6.sin6_family = AF_INET6;
		out_r->addr.in6.sin6_port = htons((uint16_t)port);
		memcpy(&out_r->addr.in6.sin6_addr, octets, 16);
		out_r->len = sizeof(out_r->addr.in6);
	} else {
		out_r->addr.in.sin_family = AF_INET;
		out_r->addr.in.sin_port = htons((uint16_t)port);
		memcpy(&out_r->addr.in.sin_addr, octets + 12, 4);
		out_r->len = sizeof(out_r->addr.in);
	}
	return 0;
}

/* The path as far as the kernel gave one: the peer of a Unix socket has none, an
 * abstract one begins with a NUL, which is written as @. */
static const char *
format_unix(char text[ENDPOINT_TEXT_MAX], const struct endpoint *e)
{
	const size_t start = offsetof(struct sockaddr_un, sun_path);
	char path[sizeof(e->addr.un.sun_path) + 1] = "";

	if (e->len > start && e->len <= sizeof(e->addr.un)) {
		memcpy(path, e->addr.un.sun_path, e->len - start);
		if (path[0] == '\0' && e->len > start + 1)
			path[0] = '@';
	}
	(void)snprintf(text, ENDPOINT_TEXT_MAX, UNIX_PREFIX "%s", path);
	return text;
}

static const char *
format_octets(char text[ENDPOINT_TEXT_MAX], int family, const void *octets)
{
	const char *p = inet_ntop(family, octets, text, ENDPOINT_TEXT_MAX);

	/* It fails for an unknown family or too little room only. */
	assert(p != NULL);
	return p;
}

const char *
endpoint_format(char text[ENDPOINT_TEXT_MAX], const struct endpoint *e)
{
	size_t len;

	switch (e->addr.sa.sa_family) {
	case AF_INET:
		format_octets(text, AF_INET, &e->addr.in.sin_addr);
		len = strlen(text);
		(void)snprintf(
		    text + len, ENDPOINT_TEXT_MAX - len, ":%u", ntohs(e->addr.in.sin_port));
		return text;
	case AF_INET6:
		text[0] = '[';
		(void)inet_ntop(AF_INET6, &e->addr.in6.sin6_addr, text + 1, ENDPOINT_TEXT_MAX - 1);
		len = strlen(text);
		(void)snprintf(
		    text + len, ENDPOINT_TEXT_MAX - len, "]:%u", ntohs(e->addr.in6.sin6_port));
		return text;
	case AF_UNIX:
		return format_unix(text, e);
	default:
		return strcpy(text, "unknown");
	}
}

const char *
endpoint_format_host(char text[ENDPOINT_TEXT_MAX], const struct endpoint *e)
{
	uint8_t octets[16];

	switch (e->addr.sa.sa_family) {
	case AF_INET:
	case AF_INET6:
		endpoint_octets(e, octets);
		if (memcmp(octets, mapped_prefix, sizeof(mapped_prefix)) == 0)
			return format_octets(text, AF_INET, octets + 12);
		return format_octets(text, AF_INET6, octets);
	case AF_UNIX:
		return strcpy(text, ENDPOINT_HOST_UNIX);
	default:
		return strcpy(text, "unknown");
	}
}

void
endpoint_octets(const struct endpoint *e, uint8_t octets[16])
{
	switch (e->addr.sa.sa_family) {
	case AF_INET:
		memcpy(octets, mapped_prefix, sizeof(mapped_prefix));
		memcpy(octets + 12, &e->addr.in.sin_addr, 4);
		break;
	case AF_INET6:
		memcpy(octets, &e->addr.in6.sin6_addr, 16);
		break;
	default:
		memset(octets, 0, 16);
	}
}

/* The octet that masks off what lies behind `bits`, for the octet at `i`. */
static uint8_t
mask_octet(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (uint8_t)(0xff << (8 - bits % 8));
}

int
network_parse(const char *text, struct network *out_r)
{
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	bool v6 = memchr(text, ':', len) != NULL;
	unsigned width = v6 ? 128 : 32, i;
	struct network net;
	uint64_t bits = width;

	if (parse_host(v6 ? AF_INET6 : AF_INET, text, len, net.octets) == -1)
		return -1;
	if (slash != NULL && num_parse_u64(slash + 1, strlen(slash + 1), 0, width, &bits) == -1)
		return -1;
	net.bits = (unsigned)bits + 128 - width;
	for (i = 0; i < 16; i++) {
		if ((net.octets[i] & ~mask_octet(net.bits, i)) != 0)
			return -1;
	}
	*out_r = net;
	return 0;
}

bool
network_contains(const struct network *net, const uint8_t octets[16])
{
	static const uint8_t unix_socket[16];
	unsigned i;

	if (memcmp(octets, unix_socket, sizeof(unix_socket)) == 0)
		return true;
	for (i = 0; i < 16; i++) {
		if (((octets[i] ^ net->octets[i]) & mask_octet(net->bits, i)) != 0)
			return false;
	}
	return true;
}
