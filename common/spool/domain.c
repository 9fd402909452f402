/*
 * domain - the domains that mail is accepted for, and what their new mailboxes get.
 *
 * A limit in the table is NULL for the site's and -1 for none.
 */
#include <string.h>

#include "account_internal.h"
#include "base/num.h"
#include "spool/account.h"

static const char sql_limits[] = "SELECT quota, expire_s FROM domain WHERE id = ?1";

static const char sql_set_quota[] = "UPDATE domain SET quota = ?2 WHERE id = ?1";

static const char sql_set_expire[] = "UPDATE domain SET expire_s = ?2 WHERE id = ?1";

static const char sql_add[] = "INSERT INTO domain (name, folded) VALUES (?1, ?2)";

static const char sql_users[] = "SELECT count(*) FROM mailbox WHERE domain = ?1";

static const char sql_remove[] = "DELETE FROM domain WHERE id = ?1";

static const char sql_list[] = "SELECT d.quota, d.expire_s, d.name,"
			       " (SELECT count(*) FROM mailbox m WHERE m.domain = d.id)"
			       " FROM domain d ORDER BY d.folded";

enum spool_status
account_need_domain(struct index_conn *c, const char *name, uint64_t *id_r)
{
	char folded[ADDRESS_DOMAIN_MAX + 1];
	enum spool_status st;

	st = account_find_domain(c, name, id_r);
	if (st != SPOOL_NO_DOMAIN)
		return st;
	if (address_parse_domain(name) != 0)
		return SPOOL_BAD_ADDRESS;
	address_fold(folded, name);
	st = account_run(c, sql_add, "tt", name, folded);
	if (st == SPOOL_OK)
		*id_r = (uint64_t)sqlite3_last_insert_rowid(index_db(c));
	return st;
}

/* A domain's limit, or what stands behind it. */
static uint64_t
limit_of(sqlite3_stmt *stmt, int column, bool site_has, uint64_t site)
{
	if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
		return site_has ? site : NUM_UNLIMITED;
	if (sqlite3_column_int64(stmt, column) < 0)
		return NUM_UNLIMITED;
	return account_u64(stmt, column);
}

/* Of a row whose columns begin with the two limits. */
static void
read_limits(
    sqlite3_stmt *stmt, const struct account_limits *site, uint64_t *quota_r, uint64_t *expire_s_r)
{
	*quota_r = limit_of(stmt, 0, site != NULL && site->has_quota, site ? site->quota : 0);
	*expire_s_r =
	    limit_of(stmt, 1, site != NULL && site->has_expire, site ? site->expire_s : 0);
}

enum spool_status
account_domain_limits(struct index_conn *c, uint64_t domain, const struct account_limits *site,
    struct account_limits *limits_r)
{
	sqlite3_stmt *stmt = account_query(c, sql_limits, "u", domain);
	enum spool_status st;
	bool row;

	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && !row)
		st = SPOOL_NO_DOMAIN;
	if (st != SPOOL_OK)
		return st;
	limits_r->has_quota = limits_r->has_expire = true;
	read_limits(stmt, site, &limits_r->quota, &limits_r->expire_s);
	sqlite3_reset(stmt);
	return st;
}

static enum spool_status
set_limit(struct index_conn *c, const char *sql, uint64_t domain, uint64_t limit)
{
	if (limit == ACCOUNT_SITE)
		return account_run(c, sql, "un", domain);
	/* NUM_UNLIMITED is -1 there. */
	return account_run(c, sql, "uu", domain, limit);
}

static enum spool_status
set_limits(struct index_conn *c, uint64_t domain, const struct account_limits *limits)
{
	enum spool_status st = SPOOL_OK;

	if (limits != NULL && limits->has_quota)
		st = set_limit(c, sql_set_quota, domain, limits->quota);
	if (st == SPOOL_OK && limits != NULL && limits->has_expire)
		st = set_limit(c, sql_set_expire, domain, limits->expire_s);
	return st;
}

enum spool_status
account_domain_set(struct spool *spool, const char *name, const struct account_limits *limits)
{
	struct index_conn *c;
	enum spool_status st;
	uint64_t id;

	st = index_write_begin(spool, INDEX_MAIN, "domain set", &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_domain(c, name, &id);
	if (st == SPOOL_OK)
		st = set_limits(c, id, limits);
	return account_end(spool, &c, st);
}

enum spool_status
account_domain_add(struct spool *spool, const char *name, const struct account_limits *limits)
{
	struct index_conn *c;
	enum spool_status st;
	uint64_t id;

	if (address_parse_domain(name) != 0)
		return SPOOL_BAD_ADDRESS;
	st = index_write_begin(spool, INDEX_MAIN, "domain add", &c);
	if (st != SPOOL_OK)
		return st;
	st = account_find_domain(c, name, &id);
	if (st == SPOOL_NO_DOMAIN)
		st = account_need_domain(c, name, &id);
	else if (st == SPOOL_OK)
		st = SPOOL_EXISTS;
	if (st == SPOOL_OK)
		st = set_limits(c, id, limits);
	return account_end(spool, &c, st);
}

static enum spool_status
remove_domain(struct index_conn *c, const char *name, struct strbuf *gone)
{
	enum spool_status st;
	sqlite3_stmt *stmt;
	uint64_t id;
	bool row;

	st = account_find_domain(c, name, &id);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_users, "u", id);
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && account_u64(stmt, 0) > 0)
		st = SPOOL_IN_USE;
	sqlite3_reset(stmt);
	if (st == SPOOL_OK)
		st = account_empty_aliases(c, id);
	if (st == SPOOL_OK)
		st = account_sweep_aliases(c, gone);
	return st == SPOOL_OK ? account_run(c, sql_remove, "u", id) : st;
}

enum spool_status
account_domain_remove(struct spool *spool, const char *name)
{
	struct index_conn *c;
	struct strbuf gone;
	enum spool_status st;

	st = index_write_begin(spool, INDEX_MAIN, "domain remove", &c);
	if (st != SPOOL_OK)
		return st;
	strbuf_init(&gone, ACCOUNT_GONE_MAX);
	st = remove_domain(c, name, &gone);
	st = account_end(spool, &c, st);
	if (st == SPOOL_OK)
		account_log_gone(&gone);
	strbuf_release(&gone);
	return st;
}

enum spool_status
account_domain_list(struct spool *spool, const struct account_limits *site,
    int (*each)(void *arg, const struct account_domain *), void *arg)
{
	struct account_domain domain;
	struct index_conn *c;
	enum spool_status st;
	sqlite3_stmt *stmt;
	bool row;

	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_list, "");
	while ((st = index_step(c, stmt, &row)) == SPOOL_OK && row) {
		st = account_text(stmt, 2, domain.name, sizeof(domain.name));
		if (st != SPOOL_OK)
			break;
		read_limits(stmt, site, &domain.quota, &domain.expire_s);
		domain.users = account_u64(stmt, 3);
		if (each(arg, &domain) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}
