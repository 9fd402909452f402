/*
 * date - dates as RFC 5322 3.3 writes them.
 *
 * strftime() and strptime() have the names of days and months in the locale's language.
 *
 * What is read is taken apart into words first, comments left out; where a word may stand is the
 * forms' affair, what it means is common to both.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/num.h"
#include "mail/date.h"

/* The last day of the year 9999.  localtime_r() fails only where a year does not
 * fit an int, so up to here it does not. */
#define SECONDS_MAX UINT64_C(253402214400)

static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
	"Oct", "Nov", "Dec" };

static char *
put_word(char *p, const char word[4], char behind)
{
	memcpy(p, word, 3);
	p[3] = behind;
	return p + 4;
}

/* Two figures. */
static char *
put_pair(char *p, int n, char behind)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
	p[2] = behind;
	return p + 3;
}

const char *
date_format(char text[DATE_MAX], uint64_t unix_seconds)
{
	time_t t = (time_t)(unix_seconds < SECONDS_MAX ? unix_seconds : SECONDS_MAX);
	struct tm tm;
	int minutes;
	char *p;

	localtime_r(&t, &tm);
	minutes = (int)(tm.tm_gmtoff / 60);
	p = put_word(text, days[tm.tm_wday], ',');
	*p++ = ' ';
	p += num_format_u64(p, (uint64_t)tm.tm_mday);
	*p++ = ' ';
	p = put_word(p, months[tm.tm_mon], ' ');
	p = put_pair(p, (tm.tm_year + 1900) / 100, ' ') - 1;
	p = put_pair(p, (tm.tm_year + 1900) % 100, ' ');
	p = put_pair(p, tm.tm_hour, ':');
	p = put_pair(p, tm.tm_min, ':');
	p = put_pair(p, tm.tm_sec, ' ');
	*p++ = minutes < 0 ? '-' : '+';
	p = put_pair(p, abs(minutes) / 60, ' ') - 1;
	put_pair(p, abs(minutes) % 60, '\0');
	return text;
}

