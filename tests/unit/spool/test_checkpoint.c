/* checkpoint: what is committed while the log moves into the index, and pages that a disk loses. */
#include "delivery_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/spool/index_internal.h"
#include "common/spool/janitor.h"
#include "common/spool/spool_internal.h"

#define INDEX "index/index.db"
#define LOG "index/index.db-wal"

/* --- a disk on which something happens when the index is synced ----------- */

/* What happens, once; -1: the sync fails. */
static int (*_Atomic at_index_sync)(void);
static char path[400];

static const char *
path_of(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", spool_test_dir, name);
	return path;
}

static bool
is_index(int fd)
{
	struct stat named, open_file;

	ck_assert_int_eq(fstat(fd, &open_file), 0);
	ck_assert_int_eq(stat(path_of(INDEX), &named), 0);
	return named.st_ino == open_file.st_ino;
}

static int
sync_data(int fd)
{
	int (*happens)(void) = atomic_load(&at_index_sync);

	if (happens != NULL && is_index(fd)) {
		atomic_store(&at_index_sync, NULL);
		if (happens() != 0)
			return -1;
	}
	return disk_real.fdatasync(fd);
}

static int
disk_fails(void)
{
	errno = EIO;
	return -1;
}

/* --- the spool ------------------------------------------------------------ */

static struct spool *sp;
static struct disk_ops disk;

static void
setup(void)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct strbuf err;

	disk = disk_real;
	disk.fdatasync = sync_data;
	atomic_store(&at_index_sync, NULL);
	spool_test_make();
	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open_on(&options, &disk, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	test_mailboxes(sp, 1);
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

/* Number n of what is committed, a new page now and then. */
static enum spool_status
commit_one(int64_t n)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;

	if (index_write_begin(sp, INDEX_MAIN, "test", &c) != SPOOL_OK)
		return SPOOL_IO;
	stmt = index_stmt(c, "INSERT INTO removal VALUES (1, ?1, ?1, 0, 0, ?1, NULL, 0, 0, ?2)");
	sqlite3_bind_int64(stmt, 1, n);
	sqlite3_bind_zeroblob(stmt, 2, 300);
	ck_assert_int_eq(index_run(c, stmt), SPOOL_OK);
	stmt = index_stmt(c, "UPDATE mailbox SET removals = ?1");
	sqlite3_bind_int64(stmt, 1, n);
	ck_assert_int_eq(index_run(c, stmt), SPOOL_OK);
	return index_write_commit(sp, &c, false);
}

static int64_t
number_in(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t n;

	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return n;
}

/* Closes the spool, and looks whether index.db has the first n without its log. */
static void
check_index(int64_t n)
{
	sqlite3 *db;

	spool_close(&sp);
	ck_assert_int_eq(unlink(path_of(LOG)), 0);
	ck_assert_int_eq(unlink(path_of("index/index.db-shm")), 0);
	ck_assert_int_eq(sqlite3_open(path_of(INDEX), &db), SQLITE_OK);
	ck_assert_int_eq(number_in(db, "SELECT count(*) FROM pragma_integrity_check"
				       " WHERE integrity_check = 'ok'"),
	    1);
	ck_assert_int_eq(number_in(db, "SELECT removals FROM mailbox"), n);
	ck_assert_int_eq(number_in(db, "SELECT count(*) FROM removal"), n);
	sqlite3_close(db);
	sp = spool_test_open(SPOOL_ADMIN);
}

/* --- beside commits ------------------------------------------------------- */

#define ROUNDS 200

static atomic_bool stop;
static atomic_long committed;

static void *
keep_committing(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		ck_assert_int_eq(commit_one(atomic_load(&committed) + 1), SPOOL_OK);
		atomic_fetch_add(&committed, 1);
	}
	return NULL;
}

START_TEST(commits_go_on_beside_it)
{
	pthread_t thread;
	long before, beside = 0;
	bool whole;

	atomic_store(&stop, false);
	atomic_store(&committed, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, keep_committing, NULL), 0);
	for (int i = 0; i < ROUNDS || beside < ROUNDS; i++) {
		before = atomic_load(&committed);
		ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
		ck_assert(whole);
		beside += atomic_load(&committed) - before;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
	ck_assert(whole);
	check_index(atomic_load(&committed));
}
END_TEST

static int
commit_51(void)
{
	return commit_one(51) == SPOOL_OK ? 0 : -1;
}

/* Whoever commits between the passes does not wait, and is moved by the second one. */
START_TEST(all_of_it_is_moved)
{
	bool whole;

	for (int n = 1; n <= 50; n++)
		ck_assert_int_eq(commit_one(n), SPOOL_OK);
	atomic_store(&at_index_sync, commit_51);
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
	ck_assert(whole && atomic_load(&at_index_sync) == NULL);
	check_index(51);
	/* Nothing is there to be moved. */
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
	ck_assert(whole);
}
END_TEST

/* --- lost pages ----------------------------------------------------------- */

/* What index.db has becomes `octets` again, as where the disk took nothing since. */
static void
put_back(const char *octets, size_t len)
{
	int fd = open(path_of(INDEX), O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, octets, len, 0), (ssize_t)len);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	/* SQLite's locks are the process's, and go with this: nobody else is there. */
	close(fd);
}

START_TEST(lost_pages_are_written_again)
{
	static char octets[1 << 20];
	struct stat log;
	size_t len;
	FILE *file;
	bool whole;

	for (int n = 1; n <= 50; n++)
		ck_assert_int_eq(commit_one(n), SPOOL_OK);
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_OK);
	file = fopen(path_of(INDEX), "r");
	len = fread(octets, 1, sizeof(octets), file);
	ck_assert(len > 0 && len < sizeof(octets));
	fclose(file);

	for (int n = 51; n <= 100; n++)
		ck_assert_int_eq(commit_one(n), SPOOL_OK);
	atomic_store(&at_index_sync, disk_fails);
	ck_assert_int_eq(index_checkpoint(sp, &whole), SPOOL_IO);
	ck_assert(!whole && atomic_load(&at_index_sync) == NULL);
	ck_assert(index_broken(sp));
	ck_assert_int_eq(commit_one(101), SPOOL_IO);
	put_back(octets, len);

	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert(!index_broken(sp));
	ck_assert_int_eq(stat(path_of(LOG), &log), 0);
	ck_assert_int_eq(log.st_size, 0);
	check_index(100);
	ck_assert_int_eq(commit_one(101), SPOOL_OK);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("checkpoint");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("checkpoint");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, commits_go_on_beside_it);
	tcase_add_test(tc, all_of_it_is_moved);
	tcase_add_test(tc, lost_pages_are_written_again);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
