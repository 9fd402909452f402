/*
 * cmd_domain - the domains that mail is accepted for, and the limits of their new mailboxes.
 */
#include <sysexits.h>

#include "command.h"
#include "output.h"
#include "prompt.h"

static int
check_domain(const char *text)
{
	if (address_parse_domain(text) == 0)
		return EX_OK;
	return admin_fail(EX_DATAERR, "\"%s\" is not a domain name", text);
}

int
cmd_domain_add(struct admin *a, char **operands, size_t n)
{
	struct account_limits limits;
	int code = check_domain(operands[0]);

	(void)n;
	if (code == EX_OK)
		code = admin_limits(a, true, &limits);
	if (code == EX_OK)
		code =
		    admin_result(account_domain_add(a->spool, operands[0], &limits), operands[0]);
	if (code == EX_OK)
		admin_say(a, "%s added", operands[0]);
	return code;
}

int
cmd_domain_set(struct admin *a, char **operands, size_t n)
{
	struct account_limits limits;
	int code = check_domain(operands[0]);

	(void)n;
	if (code == EX_OK && a->quota == NULL && a->expire == NULL)
		code = admin_fail(EX_USAGE, "domain set: say --quota, --expire, or both");
	if (code == EX_OK)
		code = admin_limits(a, true, &limits);
	if (code == EX_OK)
		code =
		    admin_result(account_domain_set(a->spool, operands[0], &limits), operands[0]);
	if (code == EX_OK)
		admin_say(a, "new mailboxes of %s have other limits", operands[0]);
	return code;
}

int
cmd_domain_remove(struct admin *a, char **operands, size_t n)
{
	int code = check_domain(operands[0]);

	(void)n;
	if (code != EX_OK)
		return code;
	if (!prompt_confirm(a->yes, "Remove %s and its aliases?", operands[0]))
		return EX_TEMPFAIL;
	code = admin_result(account_domain_remove(a->spool, operands[0]), operands[0]);
	if (code == EX_OK)
		admin_say(a, "%s removed", operands[0]);
	return code;
}

static int
add_row(void *arg, const struct account_domain *d)
{
	const struct cell cells[] = { cell_text(d->name), cell_count(d->users), cell_size(d->quota),
		cell_age(d->expire_s) };

	output_row(arg, cells);
	return 0;
}

int
cmd_domain_list(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "domain", "users", "quota", "expire_s", NULL };
	struct output *o = output_new(OUTPUT_LISTING, a->json, keys);
	struct account_limits site = admin_site_limits(a);
	enum spool_status st = account_domain_list(a->spool, &site, add_row, o);

	(void)operands;
	(void)n;
	if (st != SPOOL_OK) {
		output_discard(&o);
		return admin_result(st, "domains");
	}
	return admin_show(&o);
}
