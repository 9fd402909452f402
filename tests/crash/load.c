/*
 * load - deliveries of all sizes, alone, in groups and to several mailboxes; sessions that list,
 * retrieve and delete; expiry, kept mail that is brought back or ended; dead records and segments,
 * checkpoints, warnings, changes of accounts; and disks that fail now and then, so that some mail
 * is refused after it was written.
 *
 * smtpd's and pop3d's keepers are at work all the time.  Upkeep and warnings are also called for
 * from the load's own thread, so that it is known who did what.
 */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "common/spool/secrets.h"
#include "common/spool/spool_internal.h"
#include "common/spool/warn.h"
#include "common/spool/warn_internal.h"
#include "mail/address.h"
#include "spool/delivery.h"
#include "spool/expire.h"
#include "spool/history.h"
#include "spool/warning.h"

#define DAY_MS UINT64_C(86400000)
#define GROUP_MAX 10

/* Who is special among the mailboxes. */
enum { BOX_WARNED = 4, BOX_AGED = 5, BOX_READ_ONCE = 6, BOX_FULL = 7, BOX_LATER = 8 };

unsigned load_next;
static uint64_t load_random = 1;
static size_t lengths[MESSAGES];

/* --- messages ------------------------------------------------------------- */

const char *
load_message(unsigned number, size_t len)
{
	static char *texts[MESSAGES];
	uint32_t random = number * 2654435761u + (uint32_t)len;
	size_t n;

	if (number >= MESSAGES)
		die("too many messages");
	if (texts[number] != NULL && lengths[number] == len)
		return texts[number];
	free(texts[number]);
	texts[number] = malloc(len + 128);
	if (texts[number] == NULL)
		die("no memory");
	lengths[number] = len;
	n = (size_t)snprintf(texts[number], 128, LOAD_MESSAGE_FORMAT, number, len);
	for (; n < len - 2; n++) {
		random = random * 1664525 + 1013904223;
		texts[number][n] = (char)('a' + (random >> 24) % 26);
		if (n % 72 >= 70)
			texts[number][n] = n % 72 == 70 ? '\r' : '\n';
	}
	memcpy(texts[number] + len - 2, "\r\n", 2);
	return texts[number];
}

uint32_t
load_number(struct maildrop *md, size_t i, size_t *len_r)
{
	struct maildrop_message *m;
	char text[128] = "";
	unsigned number = 0;

	*len_r = 0;
	if (maildrop_open_message(md, i, true, &m) != SPOOL_OK)
		return 0;
	if (strncmp(m->prefix, "Return-Path: <>", 15) == 0)
		number = EVENT_WARNING;
	else if (pread(m->fd, text, sizeof(text) - 1, (off_t)m->wire_offset) <= 0 ||
		 sscanf(text, LOAD_MESSAGE_FORMAT, &number, len_r) != 2)
		number = 0;
	maildrop_close_message(&m);
	return number;
}

/* --- spools --------------------------------------------------------------- */

