/* client - many connections on one thread: see client.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "measure.h"

#define PATIENCE_MS 120000

static char buffer[256 * 1024 + 1];

static void
die_tls(struct client *c, const char *what)
{
	char text[200];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	die_saying("%s: %s: %s", c->load->name, what, text);
}

/* --- sockets -------------------------------------------------------------- */

static void
watch(struct client *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (c->watched == events)
		return;
	if (epoll_ctl(c->load->ep, c->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev) !=
	    0)
		die("epoll_ctl");
	c->watched = events;
}

/* 127.0.1.1 and on: a server that counts by address sees as many as there are connections.  To
 * elsewhere, whichever address leads there. */
static in_addr_t
next_address(struct load *l)
{
	uint64_t k = l->opened++;

	if (l->host >> 24 != 127)
		return htonl(INADDR_ANY);
	return htonl(0x7f000000u | (uint32_t)(1 + k / 250 % 250) << 8 | (uint32_t)(1 + k % 250));
}

static void
connect_now(struct client *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET },
			   to = { .sin_family = AF_INET, .sin_port = htons(c->load->port) };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		die("socket (see ulimit -n)");
	from.sin_addr.s_addr = next_address(c->load);
	to.sin_addr.s_addr = htonl(c->load->host);
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) != 0)
		die("bind");
	c->watched = 0;
	c->connecting = true;
	c->load->ungreeted++;
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		die("connect");
	watch(c, EPOLLOUT);
}

static void
connect_waiting(struct load *l)
{
	while (l->waiting != NULL && l->ungreeted < l->opening) {
		struct client *c = l->waiting;

		l->waiting = c->next;
		if (l->waiting == NULL)
			l->waiting_end = &l->waiting;
		c->next = NULL;
		connect_now(c);
	}
}

void
client_open(struct client *c)
{
	struct load *l = c->load;

	l->open++;
	c->next = NULL;
	*l->waiting_end = c;
	l->waiting_end = &c->next;
}

void
client_close(struct client *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
	close(c->fd);
	c->fd = -1;
	if (!c->greeted)
		c->load->ungreeted--;
	c->greeted = c->handshaking = c->in_body = c->connecting = false;
	c->out_len = c->out_at = c->part_len = c->shared_len = c->shared_at = 0;
	c->load->open--;
}

/* --- TLS ------------------------------------------------------------------ */

static void
handshake(struct client *c)
{
	int rc = SSL_connect(c->ssl);

	if (rc == 1) {
		c->handshaking = false;
		watch(c, EPOLLIN);
		if (c->greeted) {
			c->load->script->secured(c);
			client_flush(c);
		}
		return;
	}
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		watch(c, EPOLLIN);
		break;
	case SSL_ERROR_WANT_WRITE:
		watch(c, EPOLLOUT);
		break;
	default:
		die_tls(c, "TLS handshake");
	}
}

void
client_start_tls(struct client *c)
{
	struct load *l = c->load;

	if (l->tls == NULL) {
		l->tls = SSL_CTX_new(TLS_client_method());
		if (l->tls == NULL)
			die_tls(c, "TLS");
		/* Whole handshakes, and no certificate looked at: the servers' work is measured. */
		SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
					     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					     SSL_MODE_RELEASE_BUFFERS);
	}
	c->ssl = SSL_new(l->tls);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
		die_tls(c, "TLS");
	c->handshaking = true;
}

/* --- out ------------------------------------------------------------------ */

void
client_put(struct client *c, const char *octets, size_t len)
{
	if (c->out_len + len > c->out_room) {
		while (c->out_len + len > c->out_room)
			c->out_room = c->out_room == 0 ? 256 : c->out_room * 2;
		c->out = realloc(c->out, c->out_room);
		if (c->out == NULL)
			die("memory");
	}
	memcpy(c->out + c->out_len, octets, len);
	c->out_len += len;
}

void
client_printf(struct client *c, const char *format, ...)
{
	char line[600];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		die_saying("a command is too long");
	client_put(c, line, (size_t)n);
}

void
client_put_shared(struct client *c, const char *octets, size_t len)
{
	c->shared = octets;
	c->shared_len = len;
	c->shared_at = 0;
}

