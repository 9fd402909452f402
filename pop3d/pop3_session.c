/*
 * pop3_session - a connection's life (RFC 1939 3): lines in, one reply to each, in order.
 *
 *   AUTHORIZATION --pop3_login--> TRANSACTION --QUIT, something to do--> UPDATE --> closed
 *         |                            |
 *         +----------- QUIT -----------+---- timeout, shutdown, peer gone -----> closed
 *
 * AUTHORIZATION  nobody is logged in: no maildrop, no lock.  A login on its way is `login`.
 * TRANSACTION    the maildrop is locked and loaded.  Marks are in memory alone, so
 *                whatever ends the session here removes nothing (RFC 1939 3, 6).
 * UPDATE         QUIT was said, and something is marked or was retrieved.  What was sent before
 *                must be acknowledged first; then a job removes and notes; then the
 *                lock is given back, then the reply.
 *
 * Transitions: pop3_session_enter(), called where a login succeeded (pop3_login.c) and where
 * QUIT finds something to do (pop3_transaction.c).
 *
 * A session that was told to end with retrievals not yet noted lives on as a job, which owns the
 * maildrop: with its lock until they are noted, and without a connection.
 *
 * What cannot be done at once leaves `go_on`, and no line is looked at while
 * it is set.  So pipelined commands are done in turn (RFC 2449 6.6), and what a client does not
 * read stops what it can ask for: nothing is produced above OUTQ_HIGH_WATER.  Nor can thousands of
 * pipelined commands that walk a long list hold up the loop: `looks` counts their steps.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "pop3_login.h"
#include "pop3_send.h"
#include "pop3_session.h"

static void
run_job(struct job *job)
{
	struct pop3_session *s = LIST_OBJECT(job, struct pop3_session, job);

	s->status = s->work(s);
}

static void
job_done(struct job *job)
{
	struct pop3_session *s = LIST_OBJECT(job, struct pop3_session, job);

	s->work = NULL;
	s->link->wake(s->link);
}

static void
timer_due(struct timer *timer)
{
	struct pop3_session *s = LIST_OBJECT(timer, struct pop3_session, timer);

	s->link->wake(s->link);
}

struct pop3_session *
pop3_session_new(struct pop3d *pop3d, struct session_link *link, struct config *config)
{
	struct pop3_session *s = mem_array(1, sizeof(*s));

	if (s == NULL || loop_reserve_timers(link->loop, 1) != 0) {
		free(s);
		config_unref(&config);
		return NULL;
	}
	s->pop3d = pop3d;
	s->link = link;
	s->config = config;
	s->job.run = run_job;
	s->job.done = job_done;
	s->job.loop = link->loop;
	s->timer.due = timer_due;
	return s;
}

void
pop3_session_enter(struct pop3_session *s, enum pop3_state state)
{
	assert(state == s->state + 1);
	s->state = state;
	log_event(LOG_LEVEL_DEBUG, "state", log_text("session", s->link->id),
	    log_text("state", state == POP3_TRANSACTION ? "TRANSACTION" : "UPDATE"));
}

enum pop3_reply
pop3_session_work(struct pop3_session *s, struct jobs *pool,
    enum spool_status (*work)(struct pop3_session *),
    enum pop3_reply (*go_on)(struct pop3_session *))
{
	s->work = work;
	s->go_on = go_on;
	jobs_submit(pool, &s->job);
	return POP3_WAIT;
}

enum pop3_reply
pop3_session_sleep(
    struct pop3_session *s, uint64_t ms, enum pop3_reply (*go_on)(struct pop3_session *))
{
	s->go_on = go_on;
	timer_start(s->link->loop, &s->timer, ms);
	return POP3_WAIT;
}

enum pop3_reply
pop3_session_yield(struct pop3_session *s, enum pop3_reply (*go_on)(struct pop3_session *))
{
	s->looks = 0;
	return pop3_session_sleep(s, 0, go_on);
}

static enum pop3_reply
next_line(struct pop3_session *s)
{
	(void)s;
	return POP3_REPLIED;
}

static bool
all_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return len > 0;
}

/*
 * The number of a message, as LIST writes it: digits, no sign, no leading zero.  What is no number
 * of this maildrop's is no message; "007" must not be taken for message 7.
 */
