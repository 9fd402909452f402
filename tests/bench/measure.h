/*
 * measure - what the generator's parts share: options, the clock, latencies.
 *
 * A part that fails ends the program with 1 and a sentence: a bench in which something
 * failed has measured nothing.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NS 1000000000u

/* One NAME=VALUE that a part understands; one of text and number is set. */
struct option_row {
	const char *name;
	const char **text; /* keeps what it held when the option is not given */
	uint64_t *number;  /* likewise; decimal */
};

/* Reads `args` (ended by NULL) by the table of `n` rows.  An unknown name, or a value that is no
 * number where one is wanted, ends the program with 64. */
void options_read(char **args, const struct option_row *rows, size_t n);

/* Says "load: WHAT: strerror" and ends the program with 1. */
void die(const char *what) __attribute__((noreturn));
/* The same with a sentence of its own. */
void die_saying(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Nanoseconds of the monotonic clock. */
uint64_t now_ns(void);

/* Times that were taken, in nanoseconds.  All zeros is empty. */
struct times {
	uint64_t *ns;
	size_t n, room;
};

void times_add(struct times *t, uint64_t ns);
/* Prints "NAME_p50_ms=... NAME_p99_ms=... NAME_worst_ms=...", separated by blanks and with one
 * before them, and frees what was taken; nothing where there is nothing. */
void times_print(struct times *t, const char *name);

#endif
