/*
 * server - the skeleton of both daemons: how they start, what signals do, how they end.
 *
 * Main has a loop of its own, for signals (signalfd(2); they are blocked before the first
 * thread exists, so that none other gets them), for asking whether the program is ready,
 * and for what the loops of the clients have to say at the end.
 *
 * A clean-up is one ladder in server_serve(): what was opened last goes first.
 */
#include "net/server.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/privilege.h"
#include "base/version.h"
#include "common/net/server_private.h"

#define ERROR_MAX 4096
#define READY_ASK_MS 20u

/* Descriptors that are not connections: databases, segments, locks, the program's own. */
#define DESCRIPTORS_KEPT 512u

/* `ready` and `drain`. */
#define MAIN_TIMERS 2

/* --- the command line -------------------------------------------------------- */

#define NOTHING_LEFT (-1)

static void
print_usage(FILE *to, const struct server_program *program)
{
	(void)fprintf(to,
	    "usage: %s [-c FILE] [-t]\n"
	    "  -c FILE        the configuration (%s)\n"
	    "  -t             checks the configuration and ends\n"
	    "  -h, --help     prints this\n"
	    "  -V, --version  prints the version\n",
	    program->name, program->config_file);
}

/* An exit code, or NOTHING_LEFT to say that the daemon is to run. */
static int
parse_options(struct server *s, int argc, char **argv, bool *check_r)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "c:thV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			s->config_file = optarg;
			break;
		case 't':
			*check_r = true;
			break;
		case 'h':
			print_usage(stdout, s->program);
			return EX_OK;
		case 'V':
			printf("%s (Restante) %s\n", s->program->name, RESTANTE_VERSION);
			return EX_OK;
		default:
			print_usage(stderr, s->program);
			return EX_USAGE;
		}
	}
	if (optind == argc)
		return NOTHING_LEFT;
	(void)fprintf(stderr, "%s: takes no operand: %s\n", s->program->name, argv[optind]);
	print_usage(stderr, s->program);
	return EX_USAGE;
}

/* --- settings ---------------------------------------------------------------- */

struct server_settings
server_settings_now(struct server *s)
{
	struct server_settings now;

	pthread_mutex_lock(&s->mutex);
	now = s->settings;
	if (now.tls != NULL)
		now.tls = tls_context_ref(now.tls);
	pthread_mutex_unlock(&s->mutex);
	return now;
}

/* How many connections the descriptors are enough for; the soft limit is raised as far
 * as it goes. */
static uint64_t
fit_connections(uint64_t wanted)
{
	struct rlimit limit;
	uint64_t fit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return wanted;
	if (limit.rlim_cur != limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) == -1 ||
		    getrlimit(RLIMIT_NOFILE, &limit) == -1)
			return wanted;
	}
	if (limit.rlim_cur == RLIM_INFINITY)
		return wanted;
	fit = limit.rlim_cur >= 2 * DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT
	                                             : limit.rlim_cur / 2;
	if (wanted <= fit)
		return wanted;
	log_event(LOG_LEVEL_WARNING, "connections_limited", log_num("max_connections", fit),
	    log_num("wanted", wanted), log_num("open_files", limit.rlim_cur),
	    log_text("advice", "raise the limit of open files (LimitNOFILE, ulimit -n)"));
	return fit;
}

/* With errno, which is 0 where somebody has to mend what he wrote.  Else a supervisor is to start us
 * again, which after EX_CONFIG it does not. */
static int
not_configured(void)
{
	if (errno == 0)
		return EX_CONFIG;
	return errno == EIO ? EX_IOERR : EX_TEMPFAIL;
}

/* The configuration to start with.  An exit code. */
static int
configure(struct server *s, struct strbuf *err)
{
	if (s->program->configure(s->program->arg, s->config_file, false, &s->options, err) == -1)
		return not_configured();
	if (s->options.nlisten > 0)
		return EX_OK;
	strbuf_addf(err, "%s: there is no address to listen on: set `listen`", s->config_file);
	return EX_CONFIG;
}

/* The certificate that is configured; NULL where there is none, or with a sentence in the
 * empty `err`. */
static int
load_tls(const struct server *s, struct tls_context **tls_r, struct strbuf *err)
{
	const struct server_options *o = &s->options;

	*tls_r = NULL;
	if (o->certificate == NULL || o->key == NULL)
		return 0;
	strbuf_addf(err, "%s: [tls] ", s->config_file);
	*tls_r = tls_context_load(o->certificate, o->key, err);
	if (*tls_r == NULL)
		return -1;
	strbuf_clear(err);
	return 0;
}

/* Makes new connections begin with these options; takes over `tls`. */
static void
put_settings(struct server *s, struct tls_context *tls)
{
	const struct server_options *o = &s->options;
	struct server_settings new = {
		.max_connections = fit_connections(o->max_connections),
		.max_connections_per_ip = o->max_connections_per_ip,
		.timeout_ms = o->timeout_ms,
		.trusts = o->trusts,
		.tls = tls,
	};
	struct tls_context *old;

	pthread_mutex_lock(&s->mutex);
	old = s->settings.tls;
	s->settings = new;
	pthread_mutex_unlock(&s->mutex);
	tls_context_unref(&old);
}

