/*
 * crc32c - the Castagnoli checksum (RFC 3720 appendix B.4), by the processor's own
 * instruction where it has one.  Thread: any.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc`, the result for what came before; 0 begins. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
