/*
 * What a start finds on the disk, and what it makes of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/crc32c.h"
#include "common/spool/remove.h"
#include "recover_test.h"

static const char *
segment_path(char path[400], uint64_t number)
{
	snprintf(path, 400, "%s/segments/%llu", spool_test_dir, (unsigned long long)number);
	return path;
}

/* Octets of segment `bad_number` from `bad_at` on cannot be read while `bad_reads` is set. */
static atomic_bool bad_reads;
static uint64_t bad_number, bad_at;

static bool
is_bad(int fd, size_t len, off_t offset)
{
	char path[400];
	struct stat file, bad;

	return atomic_load(&bad_reads) && (uint64_t)offset + len > bad_at &&
	       fstat(fd, &file) == 0 && stat(segment_path(path, bad_number), &bad) == 0 &&
	       file.st_ino == bad.st_ino;
}

ssize_t
pread(int fd, void *buf, size_t len, off_t offset)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	if (is_bad(fd, len, offset)) {
		errno = EIO;
		return -1;
	}
	return preadv(fd, &iov, 1, offset);
}

static void
reopen(void)
{
	spool_close(&sp);
	sp = spool_test_open(SPOOL_SMTPD);
}

static int64_t
newest_segment(void)
{
	return test_number(sp, "SELECT value FROM meta WHERE key = 'newest_segment'");
}

/* --- what the index forgot ------------------------------------------------ */

START_TEST(all_comes_back)
{
	uint64_t id[4];
	unsigned count[8];

	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(test_deliver(sp, i, 1000 + 4000 * i, 1, 2, &id[i]), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 300000, 1, 3, &id[3]), SPOOL_OK);
	lose_log();
	reopen();
	for (uint64_t mailbox = 1; mailbox <= 3; mailbox++) {
		test_count(sp, mailbox, count, 8);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_uint_eq(count[i], mailbox < 3 || i == 3);
	}
	/* Under the ids that UIDL showed. */
	for (unsigned i = 0; i < 4; i++) {
		char sql[100];

		snprintf(sql, sizeof(sql), "SELECT count(*) FROM entry WHERE message = %llu",
		    (unsigned long long)id[i]);
		ck_assert_int_eq(test_number(sp, sql), i == 3 ? 3 : 2);
	}
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment WHERE state = 1"), 2);
	/* A number that a file has is not given again. */
	ck_assert_int_ge(newest_segment(), (int64_t)message_segment(id[3]));
	ck_assert_int_eq(test_deliver(sp, 4, 500, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 3);
	/* Another start changes nothing. */
	reopen();
	ck_assert_uint_eq(test_copies(sp, 1, 4), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 10);
}
END_TEST

START_TEST(marks_behind)
{
	uint64_t first;
	char sql[200];

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &first), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 9000, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 1000, 2, 2, NULL), SPOOL_OK);
	lose_log();
	/* The first is known; the others lie beyond the mark. */
	reopen();
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 1), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 2), 1);
	snprintf(sql, sizeof(sql), "SELECT live FROM segment WHERE number = %llu",
	    (unsigned long long)message_segment(first));
	ck_assert_int_eq(test_number(sp, sql), 3);
}
END_TEST

static enum spool_status
remove_all(uint64_t mailbox)
{
	struct index_conn *c;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(remove_all_entries(c, mailbox), SPOOL_OK);
	return index_write_commit(sp, &c, true);
}

/* Deleted and told so, then the power failed: the log was synced, so it is whole. */
START_TEST(deleted_stays_deleted)
{
	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 2, NULL), SPOOL_OK);
	reopen();
	ck_assert_int_eq(remove_all(1), SPOOL_OK);
	/* As if its writer had not come to closing it: recovery looks at it. */
	test_sql(sp, "UPDATE segment SET state = 0");
	reopen();
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	ck_assert_uint_eq(test_copies(sp, 2, 0), 1);
	ck_assert_int_eq(remove_all(2), SPOOL_OK);
	test_sql(sp, "UPDATE segment SET state = 0");
	reopen();
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
}
END_TEST

