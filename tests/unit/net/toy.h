/*
 * toy - a session for tests, with a line for each thing that a session can want:
 *
 *     ECHO x      x comes back
 *     GEN n       n octets of a pattern, made as the peer reads them (DRAIN)
 *     FILE n      n octets of the toy's file
 *     YIELD x     x, after others had their turns (DRAIN)
 *     JOB x       x, after a job in the pool (WAIT)
 *     HOLD x      x, after the test has called toy_release() (WAIT)
 *     NOW x       x, after a wake that comes before the WAIT
 *     ACKED x     x, after all before it is acknowledged
 *     UPDATE x    ACKED, then a job, then x and the end, as POP3's QUIT
 *     STARTTLS    "go", then a handshake
 *     QUIT        "bye", then the end          DROP   the end
 *     CUT x       its own connection dropped from inside, then as HOLD x
 *     STUCK       from here on no input is taken
 *
 * and the test's end of the connection: one loop, run by the test's own thread.  A toy
 * asserts what a session may rely on: nothing is given to it while it waits, it is not
 * freed then, its file slices are released before it is.
 */
#ifndef TESTS_UNIT_NET_TOY_H
#define TESTS_UNIT_NET_TOY_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "common/net/conn_private.h"
#include "net/conn.h"
#include "net/jobs.h"
#include "rig.h"

#define TOY_FILE (1024u * 1024)
#define TOY_TIMEOUT_MS (10u * 60 * 1000)
#define TOY_PATIENCE_MS 10000

struct toy {
	struct session_link *link;
	struct job job;
	enum { TOY_IDLE, TOY_GEN, TOY_YIELD, TOY_JOB, TOY_HOLD, TOY_ACKED, TOY_UPDATE } doing;
	enum session_want after_job;
	bool stuck;
	char after[256];                /* said when WAIT or ACKED is over */
	uint64_t gen_at, gen_end;
	uint64_t most_pending;
	unsigned files;                 /* slices not yet released */
	unsigned resumed;

	enum session_want on_timeout, on_shutdown;
	int timeouts, shutdowns, tls_starts;
	char seen[4096];                /* every line, each with a semicolon */
	bool greeted, freed, gone, job_ran;
	bool saw_peer_gone;
	enum session_end end;
};

static struct loop *toy_loop;
static struct jobs *toy_jobs;
static struct conn *toy_conn;
static struct toy toy;
static int toy_peer;
static int toy_file;

static inline unsigned char
toy_octet(uint64_t i)
{
	return (unsigned char)('a' + (i * 7 + i / 1000) % 26);
}

/* --- the session ----------------------------------------------------------- */

static inline void
toy_job_run(struct job *job)
{
	LIST_OBJECT(job, struct toy, job)->job_ran = true;
	usleep(10000);
}

static inline void
toy_job_done(struct job *job)
{
	struct toy *t = LIST_OBJECT(job, struct toy, job);

	ck_assert(!t->freed);
	t->link->wake(t->link);
	/* Not called from inside of wake. */
	ck_assert_int_eq(t->doing, TOY_JOB);
}

static inline void
toy_file_released(void *arg)
{
	struct toy *t = arg;

	ck_assert(!t->freed);
	t->files--;
}

static inline enum session_want
toy_generate(struct toy *t)
{
	char chunk[4096];
	size_t n;

	while (t->gen_at < t->gen_end) {
		if (t->link->out->pending >= OUTQ_HIGH_WATER)
			return SESSION_DRAIN;
		for (n = 0; n < sizeof(chunk) && t->gen_at < t->gen_end; n++)
			chunk[n] = (char)toy_octet(t->gen_at++);
		outq_add(t->link->out, chunk, n);
		if (t->link->out->pending > t->most_pending)
			t->most_pending = t->link->out->pending;
	}
	t->doing = TOY_IDLE;
	return SESSION_READ;
}

static inline enum session_want
toy_submit(struct toy *t, enum session_want then)
{
	t->doing = TOY_JOB;
	t->after_job = then;
	t->job = (struct job){ .run = toy_job_run, .done = toy_job_done, .loop = toy_loop };
	jobs_submit(toy_jobs, &t->job);
	return SESSION_WAIT;
}

