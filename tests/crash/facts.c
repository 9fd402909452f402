/*
 * facts - see facts.h.
 */
#include "facts.h"

#include <stdio.h>
#include <string.h>

static uint8_t
where_after(const struct event *e)
{
	if (e->told == TOLD_UNSURE)
		return MAY_BE_IN | MAY_BE_OUT;
	/* What was refused stays as it was before it was asked for. */
	return e->in == (e->told == TOLD_YES) ? MAY_BE_IN : MAY_BE_OUT;
}

static void
seen_warning(struct facts *f, const struct event *e)
{
	for (size_t i = 0; i < f->nwarnings; i++)
		if (f->warning_uids[i] == e->uid)
			return;
	if (f->nwarnings == WARNINGS)
		die("too many warnings");
	f->warning_uids[f->nwarnings++] = e->uid;
	f->box[e->box].warnings++;
}

static void
box_done(struct facts *f, const struct event *e)
{
	f->box[e->box].where = where_after(e);
	f->box[e->box].password_open = e->told == TOLD_UNSURE;
	if (e->told == TOLD_YES)
		snprintf(f->box[e->box].password, EVENT_TEXT_MAX, "%s", e->text);
	/* Its mail goes with it. */
	if (!e->in && e->told == TOLD_YES)
		for (size_t i = 0; i < MESSAGES; i++)
			f->where[e->box][i] &= MAY_BE_OUT;
}

/* Nothing in a segment tells mail that was deleted from mail that is there; what was refused is in
 * none.  What no list shows afterwards is gone after all. */
static void
reindex(struct facts *f, const struct event *e)
{
	f->reindexing = !e->in;
	for (unsigned box = 0; box < BOXES; box++)
		for (unsigned i = 0; i < MESSAGES; i++)
			if (e->in && f->back[box][i]) {
				f->where[box][i] = MAY_BE_OUT;
				f->back[box][i] = false;
			} else if (!e->in && f->seen[box][i] && f->where[box][i] == MAY_BE_OUT) {
				f->where[box][i] = MAY_BE_IN | MAY_BE_OUT;
				f->back[box][i] = true;
			}
}

static void
begin_backup(struct facts *f)
{
	f->backup.begun = true;
	memcpy(f->backup.next.where, f->where, sizeof(f->where));
	for (unsigned box = 0; box < BOXES; box++)
		f->backup.next.box[box] = f->box[box].where;
}

static void
end_backup(struct facts *f, const struct event *e)
{
	f->backup.broken = e->told == TOLD_NO;
	f->backup.has = true;
	f->backup.begun = false;
	f->backup.held = f->backup.next;
}

void
facts_apply(struct facts *f, const struct event *e)
{
	uint8_t *where = NULL;

	if (e->box >= BOXES || (e->message >= MESSAGES && e->message != EVENT_WARNING))
		die("an event of mailbox %u, message %u", e->box, e->message);
	if (e->message < MESSAGES)
		where = &f->where[e->box][e->message];
	if (where != NULL && e->uid != 0 && e->kind != EVENT_QUOTA)
		f->uid[e->message] = e->uid;
	switch (e->kind) {
	case EVENT_SENT:
	case EVENT_ASKED:
		*where = MAY_BE_IN | MAY_BE_OUT;
		break;
	case EVENT_OUTCOME:
		/* Somebody may have seen it, and even deleted it, before its sender is told. */
		if (!f->seen[e->box][e->message])
			*where = where_after(e);
		else if (e->told == TOLD_NO)
			die("message %u was refused, and is seen", e->message);
		break;
	case EVENT_DONE:
		*where = where_after(e);
		break;
	case EVENT_SEEN:
		/* Mail programs forget what is missing from the next list. */
		if (e->message == EVENT_WARNING) {
			seen_warning(f, e);
		} else {
			*where = MAY_BE_IN;
			f->seen[e->box][e->message] = true;
			f->back[e->box][e->message] = false;
		}
		break;
	case EVENT_BOX_ASKED:
		/* A change of its password leaves it where it is. */
		if (!e->in || f->box[e->box].where != MAY_BE_IN)
			f->box[e->box].where = MAY_BE_IN | MAY_BE_OUT;
		f->box[e->box].password_open = true;
		if (!e->in)
			for (size_t i = 0; i < MESSAGES; i++)
				if (f->where[e->box][i] != 0)
					f->where[e->box][i] |= MAY_BE_OUT;
		break;
	case EVENT_BOX_DONE:
		box_done(f, e);
		break;
	case EVENT_QUOTA:
		if (e->in)
			f->box[e->box].quota = e->uid;
		break;
	case EVENT_REPAIR:
		f->unrepaired = !e->in;
		break;
	case EVENT_BACKUP:
		if (e->in || e->told == TOLD_NO)
			end_backup(f, e);
		else
			begin_backup(f);
		break;
	case EVENT_REINDEX:
		reindex(f, e);
		break;
	case EVENT_PHASE:
		snprintf(f->phase, sizeof(f->phase), "%s", e->text);
		break;
	}
	/* What comes or goes while it is taken may be in a backup or not. */
	if (f->backup.begun && where != NULL && e->kind != EVENT_QUOTA)
		f->backup.next.where[e->box][e->message] |= *where;
}
