/*
 * smtp_command - the commands of SMTP and LMTP.
 *
 * Private to smtpd/.  Thread: the session's loop.
 */
#ifndef SMTPD_SMTP_COMMAND_H
#define SMTPD_SMTP_COMMAND_H

#include "smtp_session.h"

/* Does what a line says, which comes without CRLF.  The reply to it, REPLY_NONE where
 * that was written already or comes later. */
enum smtp_reply smtp_command_run(struct smtp_session *, const char *line, size_t len);

#endif
