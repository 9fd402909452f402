/*
 * prompt - what an administrator types.
 *
 * Echo comes back in whatever way the reading ends: the signals that would end
 * the program meanwhile are only noted, and raised again afterwards.
 */
#include "prompt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "spool/account.h"
#include "spool/spool.h"

static const int noted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
#define NNOTED (sizeof(noted) / sizeof(noted[0]))

/* A signal handler has no other way to tell. */
static volatile sig_atomic_t came;

static void
note_signal(int number)
{
	came = number;
}

/* Waits for input, the noted signals let in by `mask` only meanwhile, so that none can come
 * unseen just before.  False when one came. */
static bool
wait_input(const sigset_t *mask)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	while (ppoll(&in, 1, NULL, mask) < 0 && came == 0)
		if (errno != EINTR)
			return true;
	return came == 0;
}

/* One line from standard input, octet by octet so that nothing behind it is taken; `mask` may
 * be NULL.  0, or -1 at the end of input, after a signal, or when it is too long. */
static int
read_line(struct strbuf *line, const sigset_t *mask)
{
	for (;;) {
		char c;
		ssize_t n;

		if (mask != NULL && !wait_input(mask))
			return -1;
		n = read(STDIN_FILENO, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && line->len > 0 ? 0 : -1;
		if (c == '\n')
			break;
		strbuf_addch(line, c);
	}
	if (line->len > 0 && line->buf[line->len - 1] == '\r')
		line->buf[--line->len] = '\0';
	return line->failed ? -1 : 0;
}

static int
read_without_echo(const char *question, struct strbuf *line)
{
	struct sigaction act = { .sa_handler = note_signal }, old_act[NNOTED];
	struct termios term, silent;
	sigset_t block, before;
	int rc = -1;

	if (tcgetattr(STDIN_FILENO, &term) != 0)
		return -1;
	silent = term;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	came = 0;
	sigemptyset(&block);
	for (size_t i = 0; i < NNOTED; i++) {
		sigaddset(&block, noted[i]);
		sigaction(noted[i], &act, &old_act[i]);
	}
	sigprocmask(SIG_BLOCK, &block, &before);
	/* Asked only then: what is typed at the question must not be flushed away. */
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0) {
		fprintf(stderr, "%s", question);
		rc = read_line(line, &before);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &term);
		fputc('\n', stderr);
	}
	for (size_t i = 0; i < NNOTED; i++)
		sigaction(noted[i], &old_act[i], NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (came != 0) {
		raise(came);
		return -1;
	}
	return rc;
}

/* Room for the longest at once: a text that grows leaves copies of itself behind. */
static void
init_secret(struct strbuf *secret)
{
	static const char room[ACCOUNT_PASSWORD_MAX];

	strbuf_init(secret, ACCOUNT_PASSWORD_MAX);
	strbuf_add(secret, room, sizeof(room));
	strbuf_clear(secret);
}

static bool
password_fits(const struct strbuf *password)
{
	return !password->failed && password->len > 0 &&
	       memchr(password->buf, '\0', password->len) == NULL;
}

int
prompt_password(struct strbuf *password)
{
	struct strbuf again;
	const char *wrong = NULL;

	init_secret(password);
	init_secret(&again);
	if (!isatty(STDIN_FILENO)) {
		if (read_line(password, NULL) != 0 && !password->failed)
			wrong = "no password: give one as the first line of standard input";
	} else if (read_without_echo("New password: ", password) != 0 && !password->failed) {
		wrong = "no password was read";
	} else if (password_fits(password)) {
		if (read_without_echo("Once more: ", &again) != 0 && !again.failed)
			wrong = "no password was read";
		else if (password->len != again.len ||
			 memcmp(password->buf, again.buf, again.len) != 0)
			wrong = "the two are not the same";
	}
	if (wrong == NULL && !password_fits(password))
		wrong = spool_status_text(SPOOL_BAD_PASSWORD);
	prompt_wipe(&again);
	if (wrong == NULL)
		return 0;
	fprintf(stderr, "pop-admin: %s\n", wrong);
	prompt_wipe(password);
	return -1;
}

void
prompt_wipe(struct strbuf *password)
{
	if (password->cap > 0)
		mem_wipe(password->buf, password->cap);
	strbuf_release(password);
}

bool
prompt_confirm(bool yes, const char *fmt, ...)
{
	struct strbuf answer;
	bool confirmed;
	va_list ap;

	if (yes || !isatty(STDIN_FILENO))
		return true;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " [y/N] ");
	strbuf_init(&answer, 16);
	confirmed = read_line(&answer, NULL) == 0 &&
	            (strcmp(answer.buf, "y") == 0 || strcmp(answer.buf, "yes") == 0);
	strbuf_release(&answer);
	if (!confirmed)
		fprintf(stderr, "pop-admin: nothing was changed\n");
	return confirmed;
}
