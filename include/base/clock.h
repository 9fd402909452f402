/*
 * clock - what time it is, for all who ask.
 *
 * Time limits use the monotonic clock, dates the wall clock.  Tests set both.
 *
 * Thread: any; clock_set() before other threads exist.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some fixed moment; never runs backwards. */
uint64_t clock_mono_ms(void);

/* Milliseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);

/* From now on both clocks stand still at these values, until they are set
 * again; (0, 0) returns to the machine's clocks.  For tests. */
void clock_set(uint64_t mono_ms, uint64_t wall_ms);

#endif
