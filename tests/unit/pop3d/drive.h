/*
 * Drives pop3d's sessions with strings: a site with a real spool, real pools and a real loop,
 * and the part of a connection that a session sees, without a socket.  For the unit tests
 * and the fuzzer of pop3d.
 */
#ifndef TESTS_UNIT_POP3D_DRIVE_H
#define TESTS_UNIT_POP3D_DRIVE_H

#include <assert.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "conf/config.h"
#include "mail/dot.h"
#include "net/jobs.h"
#include "net/loop.h"
#include "net/outq.h"
#include "net/peers.h"
#include "pop3d/pop3_session.h"
#include "spool/account.h"
#include "spool/delivery.h"
#include "spool/spool.h"
#include "tests/lib/folder.h"

struct site {
	char dir[256];
	char spool_dir[300];
	struct pop3d pop3d;
	struct loop *loop;
};

struct drive {
	struct site *site;
	struct pop3_session *session;
	struct session_link link;
	struct outq out;
	struct endpoint peer, local;
	char *pending;          /* what the session left over */
	size_t npending;
	struct strbuf said;     /* all that was sent since drive_forget() */
	enum session_want want;
	bool woken;
	bool holding;           /* nothing is taken from the queue: a client that does not read */
	uint64_t most;          /* octets that were ever in the queue */
	unsigned waits;         /* for jobs and timers so far */
};

/* --- the site -------------------------------------------------------------- */

_Noreturn static inline void
site_die(const char *what, const char *why)
{
	fprintf(stderr, "site: %s: %s\n", what, why);
	abort();
}

/* Opens the spool once more, in another role. */
static inline struct spool *
site_spool(const struct site *site, enum spool_role role)
{
	const struct spool_options options = { .dir = site->spool_dir, .role = role };
	struct spool *spool;
	struct strbuf err;

	strbuf_init(&err, 1000);
	if (spool_open(&options, &spool, &err) != SPOOL_OK ||
	    spool_wait_ready(spool) != SPOOL_OK)
		site_die("spool", err.buf);
	strbuf_release(&err);
	return spool;
}

static inline void
site_user(struct spool *spool, const char *name, const char *password, bool apop)
{
	struct address a;

	if (address_parse(name, &a) != 0 ||
	    account_user_add(spool, &a, password, strlen(password), apop, NULL, NULL) != SPOOL_OK)
		site_die("user", name);
}

static inline struct config *
site_config(const struct site *site, const char *pop3d_keys)
{
	char file[300];
	struct config *config;
	struct strbuf err;
	FILE *f;

	strbuf_init(&err, 1000);
	snprintf(file, sizeof(file), "%s/restante.conf", site->dir);
	f = fopen(file, "w");
	if (f == NULL)
		site_die("config", file);
	fprintf(f,
	    "[site]\nhostname = mail.example.test\nspool = %s\nlog_level = error\n"
	    "[pop3d]\nlisten = 127.0.0.1:0\n%s\n",
	    site->spool_dir, pop3d_keys);
	if (fclose(f) != 0 || config_load(file, &config, &err) != 0)
		site_die("config", err.buf);
	strbuf_release(&err);
	return config;
}

/* New sessions get these settings. */
static inline void
site_configure(struct site *site, const char *pop3d_keys)
{
	config_unref(&site->pop3d.config);
	site->pop3d.config = site_config(site, pop3d_keys);
}

/* joe, ann and the disabled gone; with `apop`, apop@example.test, who has a secret, too. */
static inline void
site_open_where(struct site *site, bool apop, bool on_disk)
{
	struct strbuf err;
	struct spool *admin;
	struct address gone;

	memset(site, 0, sizeof(*site));
	strbuf_init(&err, 1000);
	snprintf(site->dir, sizeof(site->dir), "%s/pop3d-test-XXXXXX",
	    on_disk ? test_disk() : test_memory());
	if (mkdtemp(site->dir) == NULL)
		site_die(site->dir, "cannot be made");
	snprintf(site->spool_dir, sizeof(site->spool_dir), "%s/spool", site->dir);
	log_set_level(LOG_LEVEL_ERROR);
	if (spool_create(site->spool_dir, &err) != SPOOL_OK)
		site_die("spool", err.buf);
	strbuf_release(&err);

	admin = site_spool(site, SPOOL_ADMIN);
	site_user(admin, "joe@example.test", "secret", false);
	site_user(admin, "ann@example.test", " pass  word ", false);
	site_user(admin, "gone@example.test", "secret", false);
	if (apop)
		site_user(admin, "apop@example.test", "tanstaaf", true);
	if (address_parse("gone@example.test", &gone) != 0 ||
	    account_user_enable(admin, &gone, false) != SPOOL_OK)
		site_die("disable", "gone");
	spool_close(&admin);

	site->loop = loop_new();
	site->pop3d.spool = site_spool(site, SPOOL_POP3D);
	site->pop3d.hash_jobs = jobs_new("hash", 1);
	site->pop3d.disk_jobs = jobs_new("disk", 2);
	site->pop3d.peers = peers_new();
	site->pop3d.delay = pop3_delay_new();
	if (site->loop == NULL || site->pop3d.hash_jobs == NULL || site->pop3d.disk_jobs == NULL ||
	    site->pop3d.peers == NULL || site->pop3d.delay == NULL)
		site_die("site", "out of memory");
	site_configure(site, "plaintext_auth = always\nlock_wait = 0s");
}

