/*
 * verify - see verify.h.
 *
 * Three rounds: a login at once, while the spool is being recovered; both daemons once they are
 * ready, with mail that comes in and a round of upkeep; and an administrator, who is warned for and
 * checks the whole store.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/spool/index.h"
#include "common/spool/record.h"
#include "common/spool/recover.h"
#include "common/spool/secrets.h"
#include "common/spool/segment.h"
#include "common/spool/spool_internal.h"
#include "common/spool/warn.h"
#include "common/spool/warn_internal.h"
#include "load.h"
#include "spool/check.h"
#include "verify_internal.h"

/* Longer than the clock of any test. */
#define KEEP_S (10 * 365 * UINT64_C(86400))

void
verify_wrong(struct verdict *v, const char *format, ...)
{
	va_list args;

	if (v->len + 200 > v->size)
		return;
	v->len += (size_t)snprintf(v->why + v->len, v->size - v->len, "\n    %s: ", v->when);
	va_start(args, format);
	v->len += (size_t)vsnprintf(v->why + v->len, v->size - v->len, format, args);
	va_end(args);
	if (v->len >= v->size)
		v->len = v->size - 1;
}

/* --- one mailbox ---------------------------------------------------------- */

static void
check_uid(struct verdict *v, unsigned box, uint32_t number, const char *text)
{
	uint64_t uid;

	if (!load_uid(text, &uid)) {
		verify_wrong(v, "mailbox %u: UID %s", box, text);
		return;
	}
	if (number != EVENT_WARNING && v->facts.uid[number] != 0) {
		if (v->facts.uid[number] != uid)
			verify_wrong(v, "message %u was %016" PRIx64 " and is now %s", number,
			    v->facts.uid[number], text);
		return;
	}
	for (uint32_t i = 0; i < MESSAGES; i++)
		if (v->facts.uid[i] == uid)
			verify_wrong(v, "%s is given to message %u and was %u's", text, number, i);
	if (number == EVENT_WARNING)
		return;
	for (size_t i = 0; i < v->facts.nwarnings; i++)
		if (v->facts.warning_uids[i] == uid)
			verify_wrong(
			    v, "%s is given to message %u and was a warning's", text, number);
	v->facts.uid[number] = uid;
}

/* All of its octets. */
static void
check_octets(struct verdict *v, unsigned box, struct maildrop *md, size_t i, uint32_t number,
    size_t len)
{
	static char *buf;
	static size_t cap;
	struct maildrop_message *m;
	char address[64];

	if (maildrop_open_message(md, i, true, &m) != SPOOL_OK) {
		verify_wrong(v, "mailbox %u, message %u cannot be read", box, number);
		return;
	}
	if (m->wire_len > cap) {
		cap = m->wire_len;
		free(buf);
		buf = malloc(cap);
		if (buf == NULL)
			die("no memory");
	}
	load_address(address, box);
	if (pread(m->fd, buf, m->wire_len, (off_t)m->wire_offset) != (ssize_t)m->wire_len ||
	    m->wire_len != len + 3 || memcmp(buf, load_message(number, len), len) != 0 ||
	    memcmp(buf + len, ".\r\n", 3) != 0 ||
	    maildrop_octets(md, i) != len + record_prefix_len(LOAD_SENDER, address))
		verify_wrong(v, "mailbox %u, message %u is not what was sent", box, number);
	maildrop_close_message(&m);
}

static void
check_list(struct verdict *v, unsigned box, struct maildrop *md)
{
	unsigned warnings = 0;
	char uid[MAILDROP_UID_MAX + 1];

	memset(v->count[box], 0, sizeof(v->count[box]));
	for (size_t i = 0; i < maildrop_count(md); i++) {
		size_t len;
		uint32_t number = load_number(md, i, &len);

		maildrop_uid(md, i, uid);
		if (number == EVENT_WARNING) {
			warnings++;
			check_uid(v, box, number, uid);
		} else if (number == 0 || number >= MESSAGES || len < 100 || len > 1000000) {
			verify_wrong(v, "mailbox %u: %s is torn", box, uid);
		} else {
			v->count[box][number]++;
			check_uid(v, box, number, uid);
			check_octets(v, box, md, i, number, len);
		}
	}
	for (unsigned i = 0; i < MESSAGES; i++) {
		uint8_t where = v->facts.where[box][i];
		unsigned count = v->count[box][i];

		if (count > 1)
			verify_wrong(v, "message %u is in mailbox %u %u times", i, box, count);
		if (count > 0 && (where & MAY_BE_IN) == 0)
			verify_wrong(v, "message %u is in mailbox %u, and was %s", i, box,
			    where == 0 ? "never sent there" : "refused or deleted");
		if (count == 0 && where == MAY_BE_IN)
			verify_wrong(v, "message %u is lost from mailbox %u", i, box);
	}
	if (warnings > 1)
		verify_wrong(v, "mailbox %u was warned %u times", box, warnings);
	if (warnings < v->facts.box[box].warnings)
		verify_wrong(v, "a warning is lost from mailbox %u", box);
}

