/*
 * cmd_expire - mail past its age goes now, not at the janitor's next round.
 */
#include "spool/expire.h"

#include <inttypes.h>
#include <sysexits.h>

#include "base/num.h"
#include "command.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"

#define DAY_S 86400

static const char *const keys[] = { "address", "uid", "size", "received", "due", "why", NULL };

static const char *const whys[] = {
	[EXPIRE_AGE] = "age",
	[EXPIRE_RETRIEVED] = "retrieved",
};

static int
add_item(void *arg, const struct expire_item *i)
{
	const struct cell cells[] = { cell_text(i->address), cell_text(i->uid),
		cell_size(i->octets), cell_time(i->received_ms / 1000), cell_time(i->day * DAY_S),
		cell_text(whys[i->why]) };

	output_row(arg, cells);
	return 0;
}

/* Asks before mail is removed, where there is any. */
static int
ask(const struct admin *a, uint64_t mailbox, const char *what)
{
	struct expire_result due;
	char size[NUM_TEXT_MAX];
	int code = admin_result(spool_expire(a->spool, mailbox, true, NULL, NULL, &due), what);

	if (code != EX_OK || due.messages == 0)
		return code;
	if (!prompt_confirm(a->yes, "Remove what is past its age: %" PRIu64 " messages, %s?",
		due.messages, num_format_size_short(size, due.octets)))
		return EX_TEMPFAIL;
	return EX_OK;
}

/* Lists what went, also where not all could go, and then says why. */
static int
expire(const struct admin *a, uint64_t mailbox, const char *what, bool dry_run)
{
	struct output *o = output_new(OUTPUT_LISTING, a->json, keys);
	struct progress *progress =
	    progress_begin("looking for mail past its age", PROGRESS_MESSAGES);
	struct expire_result r;
	enum spool_status st = spool_expire(a->spool, mailbox, dry_run, add_item, o, &r);
	int code;

	progress_end(&progress);
	code = admin_show(&o);
	if (code != EX_OK)
		return code;
	if (st != SPOOL_OK)
		return admin_result(st, what);
	if (dry_run)
		admin_say(a, "%" PRIu64 " would be removed", r.messages);
	else
		admin_say(a, "%" PRIu64 " removed", r.messages);
	if (r.busy > 0)
		return admin_fail(
		    EX_TEMPFAIL, "mailboxes in use, left for later: %" PRIu64, r.busy);
	return EX_OK;
}

int
cmd_expire(struct admin *a, char **operands, size_t n)
{
	const char *what = n > 0 ? operands[0] : "expire";
	bool dry_run = (a->given & COMMAND_DRY_RUN) != 0;
	uint64_t mailbox = 0;
	int code = n > 0 ? admin_mailbox(a, operands[0], &mailbox) : EX_OK;

	if (code == EX_OK && !dry_run)
		code = ask(a, mailbox, what);
	return code == EX_OK ? expire(a, mailbox, what, dry_run) : code;
}
