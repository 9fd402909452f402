/* health and epoch: what is damaged is refused, never shown as less than it was. */
#include "delivery_test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include "common/spool/health.h"
#include "common/spool/index_internal.h"
#include "common/spool/janitor.h"
#include "common/spool/spool_internal.h"
#include "spool/maildrop.h"

static struct spool *sp;
static uint64_t ids[4];

static void
open_as(enum spool_role role)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = role,
		.segment_max = 64 * 1024 };
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
}

/* Mailboxes 1 and 2 have mail in segments of their own: ids[0] and ids[1]. */
static void
setup(void)
{
	spool_test_make();
	open_as(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(test_deliver(sp, i, 70000, i + 1, i + 1, &ids[i]), SPOOL_OK);
	}
	ck_assert_uint_ne(message_segment(ids[0]), message_segment(ids[1]));
	spool_close(&sp);
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

static const char *
path_of(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", spool_test_dir, name);
	return path;
}

static const char *
segment_path(uint64_t message)
{
	char name[64];

	snprintf(name, sizeof(name), "segments/%" PRIu64, message_segment(message));
	return path_of(name);
}

static void
copy_file(const char *from, const char *to)
{
	char command[1000];

	snprintf(command, sizeof(command), "cp '%s/%s' '%s/%s'", spool_test_dir, from, spool_test_dir,
	    to);
	ck_assert_int_eq(system(command), 0);
}

/* A command of the shell, in the index's folder. */
static void
in_index(const char *what)
{
	char command[1000];

	snprintf(command, sizeof(command), "cd '%s/index' && { %s; }", spool_test_dir, what);
	ck_assert_int_eq(system(command), 0);
}

static enum spool_status
load(uint64_t mailbox, size_t *n_r)
{
	struct maildrop *md;
	enum spool_status st = maildrop_lock(sp, mailbox, "test", &md);

	if (st != SPOOL_OK)
		return st;
	st = maildrop_load(md);
	*n_r = maildrop_count(md);
	maildrop_close(&md);
	return st;
}

static void
assert_shown(uint64_t mailbox, size_t n)
{
	size_t count;

	ck_assert_int_eq(load(mailbox, &count), SPOOL_OK);
	ck_assert_uint_eq(count, n);
}

static void
assert_refused(uint64_t mailbox)
{
	size_t count;

	ck_assert_int_eq(load(mailbox, &count), SPOOL_IO);
}

/* As when another second has begun. */
static void
look_again(void)
{
	atomic_store(&sp->index->looked_s, 0);
}

/* --- segments ------------------------------------------------------------- */

START_TEST(missing_segment)
{
	char command[1000];

	snprintf(command, sizeof(command), "mv '%s' '%s/away'", segment_path(ids[0]),
	    spool_test_dir);
	ck_assert_int_eq(system(command), 0);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_refused(1);
	assert_refused(1);
	assert_shown(2, 1);
	assert_shown(3, 0);
	/* Put back: it is seen at once. */
	snprintf(command, sizeof(command), "mv '%s/away' '%s'", spool_test_dir,
	    segment_path(ids[0]));
	ck_assert_int_eq(system(command), 0);
	assert_shown(1, 1);
	ck_assert(!health_any(sp));
}
END_TEST

START_TEST(short_segment)
{
	ck_assert_int_eq(truncate(segment_path(ids[0]), 3 * 4096), 0);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_refused(1);
	assert_shown(2, 1);
}
END_TEST

/* One octet less than the last block that is known: the least cut that costs mail. */
START_TEST(as_short_as_can_be_seen)
{
	struct stat file;

	ck_assert_int_eq(stat(segment_path(ids[0]), &file), 0);
	ck_assert_int_eq(truncate(segment_path(ids[0]), (file.st_size - 1) / 4096 * 4096), 0);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_refused(1);
}
END_TEST

/* Between two sessions: the first one who wants to read notices. */
START_TEST(missing_when_opened)
{
	struct maildrop_message *m;
	struct maildrop *md;

	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_int_eq(unlink(segment_path(ids[0])), 0);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_DAMAGED);
	maildrop_close(&md);
	assert_refused(1);
	assert_shown(2, 1);
}
END_TEST

