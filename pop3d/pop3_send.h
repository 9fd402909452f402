/*
 * pop3_send - RETR and TOP: a message from the spool into the session's queue.  Private to
 * pop3d.
 *
 * Thread: the session's loop.
 */
#ifndef POP3D_POP3_SEND_H
#define POP3D_POP3_SEND_H

#include "pop3_session.h"

/* Sends message `i`: whole, or as TOP with `lines` lines of its body. */
enum pop3_reply pop3_send(struct pop3_session *, size_t i, bool top, uint64_t lines);

/* Notes in the maildrop which messages RETR has sent whole: the last octet of each has left the
 * queue.  While they are in it, nobody can know whether the client will have them. */
void pop3_note_sent(struct pop3_session *);

/* Drops the session's reference to a message; NULL is harmless. */
struct pop3_message;
void pop3_message_unref(struct pop3_message **);

#endif
