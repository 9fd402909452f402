/*
 * Two who work on a spool at once: what one does between two calls of the other.
 *
 * A call to the disk is replaced by one that lets the other in.
 */
#include <fcntl.h>

#include "delivery_test.h"
#include "spool/account.h"

static struct disk_ops disk;
static struct spool *sp, *other;

static struct spool *
open_on(const struct disk_ops *ops, enum spool_role role)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = role };
	struct spool *opened;
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open_on(&options, ops, &opened, &err) == SPOOL_OK, "%s", err.buf);
	ck_assert_int_eq(spool_wait_ready(opened), SPOOL_OK);
	strbuf_release(&err);
	return opened;
}

static void
setup(void)
{
	spool_test_make();
	other = open_on(&disk_real, SPOOL_ADMIN);
	test_mailboxes(other, 2);
	disk = disk_real;
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_close(&other);
	spool_test_remove();
}

/* --- a segment is made while somebody recovers ----------------------------- */

static unsigned removed;

static int
openat_and_recover(int dir, const char *name, int flags, mode_t mode)
{
	int fd = openat(dir, name, flags, mode);
	uint64_t number;

	/* Just made, not yet locked. */
	if (fd >= 0 && (flags & O_CREAT) != 0 && segment_parse_name(name, &number) &&
	    removed == 0) {
		ck_assert_int_eq(recover_spool(other), SPOOL_OK);
		removed += faccessat(dir, name, F_OK, 0) != 0;
	}
	return fd;
}

START_TEST(segment_removed_as_it_is_made)
{
	disk.openat = openat_and_recover;
	sp = open_on(&disk, SPOOL_SMTPD);
	ck_assert_int_eq(test_deliver(sp, 0, 500, 1, 1, NULL), SPOOL_IO);
	ck_assert_uint_eq(removed, 1);
	ck_assert_int_eq(test_deliver(sp, 1, 500, 1, 1, NULL), SPOOL_OK);
	spool_close(&sp);
	spool_close(&other);

	sp = open_on(&disk_real, SPOOL_SMTPD);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	test_invariants(sp);
}
END_TEST

/* --- mail for a mailbox that is being made --------------------------------- */

static unsigned syncs, open_doors;

/* A delivery begins with the writer's lock: would one get it before this sync is done? */
static int
fdatasync_and_look(int fd)
{
	struct flock byte = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	char path[300];
	int lock;

	snprintf(path, sizeof(path), "%s/locks/writer", spool_test_dir);
	lock = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(lock, 0);
	ck_assert_int_eq(fcntl(lock, F_OFD_GETLK, &byte), 0);
	open_doors += byte.l_type == F_UNLCK;
	close(lock);
	syncs++;
	return fdatasync(fd);
}

START_TEST(mailbox_is_on_disk_before_its_mail)
{
	struct address address = spool_test_address("new@example.test");

	disk.fdatasync = fdatasync_and_look;
	sp = open_on(&disk, SPOOL_ADMIN);
	syncs = open_doors = 0;
	ck_assert_int_eq(account_user_add(sp, &address, "secret", 6, false, NULL, NULL), SPOOL_OK);
	ck_assert_uint_eq(syncs, 1);
	ck_assert_uint_eq(open_doors, 0);
	/* Others let the next one in while they sync. */
	ck_assert_int_eq(account_user_enable(sp, &address, false), SPOOL_OK);
	ck_assert_uint_eq(open_doors, 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("together");
	TCase *tc = tcase_create("together");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, segment_removed_as_it_is_made);
	tcase_add_test(tc, mailbox_is_on_disk_before_its_mail);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
