/* backup: what is copied, when it is whole, and what is noticed. */
#include "backup_test.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/spool/backup_internal.h"
#include "common/spool/janitor.h"
#include "common/spool/lock.h"
#include "common/spool/secrets.h"
#include "spool/survey.h"

#define BLOCK UINT64_C(4096)

static void
damage(const char *dir, uint64_t message, off_t at)
{
	int fd = open(segment_path(dir, message), O_RDWR);
	off_t offset = (off_t)(message_block(message) * BLOCK) + at;
	uint8_t octet;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &octet, 1, offset), 1);
	octet ^= 1;
	ck_assert_int_eq(pwrite(fd, &octet, 1, offset), 1);
	close(fd);
}

static uint64_t
blocks_taken(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks / 8 : 0;
}

/* --- copying -------------------------------------------------------------- */

START_TEST(a_second_one_copies_what_is_new)
{
	uint64_t first = deliver(0, 500, 1, 1), gone = deliver(1, 9000, 1, 1);
	uint64_t large = deliver(2, 300000, 1, 1), mark;
	struct backup_result r;
	char path[400];
	struct stat st;

	/* Two headers of segments and three records, the last without its padding. */
	ck_assert_int_eq(stat(segment_path(spool_test_dir, large), &st), 0);
	ck_assert_uint_eq(back_up().copied, BLOCK + BLOCK + 3 * BLOCK + (uint64_t)st.st_size);
	ck_assert_uint_eq(back_up().copied, 0);
	mark = blocks_taken(segment_path(backup_dir, gone));

	deliver(3, 500, 1, 1);
	remove_message(1, gone);
	remove_message(1, large);
	r = back_up();
	ck_assert_uint_eq(r.messages, 2);
	ck_assert_uint_eq(r.copied, BLOCK);
	/* What went is given back there too: one block came, three went. */
	ck_assert_uint_eq(blocks_taken(segment_path(backup_dir, first)), mark + 1 - 3);
	snprintf(path, sizeof(path), "%s", segment_path(backup_dir, large));
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 2);
}
END_TEST

START_TEST(nothing_is_given_back_meanwhile)
{
	struct janitor_task task = { .expire = false };
	uint64_t id = deliver(0, 9000, 1, 1), large = deliver(1, 300000, 1, 1);
	struct spool *other = spool_test_open(SPOOL_ADMIN);
	uint64_t taken = blocks_taken(segment_path(spool_test_dir, id));
	struct survey survey;

	deliver(2, 500, 1, 1);
	taken++;
	ck_assert_int_eq(lock_role_try(&other->locks, LOCK_BACKUP, false), 0);
	remove_message(1, id);
	remove_message(1, large);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_uint_eq(blocks_taken(segment_path(spool_test_dir, id)), taken);
	ck_assert_uint_gt(blocks_taken(segment_path(spool_test_dir, large)), 70);
	ck_assert_int_eq(survey_spool(sp, &survey), SPOOL_OK);
	ck_assert(survey.backup_running);
	back_up_as(SPOOL_BUSY, "another backup of it runs");

	lock_role_release(&other->locks, LOCK_BACKUP);
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_uint_eq(blocks_taken(segment_path(spool_test_dir, id)), taken - 3);
	ck_assert_int_ne(access(segment_path(spool_test_dir, large), F_OK), 0);
	/* Giving back is no backup. */
	ck_assert_int_eq(lock_role_try(&other->locks, LOCK_BACKUP, true), 0);
	ck_assert_int_eq(survey_spool(sp, &survey), SPOOL_OK);
	ck_assert(!survey.backup_running);
	spool_close(&other);
}
END_TEST

