/*
 * smtp_data - a message from the client's octets into a delivery, and what becomes of it
 * back into a reply.
 *
 * Once something is wrong, `failure` says what, nothing more is kept, and all that the
 * client sends is still read to its true end: only there can it be told (RFC 5321
 * 4.1.1.4, RFC 3030 2).  A message gets one reply, in LMTP one for each recipient.
 *
 * In COMMIT the delivery is the committer's; its `done` posts the transaction to the
 * session's loop and touches nothing else.  The connection keeps the session until then,
 * so transaction and session are there when the post runs.
 */
#include "smtp_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lmtp.h"
#include "smtp_trace.h"
#include "spool/room.h"

/* Our Received:, the recipient's own lines, and a CRLF that was missing at the end. */
_Static_assert(SMTP_TRACE_MAX + ROOM_OWN_MAX + 2 <= ROOM_TRACE_MAX, "no field is longer");

void
smtp_transaction_free(struct smtp_transaction **txp)
{
	struct smtp_transaction *tx = *txp;

	*txp = NULL;
	if (tx == NULL)
		return;
	envelope_free(&tx->envelope);
	delivery_abandon(&tx->delivery);
	free(tx);
}

static void
fail(struct smtp_session *s, enum smtp_reply id)
{
	if (s->failure == REPLY_NONE)
		s->failure = id;
	if (s->tx != NULL)
		delivery_abandon(&s->tx->delivery);
}

static const char *
with_protocol(const struct smtp_session *s)
{
	if (s->lmtp)
		return s->link->tls ? "LMTPS" : "LMTP";
	/* RFC 3848 knows no SMTPS. */
	if (!s->esmtp)
		return "SMTP";
	return s->link->tls ? "ESMTPS" : "ESMTP";
}

/* What the message will need in each mailbox; 0 where that shows as it comes. */
static uint64_t
room_needed(const struct smtp_session *s)
{
	const struct smtp_transaction *tx = s->tx;

	if (tx->size > 0)
		return tx->size + ROOM_TRACE_MAX;
	/* The one answer must be true for all of several recipients, whatever comes. */
	if (tx->lone || s->lmtp || tx->envelope->n == 1)
		return 0;
	return s->config->smtpd.max_message_size + ROOM_TRACE_MAX;
}

/* Begins the delivery, with our Received: field in front.  REPLY_NONE, or why not. */
static enum smtp_reply
begin_delivery(struct smtp_session *s)
{
	struct smtp_transaction *tx = s->tx;
	struct delivery_options options = {
		.need = room_needed(s),
		.each = s->lmtp,
		.trusted = s->link->trusted,
	};

	endpoint_octets(s->link->peer, options.client);
	s->looks += tx->envelope->n;
	enum spool_status st = delivery_begin(s->spool, &tx->envelope, &options, &tx->delivery);

	if (st != SPOOL_OK)
		return smtp_reply_for(st);
	const struct envelope *env = delivery_envelope(tx->delivery);
	struct smtp_trace trace = {
		.client = s->client,
		.peer = s->peer,
		.hostname = s->config->site.hostname,
		.with = with_protocol(s),
		.id = tx->id,
		/* RFC 5321 7.2: recipients are not told of each other. */
		.recipient = tx->rcpts == 1 ? env->recipients[0].written : NULL,
		.unix_seconds = clock_wall_ms() / 1000,
	};
	struct strbuf field;

	dot_init(&tx->dot);
	strbuf_init(&field, SMTP_TRACE_MAX);
	smtp_trace_received(&trace, &field);
	st = field.failed ? SPOOL_NO_MEMORY : delivery_write(tx->delivery, field.buf, field.len);
	tx->trace_octets = field.len;
	strbuf_release(&field);
	return st == SPOOL_OK ? REPLY_NONE : smtp_reply_for(st);
}

/* A run that is shorter is gathered with others: to hand one over costs as much as a few hundred
 * octets do, and a message of bare LFs has two of one octet for each. */
#define RUN_SHORT 64u

/* Takes what the scanner emits of one piece of input. */
struct gathering {
	struct smtp_session *session;
	size_t len; /* of what is gathered */
	char few[1024];
};

static void
write_wire(struct smtp_session *s, const void *wire, size_t len)
{
	enum spool_status st;

	if (s->failure != REPLY_NONE)
		return;
	st = delivery_write(s->tx->delivery, wire, len);
	if (st != SPOOL_OK)
		fail(s, smtp_reply_for(st));
}

