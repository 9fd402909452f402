/*
 * smtpd - the program's state between its hooks: the configuration in force and the
 * spool.
 *
 * Private to smtpd/.  Thread: hooks as net/server.h says.
 */
#ifndef SMTPD_SMTPD_H
#define SMTPD_SMTPD_H

#include <pthread.h>

#include "conf/config.h"
#include "net/server.h"
#include "spool/spool.h"

struct smtpd {
	struct config *first;           /* a reference: what a restart alone changes is its */
	struct server_listen *listen;   /* owned; made from `first` */
	size_t nlisten;
	struct spool *spool;            /* owned, between open and close */
	pthread_mutex_t lock;           /* guards `config` */
	struct config *config;          /* a reference: the one that new sessions get */
};

/* The hooks, their `arg` being a zeroed struct smtpd with its mutex initialised. */
int smtpd_configure(void *arg, const char *file, bool reload, struct server_options *o_r,
    struct strbuf *err);
int smtpd_open(void *arg, struct peers *, struct strbuf *err);
bool smtpd_ready(void *arg);
void *smtpd_session_new(void *arg, struct session_link *, const char *proto,
    const struct session_ops **ops_r);
const char *smtpd_refusal(const char *proto);
void smtpd_close(void *arg);

#endif
