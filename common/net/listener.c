/*
 * listener - sockets on which connections arrive.
 *
 * The socket options that accepted connections need are set on the listening socket,
 * from which Linux copies them: accepting is one system call, and getsockname(2) only
 * where the address bound is not the one that the client reached.
 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* The kernel cuts it to net.core.somaxconn. */
#define BACKLOG 4096

static int
fail(struct strbuf *err, const char *what, const struct endpoint *at, const char *advice)
{
	const int errnum = errno;
	char text[ENDPOINT_TEXT_MAX];

	strbuf_addf(err, "%s %s: %s%s%s", what, endpoint_format(text, at), strerrordesc_np(errnum),
	    advice != NULL ? ": " : "", advice != NULL ? advice : "");
	errno = errnum;
	return -1;
}

static int
fail_bind(struct strbuf *err, const struct endpoint *at)
{
	const char *advice = NULL;

	if (errno == EADDRINUSE)
		advice = "another program listens there; end it or choose another address";
	else if (errno == EACCES && at->addr.sa.sa_family == AF_UNIX)
		advice = "this account may not make a socket in that folder";
	else if (errno == EACCES)
		advice = "a port below 1024 needs a start as root, or a socket handed over by the "
			 "supervisor";
	else if (errno == ENOENT && at->addr.sa.sa_family == AF_UNIX)
		advice = "make the folder first";
	return fail(err, "cannot listen on", at, advice);
}

/* --- Unix sockets ---------------------------------------------------------- */

/* Removes a socket that a killed daemon left behind.  One that answers, and anything
 * that is no socket, stays, so that bind(2) fails on it. */
static void
remove_stale(const struct endpoint *at)
{
	const char *path = at->addr.un.sun_path;
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) == -1 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return;
	rc = connect(fd, &at->addr.sa, at->len);
	if (rc == -1 && errno == ECONNREFUSED && unlink(path) == -1)
		log_event(LOG_LEVEL_WARNING, "stale_socket", log_text("path", path),
		    log_errno(errno), log_text("advice", "remove it"));
	close(fd);
}

/* The mode is set between bind(2) and listen(2): before anybody can connect. */
static int
open_unix(struct listener *l, struct strbuf *err)
{
	const struct endpoint *at = &l->bound;
	const char *path = at->addr.un.sun_path;

	remove_stale(at);
	if (bind(l->fd, &at->addr.sa, at->len) == -1)
		return fail_bind(err, at);
	l->unix_path = mem_dup(path, strlen(path));
	if (l->unix_path == NULL) {
		(void)unlink(path);
		return fail(err, "listening on", at, NULL);
	}
	if (chmod(path, 0660) == -1)
		return fail(err, "setting the mode of", at, NULL);
	return 0;
}

/* --- TCP ------------------------------------------------------------------- */

static int
set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static int
set_tcp_options(int fd)
{
	if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) == -1 ||
	    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, LISTENER_USER_TIMEOUT_MS) == -1 ||
	    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == -1 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, LISTENER_KEEPALIVE_IDLE_S) == -1 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, LISTENER_KEEPALIVE_INTERVAL_S) == -1 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, LISTENER_KEEPALIVE_PROBES) == -1)
		return -1;
	return 0;
}

static int
open_tcp(struct listener *l, struct strbuf *err)
{
	const struct endpoint *at = &l->bound;

	if (set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, 1) == -1)
		return fail(err, "setting up the socket for", at, NULL);
	if (at->addr.sa.sa_family == AF_INET6 &&
	    set_option(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) == -1)
		return fail(err, "setting up the socket for", at, NULL);
	if (set_tcp_options(l->fd) == -1)
		return fail(err, "setting up the socket for", at, NULL);
	if (bind(l->fd, &at->addr.sa, at->len) == -1)
		return fail_bind(err, at);
	return 0;
}

/* --- both ------------------------------------------------------------------ */

/* EADDRNOTAVAIL means the same only for the address of all: [::] on a machine whose
 * IPv6 is switched off.  Any other address is simply not this machine's. */
static bool
lacks_family(const struct endpoint *at, int errnum)
{
	if (at->addr.sa.sa_family != AF_INET6)
		return false;
	if (errnum == EAFNOSUPPORT)
		return true;
	return errnum == EADDRNOTAVAIL && (IN6_IS_ADDR_UNSPECIFIED(&at->addr.in6.sin6_addr) ||
					      IN6_IS_ADDR_LOOPBACK(&at->addr.in6.sin6_addr));
}

