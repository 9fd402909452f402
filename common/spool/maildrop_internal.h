/*
 * maildrop_internal - what the files about mail in a mailbox share.  Private to common/spool.
 *
 * Thread: any.
 */
#ifndef SPOOL_MAILDROP_INTERNAL_H
#define SPOOL_MAILDROP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/maildrop.h"

/* maildrop_open_message() of a message that counts `octets` in this mailbox. */
enum spool_status message_open(struct spool *, uint64_t mailbox, uint64_t id, uint64_t octets,
    bool may_block, struct maildrop_message **m_r);

/* Writes the UID of a message: the one that it had elsewhere, or else (NULL) its id.  Returns its
 * length. */
size_t maildrop_write_uid(char uid[MAILDROP_UID_MAX + 1], uint64_t message, const char *foreign);

#endif
