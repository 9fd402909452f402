/* check --repair: nothing is set apart without its copy, or for what passes. */
#include "damage_test.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int no_copy_errno;

static ssize_t
no_copy(int fd, const struct iovec *iov, int n, off_t offset)
{
	(void)fd, (void)iov, (void)n, (void)offset;
	errno = no_copy_errno;
	return -1;
}

/* What cannot be copied is not set apart, and told; nothing of the copy is left. */
static const struct {
	const char *before;
	int errnum;
	const char *after;
	enum spool_status want;
} no_copies[] = {
	{ "touch damaged", 0, "rm damaged", SPOOL_IO },
	{ "true", EIO, "true", SPOOL_IO },
	{ "true", ENOSPC, "true", SPOOL_NO_SPACE },
};

static unsigned writes;

static ssize_t
pwritev_and_end(int fd, const struct iovec *iov, int n, off_t offset)
{
	if (++writes == 2)
		_exit(0);
	return pwritev(fd, iov, n, offset);
}

/* Who is killed while he copies leaves no half of a record for the next one to take for all of it. */
START_TEST(half_a_copy_is_none)
{
	struct disk_ops disk = disk_real;
	char uid[SPOOL_UID_LEN + 1], name[64];
	struct stat file;
	int status;
	pid_t child;

	flip(ids[3], 3000);
	child = fork();
	if (child == 0) {
		disk.pwritev = pwritev_and_end;
		sp->disk = &disk;
		check(true);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	check(true);
	ck_assert_uint_eq(r.mended, 2);
	spool_uid_format(uid, ids[3]);
	snprintf(name, sizeof(name), "damaged/%s", uid);
	ck_assert_int_eq(stat(path_of(name), &file), 0);
	ck_assert_int_eq(file.st_size, 3 * 4096);
	run("test $(ls damaged | wc -l) = 1");
}
END_TEST

/* What the reading of segments hears. */
static atomic_int open_errno;

int
openat(int dir, const char *name, int flags, ...)
{
	int errnum = atomic_load(&open_errno);
	mode_t mode = 0;
	va_list ap;

	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (errnum != 0 && (flags & O_ACCMODE) == O_RDONLY && name[0] >= '0' && name[0] <= '9') {
		errno = errnum;
		return -1;
	}
	return (int)syscall(SYS_openat, dir, name, flags, mode);
}

/* A file that cannot be opened for want of something that passes is no damage. */
START_TEST(nothing_is_set_apart_for_what_passes)
{
	static const int passing[] = { EMFILE, ENFILE, ENOMEM };
	struct strbuf text;
	const struct check_options options = { .repair = true, .each = write_finding,
		.arg = &text };

	strbuf_init(&text, 1 << 20);
	atomic_store(&open_errno, passing[_i]);
	ck_assert_int_eq(check_spool(sp, &options, &r), SPOOL_NO_MEMORY);
	atomic_store(&open_errno, 0);
	strbuf_release(&text);
	assert_right();
	ck_assert_uint_eq(shown(1), 3);
}
END_TEST

START_TEST(nothing_is_set_apart_without_its_copy)
{
	struct strbuf text;
	const struct check_options options = { .repair = true, .each = write_finding, .arg = &text };
	struct disk_ops disk = disk_real;

	strbuf_init(&text, 1 << 20);
	flip(ids[3], 110);
	run(no_copies[_i].before);
	no_copy_errno = no_copies[_i].errnum;
	if (no_copy_errno != 0) {
		disk.pwritev = no_copy;
		sp->disk = &disk;
	}
	ck_assert_int_eq(check_spool(sp, &options, &r), no_copies[_i].want);
	sp->disk = &disk_real;
	ck_assert_ptr_nonnull(strstr(text.buf, "its record is damaged"));
	ck_assert_uint_eq(r.mended, 0);
	ck_assert(!copied(ids[3]));
	ck_assert_uint_eq(shown(1), 3);
	test_invariants(sp);
	run(no_copies[_i].after);
	check(true);
	ck_assert_uint_eq(r.mended, 2);
	ck_assert(copied(ids[3]));
	ck_assert_uint_eq(shown(1), 2);
	strbuf_release(&text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("repair_copies");
	TCase *tc = tcase_create("repair_copies");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, half_a_copy_is_none);
	tcase_add_loop_test(tc, nothing_is_set_apart_for_what_passes, 0, 3);
	tcase_add_loop_test(tc, nothing_is_set_apart_without_its_copy, 0, 3);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
