/*
 * backup_bring - single messages out of a backup into a live spool.
 *
 * Each is a delivery like any other: it gets a place, an id and rows of its own, within the quota,
 * and goes by the mailbox's ages from now on.  It shows the UID that it had, for clients that know
 * it, as mail does that came from another host; and it keeps its time of receipt, so it stands in
 * listings where it stood.
 *
 * What is set apart has no claim to its UID: the whole one takes its place, and it ends when that is
 * there.  Who is interrupted between the two ends it the next time.
 *
 * The maildrop's lock is held meanwhile.  Whoever gives mail a UID that is not its id holds it; so
 * what was found free is free until the rows are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "backup_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "janitor.h"
#include "maildrop_internal.h"
#include "recover.h"
#include "remove.h"
#include "segment.h"
#include "spool/delivery.h"
#include "spool/import.h"
#include "spool_internal.h"

/* Messages, and octets of them, that are given to the committer at once. */
#define BATCH 64
#define BATCH_OCTETS (UINT64_C(4) << 20)
#define COPY_SIZE (64u * 1024)

static const char sql_there[] = "SELECT message, uid FROM entry WHERE mailbox = ?1 AND state <> 2";

static const char sql_apart[] = "SELECT message, uid FROM entry WHERE mailbox = ?1 AND state = 2";

static const char sql_backed_up[] = "SELECT message, uid FROM entry WHERE mailbox = ?1"
				    " AND state = 0 ORDER BY received_ms, message";

struct item {
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t message;
};

struct items {
	struct item *list; /* owned */
	size_t n, cap;
};

struct bring {
	struct spool *sp;
	struct backup *b;
	struct account_mailbox old, now; /* there and here */
	struct items wanted;
	const struct backup_watch *watch;
	struct backup_result *r;
	struct strbuf *err;

	struct delivery *underway[BATCH]; /* owned; the committer's */
	size_t n;
	uint64_t octets;

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	size_t done;
};

/* --- which ---------------------------------------------------------------- */

static int
compare_items(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->uid, ((const struct item *)b)->uid);
}

static enum spool_status
read_items(struct index_conn *c, const char *sql, uint64_t mailbox, struct items *items)
{
	sqlite3_stmt *stmt = account_query(c, sql, "u", mailbox);
	enum spool_status st;
	struct item *item;
	bool row;

	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&items->list, &items->cap, items->n + 1, sizeof(*item)) != 0)
			return SPOOL_NO_MEMORY;
		item = &items->list[items->n++];
		item->message = account_u64(stmt, 0);
		maildrop_write_uid(
		    item->uid, item->message, (const char *)sqlite3_column_text(stmt, 1));
	}
	return st;
}

/* All UIDs of the mailbox, those of kept mail too: it may come back under them. */
static enum spool_status
read_there(struct bring *g, struct items *there)
{
	struct index_conn *c;
	enum spool_status st = index_read_begin(g->sp, INDEX_MAIN, &c);

	if (st == SPOOL_OK)
		st = read_items(c, sql_there, g->now.id, there);
	index_read_end(g->sp, &c);
	if (there->n > 1)
		qsort(there->list, there->n, sizeof(*there->list), compare_items);
	return st;
}

static bool
is_there(const struct items *there, const struct item *item)
{
	return there->n > 0 &&
	       bsearch(item, there->list, there->n, sizeof(*item), compare_items) != NULL;
}

static enum spool_status
remove_replaced(struct bring *g, const struct items *there, const struct items *apart)
{
	struct index_conn *c;
	enum spool_status st = index_write_begin(g->sp, INDEX_MAIN, "restore", &c);

	for (size_t i = 0; st == SPOOL_OK && i < apart->n; i++)
		if (is_there(there, &apart->list[i]))
			st = remove_apart(c, g->now.id, &apart->list[i].message, 1, REMOVE_ADMIN);
	return account_end(g->sp, &c, st);
}

/* Ends what is set apart under a UID that whole mail has by now. */
static enum spool_status
end_replaced(struct bring *g)
{
	struct items there = { 0 }, apart = { 0 };
	struct index_conn *c;
	enum spool_status st = index_read_begin(g->sp, INDEX_MAIN, &c);

	if (st == SPOOL_OK)
		st = read_items(c, sql_apart, g->now.id, &apart);
	index_read_end(g->sp, &c);
	if (st == SPOOL_OK && apart.n > 0)
		st = read_there(g, &there);
	if (st == SPOOL_OK && apart.n > 0) {
		st = remove_replaced(g, &there, &apart);
		janitor_wake(g->sp);
	}
	free(there.list);
	free(apart.list);
	return st;
}

