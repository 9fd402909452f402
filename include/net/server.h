/*
 * server - the skeleton of both daemons: options, listeners, privileges, signals,
 * loops, reload, drain, readiness.
 *
 * main() fills a struct server_program and calls server_run(), which returns the
 * exit code.  What the program does comes in as hooks; what it must know of the
 * configuration comes as struct server_options, so this floor knows no
 * configuration file.
 *
 * Order of a start: options; configure(); -t ends here; listeners bound and the
 * certificate read; privileges given up; open(); loops; `event=listening` lines;
 * connections are accepted; READY=1 once ready() is true, but SERVER_READY_MS later in any
 * case: clients are served by then, if only by putting them off.
 *
 * Order of an end (SIGTERM, SIGINT): listeners closed; each connection is told
 * (conn_shutdown); what is left after SERVER_DRAIN_MS is cut (conn_drop); when the
 * last session is freed, and so no operation of any is outstanding, the loops end;
 * close().  A second signal ends the process at once: the store bears it.
 *
 * SIGHUP: configure() again and the certificate read again; sessions keep what they
 * began with.
 *
 * Thread: hooks run on main, but for session_new, refusal and trusts, which run on
 * the loop that accepted, also while configure() runs.
 */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endpoint.h"
#include "base/strbuf.h"
#include "net/session.h"

#define SERVER_READY_MS 5000u
#define SERVER_DRAIN_MS 8000u

struct peers;

struct server_listen {
	struct endpoint endpoint;
	const char *proto;              /* static text */
	bool tls_first;
};

/* What a configuration says to the skeleton.  Everything is borrowed from it until the
 * next configure() that succeeds. */
struct server_options {
	const char *user;
	const struct server_listen *listen;
	size_t nlisten;
	const char *certificate, *key;  /* NULL: no TLS */
	uint64_t max_connections, max_connections_per_ip;
	uint64_t timeout_ms;
	/* NULL: no peer is trusted.  A Unix socket's peer always is. */
	bool (*trusts)(void *arg, const uint8_t address[16]);
};

struct server_program {
	const char *name;               /* "smtpd" */
	const char *config_file;        /* without -c: CONFIG_DEFAULT_FILE */
	void *arg;                      /* given to every hook */
	/* Loads FILE and makes it the one that new sessions get.  When `reload`, what needs
	 * a restart keeps its old value, with a log line.  0 and *o_r, or -1 with a
	 * sentence in err: then the old one stays.  errno is 0 where what was written is
	 * wrong, else what failed. */
	int (*configure)(void *arg, const char *file, bool reload, struct server_options *o_r,
	    struct strbuf *err);
	/* Opens the store and starts threads; an exit code of sysexits.h, 0 for success.
	 * `peers` lives until close() has returned. */
	int (*open)(void *arg, struct peers *peers, struct strbuf *err);
	bool (*ready)(void *arg);
	/* A session for a connection; *ops_r says how to drive it.  NULL: no memory. */
	void *(*session_new)(void *arg, struct session_link *, const char *proto,
	    const struct session_ops **ops_r);
	/* The line for a connection that is one too many, CRLF included; NULL: none. */
	const char *(*refusal)(const char *proto);
	/* After open() succeeded, at the end. */
	void (*close)(void *arg);
};

int server_run(const struct server_program *, int argc, char **argv);

#endif
