/*
 * Drives smtpd's sessions with strings: a site with a real spool and a real loop, and the
 * part of a connection that a session sees, without a socket.  For the unit tests and
 * the fuzzer of smtpd.
 */
#ifndef TESTS_UNIT_SMTPD_DRIVE_H
#define TESTS_UNIT_SMTPD_DRIVE_H

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "common/spool/spool_internal.h"
#include "conf/config.h"
#include "net/loop.h"
#include "net/outq.h"
#include "smtpd/smtp_session.h"
#include "spool/account.h"
#include "spool/spool.h"
#include "tests/lib/folder.h"

struct site {
	char dir[64];
	struct config *config;
	struct spool *spool;
	struct loop *loop;
	const struct disk_ops *disk; /* what the daemon's spool writes with; NULL: the disk */
};

struct drive {
	struct site *site;
	struct smtp_session *session;
	struct session_link link;
	struct outq out;
	struct endpoint peer, local;
	char *pending; /* what the session left over */
	size_t npending;
	struct strbuf said; /* all replies since drive_take() */
	enum session_want want;
	bool woken;
};

static inline void
site_die(const char *what, const char *why)
{
	fprintf(stderr, "site: %s: %s\n", what, why);
	abort();
}

static inline void
site_user(struct spool *spool, const char *name)
{
	struct address a;

	if (address_parse(name, &a) != 0 ||
	    account_user_add(spool, &a, "secret", 6, false, NULL, NULL) != SPOOL_OK)
		site_die("user", name);
}

static inline void
site_alias(struct spool *spool, const char *name, const char *target)
{
	struct address a, t;

	/* "@domain" is a catch-all: an address with an empty local-part. */
	if (name[0] == '@') {
		memset(&a, 0, sizeof(a));
		snprintf(a.domain, sizeof(a.domain), "%s", name + 1);
	} else if (address_parse(name, &a) != 0)
		site_die("alias", name);
	if (address_parse(target, &t) != 0 || account_alias_add(spool, &a, &t, 1, NULL) != SPOOL_OK)
		site_die("alias", name);
}

static inline struct config *
site_config(const char *dir, const char *smtpd_keys)
{
	char file[96];
	struct config *config;
	struct strbuf err;

	strbuf_init(&err, 1000);
	snprintf(file, sizeof(file), "%s/restante.conf", dir);
	FILE *f = fopen(file, "w");

	if (f == NULL)
		site_die("config", file);
	fprintf(f,
	    "[site]\nhostname = mail.example.test\nspool = %s/spool\n"
	    "postmaster = joe@example.test\nlog_level = error\n"
	    "[smtpd]\nlisten = 127.0.0.1:0\n%s\n",
	    dir, smtpd_keys);
	fclose(f);
	if (config_load(file, &config, &err) != 0)
		site_die("config", err.buf);
	strbuf_release(&err);
	return config;
}

/* joe and ann; gone, who is disabled; team, both of the first; anything at
 * catch.test, which is joe's. */
