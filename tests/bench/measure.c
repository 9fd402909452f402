/* measure - options, the clock, latencies: see measure.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "measure.h"

static void
set_option(const char *arg, const struct option_row *row, const char *value)
{
	char *end;

	if (row->text != NULL) {
		*row->text = value;
		return;
	}
	errno = 0;
	*row->number = strtoull(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0') {
		fprintf(stderr, "load: %s: this is no number\n", arg);
		exit(64);
	}
}

void
options_read(char **args, const struct option_row *rows, size_t n)
{
	for (; *args != NULL; args++) {
		const char *equals = strchr(*args, '=');
		size_t i;

		for (i = 0; equals != NULL && i < n; i++) {
			if (strlen(rows[i].name) == (size_t)(equals - *args) &&
			    strncmp(*args, rows[i].name, (size_t)(equals - *args)) == 0) {
				set_option(*args, &rows[i], equals + 1);
				break;
			}
		}
		if (equals == NULL || i == n) {
			fprintf(
			    stderr, "load: %s: there is no such option here; these are:", *args);
			for (i = 0; i < n; i++)
				fprintf(stderr, " %s=", rows[i].name);
			fprintf(stderr, "\n");
			exit(64);
		}
	}
}

void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

void
die_saying(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "load: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

void
times_add(struct times *t, uint64_t ns)
{
	if (t->n == t->room) {
		t->room = t->room == 0 ? 1024 : t->room * 2;
		t->ns = realloc(t->ns, t->room * sizeof(*t->ns));
		if (t->ns == NULL)
			die("memory for latencies");
	}
	t->ns[t->n++] = ns;
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void
times_print(struct times *t, const char *name)
{
	if (t->n > 0) {
		qsort(t->ns, t->n, sizeof(*t->ns), by_value);
		printf(" %s_p50_ms=%.4f %s_p99_ms=%.4f %s_worst_ms=%.4f", name,
		    (double)t->ns[t->n / 2] / 1e6, name, (double)t->ns[t->n * 99 / 100] / 1e6, name,
		    (double)t->ns[t->n - 1] / 1e6);
	}
	free(t->ns);
	*t = (struct times){ 0 };
}
