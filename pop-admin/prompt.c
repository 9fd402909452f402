/*
 * prompt - what an administrator types.
 *
 * Echo comes back in whatever way the reading ends: the signals that would end
 * the program meanwhile are only noted, and raised again afterwards.
 */
#include "prompt.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "spool/account.h"

static const int noted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
#define NNOTED (sizeof(noted) / sizeof(noted[0]))

/* A signal handler has no other way to tell. */
static volatile sig_atomic_t came;

static void
note_signal(int number)
{
	came = number;
}

/* One line from standard input, octet by octet so that nothing behind it is taken.  0, or
 * -1 at the end of input, after a signal, or when it is too long. */
static int
read_line(struct strbuf *line)
{
	for (;;) {
		char c;
		ssize_t n = read(STDIN_FILENO, &c, 1);

		if (n < 0 && errno == EINTR && came == 0)
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
	int rc = -1;

	if (tcgetattr(STDIN_FILENO, &term) != 0)
		return -1;
	silent = term;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	came = 0;
	for (size_t i = 0; i < NNOTED; i++)
		sigaction(noted[i], &act, &old_act[i]);
	fprintf(stderr, "%s", question);
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0) {
		rc = read_line(line);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &term);
		fputc('\n', stderr);
	}
	for (size_t i = 0; i < NNOTED; i++)
		sigaction(noted[i], &old_act[i], NULL);
	if (came != 0) {
		raise(came);
		return -1;
	}
	return rc;
}

int
prompt_password(struct strbuf *password)
{
	struct strbuf again;
	int rc = -1;

	strbuf_init(password, ACCOUNT_PASSWORD_MAX);
	if (!isatty(STDIN_FILENO)) {
		if (read_line(password) == 0 && password->len > 0)
			return 0;
		fprintf(stderr, "pop-admin: no password: give one as the first line of standard "
				"input\n");
		prompt_wipe(password);
		return -1;
	}
	strbuf_init(&again, ACCOUNT_PASSWORD_MAX);
	if (read_without_echo("New password: ", password) != 0 ||
	    read_without_echo("Once more: ", &again) != 0)
		fprintf(stderr, "pop-admin: no password was read\n");
	else if (password->len == 0)
		fprintf(stderr, "pop-admin: the password is empty\n");
	else if (password->len != again.len || memcmp(password->buf, again.buf, again.len) != 0)
		fprintf(stderr, "pop-admin: the two are not the same\n");
	else
		rc = 0;
	prompt_wipe(&again);
	if (rc != 0)
		prompt_wipe(password);
	return rc;
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
	confirmed = read_line(&answer) == 0 &&
	            (strcmp(answer.buf, "y") == 0 || strcmp(answer.buf, "yes") == 0);
	strbuf_release(&answer);
	if (!confirmed)
		fprintf(stderr, "pop-admin: nothing was changed\n");
	return confirmed;
}
