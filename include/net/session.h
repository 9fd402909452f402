/*
 * session - what a connection and a protocol need to know of each other.
 *
 * A session is one protocol's state machine.  It knows no socket: it is given
 * octets, writes its replies into an outq, and says what it wants next.  So a
 * test or a fuzzer can drive it with strings.  The connection acts on the want,
 * and nothing else leads from a session to the network.
 *
 * At most one operation of a session is outstanding.  While it is (SESSION_WAIT)
 * nothing is read and nothing is given to it, what the client pipelined stays in
 * the connection's buffer: order, flow control and bounded memory follow.  A
 * session is never freed during WAIT, whatever becomes of its peer: what it waits
 * for may live in it.
 *
 * Thread: a session lives and dies on one loop.
 */
#ifndef NET_SESSION_H
#define NET_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endpoint.h"
#include "net/outq.h"

struct loop;

enum session_want {
	SESSION_READ,           /* more octets than it was given */
	SESSION_DRAIN,          /* to be called again when the outq is below half of
				   OUTQ_HIGH_WATER; where it is so already, when the
				   loop's others had their turns */
	SESSION_WAIT,           /* nothing, until session_link.wake has been called */
	SESSION_ACKED,          /* to be called again when all that is written has left for
				   the socket and, with `until_acked`, the peer's TCP has
				   acknowledged it; or when the peer is gone */
	SESSION_START_TLS,      /* what is written sent, then a handshake; input that came
				   before it is thrown away (RFC 3207 6, RFC 2595 4) */
	SESSION_CLOSE,          /* what is written sent, then the connection closed in good
				   order */
	SESSION_DROP,           /* the connection cut, without what is written */
};

enum session_end {
	SESSION_END_SELF,       /* the session asked for it */
	SESSION_END_PEER,       /* the peer closed or reset, or its machine vanished */
	SESSION_END_TIMEOUT,
	SESSION_END_SHUTDOWN,
	SESSION_END_ERROR,      /* TLS failed, memory ran out, a file could not be sent */
};

/* What a session is given at its birth; the connection owns it and outlives it. */
struct session_link {
	struct loop *loop;
	struct outq *out;
	const struct endpoint *peer;
	const struct endpoint *local;
	bool trusted;                   /* the peer is in [site] trusted */
	bool tls;                       /* kept up to date by the connection */
	bool tls_available;             /* a certificate is loaded: TLS may be offered */
	bool peer_gone;                 /* nothing more reaches the peer; set during WAIT or
					   ACKED alone, since otherwise the session ends */
	bool until_acked;               /* the session's: so is ACKED */
	char tls_version[12];           /* "TLSv1.3"; "" without TLS */
	char tls_cipher[48];
	char id[16];                    /* the session's name in the log */
	/* Ends SESSION_WAIT, a moment later: the session is not called from inside of
	 * it.  The loop's thread only; also before the WAIT that it ends was returned. */
	void (*wake)(struct session_link *);
	uint64_t in_octets, out_octets; /* so far, without what TLS adds */
};

struct session_ops {
	/* Takes octets from the front of `buf` and does what they say; *used_r of them
	 * are gone then (0 when it does not set it).  Called with len 0 to go on after
	 * DRAIN, WAIT, ACKED.  When it wants READ, it must have used everything but the
	 * beginning of one line; `len` never exceeds SESSION_INPUT_MAX, and a session
	 * given that much must use some of it. */
	enum session_want (*input)(void *session, const void *buf, size_t len, size_t *used_r);
	/* First call of all, when the connection is ready to talk: the greeting. */
	enum session_want (*greet)(void *session);
	/* A handshake that the session asked for is done. */
	enum session_want (*tls_started)(void *session);
	/* No octet came for the session's timeout_ms while it wanted READ and nothing was
	 * unsent. */
	enum session_want (*timed_out)(void *session);
	/* The daemon ends.  Called once at most, while the session wants READ or DRAIN;
	 * an operation (WAIT, ACKED) ends first. */
	enum session_want (*shutdown)(void *session);
	/* The end: frees the session.  Never called during WAIT.  Every file slice of
	 * its outq has been released before. */
	void (*free)(void *session, enum session_end why);
};

#define SESSION_INPUT_MAX (64u * 1024)

#endif
