/*
 * fuzz - what fuzzers share: a property that must hold, and memory of just
 * the size asked for, so that a sanitizer sees a look beyond it.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(property)                                                                        \
	do {                                                                                     \
		if (!(property)) {                                                               \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,        \
			    #property);                                                          \
			abort();                                                                 \
		}                                                                                \
	} while (0)

static inline void *
fuzz_room(size_t size)
{
	void *room = malloc(size > 0 ? size : 1);

	REQUIRE(room != NULL);
	return room;
}

static inline void *
fuzz_copy(const void *buf, size_t size)
{
	void *copy = fuzz_room(size);

	memcpy(copy, buf, size);
	return copy;
}

#endif
