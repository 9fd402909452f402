/*
 * user - mailboxes: made, shown, changed, removed.
 *
 * A mailbox is made secrets first: its row is committed only once the secret of its id
 * is on disk.  (A crash between leaves a secret for an id that the next new mailbox is
 * given, and then replaces.)  It is removed index first.
 */
#include <errno.h>
#include <string.h>

#include "account_internal.h"
#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "janitor.h"
#include "password.h"
#include "remove.h"
#include "secrets.h"
#include "spool/account.h"
#include "spool_internal.h"

#define USER_COLUMNS                                                                               \
	"SELECT m.id, m.local, d.name, m.enabled, m.quota, m.used, m.messages, m.expire_s,"        \
	" m.created_s, m.last_login_s, m.last_delivery_s, m.expire_retrieved_s,"                   \
	" (SELECT min(received_ms) FROM entry WHERE mailbox = m.id AND state = 0)"                 \
	" FROM mailbox m JOIN domain d ON d.id = m.domain"

static const char sql_get[] = USER_COLUMNS " WHERE m.id = ?1";

static const char sql_list[] = USER_COLUMNS " ORDER BY d.folded, m.folded";

static const char sql_add[] =
    "INSERT INTO mailbox (domain, local, folded, created_s, quota, expire_s)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

static const char sql_enable_recovered[] = "UPDATE mailbox SET enabled = 1, recovered = 0"
					   " WHERE id = ?1 AND recovered = 1";

static const char sql_enable[] = "UPDATE mailbox SET enabled = ?2 WHERE id = ?1";

static const char sql_rename[] =
    "UPDATE mailbox SET domain = ?2, local = ?3, folded = ?4 WHERE id = ?1";

static const char sql_remove[] = "DELETE FROM mailbox WHERE id = ?1";

/* The mailbox's id, in a transaction of its own. */
static enum spool_status
find_id(struct spool *spool, const struct address *address, uint64_t *id_r)
{
	struct account_mailbox mailbox;
	struct index_conn *c;
	enum spool_status st;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_user(c, address, &mailbox);
	index_read_end(spool, &c);
	if (st == SPOOL_OK)
		*id_r = mailbox.id;
	return st;
}

/* SPOOL_EXISTS when a mailbox other than `self` or an alias has the name. */
static enum spool_status
is_free(struct index_conn *c, uint64_t domain, const char *local, uint64_t self)
{
	struct account_mailbox mailbox;
	enum spool_status st;
	uint64_t alias;

	st = account_find_mailbox(c, domain, local, strlen(local), &mailbox);
	if (st == SPOOL_OK && mailbox.id != self)
		return SPOOL_EXISTS;
	if (st != SPOOL_OK && st != SPOOL_NO_MAILBOX)
		return st;
	st = account_find_alias(c, domain, local, strlen(local), &alias);
	if (st == SPOOL_OK)
		return SPOOL_EXISTS;
	return st == SPOOL_NO_ALIAS ? SPOOL_OK : st;
}

/* What the mailbox is to have of its own, else what the domain gives it, else the site. */
struct limits {
	const struct account_limits *own, *site; /* either may be NULL */
};

static enum spool_status
add(struct spool *spool, struct index_conn *c, const struct address *address,
    const struct limits *l, const char *hash, const char *recoverable)
{
	char folded[ADDRESS_MAX + 1];
	struct account_limits limits;
	enum spool_status st;
	uint64_t domain, id;

	st = account_need_domain(c, address->domain, &domain);
	if (st == SPOOL_OK)
		st = is_free(c, domain, address->local, 0);
	if (st == SPOOL_OK)
		st = account_domain_limits(c, domain, l->site, &limits);
	if (st != SPOOL_OK)
		return st;
	if (l->own != NULL && l->own->has_quota)
		limits.quota = l->own->quota;
	if (l->own != NULL && l->own->has_expire)
		limits.expire_s = l->own->expire_s;
	address_fold(folded, address->local);
	st = account_run(c, sql_add, "uttull", domain, address->local, folded,
	    clock_wall_ms() / 1000, limits.quota, limits.expire_s);
	if (st != SPOOL_OK)
		return st;
	id = (uint64_t)sqlite3_last_insert_rowid(index_db(c));
	/* No record of its mail would be believed. */
	if (id > RECORD_MAILBOX_MAX)
		return spool_failed("mailbox_ids_spent", "index/index.db", EOVERFLOW);
	return secrets_create(spool, id, hash, recoverable);
}

