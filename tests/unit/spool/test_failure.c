/*
 * What was refused is in no mailbox and what was acknowledged is in all, whichever call to
 * the disk fails, and wherever the process or the power ends.
 *
 * A child plays a scenario on a disk that fails at the n-th call, for each n that it
 * reaches, writing down what it is told.  Then it ends without a word, the disk is made what
 * such an end leaves, and a spool is opened on it.
 *
 * FAULT_ALL_ENDS=1 (make failures) tries every end with every call, not one of them in turn.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/spool/delivery_internal.h"
#include "common/spool/remove.h"
#include "fault_sqlite.h"

#define MESSAGES 8
#define NO_ANSWER (-1)

/* What the child was told. */
static struct told {
	int outcome[MESSAGES]; /* NO_ANSWER, or the status */
	int removed;           /* of messages 0 and 2 */
	int afterwards;        /* a message once the disk is well again */
	bool stops;            /* after the first failure that it was told of */
	bool fired;
	bool finished;
} * told;

static const size_t message_sizes[MESSAGES] = { 600, 5000, 300000, 700, 9000, 280000, 100, 4000 };
#define AFTERWARDS 100

static struct spool *
open_on(const struct disk_ops *disk, enum spool_role role)
{
	struct spool_options options = {
		.dir = spool_test_dir,
		.role = role,
		.segment_max = 40000,
	};
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open_on(&options, disk, &sp, &err) == SPOOL_OK, "%s", err.buf);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	strbuf_release(&err);
	return sp;
}

static void
setup(void)
{
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(told, MAP_FAILED);

	spool_test_make();
	struct spool *sp = open_on(&disk_real, SPOOL_ADMIN);
	test_mailboxes(sp, 2);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	fault_keep();
}

/* --- the scenario --------------------------------------------------------- */

static void
note_outcome(void *arg, struct delivery *d)
{
	(void)arg;
	/* The number is in the octets; the size says it as well. */
	for (int i = 0; i < MESSAGES; i++)
		if (d->octets == message_sizes[i])
			told->outcome[i] = (int)delivery_outcome(d);
}

static void
told_and_done(void *arg, struct delivery *d)
{
	note_outcome(NULL, d);
	test_done(arg, d);
}

/* Messages `first` to `last`, each to mailboxes 1 and 2, in two groups: the first alone, for
 * which the committer has to wait, and the others.  False when the child is to end. */
static bool
deliver_together(struct spool *sp, unsigned first, unsigned last)
{
	struct delivery *d[MESSAGES] = { NULL };
	struct index_conn *c = NULL;
	unsigned waiting = 0;
	enum spool_status st;
	struct test_wait w;

	test_wait_init(&w);
	for (unsigned i = first; i <= last; i++) {
		d[i] = test_written(sp, i, message_sizes[i], test_envelope(1, 2), &st);
		if (d[i] == NULL)
			told->outcome[i] = (int)st;
	}
	if (index_write_begin(sp, INDEX_MAIN, "test", &c) != SPOOL_OK)
		c = NULL;
	for (unsigned i = first; i <= last; i++)
		if (d[i] != NULL) {
			delivery_commit(d[i], message_sizes[i], told_and_done, &w);
			waiting++;
			usleep(1000);
		}
	index_write_abandon(sp, &c);
	test_wait_for(&w, waiting);
	for (unsigned i = first; i <= last; i++)
		delivery_abandon(&d[i]);
	return !(told->stops && atomic_load(&fault.fired));
}

/* Out of both mailboxes, in one transaction. */
static enum spool_status
remove_messages(struct spool *sp, const char *const *which, size_t n, bool durable)
{
	uint64_t messages[2];
	struct index_conn *c;
	enum spool_status st;

	for (size_t i = 0; i < n; i++)
		messages[i] = (uint64_t)test_number(sp, which[i]);
	st = index_write_begin(sp, INDEX_MAIN, "test", &c);
	if (st != SPOOL_OK)
		return st;
	for (uint64_t mailbox = 1; st == SPOOL_OK && mailbox <= 2; mailbox++)
		st = remove_entries(sp, c, mailbox, messages, n, REMOVE_POP3);
	if (st == SPOOL_OK)
		return index_write_commit(sp, &c, durable);
	index_write_abandon(sp, &c);
	return st;
}

