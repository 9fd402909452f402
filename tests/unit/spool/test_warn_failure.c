/*
 * A warning is never sent twice, whichever call to the disk fails under it and wherever the
 * process or the power ends; and it is sent all the same when a failure has passed.
 *
 * A child brings a mailbox across a share and does a round on a disk that fails at the n-th
 * call, for each n that it reaches.  Then the disk is made what its end leaves, a spool is
 * opened on it, and rounds are done until nothing more comes of them.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/spool/warn.h"
#include "common/spool/warn_internal.h"
#include "fault_sqlite.h"
#include "spool/warning.h"

#define BASE_OCTETS 100000

static struct told {
	bool fired;
	bool unsure; /* a sync failed: whether the state is on disk cannot be told */
} * told;

static struct spool *
open_on(const struct disk_ops *disk)
{
	static const struct spool_warning warning = {
		.percent = { 80 }, .n = 1, .hostname = "mail.example.test",
	};
	struct spool_options options = { .dir = spool_test_dir, .role = SPOOL_ADMIN };
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open_on(&options, disk, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	ck_assert_int_eq(spool_set_warning(sp, &warning), SPOOL_OK);
	return sp;
}

static void
setup(void)
{
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(told, MAP_FAILED);
	spool_test_make();
	struct spool *sp = open_on(&disk_real);
	test_mailboxes(sp, 1);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	fault_keep();
}

static int64_t
warnings(struct spool *sp)
{
	return test_number(sp, "SELECT count(*) FROM entry WHERE reverse_path = ''");
}

/* As the keeper does it. */
static void
rounds(struct spool *sp)
{
	for (int i = 0; i < 4; i++) {
		spool_upkeep(sp);
		sp->warner->next_look_ms = 0;
		warn_round(sp);
	}
	test_invariants(sp);
}

/* In the child: never returns. */
static void
run_child(enum fault_mode mode, long at, int errnum)
{
	struct spool *sp;

	fault_sqlite();
	sp = open_on(&fault_disk);
	ck_assert_int_eq(test_deliver(sp, 1, BASE_OCTETS, 1, 1, NULL), SPOOL_OK);
	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9");
	fault_all_synced();
	fault_arm(mode, at, errnum);
	told->unsure = warn_round(sp) == SPOOL_UNKNOWN;
	told->fired = atomic_load(&fault.fired);
	fault.mode = FAULT_NONE;
	if (mode == FAULT_ONCE || mode == FAULT_LATE) {
		rounds(sp);
		ck_assert_int_le(warnings(sp), 1);
		if (!told->unsure && mode == FAULT_ONCE)
			ck_assert_int_eq(warnings(sp), 1);
	}
	_exit(0);
}

/* One run; false when the round ends before its n-th call. */
static bool
run(enum fault_mode mode, int errnum, long at, enum fault_end end, unsigned *sent)
{
	struct spool *sp;
	int status;
	pid_t pid;

	fault_reset();
	memset(told, 0, sizeof(*told));
	pid = fork();
	if (pid == 0)
		run_child(mode, at, errnum);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (mode == FAULT_CRASH && WIFEXITED(status) && WEXITSTATUS(status) == FAULT_EXIT)
		told->fired = true;
	else
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		    "mode %d, call %ld: the child ended with %d", mode, at, status);
	fault_apply_end(end, (uint32_t)at * 31 + (uint32_t)mode);

	sp = open_on(&disk_real);
	if (warnings(sp) == 1)
		ck_assert_int_eq(test_number(sp, "SELECT warned FROM mailbox"), 80);
	rounds(sp);
	ck_assert_msg(warnings(sp) <= 1, "mode %d, call %ld, end %d: sent twice", mode, at, end);
	ck_assert_int_eq(test_number(sp, "SELECT warned FROM mailbox"), 80);
	*sent += warnings(sp) == 1;
	spool_close(&sp);
	return told->fired;
}

static const struct {
	const char *name;
	enum fault_mode mode;
	int errnum;
} modes[] = {
	{ "once", FAULT_ONCE, EIO },
	{ "once, disk full", FAULT_ONCE, ENOSPC },
	{ "from now on", FAULT_STUCK, EIO },
	{ "done all the same", FAULT_LATE, EIO },
	{ "by half", FAULT_HALF, ENOSPC },
	{ "the end", FAULT_CRASH, 0 },
};

START_TEST(every_call)
{
	const char *load = getenv("TEST_LOAD");
	/* Where a sanitizer slows all down the ends take turns. */
	bool all_ends = load == NULL || atof(load) >= 1;
	unsigned sent = 0, tried = 0;
	bool fired = true;
	long at = 0;

	while (fired) {
		at++;
		for (int end = 0; end < FAULT_ENDS; end++) {
			if (!all_ends && end != (at + _i) % FAULT_ENDS)
				continue;
			fired = run(modes[_i].mode, modes[_i].errnum, at, (enum fault_end)end, &sent);
			tried++;
		}
	}
	ck_assert_int_gt(at, 8);
	/* It is lost where the end is between the state and the message, not everywhere. */
	ck_assert_msg(sent * 3 > tried, "%s: %u of %u were sent", modes[_i].name, sent, tried);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("warn_failure");
	TCase *tc = tcase_create("warn_failure");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, spool_test_remove);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, every_call, 0, sizeof(modes) / sizeof(*modes));
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
