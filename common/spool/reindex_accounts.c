/*
 * reindex_accounts - who there is, out of an old index or out of the records.
 *
 * Invariants:
 *  1. A mailbox's id means one mailbox for ever: mail of an id that the old index gave and does not
 *     have any more is nobody's, and no address gets the mail of another id that had it before.
 *  2. A mailbox that was made here is disabled.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "age.h"
#include "base/clock.h"
#include "base/log.h"
#include "index_internal.h"
#include "reindex_internal.h"

/* No mail reaches it (RFC 2606 2). */
#define NOWHERE "recovered.invalid"

#define NOT_BEFORE AGE_DAY_SQL("(received_ms + 999) / 1000", "m.expire_s")

/* Groups of statements, each all or none.  What the first version of the index had not stands where %s
 * is: a column, or what it began with. */
static const char take_accounts[] =
    "INSERT INTO main.domain (id, name, folded, quota, expire_s)"
    " SELECT id, name, folded, quota, expire_s FROM old.domain;"
    "INSERT INTO main.mailbox (id, domain, local, folded, enabled, quota, expire_s,"
    " expire_retrieved_s, warned, created_s, last_login_s, last_delivery_s, removals)"
    " SELECT id, domain, local, folded, enabled, quota, expire_s, expire_retrieved_s, warned,"
    " created_s, last_login_s, last_delivery_s, %s FROM old.mailbox;"
    "DELETE FROM main.sqlite_sequence;"
    "INSERT INTO main.sqlite_sequence SELECT name, seq FROM old.sqlite_sequence";

static const char take_aliases[] =
    "INSERT INTO main.alias SELECT id, domain, local, folded FROM old.alias;"
    "INSERT INTO main.alias_target SELECT alias, mailbox, next FROM old.alias_target";

/* Which spool this is, for its backups. */
static const char take_meta[] = "INSERT OR REPLACE INTO main.meta SELECT key, value FROM old.meta"
				" WHERE key IN ('newest_segment', 'spool_id')";

/* Ages that were lengthened moved the days of what lay there (limits.c), so no message of a mailbox
 * goes before the age that it has now, whatever its record says; and never where that is never, as in
 * a mailbox that was made here. */
static const char sql_not_before[] =
    "UPDATE main.entry SET expires_day = " NOT_BEFORE " FROM main.mailbox AS m"
    " WHERE m.id = entry.mailbox AND expires_day IS NOT NULL"
    " AND (m.expire_s IS NULL OR expires_day < " NOT_BEFORE ")";

/* What an administrator or a session said of a message after it was delivered. */
static const char take_beside[] =
    "UPDATE main.entry SET uid = o.uid, expires_day = o.expires_day, retrieved_s = o.retrieved_s,"
    " keep_retrieved_s = o.keep_retrieved_s, retrieved_expires_day = o.retrieved_expires_day"
    " FROM old.entry AS o WHERE entry.mailbox = ?1 AND o.mailbox = ?1"
    " AND o.message = entry.message";
static const char take_beside_first[] =
    "UPDATE main.entry SET uid = o.uid, expires_day = o.expires_day, retrieved_s = o.retrieved_s"
    " FROM old.entry AS o WHERE entry.mailbox = ?1 AND o.mailbox = ?1"
    " AND o.message = entry.message";
static const char take_removals[] =
    "INSERT INTO main.removal SELECT * FROM old.removal WHERE mailbox IN (SELECT id FROM"
    " main.mailbox)";
/* After the mailboxes that were made here have their names. */
static const char take_recovered[] =
    "UPDATE main.mailbox SET recovered = o.recovered FROM old.mailbox AS o WHERE o.id = mailbox.id";

static const char sql_next[] = "SELECT min(id) FROM main.mailbox WHERE id > ?1";

/* Where records begin, whoever has them. */
static const char sql_records[] =
    "SELECT message FROM old.entry WHERE message > ?1 AND message < ?2"
    " UNION ALL SELECT message FROM old.garbage WHERE message > ?1 AND message < ?2";

static const char sql_mark[] = "SELECT mark FROM old.segment WHERE number = ?1";

static const char sql_last[] = "SELECT seq FROM main.sqlite_sequence WHERE name = 'mailbox'";
static const char sql_known[] = "SELECT recovered FROM main.mailbox WHERE id = ?1";
static const char sql_nowhere[] = "INSERT OR IGNORE INTO main.domain (name, folded)"
				  " VALUES ('" NOWHERE "', '" NOWHERE "')";