static void
log_lacking(const struct endpoint *at, int errnum)
{
	char text[ENDPOINT_TEXT_MAX];

	log_event(LOG_LEVEL_WARNING, "not_listening", log_text("addr", endpoint_format(text, at)),
	    log_errno(errnum),
	    log_text("advice", "this machine has no IPv6: take the address out of `listen`"));
}

static int
learn_bound(struct listener *l, struct strbuf *err)
{
	struct endpoint bound = { .len = sizeof(bound.addr) };

	if (getsockname(l->fd, &bound.addr.sa, &bound.len) == -1)
		return fail(err, "asking for the address of", &l->bound, NULL);
	l->bound = bound;
	return 0;
}

int
listener_open(struct listener *l, const struct endpoint *at, const char *proto, bool tls_first,
    struct strbuf *err)
{
	int rc;

	*l = (struct listener){ .fd = -1, .bound = *at, .proto = proto, .tls_first = tls_first };
	l->fd = socket(at->addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd == -1) {
		if (!lacks_family(at, errno))
			return fail(err, "making a socket for", at, NULL);
		log_lacking(at, errno);
		return 0;
	}
	rc = at->addr.sa.sa_family == AF_UNIX ? open_unix(l, err) : open_tcp(l, err);
	if (rc == -1 && lacks_family(at, errno)) {
		log_lacking(at, errno);
		strbuf_clear(err);
		listener_close(l);
		return 0;
	}
	/* EADDRINUSE may also come as late as this, when another socket with SO_REUSEADDR
	 * has the address and listens. */
	if (rc == 0 && listen(l->fd, BACKLOG) == -1)
		rc = fail_bind(err, at);
	if (rc == 0)
		rc = learn_bound(l, err);
	if (rc == -1)
		listener_close(l);
	return rc;
}

int
listener_adopt(struct listener *l, int fd, const char *proto, bool tls_first, struct strbuf *err)
{
	int type = 0, listening = 0, flags;
	socklen_t len = sizeof(type);

	*l = (struct listener){ .fd = fd, .proto = proto, .tls_first = tls_first };
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == -1 || !listening) {
		strbuf_addf(err,
		    "descriptor %d, handed over by the supervisor, is no listening stream socket",
		    fd);
		goto err;
	}
	l->bound.len = sizeof(l->bound.addr);
	if (getsockname(fd, &l->bound.addr.sa, &l->bound.len) == -1 ||
	    (flags = fcntl(fd, F_GETFL)) == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 ||
	    (l->bound.addr.sa.sa_family != AF_UNIX && set_tcp_options(fd) == -1)) {
		strbuf_addf(err, "setting up descriptor %d, handed over by the supervisor: %s", fd,
		    strerrordesc_np(errno));
		goto err;
	}
	return 0;

err:
	listener_close(l);
	return -1;
}

void
listener_close(struct listener *l)
{
	if (l->fd == -1)
		return;
	/* The folder may belong to root, which a daemon is no longer; what is left behind
	 * is stale, and removed at the next start. */
	if (l->unix_path != NULL)
		(void)unlink(l->unix_path);
	mem_free(&l->unix_path);
	close(l->fd);
	l->fd = -1;
}

static bool
is_wildcard(const struct endpoint *at)
{
	if (at->addr.sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&at->addr.in6.sin6_addr);
	return at->addr.sa.sa_family == AF_INET && at->addr.in.sin_addr.s_addr == INADDR_ANY;
}

int
listener_accept(const struct listener *l, struct endpoint *peer_r, struct endpoint *local_r)
{
	int fd;

	*peer_r = (struct endpoint){ .len = sizeof(peer_r->addr) };
	fd = accept4(l->fd, &peer_r->addr.sa, &peer_r->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd == -1)
		return -1;
	*local_r = l->bound;
	if (l->bound.addr.sa.sa_family == AF_UNIX) {
		/* A client's Unix socket has no name of its own. */
		peer_r->addr.sa.sa_family = AF_UNIX;
		return fd;
	}
	if (!is_wildcard(&l->bound))
		return fd;
	/* The client may have gone meanwhile: then what was bound must do. */
	local_r->len = sizeof(local_r->addr);
	if (getsockname(fd, &local_r->addr.sa, &local_r->len) == -1)
		*local_r = l->bound;
	return fd;
}
