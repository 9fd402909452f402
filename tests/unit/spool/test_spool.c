/*
 * Which spools are opened: not one that a newer program made, and none on a file system
 * that does not keep the promises, which is simulated: fstatfs(2) is ours here.  And how many of their
 * segments stay open.
 */
#include "delivery_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "common/spool/lock.h"
#include "common/spool/spool_internal.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* What fstatfs(2) says the file system is; 0: the truth. */
static unsigned long pretended;

/* In place of the C library's. */
int
fstatfs(int fd, struct statfs *fs)
{
	int rc = (int)syscall(SYS_fstatfs, fd, fs);

	if (rc == 0 && pretended != 0)
		fs->f_type = (__typeof__(fs->f_type))pretended;
	return rc;
}

static void
setup(void)
{
	pretended = 0;
	spool_test_make();
}

static void
teardown(void)
{
	spool_test_remove();
}

/* The types as the kernel's sources have them. */
static const struct {
	const char *name;
	unsigned long type;
	bool refused;
} types[] = {
	{ "NFS", 0x6969, true },
	{ "SMB", 0x517b, true },
	{ "CIFS", 0xff534d42, true },
	{ "SMB2", 0xfe534d42, true },
	{ "9P", 0x01021997, true },
	{ "FUSE", 0x65735546, true },
	{ "Ceph", 0x00c36400, true },
	{ "AFS", 0x5346414f, true },
	{ "OCFS2", 0x7461636f, true },
	{ "GFS2", 0x01161970, true },
	{ "Lustre", 0x0bd00bd0, true },
	{ "ext4", 0xef53, false },
	{ "XFS", 0x58465342, false },
	{ "Btrfs", 0x9123683e, false },
	{ "ZFS", 0x2fc12fc1, false },
	{ "F2FS", 0xf2f52010, false },
	{ "tmpfs", 0x01021994, false },
	{ "overlay", 0x794c7630, false },
};

START_TEST(network_file_systems_are_refused)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	enum spool_status want = types[_i].refused ? SPOOL_NETWORK_FS : SPOOL_OK;
	struct spool *sp;
	struct strbuf err;

	strbuf_init(&err, 1024);
	pretended = types[_i].type;
	ck_assert_msg(spool_open(&options, &sp, &err) == want, "%s: %s", types[_i].name, err.buf);
	ck_assert_int_eq(sp == NULL, types[_i].refused);
	if (types[_i].refused) {
		ck_assert_ptr_nonnull(strstr(err.buf, spool_test_dir));
		ck_assert_ptr_nonnull(strstr(err.buf, "network file system"));
		ck_assert_ptr_nonnull(strstr(err.buf, "local disk"));
	}
	spool_close(&sp);
	/* Nor is one made there, or found to be there already. */
	ck_assert_int_eq(spool_create(spool_test_dir, &err), want);
	strbuf_release(&err);
}
END_TEST

/* Rows: pragmas for the index, and what opening says then. */
static const struct {
	const char *sql;
	enum spool_status want;
	const char *says;
} versions[] = {
	{ "PRAGMA user_version = 1000", SPOOL_VERSION, "made by a newer Restante" },
	{ "PRAGMA user_version = 0", SPOOL_NO_SPOOL, "run pop-admin init" },
};

START_TEST(versions_that_are_not_ours)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct spool *sp = spool_test_open(SPOOL_ADMIN);
	struct strbuf err;

	test_sql(sp, versions[_i].sql);
	spool_close(&sp);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &sp, &err), versions[_i].want);
	ck_assert_ptr_null(sp);
	ck_assert_msg(strstr(err.buf, versions[_i].says) != NULL, "%s", err.buf);
	strbuf_release(&err);
}
END_TEST

/* As the first version made it. */
static const char first_version[] =
    "DROP INDEX mailbox_retention;"
    "ALTER TABLE mailbox DROP COLUMN retention_days;"
    "ALTER TABLE mailbox DROP COLUMN removals;"
    "DROP INDEX entry_expires; DROP INDEX entry_retrieved_expires;"
    "DROP INDEX entry_kept; DROP INDEX entry_uid; DROP INDEX entry_apart;"
    "ALTER TABLE entry DROP COLUMN keep_retrieved_s;"
    "ALTER TABLE entry DROP COLUMN retrieved_expires_day;"
    "ALTER TABLE entry DROP COLUMN removed_s;"
    "DROP TABLE removal;"
    "DELETE FROM meta WHERE key = 'kept_blocks';"
    "ALTER TABLE mailbox DROP COLUMN recovered;"
    "PRAGMA user_version = 1";

