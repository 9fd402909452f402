/*
 * load_internal - what the parts of the load share.  Private to load*.c.
 *
 * Thread: the one that owns the spools, where nothing else is said.
 */
#ifndef TESTS_CRASH_LOAD_INTERNAL_H
#define TESTS_CRASH_LOAD_INTERNAL_H

#include <pthread.h>

#include "load.h"
#include "mail/address.h"

#define DAY_MS UINT64_C(86400000)

/* Who is special among the mailboxes. */
enum {
	BOX_IMPORTED = 3,
	BOX_WARNED = 4,
	BOX_AGED = 5,
	BOX_READ_ONCE = 6,
	BOX_FULL = 7,
	BOX_LATER = 8,
};

/* --- load.c --- */

/* A name for reports: what is done from now on. */
void load_phase(const char *name);
/* Ends the program when this is not SPOOL_OK. */
void load_want(enum spool_status, const char *what);
enum told load_told(enum spool_status);
/* By chance, the same ones in each run. */
unsigned load_below(unsigned n);
/* All that was told so far; the caller's, to be freed. */
struct facts *load_facts(void);

/* --- load_mail.c --- */

uint32_t load_some_boxes(void);
/* So many messages of all sizes at once. */
#define LOAD_GROUP_MAX 10
void load_group(struct spool *, size_t n);

/* Another sender, while sessions and upkeep go on. */
struct sender {
	struct spool *spool;
	unsigned first;
	pthread_t thread;
};
void load_begin_beside(struct sender *, struct spool *);
void load_end_beside(struct sender *);

/* Mail that nobody else holds: what is past its age gives back blocks, and whole segments. */
void load_send_aged(struct spool *);

/* Imports `n` messages from number `first` on into the mailbox, each under a UID from elsewhere;
 * passes over those that are there. */
void load_import(struct spool *admin, unsigned box, unsigned first, unsigned n);

/* --- load_session.c --- */

/* A login: what it lists has been seen.  numbers[i] is the i-th message's. */
struct maildrop *load_login(struct spool *, unsigned box, uint32_t *numbers);
/* Deletes each message with `percent` of chance, retrieves some of the others. */
enum spool_status load_session(struct spool *, unsigned box, unsigned percent);
/* Ends without QUIT. */
void load_broken_session(struct spool *, unsigned box);
/* Mail that is past its age: by an administrator, who is told, or by a daemon. */
void load_expire(struct spool *, bool told);
/* Brings back what was deleted lately, by its old UID. */
void load_bring_back(struct spool *admin);

/* --- load_admin.c --- */

struct address load_address_of(unsigned box);
/* The mailbox is made, gets another password or, with NULL, goes; what it is then is told. */
void load_account(struct spool *, unsigned box, const char *password, bool is_new,
    const struct account_limits *);
void load_make_accounts(struct spool *);
/* Two mailboxes are nearly full, one by mail and one by a smaller quota. */
void load_fill(const struct site *);
void load_upkeep(struct spool *);
/* Sums and live counts are off, and are mended. */
void load_repair(struct spool *admin);

/* A backup, taken by another process.  It has copied one segment when load_begin_backup() returns,
 * and goes on in load_end_backup(). */
struct backing_up {
	char dir[600];
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool begun, may_go_on;
};
void load_begin_backup(struct backing_up *, const char *dir);
void load_end_backup(struct backing_up *);
/* Brings some of what was deleted since the last backup back out of it. */
void load_bring(struct spool *admin, const char *dir, unsigned box);

#endif
