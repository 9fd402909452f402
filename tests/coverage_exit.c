/*
 * coverage_exit - counters are written also where a process ends by _exit(2), as children of tests do
 * when they play a power cut.  Linked into each program of `make coverage`.
 */
#include <stdnoreturn.h>

void __gcov_dump(void);
noreturn void __real__exit(int code);
noreturn void __wrap__exit(int code);

noreturn void
__wrap__exit(int code)
{
	__gcov_dump();
	__real__exit(code);
}
