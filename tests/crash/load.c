/*
 * load - deliveries of all sizes, alone, in groups and to several mailboxes, and an import; sessions
 * that list, retrieve and delete; expiry, kept mail that is brought back or ended; dead records and
 * segments, checkpoints, warnings, changes of accounts, repairs, an index that is made anew, backups,
 * and mail out of them; and disks that fail now and then, so that some mail is refused after it was
 * written.
 *
 * smtpd's and pop3d's keepers are at work all the time.  Upkeep and warnings are also called for
 * from the load's own thread, so that it is known who did what.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "common/spool/spool_internal.h"
#include "load_internal.h"

/* Messages of the one import. */
#define IMPORTED 10

static uint64_t load_random = 1;

void
load_phase(const char *name)
{
	struct event e = { .kind = EVENT_PHASE };

	snprintf(e.text, sizeof(e.text), "%s", name);
	trace_event(&e);
}

enum told
load_told(enum spool_status st)
{
	return st == SPOOL_OK ? TOLD_YES : st == SPOOL_UNKNOWN ? TOLD_UNSURE : TOLD_NO;
}

void
load_want(enum spool_status st, const char *what)
{
	if (st != SPOOL_OK)
		die("%s: %s", what, spool_status_text(st));
}

unsigned
load_below(unsigned n)
{
	load_random = load_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(load_random >> 33) % n;
}

struct facts *
load_facts(void)
{
	struct facts *f = calloc(1, sizeof(*f));

	if (f == NULL)
		die("no memory");
	for (size_t i = 0; i < trace.n; i++)
		if (trace.ops[i].kind == OP_EVENT)
			facts_apply(f, trace.ops[i].event);
	return f;
}

/* --- spools --------------------------------------------------------------- */

struct spool *
load_try_open(const char *dir, enum spool_role role, uint64_t keep_deleted_s, struct strbuf *err)
{
	const struct spool_options options = {
		.dir = dir,
		.role = role,
		.segment_max = LOAD_SEGMENT_MAX,
		/* A second later all that made it garbage would be synced for other reasons. */
		.reclaim_ms = 1,
		.policy = { .keep_deleted_s = keep_deleted_s, .keep_deleted_max = UINT64_MAX / 2 },
	};
	struct spool *sp;

	return spool_open_on(&options, &trace_disk, &sp, err) == SPOOL_OK ? sp : NULL;
}

struct spool *
load_open(const char *dir, enum spool_role role, uint64_t keep_deleted_s)
{
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1024);
	sp = load_try_open(dir, role, keep_deleted_s, &err);
	if (sp == NULL)
		die("%s", err.buf);
	strbuf_release(&err);
	return sp;
}

static struct site
open_site(const char *dir, uint64_t keep_deleted_s)
{
	struct site s;

	s.smtpd = load_open(dir, SPOOL_SMTPD, keep_deleted_s);
	if (spool_wait_ready(s.smtpd) != SPOOL_OK)
		die("smtpd does not become ready");
	s.pop3d = load_open(dir, SPOOL_POP3D, keep_deleted_s);
	if (spool_wait_ready(s.pop3d) != SPOOL_OK)
		die("pop3d does not become ready");
	s.admin = load_open(dir, SPOOL_ADMIN, keep_deleted_s);
	load_set_warning(s.admin);
	return s;
}

static void
close_site(struct site *s)
{
	spool_close(&s->admin);
	spool_close(&s->pop3d);
	spool_close(&s->smtpd);
}

/* --- rounds --------------------------------------------------------------- */

