/*
 * recover - scanning what the index may not know.
 *
 * Invariants:
 *  1. A segment is read under its writer's lock: whose writer is alive is left to him.
 *  2. What is entered into the index is on disk before: a process that was killed leaves octets
 *     that only the page cache has.  They are written over themselves, and then file and folder are
 *     synced: where the process had seen a sync fail, another one alone would find clean pages.
 *  3. The mark is read inside the transaction that moves it: below it, a record without a row
 *     is deleted mail.
 *  4. Nothing is deleted here but files named tmp.*, empty ones, and those without a row in which
 *     there is nothing but zeros, a block of them at most.
 *  5. A segment that cannot be read from its mark to its end is left as it is, for the keeper to come
 *     back to, and holds up no other one.
 *
 * Each segment is one transaction, so a recovery that is interrupted goes on where it was.
 */
#include "recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "entry.h"
#include "lock.h"
#include "spool_internal.h"

#define READ_SIZE (64u * 1024)

/* --- one record ----------------------------------------------------------- */

/* Everything at `offset`, or -1: a file that ends before is as bad as one that cannot be read. */
static int
read_all(int fd, const struct segment_id *id, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			log_event(LOG_LEVEL_ERROR, "segment_read_failed",
			    log_num("segment", id->number), log_num("offset", offset + done),
			    log_errno(errno),
			    log_text(
				"advice", "what cannot be read is passed over: look at the disk"));
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static bool
wire_is_whole(int fd, const struct segment_id *id, const struct record *r)
{
	uint64_t offset = r->block * RECORD_BLOCK + r->header_len;
	uint8_t buf[READ_SIZE];
	uint64_t left = r->wire_len;
	uint32_t crc = 0;

	while (left > 0) {
		size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);

		if (read_all(fd, id, buf, len, offset) != 0)
			return false;
		crc = crc32c(crc, buf, len);
		offset += len;
		left -= len;
	}
	return crc == r->wire_crc;
}

enum spool_status
recover_read(int fd, const struct segment_id *id, uint64_t block, struct record *r_r,
    struct record_envelope *e_r)
{
	uint8_t fixed[RECORD_FIXED_LEN];
	enum spool_status st;
	struct stat file;
	uint8_t *rest;

	if (read_all(fd, id, fixed, sizeof(fixed), block * RECORD_BLOCK) != 0 ||
	    !record_fixed_decode(fixed, id, block, r_r))
		return SPOOL_NO_MESSAGE;
	/* Before anything is allocated: a record that passes the end of the file was torn. */
	if (fstat(fd, &file) != 0 ||
	    block * RECORD_BLOCK + r_r->header_len + r_r->wire_len > (uint64_t)file.st_size)
		return SPOOL_NO_MESSAGE;
	rest = mem_array(1, r_r->header_len - RECORD_FIXED_LEN + 1);
	if (rest == NULL)
		return SPOOL_NO_MEMORY;
	st = SPOOL_NO_MESSAGE;
	if (read_all(fd, id, rest, r_r->header_len - RECORD_FIXED_LEN,
		block * RECORD_BLOCK + RECORD_FIXED_LEN) == 0)
		st = record_envelope_decode(rest, r_r, e_r);
	free(rest);
	if (st == SPOOL_OK && !wire_is_whole(fd, id, r_r)) {
		record_envelope_release(e_r);
		st = SPOOL_NO_MESSAGE;
	}
	return st == SPOOL_DAMAGED ? SPOOL_NO_MESSAGE : st;
}

/* --- one segment ---------------------------------------------------------- */

struct scan {
	struct index_conn *c;
	struct tally *tally;
	const struct segment *segment;
	uint64_t mark;        /* where it goes on */
	uint64_t found, held; /* messages, and those that somebody holds */
};

static enum spool_status
enter(struct scan *s, const struct record *r, const struct record_envelope *e)
{
	uint64_t message = message_id(s->segment->id.number, r->block);
	enum spool_status st;
	size_t held;

	/* Quotas are passed rather than mail lost: it was acknowledged. */
	st = entry_add(s->c, s->tally, message, r, e->reverse_path, e->list, e->n, &held);
	if (st == SPOOL_OK && held == 0)
		st = entry_add_garbage(s->c, message, record_blocks(r));
	s->found++;
	s->held += held > 0;
	return st;
}

static enum spool_status
scan_records(struct scan *s)
{
	enum spool_status st = SPOOL_OK;
	struct record_envelope e;
	struct record r;

	while (st == SPOOL_OK && s->mark < s->segment->end) {
		st = recover_read(s->segment->fd, &s->segment->id, s->mark, &r, &e);
		if (st == SPOOL_NO_MESSAGE) {
			s->mark++;
			st = SPOOL_OK;
		} else if (st == SPOOL_OK) {
			st = enter(s, &r, &e);
			record_envelope_release(&e);
			s->mark += record_blocks(&r);
		}
	}
	return st;
}

