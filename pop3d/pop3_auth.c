/*
 * pop3_auth - the commands of the AUTHORIZATION state (RFC 1939 4, 7; RFC 2595 4; RFC 5034).
 *
 * Here is decided who may say a password and how it comes in; whether it is right, and
 * what follows, is pop3_login.c's.  A password goes straight into the credentials, which
 * are wiped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"
#include "mail/sasl.h"
#include "pop3_login.h"
#include "pop3_session.h"

static bool
peer_is_loopback(const struct pop3_session *s)
{
	static const uint8_t v4_mapped[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	static const uint8_t v6[16] = { [15] = 1 };
	uint8_t octets[16];

	endpoint_octets(s->link->peer, octets);
	return memcmp(octets, v4_mapped, sizeof(v4_mapped)) == 0 ||
	       memcmp(octets, v6, sizeof(v6)) == 0;
}

/* RFC 2595 2.3: whether this session may say a password as it is, at present. */
static bool
plaintext_allowed(const struct pop3_session *s)
{
	if (s->link->tls)
		return true;
	switch (s->config->pop3d.plaintext_auth) {
	case CONFIG_PLAINTEXT_ALWAYS:
		return true;
	case CONFIG_PLAINTEXT_LOOPBACK:
		return peer_is_loopback(s);
	case CONFIG_PLAINTEXT_NEVER:
		break;
	}
	return false;
}

static bool
set_user(struct pop3_session *s, const char *name, size_t len)
{
	free(s->user);
	s->user = mem_dup(name, len);
	s->user_len = len;
	return s->user != NULL;
}

/* RFC 1939 7: always +OK, so that nobody learns which names exist. */
static enum pop3_reply
cmd_user(struct pop3_session *s, const struct pop3_arguments *args)
{
	if (args->len == 0)
		return POP3_ERR_ARGUMENT;
	if (!plaintext_allowed(s))
		return POP3_ERR_PLAINTEXT;
	if (!set_user(s, args->text, args->len))
		return POP3_ERR_TEMP;
	s->user_line = s->lines;
	return POP3_OK_USER;
}

/* RFC 1939 7: only right behind USER; the whole rest of the line is the password. */
static enum pop3_reply
cmd_pass(struct pop3_session *s, const struct pop3_arguments *args)
{
	struct pop3_credentials *c;

	if (!plaintext_allowed(s))
		return POP3_ERR_PLAINTEXT;
	if (s->user == NULL || s->lines != s->user_line + 1)
		return POP3_ERR_USER_FIRST;
	c = pop3_credentials_new("USER", s->user, s->user_len, args->text, args->len);
	return pop3_login(s, &c);
}

bool
pop3_stamp(const struct pop3_session *s, char stamp[POP3_STAMP_MAX])
{
	if (s->stamp_ms == 0)
		return false;
	snprintf(stamp, POP3_STAMP_MAX, "<%ld.%llu.%llu@%s>", (long)getpid(),
	    (unsigned long long)s->stamp_ms, (unsigned long long)s->stamp_count,
	    s->config->site.hostname);
	return true;
}

/* RFC 1939 7: the name may hold blanks, the digest never does. */
static enum pop3_reply
cmd_apop(struct pop3_session *s, const struct pop3_arguments *args)
{
	const char *blank = memrchr(args->text, ' ', args->len);
	char stamp[POP3_STAMP_MAX];
	struct pop3_credentials *c;
	const char *digest;

	if (!pop3_stamp(s, stamp))
		return POP3_ERR_NO_APOP;
	if (blank == NULL || blank == args->text || args->text + args->len - blank - 1 != 32)
		return POP3_ERR_ARGUMENT;
	digest = blank + 1;
	for (size_t i = 0; i < 32; i++)
		if (strchr("0123456789abcdef", digest[i]) == NULL)
			return POP3_ERR_ARGUMENT;
	c = pop3_credentials_new("APOP", args->text, (size_t)(blank - args->text), NULL, 0);
	if (c != NULL && (c->stamp = mem_dup(stamp, strlen(stamp))) == NULL)
		pop3_credentials_free(&c);
	if (c != NULL)
		memcpy(c->digest, digest, 32);
	return pop3_login(s, &c);
}

