/*
 * group - the commit of a group, and what happens when a part of it fails.
 *
 * In this order, under the index's writer's lock: for each message in turn settle who is still
 * there and has room, and give it its place; write all records with one write; enter their rows,
 * while the disk is at work; sync; move the mark; COMMIT.  The one commit point is the sync of the
 * records: the index follows it without one, and what it loses with the power is found again
 * beyond the segment's mark.
 *
 * Invariants:
 *  1. Nothing that is refused is ever in a segment: who is not admitted is in no header, and
 *     a message nobody is admitted to is not written.
 *  2. Rows are committed for records that are on disk, and in the same transaction the mark
 *     moves past them.
 *  3. Before a failure is told, what was written is taken back, durably: the segment is cut
 *     back to where the group began, and never written again unless only the rows failed; files
 *     lose their names.  Where that fails, or the COMMIT may yet turn out to have happened, the
 *     outcome is SPOOL_UNKNOWN and recovery decides.
 *  4. A sync that failed is not tried again.
 *  5. A message is settled when those before it are counted (tally.h), so that what it finds used is
 *     what it will find in COMMIT: no quota is passed by one octet.
 */
#include "group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "age.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/num.h"
#include "entry.h"
#include "janitor.h"
#include "spool_internal.h"
#include "warn.h"

/* Vectors for one record: header, message, end, zeros up to the block. */
#define RECORD_VECTORS 4

/* --- settling ------------------------------------------------------------- */

/* What is known of a recipient: whether he is there, his room, and his age limit, from now on, into
 * `to`. */
static enum spool_status
read_recipient(struct group *g, struct index_conn *c, const struct delivery *d, uint64_t now_ms,
    struct recipient *r, struct record_recipient *to, struct room_sum *sum)
{
	struct tally_mailbox *mailbox;
	enum spool_status st = tally_find(&g->tally, c, r->mailbox, &mailbox);

	if (st != SPOOL_OK)
		return st;
	if (mailbox == NULL) {
		r->outcome = SPOOL_NO_MAILBOX;
		return SPOOL_OK;
	}
	/* A mailbox may well be filled before it is opened. */
	r->outcome = mailbox->enabled || d->received_ms != 0 ? SPOOL_OK : SPOOL_DISABLED;
	to->expires_day = RECORD_NEVER;
	if (mailbox->expire_s != NUM_UNLIMITED)
		to->expires_day = age_day((now_ms + 999) / 1000, mailbox->expire_s);
	sum->used = mailbox->used;
	sum->quota = mailbox->quota;
	sum->octets = d->octets + record_prefix_len(d->env->reverse_path, r->written);
	to->mailbox = r->mailbox;
	to->address = r->address;
	to->written = r->written;
	to->uid = r->uid;
	return SPOOL_OK;
}

static enum spool_status
settle(struct group *g, struct index_conn *c, struct delivery *d, uint64_t now_ms)
{
	struct record_recipient *list = d->place.list;
	enum spool_status st = SPOOL_OK;
	size_t n = d->env->n;

	d->place.record.received_ms = d->received_ms != 0 ? d->received_ms : now_ms;
	d->place.n = 0;
	for (size_t i = 0; st == SPOOL_OK && i < n; i++)
		st = read_recipient(
		    g, c, d, now_ms, &d->env->recipients[i], &list[i], &d->place.sums[i]);
	if (st != SPOOL_OK)
		return st;
	room_settle(d->spool, d->claim, d->env, d->place.sums);
	for (size_t i = 0; i < n; i++)
		if (d->env->recipients[i].outcome == SPOOL_OK) {
			tally_settle(&g->tally, list[i].mailbox, d->place.sums[i].octets);
			list[d->place.n++] = list[i];
		}
	return SPOOL_OK;
}

/* --- places --------------------------------------------------------------- */

/* A file of its own, laid out when the first octet went there. */
static bool
has_file(const struct delivery *d)
{
	return d->fd >= 0;
}

static void
encode_header(struct delivery *d)
{
	struct record *r = &d->place.record;

	r->wire_len = d->wire_len + DELIVERY_END_LEN;
	r->octets = d->octets;
	r->body = d->header.ended ? d->header.body : d->wire_len;
	r->wire_crc = crc32c(d->crc, DELIVERY_END, DELIVERY_END_LEN);
	record_header_encode(
	    d->place.header, &d->place.id, r, d->env->reverse_path, d->place.list, d->place.n);
}

/* Without octets to spare: what was settled says how long the header is. */
static uint32_t
exact_header_len(const struct delivery *d)
{
	size_t len = record_header_base(d->env->reverse_path);

	for (size_t i = 0; i < d->place.n; i++)
		len += record_recipient_len(&d->place.list[i]);
	return (uint32_t)len;
}

