/*
 * check_messages - who holds each message, and where it lies.
 *
 * Entries and garbage are sorted by message and walked along with holders and segments.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "account_internal.h"
#include "check_internal.h"
#include "record.h"

static const char sql_garbage[] = "SELECT message, blocks FROM garbage";

static const char sql_mark[] =
    "UPDATE segment SET mark = max(mark, ?2) WHERE number = ?1 AND state = 1";

static const char sql_no_garbage[] = "DELETE FROM garbage WHERE message = ?1";

static const char sql_holders[] = "SELECT message, n FROM holders ORDER BY message";

enum spool_status
check_read_garbage(struct check *k)
{
	sqlite3_stmt *stmt = account_query(k->c, sql_garbage, "");
	enum spool_status st;
	bool row;

	while ((st = index_step(k->c, stmt, &row)) == SPOOL_OK && row) {
		uint64_t blocks = account_u64(stmt, 1);

		k->result->space.dead += blocks * RECORD_BLOCK;
		st = check_add_ref(k, account_u64(stmt, 0), CHECK_NOBODY, blocks, CHECK_GARBAGE);
		if (st != SPOOL_OK)
			break;
	}
	return st;
}

static int
compare_refs(const void *a, const void *b)
{
	const struct check_ref *x = a, *y = b;

	if (x->message != y->message)
		return x->message < y->message ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->mailbox > y->mailbox) - (x->mailbox < y->mailbox);
}

static uint64_t
mailbox_id(const struct check *k, const struct check_ref *r)
{
	return r->mailbox != CHECK_NOBODY ? k->mailboxes[r->mailbox].id : 0;
}

/* The same of each entry of a message. */
static void say_each(struct check *k, const struct check_ref *list, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void
say_each(struct check *k, const struct check_ref *list, size_t n, const char *fmt, ...)
{
	char what[CHECK_WHAT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < n; i++)
		check_say(k, mailbox_id(k, &list[i]), list[i].message, "%s", what);
}

/* Of a closed segment only: whose writer lives moves its mark himself. */
static void
say_beyond_mark(struct check *k, const struct check_ref *list, size_t n,
    const struct check_segment *s, uint64_t end)
{
	for (size_t i = 0; i < n; i++) {
		if (s->state == 1)
			check_mend(k, sql_mark, "uu", s->number, end);
		say_each(k, &list[i], 1,
		    "ends at block %" PRIu64 " of segment %" PRIu64
		    ", which is indexed up to %" PRIu64 ": recovery may enter it a second time",
		    end, s->number, s->mark);
	}
}

/* Whether it lies where a record of its length can be read; the first thing that is wrong. */
static void
check_place(struct check *k, const struct check_ref *list, size_t n, const struct check_segment *s)
{
	uint64_t end = message_block(list[0].message) + list[0].blocks;

	/* What was set apart may lie anywhere; the others' records are looked at next, where they
	 * are. */
	if (list[0].kind == CHECK_APART)
		return;
	if (!k->options->quick && s != NULL && s->state != 2 &&
	    (s->file == NULL || (end - 1) * RECORD_BLOCK >= s->file->size))
		return;
	if (s == NULL)
		say_each(k, list, n,
		    "lies in segment %" PRIu64 ", which the index does not know: it cannot be read",
		    message_segment(list[0].message));
	else if (s->file == NULL)
		say_each(k, list, n, "lies in segment %" PRIu64 ", whose file is gone: it is lost",
		    s->number);
	else if (s->state == 2)
		say_each(k, list, n,
		    "lies in segment %" PRIu64 ", which is marked dead: it goes with its file",
		    s->number);
	else if ((end - 1) * RECORD_BLOCK >= s->file->size)
		say_each(k, list, n,
		    "ends at block %" PRIu64 " of segment %" PRIu64
		    ", whose file is shorter: it cannot be read",
		    end, s->number);
	else if (end > s->mark)
		say_beyond_mark(k, list, n, s, end);
}

static enum spool_status
next_holders(struct check *k, sqlite3_stmt *stmt)
{
	enum spool_status st;

	st = index_step(k->c, stmt, &k->holders_left);
	if (st == SPOOL_OK && k->holders_left) {
		k->message = account_u64(stmt, 0);
		k->n = account_u64(stmt, 1);
	}
	return st;
}

/* The message's row in holders against its entries, and those before it, which have none. */
static enum spool_status
check_holders(
    struct check *k, sqlite3_stmt *stmt, uint64_t message, const struct check_ref *list, uint64_t n)
{
	enum spool_status st = SPOOL_OK;
	uint64_t counted = 1;
	bool there;

	while (st == SPOOL_OK && k->holders_left && k->message < message) {
		check_mend_holders(k, k->message, NULL, 0);
		check_say(k, 0, k->message,
		    "counts %" PRIu64 " mailboxes that hold it, and none does", k->n);
		st = next_holders(k, stmt);
	}
	there = k->holders_left && k->message == message;
	if (there)
		counted = k->n;
	if (st == SPOOL_OK && there)
		st = next_holders(k, stmt);
	if (n > 0 && (counted != n || (there && n == 1))) {
		check_mend_holders(k, message, list, n);
		check_say(k, 0, message,
		    "counts %" PRIu64 " mailboxes that hold it, and %" PRIu64
		    " do: its blocks are given back too early or never",
		    counted, n);
	} else if (n == 0 && there) {
		check_mend_holders(k, message, NULL, 0);
		check_say(k, 0, message, "counts %" PRIu64 " mailboxes that hold it, and none does",
		    counted);
	}
	return st;
}

/* One message: `n` entries, and behind them what calls it garbage. */
static enum spool_status
check_message(
    struct check *k, sqlite3_stmt *holders, const struct check_ref *list, size_t n, size_t dead)
{
	struct check_segment *s = check_find_segment(k, message_segment(list[0].message));
	const struct check_ref *first = &list[0];

	if (first->message < k->end)
		check_say(k, mailbox_id(k, first), first->message,
		    "begins before the one ahead of it ends: one of the two is damaged");
	if (first->message + first->blocks > k->end)
		k->end = first->message + first->blocks;
	if (s != NULL && message_block(first->message) + first->blocks > s->end)
		s->end = message_block(first->message) + first->blocks;
	if (n == 0) {
		if (s == NULL) {
			check_mend(k, sql_no_garbage, "u", first->message);
			check_say(k, 0, first->message,
			    "is garbage in segment %" PRIu64
			    ", which is not there: its room is counted for ever",
			    message_segment(first->message));
		}
		return check_holders(k, holders, first->message, NULL, 0);
	}
	if (dead > 0) {
		check_mend(k, sql_no_garbage, "u", first->message);
		check_say(k, mailbox_id(k, first), first->message,
		    "is garbage too: its blocks are about to be given back, and it is lost then");
	}
	for (size_t i = 1; i < n; i++)
		if (list[i].blocks != first->blocks)
			check_say(k, mailbox_id(k, &list[i]), first->message,
			    "takes %u blocks here and %u elsewhere", list[i].blocks, first->blocks);
	check_place(k, list, n, s);
	if (s != NULL)
		s->found++;
	/* Those that live come first. */
	if (first->kind == CHECK_LIVE)
		k->result->space.live += (uint64_t)first->blocks * RECORD_BLOCK;
	else if (first->kind == CHECK_APART)
		k->result->space.apart += (uint64_t)first->blocks * RECORD_BLOCK;
	else
		k->result->space.kept += (uint64_t)first->blocks * RECORD_BLOCK;
	return check_holders(k, holders, first->message, list, n);
}

enum spool_status
check_messages(struct check *k)
{
	sqlite3_stmt *holders = account_query(k->c, sql_holders, "");
	enum spool_status st = next_holders(k, holders);

	if (k->nrefs > 1)
		qsort(k->refs, k->nrefs, sizeof(*k->refs), compare_refs);
	for (size_t i = 0, n, all; st == SPOOL_OK && i < k->nrefs; i += all) {
		const struct check_ref *list = &k->refs[i];

		for (all = n = 0; i + all < k->nrefs && list[all].message == list[0].message; all++)
			n += list[all].kind != CHECK_GARBAGE;
		st = check_message(k, holders, list, n, all - n);
	}
	if (st == SPOOL_OK)
		st = check_holders(k, holders, UINT64_MAX, NULL, 0);
	return st;
}
