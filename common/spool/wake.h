/*
 * wake - how a keeper sleeps, and who ends its sleep.  Private to common/spool.
 *
 * Within a process an eventfd does; smtpd's keeper, who keeps house for all, also listens on a
 * datagram socket, SPOOL/run/smtpd-wake.  What is sent there says nothing but "look": one octet.
 * The name outlives its process, and who calls where nobody listens is told so at once.
 *
 * Thread: wake_wait() and wake_listen() the keeper's; the others any, and never wait.
 */
#ifndef SPOOL_WAKE_H
#define SPOOL_WAKE_H

#include <stdbool.h>

#include "spool/spool.h"

struct wake;

/* A failure is logged; SPOOL_OK even so where only other processes cannot be called. */
enum spool_status wake_new(struct spool *, struct wake **w_r);
/* NULL is harmless. */
void wake_free(struct wake **);

/* Takes the name, from a predecessor too.  A failure is logged. */
void wake_listen(struct wake *);

/* Sleeps until somebody rings or calls, or the milliseconds are over; true when it was woken. */
bool wake_wait(struct wake *, unsigned ms);

/* Wakes this process's keeper. */
void wake_ring(struct wake *);
/* Wakes smtpd's; false when nobody listens. */
bool wake_call(struct wake *);

#endif
