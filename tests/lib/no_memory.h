/*
 * For tests that ask for more memory than there is: under a sanitizer, malloc(3)
 * then answers NULL as it does without, and does not end the process.
 */
#ifndef TESTS_LIB_NO_MEMORY_H
#define TESTS_LIB_NO_MEMORY_H

const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *
__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

#endif
