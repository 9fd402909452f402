/*
 * update - what the end of a session does to its maildrop (RFC 1939 6): removals, and first
 * retrievals, from which the second limit of a message counts.
 *
 * What is done with a message follows from its bits and, where it would go because it was
 * retrieved, from what the index says at that moment.
 */
#include <assert.h>
#include <stdlib.h>

#include "account_internal.h"
#include "age.h"
#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "janitor.h"
#include "maildrop_internal.h"
#include "remove.h"
#include "spool_internal.h"

/* What goes at QUIT is not noted: it goes, or nothing is to be known of it. */
static const char sql_note[] =
    "UPDATE entry SET retrieved_s = ?3, retrieved_expires_day = " AGE_DAY_SQL(
	"?3", "keep_retrieved_s") " WHERE mailbox = ?1 AND message = ?2 AND state = 0 AND "
				  "retrieved_s IS NULL"
				  " AND keep_retrieved_s IS NOT 0";

static const char sql_at_quit[] =
    "SELECT keep_retrieved_s IS 0 FROM entry WHERE mailbox = ?1 AND message = ?2 AND state = 0";

/* What goes for one reason. */
struct leaving {
	enum remove_cause cause;
	uint64_t *messages; /* owned */
	size_t n;
	uint64_t octets;
};

struct update {
	struct maildrop *md;
	struct index_conn *c;
	uint64_t now_s;
	struct leaving marked, at_quit;
	struct leaving apart; /* messages are the maildrop's */
};

static enum spool_status
note(struct update *u, const struct maildrop_item *it)
{
	if ((it->octets & MAILDROP_KNOWN) != 0)
		return SPOOL_OK;
	return account_run(u->c, sql_note, "uuu", u->md->mailbox, it->message, u->now_s);
}

/* Whether the message is to go because it was retrieved: an administrator may have given it more
 * time since the list was read. */
static enum spool_status
goes_at_quit(struct update *u, const struct maildrop_item *it, bool *goes_r)
{
	sqlite3_stmt *stmt = account_query(u->c, sql_at_quit, "uu", u->md->mailbox, it->message);
	enum spool_status st;
	bool row;

	st = index_step(u->c, stmt, &row);
	*goes_r = st == SPOOL_OK && row && sqlite3_column_int(stmt, 0) != 0;
	sqlite3_reset(stmt);
	return st;
}

static void
leave(struct leaving *l, const struct maildrop_item *it)
{
	l->messages[l->n++] = it->message;
	l->octets += it->octets & MAILDROP_OCTETS;
}

/* Does with one message what its bits say. */
static enum spool_status
update_item(struct update *u, const struct maildrop_item *it)
{
	enum spool_status st = SPOOL_OK;
	bool goes = false;

	if ((it->octets & MAILDROP_MARK) != 0) {
		leave(&u->marked, it);
		return SPOOL_OK;
	}
	if ((it->octets & MAILDROP_RETRIEVED) == 0)
		return SPOOL_OK;
	if ((it->octets & MAILDROP_AT_QUIT) != 0) {
		if (u->md->spares)
			return SPOOL_OK;
		st = goes_at_quit(u, it, &goes);
	}
	if (goes)
		leave(&u->at_quit, it);
	else if (st == SPOOL_OK)
		st = note(u, it);
	return st;
}

static enum spool_status
remove_leaving(struct update *u, const struct leaving *l)
{
	if (l->n == 0)
		return SPOOL_OK;
	return remove_entries(u->md->spool, u->c, u->md->mailbox, l->messages, l->n, l->cause);
}

