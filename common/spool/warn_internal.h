/*
 * warn_internal - what warn.c and warn_send.c share.
 */
#ifndef SPOOL_WARN_INTERNAL_H
#define SPOOL_WARN_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "index.h"
#include "spool/account.h"
#include "spool/warning.h"
#include "warn.h"

struct delivery;

/* Warnings that are committed and then delivered together. */
#define WARN_BATCH 64

struct warn_shares {
	uint8_t percent[SPOOL_WARNINGS];
	size_t n;
};

struct warner {
	pthread_mutex_t text_mutex;     /* guards these; held while a message is composed of them */
	char *hostname, *postmaster, *template; /* owned */

	pthread_mutex_t mutex;          /* guards what follows, down to `underway` */
	pthread_cond_t changed;
	struct warn_shares shares;
	bool pending;                   /* look, whatever the counter says */
	bool urgent;                    /* and now */
	bool stop;
	bool busy;                      /* a round is going on */
	size_t underway;                /* warnings that the committer has */

	/* The keeper's. */
	struct index_watch watch;
	uint64_t next_look_ms;          /* monotonic */

	/* The committer's. */
	bool noted;
};

/* A mailbox whose state is to change. */
struct warn_due {
	struct warner *warner;          /* borrowed */
	uint64_t mailbox;
	char address[ACCOUNT_ADDRESS_MAX];
	bool enabled;
	uint64_t used, messages;
	uint64_t quota;                 /* NUM_UNLIMITED */
	unsigned warned;                /* the state as it was */
	unsigned now;                   /* as it will be; more than `warned`: a warning */
	struct delivery *delivery;      /* owned */
	enum spool_status outcome;
};

struct warn_batch {
	struct warn_due list[WARN_BATCH];
	size_t n;
	uint64_t last;                  /* the mailbox that was looked at last */
};

/* Delivers the warnings of a batch whose states are committed, and takes back the states of those
 * that could not be, just now; blocks until all is done.  A failure that passes is returned. */
enum spool_status warn_deliver(struct spool *, struct warn_batch *);
/* Whether their states are committed could not be made sure: none is delivered. */
void warn_lost(struct warn_batch *);

#endif
