/*
 * The two ways to the checksum, apart, so that a test can compare them.
 */
#ifndef BASE_CRC32C_INTERNAL_H
#define BASE_CRC32C_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By tables; on every machine. */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);

/* By the processor; only where crc32c_has_instruction(). */
bool crc32c_has_instruction(void);
uint32_t crc32c_instruction(uint32_t crc, const void *buf, size_t len);

#endif
