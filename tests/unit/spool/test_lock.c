/*
 * Locks inside a process and between processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "common/spool/disk.h"
#include "common/spool/lock.h"
#include "delivery_test.h"

static struct locks one, two;
static int dir_fd;

static void
setup(void)
{
	spool_test_make();
	dir_fd = open(spool_test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(locks_open(&one, &disk_real, dir_fd), 0);
	/* Another description: to the kernel, another process. */
	ck_assert_int_eq(locks_open(&two, &disk_real, dir_fd), 0);
}

static void
teardown(void)
{
	locks_close(&one);
	locks_close(&two);
	close(dir_fd);
	spool_test_remove();
}

START_TEST(maildrop_is_exclusive)
{
	struct lock_maildrop *a, *b, *c;
	char who[LOCK_WHO_MAX];
	uint64_t since;

	clock_set(5000, 1700000000000);
	ck_assert_int_eq(lock_maildrop(&one, 300, "203.0.113.9", &a), SPOOL_OK);
	/* One description would be granted it twice. */
	ck_assert_int_eq(lock_maildrop(&one, 300, "::1", &b), SPOOL_BUSY);
	ck_assert_ptr_null(b);
	ck_assert_int_eq(lock_maildrop(&two, 300, "::1", &b), SPOOL_BUSY);
	/* Neighbours: in the same file, and in the next. */
	ck_assert_int_eq(lock_maildrop(&two, 300 + 256, "::1", &b), SPOOL_OK);
	ck_assert_int_eq(lock_maildrop(&two, 301, "::1", &c), SPOOL_OK);
	lock_maildrop_release(&two, &b);
	ck_assert_ptr_null(b);
	lock_maildrop_release(&two, &b);
	lock_maildrop_release(&two, &c);

	ck_assert(lock_maildrop_holder(&one, 300, who, &since));
	ck_assert_str_eq(who, "203.0.113.9");
	ck_assert_uint_eq(since, 1700000000000);
	ck_assert(!lock_maildrop_holder(&two, 300, who, &since));
	ck_assert(!lock_maildrop_holder(&one, 301, who, &since));
	lock_maildrop_release(&one, &a);
	ck_assert(!lock_maildrop_holder(&one, 300, who, &since));
	ck_assert_int_eq(lock_maildrop(&two, 300, "::1", &b), SPOOL_OK);
	ck_assert_int_eq(lock_maildrop(&one, 300, "::1", &a), SPOOL_BUSY);
	lock_maildrop_release(&two, &b);
	clock_set(0, 0);
}
END_TEST

START_TEST(refused_leaves_nothing)
{
	struct lock_maildrop *a, *b;

	ck_assert_int_eq(lock_maildrop(&one, 7, "a", &a), SPOOL_OK);
	ck_assert_int_eq(lock_maildrop(&two, 7, "b", &b), SPOOL_BUSY);
	lock_maildrop_release(&one, &a);
	ck_assert_int_eq(lock_maildrop(&two, 7, "b", &b), SPOOL_OK);
	lock_maildrop_release(&two, &b);
}
END_TEST

START_TEST(long_names_are_cut)
{
	char name[3 * LOCK_WHO_MAX], who[LOCK_WHO_MAX];
	struct lock_maildrop *a;
	uint64_t since;

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(lock_maildrop(&one, 7, name, &a), SPOOL_OK);
	ck_assert(lock_maildrop_holder(&one, 7, who, &since));
	ck_assert_uint_eq(strlen(who), LOCK_WHO_MAX - 1);
	lock_maildrop_release(&one, &a);
}
END_TEST

