/*
 * server_clients - a loop's clients: accepting, counting, refusing them.
 *
 * Every loop watches every listener (EPOLLEXCLUSIVE: the kernel wakes one or few for a
 * connection) and keeps what it accepted.
 *
 * When descriptors run out, accepting fails and the listener stays ready: to turn the
 * loop for nothing would be the worst answer.  Each loop keeps a spare descriptor to
 * give up, so that it can accept, say that there are too many, and close; then it
 * looks away for a moment.
 *
 * Thread: the loop's, for all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "common/net/server_private.h"
#include "net/conn.h"

/* Connections that one turn accepts, so that those accepted get theirs. */
#define TURN_ACCEPTS 16
#define ACCEPT_PAUSE_MS 100u

/* Memory goes back when of at least so many clients a quarter is left. */
#define CROWD 128u

#define LOG_PER_MINUTE 10u

struct client {
	struct list_node node;
	struct server_loop *loop;
	struct conn *conn;
	uint8_t address[16];
};

/* A connection that was just accepted. */
struct arrival {
	const struct listener *listener;
	int fd; /* -1 once a connection has taken it over */
	struct endpoint peer, local;
};

static struct log_limit refused_limit, accept_limit;

/* --- clients --------------------------------------------------------------- */

/* The allocator keeps what it was given back, but for the end of its heap, and there is always one
 * small thing that lives at the end: a crowd that is gone would cost for ever what it cost while
 * it was there.  That is looked for when many have gone, so each pays for little of it and a quiet
 * server never does. */
static void
give_memory_back(struct server_loop *l)
{
	if (l->crowd < CROWD || l->nclients > l->crowd / 4)
		return;
	(void)malloc_trim(0);
	l->crowd = l->nclients;
}

static void
client_gone(void *arg)
{
	struct client *client = arg;
	struct server_loop *l = client->loop;

	list_remove(&client->node);
	l->nclients--;
	peers_leave(l->server->peers, client->address);
	free(client);
	give_memory_back(l);
	if (l->draining && list_empty(&l->clients))
		loop_post(l->server->loop, &l->empty);
}

static void
log_refused(const char *reason, const struct endpoint *peer)
{
	char text[ENDPOINT_TEXT_MAX];
	uint64_t more = 0;

	if (log_permit(&refused_limit, LOG_PER_MINUTE, &more))
		log_event(LOG_LEVEL_WARNING, "refused",
		    log_text("peer", endpoint_format_host(text, peer)), log_text("error", reason),
		    log_num("unlogged", more));
}