static enum pop3_reply
parse_message(struct pop3_session *s, const char *text, size_t len, size_t *message_r)
{
	uint64_t number;

	if (!all_digits(text, len))
		return POP3_ERR_ARGUMENT;
	if (text[0] == '0' ||
	    num_parse_u64(text, len, 1, maildrop_count(s->maildrop), &number) != 0)
		return POP3_ERR_NO_MESSAGE;
	if (maildrop_marked(s->maildrop, number - 1))
		return POP3_ERR_MARKED;
	*message_r = number - 1;
	return POP3_REPLIED;
}

/* Checks what follows the keyword.  POP3_REPLIED when it is as the command's row says. */
static enum pop3_reply
parse_arguments(struct pop3_session *s, enum pop3_argument kind, struct pop3_arguments *args)
{
	const char *blank;

	/* Blanks at the end are no argument, but where they may be part of a password. */
	if (kind != POP3_ARG_TEXT)
		while (args->len > 0 && args->text[args->len - 1] == ' ')
			args->len--;
	switch (kind) {
	case POP3_ARG_NONE:
		return args->len == 0 ? POP3_REPLIED : POP3_ERR_ARGUMENT;
	case POP3_ARG_TEXT:
		return args->len > 0 ? POP3_REPLIED : POP3_ERR_ARGUMENT;
	case POP3_ARG_MAY:
		return POP3_REPLIED;
	case POP3_ARG_MAY_MESSAGE:
		if (args->len == 0)
			return POP3_REPLIED;
		break;
	case POP3_ARG_MESSAGE:
		break;
	case POP3_ARG_MESSAGE_COUNT:
		blank = memchr(args->text, ' ', args->len);
		if (blank == NULL ||
		    num_parse_u64(blank + 1, (size_t)(args->text + args->len - blank - 1), 0,
			UINT64_MAX, &args->count) != 0)
			return POP3_ERR_ARGUMENT;
		args->len = (size_t)(blank - args->text);
		break;
	}
	args->has_message = true;
	return parse_message(s, args->text, args->len, &args->message);
}

static const struct pop3_command *
find_command(const struct pop3_command *commands, const char *keyword, size_t len)
{
	for (; commands->keyword != NULL; commands++)
		if (strlen(commands->keyword) == len &&
		    strncasecmp(commands->keyword, keyword, len) == 0)
			return commands;
	return NULL;
}

static enum pop3_reply
run_command(struct pop3_session *s, const char *line, size_t len)
{
	bool in = s->state == POP3_TRANSACTION;
	const struct pop3_command *here =
	    in ? pop3_transaction_commands : pop3_authorization_commands;
	const struct pop3_command *elsewhere =
	    in ? pop3_authorization_commands : pop3_transaction_commands;
	const char *blank = memchr(line, ' ', len);
	size_t keyword_len = blank != NULL ? (size_t)(blank - line) : len;
	struct pop3_arguments args = { .text = line + len };
	const struct pop3_command *command;
	enum pop3_reply reply;

	command = find_command(here, line, keyword_len);
	if (command == NULL && find_command(elsewhere, line, keyword_len) != NULL)
		return in ? POP3_ERR_LOGGED_IN : POP3_ERR_LOGIN_FIRST;
	if (command == NULL)
		return POP3_ERR_UNKNOWN;
	if (blank != NULL) {
		args.text = blank + 1;
		args.len = len - keyword_len - 1;
	}
	reply = parse_arguments(s, command->argument, &args);
	return reply == POP3_REPLIED ? command->run(s, &args) : reply;
}