static void
check_password(struct verdict *v, struct spool *sp, unsigned box)
{
	struct secret secret;

	if (secrets_read(sp, box, &secret) != SPOOL_OK || !secret.found)
		verify_wrong(v, "mailbox %u has no password", box);
	else if (!v->facts.box[box].password_open &&
		 strcmp(secret.hash, v->facts.box[box].password) != 0)
		verify_wrong(v, "mailbox %u has another password than was set", box);
}

static void
check_quota(struct verdict *v, struct spool *sp, unsigned box)
{
	struct account_user user;
	struct address address;
	char text[64];

	if (v->facts.box[box].quota == 0)
		return;
	load_address(text, box);
	if (address_parse(text, &address) != 0 ||
	    account_user_find(sp, &address, &user) != SPOOL_OK ||
	    user.quota != v->facts.box[box].quota)
		verify_wrong(v, "mailbox %u has another quota than was set", box);
}

/* Logs in to a mailbox; before the spool is ready nothing need be shown. */
static void
check_box(struct verdict *v, struct spool *sp, unsigned box, bool ready)
{
	uint8_t where = v->facts.box[box].where;
	enum spool_status st;
	struct maildrop *md;

	st = maildrop_lock(sp, box, "verify", &md);
	if (st == SPOOL_OK)
		st = maildrop_load(md);
	if (st == SPOOL_NOT_READY && !ready) {
		maildrop_close(&md);
		return;
	}
	v->there[box] = st == SPOOL_OK;
	if (st == SPOOL_OK && (where & MAY_BE_IN) == 0)
		verify_wrong(v, "mailbox %u is there", box);
	else if (st == SPOOL_NO_MAILBOX && where == MAY_BE_IN)
		verify_wrong(v, "mailbox %u is lost", box);
	else if (st != SPOOL_OK && st != SPOOL_NO_MAILBOX)
		verify_wrong(v, "login to mailbox %u: %s", box, spool_status_text(st));
	if (st == SPOOL_OK) {
		check_list(v, box, md);
		check_password(v, sp, box);
		check_quota(v, sp, box);
	}
	maildrop_close(&md);
}

/* A message that nobody has heard of is everywhere or nowhere. */
static void
check_whole(struct verdict *v)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		unsigned boxes = 0, in = 0;
		bool open = v->facts.uid[i] == 0;

		for (unsigned box = 1; box < BOXES; box++) {
			boxes += v->facts.where[box][i] != 0;
			in += v->count[box][i] > 0;
			open = open && (v->facts.where[box][i] == 0 ||
					   v->facts.where[box][i] == (MAY_BE_IN | MAY_BE_OUT));
		}
		if (open && in != 0 && in != boxes)
			verify_wrong(v, "message %u is in %u of its %u mailboxes", i, in, boxes);
	}
}

void
verify_boxes(struct verdict *v, struct spool *sp, bool ready)
{
	for (unsigned box = 1; box < BOXES; box++)
		if (v->facts.box[box].where != 0)
			check_box(v, sp, box, ready);
}

/* --- the whole ------------------------------------------------------------ */

/* What an administrator could bring back is whole too. */
static void
check_kept(struct verdict *v, struct spool *sp)
{
	struct index_conn *c;
	enum spool_status st = index_read_begin(sp, INDEX_MAIN, &c);
	sqlite3_stmt *stmt;
	bool row;

	if (st != SPOOL_OK) {
		verify_wrong(v, "the index cannot be read");
		return;
	}
	stmt = index_stmt(c, "SELECT message FROM entry WHERE state = 1");
	while (index_step(c, stmt, &row) == SPOOL_OK && row) {
		uint64_t message = (uint64_t)sqlite3_column_int64(stmt, 0);
		struct record_envelope e;
		struct segment_file *f;
		struct record r;

		if (segment_find(sp, message, true, &f, &r) != SPOOL_OK) {
			verify_wrong(v, "%016" PRIx64 ", deleted and kept, is lost", message);
			continue;
		}
		if (recover_read(f->fd, &f->id, r.block, &r, &e) != SPOOL_OK)
			verify_wrong(v, "%016" PRIx64 ", deleted and kept, is torn", message);
		else
			record_envelope_release(&e);
		segment_put(sp, &f);
	}
	index_read_end(sp, &c);
}

static void
check_sums(struct verdict *v, struct spool *sp)
{
	static const char *const sums[] = {
		"SELECT id FROM mailbox AS m WHERE used <> (SELECT coalesce(sum(octets), 0)"
		" FROM entry WHERE mailbox = m.id AND state = 0)",
		"SELECT id FROM mailbox AS m WHERE messages <> (SELECT count(*)"
		" FROM entry WHERE mailbox = m.id AND state = 0)",
		"SELECT message FROM entry WHERE mailbox NOT IN (SELECT id FROM mailbox)",
	};
	struct index_conn *c;
	bool row;

	if (index_read_begin(sp, INDEX_MAIN, &c) != SPOOL_OK) {
		verify_wrong(v, "the index cannot be read");
		return;
	}
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
		if (index_step(c, index_stmt(c, sums[i]), &row) != SPOOL_OK || row)
			verify_wrong(v, "sums: %s", sums[i]);
	index_read_end(sp, &c);
}