/* A disk that fails once: a message is refused after it, or its rows, were written. */
static void
failing_disk(const struct site *s)
{
	static unsigned turn = 5; /* The log first: a short load comes to a few. */
	static const struct {
		const char *phase;
		enum op_kind kind;
		enum class class;
		size_t len;
		bool again; /* for the next one too */
	} faults[] = {
		{ "refused: sync of a segment", OP_SYNC, CLASS_SEGMENT, 5000, false },
		/* What was refused closed its segment: the next one's header. */
		{ "refused: sync of a new segment", OP_SYNC, CLASS_SEGMENT, 5000, true },
		{ "refused: COMMIT", OP_WRITE, CLASS_LOG, 9000, false },
		{ "refused: sync of a large message", OP_SYNC, CLASS_BODY, 300000, false },
		{ "refused: name of a large message", OP_LINK, CLASS_BODY, 300000, false },
	};
	size_t n = sizeof(faults) / sizeof(*faults);
	unsigned which = turn++ % (n + 1);

	if (which == n) {
		/* A log that has just begun anew: what it loses nothing else has. */
		load_upkeep(s->admin);
		load_phase("UPDATE not synced");
		load_send(s->smtpd, 800, 1u << 1);
		trace_fail(OP_SYNC, CLASS_LOG);
		load_session(s->pop3d, 1, 40);
		if (trace_failed())
			load_want(spool_upkeep(s->pop3d), "mending");
		return;
	}
	load_phase(faults[which].phase);
	for (int i = 0; i <= (int)faults[which].again; i++) {
		trace_fail(faults[which].kind, faults[which].class);
		load_send(s->smtpd, faults[which].len, 1u << 1 | 1u << 2);
	}
	/* And what is written there next must not make it come back. */
	trace_failed();
	load_send(s->smtpd, 700, 1u << 1);
	load_send(s->smtpd, 2000, 1u << 3);
}

static void
round_of_load(const struct site *s, unsigned round)
{
	struct sender sender;

	load_phase("deliveries");
	load_group(s->smtpd, 1 + load_below(LOAD_GROUP_MAX));
	load_send(s->smtpd, 200 + load_below(4000), load_some_boxes());
	load_phase("UPDATE");
	load_begin_beside(&sender, s->smtpd);
	load_session(s->pop3d, 1 + round % 3, 30 + load_below(50));
	if (round % 3 == 0)
		load_session(s->pop3d, BOX_READ_ONCE, 60);
	if (round % 4 == 1)
		load_broken_session(s->pop3d, 1 + load_below(3));
	if (round % 3 == 2) {
		load_phase("upkeep");
		load_upkeep(s->admin);
	}
	load_end_beside(&sender);
	if (round % 3 == 1)
		failing_disk(s);
}

static void
keep_deleted(const struct site *s, uint64_t seconds)
{
	const struct spool_policy policy = { .keep_deleted_s = seconds,
		.keep_deleted_max = UINT64_MAX / 2 };

	spool_set_policy(s->smtpd, &policy);
	spool_set_policy(s->pop3d, &policy);
	spool_set_policy(s->admin, &policy);
}

static void
kept_mail(const struct site *s)
{
	keep_deleted(s, 86400);
	load_phase("deleted mail is kept");
	for (unsigned box = 1; box <= 3; box++)
		load_session(s->pop3d, box, 60);
	load_bring_back(s->admin);
	load_send(s->smtpd, 3000, 1u << 1 | 1u << 2);
	load_phase("kept mail ends");
	keep_deleted(s, 0);
	load_upkeep(s->admin);
}

static void
accounts_come_and_go(const struct site *s)
{
	load_phase("accounts");
	load_account(s->admin, BOX_LATER, "another", true, NULL);
	load_send(s->smtpd, 1500, 1u << BOX_LATER);
	load_send(s->smtpd, 2500, 1u << BOX_LATER | 1u << 2);
	load_account(s->admin, 2, "a better password", false, NULL);
	load_account(s->admin, BOX_LATER, NULL, false, NULL);
}

/* The index is made anew, and all mailboxes are looked at: what nobody lists did not come back. */
static void
reindex(const char *dir, struct site *s)
{
	struct event e = { .kind = EVENT_REINDEX };
	static uint32_t numbers[MESSAGES];
	struct maildrop *md;

	load_phase("reindex");
	close_site(s);
	trace_event(&e);
	load_reindex(dir);
	*s = open_site(dir, 0);
	for (unsigned box = 1; box <= LOAD_BOXES; box++) {
		md = load_login(s->pop3d, box, numbers);
		maildrop_close(&md);
	}
	e.in = true;
	trace_event(&e);
}

/* Two days later, by other processes: what has an age is past it. */
static void
next_day(const char *dir, struct site *s, uint64_t *wall_ms)
{
	load_phase("restart");
	close_site(s);
	*wall_ms += 2 * DAY_MS;
	clock_set(*wall_ms, *wall_ms);
	*s = open_site(dir, 0);
}

