/*
 * verify_backup - what a power cut leaves of backups.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "image.h"
#include "load.h"
#include "spool/backup.h"
#include "spool/check.h"
#include "tests/lib/folder.h"
#include "verify_internal.h"

/* Later than any backup of the load: a restore refuses a clock that stands before it. */
#define LATER_MS (LOAD_WALL_MS + 30 * UINT64_C(86400000))

static void
on_damaged(void *arg, const struct check_finding *f)
{
	verify_wrong(arg, "the backup's %s of %s: %s", f->uid != NULL ? f->uid : "-",
	    f->address != NULL ? f->address : "-", f->what);
}

/* Of one backup or the other: what only one has may be missing. */
static uint8_t
either(uint8_t a, uint8_t b)
{
	return (uint8_t)(a | b | ((a == 0) != (b == 0) ? MAY_BE_OUT : 0));
}

/* What the users of a spool that was made of it may find. */
static void
set_facts(struct facts *f)
{
	struct facts_backup *b = &f->backup.held;

	for (unsigned box = 0; f->backup.begun && box < BOXES; box++) {
		b->box[box] = either(b->box[box], f->backup.next.box[box]);
		for (unsigned i = 0; i < MESSAGES; i++)
			b->where[box][i] = either(b->where[box][i], f->backup.next.where[box][i]);
	}
	memcpy(f->where, b->where, sizeof(f->where));
	for (unsigned box = 0; box < BOXES; box++) {
		f->box[box].where = b->box[box];
		/* Of a time when these may have been others. */
		f->box[box].password_open = true;
		f->box[box].warnings = 0;
		f->box[box].quota = 0;
	}
}

static void
check_restored(struct verdict *v, const char *from, const char *dir)
{
	static const struct backup_watch unwatched;
	static struct verdict restored;
	struct backup_result result;
	struct check_result counted;
	struct spool *sp;
	struct strbuf err;

	restored = *v;
	set_facts(&restored.facts);
	restored.when = "restored";
	strbuf_init(&err, 1024);
	if (backup_restore(from, dir, &unwatched, &result, &err) != SPOOL_OK) {
		verify_wrong(&restored, "%s", err.buf);
	} else {
		sp = load_open(dir, SPOOL_ADMIN, 0);
		verify_boxes(&restored, sp, true);
		if (check_run(sp, on_damaged, &restored, &counted) != SPOOL_OK)
			verify_wrong(&restored, "the store cannot be checked");
		spool_close(&sp);
	}
	strbuf_release(&err);
	folder_remove(dir);
	v->len = restored.len;
}

/* Another one goes on with what is there. */
static void
back_up_again(struct verdict *v, const char *dir, const char *to)
{
	struct spool *sp = load_open(dir, SPOOL_ADMIN, 0);
	const struct backup_watch watch = { .each = on_damaged, .each_arg = v };
	struct backup_result taken, read;
	struct strbuf err;

	strbuf_init(&err, 1024);
	if (backup_run(sp, to, &watch, &taken, &err) != SPOOL_OK ||
	    backup_verify(to, &watch, &read, &err) != SPOOL_OK)
		verify_wrong(v, "another backup: %s", err.buf);
	else if (read.messages != taken.messages)
		verify_wrong(v, "another backup lacks messages");
	strbuf_release(&err);
	spool_close(&sp);
}

void
verify_backup(struct verdict *v, const char *dir, bool restore)
{
	const struct backup_watch watch = { .each = on_damaged, .each_arg = v };
	struct backup_result result;
	char from[700], to[700];
	enum spool_status st;
	struct strbuf err;

	if (!v->facts.backup.has && !v->facts.backup.begun)
		return;
	v->when = "backup";
	if (v->facts.backup.broken)
		verify_wrong(v, "what it was to copy was given back");
	clock_set(LATER_MS, LATER_MS);
	snprintf(from, sizeof(from), "%s/" LOAD_BACKUP, dir);
	snprintf(to, sizeof(to), "%s-restored", dir);
	strbuf_init(&err, 1024);
	st = backup_verify(from, &watch, &result, &err);
	if (st == SPOOL_NO_SPOOL && v->facts.backup.has)
		verify_wrong(v, "there is none any more");
	else if (st != SPOOL_OK && st != SPOOL_NO_SPOOL)
		verify_wrong(v, "%s", err.buf);
	strbuf_release(&err);
	if (st == SPOOL_OK && restore) {
		if (!v->facts.backup.has)
			v->facts.backup.held = v->facts.backup.next;
		check_restored(v, from, to);
	}
	if (restore)
		back_up_again(v, dir, from);
}
