/*
 * server: the skeleton with a small program in it, run in a process of its own: options,
 * listeners, signals, reload, limits, supervisors, the end.
 *
 * The program's configuration is words: `max N`, `perip N`, `cert FILE`, `key FILE`,
 * `user NAME`, `listen ADDRESS`, `listens ADDRESS` (TLS first), `bad` (an error).  Its
 * sessions know ECHO x, HOLD (0.4 s), HANG (for ever), FLOOD (more than a socket takes),
 * GREED (takes all descriptors), GIVE (gives them back), QUIT.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pwd.h>
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
#include "certificate.h"
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
};

static struct config configs[2]; /* the one in force, and the one being read */
static int current;
static atomic_int asked_ready;

static int
configure_word(struct config *c, const char *key, const char *value, struct strbuf *err)
{
	struct server_listen *l = &c->listen[c->nlisten];

	if (strcmp(key, "max") == 0)
		c->max = (uint64_t)atoll(value);
	else if (strcmp(key, "perip") == 0)
		c->perip = (uint64_t)atoll(value);
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

static int
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
		return -1;
	}
	*c = (struct config){ .max = 100, .perip = 100, .user = "root" };
	while (rc == 0 && fscanf(f, "%31s %127s", key, value) == 2)
		rc = configure_word(c, key, value, err);
	(void)fclose(f);
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

static int
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

static bool
ready(void *arg)
{
	(void)arg;
	return atomic_fetch_add(&asked_ready, 1) >= 3;
}

static void
close_program(void *arg)
{
	(void)arg;
	log_event(LOG_LEVEL_INFO, "closed", log_num("asked", (uint64_t)atomic_load(&asked_ready)));
}

static const char *
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

static void
held(struct timer *timer)
{
	struct session *s = LIST_OBJECT(timer, struct session, hold);

	s->link->wake(s->link);
}

static enum session_want
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

static enum session_want
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

static enum session_want
greet(void *session)
{
	struct session *s = session;
	char text[ENDPOINT_TEXT_MAX];

	outq_addf(s->link->out, "hello %s %d\r\n", endpoint_format_host(text, s->link->peer),
	    s->link->trusted);
	return SESSION_READ;
}

static enum session_want
tls_started(void *session)
{
	(void)session;
	return SESSION_READ;
}

static enum session_want
last_words(void *session)
{
	struct session *s = session;

	outq_addstr(s->link->out, "going down\r\n");
	return SESSION_CLOSE;
}

static void
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

static void *
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

static uint64_t
real_ms(void)
{
	struct timespec ts;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
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
};

