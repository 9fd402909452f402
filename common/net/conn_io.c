/*
 * conn_io - a connection's socket: reading, sending, TLS, acknowledgements.
 *
 * Each function notes in the connection whether the socket is worth another try
 * (`readable`, `writable`) and which event will make it so again.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "common/net/conn_private.h"
#include "common/net/net_private.h"

static void
log_failed(struct conn *c, const char *event, const char *error)
{
	char peer[ENDPOINT_TEXT_MAX];

	log_event(LOG_LEVEL_INFO, event, log_text("session", c->link.id),
	    log_text("peer", endpoint_format_host(peer, &c->peer)), log_text("error", error));
}

static enum conn_io
tls_failed(struct conn *c)
{
	char error[128];

	log_failed(c, "tls_failed", tls_error(c->tls, error, sizeof(error)));
	return CONN_IO_FAILED;
}

/* --- reading --------------------------------------------------------------- */

static enum conn_io
read_plain(struct conn *c, void *buf, size_t cap, size_t *len_r)
{
	ssize_t n;

	do
		n = recv(c->watch.fd, buf, cap, MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	if (n == -1) {
		c->readable = false;
		return errno == EAGAIN || errno == EWOULDBLOCK ? CONN_IO_BLOCKED : CONN_IO_BROKEN;
	}
	if (n == 0)
		return CONN_IO_EOF;
	/* A short read has emptied the socket; the next event will say when there is more. */
	if ((size_t)n < cap)
		c->readable = false;
	*len_r = (size_t)n;
	return CONN_IO_OK;
}

enum conn_io
conn_discard(struct conn *c, size_t *len_r)
{
	unsigned char *scratch = loop_scratch(c->link.loop);

	*len_r = 0;
	if (scratch == NULL)
		return CONN_IO_BROKEN;
	return read_plain(c, scratch, SESSION_INPUT_MAX, len_r);
}

/* TLS holds octets back, so only its WANT says that there are no more. */
static enum conn_io
read_tls(struct conn *c, void *buf, size_t cap, size_t *len_r)
{
	c->read_event = EPOLLIN;
	switch (tls_read(c->tls, buf, cap, len_r)) {
	case TLS_OK:
		return CONN_IO_OK;
	case TLS_WANT_READ:
		c->readable = false;
		return CONN_IO_BLOCKED;
	case TLS_WANT_WRITE:
		c->read_event = EPOLLOUT;
		c->readable = false;
		return CONN_IO_BLOCKED;
	case TLS_CLOSED:
		return CONN_IO_EOF;
	default:
		return tls_failed(c);
	}
}

enum conn_io
conn_read(struct conn *c, void *buf, size_t cap, size_t *len_r)
{
	enum conn_io io;

	*len_r = 0;
	io = c->tls != NULL ? read_tls(c, buf, cap, len_r) : read_plain(c, buf, cap, len_r);
	if (*len_r > 0) {
		c->link.in_octets += *len_r;
		c->moved_in = true;
	}
	return io;
}

/* --- sending --------------------------------------------------------------- */

static enum conn_io
no_scratch(struct conn *c)
{
	log_failed(c, "send_failed", strerrordesc_np(ENOMEM));
	return CONN_IO_FAILED;
}

/* The whole scratch is free: no input is being looked at while something is sent. */
static enum conn_io
send_plain(struct conn *c, size_t budget)
{
	unsigned char *scratch = loop_scratch(c->link.loop);
	ssize_t n;

	if (scratch == NULL)
		return no_scratch(c);
	n = outq_send(&c->out, c->watch.fd, budget, scratch, LOOP_SCRATCH);
	if (n == -1)
		return CONN_IO_BROKEN;
	/* Less than asked for means that the socket is full. */
	if ((size_t)n < budget && c->out.pending > 0) {
		c->writable = false;
		return CONN_IO_BLOCKED;
	}
	return CONN_IO_OK;
}

static enum conn_io
send_tls(struct conn *c, size_t budget)
{
	unsigned char *scratch = loop_scratch(c->link.loop);
	size_t sent = 0, len;
	const void *buf;
	ssize_t n;

	if (scratch == NULL)
		return no_scratch(c);
	c->write_event = EPOLLOUT;
	while (sent < budget) {
		n = outq_peek(&c->out, scratch + SESSION_INPUT_MAX, LOOP_SCRATCH_RECORD, &buf);
		if (n <= 0)
			return n == 0 ? CONN_IO_OK : CONN_IO_BROKEN;
		switch (tls_write(c->tls, buf, (size_t)n, (size_t)n < c->out.pending, &len)) {
		case TLS_OK:
			outq_consume(&c->out, len);
			sent += len;
			break;
		case TLS_WANT_READ:
			c->write_event = EPOLLIN;
			c->writable = false;
			return CONN_IO_BLOCKED;
		case TLS_WANT_WRITE:
			c->writable = false;
			return CONN_IO_BLOCKED;
		case TLS_CLOSED:
			return CONN_IO_BROKEN;
		default:
			return tls_failed(c);
		}
	}
	return CONN_IO_OK;
}

enum conn_io
conn_send(struct conn *c, size_t budget, size_t *len_r)
{
	const uint64_t before = c->out.pending;
	enum conn_io io;

	if (c->tls != NULL)
		io = send_tls(c, budget);
	else
		io = send_plain(c, budget);
	if (io == CONN_IO_BROKEN && c->out.failed) {
		log_failed(c, "send_failed", strerrordesc_np(errno));
		io = CONN_IO_FAILED;
	}
	*len_r = (size_t)(before - c->out.pending);
	c->link.out_octets += *len_r;
	if (*len_r > 0)
		c->moved_out = true;
	return io;
}

/* SIOCOUTQ tells what is unsent or unacknowledged. */
bool
conn_acked(struct conn *c)
{
	struct pollfd state = { .fd = c->watch.fd };
	int left = 0;

	if (!c->link.until_acked)
		return true;
	if (ioctl(c->watch.fd, SIOCOUTQ, &left) == -1 || left == 0)
		return true;
	if (c->unacked != left)
		c->moved_out = true;
	c->unacked = left;
	/* After a reset nothing will ever be acknowledged, and nothing is sent again. */
	if (poll(&state, 1, 0) == 1 && (state.revents & (POLLERR | POLLHUP)) != 0) {
		conn_break(c, SESSION_END_PEER);
		return true;
	}
	return false;
}

/* --- TLS begins, all ends -------------------------------------------------- */

static void
note_tls(struct conn *c)
{
	c->link.tls = true;
	(void)snprintf(c->link.tls_version, sizeof(c->link.tls_version), "%s", tls_version(c->tls));
	(void)snprintf(c->link.tls_cipher, sizeof(c->link.tls_cipher), "%s", tls_cipher(c->tls));
	c->read_event = EPOLLIN;
	c->write_event = EPOLLOUT;
	/* The client's first octets may already be in TLS's own buffer. */
	c->readable = c->writable = true;
}

enum conn_io
conn_handshake(struct conn *c)
{
	switch (tls_handshake(c->tls)) {
	case TLS_OK:
		note_tls(c);
		return CONN_IO_OK;
	case TLS_WANT_READ:
		c->read_event = EPOLLIN;
		c->readable = false;
		return CONN_IO_BLOCKED;
	case TLS_WANT_WRITE:
		c->read_event = EPOLLOUT;
		c->readable = false;
		return CONN_IO_BLOCKED;
	case TLS_CLOSED:
		return CONN_IO_BROKEN;
	default:
		return tls_failed(c);
	}
}

enum conn_io
conn_end_sending(struct conn *c)
{
	/* RFC 8314 3.4: close_notify comes before the end of TCP. */
	if (c->link.tls && tls_shutdown(c->tls) == TLS_WANT_WRITE) {
		c->write_event = EPOLLOUT;
		c->writable = false;
		return CONN_IO_BLOCKED;
	}
	return shutdown(c->watch.fd, SHUT_WR) == -1 ? CONN_IO_BROKEN : CONN_IO_OK;
}
