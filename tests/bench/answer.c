/*
 * answer - a server that talks like one and keeps nothing: the limit of what a dialogue can be.
 *
 * A thread for each core, each with an epoll set, all of them on one listener; a connection
 * belongs to the thread that accepted it.  SMTP: every command is 250, DATA is read up to its end and
 * forgotten.  POP3: every command is +OK, and there is no mail.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limits.h"
#include "measure.h"

struct peer {
	int fd;
	bool in_data;
	char line[512]; /* the beginning of a line; in DATA, its last four octets */
	size_t len;
};

struct answerer {
	pthread_t thread;
	int listener, ep;
	bool pop3;
};

static void
reply(struct peer *p, const char *text)
{
	size_t len = strlen(text);

	/* A client that does not read its replies is none of ours. */
	if (send(p->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len && errno != EPIPE &&
	    errno != ECONNRESET)
		die("answer: send");
}

/* Answers one command; false: it was the last. */
static bool
command(const struct answerer *a, struct peer *p, const char *line)
{
	if (strncmp(line, "QUIT", 4) == 0) {
		reply(p, a->pop3 ? "+OK\r\n" : "221 2.0.0 answer.test\r\n");
		return false;
	}
	if (a->pop3)
		reply(p, strncmp(line, "STAT", 4) == 0 ? "+OK 0 0\r\n" : "+OK\r\n");
	else if (strncmp(line, "DATA", 4) == 0) {
		p->in_data = true;
		reply(p, "354 go on\r\n");
	} else if (strncmp(line, "EHLO", 4) == 0)
		reply(p, "250-answer.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
	else
		reply(p, "250 2.1.0 good\r\n");
	return true;
}

/* Takes what came; how much.  In DATA all but the last octets, which may be its end. */
static size_t
take(const struct answerer *a, struct peer *p, const char *b, size_t len, bool *open_r)
{
	const char *nl;

	*open_r = true;
	if (p->in_data) {
		/* Nothing is pipelined behind a message: its end is where the octets end. */
		if (len < 5)
			return 0;
		if (memcmp(b + len - 5, "\r\n.\r\n", 5) != 0)
			return len - 4;
		p->in_data = false;
		reply(p, "250 2.0.0 gone\r\n");
		return len;
	}
	nl = memchr(b, '\n', len);
	if (nl == NULL)
		return 0;
	*open_r = command(a, p, b);
	return (size_t)(nl - b) + 1;
}

/* False: the connection is over. */
static bool
on_readable(const struct answerer *a, struct peer *p)
{
	static _Thread_local char buffer[256 * 1024];
	size_t len = p->len, at = 0, n;
	ssize_t got;
	bool open = true;

	memcpy(buffer, p->line, len);
	got = recv(p->fd, buffer + len, sizeof(buffer) - len, 0);
	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	len += (size_t)got;
	do {
		n = take(a, p, buffer + at, len - at, &open);
		at += n;
	} while (open && n > 0 && at < len && !(p->in_data && len - at <= 4));
	if (len - at > sizeof(p->line))
		return false;
	memcpy(p->line, buffer + at, len - at);
	p->len = len - at;
	return open;
}

static void
on_connection(const struct answerer *a)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int one = 1, fd = accept4(a->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer *p;

	if (fd < 0) {
		if (errno == EAGAIN || errno == ECONNABORTED)
			return;
		die("answer: accept");
	}
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		die("answer: memory");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	p->fd = fd;
	ev.data.ptr = p;
	if (epoll_ctl(a->ep, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("answer: epoll_ctl");
	reply(p, a->pop3 ? "+OK answer.test\r\n" : "220 answer.test\r\n");
}

static void *
serve(void *arg)
{
	const struct answerer *a = arg;

	for (;;) {
		struct epoll_event evs[64];
		int n = epoll_wait(a->ep, evs, 64, -1);

		if (n < 0 && errno != EINTR)
			die("answer: epoll_wait");
		for (int i = 0; i < n; i++) {
			struct peer *p = evs[i].data.ptr;

			if (p == NULL)
				on_connection(a);
			else if (!on_readable(a, p)) {
				close(p->fd);
				free(p);
			}
		}
	}
	return NULL;
}

int
answer_main(char **args)
{
	const char *proto = "smtp";
	uint64_t threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	const struct option_row rows[] = {
		{ "proto", &proto, NULL }, /* smtp or pop3 */
		{ "threads", NULL, &threads },
	};
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	socklen_t len = sizeof(at);
	struct answerer *all;
	int listener;

	options_read(args, rows, 2);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	all = calloc(threads, sizeof(*all));
	if (all == NULL || listener < 0 || bind(listener, (struct sockaddr *)&at, len) != 0 ||
	    listen(listener, 4096) != 0 || getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		die("answer: a listener");
	for (uint64_t i = 0; i < threads; i++) {
		all[i].listener = listener;
		all[i].pop3 = strcmp(proto, "pop3") == 0;
		all[i].ep = epoll_create1(EPOLL_CLOEXEC);
		if (all[i].ep < 0 || epoll_ctl(all[i].ep, EPOLL_CTL_ADD, listener, &ev) != 0 ||
		    pthread_create(&all[i].thread, NULL, serve, &all[i]) != 0)
			die("answer: a thread");
	}
	printf("port=%u\n", (unsigned)ntohs(at.sin_port));
	fflush(stdout);
	/* It ends when whoever started it closes its standard input. */
	while (getchar() != EOF)
		continue;
	return 0;
}
