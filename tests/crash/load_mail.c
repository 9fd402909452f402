/*
 * load_mail - messages, and how they come: alone, in groups, to several mailboxes, beside what else
 * goes on, and from elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/spool/delivery_internal.h"
#include "load_internal.h"
#include "spool/delivery.h"
#include "spool/import.h"

/* As a UID from elsewhere: the number of the message is in it. */
#define FOREIGN_UID_FORMAT "i%032x"
#define FOREIGN (UINT64_C(1) << 63)

unsigned load_next;
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

bool
load_uid(const char *text, uint64_t *uid_r)
{
	unsigned number;

	if (spool_uid_parse(text, uid_r) == 0)
		return true;
	if (sscanf(text, FOREIGN_UID_FORMAT, &number) != 1)
		return false;
	*uid_r = FOREIGN | number;
	return true;
}

void
load_uid_text(char text[MAILDROP_UID_MAX + 1], uint64_t uid)
{
	if ((uid & FOREIGN) != 0)
		snprintf(
		    text, MAILDROP_UID_MAX + 1, FOREIGN_UID_FORMAT, (unsigned)(uid & ~FOREIGN));
	else
		spool_uid_format(text, uid);
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
	uint64_t uid; /* 0: it gets one of ours */
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
		e.told = load_told(env->recipients[i].outcome);
		if (delivery_outcome(d) == SPOOL_OK)
			e.uid = s->uid != 0 ? s->uid : delivery_message(d);
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

	*s = (struct sent){ .number = number, .boxes = boxes };
	for (unsigned box = 1; box < BOXES; box++)
		if ((boxes & 1u << box) != 0) {
			struct account_target target = { .mailbox = box, .address = address };
			struct account_targets targets = { .list = &target, .n = 1 };

			load_address(address, box);
			load_want(envelope_add(env, address, &targets), "RCPT");
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
				trace_event(&(struct event){
				    .kind = EVENT_SENT, .box = box, .message = list[i].number });
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

void
load_begin_beside(struct sender *s, struct spool *sp)
{
	s->spool = sp;
	s->first = load_next;
	load_next += SENDER_MESSAGES;
	if (pthread_create(&s->thread, NULL, send_beside, s) != 0)
		die("no thread");
}

void
load_end_beside(struct sender *s)
{
	pthread_join(s->thread, NULL);
}

static size_t
some_length(void)
{
	switch (load_below(16)) {
	case 0:
		return 60000 + load_below(190000);
	case 1:
	case 2:
		return 8000 + load_below(20000);
	case 3:
		return 3700 + load_below(500); /* About a block. */
	case 4:
		return load_below(3) == 0 ? 262144 + 200 + load_below(300000)
		                          : 4096 * (1 + load_below(4)) - 250;
	default:
		return 100 + load_below(3000);
	}
}

uint32_t
load_some_boxes(void)
{
	uint32_t boxes = 1u << (1 + load_below(3));

	if (load_below(3) == 0)
		boxes |= 1u << (1 + load_below(3));
	if (load_below(4) == 0)
		boxes |= 1u << BOX_AGED;
	if (load_below(6) == 0)
		boxes |= 1u << BOX_READ_ONCE;
	return boxes;
}

void
load_group(struct spool *sp, size_t n)
{
	struct sent list[LOAD_GROUP_MAX];
	size_t len[LOAD_GROUP_MAX], begun = 0;

	for (size_t i = 0; i < n; i++) {
		len[begun] = some_length();
		begun +=
		    begin_message(sp, &list[begun], load_next++, len[begun], load_some_boxes());
	}
	commit_all(list, len, begun);
}

void
load_send_aged(struct spool *sp)
{
	load_phase("deliveries");
	for (unsigned i = 0; i < 3; i++) {
		load_send(sp, 2000 + 5000 * i, 1u << BOX_AGED);
		load_send(sp, 600, 1u << 3);
	}
	load_send(sp, 265000, 1u << BOX_AGED);
	load_send(sp, 300000, 1u << BOX_AGED);
}

/* --- from elsewhere ------------------------------------------------------- */

static bool
begin_import(struct spool *sp, struct sent *s, unsigned box, unsigned number, size_t *len_r)
{
	size_t len = number % 7 == 0 ? 270000 : 300 + number * 1237 % 12000;
	const char *text = load_message(number, len);
	char address[64], uid[MAILDROP_UID_MAX + 1];
	struct account_target to = { .mailbox = box, .address = address };
	enum spool_status st;

	load_address(address, box);
	*s = (struct sent){ .number = number, .boxes = 1u << box, .uid = FOREIGN | number };
	load_uid_text(uid, s->uid);
	*len_r = len;
	st = import_begin(sp, &to, LOAD_SENDER, address, &s->d);
	if (st == SPOOL_OK)
		st = delivery_write(s->d, text, len);
	if (st == SPOOL_OK)
		import_set(s->d, LOAD_WALL_MS - DAY_MS * (1 + number % 100), uid);
	else
		delivery_abandon(&s->d);
	return st == SPOOL_OK;
}

void
load_import(struct spool *admin, unsigned box, unsigned first, unsigned n)
{
	static uint32_t numbers[MESSAGES];
	struct sent list[LOAD_GROUP_MAX];
	size_t len[LOAD_GROUP_MAX], begun = 0, place;
	struct maildrop *md = load_login(admin, box, numbers);
	struct facts *known = load_facts();
	char uid[MAILDROP_UID_MAX + 1];

	for (unsigned number = first; number < first + n && begun < LOAD_GROUP_MAX; number++) {
		load_uid_text(uid, FOREIGN | number);
		/* What its owner has deleted does not come again. */
		if (maildrop_find(md, uid, &place) != SPOOL_OK && !known->seen[box][number])
			begun += begin_import(admin, &list[begun], box, number, &len[begun]);
	}
	commit_all(list, len, begun);
	maildrop_close(&md);
	free(known);
}
