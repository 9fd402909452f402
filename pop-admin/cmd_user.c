/*
 * cmd_user - mailboxes and who may open them.
 */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/mem.h"
#include "base/num.h"
#include "command.h"
#include "output.h"
#include "prompt.h"

static const char *const user_keys[] = { "address", "enabled", "quota", "used", "share", "messages",
	"oldest", "expire_s", "expire_retrieved_s", "created", "last_login", "last_delivery",
	NULL };

uint64_t
admin_share(const struct account_user *u)
{
	if (u->quota == NUM_UNLIMITED || u->quota == 0)
		return NUM_UNLIMITED;
	if (u->used > UINT64_MAX / 100)
		return u->used / (u->quota / 100 + 1);
	return u->used * 100 / u->quota;
}

static void
user_row(struct output *o, const struct account_user *u)
{
	const struct cell cells[] = { cell_text(u->address), cell_bool(u->enabled),
		cell_size(u->quota), cell_size(u->used), cell_percent(admin_share(u)),
		cell_count(u->messages), cell_oldest(u->oldest_ms / 1000), cell_age(u->expire_s),
		cell_age(u->expire_retrieved_s), cell_time(u->created_s),
		cell_time(u->last_login_s), cell_time(u->last_delivery_s) };

	output_row(o, cells);
}

/* --- list --- */

struct users {
	struct account_user *list; /* owned */
	size_t n, cap;
	bool lacked_memory;
};

static int
keep_user(void *arg, const struct account_user *u)
{
	struct users *users = arg;

	if (mem_grow(&users->list, &users->cap, users->n + 1, sizeof(*users->list)) != 0) {
		users->lacked_memory = true;
		return -1;
	}
	users->list[users->n++] = *u;
	return 0;
}

static int
by_address(const void *a, const void *b)
{
	return strcmp(
	    ((const struct account_user *)a)->address, ((const struct account_user *)b)->address);
}

/* The most first, as whoever sorts by a number wants it; equal ones by address. */
static int
most_first(uint64_t a, uint64_t b, const void *ua, const void *ub)
{
	return a != b ? (a < b ? 1 : -1) : by_address(ua, ub);
}

#define MOST_FIRST(name, member)                                                                   \
	static int by_##name(const void *a, const void *b)                                         \
	{                                                                                          \
		return most_first(((const struct account_user *)a)->member,                        \
		    ((const struct account_user *)b)->member, a, b);                               \
	}
MOST_FIRST(used, used)
MOST_FIRST(messages, messages)
MOST_FIRST(created, created_s)
MOST_FIRST(last_login, last_login_s)
MOST_FIRST(last_delivery, last_delivery_s)
#undef MOST_FIRST

/* The fullest first, those without a quota last. */
static int
by_share(const void *a, const void *b)
{
	/* Unlimited, one more, is nothing. */
	return most_first(admin_share(a) + 1, admin_share(b) + 1, a, b);
}

/* The oldest first, an empty mailbox last. */
static int
by_oldest(const void *a, const void *b)
{
	return most_first(((const struct account_user *)b)->oldest_ms - 1,
	    ((const struct account_user *)a)->oldest_ms - 1, a, b);
}

static const struct {
	const char *key;
	int (*compare)(const void *, const void *);
} orders[] = {
	{ "address", by_address },
	{ "used", by_used },
	{ "share", by_share },
	{ "messages", by_messages },
	{ "oldest", by_oldest },
	{ "created", by_created },
	{ "last_login", by_last_login },
	{ "last_delivery", by_last_delivery },
};

int
cmd_user_list(struct admin *a, char **operands, size_t n)
{
	int (*compare)(const void *, const void *) = a->sort == NULL ? by_address : NULL;
	struct users users = { 0 };
	struct output *o;
	enum spool_status st;
	int code;

	(void)operands;
	(void)n;
	for (size_t i = 0; compare == NULL && i < sizeof(orders) / sizeof(orders[0]); i++)
		if (strcmp(a->sort, orders[i].key) == 0)
			compare = orders[i].compare;
	if (compare == NULL)
		return admin_fail(EX_USAGE,
		    "--sort %s: sort by address, used, share, messages, oldest, created, "
		    "last_login or last_delivery",
		    a->sort);
	st = account_user_list(a->spool, keep_user, &users);
	code = admin_result(users.lacked_memory ? SPOOL_NO_MEMORY : st, "users");
	if (code == EX_OK) {
		if (users.n > 0)
			qsort(users.list, users.n, sizeof(*users.list), compare);
		o = output_new(OUTPUT_LISTING, a->json, user_keys);
		for (size_t i = 0; i < users.n; i++)
			user_row(o, &users.list[i]);
		code = admin_show(&o);
	}
	free(users.list);
	return code;
}

