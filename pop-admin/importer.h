/*
 * importer - messages from elsewhere on their way into one mailbox.
 *
 * A source is read twice.  The first time says what would come: so that a quota refuses all or
 * nothing, and what cannot be taken is known before anything is.  The second time brings it.
 *
 * No message comes twice.  Each has a UID in the mailbox that says which one it is: the one
 * that a list gives it, or else one made of a hash of its octets, and of how many of the same
 * octets came before it in the source.  Where the mailbox has a message with this UID, or has it
 * among its deleted mail or in its memory of what was removed last, it has this message.  A UID
 * out of a list does not say so much: there the octets are compared too.
 *
 * Thread: main's.
 */
#ifndef POP_ADMIN_IMPORTER_H
#define POP_ADMIN_IMPORTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "progress.h"
#include "source.h"
#include "spool/account.h"
#include "spool/maildrop.h"
#include "uidlist.h"

/* No message is larger, as by SMTP ([smtpd] max_message_size). */
#define IMPORTER_MESSAGE_MAX (UINT64_C(2) << 30)

struct importer;

/* What one reading of the source came to. */
struct importer_count {
	uint64_t messages;              /* new to the mailbox; in the second reading: brought in */
	uint64_t octets;                /* of these, as the mailbox counts them */
	uint64_t known;                 /* in the mailbox, or removed from it, already */
	uint64_t refused;               /* cannot be taken; why is in importer_refusals() */
};

struct importer_options {
	struct spool *spool;            /* these outlive the importer */
	const struct account_user *user;
	struct maildrop *md;            /* his, locked and loaded, until importer_free() */
	const char *hostname;           /* for Received: */
	const struct uidlist *uids;     /* NULL: none */
	struct progress *progress;      /* is told of each message; NULL: none */
};

/* SPOOL_OK, SPOOL_NO_MEMORY, SPOOL_IO. */
enum spool_status importer_new(const struct importer_options *, struct importer **im_r);
/* What was given to the spool is waited for.  NULL is harmless. */
void importer_free(struct importer **);

/* Where a reader puts messages.  importer_begin() before each of the two readings.  A sink's return
 * of IMPORTER_STOPPED means that importer_status() says why nothing more can be brought in. */
enum { IMPORTER_STOPPED = 1 };
void importer_begin(struct importer *, bool bring);
struct source_sink importer_sink(struct importer *);
/* Waits for what is on its way.  SPOOL_OK, or why not all of it is in the mailbox. */
enum spool_status importer_finish(struct importer *);
const struct importer_count *importer_counts(const struct importer *);

/* A line for each message that was refused, the first hundred of them. */
const char *importer_refusals(const struct importer *);

#endif
