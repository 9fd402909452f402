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
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "common/spool/spool_internal.h"
#include "spool/check.h"
#include "spool/extract.h"
#include "spool/maildrop.h"
#include "spool/reindex.h"
#include "tests/fuzz/quiet_log.h"
#include "tests/fuzz/segment_image.h"

enum {
	INDEXED = 0x03, /* what the index knows of the segment */
	INDEXED_ALL = 0,
	INDEXED_HALF = 1, /* it was being written when the power failed */
	INDEXED_NOT = 2,
	INDEXED_GONE = 3, /* all, and the file is gone */
	DONE = 0x0c,
	DONE_LOGIN = 0,
	DONE_CHECK = 4,
	DONE_REINDEX = 8,
	DONE_REINDEX_ALONE = 12, /* without the old index */
};

#define NUMBER UINT64_C(1764000000123)
#define OTHER (NUMBER + 1)
/* joe and ann are there, who was 3 is not any more. */
#define LAST_ID 3u

static const char *const messages[] = { "Subject: one\r\n\r\nfirst\r\n.\r\n",
	"Subject: two\r\n\r\nfor both\r\n.\r\n", NULL, "Subject: four\r\n\r\n.\r\n" };
#define MESSAGES (sizeof(messages) / sizeof(*messages))
#define LONG_LEN 9000 /* of the third */
/* Of these the index knows where it knows half. */
#define HALF 2u

static char dir[64];
static struct image whole, other, image;
static struct segment_id id = { .number = NUMBER, .random = "0123456789abcdef" };
static struct rows known; /* entries of the whole segment, in order */
static uint64_t half_mark;
/* index.db as it is for each of INDEXED_... */
static struct {
	uint8_t *octets; /* owned */
	size_t len;
} indexes[INDEXED_GONE];

/* --- files ---------------------------------------------------------------- */

static const char *
path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/spool/%s", dir, name);
	return path;
}

static const char *
segment_path(uint64_t number)
{
	char name[40];

	snprintf(name, sizeof(name), "segments/%" PRIu64, number);
	return path_of(name);
}

static void
write_file(const char *path, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && write(fd, buf, len) == (ssize_t)len && close(fd) == 0);
}

static uint8_t *
read_file(const char *path, size_t *len_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat file;
	uint8_t *buf;

	REQUIRE(fd >= 0 && fstat(fd, &file) == 0);
	*len_r = (size_t)file.st_size;
	buf = fuzz_room(*len_r);
	REQUIRE(read(fd, buf, *len_r) == (ssize_t)*len_r && close(fd) == 0);
	return buf;
}

/* Removes files, those that an earlier input left. */
static void
empty_folder(const char *name, const char *but)
{
	DIR *folder = opendir(path_of(name));
	struct dirent *file;

	while (folder != NULL && (file = readdir(folder)) != NULL)
		if (file->d_name[0] != '.' && (but == NULL || strcmp(file->d_name, but) != 0))
			REQUIRE(unlinkat(dirfd(folder), file->d_name, 0) == 0);
	if (folder != NULL)
		closedir(folder);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void
remove_spool(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < INDEXED_GONE; i++)
		free(indexes[i].octets);
}

static void
lay(unsigned mode)
{
	unsigned indexed = mode & INDEXED;

	empty_folder("segments", NULL);
	empty_folder("damaged", NULL);
	empty_folder("index", NULL);
	if (indexed != INDEXED_GONE)
		write_file(segment_path(NUMBER), image.octets, image.len);
	write_file(segment_path(OTHER), other.octets, other.len);
	if ((mode & DONE) == DONE_REINDEX_ALONE)
		return;
	if (indexed == INDEXED_GONE)
		indexed = INDEXED_ALL;
	write_file(path_of("index/index.db"), indexes[indexed].octets, indexes[indexed].len);
}

/* --- records -------------------------------------------------------------- */

