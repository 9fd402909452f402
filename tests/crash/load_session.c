/*
 * load_session - logins, retrievals and deletions; mail that is past its age, and deleted mail that is
 * brought back.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load_internal.h"
#include "spool/expire.h"
#include "spool/history.h"

/* --- sessions ------------------------------------------------------------- */

struct maildrop *
load_login(struct spool *sp, unsigned box, uint32_t *numbers)
{
	struct maildrop *md;
	char uid[MAILDROP_UID_MAX + 1];
	enum spool_status st;
	size_t len;

	while ((st = maildrop_lock(sp, box, "load", &md)) == SPOOL_BUSY)
		poll(NULL, 0, 1);
	if (st == SPOOL_OK)
		st = maildrop_load(md);
	load_want(st, "login");
	for (size_t i = 0; i < maildrop_count(md); i++) {
		struct event e = { .kind = EVENT_SEEN, .box = box };

		if (i >= MESSAGES)
			die("too many messages in mailbox %u", box);
		e.message = numbers[i] = load_number(md, i, &len);
		maildrop_uid(md, i, uid);
		if (!load_uid(uid, &e.uid))
			die("a UID that is not ours: %s", uid);
		if (e.message != EVENT_WARNING && len == 0)
			die("message %s of mailbox %u is not one", uid, box);
		trace_event(&e);
	}
	return md;
}

static void
tell_all(unsigned box, const struct maildrop *md, const uint32_t *numbers, enum event_kind kind,
    enum told told, const bool *goes)
{
	struct event e = { .kind = kind, .box = box, .told = told };

	for (size_t i = 0; i < maildrop_count(md); i++)
		if (goes[i]) {
			e.message = numbers[i];
			trace_event(&e);
		}
}

enum spool_status
load_session(struct spool *sp, unsigned box, unsigned percent)
{
	static uint32_t numbers[MESSAGES];
	static bool goes[MESSAGES];
	struct maildrop *md = load_login(sp, box, numbers);
	enum spool_status st;

	for (size_t i = 0; i < maildrop_count(md); i++) {
		/* Warnings stay, so that they can be counted. */
		goes[i] = numbers[i] != EVENT_WARNING && load_below(100) < percent;
		if (goes[i] && box == BOX_READ_ONCE)
			maildrop_note_retrieved(md, i);
		else if (goes[i])
			maildrop_mark(md, i);
		else if (box != BOX_READ_ONCE && load_below(2) == 0)
			maildrop_note_retrieved(md, i);
	}
	tell_all(box, md, numbers, EVENT_ASKED, TOLD_YES, goes);
	trace_context = CONTEXT_UPDATE;
	st = maildrop_update(md);
	trace_context = CONTEXT_OTHER;
	tell_all(box, md, numbers, EVENT_DONE, load_told(st), goes);
	maildrop_close(&md);
	return st;
}

void
load_broken_session(struct spool *sp, unsigned box)
{
	static uint32_t numbers[MESSAGES];
	struct maildrop *md = load_login(sp, box, numbers);

	for (size_t i = 0; i < maildrop_count(md); i++)
		maildrop_note_retrieved(md, i);
	load_want(maildrop_note(md), "retrievals");
	maildrop_close(&md);
}

struct aged {
	uint32_t numbers[MESSAGES];
	uint64_t uids[MESSAGES];
	size_t n;
};

static int
expired(void *arg, const struct expire_item *item)
{
	struct event e = { .kind = EVENT_DONE, .box = BOX_AGED, .told = TOLD_YES };
	const struct aged *aged = arg;
	uint64_t uid;

	if (!load_uid(item->uid, &uid))
		die("a UID that is not ours: %s", item->uid);
	for (size_t i = 0; i < aged->n; i++)
		if (aged->uids[i] == uid) {
			e.message = aged->numbers[i];
			trace_event(&e);
		}
	return 0;
}

void
load_expire(struct spool *sp, bool told)
{
	static struct aged aged;
	struct event e = { .kind = EVENT_ASKED, .box = BOX_AGED };
	struct expire_result result;
	char uid[MAILDROP_UID_MAX + 1];
	struct maildrop *md;

	load_phase("expiry");
	md = load_login(sp, BOX_AGED, aged.numbers);
	aged.n = maildrop_count(md);
	for (size_t i = 0; i < aged.n; i++) {
		e.message = aged.numbers[i];
		trace_event(&e);
		maildrop_uid(md, i, uid);
		if (!load_uid(uid, &aged.uids[i]))
			die("a UID that is not ours: %s", uid);
	}
	maildrop_close(&md);
	load_want(
	    spool_expire(sp, BOX_AGED, false, told ? expired : NULL, &aged, &result), "expiry");
	if (result.messages == 0)
		die("nothing was past its age");
}

struct kept {
	char uids[4][MAILDROP_UID_MAX + 1];
	size_t n;
};

static int
note_kept(void *arg, const struct history_kept *item)
{
	struct kept *k = arg;

	memcpy(k->uids[k->n++], item->uid, sizeof(k->uids[0]));
	return k->n == 4;
}

void
load_bring_back(struct spool *admin)
{
	struct kept kept = { .n = 0 };
	const char *uids[4];
	struct history_restored restored;
	struct event e = { .box = 1, .in = true };
	struct facts *known = load_facts();

	load_phase("bringing back");
	history_kept(admin, 1, note_kept, &kept);
	for (int done = 0; done < 2; done++) {
		e.kind = done ? EVENT_DONE : EVENT_ASKED;
		e.told = TOLD_YES;
		for (size_t i = 0; i < kept.n; i++) {
			uint64_t uid;

			uids[i] = kept.uids[i];
			if (!load_uid(uids[i], &uid))
				die("%s", uids[i]);
			for (e.message = 0; e.message < MESSAGES; e.message++)
				if (known->uid[e.message] == uid)
					trace_event(&e);
		}
		if (!done && kept.n > 0)
			load_want(history_restore(admin, 1, uids, kept.n, false, &restored),
			    "bringing back");
	}
	free(known);
}
