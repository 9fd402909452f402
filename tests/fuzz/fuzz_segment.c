/*
 * fuzz_segment - a spool of which one segment is damaged, opened, checked, mended and reindexed.
 *
 * The first octet of the input says what the index knows of the segment and what is done with the
 * spool; the rest is what becomes of a segment that was whole (enum change).  Another segment stays
 * whole.
 *
 * What must hold: recovery and reindex enter what a plain reading of docs/spool.md believes, and
 * nothing else; an entry stays until it is removed by somebody; a login sees all of a mailbox
 * or is refused; a record that is not whole is never read as if it were; check names each one that is
 * not, and its repair leaves nothing to be repaired; a segment's messages are extracted as they are.
 */
#include "spool/check.h"
#include "spool/extract.h"
#include "spool/maildrop.h"
#include "spool/reindex.h"
#include "tests/fuzz/quiet_log.h"
#include "tests/fuzz/segment_spool.h"

/* --- what must be so ------------------------------------------------------ */

static int
compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->message != y->message)
		return x->message < y->message ? -1 : 1;
	return (x->mailbox > y->mailbox) - (x->mailbox < y->mailbox);
}

/* The entries in the index are these. */
static void
require_rows(struct spool *sp, struct rows *rows)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row;
	size_t n = 0;

	qsort(rows->list, rows->n, sizeof(*rows->list), compare_rows);
	REQUIRE(index_read_begin(sp, INDEX_MAIN, &c) == SPOOL_OK);
	stmt =
	    index_stmt(c, "SELECT message, mailbox, octets FROM entry ORDER BY message, mailbox");
	while (index_step(c, stmt, &row) == SPOOL_OK && row) {
		REQUIRE(n < rows->n);
		REQUIRE(rows->list[n].message == (uint64_t)sqlite3_column_int64(stmt, 0));
		REQUIRE(rows->list[n].mailbox == (uint64_t)sqlite3_column_int64(stmt, 1));
		REQUIRE(rows->list[n].octets == (uint64_t)sqlite3_column_int64(stmt, 2));
		n++;
	}
	REQUIRE(n == rows->n);
	index_read_end(sp, &c);
}

/* Only those of the mailboxes from 1 to `last`, but 3 where `was` is not to come back. */
static void
only_mailboxes(struct rows *rows, uint64_t last, bool was)
{
	size_t kept = 0;

	for (size_t i = 0; i < rows->n; i++) {
		uint64_t mailbox = rows->list[i].mailbox;

		if (mailbox >= 1 && mailbox <= last && (was || mailbox != LAST_ID))
			rows->list[kept++] = rows->list[i];
	}
	rows->n = kept;
}

static bool
is_whole(const struct row *row)
{
	const struct image *im = message_segment(row->message) == NUMBER ? &image : &other;
	struct rows found = { .n = 0 };
	struct segment_id of;

	if (message_block(row->message) * RECORD_BLOCK >= im->len || !read_header(im, &of) ||
	    of.number != message_segment(row->message))
		return false;
	read_record(im, &of, message_block(row->message), &found);
	for (size_t i = 0; i < found.n; i++)
		if (found.list[i].mailbox == row->mailbox)
			return found.list[i].octets == row->octets;
	return false;
}

enum login { LOGIN_ANY, LOGIN_OK, LOGIN_REFUSED };

/* A login: all is there, or nobody is let in.  Each message that is whole is read, and no other. */
static void
look_at(struct spool *sp, uint64_t mailbox, const struct rows *rows, enum login want)
{
	struct maildrop_message *message;
	struct maildrop *md;
	enum spool_status st;
	size_t n = 0;

	REQUIRE(maildrop_view(sp, mailbox, &md) == SPOOL_OK);
	st = maildrop_load(md);
	REQUIRE(want == LOGIN_ANY || (st == SPOOL_OK) == (want == LOGIN_OK));
	for (size_t i = 0; i < rows->n; i++)
		n += rows->list[i].mailbox == mailbox;
	REQUIRE(st != SPOOL_OK || maildrop_count(md) == n);
	for (size_t i = 0; st == SPOOL_OK && i < rows->n; i++) {
		char uid[MAILDROP_UID_MAX + 1];
		enum spool_status read;
		size_t place;

		if (rows->list[i].mailbox != mailbox)
			continue;
		spool_uid_format(uid, rows->list[i].message);
		if (maildrop_find(md, uid, &place) != SPOOL_OK)
			continue; /* it has another UID */
		read = maildrop_open_message(md, place, true, &message);
		if (read == SPOOL_OK)
			read = maildrop_verify(message);
		REQUIRE((read == SPOOL_OK) == is_whole(&rows->list[i]));
		maildrop_close_message(&message);
	}
	maildrop_close(&md);
}

