/*
 * check_records - every record that an entry names is read.
 *
 * In order of message, so that each segment is read from its beginning to its end.  Nothing is held
 * meanwhile: neither a lock nor a state of the index.  What a record lacks is therefore told of an
 * entry only when that is still there afterwards: one that was removed, and its blocks given back, is
 * not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "apart.h"
#include "base/mem.h"
#include "check_internal.h"
#include "damaged.h"
#include "disk.h"
#include "recover.h"
#include "segment.h"
#include "spool_internal.h"

/* Octets between two times that progress is told. */
#define PROGRESS_STEP (UINT64_C(4) << 20)

static const char sql_entry[] = "SELECT state, octets, blocks FROM entry"
				" WHERE mailbox = ?1 AND message = ?2";

/* A file that was cut stays so; what is left of it is read. */
static const char sql_cut_mark[] =
    "UPDATE segment SET mark = min(mark, ?2) WHERE number = ?1 AND state = 1";

static const char sql_raise_mark[] =
    "UPDATE segment SET mark = max(mark, ?2) WHERE number = ?1 AND state = 1";

/* The segment that is being read. */
struct reader {
	struct check *k;
	uint64_t number; /* 0: none yet */
	int fd;          /* owned; -1 */
	struct segment_id id;
	const char *why; /* it cannot be read; NULL: it can */
	int damaged_fd;  /* owned: SPOOL/damaged/, made when the first is copied; -1 */
	size_t at;       /* in check.refs */
	uint64_t done, told, all;
};

/* One record, and who has it. */
struct subject {
	uint64_t message;
	bool whole;
	struct record r; /* these two only when it is whole */
	struct record_envelope e;
	uint32_t blocks; /* as the entries say */
};

/* SPOOL_NO_MEMORY for what passes, such as too many open files: that is no damage of the segment. */
static enum spool_status
open_segment(struct reader *in, uint64_t number)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;

	if (number == in->number)
		return SPOOL_OK;
	if (in->fd >= 0)
		close(in->fd);
	in->number = number;
	in->why = NULL;
	in->fd = openat(in->k->sp->segments_fd, segment_name(name, number), O_RDONLY | O_CLOEXEC);
	if (in->fd < 0 && errno == ENOENT) {
		in->why = "whose file is gone";
	} else if (in->fd < 0) {
		st = spool_failed("segment_open_failed", name, errno);
		if (st == SPOOL_NO_MEMORY)
			return st;
		in->why = "whose file cannot be opened";
	} else if (pread(in->fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf)) {
		in->why = "whose file cannot be read";
	} else if (check_header(in->k, in->fd, number, in->at, buf, &in->id) != SPOOL_OK) {
		in->why = "whose header is damaged";
	}
	return SPOOL_OK;
}

static void
tell_progress(struct reader *in, uint64_t blocks)
{
	const struct check_options *o = in->k->options;

	in->done += blocks * RECORD_BLOCK;
	if (o->progress == NULL || in->done - in->told < PROGRESS_STEP)
		return;
	in->told = in->done;
	o->progress(o->arg, in->done, in->all);
}

/* --- keeping a copy -------------------------------------------------------- */

static int
open_damaged(struct reader *in)
{
	if (in->damaged_fd < 0)
		in->damaged_fd = damaged_folder(in->k->sp);
	return in->damaged_fd;
}

/* A record that is copied. */
struct copy {
	struct reader *in;
	const struct subject *s;
};

/* What can be read of its blocks; zeros for what cannot. */
static int
copy_blocks(void *arg, int fd)
{
	const struct copy *copy = arg;
	struct reader *in = copy->in;
	uint8_t block[RECORD_BLOCK];
	uint64_t from = message_block(copy->s->message) * RECORD_BLOCK;

	for (uint64_t i = 0; i < copy->s->blocks; i++) {
		ssize_t n = pread(in->fd, block, sizeof(block), (off_t)(from + i * RECORD_BLOCK));

		if (n == 0)
			break;
		if (n < 0)
			n = 0;
		memset(block + n, 0, sizeof(block) - (size_t)n);
		if (disk_write_buf(in->k->sp->disk, fd, block, sizeof(block), i * RECORD_BLOCK) !=
		    0)
			return -1;
	}
	return 0;
}

