/*
 * thread - how each thread of ours begins.
 */
#include "base/thread.h"

#include <signal.h>

int
thread_start(pthread_t *thread_r, void *(*run)(void *), void *arg, const char *name)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(thread_r, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* Without the name all is well. */
	if (rc == 0)
		(void)pthread_setname_np(*thread_r, name);
	return rc;
}
