/*
 * clock - what time it is, for all who ask.
 *
 * The two values that a test sets are atomic, because loops of a tested daemon
 * read them while the test moves time on.
 */
#include "base/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t set_mono_ms, set_wall_ms;

static uint64_t
machine_ms(clockid_t id)
{
	struct timespec ts;
	int rc = clock_gettime(id, &ts);

	/* It fails for a clock that the machine lacks; every Linux has both. */
	assert(rc == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t
now_ms(clockid_t id, _Atomic uint64_t *set)
{
	if (atomic_load(&set_mono_ms) == 0 && atomic_load(&set_wall_ms) == 0)
		return machine_ms(id);
	return atomic_load(set);
}

uint64_t
clock_mono_ms(void)
{
	return now_ms(CLOCK_MONOTONIC, &set_mono_ms);
}

uint64_t
clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME, &set_wall_ms);
}

void
clock_set(uint64_t mono_ms, uint64_t wall_ms)
{
	atomic_store(&set_mono_ms, mono_ms);
	atomic_store(&set_wall_ms, wall_ms);
}
