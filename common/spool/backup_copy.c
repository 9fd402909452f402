/*
 * backup_copy - records from one folder of segments into another.
 *
 * Only what the index names is copied: header block and records, each to the same place; all else
 * is a hole. Whether a record is in a copy already is asked of the copy alone: it is read, and its
 * checksums and the 16 random octets of its segment say whether it is that record and whole. So
 * nothing that was written down about an earlier copy needs to be believed, an interrupted one is
 * gone on with, and a copy that rotted is mended.
 *
 * Octets go through memory (copy_file_range(2) may let both files share their blocks, and one bad
 * sector would take both), and what was written is synced, dropped from the page cache, and read
 * back.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "backup_internal.h"
#include "base/mem.h"
#include "files.h"
#include "maildrop_internal.h"
#include "recover.h"
#include "segment.h"
#include "spool_internal.h"

#define COPY_SIZE (1024u * 1024)

static const char sql_entries[] = "SELECT message, blocks FROM entry";

static const char sql_holders[] =
    "SELECT m.local, d.name, e.uid FROM entry e JOIN mailbox m ON m.id = e.mailbox"
    " JOIN domain d ON d.id = m.domain WHERE e.message = ?1";

/* --- the list ------------------------------------------------------------- */

static int
compare_records(const void *a, const void *b)
{
	const struct backup_record *x = a, *y = b;

	return (x->message > y->message) - (x->message < y->message);
}

enum spool_status
backup_list_read(struct index_conn *c, struct backup_list *l)
{
	sqlite3_stmt *stmt = account_query(c, sql_entries, "");
	enum spool_status st;
	size_t kept = 0;
	bool row;

	*l = (struct backup_list){ 0 };
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&l->list, &l->cap, l->n + 1, sizeof(*l->list)) != 0)
			return SPOOL_NO_MEMORY;
		l->list[l->n++] =
		    (struct backup_record){ account_u64(stmt, 0), account_u64(stmt, 1) };
	}
	if (l->n > 1)
		qsort(l->list, l->n, sizeof(*l->list), compare_records);
	/* A message that several mailboxes hold lies there once. */
	for (size_t i = 0; i < l->n; i++)
		if (kept == 0 || l->list[kept - 1].message != l->list[i].message)
			l->list[kept++] = l->list[i];
	l->n = kept;
	return st;
}

void
backup_list_release(struct backup_list *l)
{
	free(l->list);
	*l = (struct backup_list){ 0 };
}

size_t
backup_list_segment(const struct backup_list *l, size_t i)
{
	uint64_t number = message_segment(l->list[i].message);
	size_t n = 1;

	while (i + n < l->n && message_segment(l->list[i + n].message) == number)
		n++;
	return n;
}

/* --- one segment ---------------------------------------------------------- */

/* A segment's records, and its file in both folders. */
struct segment_copy {
	struct backup_copier *b;
	uint64_t number;
	char name[SEGMENT_NAME_MAX];
	const struct backup_record *list;
	size_t n;
	int from, to; /* -1: none */
	struct segment_id from_id, to_id;
	bool from_good, to_good; /* the header is this segment's */
	bool *written;           /* owned: for each record */
};

/* Says what errno says of a segment's copy. */
static enum spool_status
copy_failed(struct backup_copier *b, const char *name)
{
	char path[sizeof(BACKUP_SEGMENTS) + SEGMENT_NAME_MAX];

	snprintf(path, sizeof(path), BACKUP_SEGMENTS "/%s", name);
	return backup_failed(b->err, b->to_dir, path);
}

/* SPOOL_OK, SPOOL_NO_MESSAGE when it is not whole, SPOOL_NO_MEMORY. */
static enum spool_status
look(int fd, bool good, const struct segment_id *id, const struct backup_record *want)
{
	struct record_envelope e;
	enum spool_status st;
	struct record r;

	if (!good)
		return SPOOL_NO_MESSAGE;
	st = recover_read(fd, id, message_block(want->message), &r, &e);
	if (st != SPOOL_OK)
		return st;
	record_envelope_release(&e);
	return record_blocks(&r) == want->blocks ? SPOOL_OK : SPOOL_NO_MESSAGE;
}

/* Tells everybody whose message it is. */
static void
tell_damaged(struct backup_copier *b, uint64_t message)
{
	sqlite3_stmt *stmt;
	bool row;

	b->result->damaged++;
	if (b->watch.each == NULL)
		return;
	stmt = account_query(b->index, sql_holders, "u", message);
	while (index_step(b->index, stmt, &row) == SPOOL_OK && row) {
		char address[ACCOUNT_ADDRESS_MAX], uid[MAILDROP_UID_MAX + 1];

		if (account_text_address(stmt, 0, 1, address) != SPOOL_OK)
			address[0] = '\0';
		maildrop_write_uid(uid, message, (const char *)sqlite3_column_text(stmt, 2));
		b->watch.each(
		    b->watch.each_arg, &(struct check_finding){ .address = address,
					   .uid = uid,
					   .what = "its record is damaged: it cannot be read" });
	}
}