enum spool_status
account_user_add(struct spool *spool, const struct address *address, const void *password,
    size_t password_len, bool keep_secret, const struct account_limits *own,
    const struct account_limits *site)
{
	char hash[PASSWORD_HASH_MAX], text[ACCOUNT_PASSWORD_MAX + 1] = "";
	const struct limits limits = { own, site };
	struct index_conn *c;
	enum spool_status st;

	if (address->local[0] == '\0' || address_parse_domain(address->domain) != 0)
		return SPOOL_BAD_ADDRESS;
	st = password_hash(password, password_len, hash);
	if (st != SPOOL_OK)
		return st;
	memcpy(text, password, password_len);
	st = index_write_begin(spool, INDEX_MAIN, "user add", &c);
	if (st == SPOOL_OK) {
		st = add(spool, c, address, &limits, hash, keep_secret ? text : NULL);
		/* A record names the mailbox by its id and is on disk before its rows: a
		 * mailbox that the power could still take away would take its mail along. */
		if (st == SPOOL_OK)
			st = index_write_commit_synced(spool, &c);
		else
			index_write_abandon(spool, &c);
	}
	mem_wipe(text, sizeof(text));
	mem_wipe(hash, sizeof(hash));
	return st;
}

static enum spool_status
read_user(sqlite3_stmt *stmt, struct account_user *u)
{
	u->mailbox = account_u64(stmt, 0);
	u->enabled = sqlite3_column_int(stmt, 3) != 0;
	u->quota = account_limit(stmt, 4);
	u->used = account_u64(stmt, 5);
	u->messages = account_u64(stmt, 6);
	u->expire_s = account_limit(stmt, 7);
	u->created_s = account_u64(stmt, 8);
	u->last_login_s = account_u64(stmt, 9);
	u->last_delivery_s = account_u64(stmt, 10);
	u->expire_retrieved_s = account_limit(stmt, 11);
	u->oldest_ms = account_u64(stmt, 12);
	return account_text_address(stmt, 1, 2, u->address);
}

enum spool_status
account_user_find(struct spool *spool, const struct address *address, struct account_user *user_r)
{
	struct account_mailbox mailbox;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_user(c, address, &mailbox);
	if (st == SPOOL_OK) {
		stmt = account_query(c, sql_get, "u", mailbox.id);
		st = index_step(c, stmt, &row);
		if (st == SPOOL_OK)
			st = row ? read_user(stmt, user_r) : SPOOL_NO_MAILBOX;
	}
	index_read_end(spool, &c);
	return st;
}

enum spool_status
account_user_list(
    struct spool *spool, int (*each)(void *arg, const struct account_user *), void *arg)
{
	struct account_user user;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_list, "");
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = read_user(stmt, &user);
		if (st != SPOOL_OK || each(arg, &user) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}

/* One that came back out of the segments alone waits for its password (spool/reindex.h). */
static enum spool_status
enable_recovered(struct spool *spool, uint64_t id)
{
	struct index_conn *c;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "user passwd", &c);
	if (st != SPOOL_OK)
		return st;
	st = account_run(c, sql_enable_recovered, "u", id);
	return account_end(spool, &c, st);
}

enum spool_status
account_user_set_password(
    struct spool *spool, const struct address *address, const void *password, size_t password_len)
{
	char hash[PASSWORD_HASH_MAX], text[ACCOUNT_PASSWORD_MAX + 1] = "";
	enum spool_status st;
	uint64_t id;