static inline enum session_want
toy_resume(struct toy *t)
{
	const enum session_want then = t->doing == TOY_JOB ? t->after_job : SESSION_READ;

	t->resumed++;
	if (t->doing == TOY_GEN)
		return toy_generate(t);
	if (t->doing == TOY_UPDATE)
		return toy_submit(t, SESSION_CLOSE);
	t->doing = TOY_IDLE;
	outq_addstr(t->link->out, t->after);
	return then;
}

static inline enum session_want
toy_line(struct toy *t, const char *line)
{
	const char *arg = strchr(line, ' ');
	size_t len = strlen(t->seen);

	arg = arg != NULL ? arg + 1 : "";
	(void)snprintf(t->seen + len, sizeof(t->seen) - len, "%s;", line);
	(void)snprintf(t->after, sizeof(t->after), "%s\r\n", arg);
	if (strncmp(line, "ECHO", 4) == 0) {
		outq_addstr(t->link->out, t->after);
	} else if (strncmp(line, "GEN", 3) == 0) {
		t->gen_at = 0;
		t->gen_end = (uint64_t)atoll(arg);
		t->doing = TOY_GEN;
		return toy_generate(t);
	} else if (strncmp(line, "FILE", 4) == 0) {
		t->files++;
		outq_add_file(t->link->out, toy_file, 0, (uint64_t)atoll(arg), OUTQ_NOWHERE,
		    toy_file_released, t);
	} else if (strncmp(line, "YIELD", 5) == 0) {
		t->doing = TOY_YIELD;
		return SESSION_DRAIN;
	} else if (strncmp(line, "JOB", 3) == 0) {
		return toy_submit(t, SESSION_READ);
	} else if (strncmp(line, "HOLD", 4) == 0 || strncmp(line, "NOW", 3) == 0 ||
	    strncmp(line, "CUT", 3) == 0) {
		t->doing = TOY_HOLD;
		if (line[0] == 'C')
			conn_drop(toy_conn, SESSION_END_SHUTDOWN);
		if (line[0] == 'N')
			t->link->wake(t->link);
		return SESSION_WAIT;
	} else if (strncmp(line, "UPDATE", 6) == 0) {
		t->doing = TOY_UPDATE;
		return SESSION_ACKED;
	} else if (strncmp(line, "ACKED", 5) == 0) {
		t->doing = TOY_ACKED;
		return SESSION_ACKED;
	} else if (strcmp(line, "STARTTLS") == 0) {
		outq_addstr(t->link->out, "go\r\n");
		return SESSION_START_TLS;
	} else if (strcmp(line, "QUIT") == 0) {
		outq_addstr(t->link->out, "bye\r\n");
		return SESSION_CLOSE;
	} else if (strcmp(line, "DROP") == 0) {
		return SESSION_DROP;
	} else if (strcmp(line, "STUCK") == 0) {
		t->stuck = true;
	} else {
		ck_abort_msg("the toy was given: %s", line);
	}
	return SESSION_READ;
}

static inline enum session_want
toy_input(void *session, const void *buf, size_t len, size_t *used_r)
{
	struct toy *t = session;
	const char *from = buf, *nl;
	char line[256];
	enum session_want want = SESSION_READ;

	ck_assert(t->greeted && !t->freed);
	ck_assert_uint_le(len, SESSION_INPUT_MAX);
	t->saw_peer_gone |= t->link->peer_gone;
	if (len == 0) {
		ck_assert_int_ne(t->doing, TOY_IDLE);
		return toy_resume(t);
	}
	ck_assert_int_eq(t->doing, TOY_IDLE);
	while (want == SESSION_READ && !t->stuck && *used_r < len &&
	    (nl = memchr(from + *used_r, '\n', len - *used_r)) != NULL) {
		size_t n = (size_t)(nl - (from + *used_r));

		ck_assert_uint_lt(n, sizeof(line));
		ck_assert_int_eq(nl[-1], '\r');
		memcpy(line, from + *used_r, n);
		line[n - 1] = '\0';
		*used_r += n + 1;
		want = toy_line(t, line);
	}
	if (t->link->out->pending > t->most_pending)
		t->most_pending = t->link->out->pending;
	return want;
}

