/*
 * upkeep - what it costs to take mail away again, and what it gives back.
 *
 *   upkeep FOLDER [-n DUE] [-m MESSAGES] [-s FOLDER_OF_MAIL]
 *
 * In a spool of its own in FOLDER, which must be empty or not exist:
 *
 * expiry   DUE messages of a block each are due at once (100,000).  How long the keeper takes
 *          for them, and how long a delivery's commit takes meanwhile and with nothing else to
 *          do: a message every few milliseconds, from its end to its outcome.
 * space    MESSAGES (20,000) with the sizes of the files below FOLDER_OF_MAIL, or with sizes
 *          spread like theirs; a random half is deleted, a mailbox at a time.  Octets on the
 *          disk against octets that live, and records given back in a second.
 *
 * One process is daemon and client; the disk is the one of FOLDER.
 */
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "common/spool/index.h"
#include "common/spool/spool_internal.h"
#include "spool/delivery.h"
#include "spool/maildrop.h"

#define MAILBOXES 20
#define AT_ONCE 500
#define SIZES_MAX 100000
#define PROBE_EVERY_MS 4
#define PROBES_MAX 100000
#define IDLE_S 5

static struct spool *sp;
static char *body;
static size_t body_max;
static size_t sizes[SIZES_MAX];
static size_t nsizes;
static uint32_t random_state = 1;

static void
die(const char *what)
{
	fprintf(stderr, "upkeep: %s\n", what);
	exit(1);
}

static void
must(enum spool_status st, const char *what)
{
	if (st != SPOOL_OK) {
		fprintf(stderr, "upkeep: %s: %s\n", what, spool_status_text(st));
		exit(1);
	}
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
nap_ms(long ms)
{
	const struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static uint32_t
random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

/* --- the index ------------------------------------------------------------ */

static void
sql(const char *text)
{
	struct index_conn *c;

	must(index_write_begin(sp, INDEX_MAIN, "bench", &c), "index");
	if (sqlite3_exec(index_db(c), text, NULL, NULL, NULL) != SQLITE_OK)
		die(sqlite3_errmsg(index_db(c)));
	must(index_write_commit(sp, &c, false), "index");
}

static int64_t
number(const char *text)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	int64_t n;

	must(index_read_begin(sp, INDEX_MAIN, &c), "index");
	if (sqlite3_prepare_v2(index_db(c), text, -1, &stmt, NULL) != SQLITE_OK ||
	    sqlite3_step(stmt) != SQLITE_ROW)
		die(sqlite3_errmsg(index_db(c)));
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	index_read_end(sp, &c);
	return n;
}

static void
make_mailboxes(void)
{
	char text[256];

	sql("INSERT INTO domain (name, folded) VALUES ('example.test', 'example.test')");
	for (int i = 1; i <= MAILBOXES + 1; i++) {
		snprintf(text, sizeof(text),
		    "INSERT INTO mailbox (id, domain, local, folded, created_s)"
		    " VALUES (%d, 1, 'user%d', 'user%d', 0)", i, i, i);
		sql(text);
	}
}

/* --- deliveries ----------------------------------------------------------- */

struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t moved;
	unsigned open;                  /* deliveries that are not done */
	unsigned failed;
};

static void
delivered(void *arg, struct delivery *d)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->mutex);
	g->open--;
	g->failed += delivery_outcome(d) != SPOOL_OK;
	pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->mutex);
	delivery_abandon(&d);
}

static void
wait_below(struct gate *g, unsigned most)
{
	pthread_mutex_lock(&g->mutex);
	while (g->open >= most)
		pthread_cond_wait(&g->moved, &g->mutex);
	pthread_mutex_unlock(&g->mutex);
}

static void
deliver(struct gate *g, uint64_t mailbox, size_t len)
{
	struct envelope *env = envelope_new("sender@example.org");
	char address[64];
	struct account_target target = { .mailbox = mailbox, .address = address };
	struct account_targets targets = { .list = &target, .n = 1 };
	const struct delivery_options options = { .trusted = true };
	struct delivery *d;

	snprintf(address, sizeof(address), "user%d@example.test", (int)mailbox);
	if (env == NULL)
		die("no memory");
	must(envelope_add(env, address, &targets), "envelope");
	must(delivery_begin(sp, &env, &options, &d), "delivery");
	must(delivery_write(d, body + body_max - len, len), "delivery");
	pthread_mutex_lock(&g->mutex);
	g->open++;
	pthread_mutex_unlock(&g->mutex);
	delivery_commit(d, len, delivered, g);
}