/* The first is joe's, the second both's, the third ann's, the fourth joe's, with a UID of its own. */
static void
make_segment(void)
{
	static const struct record_recipient joe = { 1, RECORD_NEVER, "joe@x.test", "Joe@x.test",
		NULL };
	static const struct record_recipient ann = { 2, RECORD_NEVER, "ann@x.test", "ann+t@x.test",
		NULL };
	static const struct record_recipient uid = { 1, RECORD_NEVER, "joe@x.test", "joe@x.test",
		"U1" };
	const struct record_recipient lists[MESSAGES][2] = { { joe }, { joe, ann }, { ann },
		{ uid } };
	char text[LONG_LEN];
	uint64_t block = 1;

	begin_segment(&whole, &id);
	memset(text, 'x', sizeof(text));
	memcpy(text + sizeof(text) - 5, "\r\n.\r\n", 5);
	for (size_t i = 0; i < MESSAGES; i++) {
		const char *wire = messages[i] != NULL ? messages[i] : text;
		size_t len = messages[i] != NULL ? strlen(wire) : sizeof(text);
		struct record r = { .received_ms = NUMBER + i, .octets = len - 3 };

		if (i == HALF)
			half_mark = block;
		put_record(
		    &whole, &id, block, "s@example.org", lists[i], i == 1 ? 2 : 1, wire, len, &r);
		block += record_blocks(&r);
	}
	whole.len = block * RECORD_BLOCK;
}

/* --- a spool to begin with ------------------------------------------------ */

static struct spool *
open_spool(enum spool_role role)
{
	const struct spool_options options = { .dir = path_of(""), .role = role };
	struct spool *sp;
	struct strbuf err;

	strbuf_init(&err, 1000);
	REQUIRE(spool_open(&options, &sp, &err) == SPOOL_OK);
	REQUIRE(spool_wait_ready(sp) == SPOOL_OK);
	strbuf_release(&err);
	return sp;
}

static void
change_index(const char *sql)
{
	sqlite3 *db;

	REQUIRE(sqlite3_open(path_of("index/index.db"), &db) == SQLITE_OK);
	REQUIRE(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
	REQUIRE(sqlite3_close(db) == SQLITE_OK);
}

static void
keep_index(unsigned indexed)
{
	/* What is in its log comes into the file. */
	change_index("PRAGMA wal_checkpoint(TRUNCATE)");
	indexes[indexed].octets = read_file(path_of("index/index.db"), &indexes[indexed].len);
}

/* Recovery of a segment of that length. */
static void
recover(size_t len)
{
	struct spool *sp;

	write_file(segment_path(NUMBER), whole.octets, len);
	sp = open_spool(SPOOL_ADMIN);
	spool_close(&sp);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct segment_id other_id = { .number = OTHER, .random = "fedcba9876543210" };
	const struct record_recipient joe = { 1, RECORD_NEVER, "joe@x.test", "joe@x.test", NULL };
	struct record r = { .received_ms = NUMBER + 99, .octets = strlen(messages[0]) - 3 };
	struct reading in = { .messages = 0 };
	struct strbuf err;

	(void)argc, (void)argv;
	snprintf(dir, sizeof(dir), "%s/fuzz-segment-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	REQUIRE(mkdtemp(dir) != NULL);
	atexit(remove_spool);
	strbuf_init(&err, 1000);
	REQUIRE(spool_create(path_of(""), &err) == SPOOL_OK);
	strbuf_release(&err);
	make_segment();
	begin_segment(&other, &other_id);
	put_record(&other, &other_id, 1, "", &joe, 1, messages[0], strlen(messages[0]), &r);
	read_segment(&whole, NUMBER, 1, &in);
	known = in.rows;

	change_index("INSERT INTO domain (id, name, folded) VALUES (1, 'x.test', 'x.test');"
		     "INSERT INTO mailbox (id, domain, local, folded, created_s) VALUES"
		     " (1, 1, 'joe', 'joe', 0), (2, 1, 'ann', 'ann', 0), (3, 1, 'was', 'was', 0);"
		     "DELETE FROM mailbox WHERE id = 3");
	write_file(segment_path(OTHER), other.octets, other.len);
	recover(half_mark * RECORD_BLOCK);
	change_index("UPDATE segment SET state = 0 WHERE live = 2");
	keep_index(INDEXED_HALF);
	recover(whole.len);
	keep_index(INDEXED_ALL);
	change_index(
	    "DELETE FROM entry WHERE message >> 21 = 1764000000123;"
	    "DELETE FROM holders; DELETE FROM segment WHERE number = 1764000000123;"
	    "UPDATE mailbox SET (messages, used) = (SELECT count(*), total(octets) FROM entry"
	    " WHERE mailbox = id)");
	keep_index(INDEXED_NOT);
	return 0;
}

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
