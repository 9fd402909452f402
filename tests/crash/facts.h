/*
 * facts - what the users of a spool know: what they were told, and what they have seen.
 *
 * Thread: one.
 */
#ifndef TESTS_CRASH_FACTS_H
#define TESTS_CRASH_FACTS_H

#include "trace.h"

/* Mailboxes have ids below, messages numbers below. */
#define BOXES 16
#define MESSAGES 1000
#define WARNINGS 64

/* Where something may be. */
#define MAY_BE_IN 1
#define MAY_BE_OUT 2

/* What a backup has: where messages were while it was taken. */
struct facts_backup {
	uint8_t where[BOXES][MESSAGES];
	uint8_t box[BOXES];
};

struct facts {
	uint8_t where[BOXES][MESSAGES]; /* 0 for a mailbox that the message was never for */
	bool seen[BOXES][MESSAGES];     /* in a list */
	uint64_t uid[MESSAGES];         /* 0: nobody has seen it yet */
	struct {
		uint8_t where;          /* 0: was never asked for */
		bool password_open;     /* being changed */
		char password[EVENT_TEXT_MAX];
		unsigned warnings;      /* seen in it */
		uint64_t quota;         /* the last that was set for sure; 0: none was */
	} box[BOXES];
	uint64_t warning_uids[WARNINGS];
	size_t nwarnings;
	bool unrepaired;                /* sums may be wrong */
	bool reindexing;                /* the index may be half made */
	bool back[BOXES][MESSAGES];     /* what was deleted, and may be back since */
	struct {
		bool has, broken;       /* one was told to be done; and to lack something */
		bool begun;             /* and another one not, yet */
		struct facts_backup held, next;
	} backup;
	char phase[EVENT_TEXT_MAX];
};

void facts_apply(struct facts *, const struct event *);

#endif
