/*
 * The power fails at any instant, and again while the spool recovers from that.
 *
 * A child delivers, deletes and keeps house until its n-th call to the disk.  Then each file
 * becomes what it may be: of what was not synced, each 512 octets are kept or lost by
 * themselves, and so are its length and its name.  A second child recovers that (or what the
 * first one left in the page cache) and ends in the same way; a spool is opened on what is left, and must be what both were told.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/spool/delivery_internal.h"
#include "fault_test.h"
#include "spool/history.h"
#include "spool/maildrop.h"

#define ROUNDS 5
#define PER_ROUND 4
#define MESSAGES (ROUNDS * PER_ROUND)
#define MAILBOXES 3
#define AFTERWARDS MESSAGES
#define NO_ANSWER (-1)
#define SECTOR 512
/* Calls until the second end, at most: recovery and a round of upkeep. */
#define RECOVERY_CALLS 40
/* fdatasyncs of the scenario, at least. */
#define DATA_SYNCS 20
#define RUNS 100

enum removal { NOT_ASKED, ASKED, REMOVED, NOT_REMOVED };

/* What the first child was told. */
static struct told {
	int outcome[MESSAGES];
	enum removal removal[MAILBOXES + 1][MESSAGES];
	long calls;
} *told;

static uint32_t random_state;
/* Deleted mail is kept, and of it what takes so many octets. */
static uint64_t keep_max;