/* By their sizes: one of the common segment, one with a segment of its own. */
static const char *const told_gone[] = {
	"SELECT message FROM entry WHERE octets BETWEEN 600 AND 690",
	"SELECT message FROM entry WHERE octets > 300000",
};
static const char *const quietly_gone[] = {
	"SELECT message FROM entry WHERE octets BETWEEN 9000 AND 9500",
	"SELECT message FROM entry WHERE octets BETWEEN 280000 AND 290000",
};

static void
play(struct spool *sp)
{
	if (!deliver_together(sp, 0, 0) || !deliver_together(sp, 1, 3))
		return;
	told->removed = (int)remove_messages(sp, told_gone, 2, true);
	if (told->stops && atomic_load(&fault.fired))
		return;
	spool_upkeep(sp);
	if (!deliver_together(sp, 4, 5))
		return;
	/* As expiry does it: nobody is told, so nobody waits for a sync. */
	remove_messages(sp, quietly_gone, 2, false);
	spool_upkeep(sp);
	deliver_together(sp, 6, 7);
}

/* --- what must be true ---------------------------------------------------- */

#define NUMBERS (AFTERWARDS + 2)

static void
check_message(int i, unsigned copies, int outcome, bool may_be_gone, bool must_be_gone)
{
	ck_assert_msg(copies <= 1, "message %d is there %u times", i, copies);
	if (must_be_gone)
		ck_assert_msg(copies == 0, "message %d came back", i);
	else if (outcome == SPOOL_OK && !may_be_gone)
		ck_assert_msg(copies == 1, "message %d was acknowledged and is lost", i);
	else if (outcome != SPOOL_OK && outcome != SPOOL_UNKNOWN && outcome != NO_ANSWER)
		ck_assert_msg(copies == 0, "message %d was refused (%s) and is there", i,
		    spool_status_text((enum spool_status)outcome));
}

static bool
is_told_gone(int i)
{
	return i == 0 || i == 2;
}

static bool
is_quietly_gone(int i)
{
	return i == 4 || i == 5;
}

static void
check_told(struct spool *sp)
{
	/* Told as gone, or told as not gone, or not told. */
	bool gone = told->removed == SPOOL_OK;
	bool kept = told->removed != SPOOL_OK && told->removed != SPOOL_UNKNOWN &&
	            told->removed != NO_ANSWER;
	unsigned one[NUMBERS], two[NUMBERS];

	test_invariants(sp);
	test_count(sp, 1, one, NUMBERS);
	test_count(sp, 2, two, NUMBERS);
	ck_assert_msg(memcmp(one, two, sizeof(one)) == 0, "not all recipients, or not none");
	for (int i = 0; i < MESSAGES; i++)
		check_message(i, one[i], told->outcome[i],
		    is_quietly_gone(i) || (is_told_gone(i) && !kept), is_told_gone(i) && gone);
	if (told->afterwards != NO_ANSWER)
		check_message(AFTERWARDS, one[AFTERWARDS], told->afterwards, false, false);
}

/* In the child: never returns. */
static void
run_child(enum fault_mode mode, long at, int errnum)
{
	struct spool *sp;

	fault_sqlite();
	sp = open_on(&fault_disk, SPOOL_ADMIN);
	fault_all_synced();
	fault_arm(mode, at, errnum);
	told->removed = NO_ANSWER;
	play(sp);
	told->fired = atomic_load(&fault.fired);
	told->finished = true;
	if (told->stops && told->fired)
		_exit(0);
	told->finished = false;
	/* The disk is well again: so is the spool, after a round of upkeep or two. */
	fault.mode = FAULT_NONE;
	for (int i = 0; i < 3; i++)
		spool_upkeep(sp);
	check_told(sp);
	told->afterwards = (int)test_deliver(sp, AFTERWARDS, 2000, 1, 2, NULL);
	ck_assert_int_eq(told->afterwards, SPOOL_OK);
	check_told(sp);
	told->finished = true;
	_exit(0);
}

