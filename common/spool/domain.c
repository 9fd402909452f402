/*
 * domain - the domains that mail is accepted for.
 */
#include <string.h>

#include "account_internal.h"
#include "spool/account.h"

static const char sql_add[] = "INSERT INTO domain (name, folded) VALUES (?1, ?2)";

static const char sql_users[] = "SELECT count(*) FROM mailbox WHERE domain = ?1";

static const char sql_remove[] = "DELETE FROM domain WHERE id = ?1";

static const char sql_list[] = "SELECT d.name, d.quota, d.expire_s,"
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

enum spool_status
account_domain_add(struct spool *spool, const char *name)
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
account_domain_list(
    struct spool *spool, int (*each)(void *arg, const struct account_domain *), void *arg)
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
		st = account_text(stmt, 0, domain.name, sizeof(domain.name));
		if (st != SPOOL_OK)
			break;
		domain.quota = account_limit(stmt, 1);
		domain.expire_s = account_limit(stmt, 2);
		domain.users = account_u64(stmt, 3);
		if (each(arg, &domain) != 0)
			break;
	}
	index_read_end(spool, &c);
	return st;
}
