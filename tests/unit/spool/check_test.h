/*
 * check_test - a spool of five mailboxes, what check finds in it, and whether survey tells the same
 * sizes.
 */
#ifndef TESTS_UNIT_SPOOL_CHECK_TEST_H
#define TESTS_UNIT_SPOOL_CHECK_TEST_H

#include <sys/wait.h>

#include "base/clock.h"
#include "common/spool/remove.h"
#include "delivery_test.h"
#include "spool/check.h"
#include "spool/survey.h"

static struct spool *sp;

static void
open_spool(void)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN,
		.segment_max = 256 * 1024,
		.policy = { .keep_deleted_s = 3600, .keep_deleted_max = UINT64_C(1) << 40 } };
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
}

static void
keep(uint64_t seconds)
{
	const struct spool_policy policy = { .keep_deleted_s = seconds,
		.keep_deleted_max = UINT64_C(1) << 40 };

	spool_set_policy(sp, &policy);
}

static void
setup(void)
{
	spool_test_make();
	open_spool();
	test_mailboxes(sp, 5);
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

static void
write_finding(void *arg, const struct check_finding *f)
{
	ck_assert(f->what[0] != '\0');
	strbuf_addf(arg, "%s %s %s\n", f->address != NULL ? f->address : "-",
	    f->uid != NULL ? f->uid : "-", f->what);
}

/* All findings as one text, to be freed. */
static char *
check(struct check_result *r)
{
	struct strbuf text;
	uint64_t lines = 0;
	char *found;

	strbuf_init(&text, 1 << 20);
	ck_assert_int_eq(check_run(sp, write_finding, &text, r), SPOOL_OK);
	for (size_t i = 0; i < text.len; i++)
		lines += text.buf[i] == '\n';
	ck_assert_uint_eq(r->wrong, lines);
	found = mem_dup(text.buf, text.len);
	strbuf_release(&text);
	return found;
}

/* Nothing is wrong, and the two that tell sizes tell the same. */
static void
assert_right(void)
{
	struct check_result r;
	struct survey s;
	char *found = check(&r);

	ck_assert_str_eq(found, "");
	free(found);
	ck_assert_int_eq(survey_spool(sp, &s), SPOOL_OK);
	ck_assert_uint_eq(s.mailboxes, r.mailboxes);
	ck_assert_uint_eq(s.messages, r.messages);
	ck_assert_uint_eq(s.space.live, r.space.live);
	ck_assert_uint_eq(s.space.kept, r.space.kept);
	ck_assert_uint_eq(s.space.dead, r.space.dead);
	ck_assert_uint_eq(s.space.given_back, r.space.given_back);
	ck_assert_int_eq((int64_t)r.space.dead,
	    test_number(sp, "SELECT coalesce(sum(blocks), 0) * 4096 FROM garbage"));
}

static uint64_t
deliver(unsigned number, size_t len, uint64_t first, uint64_t last)
{
	uint64_t id = 0;

	ck_assert_int_eq(test_deliver(sp, number, len, first, last, &id), SPOOL_OK);
	return id;
}

SPOOL_TEST_MAYBE static void
remove_one(uint64_t mailbox, uint64_t message, bool kept)
{
	struct index_conn *c;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_int_eq(kept ? remove_kept(c, mailbox, &message, 1)
	                      : remove_entries(sp, c, mailbox, &message, 1, REMOVE_POP3),
	    SPOOL_OK);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
}

/* Another process takes a role and tells that it has.  It opens no spool: threads of a process
 * that was forked are not for every sanitizer. */
SPOOL_TEST_MAYBE static pid_t
take_elsewhere(enum lock_role role, bool shared, unsigned hold_ms)
{
	int pipes[2];
	pid_t child;
	char done;

	ck_assert_int_eq(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		struct locks locks;

		if (locks_open(&locks, &disk_real, sp->dir_fd) != 0 ||
		    lock_role_try(&locks, role, shared) != 0 || write(pipes[1], "x", 1) != 1)
			_exit(1);
		usleep(hold_ms * 1000);
		_exit(0);
	}
	close(pipes[1]);
	ck_assert_int_eq(read(pipes[0], &done, 1), 1);
	close(pipes[0]);
	return child;
}

#endif
