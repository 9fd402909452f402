/*
 * maildrop - the list that a session works on, and its marks.
 *
 * A message costs 16 octets: its id, and its octets with what is known of it as their top
 * bits.  UIDs that messages had elsewhere are few and stand in a table beside, by place.
 * What UPDATE does with them is in update.c.
 */
#include "spool/maildrop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account_internal.h"
#include "age.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "health.h"
#include "maildrop_internal.h"
#include "record.h"
#include "spool_internal.h"

#define DAY_MS (AGE_DAY_S * UINT64_C(1000))
/* All foreign UIDs of a maildrop. */
#define TEXTS_MAX (UINT32_MAX / 2)

static const char sql_mailbox[] =
    "SELECT m.local, d.name, m.retention_days, m.messages FROM mailbox m"
    " JOIN domain d ON d.id = m.domain WHERE m.id = ?1";

static const char sql_entries[] =
    "SELECT message, received_ms, octets, uid, retrieved_s, keep_retrieved_s, expires_day"
    " FROM entry WHERE mailbox = ?1 AND state = 0";

/* An entry as it comes out of the index, before the order is known. */
struct row {
	uint64_t received_ms;
	uint64_t message;
	uint64_t octets; /* and MAILDROP_KNOWN, MAILDROP_AT_QUIT */
	size_t text;     /* 1 + its place in texts; 0: none */
};

struct rows {
	struct row *list; /* owned */
	size_t n, cap;
};

enum spool_status
maildrop_view(struct spool *spool, uint64_t mailbox, struct maildrop **md_r)
{
	struct maildrop *md;

	*md_r = NULL;
	if (!spool_ready(spool))
		return SPOOL_NOT_READY;
	md = mem_array(1, sizeof(*md));
	if (md == NULL)
		return SPOOL_NO_MEMORY;
	md->spool = spool;
	md->mailbox = mailbox;
	md->retention_days = NUM_UNLIMITED;
	strbuf_init(&md->texts, TEXTS_MAX);
	*md_r = md;
	return SPOOL_OK;
}

enum spool_status
maildrop_lock(struct spool *spool, uint64_t mailbox, const char *who, struct maildrop **md_r)
{
	enum spool_status st = maildrop_view(spool, mailbox, md_r);

	if (st == SPOOL_OK)
		st = lock_maildrop(&spool->locks, mailbox, who, &(*md_r)->lock);
	if (st != SPOOL_OK)
		maildrop_close(md_r);
	return st;
}

void
maildrop_close(struct maildrop **mdp)
{
	struct maildrop *md = *mdp;

	if (md == NULL)
		return;
	lock_maildrop_release(&md->spool->locks, &md->lock);
	strbuf_release(&md->texts);
	free(md->address);
	free(md->apart);
	free(md->foreign);
	free(md->items);
	mem_free(mdp);
}

static void
lower_retention(struct maildrop *md, int64_t days)
{
	if (days < RETENTION_NEVER && (days < 0 || (uint64_t)days < md->retention_days))
		md->retention_days = days < 0 ? 0 : (uint64_t)days;
}

static enum spool_status
read_mailbox(struct index_conn *c, struct maildrop *md, uint64_t *messages_r)
{
	sqlite3_stmt *stmt = account_query(c, sql_mailbox, "u", md->mailbox);
	char address[ACCOUNT_ADDRESS_MAX];
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_MAILBOX;
	if (st != SPOOL_OK)
		return st;
	lower_retention(md, sqlite3_column_int64(stmt, 2));
	*messages_r = account_u64(stmt, 3);
	st = account_text_address(stmt, 0, 1, address);
	if (st != SPOOL_OK)
		return st;
	md->address = mem_dup(address, strlen(address));
	return md->address != NULL ? SPOOL_OK : SPOOL_NO_MEMORY;
}

/* What a row says of ages: bits for the item, and how long the message stays at the least. */
static uint64_t
read_ages(struct maildrop *md, sqlite3_stmt *stmt, uint64_t received_ms)
{
	uint64_t bits = 0;

	if (sqlite3_column_type(stmt, 4) != SQLITE_NULL)
		bits |= MAILDROP_KNOWN;
	if (sqlite3_column_type(stmt, 5) != SQLITE_NULL) {
		int64_t keep_s = sqlite3_column_int64(stmt, 5);

		if (keep_s == 0)
			bits |= MAILDROP_AT_QUIT;
		lower_retention(md, keep_s / AGE_DAY_S);
	}
	if (sqlite3_column_type(stmt, 6) != SQLITE_NULL) {
		int64_t received_day = (int64_t)(received_ms / DAY_MS);
		int64_t begun = received_ms % DAY_MS != 0;

		/* Whole days from when it was received to when that day begins. */
		lower_retention(md, sqlite3_column_int64(stmt, 6) - received_day - begun);
	}
	return bits;
}