/* --- reload ------------------------------------------------------------------ */

static void
log_not_reloaded(const struct strbuf *err, const char *what_stays)
{
	log_event(LOG_LEVEL_ERROR, "reload_failed", log_text("error", err->buf),
	    log_text("advice", what_stays));
}

static void
reload(struct server *s)
{
	const struct server_program *program = s->program;
	struct server_options options;
	struct tls_context *tls;
	struct strbuf err;
	bool whole = true;

	server_notify_reloading();
	strbuf_init(&err, ERROR_MAX);
	if (program->configure(program->arg, s->config_file, true, &options, &err) == 0) {
		s->options = options;
	} else {
		whole = false;
		log_not_reloaded(&err,
		    "mend the file and send SIGHUP again; the old configuration stays till then");
	}
	strbuf_clear(&err);
	if (load_tls(s, &tls, &err) == -1) {
		whole = false;
		log_not_reloaded(
		    &err, "mend that and send SIGHUP again; the old certificate stays till then");
		/* Main alone replaces it, so it cannot go while we look. */
		tls = s->settings.tls != NULL ? tls_context_ref(s->settings.tls) : NULL;
	}
	put_settings(s, tls);
	strbuf_release(&err);
	/* Whoever waits for "reloaded" is not to take half of it for all. */
	log_event(LOG_LEVEL_INFO, whole ? "reloaded" : "reloaded_in_part",
	    log_text("path", s->config_file));
	server_notify("READY=1");
}

/* --- the end ----------------------------------------------------------------- */

void
server_loop_told(struct server *s)
{
	/* Closed only when no loop watches them any more: their numbers may be given anew. */
	if (s->deaf == s->nloops)
		server_sockets_close(s);
	if (s->empty == s->nloops)
		loop_stop(s->loop);
}

static void
drain_due(struct timer *timer)
{
	struct server *s = LIST_OBJECT(timer, struct server, drain);

	log_event(LOG_LEVEL_WARNING, "drain_over", log_num("sessions", peers_total(s->peers)),
	    log_text("advice", "sessions that did not end in time are cut"));
	server_loops_drop(s);
}

static void
stop(struct server *s, int signo)
{
	if (s->stopping) {
		/* The store bears it: what was acknowledged is on disk. */
		log_event(LOG_LEVEL_WARNING, "ended_at_once", log_text("signal", strsignal(signo)));
		_exit(EX_OK);
	}
	s->stopping = true;
	timer_stop(&s->ready);
	log_event(LOG_LEVEL_INFO, "stopping", log_num("sessions", peers_total(s->peers)));
	server_notify("STOPPING=1");
	timer_start(s->loop, &s->drain, SERVER_DRAIN_MS);
	server_loops_drain(s);
}

/* --- main's loop ------------------------------------------------------------- */

static void
signals_ready(struct watch *watch, uint32_t events)
{
	struct server *s = LIST_OBJECT(watch, struct server, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			stop(s, (int)info.ssi_signo);
		else if (!s->stopping)
			reload(s);
	}
}

static void
ready_due(struct timer *timer)
{
	struct server *s = LIST_OBJECT(timer, struct server, ready);

	if (s->program->ready(s->program->arg)) {
		log_event(LOG_LEVEL_INFO, "ready", log_text("version", RESTANTE_VERSION));
		if (!s->ready_told)
			server_notify("READY=1");
		return;
	}
	timer_start(s->loop, timer, READY_ASK_MS);
	if (s->ready_told || clock_mono_ms() - s->served_since_ms < SERVER_READY_MS)
		return;
	/* A supervisor that hears nothing takes us for stuck, and begins it all anew. */
	s->ready_told = true;
	log_event(LOG_LEVEL_WARNING, "ready_late", log_text("program", s->program->name),
	    log_text("advice", "clients are put off until what is there was looked through, by "
			       "this program or by another"));
	server_notify("READY=1");
}

