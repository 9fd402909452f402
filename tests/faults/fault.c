/*
 * fault - preloaded into a program that is to be tested: the n-th call of a kind fails.
 *
 * FAULT_FILE names a file of sizeof(struct control) zeros, which is mapped and shared with the test: it
 * arms a fault, reads the counts, and disarms, while the program runs.  Without it nothing is counted
 * for anybody, and nothing fails.
 *
 * What is counted are the calls of the program and of its libraries that go through the dynamic
 * linker: of memory, SQLite's and OpenSSL's too; of files, SQLite's too.  Of SQLite's own functions
 * only those that the program calls: among themselves they must be able to believe each other.  A
 * call that fails is not made.  Only calls on files count as reads and writes: a log line is never
 * lost, and sockets are the peers' business.
 *
 * tests/lib/faults.py knows struct control and the order of the kinds.
 *
 * Thread: any.
 */
/* Its macros stand in the way of what is defined here. */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
	NONE,
	ALLOC,
	MAP,
	OPEN,
	READ,
	WRITE,
	SYNC,
	SIZE,
	NAME,
	LOCK,
	ACCEPT,
	EPOLL,
	THREAD,
	STEP,
	STMT,
	KINDS
};

#define WHERE_MAX 2048
#define FRAMES 24

/* All 4 octets wide, but for the text. */
struct control {
	_Atomic uint32_t kind;  /* what is to fail; NONE: nothing.  Set last */
	_Atomic uint32_t after; /* so many calls of it succeed before */
	_Atomic uint32_t stuck; /* 1: all that follow fail too */
	_Atomic int32_t code;   /* an errno, or SQLite's code */
	_Atomic uint32_t fired; /* how many failed */
	_Atomic uint32_t counts[KINDS];
	/* Of the first that failed: MODULE+OFFSET, a line each, innermost first. */
	char where[WHERE_MAX];
};

static struct control unmapped;
static struct control *control = &unmapped;

/* Where the program itself lies, without its libraries. */
static uintptr_t program_begin, program_end;

/* The library's or the kernel's own function.  Asking for it allocates nothing. */
#define REAL(name)                                                                                 \
	static __typeof__(&name) real;                                                             \
	if (real == NULL)                                                                          \
	real = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name)

/* --- whether this one fails ------------------------------------------------- */

/* backtrace(3) may allocate. */
static _Thread_local bool busy __attribute__((tls_model("initial-exec")));

/* The thread runs what the program wrote: before that a sanitizer sets it up, and must be able to. */
static _Thread_local bool runs __attribute__((tls_model("initial-exec")));

static void
note_where(void)
{
	void *frames[FRAMES];
	size_t used = 0;
	Dl_info info;
	int n;

	n = backtrace(frames, FRAMES);
	for (int i = 2; i < n && used < WHERE_MAX; i++) {
		if (dladdr(frames[i], &info) == 0 || info.dli_fname == NULL)
			continue;
		used += (size_t)snprintf(control->where + used, WHERE_MAX - used, "%s+%#zx\n",
		    info.dli_fname, (size_t)((char *)frames[i] - (char *)info.dli_fbase - 1));
	}
}

/* True when the call is to fail; *code_r says how. */
static bool
fails(enum kind kind, int *code_r)
{
	uint32_t before;

	if (busy || !runs)
		return false;
	before = atomic_fetch_add(&control->counts[kind], 1);
	if (atomic_load(&control->kind) != kind || before < atomic_load(&control->after) ||
	    (before > atomic_load(&control->after) && atomic_load(&control->stuck) == 0))
		return false;
	busy = true;
	if (atomic_fetch_add(&control->fired, 1) == 0)
		note_where();
	busy = false;
	*code_r = atomic_load(&control->code);
	return true;
}

/* The same of a system call: with errno. */
static bool
fails_errno(enum kind kind)
{
	int code;

	if (!fails(kind, &code))
		return false;
	errno = code;
	return true;
}

#define fails_program(kind, code_r) (is_program(__builtin_return_address(0)) && fails(kind, code_r))

/* Whether this return address is the program's. */
static bool
is_program(const void *caller)
{
	return (uintptr_t)caller >= program_begin && (uintptr_t)caller < program_end;
}

static bool
is_file(int fd)
{
	const int saved = errno;
	struct stat st;
	bool file = fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	errno = saved;
	return file;
}

/* The first that is told is the program. */
static int
find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	program_begin = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD)
			continue;
		program_begin = at < program_begin ? at : program_begin;
		program_end = at + p->p_memsz > program_end ? at + p->p_memsz : program_end;
	}
	return 1;
}