static enum spool_status
give_place(struct group *g, struct index_conn *c, struct delivery *d, uint64_t *end)
{
	struct record *r = &d->place.record;
	enum spool_status st = SPOOL_OK;
	uint64_t number;

	if (has_file(d)) {
		st = segment_next_number(g->spool, c, &number);
		if (st == SPOOL_OK)
			st = segment_id_make(number, &d->place.id);
		if (st != SPOOL_OK)
			return st;
		r->block = 1;
		r->header_len = d->room;
	} else {
		d->place.id = g->segment->id;
		r->block = *end;
		r->header_len = exact_header_len(d);
	}
	d->place.header = mem_array(1, r->header_len);
	if (d->place.header == NULL)
		return SPOOL_NO_MEMORY;
	encode_header(d);
	if (!has_file(d))
		*end += record_blocks(r);
	return st;
}

/* --- writing -------------------------------------------------------------- */

/* Somebody removed the file, or put another one in its place: nobody would ever read what is in it. */
static bool
has_no_name(int fd)
{
	struct stat file;

	if (fstat(fd, &file) == 0 && file.st_nlink > 0)
		return false;
	errno = ENOENT;
	return true;
}

/* All records of the common segment, behind what it has, in one write.  Of several the disk has begun
 * with when their rows are entered: what this costs the processor one alone does not bring back. */
static enum spool_status
write_small(struct group *g, uint64_t start, uint64_t end)
{
	static const uint8_t zeros[RECORD_BLOCK];
	struct iovec *iov = mem_array(g->n, RECORD_VECTORS * sizeof(*iov));
	enum spool_status st = SPOOL_OK;
	char name[SEGMENT_NAME_MAX];
	size_t n = 0;

	if (iov == NULL)
		return SPOOL_NO_MEMORY;
	for (size_t i = 0; i < g->n; i++) {
		struct delivery *d = g->list[i];
		const struct record *r = &d->place.record;

		if (has_file(d) || d->place.n == 0)
			continue;
		iov[n++] = (struct iovec){ d->place.header, r->header_len };
		iov[n++] = (struct iovec){ d->buf, d->len };
		iov[n++] = (struct iovec){ (void *)(uintptr_t)DELIVERY_END, DELIVERY_END_LEN };
		iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros,
			record_blocks(r) * RECORD_BLOCK - r->header_len - r->wire_len };
	}
	if (disk_write(g->spool->disk, g->segment->fd, iov, n, start * RECORD_BLOCK) != 0 ||
	    (n > RECORD_VECTORS && disk_start_writing(g->segment->fd, start * RECORD_BLOCK,
				       (end - start) * RECORD_BLOCK) != 0))
		st = spool_failed(
		    "segment_write_failed", segment_name(name, g->segment->id.number), errno);
	free(iov);
	return st;
}

static enum spool_status
sync_small(struct group *g)
{
	char name[SEGMENT_NAME_MAX];

	if (disk_sync_data(g->spool->disk, g->segment->fd) != 0 || has_no_name(g->segment->fd))
		return spool_failed(
		    "segment_write_failed", segment_name(name, g->segment->id.number), errno);
	return SPOOL_OK;
}

/* The body is on disk; now the header, and then a name. */
static enum spool_status
write_file(struct group *g, struct delivery *d)
{
	const struct disk_ops *disk = g->spool->disk;
	uint8_t block[RECORD_BLOCK] = { 0 };
	struct iovec iov[2] = {
		{ block, sizeof(block) },
		{ d->place.header, d->place.record.header_len },
	};
	char name[SEGMENT_NAME_MAX];

	segment_header_encode(block, &d->place.id);
	segment_name(name, d->place.id.number);
	if (disk_write(disk, d->fd, iov, 2, 0) != 0 || disk_sync_data(disk, d->fd) != 0)
		return spool_failed("segment_write_failed", name, errno);
	if (disk_name_tmp(disk, g->spool->segments_fd, d->fd, d->tmp, name) != 0) {
		/* The disk may have done it all the same: taken back as if it had, unless
		 * the name is somebody else's. */
		d->place.linked = errno != EEXIST;
		return spool_failed("segment_link_failed", name, errno);
	}
	d->place.linked = true;
	if (disk_sync(disk, d->fd) != 0)
		return spool_failed("segment_write_failed", name, errno);
	return SPOOL_OK;
}