/* Clears no kilobyte for each piece of input. */
static void
begin_gathering(struct gathering *k, struct smtp_session *s)
{
	k->session = s;
	k->len = 0;
}

static void
keep_gathered(struct gathering *k)
{
	if (k->len > 0)
		write_wire(k->session, k->few, k->len);
	k->len = 0;
}

/* A dot_emit_fn.  Never stops the scanner: it is needed to find the end. */
static int
keep(void *arg, const void *wire, size_t len)
{
	struct gathering *k = arg;

	if (len >= RUN_SHORT || len > sizeof(k->few) - k->len)
		keep_gathered(k);
	if (len >= RUN_SHORT) {
		write_wire(k->session, wire, len);
	} else {
		memcpy(k->few + k->len, wire, len);
		k->len += len;
	}
	return 0;
}

static void
check_size(struct smtp_session *s)
{
	/* RFC 1870 5: `octets` knows nothing of stuffing. */
	if (s->tx->dot.octets > s->config->smtpd.max_message_size)
		fail(s, REPLY_TOO_LARGE);
}

/* Runs on the committer's thread. */
static void
committed(void *arg, struct delivery *d)
{
	struct smtp_transaction *tx = arg;

	(void)d;
	loop_post(tx->session->link->loop, &tx->post);
}

static void
outcome_known(struct post *post)
{
	struct smtp_transaction *tx = LIST_OBJECT(post, struct smtp_transaction, post);

	tx->committed = true;
	tx->session->link->wake(tx->session->link);
}

static enum session_want
refuse_message(struct smtp_session *s)
{
	enum smtp_reply id = s->failure;
	enum session_want want = s->lmtp ? lmtp_refuse(s, id) : smtp_session_say(s, id, NULL, 0);

	if (want == SESSION_READ)
		smtp_session_reset(s);
	return want;
}

/* The message is here, whole. */
static enum session_want
end_message(struct smtp_session *s)
{
	struct smtp_transaction *tx = s->tx;

	if (s->failure == REPLY_NONE) {
		if (tx->dot.bare_lf > 0 && s->config->smtpd.bare_newline_reject)
			fail(s, REPLY_BARE_NEWLINE);
		/* RFC 5321 6.3.  Ours is among those counted. */
		else if (delivery_hops(tx->delivery) > SMTP_HOPS_MAX + 1)
			fail(s, REPLY_LOOP);
	}
	if (s->failure == REPLY_NONE) {
		/* The disk may have filled since MAIL. */
		enum spool_status st = spool_may_deliver(s->spool);

		if (st != SPOOL_OK)
			fail(s, smtp_reply_for(st));
	}
	if (s->failure != REPLY_NONE)
		return refuse_message(s);
	smtp_session_enter(s, SMTP_COMMIT);
	tx->post.run = outcome_known;
	delivery_commit(tx->delivery, tx->trace_octets + tx->dot.octets, committed, tx);
	return SESSION_WAIT;
}

enum smtp_reply
smtp_data_begin(struct smtp_session *s)
{
	enum smtp_reply id = begin_delivery(s);

	if (id != REPLY_NONE) {
		smtp_session_reset(s);
		return id;
	}
	smtp_session_enter(s, SMTP_DATA);
	return REPLY_GO_AHEAD;
}

enum session_want
smtp_data_take(struct smtp_session *s, const void *buf, size_t len, size_t *used_r)
{
	struct gathering k;

	begin_gathering(&k, s);
	*used_r = dot_scan(&s->tx->dot, buf, len, keep, &k);
	keep_gathered(&k);
	check_size(s);
	return s->tx->dot.state == DOT_END ? end_message(s) : SESSION_READ;
}