static inline void
site_open(struct site *site, const char *smtpd_keys, uint64_t reserve)
{
	char spool[96];
	struct strbuf err;
	struct spool *admin;
	struct address gone;

	strbuf_init(&err, 1000);
	snprintf(site->dir, sizeof(site->dir), "%s/smtpd-test-XXXXXX", test_memory());
	if (mkdtemp(site->dir) == NULL)
		site_die(site->dir, "cannot be made");
	snprintf(spool, sizeof(spool), "%s/spool", site->dir);
	log_set_level(LOG_LEVEL_ERROR);
	if (spool_create(spool, &err) != SPOOL_OK)
		site_die("spool_create", err.buf);

	struct spool_options options = { .dir = spool, .role = SPOOL_ADMIN };

	if (spool_open(&options, &admin, &err) != SPOOL_OK)
		site_die("spool_open", err.buf);
	site_user(admin, "joe@example.test");
	site_user(admin, "ann@example.test");
	site_user(admin, "gone@example.test");
	if (account_domain_add(admin, "catch.test", NULL) != SPOOL_OK)
		site_die("domain", "catch.test");
	site_alias(admin, "team@example.test", "joe@example.test");
	site_alias(admin, "team@example.test", "ann@example.test");
	site_alias(admin, "@catch.test", "joe@example.test");
	if (address_parse("gone@example.test", &gone) != 0 ||
	    account_user_enable(admin, &gone, false) != SPOOL_OK)
		site_die("disable", "gone");
	spool_close(&admin);

	options.role = SPOOL_SMTPD;
	options.policy.reserve = reserve;
	if (spool_open_on(&options, site->disk != NULL ? site->disk : &disk_real, &site->spool,
		&err) != SPOOL_OK ||
	    spool_wait_ready(site->spool) != SPOOL_OK)
		site_die("spool_open", err.buf);
	strbuf_release(&err);
	site->config = site_config(site->dir, smtpd_keys);
	site->loop = loop_new();
	if (site->loop == NULL)
		site_die("loop", "cannot be made");
}

static inline void
site_close(struct site *site)
{
	spool_close(&site->spool);
	loop_free(&site->loop);
	config_unref(&site->config);
	folder_remove(site->dir);
}

/* How many messages a mailbox has. */
static inline uint64_t
site_count(struct site *site, const char *name)
{
	struct address a;
	struct account_user user;

	if (address_parse(name, &a) != 0 || account_user_find(site->spool, &a, &user) != SPOOL_OK)
		site_die("count", name);
	return user.messages;
}

static inline void
drive_wake(struct session_link *link)
{
	struct drive *d = (struct drive *)((char *)link - offsetof(struct drive, link));

	d->woken = true;
}

static inline void
drive_harvest(struct drive *d)
{
	static char scratch[65536];
	const void *buf;
	ssize_t n;

	while ((n = outq_peek(&d->out, scratch, sizeof(scratch), &buf)) > 0) {
		strbuf_add(&d->said, buf, (size_t)n);
		outq_consume(&d->out, (size_t)n);
	}
	assert(!d->said.failed);
}

static inline void
drive_open(struct drive *d, struct site *site, bool lmtp)
{
	memset(d, 0, sizeof(*d));
	d->site = site;
	outq_init(&d->out, NULL);
	strbuf_init(&d->said, SIZE_MAX);
	if (endpoint_parse("192.0.2.7:4711", &d->peer) != 0 ||
	    endpoint_parse("192.0.2.1:25", &d->local) != 0)
		site_die("endpoint", "cannot be read");
	d->link = (struct session_link){
		.loop = site->loop,
		.out = &d->out,
		.peer = &d->peer,
		.local = &d->local,
		.tls_available = true,
		.id = "s1",
		.wake = drive_wake,
	};
	d->session = smtp_session_new(site->spool, site->config, &d->link, lmtp);
	if (d->session == NULL)
		site_die("session", "no memory");
	d->want = smtp_session_ops.greet(d->session);
	drive_harvest(d);
}

static inline void
drive_close(struct drive *d, enum session_end why)
{
	smtp_session_ops.free(d->session, why);
	outq_release(&d->out);
	strbuf_release(&d->said);
	free(d->pending);
}

/* Waits until the session has called wake(). */
static inline void
drive_wait(struct drive *d)
{
	for (int i = 0; i < 30 && !d->woken; i++)
		loop_turn(d->site->loop, 1000);
	assert(d->woken);
	d->woken = false;
}