/* Octets that a line may have with its end. */
static size_t
line_max(const struct pop3_session *s, const char *line)
{
	if (s->answer != NULL)
		return POP3_LINE_MAX_CREDENTIALS;
	if (s->state == POP3_AUTHORIZATION &&
	    (strncasecmp(line, "AUTH ", 5) == 0 || strncasecmp(line, "PASS ", 5) == 0))
		return POP3_LINE_MAX_CREDENTIALS;
	return POP3_LINE_MAX;
}

/*
 * Takes one line from the front of `len` octets and does what it says.  Returns how many octets are
 * done with; 0 when the line has no end yet.  A bare LF ends a line, too.
 */
static size_t
take_line(struct pop3_session *s, const char *buf, size_t len, enum pop3_reply *reply_r)
{
	const char *lf = memchr(buf, '\n', len);
	size_t used = lf != NULL ? (size_t)(lf - buf) + 1 : len;
	enum pop3_reply (*answer)(struct pop3_session *, const char *, size_t) = s->answer;
	size_t text = used - 1;

	*reply_r = POP3_REPLIED;
	if (s->skipping) {
		s->skipping = lf == NULL;
		return used;
	}
	if (used > POP3_LINE_MAX && used > line_max(s, buf)) {
		s->skipping = lf == NULL;
		s->lines++;
		s->answer = NULL;
		*reply_r = POP3_ERR_LINE;
		return used;
	}
	if (lf == NULL)
		return 0;
	if (text > 0 && buf[text - 1] == '\r')
		text--;
	s->lines++;
	s->answer = NULL;
	if (memchr(buf, '\0', text) != NULL)
		*reply_r = POP3_ERR_NUL;
	else if (answer != NULL)
		*reply_r = answer(s, buf, text);
	else
		*reply_r = run_command(s, buf, text);
	return used;
}

/* Writes the reply, if it is one, and tells what the connection is to do. */
static enum session_want
act(struct pop3_session *s, enum pop3_reply reply)
{
	switch (reply) {
	case POP3_REPLIED:
		return SESSION_READ;
	case POP3_WAIT:
		assert(s->go_on != NULL);
		return SESSION_WAIT;
	case POP3_DRAIN:
		assert(s->go_on != NULL);
		return SESSION_DRAIN;
	case POP3_ACKED:
		assert(s->go_on != NULL);
		return SESSION_ACKED;
	case POP3_DROP:
		return SESSION_DROP;
	default:
		outq_addstr(s->link->out, pop3_reply_text(reply));
		return pop3_reply_then(reply);
	}
}

static enum session_want
session_input(void *session, const void *buf, size_t len, size_t *used_r)
{
	struct pop3_session *s = session;
	enum session_want want = SESSION_READ;

	assert(s->work == NULL && s->timer.loop == NULL);
	*used_r = 0;
	if (s->nsent > 0)
		pop3_note_sent(s);
	while (want == SESSION_READ) {
		enum pop3_reply (*go_on)(struct pop3_session *) = s->go_on;
		enum pop3_reply reply;
		size_t used;

		if (go_on != NULL) {
			s->go_on = NULL;
			want = act(s, go_on(s));
		} else if (s->link->out->pending >= OUTQ_HIGH_WATER) {
			want = SESSION_DRAIN;
		} else if (*used_r == len) {
			break;
		} else if (s->looks >= POP3_LOOKS_MAX) {
			want = act(s, pop3_session_yield(s, next_line));
		} else {
			used = take_line(s, (const char *)buf + *used_r, len - *used_r, &reply);
			if (used == 0)
				break;
			*used_r += used;
			want = act(s, reply);
		}
		/* A job that is under way works in the session: it ends first. */
		if (s->link->out->failed && want != SESSION_WAIT)
			want = SESSION_DROP;
	}
	return want;
}

/* RFC 1939 7: a stamp that differs each time the server greets; only where APOP can be used,
 * since clients take anything in angle brackets for one. */
