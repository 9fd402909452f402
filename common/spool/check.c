/*
 * check - counts the whole store anew.
 *
 * All entries are read once, in the order of mailboxes, which gives the mailboxes' sums; then they
 * are sorted by message, garbage among them, which brings together who holds a message and what
 * lies beside it in its segment, and is walked along with holders, segments and files.  An entry
 * costs 16 octets meanwhile.
 *
 * The janitor's role is held, so that no file goes and nothing is given back under our eyes; what
 * else changes meanwhile lies behind the one state of the index that is read.
 */
#include "check_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "account_internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "lock.h"
#include "maildrop_internal.h"
#include "record.h"
#include "recover.h"
#include "segment.h"
#include "spool_internal.h"

/* How long a round of upkeep is waited for. */
#define WAIT_TRIES 600
#define WAIT_MS 50
/* Blocks of the largest record: nothing that fits a segment has more. */
#define BLOCKS_MAX (1u << MESSAGE_BLOCK_BITS)

static const char sql_mailboxes[] = "SELECT id, used, messages FROM mailbox ORDER BY id";

static const char sql_entries[] = "SELECT mailbox, message, octets, blocks, state, removed_s"
				  " FROM entry ORDER BY mailbox, message";

static const char sql_segments[] = "SELECT number, state, mark, live FROM segment ORDER BY number";

static const char sql_meta[] = "SELECT value FROM meta WHERE key = ?1";

static const char sql_address[] = "SELECT m.local, d.name FROM mailbox m"
				  " JOIN domain d ON d.id = m.domain WHERE m.id = ?1";

static const char sql_uid[] = "SELECT uid FROM entry WHERE mailbox = ?1 AND message = ?2";

/* All that changes these changes them by how much; so what they are off by stays the same until it is
 * taken away, whatever happens meanwhile. */
static const char sql_used[] = "UPDATE mailbox SET used = used + ?2 WHERE id = ?1";
static const char sql_messages[] = "UPDATE mailbox SET messages = messages + ?2 WHERE id = ?1";
static const char sql_live[] = "UPDATE segment SET live = live + ?2 WHERE number = ?1";
static const char sql_kept[] = "UPDATE meta SET value = value + ?1 WHERE key = 'kept_blocks'";

static const char sql_removed[] = "UPDATE entry SET removed_s = ?3 WHERE mailbox = ?1"
				  " AND message = ?2 AND state = 1 AND removed_s IS NULL";
static const char sql_closed[] = "UPDATE segment SET state = 1 WHERE number = ?1";
static const char sql_unfinished[] =
    "UPDATE segment SET state = 0, mark = max(mark, ?2) WHERE number = ?1 AND state = 1";
static const char sql_forget[] = "DELETE FROM segment WHERE number = ?1 AND live = 0";
static const char sql_newest[] =
    "UPDATE meta SET value = max(value, ?1) WHERE key = 'newest_segment'";

/* --- findings ------------------------------------------------------------- */

/* The texts of a finding's names; one that cannot be had is left out. */
struct names {
	char address[ACCOUNT_ADDRESS_MAX], uid[MAILDROP_UID_MAX + 1];
};

static void
name_mailbox(struct check *k, uint64_t mailbox, struct names *names)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_address, "u", mailbox);
	bool row;

	names->address[0] = '\0';
	if (index_step(k->c, stmt, &row) != SPOOL_OK || !row)
		return;
	if (account_text_address(stmt, 0, 1, names->address) != SPOOL_OK)
		names->address[0] = '\0';
	sqlite3_reset(stmt);
}

static void
name_message(struct check *k, uint64_t mailbox, uint64_t message, struct names *names)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_uid, "uu", mailbox, message);
	bool row;

	spool_uid_format(names->uid, message);
	if (index_step(k->c, stmt, &row) != SPOOL_OK || !row)
		return;
	maildrop_write_uid(names->uid, message, (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_reset(stmt);
}

static void __attribute__((format(printf, 5, 0)))
say(struct check *k, uint64_t mailbox, uint64_t message, bool note, const char *fmt, va_list ap)
{
	struct names names = { "", "" };
	char what[CHECK_WHAT_MAX];
	struct check_finding f = { .what = what, .note = note, .mended = k->mended };

	vsnprintf(what, sizeof(what), fmt, ap);
	if (mailbox != 0)
		name_mailbox(k, mailbox, &names);
	if (message != 0)
		name_message(k, mailbox, message, &names);
	f.address = names.address[0] != '\0' ? names.address : NULL;
	f.uid = message != 0 ? names.uid : NULL;
	k->result->wrong += !note;
	k->result->mended += k->mended && !note;
	k->mended = false;
	k->options->each(k->options->arg, &f);
}

void
check_say(struct check *k, uint64_t mailbox, uint64_t message, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, mailbox, message, false, fmt, ap);
	va_end(ap);
}

