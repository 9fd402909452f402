/*
 * cmd_doctor - looks for what would trouble a live site, and says what to do.
 *
 * One table: what is looked at, how, and what to do when something is found.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "command.h"
#include "output.h"
#include "spool/survey.h"

#define FOUND_MAX 1024
/* A mailbox that is fuller, in percent, is about to refuse mail. */
#define SHARE_MAX 95
/* A clock may be set by a moment. */
#define CLOCK_SLACK_MS 60000

struct doctor {
	const struct admin *a;
	struct survey survey;
	struct output *findings; /* owned */
	size_t n;
	const char *what, *advice; /* of the check that is going on */
};

static void find(struct doctor *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
find(struct doctor *d, const char *fmt, ...)
{
	char found[FOUND_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	d->n++;
	output_row(d->findings,
	    (const struct cell[]){ cell_text(d->what), cell_text(found), cell_text(d->advice) });
}

/* --- the checks: SPOOL_OK, or why it could not be found out --------------- */

static enum spool_status
look_at_holes(struct doctor *d)
{
	bool possible;
	enum spool_status st = survey_holes(d->a->spool, &possible);

	if (st == SPOOL_OK && !possible)
		find(d, "the file system of %s gives no room back from within a file",
		    d->a->config->site.spool);
	return st;
}

static enum spool_status
look_at_disk(struct doctor *d)
{
	const struct survey *s = &d->survey;
	char free_text[NUM_TEXT_MAX], reserve[NUM_TEXT_MAX];

	num_format_size_short(free_text, s->free);
	num_format_size_short(reserve, s->reserve);
	if (s->free < s->reserve)
		find(d, "%s are free, less than the reserve of %s: mail is put off with 452",
		    free_text, reserve);
	else if (s->free / 2 < s->reserve)
		find(d, "%s are free, and below the reserve of %s mail is put off", free_text,
		    reserve);
	return SPOOL_OK;
}

static enum spool_status
look_at_inodes(struct doctor *d)
{
	const struct survey *s = &d->survey;

	if (s->free_inodes != NUM_UNLIMITED && s->free_inodes / 2 < s->reserve_inodes)
		find(d, "%" PRIu64 " inodes are free, and below %" PRIu64 " mail is put off",
		    s->free_inodes, s->reserve_inodes);
	return SPOOL_OK;
}

static int
look_at_user(void *arg, const struct account_user *u)
{
	uint64_t share = admin_share(u);

	if (share != NUM_UNLIMITED && share >= SHARE_MAX)
		find(arg, "%s is %" PRIu64 "%% full", u->address, share);
	return 0;
}

static enum spool_status
look_at_segments(struct doctor *d)
{
	uint64_t n = 0;
	enum spool_status st = survey_segments(d->a->spool, &n);

	if (st == SPOOL_OK && n > 0)
		find(d, "segments that are missing or too short: %" PRIu64, n);
	return st;
}

static enum spool_status
look_at_damaged_mail(struct doctor *d)
{
	if (d->survey.set_apart > 0)
		find(d, "messages that are set apart: %" PRIu64, d->survey.set_apart);
	return SPOOL_OK;
}

static enum spool_status
look_at_quotas(struct doctor *d)
{
	return account_user_list(d->a->spool, look_at_user, d);
}

struct domains {
	char **list; /* owned */
	size_t n, cap;
};

static int
keep_domain(void *arg, const struct account_domain *domain)
{
	struct domains *domains = arg;

	if (mem_grow(&domains->list, &domains->cap, domains->n + 1, sizeof(*domains->list)) != 0)
		return -1;
	domains->list[domains->n++] = mem_must_dup(domain->name);
	return 0;
}

/* RFC 5321 4.5.1: each domain must have one. */
static void
look_at_postmaster(struct doctor *d, const char *domain)
{
	const struct config *config = d->a->config;
	const struct account_policy policy = { .delimiter = config->smtpd.recipient_delimiter,
		.postmaster = config->site.postmaster };
	struct account_targets targets;
	struct address address;
	char text[ACCOUNT_ADDRESS_MAX];
	enum spool_status st;

	snprintf(text, sizeof(text), "postmaster@%s", domain);
	if (address_parse(text, &address) != 0)
		return;
	st = account_resolve(d->a->spool, &address, &policy, &targets);
	if (st != SPOOL_OK)
		find(d, "mail to %s reaches nobody: %s", text, spool_status_text(st));
	account_targets_release(&targets);
}

static enum spool_status
look_at_postmasters(struct doctor *d)
{
	struct domains domains = { 0 };
	enum spool_status st = account_domain_list(d->a->spool, NULL, keep_domain, &domains);

	for (size_t i = 0; i < domains.n; i++) {
		if (st == SPOOL_OK)
			look_at_postmaster(d, domains.list[i]);
		free(domains.list[i]);
	}
	free(domains.list);
	return st;
}

static void
look_at_file(struct doctor *d, const char *path)
{
	if (access(path, R_OK) != 0)
		find(d, "%s: %s", path, strerror(errno));
}

static enum spool_status
look_at_certificate(struct doctor *d)
{
	const struct config *config = d->a->config;

	if (config->tls.certificate != NULL) {
		look_at_file(d, config->tls.certificate);
		look_at_file(d, config->tls.key);
	} else if (config->pop3d.plaintext_auth != CONFIG_PLAINTEXT_ALWAYS) {
		find(d, "there is none: nobody can log in from another machine");
	}
	return SPOOL_OK;
}

static enum spool_status
look_at_clock(struct doctor *d)
{
	uint64_t now_ms = clock_wall_ms(), newest_ms = d->survey.newest_segment_ms;
	char time[NUM_TEXT_MAX];

	if (newest_ms > now_ms + CLOCK_SLACK_MS)
		find(d, "the clock stands before %s, when the newest mail came",
		    num_format_time(time, newest_ms / 1000));
	return SPOOL_OK;
}

static const struct {
	const char *what;
	enum spool_status (*how)(struct doctor *);
	const char *advice;
} checks[] = {
	{ "disk", look_at_disk, "make room on the spool's file system, or let mail go earlier" },
	{ "inodes", look_at_inodes,
	    "remove small files from the spool's file system, or make it anew with more inodes" },
	{ "holes", look_at_holes,
	    "room returns when all of a segment is deleted; ext4, xfs and btrfs give it back at "
	    "once" },
	{ "segments", look_at_segments,
	    "put the files back, or run pop-admin check --repair: until then their mailboxes are "
	    "not shown" },
	{ "damaged mail", look_at_damaged_mail,
	    "pop-admin status names it: pop-admin restore DIR --mail ADDRESS UID, or pop-admin "
	    "mail remove ADDRESS UID" },
	{ "quota", look_at_quotas, "pop-admin user quota ADDRESS SIZE, or have mail deleted" },
	{ "postmaster", look_at_postmasters,
	    "pop-admin user add it, or name a mailbox as postmaster in [site]" },
	{ "certificate", look_at_certificate,
	    "name certificate and key in [tls], readable by the account of the daemons" },
	{ "clock", look_at_clock,
	    "set the clock: by it mail that is there goes too late, and what comes now too early" },
};

static int
look(struct doctor *d)
{
	int code = admin_result(survey_spool(d->a->spool, &d->survey), "doctor");

	for (size_t i = 0; code == EX_OK && i < sizeof(checks) / sizeof(checks[0]); i++) {
		d->what = checks[i].what;
		d->advice = checks[i].advice;
		code = admin_result(checks[i].how(d), checks[i].what);
	}
	return code;
}

int
cmd_doctor(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "what", "found", "advice", NULL };
	struct doctor d = { .a = a, .findings = output_new(OUTPUT_LISTING, a->json, keys) };
	int code = look(&d);

	(void)operands;
	(void)n;
	if (code != EX_OK) {
		output_discard(&d.findings);
		return code;
	}
	code = admin_show(&d.findings);
	if (code == EX_OK && d.n == 0)
		admin_say(a, "nothing to do");
	if (code == EX_OK && d.n > 0)
		code = admin_fail(EX_DATAERR, "things to see to: %zu", d.n);
	return code;
}
