/*
 * secrets - the rows of secrets.db.  Private to common/spool.
 *
 * Each function is a transaction of its own on INDEX_SECRETS; changes are on disk when it
 * returns SPOOL_OK.  smtpd has no such database and calls none of this.  Thread: any.
 */
#ifndef SPOOL_SECRETS_H
#define SPOOL_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "password.h"
#include "spool/account.h"
#include "spool/spool.h"

struct secret {
	bool found;
	char hash[PASSWORD_HASH_MAX];
	bool recoverable;
	char text[ACCOUNT_PASSWORD_MAX + 1];    /* where it is recoverable */
};

/* `mailbox` 0 is nobody's, and costs the same.  The caller wipes *s_r. */
enum spool_status secrets_read(struct spool *, uint64_t mailbox, struct secret *s_r);

/* Sets a new mailbox's secret in the place of any that is left from a mailbox that
 * was never made. `recoverable` may be NULL. */
enum spool_status secrets_create(struct spool *, uint64_t mailbox, const char *hash,
    const char *recoverable);
/* `text` is kept where a recoverable secret was. */
enum spool_status secrets_change(struct spool *, uint64_t mailbox, const char *hash,
    const char *text);
enum spool_status secrets_remove(struct spool *, uint64_t mailbox);

#endif
