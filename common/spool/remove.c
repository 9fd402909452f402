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
#include "base/num.h"
#include "entry.h"
#include "record.h"
#include "spool_internal.h"

/* Entries that are taken out of the index at once when all go. */
#define BATCH 1000

/* The entries of a run. */
#define RUN_SQL "mailbox = ?1 AND message BETWEEN ?2 AND ?3"

/* What goes: mail that is in the mailbox, mail that is kept, mail that is set apart, or all of it,
 * without a history. */
enum which { REMOVE_LIVE, REMOVE_KEPT, REMOVE_APART, REMOVE_ALL };

/* As entry.state has it. */
enum { STATE_LIVE, STATE_KEPT, STATE_APART };

/* What one call has found, not yet written: messages come in order of their ids, so those of one
 * segment together. */
struct removal {
	struct index_conn *c;
	uint64_t mailbox;
	enum which which;
	bool keep; /* an entry of the mailbox is kept */
	enum remove_cause cause;
	uint64_t now_s;
	uint64_t number;          /* of removals of the mailbox before these */
	uint64_t octets, entries; /* taken out of the mailbox */
	uint64_t apart;           /* ended that were in none of its sums */
	int64_t kept_blocks;      /* more, or fewer, than before */
	uint64_t segment;
	uint64_t dead; /* messages of this segment */
};

/* Entries that go and between which the mailbox has no other one: a statement for all of them costs
 * a fraction of one for each. */
struct run {
	uint64_t first, last;
	size_t n;
	bool shared; /* some other mailbox has one of them, too */
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

/* A message that nobody holds any more. */
static enum spool_status
count_dead(struct removal *r, uint64_t message)
{
	enum spool_status st = SPOOL_OK;

	if (message_segment(message) != r->segment)
		st = flush_segment(r);
	r->segment = message_segment(message);
	r->dead++;
	return st;
}

static bool
goes(const struct removal *r, int state)
{
	static const int states[] = {
		[REMOVE_LIVE] = STATE_LIVE,
		[REMOVE_KEPT] = STATE_KEPT,
		[REMOVE_APART] = STATE_APART,
	};

	return r->which == REMOVE_ALL || state == states[r->which];
}

/* Puts one entry, a row of find_run(), into the run and into the sums. */
static enum spool_status
add_to_run(struct removal *r, struct run *run, sqlite3_stmt *row)
{
	uint64_t message = (uint64_t)sqlite3_column_int64(row, 0);
	int64_t blocks = sqlite3_column_int64(row, 2);
	int state = sqlite3_column_int(row, 3);

	if (run->n++ == 0)
		run->first = message;
	run->last = message;
	if (state == STATE_LIVE) {
		r->octets += (uint64_t)sqlite3_column_int64(row, 1);
		r->entries++;
	} else if (state == STATE_KEPT) {
		r->kept_blocks -= blocks;
	} else {
		r->apart++;
	}
	if (r->keep) {
		r->kept_blocks += blocks;
		return SPOOL_OK;
	}
	if (sqlite3_column_int(row, 4) == 0)
		return count_dead(r, message);
	run->shared = true;
	return SPOOL_OK;
}

/* The run that begins with messages[0], or none where the index has not got that one.  *used_r is how
 * many of the messages, which are in order, are done with then. */
static enum spool_status
find_run(struct removal *r, const uint64_t *messages, size_t n, struct run *run, size_t *used_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	size_t i = 0;
	bool row;

	*run = (struct run){ .n = 0 };
	stmt =
	    index_stmt(r->c, "SELECT message, octets, blocks, state,"
			     " EXISTS (SELECT 1 FROM holders h WHERE h.message = e.message)"
			     " FROM entry e WHERE mailbox = ?1 AND message >= ?2 ORDER BY message");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)messages[0]);
	while ((st = index_step(r->c, stmt, &row)) == SPOOL_OK && row) {
		if ((uint64_t)sqlite3_column_int64(stmt, 0) != messages[i] ||
		    !goes(r, sqlite3_column_int(stmt, 3)))
			break;
		st = add_to_run(r, run, stmt);
		if (st != SPOOL_OK || ++i == n)
			break;
	}
	if (row)
		sqlite3_reset(stmt);
	/* What stands at its place is another one, or stays. */
	*used_r = i > 0 ? i : 1;
	return st;
}

/* A statement about the run's entries; what else it needs is bound by the caller. */
static sqlite3_stmt *
run_stmt(struct removal *r, const struct run *run, const char *sql)
{
	sqlite3_stmt *stmt = index_stmt(r->c, sql);

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)run->first);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)run->last);
	return stmt;
}

/* One entry, a row of remember(). */
static enum spool_status
remember_row(struct removal *r, sqlite3_stmt *row, uint64_t number)
{
	sqlite3_stmt *stmt;

	stmt = index_stmt(r->c,
	    "INSERT OR REPLACE INTO removal (mailbox, slot, number, removed_s, cause, message, uid,"
	    " octets, received_ms, reverse_path) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->mailbox);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)(number % REMOVE_HISTORY));
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)number);
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)r->now_s);
	sqlite3_bind_int64(stmt, 5, r->cause);
	for (int i = 0; i < 5; i++)
		sqlite3_bind_value(stmt, 6 + i, sqlite3_column_value(row, i));
	return index_run(r->c, stmt);
}