/* --- AUTH (RFC 5034 4) --- */

/* The octets that an answer stands for, to be wiped and freed; NULL: POP3_ERR_SASL or
 * POP3_ERR_TEMP is in *reply_r. */
static uint8_t *
decode(const char *text, size_t len, size_t *len_r, enum pop3_reply *reply_r)
{
	uint8_t *out = mem_array(SASL_DECODED_MAX(len) + 1, 1);

	*reply_r = out == NULL ? POP3_ERR_TEMP : POP3_ERR_SASL;
	if (out == NULL || sasl_base64_decode(text, len, out, len_r) == 0)
		return out;
	mem_wipe(out, SASL_DECODED_MAX(len));
	free(out);
	return NULL;
}

static bool
cancelled(const char *line, size_t len)
{
	return len == 1 && line[0] == '*';
}

static enum pop3_reply
answer_plain(struct pop3_session *s, const char *line, size_t len)
{
	struct pop3_credentials *c = NULL;
	enum pop3_reply reply;
	struct sasl_plain plain;
	uint8_t *message;
	size_t message_len;

	if (cancelled(line, len))
		return POP3_ERR_CANCELLED;
	message = decode(line, len, &message_len, &reply);
	if (message == NULL)
		return reply;
	if (sasl_plain_parse(message, message_len, &plain) == 0) {
		c = pop3_credentials_new(
		    "PLAIN", plain.user, plain.user_len, plain.password, plain.password_len);
		reply = pop3_login(s, &c);
	}
	mem_wipe(message, message_len);
	free(message);
	return reply;
}

static enum pop3_reply
answer_login_password(struct pop3_session *s, const char *line, size_t len)
{
	struct pop3_credentials *c;
	enum pop3_reply reply;
	uint8_t *password;
	size_t password_len;

	if (cancelled(line, len))
		return POP3_ERR_CANCELLED;
	password = decode(line, len, &password_len, &reply);
	if (password == NULL)
		return reply;
	if (password_len > 0) {
		c = pop3_credentials_new("LOGIN", s->user, s->user_len, password, password_len);
		reply = pop3_login(s, &c);
	}
	mem_wipe(password, password_len);
	free(password);
	return reply;
}

/* RFC 5034 4: a challenge is "+", a blank, and base64; the client's next line answers it. */
static enum pop3_reply
challenge(struct pop3_session *s, const char *base64,
    enum pop3_reply (*answer)(struct pop3_session *, const char *, size_t))
{
	outq_addf(s->link->out, "+ %s\r\n", base64);
	s->answer = answer;
	return POP3_REPLIED;
}

static enum pop3_reply
answer_login_user(struct pop3_session *s, const char *line, size_t len)
{
	enum pop3_reply reply;
	uint8_t *name;
	size_t name_len;

	if (cancelled(line, len))
		return POP3_ERR_CANCELLED;
	name = decode(line, len, &name_len, &reply);
	if (name == NULL)
		return reply;
	if (name_len > 0 && !set_user(s, (const char *)name, name_len))
		reply = POP3_ERR_TEMP;
	else if (name_len > 0)
		reply = challenge(s, "UGFzc3dvcmQ6", answer_login_password);
	free(name);
	return reply;
}

struct mechanism {
	const char *name;
	enum pop3_reply (*answer)(struct pop3_session *, const char *line, size_t len);
	const char *challenge;
};

static const struct mechanism mechanisms[] = {
	{ "PLAIN", answer_plain, "" },
	{ "LOGIN", answer_login_user, "VXNlcm5hbWU6" },
};

#define NMECHANISMS (sizeof(mechanisms) / sizeof(mechanisms[0]))

static enum pop3_reply
list_mechanisms(struct pop3_session *s)
{
	outq_addstr(s->link->out, "+OK\r\n");
	for (size_t i = 0; i < NMECHANISMS && plaintext_allowed(s); i++)
		outq_addf(s->link->out, "%s\r\n", mechanisms[i].name);
	outq_addstr(s->link->out, ".\r\n");
	return POP3_REPLIED;
}

