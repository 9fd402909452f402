/*
 * password - hashing passwords and recognising them.  Private to common/spool.
 *
 * Hashes are libcrypt's, yescrypt at its default cost: tens of milliseconds.  Names that
 * nobody has, and passwords that cannot be right, are given the same work.
 *
 * Thread: any.
 */
#ifndef SPOOL_PASSWORD_H
#define SPOOL_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"

/* What crypt(5) writes, NUL included. */
#define PASSWORD_HASH_MAX 384

/* Can be kept: not empty, at most ACCOUNT_PASSWORD_MAX octets, no NUL. */
bool password_acceptable(const void *password, size_t len);

/* SPOOL_BAD_PASSWORD; SPOOL_IO when libcrypt fails, which was logged; SPOOL_NO_MEMORY. */
enum spool_status password_hash(const void *password, size_t len, char hash_r[PASSWORD_HASH_MAX]);

/*
 * Passwords that were right lately, by a keyed digest (HMAC-SHA256) over mailbox,
 * stored hash and password.  The key is random and never leaves the process.  At most
 * PASSWORD_CACHE_ENTRIES, none longer than PASSWORD_CACHE_MS behind the last time that
 * it was hashed and found right.
 */
struct password_cache;

#define PASSWORD_CACHE_ENTRIES 4096
#define PASSWORD_CACHE_MS (10u * 60 * 1000)

/* NULL: no memory or no random octets. */
struct password_cache *password_cache_new(void);
void password_cache_free(struct password_cache **);

/* Whether the password is the one that was hashed.  `hash` is NULL where nobody has
 * that name: SPOOL_DENIED, after the same work.  SPOOL_OK, SPOOL_DENIED,
 * SPOOL_NO_MEMORY; SPOOL_IO when libcrypt cannot read the hash, which was logged. */
enum spool_status password_check(struct password_cache *, uint64_t mailbox, const char *hash,
    const void *password, size_t len);

#endif