const char *
date_format_from(char text[DATE_MAX], uint64_t unix_seconds)
{
	time_t t = (time_t)(unix_seconds < SECONDS_MAX ? unix_seconds : SECONDS_MAX);
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(text, DATE_MAX, "%s %s %2d %02d:%02d:%02d %04d", days[tm.tm_wday],
	    months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
	return text;
}

/* --- reading -------------------------------------------------------------- */

/* No word of a date is longer, and no date has more of them. */
#define WORD_MAX 15
#define WORDS 10

struct words {
	char list[WORDS][WORD_MAX + 1];
	size_t n;
};

struct moment {
	uint64_t year, month, day, hour, minute, second;
	int64_t offset_s; /* what is to be taken off for UTC */
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Behind a comment that begins at `i`; they nest, and a backslash takes the meaning from what
 * follows it (RFC 5322 3.2.2). */
static size_t
skip_comment(const char *text, size_t len, size_t i)
{
	size_t depth = 0;

	for (; i < len; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == '(')
			depth++;
		else if (text[i] == ')' && --depth == 0)
			return i + 1;
	}
	return len;
}

/* The first words; a comma stands for a blank.  What is beyond them, or too long, is cut off. */
static void
split(const char *text, size_t len, struct words *w)
{
	size_t i = 0;

	w->n = 0;
	while (w->n < WORDS) {
		size_t start, n;

		while (i < len && (is_blank(text[i]) || text[i] == ',' || text[i] == '('))
			i = text[i] == '(' ? skip_comment(text, len, i) : i + 1;
		start = i;
		while (i < len && !is_blank(text[i]) && text[i] != ',' && text[i] != '(')
			i++;
		n = i - start;
		if (n == 0 || n > WORD_MAX || memchr(text + start, '\0', n) != NULL)
			return;
		memcpy(w->list[w->n], text + start, n);
		w->list[w->n++][n] = '\0';
	}
}

/* Its place among `n` names, which the first three letters tell; n for none. */
static size_t
find_name(const char *word, const char names[][4], size_t n)
{
	size_t i = 0;

	while (i < n && strncasecmp(word, names[i], 3) != 0)
		i++;
	return i;
}

static int
read_month(const char *word, struct moment *m)
{
	size_t i = find_name(word, months, 12);

	m->month = i + 1;
	return i < 12 ? 0 : -1;
}

static int
read_day(const char *word, struct moment *m)
{
	return strlen(word) <= 2 ? num_parse_u64(word, strlen(word), 1, 31, &m->day) : -1;
}

/* RFC 5322 4.3: two digits below 50 are of this century, other two and three add 1900. */
static int
read_year(const char *word, struct moment *m)
{
	size_t len = strlen(word);

	if (len < 2 || len > 4 || num_parse_u64(word, len, 0, 9999, &m->year) != 0)
		return -1;
	if (len < 4)
		m->year += len == 2 && m->year < 50 ? 2000 : 1900;
	return 0;
}

/* "3:11", "03:11:17" */
static int
read_time(const char *word, struct moment *m)
{
	uint64_t *const fields[] = { &m->hour, &m->minute, &m->second };
	static const uint64_t most[] = { 23, 59, 60 };
	size_t n = 0;

	m->second = 0;
	for (;;) {
		size_t len = strcspn(word, ":");

		if (n == 3 || len == 0 || len > 2 ||
		    num_parse_u64(word, len, 0, most[n], fields[n]) != 0)
			return -1;
		n++;
		if (word[len] == '\0')
			return n >= 2 ? 0 : -1;
		word += len + 1;
	}
}

/* RFC 5322 4.3; the military letters are as -0000. */
static int
read_zone(const char *word, struct moment *m)
{
	static const struct {
		const char *name;
		int hours;
	} zones[] = { { "UT", 0 }, { "UTC", 0 }, { "GMT", 0 }, { "EST", -5 }, { "EDT", -4 },
		{ "CST", -6 }, { "CDT", -5 }, { "MST", -7 }, { "MDT", -6 }, { "PST", -8 },
		{ "PDT", -7 }, { "WET", 0 }, { "WEST", 1 }, { "BST", 1 }, { "MET", 1 },
		{ "CET", 1 }, { "MEST", 2 }, { "CEST", 2 }, { "EET", 2 }, { "EEST", 3 },
		{ "MSK", 3 }, { "JST", 9 } };
	uint64_t hhmm;
	size_t len = strlen(word);

	m->offset_s = 0;
	if ((word[0] == '+' || word[0] == '-') && len == 5) {
		if (num_parse_u64(word + 1, 4, 0, 9959, &hhmm) != 0 || hhmm % 100 > 59)
			return -1;
		m->offset_s = (int64_t)(hhmm / 100 * 3600 + hhmm % 100 * 60);
		if (word[0] == '-')
			m->offset_s = -m->offset_s;
		return 0;
	}
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if (strcasecmp(word, zones[i].name) == 0) {
			m->offset_s = zones[i].hours * 3600;
			return 0;
		}
	return len == 1 && ((word[0] | 0x20) >= 'a' && (word[0] | 0x20) <= 'z') ? 0 : -1;
}

static int
to_seconds(const struct moment *m, uint64_t *unix_seconds_r)
{
	struct tm tm = {
		.tm_year = (int)m->year - 1900,
		.tm_mon = (int)m->month - 1,
		.tm_mday = (int)m->day,
		.tm_hour = (int)m->hour,
		.tm_min = (int)m->minute,
	};
	time_t t;

	if (m->year < 1970)
		return -1;
	t = timegm(&tm);
	/* The thirty-first of February is no day.  A leap second is in the next minute. */
	if (t == -1 || tm.tm_mday != (int)m->day)
		return -1;
	t += (time_t)m->second - m->offset_s;
	if (t < 0)
		return -1;
	*unix_seconds_r = (uint64_t)t;
	return 0;
}

int
date_parse(const char *text, size_t len, uint64_t *unix_seconds_r)
{
	struct moment m = { .year = 0 };
	struct words w;
	size_t i = 0;

	split(text, len, &w);
	if (w.n > 0 && find_name(w.list[0], days, 7) < 7)
		i = 1;
	if (w.n < i + 4 || read_day(w.list[i], &m) != 0 || read_month(w.list[i + 1], &m) != 0 ||
	    read_year(w.list[i + 2], &m) != 0 || read_time(w.list[i + 3], &m) != 0)
		return -1;
	/* A zone that nobody knows is as good as none (RFC 5322 4.3). */
	if (w.n > i + 4 && read_zone(w.list[i + 4], &m) != 0)
		m.offset_s = 0;
	return to_seconds(&m, unix_seconds_r);
}

int
date_parse_from(const char *text, size_t len, uint64_t *unix_seconds_r)
{
	struct moment m = { .year = 0 };
	struct words w;
	size_t i = 4;

	split(text, len, &w);
	if (w.n < 5 || strlen(w.list[0]) != 3 || find_name(w.list[0], days, 7) == 7 ||
	    strlen(w.list[1]) != 3 || read_month(w.list[1], &m) != 0 ||
	    read_day(w.list[2], &m) != 0 || read_time(w.list[3], &m) != 0)
		return -1;
	/* A zone before the year, or behind it. */
	if (w.n > 5 && read_year(w.list[4], &m) != 0 && read_zone(w.list[4], &m) == 0)
		i = 5;
	else if (w.n > 5 && read_zone(w.list[5], &m) != 0 && strcmp(w.list[5], "remote") != 0)
		return -1;
	if (read_year(w.list[i], &m) != 0)
		return -1;
	return to_seconds(&m, unix_seconds_r);
}