static void
note_finding(void *arg, const struct check_finding *f)
{
	REQUIRE(f->what[0] != '\0');
	strbuf_addf(arg, "%s\n", f->uid != NULL ? f->uid : "-");
}

static void
check(struct spool *sp, bool repair, struct check_result *r, struct strbuf *uids)
{
	const struct check_options options = {
		.repair = repair, .each = note_finding, .arg = uids
	};

	strbuf_clear(uids);
	strbuf_addstr(uids, "");
	REQUIRE(check_spool(sp, &options, r) == SPOOL_OK);
}

/* The entries that the index has before anybody recovers. */
static void
read_known(unsigned indexed, struct rows *rows_r)
{
	rows_r->n = 0;
	for (size_t i = 0; i < known.n && indexed != INDEXED_NOT; i++)
		if (indexed != INDEXED_HALF || message_block(known.list[i].message) < half_mark)
			rows_r->list[rows_r->n++] = known.list[i];
}

/* The entries that recovery leaves, and those that were there. */
static void
read_entries(unsigned indexed, struct rows *rows_r)
{
	struct reading in = { .messages = 0 };

	read_known(indexed, &in.rows);
	if (indexed == INDEXED_HALF || indexed == INDEXED_NOT)
		read_segment(&image, NUMBER, indexed == INDEXED_HALF ? half_mark : 1, &in);
	read_segment(&other, OTHER, 1, &in);
	only_mailboxes(&in.rows, 2, false);
	*rows_r = in.rows;
}

/* A repair, or a reindex, writes the header anew where a record says what it was that no mail can
 * hold: the first one, or one that the index has. */
static void
mend_header(const struct rows *rows)
{
	struct segment_id of, proved;

	if (image.len < SEGMENT_HEADER_LEN || ref_segment_header(image.octets) == SPOOL_VERSION ||
	    (read_header(&image, &of) && of.number == NUMBER) ||
	    !prove_header(&image, NUMBER, rows, &proved))
		return;
	memset(image.octets, 0, RECORD_BLOCK);
	segment_header_encode(image.octets, &proved);
}

/* The file ends before what the index knows of it does: both mailboxes have mail there. */
static bool
is_short(unsigned indexed)
{
	uint64_t mark = indexed == INDEXED_NOT    ? 1
	                : indexed == INDEXED_HALF ? half_mark
	                                          : whole.len / RECORD_BLOCK;

	return mark > 1 && (mark - 1) * RECORD_BLOCK >= image.len;
}

static void
try_login(const struct rows *rows, enum login want)
{
	struct spool *sp = open_spool(SPOOL_POP3D);

	look_at(sp, 1, rows, want);
	look_at(sp, 2, rows, want);
	spool_close(&sp);
}

/* Check names what is not whole, and mends it; `forged`: some records are right and say what
 * nobody can mend. */