static inline void
site_open(struct site *site, bool apop)
{
	site_open_where(site, apop, false);
}

static inline void
site_close(struct site *site)
{
	jobs_free(&site->pop3d.hash_jobs);
	jobs_free(&site->pop3d.disk_jobs);
	/* As net/server.c: what the jobs have posted till then. */
	loop_turn(site->loop, 0);
	pop3_delay_free(&site->pop3d.delay);
	spool_close(&site->pop3d.spool);
	peers_free(&site->pop3d.peers);
	config_unref(&site->pop3d.config);
	loop_free(&site->loop);
	folder_remove(site->dir);
}

static inline void
site_delivered(void *arg, struct delivery *d)
{
	(void)d;
	sem_post(arg);
}

static inline int
site_write(void *arg, const void *buf, size_t len)
{
	return delivery_write(arg, buf, len) == SPOOL_OK ? 0 : -1;
}

static inline struct delivery *
site_begin(struct spool *spool, const char *to, const struct account_targets *targets,
    const void *message, size_t len, uint64_t *octets_r)
{
	const struct delivery_options trusted = { .trusted = true };
	struct envelope *env = envelope_new("sender@client.example");
	struct delivery *d;
	struct dot dot;

	dot_init(&dot);
	if (env == NULL || envelope_add(env, to, targets) != SPOOL_OK ||
	    delivery_begin(spool, &env, &trusted, &d) != SPOOL_OK ||
	    dot_stuff(&dot, message, len, site_write, d) != 0 ||
	    dot_stuff_end(&dot, site_write, d) != 0)
		site_die("delivery", to);
	*octets_r = dot.octets;
	return d;
}

/* Puts `n` messages of these octets into a mailbox, by a spool that delivers.  No Received: field
 * is made. */
static inline void
site_deliver_by(struct spool *spool, const char *to, const void *message, size_t len, unsigned n)
{
	const struct account_policy policy = { .delimiter = '+' };
	struct delivery **list = mem_must_array(n, sizeof(*list));
	struct account_targets targets;
	struct address rcpt;
	uint64_t octets;
	sem_t done;

	sem_init(&done, 0, 0);
	if (address_parse(to, &rcpt) != 0 ||
	    account_resolve(spool, &rcpt, &policy, &targets) != SPOOL_OK)
		site_die("rcpt", to);
	for (unsigned i = 0; i < n; i++) {
		list[i] = site_begin(spool, to, &targets, message, len, &octets);
		delivery_commit(list[i], octets, site_delivered, &done);
	}
	/* A fuzzer's clock is a signal. */
	for (unsigned i = 0; i < n; i++)
		while (sem_wait(&done) != 0)
			;
	for (unsigned i = 0; i < n; i++) {
		if (delivery_outcome(list[i]) != SPOOL_OK)
			site_die("commit", spool_status_text(delivery_outcome(list[i])));
		delivery_abandon(&list[i]);
	}
	free(list);
	account_targets_release(&targets);
	sem_destroy(&done);
}

static inline void
site_deliver(struct site *site, const char *to, const void *message, size_t len, unsigned n)
{
	struct spool *spool = site_spool(site, SPOOL_SMTPD);

	site_deliver_by(spool, to, message, len, n);
	spool_close(&spool);
}

static inline struct account_user
site_find(struct site *site, const char *name)
{
	struct address a;
	struct account_user user;

	if (address_parse(name, &a) != 0 ||
	    account_user_find(site->pop3d.spool, &a, &user) != SPOOL_OK)
		site_die("find", name);
	return user;
}

/* How many messages a mailbox has. */
static inline uint64_t
site_count(struct site *site, const char *name)
{
	return site_find(site, name).messages;
}

/* Waits until nobody has the maildrop: a session that has ended may still note retrievals. */
static inline void
site_wait_unlocked(struct site *site, uint64_t mailbox)
{
	struct maildrop *md;
	enum spool_status status;

	for (int i = 0; i < 3000; i++) {
		status = maildrop_lock(site->pop3d.spool, mailbox, "test", &md);
		if (status != SPOOL_BUSY)
			break;
		loop_turn(site->loop, 10);
	}
	if (status != SPOOL_OK)
		site_die("lock", spool_status_text(status));
	maildrop_close(&md);
}

/* --- the connection -------------------------------------------------------- */

static inline void
drive_wake(struct session_link *link)
{
	struct drive *d = (struct drive *)((char *)link - offsetof(struct drive, link));

	d->woken = true;
}

/* The client reads what is in the queue. */
static inline void
drive_read(struct drive *d)
{
	static char scratch[65536];
	const void *buf;
	ssize_t n;

	if (d->out.pending > d->most)
		d->most = d->out.pending;
	while (!d->holding && (n = outq_peek(&d->out, scratch, sizeof(scratch), &buf)) > 0) {
		strbuf_add(&d->said, buf, (size_t)n);
		outq_consume(&d->out, (size_t)n);
		d->link.out_octets += (uint64_t)n;
	}
	assert(!d->said.failed);
}

