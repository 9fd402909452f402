/*
 * room - whether a message has room in the mailboxes that it is for, before it comes.
 *
 * A mailbox has a quota, and what it holds stands in the index.  What is promised to
 * messages on their way is known in smtpd's memory alone: each delivery has a claim on its
 * mailboxes from delivery_begin() to its end, so that nobody else is promised the same
 * octets.  A refusal told here is true at the moment at which it is told.
 *
 * Thread: any.  Blocks for a few indexed look-ups, never for a writer.
 */
#ifndef SPOOL_ROOM_H
#define SPOOL_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/address.h"
#include "spool/account.h"
#include "spool/delivery.h"
#include "spool/spool.h"

/* The longest lines of one recipient's own, Return-Path: and Delivered-To:, in octets. */
#define ROOM_OWN_MAX (2u * ADDRESS_MAX + 33)

/*
 * The longest trace fields that are put before a message, in octets: a recipient's own lines,
 * our Received:, and the CRLF that a last line may lack.  What is declared with SIZE needs
 * so much more.
 */
#define ROOM_TRACE_MAX 2560u

/* No octet of the message came for so long: its claim is nobody's any more. */
#define ROOM_LAPSE_MS 30000u

/* Is there room for `need` octets more in each of these mailboxes, as far as they are not in
 * the envelope yet?  SPOOL_NEVER_FITS when `need` passes a quota, SPOOL_OVER_QUOTA when there is
 * none just now.  With SPOOL_OK, *most_r says whether each would take `most` as well. */
enum spool_status room_look(struct spool *, const struct account_targets *,
    const struct envelope *, uint64_t need, uint64_t most, bool *most_r);

#endif
