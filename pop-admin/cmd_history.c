/*
 * cmd_history - mail that went: what it was, why it went, and how it comes back.
 */
#include <sysexits.h>

#include "base/num.h"
#include "command.h"
#include "output.h"
#include "spool/history.h"

/* The null reverse-path (RFC 5321 4.5.5) is nobody. */
static struct cell
cell_from(const char *from)
{
	return cell_text(from[0] != '\0' ? from : NULL);
}

static int
add_removal(void *arg, const struct history_removal *r)
{
	const struct cell cells[] = { cell_time(r->removed_s), cell_text(r->cause),
		cell_text(r->uid), cell_size(r->octets), cell_time(r->received_ms / 1000),
		cell_from(r->from) };

	output_row(arg, cells);
	return 0;
}

static enum spool_status
list_removals(struct spool *sp, uint64_t mailbox, struct output *o)
{
	return history_list(sp, mailbox, add_removal, o);
}

static int
add_kept(void *arg, const struct history_kept *k)
{
	const struct cell cells[] = { cell_text(k->uid), cell_size(k->octets),
		cell_time(k->received_ms / 1000), cell_time(k->removed_s), cell_from(k->from),
		cell_text(k->delivered_to) };

	output_row(arg, cells);
	return 0;
}

static enum spool_status
list_kept(struct spool *sp, uint64_t mailbox, struct output *o)
{
	return history_kept(sp, mailbox, add_kept, o);
}

static int
show(struct admin *a, const char *operand, const char *const *keys,
    enum spool_status (*list)(struct spool *, uint64_t mailbox, struct output *))
{
	struct output *o;
	uint64_t mailbox;
	enum spool_status st;
	int code = admin_mailbox(a, operand, &mailbox);

	if (code != EX_OK)
		return code;
	o = output_new(OUTPUT_LISTING, a->json, keys);
	st = list(a->spool, mailbox, o);
	if (st != SPOOL_OK) {
		output_discard(&o);
		return admin_result(st, operand);
	}
	return admin_show(&o);
}

int
cmd_mail_history(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "removed", "cause", "uid", "size", "received", "from",
		NULL };

	(void)n;
	return show(a, operands[0], keys, list_removals);
}

int
cmd_mail_list_deleted(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "uid", "size", "received", "removed", "from",
		"delivered_to", NULL };

	(void)n;
	return show(a, operands[0], keys, list_kept);
}

int
cmd_mail_restore(struct admin *a, char **operands, size_t n)
{
	const char *const *uids = (const char *const *)(operands + 1);
	struct history_restored r;
	char size[NUM_TEXT_MAX];
	uint64_t mailbox;
	enum spool_status st;
	int code = admin_mailbox(a, operands[0], &mailbox);

	if (code != EX_OK)
		return code;
	st = history_restore(a->spool, mailbox, uids, n - 1, (a->given & COMMAND_NEW_UID) != 0, &r);
	switch (st) {
	case SPOOL_OK:
		admin_say(a, "%llu restored", (unsigned long long)r.messages);
		return EX_OK;
	case SPOOL_NO_MESSAGE:
		return admin_fail(EX_DATAERR,
		    "%s: is not among the deleted mail that is kept (mail list --deleted %s)",
		    r.bad < n - 1 ? uids[r.bad] : operands[0], operands[0]);
	case SPOOL_OVER_QUOTA:
		return admin_fail(admin_exit_code(st),
		    "%s: %s more do not fit into its quota; nothing was restored", operands[0],
		    num_format_size_short(size, r.octets));
	case SPOOL_EXISTS:
		return admin_fail(admin_exit_code(st),
		    "%s: other mail there has the same UID by now: try --new-uid", operands[0]);
	default:
		return admin_result(st, operands[0]);
	}
}
