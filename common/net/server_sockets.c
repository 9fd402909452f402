/*
 * server_sockets - where connections arrive: what a supervisor handed over
 * (sd_listen_fds(3)'s protocol), or else what the configuration names.
 *
 * When anything was handed over, nothing is bound: one socket of a supervisor often
 * stands for two configured addresses ([::]:25 for 0.0.0.0:25 as well).
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "common/net/server_private.h"

#define FIRST_HANDED_FD 3
#define HANDED_MAX 64

static int
no_memory(struct strbuf *err)
{
	strbuf_addstr(err, "no memory for the listening sockets");
	return EX_TEMPFAIL;
}

/* --- handed over ------------------------------------------------------------- */

/* How many descriptors are meant for this process. */
static unsigned
count_handed(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t n;

	if (pid == NULL || fds == NULL)
		return 0;
	if (num_parse_u64(pid, strlen(pid), 1, UINT64_MAX, &n) == -1 || n != (uint64_t)getpid())
		return 0;
	if (num_parse_u64(fds, strlen(fds), 1, HANDED_MAX, &n) == -1)
		return 0;
	return (unsigned)n;
}

/* True when `index`-th of the names in LISTEN_FDNAMES, which colons part, is `want`. */
static bool
is_named(const char *names, unsigned index, const char *want)
{
	size_t len;

	while (names != NULL && index-- > 0) {
		names = strchr(names, ':');
		if (names != NULL)
			names++;
	}
	if (names == NULL)
		return false;
	len = strcspn(names, ":");
	return len == strlen(want) && memcmp(names, want, len) == 0;
}

static uint16_t
port_of(const struct endpoint *e)
{
	switch (e->addr.sa.sa_family) {
	case AF_INET:
		return e->addr.in.sin_port;
	case AF_INET6:
		return e->addr.in6.sin6_port;
	default:
		return 0;
	}
}

static bool
same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	char text_a[ENDPOINT_TEXT_MAX], text_b[ENDPOINT_TEXT_MAX];

	return strcmp(endpoint_format(text_a, a), endpoint_format(text_b, b)) == 0;
}

/* Which of the configured listeners a socket stands for: that of the same address; else
 * that whose protocol is the socket's name; else that of the same port. */
static const struct server_listen *
find_listen(const struct server_options *o, const struct endpoint *bound, unsigned index)
{
	const char *names = getenv("LISTEN_FDNAMES");
	size_t i;

	for (i = 0; i < o->nlisten; i++) {
		if (same_endpoint(&o->listen[i].endpoint, bound))
			return &o->listen[i];
	}
	for (i = 0; i < o->nlisten; i++) {
		if (is_named(names, index, o->listen[i].proto))
			return &o->listen[i];
	}
	for (i = 0; i < o->nlisten; i++) {
		if (port_of(bound) != 0 && port_of(&o->listen[i].endpoint) == port_of(bound))
			return &o->listen[i];
	}
	return NULL;
}

static int
adopt(struct server *s, unsigned n, struct strbuf *err)
{
	const struct server_listen *as;
	char text[ENDPOINT_TEXT_MAX];
	unsigned i;

	for (i = 0; i < n; i++) {
		struct listener *l = &s->listeners[s->nlisteners++];

		if (listener_adopt(l, FIRST_HANDED_FD + (int)i, NULL, false, err) == -1)
			return EX_CONFIG;
		as = find_listen(&s->options, &l->bound, i);
		if (as == NULL) {
			strbuf_addf(err,
			    "the socket %s, handed over by the supervisor, is none that the "
			    "configuration listens on: name its address there, or give it the "
			    "protocol's name",
			    endpoint_format(text, &l->bound));
			return EX_CONFIG;
		}
		l->proto = as->proto;
		l->tls_first = as->tls_first;
	}
	return EX_OK;
}

/* --- bound by ourselves -------------------------------------------------------- */

/* The socket file belongs to the account that the daemon becomes, which so can remove it,
 * and whose group may connect. */
static void
give_away(const struct server *s, const struct listener *l)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (l->unix_path == NULL || geteuid() != 0)
		return;
	if (getpwnam_r(s->options.user, &pw, buf, sizeof(buf), &found) != 0 || found == NULL)
		return; /* privilege_become() will say what is wrong */
	if (lchown(l->unix_path, pw.pw_uid, pw.pw_gid) == -1)
		log_event(LOG_LEVEL_WARNING, "socket_owner", log_text("path", l->unix_path),
		    log_errno(errno), log_text("advice", "only root can connect to it"));
}

static int
bind_all(struct server *s, struct strbuf *err)
{
	size_t i, open = 0;

	for (i = 0; i < s->options.nlisten; i++) {
		const struct server_listen *want = &s->options.listen[i];
		struct listener *l = &s->listeners[s->nlisteners++];

		if (listener_open(l, &want->endpoint, want->proto, want->tls_first, err) == -1)
			return EX_UNAVAILABLE;
		give_away(s, l);
		if (l->fd != -1)
			open++;
	}
	if (open == 0) {
		strbuf_addstr(err, "there is no address to listen on: set `listen`");
		return EX_CONFIG;
	}
	return EX_OK;
}

int
server_sockets_open(struct server *s, struct strbuf *err)
{
	const unsigned handed = count_handed();
	int code;

	s->listeners = mem_array(handed > 0 ? handed : s->options.nlisten, sizeof(*s->listeners));
	if (s->listeners == NULL)
		return no_memory(err);
	code = handed > 0 ? adopt(s, handed, err) : bind_all(s, err);
	/* They are not for programs that this one may start. */
	if (unsetenv("LISTEN_PID") == -1 || unsetenv("LISTEN_FDS") == -1 ||
	    unsetenv("LISTEN_FDNAMES") == -1)
		return no_memory(err);
	return code;
}

void
server_sockets_close(struct server *s)
{
	size_t i;

	for (i = 0; i < s->nlisteners; i++)
		listener_close(&s->listeners[i]);
	s->nlisteners = 0;
	mem_free(&s->listeners);
}

void
server_sockets_log(const struct server *s)
{
	char text[ENDPOINT_TEXT_MAX];
	size_t i;

	for (i = 0; i < s->nlisteners; i++) {
		if (s->listeners[i].fd != -1)
			log_event(LOG_LEVEL_INFO, "listening",
			    log_text("proto", s->listeners[i].proto),
			    log_text("addr", endpoint_format(text, &s->listeners[i].bound)));
	}
}
