/*
 * quiet_log - a log that says nothing, for a fuzzer that damages so much that the real one would
 * fill the disk.  It stands in place of base/log.c.
 */
#ifndef TESTS_FUZZ_QUIET_LOG_H
#define TESTS_FUZZ_QUIET_LOG_H

#include "base/log.h"
#include "tests/fuzz/fuzz.h"

struct log_field
log_text(const char *key, const char *value)
{
	return log_octets(key, value, value != NULL ? strlen(value) : 0);
}

struct log_field
log_octets(const char *key, const void *value, size_t len)
{
	return (struct log_field){ .key = key, .text = value, .len = len };
}

struct log_field
log_num(const char *key, uint64_t value)
{
	return (struct log_field){ .key = key, .num = value };
}

struct log_field
log_errno(int errnum)
{
	return log_num("error", (uint64_t)errnum);
}

bool
log_enabled(enum log_level level)
{
	return level == LOG_LEVEL_ERROR;
}

/* Each text is read to its end, so that a sanitizer sees it. */
void
log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
	size_t sum = strlen(event);

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; fields[i].text != NULL && j < fields[i].len; j++)
			sum += (unsigned char)fields[i].text[j];
	REQUIRE(level == LOG_LEVEL_ERROR && sum > 0);
}

bool
log_permit(struct log_limit *state, unsigned per_minute, uint64_t *suppressed_r)
{
	(void)state;
	*suppressed_r = 0;
	return per_minute > 0;
}

#endif