static uint32_t
random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void
setup(void)
{
	/* Thousands of syncs: in memory they cost nothing. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(told, MAP_FAILED);
}

static struct spool *
open_on(const struct disk_ops *disk)
{
	const struct spool_options options = {
		.dir = spool_test_dir,
		.role = SPOOL_ADMIN,
		.policy = { .keep_deleted_s = keep_max > 0 ? 1000 : 0,
			.keep_deleted_max = keep_max },
		.segment_max = 40000,
	};
	struct strbuf err;
	struct spool *sp;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open_on(&options, disk, &sp, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	return sp;
}

/* --- the scenario --------------------------------------------------------- */

/* Each its own, so that a size says which message it is; one of a round has its own segment. */
static size_t
size_of(unsigned i)
{
	return i % PER_ROUND == 1 ? 270000 + i : 300 + i * 613;
}

static void
note_outcome(void *arg, struct delivery *d)
{
	for (unsigned i = 0; i < MESSAGES; i++)
		if (d->octets == size_of(i))
			told->outcome[i] = (int)delivery_outcome(d);
	test_done(arg, d);
}

/* The messages of a round at once; each for one, two or three mailboxes. */
static void
deliver_round(struct spool *sp, unsigned round)
{
	struct delivery *d[PER_ROUND];
	enum spool_status st;
	struct test_wait w;

	test_wait_init(&w);
	for (unsigned k = 0; k < PER_ROUND; k++) {
		unsigned i = round * PER_ROUND + k;

		d[k] = test_written(sp, i, size_of(i), test_envelope(1, 1 + i % MAILBOXES), &st);
		ck_assert_ptr_nonnull(d[k]);
	}
	for (unsigned k = 0; k < PER_ROUND; k++)
		delivery_commit(d[k], size_of(round * PER_ROUND + k), note_outcome, &w);
	test_wait_for(&w, PER_ROUND);
	for (unsigned k = 0; k < PER_ROUND; k++)
		delivery_abandon(&d[k]);
}

/* What the mailbox has of the messages whose number leaves this rest goes. */
static void
remove_some(struct spool *sp, unsigned mailbox, unsigned rest)
{
	enum removal *removal = told->removal[mailbox];
	struct maildrop *md;
	enum spool_status st;
	char address[64];

	snprintf(address, sizeof(address), "user%u@example.test", mailbox);
	ck_assert_int_eq(maildrop_lock(sp, mailbox, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	for (size_t k = 0; k < maildrop_count(md); k++)
		for (unsigned i = rest; i < MESSAGES; i += 2)
			if (maildrop_octets(md, k) ==
			    size_of(i) + record_prefix_len("sender@example.org", address)) {
				maildrop_mark(md, k);
				removal[i] = ASKED;
			}
	st = maildrop_update(md);
	for (unsigned i = rest; i < MESSAGES; i += 2)
		if (removal[i] == ASKED && st != SPOOL_UNKNOWN)
			removal[i] = st == SPOOL_OK ? REMOVED : NOT_REMOVED;
	maildrop_close(&md);
}

static void
play(struct spool *sp)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		deliver_round(sp, round);
		for (unsigned mailbox = 1; mailbox <= MAILBOXES; mailbox++)
			remove_some(sp, mailbox, (round + mailbox / 3) % 2);
		if (round % 2 == 1)
			spool_upkeep(sp);
	}
}

/* --- what must be true ---------------------------------------------------- */

static void
check_message(unsigned mailbox, unsigned i, unsigned copies)
{
	enum removal removal = told->removal[mailbox][i];
	int outcome = told->outcome[i];
	bool meant = mailbox <= 1 + i % MAILBOXES;
	bool may_be = outcome == SPOOL_OK || outcome == SPOOL_UNKNOWN || outcome == NO_ANSWER;

	ck_assert_msg(copies <= 1, "message %u is in mailbox %u %u times", i, mailbox, copies);
	if (!meant || !may_be || removal == REMOVED)
		ck_assert_msg(copies == 0, "message %u is in mailbox %u: outcome %d, removal %d", i,
		    mailbox, outcome, (int)removal);
	else if (outcome == SPOOL_OK && removal != ASKED)
		ck_assert_msg(copies == 1, "message %u is lost from mailbox %u", i, mailbox);
}

static void
check_told(struct spool *sp)
{
	unsigned count[MESSAGES + 1];

	test_invariants(sp);
	for (unsigned mailbox = 1; mailbox <= MAILBOXES; mailbox++) {
		test_count(sp, mailbox, count, MESSAGES + 1);
		for (unsigned i = 0; i < MESSAGES; i++)
			check_message(mailbox, i, count[i]);
	}
}

/* What is kept comes back whole: what was told to be gone, or may be, and each once. */
static void
check_kept(struct spool *sp)
{
	unsigned before[MESSAGES + 1], after[MESSAGES + 1];
	struct history_restored r;

	for (unsigned mailbox = 1; keep_max > 0 && mailbox <= MAILBOXES; mailbox++) {
		test_count(sp, mailbox, before, MESSAGES + 1);
		ck_assert_int_eq(history_restore(sp, mailbox, NULL, 0, false, &r), SPOOL_OK);
		test_count(sp, mailbox, after, MESSAGES + 1);
		for (unsigned i = 0; i < MESSAGES; i++) {
			ck_assert_uint_le(after[i], 1);
			ck_assert_uint_ge(after[i], before[i]);
			ck_assert(after[i] == before[i] || told->removal[mailbox][i] != NOT_ASKED);
			r.messages -= after[i] - before[i];
		}
		ck_assert_uint_eq(r.messages, 0);
	}
	test_invariants(sp);
}

/* --- the end -------------------------------------------------------------- */

static void
make_shadow(void)
{
	snprintf(fault_shadow, sizeof(fault_shadow), "%.250s-shadow", spool_test_dir);
	ck_assert_int_eq(mkdir(fault_shadow, 0700), 0);
}

static uint8_t *
read_whole(const char *path, size_t *len_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *buf;

	*len_r = 0;
	if (fd < 0)
		return NULL;
	ck_assert_int_eq(fstat(fd, &st), 0);
	buf = malloc((size_t)st.st_size + 1);
	ck_assert_int_eq(read(fd, buf, (size_t)st.st_size), st.st_size);
	close(fd);
	*len_r = (size_t)st.st_size;
	return buf;
}

/* Of each sector what was synced or what was written; the same for the length. */
static void
tear(const char *path)
{
	size_t new_len, old_len, len;
	uint8_t *new = read_whole(path, &new_len), *old, *torn;
	char shadow[400];
	struct stat st;
	int fd;

	ck_assert_int_eq(stat(path, &st), 0);
	old = read_whole(fault_shadow_path(shadow, st.st_ino), &old_len);
	len = random_below(4) > 0 ? new_len : old_len;
	torn = calloc(1, len + SECTOR);
	for (size_t at = 0; at < len; at += SECTOR) {
		bool is_new = random_below(2) > 0;
		const uint8_t *from = is_new ? new : old;
		size_t from_len = is_new ? new_len : old_len;

		if (at < from_len)
			memcpy(torn + at, from + at,
			    from_len - at < SECTOR ? from_len - at : SECTOR);
	}
	/* The same inode: the shadow goes by it. */
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ck_assert_int_eq(write(fd, torn, len), (ssize_t)len);
	close(fd);
	free(torn);
	free(old);
	free(new);
}

static void
end_in_tatters(void)
{
	char path[600];
	const struct dirent *file;
	DIR *dir;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", spool_test_dir, fault_index_files[i]);
		tear(path);
	}
	snprintf(path, sizeof(path), "%s/segments", spool_test_dir);
	dir = opendir(path);
	while ((file = readdir(dir)) != NULL)
		if (file->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/segments/%s", spool_test_dir, file->d_name);
			tear(path);
		}
	closedir(dir);
	fault_apply_end(FAULT_END_MIXED, random_below(1u << 24));
	/* The next end has shadows of its own. */
	ck_assert_int_eq(nftw(fault_shadow, spool_test_unlink, 16, FTW_DEPTH | FTW_PHYS), 0);
	make_shadow();
	fault_all_synced();
}

