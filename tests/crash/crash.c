/*
 * The power fails at any instant, and again while the spool recovers from that.
 *
 * A mixed load is played once while everything that it does to the disk is noted.  From the notes
 * the disks are built that a power cut between two calls may leave, and each is opened by the
 * daemons' own start-up and compared with what the users knew at that instant.  Some are
 * recovered with the recorder on, and cut once more.
 *
 * crash [--cuts N] [--ends N] [--rounds N] [--second N] [--jobs N] [--mutate NAME] [--seed N]
 *       [--phase NAME] [--first] [--list]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "image.h"
#include "load.h"
#include "tests/lib/folder.h"
#include "verify.h"

/* The numbers of messages that are sent after a power cut; those of a second life first. */
#define SECOND_NUMBER 900
#define FRESH_NUMBER 980
/* Cuts in each second life, and what is made of each. */
#define SECOND_CUTS 8

static struct options {
	unsigned cuts, ends, rounds, second, jobs;
	uint64_t seed;
	const char *mutation, *phase;   /* of all cuts those in one part of the load alone */
	bool first;             /* ends with the first that is found */
} options = { .cuts = 80, .ends = 2, .rounds = 6, .second = 30, .jobs = 2, .seed = 1 };

/* What the workers found, in memory that they share. */
static struct {
	atomic_uint cuts, images, second_cuts, second_images, wrong;
	atomic_uint by_end[ENDS];
} *found;

static char base[300];
static struct trace played;

/* Each cut point is before the op of this number. */
static size_t *cuts;
static size_t ncuts;

static const char *const kind_names[OP_KINDS] = {
	[OP_CREATE] = "create", [OP_UNNAMED] = "create unnamed", [OP_LINK] = "link",
	[OP_RENAME] = "rename", [OP_UNLINK] = "unlink", [OP_WRITE] = "write",
	[OP_TRUNCATE] = "truncate", [OP_EXTEND] = "allocate", [OP_PUNCH] = "punch",
	[OP_SYNC] = "sync", [OP_SYNC_FAILED] = "failed sync", [OP_SYNC_FOLDER] = "sync folder",
	[OP_EVENT] = "told",
};
static const char *const class_names[CLASSES] = {
	"segment", "large message", "database", "log", "secrets", "ballast", "backup",
};

/* --- cut points ----------------------------------------------------------- */

static unsigned
group_of(const struct op *op)
{
	return (unsigned)op->kind * CLASSES +
	       (op->kind == OP_EVENT || op->kind == OP_SYNC_FOLDER ? 0 : op->class);
}

static const char *
group_name(unsigned group, char text[64])
{
	enum op_kind kind = (enum op_kind)(group / CLASSES);

	snprintf(text, 64, "%s%s%s", kind_names[kind],
	    kind == OP_EVENT || kind == OP_SYNC_FOLDER ? "" : " ",
	    kind == OP_EVENT || kind == OP_SYNC_FOLDER ? "" : class_names[group % CLASSES]);
	return text;
}

/* So many of each kind that all together are what was asked for: of the rare ones all. */
static unsigned
most_of_a_kind(const unsigned *count, unsigned n)
{
	unsigned most = 1, sum;

	do {
		sum = 0;
		most++;
		for (unsigned g = 0; g < n; g++)
			sum += count[g] < most ? count[g] : most;
	} while (sum < options.cuts && most < played.n);
	return most;
}

/* The cut is between a sync that failed and whatever its process would do about that. */
static bool
is_after_failed_sync(size_t at)
{
	return at > 0 && played.ops[at - 1].kind == OP_SYNC_FAILED;
}

