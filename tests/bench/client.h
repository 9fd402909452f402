/*
 * client - the generator's end of many connections: sockets, TLS, lines in, octets out.
 *
 * A load is one thread with an epoll set and an array of clients.  A script says what they
 * talk; it is called back with each line of the server, and with the end of each multi-line
 * response that it asked for.  What it puts leaves in one write when the callback is over, so
 * that what is put together is pipelined.
 *
 * What is not expected ends the program: see measure.h.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPENING 200

struct load;
struct client;

struct script {
	size_t client_size; /* of the script's own struct, which begins with a struct client */
	/* A line of the server, without its CRLF and with a NUL behind it. */
	void (*line)(struct client *c, const char *line, size_t len);
	/* What client_expect_body() waits for has ended; `octets` are all up to its final dot. */
	void (*body)(struct client *c, uint64_t octets, uint64_t lines);
	/* The handshake of client_start_tls() is over.  May be NULL where it is never called. */
	void (*secured)(struct client *c);
	/* The time of load.due_ns has come; sets it anew.  May be NULL. */
	void (*due)(struct load *l);
};

struct client {
	struct load *load;
	struct client *next; /* waits to be connected, or idle in a script's own list */
	int fd;              /* -1: closed */
	SSL *ssl;            /* NULL: in the clear */
	bool connecting, greeted, handshaking, in_body, body_begins, count_lines;
	uint32_t watched; /* events that epoll knows of */
	char *out;        /* what is put and not sent yet; owned */
	size_t out_len, out_room, out_at;
	const char *shared; /* goes after `out`; not owned */
	size_t shared_len, shared_at;
	uint64_t sent_ns; /* just before the last octet put was taken by the socket */
	uint64_t body_octets, body_lines;
	char part[1024]; /* the beginning of a line, or the end of a body's part */
	size_t part_len;
};

struct load {
	const struct script *script;
	const char *name; /* for sentences: "deliver" */
	void *arg;        /* the script's own */
	uint32_t host; /* in host order; load_init() makes it 127.0.0.1 */
	uint16_t port;
	bool implicit_tls;
	SSL_CTX *tls; /* made when it is needed */
	int ep;
	struct client *waiting, **waiting_end;
	unsigned open;               /* clients that are open or wait to be */
	unsigned ungreeted, opening; /* now; at most */
	uint64_t opened;             /* connections made, each from the next address */
	uint64_t now;                /* ns, as of the last wake-up */
	uint64_t due_ns;             /* 0: nothing is due */
	unsigned n;
	char *clients;
};

/* Makes `n` closed clients.  `host` and `opening` have their defaults until a script sets
 * them. */
void load_init(
    struct load *l, const struct script *script, const char *name, uint16_t port, unsigned n);
struct client *load_client(struct load *l, unsigned i);
/* Runs until no client is open and nothing is due.  Two minutes without an event end the
 * program. */
void load_run(struct load *l);
/* The same, once round: for a script that stops with its connections open. */
void load_turn(struct load *l, int timeout_ms);
void load_release(struct load *l);

/* Opens; to loopback, from the next address of 127.0.0.0/16.  Not more than load.opening wait for
 * their greeting at a time: who does not fit into a listener's backlog may wait for ever. */
void client_open(struct client *c);
void client_close(struct client *c);
/* Only within a callback of `c`, or followed by client_flush(). */
void client_put(struct client *c, const char *octets, size_t len);
void client_printf(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `octets` stay where they are until they are sent; one piece at a time. */
void client_put_shared(struct client *c, const char *octets, size_t len);
void client_flush(struct client *c);
/* What follows the line in hand is a multi-line response. */
void client_expect_body(struct client *c, bool count_lines);
void client_start_tls(struct client *c);

#endif
