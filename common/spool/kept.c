/*
 * kept - the oldest of the kept entries, batch by batch.
 *
 * Both limits take the oldest first, so one walk along entry_kept serves both: it ends at the
 * first entry that is young enough once what is kept fits.
 */
#include "kept.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "account_internal.h"
#include "ballast.h"
#include "base/clock.h"
#include "base/mem.h"
#include "record.h"
#include "remove.h"
#include "spool_internal.h"

#define BATCH 500

static const char sql_blocks[] = "SELECT value FROM meta WHERE key = 'kept_blocks'";

static const char sql_oldest[] = "SELECT mailbox, message, removed_s, blocks FROM entry"
				 " WHERE state = 1 ORDER BY removed_s, mailbox, message LIMIT ?1";

struct kept {
	uint64_t mailbox, message;
};

struct batch {
	struct kept list[BATCH];
	size_t n;
};

/* False when there is nothing to end, however much is kept. */
static bool
is_over(struct spool *sp, uint64_t removed_s, uint64_t blocks)
{
	uint64_t keep_s = atomic_load(&sp->keep_deleted_s);
	uint64_t now_s = clock_wall_ms() / 1000;

	/* The first for what a wrong clock removed in the future, once nothing is kept. */
	return keep_s == 0 || (keep_s <= now_s && removed_s <= now_s - keep_s) ||
	       blocks > atomic_load(&sp->keep_deleted_max) / RECORD_BLOCK;
}

/* Those that are to go, at most `max`. */
static enum spool_status
read_batch(struct spool *sp, struct index_conn *c, size_t max, struct batch *b)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	uint64_t blocks, ended;
	bool row;

	b->n = 0;
	st = account_number(c, index_stmt(c, sql_blocks), &blocks);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_oldest, "u", (uint64_t)max);
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (!is_over(sp, account_u64(stmt, 2), blocks))
			break;
		b->list[b->n].mailbox = account_u64(stmt, 0);
		b->list[b->n++].message = account_u64(stmt, 1);
		/* A sum that is too small is check's to mend: it must not end what is young. */
		ended = account_u64(stmt, 3);
		blocks -= ended < blocks ? ended : blocks;
	}
	if (stmt != NULL)
		sqlite3_reset(stmt);
	return st;
}

static enum spool_status
purge_batch(struct spool *sp, struct batch *b)
{
	enum spool_status st;
	struct index_conn *c;

	st = index_write_begin(sp, INDEX_MAIN, "kept mail", &c);
	if (st != SPOOL_OK)
		return st;
	st = read_batch(sp, c, BATCH, b);
	for (size_t i = 0; st == SPOOL_OK && i < b->n; i++)
		st = remove_kept(c, b->list[i].mailbox, &b->list[i].message, 1);
	if (st == SPOOL_OK && b->n > 0)
		return index_write_commit(sp, &c, false);
	index_write_abandon(sp, &c);
	return st;
}

/* Mostly there is nothing: seen without the writer's lock. */
static enum spool_status
look(struct spool *sp, struct batch *b)
{
	enum spool_status st;
	struct index_conn *c;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = read_batch(sp, c, 1, b);
	index_read_end(sp, &c);
	return st;
}

enum spool_status
kept_purge(struct spool *sp)
{
	struct batch *b = mem_array(1, sizeof(*b));
	enum spool_status st;

	if (b == NULL)
		return SPOOL_NO_MEMORY;
	st = look(sp, b);
	if (st == SPOOL_OK && b->n > 0)
		do {
			ballast_prepare(sp, BATCH);
			do
				st = purge_batch(sp, b);
			while (ballast_helps(sp, st));
		} while (st == SPOOL_OK && b->n == BATCH);
	free(b);
	return st;
}