static void
run_child(int argc, char **argv, const struct surroundings *with, int out)
{
	char text[32];

	if (dup2(out, 1) == -1 || dup2(out, 2) == -1)
		exit(99);
	if (with->variable != NULL)
		(void)setenv(with->variable, with->value, 1);
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

static void
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

static void
start(void)
{
	const struct surroundings none = { 0 };
	char name[] = "toyd", *argv[] = { name, NULL };

	start_with(&none, 1, argv);
}

/* Reads what is logged, waiting so long for more; false at its end. */
static bool
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
static const char *
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

static const char *
log_line(const char *text)
{
	return log_line_after(logged, text);
}

static void
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

static void
signal_daemon(int signo)
{
	ck_assert_int_eq(kill(daemon_pid, signo), 0);
}

static void
stop_daemon(void)
{
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
}

/* --- its clients ----------------------------------------------------------- */

static struct endpoint address;

/* Learns where it listens. */
static void
learn_address(const char *proto)
{
	char want[64], text[128];
	const char *found;

	(void)snprintf(want, sizeof(want), "event=listening proto=%s addr=", proto);
	found = log_line(want) + strlen(want);
	(void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(found, "\n"), found);
	ck_assert_msg(endpoint_parse(text, &address) == 0, "%s", text);
}

static int
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

static void
say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void
hear(int fd, const char *want)
{
	char got[200] = "";

	ck_assert_int_eq(recv(fd, got, strlen(want), MSG_WAITALL), (ssize_t)strlen(want));
	ck_assert_str_eq(got, want);
}

static void
hear_end(int fd)
{
	char c;

	ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
}

static int
client(void)
{
	int fd = try_connect();

	ck_assert_int_ne(fd, -1);
	hear(fd, "hello 127.0.0.1 0\r\n");
	return fd;
}

static void
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

static void
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

/* --- the command line ------------------------------------------------------- */

/* Rows: arguments behind the name, the configuration, exit code, what is printed. */
static const struct {
	const char *args[4];
	const char *config;
	int code;
	const char *printed;
} lines[] = {
	{ { "-h" }, "", 0, "usage: toyd [-c FILE] [-t]" },
	{ { "--help" }, "", 0, "usage: toyd [-c FILE] [-t]" },
	{ { "-V" }, "", 0, "toyd (Restante) " },
	{ { "--version" }, "", 0, "toyd (Restante) " },
	{ { "-x" }, "", 64, "usage:" },
	{ { "--nonsense" }, "", 64, "usage:" },
	{ { "-c" }, "", 64, "usage:" },
	{ { "operand" }, "", 64, "takes no operand: operand" },
	{ { "operand", "-V" }, "", 0, "toyd (Restante) " },
	{ { "-t", "operand" }, "", 64, "takes no operand: operand" },
	{ { "-t" }, "listen 127.0.0.1:0\n", 0, NULL },
	{ { "-t" }, "bad x\n", 78, "this is bad: bad\n" },
	{ { "-tc", "/nowhere" }, "", 78, "/nowhere: cannot be read\n" },
	{ { "-c", "/nowhere", "-t" }, "", 78, "/nowhere: cannot be read\n" },
	{ { "-t" }, "cert /nowhere/c\nkey /nowhere/k\n", 78, "/nowhere/c does not exist" },
	{ { NULL }, "bad x\n", 78, "event=start_failed error=\"this is bad: bad\" exit=78" },
	{ { NULL }, "cert /nowhere/c\nkey /nowhere/k\nlisten 127.0.0.1:0\n", 78,
	    "/nowhere/c does not exist" },
	{ { NULL }, "max 3\n", 78, "there is no address to listen on" },
	{ { NULL }, "listen 192.0.2.1:0\n", 69, "event=start_failed" },
	{ { NULL }, "listen unix:/nowhere/at/all\n", 69, "make the folder first" },
};
#define LINES (int)(sizeof(lines) / sizeof(lines[0]))

START_TEST(command_lines)
{
	const struct surroundings none = { 0 };
	char args[5][32] = { "toyd" }, *argv[6] = { args[0] };
	int argc = 1;

	for (; argc < 5 && lines[_i].args[argc - 1] != NULL; argc++)
		argv[argc] = strcpy(args[argc], lines[_i].args[argc - 1]);
	write_config(lines[_i].config);
	start_with(&none, argc, argv);
	require_exit(lines[_i].code);
	if (lines[_i].printed == NULL)
		ck_assert_str_eq(logged, "");
	else
		ck_assert_msg(strstr(logged, lines[_i].printed) != NULL, "it says: %s", logged);
	ck_assert_ptr_null(strstr(logged, "closed"));
}
END_TEST

START_TEST(a_store_that_cannot_be_opened_ends_the_start)
{
	const struct surroundings failing = { .variable = "FAIL_OPEN", .value = "1" };
	char name[] = "toyd", *argv[] = { name, NULL };

	start_with(&failing, 1, argv);
	require_exit(EX_UNAVAILABLE);
	log_line("event=start_failed error=\"there is nothing to open\" exit=69");
	ck_assert_ptr_null(strstr(logged, "closed"));
	ck_assert_ptr_null(strstr(logged, "listening"));
}
END_TEST

/* --- serving and ending ------------------------------------------------------ */

START_TEST(serves_and_ends)
{
	int fd, idle;

	start();
	learn_address("toy");
	fd = client();
	idle = client();
	say(fd, "ECHO a\r\nQUIT\r\n");
	hear(fd, "a\r\nbye\r\n");
	hear_end(fd);
	close(fd);
	log_line("event=ready");
	signal_daemon(_i == 0 ? SIGTERM : SIGINT);
	hear(idle, "going down\r\n");
	hear_end(idle);
	close(idle);
	require_exit(EX_OK);
	log_line("event=stopping sessions=1");
	/* In this order: the last session, then the store. */
	log_line_after(log_line("event=session_end why=3"), "event=closed");
	log_line_after(log_line("event=closed"), "event=stopped");
}
END_TEST

START_TEST(an_operation_is_let_finish)
{
	int fd, until_refused;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "HOLD\r\nECHO no more\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	log_line("event=stopping");
	/* Meanwhile nobody new comes in. */
	for (until_refused = 0; until_refused < 100; until_refused++) {
		int other = try_connect();

		if (other == -1)
			break;
		close(other);
		usleep(2000);
	}
	ck_assert_int_lt(until_refused, 100);
	hear(fd, "held\r\ngoing down\r\n");
	hear_end(fd);
	close(fd);
	require_exit(EX_OK);
}
END_TEST

START_TEST(a_second_signal_ends_at_once)
{
	int fd;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "HANG\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	log_line("event=stopping");
	usleep(50000);
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
	log_line("event=ended_at_once");
	ck_assert_ptr_null(strstr(logged, "event=closed"));
	close(fd);
}
END_TEST

/* A client that does not read its last words is cut. */
START_TEST(the_drain_has_an_end)
{
	const uint64_t began = real_ms();
	int fd;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "FLOOD\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
	log_line("event=drain_over sessions=1");
	log_line("event=closed");
	ck_assert_uint_ge(real_ms() - began, SERVER_DRAIN_MS);
	close(fd);
}
END_TEST

START_TEST(a_unix_socket_is_served_and_removed)
{
	char text[128];
	struct stat st;
	int fd;

	(void)snprintf(text, sizeof(text), "listen unix:%s/socket\nperip 0\n", folder);
	write_config(text);
	start();
	learn_address("toy");
	fd = try_connect();
	ck_assert_int_ne(fd, -1);
	/* Trusted, and so without a limit of its own. */
	hear(fd, "hello unix 1\r\n");
	close(fd);
	stop_daemon();
	ck_assert_int_eq(stat(address.addr.un.sun_path, &st), -1);
}
END_TEST

START_TEST(a_port_in_use_is_said)
{
	char text[200];

	start();
	learn_address("toy");
	(void)snprintf(
	    text, sizeof(text), "listen 127.0.0.1:%u\n", ntohs(address.addr.in.sin_port));
	write_config(text);
	{
		pid_t first = daemon_pid;
		int first_log = log_fd;

		start();
		require_exit(EX_UNAVAILABLE);
		ck_assert_ptr_nonnull(strstr(logged, "another program listens there"));
		daemon_pid = first;
		log_fd = first_log;
	}
	stop_daemon();
}
END_TEST

/* --- limits ------------------------------------------------------------------ */

static void
require_refused(void)
{
	int fd = try_connect();

	ck_assert_int_ne(fd, -1);
	hear(fd, "one too many\r\n");
	hear_end(fd);
	close(fd);
}

START_TEST(one_too_many_is_refused)
{
	int a, b;

	write_config(_i == 0 ? "listen 127.0.0.1:0\nperip 2\n" : "listen 127.0.0.1:0\nmax 2\n");
	start();
	learn_address("toy");
	a = client();
	b = client();
	require_refused();
	log_line(_i == 0 ? "max_connections_per_ip" : "max_connections");
	say(a, "QUIT\r\n");
	hear(a, "bye\r\n");
	close(a);
	log_line("event=session_end");
	usleep(20000);
	a = client();
	require_refused();
	close(a);
	close(b);
	stop_daemon();
}
END_TEST

START_TEST(connections_fit_the_descriptors)
{
	const struct surroundings few = { .files = 1024 };
	char name[] = "toyd", *argv[] = { name, NULL };

	write_config("listen 127.0.0.1:0\nmax 10000\n");
	start_with(&few, 1, argv);
	log_line("event=connections_limited max_connections=512 wanted=10000 open_files=1024");
	stop_daemon();
}
END_TEST

/* User and system time so far, in clock ticks. */
static unsigned long
ticks_used(void)
{
	unsigned long user, kernel;
	char path[40];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)daemon_pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			     &user, &kernel),
	    2);
	(void)fclose(f);
	return user + kernel;
}