static void
choose_cuts(bool tell)
{
	enum { GROUPS = OP_KINDS * CLASSES };
	static unsigned count[GROUPS], seen[GROUPS], taken[GROUPS];
	char text[64];
	unsigned most;

	for (size_t i = 0; i < played.n; i++)
		if (played.ops[i].kind != OP_NONE)
			count[group_of(&played.ops[i])]++;
	most = most_of_a_kind(count, GROUPS);
	cuts = calloc(played.n + 1, sizeof(*cuts));
	if (cuts == NULL)
		die("no memory");
	for (size_t i = 0; i < played.n; i++) {
		unsigned g = group_of(&played.ops[i]);

		if (played.ops[i].kind == OP_NONE)
			continue;
		/* Evenly over the whole of the load. */
		if (count[g] <= most || is_after_failed_sync(i) ||
		    (uint64_t)seen[g] * most / count[g] != ((uint64_t)seen[g] + 1) * most / count[g]) {
			cuts[ncuts++] = i;
			taken[g]++;
		}
		seen[g]++;
	}
	cuts[ncuts++] = played.n;
	for (unsigned g = 0; tell && g < GROUPS; g++)
		if (count[g] > 0)
			printf("  %6u of %6u before: %s\n", taken[g], count[g], group_name(g, text));
}

/* --- images --------------------------------------------------------------- */

static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	char line[8000];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* In one piece, between those of other workers. */
	if (n > 0 && write(STDOUT_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line)) < 0)
		die("standard output: %s", strerror(errno));
}

static const char *
op_text(const struct trace *t, size_t i, char text[200])
{
	char group[64];

	if (i >= t->n)
		snprintf(text, 200, "the end");
	else
		snprintf(text, 200, "%s of file %u (%s), %llu+%llu", group_name(group_of(&t->ops[i]), group),
		    t->ops[i].file, t->ops[i].name, (unsigned long long)t->ops[i].offset,
		    (unsigned long long)t->ops[i].len);
	return text;
}

/* Which cut this is: for reports. */
struct cut {
	const struct trace *trace;
	size_t at;
	size_t first_at;        /* of a second cut, the first one */
	enum end first_end;
	bool second;
};

static bool
try_image(const struct image *im, const struct facts *f, const struct cut *cut, enum end end,
    uint64_t random, const char *dir)
{
	const struct verify_how how = {
		.pop3d_first = (random & 1) != 0,
		.large = (random >> 1 & 3) == 0,
		.restore = (random >> 3 & 15) == 0,
		.fresh = FRESH_NUMBER,
	};
	char why[6000], text[200], first[100] = "";

	image_write(im, end, random, dir);
	clock_set(LOAD_WALL_MS, LOAD_WALL_MS);
	if (verify(dir, f, &how, why, sizeof(why)))
		return true;
	atomic_fetch_add(&found->wrong, 1);
	if (cut->second)
		snprintf(first, sizeof(first), " after a first at %zu (%s)", cut->first_at,
		    end_names[cut->first_end]);
	say("FAIL cut at %zu%s, \"%s\", before %s; %s, %s first, seed %llu:%s\n", cut->at, first, f->phase,
	    op_text(cut->trace, cut->at, text), end_names[end], how.pop3d_first ? "pop3d" : "smtpd",
	    (unsigned long long)random, why);
	return false;
}

/* --- a second cut --------------------------------------------------------- */

/* In a process of its own: recovers with the recorder on, and cuts that. */
static void
second_life(struct image *im, struct facts *f, size_t at, enum end end, uint64_t random,
    const char *dir)
{
	static const enum end seconds[] = { END_TORN, END_LOST, END_SOME };
	struct cut cut = { &trace, 0, at, end, true };
	uint64_t first_random = image_random(&random);
	size_t next = 0;

	image_write(im, cut.first_end, first_random, dir);
	if (cut.first_end != END_KILLED) {
		image_release(im);
		image_load(im, dir);
	}
	trace_begin(dir, (uint32_t)im->nfiles, image_find, im);
	load_next = SECOND_NUMBER;
	load_afterwards(dir, (random & 2) != 0);
	trace_end();
	for (unsigned k = 0; k < SECOND_CUTS; k++) {
		/* The recovery itself is at the beginning. */
		size_t to = k < SECOND_CUTS / 2 ? next + 1 + image_random(&random) % 12
						: next + 1 + image_random(&random) %
								   ((trace.n - next) / 2 + 1);

		for (; next < to && next < trace.n; next++)
			if (trace.ops[next].kind == OP_EVENT)
				facts_apply(f, trace.ops[next].event);
			else
				image_apply(im, &trace.ops[next]);
		cut.at = next;
		atomic_fetch_add(&found->second_cuts, 1);
		for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
			atomic_fetch_add(&found->second_images, 1);
			try_image(im, f, &cut, seconds[i], image_random(&random), dir);
		}
	}
}