START_TEST(mailbox_gone)
{
	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 1000, 2, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 1000, 1, 1, NULL), SPOOL_OK);
	lose_log();
	sp = spool_test_open(SPOOL_ADMIN);
	/* The same again, with mailbox 2 gone before it is recovered. */
	test_sql(sp, "DELETE FROM entry; DELETE FROM holders;"
		     "UPDATE segment SET state = 0, mark = 1, live = 0;"
		     "UPDATE mailbox SET used = 0, messages = 0; DELETE FROM mailbox WHERE id = 2");
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 2);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM holders"), 0);
	/* What nobody holds is given back. */
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT live FROM segment"), 2);
}
END_TEST

/* --- what is no record ---------------------------------------------------- */

/* A segment of two records, in block 1 and in blocks 2 to 4, cut so many octets before its end. */
static const struct {
	off_t cut;
	bool first, second; /* still whole */
} cuts[] = {
	{ 1, true, true }, /* padding, without which the record is as whole */
	{ 3000, true, true },
	{ 4096, true, false },
	{ 4097, true, false },
	{ 8192, true, false },
	{ 9000, true, false },
	{ 12288, true, false },
	{ 12289, true, false },
	{ 15500, false, false },
	{ 16383, false, false },
	{ 16384, false, false },
};

START_TEST(torn_tail)
{
	struct stat file;
	char path[400];
	uint64_t id;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 9000, 1, 1, &id), SPOOL_OK);
	lose_log();
	segment_path(path, message_segment(id));
	ck_assert_int_eq(stat(path, &file), 0);
	ck_assert_int_eq(file.st_size, 5 * 4096);
	ck_assert_int_eq(truncate(path, file.st_size - cuts[_i].cut), 0);
	reopen();
	ck_assert_uint_eq(test_copies(sp, 1, 0), cuts[_i].first);
	ck_assert_uint_eq(test_copies(sp, 1, 1), cuts[_i].second);
}
END_TEST

/* Each block of the last record is lost in turn. */
START_TEST(torn_inside)
{
	static const char zeros[RECORD_BLOCK];
	char path[400];
	uint64_t id;
	int fd;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 9000, 1, 1, &id), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 1000, 1, 1, NULL), SPOOL_OK);
	lose_log();
	fd = open(segment_path(path, message_segment(id)), O_WRONLY);
	ck_assert_int_eq(pwrite(fd, zeros, RECORD_BLOCK,
			     (off_t)((message_block(id) + (uint64_t)_i) * RECORD_BLOCK)),
	    RECORD_BLOCK);
	close(fd);
	reopen();
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 0);
	/* What lies behind it is found. */
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
}
END_TEST

#define SENDER "sender@example.org" /* test_envelope()'s */
#define USER1 "user1@example.test"

/* A body with a record for mailbox 3 in it, where the message's second block begins. */
static void
make_forged(uint8_t *body, const struct segment_id *as, uint64_t block)
{
	struct record_recipient outer = { .address = USER1, .written = USER1 };
	struct record_recipient to = {
		.mailbox = 3,
		.expires_day = RECORD_NEVER,
		.address = "user3@example.test",
		.written = "user3@example.test",
	};
	struct record r = { .block = block, .wire_len = 100, .octets = 97, .body = 97 };
	size_t at = RECORD_BLOCK - record_header_base(SENDER) - record_recipient_len(&outer);

	r.header_len = (uint32_t)(record_header_base("f@x") + record_recipient_len(&to));
	r.wire_crc = crc32c(0, body + at + r.header_len, r.wire_len);
	record_header_encode(body + at, as, &r, "f@x", &to, 1);
}

/* A mail that contains, block for block, a record of this very segment.  What keeps it from being
 * one are the segment's random octets, which no sender knows, its place, and that a whole
 * record is passed over whole. */
static const struct {
	bool known; /* the random octets, to the sender */
	bool place; /* the block that it says is the one where it lies */
	bool torn;  /* the record that contains it, so that the scan looks into it */
	unsigned delivered;
} forgeries[] = {
	{ true, true, false, 0 }, /* passed over */
	{ false, true, true, 0 }, /* of another segment */
	{ true, false, true, 0 }, /* of another block */
	{ true, true, true, 1 },  /* so nothing else was wrong with it */
};

