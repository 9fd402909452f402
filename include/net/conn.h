/*
 * conn - a connection: a socket, its TLS, its buffers, and the session that it serves.
 *
 * It hands runs of octets to the session and acts on what the session wants
 * (net/session.h).  It knows nothing of mail.
 *
 * Input is read into the loop's one scratch block and given to the session
 * straight from there; only what the session left over is kept.  So an idle connection
 * holds no buffer.  At most CONN_TURN octets are read and sent a turn, so
 * no client keeps the others waiting.
 *
 * Time limits: `timeout_ms` runs while the session wants READ and everything
 * is sent; CONN_SEND_TIMEOUT_MS runs while octets wait to be sent and the peer
 * takes none; CONN_TLS_TIMEOUT_MS is for a handshake.  TCP_USER_TIMEOUT and keep-alive end
 * a connection whose peer vanished within two minutes.
 *
 * A peer that closes its sending side (FIN) while a session WAITs does not undo what the
 * session waits for: replies are tried, then the connection ends.
 *
 * Thread: the loop's.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "net/loop.h"
#include "net/session.h"

#define CONN_TURN (256u * 1024)
#define CONN_TLS_TIMEOUT_MS (60u * 1000)
#define CONN_SEND_TIMEOUT_MS (5u * 60 * 1000)

struct conn;
struct tls_context;

struct conn_options {
	uint64_t timeout_ms;            /* inactivity, of the session's protocol */
	struct tls_context *tls;        /* NULL: no TLS; the connection takes a reference */
	bool tls_first;                 /* handshake before the greeting */
	bool trusted;
	/* Runs once when the connection is gone, after the session was freed. */
	void (*gone)(void *arg);
	void *gone_arg;
};

/* Takes over `fd` (non-blocking).  The session is made by the caller with conn_link() and
 * given to conn_start(), which greets.  NULL when memory is out; then fd is still the caller's. */
struct conn *conn_new(struct loop *, int fd, const struct endpoint *peer, const struct endpoint *local,
    const struct conn_options *);
struct session_link *conn_link(struct conn *);
void conn_start(struct conn *, const struct session_ops *, void *session);

/* Ends it in good order: a session that waits is let finish its operation, others are asked
 * for their last words at once. */
void conn_shutdown(struct conn *);
/* Ends it now. */
void conn_drop(struct conn *, enum session_end why);

#endif
