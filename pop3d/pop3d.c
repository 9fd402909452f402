/*
 * pop3d - the daemon's hooks.
 *
 * A reload makes a new configuration the current one under the mutex; sessions hold a
 * reference to the one that they began with.  What needs a restart is always taken from
 * the first.
 */
#include "pop3d.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/sasl.h"
#include "pop3_reply.h"
#include "pop3_session.h"

/* The current configuration, with a reference for the caller. */
static struct config *
current_config(struct pop3d *d)
{
	struct config *c;

	pthread_mutex_lock(&d->lock);
	c = config_ref(d->config);
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
add_listeners(
    struct pop3d *d, const struct config_endpoints *endpoints, const char *proto, bool tls_first)
{
	for (size_t i = 0; i < endpoints->n; i++)
		d->listen[d->nlisten++] = (struct server_listen){
			.endpoint = endpoints->list[i],
			.proto = proto,
			.tls_first = tls_first,
		};
}

static int
make_listeners(struct pop3d *d, const struct config *c)
{
	d->listen = mem_array(c->pop3d.listen.n + c->pop3d.listen_tls.n + 1, sizeof(*d->listen));
	if (d->listen == NULL)
		return -1;
	add_listeners(d, &c->pop3d.listen, "pop3", false);
	add_listeners(d, &c->pop3d.listen_tls, "pop3s", true);
	return 0;
}

static int
log_restart_needed(const struct config *old, const struct config *new)
{
	struct strbuf keys;
	int rc;

	strbuf_init(&keys, 4096);
	rc = config_restart_needed(old, new, &keys);
	if (rc == 0 && keys.len > 0)
		log_event(LOG_LEVEL_WARNING, "restart_needed", log_text("keys", keys.buf),
		    log_text("advice", "these keep their old values until pop3d is restarted"));
	strbuf_release(&keys);
	return rc;
}

/* A site that nobody can log in to looks like one with wrong passwords. */
static void
warn_unreachable(const struct config *c)
{
	if (c->tls.certificate != NULL || c->pop3d.plaintext_auth == CONFIG_PLAINTEXT_ALWAYS)
		return;
	log_event(LOG_LEVEL_WARNING, "no_certificate",
	    log_text("error",
		c->pop3d.plaintext_auth == CONFIG_PLAINTEXT_NEVER
		    ? "passwords are taken under TLS only, and there is none: nobody can log in"
		    : "passwords from elsewhere are taken under TLS only, and there is none: "
		      "nobody "
		      "outside this machine can log in"),
	    log_text("advice", "set certificate and key in [tls]"));
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

int
pop3d_configure(
    void *arg, const char *file, bool reload, struct server_options *o_r, struct strbuf *err)
{
	struct pop3d *d = arg;
	struct config *c, *old;

	if (config_load(file, &c, err) != 0)
		return -1;
	if (reload ? log_restart_needed(d->first, c) != 0 : make_listeners(d, c) != 0) {
		strbuf_addstr(err, "out of memory");
		config_unref(&c);
		errno = ENOMEM;
		return -1;
	}
	if (d->first == NULL)
		d->first = config_ref(c);
	if (reload)
		warn_unreachable(c);
	log_set_level(c->site.log_level);
	if (d->spool != NULL) {
		struct spool_policy policy = policy_of(c);

		spool_set_policy(d->spool, &policy);
	}

	pthread_mutex_lock(&d->lock);
	old = d->config;
	d->config = c;
	pthread_mutex_unlock(&d->lock);
	config_unref(&old);

	*o_r = (struct server_options){
		.user = d->first->site.user,
		.listen = d->listen,
		.nlisten = d->nlisten,
		.certificate = c->tls.certificate,
		.key = c->tls.key,
		.max_connections = c->pop3d.max_connections,
		.max_connections_per_ip = c->pop3d.max_connections_per_ip,
		.timeout_ms = c->pop3d.timeout_s * 1000,
		.trusts = trusts,
	};
	return 0;
}

static int
exit_code_for(enum spool_status status)
{
	switch (status) {
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
pop3d_open(void *arg, struct peers *peers, struct strbuf *err)
{
	struct pop3d *d = arg;
	const struct spool_options options = {
		.dir = d->first->site.spool,
		.role = SPOOL_POP3D,
		.policy = policy_of(d->first),
	};
	enum spool_status status;

	d->peers = peers;
	/* Without TLS the first login would be the first to use it. */
	if (sasl_prepare() != 0) {
		strbuf_addstr(err, "OpenSSL cannot be set up: there is not enough memory, or its "
				   "configuration is wrong");
		return EX_TEMPFAIL;
	}
	spool_end_on_lost_pages();
	status = spool_open(&options, &d->spool, err);
	if (status != SPOOL_OK)
		return exit_code_for(status);
	d->hash_jobs = jobs_new("hash", POP3D_HASH_THREADS);
	d->disk_jobs = jobs_new("disk", POP3D_DISK_THREADS);
	d->delay = pop3_delay_new();
	if (d->hash_jobs == NULL || d->disk_jobs == NULL || d->delay == NULL) {
		strbuf_addf(err, "threads cannot be started: %s", strerrordesc_np(errno));
		pop3d_close(d);
		return EX_TEMPFAIL;
	}
	warn_unreachable(d->first);
	return EX_OK;
}

bool
pop3d_ready(void *arg)
{
	struct pop3d *d = arg;

	return spool_tried(d->spool);
}

void *
pop3d_session_new(
    void *arg, struct session_link *link, const char *proto, const struct session_ops **ops_r)
{
	struct pop3d *d = arg;

	(void)proto;
	*ops_r = &pop3_session_ops;
	return pop3_session_new(d, link, current_config(d));
}

const char *
pop3d_refusal(const char *proto)
{
	(void)proto;
	return pop3_reply_text(POP3_ERR_TOO_MANY);
}

void
pop3d_close(void *arg)
{
	struct pop3d *d = arg;

	jobs_free(&d->hash_jobs);
	jobs_free(&d->disk_jobs);
	pop3_delay_free(&d->delay);
	spool_close(&d->spool);
	mem_free(&d->listen);
	config_unref(&d->config);
	config_unref(&d->first);
}