static void
fill(unsigned n, size_t (*size)(unsigned i))
{
	struct gate g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

	for (unsigned i = 0; i < n; i++) {
		wait_below(&g, AT_ONCE);
		deliver(&g, 1 + i % MAILBOXES, size(i));
	}
	wait_below(&g, 1);
	if (g.failed > 0)
		die("deliveries failed: is there room?");
}

/* --- probing -------------------------------------------------------------- */

static struct {
	atomic_bool stop;
	uint64_t us[PROBES_MAX];
	size_t n;
} probe;

static void *
probe_run(void *arg)
{
	struct gate g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

	(void)arg;
	while (!atomic_load(&probe.stop) && probe.n < PROBES_MAX) {
		uint64_t began = now_us();

		deliver(&g, MAILBOXES + 1, 2000);
		wait_below(&g, 1);
		probe.us[probe.n++] = now_us() - began;
		nap_ms(PROBE_EVERY_MS);
	}
	if (g.failed > 0)
		die("deliveries failed: is there room?");
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
probe_begin(pthread_t *thread)
{
	atomic_store(&probe.stop, false);
	probe.n = 0;
	if (pthread_create(thread, NULL, probe_run, NULL) != 0)
		die("no thread");
}

static void
probe_end(pthread_t thread, const char *when)
{
	atomic_store(&probe.stop, true);
	pthread_join(thread, NULL);
	if (probe.n == 0)
		die("nothing was delivered");
	qsort(probe.us, probe.n, sizeof(probe.us[0]), compare);
	printf("delivery, %-16s %6zu   p50 %6.2f ms   p99 %6.2f ms   worst %6.2f ms\n", when,
	    probe.n, (double)probe.us[probe.n / 2] / 1e3,
	    (double)probe.us[probe.n * 99 / 100] / 1e3, (double)probe.us[probe.n - 1] / 1e3);
	fflush(stdout);
}

/* --- expiry --------------------------------------------------------------- */

static size_t
one_block(unsigned i)
{
	(void)i;
	return 2000;
}

static void
bench_expiry(unsigned due)
{
	struct spool_policy policy = { .expire_every_s = 3600 };
	uint64_t began, gone = 0;
	pthread_t thread;

	fill(due, one_block);
	sql("UPDATE entry SET expires_day = 1");
	must(spool_upkeep(sp), "upkeep");
	probe_begin(&thread);
	nap_ms(IDLE_S * 1000);
	probe_end(thread, "idle:");

	probe_begin(&thread);
	began = now_us();
	spool_set_policy(sp, &policy);
	while (number("SELECT count(*) FROM (SELECT 1 FROM entry WHERE expires_day = 1"
		      " AND mailbox <= 20 LIMIT 1)") > 0)
		nap_ms(5);
	gone = now_us();
	while (number("SELECT count(*) FROM (SELECT 1 FROM garbage LIMIT 1)") > 0)
		nap_ms(5);
	probe_end(thread, "during expiry:");
	printf("expiry of %u: %.2f s, %.0f a second; blocks all back after %.2f s\n", due,
	    (double)(gone - began) / 1e6, due / ((double)(gone - began) / 1e6),
	    (double)(now_us() - began) / 1e6);
	fflush(stdout);
	policy.expire_every_s = 0;
	spool_set_policy(sp, &policy);
}

/* --- space ---------------------------------------------------------------- */

static int
note_size(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (kind == FTW_F && st->st_size > 0 && nsizes < SIZES_MAX)
		sizes[nsizes++] = (size_t)st->st_size;
	return 0;
}

/* The corpus's sizes, about: a median of 5 KiB, and a long tail that ends at 2 MiB. */
static void
make_sizes(void)
{
	for (nsizes = 0; nsizes < 4096; nsizes++) {
		double normal = 0;

		for (int i = 0; i < 12; i++)
			normal += random_below(1000000) / 1e6;
		double size = exp(log(5000) + 1.3 * (normal - 6));
		sizes[nsizes] = size > 2e6 ? 2000000 : size < 300 ? 300 : (size_t)size;
	}
}

static size_t
some_size(unsigned i)
{
	(void)i;
	return sizes[random_below((uint32_t)nsizes)];
}

static uint64_t disk_octets;

static int
add_blocks(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (kind == FTW_F)
		disk_octets += (uint64_t)st->st_blocks * 512;
	return 0;
}

static void
show_space(const char *dir, const char *when)
{
	char path[1024];
	double live = (double)number("SELECT total(octets) FROM entry");

	snprintf(path, sizeof(path), "%s/segments", dir);
	disk_octets = 0;
	sync();
	if (nftw(path, add_blocks, 16, FTW_PHYS) != 0)
		die("segments cannot be read");
	printf("%s: %lld messages, %.1f MB live, %.1f MB on the disk: %.2f octets for each\n",
	    when, (long long)number("SELECT count(*) FROM entry"), live / 1e6,
	    (double)disk_octets / 1e6, (double)disk_octets / live);
	fflush(stdout);
}

static void
delete_half(uint64_t mailbox)
{
	struct maildrop *md;

	must(maildrop_lock(sp, mailbox, "bench", &md), "maildrop");
	must(maildrop_load(md), "maildrop");
	for (size_t i = 0; i < maildrop_count(md); i++)
		if (random_below(2) == 0)
			maildrop_mark(md, i);
	must(maildrop_update(md), "update");
	maildrop_close(&md);
}

static void
bench_space(const char *dir, unsigned n)
{
	int64_t before, after;
	uint64_t began;

	fill(n, some_size);
	must(spool_upkeep(sp), "upkeep");
	show_space(dir, "all");
	/* The keeper has to wait, so that what it can do is measured and not what it is given. */
	pthread_mutex_lock(&sp->round_mutex);
	for (uint64_t i = 1; i <= MAILBOXES; i++)
		delete_half(i);
	before = number("SELECT count(*) FROM garbage");
	pthread_mutex_unlock(&sp->round_mutex);
	began = now_us();
	while ((after = number("SELECT count(*) FROM garbage")) > 0)
		nap_ms(5);
	printf("records given back: %lld in %.2f s, %.0f a second\n", (long long)before,
	    (double)(now_us() - began) / 1e6,
	    (double)(before - after) / ((double)(now_us() - began) / 1e6));
	must(spool_upkeep(sp), "upkeep");
	show_space(dir, "a random half");
}

int
main(int argc, char **argv)
{
	struct spool_options options = { .role = SPOOL_SMTPD };
	unsigned due = 100000, messages = 20000;
	struct strbuf err;
	int option;

	while ((option = getopt(argc, argv, "n:m:s:")) != -1)
		switch (option) {
		case 'n':
			due = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			messages = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			if (nftw(optarg, note_size, 16, FTW_PHYS) != 0)
				die("the folder of mail cannot be read");
			break;
		default:
			die("usage: upkeep [-n DUE] [-m MESSAGES] [-s FOLDER_OF_MAIL] FOLDER");
		}
	if (optind != argc - 1)
		die("usage: upkeep [-n DUE] [-m MESSAGES] [-s FOLDER_OF_MAIL] FOLDER");
	if (nsizes == 0)
		make_sizes();
	for (size_t i = 0; i < nsizes; i++)
		body_max = sizes[i] > body_max ? sizes[i] : body_max;
	body_max += 4096;
	body = malloc(body_max);
	if (body == NULL)
		die("no memory");
	/* Octets from its end: a header as long as the rest, for all that it matters here. */
	for (size_t i = 0; i < body_max; i++)
		body[i] = i % 72 == 70 ? '\r' : i % 72 == 71 ? '\n' : 'x';
	memcpy(body + body_max - 2, "\r\n", 2);

	log_set_level(LOG_LEVEL_ERROR);
	options.dir = argv[optind];
	strbuf_init(&err, 1024);
	if (spool_create(options.dir, &err) != SPOOL_OK ||
	    spool_open(&options, &sp, &err) != SPOOL_OK)
		die(err.buf);
	must(spool_wait_ready(sp), "spool");
	make_mailboxes();
	bench_expiry(due);
	bench_space(options.dir, messages);
	spool_close(&sp);
	strbuf_release(&err);
	free(body);
	return 0;
}
