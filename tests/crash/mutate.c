/*
 * mutate - ways in which the spool could be wrong, played on the notes of one that is not: as if
 * a call had not been made, or later.
 *
 * Those for which that will not do are patches, tests/crash/mutations/NAME.patch.
 */
#include <stdio.h>
#include <string.h>

#include "trace.h"

static bool
is(const struct op *op, enum op_kind kind, enum class class, enum context context)
{
	return op->kind == kind && op->class == class && op->context == context;
}

static void
drop(struct op *op)
{
	op->kind = OP_NONE;
}

/* The call of this thread before op number i; NULL when there is none. */
static struct op *
before(struct trace *t, const struct op *op)
{
	for (size_t i = (size_t)(op - t->ops); i > 0; i--)
		if (t->ops[i - 1].thread == op->thread && t->ops[i - 1].kind != OP_NONE)
			return &t->ops[i - 1];
	return NULL;
}

/* The sync of the log that was to come before this call, or this row of calls of its kind. */
static void
drop_log_sync_before(struct trace *t, struct op *op)
{
	struct op *at = op;

	do
		at = before(t, at);
	while (at != NULL && at->kind == op->kind);
	if (at != NULL && at->kind == OP_SYNC && at->class == CLASS_LOG)
		drop(at);
}

static bool
keeps_house(const struct op *op)
{
	return op->context == CONTEXT_UPKEEP || op->context == CONTEXT_KEEPER;
}

/* The sync of records, not that of a segment's header. */
static bool
is_record_sync(struct trace *t, const struct op *op)
{
	const struct op *last = before(t, op);

	return is(op, OP_SYNC, CLASS_SEGMENT, CONTEXT_COMMITTER) && last != NULL &&
	       is(last, OP_WRITE, CLASS_SEGMENT, CONTEXT_COMMITTER) && last->offset > 0;
}

static void
record_unsynced(struct trace *t, struct op *op)
{
	if (is_record_sync(t, op))
		drop(op);
}

static void
header_unsynced(struct trace *t, struct op *op)
{
	const struct op *last = before(t, op);

	if (is(op, OP_SYNC, CLASS_SEGMENT, CONTEXT_COMMITTER) && last != NULL &&
	    last->kind == OP_WRITE && last->offset == 0)
		drop(op);
}

static void
large_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC && op->class == CLASS_BODY)
		drop(op);
}

static void
folder_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC_FOLDER && op->folder == FOLDER_SEGMENTS &&
	    op->context == CONTEXT_COMMITTER)
		drop(op);
}

static struct op late;

/* The record's sync comes after COMMIT, just before it is told. */
static void
index_before_record(struct trace *t, struct op *op)
{
	if (is_record_sync(t, op)) {
		late = *op;
		drop(op);
	}
}

static void
update_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (is(op, OP_SYNC, CLASS_LOG, CONTEXT_UPDATE))
		drop(op);
}

static void
account_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (is(op, OP_SYNC, CLASS_LOG, CONTEXT_ACCOUNT))
		drop(op);
}

static void
secret_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC && op->class == CLASS_SECRETS)
		drop(op);
}

static void
warned_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (is(op, OP_SYNC, CLASS_LOG, CONTEXT_WARN))
		drop(op);
}

static void
punch_before_sync(struct trace *t, struct op *op)
{
	if (op->kind == OP_PUNCH && keeps_house(op))
		drop_log_sync_before(t, op);
}

static void
dead_unmarked(struct trace *t, struct op *op)
{
	const struct op *last;

	if (op->kind != OP_TRUNCATE || op->len != 0 || !keeps_house(op))
		return;
	/* Several at once: truncate, unlink, truncate, ... */
	last = before(t, op);
	if (last != NULL && last->kind != OP_UNLINK)
		drop_log_sync_before(t, op);
}

static void
forgotten_too_early(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC_FOLDER && op->folder == FOLDER_SEGMENTS && keeps_house(op))
		drop(op);
}