START_TEST(header_overwritten)
{
	struct maildrop_message *m;
	struct maildrop *md;
	int fd = open(segment_path(ids[0]), O_WRONLY);

	ck_assert_int_eq(pwrite(fd, "garbage!", 8, 0), 8);
	close(fd);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_DAMAGED);
	maildrop_close(&md);
	assert_refused(1);
}
END_TEST

/* A file that was damaged under who has it open, and another one put in its place: that one is read,
 * and of the other's damage nothing follows. */
static const char *const spoil[] = {
	"truncate -s 12288 x",
	"truncate -s 6000 x",
	"printf ROT | dd of=x bs=1 seek=40000 conv=notrunc 2>/dev/null",
	"printf ROT | dd of=x bs=1 seek=4100 conv=notrunc 2>/dev/null",
	"printf ROT | dd of=x bs=1 seek=4200 conv=notrunc 2>/dev/null",
};

static enum spool_status
read_first(struct maildrop *md)
{
	struct maildrop_message *m;
	enum spool_status st = maildrop_open_message(md, 0, true, &m);

	if (st == SPOOL_OK)
		st = maildrop_verify(m);
	maildrop_close_message(&m);
	return st;
}

START_TEST(exchanged_under_its_reader)
{
	const char *path = segment_path(ids[0]);
	char command[2000];
	struct maildrop *md;

	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_int_eq(read_first(md), SPOOL_OK);
	snprintf(command, sizeof(command), "cd '%s'; cp '%s' keep; mv '%s' x; ln x '%s'; %s",
	    spool_test_dir, path, path, path, spoil[_i]);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(read_first(md), SPOOL_DAMAGED);
	snprintf(command, sizeof(command), "cd '%s'; mv keep '%s'", spool_test_dir, path);
	ck_assert_int_eq(system(command), 0);
	/* Who reads on in the old one is put off; the next one reads the new one. */
	ck_assert_int_eq(read_first(md), SPOOL_IO);
	ck_assert_int_eq(read_first(md), SPOOL_OK);
	maildrop_close(&md);
	assert_shown(1, 1);
	ck_assert(!health_any(sp));
}
END_TEST

START_TEST(looked_for_again)
{
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_shown(1, 1);
	ck_assert_int_eq(unlink(segment_path(ids[0])), 0);
	ck_assert_int_eq(health_look(sp), SPOOL_OK);
	assert_refused(1);
}
END_TEST

/* Past the bound each segment is looked at, and none is refused for another's sake. */
START_TEST(too_many_to_remember)
{
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	for (uint64_t i = 1; i <= HEALTH_SEGMENTS_MAX + 10; i++)
		health_note_segment(sp, i, "test");
	ck_assert_int_eq(unlink(segment_path(ids[0])), 0);
	assert_refused(1);
	assert_shown(2, 1);
}
END_TEST

/* --- the index ------------------------------------------------------------- */

/* Rows that an index lost without noticing. */
START_TEST(fewer_rows_than_the_sum)
{
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	test_sql(sp, "DELETE FROM entry WHERE mailbox = 1");
	assert_refused(1);
	assert_shown(2, 1);
}
END_TEST

static void
assert_put_off(void)
{
	struct maildrop *md;

	ck_assert_int_ne(spool_wait_ready(sp), SPOOL_OK);
	ck_assert(!spool_ready(sp));
	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_NOT_READY);
	ck_assert_int_eq(spool_may_deliver(sp), SPOOL_NOT_READY);
}

/* What may lie in index.db's place. */
static const char *const spoiled[] = {
	"rm index.db",
	"truncate -s 5000 index.db; : > index.db-wal",
	"truncate -s 0 index.db; : > index.db-wal",
	"dd if=/dev/zero of=index.db bs=4096 count=1 conv=notrunc 2>/dev/null; : > index.db-wal",
	": > rebuild.db",
};

