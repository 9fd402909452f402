/*
 * server_private - what the files of the skeleton share: server.c (start, signals, end),
 * server_sockets.c (where connections arrive), server_loops.c (the loops' threads),
 * server_clients.c (accepting), server_notify.c (the supervisor).
 */
#ifndef SERVER_PRIVATE_H
#define SERVER_PRIVATE_H

#include <pthread.h>

#include "net/listener.h"
#include "net/loop.h"
#include "net/peers.h"
#include "net/server.h"
#include "net/tls.h"

/* What new connections begin with.  A reload replaces it as a whole. */
struct server_settings {
	uint64_t max_connections, max_connections_per_ip;
	uint64_t timeout_ms;
	bool (*trusts)(void *arg, const uint8_t address[16]);
	struct tls_context *tls;        /* a reference, or NULL */
};

/* One listener as one loop sees it. */
struct server_ear {
	struct watch watch;
	const struct listener *listener;
	struct server_loop *loop;
};

/* One loop and its clients.  Its thread's, but for what says otherwise. */
struct server_loop {
	struct server *server;
	struct loop *loop;              /* owned */
	pthread_t thread;
	bool running;                   /* main's: the thread is to be joined */

	struct server_ear *ears;        /* owned; as many as the server has listeners */
	int spare_fd;                   /* -1 when it could not be had */
	struct timer hear_again;
	struct list_node clients;
	unsigned nclients;              /* in the list */
	unsigned crowd;                 /* the most there were since memory was last given back */
	bool draining;                  /* no client comes any more; `empty` tells of the last */

	struct post hear, drain, drop;  /* from main */
	struct post deaf, empty;        /* to main */
};

struct server {
	const struct server_program *program;
	const char *config_file;
	struct server_options options;  /* main's; borrowed from the program's configuration */

	struct listener *listeners;     /* owned; read by loops until they are deaf */
	size_t nlisteners;
	struct peers *peers;            /* owned */
	struct server_loop *loops;      /* owned */
	unsigned nloops;

	pthread_mutex_t mutex;          /* guards `settings` */
	struct server_settings settings;

	/* Main's own loop and what it knows. */
	struct loop *loop;
	struct watch signals;
	struct timer ready;             /* asks whether the program is ready */
	uint64_t served_since_ms;       /* monotonic */
	bool ready_told;                /* though it was not */
	struct timer drain;             /* the end of patience */
	unsigned deaf;                  /* loops that no longer watch the listeners */
	unsigned empty;                 /* loops that have no clients left, once deaf */
	bool stopping;
};

/* The settings of this moment, with a reference of the caller's to the certificate. */
struct server_settings server_settings_now(struct server *);

/* --- server_sockets.c -------------------------------------------------------- */

/* Takes the sockets that a supervisor handed over, or binds what is configured.  An exit
 * code, with a sentence. */
int server_sockets_open(struct server *, struct strbuf *err);
void server_sockets_close(struct server *);
/* The port that was asked for may have been 0: says which it became. */
void server_sockets_log(const struct server *);

/* --- server_clients.c: called on the loop's thread, or before and after it ------ */

/* 0, or -1 (no memory). */
int server_clients_open(struct server_loop *);
void server_clients_close(struct server_loop *);
/* Begins to accept, now or, where that fails, a little later. */
void server_clients_hear(struct server_loop *);
/* Accepts no more. */
void server_clients_deafen(struct server_loop *);
/* conn_shutdown() and conn_drop() for each. */
void server_clients_shutdown(struct server_loop *);
void server_clients_drop(struct server_loop *);

/* --- server_loops.c ---------------------------------------------------------- */

/* Makes the loops and their threads; connections are accepted when it returns.  0, or -1
 * with a sentence; then no thread is left. */
int server_loops_start(struct server *, struct strbuf *err);
/* Each loop stops accepting and tells its clients; it posts to main, which counts in
 * `deaf` and `empty` and calls server_loop_told(). */
void server_loops_drain(struct server *);
/* Cuts the clients that are left. */
void server_loops_drop(struct server *);
/* Ends the threads. */
void server_loops_stop(struct server *);
/* Runs what other threads have posted to the loops after these ended. */
void server_loops_run_posts(struct server *);
void server_loops_free(struct server *);

/* In server.c, on main's loop: a loop became deaf, or empty. */
void server_loop_told(struct server *);

/* --- server_notify.c --------------------------------------------------------- */

/* Tells the supervisor, where there is one (sd_notify(3)'s protocol). */
void server_notify(const char *state);
void server_notify_reloading(void);

#endif
