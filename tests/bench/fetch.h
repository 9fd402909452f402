/* fetch - POP3 sessions, and what is asked in them. */
#ifndef BENCH_FETCH_H
#define BENCH_FETCH_H

#include <stdbool.h>
#include <stdint.h>

enum tls_use { TLS_NONE, TLS_START, TLS_IMPLICIT };

/* "none", "start" (STARTTLS, STLS) or "implicit"; anything else ends the program. */
enum tls_use tls_use_of(const char *text);

struct fetch_options {
	const char *host; /* a dotted quad; NULL: 127.0.0.1 */
	uint64_t port;
	uint64_t connections; /* at once; a divisor of `mailboxes`, so that no two meet in one */
	uint64_t sessions;    /* in all, or until `seconds` are over; 0: by time alone */
	uint64_t
	    seconds;   /* after which no session begins, and no RETR of an endless one; 0: none */
	uint64_t rate; /* sessions begun a second; 0: each after the one before */
	uint64_t first, mailboxes; /* u<first>@domain and on, in turn */
	const char *domain, *password;
	enum tls_use tls;
	uint64_t stat, list, uidl; /* 1: asked once */
	uint64_t retr;             /* messages 1 to this are retrieved, those that are there */
	uint64_t endless;          /* 1: again and again until the time is up */
	uint64_t dele;             /* messages 1 to this are deleted */
	uint64_t window;           /* RETR or DELE on their way at once */
};

/* What all sessions together did. */
struct fetch_sums {
	uint64_t sessions, messages; /* messages: of STAT */
	uint64_t retrieved, octets, deleted, listed;
};

/* Runs the sessions.  `show`: prints "sessions_per_s=..." and what else was measured. */
struct fetch_sums fetch_run(const struct fetch_options *o, bool show);
/* Messages in these mailboxes, as STAT says it, with at most 16 sessions at once. */
uint64_t fetch_count(const struct fetch_options *o);

/* The parts of the program: options as NAME=VALUE.  Each returns the exit code. */
int fetch_main(char **args);
int count_main(char **args);
int idle_main(char **args);

#endif
