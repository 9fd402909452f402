/*
 * pop3_login - from credentials to the TRANSACTION state (RFC 1939 4).
 *
 *   pop3_login: check -> job -> checked: lock, a few tries -> job -> loaded: +OK
 *                 |               |                |                |
 *             [SYS/TEMP]    [AUTH], put off    [IN-USE],        [SYS/TEMP]
 *                                            [LOGIN-DELAY]
 *
 * +OK is said with the lock held and the list read; before any -ERR the lock is given
 * back.  What is not there yet, a recovered spool or a free maildrop, is waited for by a
 * timer, up to `lock_wait`, so it holds nobody else up.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pop3_login.h"

/* How often a maildrop that is busy, or a spool that is being recovered, is tried again. */
#define RETRY_MS 50u

struct pop3_credentials *
pop3_credentials_new(const char *method, const void *user, size_t user_len, const void *password,
    size_t password_len)
{
	struct pop3_credentials *c = mem_array(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->method = method;
	c->user = mem_dup(user, user_len);
	c->user_len = user_len;
	if (password != NULL) {
		c->password = mem_dup(password, password_len);
		c->password_len = password_len;
	}
	if (c->user == NULL || (password != NULL && c->password == NULL))
		pop3_credentials_free(&c);
	return c;
}

void
pop3_credentials_free(struct pop3_credentials **credentials)
{
	struct pop3_credentials *c = *credentials;

	*credentials = NULL;
	if (c == NULL)
		return;
	if (c->password != NULL)
		mem_wipe(c->password, c->password_len);
	free(c->password);
	free(c->user);
	free(c->stamp);
	free(c);
}

static void
log_refusal(const struct pop3_session *s, const char *event, const char *error)
{
	const struct pop3_credentials *c = s->login;
	char peer[ENDPOINT_TEXT_MAX];

	log_event(LOG_LEVEL_WARNING, event, log_text("session", s->link->id),
	    log_text("peer", endpoint_format_host(peer, s->link->peer)),
	    log_octets("user", c->user, c->user_len), log_text("method", c->method),
	    log_text("tls", s->link->tls ? s->link->tls_version : NULL), log_text("error", error));
}

/* Ends a login that did not come about, for whatever reason but wrong credentials. */
static enum pop3_reply
put_off(struct pop3_session *s, const char *why, enum pop3_reply reply)
{
	log_refusal(s, "login_put_off", why);
	maildrop_close(&s->maildrop);
	pop3_credentials_free(&s->login);
	return reply;
}

static enum pop3_reply
give_up(struct pop3_session *s, enum spool_status status)
{
	return put_off(
	    s, spool_status_text(status), status == SPOOL_BUSY ? POP3_ERR_IN_USE : POP3_ERR_TEMP);
}

static enum pop3_reply
say_denied(struct pop3_session *s)
{
	enum pop3_reply reply = s->login->reply;

	pop3_credentials_free(&s->login);
	return reply;
}

/* Who guesses gets his answers ever more slowly. */
static enum pop3_reply
deny(struct pop3_session *s)
{
	uint8_t octets[16];
	uint64_t delay_ms = 0;

	log_refusal(s, "login_failed", "wrong user name or password");
	s->login->reply = POP3_ERR_AUTH;
	if (++s->failures >= POP3_LOGIN_FAILURES) {
		s->login->reply = POP3_ERR_AUTH_OFTEN;
		s->end = "login failures";
	}
	if (!s->link->trusted) {
		endpoint_octets(s->link->peer, octets);
		delay_ms = peers_failure_delay(s->pop3d->peers, octets);
	}
	if (delay_ms == 0 || s->link->peer_gone)
		return say_denied(s);
	return pop3_session_sleep(s, delay_ms, say_denied);
}

static void
log_login(const struct pop3_session *s)
{
	const struct session_link *link = s->link;
	char peer[ENDPOINT_TEXT_MAX];

	log_event(LOG_LEVEL_INFO, "login", log_text("session", link->id),
	    log_text("peer", endpoint_format_host(peer, link->peer)), log_text("user", s->address),
	    log_text("method", s->login->method),
	    log_text("tls", link->tls ? link->tls_version : NULL),
	    log_text("cipher", link->tls ? link->tls_cipher : NULL),
	    log_num("messages", maildrop_live_count(s->maildrop)),
	    log_num("octets", maildrop_live_octets(s->maildrop)));
}

static enum pop3_reply
loaded(struct pop3_session *s)
{
	const char *address = s->login->found.address;

	if (s->status == SPOOL_OK) {
		s->address = mem_dup(address, strlen(address));
		if (s->address == NULL)
			s->status = SPOOL_NO_MEMORY;
	}
	if (s->status != SPOOL_OK)
		return give_up(s, s->status);
	s->retention_days = maildrop_retention_days(s->maildrop);
	if (s->config->pop3d.login_delay_s > 0)
		pop3_delay_note(
		    s->pop3d->delay, s->login->found.mailbox, s->config->pop3d.login_delay_s);
	log_login(s);
	pop3_credentials_free(&s->login);
	pop3_session_enter(s, POP3_TRANSACTION);
	outq_addf(s->link->out, "+OK %zu messages (%llu octets)\r\n",
	    maildrop_live_count(s->maildrop),
	    (unsigned long long)maildrop_live_octets(s->maildrop));
	return POP3_REPLIED;
}

static enum spool_status
work_load(struct pop3_session *s)
{
	enum spool_status status = maildrop_load(s->maildrop);

	if (status == SPOOL_OK)
		account_note_login(s->pop3d->spool, s->login->found.mailbox);
	return status;
}

static void
set_deadline(struct pop3_session *s)
{
	s->login->deadline_ms = clock_mono_ms() + s->config->pop3d.lock_wait_s * 1000;
}

static enum pop3_reply
lock(struct pop3_session *s)
{
	uint64_t mailbox = s->login->found.mailbox;
	char peer[ENDPOINT_TEXT_MAX];
	enum spool_status status;

	if (s->link->peer_gone)
		return POP3_DROP;
	status = maildrop_lock(
	    s->pop3d->spool, mailbox, endpoint_format_host(peer, s->link->peer), &s->maildrop);
	if (status == SPOOL_BUSY && clock_mono_ms() < s->login->deadline_ms)
		return pop3_session_sleep(s, RETRY_MS, lock);
	if (status != SPOOL_OK)
		return give_up(s, status);
	/* RFC 2449 6.5.  With the lock, so that nobody logs in between this and the note of it. */
	if (pop3_delay_too_early(s->pop3d->delay, mailbox, s->config->pop3d.login_delay_s))
		return put_off(
		    s, "sooner after the last login than login_delay", POP3_ERR_LOGIN_DELAY);
	return pop3_session_work(s, s->pop3d->disk_jobs, work_load, loaded);
}

static enum pop3_reply
checked(struct pop3_session *s)
{
	if (s->status == SPOOL_DENIED)
		return deny(s);
	if (s->status != SPOOL_OK)
		return give_up(s, s->status);
	set_deadline(s);
	return lock(s);
}

static enum spool_status
work_check(struct pop3_session *s)
{
	const struct account_policy policy = {
		.delimiter = s->config->smtpd.recipient_delimiter,
		.postmaster = s->config->site.postmaster,
	};
	struct pop3_credentials *c = s->login;

	if (c->stamp != NULL)
		return account_check_apop(
		    s->pop3d->spool, &policy, c->user, c->user_len, c->stamp, c->digest, &c->found);
	return account_check_password(s->pop3d->spool, &policy, c->user, c->user_len, c->password,
	    c->password_len, &c->found);
}

/* Recovery takes a moment at most after an orderly end, so the first clients are not sent away. */
static enum pop3_reply
check(struct pop3_session *s)
{
	if (s->link->peer_gone)
		return POP3_DROP;
	if (spool_ready(s->pop3d->spool))
		return pop3_session_work(s, s->pop3d->hash_jobs, work_check, checked);
	if (clock_mono_ms() >= s->login->deadline_ms)
		return give_up(s, SPOOL_NOT_READY);
	return pop3_session_sleep(s, RETRY_MS, check);
}

enum pop3_reply
pop3_login(struct pop3_session *s, struct pop3_credentials **c)
{
	s->login = *c;
	*c = NULL;
	mem_free(&s->user);
	if (s->login == NULL)
		return POP3_ERR_TEMP;
	set_deadline(s);
	return check(s);
}