static void
refused_not_cut(struct trace *t, struct op *op)
{
	(void)t;
	if (is(op, OP_TRUNCATE, CLASS_SEGMENT, CONTEXT_COMMITTER))
		drop(op);
}

static void
cut_unsynced(struct trace *t, struct op *op)
{
	const struct op *last = before(t, op);

	if (is(op, OP_SYNC, CLASS_SEGMENT, CONTEXT_COMMITTER) && last != NULL &&
	    is(last, OP_TRUNCATE, CLASS_SEGMENT, CONTEXT_COMMITTER))
		drop(op);
}

static void
database_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC && op->class == CLASS_DB)
		drop(op);
}

static void
recovery_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC && (op->class == CLASS_SEGMENT || op->class == CLASS_BODY) &&
	    op->context == CONTEXT_KEEPER)
		drop(op);
}

static void
backup_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (op->kind == OP_SYNC && op->class == CLASS_BACKUP)
		drop(op);
}

static void
repair_unsynced(struct trace *t, struct op *op)
{
	(void)t;
	if (is(op, OP_SYNC, CLASS_LOG, CONTEXT_REPAIR))
		drop(op);
}

static const struct mutation {
	const char *name, *what;
	void (*apply)(struct trace *, struct op *);
} mutations[] = {
	{ "record-unsynced", "250 without a sync of the records", record_unsynced },
	{ "header-unsynced", "a segment's row is made before its header is synced",
	    header_unsynced },
	{ "large-unsynced", "250 without a sync of a large message", large_unsynced },
	{ "folder-unsynced", "a segment's name is not synced", folder_unsynced },
	{ "index-before-record", "COMMIT before the records are synced", index_before_record },
	{ "update-unsynced", "+OK to QUIT without a sync of the log", update_unsynced },
	{ "account-unsynced", "a mailbox is told to be there without a sync", account_unsynced },
	{ "secret-unsynced", "a password is told to be set without a sync", secret_unsynced },
	{ "warned-unsynced", "a warning is sent before that is on disk", warned_unsynced },
	{ "punch-before-sync", "blocks are given back before the index is synced",
	    punch_before_sync },
	{ "dead-unmarked", "a segment is emptied before it is marked dead on disk", dead_unmarked },
	{ "forgotten-too-early", "a segment's row goes before its name has on disk",
	    forgotten_too_early },
	{ "refused-not-cut", "a refused group stays in the segment", refused_not_cut },
	{ "cut-unsynced", "a refused group is cut off without a sync", cut_unsynced },
	{ "database-unsynced", "the log begins anew before the database is synced",
	    database_unsynced },
	{ "recovery-unsynced", "recovery enters what it has not synced", recovery_unsynced },
	{ "backup-unsynced", "a backup's manifest is renamed before what it names is synced",
	    backup_unsynced },
	{ "repair-unsynced", "sums are told to be mended before that is on disk", repair_unsynced },
};

static const struct mutation *chosen;

bool
mutation_set(const char *name)
{
	for (size_t i = 0; i < sizeof(mutations) / sizeof(*mutations); i++)
		if (strcmp(mutations[i].name, name) == 0) {
			chosen = &mutations[i];
			return true;
		}
	return false;
}

const char *
mutation_name(size_t i, const char **what_r)
{
	if (i >= sizeof(mutations) / sizeof(*mutations))
		return NULL;
	*what_r = mutations[i].what;
	return mutations[i].name;
}

void
mutation_apply(struct trace *t)
{
	if (chosen != NULL)
		chosen->apply(t, &t->ops[t->n - 1]);
}

void
mutation_before_event(struct trace *t)
{
	struct op *op;

	if (late.kind == OP_NONE)
		return;
	op = trace_append(t, OP_SYNC);
	op->file = late.file;
	op->class = late.class;
	drop(&late);
}