/* Octets taken of what is put; 0: the socket is full. */
static size_t
write_some(struct client *c)
{
	struct iovec iov[2] = { { c->out + c->out_at, c->out_len - c->out_at },
		{ (void *)(uintptr_t)(c->shared + c->shared_at), c->shared_len - c->shared_at } };
	int first = iov[0].iov_len == 0 ? 1 : 0;
	ssize_t n;

	if (c->ssl != NULL) {
		int rc = SSL_write(c->ssl, iov[first].iov_base,
		    iov[first].iov_len > 1 << 20 ? 1 << 20 : (int)iov[first].iov_len);

		if (rc > 0)
			return (size_t)rc;
		rc = SSL_get_error(c->ssl, rc);
		if (rc != SSL_ERROR_WANT_WRITE && rc != SSL_ERROR_WANT_READ)
			die_tls(c, "SSL_write");
		return 0;
	}
	n = writev(c->fd, iov + first, 2 - first);
	if (n >= 0)
		return (size_t)n;
	if (errno != EAGAIN)
		die_saying("%s: write: %s", c->load->name, strerror(errno));
	return 0;
}

void
client_flush(struct client *c)
{
	if (c->fd < 0 || c->handshaking || c->connecting)
		return;
	while (c->out_at < c->out_len || c->shared_at < c->shared_len) {
		uint64_t before = now_ns();
		size_t n = write_some(c), of_out = c->out_len - c->out_at;

		if (n == 0) {
			watch(c, EPOLLIN | EPOLLOUT);
			return;
		}
		of_out = n < of_out ? n : of_out;
		c->out_at += of_out;
		c->shared_at += n - of_out;
		if (c->out_at == c->out_len && c->shared_at == c->shared_len)
			c->sent_ns = before;
	}
	c->out_at = c->out_len = c->shared_at = c->shared_len = 0;
	if (c->out_room > 4096) {
		free(c->out);
		c->out = NULL;
		c->out_room = 0;
	}
	watch(c, EPOLLIN);
}

/* --- in ------------------------------------------------------------------- */

void
client_expect_body(struct client *c, bool count_lines)
{
	c->in_body = c->body_begins = true;
	c->count_lines = count_lines;
	c->body_octets = c->body_lines = 0;
}

static uint64_t
lines_in(const char *b, size_t len)
{
	const char *end = b + len;
	uint64_t n = 0;

	while ((b = memchr(b, '\n', (size_t)(end - b))) != NULL) {
		b++;
		n++;
	}
	return n;
}

/* Where CRLF.CRLF begins its dot, or `len`. */
static size_t
find_end(const char *b, size_t len)
{
	const char *p = b + 2, *last = b + len - 2; /* the dot is before `last` */

	while (p < last && (p = memchr(p, '.', (size_t)(last - p))) != NULL) {
		if (p[-2] == '\r' && p[-1] == '\n' && p[1] == '\r' && p[2] == '\n')
			return (size_t)(p - b);
		p++;
	}
	return len;
}

/* Takes octets of a body; how many.  Keeps the last four, which may begin its end. */
static size_t
take_body(struct client *c, const char *b, size_t len)
{
	size_t dot;

	if (len < 3)
		return 0;
	if (c->body_begins && memcmp(b, ".\r\n", 3) == 0) {
		c->in_body = false;
		c->load->script->body(c, 0, 0);
		return 3;
	}
	c->body_begins = false;
	dot = len < 5 ? len : find_end(b, len);
	if (dot == len) {
		if (len <= 4)
			return 0;
		c->body_octets += len - 4;
		c->body_lines += c->count_lines ? lines_in(b, len - 4) : 0;
		return len - 4;
	}
	c->in_body = false;
	c->load->script->body(
	    c, c->body_octets + dot, c->body_lines + (c->count_lines ? lines_in(b, dot) : 0));
	return dot + 3;
}

static size_t
take_line(struct client *c, char *b, size_t len)
{
	char *nl = memchr(b, '\n', len);
	size_t n;

	if (nl == NULL)
		return 0;
	n = (size_t)(nl - b);
	if (n == 0 || nl[-1] != '\r')
		die_saying("%s: a reply does not end in CRLF: %.*s", c->load->name, (int)n, b);
	nl[-1] = '\0';
	if (!c->greeted) {
		c->greeted = true;
		c->load->ungreeted--;
	}
	c->load->script->line(c, b, n - 1);
	return n + 1;
}

static ssize_t
read_some(struct client *c, char *b, size_t room)
{
	ssize_t n;

	if (c->ssl == NULL) {
		n = recv(c->fd, b, room, 0);
		if (n < 0 && errno == EAGAIN)
			return -1;
		if (n < 0)
			die_saying("%s: read: %s", c->load->name, strerror(errno));
		return n;
	}
	n = SSL_read(c->ssl, b, (int)room);
	if (n <= 0) {
		int rc = SSL_get_error(c->ssl, (int)n);

		if (rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE)
			return -1;
		if (rc != SSL_ERROR_ZERO_RETURN)
			die_tls(c, "SSL_read");
		return 0;
	}
	return n;
}