/* SPOOL/damaged/UID: the record as it was found.  One that is there already stays. */
static enum spool_status
copy_aside(struct reader *in, const struct subject *s)
{
	struct copy copy = { in, s };
	char uid[SPOOL_UID_LEN + 1];
	int dir;

	if (in->fd < 0)
		return SPOOL_OK;
	spool_uid_format(uid, s->message);
	dir = open_damaged(in);
	if (dir < 0)
		return spool_failed("copy_failed", in->k->sp->dir, errno);
	if (damaged_keep(in->k->sp, dir, uid, copy_blocks, &copy) != 0)
		return spool_failed("copy_failed", uid, errno);
	return SPOOL_OK;
}

/* --- entries --------------------------------------------------------------- */

/* Sets the entry apart, or takes it back, in a transaction; counts what is. */
static void
move_entry(struct check *k, const struct subject *s, uint64_t mailbox, bool apart)
{
	struct index_conn *c;
	enum spool_status st;
	bool done = false;

	st = index_write_begin(k->sp, INDEX_MAIN, "repair", &c);
	if (st == SPOOL_OK)
		st = apart ? apart_set(c, mailbox, s->message, &done)
		           : apart_take_back(c, mailbox, s->message, &done);
	/* It was lowered when the file was shorter. */
	if (st == SPOOL_OK && !apart)
		st = account_run(c, sql_raise_mark, "uu", message_segment(s->message),
		    message_block(s->message) + s->blocks);
	if (st == SPOOL_OK)
		st = index_write_commit(k->sp, &c, false);
	else
		index_write_abandon(k->sp, &c);
	if (st != SPOOL_OK && k->failed == SPOOL_OK)
		k->failed = st;
	k->mended = st == SPOOL_OK && done;
	if (k->mended && apart)
		k->result->set_apart++;
	else if (k->mended)
		k->result->set_apart--;
}

static void
say_damaged(struct reader *in, const struct subject *s, uint64_t mailbox)
{
	struct check *k = in->k;
	enum spool_status st = SPOOL_OK;

	if (k->options->repair) {
		st = copy_aside(in, s);
		if (st == SPOOL_OK)
			move_entry(k, s, mailbox, true);
		else if (k->failed == SPOOL_OK)
			k->failed = st;
	}
	if (in->why != NULL)
		check_say(k, mailbox, s->message,
		    "lies in segment %" PRIu64 ", %s: it cannot be read, and logins to its mailbox "
		    "are refused until it is put back or set apart",
		    in->number, in->why);
	else
		check_say(k, mailbox, s->message,
		    "its record is damaged: it cannot be read as it was, and RETR is refused");
}

static void
say_whole_again(struct check *k, const struct subject *s, uint64_t mailbox)
{
	if (k->options->repair)
		move_entry(k, s, mailbox, false);
	check_say(k, mailbox, s->message, "is set apart, and is whole again: it can be shown");
}

/* What the entry says of a record that is whole. */
static void
compare(
    struct check *k, const struct subject *s, uint64_t mailbox, uint64_t octets, uint64_t blocks)
{
	const struct record_recipient *to = NULL;

	for (size_t i = 0; to == NULL && i < s->e.n; i++)
		if (s->e.list[i].mailbox == mailbox)
			to = &s->e.list[i];
	if (to == NULL) {
		check_say(k, mailbox, s->message,
		    "was for somebody else, as its record says: RETR is refused");
		return;
	}
	if (s->r.octets + record_prefix_len(s->e.reverse_path, to->written) != octets)
		check_say(k, mailbox, s->message,
		    "counts %" PRIu64 " octets and has %" PRIu64 ": RETR is refused", octets,
		    s->r.octets + record_prefix_len(s->e.reverse_path, to->written));
	if (record_blocks(&s->r) != blocks) {
		check_mend_blocks(k, mailbox, s->message, record_blocks(&s->r));
		check_say(k, mailbox, s->message,
		    "takes %" PRIu64 " blocks and counts %" PRIu64
		    ": too few or too many are given back when it goes",
		    record_blocks(&s->r), blocks);
	}
}