/* What cannot be read is left out, and found when it is read back.  0, or -1 when it cannot be
 * written. */
static int
copy_range(struct segment_copy *s, uint64_t offset, uint64_t len)
{
	struct backup_copier *b = s->b;

	while (len > 0) {
		size_t want = len < COPY_SIZE ? (size_t)len : COPY_SIZE;
		ssize_t n = pread(s->from, b->buf, want, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && want > RECORD_BLOCK) {
			/* Around a bad sector block by block. */
			if (copy_range(s, offset, RECORD_BLOCK) != 0)
				return -1;
			n = RECORD_BLOCK;
		} else if (n < 0) {
			spool_failed("segment_read_failed", s->name, errno);
			n = (ssize_t)want;
		} else if (n == 0) {
			return 0;
		} else if (disk_write_buf(b->disk, s->to, b->buf, (size_t)n, offset) != 0) {
			return -1;
		} else {
			b->result->copied += (uint64_t)n;
		}
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Opens the copy, which gets the header when it has none that is right. */
static enum spool_status
open_copy(struct segment_copy *s)
{
	struct backup_copier *b = s->b;

	s->to = disk_open(b->disk, b->to, s->name, false);
	if (s->to < 0 && errno == ENOENT)
		s->to = disk_open(b->disk, b->to, s->name, true);
	if (s->to < 0)
		return copy_failed(b, s->name);
	s->to_good = segment_header_is(s->to, s->number, &s->to_id);
	if (!s->from_good)
		return SPOOL_OK;
	if (s->to_good && memcmp(&s->to_id, &s->from_id, sizeof(s->to_id)) == 0)
		return SPOOL_OK;
	/* Another one, or a torn one: nothing in it is of any use. */
	if (disk_truncate(b->disk, s->to, 0) != 0 || copy_range(s, 0, RECORD_BLOCK) != 0)
		return copy_failed(b, s->name);
	s->to_good = segment_header_is(s->to, s->number, &s->to_id);
	return SPOOL_OK;
}

/* Copies what the copy lacks, neighbours at once. */
static enum spool_status
copy_missing(struct segment_copy *s, bool *any_r)
{
	enum spool_status st;
	uint64_t first, blocks;
	size_t end;

	*any_r = false;
	for (size_t i = 0; i < s->n; i++) {
		st = look(s->to, s->to_good, &s->to_id, &s->list[i]);
		if (st == SPOOL_NO_MEMORY)
			return st;
		s->written[i] = st != SPOOL_OK;
	}
	for (size_t i = 0; i < s->n; i = end) {
		end = i + 1;
		if (!s->written[i])
			continue;
		*any_r = true;
		first = message_block(s->list[i].message);
		blocks = s->list[i].blocks;
		for (; end < s->n && s->written[end] &&
		       message_block(s->list[end].message) == first + blocks;
		     end++)
			blocks += s->list[end].blocks;
		if (s->from_good && copy_range(s, first * RECORD_BLOCK, blocks * RECORD_BLOCK) != 0)
			return copy_failed(s->b, s->name);
	}
	return SPOOL_OK;
}

static enum spool_status
read_back(struct segment_copy *s)
{
	enum spool_status st;

	for (size_t i = 0; i < s->n; i++) {
		if (!s->written[i])
			continue;
		st = look(s->to, s->to_good, &s->to_id, &s->list[i]);
		if (st == SPOOL_NO_MESSAGE) {
			st = look(s->from, s->from_good, &s->from_id, &s->list[i]);
			if (st == SPOOL_OK) {
				strbuf_addf(s->b->err,
				    "%s: of segment %" PRIu64
				    " other octets were read back than were written: do not trust "
				    "this disk",
				    s->b->to_dir, s->number);
				return SPOOL_IO;
			}
			if (st == SPOOL_NO_MESSAGE)
				tell_damaged(s->b, s->list[i].message);
		}
		if (st == SPOOL_NO_MEMORY)
			return st;
	}
	return SPOOL_OK;
}

static enum spool_status
copy_segment(struct segment_copy *s)
{
	struct backup_copier *b = s->b;
	enum spool_status st;
	bool any;

	s->from_good = segment_header_is(s->from, s->number, &s->from_id);
	st = open_copy(s);
	if (st == SPOOL_OK)
		st = copy_missing(s, &any);
	if (st != SPOOL_OK)
		return st;
	/* Also where nothing was missing: who wrote it may have been killed before he synced. */
	if (disk_sync(b->disk, s->to) != 0)
		return copy_failed(b, s->name);
	/* So that it is read from the disk, now and by the next backup; and the spool's own mail
	 * keeps the page cache. */
	posix_fadvise(s->to, 0, 0, POSIX_FADV_DONTNEED);
	if (any) {
		st = read_back(s);
		posix_fadvise(s->to, 0, 0, POSIX_FADV_DONTNEED);
	}
	return st;
}

static enum spool_status
read_segment(struct segment_copy *s)
{
	enum spool_status st;

	s->from_good = segment_header_is(s->from, s->number, &s->from_id);
	for (size_t i = 0; i < s->n; i++) {
		st = look(s->from, s->from_good, &s->from_id, &s->list[i]);
		if (st == SPOOL_NO_MESSAGE)
			tell_damaged(s->b, s->list[i].message);
		else if (st != SPOOL_OK)
			return st;
	}
	return SPOOL_OK;
}

/* --- all of them ---------------------------------------------------------- */

static enum spool_status
each_segment(struct backup_copier *b, const struct backup_list *l,
    enum spool_status (*how)(struct segment_copy *))
{
	enum spool_status st = SPOOL_OK;
	uint64_t all = 0;
	size_t n;

	for (size_t i = 0; i < l->n; i++)
		all += l->list[i].blocks * RECORD_BLOCK;
	for (size_t i = 0; st == SPOOL_OK && i < l->n; i += n) {
		struct segment_copy s = { .b = b, .list = &l->list[i], .from = -1, .to = -1 };

		n = s.n = backup_list_segment(l, i);
		s.number = message_segment(s.list[0].message);
		segment_name(s.name, s.number);
		s.written = mem_array(n, sizeof(*s.written));
		if (s.written == NULL)
			return SPOOL_NO_MEMORY;
		s.from = openat(b->from, s.name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (s.from < 0 && errno != ENOENT)
			st = spool_failed("segment_open_failed", s.name, errno);
		if (st == SPOOL_OK)
			st = how(&s);
		for (size_t k = 0; k < n; k++)
			b->result->octets += s.list[k].blocks * RECORD_BLOCK;
		b->result->messages += n;
		if (b->watch.progress != NULL)
			b->watch.progress(b->watch.progress_arg, b->result->octets, all);
		if (s.from >= 0)
			close(s.from);
		if (s.to >= 0)
			close(s.to);
		free(s.written);
	}
	return st;
}

enum spool_status
backup_copy(struct backup_copier *b, const struct backup_list *l)
{
	enum spool_status st;

	b->buf = mem_array(1, COPY_SIZE);
	if (b->buf == NULL)
		return SPOOL_NO_MEMORY;
	st = each_segment(b, l, copy_segment);
	free(b->buf);
	b->buf = NULL;
	if (st == SPOOL_OK && disk_sync(b->disk, b->to) != 0)
		st = backup_failed(b->err, b->to_dir, BACKUP_SEGMENTS);
	return st;
}

enum spool_status
backup_read(struct backup_copier *b, const struct backup_list *l)
{
	return each_segment(b, l, read_segment);
}

/* --- what is not wanted any more ------------------------------------------ */

/* Where the first octets of a file at or after `offset` are no hole; UINT64_MAX: nowhere. */
static uint64_t
next_data(int fd, uint64_t offset)
{
	off_t at = lseek(fd, (off_t)offset, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? UINT64_MAX : offset;
	return (uint64_t)at;
}

static int
punch_gaps(struct backup_copier *b, int fd, const struct backup_record *list, size_t n)
{
	uint64_t at = 1, start;

	for (size_t i = 0; i < n; i++) {
		start = message_block(list[i].message);
		if (start > at && next_data(fd, at * RECORD_BLOCK) < start * RECORD_BLOCK &&
		    disk_punch(b->disk, fd, at * RECORD_BLOCK, (start - at) * RECORD_BLOCK) != 0 &&
		    errno != EOPNOTSUPP)
			return -1;
		at = start + list[i].blocks;
	}
	if (lseek(fd, 0, SEEK_END) > (off_t)(at * RECORD_BLOCK))
		return disk_truncate(b->disk, fd, at * RECORD_BLOCK);
	return 0;
}

static enum spool_status
trim_segment(struct backup_copier *b, const struct backup_record *list, size_t n)
{
	char name[SEGMENT_NAME_MAX];
	int fd, rc;

	segment_name(name, message_segment(list[0].message));
	fd = disk_open(b->disk, b->to, name, false);
	if (fd < 0)
		return errno == ENOENT ? SPOOL_OK : copy_failed(b, name);
	rc = punch_gaps(b, fd, list, n);
	if (rc != 0)
		copy_failed(b, name);
	close(fd);
	return rc == 0 ? SPOOL_OK : SPOOL_IO;
}

enum spool_status
backup_trim(struct backup_copier *b, const struct backup_list *l)
{
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	struct files files;
	size_t i = 0, n;

	st = files_list_at(b->to, &files);
	for (size_t k = 0; st == SPOOL_OK && k < files.n; k++) {
		while (i < l->n && message_segment(l->list[i].message) < files.list[k].number)
			i += backup_list_segment(l, i);
		n = i < l->n && message_segment(l->list[i].message) == files.list[k].number
		        ? backup_list_segment(l, i)
		        : 0;
		if (n > 0)
			st = trim_segment(b, &l->list[i], n);
		else if (disk_unlink(b->disk, b->to, segment_name(name, files.list[k].number)) != 0)
			st = copy_failed(b, name);
	}
	files_release(&files);
	return st;
}
