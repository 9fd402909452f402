/*
 * toyd - a small daemon on the skeleton, run in a process of its own, and what a test needs
 * to start it, read its log, signal it, and be its client.
 *
 * Its configuration is words: `max N`, `perip N`, `cert FILE`, `key FILE`, `user NAME`,
 * `listen ADDRESS`, `listens ADDRESS` (TLS first), `late N` (never ready), `bad` (an error).
 * Its sessions know ECHO x, HOLD (0.4 s), HANG (for ever), FLOOD (more than a socket takes),
 * GREED (takes all descriptors), GIVE (gives them back), STARTTLS, QUIT.
 */
#ifndef TESTS_UNIT_NET_TOYD_H
#define TESTS_UNIT_NET_TOYD_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop.h"
#include "net/server.h"
#include "rig.h"

#define PATIENCE_MS 15000
#define HOLD_MS 400

/* --- the program ----------------------------------------------------------- */

struct config {
	struct server_listen listen[4];
	size_t nlisten;
	char cert[128], key[128], user[128];
	uint64_t max, perip;
	bool late;
};

static struct config configs[2]; /* the one in force, and the one being read */
static int current;
static atomic_int asked_ready;

static inline int
configure_word(struct config *c, const char *key, const char *value, struct strbuf *err)
{
	struct server_listen *l = &c->listen[c->nlisten];

	if (strcmp(key, "max") == 0)
		c->max = (uint64_t)atoll(value);
	else if (strcmp(key, "perip") == 0)
		c->perip = (uint64_t)atoll(value);
	else if (strcmp(key, "late") == 0)
		c->late = true;
	else if (strcmp(key, "cert") == 0)
		(void)snprintf(c->cert, sizeof(c->cert), "%s", value);
	else if (strcmp(key, "key") == 0)
		(void)snprintf(c->key, sizeof(c->key), "%s", value);
	else if (strcmp(key, "user") == 0)
		(void)snprintf(c->user, sizeof(c->user), "%s", value);
	else if (strncmp(key, "listen", 6) == 0 && endpoint_parse(value, &l->endpoint) == 0) {
		l->tls_first = key[6] == 's';
		l->proto = l->tls_first ? "toys" : "toy";
		c->nlisten++;
	} else {
		strbuf_addf(err, "this is bad: %s", key);
		return -1;
	}
	return 0;
}

static inline int
configure(void *arg, const char *file, bool reload, struct server_options *o_r, struct strbuf *err)
{
	struct config *c = &configs[!current];
	char key[32], value[128];
	FILE *f = fopen(file, "re");
	int rc = 0;

	(void)arg;
	(void)reload;
	if (f == NULL) {
		strbuf_addf(err, "%s: cannot be read", file);
		errno = 0;
		return -1;
	}
	*c = (struct config){ .max = 100, .perip = 100, .user = "root" };
	while (rc == 0 && fscanf(f, "%31s %127s", key, value) == 2)
		rc = configure_word(c, key, value, err);
	(void)fclose(f);
	errno = 0;
	if (rc == -1)
		return -1;
	current = !current;
	*o_r = (struct server_options){ .user = c->user,
		.listen = c->listen,
		.nlisten = c->nlisten,
		.certificate = c->cert[0] != '\0' ? c->cert : NULL,
		.key = c->key[0] != '\0' ? c->key : NULL,
		.max_connections = c->max,
		.max_connections_per_ip = c->perip,
		.timeout_ms = 60000 };
	return 0;
}

static inline int
open_program(void *arg, struct peers *peers, struct strbuf *err)
{
	(void)arg;
	if (peers == NULL)
		return EX_SOFTWARE;
	if (access("/proc/self/fd", R_OK) == -1 || getenv("FAIL_OPEN") != NULL) {
		strbuf_addstr(err, "there is nothing to open");
		return EX_UNAVAILABLE;
	}
	log_event(LOG_LEVEL_INFO, "opened", log_num("uid", geteuid()));
	return EX_OK;
}

static inline bool
ready(void *arg)
{
	(void)arg;
	return atomic_fetch_add(&asked_ready, 1) >= 3 && !configs[current].late;
}

static inline void
close_program(void *arg)
{
	(void)arg;
	log_event(LOG_LEVEL_INFO, "closed", log_num("asked", (uint64_t)atomic_load(&asked_ready)));
}

static inline const char *
refusal(const char *proto)
{
	(void)proto;
	return "one too many\r\n";
}

/* --- its sessions ----------------------------------------------------------- */

struct session {
	struct session_link *link;
	struct timer hold;
	bool holding;
};

static int greedy_fds[4096];
static int ngreedy;

static inline void
held(struct timer *timer)
{
	struct session *s = LIST_OBJECT(timer, struct session, hold);

	s->link->wake(s->link);
}

