/*
 * listener - sockets on which connections arrive.
 *
 * Bound once by the main thread (as root where the port asks for it), or handed
 * over by a supervisor (LISTEN_FDS), then watched by every loop with EPOLLEXCLUSIVE.
 *
 * Thread: opening and closing: main, while no loop uses them; the descriptors are
 * read-only in between, and listener_accept() is any loop's.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/endpoint.h"
#include "base/strbuf.h"

struct listener {
	int fd;                         /* owned; -1 when the machine lacks the family */
	struct endpoint bound;          /* with the real port */
	const char *proto;              /* "smtp", "lmtp", "pop3", "pop3s"; borrowed */
	bool tls_first;
	char *unix_path;                /* owned; removed at close; NULL when not ours */
};

/* Binds and listens; IPv6 is V6ONLY.  A family that the machine lacks is logged and
 * leaves fd -1 (0 is returned).  A stale Unix socket (nobody answers) is removed first;
 * mode 0660.  0, or -1 with a sentence. */
int listener_open(struct listener *, const struct endpoint *, const char *proto, bool tls_first,
    struct strbuf *err);
/* Uses `fd`, which a supervisor opened and which is ours from then on, also after a
 * failure.  0, or -1 with a sentence. */
int listener_adopt(struct listener *, int fd, const char *proto, bool tls_first,
    struct strbuf *err);
/* Harmless where fd is -1. */
void listener_close(struct listener *);

/* How long TCP keeps a connection whose peer acknowledges nothing, or whose window is
 * shut; and when a silent one is asked whether it is alive. */
#define LISTENER_USER_TIMEOUT_MS (120u * 1000)
#define LISTENER_KEEPALIVE_IDLE_S 60
#define LISTENER_KEEPALIVE_INTERVAL_S 15
#define LISTENER_KEEPALIVE_PROBES 4

/* Accepts one connection, non-blocking, close-on-exec, TCP_NODELAY, TCP_USER_TIMEOUT and
 * keep-alive: the descriptor, or -1 with errno (EAGAIN: none there). */
int listener_accept(const struct listener *, struct endpoint *peer_r, struct endpoint *local_r);

#endif
