/*
 * load_admin - what an administrator does: accounts, quotas and warnings; upkeep, repairs, backups, and
 * mail out of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "common/spool/account_internal.h"
#include "common/spool/reindex_internal.h"
#include "common/spool/secrets.h"
#include "common/spool/spool_internal.h"
#include "common/spool/warn.h"
#include "common/spool/warn_internal.h"
#include "load_internal.h"
#include "spool/backup.h"
#include "spool/check.h"
#include "spool/warning.h"

/* Messages that are brought out of a backup at once. */
#define BRING_MAX 4

/* --- accounts ------------------------------------------------------------- */

struct address
load_address_of(unsigned box)
{
	struct address address;
	char text[64];

	memset(&address, 0, sizeof(address));
	load_address(text, box);
	if (address_parse(text, &address) != 0)
		die("%s", text);
	return address;
}

void
load_account(struct spool *sp, unsigned box, const char *password, bool is_new,
    const struct account_limits *limits)
{
	struct event e = { .kind = EVENT_BOX_ASKED, .box = box, .in = password != NULL };
	struct address address = load_address_of(box);
	enum spool_status st;
	struct secret secret;

	trace_event(&e);
	trace_context = CONTEXT_ACCOUNT;
	if (password == NULL)
		st = account_user_remove(sp, &address);
	else if (is_new)
		st =
		    account_user_add(sp, &address, password, strlen(password), false, limits, NULL);
	else
		st = account_user_set_password(sp, &address, password, strlen(password));
	trace_context = CONTEXT_OTHER;
	load_want(st, "account");
	load_want(secrets_read(sp, box, &secret), "secret");
	e.kind = EVENT_BOX_DONE;
	e.told = TOLD_YES;
	snprintf(e.text, sizeof(e.text), "%.*s", EVENT_TEXT_MAX - 1, secret.hash);
	trace_event(&e);
}

void
load_make_accounts(struct spool *sp)
{
	struct account_limits limits = { .has_quota = true, .has_expire = true };
	struct address address;
	uint64_t changed;

	for (unsigned box = 1; box <= LOAD_BOXES; box++) {
		limits.quota = box == BOX_WARNED || box == BOX_FULL ? 100000 : NUM_UNLIMITED;
		limits.expire_s = box == BOX_AGED ? 86400 : NUM_UNLIMITED;
		load_account(sp, box, "a password", true, &limits);
	}
	address = load_address_of(BOX_READ_ONCE);
	load_want(account_user_set_expire_retrieved(sp, &address, 0, &changed), "EXPIRE 0");
}

void
load_set_warning(struct spool *sp)
{
	const struct spool_warning warning = {
		.percent = { 80 },
		.n = 1,
		.hostname = "mail." LOAD_DOMAIN,
	};

	load_want(spool_set_warning(sp, &warning), "warning");
}

static void
warn(struct spool *sp)
{
	trace_context = CONTEXT_WARN;
	sp->warner->next_look_ms = 0;
	load_want(warn_round(sp), "warnings");
	trace_context = CONTEXT_OTHER;
}

void
load_upkeep(struct spool *sp)
{
	trace_context = CONTEXT_UPKEEP;
	load_want(spool_upkeep(sp), "upkeep");
	trace_context = CONTEXT_OTHER;
}

void
load_fill(const struct site *s)
{
	struct event quota = { .kind = EVENT_QUOTA, .box = BOX_FULL, .uid = 60000 };
	struct address address = load_address_of(BOX_FULL);

	load_phase("warnings");
	load_send(s->smtpd, 50000, 1u << BOX_WARNED | 1u << BOX_FULL);
	warn(s->admin);
	load_send(s->smtpd, 35000, 1u << BOX_WARNED);
	warn(s->admin);
	trace_event(&quota);
	trace_context = CONTEXT_ACCOUNT;
	load_want(account_user_set_quota(s->admin, &address, quota.uid), "quota");
	trace_context = CONTEXT_OTHER;
	quota.in = true;
	trace_event(&quota);
	warn(s->admin);
	/* No room: refused by its exact size. */
	load_send(s->smtpd, 30000, 1u << BOX_FULL);
	load_send(s->smtpd, 30000, 1u << BOX_FULL | 1u << 1);
	warn(s->admin);
}

/* --- repairs -------------------------------------------------------------- */

static void
on_finding(void *arg, const struct check_finding *f)
{
	(void)f;
	++*(unsigned *)arg;
}

void
load_mend(struct spool *sp)
{
	unsigned found = 0;
	const struct check_options options = { .repair = true, .each = on_finding, .arg = &found };
	struct check_result result;

	load_want(check_spool(sp, &options, &result), "check --repair");
	if (result.wrong != result.mended)
		die("%u of %u findings were mended", (unsigned)result.mended,
		    (unsigned)result.wrong);
}

