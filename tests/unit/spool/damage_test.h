/*
 * damage_test - a spool of a few messages whose places are known, to be damaged; and what check
 * says of it.
 */
#ifndef TESTS_UNIT_SPOOL_DAMAGE_TEST_H
#define TESTS_UNIT_SPOOL_DAMAGE_TEST_H

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "delivery_test.h"
#include "spool/check.h"
#include "spool/maildrop.h"

static struct spool *sp;
static uint64_t ids[4];

SPOOL_TEST_MAYBE static void
open_as(enum spool_role role)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = role,
		.segment_max = 64 * 1024 };
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
}

/* Mailboxes 1 and 2 have mail in segments of their own: ids[0] and ids[1]; ids[2] and ids[3]
 * share one. */
SPOOL_TEST_MAYBE static void
setup(void)
{
	spool_test_make();
	open_as(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(test_deliver(sp, i, 70000, i + 1, i + 1, &ids[i]), SPOOL_OK);
	ck_assert_uint_ne(message_segment(ids[0]), message_segment(ids[1]));
	/* These two share a segment, and the second its mailboxes. */
	ck_assert_int_eq(test_deliver(sp, 2, 5000, 1, 1, &ids[2]), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 3, 9000, 1, 2, &ids[3]), SPOOL_OK);
	ck_assert_uint_eq(message_segment(ids[2]), message_segment(ids[3]));
	spool_close(&sp);
	open_as(SPOOL_ADMIN);
}

SPOOL_TEST_MAYBE static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

SPOOL_TEST_MAYBE static const char *
path_of(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", spool_test_dir, name);
	return path;
}

SPOOL_TEST_MAYBE static const char *
segment_path(uint64_t message)
{
	char name[64];

	snprintf(name, sizeof(name), "segments/%" PRIu64, message_segment(message));
	return path_of(name);
}

SPOOL_TEST_MAYBE static void
write_finding(void *arg, const struct check_finding *f)
{
	strbuf_addf(arg, "%s %s %s %s\n", f->note ? "note" : f->mended ? "mended" : "wrong",
	    f->address != NULL ? f->address : "-", f->uid != NULL ? f->uid : "-", f->what);
}

static struct check_result r;

/* All findings as one text, valid until the next call. */
SPOOL_TEST_MAYBE static const char *
check(bool repair)
{
	static struct strbuf text;
	const struct check_options options = { .repair = repair, .each = write_finding,
		.arg = &text };

	strbuf_release(&text);
	strbuf_init(&text, 1 << 20);
	strbuf_addstr(&text, "");
	ck_assert_int_eq(check_spool(sp, &options, &r), SPOOL_OK);
	return text.len > 0 ? text.buf : "";
}

SPOOL_TEST_MAYBE static void
assert_right(void)
{
	ck_assert_str_eq(check(false), "");
	ck_assert_uint_eq(r.wrong + r.mended + r.set_apart, 0);
}

/* The file of a segment is written over: one octet, `at` in the record, is another one. */
SPOOL_TEST_MAYBE static void
flip(uint64_t message, uint64_t at)
{
	off_t offset = (off_t)(message_block(message) * RECORD_BLOCK + at);
	int fd = open(segment_path(message), O_RDWR);
	char octet;

	ck_assert_int_eq(pread(fd, &octet, 1, offset), 1);
	octet ^= 1;
	ck_assert_int_eq(pwrite(fd, &octet, 1, offset), 1);
	close(fd);
}

SPOOL_TEST_MAYBE static void
destroy_header(uint64_t message)
{
	int fd = open(segment_path(message), O_WRONLY);

	ck_assert_int_eq(pwrite(fd, "destroyed", 9, 10), 9);
	close(fd);
}

SPOOL_TEST_MAYBE static size_t
shown(uint64_t mailbox)
{
	struct maildrop *md = test_maildrop(sp, mailbox);
	size_t n = maildrop_count(md);

	maildrop_close(&md);
	return n;
}

/* A command of the shell, in the spool. */
SPOOL_TEST_MAYBE static void
run(const char *what)
{
	char command[1000];

	snprintf(command, sizeof(command), "cd '%s' && { %s; }", spool_test_dir, what);
	ck_assert_int_eq(system(command), 0);
}

/* SPOOL/damaged/ has the message. */
SPOOL_TEST_MAYBE static bool
copied(uint64_t message)
{
	char name[64], uid[SPOOL_UID_LEN + 1];
	struct stat file;

	spool_uid_format(uid, message);
	snprintf(name, sizeof(name), "damaged/%s", uid);
	return stat(path_of(name), &file) == 0 && file.st_size % 4096 == 0 && file.st_size > 0;
}

#endif
