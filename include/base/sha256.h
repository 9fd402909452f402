/*
 * sha256 - SHA-256 (FIPS 180-4), to know octets again.
 *
 * For telling mail apart, where whoever sent it may have wished two messages to look like one.
 * No key and no secret passes through here.
 *
 * Pure functions.  Thread: any.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32

struct sha256 {
	uint32_t state[8];
	uint64_t len;                   /* octets so far */
	uint8_t block[64];              /* the last of them, len % 64 */
};

void sha256_init(struct sha256 *);
void sha256_add(struct sha256 *, const void *buf, size_t len);
/* Afterwards it must be initialised anew. */
void sha256_end(struct sha256 *, uint8_t digest_r[SHA256_LEN]);

#endif