struct spool *
load_try_open(const char *dir, enum spool_role role, uint64_t keep_deleted_s, struct strbuf *err)
{
	const struct spool_options options = {
		.dir = dir,
		.role = role,
		.segment_max = LOAD_SEGMENT_MAX,
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

static void
phase(const char *name)
{
	struct event e = { .kind = EVENT_PHASE };

	snprintf(e.text, sizeof(e.text), "%s", name);
	trace_event(&e);
}

static enum told
told_of(enum spool_status st)
{
	return st == SPOOL_OK ? TOLD_YES : st == SPOOL_UNKNOWN ? TOLD_UNSURE : TOLD_NO;
}

static void
want(enum spool_status st, const char *what)
{
	if (st != SPOOL_OK)
		die("%s: %s", what, spool_status_text(st));
}

/* --- deliveries ----------------------------------------------------------- */

/* For whom somebody waits. */
struct waiting {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned done;
};

struct sent {
	struct delivery *d;
	struct waiting *waiting;
	unsigned number;
	uint32_t boxes;
};

void
load_address(char text[64], unsigned box)
{
	snprintf(text, 64, "user%u@" LOAD_DOMAIN, box);
}

/* The committer's thread: from now on the sender knows. */
static void
on_done(void *arg, struct delivery *d)
{
	const struct sent *s = arg;
	const struct envelope *env = delivery_envelope(d);
	struct event e = { .kind = EVENT_OUTCOME, .message = s->number, .in = true };

	for (size_t i = 0; i < env->n; i++) {
		e.box = (unsigned)env->recipients[i].mailbox;
		e.told = told_of(env->recipients[i].outcome);
		e.uid = delivery_outcome(d) == SPOOL_OK ? delivery_message(d) : 0;
		trace_event(&e);
	}
	pthread_mutex_lock(&s->waiting->mutex);
	s->waiting->done++;
	pthread_cond_broadcast(&s->waiting->cond);
	pthread_mutex_unlock(&s->waiting->mutex);
}

static bool
begin_message(struct spool *sp, struct sent *s, unsigned number, size_t len, uint32_t boxes)
{
	const struct delivery_options options = { .trusted = true };
	struct envelope *env = envelope_new(LOAD_SENDER);
	const char *text = load_message(number, len);
	enum spool_status st;
	char address[64];

	*s = (struct sent) { .number = number, .boxes = boxes };
	for (unsigned box = 1; box < BOXES; box++)
		if ((boxes & 1u << box) != 0) {
			struct account_target target = { .mailbox = box, .address = address };
			struct account_targets targets = { .list = &target, .n = 1 };

			load_address(address, box);
			want(envelope_add(env, address, &targets), "RCPT");
		}
	st = delivery_begin(sp, &env, &options, &s->d);
	for (size_t i = 0; st == SPOOL_OK && i < len; i += 30000)
		st = delivery_write(s->d, text + i, len - i < 30000 ? len - i : 30000);
	if (st == SPOOL_OK)
		return true;
	/* Refused before anything could come of it. */
	envelope_free(&env);
	delivery_abandon(&s->d);
	return false;
}

/* Gives them to the committer at once, so that they are a group or two. */
static bool
commit_all(struct sent *list, const size_t *len, size_t n)
{
	struct waiting w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
	bool all = true;

	for (size_t i = 0; i < n; i++)
		for (unsigned box = 1; box < BOXES; box++)
			if ((list[i].boxes & 1u << box) != 0)
				trace_event(&(struct event) { .kind = EVENT_SENT, .box = box,
				    .message = list[i].number });
	for (size_t i = 0; i < n; i++) {
		list[i].waiting = &w;
		delivery_commit(list[i].d, len[i], on_done, &list[i]);
	}
	pthread_mutex_lock(&w.mutex);
	while (w.done < n)
		pthread_cond_wait(&w.cond, &w.mutex);
	pthread_mutex_unlock(&w.mutex);
	for (size_t i = 0; i < n; i++) {
		all = all && delivery_outcome(list[i].d) == SPOOL_OK;
		delivery_abandon(&list[i].d);
	}
	return all;
}

bool
load_send(struct spool *sp, size_t len, uint32_t boxes)
{
	struct sent sent;

	return begin_message(sp, &sent, load_next++, len, boxes) && commit_all(&sent, &len, 1);
}

/* Another sender, while sessions and upkeep go on. */
struct sender {
	struct spool *spool;
	unsigned first;
	pthread_t thread;
};
#define SENDER_MESSAGES 5

static void *
send_beside(void *arg)
{
	const struct sender *s = arg;
	struct sent sent;

	for (unsigned i = s->first; i < s->first + SENDER_MESSAGES; i++) {
		size_t len = i % 11 == 0 ? 263000 + i : 200 + i * 1237 % 9000;
		uint32_t boxes = 1u << (1 + i % 3) | (i % 4 == 0 ? 1u << (1 + (i + 1) % 3) : 0);

		if (begin_message(s->spool, &sent, i, len, boxes))
			commit_all(&sent, &len, 1);
	}
	return NULL;
}

static void
begin_sending(struct sender *s, struct spool *sp)
{
	s->spool = sp;
	s->first = load_next;
	load_next += SENDER_MESSAGES;
	if (pthread_create(&s->thread, NULL, send_beside, s) != 0)
		die("no thread");
}

static unsigned
below(unsigned n)
{
	load_random = load_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(load_random >> 33) % n;
}

static size_t
some_length(void)
{
	switch (below(16)) {
	case 0:
		return 60000 + below(190000);
	case 1:
	case 2:
		return 8000 + below(20000);
	case 3:
		return 3700 + below(500); /* About a block. */
	case 4:
		return below(3) == 0 ? 262144 + 200 + below(300000) : 4096 * (1 + below(4)) - 250;
	default:
		return 100 + below(3000);
	}
}

static uint32_t
some_boxes(void)
{
	uint32_t boxes = 1u << (1 + below(3));

	if (below(3) == 0)
		boxes |= 1u << (1 + below(3));
	if (below(4) == 0)
		boxes |= 1u << BOX_AGED;
	if (below(6) == 0)
		boxes |= 1u << BOX_READ_ONCE;
	return boxes;
}

static void
send_group(struct spool *sp, size_t n)
{
	struct sent list[GROUP_MAX];
	size_t len[GROUP_MAX], begun = 0;

	for (size_t i = 0; i < n; i++) {
		len[begun] = some_length();
		begun += begin_message(sp, &list[begun], load_next++, len[begun], some_boxes());
	}
	commit_all(list, len, begun);
}

/* --- sessions ------------------------------------------------------------- */

/* A login: what it lists has been seen. */
static struct maildrop *
login(struct spool *sp, unsigned box, uint32_t *numbers)
{
	struct maildrop *md;
	char uid[MAILDROP_UID_MAX + 1];
	enum spool_status st;
	size_t len;

	while ((st = maildrop_lock(sp, box, "load", &md)) == SPOOL_BUSY)
		poll(NULL, 0, 1);
	if (st == SPOOL_OK)
		st = maildrop_load(md);
	want(st, "login");
	for (size_t i = 0; i < maildrop_count(md); i++) {
		struct event e = { .kind = EVENT_SEEN, .box = box };

		if (i >= MESSAGES)
			die("too many messages in mailbox %u", box);
		e.message = numbers[i] = load_number(md, i, &len);
		maildrop_uid(md, i, uid);
		if (spool_uid_parse(uid, &e.uid) != 0)
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

/* Deletes each message with `percent` of chance, retrieves some of the others. */
static enum spool_status
session(struct spool *sp, unsigned box, unsigned percent)
{
	static uint32_t numbers[MESSAGES];
	static bool goes[MESSAGES];
	struct maildrop *md = login(sp, box, numbers);
	enum spool_status st;

	for (size_t i = 0; i < maildrop_count(md); i++) {
		/* Warnings stay, so that they can be counted. */
		goes[i] = numbers[i] != EVENT_WARNING && below(100) < percent;
		if (goes[i] && box == BOX_READ_ONCE)
			maildrop_note_retrieved(md, i);
		else if (goes[i])
			maildrop_mark(md, i);
		else if (box != BOX_READ_ONCE && below(2) == 0)
			maildrop_note_retrieved(md, i);
	}
	tell_all(box, md, numbers, EVENT_ASKED, TOLD_YES, goes);
	trace_context = CONTEXT_UPDATE;
	st = maildrop_update(md);
	trace_context = CONTEXT_OTHER;
	tell_all(box, md, numbers, EVENT_DONE, told_of(st), goes);
	maildrop_close(&md);
	return st;
}

/* Ends without QUIT. */
static void
broken_session(struct spool *sp, unsigned box)
{
	static uint32_t numbers[MESSAGES];
	struct maildrop *md = login(sp, box, numbers);

	for (size_t i = 0; i < maildrop_count(md); i++)
		maildrop_note_retrieved(md, i);
	want(maildrop_note(md), "retrievals");
	maildrop_close(&md);
}

/* --- accounts ------------------------------------------------------------- */

static struct address
address_of(unsigned box)
{
	struct address address;
	char text[64];

	memset(&address, 0, sizeof(address));
	load_address(text, box);
	if (address_parse(text, &address) != 0)
		die("%s", text);
	return address;
}

/* The mailbox is made, gets another password or goes; what it is afterwards is told. */
static void
account(struct spool *sp, unsigned box, const char *password, bool is_new,
    const struct account_limits *limits)
{
	struct event e = { .kind = EVENT_BOX_ASKED, .box = box, .in = password != NULL };
	struct address address = address_of(box);
	enum spool_status st;
	struct secret secret;

	trace_event(&e);
	trace_context = CONTEXT_ACCOUNT;
	if (password == NULL)
		st = account_user_remove(sp, &address);
	else if (is_new)
		st = account_user_add(sp, &address, password, strlen(password), false, limits,
		    NULL);
	else
		st = account_user_set_password(sp, &address, password, strlen(password));
	trace_context = CONTEXT_OTHER;
	want(st, "account");
	want(secrets_read(sp, box, &secret), "secret");
	e.kind = EVENT_BOX_DONE;
	e.told = TOLD_YES;
	snprintf(e.text, sizeof(e.text), "%.*s", EVENT_TEXT_MAX - 1, secret.hash);
	trace_event(&e);
}

static void
make_accounts(struct spool *sp)
{
	struct account_limits limits = { .has_quota = true, .has_expire = true };
	struct address address;
	uint64_t changed;

	for (unsigned box = 1; box <= LOAD_BOXES; box++) {
		limits.quota = box == BOX_WARNED || box == BOX_FULL ? 100000 : NUM_UNLIMITED;
		limits.expire_s = box == BOX_AGED ? 86400 : NUM_UNLIMITED;
		account(sp, box, "a password", true, &limits);
	}
	address = address_of(BOX_READ_ONCE);
	want(account_user_set_expire_retrieved(sp, &address, 0, &changed), "EXPIRE 0");
}

void
load_set_warning(struct spool *sp)
{
	const struct spool_warning warning = {
		.percent = { 80 },
		.n = 1,
		.hostname = "mail." LOAD_DOMAIN,
	};

	want(spool_set_warning(sp, &warning), "warning");
}

static void
warn(struct spool *sp)
{
	trace_context = CONTEXT_WARN;
	sp->warner->next_look_ms = 0;
	want(warn_round(sp), "warnings");
	trace_context = CONTEXT_OTHER;
}

static void
upkeep(struct spool *sp)
{
	trace_context = CONTEXT_UPKEEP;
	want(spool_upkeep(sp), "upkeep");
	trace_context = CONTEXT_OTHER;
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
		bool again;     /* for the next one too */
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
		upkeep(s->admin);
		phase("UPDATE not synced");
		load_send(s->smtpd, 800, 1u << 1);
		trace_fail(OP_SYNC, CLASS_LOG);
		session(s->pop3d, 1, 40);
		if (trace_failed())
			want(spool_upkeep(s->pop3d), "mending");
		return;
	}
	phase(faults[which].phase);
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

	phase("deliveries");
	send_group(s->smtpd, 1 + below(GROUP_MAX));
	load_send(s->smtpd, 200 + below(4000), some_boxes());
	phase("UPDATE");
	begin_sending(&sender, s->smtpd);
	session(s->pop3d, 1 + round % 3, 30 + below(50));
	if (round % 3 == 0)
		session(s->pop3d, BOX_READ_ONCE, 60);
	if (round % 4 == 1)
		broken_session(s->pop3d, 1 + below(3));
	if (round % 3 == 2) {
		phase("upkeep");
		upkeep(s->admin);
	}
	pthread_join(sender.thread, NULL);
	if (round % 3 == 1)
		failing_disk(s);
}

/* Two mailboxes are nearly full, one by mail and one by a smaller quota. */
static void
fill(const struct site *s)
{
	struct event quota = { .kind = EVENT_QUOTA, .box = BOX_FULL, .uid = 60000 };
	struct address address = address_of(BOX_FULL);

	phase("warnings");
	load_send(s->smtpd, 50000, 1u << BOX_WARNED | 1u << BOX_FULL);
	warn(s->admin);
	load_send(s->smtpd, 35000, 1u << BOX_WARNED);
	warn(s->admin);
	trace_event(&quota);
	trace_context = CONTEXT_ACCOUNT;
	want(account_user_set_quota(s->admin, &address, quota.uid), "quota");
	trace_context = CONTEXT_OTHER;
	quota.in = true;
	trace_event(&quota);
	warn(s->admin);
	/* No room: refused by its exact size. */
	load_send(s->smtpd, 30000, 1u << BOX_FULL);
	load_send(s->smtpd, 30000, 1u << BOX_FULL | 1u << 1);
	warn(s->admin);
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

	if (spool_uid_parse(item->uid, &uid) != 0)
		die("a UID that is not ours: %s", item->uid);
	for (size_t i = 0; i < aged->n; i++)
		if (aged->uids[i] == uid) {
			e.message = aged->numbers[i];
			trace_event(&e);
		}
	return 0;
}

/* Mail that is past its age: once by an administrator, who is told, and once by a daemon. */
static void
expire(const struct site *s, bool told)
{
	static struct aged aged;
	struct event e = { .kind = EVENT_ASKED, .box = BOX_AGED };
	struct expire_result result;
	char uid[MAILDROP_UID_MAX + 1];
	struct maildrop *md;

	phase("expiry");
	md = login(s->pop3d, BOX_AGED, aged.numbers);
	aged.n = maildrop_count(md);
	for (size_t i = 0; i < aged.n; i++) {
		e.message = aged.numbers[i];
		trace_event(&e);
		maildrop_uid(md, i, uid);
		if (spool_uid_parse(uid, &aged.uids[i]) != 0)
			die("a UID that is not ours: %s", uid);
	}
	maildrop_close(&md);
	want(spool_expire(s->pop3d, BOX_AGED, false, told ? expired : NULL, &aged, &result),
	    "expiry");
	if (result.messages == 0)
		die("nothing was past its age");
}

/* Mail that nobody else holds: what is past its age gives back blocks, and whole segments. */
static void
send_aged(const struct site *s)
{
	phase("deliveries");
	for (unsigned i = 0; i < 3; i++) {
		load_send(s->smtpd, 2000 + 5000 * i, 1u << BOX_AGED);
		load_send(s->smtpd, 600, 1u << 3);
	}
	load_send(s->smtpd, 265000, 1u << BOX_AGED);
	load_send(s->smtpd, 300000, 1u << BOX_AGED);
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

/* What was deleted lately is brought back, by its old UID. */
static void
bring_back(const struct site *s, const struct facts *known)
{
	struct kept kept = { .n = 0 };
	const char *uids[4];
	struct history_restored restored;
	struct event e = { .box = 1, .in = true };

	phase("bringing back");
	history_kept(s->admin, 1, note_kept, &kept);
	for (int done = 0; done < 2; done++) {
		e.kind = done ? EVENT_DONE : EVENT_ASKED;
		e.told = TOLD_YES;
		for (size_t i = 0; i < kept.n; i++) {
			uint64_t uid;

			uids[i] = kept.uids[i];
			if (spool_uid_parse(uids[i], &uid) != 0)
				die("%s", uids[i]);
			for (e.message = 0; e.message < MESSAGES; e.message++)
				if (known->uid[e.message] == uid)
					trace_event(&e);
		}
		if (!done && kept.n > 0)
			want(history_restore(s->admin, 1, uids, kept.n, false, &restored),
			    "bringing back");
	}
}

/* All that was told so far; the numbers that messages have by their UIDs. */
static struct facts *
facts_so_far(void)
{
	struct facts *f = calloc(1, sizeof(*f));

	if (f == NULL)
		die("no memory");
	for (size_t i = 0; i < trace.n; i++)
		if (trace.ops[i].kind == OP_EVENT)
			facts_apply(f, trace.ops[i].event);
	return f;
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
	struct facts *known;

	keep_deleted(s, 86400);
	phase("deleted mail is kept");
	for (unsigned box = 1; box <= 3; box++)
		session(s->pop3d, box, 60);
	known = facts_so_far();
	bring_back(s, known);
	free(known);
	load_send(s->smtpd, 3000, 1u << 1 | 1u << 2);
	phase("kept mail ends");
	keep_deleted(s, 0);
	upkeep(s->admin);
}

/* Two days later, by other processes: what has an age is past it. */
static void
next_day(const char *dir, struct site *s, uint64_t *wall_ms)
{
	phase("restart");
	close_site(s);
	*wall_ms += 2 * DAY_MS;
	clock_set(*wall_ms, *wall_ms);
	*s = open_site(dir, 0);
}

static void
accounts_come_and_go(const struct site *s)
{
	phase("accounts");
	account(s->admin, BOX_LATER, "another", true, NULL);
	load_send(s->smtpd, 1500, 1u << BOX_LATER);
	load_send(s->smtpd, 2500, 1u << BOX_LATER | 1u << 2);
	account(s->admin, 2, "a better password", false, NULL);
	account(s->admin, BOX_LATER, NULL, false, NULL);
}

void
load_run(const char *dir, unsigned rounds)
{
	uint64_t wall_ms = LOAD_WALL_MS;
	struct site s;

	clock_set(wall_ms, wall_ms);
	load_next = 1;
	s = open_site(dir, 0);
	phase("accounts");
	make_accounts(s.admin);
	for (unsigned round = 0; round < rounds; round++)
		round_of_load(&s, round);
	fill(&s);
	send_aged(&s);
	accounts_come_and_go(&s);

	next_day(dir, &s, &wall_ms);
	expire(&s, false);
	/* Nothing of it is synced yet. */
	upkeep(s.admin);
	send_group(s.smtpd, 3);
	for (unsigned round = 0; round < rounds / 2; round++)
		round_of_load(&s, round);
	kept_mail(&s);
	send_aged(&s);

	next_day(dir, &s, &wall_ms);
	expire(&s, true);
	upkeep(s.admin);
	phase("segments die");
	for (unsigned box = 1; box <= 3; box++)
		session(s.pop3d, box, box == 3 ? 90 : 100);
	upkeep(s.admin);
	round_of_load(&s, 3);
	upkeep(s.admin);
	close_site(&s);
}

void
load_afterwards(const char *dir, bool pop3d_first)
{
	static uint32_t numbers[MESSAGES];
	struct spool *smtpd = NULL, *pop3d;
	struct maildrop *md;

	if (!pop3d_first)
		smtpd = load_open(dir, SPOOL_SMTPD, 10 * 365 * UINT64_C(86400));
	pop3d = load_open(dir, SPOOL_POP3D, 10 * 365 * UINT64_C(86400));
	want(spool_wait_ready(pop3d), "recovery");
	if (smtpd == NULL)
		smtpd = load_open(dir, SPOOL_SMTPD, 10 * 365 * UINT64_C(86400));
	want(spool_wait_ready(smtpd), "recovery");
	for (unsigned box = 1; box <= 3; box++) {
		enum spool_status st = maildrop_lock(pop3d, box, "load", &md);

		if (st == SPOOL_OK)
			st = maildrop_load(md);
		maildrop_close(&md);
		/* The power failed before it was made. */
		if (st == SPOOL_NO_MAILBOX)
			continue;
		md = login(pop3d, box, numbers);
		maildrop_close(&md);
		load_send(smtpd, 600 + 900 * box, 1u << box);
		session(pop3d, box, 25);
	}
	want(spool_upkeep(smtpd), "upkeep");
	spool_close(&pop3d);
	spool_close(&smtpd);
}
