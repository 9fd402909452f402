/*
 * log - one event a line on standard error, as logfmt; of commands in the system's log, too.
 *
 * Two passes: the first measures what the values need, the second writes.  A
 * line that would pass PIPE_BUF is one that a pipe may tear; then every value
 * gets an equal share of it, so that no long value pushes another out.
 *
 * The only state is the level, what log_init() found, and whether it is a command's log.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"

#define LOG_VALUE_MAX 1024
#define LOG_VALUE_MIN 5 /* the quotes and the three dots */
#define LOG_LINE_MAX PIPE_BUF
/* Octets of a value that stand for one. */
#define ESCAPED_MAX 4

static _Atomic enum log_level log_level = LOG_LEVEL_INFO;
static bool to_journal, to_syslog;

/* Known by its address: a `-` that is really there is quoted. */
static const char missing[] = "-";

static const struct {
	const char *name;
	char priority; /* sd-daemon(3), and syslog(3)'s as a digit */
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", '3' },
	[LOG_LEVEL_WARNING] = { "warning", '4' },
	[LOG_LEVEL_INFO] = { "info", '6' },
	[LOG_LEVEL_DEBUG] = { "debug", '7' },
};

struct log_field
log_text(const char *key, const char *value)
{
	return log_octets(key, value, value != NULL ? strlen(value) : 0);
}

struct log_field
log_octets(const char *key, const void *value, size_t len)
{
	if (value == NULL)
		return (struct log_field){ .key = key, .text = missing, .len = 1 };
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
	const char *text = strerrordesc_np(errnum);

	if (text == NULL)
		return log_num("error", (uint64_t)errnum);
	return log_text("error", text);
}

/* Writes how `c` stands in a value to out, which has room for ESCAPED_MAX; returns its length. */
static size_t
escape(char *out, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";

	if (c >= ' ' && c < 0x7f && c != '"' && c != '\\') {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	switch (c) {
	case '"':
	case '\\':
		out[1] = (char)c;
		return 2;
	case '\n':
		out[1] = 'n';
		return 2;
	case '\r':
		out[1] = 'r';
		return 2;
	case '\t':
		out[1] = 't';
		return 2;
	default:
		out[1] = 'x';
		out[2] = digits[c >> 4];
		out[3] = digits[c & 15];
		return 4;
	}
}

/* How a value stands in its line. */
struct shape {
	size_t len;  /* octets of it that count */
	size_t need; /* octets that they take, without quotes */
	bool quotes;
};

static struct shape
shape_of(const char *text, size_t len)
{
	struct shape s = { .len = len < LOG_VALUE_MAX ? len : LOG_VALUE_MAX };
	char one[ESCAPED_MAX];

	s.quotes = len == 0 || (len == 1 && text[0] == '-' && text != missing);
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=') {
			s.need++;
			continue;
		}
		s.need += escape(one, c);
		s.quotes = true;
	}
	return s;
}

/* How many octets of a value that does not fit are kept, so that the dots fit behind them. */
static size_t
kept(const char *text, const struct shape *s, size_t room)
{
	size_t need = s->quotes ? 2 : 0, i;
	char one[ESCAPED_MAX];

	for (i = 0; i < s->len; i++) {
		need += escape(one, (unsigned char)text[i]);
		if (need > room - 3)
			break;
	}
	return i;
}

/* Writes a field's value to out, or only measures it when out is NULL.  Takes at
 * most `room` octets, which are at least LOG_VALUE_MIN. */
static size_t
put_value(char *out, const struct log_field *f, size_t room)
{
	char number[NUM_TEXT_MAX], one[ESCAPED_MAX];
	const char *text = f->text;
	size_t len = f->len, keep, used = 0;

	if (text == NULL) {
		len = num_format_u64(number, f->num);
		text = number;
	}

	struct shape s = shape_of(text, len);
	bool whole = s.len == len && s.need + (s.quotes ? 2 : 0) <= room;

	keep = whole ? len : kept(text, &s, room);
	if (out == NULL) {
		used = whole ? s.need : 3;
		for (size_t i = 0; !whole && i < keep; i++)
			used += escape(one, (unsigned char)text[i]);
		return used + (s.quotes ? 2 : 0);
	}
	if (s.quotes)
		out[used++] = '"';
	if (whole && s.need == len) {
		memcpy(out + used, text, len);
		used += len;
	} else {
		for (size_t i = 0; i < keep; i++)
			used += escape(out + used, (unsigned char)text[i]);
	}
	if (!whole) {
		memcpy(out + used, "...", 3);
		used += 3;
	}
	if (s.quotes)
		out[used++] = '"';
	return used;
}

