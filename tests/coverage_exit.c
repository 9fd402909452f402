/*
 * coverage_exit - counters are written also where a process ends by _exit(2), as children of tests do
 * when they play a power cut.  Linked into each program of `make coverage`.
 *
 * Who has given root up, or never was, cannot write counters beside root's.  libgcov would say so on
 * standard error, file by file, where tests read what the program says: so it is closed by then.
 * And where memory fails on purpose (tests/faults) libgcov, which would crash, has enough of it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/stat.h>
#include <unistd.h>

void __gcov_dump(void);
noreturn void __real__exit(int code);
noreturn void __wrap__exit(int code);

/* libgcov's own destructors have a lower priority, so they come later. */
__attribute__((destructor)) static void
before_dump(void)
{
	void (*fault_over)(void) = (void (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, "fault_over");
	struct stat program;

	if (fault_over != NULL)
		fault_over();
	if (stat("/proc/self/exe", &program) != 0 || program.st_uid != geteuid())
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
}

noreturn void
__wrap__exit(int code)
{
	before_dump();
	__gcov_dump();
	__real__exit(code);
}
