/*
 * tally - rows of mailboxes, read at the first message and written after the last.
 */
#include "tally.h"

#include <stdlib.h>

#include "account_internal.h"
#include "base/mem.h"

void
tally_init(struct tally *t)
{
	map_init(&t->mailboxes);
	t->first = NULL;
}

void
tally_clear(struct tally *t)
{
	struct tally_mailbox *m;

	while ((m = t->first) != NULL) {
		t->first = m->next;
		map_remove(&t->mailboxes, &m->node);
		free(m);
	}
}

void
tally_release(struct tally *t)
{
	tally_clear(t);
	map_release(&t->mailboxes);
}

/* The mailbox in the row of `stmt`. */
static enum spool_status
add_mailbox(struct tally *t, sqlite3_stmt *stmt, uint64_t id, struct tally_mailbox **m_r)
{
	struct tally_mailbox *m = mem_array(1, sizeof(*m));

	if (m == NULL)
		return SPOOL_NO_MEMORY;
	m->id = id;
	m->node.key = map_key_u64(id);
	m->enabled = sqlite3_column_int(stmt, 0) != 0;
	m->quota = account_limit(stmt, 1);
	m->used = (uint64_t)sqlite3_column_int64(stmt, 2);
	m->expire_s = account_limit(stmt, 3);
	m->expire_retrieved_s = account_limit(stmt, 4);
	if (map_add(&t->mailboxes, &m->node) != 0) {
		free(m);
		return SPOOL_NO_MEMORY;
	}
	m->next = t->first;
	t->first = m;
	*m_r = m;
	return SPOOL_OK;
}

static struct tally_mailbox *
find(const struct tally *t, uint64_t mailbox)
{
	struct map_node *node = map_find(&t->mailboxes, map_key_u64(mailbox));

	return node == NULL ? NULL : MAP_OBJECT(node, struct tally_mailbox, node);
}

enum spool_status
tally_find(struct tally *t, struct index_conn *c, uint64_t mailbox, struct tally_mailbox **m_r)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	*m_r = find(t, mailbox);
	if (*m_r != NULL)
		return SPOOL_OK;
	stmt = index_stmt(c, "SELECT enabled, quota, used, expire_s, expire_retrieved_s"
			     " FROM mailbox WHERE id = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	st = index_step(c, stmt, &row);
	if (st != SPOOL_OK || !row)
		return st;
	st = add_mailbox(t, stmt, mailbox, m_r);
	sqlite3_reset(stmt);
	return st;
}

void
tally_settle(struct tally *t, uint64_t mailbox, uint64_t octets)
{
	find(t, mailbox)->used += octets;
}

void
tally_add(struct tally_mailbox *m, uint64_t octets, uint64_t received_ms)
{
	m->octets += octets;
	m->messages++;
	if (received_ms / 1000 > m->last_s)
		m->last_s = received_ms / 1000;
}

static enum spool_status
write_mailbox(struct index_conn *c, struct tally_mailbox *m)
{
	sqlite3_stmt *stmt;

	stmt = index_stmt(c, "UPDATE mailbox SET used = used + ?2, messages = messages + ?3,"
			     " last_delivery_s = max(coalesce(last_delivery_s, 0), ?4)"
			     " WHERE id = ?1");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)m->id);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)m->octets);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)m->messages);
	sqlite3_bind_int64(stmt, 4, (sqlite3_int64)m->last_s);
	m->octets = m->messages = 0;
	return index_run(c, stmt);
}

enum spool_status
tally_write(struct tally *t, struct index_conn *c)
{
	enum spool_status st = SPOOL_OK;

	for (struct tally_mailbox *m = t->first; st == SPOOL_OK && m != NULL; m = m->next)
		if (m->messages > 0)
			st = write_mailbox(c, m);
	return st;
}