static inline enum session_want
toy_greet(void *session)
{
	struct toy *t = session;

	ck_assert(!t->greeted);
	t->greeted = true;
	outq_addstr(t->link->out, "hello\r\n");
	return SESSION_READ;
}

static inline enum session_want
toy_tls_started(void *session)
{
	struct toy *t = session;

	ck_assert(t->link->tls);
	t->tls_starts++;
	return SESSION_READ;
}

static inline enum session_want
toy_timed_out(void *session)
{
	struct toy *t = session;

	ck_assert_int_eq(t->doing, TOY_IDLE);
	t->timeouts++;
	outq_addstr(t->link->out, "too slow\r\n");
	return t->on_timeout;
}

static inline enum session_want
toy_shutdown(void *session)
{
	struct toy *t = session;

	ck_assert(t->doing == TOY_IDLE || t->doing == TOY_GEN);
	t->shutdowns++;
	outq_addstr(t->link->out, "going down\r\n");
	return t->on_shutdown;
}

static inline void
toy_free(void *session, enum session_end why)
{
	struct toy *t = session;

	ck_assert(!t->freed);
	ck_assert(t->doing != TOY_JOB && t->doing != TOY_HOLD);
	ck_assert_uint_eq(t->files, 0);
	t->freed = true;
	t->end = why;
}

static const struct session_ops toy_ops = {
	.input = toy_input,
	.greet = toy_greet,
	.tls_started = toy_tls_started,
	.timed_out = toy_timed_out,
	.shutdown = toy_shutdown,
	.free = toy_free,
};

/* --- its connection -------------------------------------------------------- */

static inline void
toy_gone(void *arg)
{
	struct toy *t = arg;

	ck_assert(t->freed && !t->gone);
	t->gone = true;
	toy_conn = NULL;
}

static inline void
toy_begin(void)
{
	unsigned char *octets = malloc(TOY_FILE);
	size_t i;

	ck_assert_ptr_nonnull(octets);
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < TOY_FILE; i++)
		octets[i] = toy_octet(i);
	toy_file = rig_file(octets, TOY_FILE);
	free(octets);
	toy_loop = loop_new();
	toy_jobs = jobs_new("toy", 1);
	ck_assert(toy_loop != NULL && toy_jobs != NULL);
	toy = (struct toy){ .on_timeout = SESSION_CLOSE, .on_shutdown = SESSION_CLOSE };
	toy_peer = -1;
	toy_conn = NULL;
}

static inline void
toy_end(void)
{
	if (toy_conn != NULL)
		conn_drop(toy_conn, SESSION_END_ERROR);
	if (toy_conn != NULL && toy.doing == TOY_HOLD) {
		toy.link->wake(toy.link);
		ck_assert_int_eq(loop_turn(toy_loop, 0), 0);
	}
	jobs_free(&toy_jobs);
	ck_assert_int_eq(loop_turn(toy_loop, 0), 0);
	ck_assert_ptr_null(toy_conn);
	if (toy_peer != -1)
		close(toy_peer);
	close(toy_file);
	loop_free(&toy_loop);
	clock_set(0, 0);
}

/* How peer and session are joined. */
enum toy_wire { TOY_UNIX, TOY_TCP };

static inline void
toy_connect(enum toy_wire wire, int buffer, struct tls_context *tls, bool tls_first)
{
	static const char *const peers[] = { "unix:/nowhere", "192.0.2.1:4711" };
	static const char *const locals[] = { "unix:/here", "192.0.2.2:25" };
	struct conn_options options = { .timeout_ms = TOY_TIMEOUT_MS,
		.tls = tls,
		.tls_first = tls_first,
		.gone = toy_gone,
		.gone_arg = &toy };
	struct endpoint peer, local;
	int pair[2];

	ck_assert_int_eq(endpoint_parse(peers[wire], &peer), 0);
	ck_assert_int_eq(endpoint_parse(locals[wire], &local), 0);
	rig_pair(pair, wire != TOY_UNIX, buffer);
	toy_peer = pair[1];
	toy_conn = conn_new(toy_loop, pair[0], &peer, &local, &options);
	ck_assert_ptr_nonnull(toy_conn);
	toy.link = conn_link(toy_conn);
	conn_start(toy_conn, &toy_ops, &toy);
}