START_TEST(without_descriptors_clients_are_told_and_nothing_spins)
{
	const struct surroundings few = { .files = 128 };
	char name[] = "toyd", *argv[] = { name, NULL };
	unsigned long ticks;
	int fd, other, i;

	start_with(&few, 1, argv);
	learn_address("toy");
	fd = client();
	say(fd, "GREED\r\n");
	hear(fd, "all mine\r\n");
	ticks = ticks_used();
	for (i = 0; i < 5; i++)
		require_refused();
	log_line("event=accept_failed");
	usleep(500000);
	ck_assert_uint_lt(ticks_used() - ticks, 20);
	say(fd, "GIVE\r\n");
	hear(fd, "all yours\r\n");
	other = client();
	close(other);
	close(fd);
	stop_daemon();
}
END_TEST

/* --- reload ------------------------------------------------------------------ */

static long
served_serial(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	X509 *x;
	long serial;
	int fd = client();

	say(fd, "STARTTLS\r\n");
	hear(fd, "go\r\n");
	ssl = SSL_new(ctx);
	ck_assert(ctx != NULL && ssl != NULL && SSL_set_fd(ssl, fd) == 1);
	ck_assert_int_eq(SSL_connect(ssl), 1);
	x = SSL_get1_peer_certificate(ssl);
	ck_assert_ptr_nonnull(x);
	serial = ASN1_INTEGER_get(X509_get0_serialNumber(x));
	X509_free(x);
	ck_assert_int_eq(SSL_write(ssl, "QUIT\r\n", 6), 6);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return serial;
}