void
check_note(struct check *k, uint64_t mailbox, uint64_t message, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, mailbox, message, true, fmt, ap);
	va_end(ap);
}

/* --- mailboxes ------------------------------------------------------------ */

static enum spool_status
read_mailboxes(struct check *k)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_mailboxes, "");
	enum spool_status st;
	struct check_mailbox *m;
	bool row;

	while ((st = index_step(k->c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&k->mailboxes, &k->mailboxes_cap, k->nmailboxes + 1, sizeof(*m)) != 0)
			return SPOOL_NO_MEMORY;
		m = &k->mailboxes[k->nmailboxes++];
		m->id = account_u64(stmt, 0);
		m->used = (uint64_t)sqlite3_column_int64(stmt, 1);
		m->messages = (uint64_t)sqlite3_column_int64(stmt, 2);
	}
	k->result->mailboxes = k->nmailboxes;
	return st;
}

enum spool_status
check_add_ref(
    struct check *k, uint64_t message, uint32_t mailbox, uint64_t blocks, enum check_kind kind)
{
	struct check_ref *r;

	if (mem_grow(&k->refs, &k->refs_cap, k->nrefs + 1, sizeof(*r)) != 0)
		return SPOOL_NO_MEMORY;
	r = &k->refs[k->nrefs++];
	r->message = message;
	r->mailbox = mailbox;
	r->kind = (unsigned)kind & 3;
	r->blocks = (uint32_t)blocks & (BLOCKS_MAX - 1);
	return SPOOL_OK;
}

/* What one row says of itself. */
static void
check_entry(struct check *k, sqlite3_stmt *stmt, bool has_mailbox)
{
	uint64_t mailbox = account_u64(stmt, 0), message = account_u64(stmt, 1);
	int64_t blocks = sqlite3_column_int64(stmt, 3);
	int state = sqlite3_column_int(stmt, 4);

	if (!has_mailbox)
		check_say(k, mailbox, message,
		    "is in mailbox %" PRIu64 ", which is not there: nobody can read or remove it",
		    mailbox);
	if (blocks < 1 || blocks >= BLOCKS_MAX)
		check_say(
		    k, mailbox, message, "takes %" PRId64 " blocks: it cannot be read", blocks);
	if (state < 0 || state > 2)
		check_say(k, mailbox, message,
		    "has the state %d, which means nothing: POP3 does not show it", state);
	if (state == 1 && sqlite3_column_type(stmt, 5) == SQLITE_NULL) {
		check_mend(k, sql_removed, "uuu", mailbox, message, clock_wall_ms() / 1000);
		check_say(k, mailbox, message,
		    "was deleted and is kept, it is not known since when: it is kept for ever");
	}
}

static enum spool_status
read_entries(struct check *k)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_entries, "");
	enum spool_status st;
	size_t at = 0;
	bool row;

	while ((st = index_step(k->c, stmt, &row)) == SPOOL_OK && row) {
		uint64_t mailbox = account_u64(stmt, 0), blocks = account_u64(stmt, 3);
		int state = sqlite3_column_int(stmt, 4);
		bool live = state == 0, has_mailbox;

		while (at < k->nmailboxes && k->mailboxes[at].id < mailbox)
			at++;
		has_mailbox = at < k->nmailboxes && k->mailboxes[at].id == mailbox;
		check_entry(k, stmt, has_mailbox);
		if (live && has_mailbox) {
			k->mailboxes[at].octets += account_u64(stmt, 2);
			k->mailboxes[at].count++;
		}
		if (!live && state != 2)
			k->kept_blocks += blocks;
		k->result->set_apart += state == 2;
		st = check_add_ref(k, account_u64(stmt, 1),
		    has_mailbox ? (uint32_t)at : CHECK_NOBODY, blocks,
		    live         ? CHECK_LIVE
		    : state == 2 ? CHECK_APART
				 : CHECK_KEPT);
		if (st != SPOOL_OK)
			break;
	}
	return st;
}

static void
check_mailboxes(struct check *k)
{
	for (size_t i = 0; i < k->nmailboxes; i++) {
		const struct check_mailbox *m = &k->mailboxes[i];

		k->result->messages += m->count;
		if (m->used != m->octets) {
			check_mend(k, sql_used, "uu", m->id, m->octets - m->used);
			check_say(k, m->id, 0,
			    "counts %" PRId64 " octets and holds %" PRIu64
			    ": its quota lets in too little or too much",
			    (int64_t)m->used, m->octets);
		}
		if (m->messages != m->count) {
			check_mend(k, sql_messages, "uu", m->id, m->count - m->messages);
			check_say(k, m->id, 0, "counts %" PRId64 " messages and holds %" PRIu64,
			    (int64_t)m->messages, m->count);
		}
	}
}

