/*
 * cmd_limits - what a mailbox may hold, and for how long.
 */
#include <sysexits.h>

#include "base/num.h"
#include "command.h"
#include "prompt.h"

/* A quota may be set below what is there; whoever does so by mistake is told. */
static void
say_quota(struct admin *a, const char *who, const struct address *address, uint64_t quota)
{
	struct account_user user;
	char text[NUM_TEXT_MAX];

	admin_say(a, "%s has the quota %s", who, num_format_size(text, quota));
	if (account_user_find(a->spool, address, &user) == SPOOL_OK && user.used > user.quota)
		admin_say(a, "it holds %s: nothing goes because of that, but no more comes in",
		    num_format_size_short(text, user.used));
}

int
cmd_user_quota(struct admin *a, char **operands, size_t n)
{
	struct address address;
	uint64_t quota;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_quota(operands[1], &quota);
	if (code == EX_OK)
		code = admin_result(account_user_set_quota(a->spool, &address, quota), operands[0]);
	if (code == EX_OK)
		say_quota(a, operands[0], &address, quota);
	return code;
}

/* Who shortens an age looks at what is there, finds its old day, and should know why. */
static void
say_age(const struct admin *a, const char *who, uint64_t age_s, const char *since, bool now,
    uint64_t changed)
{
	const char *rest = now ? "" : "; what lies there, on no earlier day than before";
	char text[NUM_TEXT_MAX];

	if (age_s == NUM_UNLIMITED)
		admin_say(a, "mail of %s never goes because %s long ago", who, since);
	else
		admin_say(a, "mail of %s goes %s after %s%s", who, num_format_age(text, age_s),
		    since, rest);
	if (changed > 0)
		admin_say(a, "messages there that were given another day: %llu",
		    (unsigned long long)changed);
}

/* What --now would do at once, before it is done. */
static int
ask_now(const struct admin *a, const char *who, const struct address *address, uint64_t age_s)
{
	uint64_t messages, octets;
	char size[NUM_TEXT_MAX];
	int code =
	    admin_result(account_user_past_age(a->spool, address, age_s, &messages, &octets), who);

	if (code != EX_OK)
		return code;
	if (!prompt_confirm(a->yes,
		"Mail of %s that would go at once, whatever was announced: %llu messages, %s.  "
		"Go on?",
		who, (unsigned long long)messages, num_format_size_short(size, octets)))
		return EX_TEMPFAIL;
	return EX_OK;
}

int
cmd_user_expire(struct admin *a, char **operands, size_t n)
{
	bool now = (a->given & COMMAND_NOW) != 0;
	struct address address;
	uint64_t age_s, changed;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_age(operands[1], ADMIN_EXPIRE_MIN_S, &age_s);
	if (code == EX_OK && now)
		code = ask_now(a, operands[0], &address, age_s);
	if (code == EX_OK)
		code = admin_result(
		    account_user_set_expire(a->spool, &address, age_s, now, &changed), operands[0]);
	if (code == EX_OK)
		say_age(a, operands[0], age_s, "it came", now, changed);
	return code;
}

int
cmd_user_expire_retrieved(struct admin *a, char **operands, size_t n)
{
	struct address address;
	uint64_t age_s, changed;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_age(operands[1], 0, &age_s);
	if (code == EX_OK)
		code = admin_result(
		    account_user_set_expire_retrieved(a->spool, &address, age_s, &changed),
		    operands[0]);
	if (code == EX_OK)
		say_age(a, operands[0], age_s, "it was first retrieved", false, changed);
	return code;
}
