/*
 * importer - from a reader's octets to a delivery.
 *
 * The beginning of a message is gathered until HEAD_MAX octets or all of it are there: then its
 * reverse-path and its date are known, the trace fields that it lacks are written, and everything
 * goes through mail/dot.h into wire form: into a hash, and into a delivery where the first reading
 * has found that the message is to be brought.  At its end its UID is known.
 */
#include "importer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "head.h"
#include "importer_internal.h"
#include "mail/date.h"
#include "mail/dot.h"
#include "spool/import.h"

/* Sentences about what was refused. */
#define REFUSALS_MAX (64u * 1024)
#define REFUSALS 100

struct importer {
	struct importer_options o;
	uint64_t now_s;
	struct known known;
	struct pipe *pipe; /* owned */
	bool bring;        /* this reading is the second */
	enum spool_status status;
	struct importer_count count;
	uint8_t *plan; /* owned: for each message, by its place, 1 where it is to be brought */
	size_t planned, plan_cap;
	size_t place; /* of the message at hand, from 1 on */
	size_t met;   /* in the first reading */
	struct strbuf refusals;

	/* The message at hand. */
	char name[256]; /* for sentences, and for the list */
	bool named;
	char sender[ADDRESS_MAX + 1]; /* of its From_ line; "" is none that can be used */
	uint64_t number, time_s, file_s;
	char *head; /* owned: HEAD_MAX octets */
	size_t head_len;
	bool headed; /* head_info is known */
	struct head info;
	struct dot dot;
	struct sha256 hash;
	uint8_t digest[SHA256_LEN]; /* of all of it, at its end */
	uint64_t trace;             /* octets of the Received: that we wrote */
	struct delivery *delivery;  /* owned; NULL while it is only looked at */
};

/* --- life ----------------------------------------------------------------- */

enum spool_status
importer_new(const struct importer_options *o, struct importer **im_r)
{
	struct importer *im = mem_array(1, sizeof(*im));
	enum spool_status st;

	*im_r = im;
	if (im == NULL)
		return SPOOL_NO_MEMORY;
	im->o = *o;
	im->now_s = clock_wall_ms() / 1000;
	strbuf_init(&im->refusals, REFUSALS_MAX);
	st = known_init(&im->known, o->spool, o->user->mailbox, o->md);
	im->pipe = pipe_new();
	im->head = malloc(HEAD_MAX);
	if (st == SPOOL_OK && (im->pipe == NULL || im->head == NULL))
		st = SPOOL_NO_MEMORY;
	if (st != SPOOL_OK)
		importer_free(im_r);
	return st;
}

void
importer_free(struct importer **imp)
{
	struct importer *im = *imp;

	if (im == NULL)
		return;
	delivery_abandon(&im->delivery);
	if (im->pipe != NULL)
		pipe_drain(im->pipe);
	pipe_free(&im->pipe);
	known_release(&im->known);
	strbuf_release(&im->refusals);
	free(im->head);
	free(im->plan);
	mem_free(imp);
}

void
importer_begin(struct importer *im, bool bring)
{
	im->bring = bring;
	im->met = bring ? im->place : 0;
	im->place = 0;
	progress_next(im->o.progress, bring ? "importing" : "reading what is to be imported");
	im->count = (struct importer_count){ .messages = 0 };
	strbuf_clear(&im->refusals);
}

const struct importer_count *
importer_counts(const struct importer *im)
{
	return &im->count;
}

const char *
importer_refusals(const struct importer *im)
{
	return im->refusals.buf;
}

static int
stop(struct importer *im, enum spool_status st)
{
	if (im->status == SPOOL_OK)
		im->status = st;
	return IMPORTER_STOPPED;
}