/* Says the protocol's line, where the client can read it, and closes. */
static void
refuse(const struct server *s, const struct arrival *a)
{
	const char *line = NULL;

	if (!a->listener->tls_first)
		line = s->program->refusal(a->listener->proto);
	/* A new socket takes a line at once; if not, closing says enough. */
	if (line != NULL)
		(void)send(a->fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(a->fd);
}

/* NULL when it may come in. */
static const char *
refusal_reason(enum peers_verdict verdict)
{
	switch (verdict) {
	case PEERS_OK:
		return NULL;
	case PEERS_TOO_MANY:
		return "too many connections (max_connections)";
	case PEERS_TOO_MANY_FROM_ADDRESS:
		return "too many connections from its address (max_connections_per_ip)";
	default:
		return "no memory";
	}
}

/* Makes connection and session.  0, or -1 when memory is out; the client is its
 * connection's once that has taken over the descriptor. */
static int
serve(struct server_loop *l, struct arrival *a, struct conn_options *options, struct client *client)
{
	const struct server_program *program = l->server->program;
	const struct session_ops *ops = NULL;
	struct session_link *link;
	void *session;

	options->tls_first = a->listener->tls_first;
	options->gone = client_gone;
	options->gone_arg = client;
	client->conn = conn_new(l->loop, a->fd, &a->peer, &a->local, options);
	if (client->conn == NULL)
		return -1;
	a->fd = -1;
	list_append(&l->clients, &client->node);
	if (++l->nclients > l->crowd)
		l->crowd = l->nclients;
	link = conn_link(client->conn);
	session = program->session_new(program->arg, link, a->listener->proto, &ops);
	if (session == NULL) {
		conn_drop(client->conn, SESSION_END_ERROR);
		return -1;
	}
	log_event(LOG_LEVEL_DEBUG, "connected", log_text("session", link->id),
	    log_text("proto", a->listener->proto));
	conn_start(client->conn, ops, session);
	return 0;
}

static void
take_client(struct server_loop *l, struct arrival *a)
{
	struct server *s = l->server;
	struct server_settings now = server_settings_now(s);
	struct conn_options options = { .timeout_ms = now.timeout_ms, .tls = now.tls };
	struct client *client = mem_array(1, sizeof(*client));
	enum peers_verdict verdict = PEERS_NO_MEMORY;

	if (client != NULL) {
		client->loop = l;
		list_init(&client->node);
		endpoint_octets(&a->peer, client->address);
		options.trusted =
		    a->peer.addr.sa.sa_family == AF_UNIX ||
		    (now.trusts != NULL && now.trusts(s->program->arg, client->address));
		verdict = peers_enter(s->peers, client->address, options.trusted,
		    now.max_connections, now.max_connections_per_ip);
	}
	if (verdict == PEERS_OK) {
		if (serve(l, a, &options, client) == -1)
			verdict = PEERS_NO_MEMORY;
		if (a->fd != -1)
			peers_leave(s->peers, client->address);
	}
	if (verdict != PEERS_OK)
		log_refused(refusal_reason(verdict), &a->peer);
	if (a->fd != -1) {
		refuse(s, a);
		free(client);
	}
	tls_context_unref(&now.tls);
}

/* --- accepting ------------------------------------------------------------- */

void
server_clients_deafen(struct server_loop *l)
{
	size_t i;

	timer_stop(&l->hear_again);
	for (i = 0; i < l->server->nlisteners; i++)
		loop_unwatch(&l->ears[i].watch);
}

static void
pause_accepting(struct server_loop *l)
{
	server_clients_deafen(l);
	timer_start(l->loop, &l->hear_again, ACCEPT_PAUSE_MS);
}

/* A failure leaves what is watched watched, and tries the rest again later. */
static int
watch_listeners(struct server_loop *l)
{
	size_t i;

	for (i = 0; i < l->server->nlisteners; i++) {
		if (l->ears[i].listener->fd == -1 || l->ears[i].watch.loop != NULL)
			continue;
		if (loop_watch(l->loop, &l->ears[i].watch, EPOLLIN | EPOLLEXCLUSIVE) == -1)
			return -1;
	}
	return 0;
}

static void
log_accept_failed(int errnum)
{
	uint64_t more = 0;

	if (log_permit(&accept_limit, LOG_PER_MINUTE, &more))
		log_event(LOG_LEVEL_ERROR, "accept_failed", log_errno(errnum),
		    log_num("unlogged", more),
		    log_text("advice",
			errnum == EMFILE || errnum == ENFILE
			    ? "raise the limit of open files (LimitNOFILE) or lower max_connections"
			    : "see what the machine lacks"));
}

void
server_clients_hear(struct server_loop *l)
{
	if (l->spare_fd == -1)
		l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (watch_listeners(l) == 0)
		return;
	log_accept_failed(errno);
	timer_start(l->loop, &l->hear_again, ACCEPT_PAUSE_MS);
}

static void
hear_again(struct timer *timer)
{
	server_clients_hear(LIST_OBJECT(timer, struct server_loop, hear_again));
}

/* Gives up the spare descriptor to tell one client that it came at a bad time. */
static bool
refuse_with_spare(struct server_loop *l, const struct listener *listener)
{
	struct arrival a = { .listener = listener };

	if (l->spare_fd == -1)
		return false;
	close(l->spare_fd);
	a.fd = listener_accept(listener, &a.peer, &a.local);
	if (a.fd != -1) {
		log_refused("out of descriptors", &a.peer);
		refuse(l->server, &a);
	}
	l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return a.fd != -1;
}

/* True when there may be more to accept. */
static bool
accept_one(struct server_loop *l, const struct listener *listener)
{
	struct arrival a = { .listener = listener };

	a.fd = listener_accept(listener, &a.peer, &a.local);
	if (a.fd != -1) {
		take_client(l, &a);
		return true;
	}
	switch (errno) {
	case EAGAIN:
		return false;
	/* Linux hands on what befell the connection before it was accepted. */
	case EINTR:
	case ECONNABORTED:
	case EPERM:
	case EPROTO:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
		return true;
	case EMFILE:
	case ENFILE:
		log_accept_failed(errno);
		if (refuse_with_spare(l, listener))
			return true;
		break;
	default:
		log_accept_failed(errno);
		break;
	}
	pause_accepting(l);
	return false;
}

static void
listener_ready(struct watch *watch, uint32_t events)
{
	struct server_ear *ear = LIST_OBJECT(watch, struct server_ear, watch);
	int i;

	(void)events;
	for (i = 0; i < TURN_ACCEPTS; i++) {
		if (!accept_one(ear->loop, ear->listener))
			return;
	}
}

/* --- all of them ----------------------------------------------------------- */

int
server_clients_open(struct server_loop *l)
{
	struct server *s = l->server;
	size_t i;

	l->spare_fd = -1;
	list_init(&l->clients);
	l->hear_again.due = hear_again;
	if (loop_reserve_timers(l->loop, 1) == -1)
		return -1;
	l->ears = mem_array(s->nlisteners, sizeof(l->ears[0]));
	if (l->ears == NULL)
		return -1;
	for (i = 0; i < s->nlisteners; i++) {
		l->ears[i].watch.fd = s->listeners[i].fd;
		l->ears[i].watch.ready = listener_ready;
		l->ears[i].listener = &s->listeners[i];
		l->ears[i].loop = l;
	}
	return 0;
}

void
server_clients_close(struct server_loop *l)
{
	if (l->ears != NULL)
		server_clients_deafen(l);
	mem_free(&l->ears);
	if (l->spare_fd != -1)
		close(l->spare_fd);
	l->spare_fd = -1;
}

void
server_clients_shutdown(struct server_loop *l)
{
	struct list_node *node;

	/* A client ends a moment later, never from inside of conn_shutdown(). */
	for (node = l->clients.next; node != &l->clients; node = node->next)
		conn_shutdown(LIST_OBJECT(node, struct client, node)->conn);
}

void
server_clients_drop(struct server_loop *l)
{
	struct list_node *node, *next;

	for (node = l->clients.next; node != &l->clients; node = next) {
		next = node->next;
		conn_drop(LIST_OBJECT(node, struct client, node)->conn, SESSION_END_SHUTDOWN);
	}
}