static long data_syncs_left;

/* Most calls are SQLite's; what was written and not yet synced deserves more than its share. */
static int
end_before_data_sync(int fd)
{
	if (--data_syncs_left == 0)
		_exit(FAULT_EXIT);
	return fault_disk.fdatasync(fd);
}

/* Plays `what` in a child that ends at its n-th call, or, for -n, before its n-th fdatasync;
 * false when it comes to its end before. */
static bool
run_child(void (*what)(struct spool *), long at)
{
	struct disk_ops disk = fault_disk;
	struct spool *sp;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		fault_sqlite();
		fault_arm(at > 0 ? FAULT_CRASH : FAULT_NONE, at, 0);
		data_syncs_left = -at;
		if (at < 0)
			disk.fdatasync = end_before_data_sync;
		sp = open_on(&disk);
		what(sp);
		told->calls = atomic_load(&fault.calls);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) &&
		(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FAULT_EXIT),
	    "at call %ld the child ended with %d", at, status);
	return WEXITSTATUS(status) == FAULT_EXIT;
}

static void
begin(void)
{
	struct spool *sp;

	spool_test_make();
	make_shadow();
	sp = open_on(&disk_real);
	test_mailboxes(sp, MAILBOXES);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	spool_close(&sp);
	fault_all_synced();
	memset(told, 0, sizeof(*told));
	for (unsigned i = 0; i < MESSAGES; i++)
		told->outcome[i] = NO_ANSWER;
}

static void
finish(void)
{
	struct spool *sp = open_on(&disk_real);

	check_told(sp);
	ck_assert_int_eq(test_deliver(sp, AFTERWARDS, 700, 1, MAILBOXES, NULL), SPOOL_OK);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	check_told(sp);
	ck_assert_uint_eq(test_copies(sp, 1, AFTERWARDS), 1);
	check_kept(sp);
	spool_close(&sp);
	spool_test_remove();
}

static void
keep_house(struct spool *sp)
{
	spool_upkeep(sp);
}

START_TEST(power_fails_twice)
{
	unsigned interrupted = 0;
	long calls;

	begin();
	ck_assert(!run_child(play, 0));
	for (unsigned i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(told->outcome[i], SPOOL_OK);
	calls = told->calls;
	finish();

	for (unsigned i = 0; i < RUNS; i++) {
		random_state = (uint32_t)_i * RUNS + i;
		/* All of it, or some, or none. */
		keep_max = i % 4 < 2 ? 0 : i % 4 == 2 ? 1 << 30 : 300000;
		begin();
		run_child(play, i % 2 == 0 ? 1 + (long)random_below((uint32_t)calls)
					   : -1 - (long)random_below(DATA_SYNCS));
		/* Or only the process ended, and the power fails when another has recovered. */
		if (random_below(3) > 0)
			end_in_tatters();
		interrupted += run_child(keep_house, 1 + (long)random_below(RECOVERY_CALLS));
		end_in_tatters();
		finish();
	}
	ck_assert_uint_gt(interrupted, RUNS / 4);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("power");
	TCase *tc = tcase_create("power");
	const char *turns = getenv("POWER_TURNS");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 600);
	tcase_add_loop_test(tc, power_fails_twice, 0, turns != NULL ? atoi(turns) : 1);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