static inline enum session_want
line(struct session *s, const char *text)
{
	struct outq *out = s->link->out;
	int i;

	if (strncmp(text, "ECHO ", 5) == 0) {
		outq_addf(out, "%s\r\n", text + 5);
	} else if (strcmp(text, "HOLD") == 0 || strcmp(text, "HANG") == 0) {
		s->holding = true;
		if (text[1] == 'O')
			timer_start(s->link->loop, &s->hold, HOLD_MS);
		return SESSION_WAIT;
	} else if (strcmp(text, "FLOOD") == 0) {
		for (i = 0; i < 10000; i++)
			outq_addf(out, "%01000d\r\n", i);
	} else if (strcmp(text, "GREED") == 0) {
		while (ngreedy < 4096 && (greedy_fds[ngreedy] = dup(0)) != -1)
			ngreedy++;
		outq_addstr(out, "all mine\r\n");
	} else if (strcmp(text, "GIVE") == 0) {
		while (ngreedy > 0)
			close(greedy_fds[--ngreedy]);
		outq_addstr(out, "all yours\r\n");
	} else if (strcmp(text, "STARTTLS") == 0) {
		outq_addstr(out, "go\r\n");
		return SESSION_START_TLS;
	} else {
		outq_addstr(out, "bye\r\n");
		return SESSION_CLOSE;
	}
	return SESSION_READ;
}

static inline enum session_want
input(void *session, const void *buf, size_t len, size_t *used_r)
{
	struct session *s = session;
	const char *from = buf, *nl;
	enum session_want want = SESSION_READ;
	char text[200];

	if (s->holding) {
		s->holding = false;
		outq_addstr(s->link->out, "held\r\n");
		return SESSION_READ;
	}
	while (want == SESSION_READ && (nl = memchr(from + *used_r, '\n', len - *used_r)) != NULL) {
		(void)snprintf(
		    text, sizeof(text), "%.*s", (int)(nl - (from + *used_r) - 1), from + *used_r);
		*used_r = (size_t)(nl - from) + 1;
		want = line(s, text);
	}
	return want;
}

static inline enum session_want
greet(void *session)
{
	struct session *s = session;
	char text[ENDPOINT_TEXT_MAX];

	outq_addf(s->link->out, "hello %s %d\r\n", endpoint_format_host(text, s->link->peer),
	    s->link->trusted);
	return SESSION_READ;
}

static inline enum session_want
tls_started(void *session)
{
	(void)session;
	return SESSION_READ;
}

static inline enum session_want
last_words(void *session)
{
	struct session *s = session;

	outq_addstr(s->link->out, "going down\r\n");
	return SESSION_CLOSE;
}

static inline void
free_session(void *session, enum session_end why)
{
	struct session *s = session;

	timer_stop(&s->hold);
	(void)loop_reserve_timers(s->link->loop, -1);
	log_event(LOG_LEVEL_INFO, "session_end", log_num("why", (uint64_t)why));
	free(s);
}

static const struct session_ops ops = { .input = input,
	.greet = greet,
	.tls_started = tls_started,
	.timed_out = last_words,
	.shutdown = last_words,
	.free = free_session };

static inline void *
session_new(
    void *arg, struct session_link *link, const char *proto, const struct session_ops **ops_r)
{
	struct session *s = calloc(1, sizeof(*s));

	(void)arg;
	(void)proto;
	if (s == NULL || loop_reserve_timers(link->loop, 1) == -1) {
		free(s);
		return NULL;
	}
	s->link = link;
	s->hold.due = held;
	*ops_r = &ops;
	return s;
}

static char config_file[64];

static const struct server_program program = { .name = "toyd",
	.config_file = config_file,
	.configure = configure,
	.open = open_program,
	.ready = ready,
	.session_new = session_new,
	.refusal = refusal,
	.close = close_program };

/* --- its process ----------------------------------------------------------- */

static char folder[] = "/tmp/restante-test-XXXXXX";
static char cert[64], key[64];
static pid_t daemon_pid;
static int log_fd; /* the daemon's standard output and error */
static char logged[65536];
static size_t logged_len;

static inline uint64_t
real_ms(void)
{
	struct timespec ts;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void
write_config(const char *text)
{
	FILE *f = fopen(config_file, "we");

	ck_assert_ptr_nonnull(f);
	(void)fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
}

/* What the daemon's process is to have that ours has not. */
struct surroundings {
	const char *variable, *value;
	int listen_fd; /* handed over as descriptor 3; 0: none */
	const char *listen_name;
	rlim_t files;
	bool one_loop;
};

/* As many loops as processors. */
static inline void
keep_one_processor(void)
{
	cpu_set_t set;
	int i = 0;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		exit(99);
	while (!CPU_ISSET(i, &set))
		i++;
	CPU_ZERO(&set);
	CPU_SET(i, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == -1)
		exit(99);
}

static inline void
run_child(int argc, char **argv, const struct surroundings *with, int out)
{
	char text[32];

	if (dup2(out, 1) == -1 || dup2(out, 2) == -1)
		exit(99);
	if (with->variable != NULL)
		(void)setenv(with->variable, with->value, 1);
	if (with->one_loop)
		keep_one_processor();
	if (with->listen_fd > 0) {
		if (with->listen_fd != 3 && dup2(with->listen_fd, 3) == -1)
			exit(99);
		(void)snprintf(text, sizeof(text), "%d", (int)getpid());
		(void)setenv("LISTEN_PID", text, 1);
		(void)setenv("LISTEN_FDS", "1", 1);
		(void)setenv("LISTEN_FDNAMES", with->listen_name, 1);
	}
	if (with->files > 0) {
		struct rlimit limit = { .rlim_cur = with->files, .rlim_max = with->files };

		if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
			exit(99);
	}
	exit(server_run(&program, argc, argv));
}

static inline void
start_with(const struct surroundings *with, int argc, char **argv)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	logged_len = 0;
	logged[0] = '\0';
	daemon_pid = fork();
	ck_assert_int_ne(daemon_pid, -1);
	if (daemon_pid == 0)
		run_child(argc, argv, with, fds[1]);
	close(fds[1]);
	log_fd = fds[0];
}

