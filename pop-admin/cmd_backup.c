/*
 * cmd_backup - the spool copied, and brought back.
 */
#include "spool/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/num.h"
#include "command.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"

#define ERROR_TEXT_MAX 4096

static const char *const finding_keys[] = { "address", "uid", "what", NULL };

static void
add_finding(void *arg, const struct check_finding *f)
{
	output_row(arg,
	    (const struct cell[]){ cell_text(f->address), cell_text(f->uid), cell_text(f->what) });
}

/* Findings go into the output, how far it is to the terminal. */
static struct backup_watch
watch(struct output *findings, struct progress *progress)
{
	return (struct backup_watch){ .each = add_finding,
		.progress = progress_tell,
		.each_arg = findings,
		.progress_arg = progress };
}

/* The sentence in err, or the status's own. */
static int
fail(enum spool_status st, const struct strbuf *err)
{
	return admin_fail(
	    admin_exit_code(st), "%s", err->len > 0 ? err->buf : spool_status_text(st));
}

/* A folder that is there can be used by the account that we are by now.  0, or the exit code. */
static int
usable(const struct admin *a, const char *dir, int how)
{
	struct stat st;

	/* What is no folder fails as that. */
	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || access(dir, how) == 0 || errno == EROFS)
		return EX_OK;
	return admin_fail(EX_NOPERM, "%s: %s: the folder must belong to %s", dir, strerror(errno),
	    a->config->site.user);
}

/* One object, or a sentence behind the findings, which it ends. */
static int
show(
    const struct admin *a, const char *did, const struct backup_result *r, struct output **findings)
{
	static const char *const keys[] = { "time", "messages", "octets", "copied", "damaged",
		"findings", NULL };
	char time[NUM_TEXT_MAX], octets[NUM_TEXT_MAX], copied[NUM_TEXT_MAX];
	struct output *o;
	int code;

	if (a->json) {
		o = output_new(OUTPUT_SINGLE, true, keys);
		output_row(
		    o, (const struct cell[]){ cell_time(r->time_ms / 1000), cell_count(r->messages),
			   cell_size(r->octets), cell_size(r->copied), cell_count(r->damaged),
			   cell_rows(*findings) });
		output_discard(findings);
		code = admin_show(&o);
	} else if (r->damaged > 0) {
		code = admin_show(findings);
	} else {
		output_discard(findings);
		code = EX_OK;
	}
	admin_say(a, "%s: %" PRIu64 " messages, %s, as of %s; %s copied", did, r->messages,
	    num_format_size_short(octets, r->octets), num_format_time(time, r->time_ms / 1000),
	    num_format_size_short(copied, r->copied));
	return code;
}

int
cmd_backup(struct admin *a, char **operands, size_t n)
{
	struct output *findings;
	struct progress *progress;
	struct backup_watch w;
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;
	int code = admin_make_folder(a, operands[0]);

	(void)n;
	if (code == EX_OK)
		code = admin_open(a);
	if (code == EX_OK)
		code = usable(a, operands[0], R_OK | W_OK | X_OK);
	if (code != EX_OK)
		return code;
	strbuf_init(&err, ERROR_TEXT_MAX);
	findings = output_new(OUTPUT_LISTING, a->json, finding_keys);
	progress = progress_begin("backing up", PROGRESS_OCTETS);
	w = watch(findings, progress);
	st = backup_run(a->spool, operands[0], &w, &r, &err);
	progress_end(&progress);
	if (st != SPOOL_OK) {
		output_discard(&findings);
		code = fail(st, &err);
	} else {
		code = show(a, "backed up and read back", &r, &findings);
		if (code == EX_OK && r.damaged > 0)
			code = admin_fail(EX_DATAERR,
			    "messages that were damaged already, and were copied as they are: "
			    "%" PRIu64,
			    r.damaged);
	}
	strbuf_release(&err);
	return code;
}