START_TEST(index_cannot_be_opened)
{
	static const enum spool_role roles[] = { SPOOL_SMTPD, SPOOL_POP3D };
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct strbuf err;

	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	in_index(spoiled[_i]);
	for (int i = 0; i < 2; i++) {
		open_as(roles[i]);
		assert_put_off();
		spool_close(&sp);
	}
	/* An administrator hears it at once, and init does not make it worse. */
	strbuf_init(&err, 1024);
	ck_assert_int_ne(spool_open(&options, &sp, &err), SPOOL_OK);
	ck_assert_uint_gt(err.len, 0);
	strbuf_release(&err);
	if (_i == 0) {
		strbuf_init(&err, 1024);
		ck_assert_int_eq(spool_create(spool_test_dir, &err), SPOOL_DAMAGED);
		ck_assert_ptr_nonnull(strstr(err.buf, "reindex"));
		strbuf_release(&err);
	}
}
END_TEST

/* Last week's, with its log and without, and with today's log. */
static const char *const exchanged[] = {
	"rm -f index.db-wal",
	"cp ../old-wal index.db-wal",
	":",
};

START_TEST(older_index)
{
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	copy_file("index/index.db", "old");
	copy_file("index/index.db-wal", "old-wal");
	/* A week passes. */
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_shown(1, 2);
	spool_close(&sp);
	copy_file("old", "index/index.db");
	in_index(exchanged[_i]);
	open_as(SPOOL_POP3D);
	assert_put_off();
	spool_close(&sp);
	open_as(SPOOL_SMTPD);
	assert_put_off();
}
END_TEST

/* index.db is today's, and its log, where the last changes are, was taken away. */
START_TEST(log_taken_away)
{
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(epoch_raise(sp), SPOOL_OK);
	spool_close(&sp);
	in_index("rm index.db-wal");
	open_as(SPOOL_POP3D);
	assert_put_off();
}
END_TEST

/* Under a daemon that runs: by another file of that name, and in place. */
START_TEST(exchanged_meanwhile)
{
	struct index_conn *c;

	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	copy_file("index/index.db", "old");
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	assert_shown(1, 2);
	in_index(_i == 0 ? "mv ../old index.db" : "cp ../old index.db");
	look_again();
	assert_refused(1);
	ck_assert_int_eq(spool_may_deliver(sp), SPOOL_NOT_READY);
	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_IO);
}
END_TEST

/* The log of an index that is open, and the folder of its mail: what is written to them is nobody's. */
static const char *const taken_away[] = {
	"rm index.db-wal",
	"cp index.db-wal x && mv x index.db-wal",
	"cd .. && mv segments away && cp -r away segments",
	"cd .. && rm -r segments",
};

START_TEST(taken_away_meanwhile)
{
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, NULL), SPOOL_OK);
	assert_shown(1, 2);
	in_index(taken_away[_i]);
	look_again();
	assert_refused(1);
	ck_assert_int_eq(spool_may_deliver(sp), SPOOL_NOT_READY);
}
END_TEST

/* Before a delivery is acknowledged its segment is looked at: whose name is gone nobody would read. */
START_TEST(segment_removed_under_its_writer)
{
	uint64_t id;

	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 1000, 1, 1, &id), SPOOL_OK);
	ck_assert_int_eq(unlink(segment_path(id)), 0);
	ck_assert_int_eq(test_deliver(sp, 4, 1000, 1, 1, NULL), SPOOL_IO);
	/* And the next one comes into another. */
	ck_assert_int_eq(test_deliver(sp, 5, 1000, 2, 2, &id), SPOOL_OK);
	ck_assert_int_eq(test_read_back(sp, id, 2), 5);
}
END_TEST