/* Where the address sanitizer is. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("FAULT_FILE");
	void *frames[1];
	void *at;
	int fd;

	if (path == NULL)
		return;
	runs = true;
	dl_iterate_phdr(find_program, NULL);
	/* Loads what it needs, of which the linker keeps some octets: no leak of the program's. */
	if (__lsan_disable != NULL)
		__lsan_disable();
	(void)backtrace(frames, 1);
	if (__lsan_enable != NULL)
		__lsan_enable();
	fd = open(path, O_RDWR | O_CLOEXEC);
	at = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd == -1 || at == MAP_FAILED)
		abort();
	close(fd);
	control = at;
	for (int i = 0; i < KINDS; i++)
		atomic_store(&control->counts[i], 0);
}

/* From now on nothing fails on this thread: what follows is no part of the program (coverage_exit.c). */
void fault_over(void);

void
fault_over(void)
{
	runs = false;
}

/* --- memory ---------------------------------------------------------------- */

void *
malloc(size_t size)
{
	REAL(malloc);
	return fails_errno(ALLOC) ? NULL : real(size);
}

void *
calloc(size_t n, size_t size)
{
	REAL(calloc);
	return fails_errno(ALLOC) ? NULL : real(n, size);
}

void *
realloc(void *old, size_t size)
{
	REAL(realloc);
	return fails_errno(ALLOC) ? NULL : real(old, size);
}

void *
mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
{
	REAL(mmap64);
	return is_file(fd) && fails_errno(MAP) ? MAP_FAILED
	                                       : real(addr, len, prot, flags, fd, offset);
}

/* --- descriptors ------------------------------------------------------------ */

static mode_t
mode_of(int flags, va_list args)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(args, int) : 0;
}

#define OPENING(name)                                                                              \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		REAL(name);                                                                        \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		mode_t mode = mode_of(flags, args);                                                \
		va_end(args);                                                                      \
		return fails_errno(OPEN) ? -1 : real(path, flags, mode);                           \
	}
OPENING(open)
OPENING(open64)

#define OPENING_AT(name)                                                                           \
	int name(int dir, const char *path, int flags, ...)                                        \
	{                                                                                          \
		REAL(name);                                                                        \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		mode_t mode = mode_of(flags, args);                                                \
		va_end(args);                                                                      \
		return fails_errno(OPEN) ? -1 : real(dir, path, flags, mode);                      \
	}
OPENING_AT(openat)
OPENING_AT(openat64)

FILE *
fopen(const char *path, const char *mode)
{
	REAL(fopen);
	return fails_errno(OPEN) ? NULL : real(path, mode);
}

int
socket(int domain, int type, int protocol)
{
	REAL(socket);
	return fails_errno(OPEN) ? -1 : real(domain, type, protocol);
}

int
eventfd(unsigned count, int flags)
{
	REAL(eventfd);
	return fails_errno(OPEN) ? -1 : real(count, flags);
}

int
signalfd(int fd, const sigset_t *mask, int flags)
{
	REAL(signalfd);
	return fails_errno(OPEN) ? -1 : real(fd, mask, flags);
}

int
epoll_create1(int flags)
{
	REAL(epoll_create1);
	return fails_errno(OPEN) ? -1 : real(flags);
}

int
accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	REAL(accept4);
	return fails_errno(ACCEPT) ? -1 : real(fd, addr, len, flags);
}

/* Nobody expects that taking a descriptor out fails. */
int
epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);
	return op != EPOLL_CTL_DEL && fails_errno(EPOLL) ? -1 : real(epfd, op, fd, event);
}

/* --- files ----------------------------------------------------------------- */

ssize_t
read(int fd, void *buf, size_t len)
{
	REAL(read);
	return is_file(fd) && fails_errno(READ) ? -1 : real(fd, buf, len);
}

#define READING(name, type)                                                                        \
	ssize_t name(int fd, void *buf, size_t len, type offset)                                   \
	{                                                                                          \
		REAL(name);                                                                        \
		return is_file(fd) && fails_errno(READ) ? -1 : real(fd, buf, len, offset);         \
	}
READING(pread, off_t)
READING(pread64, off64_t)

ssize_t
preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	REAL(preadv2);
	return is_file(fd) && fails_errno(READ) ? -1 : real(fd, iov, n, offset, flags);
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	REAL(write);
	return is_file(fd) && fails_errno(WRITE) ? -1 : real(fd, buf, len);
}

#define WRITING(name, type)                                                                        \
	ssize_t name(int fd, const void *buf, size_t len, type offset)                             \
	{                                                                                          \
		REAL(name);                                                                        \
		return is_file(fd) && fails_errno(WRITE) ? -1 : real(fd, buf, len, offset);        \
	}
WRITING(pwrite, off_t)
WRITING(pwrite64, off64_t)

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	REAL(pwritev);
	return fails_errno(WRITE) ? -1 : real(fd, iov, n, offset);
}

