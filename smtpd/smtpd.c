/*
 * smtpd - the daemon's hooks.
 *
 * A reload makes a new configuration the current one under the mutex; sessions hold a
 * reference to the one that they began with.  What needs a restart is always taken from
 * the first.
 */
#include "smtpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtp_session.h"
#include "spool/warning.h"

/* The current configuration, with a reference for the caller. */
static struct config *
current_config(struct smtpd *d)
{
	pthread_mutex_lock(&d->lock);
	struct config *c = config_ref(d->config);

	pthread_mutex_unlock(&d->lock);
	return c;
}

static bool
trusts(void *arg, const uint8_t address[16])
{
	struct config *c = current_config(arg);
	bool trusted = config_trusts(c, address);

	config_unref(&c);
	return trusted;
}

static void
add_listeners(struct smtpd *d, const struct config_endpoints *endpoints, const char *proto)
{
	for (size_t i = 0; i < endpoints->n; i++)
		d->listen[d->nlisten++] = (struct server_listen){
			.endpoint = endpoints->list[i],
			.proto = proto,
		};
}

/* RFC 2033 5: LMTP must not be spoken there. */
static bool
is_port_25(const struct endpoint *e)
{
	return (e->addr.sa.sa_family == AF_INET && e->addr.in.sin_port == htons(25)) ||
	       (e->addr.sa.sa_family == AF_INET6 && e->addr.in6.sin6_port == htons(25));
}

static int
make_listeners(struct smtpd *d, const char *file, const struct config *c, struct strbuf *err)
{
	for (size_t i = 0; i < c->smtpd.listen_lmtp.n; i++)
		if (is_port_25(&c->smtpd.listen_lmtp.list[i])) {
			strbuf_addf(err,
			    "%s: [smtpd] listen_lmtp: port 25 is SMTP's alone; take another, "
			    "such as 24",
			    file);
			errno = 0;
			return -1;
		}
	d->listen = mem_array(c->smtpd.listen.n + c->smtpd.listen_lmtp.n + 1, sizeof(*d->listen));
	if (d->listen == NULL) {
		strbuf_addstr(err, "out of memory");
		errno = ENOMEM;
		return -1;
	}
	add_listeners(d, &c->smtpd.listen, "smtp");
	add_listeners(d, &c->smtpd.listen_lmtp, "lmtp");
	return 0;
}

static int
log_restart_needed(const struct config *old, const struct config *new, struct strbuf *err)
{
	struct strbuf keys;
	int rc;

	strbuf_init(&keys, 4096);
	rc = config_restart_needed(old, new, &keys);
	if (rc != 0)
		strbuf_addstr(err, "out of memory");
	else if (keys.len > 0)
		log_event(LOG_LEVEL_WARNING, "restart_needed", log_text("keys", keys.buf),
		    log_text("advice", "these keep their old values until smtpd is restarted"));
	strbuf_release(&keys);
	if (rc != 0)
		errno = ENOMEM;
	return rc;
}

static struct spool_policy
policy_of(const struct config *c)
{
	return (struct spool_policy){
		.reserve = c->spool.reserve,
		.keep_deleted_s = c->spool.keep_deleted_s,
		.keep_deleted_max = c->spool.keep_deleted_max,
		.expire_every_s = c->spool.expire_every_s,
	};
}

static int
set_warning(struct spool *spool, const struct config *c, struct strbuf *err)
{
	struct spool_warning warning = {
		.n = c->spool.nquota_warn,
		.hostname = c->site.hostname,
		.postmaster = c->site.postmaster,
		.template = c->spool.quota_warning,
	};

	_Static_assert(SPOOL_WARNINGS == CONFIG_WARN_MAX, "one limit in two floors");
	memcpy(warning.percent, c->spool.quota_warn, sizeof(warning.percent));
	if (spool_set_warning(spool, &warning) == SPOOL_OK)
		return 0;
	strbuf_addstr(err, "out of memory");
	errno = ENOMEM;
	return -1;
}