static void
try_check(unsigned indexed, struct rows *rows, bool forged)
{
	struct spool *sp = open_spool(SPOOL_ADMIN);
	size_t wrong = 0, kept = 0;
	struct check_result r;
	struct segment_id of;
	struct strbuf uids;
	bool same = image.len == whole.len && memcmp(image.octets, whole.octets, whole.len) == 0;
	bool stray;

	require_rows(sp, rows);
	strbuf_init(&uids, 1 << 20);
	check(sp, false, &r, &uids);
	mend_header(rows);
	/* Such a file is in no index, and nobody can say what is in it. */
	stray = !read_header(&image, &of) || of.number != NUMBER;
	for (size_t i = 0; i < rows->n; i++) {
		char uid[SPOOL_UID_LEN + 1];

		if (is_whole(&rows->list[i]))
			continue;
		wrong++;
		spool_uid_format(uid, rows->list[i].message);
		/* But for those that have a UID of their own. */
		REQUIRE(strstr(uids.buf, uid) != NULL || strstr(uids.buf, "U1") != NULL || forged);
	}
	REQUIRE(r.wrong >= wrong && r.set_apart == 0 && r.mended == 0);
	REQUIRE(r.wrong == 0 || !same);
	check(sp, true, &r, &uids);
	REQUIRE(r.set_apart == wrong || forged);
	check(sp, true, &r, &uids);
	REQUIRE(r.mended == 0 && (r.wrong <= stray || forged));
	strbuf_release(&uids);
	spool_close(&sp);
	/* With its header back what lies beyond the mark was recovered too. */
	read_entries(indexed, rows);
	for (size_t i = 0; i < rows->n; i++)
		if (is_whole(&rows->list[i]))
			rows->list[kept++] = rows->list[i];
	rows->n = kept;
	if (!forged)
		try_login(rows, LOGIN_OK);
}

static void
try_reindex(unsigned indexed, bool alone, bool forged)
{
	struct reading in = { .rows = { .n = 0 } };
	struct rows old;
	struct reindex_result r;
	struct check_result checked;
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1 << 20);
	REQUIRE(reindex_spool(path_of(""), NULL, NULL, &r, &err) == SPOOL_OK);
	REQUIRE(r.accounts == !alone);
	read_known(alone ? INDEXED_NOT : indexed, &old);
	mend_header(&old);
	read_segment(&image, NUMBER, 1, &in);
	read_segment(&other, OTHER, 1, &in);
	only_mailboxes(&in.rows, INT64_MAX, alone);
	REQUIRE(r.unread == in.unread && r.unreadable <= 1);
	REQUIRE(r.entries == in.rows.n);
	sp = open_spool(SPOOL_ADMIN);
	require_rows(sp, &in.rows);
	look_at(sp, 1, &in.rows, alone ? LOGIN_ANY : LOGIN_OK);
	check(sp, false, &checked, &err);
	/* A file without its header is told. */
	REQUIRE(checked.wrong <= r.unreadable || forged);
	spool_close(&sp);
	strbuf_release(&err);
}

static void
try_extract(void)
{
	struct reading in = { .messages = 0 };
	struct extract_message m;
	struct segment_id of;
	enum spool_status st;
	struct extract *x;
	struct strbuf err;
	uint64_t n = 0;

	strbuf_init(&err, 1000);
	st = extract_open(segment_path(NUMBER), &x, &err);
	REQUIRE((st == SPOOL_OK) == (image.len > RECORD_BLOCK));
	if (st == SPOOL_OK) {
		const struct rows none = { .n = 0 };
		bool has_header = read_header(&image, &of) || prove_header(&image, 0, &none, &of);

		REQUIRE(extract_without_header(x) == !has_header);
		while ((st = extract_next(x, &m)) == SPOOL_OK) {
			REQUIRE(m.wire_offset + m.wire_len <= image.len);
			n++;
		}
		REQUIRE(st == SPOOL_NO_MESSAGE);
		if (has_header) {
			read_records(&image, &of, 1, &in);
			REQUIRE(n == in.messages && extract_unread(x) == in.unread);
		}
		extract_close(&x);
	}
	strbuf_release(&err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	unsigned mode = (unsigned)take(&in, 1);
	bool forged = false;
	struct rows rows;

	image = whole;
	while (in.p < in.end)
		forged = change(&in, &image, &id) || forged;
	if ((mode & INDEXED) == INDEXED_GONE)
		image.len = 0;
	lay(mode);
	if ((mode & INDEXED) != INDEXED_GONE)
		try_extract();
	read_entries(mode & INDEXED, &rows);
	switch (mode & DONE) {
	case DONE_LOGIN:
		try_login(&rows, is_short(mode & INDEXED) ? LOGIN_REFUSED : LOGIN_ANY);
		break;
	case DONE_CHECK:
		try_check(mode & INDEXED, &rows, forged);
		break;
	default:
		try_reindex(mode & INDEXED, (mode & DONE) == DONE_REINDEX_ALONE, forged);
		break;
	}
	return 0;
}