static void
on_finding(void *arg, const struct check_finding *f)
{
	verify_wrong(arg, "check: %s %s: %s", f->address != NULL ? f->address : "-",
	    f->uid != NULL ? f->uid : "-", f->what);
}

static void
administrate(struct verdict *v, const char *dir)
{
	struct spool *sp = load_open(dir, SPOOL_ADMIN, KEEP_S);
	struct check_result result;

	v->when = "admin";
	load_set_warning(sp);
	sp->warner->next_look_ms = 0;
	if (warn_round(sp) != SPOOL_OK)
		verify_wrong(v, "nobody can be warned");
	if (v->facts.unrepaired)
		load_mend(sp);
	verify_boxes(v, sp, true);
	check_kept(v, sp);
	check_sums(v, sp);
	if (check_run(sp, on_finding, v, &result) != SPOOL_OK)
		verify_wrong(v, "the store cannot be checked");
	spool_close(&sp);
}

/* Mail goes on coming. */
static void
deliver(struct verdict *v, struct spool *smtpd, unsigned fresh, bool large)
{
	uint32_t boxes = 0;

	for (unsigned box = 1; box <= 3; box++)
		if (v->there[box])
			boxes |= 1u << box;
	if (boxes == 0)
		return;
	load_next = fresh;
	for (unsigned i = 0; i < (large ? 2 : 1); i++) {
		for (unsigned box = 1; box <= 3; box++)
			if (v->there[box])
				v->facts.where[box][fresh + i] = MAY_BE_IN;
		if (!load_send(smtpd, i == 0 ? 900 : 270000, boxes))
			verify_wrong(v, "no mail is taken");
	}
}

/* While the index is half made everybody is put off; then an administrator makes it. */
static void
reindex(struct verdict *v, const char *dir)
{
	struct spool *sp = load_open(dir, SPOOL_POP3D, KEEP_S);
	struct maildrop *md;
	enum spool_status st;

	v->when = "half reindexed";
	if (!v->facts.reindexing)
		verify_wrong(v, "the index is being made by nobody");
	spool_wait_ready(sp);
	for (unsigned box = 1; box < BOXES; box++) {
		st = maildrop_lock(sp, box, "verify", &md);
		if (st == SPOOL_OK)
			st = maildrop_load(md);
		if (st != SPOOL_NOT_READY)
			verify_wrong(v, "login to mailbox %u: %s", box, spool_status_text(st));
		maildrop_close(&md);
	}
	spool_close(&sp);
	load_reindex(dir);
}

/* Both are ready: one that is not may have no index, and keeps no house. */
static void
use(struct verdict *v, struct spool *smtpd, struct spool *pop3d, const struct verify_how *how)
{
	verify_boxes(v, pop3d, true);
	check_whole(v);
	v->when = "afterwards";
	deliver(v, smtpd, how->fresh, how->large);
	if (spool_upkeep(smtpd) != SPOOL_OK)
		verify_wrong(v, "upkeep fails");
	verify_boxes(v, pop3d, true);
}

bool
verify(const char *dir, const struct facts *facts, const struct verify_how *how, char *why,
    size_t size)
{
	static struct verdict v;
	struct spool *first, *second, *smtpd, *pop3d;
	struct strbuf err;

	memset(&v, 0, sizeof(v));
	v.facts = *facts;
	v.why = why;
	v.size = size;
	why[0] = '\0';
	if (load_is_rebuilt(dir))
		reindex(&v, dir);
	v.when = "start";
	strbuf_init(&err, 1024);
	first = load_try_open(dir, how->pop3d_first ? SPOOL_POP3D : SPOOL_SMTPD, KEEP_S, &err);
	if (first == NULL)
		verify_wrong(&v, "%s", err.buf);
	strbuf_release(&err);
	if (first == NULL)
		return false;
	second = load_open(dir, how->pop3d_first ? SPOOL_SMTPD : SPOOL_POP3D, KEEP_S);
	pop3d = how->pop3d_first ? first : second;
	smtpd = how->pop3d_first ? second : first;
	v.when = "at once";
	verify_boxes(&v, pop3d, false);
	v.when = "recovered";
	if (spool_wait_ready(first) == SPOOL_OK && spool_wait_ready(second) == SPOOL_OK)
		use(&v, smtpd, pop3d, how);
	else
		verify_wrong(&v, "recovery fails");
	spool_close(&second);
	spool_close(&first);
	/* What is wrong by now may keep an administrator out. */
	if (v.len > 0)
		return false;
	administrate(&v, dir);
	verify_backup(&v, dir, how->restore);
	return v.len == 0;
}