/* Rows: which byte an older program holds that has the spool open, or is about to. */
START_TEST(an_older_one_is_brought_up_to_date)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_SMTPD };
	static const enum lock_role roles[] = { LOCK_OPEN, LOCK_RECOVERY };
	struct spool *sp = spool_test_open(SPOOL_SMTPD);
	struct strbuf err;
	struct locks older;
	int dir;

	test_mailboxes(sp, 2);
	ck_assert_int_eq(test_deliver(sp, 1, 5000, 1, 2, NULL), SPOOL_OK);
	test_sql(sp, first_version);
	spool_close(&sp);

	dir = open(spool_test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(locks_open(&older, &disk_real, dir), 0);
	ck_assert_int_eq(lock_role_try(&older, roles[_i], _i == 0), 0);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_BUSY);
	ck_assert_msg(strstr(err.buf, "end it first") != NULL, "%s", err.buf);
	/* init changes nothing of it either. */
	strbuf_clear(&err);
	ck_assert_int_eq(spool_create(spool_test_dir, &err), SPOOL_OK);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_BUSY);
	strbuf_release(&err);
	locks_close(&older);
	close(dir);

	sp = spool_test_open(SPOOL_SMTPD);
	ck_assert_int_eq(test_number(sp, "PRAGMA user_version"), 3);
	ck_assert_int_eq(test_deliver(sp, 2, 5000, 1, 2, NULL), SPOOL_OK);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_uint_eq(test_copies(sp, 2, 2), 1);
	test_invariants(sp);
	spool_close(&sp);
}
END_TEST

START_TEST(no_folder_is_no_spool)
{
	struct spool_options options = { .dir = "/nowhere/at/all", .role = SPOOL_ADMIN };
	struct spool *sp;
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_open(&options, &sp, &err), SPOOL_NO_SPOOL);
	ck_assert_ptr_nonnull(strstr(err.buf, "run pop-admin init"));
	strbuf_release(&err);
}
END_TEST

/* --- open segments ---------------------------------------------------------- */

static unsigned
open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void
make_segment(uint64_t number)
{
	const struct segment_id id = { .number = number };
	uint8_t header[SEGMENT_HEADER_LEN];
	char path[400];
	FILE *f;

	segment_header_encode(header, &id);
	snprintf(path, sizeof(path), "%s/segments/%llu", spool_test_dir, (unsigned long long)number);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(header, 1, sizeof(header), f), sizeof(header));
	ck_assert_int_eq(fclose(f), 0);
}

/* A site has more segments than a process may have files: those that nobody reads are closed, the
 * ones that somebody reads never. */
START_TEST(few_segments_stay_open)
{
	struct segment_file *read, *f;
	struct spool *sp;
	uint8_t octet;
	unsigned before;

	sp = spool_test_open(SPOOL_ADMIN);
	for (uint64_t i = 1; i <= 700; i++)
		make_segment(i);
	before = open_files();
	ck_assert_int_eq(segment_get(sp, 1, true, &read), SPOOL_OK);
	for (unsigned round = 0; round < 2; round++)
		for (uint64_t i = 1; i <= 700; i++) {
			ck_assert_int_eq(segment_get(sp, i, true, &f), SPOOL_OK);
			ck_assert_uint_eq(f->id.number, i);
			ck_assert(i != 1 || f == read);
			segment_put(sp, &f);
		}
	ck_assert_uint_eq(open_files(), before + 512);
	ck_assert_int_eq(pread(read->fd, &octet, 1, 0), 1);
	/* The latest is there still, the oldest is not. */
	ck_assert_int_eq(segment_get(sp, 700, false, &f), SPOOL_OK);
	segment_put(sp, &f);
	ck_assert_int_eq(segment_get(sp, 2, false, &f), SPOOL_WOULD_BLOCK);
	segment_put(sp, &read);
	spool_close(&sp);
	ck_assert_uint_le(open_files(), before);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("which");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, network_file_systems_are_refused, 0, COUNT(types));
	tcase_add_loop_test(tc, versions_that_are_not_ours, 0, COUNT(versions));
	tcase_add_loop_test(tc, an_older_one_is_brought_up_to_date, 0, 2);
	tcase_add_test(tc, no_folder_is_no_spool);
	tcase_add_test(tc, few_segments_stay_open);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
