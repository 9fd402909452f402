/*
 * warn_send - warnings composed and delivered.  The invariants are those of warn.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "account_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "mail/notice.h"
#include "spool/delivery.h"
#include "spool_internal.h"
#include "warn_internal.h"

static uint64_t
percent_of(uint64_t used, uint64_t quota)
{
	while (used > UINT64_MAX / 100) {
		used /= 2;
		quota /= 2;
	}
	return quota > 0 ? used * 100 / quota : 100;
}

static enum spool_status
compose(struct warner *w, const struct warn_due *d, struct strbuf *out, uint64_t *octets_r)
{
	uint64_t random;
	char id[64];
	struct notice notice = {
		.address = d->address,
		.id = id,
		.unix_seconds = clock_wall_ms() / 1000,
		.percent = percent_of(d->used, d->quota),
		.used = d->used,
		.quota = d->quota,
		.messages = d->messages,
	};
	int rc;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return spool_failed("random_failed", "getrandom", errno);
	snprintf(id, sizeof(id), "warning.%" PRIu64 ".%016" PRIx64, d->mailbox, random);
	pthread_mutex_lock(&w->text_mutex);
	notice.hostname = w->hostname;
	notice.postmaster = w->postmaster;
	notice.template = w->template;
	rc = notice_compose(&notice, out, octets_r);
	pthread_mutex_unlock(&w->text_mutex);
	/* Of what a template can say only endless addresses come to that. */
	return rc == 0 ? SPOOL_OK : SPOOL_DAMAGED;
}

/* On the committer's thread. */
static void
delivered(void *arg, struct delivery *delivery)
{
	struct warn_due *d = arg;
	struct warner *w = d->warner;

	pthread_mutex_lock(&w->mutex);
	d->outcome = delivery_outcome(delivery);
	if (--w->underway == 0)
		pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
}

/* The null reverse-path (RFC 3834 3.3): nobody answers it, no bounce comes of it. */
static enum spool_status
begin(struct spool *sp, struct warn_due *d, uint64_t octets)
{
	struct account_target target = { .mailbox = d->mailbox, .address = d->address };
	const struct account_targets targets = { .list = &target, .n = 1 };
	/* No client's: of these there is one at a time. */
	const struct delivery_options options = { .need = octets, .trusted = true };
	struct envelope *env = envelope_new("");
	enum spool_status st = SPOOL_NO_MEMORY;

	if (env != NULL)
		st = envelope_add(env, d->address, &targets);
	if (st == SPOOL_OK)
		st = delivery_begin(sp, &env, &options, &d->delivery);
	envelope_free(&env);
	return st;
}

/* Gives the warning to the committer; otherwise the outcome is set. */
static void
submit(struct spool *sp, struct warn_due *d)
{
	struct warner *w = sp->warner;
	struct strbuf text;
	uint64_t octets;

	d->warner = w;
	strbuf_init(&text, NOTICE_MAX);
	d->outcome = compose(w, d, &text, &octets);
	if (d->outcome == SPOOL_OK)
		d->outcome = begin(sp, d, octets + record_prefix_len("", d->address));
	if (d->outcome == SPOOL_OK)
		d->outcome = delivery_write(d->delivery, text.buf, text.len);
	strbuf_release(&text);
	if (d->outcome != SPOOL_OK) {
		delivery_abandon(&d->delivery);
		return;
	}
	pthread_mutex_lock(&w->mutex);
	w->underway++;
	pthread_mutex_unlock(&w->mutex);
	delivery_commit(d->delivery, octets, delivered, d);
}

static bool
passes(enum spool_status st)
{
	return st == SPOOL_NOT_READY || st == SPOOL_NO_SPACE || st == SPOOL_NO_MEMORY ||
	       st == SPOOL_IO;
}

/* What could not be delivered just now is as if it had not been told. */
static enum spool_status
take_back(struct spool *sp, const struct warn_batch *b)
{
	enum spool_status st;
	struct index_conn *c;

	st = index_write_begin(sp, INDEX_MAIN, "warnings", &c);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; st == SPOOL_OK && i < b->n; i++) {
		const struct warn_due *d = &b->list[i];

		if (passes(d->outcome))
			st = account_run(c,
			    "UPDATE mailbox SET warned = ?2 WHERE id = ?1 AND warned = ?3", "uuu",
			    d->mailbox, (uint64_t)d->warned, (uint64_t)d->now);
	}
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, false);
	index_write_abandon(sp, &c);
	return st;
}

static void
log_outcome(const struct warn_due *d, bool again)
{
	const char *advice = "the owner may have been told nothing: tell the owner another way";
	uint64_t percent = percent_of(d->used, d->quota);

	if (d->outcome == SPOOL_OK) {
		log_event(LOG_LEVEL_INFO, "warning_sent", log_text("user", d->address),
		    log_num("crossed", d->now), log_num("percent", percent));
		return;
	}
	if (d->outcome == SPOOL_OVER_QUOTA || d->outcome == SPOOL_NEVER_FITS)
		advice = "not even the warning fits: raise the quota, or tell the owner another "
			 "way to make room";
	else if (again)
		advice = "it is tried again; see what failed before this line";
	else if (d->outcome == SPOOL_DAMAGED)
		advice = "shorten the template";
	log_event(LOG_LEVEL_WARNING, "warning_not_sent", log_text("user", d->address),
	    log_num("crossed", d->now), log_num("percent", percent),
	    log_text("error", spool_status_text(d->outcome)), log_text("advice", advice));
}

/* What is logged of each, and what the round comes to. */
static enum spool_status
finish(struct spool *sp, struct warn_batch *b)
{
	enum spool_status st = SPOOL_OK;
	bool again;

	for (size_t i = 0; i < b->n; i++)
		if (passes(b->list[i].outcome))
			st = b->list[i].outcome;
	again = st != SPOOL_OK && take_back(sp, b) == SPOOL_OK;
	for (size_t i = 0; i < b->n; i++)
		if (b->list[i].now > b->list[i].warned)
			log_outcome(&b->list[i], again && passes(b->list[i].outcome));
	return st;
}

enum spool_status
warn_deliver(struct spool *sp, struct warn_batch *b)
{
	struct warner *w = sp->warner;

	for (size_t i = 0; i < b->n; i++)
		if (b->list[i].now > b->list[i].warned)
			submit(sp, &b->list[i]);
	pthread_mutex_lock(&w->mutex);
	while (w->underway > 0)
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
	for (size_t i = 0; i < b->n; i++)
		delivery_abandon(&b->list[i].delivery);
	return finish(sp, b);
}

void
warn_lost(struct warn_batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		b->list[i].outcome = SPOOL_UNKNOWN;
		if (b->list[i].now > b->list[i].warned)
			log_outcome(&b->list[i], false);
	}
}