/* One transaction, all or none; it is synced when something goes. */
static enum spool_status
update(struct update *u)
{
	struct maildrop *md = u->md;
	enum spool_status st;

	st = index_write_begin(md->spool, INDEX_MAIN, "update", &u->c);
	if (st != SPOOL_OK)
		return st;
	for (size_t i = 0; st == SPOOL_OK && i < md->n; i++)
		st = update_item(u, &md->items[i]);
	if (st == SPOOL_OK)
		st = remove_leaving(u, &u->marked);
	if (st == SPOOL_OK)
		st = remove_leaving(u, &u->at_quit);
	if (st == SPOOL_OK && u->apart.n > 0)
		st = remove_apart(u->c, md->mailbox, u->apart.messages, u->apart.n, u->apart.cause);
	if (st == SPOOL_OK)
		return index_write_commit(
		    md->spool, &u->c, u->marked.n + u->at_quit.n + u->apart.n > 0);
	index_write_abandon(md->spool, &u->c);
	return st;
}

static void
log_removed(const struct maildrop *md, const struct leaving *l)
{
	if (l->n > 0)
		log_event(LOG_LEVEL_INFO, "removed", log_text("cause", remove_cause_text(l->cause)),
		    log_text("user", md->address), log_num("messages", l->n),
		    log_num("octets", l->octets));
}

static void
log_not_noted(const struct maildrop *md, enum spool_status st)
{
	log_event(LOG_LEVEL_WARNING, "retrievals_not_noted", log_text("user", md->address),
	    log_num("messages", md->fresh), log_text("error", spool_status_text(st)),
	    log_text("advice", "they stay until they are retrieved again or their age is up"));
}

enum spool_status
maildrop_update(struct maildrop *md)
{
	struct update u = {
		.md = md,
		.now_s = clock_wall_ms() / 1000,
		.marked.cause = md->spool->role == SPOOL_ADMIN ? REMOVE_ADMIN : REMOVE_POP3,
		.at_quit.cause = REMOVE_EXPIRE,
		.apart = { REMOVE_ADMIN, md->apart, md->napart, md->apart_octets },
	};
	enum spool_status st = SPOOL_NO_MEMORY;

	assert(md->lock != NULL);
	if (!maildrop_has_leaving(md) && !maildrop_has_unnoted(md))
		return SPOOL_OK;
	u.marked.messages = mem_array(md->marked, sizeof(*u.marked.messages));
	u.at_quit.messages = mem_array(md->at_quit, sizeof(*u.at_quit.messages));
	if (u.marked.messages != NULL && u.at_quit.messages != NULL) {
		ballast_prepare(md->spool, md->marked + md->at_quit + md->napart);
		do {
			u.marked.n = u.at_quit.n = 0;
			u.marked.octets = u.at_quit.octets = 0;
			st = update(&u);
		} while (ballast_helps(md->spool, st));
	}
	if (u.marked.n + u.at_quit.n + u.apart.n > 0)
		janitor_wake(md->spool);
	if (st == SPOOL_OK) {
		md->removed = u.marked.n + u.at_quit.n + u.apart.n;
		log_removed(md, &u.marked);
		log_removed(md, &u.at_quit);
		log_removed(md, &u.apart);
	} else if (maildrop_has_unnoted(md)) {
		log_not_noted(md, st);
	}
	free(u.marked.messages);
	free(u.at_quit.messages);
	return st;
}

enum spool_status
maildrop_note(struct maildrop *md)
{
	struct update u = { .md = md, .now_s = clock_wall_ms() / 1000 };
	enum spool_status st;

	assert(md->lock != NULL);
	if (!maildrop_has_unnoted(md))
		return SPOOL_OK;
	st = index_write_begin(md->spool, INDEX_MAIN, "retrievals", &u.c);
	for (size_t i = 0; st == SPOOL_OK && i < md->n; i++)
		if ((md->items[i].octets & MAILDROP_RETRIEVED) != 0)
			st = note(&u, &md->items[i]);
	if (st == SPOOL_OK)
		st = index_write_commit(md->spool, &u.c, false);
	else
		index_write_abandon(md->spool, &u.c);
	if (st != SPOOL_OK)
		log_not_noted(md, st);
	return st;
}
