/*
 * cmd_check - the spool as a whole: counted anew, and at a glance.
 */
#include "spool/check.h"

#include <inttypes.h>
#include <sysexits.h>

#include "base/num.h"
#include "command.h"
#include "output.h"
#include "progress.h"
#include "spool/survey.h"

struct findings {
	struct output *output; /* owned */
	struct progress *progress;
};

static void
add_finding(void *arg, const struct check_finding *f)
{
	const struct findings *findings = arg;
	const char *state = f->note ? "set apart" : f->mended ? "mended" : "wrong";
	const struct cell cells[] = { cell_text(f->address), cell_text(f->uid), cell_text(state),
		cell_text(f->what) };

	output_row(findings->output, cells);
}

static void
note_progress(void *arg, uint64_t done, uint64_t all)
{
	const struct findings *findings = arg;

	progress_set(findings->progress, done, all);
}

static void
say_sizes(const struct admin *a, const char *begin, const struct check_result *r)
{
	char live[NUM_TEXT_MAX], kept[NUM_TEXT_MAX], dead[NUM_TEXT_MAX], back[NUM_TEXT_MAX];

	admin_say(a,
	    "%s%" PRIu64 " messages in %" PRIu64
	    " mailboxes; %s live, %s kept, %s dead, %s given back",
	    begin, r->messages, r->mailboxes, num_format_size_short(live, r->space.live),
	    num_format_size_short(kept, r->space.kept), num_format_size_short(dead, r->space.dead),
	    num_format_size_short(back, r->space.given_back));
}

/* The one object: sizes, and in it the findings. */
static int
show_json(const struct check_result *r, struct output **findings)
{
	static const char *const keys[] = { "mailboxes", "messages", "live", "kept", "dead",
		"given_back", "set_apart", "records", "findings", NULL };
	struct output *o = output_new(OUTPUT_SINGLE, true, keys);
	const struct cell cells[] = { cell_count(r->mailboxes), cell_count(r->messages),
		cell_size(r->space.live), cell_size(r->space.kept), cell_size(r->space.dead),
		cell_size(r->space.given_back), cell_count(r->set_apart), cell_count(r->records),
		cell_rows(*findings) };

	output_row(o, cells);
	output_discard(findings);
	return admin_show(&o);
}

int
cmd_check(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "address", "uid", "state", "what", NULL };
	struct findings findings = {
		.output = output_new(OUTPUT_LISTING, a->json, keys),
		.progress = progress_begin("counting the store anew", PROGRESS_OCTETS),
	};
	const struct check_options options = {
		.quick = (a->given & COMMAND_QUICK) != 0,
		.repair = (a->given & COMMAND_REPAIR) != 0,
		.each = add_finding,
		.progress = note_progress,
		.arg = &findings,
	};
	struct check_result r;
	enum spool_status st = check_spool(a->spool, &options, &r);
	int code;

	(void)operands;
	(void)n;
	progress_end(&findings.progress);
	if (st != SPOOL_OK) {
		output_discard(&findings.output);
		return admin_result(st, "check");
	}
	code = a->json ? show_json(&r, &findings.output) : admin_show(&findings.output);
	if (code != EX_OK)
		return code;
	say_sizes(a, r.wrong == 0 ? "nothing wrong: " : "", &r);
	if (r.set_apart > 0)
		admin_say(a, "set apart, damaged and not shown: %" PRIu64, r.set_apart);
	if (r.mended > 0)
		admin_say(a, "mended: %" PRIu64, r.mended);
	if (r.wrong == r.mended)
		return EX_OK;
	return admin_fail(EX_DATAERR, "things that are wrong: %" PRIu64, r.wrong - r.mended);
}

/* That are named, of what is set apart. */
#define NAMED_MAX 100

static void
add_apart(void *arg, const char *address, const char *uid)
{
	output_row(arg, (const struct cell[]){ cell_text(address), cell_text(uid) });
}

int
cmd_status(struct admin *a, char **operands, size_t n)
{
	/* In text what is set apart stands behind the rest, where there is any. */
	const char *const keys[] = { "domains", "mailboxes", "messages", "used", "oldest",
		"set_apart", "live", "kept", "dead", "given_back", "free", "reserve",
		"open_elsewhere", "backup_running", a->json ? "damaged" : NULL, NULL };
	static const char *const apart_keys[] = { "address", "uid", NULL };
	struct output *o, *apart = output_new(OUTPUT_LISTING, a->json, apart_keys);
	struct survey s;
	int code = admin_result(survey_spool(a->spool, &s), "status");

	(void)operands;
	(void)n;
	if (code == EX_OK && s.set_apart > 0)
		code =
		    admin_result(survey_set_apart(a->spool, NAMED_MAX, add_apart, apart), "status");
	if (code != EX_OK) {
		output_discard(&apart);
		return code;
	}
	o = output_new(OUTPUT_SINGLE, a->json, keys);
	output_row(
	    o, (const struct cell[]){ cell_count(s.domains), cell_count(s.mailboxes),
		   cell_count(s.messages), cell_size(s.used), cell_oldest(s.oldest_ms / 1000),
		   cell_count(s.set_apart), cell_size(s.space.live), cell_size(s.space.kept),
		   cell_size(s.space.dead), cell_size(s.space.given_back), cell_size(s.free),
		   cell_size(s.reserve), cell_bool(s.open_elsewhere), cell_bool(s.backup_running),
		   cell_rows(apart) });
	code = admin_show(&o);
	if (code == EX_OK && !a->json && s.set_apart > 0)
		return admin_show(&apart);
	output_discard(&apart);
	return code;
}
