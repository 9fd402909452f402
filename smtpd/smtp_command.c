/*
 * smtp_command - the table of commands, what is checked for each of them, and what they do.
 *
 * The table alone says where a command may be said and whether it takes an argument;
 * a handler sees only what passed.  It returns the reply and changes the session, and
 * never writes but for EHLO's many lines.
 */
#include "smtp_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"
#include "mail/address.h"
#include "mail/esmtp.h"
#include "smtp_data.h"
#include "spool/account.h"
#include "spool/room.h"

#define S(state) (1u << SMTP_##state)
#define ANY (S(START) | S(READY) | S(MAIL) | S(RCPT) | S(CHUNKS))

enum flags {
	ARG = 1,    /* must have an argument */
	NO_ARG = 2, /* must not */
	JUNK = 4,   /* moves no mail: a hundred are enough */
	SMTP_ONLY = 8,
	LMTP_ONLY = 16,
	/* RFC 5321 4.1.1.5: never a reason to close. */
	ALWAYS = 32,
};

typedef enum smtp_reply handler_fn(struct smtp_session *, const char *arg, size_t len);

struct command {
	const char *verb;
	handler_fn *handler; /* NULL: `reply` is all there is to it */
	enum smtp_reply reply;
	unsigned states;
	unsigned flags;
};

/* --- EHLO, HELO, LHLO --- */

/* RFC 5321 4.1.4: greeted anew the session is as after RSET; refused it is as it was.  The
 * name is neither judged nor compared with anything. */
static enum smtp_reply
greeted(struct smtp_session *s, const char *name, size_t len, bool esmtp)
{
	if (len > SMTP_NAME_MAX)
		return REPLY_BAD_NAME;
	char *client = mem_dup(name, len);

	if (client == NULL)
		return REPLY_NO_MEMORY;
	free(s->client);
	s->client = client;
	s->esmtp = esmtp;
	s->chunks_refused = false;
	smtp_session_reset(s);
	return REPLY_NONE;
}

static enum smtp_reply
cmd_helo(struct smtp_session *s, const char *arg, size_t len)
{
	enum smtp_reply id = greeted(s, arg, len, false);

	return id == REPLY_NONE ? REPLY_HELO : id;
}

/* Says what is true in this session, now; LHLO too (RFC 2033 4.1). */
static enum smtp_reply
cmd_ehlo(struct smtp_session *s, const char *arg, size_t len)
{
	struct outq *out = s->link->out;
	const struct config *c = s->config;
	enum smtp_reply id = greeted(s, arg, len, true);

	if (id != REPLY_NONE)
		return id;
	outq_addf(out, "250-%s\r\n", c->site.hostname);
	outq_addstr(out, "250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
			 "250-CHUNKING\r\n");
	outq_addf(out, "250-SIZE %llu\r\n", (unsigned long long)c->smtpd.max_message_size);
	/* RFC 3207 4.2 */
	if (s->link->tls_available && !s->link->tls)
		outq_addstr(out, "250-STARTTLS\r\n");
	/* RFC 9422 4.2: six digits at most, which the configuration's bound keeps. */
	outq_addf(out, "250-LIMITS RCPTMAX=%llu\r\n", (unsigned long long)c->smtpd.max_recipients);
	outq_addstr(out, "250 HELP\r\n");
	return REPLY_NONE;
}

static enum smtp_reply
cmd_starttls(struct smtp_session *s, const char *arg, size_t len)
{
	(void)arg, (void)len;
	if (s->link->tls)
		return REPLY_UNDER_TLS;
	return s->link->tls_available ? REPLY_START_TLS : REPLY_NO_TLS;
}

/* --- MAIL, RCPT --- */

/* The path behind `FROM:` or `TO:`, and what follows it.  NULL when the keyword is
 * not there. */
static const char *
behind_keyword(const char *arg, size_t len, const char *keyword, size_t *rest_r)
{
	size_t n = strlen(keyword);

	if (len < n || strncasecmp(arg, keyword, n) != 0)
		return NULL;
	*rest_r = len - n;
	return arg + n;
}

