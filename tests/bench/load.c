/*
 * load - hands messages to an SMTP server from many connections at once, and
 * measures what the disk can do.
 *
 *   load smtp PORT CONNECTIONS MESSAGES OCTETS DOMAIN MAILBOXES
 *   load sync FOLDER SECONDS
 *
 * smtp: CONNECTIONS to 127.0.0.1:PORT share MESSAGES among them, each of
 * OCTETS on the wire, without pipelining, one after the other on a connection;
 * message i goes to u(i mod MAILBOXES)@DOMAIN.  Prints messages a second and
 * the median and the worst time from the final dot to its reply.
 * sync: appends 4 KiB and calls fdatasync, again and again.  Prints syncs a second.
 *
 * One thread, epoll.  Any reply that is not the expected one ends the run with 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { GREETING, EHLO, MAIL, RCPT, DATA, DOT, QUIT };

struct client {
	int fd;
	enum step step;
	uint64_t number; /* of the message in hand */
	size_t sent;     /* octets of what is being sent */
	char in[2048];
	size_t in_len;
	uint64_t dot_ns; /* when the last octet of the message left */
};

struct run {
	int ep;
	uint64_t next, total, done;
	const char *domain;
	uint64_t mailboxes;
	char *message;
	size_t message_len;
	uint64_t *latencies; /* ns, by order of completion */
	unsigned open;
};

static void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
watch(struct run *r, struct client *c, int op, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (epoll_ctl(r->ep, op, c->fd, &ev) != 0)
		die("epoll_ctl");
}

static void
say(struct client *c, const char *text)
{
	size_t len = strlen(text);

	if (write(c->fd, text, len) != (ssize_t)len)
		die("write");
}

/* Sends what is left of the message; true when all of it is gone. */
static bool
send_message(struct run *r, struct client *c)
{
	while (c->sent < r->message_len) {
		ssize_t n = write(c->fd, r->message + c->sent, r->message_len - c->sent);

		if (n < 0) {
			if (errno == EAGAIN)
				return false;
			die("write");
		}
		c->sent += (size_t)n;
	}
	c->dot_ns = now_ns();
	return true;
}

static void
begin_message(struct run *r, struct client *c)
{
	if (r->next == r->total) {
		c->step = QUIT;
		say(c, "QUIT\r\n");
		return;
	}
	c->number = r->next++;
	c->step = MAIL;
	say(c, "MAIL FROM:<load@client.test>\r\n");
}

