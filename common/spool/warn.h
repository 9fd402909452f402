/*
 * warn - the warnings that mailboxes are due.  Private to common/spool.
 *
 * What a mailbox was told is a state, mailbox.warned: the highest share, in percent, or 0.  It is
 * compared with what is used; so it makes no difference how use or quota came to be what they are.
 */
#ifndef SPOOL_WARN_H
#define SPOOL_WARN_H

#include <stdint.h>

#include "index.h"
#include "spool/spool.h"

struct warner;

enum spool_status warn_new(struct warner **w_r);
/* Lets a round that is going on come to its end, and no other one begin.  Before the committer
 * ends.  NULL inside the spool is harmless. */
void warn_stop(struct spool *);
/* No thread is left.  NULL is harmless. */
void warn_free(struct warner **);

/* Brings every mailbox's state up to date and delivers the warnings that are due; blocks until
 * they are delivered.  Costs a look at a counter when nothing was committed since.  SPOOL_OK also
 * while no mail may come in: it is made up for.  Thread: the keeper's. */
enum spool_status warn_round(struct spool *);

/* Committer: a message was entered in the transaction on `c`, and with it `used` of the mailbox's
 * quota are taken; notes when its owner is due a warning. */
enum spool_status warn_look(
    struct spool *, struct index_conn *c, uint64_t mailbox, uint64_t used, uint64_t quota);
/* Committer: that transaction was committed, or not; wakes the janitor where one was noted. */
void warn_looked(struct spool *, bool committed);

#endif