static enum smtp_reply
for_parameters(enum esmtp_result result)
{
	switch (result) {
	case ESMTP_OK:
		return REPLY_NONE;
	case ESMTP_UNKNOWN:
		return REPLY_UNKNOWN_PARAMETER;
	case ESMTP_SYNTAX:
	case ESMTP_BAD_VALUE:
		break;
	}
	return REPLY_BAD_PARAMETER;
}

static enum smtp_reply
cmd_mail(struct smtp_session *s, const char *arg, size_t len)
{
	struct address from;
	struct esmtp_mail parameters;
	size_t rest, used;
	const char *path = behind_keyword(arg, len, "FROM:", &rest);

	if (path == NULL)
		return REPLY_BAD_MAIL;
	if (address_parse_path(path, rest, ADDRESS_NULL_OK, &from, &used) != 0)
		return REPLY_BAD_SENDER;
	/* RFC 5321 4.1.1.11: nothing was announced to who said HELO. */
	if (!s->esmtp && used < rest)
		return REPLY_UNKNOWN_PARAMETER;

	enum smtp_reply id =
	    for_parameters(esmtp_parse_mail(path + used, rest - used, &parameters));

	if (id != REPLY_NONE)
		return id;
	if (parameters.has_size && parameters.size > s->config->smtpd.max_message_size)
		return REPLY_TOO_LARGE;
	enum spool_status st = spool_may_deliver(s->spool);

	if (st != SPOOL_OK)
		return smtp_reply_for(st);
	struct smtp_transaction *tx = mem_array(1, sizeof(*tx));

	if (tx == NULL)
		return REPLY_NO_MEMORY;
	s->tx = tx;
	tx->session = s;
	tx->size = parameters.has_size ? parameters.size : 0;
	tx->envelope = envelope_new(from.text);
	if (tx->envelope == NULL) {
		smtp_transaction_free(&s->tx);
		return REPLY_NO_MEMORY;
	}
	snprintf(
	    tx->id, sizeof(tx->id), "%s-%llu", s->link->id, (unsigned long long)++s->transactions);
	s->chunks_refused = false;
	smtp_session_enter(s, SMTP_MAIL);
	return REPLY_SENDER_OK;
}

/* Whether a RCPT that leads to these mailboxes may be taken; *lone_r when it may, but no other after
 * it.  What is refused here is refused for this recipient alone (RFC 1870 6). */
static enum smtp_reply
look_for_room(struct smtp_session *s, const struct account_targets *targets, bool *lone_r)
{
	const struct smtp_transaction *tx = s->tx;
	/* With LMTP each recipient has his own answer behind the data, so nobody travels alone. */
	bool known = tx->size > 0 || s->lmtp;
	uint64_t need = tx->size + ROOM_TRACE_MAX;
	uint64_t most = known ? need : s->config->smtpd.max_message_size + ROOM_TRACE_MAX;
	bool most_fits, new = false;

	*lone_r = tx->lone;
	for (size_t i = 0; i < targets->n; i++)
		new = new || !envelope_has(tx->envelope, targets->list[i].mailbox);
	/* One copy is all that the mailbox gets. */
	if (!new)
		return REPLY_NONE;
	if (tx->lone)
		return REPLY_LONE_RECIPIENT;
	enum spool_status st = room_look(s->spool, targets, tx->envelope, need, most, &most_fits);

	s->looks += targets->n;
	if (st != SPOOL_OK)
		return smtp_reply_for(st);
	if (!most_fits && tx->rcpts > 0)
		return REPLY_MAILBOX_FULL;
	*lone_r = !most_fits;
	return REPLY_NONE;
}

/* Puts those that the address leads to into the envelope. */
static enum smtp_reply
add_recipient(struct smtp_session *s, const char *written, const struct account_targets *targets)
{
	struct smtp_transaction *tx = s->tx;
	bool lone;
	enum smtp_reply id = look_for_room(s, targets, &lone);

	if (id != REPLY_NONE)
		return id;
	enum spool_status st = envelope_add(tx->envelope, written, targets);

	if (st != SPOOL_OK)
		return smtp_reply_for(st);
	tx->rcpts++;
	tx->lone = lone;
	smtp_session_enter(s, SMTP_RCPT);
	return REPLY_RECIPIENT_OK;
}

