/*
 * thread - how each thread of ours begins.
 *
 * It takes no signals, which are for main, but SIGBUS: that one is raised by what the thread itself
 * does, and blocked it would end the process before anybody could say why.
 *
 * Thread: any.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* A name that the kernel takes, with its NUL; a longer one is left out. */
#define THREAD_NAME_MAX 16

/* Starts run(arg) under a name for people with top(1).  0, or an errno. */
int thread_start(pthread_t *thread_r, void *(*run)(void *), void *arg, const char *name);

#endif