static inline void
toy_release(void)
{
	ck_assert_int_eq(toy.doing, TOY_HOLD);
	toy.link->wake(toy.link);
}

/* --- the test's side ------------------------------------------------------- */

static inline uint64_t
toy_real_ms(void)
{
	struct timespec ts;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Runs the loop for so long; how often it turned. */
static inline unsigned
toy_run(unsigned ms)
{
	const uint64_t end = toy_real_ms() + ms;
	unsigned turns = 0;
	uint64_t now;

	while ((now = toy_real_ms()) < end) {
		ck_assert_int_eq(loop_turn(toy_loop, (int)(end - now)), 0);
		turns++;
	}
	return turns;
}

static inline void
toy_say_octets(const char *buf, size_t len)
{
	const uint64_t end = toy_real_ms() + TOY_PATIENCE_MS;

	while (len > 0) {
		ssize_t n = send(toy_peer, buf, len, MSG_NOSIGNAL);

		ck_assert(n > 0 || (n == -1 && errno == EAGAIN));
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
		ck_assert_uint_lt(toy_real_ms(), end);
		ck_assert_int_eq(loop_turn(toy_loop, n > 0 ? 0 : 1), 0);
	}
}

static inline void
toy_say(const char *text)
{
	toy_say_octets(text, strlen(text));
}

/* Reads `len` octets while the loop runs; how many came before the end, or a reset. */
static inline size_t
toy_read(char *buf, size_t len)
{
	const uint64_t end = toy_real_ms() + TOY_PATIENCE_MS;
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(toy_peer, buf + got, len - got, 0);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0 || errno != EAGAIN)
			break;
		if (toy_real_ms() > end)
			ck_abort_msg("nothing comes any more, after: %.*s",
			    (int)(got < 1000 ? got : 1000), buf);
		ck_assert_int_eq(loop_turn(toy_loop, n > 0 ? 0 : 1), 0);
	}
	return got;
}

static inline void
toy_hear(const char *want)
{
	const size_t len = strlen(want);
	char *got = calloc(1, len + 1);

	ck_assert_ptr_nonnull(got);
	ck_assert_uint_eq(toy_read(got, len), len);
	ck_assert_str_eq(got, want);
	free(got);
}

/* Nothing comes within `ms`. */
static inline void
toy_hear_nothing(unsigned ms)
{
	char c;

	(void)toy_run(ms);
	ck_assert_int_eq(recv(toy_peer, &c, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* The orderly end comes next, not a reset. */
static inline void
toy_hear_end(void)
{
	const uint64_t end = toy_real_ms() + TOY_PATIENCE_MS;
	ssize_t n;
	char c;

	while ((n = recv(toy_peer, &c, 1, 0)) == -1 && errno == EAGAIN) {
		ck_assert_uint_lt(toy_real_ms(), end);
		ck_assert_int_eq(loop_turn(toy_loop, 1), 0);
	}
	ck_assert_int_eq(n, 0);
}

static inline void
toy_close(void)
{
	close(toy_peer);
	toy_peer = -1;
}

/* Closes with a reset. */
static inline void
toy_reset(void)
{
	struct linger now = { .l_onoff = 1 };

	ck_assert_int_eq(setsockopt(toy_peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	toy_close();
}

/* Runs the loop until the connection is gone. */
static inline void
toy_wait_gone(enum session_end why)
{
	const uint64_t end = toy_real_ms() + TOY_PATIENCE_MS;

	while (!toy.gone) {
		ck_assert_uint_lt(toy_real_ms(), end);
		ck_assert_int_eq(loop_turn(toy_loop, 10), 0);
	}
	ck_assert_int_eq(toy.end, why);
}

/* Time passes, as the loop sees it. */
static inline void
toy_pass(uint64_t ms)
{
	static const uint64_t wall = 1700000000000;
	int i;

	clock_set(clock_mono_ms() + ms, wall);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(loop_turn(toy_loop, 0), 0);
}

#endif