static enum spool_status
read_rows(struct index_conn *c, struct maildrop *md, struct rows *rows)
{
	sqlite3_stmt *stmt = account_query(c, sql_entries, "u", md->mailbox);
	char uid[MAILDROP_UID_MAX + 1];
	enum spool_status st;
	struct row *r;
	bool row;

	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		if (mem_grow(&rows->list, &rows->cap, rows->n + 1, sizeof(*rows->list)) != 0)
			return SPOOL_NO_MEMORY;
		r = &rows->list[rows->n++];
		r->message = account_u64(stmt, 0);
		r->received_ms = account_u64(stmt, 1);
		r->octets = account_u64(stmt, 2) & MAILDROP_OCTETS;
		r->octets |= read_ages(md, stmt, r->received_ms);
		r->text = 0;
		if (sqlite3_column_type(stmt, 3) == SQLITE_NULL)
			continue;
		st = account_text(stmt, 3, uid, sizeof(uid));
		if (st != SPOOL_OK)
			return st;
		r->text = md->texts.len + 1;
		strbuf_add(&md->texts, uid, strlen(uid) + 1);
		if (md->texts.failed)
			return SPOOL_NO_MEMORY;
	}
	return st;
}

static int
compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	if (left->received_ms != right->received_ms)
		return left->received_ms < right->received_ms ? -1 : 1;
	if (left->message != right->message)
		return left->message < right->message ? -1 : 1;
	return 0;
}

/* They come in order of message, which is mostly that of receipt. */
static void
sort_rows(struct rows *rows)
{
	for (size_t i = 1; i < rows->n; i++)
		if (compare_rows(&rows->list[i - 1], &rows->list[i]) > 0) {
			qsort(rows->list, rows->n, sizeof(*rows->list), compare_rows);
			return;
		}
}

static enum spool_status
fill(struct maildrop *md, struct rows *rows)
{
	struct maildrop_foreign *foreign;

	md->items = mem_array(rows->n, sizeof(*md->items));
	if (md->items == NULL)
		return SPOOL_NO_MEMORY;
	sort_rows(rows);
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *r = &rows->list[i];

		md->items[i] = (struct maildrop_item){ .message = r->message, .octets = r->octets };
		md->octets += r->octets & MAILDROP_OCTETS;
		if (r->text == 0)
			continue;
		if (mem_grow(&md->foreign, &md->foreign_cap, md->nforeign + 1,
			sizeof(*md->foreign)) != 0)
			return SPOOL_NO_MEMORY;
		foreign = &md->foreign[md->nforeign++];
		foreign->item = i;
		foreign->text = r->text - 1;
	}
	md->n = rows->n;
	return SPOOL_OK;
}

/* Never a list that is shorter than it should be: a client would forget what it has fetched.  The
 * mailbox's own sum tells of rows that an index lost; rows come in order of message, so each segment
 * is asked about once. */
static enum spool_status
check_rows(struct maildrop *md, const struct rows *rows, uint64_t messages)
{
	uint64_t segment = 0;

	if (rows->n < messages) {
		log_event(LOG_LEVEL_ERROR, "maildrop_short", log_text("user", md->address),
		    log_num("messages", rows->n), log_num("wanted", messages),
		    log_text(
			"advice", "it is not shown: run pop-admin check, and look at the disk"));
		return SPOOL_DAMAGED;
	}
	if (!health_any(md->spool))
		return SPOOL_OK;
	for (size_t i = 0; i < rows->n; i++) {
		if (message_segment(rows->list[i].message) == segment)
			continue;
		segment = message_segment(rows->list[i].message);
		if (health_segment(md->spool, segment))
			continue;
		log_event(LOG_LEVEL_ERROR, "maildrop_not_shown", log_text("user", md->address),
		    log_num("segment", segment),
		    log_text("advice",
			"it has mail in a segment that is damaged: put its file back "
			"from a backup, or run pop-admin check --repair"));
		return SPOOL_DAMAGED;
	}
	return SPOOL_OK;
}

