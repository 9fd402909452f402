/*
 * segment_spool - a spool of two segments, and an index that knows all, half or nothing of the
 * first.
 */
#ifndef TESTS_FUZZ_SEGMENT_SPOOL_H
#define TESTS_FUZZ_SEGMENT_SPOOL_H

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "common/spool/spool_internal.h"
#include "spool/spool.h"
#include "tests/fuzz/segment_image.h"
#include "tests/lib/folder.h"

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

static void
remove_spool(void)
{
	folder_remove(dir);
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

/* The first is joe's, the second both's, the third ann's, the fourth joe's, with a UID of its
 * own. */
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
	snprintf(dir, sizeof(dir), "%s/fuzz-segment-XXXXXX", test_memory());
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

#endif
