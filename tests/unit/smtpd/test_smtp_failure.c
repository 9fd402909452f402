/*
 * smtpd on a disk that fails: what the sender is told, and that nothing which was not
 * acknowledged is ever in a mailbox (RFC 5321 4.2.5, 6.1).
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>

#include "drive.h"
#include "common/spool/room_internal.h"

#define HI "EHLO client.example\r\n"
#define FROM "MAIL FROM:<a@b.example>\r\n"
#define TO "RCPT TO:<joe@example.test>\r\n"

/* What each call fails with, or 0. */
static _Atomic int write_error, sync_error, truncate_error, open_error;

static bool
fails(_Atomic int *error)
{
	if (*error == 0)
		return false;
	errno = *error;
	return true;
}

static ssize_t
faulty_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	return fails(&write_error) ? -1 : disk_real.pwritev(fd, iov, n, offset);
}

static int
faulty_fdatasync(int fd)
{
	return fails(&sync_error) ? -1 : disk_real.fdatasync(fd);
}

static int
faulty_ftruncate(int fd, off_t len)
{
	return fails(&truncate_error) ? -1 : disk_real.ftruncate(fd, len);
}

static int
faulty_openat(int dir, const char *name, int flags, mode_t mode)
{
	return fails(&open_error) ? -1 : disk_real.openat(dir, name, flags, mode);
}

static struct disk_ops faulty;
static struct site site;

static void
mend(void)
{
	write_error = sync_error = truncate_error = open_error = 0;
}

static void
setup(void)
{
	mend();
	faulty = disk_real;
	faulty.pwritev = faulty_pwritev;
	faulty.fdatasync = faulty_fdatasync;
	faulty.ftruncate = faulty_ftruncate;
	faulty.openat = faulty_openat;
	site = (struct site){ .disk = &faulty };
	site_open(&site, "max_message_size = 4M", 1);
}

static void
teardown(void)
{
	mend();
	site_close(&site);
}

static const char *
say(struct drive *d, const char *text)
{
	drive_say(d, text);
	return drive_take(d);
}

static void
begin(struct drive *d, bool lmtp)
{
	drive_open(d, &site, lmtp);
	strbuf_clear(&d->said);
	/* The first message makes the segment. */
	say(d, lmtp ? "LHLO c\r\n" FROM TO "DATA\r\n.\r\n" : HI FROM TO "DATA\r\n.\r\n");
	say(d, lmtp ? FROM TO TO : FROM TO);
}

static const struct row {
	const char *name;
	int write, sync, truncate;
	const char *want, *want_lmtp;
} rows[] = {
	{ "the write", EIO, 0, 0, "354 451/4.3.0", "354 451/4.3.0 451/4.3.0" },
	{ "the disk is full", ENOSPC, 0, 0, "354 452/4.3.1", "354 452/4.3.1 452/4.3.1" },
	{ "the sync", 0, EIO, 0, "354 451/4.3.0", "354 451/4.3.0 451/4.3.0" },
	{ "the write and what would take it back", EIO, 0, EIO, "354 DROP", "354 DROP" },
	{ "the sync and what would take it back", 0, EIO, EIO, "354 DROP", "354 DROP" },
};

/* Where it could be taken back the sender is told, and the session lives; where it could
 * not, nothing is said. */
START_TEST(commit_fails)
{
	const struct row *r = &rows[_i / 2];
	bool lmtp = _i % 2;
	struct drive d;

	begin(&d, lmtp);
	write_error = r->write;
	sync_error = r->sync;
	truncate_error = r->truncate;
	const char *got = say(&d, "DATA\r\nSubject: x\r\n\r\n.\r\n");
	const char *want = lmtp ? r->want_lmtp : r->want;

	ck_assert_msg(strcmp(got, want) == 0, "%s: got %s, want %s", r->name, got, want);
	mend();
	ck_assert_uint_eq(room_claimed(site.spool, 1), 0);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), 1);
	if (!drive_closed(&d)) {
		ck_assert_str_eq(say(&d, "DATA\r\n"), "503/5.5.1");
		ck_assert_str_eq(
		    say(&d, FROM TO "DATA\r\n.\r\n"), "250/2.1.0 250/2.1.5 354 250/2.0.0");
		ck_assert_uint_eq(site_count(&site, "joe@example.test"), 2);
	}
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* A message too large for memory finds no file, or no room in it: read to its end, then told. */
START_TEST(large_message_finds_no_room)
{
	static char line[1002];
	struct drive d;

	memset(line, 'x', 1000);
	memcpy(line + 1000, "\r\n", 2);
	begin(&d, false);
	if (_i == 0)
		open_error = EMFILE;
	else
		write_error = ENOSPC;
	say(&d, "DATA\r\n");
	for (int i = 0; i < 1000; i++)
		drive_send(&d, line, sizeof(line));
	ck_assert_str_eq(drive_take(&d), "");
	ck_assert_str_eq(say(&d, ".\r\n"), _i == 0 ? "451/4.3.0" : "452/4.3.1");
	mend();
	ck_assert_str_eq(say(&d, FROM TO "BDAT 1 LAST\r\nx"), "250/2.1.0 250/2.1.5 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), 2);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_failure");
	TCase *t = tcase_create("disk");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 0);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, commit_fails, 0, 2 * (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_loop_test(t, large_message_finds_no_room, 0, 2);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	/* The spool's threads would not survive a fork. */
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
