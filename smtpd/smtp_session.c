/*
 * smtp_session - the states of a session, the one loop, and what ends it.
 *
 *   START    no EHLO, HELO or LHLO yet, or none since the TLS handshake
 *   READY    greeted; no transaction
 *   MAIL     the sender is known
 *   RCPT     and one recipient at least
 *   DATA     reading a message up to CRLF.CRLF
 *   CHUNK    reading the octets that a BDAT announced, kept or not
 *   CHUNKS   between two BDAT of one message
 *   COMMIT   the message is with the committer; nothing is read
 *   CLOSING  the last reply is said
 *
 *   START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA--> DATA
 *     ^               ^                             |               |
 *     |               |                            BDAT          the end
 *  STARTTLS           |                             v               v
 *  from any of        +----- reply ----- CHUNKS - CHUNK -LAST--> COMMIT
 *  the upper row                             <->
 *
 * RSET, EHLO and a refused message lead from wherever they may be said to READY
 * (START where nobody has said EHLO); a BDAT that may not be said is read by CHUNK all the
 * same; 221 and 421 lead from anywhere but COMMIT to CLOSING.
 *
 * A transaction exists from MAIL to COMMIT, and in CHUNK where it was begun.  The client's
 * name exists in all states but START.  Octets of a line that is not complete stay with
 * the connection; no more than SMTP_LINE_MAX of them are ever waited for.
 */
#include "smtp_session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "smtp_command.h"
#include "smtp_data.h"

#define S(state) (1u << SMTP_##state)

static const unsigned edges[SMTP_STATES] = {
	[SMTP_START] = S(START) | S(READY) | S(CHUNK) | S(CLOSING),
	[SMTP_READY] = S(START) | S(READY) | S(MAIL) | S(CHUNK) | S(CLOSING),
	[SMTP_MAIL] = S(START) | S(READY) | S(RCPT) | S(CHUNK) | S(CLOSING),
	[SMTP_RCPT] = S(START) | S(READY) | S(RCPT) | S(DATA) | S(CHUNK) | S(CLOSING),
	[SMTP_DATA] = S(READY) | S(COMMIT) | S(CLOSING),
	[SMTP_CHUNK] = S(START) | S(READY) | S(CHUNKS) | S(COMMIT) | S(CLOSING),
	[SMTP_CHUNKS] = S(START) | S(READY) | S(CHUNK) | S(CLOSING),
	[SMTP_COMMIT] = S(READY),
	[SMTP_CLOSING] = S(CLOSING),
};

static const char *const state_names[SMTP_STATES] = {
	[SMTP_START] = "START",
	[SMTP_READY] = "READY",
	[SMTP_MAIL] = "MAIL",
	[SMTP_RCPT] = "RCPT",
	[SMTP_DATA] = "DATA",
	[SMTP_CHUNK] = "CHUNK",
	[SMTP_CHUNKS] = "CHUNKS",
	[SMTP_COMMIT] = "COMMIT",
	[SMTP_CLOSING] = "CLOSING",
};