static void
fork_second_life(struct image *im, struct facts *f, size_t at, enum end end, uint64_t random,
    const char *dir)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		second_life(im, f, at, end, random, dir);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		atomic_fetch_add(&found->wrong, 1);
		say("FAIL second life after a cut at %zu, \"%s\", seed %llu: ended with %x\n", at,
		    f->phase, (unsigned long long)random, (unsigned)status);
	}
}

/* --- the workers ---------------------------------------------------------- */

static void
try_cut(struct image *im, struct facts *f, size_t k, const char *dir)
{
	struct cut cut = { &played, cuts[k], 0, END_LOST, false };
	unsigned ends = image_pending(im) ? options.ends : 1;
	static const enum end firsts[] = { END_KILLED, END_TORN, END_LOST, END_SOME };
	uint64_t random = options.seed * 1000003 + k;

	if (options.phase != NULL && strcmp(options.phase, f->phase) != 0)
		return;
	atomic_fetch_add(&found->cuts, 1);
	for (unsigned i = 0; i < ends; i++) {
		/* Where not all are taken, each in its turn. */
		enum end end = (enum end)((k * options.ends + i) % END_KILLED);

		atomic_fetch_add(&found->images, 1);
		atomic_fetch_add(&found->by_end[end], 1);
		try_image(im, f, &cut, end, image_random(&random), dir);
	}
	if (options.second == 0)
		return;
	/* Who dies then tells nobody that the page cache has what the disk has not. */
	if (is_after_failed_sync(cuts[k]))
		fork_second_life(im, f, cuts[k], END_KILLED, image_random(&random), dir);
	else if (k / options.jobs % options.second == options.second / 2) {
		enum end end = firsts[image_random(&random) % 4];

		fork_second_life(im, f, cuts[k], end, image_random(&random), dir);
	}
}