static const char sql_make[] =
    "INSERT INTO main.mailbox (id, domain, local, folded, enabled, created_s, recovered)"
    " SELECT ?1, id, ?2, ?2, 0, ?3, 1 FROM main.domain WHERE folded = '" NOWHERE "'";
static const char sql_see[] = "INSERT OR REPLACE INTO temp.seen VALUES (?1, ?2)";
static const char sql_recovered[] = "SELECT id, address FROM temp.seen WHERE id < ?1"
				    " ORDER BY id DESC LIMIT 1";
static const char sql_free[] =
    "SELECT 1 FROM main.mailbox WHERE domain = ?1 AND folded = ?2"
    " UNION ALL SELECT 1 FROM main.alias WHERE domain = ?1 AND folded = ?2";
static const char sql_name[] =
    "UPDATE main.mailbox SET domain = ?2, local = ?3, folded = ?4 WHERE id = ?1";
static const char sql_nobody[] =
    "DELETE FROM main.domain WHERE folded = '" NOWHERE "' AND id NOT IN"
    " (SELECT domain FROM main.mailbox)";
/* Records of mailboxes that are gone, and passwords, name ids too. */
static const char sql_raise[] =
    "UPDATE main.sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'mailbox'";
static const char sql_secrets[] = "SELECT max(mailbox) FROM secrets.secret";

/* Statements that may fail, all or none. */
static bool
try_all(struct reindex *x, const char *sql)
{
	sqlite3 *db = index_db(x->c);
	int rc = sqlite3_exec(db, "SAVEPOINT try", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	if (rc != SQLITE_OK) {
		log_event(LOG_LEVEL_WARNING, "old_index_not_asked", log_text("path", x->spool.dir),
		    log_text("error", sqlite3_errmsg(db)),
		    log_text("advice", "what it knew is not taken over"));
		sqlite3_exec(db, "ROLLBACK TO try", NULL, NULL, NULL);
	}
	sqlite3_exec(db, "RELEASE try", NULL, NULL, NULL);
	return rc == SQLITE_OK;
}

/* The old index's log is on disk before SQLite moves it into that index, as in index_log.c: the power
 * may fail in the midst of it, and then the old index is still needed. */
static enum spool_status
renew_old_log(struct reindex *x)
{
	const struct disk_ops *disk = x->spool.disk;
	int dir = openat(x->spool.dir_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dir < 0 ? -1 : disk_open(disk, dir, "index.db-wal", false);
	enum spool_status st = SPOOL_OK;

	if (fd >= 0 ? disk_rewrite(disk, fd, 0, DISK_TO_END) != 0 || disk_sync_data(disk, fd) != 0
		    : errno != ENOENT)
		st = spool_failed("log_rewrite_failed", "index/index.db-wal", errno);
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return st;
}

static bool
attach(struct reindex *x, const char *file, const char *as)
{
	char path[4096];
	enum spool_status st;

	if (faccessat(x->spool.dir_fd, file, F_OK, 0) != 0)
		return false;
	snprintf(path, sizeof(path), "%s/%s", x->spool.dir, file);
	st = strcmp(as, "old") == 0 ? account_run(x->c, "ATTACH ?1 AS old", "t", path)
	                            : account_run(x->c, "ATTACH ?1 AS secrets", "t", path);
	return st == SPOOL_OK;
}

static enum spool_status
one_number(struct reindex *x, const char *sql, uint64_t *n_r)
{
	return account_number(x->c, index_stmt(x->c, sql), n_r);
}

static enum spool_status
take_old(struct reindex *x)
{
	char sql[sizeof(take_accounts) + 16];

	snprintf(sql, sizeof(sql), take_accounts, x->old_version < 2 ? "0" : "removals");
	x->result->accounts = try_all(x, sql);
	if (!x->result->accounts)
		return SPOOL_OK;
	x->result->aliases = try_all(x, take_aliases);
	x->result->identity = try_all(x, take_meta);
	return one_number(x, sql_last, &x->last_known);
}

/* Which version made the old index; 0 where it does not say. */
static enum spool_status
read_version(struct reindex *x, struct strbuf *err)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(index_db(x->c), "PRAGMA old.user_version", -1, &stmt, NULL) !=
	    SQLITE_OK)
		return SPOOL_OK;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		x->old_version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	if (x->old_version <= index_version(INDEX_MAIN))
		return SPOOL_OK;
	strbuf_addf(err,
	    "%s/index/index.db: made by a newer Restante (schema %d, this one knows %d): install "
	    "that, or move the file away",
	    x->spool.dir, x->old_version, index_version(INDEX_MAIN));
	return SPOOL_VERSION;
}