/* As a connection does it: gives the session what there is until it wants more. */
static inline void
drive_run(struct drive *d)
{
	for (;;) {
		size_t used = 0;
		size_t len = d->npending < SESSION_INPUT_MAX ? d->npending : SESSION_INPUT_MAX;
		/* Exactly as long as what is given, so that a sanitizer sees reads behind it. */
		char *given = mem_must_array(len > 0 ? len : 1, 1);

		if (len > 0)
			memcpy(given, d->pending, len);
		d->want = smtp_session_ops.input(d->session, len > 0 ? given : NULL, len, &used);
		free(given);
		assert(used <= len);
		d->npending -= used;
		if (used > 0)
			memmove(d->pending, d->pending + used, d->npending);
		drive_harvest(d);
		switch (d->want) {
		case SESSION_READ:
			if (used == 0 || d->npending == 0) {
				assert(d->npending < SMTP_LINE_MAX);
				return;
			}
			break;
		case SESSION_DRAIN:
			break;
		case SESSION_WAIT:
			drive_wait(d);
			break;
		case SESSION_START_TLS:
			/* RFC 3207 6 */
			d->npending = 0;
			d->link.tls = true;
			snprintf(d->link.tls_version, sizeof(d->link.tls_version), "TLSv1.3");
			d->want = smtp_session_ops.tls_started(d->session);
			return;
		case SESSION_CLOSE:
		case SESSION_DROP:
			return;
		case SESSION_ACKED:
			site_die("want", "ACKED is not SMTP's");
		}
	}
}

static inline bool
drive_closed(const struct drive *d)
{
	return d->want == SESSION_CLOSE || d->want == SESSION_DROP;
}

/* What comes behind the end of a session is not read any more. */
static inline void
drive_send(struct drive *d, const void *buf, size_t len)
{
	if (drive_closed(d) || len == 0)
		return;
	d->pending = realloc(d->pending, d->npending + len);
	if (d->pending == NULL)
		site_die("memory", "out");
	memcpy(d->pending + d->npending, buf, len);
	d->npending += len;
	drive_run(d);
}

static inline void
drive_say(struct drive *d, const char *text)
{
	drive_send(d, text, strlen(text));
}

/* Checks one reply line: its length, its form, its enhanced code (RFC 2034 4). */
static inline void
drive_check_line(const char *line, size_t len, bool plain)
{
	assert(len + 2 <= SMTP_REPLY_MAX && len >= 4);
	assert(line[0] >= '2' && line[0] <= '5' && line[1] >= '0' && line[1] <= '5');
	assert(line[2] >= '0' && line[2] <= '9' && (line[3] == ' ' || line[3] == '-'));
	for (size_t i = 0; i < len; i++)
		assert(line[i] >= ' ' && line[i] <= '~');
	if (line[0] == '3' || plain)
		return;
	assert(len > 10 && line[4] == line[0] && line[5] == '.');
}

/* Checks all that was said and writes it short, "250 250/2.1.0 354", behind it CLOSE or
 * DROP.  What was said is gone then. */
static inline const char *
drive_take(struct drive *d)
{
	static char text[65536];
	const char *p = d->said.buf, *end = p + d->said.len;
	size_t n = 0;

	text[0] = '\0';
	while (p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		assert(lf != NULL && lf > p && lf[-1] == '\r');
		size_t len = (size_t)(lf - p) - 1;
		/* The greeting and the answers to EHLO and HELO begin with a name or a
		 * keyword, which is no digit and a dot. */
		bool plain = len > 5 && !(p[4] >= '0' && p[4] <= '9' && p[5] == '.');

		assert(!plain || strncmp(p, "220", 3) == 0 || strncmp(p, "250", 3) == 0 ||
		       strncmp(p, "354", 3) == 0);
		drive_check_line(p, len, plain);
		if (p[3] == ' ')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.3s%s%.*s",
			    n > 0 ? " " : "", p, plain ? "" : "/", plain ? 0 : 5, p + 4);
		assert(n < sizeof(text) - 32);
		p = lf + 1;
	}
	if (drive_closed(d))
		snprintf(text + n, sizeof(text) - n, "%s%s", n > 0 ? " " : "",
		    d->want == SESSION_CLOSE ? "CLOSE" : "DROP");
	strbuf_clear(&d->said);
	return text;
}

#endif
