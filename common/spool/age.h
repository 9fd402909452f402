/*
 * age - from an age to the day that ends it.  Private to common/spool.
 *
 * Mail goes by whole days (UTC): at the beginning of the first one on which its age is past, never
 * earlier.  The day is reckoned here and nowhere else: by age_day() for one message, by AGE_DAY_SQL
 * for many at once; a test says that the two agree.
 *
 * Thread: any; pure.
 */
#ifndef SPOOL_AGE_H
#define SPOOL_AGE_H

#include <stdint.h>

#include "record.h"

#define AGE_DAY_S 86400

/* The first day, since 1970, on whose beginning what began at `from_s` (Unix time) is `age_s` old
 * at the least.  An age beyond all days is the last one, which is not RECORD_NEVER. */
static inline uint32_t
age_day(uint64_t from_s, uint64_t age_s)
{
	uint64_t day = (from_s + age_s + AGE_DAY_S - 1) / AGE_DAY_S;

	return day < RECORD_NEVER ? (uint32_t)day : RECORD_NEVER - 1;
}

/* The same of two expressions of SQL; NULL where one of them is.  (A sum beyond 64 bits becomes
 * real there, and then the last day too.) */
#define AGE_DAY_SQL(from_s, age_s) \
	"CAST(min((" from_s " + " age_s " + 86399) / 86400, 4294967294) AS INTEGER)"

#endif