static void
signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static int
loop_open(struct server *s)
{
	sigset_t set;

	s->loop = loop_new();
	if (s->loop == NULL || loop_reserve_timers(s->loop, MAIN_TIMERS) == -1)
		return -1;
	s->ready.due = ready_due;
	s->drain.due = drain_due;
	signal_set(&set);
	s->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	s->signals.ready = signals_ready;
	if (s->signals.fd == -1 || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return loop_watch(s->loop, &s->signals, EPOLLIN);
}

/* From here on a signal ends the process by itself: close() may have to wait for a disk
 * that does not answer. */
static void
loop_close(struct server *s)
{
	sigset_t set;

	signal_set(&set);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	timer_stop(&s->ready);
	timer_stop(&s->drain);
	loop_unwatch(&s->signals);
	if (s->signals.fd != -1)
		close(s->signals.fd);
	s->signals.fd = -1;
}

/* --- the start --------------------------------------------------------------- */

/* Accepts connections until a signal ends that. */
static int
serve(struct server *s, struct strbuf *err)
{
	if (server_loops_start(s, err) == -1)
		return EX_TEMPFAIL;
	server_sockets_log(s);
	s->served_since_ms = clock_mono_ms();
	timer_start(s->loop, &s->ready, 0);
	if (loop_run(s->loop) == -1) {
		/* There are clients, and no way left to tell them. */
		log_event(LOG_LEVEL_ERROR, "loop_failed", log_errno(errno),
		    log_text("advice", "start the daemon again"));
		_exit(EX_TEMPFAIL);
	}
	return EX_OK;
}

/* Root could read the key; who sends SIGHUP after renewing it finds out too late. */
static void
warn_unreadable_key(const struct server_options *o)
{
	if (o->key == NULL || euidaccess(o->key, R_OK) == 0)
		return;
	log_event(LOG_LEVEL_WARNING, "key_unreadable", log_text("path", o->key), log_errno(errno),
	    log_text("user", o->user),
	    log_text("advice", "let this user read it, or a renewed one needs a restart"));
}

/* Becomes the account of the configuration, or looks whether that could be: a check ends with the
 * code with which a start would. */
static int
as_user(const struct server *s, int (*become)(const char *, struct strbuf *), struct strbuf *err)
{
	strbuf_addf(err, "%s: [site] user: ", s->config_file);
	if (become(s->options.user, err) == -1)
		return errno == EPERM ? EX_NOPERM : not_configured();
	strbuf_clear(err);
	return EX_OK;
}

/* Everything that needs root is done before privilege_become(), and nothing else. */
static int
open_all(struct server *s, struct strbuf *err)
{
	struct tls_context *tls;
	int code;

	s->peers = peers_new();
	if (s->peers == NULL || loop_open(s) == -1) {
		strbuf_addf(err, "starting: %s", strerrordesc_np(errno));
		return EX_TEMPFAIL;
	}
	code = server_sockets_open(s, err);
	if (code != EX_OK)
		return code;
	if (load_tls(s, &tls, err) == -1)
		return not_configured();
	put_settings(s, tls);
	code = as_user(s, privilege_become, err);
	if (code != EX_OK)
		return code;
	warn_unreadable_key(&s->options);
	return s->program->open(s->program->arg, s->peers, err);
}

static int
run(struct server *s, struct strbuf *err)
{
	int code = open_all(s, err);
	const bool opened = code == EX_OK;

	if (opened)
		code = serve(s, err);
	if (s->loop != NULL)
		loop_close(s);
	if (opened) {
		server_loops_stop(s);
		server_loops_run_posts(s);
		s->program->close(s->program->arg);
		/* The program's threads have ended with that, and may have posted till then. */
		server_loops_run_posts(s);
	}
	server_loops_free(s);
	server_sockets_close(s);
	tls_context_unref(&s->settings.tls);
	loop_free(&s->loop);
	peers_free(&s->peers);
	return code;
}

/* Where memory is out there is none for a sentence either. */
static const char *
why(const struct strbuf *err)
{
	return err->len > 0 ? err->buf : "there is not enough memory";
}

/* Tells what is wrong as people read it, not as a line of the log. */
static int
check_only(struct server *s, struct strbuf *err)
{
	struct tls_context *tls = NULL;
	int code = configure(s, err);

	if (code == EX_OK && load_tls(s, &tls, err) == -1)
		code = not_configured();
	tls_context_unref(&tls);
	if (code == EX_OK)
		code = as_user(s, privilege_check, err);
	if (code != EX_OK)
		(void)fprintf(stderr, "%s\n", why(err));
	return code;
}

static int
start(struct server *s, struct strbuf *err)
{
	int code;

	/* A log whose reader has gone is no reason to end. */
	(void)signal(SIGPIPE, SIG_IGN);
	log_init();
	code = configure(s, err);
	if (code == EX_OK)
		code = run(s, err);
	if (code != EX_OK)
		log_event(LOG_LEVEL_ERROR, "start_failed", log_text("error", why(err)),
		    log_num("exit", (uint64_t)code));
	else
		log_event(LOG_LEVEL_INFO, "stopped", log_text("program", s->program->name));
	return code;
}

int
server_run(const struct server_program *program, int argc, char **argv)
{
	struct server s = { .program = program,
		.config_file = program->config_file,
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.signals = { .fd = -1 } };
	bool check = false;
	struct strbuf err;
	int code;

	code = parse_options(&s, argc, argv, &check);
	if (code != NOTHING_LEFT)
		return code;
	strbuf_init(&err, ERROR_MAX);
	code = check ? check_only(&s, &err) : start(&s, &err);
	strbuf_release(&err);
	return code;
}