START_TEST(the_folder_is_its_own)
{
	char path[400];
	int fd;

	ck_assert_int_eq(mkdir(backup_dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/letter", backup_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	back_up_as(SPOOL_EXISTS, "holds other things");
	ck_assert_int_eq(unlink(path), 0);
	verify_as(SPOOL_NO_SPOOL, "no backup that came to its end");
	back_up();

	/* Another's. */
	test_sql(sp, "UPDATE meta SET value = value + 1 WHERE key = 'spool_id'");
	back_up_as(SPOOL_EXISTS, "another spool");
	test_sql(sp, "UPDATE meta SET value = value - 1 WHERE key = 'spool_id'");
	/* A later one of ours. */
	deliver(0, 500, 1, 1);
	back_up();
	test_sql(sp, "UPDATE meta SET value = value - 1 WHERE key = 'newest_segment'");
	back_up_as(SPOOL_EXISTS, "later state");
	test_sql(sp, "UPDATE meta SET value = value + 1 WHERE key = 'newest_segment'");
	back_up();

	/* At work. */
	snprintf(path, sizeof(path), "%s/" BACKUP_LOCK, backup_dir);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(lock_segment(fd), 0);
	back_up_as(SPOOL_BUSY, "another backup or restore");
	verify_as(SPOOL_BUSY, "another backup or restore");
	close(fd);
}
END_TEST

/* Accounts come and go as user.c has it: secrets first, index first. */
static atomic_bool accounts_end;
static atomic_uint accounts_made;

static void *
make_accounts(void *arg)
{
	struct spool *other = arg;
	char sql[200];

	for (unsigned id = 1000; !atomic_load(&accounts_end); id++) {
		ck_assert_int_eq(secrets_create(other, id, "hash", NULL), SPOOL_OK);
		snprintf(sql, sizeof(sql), "INSERT INTO mailbox (id, domain, local, folded, created_s)"
		    " VALUES (%u, 1, 'a%u', 'a%u', 0)", id, id, id);
		test_sql(other, sql);
		snprintf(sql, sizeof(sql), "DELETE FROM mailbox WHERE id = %u", id - 1);
		if (id == 1000)
			continue;
		test_sql(other, sql);
		ck_assert_int_eq(secrets_remove(other, id - 1), SPOOL_OK);
		atomic_fetch_add(&accounts_made, 1);
	}
	return NULL;
}

/* The one number that a query on a copied database gives. */
static int64_t
copied_number(const struct backup_file *f, const char *sql)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	char path[400];
	int64_t n = -1;
	bool row;

	snprintf(path, sizeof(path), "%s/%s", backup_dir, f->name);
	ck_assert_int_eq(backup_db_open(path, false, &c), SPOOL_OK);
	stmt = index_stmt(c, sql);
	ck_assert_int_eq(index_step(c, stmt, &row), SPOOL_OK);
	if (row)
		n = sqlite3_column_int64(stmt, 0);
	backup_db_close(&c);
	return n;
}

START_TEST(each_mailbox_has_its_secrets)
{
	struct spool *other = spool_test_open(SPOOL_ADMIN);
	struct backup_manifest m;
	pthread_t thread;
	struct strbuf err;
	char sql[100];
	int fd;

	ck_assert_int_eq(pthread_create(&thread, NULL, make_accounts, other), 0);
	strbuf_init(&err, 1024);
	for (unsigned i = 0; i < 100; i++) {
		int64_t id;

		back_up();
		fd = open(backup_dir, O_RDONLY | O_DIRECTORY);
		ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_OK);
		close(fd);
		id = copied_number(&m.index, "SELECT min(id) FROM mailbox WHERE id >= 1000");
		snprintf(sql, sizeof(sql), "SELECT 1 FROM secret WHERE mailbox = %lld",
		    (long long)id);
		ck_assert_msg(id <= 0 || copied_number(&m.secrets, sql) == 1, "%u: %s", i, sql);
	}
	atomic_store(&accounts_end, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(atomic_load(&accounts_made), 20);
	strbuf_release(&err);
	spool_close(&other);
}
END_TEST

/* --- damage --------------------------------------------------------------- */

START_TEST(damage_is_noticed_and_mended)
{
	uint64_t a = deliver(0, 500, 1, 1), b = deliver(1, 9000, 2, 2);
	struct backup_result r;
	char uid[SPOOL_UID_LEN + 1];

	back_up();
	/* In the octets, in the envelope, in the fixed part. */
	for (off_t at = 50; at < 300; at += 110) {
		damage(backup_dir, b, at == 270 ? 4096 : at);
		findings = 0;
		r = verify_as(SPOOL_OK, "");
		ck_assert_uint_eq(r.damaged, 1);
		ck_assert_uint_eq(r.known, 0);
		ck_assert_uint_eq(findings, 1);
		ck_assert_str_eq(found_address, "user2@example.test");
		spool_uid_format(uid, b);
		ck_assert_str_eq(found_uid, uid);
		/* The next backup copies it anew. */
		r = back_up();
		ck_assert_uint_eq(r.copied, 3 * BLOCK);
		ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
	}
	/* The header of a segment; a segment. */
	int fd = open(segment_path(backup_dir, a), O_RDWR);
	ck_assert_int_eq(pwrite(fd, "x", 1, 20), 1);
	close(fd);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 2);
	back_up();
	ck_assert_int_eq(unlink(segment_path(backup_dir, a)), 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 2);
	back_up();
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
}
END_TEST

START_TEST(damage_of_the_spool_is_copied_and_told)
{
	uint64_t a = deliver(0, 500, 1, 1), b = deliver(1, 9000, 2, 2);
	struct backup_result r;

	damage(spool_test_dir, b, 200);
	r = back_up();
	ck_assert_uint_eq(r.damaged, 1);
	ck_assert_uint_eq(findings, 1);
	r = verify_as(SPOOL_OK, "");
	ck_assert_uint_eq(r.damaged, 1);
	ck_assert_uint_eq(r.known, 1);
	/* It is what an earlier backup is for: a good copy is never replaced by a bad one. */
	damage(spool_test_dir, b, 200);
	ck_assert_uint_eq(back_up().damaged, 0);
	damage(spool_test_dir, a, 200);
	ck_assert_uint_eq(back_up().damaged, 0);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").damaged, 0);
	damage(spool_test_dir, a, 200);
}
END_TEST