static void
write_tls_config(const char *more)
{
	char text[300];

	(void)snprintf(
	    text, sizeof(text), "listen 127.0.0.1:0\ncert %s\nkey %s\n%s", cert, key, more);
	write_config(text);
}

START_TEST(a_renewed_certificate_is_taken)
{
	const char *at;
	FILE *f;

	certificate_make(cert, key, false, 41);
	write_tls_config("");
	start();
	learn_address("toy");
	ck_assert_int_eq(served_serial(), 41);

	certificate_make(cert, key, false, 42);
	ck_assert_int_eq(served_serial(), 41);
	signal_daemon(SIGHUP);
	at = log_line("event=reloaded");
	ck_assert_int_eq(served_serial(), 42);

	/* A broken one is not; the old one stays. */
	f = fopen(cert, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fclose(f), 0);
	signal_daemon(SIGHUP);
	at = log_line_after(at, "event=reload_failed");
	at = log_line_after(at, "event=reloaded");
	ck_assert_int_eq(served_serial(), 42);

	/* Nor does a broken configuration keep a good certificate out. */
	certificate_make(cert, key, false, 43);
	write_tls_config("bad x\n");
	signal_daemon(SIGHUP);
	at = log_line_after(at, "event=reload_failed error=\"this is bad: bad\"");
	at = log_line_after(at, "event=reloaded");
	ck_assert_int_eq(served_serial(), 43);
	stop_daemon();
}
END_TEST

START_TEST(a_reload_changes_limits_and_keeps_sessions)
{
	int fd;

	start();
	learn_address("toy");
	fd = client();
	write_config("listen 127.0.0.1:0\nperip 1\n");
	signal_daemon(SIGHUP);
	log_line("event=reloaded");
	require_refused();
	say(fd, "ECHO still here\r\n");
	hear(fd, "still here\r\n");
	close(fd);
	stop_daemon();
}
END_TEST

START_TEST(tls_first_is_refused_without_a_word)
{
	char more[40] = "listens 127.0.0.1:0\nperip 0\n";
	int fd;

	certificate_make(cert, key, false, 1);
	write_tls_config(more);
	start();
	learn_address("toys");
	fd = try_connect();
	ck_assert_int_ne(fd, -1);
	hear_end(fd);
	close(fd);
	stop_daemon();
}
END_TEST

/* --- supervisors ------------------------------------------------------------- */

/* Rows: what the configuration has, the socket's name, whether that fits. */
static const struct {
	const char *listen; /* NULL: the socket's own address */
	const char *name;
	const char *proto; /* NULL: refused */
} handed[] = {
	{ NULL, "unknown", "toy" },
	{ "listen 127.0.0.2:1", "toy", "toy" },
	{ "listen 127.0.0.2:1\nlistens 127.0.0.3:1", "toys", "toys" },
	{ "listen 127.0.0.2:1", "unknown", NULL },
};

