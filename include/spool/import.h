/*
 * import - deliveries of mail that lay somewhere else before.
 *
 * A message is imported as any other is delivered (spool/delivery.h: delivery_write(),
 * delivery_commit(), delivery_abandon()), with three differences: it was received when it was
 * received there; it may keep the UID that it had there; and it answers to the mailbox's quota
 * alone, not to what a client may claim.  Its age is counted from the import on, or a site whose
 * mail goes after 30 days would throw away at once what it has just taken over.  A disabled mailbox
 * takes it too.
 *
 * Who imports holds the maildrop, by import_lock(), from before he looks which UIDs are taken until
 * his last delivery is done: nobody else gives mail a UID from elsewhere meanwhile.
 *
 * Thread: the importer's, but for `done`.
 */
#ifndef SPOOL_IMPORT_H
#define SPOOL_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/account.h"
#include "spool/delivery.h"
#include "spool/maildrop.h"
#include "spool/spool.h"

/* As RFC 1939 7 has them: 1 to 70 characters of 0x21 to 0x7E. */
bool import_uid_valid(const char *uid);

/* The maildrop with its lock, as maildrop_lock() gives it, and with all in it that others have
 * brought: what a writer left in its segment that was killed while other processes had the spool
 * open, and so was recovered by nobody yet, is entered.  Waits for whoever is recovering.  For
 * maildrop_close().  Thread: one of pop-admin's. */
enum spool_status import_lock(struct spool *, uint64_t mailbox, const char *who,
    struct maildrop **md_r);

/* Begins a message for one mailbox.  `written` is what Delivered-To: shows.  Texts are copied.
 * The statuses of delivery_begin(). */
enum spool_status import_begin(struct spool *, const struct account_target *mailbox,
    const char *reverse_path, const char *written, struct delivery **d_r);

/* Before delivery_commit(), once: when it was received (milliseconds since 1970, not 0), and its
 * UID, valid and not that of any other message in the mailbox; NULL: it gets one of ours.
 * Copied. */
void import_set(struct delivery *, uint64_t received_ms, const char *uid);

/* Octets that Return-Path: and Delivered-To: add to a message here. */
uint64_t import_own_octets(const char *reverse_path, const char *written);

#endif
