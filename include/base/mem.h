/*
 * mem - memory whose sizes are checked.
 *
 * Everything comes zeroed and goes back with free(3).  mem_* return NULL when
 * memory runs out, log that (event=no_memory), and the daemons treat it as an
 * ordinary error of one session; mem_must_* end the process with exit code 75
 * (EX_TEMPFAIL) and are for start-up and for pop-admin only.
 *
 * Thread: any.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* `n` objects of `size` octets; NULL also when the product does not fit. */
void *mem_array(size_t n, size_t size);

/* As realloc(3); new octets are not zeroed.  NULL with `old` as it was. */
void *mem_resize(void *old, size_t octets);

/* Makes room for at least `need` objects of `size` octets in the array at
 * *array, which holds *cap of them; grows at least by half so that appending
 * is linear.  New octets are zero.  0, or -1 with the array as it was. */
int mem_grow(void *array, size_t *cap, size_t need, size_t size);

/* A copy of `len` octets with a NUL behind them. */
void *mem_dup(const void *buf, size_t len);

/* How often that failed in this thread.  Who compares it before and after knows that what was wrong
 * meanwhile may only have been this. */
unsigned mem_failures(void);

void *mem_must_array(size_t n, size_t size);
char *mem_must_dup(const char *text);

/* Overwrites a secret; never optimised away. */
void mem_wipe(void *buf, size_t len);

/* Frees *p, which may hold NULL, and sets it to NULL: mem_free(&s->name). */
void mem_free(void *p);

#endif