enum spool_status
maildrop_load(struct maildrop *md)
{
	struct rows rows = { .n = 0 };
	struct index_conn *c;
	enum spool_status st;
	uint64_t messages;

	assert(md->items == NULL);
	st = index_read_begin(md->spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = epoch_compare(md->spool, c);
	if (st == SPOOL_OK)
		st = read_mailbox(c, md, &messages);
	if (st == SPOOL_OK)
		st = read_rows(c, md, &rows);
	if (st == SPOOL_OK)
		st = index_log_compare(c);
	index_read_end(md->spool, &c);
	if (st == SPOOL_OK && md->spool->role != SPOOL_ADMIN)
		st = check_rows(md, &rows, messages);
	if (st == SPOOL_OK)
		st = fill(md, &rows);
	free(rows.list);
	/* A damaged index may yet be restored; a damaged message is another matter. */
	return st == SPOOL_DAMAGED ? SPOOL_IO : st;
}

size_t
maildrop_count(const struct maildrop *md)
{
	return md->n;
}

static struct maildrop_item *
item(const struct maildrop *md, size_t i)
{
	assert(i < md->n);
	return &md->items[i];
}

uint64_t
maildrop_octets(const struct maildrop *md, size_t i)
{
	return item(md, i)->octets & MAILDROP_OCTETS;
}

static int
compare_foreign(const void *key, const void *member)
{
	const struct maildrop_foreign *foreign = member;
	size_t i = *(const size_t *)key;

	return i < foreign->item ? -1 : i > foreign->item;
}

/* The UID that the message had elsewhere, or NULL. */
static const char *
foreign_uid(const struct maildrop *md, size_t i)
{
	const struct maildrop_foreign *found;

	if (md->nforeign == 0)
		return NULL;
	found = bsearch(&i, md->foreign, md->nforeign, sizeof(*md->foreign), compare_foreign);
	return found != NULL ? md->texts.buf + found->text : NULL;
}

size_t
maildrop_write_uid(char uid[MAILDROP_UID_MAX + 1], uint64_t message, const char *foreign)
{
	if (foreign != NULL)
		return (size_t)snprintf(uid, MAILDROP_UID_MAX + 1, "%s", foreign);
	spool_uid_format(uid, message);
	return SPOOL_UID_LEN;
}

size_t
maildrop_uid(const struct maildrop *md, size_t i, char uid[MAILDROP_UID_MAX + 1])
{
	return maildrop_write_uid(uid, item(md, i)->message, foreign_uid(md, i));
}

enum spool_status
maildrop_find(const struct maildrop *md, const char *uid, size_t *i_r)
{
	uint64_t message;

	for (size_t k = 0; k < md->nforeign; k++)
		if (strcmp(md->texts.buf + md->foreign[k].text, uid) == 0) {
			*i_r = md->foreign[k].item;
			return SPOOL_OK;
		}
	if (spool_uid_parse(uid, &message) != 0)
		return SPOOL_NO_MESSAGE;
	for (size_t i = 0; i < md->n; i++)
		if (md->items[i].message == message && foreign_uid(md, i) == NULL) {
			*i_r = i;
			return SPOOL_OK;
		}
	return SPOOL_NO_MESSAGE;
}

bool
maildrop_marked(const struct maildrop *md, size_t i)
{
	return (item(md, i)->octets & MAILDROP_MARK) != 0;
}

void
maildrop_mark(struct maildrop *md, size_t i)
{
	if (maildrop_marked(md, i))
		return;
	md->marked++;
	md->marked_octets += maildrop_octets(md, i);
	md->items[i].octets |= MAILDROP_MARK;
}

void
maildrop_unmark_all(struct maildrop *md)
{
	for (size_t i = 0; md->marked > 0 && i < md->n; i++)
		md->items[i].octets &= ~MAILDROP_MARK;
	md->marked = 0;
	md->marked_octets = 0;
}

void
maildrop_note_retrieved(struct maildrop *md, size_t i)
{
	struct maildrop_item *it = item(md, i);

	if ((it->octets & MAILDROP_RETRIEVED) != 0)
		return;
	it->octets |= MAILDROP_RETRIEVED;
	if ((it->octets & MAILDROP_AT_QUIT) != 0)
		md->at_quit++;
	else if ((it->octets & MAILDROP_KNOWN) == 0)
		md->fresh++;
}

void
maildrop_spare_retrieved(struct maildrop *md)
{
	md->spares = true;
	md->at_quit = 0;
}

bool
maildrop_has_leaving(const struct maildrop *md)
{
	return md->marked + md->at_quit + md->napart > 0;
}

bool
maildrop_has_unnoted(const struct maildrop *md)
{
	return md->fresh > 0;
}

size_t
maildrop_removed(const struct maildrop *md)
{
	return md->removed;
}

uint64_t
maildrop_retention_days(const struct maildrop *md)
{
	return md->retention_days;
}

size_t
maildrop_live_count(const struct maildrop *md)
{
	return md->n - md->marked;
}

uint64_t
maildrop_live_octets(const struct maildrop *md)
{
	return md->octets - md->marked_octets;
}

enum spool_status
maildrop_open_message(struct maildrop *md, size_t i, bool may_block, struct maildrop_message **m_r)
{
	return message_open(
	    md->spool, md->mailbox, item(md, i)->message, maildrop_octets(md, i), may_block, m_r);
}
