/*
 * backup_test - a spool whose backups are watched: what is found, and how far it is.
 */
#ifndef TESTS_UNIT_SPOOL_BACKUP_TEST_H
#define TESTS_UNIT_SPOOL_BACKUP_TEST_H

#include "common/spool/remove.h"
#include "delivery_test.h"
#include "spool/backup.h"
#include "spool/maildrop.h"

static struct spool *sp;
static unsigned findings;
static char found_address[256], found_uid[MAILDROP_UID_MAX + 1];
static uint64_t progress_done, progress_all;

static uint64_t
deliver(unsigned number, size_t len, uint64_t first, uint64_t last)
{
	uint64_t id = 0;

	ck_assert_int_eq(test_deliver(sp, number, len, first, last, &id), SPOOL_OK);
	return id;
}

static void
remove_message(uint64_t mailbox, uint64_t message)
{
	struct index_conn *c;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_entries(sp, c, mailbox, &message, 1, REMOVE_ADMIN), SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
}

static void
note_finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	findings++;
	snprintf(found_address, sizeof(found_address), "%s", f->address != NULL ? f->address : "");
	snprintf(found_uid, sizeof(found_uid), "%s", f->uid != NULL ? f->uid : "");
}

static void
note_progress(void *arg, uint64_t done, uint64_t all)
{
	(void)arg;
	ck_assert(progress_all == 0 || done > progress_done);
	ck_assert_uint_le(done, all);
	progress_done = done;
	progress_all = all;
}

/* For one call. */
static const struct backup_watch *
watched(void)
{
	static const struct backup_watch watch = { .each = note_finding,
		.progress = note_progress };

	progress_done = progress_all = 0;
	return &watch;
}

#endif