	st = find_id(spool, address, &id);
	if (st == SPOOL_OK)
		st = password_hash(password, password_len, hash);
	if (st != SPOOL_OK)
		return st;
	memcpy(text, password, password_len);
	st = secrets_change(spool, id, hash, text);
	mem_wipe(text, sizeof(text));
	mem_wipe(hash, sizeof(hash));
	return st == SPOOL_OK ? enable_recovered(spool, id) : st;
}

enum spool_status
account_user_enable(struct spool *spool, const struct address *address, bool enabled)
{
	struct account_mailbox mailbox;
	struct index_conn *c;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "user enable", &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_user(c, address, &mailbox);
	if (st == SPOOL_OK)
		st = account_run(c, sql_enable, "uu", mailbox.id, (uint64_t)enabled);
	return account_end(spool, &c, st);
}

/* Under the maildrop's lock: nobody has the list of what is removed here. */
static enum spool_status
remove_mailbox(struct index_conn *c, uint64_t id, struct strbuf *gone)
{
	enum spool_status st;

	st = remove_all_entries(c, id);
	if (st == SPOOL_OK)
		st = account_forget_mailbox(c, id);
	if (st == SPOOL_OK)
		st = account_sweep_aliases(c, gone);
	return st == SPOOL_OK ? account_run(c, sql_remove, "u", id) : st;
}

static enum spool_status
remove_locked(struct spool *spool, const struct address *address, uint64_t id)
{
	struct account_mailbox mailbox;
	struct index_conn *c;
	struct strbuf gone;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "user remove", &c);
	if (st != SPOOL_OK)
		return st;
	strbuf_init(&gone, ACCOUNT_GONE_MAX);
	st = account_find_user(c, address, &mailbox);
	/* Another administrator was here between the look-up and the lock. */
	if (st == SPOOL_OK && mailbox.id != id)
		st = SPOOL_BUSY;
	if (st == SPOOL_OK)
		st = remove_mailbox(c, id, &gone);
	st = account_end(spool, &c, st);
	if (st == SPOOL_OK) {
		log_event(LOG_LEVEL_INFO, "user_removed", log_text("user", mailbox.address));
		account_log_gone(&gone);
		st = secrets_remove(spool, id);
	}
	strbuf_release(&gone);
	return st;
}

enum spool_status
account_user_remove(struct spool *spool, const struct address *address)
{
	struct lock_maildrop *lock;
	enum spool_status st;
	uint64_t id;

	st = find_id(spool, address, &id);
	if (st == SPOOL_OK)
		st = lock_maildrop(&spool->locks, id, "removal", &lock);
	if (st != SPOOL_OK)
		return st;
	do
		st = remove_locked(spool, address, id);
	while (ballast_helps(spool, st));
	lock_maildrop_release(&spool->locks, &lock);
	janitor_wake(spool);
	return st;
}

static enum spool_status
rename_mailbox(
    struct index_conn *c, const struct address *address, const struct address *new_address)
{
	char folded[ADDRESS_MAX + 1];
	struct account_mailbox mailbox;
	enum spool_status st;
	uint64_t domain;

	st = account_find_user(c, address, &mailbox);
	if (st == SPOOL_OK)
		st = account_find_domain(c, new_address->domain, &domain);
	if (st == SPOOL_OK)
		st = is_free(c, domain, new_address->local, mailbox.id);
	if (st != SPOOL_OK)
		return st;
	address_fold(folded, new_address->local);
	return account_run(c, sql_rename, "uutt", mailbox.id, domain, new_address->local, folded);
}

enum spool_status
account_user_rename(
    struct spool *spool, const struct address *address, const struct address *new_address)
{
	struct index_conn *c;
	enum spool_status st;

	if (new_address->local[0] == '\0')
		return SPOOL_BAD_ADDRESS;
	st = index_write_begin(spool, INDEX_MAIN, "user rename", &c);
	if (st != SPOOL_OK)
		return st;
	st = rename_mailbox(c, address, new_address);
	return account_end(spool, &c, st);
}