static enum smtp_reply
cmd_rcpt(struct smtp_session *s, const char *arg, size_t len)
{
	const struct account_policy policy = {
		.delimiter = s->config->smtpd.recipient_delimiter,
		.postmaster = s->config->site.postmaster,
	};
	struct smtp_transaction *tx = s->tx;
	struct account_targets targets;
	struct address to;
	size_t rest, used;

	/* RFC 9422 4.2: RCPTMAX counts those that fail as well. */
	if (tx->commands >= s->config->smtpd.max_recipients)
		return REPLY_TOO_MANY_RECIPIENTS;
	tx->commands++;
	const char *path = behind_keyword(arg, len, "TO:", &rest);

	if (path == NULL)
		return REPLY_BAD_RCPT;
	if (address_parse_path(path, rest, ADDRESS_POSTMASTER_OK, &to, &used) != 0)
		return REPLY_BAD_RECIPIENT;
	enum smtp_reply id = for_parameters(esmtp_parse_rcpt(path + used, rest - used));

	if (id != REPLY_NONE)
		return id;
	enum spool_status st = account_resolve(s->spool, &to, &policy, &targets);

	s->looks += 1 + targets.n;
	id = st == SPOOL_OK ? add_recipient(s, to.text, &targets) : smtp_reply_for(st);
	account_targets_release(&targets);
	return id;
}

/* --- DATA, BDAT --- */

static enum smtp_reply
cmd_data(struct smtp_session *s, const char *arg, size_t len)
{
	(void)arg, (void)len;
	return smtp_data_begin(s);
}

/* A BDAT out of sequence. */
static enum smtp_reply
chunk_refusal(const struct smtp_session *s)
{
	if (s->state == SMTP_START || !s->esmtp)
		return s->lmtp ? REPLY_SAY_LHLO : REPLY_SAY_EHLO;
	if (s->state == SMTP_READY)
		return REPLY_SAY_MAIL;
	return s->state == SMTP_MAIL ? REPLY_SAY_RCPT : REPLY_NONE;
}

/* RFC 3030 2: the octets come, wherever this was said and whatever is wrong with it, so
 * its length is looked at first. */
static enum smtp_reply
cmd_bdat(struct smtp_session *s, const char *arg, size_t len)
{
	size_t digits = 0, rest;
	uint64_t octets;

	while (digits < len && arg[digits] >= '0' && arg[digits] <= '9')
		digits++;
	rest = digits;
	while (rest < len && (arg[rest] == ' ' || arg[rest] == '\t'))
		rest++;
	if (digits == 0 || (rest == digits && rest < len))
		return REPLY_BAD_CHUNK;
	if (num_parse_u64(arg, digits, 0, SMTP_CHUNK_MAX, &octets) != 0)
		return REPLY_ENDLESS_CHUNK;

	bool last = len - rest == 4 && strncasecmp(arg + rest, "LAST", 4) == 0;
	bool well_formed = last || rest == len;

	smtp_chunk_begin(s, octets, last, well_formed ? chunk_refusal(s) : REPLY_BAD_CHUNK);
	return REPLY_NONE;
}

/* --- the others --- */

static enum smtp_reply
cmd_rset(struct smtp_session *s, const char *arg, size_t len)
{
	(void)arg, (void)len;
	s->chunks_refused = false;
	smtp_session_reset(s);
	return REPLY_OK;
}

