/*
 * backup_test - a spool whose backups are watched: what is found, and how far it is; and a second
 * folder, in which a spool is made out of the backup.
 */
#ifndef TESTS_UNIT_SPOOL_BACKUP_TEST_H
#define TESTS_UNIT_SPOOL_BACKUP_TEST_H

#include <inttypes.h>

#include "base/clock.h"
#include "common/spool/remove.h"
#include "delivery_test.h"
#include "spool/backup.h"
#include "spool/maildrop.h"

static struct spool *sp;
static char backup_dir[300], other_dir[300];
static unsigned findings;
static char found_address[256], found_uid[MAILDROP_UID_MAX + 1];
static uint64_t progress_done, progress_all;

SPOOL_TEST_MAYBE static void
setup(void)
{
	spool_test_make();
	snprintf(backup_dir, sizeof(backup_dir), "%s-backup", spool_test_dir);
	snprintf(other_dir, sizeof(other_dir), "%s-other", spool_test_dir);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	findings = 0;
}

SPOOL_TEST_MAYBE static void
teardown(void)
{
	clock_set(0, 0);
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

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

/* What was said of how far it is came to its end. */
SPOOL_TEST_MAYBE static void
assert_all_done(const struct backup_result *r)
{
	ck_assert_uint_eq(progress_done, r->octets);
	ck_assert_uint_eq(progress_all, r->octets);
}

SPOOL_TEST_MAYBE static struct backup_result
back_up_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_run(sp, backup_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(*says == '\0' || strstr(err.buf, says) != NULL, "%s", err.buf);
	ck_assert(st == SPOOL_OK || err.len > 0);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
	return r;
}

SPOOL_TEST_MAYBE static struct backup_result
back_up(void)
{
	return back_up_as(SPOOL_OK, "");
}

SPOOL_TEST_MAYBE static struct backup_result
verify_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_verify(backup_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(*says == '\0' || strstr(err.buf, says) != NULL, "%s", err.buf);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
	return r;
}

SPOOL_TEST_MAYBE static void
restore_as(enum spool_status want, const char *says)
{
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;

	strbuf_init(&err, 1024);
	st = backup_restore(backup_dir, other_dir, watched(), &r, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(*says == '\0' || strstr(err.buf, says) != NULL, "%s", err.buf);
	if (st == SPOOL_OK)
		assert_all_done(&r);
	strbuf_release(&err);
}

/* The restored spool, in the place of the first one. */
SPOOL_TEST_MAYBE static void
change_to_other(void)
{
	spool_close(&sp);
	ck_assert_int_eq(folder_remove(spool_test_dir), 0);
	ck_assert_int_eq(rename(other_dir, spool_test_dir), 0);
	sp = spool_test_open(SPOOL_ADMIN);
}

/* A file of a segment in the backup or the spool. */
SPOOL_TEST_MAYBE static const char *
segment_path(const char *dir, uint64_t message)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/segments/%" PRIu64, dir, message_segment(message));
	return path;
}

#endif