/* Outlook asks with nothing behind AUTH for the mechanisms, as in RFC 1734's days. */
static enum pop3_reply
cmd_auth(struct pop3_session *s, const struct pop3_arguments *args)
{
	const char *blank = memchr(args->text, ' ', args->len);
	size_t name_len = blank != NULL ? (size_t)(blank - args->text) : args->len;
	const struct mechanism *m = NULL;
	const char *initial;
	size_t len;

	if (args->len == 0)
		return list_mechanisms(s);
	for (size_t i = 0; i < NMECHANISMS; i++)
		if (strlen(mechanisms[i].name) == name_len &&
		    strncasecmp(mechanisms[i].name, args->text, name_len) == 0)
			m = &mechanisms[i];
	if (m == NULL)
		return POP3_ERR_MECHANISM;
	if (!plaintext_allowed(s))
		return POP3_ERR_PLAINTEXT;
	if (blank == NULL)
		return challenge(s, m->challenge, m->answer);
	initial = blank + 1;
	len = args->len - name_len - 1;
	/* RFC 5034 4: "=" is an initial response that is empty. */
	return m->answer(s, initial, len == 1 && initial[0] == '=' ? 0 : len);
}

/* --- the rest --- */

static enum pop3_reply
cmd_stls(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)args;
	if (s->link->tls)
		return POP3_ERR_TLS_ACTIVE;
	return s->link->tls_available ? POP3_OK_STLS : POP3_ERR_NO_TLS;
}

/*
 * RFC 2449 6.7: before login the smallest limit that anybody has, after it this user's.  A
 * promise that cannot be looked up is not made.
 */
static void
add_expire(struct pop3_session *s)
{
	uint64_t days = s->retention_days;
	bool differs = false;

	if (s->state == POP3_AUTHORIZATION) {
		s->looks += POP3_LOOKS_CAPA;
		if (account_retention(s->pop3d->spool, &days, &differs) != SPOOL_OK)
			return;
	}
	if (days == NUM_UNLIMITED)
		outq_addstr(s->link->out, "EXPIRE NEVER\r\n");
	else
		outq_addf(s->link->out, "EXPIRE %llu%s\r\n", (unsigned long long)days,
		    differs ? " USER" : "");
}

/*
 * RFC 2449 5: what may be used before login is announced after it, too.  Two lines
 * depend on the session: USER and SASL on whether passwords may be said here (RFC 2595 2.3), STLS
 * on whether it would be taken now (RFC 2595 4).
 */
enum pop3_reply
pop3_capa(struct pop3_session *s, const struct pop3_arguments *args)
{
	struct outq *out = s->link->out;

	(void)args;
	outq_addstr(out, "+OK\r\nTOP\r\nUIDL\r\n");
	if (plaintext_allowed(s))
		outq_addstr(out, "USER\r\nSASL PLAIN LOGIN\r\n");
	outq_addstr(out, "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
	add_expire(s);
	/* RFC 2449 6.5 */
	if (s->config->pop3d.login_delay_s > 0)
		outq_addf(out, "LOGIN-DELAY %llu\r\n",
		    (unsigned long long)s->config->pop3d.login_delay_s);
	if (s->state == POP3_AUTHORIZATION && s->link->tls_available && !s->link->tls)
		outq_addstr(out, "STLS\r\n");
	outq_addstr(out, "IMPLEMENTATION Restante-" RESTANTE_VERSION "\r\n.\r\n");
	return POP3_REPLIED;
}

static enum pop3_reply
cmd_quit(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)args;
	s->end = "quit";
	return POP3_OK_GOODBYE;
}

const struct pop3_command pop3_authorization_commands[] = {
	{ "USER", cmd_user, POP3_ARG_MAY }, /* RFC 1939 7 */
	{ "PASS", cmd_pass, POP3_ARG_TEXT },
	{ "APOP", cmd_apop, POP3_ARG_MAY },
	{ "AUTH", cmd_auth, POP3_ARG_MAY },   /* RFC 5034 4 */
	{ "STLS", cmd_stls, POP3_ARG_NONE },  /* RFC 2595 4 */
	{ "CAPA", pop3_capa, POP3_ARG_NONE }, /* RFC 2449 5 */
	{ "QUIT", cmd_quit, POP3_ARG_NONE },  /* RFC 1939 4 */
	{ NULL, NULL, POP3_ARG_NONE },
};