/* With the folders of the backups, which are not followed as they are made. */
static void
make_spool(const char *dir)
{
	char path[600];
	struct strbuf err;
	int fd;

	strbuf_init(&err, 1024);
	if (spool_create(dir, &err) != SPOOL_OK)
		die("%s", err.buf);
	strbuf_release(&err);
	for (int i = FOLDER_BACKUP; i <= FOLDER_BACKUP_SEGMENTS; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, folder_names[i]);
		if (mkdir(path, 0700) != 0)
			die("%s: %s", path, strerror(errno));
	}
	/* What makes it one of ours. */
	snprintf(path, sizeof(path), "%s/" LOAD_BACKUP "/lock", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static void
work(const struct image *begun, unsigned worker)
{
	static struct facts facts;
	struct image im = *begun;
	char dir[400];
	size_t k = 0;

	/* What a failed sync loses is another thing for each of them. */
	im.random = options.seed * 64 + worker;
	snprintf(dir, sizeof(dir), "%s/%u", base, worker);
	make_spool(dir);
	for (size_t i = 0; i <= played.n && k < ncuts; i++) {
		if (cuts[k] == i) {
			if (k % options.jobs == worker)
				try_cut(&im, &facts, k, dir);
			k++;
		}
		if (options.first && atomic_load(&found->wrong) > 0)
			break;
		if (i == played.n)
			break;
		if (played.ops[i].kind == OP_EVENT)
			facts_apply(&facts, played.ops[i].event);
		else
			image_apply(&im, &played.ops[i]);
	}
}

static void
run_workers(const struct image *begun)
{
	pid_t pids[64];
	int status;

	for (unsigned w = 0; w < options.jobs; w++) {
		pids[w] = fork();
		if (pids[w] < 0)
			die("fork: %s", strerror(errno));
		if (pids[w] == 0) {
			work(begun, w);
			_exit(0);
		}
	}
	for (unsigned w = 0; w < options.jobs; w++)
		if (waitpid(pids[w], &status, 0) != pids[w] || status != 0) {
			atomic_fetch_add(&found->wrong, 1);
			say("FAIL worker %u ended with %x\n", w, (unsigned)status);
		}
}

/* --- the program ---------------------------------------------------------- */

static void
make_base(void)
{
	snprintf(base, sizeof(base), "%s/crash-XXXXXX", test_memory());
	if (mkdtemp(base) == NULL)
		die("%s: %s", base, strerror(errno));
	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

/* The load is played in this process, so that its notes are the workers' too. */
static void
play(struct image *begun)
{
	char dir[400];

	snprintf(dir, sizeof(dir), "%s/spool", base);
	make_spool(dir);
	image_load(begun, dir);
	trace_sqlite();
	trace_begin(dir, (uint32_t)begun->nfiles, image_find, begun);
	load_run(dir, options.rounds);
	trace_end();
	if (load_next >= SECOND_NUMBER)
		die("%u messages are too many", load_next);
	played = trace;
}

static int
list_mutations(void)
{
	const char *name, *what;

	for (size_t i = 0; (name = mutation_name(i, &what)) != NULL; i++)
		printf("%-22s %s\n", name, what);
	return 0;
}

static void
read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "cuts", required_argument, NULL, 'c' }, { "ends", required_argument, NULL, 'e' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "second", required_argument, NULL, 's' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "mutate", required_argument, NULL, 'm' },
		{ "seed", required_argument, NULL, 'S' }, { "first", no_argument, NULL, 'f' },
		{ "list", no_argument, NULL, 'l' }, { "phase", required_argument, NULL, 'p' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned n = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 'c':
			options.cuts = n;
			break;
		case 'e':
			options.ends = n < END_KILLED ? n : END_KILLED;
			break;
		case 'r':
			options.rounds = n;
			break;
		case 's':
			options.second = n;
			break;
		case 'j':
			options.jobs = n < 1 ? 1 : n > 64 ? 64 : n;
			break;
		case 'm':
			options.mutation = optarg;
			break;
		case 'S':
			options.seed = n;
			break;
		case 'p':
			options.phase = optarg;
			break;
		case 'f':
			options.first = true;
			break;
		case 'l':
			exit(list_mutations());
		default:
			die("see the head of crash.c");
		}
	}
	if (options.mutation != NULL && !mutation_set(options.mutation))
		die("no mutation is named %s: --list shows them", options.mutation);
}

static int
report(const struct timespec *begun)
{
	unsigned images = atomic_load(&found->images) + atomic_load(&found->second_images);
	unsigned bad = atomic_load(&found->wrong);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%zu notes, %u messages; %u cuts with %u images, %u second cuts with %u, in %ld s\n",
	    played.n, load_next - 1, atomic_load(&found->cuts), atomic_load(&found->images),
	    atomic_load(&found->second_cuts), atomic_load(&found->second_images),
	    (long)(now.tv_sec - begun->tv_sec));
	for (int e = 0; e < END_KILLED; e++)
		printf("%s%s %u", e == 0 ? "  " : ", ", end_names[e],
		    atomic_load(&found->by_end[e]));
	/* As Check says it: tests/run.py adds up. */
	printf("\n%u%%: Checks: %u, Failures: %u, Errors: 0\n",
	    images == 0 ? 0 : 100 - (bad > images ? images : bad) * 100 / images, images, bad);
	return bad != 0;
}

int
main(int argc, char **argv)
{
	struct timespec begun_at;
	struct image begun;
	int null, rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	read_options(argc, argv);
	clock_gettime(CLOCK_MONOTONIC, &begun_at);
	make_base();
	/* What the spool logs of failing disks and torn segments is not what is looked at here. */
	if (getenv("CRASH_LOG") == NULL && (null = open("/dev/null", O_WRONLY)) >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
	play(&begun);
	choose_cuts(options.cuts >= 1000);
	run_workers(&begun);
	rc = report(&begun_at);
	image_release(&begun);
	folder_remove(base);
	return rc;
}