/* Keeps those that are named, in the order of their names. */
static enum spool_status
keep_named(struct bring *g, const char *const *uids, size_t n)
{
	struct items named = { 0 };
	enum spool_status st = SPOOL_OK;

	if (mem_grow(&named.list, &named.cap, n, sizeof(*named.list)) != 0)
		return SPOOL_NO_MEMORY;
	if (g->wanted.n > 1)
		qsort(g->wanted.list, g->wanted.n, sizeof(*g->wanted.list), compare_items);
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		struct item key = { .message = 0 }, *found = NULL;

		if (strlen(uids[i]) <= MAILDROP_UID_MAX) {
			memcpy(key.uid, uids[i], strlen(uids[i]) + 1);
			if (g->wanted.n > 0)
				found = bsearch(
				    &key, g->wanted.list, g->wanted.n, sizeof(key), compare_items);
		}
		if (found == NULL) {
			strbuf_addf(g->err, "%s: the backup has no such message of %s", uids[i],
			    g->old.address);
			st = SPOOL_NO_MESSAGE;
		} else {
			named.list[named.n++] = *found;
		}
	}
	free(g->wanted.list);
	g->wanted = named;
	return st;
}

/* Named ones that the mailbox has are an error, before anything is done; others are passed over. */
static enum spool_status
leave_out_there(struct bring *g, bool named)
{
	struct items there = { 0 };
	enum spool_status st = read_there(g, &there);
	size_t kept = 0;

	for (size_t i = 0; st == SPOOL_OK && i < g->wanted.n; i++) {
		struct item *item = &g->wanted.list[i];

		/* The same name twice is once. */
		if (named && i > 0 &&
		    bsearch(item, g->wanted.list, kept, sizeof(*item), compare_items) != NULL)
			continue;
		if (!is_there(&there, item)) {
			g->wanted.list[kept++] = *item;
		} else if (named) {
			strbuf_addf(g->err,
			    "%s: %s has this UID, in the mailbox or among its deleted mail "
			    "(pop-admin mail restore)",
			    item->uid, g->now.address);
			st = SPOOL_EXISTS;
		} else {
			g->r->skipped++;
		}
	}
	if (st == SPOOL_OK)
		g->wanted.n = kept;
	free(there.list);
	return st;
}

static enum spool_status
choose(struct bring *g, const char *const *uids, size_t n)
{
	enum spool_status st = read_items(g->b->index, sql_backed_up, g->old.id, &g->wanted);

	if (st == SPOOL_OK && n > 0) {
		st = keep_named(g, uids, n);
		if (st == SPOOL_OK && g->wanted.n > 1)
			qsort(g->wanted.list, g->wanted.n, sizeof(*g->wanted.list), compare_items);
	}
	return st == SPOOL_OK ? leave_out_there(g, n > 0) : st;
}

/* --- delivering ----------------------------------------------------------- */

static void
on_done(void *arg, struct delivery *d)
{
	struct bring *g = arg;

	(void)d;
	pthread_mutex_lock(&g->mutex);
	g->done++;
	pthread_cond_signal(&g->changed);
	pthread_mutex_unlock(&g->mutex);
}

/* Waits for all that the committer has. */
static enum spool_status
finish_batch(struct bring *g)
{
	enum spool_status st = SPOOL_OK, outcome;

	pthread_mutex_lock(&g->mutex);
	while (g->done < g->n)
		pthread_cond_wait(&g->changed, &g->mutex);
	g->done = 0;
	pthread_mutex_unlock(&g->mutex);
	for (size_t i = 0; i < g->n; i++) {
		outcome = delivery_outcome(g->underway[i]);
		if (outcome == SPOOL_OK)
			g->r->messages++;
		else
			st = outcome;
		delivery_abandon(&g->underway[i]);
	}
	g->n = 0;
	g->octets = 0;
	return st;
}

/* His address as it was written to him; NULL when the record is not his. */
static const char *
written_to(const struct record_envelope *e, uint64_t mailbox)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].mailbox == mailbox)
			return e->list[i].written;
	return NULL;
}

static enum spool_status
begin(struct bring *g, const struct item *item, const struct record *r,
    const struct record_envelope *e, struct delivery **d_r)
{
	const struct account_target target = { .mailbox = g->now.id, .address = g->now.address };
	const char *written = written_to(e, g->old.id);
	enum spool_status st;

	*d_r = NULL;
	if (written == NULL)
		return SPOOL_NO_MESSAGE;
	st = import_begin(g->sp, &target, e->reverse_path, written, d_r);
	if (st == SPOOL_OK)
		import_set(*d_r, r->received_ms, item->uid);
	return st;
}