static enum spool_status
write_files(struct group *g)
{
	enum spool_status st = SPOOL_OK;
	bool linked = false;

	for (size_t i = 0; st == SPOOL_OK && i < g->n; i++)
		if (has_file(g->list[i]) && g->list[i]->place.n > 0) {
			st = write_file(g, g->list[i]);
			linked = true;
		}
	if (st == SPOOL_OK && linked && disk_sync(g->spool->disk, g->spool->segments_fd) != 0)
		st = spool_failed("segment_write_failed", "segments", errno);
	return st;
}

/* --- rows ----------------------------------------------------------------- */

static enum spool_status
enter_delivery(struct group *g, struct index_conn *c, const struct delivery *d)
{
	const struct record *r = &d->place.record;
	enum spool_status st;
	sqlite3_stmt *stmt;
	size_t held;

	st = entry_add(c, &g->tally, delivery_message(d), r, d->env->reverse_path, d->place.list,
	    d->place.n, &held);
	if (st != SPOOL_OK || !has_file(d))
		return st;
	stmt = index_stmt(c, "INSERT INTO segment VALUES (?1, 1, ?2, 1)");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)d->place.id.number);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)(r->block + record_blocks(r)));
	return index_run(c, stmt);
}

/* The segment's row, past what was written. */
static enum spool_status
move_mark(struct group *g, struct index_conn *c, uint64_t end)
{
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;
	uint64_t live = 0;

	for (size_t i = 0; i < g->n; i++)
		live += g->list[i]->place.n > 0 && !has_file(g->list[i]);
	if (live > 0) {
		stmt = index_stmt(
		    c, "UPDATE segment SET mark = ?2, live = live + ?3 WHERE number = ?1");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)g->segment->id.number);
		sqlite3_bind_int64(stmt, 2, (sqlite3_int64)end);
		sqlite3_bind_int64(stmt, 3, (sqlite3_int64)live);
		st = index_run(c, stmt);
	}
	if (st == SPOOL_OK)
		st = closing_write(g->closing, c);
	return st;
}

void
closing_add(struct closing *closing, struct segment *s)
{
	if (mem_grow(&closing->list, &closing->cap, closing->n + 1, sizeof(*closing->list)) == 0)
		closing->list[closing->n++] = s->id.number;
	segment_close(s);
}

enum spool_status
closing_write(const struct closing *closing, struct index_conn *c)
{
	enum spool_status st = SPOOL_OK;
	sqlite3_stmt *stmt;

	for (size_t i = 0; st == SPOOL_OK && i < closing->n; i++) {
		stmt =
		    index_stmt(c, "UPDATE segment SET state = 1 WHERE number = ?1 AND state = 0");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)closing->list[i]);
		st = index_run(c, stmt);
	}
	return st;
}

/* --- the whole ------------------------------------------------------------ */

/* Takes back what was written: SPOOL_OK when that is on disk.  `unentered`: the write went well and the
 * rows failed, so nobody asked the disk yet, and the segment is as good as before. */
static enum spool_status
take_back(struct group *g, bool wrote_small, bool unentered, uint64_t start)
{
	struct spool *sp = g->spool;
	enum spool_status st = SPOOL_OK;
	char name[SEGMENT_NAME_MAX];
	bool unlinked = false;

	for (size_t i = 0; i < g->n; i++) {
		struct delivery *d = g->list[i];

		if (!d->place.linked)
			continue;
		unlinked = true;
		if (disk_unlink(
			sp->disk, sp->segments_fd, segment_name(name, d->place.id.number)) != 0)
			st = spool_failed("segment_unlink_failed", name, errno);
	}
	if (unlinked && disk_sync(sp->disk, sp->segments_fd) != 0)
		st = spool_failed("segment_unlink_failed", "segments", errno);
	if (!wrote_small)
		return st;
	/* Where more failed than its rows, it is never written again, cut or not; not cut, its row
	 * stays as it is, so that recovery looks at it. */
	if (segment_cut(sp, g->segment, start) == SPOOL_OK) {
		if (!unentered)
			closing_add(g->closing, g->segment);
	} else {
		segment_close(g->segment);
		st = SPOOL_IO;
	}
	return st;
}

static enum spool_status
prepare(struct group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct delivery *d = g->list[i];

		d->place.list = mem_array(d->env->n, sizeof(*d->place.list));
		d->place.sums = mem_array(d->env->n, sizeof(*d->place.sums));
		if (d->place.list == NULL || d->place.sums == NULL)
			return SPOOL_NO_MEMORY;
	}
	return SPOOL_OK;
}