/* A look that fails, at the file's epoch, at the file or at its name, is a failure of that moment. */
START_TEST(look_that_fails)
{
	char too_long[NAME_MAX + 2], *path;
	struct index_store *s;
	struct index_conn *c;
	int fd;

	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	assert_shown(1, 1);
	s = sp->index;
	fd = s->file_fd;
	path = s->path;
	/* One that cannot be read, and none. */
	int bad = open(path_of("index/index.db"), O_WRONLY | O_CLOEXEC);
	if (_i < 2)
		s->file_fd = _i == 0 ? bad : -1;
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	if (_i == 2)
		s->path = too_long;
	look_again();
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_IO);
	s->file_fd = fd;
	s->path = path;
	look_again();
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_OK);
	index_read_end(sp, &c);
	assert_shown(1, 1);
	close(bad);
}
END_TEST

/* What a power cut leaves is not older: the file never says more than the disk has. */
START_TEST(epoch_only_rises)
{
	uint32_t before;

	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	before = atomic_load(&sp->epoch);
	ck_assert_uint_gt(before, 0);
	ck_assert_int_eq(epoch_raise(sp), SPOOL_OK);
	ck_assert_uint_eq(atomic_load(&sp->epoch), before + 1);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_uint_eq(atomic_load(&sp->epoch_file), before + 1);
	ck_assert_int_eq(epoch_check(sp), SPOOL_OK);
	/* Without the file, or with half of it, nothing is known, and it is made anew. */
	ck_assert_int_eq(truncate(path_of("segments/epoch"), 10), 0);
	ck_assert_int_eq(epoch_check(sp), SPOOL_OK);
	ck_assert_int_eq(unlink(path_of("segments/epoch")), 0);
	ck_assert_int_eq(epoch_check(sp), SPOOL_OK);
	ck_assert_int_eq(epoch_raise(sp), SPOOL_OK);
	ck_assert_int_eq(access(path_of("segments/epoch"), F_OK), 0);
	ck_assert_int_eq(epoch_check(sp), SPOOL_OK);
}
END_TEST

/* Somebody reads: a checkpoint moves what he sees into index.db and syncs that only when nobody keeps
 * it from moving all.  Until then a power cut may take it out of there again. */
START_TEST(epoch_that_is_not_synced)
{
	struct index_conn *reader;
	uint32_t before;

	open_as(SPOOL_ADMIN);
	before = atomic_load(&sp->epoch_file);
	ck_assert_int_eq(epoch_raise(sp), SPOOL_OK);
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &reader), SPOOL_OK);
	ck_assert_int_eq(
	    index_run(reader, index_stmt(reader, "SELECT 1 FROM mailbox")), SPOOL_OK);
	test_sql(sp, "UPDATE mailbox SET quota = 1000000");
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_uint_eq(atomic_load(&sp->epoch_file), before);
	index_read_end(sp, &reader);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_uint_gt(atomic_load(&sp->epoch_file), before);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("health");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("health");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, missing_segment);
	tcase_add_test(tc, short_segment);
	tcase_add_test(tc, as_short_as_can_be_seen);
	tcase_add_test(tc, missing_when_opened);
	tcase_add_test(tc, header_overwritten);
	tcase_add_loop_test(tc, exchanged_under_its_reader, 0, 5);
	tcase_add_test(tc, looked_for_again);
	tcase_add_test(tc, too_many_to_remember);
	tcase_add_test(tc, fewer_rows_than_the_sum);
	tcase_add_loop_test(tc, index_cannot_be_opened, 0, 5);
	tcase_add_loop_test(tc, older_index, 0, 3);
	tcase_add_test(tc, log_taken_away);
	tcase_add_loop_test(tc, exchanged_meanwhile, 0, 2);
	tcase_add_loop_test(tc, taken_away_meanwhile, 0, 4);
	tcase_add_test(tc, segment_removed_under_its_writer);
	tcase_add_loop_test(tc, look_that_fails, 0, 3);
	tcase_add_test(tc, epoch_only_rises);
	tcase_add_test(tc, epoch_that_is_not_synced);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