static const struct command commands[] = {
	{ "EHLO", cmd_ehlo, 0, ANY, ARG | JUNK | SMTP_ONLY }, /* RFC 5321 4.1.1.1 */
	{ "HELO", cmd_helo, 0, ANY, ARG | JUNK | SMTP_ONLY },
	{ "LHLO", cmd_ehlo, 0, ANY, ARG | JUNK | LMTP_ONLY },  /* RFC 2033 4.1 */
	{ "MAIL", cmd_mail, 0, S(READY), ARG },                /* RFC 5321 4.1.1.2 */
	{ "RCPT", cmd_rcpt, 0, S(MAIL) | S(RCPT), ARG },       /* 4.1.1.3 */
	{ "DATA", cmd_data, 0, S(RCPT), NO_ARG },              /* 4.1.1.4 */
	{ "BDAT", cmd_bdat, 0, ANY, ARG },                     /* RFC 3030 2 */
	{ "RSET", cmd_rset, 0, ANY, NO_ARG | JUNK | ALWAYS },  /* RFC 5321 4.1.1.5 */
	{ "VRFY", NULL, REPLY_NOT_VERIFIED, ANY, ARG | JUNK }, /* 4.1.1.6 */
	{ "HELP", NULL, REPLY_HELP, ANY, JUNK | SMTP_ONLY },   /* 4.1.1.8 */
	{ "HELP", NULL, REPLY_HELP_LMTP, ANY, JUNK | LMTP_ONLY },
	{ "NOOP", NULL, REPLY_OK, ANY, JUNK },        /* 4.1.1.9 */
	{ "QUIT", NULL, REPLY_BYE, ANY, NO_ARG },     /* 4.1.1.10 */
	{ "STARTTLS", cmd_starttls, 0, ANY, NO_ARG }, /* RFC 3207 4 */
	/* RFC 5321 4.2.4: known, but not here. */
	{ "EXPN", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "AUTH", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "ETRN", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "TURN", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "SEND", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "SOML", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
	{ "SAML", NULL, REPLY_NOT_IMPLEMENTED, ANY, 0 },
};

static const struct command *
find_command(const char *verb, size_t len, bool lmtp)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];

		if (strlen(c->verb) == len && strncasecmp(c->verb, verb, len) == 0 &&
		    !(c->flags & (lmtp ? SMTP_ONLY : LMTP_ONLY)))
			return c;
	}
	return NULL;
}

/* Why a command cannot be said just now. */
static enum smtp_reply
out_of_sequence(const struct smtp_session *s)
{
	switch (s->state) {
	case SMTP_READY:
		return REPLY_SAY_MAIL;
	case SMTP_MAIL:
		return REPLY_SAY_RCPT;
	case SMTP_RCPT:
		return REPLY_SAY_DATA;
	case SMTP_CHUNKS:
		return REPLY_SAY_BDAT;
	default:
		return s->lmtp ? REPLY_SAY_LHLO : REPLY_SAY_EHLO;
	}
}

/* RFC 5321 4.1.2: without an extension commands are ASCII. */
static bool
printable(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\t') ||
		    (unsigned char)text[i] > '~')
			return false;
	return true;
}

enum smtp_reply
smtp_command_run(struct smtp_session *s, const char *line, size_t len)
{
	size_t verb = 0, start;

	/* RFC 5321 4.1.1: blanks before CRLF are tolerated. */
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	while (verb < len && line[verb] != ' ' && line[verb] != '\t')
		verb++;
	start = verb;
	while (start < len && (line[start] == ' ' || line[start] == '\t'))
		start++;

	const struct command *c = find_command(line, verb, s->lmtp);

	if (c == NULL)
		return REPLY_UNKNOWN_COMMAND;
	if (c->flags & JUNK && ++s->junk > SMTP_JUNK_MAX && ++s->errors > SMTP_ERRORS_MAX &&
	    !(c->flags & ALWAYS))
		return REPLY_TOO_MANY_ERRORS;
	if (!(c->states & 1u << s->state))
		return out_of_sequence(s);
	if (!printable(line, len))
		return REPLY_NOT_ASCII;
	if (c->flags & ARG && start == len)
		return REPLY_ARGUMENT_MISSING;
	if (c->flags & NO_ARG && start < len)
		return REPLY_ARGUMENT_UNWANTED;
	return c->handler == NULL ? c->reply : c->handler(s, line + start, len - start);
}