static inline bool
drive_closed(const struct drive *d)
{
	return d->want == SESSION_CLOSE || d->want == SESSION_DROP;
}

/* A connection from `peer`, "203.0.113.9:4711", that has a certificate.  The caller may change
 * `link` before drive_greet(). */
static inline void
drive_open(struct drive *d, struct site *site, const char *peer)
{
	static struct outq_recent recent; /* as a loop has one */

	memset(d, 0, sizeof(*d));
	d->site = site;
	outq_init(&d->out, &recent);
	strbuf_init(&d->said, SIZE_MAX);
	if (endpoint_parse(peer, &d->peer) != 0 || endpoint_parse("192.0.2.1:110", &d->local) != 0)
		site_die("endpoint", peer);
	d->link = (struct session_link){
		.loop = site->loop,
		.out = &d->out,
		.peer = &d->peer,
		.local = &d->local,
		.tls_available = true,
		.trusted = true,
		.id = "s1",
		.wake = drive_wake,
	};
	d->session = pop3_session_new(&site->pop3d, &d->link, config_ref(site->pop3d.config));
	if (d->session == NULL)
		site_die("session", "no memory");
}

static inline void
drive_greet(struct drive *d)
{
	d->want = pop3_session_ops.greet(d->session);
	drive_read(d);
}

/* Waits until the session has called wake(). */
static inline void
drive_wait(struct drive *d)
{
	for (int i = 0; i < 300 && !d->woken; i++)
		loop_turn(d->site->loop, 100);
	assert(d->woken);
	d->woken = false;
	d->waits++;
}

static inline void
drive_free(struct drive *d, enum session_end why)
{
	bool locked;
	uint64_t mailbox = 0;

	while (d->want == SESSION_WAIT) {
		size_t used;

		drive_wait(d);
		d->want = pop3_session_ops.input(d->session, NULL, 0, &used);
	}
	outq_release(&d->out);
	locked = d->session->maildrop != NULL;
	if (locked)
		mailbox = site_find(d->site, d->session->address).mailbox;
	pop3_session_ops.free(d->session, why);
	if (locked)
		site_wait_unlocked(d->site, mailbox);
	strbuf_release(&d->said);
	free(d->pending);
}

static inline void
drive_tls(struct drive *d)
{
	/* RFC 2595 4 */
	d->npending = 0;
	d->link.tls = true;
	snprintf(d->link.tls_version, sizeof(d->link.tls_version), "TLSv1.3");
	d->want = pop3_session_ops.tls_started(d->session);
}

/* One call of the session, with what is there. */
static inline size_t
drive_input(struct drive *d)
{
	size_t used = 0;
	size_t len = d->npending < SESSION_INPUT_MAX ? d->npending : SESSION_INPUT_MAX;
	/* Exactly as long as what is given, so that a sanitizer sees reads behind it. */
	char *given = mem_must_array(len > 0 ? len : 1, 1);

	if (len > 0)
		memcpy(given, d->pending, len);
	d->want = pop3_session_ops.input(d->session, len > 0 ? given : NULL, len, &used);
	free(given);
	assert(used <= len);
	d->npending -= used;
	if (used > 0)
		memmove(d->pending, d->pending + used, d->npending);
	d->link.in_octets += used;
	drive_read(d);
	return used;
}

/* As a connection does it: gives the session what there is until it wants more, or until what
 * it wants cannot be had while the client does not read. */
static inline void
drive_run(struct drive *d)
{
	for (;;) {
		size_t used = drive_input(d);

		switch (d->want) {
		case SESSION_READ:
			if (used == 0 || d->npending == 0) {
				assert(d->npending <= POP3_LINE_MAX_CREDENTIALS);
				return;
			}
			break;
		case SESSION_DRAIN:
		case SESSION_ACKED:
			if (d->holding)
				return;
			break;
		case SESSION_WAIT:
			drive_wait(d);
			break;
		case SESSION_START_TLS:
			drive_tls(d);
			return;
		case SESSION_CLOSE:
		case SESSION_DROP:
			return;
		}
	}
}

/* The client says this.  What comes behind the end of a session is not read any more. */
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
	if (d->want == SESSION_READ)
		drive_run(d);
}

static inline void
drive_say(struct drive *d, const char *text)
{
	drive_send(d, text, strlen(text));
}

static inline void
drive_forget(struct drive *d)
{
	strbuf_clear(&d->said);
}

/* A connection whose greeting is done with. */
static inline void
drive_start(struct drive *d, struct site *site)
{
	drive_open(d, site, "203.0.113.9:4711");
	drive_greet(d);
	drive_forget(d);
}

static inline void
drive_login(struct drive *d, struct site *site)
{
	drive_start(d, site);
	drive_say(d, "USER joe@example.test\r\nPASS secret\r\n");
	if (d->session->state != POP3_TRANSACTION)
		site_die("login", d->said.buf);
	drive_forget(d);
}

#endif