/* Remembers the run's entries, which are the last ones so far. */
static enum spool_status
remember(struct removal *r, const struct run *run)
{
	uint64_t number = r->number + r->entries + r->apart - run->n;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	stmt = run_stmt(r, run,
	    "SELECT message, uid, octets, received_ms, reverse_path FROM entry WHERE " RUN_SQL
	    " ORDER BY message");
	while ((st = index_step(r->c, stmt, &row)) == SPOOL_OK && row) {
		st = remember_row(r, stmt, number++);
		if (st != SPOOL_OK)
			break;
	}
	if (row)
		sqlite3_reset(stmt);
	return st;
}

static enum spool_status
keep_run(struct removal *r, const struct run *run)
{
	sqlite3_stmt *stmt;

	stmt = run_stmt(r, run, "UPDATE entry SET state = 1, removed_s = ?4 WHERE " RUN_SQL);
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)r->now_s);
	return index_run(r->c, stmt);
}

/* One entry fewer holds each message of the run. */
static enum spool_status
drop_holders(struct removal *r, const struct run *run)
{
	enum spool_status st;

	st =
	    index_run(r->c, run_stmt(r, run,
				"UPDATE holders SET n = n - 1"
				" WHERE message IN (SELECT message FROM entry WHERE " RUN_SQL ")"));
	if (st != SPOOL_OK)
		return st;
	return index_run(
	    r->c, run_stmt(r, run,
		      "DELETE FROM holders WHERE n < 2"
		      " AND message IN (SELECT message FROM entry WHERE " RUN_SQL ")"));
}

static enum spool_status
end_run(struct removal *r, const struct run *run)
{
	enum spool_status st;

	st = index_run(
	    r->c, run_stmt(r, run,
		      "INSERT INTO garbage SELECT message, blocks FROM entry e WHERE " RUN_SQL
		      " AND NOT EXISTS (SELECT 1 FROM holders h WHERE h.message = e.message)"));
	if (st == SPOOL_OK && run->shared)
		st = drop_holders(r, run);
	if (st == SPOOL_OK)
		st = index_run(r->c, run_stmt(r, run, "DELETE FROM entry WHERE " RUN_SQL));
	return st;
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

/* Of more removals than are remembered only the last ones are put down at all. */
static enum spool_status
remove_each(struct removal *r, uint64_t *messages, size_t n)
{
	bool history = r->which == REMOVE_LIVE || r->which == REMOVE_APART;
	enum spool_status st = SPOOL_OK;
	size_t before, used;
	struct run run;

	num_sort(messages, n);
	for (size_t i = 0; st == SPOOL_OK && i < n; i += used) {
		before = history && n - i > REMOVE_HISTORY ? n - i - REMOVE_HISTORY : 0;
		st = find_run(r, messages + i, before > 0 ? before : n - i, &run, &used);
		if (st != SPOOL_OK || run.n == 0)
			continue;
		if (history && before == 0)
			st = remember(r, &run);
		if (st == SPOOL_OK)
			st = r->keep ? keep_run(r, &run) : end_run(r, &run);
	}
	return st == SPOOL_OK ? write_sums(r) : st;
}

enum spool_status
remove_entries(struct spool *sp, struct index_conn *c, uint64_t mailbox, uint64_t *messages,
    size_t n, enum remove_cause cause)
{
	struct removal r = {
		.c = c,
		.mailbox = mailbox,
		.which = REMOVE_LIVE,
		.cause = cause,
		.now_s = clock_wall_ms() / 1000,
		.keep = atomic_load(&sp->keep_deleted_s) > 0,
	};
	enum spool_status st = read_number(&r);

	return st == SPOOL_OK ? remove_each(&r, messages, n) : st;
}

enum spool_status
remove_kept(struct index_conn *c, uint64_t mailbox, uint64_t *messages, size_t n)
{
	struct removal r = { .c = c, .mailbox = mailbox, .which = REMOVE_KEPT };

	return remove_each(&r, messages, n);
}

enum spool_status
remove_apart(
    struct index_conn *c, uint64_t mailbox, uint64_t *messages, size_t n, enum remove_cause cause)
{
	struct removal r = { .c = c, .mailbox = mailbox, .which = REMOVE_APART, .cause = cause };
	enum spool_status st;

	r.now_s = clock_wall_ms() / 1000;
	st = read_number(&r);
	return st == SPOOL_OK ? remove_each(&r, messages, n) : st;
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
		r = (struct removal){ .c = c, .mailbox = mailbox, .which = REMOVE_ALL };
		while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row)
			messages[n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
		if (st == SPOOL_OK)
			st = remove_each(&r, messages, n);
	} while (st == SPOOL_OK && n == BATCH);
	if (st != SPOOL_OK)
		return st;
	stmt = index_stmt(c, "DELETE FROM removal WHERE mailbox = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	return index_run(c, stmt);
}
