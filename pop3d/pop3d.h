/*
 * pop3d - the program's state between its hooks: the configuration in force, the spool,
 * and the pools for what blocks.  All sessions share it.
 *
 * Private to pop3d/.  Thread: hooks as net/server.h says; sessions read what stands above
 * `lock`.
 */
#ifndef POP3D_POP3D_H
#define POP3D_POP3D_H

#include <pthread.h>

#include "conf/config.h"
#include "net/jobs.h"
#include "net/peers.h"
#include "net/server.h"
#include "pop3_delay.h"
#include "spool/spool.h"

/* A password costs a processor for tens of milliseconds; a maildrop waits for the disk. */
#define POP3D_HASH_THREADS 2
#define POP3D_DISK_THREADS 4

struct pop3d {
	struct config *first;           /* a reference: what a restart alone changes is its */
	struct server_listen *listen;   /* owned; made from `first` */
	size_t nlisten;
	/* Between open and close: */
	struct spool *spool;            /* owned */
	struct jobs *hash_jobs;         /* owned */
	struct jobs *disk_jobs;         /* owned */
	struct pop3_delay *delay;       /* owned */
	struct peers *peers;            /* borrowed */

	pthread_mutex_t lock;           /* guards `config` */
	struct config *config;          /* a reference: the one that new sessions get */
	uint64_t stamps;                /* atomic: greetings with a stamp so far */
};

/* The hooks, their `arg` being a zeroed struct pop3d with its mutex initialised. */
int pop3d_configure(void *arg, const char *file, bool reload, struct server_options *o_r,
    struct strbuf *err);
int pop3d_open(void *arg, struct peers *, struct strbuf *err);
bool pop3d_ready(void *arg);
void *pop3d_session_new(void *arg, struct session_link *, const char *proto,
    const struct session_ops **ops_r);
const char *pop3d_refusal(const char *proto);
void pop3d_close(void *arg);

#endif
