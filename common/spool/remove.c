/*
 * remove - entries, and with the last of a message the message itself.
 *
 * Invariants, true at the end of each transaction:
 *  1. mailbox.used and .messages are the sum and the count of its entries with state 0.
 *  2. holders has a row, with their number, for each message that more than one
 *     entry holds, kept ones included, and for no other.
 *  3. segment.live is the number of its messages that some entry holds; each other one is
 *     in garbage, or its blocks were given back.
 *  4. kept_blocks in meta is the sum of the blocks of the entries with state 1.
 *  5. removal has the last REMOVE_HISTORY removals of each mailbox, mailbox.removals is the
 *     number of all.
 */
#include "remove.h"

#include "base/clock.h"
#include "entry.h"
#include "record.h"
#include "spool_internal.h"

/* Entries that are taken out of the index at once when all go. */
#define BATCH 1000

/* What one call has found, not yet written: messages come in runs of one segment. */
struct removal {
	struct index_conn *c;
	uint64_t mailbox;
	bool keep;    /* an entry of the mailbox is kept */
	bool history; /* and remembered */
	enum remove_cause cause;
	uint64_t now_s;
	uint64_t number;          /* of removals of the mailbox before these */
	uint64_t octets, entries; /* taken out of the mailbox */
	uint64_t apart;           /* ended that were in none of its sums */
	int64_t kept_blocks;      /* more, or fewer, than before */
	uint64_t segment;
	uint64_t dead; /* messages of this segment */
};

struct found {
	uint64_t octets, blocks;
	bool live, kept, apart;
};

const char *
remove_cause_text(unsigned cause)
{
	static const char *const texts[] = {
		[REMOVE_POP3] = "pop3",
		[REMOVE_EXPIRE] = "expire",
		[REMOVE_ADMIN] = "admin",
	};

	return cause < sizeof(texts) / sizeof(texts[0]) ? texts[cause] : "?";
}

static enum spool_status
flush_segment(struct removal *r)
{
	sqlite3_stmt *stmt;

	if (r->dead == 0)
		return SPOOL_OK;
	stmt = index_stmt(r->c, "UPDATE segment SET live = live - ?2 WHERE number = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->segment);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)r->dead);
	r->dead = 0;
	return index_run(r->c, stmt);
}

static enum spool_status
make_garbage(struct removal *r, uint64_t message, uint64_t blocks)
{
	enum spool_status st = SPOOL_OK;

	if (message_segment(message) != r->segment)
		st = flush_segment(r);
	if (st != SPOOL_OK)
		return st;
	r->segment = message_segment(message);
	r->dead++;
	return entry_add_garbage(r->c, message, blocks);
}

/* One entry fewer holds the message; *last_r when it was the only one. */
static enum spool_status
drop_holder(struct removal *r, uint64_t message, bool *last_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	sqlite3_int64 n;
	bool row;

	stmt = index_stmt(r->c, "SELECT n FROM holders WHERE message = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	st = index_step(r->c, stmt, &row);
	*last_r = !row;
	if (st != SPOOL_OK || !row)
		return st;
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	if (n > 2) {
		stmt = index_stmt(r->c, "UPDATE holders SET n = ?2 WHERE message = ?1");
		sqlite3_bind_int64(stmt, 2, n - 1);
	} else {
		stmt = index_stmt(r->c, "DELETE FROM holders WHERE message = ?1");
	}
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message);
	return index_run(r->c, stmt);
}

static enum spool_status
find(struct removal *r, uint64_t message, struct found *f, bool *row_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;

	stmt = index_stmt(
	    r->c, "SELECT octets, blocks, state FROM entry WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	st = index_step(r->c, stmt, row_r);
	if (st != SPOOL_OK || !*row_r)
		return st;
	f->octets = (uint64_t)sqlite3_column_int64(stmt, 0);
	f->blocks = (uint64_t)sqlite3_column_int64(stmt, 1);
	f->live = sqlite3_column_int(stmt, 2) == 0;
	f->kept = sqlite3_column_int(stmt, 2) == 1;
	f->apart = sqlite3_column_int(stmt, 2) == 2;
	sqlite3_reset(stmt);
	return st;
}

static enum spool_status
remember(struct removal *r, uint64_t message)
{
	uint64_t number = r->number + r->entries + r->apart;
	sqlite3_stmt *stmt;

	stmt = index_stmt(r->c,
	    "INSERT OR REPLACE INTO removal (mailbox, slot, number, removed_s, cause, message, uid,"
	    " octets, received_ms, reverse_path)"
	    " SELECT mailbox, ?3, ?4, ?5, ?6, message, uid, octets, received_ms, reverse_path"
	    " FROM entry WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)(number % REMOVE_HISTORY));
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)number);
	sqlite3_bind_int64(stmt, 5, (sqlite3_int64)r->now_s);
	sqlite3_bind_int64(stmt, 6, r->cause);
	return index_run(r->c, stmt);
}

static enum spool_status
keep_entry(struct removal *r, uint64_t message, const struct found *f)
{
	sqlite3_stmt *stmt;

	stmt = index_stmt(
	    r->c, "UPDATE entry SET state = 1, removed_s = ?3 WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)r->now_s);
	r->kept_blocks += (int64_t)f->blocks;
	return index_run(r->c, stmt);
}

static enum spool_status
end_entry(struct removal *r, uint64_t message, const struct found *f)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool last;

	if (f->kept)
		r->kept_blocks -= (int64_t)f->blocks;
	stmt = index_stmt(r->c, "DELETE FROM entry WHERE mailbox = ?1 AND message = ?2");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message);
	st = index_run(r->c, stmt);
	if (st == SPOOL_OK)
		st = drop_holder(r, message, &last);
	if (st == SPOOL_OK && last)
		st = make_garbage(r, message, f->blocks);
	return st;
}

