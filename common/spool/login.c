/*
 * login - from a name that somebody gives to a mailbox that is proved to be his.
 *
 * An unknown name, a disabled mailbox and a wrong password take the same way: both
 * databases are read, a password is hashed or a digest made, and SPOOL_DENIED says no
 * more.  Names never reach an alias: mail that is shared has no password.
 */
#include <stdio.h>
#include <string.h>

#include "account_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/sasl.h"
#include "password.h"
#include "secrets.h"
#include "spool/account.h"
#include "spool_internal.h"

static const char sql_domains[] = "SELECT name FROM domain LIMIT 2";

static const char sql_login_due[] =
    "SELECT 1 FROM mailbox WHERE id = ?1"
    " AND (last_login_s IS NULL OR last_login_s NOT BETWEEN ?2 - 59 AND ?2)";

static const char sql_note_login[] = "UPDATE mailbox SET last_login_s = ?2 WHERE id = ?1";

/* The name of the one domain that there is; SPOOL_NO_DOMAIN when there are none or several. */
static enum spool_status
only_domain(struct index_conn *c, char name[ADDRESS_DOMAIN_MAX + 1])
{
	sqlite3_stmt *stmt = account_query(c, sql_domains, "");
	enum spool_status st;
	bool row;

	if (stmt == NULL)
		return SPOOL_IO;
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK)
		st = row ? account_text(stmt, 0, name, ADDRESS_DOMAIN_MAX + 1) : SPOOL_NO_DOMAIN;
	if (st == SPOOL_OK)
		st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && row)
		st = SPOOL_NO_DOMAIN;
	sqlite3_reset(stmt);
	return st;
}

/* SPOOL_NO_MAILBOX for what is no name here. */
static enum spool_status
parse_name(struct index_conn *c, const void *name, size_t len, struct address *address_r)
{
	char text[ADDRESS_MAX + 1 + ADDRESS_DOMAIN_MAX + 1], domain[ADDRESS_DOMAIN_MAX + 1];
	enum spool_status st;

	if (len == 0 || len > ADDRESS_MAX || memchr(name, '\0', len) != NULL)
		return SPOOL_NO_MAILBOX;
	memcpy(text, name, len);
	text[len] = '\0';
	if (address_parse(text, address_r) == 0)
		return SPOOL_OK;
	st = only_domain(c, domain);
	if (st != SPOOL_OK)
		return st == SPOOL_NO_DOMAIN ? SPOOL_NO_MAILBOX : st;
	snprintf(text + len, sizeof(text) - len, "@%s", domain);
	return address_parse(text, address_r) == 0 ? SPOOL_OK : SPOOL_NO_MAILBOX;
}

static enum spool_status
find_by_name(struct index_conn *c, const struct account_policy *policy, const void *name,
    size_t name_len, struct account_mailbox *m_r)
{
	enum spool_status st;
	struct address address;
	size_t len, base;
	uint64_t domain;

	st = parse_name(c, name, name_len, &address);
	if (st == SPOOL_OK)
		st = account_find_domain(c, address.domain, &domain);
	if (st != SPOOL_OK)
		return st;
	len = strlen(address.local);
	base = address_base_len(address.local, policy->delimiter);
	st = account_find_mailbox(c, domain, address.local, len, m_r);
	if (st == SPOOL_NO_MAILBOX && base < len)
		st = account_find_mailbox(c, domain, address.local, base, m_r);
	return st;
}

/* Finds the mailbox and its secret.  *login_r is nobody's (mailbox 0) where the name is
 * unknown or its mailbox disabled. */
static enum spool_status
find_secret(struct spool *spool, const struct account_policy *policy, const void *name,
    size_t name_len, struct account_login *login_r, struct secret *secret_r)
{
	struct account_mailbox mailbox;
	struct index_conn *c;
	enum spool_status st;

	memset(login_r, 0, sizeof(*login_r));
	st = index_read_begin(spool, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = find_by_name(c, policy, name, name_len, &mailbox);
	/* Who is there is asked for his mail, with the same look. */
	if ((st != SPOOL_OK || !mailbox.enabled) && index_log_compare(c) != SPOOL_OK)
		st = SPOOL_IO;
	index_read_end(spool, &c);
	if (st == SPOOL_OK && mailbox.enabled) {
		login_r->mailbox = mailbox.id;
		memcpy(login_r->address, mailbox.address, sizeof(login_r->address));
	} else if (st != SPOOL_OK && st != SPOOL_NO_DOMAIN && st != SPOOL_NO_MAILBOX) {
		return st;
	}
	st = secrets_read(spool, login_r->mailbox, secret_r);
	if (st == SPOOL_OK && login_r->mailbox != 0 && !secret_r->found) {
		log_event(LOG_LEVEL_ERROR, "secret_missing", log_text("user", login_r->address),
		    log_text("advice", "set a password: pop-admin user passwd"));
		st = SPOOL_IO;
	}
	return st;
}

/* What is damaged may yet be restored: to who logs in it is a failure that passes. */
static enum spool_status
find_login(struct spool *spool, const struct account_policy *policy, const void *name,
    size_t name_len, struct account_login *login_r, struct secret *secret_r)
{
	enum spool_status st = find_secret(spool, policy, name, name_len, login_r, secret_r);

	return st == SPOOL_DAMAGED ? SPOOL_IO : st;
}

enum spool_status
account_check_password(struct spool *spool, const struct account_policy *policy, const void *name,
    size_t name_len, const void *password, size_t password_len, struct account_login *login_r)
{
	struct secret secret;
	enum spool_status st;

	st = find_login(spool, policy, name, name_len, login_r, &secret);
	if (st == SPOOL_OK)
		st = password_check(spool->passwords, login_r->mailbox,
		    login_r->mailbox != 0 ? secret.hash : NULL, password, password_len);
	mem_wipe(&secret, sizeof(secret));
	return st;
}

enum spool_status
account_check_apop(struct spool *spool, const struct account_policy *policy, const void *name,
    size_t name_len, const char *stamp, const char digest[33], struct account_login *login_r)
{
	struct secret secret;
	enum spool_status st;
	char want[33];

	st = find_login(spool, policy, name, name_len, login_r, &secret);
	if (st == SPOOL_OK && sasl_apop_digest(stamp, secret.text, want) != 0)
		st = SPOOL_IO;
	/* Who has no such secret is compared all the same. */
	if (st == SPOOL_OK &&
	    (sasl_compare(want, digest, sizeof(want)) != 0 || !secret.recoverable))
		st = SPOOL_DENIED;
	mem_wipe(&secret, sizeof(secret));
	return st;
}

void
account_note_login(struct spool *spool, uint64_t mailbox)
{
	uint64_t now_s = clock_wall_ms() / 1000;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool due = false;

	/* Looked up first, so that most logins do not wait for the writer's lock. */
	if (index_read_begin(spool, INDEX_MAIN, &c) != SPOOL_OK)
		return;
	stmt = account_query(c, sql_login_due, "uu", mailbox, now_s);
	if (stmt != NULL && index_step(c, stmt, &due) != SPOOL_OK)
		due = false;
	sqlite3_reset(stmt);
	index_read_end(spool, &c);
	if (!due || index_write_begin(spool, INDEX_MAIN, "login", &c) != SPOOL_OK)
		return;
	if (account_run(c, sql_note_login, "uu", mailbox, now_s) == SPOOL_OK)
		(void)index_write_commit(spool, &c, false);
	else
		index_write_abandon(spool, &c);
}
