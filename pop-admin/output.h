/*
 * output - one way to show things: text for people, JSON for programs.
 *
 * A command names its columns once and adds rows of cells.  A listing is a
 * table, or one JSON array; a single thing is "key: value" lines, or one JSON object.
 * In JSON every key is always there, sizes are octets, times RFC 3339 in UTC, and
 * none, never and unknown are null.
 *
 * Nothing is written before output_end(): whoever holds a lock while he lists
 * never waits for a terminal.  The caller owns the texts until output_row() returns.
 */
#ifndef POP_ADMIN_OUTPUT_H
#define POP_ADMIN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cell_type { CELL_TEXT, CELL_COUNT, CELL_SIZE, CELL_AGE, CELL_TIME, CELL_BOOL, CELL_PERCENT,
	CELL_TEXTS, CELL_ROWS };

struct cell {
	enum cell_type type;
	const char *text;               /* CELL_TEXT; NULL is null */
	uint64_t num;
	const char *const *texts;       /* CELL_TEXTS */
	size_t n;
	const struct output *rows;      /* CELL_ROWS */
};

struct cell cell_text(const char *text);
struct cell cell_count(uint64_t n);
struct cell cell_size(uint64_t octets);         /* NUM_UNLIMITED: none */
struct cell cell_age(uint64_t seconds);         /* NUM_UNLIMITED: never */
struct cell cell_time(uint64_t unix_seconds);   /* 0 and NUM_UNLIMITED: never */
struct cell cell_oldest(uint64_t unix_seconds); /* 0: there is nothing */
struct cell cell_bool(bool yes);
struct cell cell_percent(uint64_t n);           /* NUM_UNLIMITED: of nothing */
struct cell cell_texts(const char *const *texts, size_t n);

/* The rows of another output so far, as a listing: in JSON within the object, in text nothing.  It
 * is the caller's, to discard or to end. */
struct output;
struct cell cell_rows(const struct output *);

enum output_shape { OUTPUT_LISTING, OUTPUT_SINGLE };

/* `keys` ends in NULL and outlives the output. */
struct output *output_new(enum output_shape, bool json, const char *const *keys);
/* As many cells as there are keys. */
void output_row(struct output *, const struct cell *cells);
/* Writes everything to standard output and frees it.  0, or -1 with errno when it could
 * not be written. */
int output_end(struct output **);
/* Frees it unwritten. */
void output_discard(struct output **);

#endif
