/*
 * mem - memory whose sizes are checked.
 *
 * A pointer to a pointer comes in as void *, so that any type of pointer may be
 * meant; it is read and written by memcpy, which no aliasing rule forbids.
 */
#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"

static _Thread_local unsigned failures;

/* Names the failure where it arises: whoever is put off by it is told no more than that.  An
 * impossible size is as good as none. */
static void *
had(void *p, size_t octets)
{
	if (p == NULL) {
		failures++;
		log_event(LOG_LEVEL_ERROR, "no_memory", log_num("octets", octets),
		    log_text("advice", "give the process more memory"));
	}
	return p;
}

unsigned
mem_failures(void)
{
	return failures;
}

static size_t
product(size_t n, size_t size)
{
	return size != 0 && n > SIZE_MAX / size ? SIZE_MAX : n * size;
}

/* calloc(3) may answer NULL for nothing at all; here NULL means failure only. */
void *
mem_array(size_t n, size_t size)
{
	if (n == 0 || size == 0)
		n = size = 1;
	return had(calloc(n, size), product(n, size));
}

void *
mem_resize(void *old, size_t octets)
{
	return had(realloc(old, octets), octets);
}

/* The array at *array, moved to where there is room; NULL, and nothing moved, without. */
static void *
grown(void *array, size_t n, size_t size)
{
	void *old, *new;

	memcpy(&old, array, sizeof(old));
	new = reallocarray(old, n, size);
	if (new != NULL)
		memcpy(array, &new, sizeof(new));
	return new;
}

int
mem_grow(void *array, size_t *cap, size_t need, size_t size)
{
	size_t more = *cap + *cap / 2;
	char *list;

	if (need <= *cap)
		return 0;
	if (more < need)
		more = need;
	list = grown(array, more, size);
	if (list == NULL && more > need) {
		more = need;
		list = grown(array, more, size);
	}
	if (had(list, product(need, size)) == NULL)
		return -1;
	memset(list + *cap * size, 0, (more - *cap) * size);
	*cap = more;
	return 0;
}

void *
mem_dup(const void *buf, size_t len)
{
	char *copy;

	if (len == SIZE_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	copy = had(malloc(len + 1), len + 1);
	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, buf, len);
	copy[len] = '\0';
	return copy;
}

static void *
must(void *p)
{
	if (p == NULL)
		exit(EX_TEMPFAIL);
	return p;
}

void *
mem_must_array(size_t n, size_t size)
{
	return must(mem_array(n, size));
}

char *
mem_must_dup(const char *text)
{
	return must(mem_dup(text, strlen(text)));
}

void
mem_wipe(void *buf, size_t len)
{
	if (len > 0)
		explicit_bzero(buf, len);
}

void
mem_free(void *p)
{
	void *const null = NULL;
	void *old;

	memcpy(&old, p, sizeof(old));
	free(old);
	memcpy(p, &null, sizeof(null));
}
