/* thread: what a thread begins with. */
#include <check.h>
#include <semaphore.h>
#include <signal.h>

#include "base/thread.h"

static sigset_t blocked;
static sem_t looked_at;

static void *
look(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	return arg;
}

static void *
wait_for_look(void *arg)
{
	sem_wait(&looked_at);
	return arg;
}

/* None of main's signals, but what its own reading of mapped memory may raise; main's stay. */
START_TEST(takes_no_signals)
{
	sigset_t before, after;
	pthread_t thread;
	void *result;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	ck_assert_int_eq(thread_start(&thread, look, &blocked, "looker"), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, &blocked);
	for (int signo = 1; signo < 32; signo++)
		if (signo != SIGKILL && signo != SIGSTOP)
			ck_assert_int_eq(sigismember(&blocked, signo), signo != SIGBUS);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int signo = 1; signo < 32; signo++)
		ck_assert_int_eq(sigismember(&after, signo), sigismember(&before, signo));
}
END_TEST

/* One that is too long is left out. */
START_TEST(is_named)
{
	static const char *const names[] = { "looker", "a name that is too long" };
	char own[THREAD_NAME_MAX], name[THREAD_NAME_MAX];
	pthread_t thread;

	pthread_getname_np(pthread_self(), own, sizeof(own));
	sem_init(&looked_at, 0, 0);
	ck_assert_int_eq(thread_start(&thread, wait_for_look, NULL, names[_i]), 0);
	ck_assert_int_eq(pthread_getname_np(thread, name, sizeof(name)), 0);
	ck_assert_str_eq(name, _i == 0 ? names[0] : own);
	sem_post(&looked_at);
	pthread_join(thread, NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("thread");
	TCase *tc = tcase_create("thread");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, takes_no_signals);
	tcase_add_loop_test(tc, is_named, 0, 2);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