static enum spool_status
write_wire(struct delivery *d, int fd, const struct record *r)
{
	uint64_t at = r->block * RECORD_BLOCK + r->header_len;
	uint64_t left = r->wire_len - 3; /* The committer ends it anew. */
	enum spool_status st = SPOOL_OK;
	char buf[COPY_SIZE];

	while (st == SPOOL_OK && left > 0) {
		ssize_t n = pread(fd, buf, left < sizeof(buf) ? left : sizeof(buf), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return SPOOL_IO;
		st = delivery_write(d, buf, (size_t)n);
		at += (uint64_t)n;
		left -= (uint64_t)n;
	}
	return st;
}

static void
tell_damaged(struct bring *g, const struct item *item)
{
	g->r->damaged++;
	if (g->watch->each == NULL)
		return;
	g->watch->each(g->watch->each_arg,
	    &(struct check_finding){ .address = g->old.address,
		.uid = item->uid,
		.what = "its record in the backup is damaged: it was left out" });
}

/* SPOOL_NO_MESSAGE when what lies there is damaged. */
static enum spool_status
submit(struct bring *g, const struct item *item, int fd, const struct segment_id *id)
{
	struct record_envelope e;
	struct delivery *d;
	enum spool_status st;
	struct record r;

	st = recover_read(fd, id, message_block(item->message), &r, &e);
	if (st != SPOOL_OK)
		return st;
	st = begin(g, item, &r, &e, &d);
	record_envelope_release(&e);
	if (st == SPOOL_OK)
		st = write_wire(d, fd, &r);
	if (st != SPOOL_OK) {
		delivery_abandon(&d);
		return st;
	}
	g->underway[g->n++] = d;
	g->octets += r.wire_len;
	delivery_commit(d, r.octets, on_done, g);
	return SPOOL_OK;
}

static enum spool_status
bring_one(struct bring *g, const struct item *item)
{
	uint64_t number = message_segment(item->message);
	char name[SEGMENT_NAME_MAX];
	enum spool_status st = SPOOL_NO_MESSAGE;
	struct segment_id id;
	int fd;

	fd = openat(g->b->segments, segment_name(name, number), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		return backup_failed(g->err, g->b->dir, name);
	if (segment_header_is(fd, number, &id))
		st = submit(g, item, fd, &id);
	if (fd >= 0)
		close(fd);
	if (st == SPOOL_NO_MESSAGE) {
		tell_damaged(g, item);
		st = SPOOL_OK;
	}
	return st;
}

static enum spool_status
bring_all(struct bring *g)
{
	enum spool_status st = SPOOL_OK, ended;

	for (size_t i = 0; st == SPOOL_OK && i < g->wanted.n; i++) {
		if (g->watch->progress != NULL)
			g->watch->progress(g->watch->progress_arg, i, g->wanted.n);
		st = bring_one(g, &g->wanted.list[i]);
		if (st == SPOOL_OK && (g->n == BATCH || g->octets >= BATCH_OCTETS))
			st = finish_batch(g);
	}
	ended = finish_batch(g);
	if (st == SPOOL_OK)
		st = ended;
	if (st == SPOOL_OVER_QUOTA || st == SPOOL_NEVER_FITS)
		strbuf_addf(g->err, "%s: %s", g->now.address, spool_status_text(st));
	if (g->r->messages > 0)
		log_event(LOG_LEVEL_INFO, "brought_back", log_text("user", g->now.address),
		    log_num("messages", g->r->messages), log_text("from", g->b->dir));
	return st;
}

/* --- the whole ------------------------------------------------------------ */

static enum spool_status
find_mailboxes(struct bring *g, const struct address *address)
{
	struct index_conn *c;
	enum spool_status st = index_read_begin(g->sp, INDEX_MAIN, &c);

	if (st == SPOOL_OK)
		st = account_find_user(c, address, &g->now);
	index_read_end(g->sp, &c);
	if (st == SPOOL_NO_MAILBOX)
		strbuf_addf(g->err, "%s: %s", address->text, spool_status_text(st));
	if (st != SPOOL_OK)
		return st;
	st = account_find_user(g->b->index, address, &g->old);
	if (st == SPOOL_NO_MAILBOX)
		strbuf_addf(g->err, "%s: the backup has no such mailbox", address->text);
	return st;
}

enum spool_status
backup_bring(struct spool *sp, const char *dir, const struct address *address,
    const char *const *uids, size_t n, const struct backup_watch *watch, struct backup_result *r,
    struct strbuf *err)
{
	struct backup b;
	struct bring g = { .sp = sp, .b = &b, .watch = watch, .r = r, .err = err };
	struct maildrop *md = NULL;
	enum spool_status st = backup_open(dir, &b, err);

	*r = (struct backup_result){ .time_ms = b.manifest.time_ms };
	pthread_mutex_init(&g.mutex, NULL);
	pthread_cond_init(&g.changed, NULL);
	if (st == SPOOL_OK)
		st = find_mailboxes(&g, address);
	if (st == SPOOL_OK)
		st = import_lock(sp, g.now.id, "restore", &md);
	if (st == SPOOL_OK)
		st = choose(&g, uids, n);
	if (st == SPOOL_OK)
		st = bring_all(&g);
	if (st == SPOOL_OK)
		st = end_replaced(&g);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: %s", address->text, spool_status_text(st));
	maildrop_close(&md);
	pthread_cond_destroy(&g.changed);
	pthread_mutex_destroy(&g.mutex);
	free(g.wanted.list);
	backup_release(&b);
	return st;
}