enum spool_status
reindex_take_accounts(struct reindex *x, struct strbuf *err)
{
	sqlite3 *db = index_db(x->c);
	enum spool_status st = renew_old_log(x);

	if (st != SPOOL_OK)
		return st;
	x->old = attach(x, "index/index.db", "old");
	attach(x, "secrets/secrets.db", "secrets");
	if (sqlite3_exec(db,
		"CREATE TEMP TABLE seen (id INTEGER PRIMARY KEY, address TEXT NOT NULL)", NULL,
		NULL, NULL) != SQLITE_OK)
		return index_failed(x->c, "temp table", sqlite3_errcode(db));
	if (x->old) {
		st = read_version(x, err);
		if (st != SPOOL_OK)
			return st;
	}
	/* Not IMMEDIATE, which would want to write to what is attached. */
	st = index_run(x->c, index_stmt(x->c, "BEGIN"));
	if (st != SPOOL_OK || !x->old)
		return st;
	return take_old(x);
}

static enum spool_status
make_mailbox(struct reindex *x, uint64_t id)
{
	enum spool_status st = account_run(x->c, sql_nowhere, "");
	char local[32];

	snprintf(local, sizeof(local), "%" PRIu64, id);
	if (st == SPOOL_OK)
		st = account_run(x->c, sql_make, "utu", id, local, clock_wall_ms() / 1000);
	x->result->recovered += st == SPOOL_OK;
	return st;
}

enum spool_status
reindex_need_mailboxes(struct reindex *x, const struct record_envelope *e)
{
	enum spool_status st = SPOOL_OK;

	for (size_t i = 0; st == SPOOL_OK && i < e->n; i++) {
		const struct record_recipient *to = &e->list[i];
		sqlite3_stmt *stmt;
		bool row, recovered = true;

		if (to->mailbox == 0)
			continue;
		stmt = account_query(x->c, sql_known, "u", to->mailbox);
		st = index_step(x->c, stmt, &row);
		if (st == SPOOL_OK && row) {
			recovered = sqlite3_column_int(stmt, 0) != 0;
			sqlite3_reset(stmt);
		}
		if (st != SPOOL_OK || (row && !recovered) || (!row && to->mailbox <= x->last_known))
			continue;
		if (!row)
			st = make_mailbox(x, to->mailbox);
		/* Segments come in the order of their making: the last address stays. */
		if (st == SPOOL_OK)
			st = account_run(x->c, sql_see, "ut", to->mailbox, to->address);
	}
	return st;
}

void
reindex_ask_old(struct reindex *x, int fd, uint64_t number, struct segment_proof *proof)
{
	sqlite3_stmt *stmt;

	/* A statement of its own: one that fails is no failure here. */
	if (!x->old ||
	    sqlite3_prepare_v2(index_db(x->c), sql_records, -1, &stmt, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)message_id(number, 0));
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)message_id(number + 1, 0));
	while (sqlite3_step(stmt) == SQLITE_ROW)
		segment_proof_ask(proof, fd, number, message_block(account_u64(stmt, 0)));
	sqlite3_finalize(stmt);
}

uint64_t
reindex_old_mark(struct reindex *x, uint64_t number)
{
	sqlite3_stmt *stmt;
	uint64_t mark = 1;

	/* As above. */
	if (!x->old || sqlite3_prepare_v2(index_db(x->c), sql_mark, -1, &stmt, NULL) != SQLITE_OK)
		return mark;
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
	if (sqlite3_step(stmt) == SQLITE_ROW && account_u64(stmt, 0) > 1)
		mark = account_u64(stmt, 0);
	sqlite3_finalize(stmt);
	return mark;
}

