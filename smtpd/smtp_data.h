/*
 * smtp_data - the message itself: DATA and BDAT, from the first octet to the reply.
 *
 * Private to smtpd/.  Thread: the session's loop.
 */
#ifndef SMTPD_SMTP_DATA_H
#define SMTPD_SMTP_DATA_H

#include "smtp_session.h"

void smtp_transaction_free(struct smtp_transaction **);

/* DATA, in RCPT.  354 and the state DATA, or a refusal and no transaction any more. */
enum smtp_reply smtp_data_begin(struct smtp_session *);

/* BDAT: `octets` follow, which are read whatever `refusal` says (RFC 3030 2).  Enters
 * CHUNK. */
void smtp_chunk_begin(struct smtp_session *, uint64_t octets, bool last, enum smtp_reply refusal);

/* Takes octets in DATA and in CHUNK, one at least, none beyond the end of the message or
 * the chunk. */
enum session_want smtp_data_take(struct smtp_session *, const void *buf, size_t len,
    size_t *used_r);
enum session_want smtp_chunk_take(struct smtp_session *, const void *buf, size_t len,
    size_t *used_r);

/* In CHUNK, when none is left of it: what becomes of the message. */
enum session_want smtp_chunk_end(struct smtp_session *);

/* How a sender is told that the message is not kept, once all of it is here. */
enum smtp_reply smtp_data_refusal(const struct smtp_session *, enum spool_status);

/* In COMMIT: says the outcome, once it is known.  SESSION_WAIT before that. */
enum session_want smtp_data_answer(struct smtp_session *);

#endif
