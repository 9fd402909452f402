/*
 * pop3_delay - when each mailbox was last logged in to, for LOGIN-DELAY (RFC 2449 6.5).
 * Private to pop3d.
 *
 * Kept in memory alone, for the last POP3_DELAY_MAX mailboxes: who is forgotten may log in sooner,
 * and so may everybody after a restart.
 *
 * Thread: any.
 */
#ifndef POP3D_POP3_DELAY_H
#define POP3D_POP3_DELAY_H

#include <stdbool.h>
#include <stdint.h>

#define POP3_DELAY_MAX 65536u

struct pop3_delay;

/* NULL: no memory. */
struct pop3_delay *pop3_delay_new(void);
/* NULL is harmless. */
void pop3_delay_free(struct pop3_delay **);

/* The last login to the mailbox was less than `delay_s` seconds ago. */
bool pop3_delay_too_early(struct pop3_delay *, uint64_t mailbox, uint64_t delay_s);
/* Now is its last login.  Logins longer ago than `delay_s` are forgotten.  When memory is out this
 * one is not remembered. */
void pop3_delay_note(struct pop3_delay *, uint64_t mailbox, uint64_t delay_s);

#endif