struct smtp_session *
smtp_session_new(struct spool *spool, struct config *config, struct session_link *link, bool lmtp)
{
	struct smtp_session *s = mem_array(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->link = link;
	s->spool = spool;
	s->config = config_ref(config);
	s->lmtp = lmtp;
	endpoint_format_host(s->peer, link->peer);
	return s;
}

void
smtp_session_enter(struct smtp_session *s, enum smtp_state state)
{
	assert(edges[s->state] & 1u << state);
	if (state != s->state)
		log_event(LOG_LEVEL_DEBUG, "state", log_text("session", s->link->id),
		    log_text("from", state_names[s->state]), log_text("to", state_names[state]));
	s->state = state;
}

void
smtp_session_reset(struct smtp_session *s)
{
	smtp_transaction_free(&s->tx);
	s->failure = REPLY_NONE;
	smtp_session_enter(s, s->client != NULL ? SMTP_READY : SMTP_START);
}

static bool
is_auth(const char *line, size_t len)
{
	return len >= 4 && strncasecmp(line, "AUTH", 4) == 0 &&
	       (len == 4 || line[4] == ' ' || line[4] == '\t');
}

/* What of a command goes into the log.  Behind AUTH stands a password, sent to the wrong port; or
 * it follows on a line of its own, which is then no command. */
static struct log_field
loggable(const struct smtp_session *s, enum smtp_reply id, const void *line, size_t len)
{
	bool stray =
	    id == REPLY_UNKNOWN_COMMAND || id == REPLY_LINE_TOO_LONG || id == REPLY_BARE_LF;

	if (line == NULL || (stray && s->said_auth))
		return log_text("command", NULL);
	return log_octets("command", line, is_auth(line, len) ? 4 : len);
}

/* One line for a refusal, in the words that the client was told; each kind so many a
 * minute, or a client could fill the disk with them. */
static void
log_refusal(const struct smtp_session *s, enum smtp_reply id, const void *line, size_t len)
{
	static struct log_limit limits[REPLIES];
	char text[SMTP_REPLY_MAX];
	uint64_t suppressed = 0;

	if (!log_enabled(LOG_LEVEL_INFO) || !log_permit(&limits[id], 60, &suppressed))
		return;
	log_event(LOG_LEVEL_INFO, "refused", log_text("session", s->link->id),
	    log_text("peer", s->peer), log_text("client", s->client),
	    log_text("reply", smtp_reply_format(text, id)), loggable(s, id, line, len),
	    log_num("suppressed", suppressed));
}

enum session_want
smtp_session_say(struct smtp_session *s, enum smtp_reply id, const void *line, size_t len)
{
	unsigned class = smtp_reply_class(id);

	if (class == 5 && s->errors >= SMTP_ERRORS_MAX) {
		id = REPLY_TOO_MANY_ERRORS;
		class = 4;
	}
	smtp_reply_write(s->link->out, id, s->config->site.hostname, NULL);
	if (class >= 4) {
		s->refused++;
		log_refusal(s, id, line, len);
		if (line != NULL && is_auth(line, len))
			s->said_auth = true;
	}
	if (class == 5)
		s->errors++;
	if (smtp_reply_then(id) == SESSION_CLOSE)
		smtp_session_enter(s, SMTP_CLOSING);
	return smtp_reply_then(id);
}

/* Takes one command line, or what there is of one that is too long.  *used_r is 0 when
 * the line is not complete yet. */
static enum session_want
take_line(struct smtp_session *s, const char *buf, size_t len, size_t *used_r)
{
	size_t look = !s->skip_line && len > SMTP_LINE_MAX ? SMTP_LINE_MAX : len;
	const char *lf = memchr(buf, '\n', look);

	if (s->skip_line) {
		s->skip_line = lf == NULL;
		*used_r = lf != NULL ? (size_t)(lf - buf) + 1 : len;
		return SESSION_READ;
	}
	if (lf == NULL && len < SMTP_LINE_MAX) {
		*used_r = 0;
		return SESSION_READ;
	}
	s->commands++;
	if (lf == NULL) {
		s->skip_line = true;
		*used_r = look;
		return smtp_session_say(s, REPLY_LINE_TOO_LONG, buf, look);
	}
	*used_r = (size_t)(lf - buf) + 1;
	/* RFC 5321 2.3.8: only CRLF ends a line, so this one says nothing. */
	if (lf == buf || lf[-1] != '\r')
		return smtp_session_say(s, REPLY_BARE_LF, buf, *used_r - 1);

	enum session_want want =
	    smtp_session_say(s, smtp_command_run(s, buf, *used_r - 2), buf, *used_r - 2);

	/* BDAT 0 is all here. */
	if (s->state == SMTP_CHUNK && s->chunk_left == 0)
		want = smtp_chunk_end(s);
	/* RFC 3207 6: what came along in the clear is not part of the session. */
	if (want == SESSION_START_TLS)
		*used_r = len;
	return want;
}

static enum session_want
session_input(void *arg, const void *buf, size_t len, size_t *used_r)
{
	struct smtp_session *s = arg;
	const char *p = buf;
	size_t pos = 0;
	enum session_want want = SESSION_READ;

	if (s->state == SMTP_COMMIT)
		want = smtp_data_answer(s);
	/* A reply that is missing would shift all that follow, and of a message that is taken
	 * behind it nobody could be told. */
	while (want == SESSION_READ && pos < len && !s->link->out->failed) {
		size_t used = 0;

		if (s->link->out->pending > OUTQ_HIGH_WATER || s->looks >= SMTP_LOOKS_MAX) {
			s->looks = 0;
			want = SESSION_DRAIN;
		} else if (s->state == SMTP_DATA) {
			want = smtp_data_take(s, p + pos, len - pos, &used);
		} else if (s->state == SMTP_CHUNK) {
			want = smtp_chunk_take(s, p + pos, len - pos, &used);
		} else {
			want = take_line(s, p + pos, len - pos, &used);
		}
		if (used == 0)
			break;
		pos += used;
	}
	*used_r = pos;
	/* What waits must not be freed: the committer has it. */
	return s->link->out->failed && want != SESSION_WAIT ? SESSION_DROP : want;
}

static enum session_want
session_greet(void *arg)
{
	struct smtp_session *s = arg;

	return smtp_session_say(s, s->lmtp ? REPLY_GREETING_LMTP : REPLY_GREETING, NULL, 0);
}

/* RFC 3207 4.2: whatever was said before the handshake is forgotten. */
static enum session_want
session_tls_started(void *arg)
{
	struct smtp_session *s = arg;

	mem_free(&s->client);
	s->esmtp = s->chunks_refused = false;
	smtp_session_reset(s);
	return SESSION_READ;
}

static enum session_want
session_timed_out(void *arg)
{
	return smtp_session_say(arg, REPLY_IDLE, NULL, 0);
}

static enum session_want
session_shutdown(void *arg)
{
	return smtp_session_say(arg, REPLY_SHUTDOWN, NULL, 0);
}

static void
session_free(void *arg, enum session_end why)
{
	static const char *const reasons[] = {
		[SESSION_END_SELF] = "done",
		[SESSION_END_PEER] = "peer",
		[SESSION_END_TIMEOUT] = "timeout",
		[SESSION_END_SHUTDOWN] = "shutdown",
		[SESSION_END_ERROR] = "error",
	};
	struct smtp_session *s = arg;

	/* The committer may still call back in COMMIT. */
	assert(s->state != SMTP_COMMIT);
	/* A look at the port, as monitors do, is no news. */
	log_event(s->commands > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "ended",
	    log_text("session", s->link->id), log_text("peer", s->peer),
	    log_text("client", s->client), log_text("why", reasons[why]),
	    log_text("state", state_names[s->state]), log_num("messages", s->messages),
	    log_num("refused", s->refused), log_num("in", s->link->in_octets),
	    log_num("out", s->link->out_octets),
	    log_text("tls", s->link->tls ? s->link->tls_version : NULL));
	smtp_transaction_free(&s->tx);
	mem_free(&s->client);
	config_unref(&s->config);
	free(s);
}

const struct session_ops smtp_session_ops = {
	.input = session_input,
	.greet = session_greet,
	.tls_started = session_tls_started,
	.timed_out = session_timed_out,
	.shutdown = session_shutdown,
	.free = session_free,
};