/* One entry as it is now. */
static enum spool_status
check_now(struct reader *in, const struct subject *s, uint64_t mailbox)
{
	struct check *k = in->k;
	uint64_t octets = 0, blocks = 0;
	enum spool_status st;
	sqlite3_stmt *stmt;
	int state = 0;
	bool row;

	stmt = account_query(k->c, sql_entry, "uu", mailbox, s->message);
	st = index_step(k->c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	state = sqlite3_column_int(stmt, 0);
	octets = account_u64(stmt, 1);
	blocks = account_u64(stmt, 2);
	sqlite3_reset(stmt);
	if (state == 2 && s->whole)
		say_whole_again(k, s, mailbox);
	else if (state == 2)
		check_note(k, mailbox, s->message,
		    "is set apart: its record is damaged or gone, and it is not shown");
	else if (!s->whole)
		say_damaged(in, s, mailbox);
	else
		compare(k, s, mailbox, octets, blocks);
	return st;
}

/* --- records --------------------------------------------------------------- */

static enum spool_status
read_subject(struct reader *in, struct subject *s)
{
	enum spool_status st = open_segment(in, message_segment(s->message));

	s->whole = false;
	if (st != SPOOL_OK || in->why != NULL)
		return st;
	st = recover_read(in->fd, &in->id, message_block(s->message), &s->r, &s->e);
	s->whole = st == SPOOL_OK;
	in->k->result->records++;
	return st == SPOOL_NO_MESSAGE ? SPOOL_OK : st;
}

/* The entries of one message. */
static enum spool_status
check_subject(struct reader *in, const struct check_ref *list, size_t n)
{
	struct subject s = { .message = list[0].message, .blocks = list[0].blocks };
	struct check *k = in->k;
	enum spool_status st = read_subject(in, &s);

	if (st == SPOOL_OK)
		st = index_read_begin(k->sp, INDEX_MAIN, &k->c);
	for (size_t i = 0; st == SPOOL_OK && i < n; i++)
		if (list[i].mailbox != CHECK_NOBODY)
			st = check_now(in, &s, k->mailboxes[list[i].mailbox].id);
	index_read_end(k->sp, &k->c);
	if (s.whole)
		record_envelope_release(&s.e);
	tell_progress(in, list[0].blocks);
	return st;
}

/* Closed ones whose file lost its end.  After their entries, so that what they had there is apart by
 * now: the mailboxes are shown again. */
static enum spool_status
check_lengths(struct check *k)
{
	enum spool_status st = SPOOL_OK;

	for (size_t i = 0; st == SPOOL_OK && i < k->nsegments; i++) {
		const struct check_segment *s = &k->segments[i];

		if (!s->is_short || s->found == 0)
			continue;
		check_mend(k, sql_cut_mark, "uu", s->number,
		    (s->file->size + RECORD_BLOCK - 1) / RECORD_BLOCK);
		st = index_read_begin(k->sp, INDEX_MAIN, &k->c);
		if (st == SPOOL_OK)
			check_say(k, 0, 0,
			    "segment %" PRIu64
			    " is shorter than what was written to it: logins to mailboxes with "
			    "mail in it are refused",
			    s->number);
		index_read_end(k->sp, &k->c);
	}
	return st;
}

static enum spool_status
check_ends(struct check *k)
{
	enum spool_status st = index_read_begin(k->sp, INDEX_MAIN, &k->c);

	for (size_t i = 0; st == SPOOL_OK && i < k->nsegments; i++)
		check_end(k, &k->segments[i]);
	index_read_end(k->sp, &k->c);
	return st;
}

enum spool_status
check_records(struct check *k)
{
	struct reader in = { .k = k, .fd = -1, .damaged_fd = -1 };
	enum spool_status st = SPOOL_OK;

	for (size_t i = 0; i < k->nrefs; i++)
		if (i == 0 || k->refs[i].message != k->refs[i - 1].message)
			in.all += (uint64_t)k->refs[i].blocks * RECORD_BLOCK;
	for (size_t i = 0, n, all; st == SPOOL_OK && i < k->nrefs; i += all) {
		const struct check_ref *list = &k->refs[i];

		for (all = n = 0; i + all < k->nrefs && list[all].message == list[0].message; all++)
			n += list[all].kind != CHECK_GARBAGE;
		in.at = i;
		if (n > 0)
			st = check_subject(&in, list, n);
	}
	if (st == SPOOL_OK)
		st = check_lengths(k);
	if (st == SPOOL_OK)
		st = check_ends(k);
	if (in.fd >= 0)
		close(in.fd);
	if (in.damaged_fd >= 0)
		close(in.damaged_fd);
	return st;
}
