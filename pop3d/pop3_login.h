/*
 * pop3_login - what a client says of itself, and its way into its maildrop.  Private to
 * pop3d.
 *
 * Thread: the session's loop.
 */
#ifndef POP3D_POP3_LOGIN_H
#define POP3D_POP3_LOGIN_H

#include "pop3_session.h"
#include "spool/account.h"

struct pop3_credentials {
	const char *method;             /* static text, for the log: "USER", "APOP", ... */
	char *user;                     /* owned */
	size_t user_len;
	char *password;                 /* owned, wiped; NULL with APOP */
	size_t password_len;
	char *stamp;                    /* owned; APOP's */
	char digest[33];                /* APOP's */
	uint64_t deadline_ms;           /* until when a busy maildrop is waited for */
	enum pop3_reply reply;          /* of a failure that is put off */
	struct account_login found;     /* once the password was right */
};

/* Copies the texts; `password` may be NULL.  NULL: no memory. */
struct pop3_credentials *pop3_credentials_new(const char *method, const void *user,
    size_t user_len, const void *password, size_t password_len);
void pop3_credentials_free(struct pop3_credentials **);

/* Checks the credentials, then takes the lock and loads the maildrop, then answers.  *c
 * passes to the session; when it is NULL, memory ran out and so the answer says. */
enum pop3_reply pop3_login(struct pop3_session *, struct pop3_credentials **c);

#endif