START_TEST(forged_record)
{
	uint8_t body[3 * RECORD_BLOCK];
	struct envelope *env = test_envelope(1, 1);
	struct segment_file *f;
	struct segment_id as;
	struct test_wait w;
	struct delivery *d;
	char path[400];
	uint64_t id;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &id), SPOOL_OK);
	ck_assert_int_eq(segment_get(sp, message_segment(id), true, &f), SPOOL_OK);
	as = f->id;
	segment_put(sp, &f);
	if (!forgeries[_i].known)
		as.random[SEGMENT_RANDOM_LEN - 1] ^= 1;
	memset(body, 'x', sizeof(body));
	memcpy(body + sizeof(body) - 2, "\r\n", 2);
	make_forged(body, &as, forgeries[_i].place ? 3 : 4);

	ck_assert_int_eq(delivery_begin(sp, &env, &usual, &d), SPOOL_OK);
	ck_assert_int_eq(delivery_write(d, body, sizeof(body)), SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, sizeof(body), test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	ck_assert_uint_eq(message_block(delivery_message(d)), 2);
	delivery_abandon(&d);

	lose_log();
	if (forgeries[_i].torn) {
		int fd = open(segment_path(path, message_segment(id)), O_WRONLY);

		ck_assert_int_eq(pwrite(fd, "?", 1, 2 * RECORD_BLOCK), 1);
		close(fd);
	}
	reopen();
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 3"),
	    forgeries[_i].delivered);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 1"),
	    forgeries[_i].torn ? 1 : 2);
}
END_TEST

/* --- what is no segment --------------------------------------------------- */

#define NUMBER 1234567

static const struct {
	const char *name;
	size_t len;
	uint8_t at, value; /* an octet of the header that is another */
	bool sum;          /* made right again */
} unreadable[] = {
	{ "another file", RECORD_BLOCK, 0, 'r', true },
	{ "a wrong checksum", RECORD_BLOCK, 20, 1, false },
	{ "a version to come", RECORD_BLOCK, 8, 2, true },
	{ "another's number", RECORD_BLOCK, 12, 1, true },
	{ "shorter than its header", SEGMENT_HEADER_LEN - 1, 36, 0, true },
	{ "a single octet", 1, 36, 0, true },
};

/* Mail flows on beside what may be somebody's mail, or no segment at all. */
START_TEST(unreadable_is_left)
{
	struct segment_id id = { .number = NUMBER };
	uint8_t block[RECORD_BLOCK] = { 0 };
	struct stat file;
	char path[400];
	uint32_t sum;
	int fd;

	segment_header_encode(block, &id);
	block[unreadable[_i].at] = unreadable[_i].value;
	if (unreadable[_i].sum) {
		sum = crc32c(0, block, SEGMENT_HEADER_LEN - 4);
		for (unsigned i = 0; i < 4; i++)
			block[SEGMENT_HEADER_LEN - 4 + i] = (uint8_t)(sum >> 8 * i);
	}
	fd = open(segment_path(path, NUMBER), O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, block, unreadable[_i].len), (ssize_t)unreadable[_i].len);
	close(fd);
	reopen();
	ck_assert_int_eq(stat(path, &file), 0);
	ck_assert_int_eq(file.st_size, (off_t)unreadable[_i].len);
	ck_assert_msg(
	    test_number(sp, "SELECT count(*) FROM segment") == 0, "%s", unreadable[_i].name);
	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, NULL), SPOOL_OK);
}
END_TEST

static const size_t unborn[] = { 1, 512, RECORD_BLOCK };

/* Others' mail does not wait for it, and it is not lost: once it can be read it is shown, also without
 * another start. */
START_TEST(sector_that_cannot_be_read)
{
	uint64_t id[3];

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &id[0]), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 1, 9000, 1, 1, &id[1]), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 2, 300000, 1, 1, &id[2]), SPOOL_OK);
	lose_log();
	bad_number = message_segment(id[1]);
	bad_at = (message_block(id[1]) + 1) * RECORD_BLOCK;
	atomic_store(&bad_reads, true);
	sp = spool_test_open(SPOOL_ADMIN);
	/* All but what lies there is had. */
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 2);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, NULL), SPOOL_OK);
	/* An import must know all that there is. */
	ck_assert_int_eq(spool_recover(sp), SPOOL_IO);
	atomic_store(&bad_reads, false);
	if (_i == 0)
		reopen();
	else
		ck_assert_int_eq(spool_recover(sp), SPOOL_OK);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 4);
}
END_TEST