static int
wait_for_child(pid_t pid)
{
	int status;

	ck_assert_int_ge(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* A start after the end, which may itself end at any call. */
static void
start_and_end(long at)
{
	struct spool *sp;
	pid_t pid = fork();

	if (pid != 0) {
		wait_for_child(pid);
		return;
	}
	fault_sqlite();
	fault_arm(FAULT_CRASH, at, 0);
	sp = open_on(&fault_disk, SPOOL_ADMIN);
	test_invariants(sp);
	_exit(0);
}

struct run {
	enum fault_mode mode;
	int errnum;
	bool stops; /* ends as soon as it is told of a failure */
	bool twice; /* ends again while it starts */
};

/* One run; false when the scenario ends before its n-th call. */
static bool
run(const struct run *r, long at, enum fault_end end)
{
	struct spool *sp;
	int status;
	pid_t pid;

	fault_reset();
	memset(told, 0, sizeof(*told));
	for (int i = 0; i < MESSAGES; i++)
		told->outcome[i] = NO_ANSWER;
	told->removed = told->afterwards = NO_ANSWER;

	told->stops = r->stops;
	pid = fork();
	if (pid == 0)
		run_child(r->mode, at, r->errnum);
	status = wait_for_child(pid);
	if (r->mode == FAULT_CRASH && WIFEXITED(status) && WEXITSTATUS(status) == FAULT_EXIT)
		told->fired = true;
	else
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0 && told->finished,
		    "mode %d, call %ld: the child ended with %d", r->mode, at, status);
	if (r->twice)
		start_and_end(at % 14 + 1);

	fault_apply_end(end, (uint32_t)at * 31 + (uint32_t)r->mode);
	sp = open_on(&disk_real, SPOOL_SMTPD);
	check_told(sp);
	ck_assert_int_eq(test_deliver(sp, AFTERWARDS + 1, 300, 1, 2, NULL), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	check_told(sp);
	spool_close(&sp);
	return told->fired;
}

static const struct {
	const char *name;
	struct run run;
} modes[] = {
	{ "once", { FAULT_ONCE, EIO, false, false } },
	{ "once, disk full", { FAULT_ONCE, ENOSPC, false, false } },
	{ "once, and then the end", { FAULT_ONCE, EIO, true, false } },
	{ "from now on", { FAULT_STUCK, EIO, false, false } },
	{ "done all the same", { FAULT_LATE, EIO, false, false } },
	{ "done all the same, and then the end", { FAULT_LATE, EIO, true, false } },
	{ "by half", { FAULT_HALF, ENOSPC, false, false } },
	{ "the end", { FAULT_CRASH, 0, false, false } },
	{ "the end, twice", { FAULT_CRASH, 0, false, true } },
};

/* All calls take minutes.  So every fourth one, and fewer where a sanitizer slows all down; other
 * ones in each mode. */
static long
stride(void)
{
	const char *load = getenv("TEST_LOAD");
	double part = load != NULL ? atof(load) : 1;

	if (getenv("FAULT_ALL_ENDS") != NULL)
		return 1;
	return part > 0 && part < 1 ? (long)(2 / part) : 4;
}

START_TEST(every_call)
{
	const struct run *r = &modes[_i].run;
	bool all_ends = (r->mode == FAULT_CRASH && !r->twice) || getenv("FAULT_ALL_ENDS") != NULL;
	bool fired = true;
	long step = stride(), at = _i % step + 1;

	/* In turn by runs: by calls a stride would meet the same ends again and again. */
	for (long n = _i; fired; n++, at += step)
		for (int end = 0; end < FAULT_ENDS; end++)
			if (all_ends || end == n % FAULT_ENDS)
				fired = run(r, at, (enum fault_end)end);
	ck_assert_int_gt(at, 60);
}
END_TEST

/* Nothing fails: so the scenario does what the others rely on. */
START_TEST(nothing_fails)
{
	struct run r = { .mode = FAULT_NONE };

	ck_assert(!run(&r, 0, (enum fault_end)_i));
	for (int i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(told->outcome[i], SPOOL_OK);
	ck_assert_int_eq(told->removed, SPOOL_OK);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("failure");
	TCase *tc = tcase_create("failure");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, spool_test_remove);
	tcase_set_timeout(tc, 600);
	tcase_add_loop_test(tc, nothing_fails, 0, FAULT_ENDS);
	tcase_add_loop_test(tc, every_call, 0, sizeof(modes) / sizeof(*modes));
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
