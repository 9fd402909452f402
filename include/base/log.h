/*
 * log - one event a line on standard error, as logfmt; of commands in the system's log, too.
 *
 *     event=delivered session=k3f9 from="joe@example.org" octets=4711
 *
 * A line is one write(2), so lines of different threads never mix.  Values are
 * quoted and escaped here, never by the caller: text from the network cannot
 * forge a field or a line.  A value is cut after 1,024 octets and says so with
 * three dots; sooner where the line would pass 4,096 octets, which is what a pipe
 * takes in one piece.  Where standard error is the journal (JOURNAL_STREAM names
 * it), the line begins with its <N> priority.
 *
 * Keys of Restante's own lines: event, session, peer, user, path, error (what
 * failed, strerror text), advice (what the administrator can do).
 *
 * Thread: any; log_init() before other threads exist, log_set_level() any time.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_field {
	const char *key;
	const char *text;       /* the value, or NULL: then `num` is */
	size_t len;             /* octets of text; it may hold NULs */
	uint64_t num;
};

/* A value as text, as octets, as a number.  NULL is written as a bare `-`. */
struct log_field log_text(const char *key, const char *value);
struct log_field log_octets(const char *key, const void *value, size_t len);
struct log_field log_num(const char *key, uint64_t value);

/* The text of an errno value, as key `error`. */
struct log_field log_errno(int errnum);

/* log_event(LOG_LEVEL_INFO, "delivered", log_text("user", u), log_num("octets", n)).
 * Costs nothing but a comparison when the level is not logged.  At least one field. */
#define log_event(level, event, ...)                                                             \
	do {                                                                                     \
		if (log_enabled(level))                                                          \
			log_write((level), (event), (const struct log_field[]) { __VA_ARGS__ },  \
			    sizeof((const struct log_field[]) { __VA_ARGS__ }) /                 \
				sizeof(struct log_field));                                       \
	} while (0)

bool log_enabled(enum log_level);
void log_write(enum log_level, const char *event, const struct log_field *fields, size_t n);

/* Looks whether standard error is the journal. */
void log_init(void);
void log_set_level(enum log_level);
/* For a command: who typed it sees what went wrong on standard error, and syslog(3) keeps what
 * happened, from LOG_LEVEL_INFO up, in the name of `program`, a static text.  Where standard error
 * is the journal, that gets all of it.  After log_init(). */
void log_of_command(const char *program);

/* "error", "warning", "info", "debug"; 0 or -1. */
int log_parse_level(const char *text, enum log_level *level_r);

/* True when a line of this kind may be written now: at most `per_minute` of
 * them each minute.  The first one after a silence tells through *suppressed_r how
 * many were left out.  `state` is zeroed static storage of the caller's, one for
 * each kind of line. */
struct log_limit {
	uint64_t minute;        /* atomic by the GCC builtins */
	uint64_t count;
	uint64_t suppressed;
};
bool log_permit(struct log_limit *state, unsigned per_minute, uint64_t *suppressed_r);

#endif