/* The power failed when name and length were on disk and the header was not. */
START_TEST(unborn_goes)
{
	char path[400];
	struct stat file;

	ck_assert_int_ge(close(open(segment_path(path, NUMBER), O_WRONLY | O_CREAT, 0600)), 0);
	ck_assert_int_eq(truncate(path, (off_t)unborn[_i]), 0);
	reopen();
	ck_assert_int_eq(stat(path, &file), -1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 0);
	ck_assert_int_ge(newest_segment(), NUMBER);
}
END_TEST

/* Zeros that are longer than a header, or that the index knows, are what is left of something. */
START_TEST(zeros_of_somebody_stay)
{
	char path[400], other[400];
	struct stat file;
	uint64_t id;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &id), SPOOL_OK);
	spool_close(&sp);
	segment_path(path, message_segment(id));
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(truncate(path, RECORD_BLOCK), 0);
	ck_assert_int_ge(close(open(segment_path(other, NUMBER), O_WRONLY | O_CREAT, 0600)), 0);
	ck_assert_int_eq(truncate(other, RECORD_BLOCK + 1), 0);
	sp = spool_test_open(SPOOL_SMTPD);
	ck_assert_int_eq(stat(path, &file), 0);
	ck_assert_int_eq(stat(other, &file), 0);
}
END_TEST

/* Under another's name a segment is not believed. */
START_TEST(renamed_is_left)
{
	char path[400], other[400];
	struct stat file;
	uint64_t id;

	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &id), SPOOL_OK);
	lose_log();
	segment_path(path, message_segment(id));
	segment_path(other, 77);
	ck_assert_int_eq(rename(path, other), 0);
	reopen();
	ck_assert_int_eq(stat(other, &file), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 0);
}
END_TEST

START_TEST(leftovers_go)
{
	static const char *const names[] = { "tmp.0123", "5", "06", "x", "99999999999999999999" };
	char path[400];
	struct stat file;

	for (size_t i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/segments/%s", spool_test_dir, names[i]);
		ck_assert_int_ge(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
	}
	reopen();
	for (size_t i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/segments/%s", spool_test_dir, names[i]);
		/* An unfinished delivery and a segment without a single octet; the others are
		 * somebody else's. */
		ck_assert_int_eq(stat(path, &file), i < 2 ? -1 : 0);
	}
}
END_TEST

START_TEST(numbers_stay_above_files)
{
	struct segment_id id = { .number = 4000000000000 };
	uint8_t block[RECORD_BLOCK] = { 0 };
	char path[400];
	uint64_t message;
	int fd;

	segment_header_encode(block, &id);
	fd = open(segment_path(path, id.number), O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, block, sizeof(block)), sizeof(block));
	close(fd);
	reopen();
	ck_assert_int_eq(newest_segment(), (int64_t)id.number);
	ck_assert_int_eq(test_deliver(sp, 0, 1000, 1, 1, &message), SPOOL_OK);
	ck_assert_uint_eq(message_segment(message), id.number + 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("recover");
	TCase *tc = tcase_create("recover");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, all_comes_back);
	tcase_add_test(tc, marks_behind);
	tcase_add_test(tc, deleted_stays_deleted);
	tcase_add_test(tc, mailbox_gone);
	tcase_add_loop_test(tc, torn_tail, 0, sizeof(cuts) / sizeof(*cuts));
	tcase_add_loop_test(tc, torn_inside, 0, 3);
	tcase_add_loop_test(tc, forged_record, 0, sizeof(forgeries) / sizeof(*forgeries));
	tcase_add_loop_test(tc, unreadable_is_left, 0, sizeof(unreadable) / sizeof(*unreadable));
	tcase_add_loop_test(tc, sector_that_cannot_be_read, 0, 2);
	tcase_add_test(tc, renamed_is_left);
	tcase_add_test(tc, leftovers_go);
	tcase_add_loop_test(tc, unborn_goes, 0, sizeof(unborn) / sizeof(*unborn));
	tcase_add_test(tc, zeros_of_somebody_stay);
	tcase_add_test(tc, numbers_stay_above_files);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