/* Reads it all before anything is made of it: what is damaged is a question first. */
static int
verify(struct admin *a, const char *dir)
{
	struct output *findings = output_new(OUTPUT_LISTING, a->json, finding_keys);
	struct progress *progress = progress_begin("reading the backup", PROGRESS_OCTETS);
	struct backup_watch w = watch(findings, progress);
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;
	int code = EX_OK;

	strbuf_init(&err, ERROR_TEXT_MAX);
	st = backup_verify(dir, &w, &r, &err);
	progress_end(&progress);
	if (st != SPOOL_OK) {
		output_discard(&findings);
		code = fail(st, &err);
	} else if (r.damaged > r.known && !a->yes) {
		code = admin_show(&findings);
		if (code == EX_OK)
			code = admin_fail(EX_DATAERR,
			    "%s: %" PRIu64 " messages are damaged, %" PRIu64
			    " were so when they were backed up: --yes restores the rest",
			    dir, r.damaged, r.known);
	} else {
		output_discard(&findings);
	}
	strbuf_release(&err);
	return code;
}

/* Opens what was made, as anybody will, and counts it anew. */
static int
check_restored(struct admin *a, struct output *findings)
{
	struct check_result r;
	enum spool_status st;
	int code = admin_open(a);

	if (code != EX_OK)
		return code;
	st = check_run(a->spool, add_finding, findings, &r);
	if (st != SPOOL_OK)
		return admin_result(st, "check");
	if (r.wrong > 0)
		return admin_fail(EX_DATAERR,
		    "restored, but check finds things that are wrong: %" PRIu64
		    " (pop-admin check)",
		    r.wrong);
	return EX_OK;
}

/* `operands` is the folder, then UIDs. */
static int
bring(struct admin *a, char **operands, size_t n)
{
	struct output *findings;
	struct progress *progress;
	struct address address;
	struct backup_watch w;
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;
	int code = admin_address(a->mail, false, &address);

	if (code == EX_OK)
		code = admin_open(a);
	if (code == EX_OK)
		code = usable(a, operands[0], R_OK | X_OK);
	if (code != EX_OK)
		return code;
	strbuf_init(&err, ERROR_TEXT_MAX);
	findings = output_new(OUTPUT_LISTING, a->json, finding_keys);
	progress = progress_begin("restoring", PROGRESS_MESSAGES);
	w = watch(findings, progress);
	st = backup_bring(a->spool, operands[0], &address, (const char *const *)operands + 1, n - 1,
	    &w, &r, &err);
	progress_end(&progress);
	if (r.damaged > 0)
		code = admin_show(&findings);
	else
		output_discard(&findings);
	if (st == SPOOL_OK || r.messages > 0)
		admin_say(
		    a, "%" PRIu64 " brought back, %" PRIu64 " were there", r.messages, r.skipped);
	if (st != SPOOL_OK)
		code = fail(st, &err);
	else if (code == EX_OK && r.damaged > 0)
		code = admin_fail(
		    EX_DATAERR, "messages that are damaged in the backup: %" PRIu64, r.damaged);
	strbuf_release(&err);
	return code;
}

int
cmd_restore(struct admin *a, char **operands, size_t n)
{
	const char *dir = a->config->site.spool;
	struct progress *progress;
	struct output *findings;
	struct backup_watch w;
	struct backup_result r;
	struct strbuf err;
	enum spool_status st;
	int code;

	if (a->mail != NULL)
		return bring(a, operands, n);
	if (n > 1)
		return admin_fail(EX_USAGE, "restore DIR takes no UID without --mail ADDRESS");
	code = admin_make_folder(a, dir);
	if (code == EX_OK)
		code = admin_become(a);
	if (code == EX_OK)
		code = usable(a, dir, R_OK | W_OK | X_OK);
	if (code == EX_OK)
		code = usable(a, operands[0], R_OK | X_OK);
	if (code == EX_OK)
		code = verify(a, operands[0]);
	if (code != EX_OK)
		return code;
	strbuf_init(&err, ERROR_TEXT_MAX);
	progress = progress_begin("restoring", PROGRESS_OCTETS);
	w = watch(NULL, progress);
	st = backup_restore(operands[0], dir, &w, &r, &err);
	progress_end(&progress);
	if (st != SPOOL_OK) {
		code = fail(st, &err);
	} else {
		findings = output_new(OUTPUT_LISTING, a->json, finding_keys);
		code = check_restored(a, findings);
		if (code == EX_OK)
			code = show(a, "restored", &r, &findings);
		else
			output_discard(&findings);
	}
	strbuf_release(&err);
	return code;
}