static void
flip(const char *name, off_t at)
{
	char path[400];
	uint8_t octet;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", backup_dir, name);
	fd = open(path, O_RDWR);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(pread(fd, &octet, 1, at), 1);
	octet ^= 1;
	ck_assert_int_eq(pwrite(fd, &octet, 1, at), 1);
	close(fd);
}

START_TEST(damage_of_the_rest_is_noticed)
{
	struct backup_manifest m;
	struct strbuf err;
	struct stat st;
	char path[400];
	int fd;

	deliver(0, 500, 1, 1);
	back_up();
	fd = open(backup_dir, O_RDONLY | O_DIRECTORY);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_OK);
	flip(m.index.name, (off_t)m.index.size - 1);
	verify_as(SPOOL_DAMAGED, m.index.name);
	restore_as(SPOOL_DAMAGED, m.index.name);
	flip(m.index.name, (off_t)m.index.size - 1);
	flip(m.secrets.name, 5000);
	verify_as(SPOOL_DAMAGED, m.secrets.name);
	flip(m.secrets.name, 5000);

	/* Each octet of the manifest. */
	snprintf(path, sizeof(path), "%s/" BACKUP_MANIFEST, backup_dir);
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t i = 0; i < st.st_size; i++) {
		enum spool_status got;

		flip(BACKUP_MANIFEST, i);
		strbuf_clear(&err);
		got = backup_manifest_read(backup_dir, fd, &m, &err);
		ck_assert_msg(got == SPOOL_DAMAGED || got == SPOOL_VERSION, "octet %d: %d", (int)i, got);
		ck_assert_uint_gt(err.len, 0);
		flip(BACKUP_MANIFEST, i);
	}
	/* Cut anywhere. */
	for (off_t i = st.st_size - 1; i >= 0; i--) {
		ck_assert_int_eq(truncate(path, i), 0);
		ck_assert_int_eq(backup_manifest_read(backup_dir, fd, &m, &err), SPOOL_DAMAGED);
	}
	ck_assert_int_eq(access(other_dir, F_OK), -1);
	/* It is no backup then, and the next one makes it one. */
	ck_assert_uint_eq(back_up().copied, 0);
	verify_as(SPOOL_OK, "");
	strbuf_release(&err);
	close(fd);
}
END_TEST

START_TEST(a_newer_one_is_refused)
{
	deliver(0, 500, 1, 1);
	test_sql(sp, "PRAGMA user_version = 99");
	back_up();
	verify_as(SPOOL_VERSION, "newer Restante");
	restore_as(SPOOL_VERSION, "newer Restante");
	ck_assert_int_ne(access(other_dir, F_OK), 0);
}
END_TEST

START_TEST(a_damaged_index_is_no_backup)
{
	char path[400];
	enum { PAGE = 2048 };
	uint8_t page[PAGE];
	struct stat st;
	sqlite3 *db;
	int fd;

	for (unsigned i = 0; i < 150; i++)
		deliver(i, 200, 1, 3);
	ck_assert_int_eq(test_number(sp, "PRAGMA page_size"), PAGE);
	back_up();
	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/index/index.db", spool_test_dir);
	/* All pages are read from the database itself. */
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
	    SQLITE_OK);
	sqlite3_close(db);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	/* Each page behind the first in turn. */
	for (off_t at = PAGE; at < st.st_size; at += PAGE) {
		uint8_t kept[PAGE];

		ck_assert_int_eq(pread(fd, kept, sizeof(kept), at), PAGE);
		memset(page, 0x5a, sizeof(page));
		ck_assert_int_eq(pwrite(fd, page, sizeof(page), at), PAGE);
		const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
		struct backup_result r;
		struct strbuf err;

		strbuf_init(&err, 1024);
		/* Some are seen as soon as it is opened. */
		if (spool_open(&options, &sp, &err) == SPOOL_OK)
			ck_assert_msg(backup_run(sp, backup_dir, watched(), &r, &err) !=
			    SPOOL_OK, "page %d", (int)(at / PAGE));
		spool_close(&sp);
		strbuf_release(&err);
		ck_assert_int_eq(pwrite(fd, kept, sizeof(kept), at), PAGE);
		ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 150);
	}
	close(fd);
	sp = spool_test_open(SPOOL_ADMIN);
	back_up();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backup");
	TCase *tc = tcase_create("backup");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_second_one_copies_what_is_new);
	tcase_add_test(tc, nothing_is_given_back_meanwhile);
	tcase_add_test(tc, the_folder_is_its_own);
	tcase_add_test(tc, each_mailbox_has_its_secrets);
	tcase_add_test(tc, damage_is_noticed_and_mended);
	tcase_add_test(tc, damage_of_the_spool_is_copied_and_told);
	tcase_add_test(tc, damage_of_the_rest_is_noticed);
	tcase_add_test(tc, a_newer_one_is_refused);
	tcase_add_test(tc, a_damaged_index_is_no_backup);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