/* Acts on one reply; `code` is its first digit. */
static void
on_reply(struct run *r, struct client *c, char code)
{
	static const char wanted[] = { '2', '2', '2', '2', '3', '2', '2' };
	char line[400];

	if (code != wanted[c->step]) {
		fprintf(stderr, "load: step %d was answered %.*s\n", (int)c->step, (int)c->in_len,
		    c->in);
		exit(1);
	}
	switch (c->step) {
	case GREETING:
		c->step = EHLO;
		say(c, "EHLO client.test\r\n");
		break;
	case EHLO:
		begin_message(r, c);
		break;
	case MAIL:
		c->step = RCPT;
		snprintf(line, sizeof(line), "RCPT TO:<u%llu@%s>\r\n",
		    (unsigned long long)(c->number % r->mailboxes), r->domain);
		say(c, line);
		break;
	case RCPT:
		c->step = DATA;
		say(c, "DATA\r\n");
		break;
	case DATA:
		c->step = DOT;
		c->sent = 0;
		if (!send_message(r, c))
			watch(r, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
		break;
	case DOT:
		r->latencies[r->done++] = now_ns() - c->dot_ns;
		begin_message(r, c);
		break;
	case QUIT:
		close(c->fd);
		c->fd = -1;
		r->open--;
		break;
	}
}

static void
on_readable(struct run *r, struct client *c)
{
	ssize_t n = read(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len);

	if (n <= 0) {
		if (n < 0 && errno == EAGAIN)
			return;
		fprintf(stderr, "load: the server closed the connection\n");
		exit(1);
	}
	c->in_len += (size_t)n;
	for (;;) {
		char *nl = memchr(c->in, '\n', c->in_len);
		size_t len;
		char code = c->in[0];
		bool last;

		if (nl == NULL)
			return;
		len = (size_t)(nl - c->in) + 1;
		last = len < 4 || c->in[3] != '-';
		if (last)
			on_reply(r, c, code);
		memmove(c->in, c->in + len, c->in_len - len);
		c->in_len -= len;
		if (c->fd < 0)
			return;
	}
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
make_message(struct run *r, size_t octets)
{
	static const char head[] = "Subject: load\r\n\r\n";
	size_t at = sizeof(head) - 1;

	if (octets < at + 2)
		octets = at + 2;
	r->message_len = octets + 3;
	r->message = malloc(r->message_len);
	if (r->message == NULL)
		die("malloc");
	memcpy(r->message, head, at);
	for (size_t i = at; i < octets; i++)
		r->message[i] = (i - at) % 78 == 76 ? '\r' : (i - at) % 78 == 77 ? '\n' : 'x';
	if (r->message[octets - 3] == '\r')
		r->message[octets - 3] = 'x';
	memcpy(r->message + octets - 2, "\r\n.\r\n", 5);
}

static int
run_smtp(char **argv)
{
	struct run r = { .domain = argv[4] };
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[0])) };
	unsigned n = (unsigned)atoi(argv[1]);
	struct client *clients = calloc(n, sizeof(*clients));
	uint64_t begun;
	double seconds;

	r.total = strtoull(argv[2], NULL, 10);
	r.mailboxes = strtoull(argv[5], NULL, 10);
	make_message(&r, strtoul(argv[3], NULL, 10));
	r.latencies = calloc(r.total, sizeof(*r.latencies));
	r.ep = epoll_create1(EPOLL_CLOEXEC);
	if (clients == NULL || r.latencies == NULL || r.ep < 0 || n == 0 || r.total == 0 ||
	    r.mailboxes == 0)
		die("start");
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	begun = now_ns();
	for (unsigned i = 0; i < n; i++) {
		int one = 1;

		clients[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (clients[i].fd < 0 ||
		    connect(clients[i].fd, (struct sockaddr *)&to, sizeof(to)) != 0)
			die("connect");
		setsockopt(clients[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (fcntl(clients[i].fd, F_SETFL, O_NONBLOCK) != 0)
			die("fcntl");
		watch(&r, &clients[i], EPOLL_CTL_ADD, EPOLLIN);
		r.open++;
	}
	while (r.open > 0) {
		struct epoll_event evs[64];
		int got = epoll_wait(r.ep, evs, 64, 30000);

		if (got <= 0)
			die("no event for 30 seconds");
		for (int i = 0; i < got; i++) {
			struct client *c = evs[i].data.ptr;

			if ((evs[i].events & EPOLLOUT) != 0 && send_message(&r, c))
				watch(&r, c, EPOLL_CTL_MOD, EPOLLIN);
			if ((evs[i].events & ~(uint32_t)EPOLLOUT) != 0)
				on_readable(&r, c);
		}
	}
	seconds = (double)(now_ns() - begun) / 1e9;
	qsort(r.latencies, r.done, sizeof(*r.latencies), by_value);
	printf("%.0f messages/s, reply after %.2f ms (median), %.2f ms (99 %%), %.2f ms (worst)\n",
	    (double)r.done / seconds, (double)r.latencies[r.done / 2] / 1e6,
	    (double)r.latencies[r.done * 99 / 100] / 1e6, (double)r.latencies[r.done - 1] / 1e6);
	free(r.latencies);
	free(r.message);
	free(clients);
	return 0;
}

static int
run_sync(char **argv)
{
	static char block[4096];
	char name[4096];
	uint64_t begun = now_ns(), end = begun + strtoull(argv[1], NULL, 10) * 1000000000u, n = 0;
	int fd;

	snprintf(name, sizeof(name), "%s/sync-rate", argv[0]);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(name);
	memset(block, 'x', sizeof(block));
	while (now_ns() < end) {
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(fd) != 0)
			die(name);
		n++;
	}
	printf("%.0f syncs/s\n", (double)n * 1e9 / (double)(now_ns() - begun));
	close(fd);
	unlink(name);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 8 && strcmp(argv[1], "smtp") == 0)
		return run_smtp(argv + 2);
	if (argc == 4 && strcmp(argv[1], "sync") == 0)
		return run_sync(argv + 2);
	fprintf(stderr, "usage: load smtp PORT CONNECTIONS MESSAGES OCTETS DOMAIN MAILBOXES\n"
			"       load sync FOLDER SECONDS\n");
	return 64;
}
