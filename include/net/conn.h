/*
 * conn - a connection: a socket, its TLS, its buffers, and the session that it serves.
 *
 * It hands runs of octets to the session and acts on what the session wants
 * (net/session.h).  It knows nothing of mail.
 *
 * Input is read into the loop's one scratch block and given to the session
 * straight from there; only what the session left over is kept.  So an idle
 * connection holds no buffer.  At most CONN_TURN octets are read and sent a
 * turn, so no client keeps the others waiting.
 *
 * Files are copied to the socket, not handed over by sendfile(2): between two sockets of one
 * machine the page cache's own pages would lie in the peer's socket until it reads them, long
 * after they were acknowledged, and show what becomes of the file.  What is copied lies in memory
 * that is the loop's, and is read again when the socket takes it later: a client that reads
 * slowly holds none of it.
 *
 * Time limits: `timeout_ms` runs while the session wants READ and everything is
 * sent; CONN_SEND_TIMEOUT_MS runs while octets wait to be sent, or to be
 * acknowledged, and the peer takes none; CONN_TLS_TIMEOUT_MS is for a handshake.
 * TCP_USER_TIMEOUT and keep-alive (net/listener.h) end a connection whose peer
 * vanished, or keeps its window shut, within two minutes.
 *
 * When the peer closes its sending side (FIN), all that came before is still given
 * to the session, and answered.  When the connection breaks, a session that WAITs
 * or wants ACKED is let finish its operation, with `peer_gone` set; any other ends
 * at once: what it would be told next, it never was.
 *
 * Thread: the loop's.  None of these functions may be called from inside of the
 * connection's own session, but conn_shutdown() and conn_drop().
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

/* Takes over `fd` (non-blocking).  The session is made by the caller with conn_link()
 * and given to conn_start(), which greets.  NULL when memory is out; then fd is still
 * the caller's, and `gone` is not called. */
struct conn *conn_new(struct loop *, int fd, const struct endpoint *peer,
    const struct endpoint *local, const struct conn_options *);
struct session_link *conn_link(struct conn *);
/* The connection may be gone when this returns. */
void conn_start(struct conn *, const struct session_ops *, void *session);

/* Ends it in good order: a session that waits is let finish its operation, others are
 * asked for their last words.  A moment later, not from inside of this call. */
void conn_shutdown(struct conn *);
/* Ends it now: nothing more is read or sent.  A session in WAIT is let finish its
 * operation first. */
void conn_drop(struct conn *, enum session_end why);

#endif