static void
take(struct client *c, char *b, size_t len)
{
	while (len > 0 && c->fd >= 0) {
		size_t n = c->in_body ? take_body(c, b, len) : take_line(c, b, len);

		if (c->handshaking && n < len)
			die_saying("%s: octets before the handshake", c->load->name);
		if (n == 0 && len > sizeof(c->part))
			die_saying("%s: a line is too long: %.80s", c->load->name, b);
		b += n;
		len -= n;
		/* What is left of a body comes back with more behind it. */
		if (n == 0 || (c->in_body && !c->body_begins && len <= 4))
			break;
	}
	if (c->fd >= 0) {
		memcpy(c->part, b, len);
		c->part_len = len;
	}
}

/* TLS gives a record at a time: they are put together until none is there. */
static void
read_and_take(struct client *c)
{
	size_t len = c->part_len;
	ssize_t n;

	memcpy(buffer, c->part, len);
	c->part_len = 0;
	do {
		n = read_some(c, buffer + len, sizeof(buffer) - 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 && c->ssl != NULL && len < sizeof(buffer) - 1);
	take(c, buffer, len);
	/* After its last reply it may close; the script has closed then, too. */
	if (n == 0 && c->fd >= 0)
		die_saying("%s: the server closed the connection%s%.*s", c->load->name,
		    len > 0 ? " behind: " : "", len > 200 ? 200 : (int)len, buffer);
}

static void
on_readable(struct client *c)
{
	/* What TLS holds already, epoll does not tell of. */
	do
		read_and_take(c);
	while (c->fd >= 0 && c->ssl != NULL && !c->handshaking && SSL_pending(c->ssl) > 0);
	if (c->handshaking && c->fd >= 0) {
		handshake(c);
		return;
	}
	client_flush(c);
}

static void
on_connected(struct client *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
		errno = error;
		die("connect");
	}
	c->connecting = false;
	watch(c, EPOLLIN);
	if (c->load->implicit_tls) {
		client_start_tls(c);
		handshake(c);
	}
}

/* --- the loop ------------------------------------------------------------- */

void
load_init(struct load *l, const struct script *script, const char *name, uint16_t port, unsigned n)
{
	*l = (struct load){ .script = script,
		.name = name,
		.host = INADDR_LOOPBACK,
		.port = port,
		.n = n,
		.opening = OPENING };
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	l->clients = calloc(n, script->client_size);
	if (l->ep < 0 || l->clients == NULL)
		die("epoll");
	l->waiting_end = &l->waiting;
	for (unsigned i = 0; i < n; i++) {
		load_client(l, i)->load = l;
		load_client(l, i)->fd = -1;
	}
	l->now = now_ns();
}

struct client *
load_client(struct load *l, unsigned i)
{
	return (struct client *)(void *)(l->clients + i * l->script->client_size);
}

void
load_turn(struct load *l, int timeout_ms)
{
	struct epoll_event evs[128];
	int got;

	connect_waiting(l);
	got = epoll_wait(l->ep, evs, 128, timeout_ms);
	if (got < 0 && errno != EINTR)
		die("epoll_wait");
	l->now = now_ns();
	for (int i = 0; i < got; i++) {
		struct client *c = evs[i].data.ptr;

		if (c->connecting)
			on_connected(c);
		else if (c->handshaking)
			handshake(c);
		else {
			if ((evs[i].events & EPOLLOUT) != 0)
				client_flush(c);
			if ((evs[i].events & ~(uint32_t)EPOLLOUT) != 0)
				on_readable(c);
		}
	}
	if (got == 0 && timeout_ms == PATIENCE_MS)
		die_saying("%s: nothing happened for two minutes", l->name);
	if (l->due_ns != 0 && l->now >= l->due_ns)
		l->script->due(l);
}

void
load_run(struct load *l)
{
	while (l->open > 0 || l->due_ns != 0) {
		int timeout = PATIENCE_MS;

		if (l->due_ns != 0)
			timeout =
			    l->due_ns <= now_ns() ? 0 : (int)((l->due_ns - now_ns()) / 1000000 + 1);
		load_turn(l, timeout);
	}
}

void
load_release(struct load *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		struct client *c = load_client(l, i);

		if (c->fd >= 0)
			client_close(c);
		free(c->out);
	}
	free(l->clients);
	SSL_CTX_free(l->tls);
	close(l->ep);
}