/* Everything of the line but the values: their keys and what stands between. */
static size_t
frame_length(const char *event, const struct log_field *fields, size_t n)
{
	size_t used = strlen("<N>event=\n") + strlen(event), i;

	for (i = 0; i < n; i++)
		used += strlen(" =") + strlen(fields[i].key);
	return used;
}

/* How many octets each value may take. */
static size_t
value_room(const char *event, const struct log_field *fields, size_t n)
{
	size_t frame = frame_length(event, fields, n), used = frame, most = frame, i;

	for (i = 0; i < n; i++)
		most += fields[i].text == NULL ? NUM_TEXT_MAX : fields[i].len * ESCAPED_MAX + 2;
	/* Most lines fit whatever is in their values. */
	if (most <= LOG_LINE_MAX)
		return SIZE_MAX;
	for (i = 0; i < n; i++)
		used += put_value(NULL, &fields[i], SIZE_MAX);
	if (used <= LOG_LINE_MAX)
		return SIZE_MAX;
	/* Events and keys are ours, and few. */
	assert(frame + n * LOG_VALUE_MIN <= LOG_LINE_MAX);
	return (LOG_LINE_MAX - frame) / n;
}

static void
write_line(const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, line, len);

		if (n == -1 && errno == EINTR)
			continue;
		/* There is nowhere left to say that the log cannot be written. */
		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

static bool
is_shown(enum log_level level)
{
	return level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

bool
log_enabled(enum log_level level)
{
	return is_shown(level) || (to_syslog && level <= LOG_LEVEL_INFO);
}

void
log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
	const size_t room = value_room(event, fields, n);
	const int saved_errno = errno;
	char line[LOG_LINE_MAX], *p = line;
	size_t i;

	if (to_journal) {
		*p++ = '<';
		*p++ = levels[level].priority;
		*p++ = '>';
	}
	p = stpcpy(stpcpy(p, "event="), event);
	for (i = 0; i < n; i++) {
		*p++ = ' ';
		p = stpcpy(p, fields[i].key);
		*p++ = '=';
		p += put_value(p, &fields[i], room);
	}
	*p++ = '\n';
	if (is_shown(level))
		write_line(line, (size_t)(p - line));
	if (to_syslog && level <= LOG_LEVEL_INFO)
		syslog(levels[level].priority - '0', "%.*s", (int)(p - line - 1), line);
	errno = saved_errno;
}

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream, and is
 * inherited by those who were given another standard error. */
void
log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char mine[2 * NUM_TEXT_MAX];
	struct stat st;

	to_journal = to_syslog = false;
	if (stream == NULL || fstat(STDERR_FILENO, &st) == -1)
		return;
	(void)snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	to_journal = strcmp(mine, stream) == 0;
}

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, level, memory_order_relaxed);
}

void
log_of_command(const char *program)
{
	log_set_level(to_journal ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING);
	to_syslog = !to_journal;
	if (to_syslog)
		openlog(program, LOG_PID, LOG_MAIL);
}

int
log_parse_level(const char *text, enum log_level *level_r)
{
	size_t i;

	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*level_r = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

/* Minutes are counted from 1, so that zeroed state is a minute long past.  Two
 * threads that meet at a minute's turn may let one line more through. */
bool
log_permit(struct log_limit *state, unsigned per_minute, uint64_t *suppressed_r)
{
	const uint64_t now = clock_mono_ms() / 60000 + 1;
	uint64_t then = __atomic_load_n(&state->minute, __ATOMIC_RELAXED);

	*suppressed_r = 0;
	if (then != now && __atomic_compare_exchange_n(&state->minute, &then, now, false,
			       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&state->count, 0, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&state->count, 1, __ATOMIC_RELAXED) >= per_minute) {
		__atomic_fetch_add(&state->suppressed, 1, __ATOMIC_RELAXED);
		return false;
	}
	*suppressed_r = __atomic_exchange_n(&state->suppressed, 0, __ATOMIC_RELAXED);
	return true;
}