/* A backup, while mail comes and goes, and upkeep would give back what it copies. */
static void
back_up_beside(const char *dir, const struct site *s, unsigned percent)
{
	struct backing_up backup;

	load_begin_backup(&backup, dir);
	for (unsigned box = 1; box <= 3; box++)
		load_session(s->pop3d, box, percent);
	load_upkeep(s->admin);
	load_send(s->smtpd, 4000, 1u << 1 | 1u << 3);
	load_upkeep(s->admin);
	load_end_backup(&backup);
}

/* The rest of an import that was interrupted; at first a disk fails, and it is interrupted again. */
static void
import_the_rest(const struct site *s, unsigned first)
{
	load_phase("import");
	trace_fail(OP_SYNC, CLASS_SEGMENT);
	load_import(s->admin, BOX_IMPORTED, first, IMPORTED);
	trace_failed();
	load_import(s->admin, BOX_IMPORTED, first, IMPORTED);
}

void
load_run(const char *dir, unsigned rounds)
{
	uint64_t wall_ms = LOAD_WALL_MS;
	unsigned imported;
	struct site s;

	clock_set(wall_ms, wall_ms);
	load_next = 1;
	s = open_site(dir, 0);
	load_phase("accounts");
	load_make_accounts(s.admin);
	for (unsigned round = 0; round < rounds; round++)
		round_of_load(&s, round);
	load_phase("import");
	imported = load_next;
	load_next += IMPORTED;
	load_import(s.admin, BOX_IMPORTED, imported, IMPORTED / 2);
	load_fill(&s);
	load_send_aged(s.smtpd);
	accounts_come_and_go(&s);

	next_day(dir, &s, &wall_ms);
	load_expire(s.pop3d, false);
	/* Nothing of it is synced yet. */
	load_upkeep(s.admin);
	load_group(s.smtpd, 3);
	back_up_beside(dir, &s, 30);
	for (unsigned round = 0; round < rounds / 2; round++)
		round_of_load(&s, round);
	import_the_rest(&s, imported);
	kept_mail(&s);
	load_repair(s.admin);
	load_send_aged(s.smtpd);
	reindex(dir, &s);

	next_day(dir, &s, &wall_ms);
	load_expire(s.pop3d, true);
	load_upkeep(s.admin);
	back_up_beside(dir, &s, 50);
	load_phase("segments die");
	for (unsigned box = 1; box <= 3; box++)
		load_session(s.pop3d, box, box == 3 ? 90 : 100);
	load_bring(s.admin, dir, 1);
	load_upkeep(s.admin);
	round_of_load(&s, 3);
	load_upkeep(s.admin);

	/* Blocks of a segment that lives on, by a removal that nothing else has synced: where a segment
	 * dies too, that is synced for it. */
	load_send(s.smtpd, 900, 1u << 1);
	for (unsigned i = 0; i < 8; i++)
		load_send(s.smtpd, 9000, 1u << BOX_AGED);
	load_send(s.smtpd, 900, 1u << 1);
	next_day(dir, &s, &wall_ms);
	load_upkeep(s.admin);
	load_expire(s.pop3d, false);
	load_upkeep(s.admin);
	close_site(&s);
}

void
load_afterwards(const char *dir, bool pop3d_first)
{
	static uint32_t numbers[MESSAGES];
	struct spool *smtpd = NULL, *pop3d;
	struct maildrop *md;

	if (load_is_rebuilt(dir))
		load_reindex(dir);
	if (!pop3d_first)
		smtpd = load_open(dir, SPOOL_SMTPD, 10 * 365 * UINT64_C(86400));
	pop3d = load_open(dir, SPOOL_POP3D, 10 * 365 * UINT64_C(86400));
	load_want(spool_wait_ready(pop3d), "recovery");
	if (smtpd == NULL)
		smtpd = load_open(dir, SPOOL_SMTPD, 10 * 365 * UINT64_C(86400));
	load_want(spool_wait_ready(smtpd), "recovery");
	for (unsigned box = 1; box <= 3; box++) {
		enum spool_status st = maildrop_lock(pop3d, box, "load", &md);

		if (st == SPOOL_OK)
			st = maildrop_load(md);
		maildrop_close(&md);
		/* The power failed before it was made. */
		if (st == SPOOL_NO_MAILBOX)
			continue;
		md = load_login(pop3d, box, numbers);
		maildrop_close(&md);
		load_send(smtpd, 600 + 900 * box, 1u << box);
		load_session(pop3d, box, 25);
	}
	load_want(spool_upkeep(smtpd), "upkeep");
	spool_close(&pop3d);
	spool_close(&smtpd);
}