/* --- segments ------------------------------------------------------------- */

static enum spool_status
read_segments(struct check *k)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_segments, "");
	enum spool_status st;
	struct check_segment *s;
	bool row;

	while ((st = index_step(k->c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&k->segments, &k->segments_cap, k->nsegments + 1, sizeof(*s)) != 0)
			return SPOOL_NO_MEMORY;
		s = &k->segments[k->nsegments++];
		s->number = account_u64(stmt, 0);
		s->state = sqlite3_column_int(stmt, 1);
		s->mark = account_u64(stmt, 2);
		s->live = (uint64_t)sqlite3_column_int64(stmt, 3);
		s->file = files_find(&k->files, s->number);
	}
	return st;
}

static int
compare_segments(const void *a, const void *b)
{
	const struct check_segment *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

struct check_segment *
check_find_segment(struct check *k, uint64_t number)
{
	const struct check_segment key = { .number = number };

	if (k->nsegments == 0)
		return NULL;
	return bsearch(&key, k->segments, k->nsegments, sizeof(*k->segments), compare_segments);
}

/* Whether recovery would enter anything that lies in the file at `block` or behind. */
static bool
has_record(struct check *k, const struct check_segment *s, uint64_t block)
{
	char name[SEGMENT_NAME_MAX];
	struct record_envelope e;
	struct segment_id id;
	struct record r;
	bool found = false;
	int fd;

	fd = openat(k->sp->segments_fd, segment_name(name, s->number), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (segment_header_is(fd, s->number, &id))
		for (; !found && block * RECORD_BLOCK < s->file->size; block++)
			found = recover_read(fd, &id, block, &r, &e) == SPOOL_OK;
	if (found)
		record_envelope_release(&e);
	close(fd);
	return found;
}

/* A closed segment has no mail behind its mark: recovery went to the end, and so did its writer.  One
 * that was taken for closed while its writer lived has, and it was acknowledged. */
void
check_end(struct check *k, const struct check_segment *s)
{
	uint64_t end = s->end > s->mark ? s->end : s->mark;

	if (s->file == NULL || s->state != 1 || s->file->size <= end * RECORD_BLOCK ||
	    !has_record(k, s, end))
		return;
	check_mend(k, sql_unfinished, "uu", s->number, end);
	k->recover = k->options->repair;
	check_say(k, 0, 0,
	    "segment %" PRIu64 " has mail behind block %" PRIu64
	    ", where it is said to end: it is in no mailbox",
	    s->number, end);
}

/* After the walk, when it is known what lives in each. */
static void
check_segments(struct check *k)
{
	for (size_t i = 0; i < k->nsegments; i++) {
		struct check_segment *s = &k->segments[i];

		s->is_short = s->file != NULL && s->state == 1 && s->mark > 1 &&
		              (s->mark - 1) * RECORD_BLOCK >= s->file->size;
		if (s->state < 0 || s->state > 2) {
			check_mend(k, sql_closed, "u", s->number);
			check_say(k, 0, 0,
			    "segment %" PRIu64 " has the state %d, which means nothing", s->number,
			    s->state);
		}
		/* Else when its header is mended. */
		if (k->options->quick)
			check_end(k, s);
		if (s->live != s->found) {
			check_mend(k, sql_live, "uu", s->number, s->found - s->live);
			check_say(k, 0, 0,
			    "segment %" PRIu64 " counts %" PRId64 " messages and has %" PRIu64
			    ": its file goes too early or never",
			    s->number, (int64_t)s->live, s->found);
		}
		if (s->state != 2 && s->file == NULL && s->found == 0) {
			check_mend(k, sql_forget, "u", s->number);
			check_say(k, 0, 0, "segment %" PRIu64 " has no file", s->number);
		}
	}
}

static enum spool_status
read_meta(struct check *k, const char *key, uint64_t *value_r)
{
	int64_t value = 0;
	enum spool_status st = index_number(k->c, account_query(k->c, sql_meta, "t", key), &value);

	*value_r = (uint64_t)value;
	return st;
}

/* Of a file that the index does not know, so that nothing but its first record is known of it. */
static void
look_at_header(struct check *k, uint64_t number)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	char name[SEGMENT_NAME_MAX];
	struct segment_id id;
	int fd;

	fd = openat(k->sp->segments_fd, segment_name(name, number), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pread(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf))
		check_header(k, fd, number, k->nrefs, buf, &id);
	close(fd);
}

/* Files of numbers that were given after our state of the index are none of our business. */
static enum spool_status
check_meta(struct check *k)
{
	enum spool_status st;
	uint64_t kept, newest, indexed = 0;

	st = read_meta(k, "kept_blocks", &kept);
	if (st == SPOOL_OK)
		st = read_meta(k, "newest_segment", &newest);
	if (st != SPOOL_OK)
		return st;
	if (kept != k->kept_blocks) {
		check_mend(k, sql_kept, "u", k->kept_blocks - kept);
		check_say(k, 0, 0,
		    "%" PRId64 " blocks are counted as kept and %" PRIu64
		    " are: keep_deleted_max is held to wrongly",
		    (int64_t)kept, k->kept_blocks);
	}
	if (k->nsegments > 0 && k->segments[k->nsegments - 1].number > newest) {
		check_mend(k, sql_newest, "u", k->segments[k->nsegments - 1].number);
		check_say(k, 0, 0,
		    "segment %" PRIu64 " is above %" PRIu64
		    ", the newest number: a UID may be given twice",
		    k->segments[k->nsegments - 1].number, newest);
	}
	for (size_t i = 0; i < k->files.n; i++) {
		k->result->space.given_back += k->files.list[i].given_back;
		if (k->files.list[i].number <= newest &&
		    check_find_segment(k, k->files.list[i].number) == NULL) {
			k->recover = k->options->repair;
			check_say(k, 0, 0,
			    "segments/%" PRIu64
			    " is not in the index: what is in it is in no mailbox",
			    k->files.list[i].number);
			look_at_header(k, k->files.list[i].number);
		}
	}
	for (size_t i = 0; i < k->nsegments; i++)
		if (k->segments[i].state < 2 && k->segments[i].mark > 0)
			indexed += k->segments[i].mark - 1;
	files_add_dead(k->sp, indexed, &k->result->space);
	return st;
}

/* --- the whole ------------------------------------------------------------ */

static enum spool_status
check_index(struct check *k)
{
	enum spool_status st;

	st = read_mailboxes(k);
	/* Only now, when our state of the index stands, so that each of its files is seen. */
	if (st == SPOOL_OK)
		st = files_list(k->sp, &k->files);
	if (st == SPOOL_OK)
		st = read_segments(k);
	if (st == SPOOL_OK)
		st = read_entries(k);
	if (st == SPOOL_OK)
		st = check_read_garbage(k);
	if (st != SPOOL_OK)
		return st;
	check_mailboxes(k);
	st = check_messages(k);
	if (st != SPOOL_OK)
		return st;
	check_segments(k);
	return check_meta(k);
}

/* With the janitor's round mutex. */
static enum spool_status
hold_janitor(struct spool *sp)
{
	const struct timespec pause = { .tv_nsec = WAIT_MS * 1000000L };
	int rc = 1;

	for (int i = 0; rc > 0 && i < WAIT_TRIES; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		rc = lock_role_try(&sp->locks, LOCK_JANITOR, false);
	}
	return rc == 0 ? SPOOL_OK : rc > 0 ? SPOOL_BUSY : SPOOL_IO;
}

/* The first part, with the janitor's role. */
static enum spool_status
check_count(struct check *k)
{
	enum spool_status st;

	pthread_mutex_lock(&k->sp->round_mutex);
	st = hold_janitor(k->sp);
	if (st == SPOOL_OK) {
		st = index_read_begin(k->sp, INDEX_MAIN, &k->c);
		if (st == SPOOL_OK)
			st = check_index(k);
		index_read_end(k->sp, &k->c);
		lock_role_release(&k->sp->locks, LOCK_JANITOR);
	}
	pthread_mutex_unlock(&k->sp->round_mutex);
	return st;
}

/* Files that the index does not know come in as at a start: by who has the recovery byte. */
static enum spool_status
recover(struct check *k)
{
	enum spool_status st;

	if (!k->recover || lock_role_try(&k->sp->locks, LOCK_RECOVERY, false) != 0)
		return SPOOL_OK;
	st = recover_spool(k->sp);
	lock_role_release(&k->sp->locks, LOCK_RECOVERY);
	return st;
}

enum spool_status
check_spool(struct spool *sp, const struct check_options *options, struct check_result *r)
{
	struct check k = { .sp = sp, .options = options, .result = r };
	enum spool_status st;

	*r = (struct check_result){ 0 };
	st = check_count(&k);
	if (st == SPOOL_OK && !options->quick)
		st = check_records(&k);
	if (st == SPOOL_OK)
		st = recover(&k);
	if (st == SPOOL_OK)
		st = k.failed;
	/* What was mended is told as such. */
	if (st == SPOOL_OK && options->repair)
		st = index_sync(sp);
	files_release(&k.files);
	free(k.segments);
	free(k.refs);
	free(k.mailboxes);
	return st;
}

enum spool_status
check_run(struct spool *sp, void (*each)(void *arg, const struct check_finding *), void *arg,
    struct check_result *r)
{
	const struct check_options options = { .quick = true, .each = each, .arg = arg };

	return check_spool(sp, &options, r);
}
