/*
 * lmtp - a reply for each recipient behind the data (RFC 2033 4.2).
 *
 * `Each recipient` is each RCPT that was accepted, also where two of them led to one
 * mailbox.  The transaction is still there; ending it is the caller's.
 */
#include "lmtp.h"

#include "smtp_data.h"

enum session_want
lmtp_refuse(struct smtp_session *s, enum smtp_reply id)
{
	for (uint64_t i = 1; i < s->tx->rcpts; i++)
		smtp_reply_write(s->link->out, id, s->config->site.hostname, NULL);
	return smtp_session_say(s, id, NULL, 0);
}

void
lmtp_answer(struct smtp_session *s, const char *kept)
{
	const struct envelope *env = delivery_envelope(s->tx->delivery);
	const char *hostname = s->config->site.hostname;
	struct outq *out = s->link->out;

	for (size_t i = 0; i < env->rcpts; i++) {
		enum spool_status st = envelope_outcome(env, i);

		if (st == SPOOL_OK) {
			smtp_reply_write(out, REPLY_KEPT, hostname, kept);
		} else {
			s->refused++;
			smtp_reply_write(out, smtp_data_refusal(s, st), hostname, NULL);
		}
	}
}