/* Out of the mailbox, and with that to an end unless it is kept. */
static enum spool_status
take_out(struct removal *r, uint64_t message, const struct found *f)
{
	enum spool_status st = SPOOL_OK;

	if (r->history)
		st = remember(r, message);
	r->octets += f->octets;
	r->entries++;
	if (st != SPOOL_OK)
		return st;
	return r->keep ? keep_entry(r, message, f) : end_entry(r, message, f);
}

static enum spool_status
write_sums(struct removal *r)
{
	enum spool_status st = flush_segment(r);
	sqlite3_stmt *stmt;

	if (st == SPOOL_OK && r->entries + r->apart > 0) {
		stmt = index_stmt(r->c,
		    "UPDATE mailbox SET used = used - ?2, messages = messages - ?3,"
		    " removals = removals + ?4 WHERE id = ?1");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
		sqlite3_bind_int64(stmt, 2, (sqlite3_int64)r->octets);
		sqlite3_bind_int64(stmt, 3, (sqlite3_int64)r->entries);
		sqlite3_bind_int64(stmt, 4, (sqlite3_int64)(r->entries + r->apart));
		st = index_run(r->c, stmt);
	}
	if (st == SPOOL_OK && r->kept_blocks != 0) {
		stmt = index_stmt(
		    r->c, "UPDATE meta SET value = value + ?1 WHERE key = 'kept_blocks'");
		sqlite3_bind_int64(stmt, 1, r->kept_blocks);
		st = index_run(r->c, stmt);
	}
	return st;
}

static enum spool_status
read_number(struct removal *r)
{
	sqlite3_stmt *stmt = index_stmt(r->c, "SELECT removals FROM mailbox WHERE id = ?1");
	enum spool_status st;
	int64_t number = 0;

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	st = index_number(r->c, stmt, &number);
	r->number = (uint64_t)number;
	return st;
}

/* Was set apart, and goes for good: a damaged message is not kept. */
static enum spool_status
end_apart(struct removal *r, uint64_t message, const struct found *f)
{
	enum spool_status st = r->history ? remember(r, message) : SPOOL_OK;

	r->apart++;
	return st == SPOOL_OK ? end_entry(r, message, f) : st;
}

/* Live mail is taken out, kept mail ended, and so is what is set apart; REMOVE_ALL is all of these,
 * without a history. */
enum which { REMOVE_LIVE, REMOVE_KEPT, REMOVE_APART, REMOVE_ALL };

static enum spool_status
remove_each(struct removal *r, const uint64_t *messages, size_t n, enum which which)
{
	enum spool_status st = SPOOL_OK;
	struct found f;
	bool there;

	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		/* Earlier ones would be written over by those that follow. */
		r->history =
		    (which == REMOVE_LIVE || which == REMOVE_APART) && n - i <= REMOVE_HISTORY;
		st = find(r, messages[i], &f, &there);
		if (st != SPOOL_OK || !there)
			continue;
		if (f.live && (which == REMOVE_LIVE || which == REMOVE_ALL))
			st = take_out(r, messages[i], &f);
		else if (f.apart && which == REMOVE_APART)
			st = end_apart(r, messages[i], &f);
		else if (which == REMOVE_ALL || (f.kept && which == REMOVE_KEPT))
			st = end_entry(r, messages[i], &f);
	}
	return st == SPOOL_OK ? write_sums(r) : st;
}

enum spool_status
remove_entries(struct spool *sp, struct index_conn *c, uint64_t mailbox, const uint64_t *messages,
    size_t n, enum remove_cause cause)
{
	struct removal r = {
		.c = c,
		.mailbox = mailbox,
		.cause = cause,
		.now_s = clock_wall_ms() / 1000,
		.keep = atomic_load(&sp->keep_deleted_s) > 0,
	};
	enum spool_status st = read_number(&r);

	return st == SPOOL_OK ? remove_each(&r, messages, n, REMOVE_LIVE) : st;
}

enum spool_status
remove_kept(struct index_conn *c, uint64_t mailbox, const uint64_t *messages, size_t n)
{
	struct removal r = { .c = c, .mailbox = mailbox };

	return remove_each(&r, messages, n, REMOVE_KEPT);
}

enum spool_status
remove_apart(struct index_conn *c, uint64_t mailbox, const uint64_t *messages, size_t n,
    enum remove_cause cause)
{
	struct removal r = { .c = c, .mailbox = mailbox, .cause = cause };
	enum spool_status st;

	r.now_s = clock_wall_ms() / 1000;
	st = read_number(&r);
	return st == SPOOL_OK ? remove_each(&r, messages, n, REMOVE_APART) : st;
}

enum spool_status
remove_all_entries(struct index_conn *c, uint64_t mailbox)
{
	uint64_t messages[BATCH];
	struct removal r;
	enum spool_status st;
	sqlite3_stmt *stmt;
	size_t n;
	bool row;

	do {
		stmt = index_stmt(c, "SELECT message FROM entry WHERE mailbox = ?1 LIMIT ?2");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
		sqlite3_bind_int64(stmt, 2, BATCH);
		n = 0;
		r = (struct removal){ .c = c, .mailbox = mailbox };
		while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row)
			messages[n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
		if (st == SPOOL_OK)
			st = remove_each(&r, messages, n, REMOVE_ALL);
	} while (st == SPOOL_OK && n == BATCH);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(c, "DELETE FROM removal WHERE mailbox = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	return index_run(c, stmt);
}