/* This one message is not taken. */
static int
refuse(struct importer *im, const char *why, const char *what)
{
	/* A name of somebody's making is no order to a terminal. */
	for (char *p = im->name; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (im->count.refused++ < REFUSALS)
		strbuf_addf(&im->refusals, "%s%s%s%s\n", im->name, why, what != NULL ? " " : "",
		    what != NULL ? what : "");
	delivery_abandon(&im->delivery);
	return 0;
}

/* --- a message's beginning ------------------------------------------------ */

static int
begin(void *arg, const struct source_message *m)
{
	struct importer *im = arg;
	char path[ADDRESS_MAX + 3];
	struct address a;
	size_t used;

	progress_set(im->o.progress, im->place, im->met);
	im->place++;
	im->named = m->name != NULL;
	if (im->named)
		snprintf(im->name, sizeof(im->name), "%s", m->name);
	else
		snprintf(im->name, sizeof(im->name), "message %" PRIu64, m->number);
	im->sender[0] = '\0';
	if (m->sender != NULL && strchr(m->sender, '@') != NULL &&
	    snprintf(path, sizeof(path), "<%s>", m->sender) < (int)sizeof(path) &&
	    address_parse_path(path, strlen(path), 0, &a, &used) == 0 && path[used] == '\0')
		memcpy(im->sender, a.text, sizeof(a.text));
	im->number = m->number;
	im->time_s = m->time_s;
	im->file_s = m->file_s;
	im->head_len = 0;
	im->headed = false;
	im->trace = 0;
	dot_init(&im->dot);
	sha256_init(&im->hash);
	return 0;
}

/* When it was received there, as far as that can be told; never later than now. */
static uint64_t
received_s(const struct importer *im)
{
	uint64_t s = im->time_s != 0 ? im->time_s : im->info.time_s;

	if (s == 0)
		s = im->file_s;
	return s == 0 || s > im->now_s ? im->now_s : s;
}

static const char *
reverse_path(const struct importer *im)
{
	return im->info.has_reverse_path ? im->info.reverse_path : im->sender;
}

static const char *
written(const struct importer *im)
{
	return im->info.has_written ? im->info.written : im->o.user->address;
}

/* Wire form, on its way to where it is wanted.  Our own Received: is not hashed: its text is this
 * site's. */
static int
emit(void *arg, const void *buf, size_t len)
{
	struct importer *im = arg;
	enum spool_status st = SPOOL_OK;

	sha256_add(&im->hash, buf, len);
	if (im->delivery != NULL && im->dot.octets <= IMPORTER_MESSAGE_MAX)
		st = delivery_write(im->delivery, buf, len);
	return st == SPOOL_OK ? 0 : stop(im, st);
}

/* What RETR shows begins with Return-Path:, Delivered-To: and Received:, in this order. */
static int
write_received(struct importer *im)
{
	char field[ADDRESS_DOMAIN_MAX + DATE_MAX + 64], date[DATE_MAX];
	enum spool_status st = SPOOL_OK;
	int n;

	if (im->info.received)
		return 0;
	n = snprintf(field, sizeof(field), "Received: by %s (imported);\r\n\t%s\r\n",
	    im->o.hostname, date_format(date, received_s(im)));
	im->trace = (uint64_t)n;
	if (im->delivery != NULL)
		st = delivery_write(im->delivery, field, (size_t)n);
	return st == SPOOL_OK ? 0 : stop(im, st);
}

static int
take_head(struct importer *im)
{
	char address[ACCOUNT_ADDRESS_MAX];
	struct account_target to = { .mailbox = im->o.user->mailbox, .address = address };
	enum spool_status st;
	int rc;

	im->headed = true;
	head_parse(im->head, im->head_len, &im->info);
	if (im->bring && im->place <= im->planned && im->plan[im->place - 1] != 0) {
		memcpy(address, im->o.user->address, sizeof(address));
		st = import_begin(im->o.spool, &to, reverse_path(im), written(im), &im->delivery);
		if (st != SPOOL_OK)
			return stop(im, st);
	}
	rc = write_received(im);
	if (rc == 0)
		rc = dot_stuff(
		    &im->dot, im->head + im->info.skip, im->head_len - im->info.skip, emit, im);
	return rc;
}

static int
octets(void *arg, const void *buf, size_t len)
{
	struct importer *im = arg;
	size_t n = HEAD_MAX - im->head_len < len ? HEAD_MAX - im->head_len : len;
	int rc = 0;

	if (!im->headed) {
		memcpy(im->head + im->head_len, buf, n);
		im->head_len += n;
		if (im->head_len == HEAD_MAX)
			rc = take_head(im);
	} else {
		n = 0;
	}
	if (rc == 0 && im->headed && len > n)
		rc = dot_stuff(&im->dot, (const char *)buf + n, len - n, emit, im);
	return rc;
}

/* --- its end -------------------------------------------------------------- */

/* Of its octets, and of how many of the same came before it.  -1: no memory. */
static int
make_uid(struct importer *im, char uid[MAILDROP_UID_MAX + 1])
{
	uint8_t digest[SHA256_LEN], place[8];
	int64_t before;

	before = known_count(&im->known, im->digest, im->bring);
	if (before < 0)
		return -1;
	for (unsigned i = 0; i < sizeof(place); i++)
		place[i] = (uint8_t)((uint64_t)before >> (8 * i));
	sha256_init(&im->hash);
	sha256_add(&im->hash, im->digest, sizeof(im->digest));
	sha256_add(&im->hash, place, sizeof(place));
	sha256_end(&im->hash, digest);
	/* 128 bits; the letter keeps it apart from ids. */
	uid[0] = 'i';
	num_format_hex(uid + 1, digest, 16);
	return 0;
}

static int
take_message(struct importer *im, const char *uid, uint64_t counted)
{
	enum spool_status st;

	if (!im->bring) {
		im->count.messages++;
		im->count.octets += counted;
		if (mem_grow(&im->plan, &im->plan_cap, im->place, sizeof(*im->plan)) != 0)
			return stop(im, SPOOL_NO_MEMORY);
		im->plan[im->place - 1] = 1;
		im->planned = im->place;
		return 0;
	}
	if (im->delivery == NULL)
		return refuse(im, ": came while the others were read: run it again", NULL);
	import_set(im->delivery, received_s(im) * 1000, uid);
	pipe_put(im->pipe, im->delivery, im->trace + im->dot.octets, counted);
	im->delivery = NULL;
	st = pipe_status(im->pipe);
	return st == SPOOL_OK ? 0 : stop(im, st);
}

/* Whether the message at this place in the maildrop has the same octets behind what we put before
 * them.  What cannot be read is taken for another: it is never left out for that. */
static bool
is_same(struct importer *im, size_t place)
{
	struct maildrop_message *m = NULL;
	uint8_t digest[SHA256_LEN];
	char block[16 * 1024];
	struct sha256 hash;
	ssize_t n = 0;

	if (maildrop_open_message(im->o.md, place, true, &m) != SPOOL_OK)
		return false;
	sha256_init(&hash);
	/* Without the final ".CRLF". */
	for (uint64_t at = im->trace, to = m->wire_len - 3; at < to; at += (uint64_t)n) {
		size_t want = to - at < sizeof(block) ? (size_t)(to - at) : sizeof(block);

		n = pread(m->fd, block, want, (off_t)(m->wire_offset + at));
		if (n <= 0)
			break;
		sha256_add(&hash, block, (size_t)n);
	}
	sha256_end(&hash, digest);
	maildrop_close_message(&m);
	return memcmp(digest, im->digest, sizeof(digest)) == 0;
}

static int
judge(struct importer *im, const char *uid, bool hashed)
{
	uint64_t counted =
	    im->trace + im->dot.octets + import_own_octets(reverse_path(im), written(im));
	size_t place = 0;

	switch (known_judge(&im->known, uid, hashed, counted, im->bring, &place)) {
	case KNOWN_NEW:
		return take_message(im, uid, counted);
	case KNOWN_THERE:
		if (!hashed && place > 0 && !is_same(im, place - 1))
			break;
		im->count.known++;
		delivery_abandon(&im->delivery);
		return 0;
	case KNOWN_OTHER:
		break;
	case KNOWN_NO_MEMORY:
		return stop(im, SPOOL_NO_MEMORY);
	}
	return refuse(im, ": other mail has its UID,", uid);
}

static int
end(void *arg)
{
	struct importer *im = arg;
	char uid[MAILDROP_UID_MAX + 1];
	const char *listed = NULL;
	int rc = 0;

	if (!im->headed)
		rc = take_head(im);
	if (rc == 0)
		rc = dot_stuff_end(&im->dot, emit, im);
	if (rc != 0)
		return rc;
	if (im->dot.octets > IMPORTER_MESSAGE_MAX)
		return refuse(im, ": is larger than 2G", NULL);
	sha256_end(&im->hash, im->digest);
	if (im->o.uids != NULL)
		listed = uidlist_find(im->o.uids, im->named ? im->name : NULL, im->number);
	if (listed == NULL && make_uid(im, uid) != 0)
		return stop(im, SPOOL_NO_MEMORY);
	return judge(im, listed != NULL ? listed : uid, listed == NULL);
}

struct source_sink
importer_sink(struct importer *im)
{
	return (struct source_sink){ .begin = begin, .octets = octets, .end = end, .arg = im };
}

enum spool_status
importer_finish(struct importer *im)
{
	delivery_abandon(&im->delivery);
	if (!im->bring)
		return im->status;
	pipe_drain(im->pipe);
	im->count.messages = pipe_messages(im->pipe);
	im->count.octets = pipe_octets(im->pipe);
	if (im->status == SPOOL_OK)
		im->status = pipe_status(im->pipe);
	return im->status;
}