/* Under the name that is wanted, or one that tells what it was where somebody else has it by now. */
static enum spool_status
name_mailbox(struct reindex *x, uint64_t id, const char *text)
{
	char local[ADDRESS_MAX + 32], folded[ADDRESS_MAX + 32];
	struct address address;
	enum spool_status st;
	sqlite3_stmt *stmt;
	uint64_t domain;
	bool taken;

	/* It was an address of ours when the record was written; one that is none stays nowhere. */
	if (address_parse(text, &address) != 0)
		return SPOOL_OK;
	st = account_need_domain(x->c, address.domain, &domain);
	if (st != SPOOL_OK)
		return st == SPOOL_BAD_ADDRESS ? SPOOL_OK : st;
	snprintf(local, sizeof(local), "%s", address.local);
	address_fold(folded, local);
	stmt = account_query(x->c, sql_free, "ut", domain, folded);
	st = index_step(x->c, stmt, &taken);
	sqlite3_reset(stmt);
	if (st != SPOOL_OK)
		return st;
	if (taken) {
		snprintf(local, sizeof(local), "%.*s.mailbox-%" PRIu64, ADDRESS_MAX - 30,
		    address.local, id);
		address_fold(folded, local);
	}
	st = account_run(x->c, sql_name, "uutt", id, domain, local, folded);
	return st == SPOOL_EXISTS ? SPOOL_OK : st;
}

/* The latest first: who has an address now is the one that got it last. */
static enum spool_status
name_mailboxes(struct reindex *x)
{
	char address[ACCOUNT_ADDRESS_MAX];
	uint64_t id = INT64_MAX;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	for (;;) {
		stmt = account_query(x->c, sql_recovered, "u", id);
		st = index_step(x->c, stmt, &row);
		if (st != SPOOL_OK || !row)
			return st;
		id = account_u64(stmt, 0);
		st = account_text(stmt, 1, address, sizeof(address));
		sqlite3_reset(stmt);
		if (st == SPOOL_OK)
			st = name_mailbox(x, id, address);
		if (st != SPOOL_OK)
			return st;
	}
}

/* Mailbox by mailbox, so that a damaged page is no loss to those that it has nothing of. */
static enum spool_status
take_what_was_said(struct reindex *x)
{
	const char *sql = x->old_version < 2 ? take_beside_first : take_beside;
	sqlite3 *db = index_db(x->c);
	sqlite3_stmt *next = index_stmt(x->c, sql_next), *stmt = NULL;
	enum spool_status st = SPOOL_OK;
	uint64_t mailbox = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		x->result->unasked = UINT64_MAX;
	while (stmt != NULL && st == SPOOL_OK) {
		sqlite3_bind_int64(next, 1, (sqlite3_int64)mailbox);
		st = account_number(x->c, next, &mailbox);
		if (st != SPOOL_OK || mailbox == 0)
			break;
		next = index_stmt(x->c, sql_next);
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
		x->result->unasked += sqlite3_step(stmt) != SQLITE_DONE;
		sqlite3_reset(stmt);
	}
	sqlite3_finalize(stmt);
	if (st == SPOOL_OK && x->old_version >= 2)
		try_all(x, take_removals);
	if (st == SPOOL_OK && x->old_version >= 3)
		try_all(x, take_recovered);
	return st;
}

enum spool_status
reindex_finish_accounts(struct reindex *x)
{
	enum spool_status st = name_mailboxes(x);
	uint64_t secrets = 0;

	if (st == SPOOL_OK)
		st = account_run(x->c, sql_nobody, "");
	if (st != SPOOL_OK)
		return st;
	st = account_run(x->c, sql_not_before, "");
	if (st == SPOOL_OK && x->result->accounts)
		st = take_what_was_said(x);
	if (st != SPOOL_OK)
		return st;
	/* Without a password for it an id may be known to nobody. */
	if (one_number(x, sql_secrets, &secrets) == SPOOL_OK && secrets > 0) {
		st = account_run(x->c,
		    "INSERT INTO main.sqlite_sequence SELECT 'mailbox', 0 WHERE NOT EXISTS"
		    " (SELECT 1 FROM main.sqlite_sequence WHERE name = 'mailbox')",
		    "");
		if (st == SPOOL_OK)
			st = account_run(x->c, sql_raise, "u", secrets);
	}
	if (st == SPOOL_OK)
		st = one_number(x, "SELECT count(*) FROM main.mailbox", &x->result->mailboxes);
	if (st == SPOOL_OK)
		st = one_number(x, "SELECT count(*) FROM main.entry", &x->result->entries);
	return st;
}

void
reindex_detach(struct reindex *x)
{
	/* With this the old one's log goes into it: who is interrupted between the log's end and the
	 * new name finds all of it there. */
	sqlite3_exec(index_db(x->c), "DETACH old", NULL, NULL, NULL);
	sqlite3_exec(index_db(x->c), "DETACH secrets", NULL, NULL, NULL);
}
