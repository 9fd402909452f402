/*
 * cmd_export - writes a mailbox out, each message as RETR gives it.
 *
 * No lock is taken: an export may last for hours, and meanwhile the owner must get at his mail.  So a
 * message may go while it is written; its checksum afterwards tells, and then it is taken out again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/mem.h"
#include "command.h"
#include "progress.h"
#include "spool/maildrop.h"
#include "target.h"
#include "wire.h"

/* What a maildrop does not hold of a message. */
struct row {
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t received_s;
	char *from; /* owned */
};

struct export
{
	struct admin *a;
	uint64_t mailbox;
	struct maildrop *md;
	struct row *rows; /* owned; sorted by UID */
	size_t n, cap;
	struct target *target;
	struct progress *progress; /* owned */
	uint64_t written, gone, damaged;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->uid, ((const struct row *)b)->uid);
}

static int
compare_uid(const void *key, const void *row)
{
	return strcmp(key, ((const struct row *)row)->uid);
}

static int
add_row(void *arg, const struct maildrop_entry *e)
{
	struct export *x = arg;
	struct row *r;

	if (e->set_apart) {
		x->damaged++;
		admin_result(SPOOL_DAMAGED, e->uid);
		return 0;
	}
	if (mem_grow(&x->rows, &x->cap, x->n + 1, sizeof(*x->rows)) != 0)
		return -1;
	r = &x->rows[x->n];
	memcpy(r->uid, e->uid, sizeof(r->uid));
	r->received_s = e->received_ms / 1000;
	r->from = mem_dup(e->from, strlen(e->from));
	if (r->from == NULL)
		return -1;
	x->n++;
	return 0;
}

/* First the rows, then the list: what is in both is written, what came between waits for the next
 * export. */
static enum spool_status
load(struct export *x)
{
	enum spool_status st = maildrop_list(x->a->spool, x->mailbox, add_row, x);

	if (st == SPOOL_OK && x->n > 1)
		qsort(x->rows, x->n, sizeof(*x->rows), compare);
	if (st == SPOOL_OK)
		st = maildrop_view(x->a->spool, x->mailbox, &x->md);
	if (st == SPOOL_OK)
		st = maildrop_load(x->md);
	return st;
}

struct looking {
	const char *uid;
	bool found;
};

static int
look(void *arg, const struct maildrop_entry *e)
{
	struct looking *l = arg;

	l->found = strcmp(e->uid, l->uid) == 0;
	return l->found;
}

/* A message that could not be read: was it removed meanwhile?  Otherwise it is damaged. */
static int
count_unreadable(struct export *x, const char *uid, enum spool_status st)
{
	struct looking l = { .uid = uid };

	if (st != SPOOL_DAMAGED && st != SPOOL_NO_MESSAGE && st != SPOOL_IO)
		return admin_result(st, uid);
	if (maildrop_list(x->a->spool, x->mailbox, look, &l) == SPOOL_OK && !l.found) {
		x->gone++;
		return EX_OK;
	}
	x->damaged++;
	admin_result(st, uid);
	return EX_OK;
}

/* SPOOL_IO where the octets cannot be read; what the target says it keeps for itself. */
static enum spool_status
copy(struct export *x, const struct maildrop_message *m)
{
	const struct wire wire = { m->prefix, m->prefix_len, m->fd, m->wire_offset, m->wire_len };

	switch (wire_copy(&wire, target_write, x->target)) {
	case WIRE_COPIED:
		return maildrop_verify(m);
	case WIRE_UNREADABLE:
		return SPOOL_IO;
	default:
		return SPOOL_OK;
	}
}

static int
export_message(struct export *x, size_t i, const struct row *r)
{
	const struct target_message tm = {
		.uid = r->uid, .sender = r->from, .received_s = r->received_s
	};
	struct maildrop_message *m = NULL;
	enum spool_status st = maildrop_open_message(x->md, i, true, &m);
	int code;

	if (st != SPOOL_OK)
		return count_unreadable(x, r->uid, st);
	code = target_begin(x->target, &tm);
	if (code == EX_OK) {
		st = copy(x, m);
		code = st == SPOOL_OK ? target_keep(x->target) : target_drop(x->target);
		if (st == SPOOL_OK && code == EX_OK)
			x->written++;
	}
	maildrop_close_message(&m);
	return code == EX_OK && st != SPOOL_OK ? count_unreadable(x, r->uid, st) : code;
}

static int
export_all(struct export *x)
{
	size_t met = 0;
	int code = EX_OK;

	for (size_t i = 0; code == EX_OK && i < maildrop_count(x->md); i++) {
		char uid[MAILDROP_UID_MAX + 1];
		struct row *r = NULL;

		progress_set(x->progress, i, maildrop_count(x->md));
		maildrop_uid(x->md, i, uid);
		if (x->n > 0)
			r = bsearch(uid, x->rows, x->n, sizeof(*x->rows), compare_uid);
		if (r == NULL)
			continue;
		met++;
		code = export_message(x, i, r);
	}
	x->gone += x->n - met;
	return code == EX_OK ? target_finish(x->target) : code;
}

static int
say(const struct export *x, const char *address)
{
	uint64_t skipped = target_skipped(x->target);

	admin_say(x->a, "%" PRIu64 " exported", x->written - skipped);
	if (x->gone > 0)
		admin_say(x->a, "%" PRIu64 " were removed meanwhile", x->gone);
	if (x->damaged > 0)
		return admin_fail(EX_DATAERR,
		    "%s: %" PRIu64 " messages are damaged and were not exported", address,
		    x->damaged);
	if (skipped > 0)
		return admin_fail(EX_CANTCREAT,
		    "%s: for %" PRIu64 " messages a file was there already, and was left as it is",
		    address, skipped);
	return EX_OK;
}

int
cmd_export(struct admin *a, char **operands, size_t n)
{
	struct export x = { .a = a };
	int code = admin_mailbox(a, operands[0], &x.mailbox);

	(void)n;
	if (code == EX_OK)
		code = target_open(operands[1], a->config->site.hostname, &x.target);
	if (code != EX_OK)
		return code;
	x.progress = progress_begin("exporting", PROGRESS_MESSAGES);
	code = admin_result(load(&x), operands[0]);
	if (code == EX_OK)
		code = export_all(&x);
	progress_end(&x.progress);
	if (code == EX_OK)
		code = say(&x, operands[0]);
	maildrop_close(&x.md);
	target_close(&x.target);
	for (size_t i = 0; i < x.n; i++)
		free(x.rows[i].from);
	free(x.rows);
	return code;
}