static inline void
start(void)
{
	const struct surroundings none = { 0 };
	char name[] = "toyd", *argv[] = { name, NULL };

	start_with(&none, 1, argv);
}

/* Reads what is logged, waiting so long for more; false at its end. */
static inline bool
read_log(int ms)
{
	struct pollfd p = { .fd = log_fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, ms) == 0)
		return true;
	n = read(log_fd, logged + logged_len, sizeof(logged) - 1 - logged_len);
	if (n > 0)
		logged_len += (size_t)n;
	logged[logged_len] = '\0';
	return n > 0;
}

/* Where `text` stands in the log, behind `after`; waits for it. */
static inline const char *
log_line_after(const char *after, const char *text)
{
	const uint64_t until = real_ms() + PATIENCE_MS;
	const char *found;
	bool open = true;

	while ((found = strstr(after, text)) == NULL) {
		if (!open || real_ms() > until)
			ck_abort_msg("`%s` is missing in the log:\n%s", text, logged);
		open = read_log(50);
	}
	while (strchr(found, '\n') == NULL && open)
		open = read_log(50);
	return found;
}

static inline const char *
log_line(const char *text)
{
	return log_line_after(logged, text);
}

static inline void
require_exit(int code)
{
	const uint64_t until = real_ms() + PATIENCE_MS;
	int status;
	pid_t pid;

	while ((pid = waitpid(daemon_pid, &status, WNOHANG)) == 0) {
		if (real_ms() > until)
			ck_abort_msg("it does not end:\n%s", logged);
		(void)read_log(20);
	}
	while (read_log(50))
		continue;
	close(log_fd);
	daemon_pid = 0;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == code,
	    "it ended with %x, not %d:\n%s", (unsigned)status, code, logged);
}

static inline void
signal_daemon(int signo)
{
	ck_assert_int_eq(kill(daemon_pid, signo), 0);
}

static inline void
stop_daemon(void)
{
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
}

/* --- its clients ----------------------------------------------------------- */

static struct endpoint address;

/* Learns where it listens. */
static inline void
learn_address(const char *proto)
{
	char want[64], text[128];
	const char *found;

	(void)snprintf(want, sizeof(want), "event=listening proto=%s addr=", proto);
	found = log_line(want) + strlen(want);
	(void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(found, "\n"), found);
	ck_assert_msg(endpoint_parse(text, &address) == 0, "%s", text);
}

static inline int
try_connect(void)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = socket(address.addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	if (connect(fd, &address.addr.sa, address.len) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void
say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static inline void
hear(int fd, const char *want)
{
	char got[200] = "";

	ck_assert_int_eq(recv(fd, got, strlen(want), MSG_WAITALL), (ssize_t)strlen(want));
	ck_assert_str_eq(got, want);
}

static inline void
hear_end(int fd)
{
	char c;

	ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
}

static inline int
client(void)
{
	int fd = try_connect();

	ck_assert_int_ne(fd, -1);
	hear(fd, "hello 127.0.0.1 0\r\n");
	return fd;
}

static inline void
require_refused(void)
{
	int fd = try_connect();

	ck_assert_int_ne(fd, -1);
	hear(fd, "one too many\r\n");
	hear_end(fd);
	close(fd);
}

static inline void
begin(void)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0);
	(void)snprintf(config_file, sizeof(config_file), "%s/config", folder);
	(void)snprintf(cert, sizeof(cert), "%s/cert", folder);
	(void)snprintf(key, sizeof(key), "%s/key", folder);
	write_config("listen 127.0.0.1:0\n");
	daemon_pid = 0;
}

static inline void
end(void)
{
	char path[80];

	if (daemon_pid > 0) {
		(void)kill(daemon_pid, SIGKILL);
		(void)waitpid(daemon_pid, NULL, 0);
	}
	(void)unlink(config_file);
	(void)unlink(cert);
	(void)unlink(key);
	(void)snprintf(path, sizeof(path), "%s/socket", folder);
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

#endif