static enum session_want
session_greet(void *session)
{
	struct pop3_session *s = session;
	const char *host = s->config->site.hostname;
	char stamp[POP3_STAMP_MAX];

	if (account_apop_exists(s->pop3d->spool)) {
		s->stamp_ms = clock_wall_ms();
		s->stamp_count = __atomic_add_fetch(&s->pop3d->stamps, 1, __ATOMIC_RELAXED);
	}
	if (pop3_stamp(s, stamp)) {
		/* RFC 1939 3: a name twice as long as others does not fit twice. */
		bool fits =
		    strlen(host) + strlen(stamp) + strlen("+OK  POP3 ready \r\n") <= POP3_REPLY_MAX;

		outq_addf(s->link->out, "+OK %s%sPOP3 ready %s\r\n", fits ? host : "",
		    fits ? " " : "", stamp);
	} else {
		outq_addf(s->link->out, "+OK %s POP3 ready\r\n", host);
	}
	return s->link->out->failed ? SESSION_DROP : SESSION_READ;
}

/* RFC 2595 4: what the client said before the handshake is forgotten. */
static enum session_want
session_tls_started(void *session)
{
	struct pop3_session *s = session;

	mem_free(&s->user);
	return SESSION_READ;
}

/* RFC 1939 3: on autologout the connection is closed without a response, and nothing is removed. */
static enum session_want
session_timed_out(void *session)
{
	(void)session;
	return SESSION_CLOSE;
}

/* Marks are forgotten: nothing is removed.  An UPDATE that has begun is never asked. */
static enum session_want
session_shutdown(void *session)
{
	(void)session;
	return SESSION_CLOSE;
}

static void
log_end(const struct pop3_session *s, enum session_end why)
{
	static const char *const reasons[] = {
		[SESSION_END_SELF] = "closed",
		[SESSION_END_PEER] = "peer gone",
		[SESSION_END_TIMEOUT] = "timeout",
		[SESSION_END_SHUTDOWN] = "shutdown",
		[SESSION_END_ERROR] = "error",
	};
	char peer[ENDPOINT_TEXT_MAX];

	log_event(s->lines > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "ended",
	    log_text("session", s->link->id),
	    log_text("peer", endpoint_format_host(peer, s->link->peer)),
	    log_text("user", s->address), log_text("why", s->end != NULL ? s->end : reasons[why]),
	    log_num("retr", s->retr), log_num("retr_octets", s->retr_octets),
	    log_num("top", s->top), log_num("top_octets", s->top_octets),
	    log_num("removed", s->removed), log_num("in", s->link->in_octets),
	    log_num("out", s->link->out_octets));
}

static void
run_note(struct job *job)
{
	struct pop3_session *s = LIST_OBJECT(job, struct pop3_session, job);

	(void)maildrop_note(s->maildrop); /* has logged what it could not do */
	maildrop_close(&s->maildrop);
}

static void
note_done(struct job *job)
{
	free(LIST_OBJECT(job, struct pop3_session, job));
}

static void
session_free(void *session, enum session_end why)
{
	struct pop3_session *s = session;

	assert(s->work == NULL);
	log_end(s, why);
	timer_stop(&s->timer);
	loop_reserve_timers(s->link->loop, -1);
	pop3_credentials_free(&s->login);
	pop3_message_unref(&s->message);
	config_unref(&s->config);
	free(s->user);
	free(s->address);
	if (s->maildrop != NULL)
		pop3_note_sent(s);
	free(s->sent);
	if (s->maildrop != NULL && maildrop_has_unnoted(s->maildrop)) {
		s->job.run = run_note;
		s->job.done = note_done;
		jobs_submit(s->pop3d->disk_jobs, &s->job);
		return;
	}
	maildrop_close(&s->maildrop);
	free(s);
}

const struct session_ops pop3_session_ops = {
	.input = session_input,
	.greet = session_greet,
	.tls_started = session_tls_started,
	.timed_out = session_timed_out,
	.shutdown = session_shutdown,
	.free = session_free,
};
