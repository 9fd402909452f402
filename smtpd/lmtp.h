/*
 * lmtp - what LMTP does otherwise (RFC 2033 4.2): a reply for each recipient.
 *
 * That it says LHLO is in the table of commands.  Private to smtpd/.
 * Thread: the session's loop.
 */
#ifndef SMTPD_LMTP_H
#define SMTPD_LMTP_H

#include "smtp_session.h"

/* The same refusal for each accepted RCPT. */
enum session_want lmtp_refuse(struct smtp_session *, enum smtp_reply);

/* Each accepted RCPT's own outcome, in their order; `kept` is the text for those that
 * have it. */
void lmtp_answer(struct smtp_session *, const char *kept);

#endif