/* *state_r is -1 when there is no row. */
static enum spool_status
read_row(struct index_conn *c, uint64_t number, int *state_r, uint64_t *mark_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	stmt = index_stmt(c, "SELECT state, mark FROM segment WHERE number = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
	st = index_step(c, stmt, &row);
	*state_r = -1;
	*mark_r = 1;
	if (st == SPOOL_OK && row) {
		*state_r = sqlite3_column_int(stmt, 0);
		*mark_r = (uint64_t)sqlite3_column_int64(stmt, 1);
		sqlite3_reset(stmt);
	}
	return st;
}

static enum spool_status
index_segment(struct scan *s)
{
	uint64_t number = s->segment->id.number;
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;
	int state;

	st = read_row(s->c, number, &state, &s->mark);
	if (st != SPOOL_OK || state > 0)
		return st;
	if (state < 0) {
		stmt = index_stmt(s->c, "INSERT INTO segment VALUES (?1, 0, 1, 0)");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
		st = index_run(s->c, stmt);
	}
	if (st == SPOOL_OK)
		st = scan_records(s);
	if (st == SPOOL_OK)
		st = tally_write(s->tally, s->c);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(
	    s->c, "UPDATE segment SET state = 1, mark = ?2, live = live + ?3 WHERE number = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)s->mark);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)s->held);
	return index_run(s->c, stmt);
}

/* Whether all from `offset` on can be read; said where it cannot. */
static bool
can_be_read(const struct segment *segment, uint64_t offset)
{
	uint8_t buf[READ_SIZE];
	ssize_t n;

	while ((n = pread(segment->fd, buf, sizeof(buf), (off_t)offset)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			log_event(LOG_LEVEL_ERROR, "segment_not_recovered",
			    log_num("segment", segment->id.number), log_num("offset", offset),
			    log_errno(errno),
			    log_text("advice",
				"its last mail is not shown while this cannot be read, which is "
				"tried again each minute: look at the disk; where it stays so stop "
				"the daemons and run pop-admin reindex, which takes what can be "
				"read"));
			return false;
		}
		offset += (uint64_t)n;
	}
	return true;
}

/* Makes all of the file that the index does not know sure to be on disk.  Of what it knows not an
 * octet is touched: some of that may be being given back.  With the segment's lock, so that nobody
 * but us moves its mark.  SPOOL_NO_MESSAGE where it cannot be read. */
static enum spool_status
make_sure(struct spool *sp, const struct segment *segment)
{
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	struct index_conn *c;
	uint64_t mark = 1;
	int state = -1;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st == SPOOL_OK)
		st = read_row(c, segment->id.number, &state, &mark);
	index_read_end(sp, &c);
	if (st != SPOOL_OK || state > 0)
		return st;
	/* The header was on disk before there was anything behind it. */
	if (disk_rewrite(sp->disk, segment->fd, mark * RECORD_BLOCK, DISK_TO_END) != 0 ||
	    disk_sync_data(sp->disk, segment->fd) != 0 || disk_sync(sp->disk, sp->segments_fd) != 0)
		st = spool_failed(
		    "segment_sync_failed", segment_name(name, segment->id.number), errno);
	if (st == SPOOL_IO && !can_be_read(segment, mark * RECORD_BLOCK))
		st = SPOOL_NO_MESSAGE;
	return st;
}

static enum spool_status
recover_segment(struct spool *sp, uint64_t number)
{
	struct segment segment;
	struct tally tally;
	struct scan s = { .segment = &segment, .tally = &tally };
	enum spool_status st;

	st = segment_open(sp, number, &segment);
	/* Alive, gone, or not to be read (and then logged): none of these is recovery's. */
	if (st == SPOOL_BUSY || st == SPOOL_NO_MESSAGE || st == SPOOL_DAMAGED ||
	    st == SPOOL_VERSION)
		return SPOOL_OK;
	if (st != SPOOL_OK)
		return st;
	st = make_sure(sp, &segment);
	/* What it has is mail that was acknowledged, so nothing of it is passed over; and the others'
	 * mail need not wait for it. */
	if (st == SPOOL_NO_MESSAGE) {
		segment_close(&segment);
		atomic_store(&sp->unrecovered, true);
		return SPOOL_OK;
	}
	if (st == SPOOL_OK)
		st = index_write_begin(sp, INDEX_MAIN, "recovery", &s.c);
	if (st == SPOOL_OK) {
		tally_init(&tally);
		st = index_segment(&s);
		if (st == SPOOL_OK)
			st = index_write_commit(sp, &s.c, false);
		else
			index_write_abandon(sp, &s.c);
		tally_release(&tally);
	}
	segment_close(&segment);
	if (st == SPOOL_OK)
		log_event(LOG_LEVEL_INFO, "segment_recovered", log_num("segment", number),
		    log_num("messages", s.found));
	return st;
}

/* --- the folder ----------------------------------------------------------- */

struct numbers {
	uint64_t *list; /* owned */
	size_t n, cap;
};

static enum spool_status
numbers_add(struct numbers *numbers, uint64_t number)
{
	if (mem_grow(&numbers->list, &numbers->cap, numbers->n + 1, sizeof(*numbers->list)) != 0)
		return SPOOL_NO_MEMORY;
	numbers->list[numbers->n++] = number;
	return SPOOL_OK;
}

/* What a delivery left that did not come to its end; one that is going on has it locked.  The same
 * for a segment whose writer ended before it wrote a single octet. */
static void
remove_leftover(struct spool *sp, const char *name, bool only_empty)
{
	int fd = disk_open(sp->disk, sp->segments_fd, name, false);
	struct stat file;

	if (fd < 0)
		return;
	if (lock_segment(fd) == 0 && fstat(fd, &file) == 0 && (!only_empty || file.st_size == 0) &&
	    disk_unlink(sp->disk, sp->segments_fd, name) != 0)
		spool_failed("leftover_not_removed", name, errno);
	close(fd);
}

static enum spool_status
list_segments(struct spool *sp, struct numbers *numbers)
{
	int fd = openat(sp->segments_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	enum spool_status st = SPOOL_OK;
	const struct dirent *file;
	struct stat info;
	uint64_t number;

	if (dir == NULL) {
		st = spool_failed("segments_not_listed", "segments", errno);
		if (fd >= 0)
			close(fd);
		return st;
	}
	for (errno = 0; st == SPOOL_OK && (file = readdir(dir)) != NULL; errno = 0) {
		if (strncmp(file->d_name, DISK_TMP_PREFIX, strlen(DISK_TMP_PREFIX)) == 0)
			remove_leftover(sp, file->d_name, false);
		else if (!segment_parse_name(file->d_name, &number))
			continue;
		else if (fstatat(fd, file->d_name, &info, 0) == 0 && info.st_size == 0)
			remove_leftover(sp, file->d_name, true);
		else
			st = numbers_add(numbers, number);
	}
	if (st == SPOOL_OK && errno != 0)
		st = spool_failed("segments_not_listed", "segments", errno);
	closedir(dir);
	return st;
}

static bool
is_unborn(int fd)
{
	uint8_t buf[RECORD_BLOCK + 1];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != 0)
			return false;
	return n >= 0 && n <= RECORD_BLOCK;
}

/* Removes a file that has no row and whose writer did not come as far as its header: the power
 * failed when name and length were on disk and the octets were not, so that one block of zeros is
 * there.  Header before row and before any record: nothing else was ever in it.  What has other
 * octets may be somebody's and stays.  False when this is not one. */
static bool
remove_unborn(struct spool *sp, uint64_t number)
{
	char name[SEGMENT_NAME_MAX];
	int fd = disk_open(sp->disk, sp->segments_fd, segment_name(name, number), false);
	bool unborn;

	if (fd < 0)
		return false;
	/* Asked again with the lock: a living writer may have just come so far, and ended. */
	unborn = is_unborn(fd) && lock_segment(fd) == 0 && is_unborn(fd);
	if (unborn && disk_unlink(sp->disk, sp->segments_fd, name) != 0)
		spool_failed("leftover_not_removed", name, errno);
	close(fd);
	return unborn;
}

/* Keeps those that have no row, or one that says that they are being written. */
static enum spool_status
keep_unfinished(struct spool *sp, struct numbers *numbers)
{
	enum spool_status st;
	struct index_conn *c;
	size_t kept = 0;
	uint64_t mark;
	int state;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	for (size_t i = 0; st == SPOOL_OK && i < numbers->n; i++) {
		st = read_row(c, numbers->list[i], &state, &mark);
		if (st != SPOOL_OK || state > 0)
			continue;
		if (state == 0 || !remove_unborn(sp, numbers->list[i]))
			numbers->list[kept++] = numbers->list[i];
	}
	index_read_end(sp, &c);
	numbers->n = kept;
	return st;
}

/* No number that a file has is given again, though the index may have forgotten that it was. */
static enum spool_status
raise_newest(struct spool *sp, uint64_t newest)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;

	st = index_write_begin(sp, INDEX_MAIN, "recovery", &c);
	if (st != SPOOL_OK)
		return st;
	stmt =
	    index_stmt(c, "UPDATE meta SET value = ?1 WHERE key = 'newest_segment' AND value < ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)newest);
	st = index_run(c, stmt);
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, false);
	index_write_abandon(sp, &c);
	return st;
}

enum spool_status
recover_spool(struct spool *sp)
{
	struct numbers numbers = { 0 };
	enum spool_status st;

	st = list_segments(sp, &numbers);
	if (st == SPOOL_OK && numbers.n > 0) {
		num_sort(numbers.list, numbers.n);
		st = raise_newest(sp, numbers.list[numbers.n - 1]);
	}
	if (st == SPOOL_OK)
		st = keep_unfinished(sp, &numbers);
	for (size_t i = 0; st == SPOOL_OK && i < numbers.n; i++)
		st = recover_segment(sp, numbers.list[i]);
	free(numbers.list);
	return st;
}