enum session_want
smtp_chunk_end(struct smtp_session *s)
{
	struct gathering k;

	begin_gathering(&k, s);
	if (s->failure == REPLY_NONE && s->chunk_last) {
		dot_stuff_end(&s->tx->dot, keep, &k);
		keep_gathered(&k);
		check_size(s);
	}
	if (s->failure == REPLY_NONE && !s->chunk_last) {
		smtp_session_enter(s, SMTP_CHUNKS);
		return smtp_session_say(s, REPLY_CHUNK_OK, NULL, 0);
	}
	if (s->chunk_last && s->tx != NULL) {
		s->chunks_refused = false;
		return end_message(s);
	}

	/* RFC 3030 2: the message has failed.  Chunks that were on their way already
	 * are read and refused, and held against nobody, up to a point. */
	enum smtp_reply id = s->failure;
	bool pipelined = s->chunks_refused && id == REPLY_SAY_MAIL && s->junk++ < SMTP_JUNK_MAX;

	smtp_session_reset(s);
	s->chunks_refused = !s->chunk_last;
	if (pipelined) {
		smtp_reply_write(s->link->out, id, s->config->site.hostname, NULL);
		return SESSION_READ;
	}
	return smtp_session_say(s, id, NULL, 0);
}

void
smtp_chunk_begin(struct smtp_session *s, uint64_t octets, bool last, enum smtp_reply refusal)
{
	uint64_t max = s->config->smtpd.max_message_size;
	bool first = s->state != SMTP_CHUNKS;

	smtp_session_enter(s, SMTP_CHUNK);
	s->chunk_left = octets;
	s->chunk_last = last;
	if (refusal == REPLY_NONE && first)
		refusal = begin_delivery(s);
	/* Known now; the disk need not hold it first. */
	if (refusal == REPLY_NONE && (octets > max || s->tx->dot.octets > max - octets))
		refusal = REPLY_TOO_LARGE;
	if (refusal != REPLY_NONE)
		fail(s, refusal);
}

enum session_want
smtp_chunk_take(struct smtp_session *s, const void *buf, size_t len, size_t *used_r)
{
	size_t n = len < s->chunk_left ? len : (size_t)s->chunk_left;
	struct gathering k;

	begin_gathering(&k, s);
	if (s->failure == REPLY_NONE && n > 0) {
		dot_stuff(&s->tx->dot, buf, n, keep, &k);
		keep_gathered(&k);
		check_size(s);
	}
	*used_r = n;
	s->chunk_left -= n;
	return s->chunk_left == 0 ? smtp_chunk_end(s) : SESSION_READ;
}

static void
log_accepted(struct smtp_session *s)
{
	const struct smtp_transaction *tx = s->tx;
	const struct envelope *env = delivery_envelope(tx->delivery);
	char message[SPOOL_UID_LEN + 1];
	uint64_t mailboxes = 0;

	for (size_t i = 0; i < env->n; i++)
		mailboxes += env->recipients[i].outcome == SPOOL_OK;
	spool_uid_format(message, delivery_message(tx->delivery));
	log_event(LOG_LEVEL_INFO, "accepted", log_text("session", s->link->id),
	    log_text("id", tx->id), log_text("peer", s->peer), log_text("client", s->client),
	    log_text("with", with_protocol(s)), log_text("from", env->reverse_path),
	    log_num("octets", tx->trace_octets + tx->dot.octets), log_num("recipients", mailboxes),
	    log_text("message", message),
	    log_text("tls", s->link->tls ? s->link->tls_version : NULL));
}

enum smtp_reply
smtp_data_refusal(const struct smtp_session *s, enum spool_status st)
{
	bool no_room = st == SPOOL_OVER_QUOTA || st == SPOOL_NEVER_FITS;

	/* RFC 1870 6.3: who declared less than he sent learns it. */
	if (no_room && s->tx->size > 0 && s->tx->dot.octets > s->tx->size)
		return REPLY_LARGER_THAN_SAID;
	return smtp_reply_for(st);
}

enum session_want
smtp_data_answer(struct smtp_session *s)
{
	struct smtp_transaction *tx = s->tx;
	char kept[64];

	if (!tx->committed)
		return SESSION_WAIT;
	enum spool_status st = delivery_outcome(tx->delivery);
	enum smtp_reply refusal = smtp_data_refusal(s, st);
	bool each = s->lmtp && refusal != REPLY_DROP;

	snprintf(kept, sizeof(kept), "kept as %s", tx->id);
	if (st == SPOOL_OK) {
		log_accepted(s);
		s->messages++;
		s->errors = s->junk = 0;
	}
	if (each)
		lmtp_answer(s, kept);
	else if (st == SPOOL_OK)
		smtp_reply_write(s->link->out, REPLY_KEPT, s->config->site.hostname, kept);
	smtp_session_reset(s);
	return each || st == SPOOL_OK ? SESSION_READ : smtp_session_say(s, refusal, NULL, 0);
}