int
cmd_user_show(struct admin *a, char **operands, size_t n)
{
	struct address address;
	struct account_user user;
	struct output *o;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_result(account_user_find(a->spool, &address, &user), operands[0]);
	if (code != EX_OK)
		return code;
	o = output_new(OUTPUT_SINGLE, a->json, user_keys);
	user_row(o, &user);
	return admin_show(&o);
}

/* --- changes --- */

int
cmd_user_add(struct admin *a, char **operands, size_t n)
{
	struct account_limits own, site = admin_site_limits(a);
	bool keep_secret = (a->given & COMMAND_APOP) != 0;
	struct address address;
	struct account_user user;
	struct strbuf password;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_limits(a, false, &own);
	if (code != EX_OK)
		return code;
	/* Nobody is to type a password twice for a name that is taken. */
	if (account_user_find(a->spool, &address, &user) == SPOOL_OK)
		return admin_result(SPOOL_EXISTS, operands[0]);
	if (prompt_password(&password) != 0)
		return EX_DATAERR;
	code = admin_result(account_user_add(a->spool, &address, password.buf, password.len,
				keep_secret, &own, &site),
	    operands[0]);
	prompt_wipe(&password);
	if (code == EX_OK)
		admin_say(a, "%s added", operands[0]);
	return code;
}

int
cmd_user_passwd(struct admin *a, char **operands, size_t n)
{
	struct address address;
	struct account_user user;
	struct strbuf password;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_result(account_user_find(a->spool, &address, &user), operands[0]);
	if (code != EX_OK)
		return code;
	if (prompt_password(&password) != 0)
		return EX_DATAERR;
	code = admin_result(
	    account_user_set_password(a->spool, &address, password.buf, password.len), operands[0]);
	prompt_wipe(&password);
	if (code == EX_OK)
		admin_say(a, "%s has a new password", operands[0]);
	return code;
}

static int
set_enabled(struct admin *a, const char *operand, bool enabled)
{
	struct address address;
	int code = admin_address(operand, false, &address);

	if (code == EX_OK)
		code = admin_result(account_user_enable(a->spool, &address, enabled), operand);
	if (code == EX_OK)
		admin_say(a, "%s is %s", operand, enabled ? "enabled" : "disabled");
	return code;
}

int
cmd_user_enable(struct admin *a, char **operands, size_t n)
{
	(void)n;
	return set_enabled(a, operands[0], true);
}

int
cmd_user_disable(struct admin *a, char **operands, size_t n)
{
	(void)n;
	return set_enabled(a, operands[0], false);
}

int
cmd_user_remove(struct admin *a, char **operands, size_t n)
{
	struct address address;
	struct account_user user;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_result(account_user_find(a->spool, &address, &user), operands[0]);
	if (code != EX_OK)
		return code;
	if (!prompt_confirm(a->yes, "Remove %s with its %llu messages?", user.address,
		(unsigned long long)user.messages))
		return EX_TEMPFAIL;
	code = admin_result(account_user_remove(a->spool, &address), operands[0]);
	if (code == EX_OK)
		admin_say(a, "%s removed", operands[0]);
	return code;
}

int
cmd_user_rename(struct admin *a, char **operands, size_t n)
{
	struct address old, new;
	enum spool_status st;
	int code = admin_address(operands[0], false, &old);

	(void)n;
	if (code == EX_OK)
		code = admin_address(operands[1], false, &new);
	if (code == EX_OK) {
		st = account_user_rename(a->spool, &old, &new);
		code = admin_result(st, operands[st == SPOOL_NO_MAILBOX ? 0 : 1]);
	}
	if (code == EX_OK)
		admin_say(a, "%s is now %s", operands[0], operands[1]);
	return code;
}