/* What the mailboxes have used by now: settling read it before the message was entered. */
static enum spool_status
look_at_shares(struct group *g, struct index_conn *c, const struct delivery *d)
{
	const struct room_sum *sums = d->place.sums;
	enum spool_status st = SPOOL_OK;

	for (size_t i = 0; st == SPOOL_OK && i < d->env->n; i++)
		if (d->env->recipients[i].outcome == SPOOL_OK)
			st = warn_look(g->spool, c, d->env->recipients[i].mailbox,
			    sums[i].used + sums[i].octets, sums[i].quota);
	return st;
}

/* In turn: each finds used what those before it will use. */
static enum spool_status
settle_all(struct group *g, struct index_conn *c, uint64_t *end)
{
	enum spool_status st = SPOOL_OK;
	uint64_t now_ms = clock_wall_ms();

	for (size_t i = 0; st == SPOOL_OK && i < g->n; i++) {
		struct delivery *d = g->list[i];

		st = settle(g, c, d, now_ms);
		if (st == SPOOL_OK && d->place.n > 0)
			st = give_place(g, c, d, end);
	}
	return st;
}

static enum spool_status
enter_all(struct group *g, struct index_conn *c)
{
	enum spool_status st = SPOOL_OK;

	for (size_t i = 0; st == SPOOL_OK && i < g->n; i++) {
		const struct delivery *d = g->list[i];

		if (d->place.n > 0) {
			st = enter_delivery(g, c, d);
			if (st == SPOOL_OK)
				st = look_at_shares(g, c, d);
		}
	}
	return st == SPOOL_OK ? tally_write(&g->tally, c) : st;
}

/* Want of room says most: it may pass, and who is gone stays gone. */
static enum spool_status
why_nobody(const struct envelope *e)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->recipients[i].outcome == SPOOL_OVER_QUOTA ||
		    e->recipients[i].outcome == SPOOL_NEVER_FITS)
			return e->recipients[i].outcome;
	return e->n > 0 ? e->recipients[0].outcome : SPOOL_NO_MAILBOX;
}

static void
set_outcomes(struct group *g, enum spool_status st)
{
	/* What else SQLite may have said is nothing that a sender could act on. */
	if (st != SPOOL_OK && st != SPOOL_NO_SPACE && st != SPOOL_NO_MEMORY && st != SPOOL_UNKNOWN)
		st = SPOOL_IO;
	for (size_t i = 0; i < g->n; i++) {
		struct delivery *d = g->list[i];

		if (st != SPOOL_OK)
			delivery_fail(d, st);
		else if (d->place.n == 0)
			d->outcome = why_nobody(d->env);
	}
}

/* COMMIT, and what it made visible is not claimed any more. */
static enum spool_status
commit_and_release(struct group *g, struct index_conn **c)
{
	enum spool_status st;

	room_commit_begin(g->spool);
	st = index_write_commit(g->spool, c, false);
	if (st == SPOOL_OK)
		room_committed(g->spool);
	for (size_t i = 0; i < g->n; i++)
		room_release(g->spool, &g->list[i]->claim);
	room_commit_end(g->spool);
	return st;
}

void
group_commit(struct group *g)
{
	uint64_t start = g->segment->end, end = start;
	bool wrote_small = false, unentered = false;
	enum spool_status st;
	struct index_conn *c = NULL;

	st = prepare(g);
	if (st == SPOOL_OK)
		st = index_write_begin(g->spool, INDEX_MAIN, "delivery", &c);
	if (st == SPOOL_OK)
		st = settle_all(g, c, &end);
	if (st == SPOOL_OK && end > start) {
		wrote_small = true;
		st = write_small(g, start, end);
	}
	if (st == SPOOL_OK) {
		st = enter_all(g, c);
		unentered = st != SPOOL_OK;
	}
	if (st == SPOOL_OK && wrote_small)
		st = sync_small(g);
	if (st == SPOOL_OK)
		st = write_files(g);
	if (st == SPOOL_OK)
		st = move_mark(g, c, end);
	if (st == SPOOL_OK)
		st = commit_and_release(g, &c);
	else
		index_write_abandon(g->spool, &c);
	tally_clear(&g->tally);
	warn_looked(g->spool, st == SPOOL_OK);

	if (st == SPOOL_OK) {
		g->segment->end = end;
		/* One in which nothing lives any more could not go before. */
		if (g->closing->n > 0)
			keeper_wake(g->spool);
		g->closing->n = 0;
	} else if (st == SPOOL_UNKNOWN) {
		/* The rows may come back with a restart, and then need their records. */
		if (wrote_small)
			segment_close(g->segment);
	} else if (take_back(g, wrote_small, unentered, start) != SPOOL_OK) {
		st = SPOOL_UNKNOWN;
	}
	set_outcomes(g, st);
}
