/*
 * survey - what the spool holds and what the disk has left, at a glance.
 */
#include "spool/survey.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "account_internal.h"
#include "base/num.h"
#include "disk.h"
#include "files.h"
#include "health.h"
#include "lock.h"
#include "maildrop_internal.h"
#include "record.h"
#include "spool_internal.h"

static const char sql_mailboxes[] =
    "SELECT (SELECT count(*) FROM domain), count(*), sum(messages), sum(used),"
    " (SELECT value FROM meta WHERE key = 'newest_segment'),"
    " (SELECT sum(blocks) FROM garbage),"
    /* The first block of each is its header. */
    " (SELECT sum(mark - 1) FROM segment WHERE state < 2) FROM mailbox";

static const char sql_entries[] = "SELECT sum(iif(state = 0, blocks, 0)),"
				  " sum(iif(state = 1, blocks, 0)),"
				  " sum(iif(state = 2, blocks, 0)), sum(state = 2),"
				  " min(iif(state = 0, received_ms, NULL)) FROM entry";

/* By how much the above is too much: messages that several entries hold, each once, and living as
 * long as one of them does. */
static const char sql_shared[] =
    "SELECT sum(alive * blocks - iif(alive > 0, blocks, 0)),"
    " sum(kept * blocks - iif(alive = 0 AND kept > 0, blocks, 0)),"
    " sum(apart * blocks - iif(alive + kept > 0, 0, blocks)) FROM"
    " (SELECT max(blocks) AS blocks, sum(state = 0) AS alive, sum(state = 1) AS kept,"
    " sum(state = 2) AS apart FROM entry"
    " WHERE message IN (SELECT message FROM holders) GROUP BY message)";

static const char sql_apart[] =
    "SELECT m.local, d.name, e.message, e.uid FROM entry e JOIN mailbox m ON m.id = e.mailbox"
    " JOIN domain d ON d.id = m.domain WHERE e.state = 2"
    " ORDER BY e.mailbox, e.message LIMIT ?1";

static enum spool_status
read_mailboxes(struct index_conn *c, struct survey *s, uint64_t *indexed_r)
{
	sqlite3_stmt *stmt = account_query(c, sql_mailboxes, "");
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	s->domains = account_u64(stmt, 0);
	s->mailboxes = account_u64(stmt, 1);
	s->messages = account_u64(stmt, 2);
	s->used = account_u64(stmt, 3);
	s->newest_segment_ms = account_u64(stmt, 4);
	s->space.dead = account_u64(stmt, 5) * RECORD_BLOCK;
	*indexed_r = account_u64(stmt, 6);
	sqlite3_reset(stmt);
	return st;
}

static enum spool_status
read_entries(struct index_conn *c, struct survey *s)
{
	sqlite3_stmt *stmt = account_query(c, sql_entries, "");
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	s->space.live = account_u64(stmt, 0) * RECORD_BLOCK;
	s->space.kept = account_u64(stmt, 1) * RECORD_BLOCK;
	s->space.apart = account_u64(stmt, 2) * RECORD_BLOCK;
	s->set_apart = account_u64(stmt, 3);
	s->oldest_ms = account_u64(stmt, 4);
	sqlite3_reset(stmt);
	stmt = account_query(c, sql_shared, "");
	st = index_step(c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	s->space.live -= account_u64(stmt, 0) * RECORD_BLOCK;
	s->space.kept -= account_u64(stmt, 1) * RECORD_BLOCK;
	s->space.apart -= account_u64(stmt, 2) * RECORD_BLOCK;
	sqlite3_reset(stmt);
	return st;
}

static enum spool_status
read_disk(struct spool *sp, struct survey *s)
{
	struct statvfs fs;

	if (fstatvfs(sp->segments_fd, &fs) != 0)
		return spool_failed("statvfs_failed", sp->dir, errno);
	s->free = (uint64_t)fs.f_bavail * fs.f_frsize;
	/* A file system that makes inodes as it needs them counts none. */
	s->free_inodes = fs.f_files != 0 ? (uint64_t)fs.f_favail : NUM_UNLIMITED;
	s->reserve_inodes = SPOOL_RESERVE_INODES;
	pthread_mutex_lock(&sp->space_mutex);
	s->reserve = sp->reserve;
	pthread_mutex_unlock(&sp->space_mutex);
	return SPOOL_OK;
}

enum spool_status
survey_spool(struct spool *sp, struct survey *s)
{
	struct index_conn *c;
	struct files files;
	enum spool_status st;
	uint64_t indexed = 0;
	int elsewhere, backup;

	*s = (struct survey){ 0 };
	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st == SPOOL_OK)
		st = read_mailboxes(c, s, &indexed);
	if (st == SPOOL_OK)
		st = read_entries(c, s);
	index_read_end(sp, &c);
	if (st != SPOOL_OK)
		return st;
	st = files_list(sp, &files);
	for (size_t i = 0; i < files.n; i++)
		s->space.given_back += files.list[i].given_back;
	files_release(&files);
	if (st != SPOOL_OK)
		return st;
	files_add_dead(sp, indexed, &s->space);
	st = read_disk(sp, s);
	if (st != SPOOL_OK)
		return st;
	elsewhere = lock_role_elsewhere(&sp->locks, LOCK_OPEN);
	backup = lock_role_taken(&sp->locks, LOCK_BACKUP);
	if (elsewhere < 0 || backup < 0)
		return spool_failed("lock_failed", "locks/roles", errno);
	s->open_elsewhere = elsewhere > 0;
	s->backup_running = backup > 0;
	return SPOOL_OK;
}

enum spool_status
survey_set_apart(struct spool *sp, size_t max,
    void (*each)(void *arg, const char *address, const char *uid), void *arg)
{
	char address[ACCOUNT_ADDRESS_MAX], uid[MAILDROP_UID_MAX + 1];
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_apart, "u", (uint64_t)max);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = account_text_address(stmt, 0, 1, address);
		if (st != SPOOL_OK)
			break;
		maildrop_write_uid(
		    uid, account_u64(stmt, 2), (const char *)sqlite3_column_text(stmt, 3));
		each(arg, address, uid);
	}
	index_read_end(sp, &c);
	return st;
}

enum spool_status
survey_segments(struct spool *sp, uint64_t *damaged_r)
{
	enum spool_status st = health_look(sp);

	*damaged_r = health_known(sp);
	return st;
}

enum spool_status
survey_holes(struct spool *sp, bool *possible_r)
{
	static const uint8_t blocks[2 * RECORD_BLOCK] = { 1 };
	char tmp[DISK_TMP_NAME_MAX];
	enum spool_status st = SPOOL_OK;
	int fd = disk_open_tmp(sp->disk, sp->segments_fd, tmp);

	*possible_r = true;
	if (fd < 0)
		return spool_failed("tmp_failed", "segments", errno);
	if (disk_write_buf(sp->disk, fd, blocks, sizeof(blocks), 0) != 0) {
		st = spool_failed("tmp_failed", "segments", errno);
	} else if (disk_punch(sp->disk, fd, 0, RECORD_BLOCK) != 0) {
		if (errno == EOPNOTSUPP)
			*possible_r = false;
		else
			st = spool_failed("punch_failed", "segments", errno);
	}
	close(fd);
	if (tmp[0] != '\0' && disk_unlink(sp->disk, sp->segments_fd, tmp) != 0 && st == SPOOL_OK)
		st = spool_failed("tmp_failed", tmp, errno);
	return st;
}