START_TEST(a_socket_handed_over_is_served)
{
	struct surroundings with = { .listen_name = handed[_i].name };
	char name[] = "toyd", *argv[] = { name, NULL }, text[300];
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int fd;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	with.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(with.listen_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(with.listen_fd, 5), 0);
	ck_assert_int_eq(getsockname(with.listen_fd, (struct sockaddr *)&at, &len), 0);
	certificate_make(cert, key, false, 1);
	if (handed[_i].listen != NULL)
		(void)snprintf(
		    text, sizeof(text), "%s\ncert %s\nkey %s\n", handed[_i].listen, cert, key);
	else
		(void)snprintf(text, sizeof(text), "listen 127.0.0.1:%u\n", ntohs(at.sin_port));
	write_config(text);
	start_with(&with, 1, argv);
	if (handed[_i].proto == NULL) {
		require_exit(EX_CONFIG);
		ck_assert_ptr_nonnull(strstr(logged, "handed over by the supervisor, is none"));
	} else {
		learn_address(handed[_i].proto);
		ck_assert_uint_eq(ntohs(address.addr.in.sin_port), ntohs(at.sin_port));
		if (strcmp(handed[_i].proto, "toy") == 0) {
			fd = client();
			close(fd);
		}
		stop_daemon();
	}
	close(with.listen_fd);
}
END_TEST

static void
require_told(int fd, const char *want)
{
	char got[200] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	ck_assert_int_gt(n, 0);
	ck_assert_msg(strncmp(got, want, strlen(want)) == 0, "it says: %s", got);
}

START_TEST(a_supervisor_is_told)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct surroundings with = { .variable = "NOTIFY_SOCKET", .value = at.sun_path };
	char name[] = "toyd", *argv[] = { name, NULL };
	socklen_t len = sizeof(at);
	char abstract[80];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (_i == 0) {
		(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", folder);
	} else {
		(void)snprintf(abstract, sizeof(abstract), "@%s/socket", folder);
		memcpy(at.sun_path, abstract, sizeof(abstract));
		at.sun_path[0] = '\0';
		len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(abstract));
		with.value = abstract;
	}
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	start_with(&with, 1, argv);
	require_told(fd, "READY=1");
	signal_daemon(SIGHUP);
	require_told(fd, "RELOADING=1\nMONOTONIC_USEC=");
	require_told(fd, "READY=1");
	stop_daemon();
	require_told(fd, "STOPPING=1");
	/* Not before the program was ready. */
	log_line("event=closed asked=4");
	close(fd);
}
END_TEST

/* --- privileges -------------------------------------------------------------- */

START_TEST(root_is_given_up)
{
	const struct passwd *nobody = getpwnam("nobody");
	char want[64];

	if (geteuid() != 0 || nobody == NULL)
		return;
	certificate_make(cert, key, false, 1);
	ck_assert_int_eq(chmod(key, 0600), 0);
	write_tls_config("user nobody\n");
	start();
	(void)snprintf(want, sizeof(want), "event=opened uid=%u", (unsigned)nobody->pw_uid);
	log_line(want);
	log_line("event=key_unreadable");
	stop_daemon();
}
END_TEST

START_TEST(an_unknown_user_is_said)
{
	if (geteuid() != 0)
		return;
	write_config("listen 127.0.0.1:0\nuser nobody-of-this-name\n");
	start();
	require_exit(EX_NOPERM);
	ck_assert_ptr_nonnull(strstr(logged, "nobody-of-this-name"));
	ck_assert_ptr_null(strstr(logged, "event=opened"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server");
	TCase *tc = tcase_create("server");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, command_lines, 0, LINES);
	tcase_add_test(tc, a_store_that_cannot_be_opened_ends_the_start);
	tcase_add_loop_test(tc, serves_and_ends, 0, 2);
	tcase_add_test(tc, an_operation_is_let_finish);
	tcase_add_test(tc, a_second_signal_ends_at_once);
	tcase_add_test(tc, the_drain_has_an_end);
	tcase_add_test(tc, a_unix_socket_is_served_and_removed);
	tcase_add_test(tc, a_port_in_use_is_said);
	tcase_add_loop_test(tc, one_too_many_is_refused, 0, 2);
	tcase_add_test(tc, connections_fit_the_descriptors);
	tcase_add_test(tc, without_descriptors_clients_are_told_and_nothing_spins);
	tcase_add_test(tc, a_renewed_certificate_is_taken);
	tcase_add_test(tc, a_reload_changes_limits_and_keeps_sessions);
	tcase_add_test(tc, tls_first_is_refused_without_a_word);
	tcase_add_loop_test(tc, a_socket_handed_over_is_served, 0, 4);
	tcase_add_loop_test(tc, a_supervisor_is_told, 0, 2);
	tcase_add_test(tc, root_is_given_up);
	tcase_add_test(tc, an_unknown_user_is_said);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
