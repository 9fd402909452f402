/*
 * cmd_alias - other names for mailboxes.
 */
#include <sysexits.h>

#include "base/mem.h"
#include "command.h"
#include "output.h"

static const char *const alias_keys[] = { "address", "targets", NULL };

/* Reads the alias at operands[0] and its targets behind it, which the caller frees.  0 or the
 * exit code. */
static int
read_operands(char **operands, size_t n, struct address *alias_r, struct address **targets_r)
{
	int code = admin_address(operands[0], true, alias_r);

	*targets_r = mem_must_array(n, sizeof(**targets_r));
	for (size_t i = 1; code == EX_OK && i < n; i++)
		code = admin_address(operands[i], false, &(*targets_r)[i - 1]);
	return code;
}

int
cmd_alias_add(struct admin *a, char **operands, size_t n)
{
	struct address alias, *targets;
	size_t bad = 0;
	int code = read_operands(operands, n, &alias, &targets);

	if (code == EX_OK) {
		enum spool_status st = account_alias_add(a->spool, &alias, targets, n - 1, &bad);

		if (st == SPOOL_NOT_LOCAL)
			code = admin_fail(EX_DATAERR,
			    "%s is neither a mailbox nor an alias here, and Restante does not "
			    "forward",
			    operands[bad + 1]);
		else
			code = admin_result(st, operands[0]);
	}
	if (code == EX_OK)
		admin_say(a, "%s added", operands[0]);
	mem_free(&targets);
	return code;
}

int
cmd_alias_remove(struct admin *a, char **operands, size_t n)
{
	struct address alias, *targets;
	size_t bad = n;
	int code = read_operands(operands, n, &alias, &targets);

	if (code == EX_OK) {
		enum spool_status st = account_alias_remove(a->spool, &alias, targets, n - 1, &bad);

		if (st == SPOOL_NO_ALIAS && bad < n - 1)
			code = admin_fail(
			    EX_NOUSER, "%s does not lead to %s", operands[0], operands[bad + 1]);
		else
			code = admin_result(st, operands[0]);
	}
	if (code == EX_OK)
		admin_say(a, "%s%s removed", operands[0], n > 1 ? ": targets" : "");
	mem_free(&targets);
	return code;
}

static int
add_row(void *arg, const struct account_alias *alias)
{
	const struct cell cells[] = { cell_text(alias->address),
		cell_texts(alias->targets, alias->ntargets) };

	output_row(arg, cells);
	return 0;
}

int
cmd_alias_list(struct admin *a, char **operands, size_t n)
{
	struct output *o = output_new(OUTPUT_LISTING, a->json, alias_keys);
	enum spool_status st = account_alias_list(a->spool, add_row, o);

	(void)operands;
	(void)n;
	if (st != SPOOL_OK) {
		output_discard(&o);
		return admin_result(st, "aliases");
	}
	return admin_show(&o);
}

int
cmd_alias_resolve(struct admin *a, char **operands, size_t n)
{
	const struct account_policy policy = { .delimiter = a->config->smtpd.recipient_delimiter,
		.postmaster = a->config->site.postmaster };
	struct account_targets targets;
	struct address address;
	struct output *o;
	const char **list;
	enum spool_status st;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code != EX_OK)
		return code;
	st = account_resolve(a->spool, &address, &policy, &targets);
	if (st != SPOOL_OK)
		return admin_result(st, operands[0]);
	list = mem_must_array(targets.n + 1, sizeof(*list));
	for (size_t i = 0; i < targets.n; i++)
		list[i] = targets.list[i].address;
	o = output_new(OUTPUT_SINGLE, a->json, alias_keys);
	output_row(o, (const struct cell[]){ cell_text(operands[0]), cell_texts(list, targets.n) });
	code = admin_show(&o);
	mem_free(&list);
	account_targets_release(&targets);
	return code;
}