int
smtpd_configure(
    void *arg, const char *file, bool reload, struct server_options *o_r, struct strbuf *err)
{
	struct smtpd *d = arg;
	struct config *c;
	int errnum;

	if (config_load(file, &c, err) != 0)
		return -1;
	if ((reload ? log_restart_needed(d->first, c, err) != 0
		    : make_listeners(d, file, c, err) != 0) ||
	    (d->spool != NULL && set_warning(d->spool, c, err) != 0)) {
		errnum = errno;
		config_unref(&c);
		errno = errnum;
		return -1;
	}
	if (d->first == NULL)
		d->first = config_ref(c);
	log_set_level(c->site.log_level);
	if (d->spool != NULL) {
		struct spool_policy policy = policy_of(c);

		spool_set_policy(d->spool, &policy);
	}

	pthread_mutex_lock(&d->lock);
	struct config *old = d->config;

	d->config = c;
	pthread_mutex_unlock(&d->lock);
	config_unref(&old);

	*o_r = (struct server_options){
		.user = d->first->site.user,
		.listen = d->listen,
		.nlisten = d->nlisten,
		.certificate = c->tls.certificate,
		.key = c->tls.key,
		.max_connections = c->smtpd.max_connections,
		.max_connections_per_ip = c->smtpd.max_connections_per_ip,
		.timeout_ms = c->smtpd.timeout_s * 1000,
		.trusts = trusts,
	};
	return 0;
}

/* Recovery after an orderly end takes milliseconds; the first clients need not be sent
 * away for that.  A longer one they are told of with 451. */
#define READY_WAIT_MS 2000u

static void
wait_until_ready(struct spool *spool)
{
	const struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };
	uint64_t end = clock_mono_ms() + READY_WAIT_MS;

	while (!spool_ready(spool) && clock_mono_ms() < end)
		nanosleep(&nap, NULL);
}

static int
exit_code_for(enum spool_status st)
{
	switch (st) {
	case SPOOL_OK:
		return EX_OK;
	case SPOOL_NO_SPOOL:
		return EX_UNAVAILABLE;
	case SPOOL_BUSY:
	case SPOOL_NO_MEMORY:
		return EX_TEMPFAIL;
	case SPOOL_VERSION:
	case SPOOL_NETWORK_FS:
		return EX_CONFIG;
	default:
		return EX_IOERR;
	}
}

int
smtpd_open(void *arg, struct peers *peers, struct strbuf *err)
{
	struct smtpd *d = arg;
	const struct spool_options options = {
		.dir = d->first->site.spool,
		.role = SPOOL_SMTPD,
		.policy = policy_of(d->first),
	};

	(void)peers;
	spool_end_on_lost_pages();
	enum spool_status st = spool_open(&options, &d->spool, err);

	if (st == SPOOL_OK && set_warning(d->spool, d->first, err) != 0)
		st = SPOOL_NO_MEMORY;
	if (st == SPOOL_OK)
		wait_until_ready(d->spool);
	return exit_code_for(st);
}

bool
smtpd_ready(void *arg)
{
	struct smtpd *d = arg;

	return spool_tried(d->spool);
}

void *
smtpd_session_new(
    void *arg, struct session_link *link, const char *proto, const struct session_ops **ops_r)
{
	struct smtpd *d = arg;
	struct config *c = current_config(d);
	struct smtp_session *s = smtp_session_new(d->spool, c, link, strcmp(proto, "lmtp") == 0);

	config_unref(&c);
	*ops_r = &smtp_session_ops;
	return s;
}

const char *
smtpd_refusal(const char *proto)
{
	(void)proto;
	return smtp_reply_refusal;
}

void
smtpd_close(void *arg)
{
	struct smtpd *d = arg;

	spool_close(&d->spool);
	mem_free(&d->listen);
	config_unref(&d->config);
	config_unref(&d->first);
}
