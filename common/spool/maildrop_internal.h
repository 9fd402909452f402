/*
 * maildrop_internal - opening a message by its id.  Private to common/spool.
 *
 * Thread: any.
 */
#ifndef SPOOL_MAILDROP_INTERNAL_H
#define SPOOL_MAILDROP_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/maildrop.h"

/* maildrop_open_message() of a message that counts `octets` in this mailbox. */
enum spool_status message_open(struct spool *, uint64_t mailbox, uint64_t id, uint64_t octets,
    bool may_block, struct maildrop_message **m_r);

#endif
