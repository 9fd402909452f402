/* reindex: what is on disk before the new index has its name. */
#include "reindex_test.h"

#include <errno.h>

static int
no_sync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

static int
no_sync_of_names(int fd)
{
	struct stat folder, segments;

	if (fstat(fd, &folder) == 0 && stat(path_of("segments"), &segments) == 0 &&
	    folder.st_ino == segments.st_ino)
		return no_sync(fd);
	return fsync(fd);
}

static int
no_sync_of_the_index(int fd)
{
	struct stat file, index;

	if (fstat(fd, &file) == 0 && stat(path_of("index/rebuild.db"), &index) == 0 &&
	    file.st_ino == index.st_ino)
		return no_sync(fd);
	return fsync(fd);
}

/* What is not on disk for sure, mail or a segment's name, comes into no index, and an index that is not
 * takes nobody's place; the old one stays. */
START_TEST(all_is_synced)
{
	struct disk_ops disk = disk_real;
	struct strbuf err;

	spool_close(&sp);
	if (_i == 0)
		disk.fdatasync = no_sync;
	else
		disk.fsync = _i == 1 ? no_sync_of_names : no_sync_of_the_index;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(
	    reindex_spool_on(spool_test_dir, &disk, NULL, NULL, &result, &err), SPOOL_IO);
	strbuf_release(&err);
	open_as(SPOOL_ADMIN);
	assert_all_there();
}
END_TEST

/* --- what a failed sync left ------------------------------------------------ */

/* Of a file: octets that were written and not synced since, and that were. */
static struct written {
	ino_t file;
	uint64_t dirty, sure;
} written[16];
static uint64_t dirty_at_rename;

static struct written *
written_of(int fd)
{
	struct stat st;
	size_t i = 0;

	ck_assert_int_eq(fstat(fd, &st), 0);
	while (written[i].file != 0 && written[i].file != st.st_ino)
		ck_assert_uint_lt(++i, 16);
	written[i].file = st.st_ino;
	return &written[i];
}

static struct written
written_to(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct written w = *written_of(fd);

	close(fd);
	return w;
}

static ssize_t
note_write(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t len = pwritev(fd, iov, n, at);

	written_of(fd)->dirty += (uint64_t)len;
	return len;
}

static int
note_sync(int fd)
{
	struct written *w = written_of(fd);

	w->sure += w->dirty;
	w->dirty = 0;
	return fdatasync(fd);
}

static int
note_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	for (size_t i = 0; i < 16; i++)
		dirty_at_rename += written[i].dirty;
	return renameat2(from_dir, from, to_dir, to, flags);
}

static void
reindex_noting(void)
{
	struct disk_ops disk = disk_real;
	struct strbuf err;

	disk.pwritev = note_write;
	disk.fdatasync = note_sync;
	disk.renameat2 = note_rename;
	strbuf_init(&err, 1024);
	ck_assert_int_eq(
	    reindex_spool_on(spool_test_dir, &disk, NULL, NULL, &result, &err), SPOOL_OK);
	strbuf_release(&err);
	ck_assert_uint_eq(dirty_at_rename, 0);
}

/* Where nobody says that it was synced, by one that did not fail: all that is believed, before the
 * index has its name, and no more than that. */
START_TEST(believed_is_rewritten)
{
	struct stat before, after;
	struct record_envelope e;
	struct segment_file *f;
	struct record found;
	int fd;

	ck_assert_int_eq(segment_get(sp, message_segment(ids[3]), true, &f), SPOOL_OK);
	ck_assert_int_eq(recover_read(f->fd, &f->id, message_block(ids[3]), &found, &e), SPOOL_OK);
	record_envelope_release(&e);
	segment_put(sp, &f);
	spool_close(&sp);
	/* What lies before it is gone, and its blocks given back. */
	fd = open(segment_path(ids[2]), O_RDWR);
	ck_assert_int_eq(
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RECORD_BLOCK,
		(off_t)(message_block(ids[3]) - message_block(ids[2])) * RECORD_BLOCK), 0);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(fstat(fd, &before), 0);
	close(fd);
	run("rm index/index.db*");
	reindex_noting();
	ck_assert_uint_eq(
	    written_to(segment_path(ids[3])).sure, found.header_len + found.wire_len);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_gt(written_to(segment_path(ids[i])).sure, 70000);
	ck_assert_int_eq(stat(segment_path(ids[3]), &after), 0);
	ck_assert_int_eq(after.st_blocks, before.st_blocks);
	open_as(SPOOL_ADMIN);
}
END_TEST

/* What the old index has was synced before it had it; its log is made sure before it moves. */
START_TEST(known_is_not_rewritten)
{
	struct stat log;

	spool_close(&sp);
	ck_assert_int_eq(stat(path_of("index/index.db-wal"), &log), 0);
	ck_assert_int_gt(log.st_size, 0);
	reindex_noting();
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(written_to(segment_path(ids[i])).sure, 0);
	ck_assert_uint_eq(written[0].sure, (uint64_t)log.st_size);
	ck_assert_uint_eq(written[0].file, log.st_ino);
	open_as(SPOOL_ADMIN);
	assert_all_there();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("reindex_sync");
	TCase *tc = tcase_create("reindex_sync");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, all_is_synced, 0, 3);
	tcase_add_test(tc, believed_is_rewritten);
	tcase_add_test(tc, known_is_not_rewritten);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