void
load_repair(struct spool *admin)
{
	static const char *const wrongs[] = {
		"UPDATE mailbox SET used = used + 1000 WHERE id = 1",
		"UPDATE holders SET n = n + 1 WHERE message IN (SELECT max(message) FROM holders)",
		"UPDATE segment SET live = live + 1 WHERE state = 1 AND live > 0",
	};
	struct event e = { .kind = EVENT_REPAIR };
	struct index_conn *c;
	enum spool_status st;

	load_phase("repair");
	trace_event(&e);
	load_want(index_write_begin(admin, INDEX_MAIN, "load", &c), "wrong sums");
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++) {
		st = index_run(c, index_stmt(c, wrongs[i]));
		load_want(st, wrongs[i]);
	}
	load_want(index_write_commit(admin, &c, true), "wrong sums");
	trace_context = CONTEXT_REPAIR;
	load_mend(admin);
	trace_context = CONTEXT_OTHER;
	e.in = true;
	trace_event(&e);
}

/* --- a new index ----------------------------------------------------------- */

void
load_reindex(const char *dir)
{
	struct reindex_result result;
	struct strbuf err;

	strbuf_init(&err, 1024);
	if (reindex_spool_on(dir, &trace_disk, NULL, NULL, &result, &err) != SPOOL_OK)
		die("reindex: %s", err.buf);
	strbuf_release(&err);
}

bool
load_is_rebuilt(const char *dir)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/" INDEX_REBUILT, dir);
	return access(path, F_OK) == 0;
}

/* --- backups -------------------------------------------------------------- */

/* Between two segments: waits the first time for what is to happen meanwhile. */
static void
meet(void *arg, uint64_t done, uint64_t all)
{
	struct backing_up *b = arg;

	(void)done, (void)all;
	pthread_mutex_lock(&b->mutex);
	b->begun = true;
	pthread_cond_broadcast(&b->changed);
	while (!b->may_go_on)
		pthread_cond_wait(&b->changed, &b->mutex);
	pthread_mutex_unlock(&b->mutex);
}

static void *
back_up(void *arg)
{
	struct backing_up *b = arg;
	struct event e = { .kind = EVENT_BACKUP };
	unsigned found = 0;
	const struct backup_watch watch = {
		.each = on_finding, .each_arg = &found, .progress = meet, .progress_arg = b
	};
	struct backup_result result;
	struct strbuf err;
	struct spool *sp;
	char to[700];

	strbuf_init(&err, 1024);
	sp = load_open(b->dir, SPOOL_ADMIN, 0);
	trace_event(&e);
	snprintf(to, sizeof(to), "%s/" LOAD_BACKUP, b->dir);
	if (backup_run(sp, to, &watch, &result, &err) != SPOOL_OK)
		die("backup: %s", err.buf);
	/* What has no blocks any more is damaged. */
	e.in = found == 0;
	if (found > 0)
		e.told = TOLD_NO;
	trace_event(&e);
	spool_close(&sp);
	strbuf_release(&err);
	return NULL;
}

void
load_begin_backup(struct backing_up *b, const char *dir)
{
	load_phase("backup");
	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), "%s", dir);
	pthread_mutex_init(&b->mutex, NULL);
	pthread_cond_init(&b->changed, NULL);
	if (pthread_create(&b->thread, NULL, back_up, b) != 0)
		die("no thread");
	pthread_mutex_lock(&b->mutex);
	while (!b->begun)
		pthread_cond_wait(&b->changed, &b->mutex);
	pthread_mutex_unlock(&b->mutex);
}

void
load_end_backup(struct backing_up *b)
{
	pthread_mutex_lock(&b->mutex);
	b->may_go_on = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->mutex);
	pthread_join(b->thread, NULL);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->mutex);
}

void
load_bring(struct spool *admin, const char *dir, unsigned box)
{
	static char texts[BRING_MAX][MAILDROP_UID_MAX + 1];
	struct event e = { .box = box, .in = true, .told = TOLD_YES };
	struct address address = load_address_of(box);
	struct facts *known = load_facts();
	const char *uids[BRING_MAX];
	uint32_t numbers[BRING_MAX];
	unsigned found = 0;
	const struct backup_watch watch = { .each = on_finding, .each_arg = &found };
	struct backup_result result;
	struct strbuf err;
	char from[700];
	size_t n = 0;

	load_phase("mail out of a backup");
	strbuf_init(&err, 1024);
	for (uint32_t i = 0; i < MESSAGES && n < BRING_MAX; i++)
		if (known->backup.has && known->backup.held.where[box][i] == MAY_BE_IN &&
		    known->where[box][i] == MAY_BE_OUT) {
			load_uid_text(texts[n], known->uid[i]);
			uids[n] = texts[n];
			numbers[n++] = i;
		}
	for (int done = 0; done < 2; done++) {
		e.kind = done ? EVENT_DONE : EVENT_ASKED;
		for (size_t i = 0; i < n; i++) {
			e.message = numbers[i];
			trace_event(&e);
		}
		snprintf(from, sizeof(from), "%s/" LOAD_BACKUP, dir);
		if (!done && n > 0 &&
		    backup_bring(admin, from, &address, uids, n, &watch, &result, &err) != SPOOL_OK)
			die("mail out of a backup: %s", err.buf);
	}
	free(known);
	strbuf_release(&err);
}