int
fdatasync(int fd)
{
	REAL(fdatasync);
	return fails_errno(SYNC) ? -1 : real(fd);
}

int
fsync(int fd)
{
	REAL(fsync);
	return fails_errno(SYNC) ? -1 : real(fd);
}

int
sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
	REAL(sync_file_range);
	return fails_errno(SYNC) ? -1 : real(fd, offset, len, flags);
}

int
ftruncate(int fd, off_t len)
{
	REAL(ftruncate);
	return fails_errno(SIZE) ? -1 : real(fd, len);
}

int
ftruncate64(int fd, off64_t len)
{
	REAL(ftruncate64);
	return fails_errno(SIZE) ? -1 : real(fd, len);
}

int
fallocate(int fd, int mode, off_t offset, off_t len)
{
	REAL(fallocate);
	return fails_errno(SIZE) ? -1 : real(fd, mode, offset, len);
}

int
mkdirat(int dir, const char *path, mode_t mode)
{
	REAL(mkdirat);
	return fails_errno(NAME) ? -1 : real(dir, path, mode);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	REAL(linkat);
	return fails_errno(NAME) ? -1 : real(from_dir, from, to_dir, to, flags);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	REAL(renameat2);
	return fails_errno(NAME) ? -1 : real(from_dir, from, to_dir, to, flags);
}

int
unlinkat(int dir, const char *path, int flags)
{
	REAL(unlinkat);
	return fails_errno(NAME) ? -1 : real(dir, path, flags);
}

/* Whether fcntl(2) asks for a lock; giving one back does not fail. */
static bool
is_locking(int cmd, const void *arg)
{
	switch (cmd) {
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return ((const struct flock *)arg)->l_type != F_UNLCK;
	default:
		return false;
	}
}

#define CONTROLLING(name)                                                                          \
	int name(int fd, int cmd, ...)                                                             \
	{                                                                                          \
		REAL(name);                                                                        \
		va_list args;                                                                      \
		va_start(args, cmd);                                                               \
		void *arg = va_arg(args, void *);                                                  \
		va_end(args);                                                                      \
		return is_locking(cmd, arg) && fails_errno(LOCK) ? -1 : real(fd, cmd, arg);        \
	}
CONTROLLING(fcntl)
CONTROLLING(fcntl64)

/* --- threads, SQLite -------------------------------------------------------- */

struct thread {
	void *(*run)(void *);
	void *arg;
};

static void *
run_thread(void *arg)
{
	struct thread t = *(struct thread *)arg;

	free(arg);
	runs = true;
	return t.run(t.arg);
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	REAL(pthread_create);
	struct thread *t;
	int code;

	if (fails(THREAD, &code))
		return code;
	busy = true;
	t = malloc(sizeof(*t));
	busy = false;
	if (t == NULL)
		return EAGAIN;
	*t = (struct thread){ run, arg };
	code = real(thread, attr, run_thread, t);
	if (code != 0)
		free(t);
	return code;
}

/* ROLLBACK fails only where there is nothing to end. */
int
sqlite3_step(sqlite3_stmt *stmt)
{
	REAL(sqlite3_step);
	const char *sql = sqlite3_sql(stmt);
	int code;

	if (sql != NULL && strcmp(sql, "ROLLBACK") == 0)
		return real(stmt);
	return fails_program(STEP, &code) ? code : real(stmt);
}

int
sqlite3_prepare_v3(sqlite3 *db, const char *sql, int len, unsigned flags, sqlite3_stmt **stmt_r,
    const char **rest_r)
{
	REAL(sqlite3_prepare_v3);
	int code;

	if (!fails_program(STMT, &code))
		return real(db, sql, len, flags, stmt_r, rest_r);
	*stmt_r = NULL;
	return code;
}

int
sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *arg,
    char **err_r)
{
	REAL(sqlite3_exec);
	int code;

	if (!fails_program(STMT, &code))
		return real(db, sql, row, arg, err_r);
	if (err_r != NULL)
		*err_r = NULL;
	return code;
}

/* The handle is there even so, and is to be closed. */
int
sqlite3_open_v2(const char *path, sqlite3 **db_r, int flags, const char *vfs)
{
	REAL(sqlite3_open_v2);
	int code, rc = real(path, db_r, flags, vfs);

	return fails_program(STMT, &code) ? code : rc;
}

int
sqlite3_wal_checkpoint_v2(sqlite3 *db, const char *name, int mode, int *frames_r, int *moved_r)
{
	REAL(sqlite3_wal_checkpoint_v2);
	int code;

	return fails_program(STMT, &code) ? code : real(db, name, mode, frames_r, moved_r);
}