/* The kernel gives back what a process held, however it ended. */
START_TEST(ends_with_the_process)
{
	struct lock_maildrop *a;
	int ready[2], status;
	char octet;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct locks mine;

		if (locks_open(&mine, &disk_real, dir_fd) != 0 ||
		    lock_maildrop(&mine, 9, "child", &a) != SPOOL_OK || lock_writer(&mine) != 0 ||
		    lock_role_try(&mine, LOCK_JANITOR, false) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(ready[0], &octet, 1), 1);
	ck_assert_int_eq(lock_maildrop(&one, 9, "parent", &a), SPOOL_BUSY);
	ck_assert_int_eq(lock_role_try(&one, LOCK_JANITOR, false), 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	/* Waits for the writer's lock until the kernel has it. */
	ck_assert_int_eq(lock_writer(&one), 0);
	lock_writer_release(&one);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(lock_maildrop(&one, 9, "parent", &a), SPOOL_OK);
	lock_maildrop_release(&one, &a);
	ck_assert_int_eq(lock_role_try(&one, LOCK_JANITOR, false), 0);
	close(ready[0]);
	close(ready[1]);
}
END_TEST

START_TEST(roles)
{
	ck_assert_int_eq(lock_role_try(&one, LOCK_OPEN, false), 0);
	ck_assert_int_eq(lock_role_try(&two, LOCK_OPEN, false), 1);
	ck_assert_int_eq(lock_role_try(&two, LOCK_OPEN, true), 1);
	/* Each byte is a lock of its own. */
	ck_assert_int_eq(lock_role_try(&two, LOCK_RECOVERY, false), 0);
	ck_assert_int_eq(lock_role_try(&one, LOCK_OPEN, true), 0);
	ck_assert_int_eq(lock_role_try(&two, LOCK_OPEN, true), 0);
	ck_assert_int_eq(lock_role_try(&one, LOCK_OPEN, false), 1);
	ck_assert_int_eq(lock_role_release(&two, LOCK_OPEN), 0);
	ck_assert_int_eq(lock_role_try(&one, LOCK_OPEN, false), 0);
}
END_TEST

START_TEST(segments)
{
	char path[300];
	int a, b;

	snprintf(path, sizeof(path), "%s/segments/1", spool_test_dir);
	a = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	b = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(lock_segment(a), 0);
	ck_assert_int_eq(lock_segment(b), 1);
	close(a);
	ck_assert_int_eq(lock_segment(b), 0);
	close(b);
}
END_TEST

START_TEST(missing_files)
{
	struct lock_maildrop *a, *b;
	struct locks none;
	char path[300];

	snprintf(path, sizeof(path), "%s/locks/5", spool_test_dir);
	ck_assert_int_eq(unlink(path), 0);
	/* There is nothing in it: it is made again, and is as good for others. */
	ck_assert_int_eq(lock_maildrop(&one, 5, "a", &a), SPOOL_OK);
	ck_assert_int_eq(lock_maildrop(&two, 5, "b", &b), SPOOL_BUSY);
	lock_maildrop_release(&one, &a);
	ck_assert_int_eq(lock_maildrop(&two, 5, "b", &b), SPOOL_OK);
	lock_maildrop_release(&two, &b);
	snprintf(path, sizeof(path), "%s/locks/writer", spool_test_dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(locks_open(&none, &disk_real, dir_fd), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* --- turns ---------------------------------------------------------------- */

#define THREADS 4
#define TURNS 200

static unsigned inside, turns[THREADS];

static void *
take_turns(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg;

	for (unsigned i = 0; i < TURNS; i++) {
		if (lock_writer(me % 2 == 0 ? &one : &two) != 0)
			return arg;
		/* Guarded by nothing but the lock: the thread sanitizer looks on. */
		__atomic_fetch_add(&inside, 1, __ATOMIC_RELAXED);
		if (__atomic_load_n(&inside, __ATOMIC_RELAXED) != 1)
			abort();
		turns[me]++;
		__atomic_fetch_sub(&inside, 1, __ATOMIC_RELAXED);
		lock_writer_release(me % 2 == 0 ? &one : &two);
	}
	return NULL;
}

START_TEST(writer_is_one)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, take_turns, (void *)(uintptr_t)i), 0);
	for (size_t i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_uint_eq(turns[i], TURNS);
	}
}
END_TEST

/* As long as a small transaction. */
#define HOLD_US 200
#define SHARED_TURNS 300

/* Two processes that want nothing but the lock: while this one has its turns, the other has
 * about as many.  With the writer's byte alone, who gives it back often has it again before
 * who waits has woken up: twice as many were seen. */
START_TEST(processes_take_turns)
{
	atomic_uint *shared =
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned before, had;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct locks mine;

		if (locks_open(&mine, &disk_real, dir_fd) != 0)
			_exit(1);
		while (atomic_load(&shared[1]) == 0) {
			if (lock_writer(&mine) != 0)
				_exit(1);
			atomic_fetch_add(&shared[0], 1);
			usleep(HOLD_US);
			lock_writer_release(&mine);
		}
		_exit(0);
	}
	while (atomic_load(&shared[0]) == 0)
		usleep(100);
	before = atomic_load(&shared[0]);
	for (unsigned i = 0; i < SHARED_TURNS; i++) {
		ck_assert_int_eq(lock_writer(&one), 0);
		usleep(HOLD_US);
		lock_writer_release(&one);
	}
	had = atomic_load(&shared[0]) - before;
	atomic_store(&shared[1], 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_msg(had >= SHARED_TURNS * 2 / 3 && had <= SHARED_TURNS * 3 / 2,
	    "the other had %u turns while this one had %d", had, SHARED_TURNS);
	munmap(shared, 4096);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lock");
	TCase *tc = tcase_create("lock");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, maildrop_is_exclusive);
	tcase_add_test(tc, refused_leaves_nothing);
	tcase_add_test(tc, long_names_are_cut);
	tcase_add_test(tc, ends_with_the_process);
	tcase_add_test(tc, roles);
	tcase_add_test(tc, segments);
	tcase_add_test(tc, missing_files);
	tcase_add_test(tc, writer_is_one);
	tcase_add_test(tc, processes_take_turns);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
