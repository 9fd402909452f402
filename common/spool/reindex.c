/*
 * reindex - segments into a new index, and that one into the old one's place.
 *
 * Invariants:
 *  1. Roles recovery and open are held exclusively: no process has the spool open, none opens it.
 *  2. A record is believed as recovery believes it, once it is on disk: those that the old index had no
 *     rows for by then are written over themselves and synced before they are read for good.  And a segment without its
 *     header only where a record that no mail can hold says what that was (damaged.h).
 *  3. index/rebuild.db is there until the new index has the name; while it is, nobody opens the index.
 *  4. Nothing is deleted but the halves of an earlier attempt: the old index stays under another name,
 *     and a segment of which nothing was believed, though it is not empty, is moved to damaged/.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "damaged.h"
#include "entry.h"
#include "files.h"
#include "health.h"
#include "index_internal.h"
#include "lock.h"
#include "recover.h"
#include "reindex_internal.h"
#include "segment.h"

#define PROGRESS_STEP (UINT64_C(4) << 20)

static const char sql_segment[] = "INSERT INTO main.segment VALUES (?1, 1, ?2, ?3)";
static const char sql_newest[] =
    "UPDATE main.meta SET value = max(value, ?1, ?2) + ?3 WHERE key = 'newest_segment'";

/* A segment on its way into the index. */
struct scan {
	struct reindex *x;
	struct segment_id id;
	int fd;
	uint64_t end;  /* blocks */
	uint64_t live; /* messages that somebody holds */
	uint64_t unread, nobodys;
};

/* --- one segment ------------------------------------------------------------ */

static enum spool_status
enter(struct scan *s, const struct record *r, const struct record_envelope *e)
{
	struct reindex *x = s->x;
	enum spool_status st = reindex_need_mailboxes(x, e);
	size_t held = 0;

	if (st == SPOOL_OK)
		st = entry_add(x->c, &x->tally, message_id(s->id.number, r->block), r,
		    e->reverse_path, e->list, e->n, &held);
	s->live += held > 0;
	s->nobodys += held == 0;
	return st;
}

/* Anything but zeros in a block that is of no record. */
static bool
is_empty(int fd, uint64_t block)
{
	uint8_t buf[RECORD_BLOCK];
	ssize_t n = pread(fd, buf, sizeof(buf), (off_t)(block * RECORD_BLOCK));

	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != 0)
			return false;
	return n >= 0;
}

/* Those that begin at `block` or later. */
static enum spool_status
scan_records(struct scan *s, uint64_t block,
    enum spool_status (*take)(struct scan *, const struct record *, const struct record_envelope *))
{
	enum spool_status st = SPOOL_OK;
	struct record_envelope e;
	struct record r;

	s->unread = 0;
	while (st == SPOOL_OK && block < s->end) {
		st = recover_read(s->fd, &s->id, block, &r, &e);
		if (st == SPOOL_NO_MESSAGE) {
			s->unread += !is_empty(s->fd, block);
			block++;
			st = SPOOL_OK;
		} else if (st == SPOOL_OK) {
			st = take(s, &r, &e);
			record_envelope_release(&e);
			block += record_blocks(&r);
		}
	}
	return st;
}

/* Only what is believed: a hole would be filled. */
static enum spool_status
rewrite(struct scan *s, const struct record *r, const struct record_envelope *e)
{
	uint64_t begin = r->block * RECORD_BLOCK;
	char name[SEGMENT_NAME_MAX];

	(void)e;
	if (disk_rewrite(s->x->spool.disk, s->fd, begin, begin + r->header_len + r->wire_len) == 0)
		return SPOOL_OK;
	return spool_failed("segment_rewrite_failed", segment_name(name, s->id.number), errno);
}

/* What a process that was killed left in the page cache alone, and perhaps after a sync that failed:
 * then another one finds nothing to do.  What the old index had rows for was synced before them. */
static enum spool_status
make_sure(struct scan *s)
{
	enum spool_status st = scan_records(s, reindex_old_mark(s->x, s->id.number), rewrite);
	char name[SEGMENT_NAME_MAX];

	if (st == SPOOL_OK && disk_sync_data(s->x->spool.disk, s->fd) != 0)
		st = spool_failed("segment_sync_failed", segment_name(name, s->id.number), errno);
	return st;
}

/* Out of the janitor's way, who unlinks segments in which nothing lives. */
static enum spool_status
move_away(struct reindex *x, uint64_t number)
{
	const struct disk_ops *disk = x->spool.disk;
	char name[SEGMENT_NAME_MAX];
	enum spool_status st = SPOOL_OK;
	int dir = damaged_folder(&x->spool);

	segment_name(name, number);
	if (dir < 0 || disk->renameat2(x->spool.segments_fd, name, dir, name, 0) != 0 ||
	    disk_sync(disk, dir) != 0 || disk_sync(disk, x->spool.segments_fd) != 0)
		st = spool_failed("segment_not_moved", name, errno);
	if (dir >= 0)
		close(dir);
	return st;
}

/* Its header is none, or one that this version does not know; *proved_r when it is again. */
static enum spool_status
mend_header(
    struct reindex *x, int fd, uint64_t number, bool newer, struct segment_id *id_r, bool *proved_r)
{
	struct segment_proof proof = { .found = false };
	enum spool_status st = SPOOL_OK;

	if (!newer) {
		segment_proof_ask(&proof, fd, number, 1);
		reindex_ask_old(x, fd, number, &proof);
	}
	*proved_r = segment_proof_holds(&proof);
	if (*proved_r) {
		*id_r = proof.id;
		st = segment_header_mend(&x->spool, id_r);
		x->result->headers += st == SPOOL_OK;
	} else {
		log_event(LOG_LEVEL_ERROR, "segment_not_believed", log_num("segment", number),
		    log_text("error", "its header is not one, and no record says what it was"),
		    log_text("advice", "pop-admin mail extract reads what is in it"));
		x->result->unreadable++;
	}
	return st;
}

/* *good_r when the segment has its header, by now. */
static enum spool_status
read_header(struct reindex *x, int fd, uint64_t number, struct segment_id *id_r, bool *good_r)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	enum spool_status st = SPOOL_DAMAGED;

	if (pread(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf))
		st = segment_header_decode(buf, id_r);
	*good_r = st == SPOOL_OK && id_r->number == number;
	return *good_r ? st : mend_header(x, fd, number, st == SPOOL_VERSION, id_r, good_r);
}

/* Whose writer lives is not at its end, and must not be taken for closed: what he adds would be in no
 * mailbox.  The bytes in locks/ do not tell when these files were made anew under him. */
static enum spool_status
has_no_writer(const struct reindex *x, int fd, const char *name, struct strbuf *err)
{
	int rc = lock_segment(fd);

	if (rc < 0)
		return spool_failed("lock_failed", name, errno);
	if (rc > 0)
		strbuf_addf(err, "%s: smtpd or an import writes to segments/%s: stop it first",
		    x->spool.dir, name);
	return rc > 0 ? SPOOL_BUSY : SPOOL_OK;
}

static enum spool_status
scan_segment(struct reindex *x, const struct files_entry *file, struct strbuf *err)
{
	struct scan s = { .x = x };
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	bool good = false;

	s.end = (file->size + RECORD_BLOCK - 1) / RECORD_BLOCK;
	s.fd =
	    disk_open(x->spool.disk, x->spool.segments_fd, segment_name(name, file->number), false);
	if (s.fd < 0)
		return spool_failed("segment_open_failed", name, errno);
	st = has_no_writer(x, s.fd, name, err);
	if (st == SPOOL_OK)
		st = read_header(x, s.fd, file->number, &s.id, &good);
	if (st == SPOOL_OK && good)
		st = make_sure(&s);
	if (st == SPOOL_OK && good)
		st = scan_records(&s, 1, enter);
	close(s.fd);
	if (st != SPOOL_OK || !good)
		return st;
	x->result->segments++;
	x->result->messages += s.live;
	x->result->removed += s.nobodys;
	x->result->unread += s.unread;
	if (s.live == 0 && s.unread > 0)
		return move_away(x, file->number);
	return account_run(x->c, sql_segment, "uuu", file->number, s.end, s.live);
}

static enum spool_status
scan_all(struct reindex *x, void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
    struct strbuf *err)
{
	uint64_t done = 0, told = 0, all = 0;
	struct files files;
	enum spool_status st = files_list(&x->spool, &files);

	if (st == SPOOL_OK && disk_sync(x->spool.disk, x->spool.segments_fd) != 0)
		st = spool_failed("segment_sync_failed", "segments", errno);
	for (size_t i = 0; i < files.n; i++)
		all += files.list[i].size;
	for (size_t i = 0; st == SPOOL_OK && i < files.n; i++) {
		st = scan_segment(x, &files.list[i], err);
		done += files.list[i].size;
		if (progress != NULL && done - told >= PROGRESS_STEP) {
			told = done;
			progress(arg, done, all);
		}
	}
	/* The last ones may have gone with their mail, and the index that knew them is lost, or old. */
	if (st == SPOOL_OK)
		st = account_run(x->c, sql_newest, "uuu",
		    files.n > 0 ? files.list[files.n - 1].number : UINT64_C(0), clock_wall_ms(),
		    SEGMENT_SLACK);
	files_release(&files);
	return st;
}

/* --- the new index ---------------------------------------------------------- */

static enum spool_status
fill(struct reindex *x, void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
    struct strbuf *err)
{
	char sql[64];
	enum spool_status st = reindex_take_accounts(x, err);

	if (st == SPOOL_OK)
		st = scan_all(x, progress, arg, err);
	if (st == SPOOL_OK)
		st = tally_write(&x->tally, x->c);
	if (st == SPOOL_OK)
		st = reindex_finish_accounts(x);
	/* Newer than any copy of the old one. */
	snprintf(sql, sizeof(sql), "PRAGMA main.application_id = %u",
	    (unsigned)epoch_said(&x->spool) + 1);
	if (st == SPOOL_OK && sqlite3_exec(index_db(x->c), sql, NULL, NULL, NULL) != SQLITE_OK)
		st = index_failed(x->c, "epoch", sqlite3_errcode(index_db(x->c)));
	if (st == SPOOL_OK)
		st = index_run(x->c, index_stmt(x->c, "COMMIT"));
	if (st != SPOOL_OK)
		index_rollback(x->c);
	reindex_detach(x);
	return st;
}

/* Another name for a file that may be missing. */
static int
keep(const struct disk_ops *disk, int dir, const char *name, const char *as)
{
	return disk->linkat(dir, name, dir, as, 0) == 0 || errno == ENOENT ? 0 : -1;
}

/* One rename is what counts: before it the old index has its name, and rebuild.db keeps everybody
 * off; after it the new one. */
static enum spool_status
exchange(struct reindex *x)
{
	const struct disk_ops *disk = x->spool.disk;
	int dir = openat(x->spool.dir_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t now_s = clock_wall_ms() / 1000;
	char before[64], before_log[80];
	enum spool_status st = SPOOL_OK;

	/* A second that an interrupted one has not taken. */
	do
		snprintf(before, sizeof(before), "index.db.before-%" PRIu64, now_s++);
	while (dir >= 0 && faccessat(dir, before, F_OK, 0) == 0);
	snprintf(before_log, sizeof(before_log), "%s-wal", before);
	if (dir < 0 || keep(disk, dir, "index.db", before) != 0 ||
	    keep(disk, dir, "index.db-wal", before_log) != 0 || disk_sync(disk, dir) != 0 ||
	    disk_unlink(disk, dir, "rebuild.db-wal") != 0 ||
	    disk_unlink(disk, dir, "rebuild.db-shm") != 0 ||
	    disk_unlink(disk, dir, "index.db-wal") != 0 ||
	    disk_unlink(disk, dir, "index.db-shm") != 0 || disk_sync(disk, dir) != 0 ||
	    disk->renameat2(dir, "rebuild.db", dir, "index.db", 0) != 0 ||
	    disk_sync(disk, dir) != 0)
		st = spool_failed("reindex_failed", "index", errno);
	if (dir >= 0)
		close(dir);
	return st;
}

static enum spool_status
rebuild(struct reindex *x, void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
    struct strbuf *err)
{
	enum spool_status st;

	st = index_rebuild_begin(x->spool.disk, x->spool.dir, x->spool.dir_fd, &x->store, err);
	if (st != SPOOL_OK)
		return st;
	x->c = x->store->writer;
	tally_init(&x->tally);
	st = fill(x, progress, arg, err);
	tally_release(&x->tally);
	if (st == SPOOL_OK)
		st = index_rebuild_end(x->spool.disk, x->spool.dir_fd, &x->store);
	index_close(&x->store);
	if (st == SPOOL_OK)
		st = exchange(x);
	else
		index_rebuild_forget(x->spool.disk, x->spool.dir_fd);
	return st;
}

/* --- the spool --------------------------------------------------------------- */

static enum spool_status
open_spool(struct spool *sp, struct strbuf *err)
{
	enum lock_role roles[] = { LOCK_RECOVERY, LOCK_OPEN };

	sp->dir_fd = open(sp->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sp->dir_fd >= 0)
		sp->segments_fd =
		    openat(sp->dir_fd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sp->segments_fd < 0 || locks_open(&sp->locks, sp->disk, sp->dir_fd) != 0) {
		strbuf_addf(err, "%s: %s", sp->dir, strerror(errno));
		return errno == ENOENT ? SPOOL_NO_SPOOL : SPOOL_IO;
	}
	sp->locks_open = true;
	for (size_t i = 0; i < 2; i++) {
		int rc = lock_role_try(&sp->locks, roles[i], false);

		if (rc < 0)
			return spool_failed("lock_failed", "locks/roles", errno);
		if (rc > 0) {
			strbuf_addf(err,
			    "%s: smtpd, pop3d or another pop-admin has the spool open: stop them "
			    "first",
			    sp->dir);
			return SPOOL_BUSY;
		}
	}
	return SPOOL_OK;
}

enum spool_status
reindex_spool_on(const char *dir, const struct disk_ops *disk,
    void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct reindex_result *r,
    struct strbuf *err)
{
	struct reindex x = { .result = r };
	enum spool_status st;

	*r = (struct reindex_result){ 0 };
	x.spool.dir = (char *)(uintptr_t)dir;
	x.spool.dir_fd = x.spool.segments_fd = -1;
	x.spool.disk = disk;
	st = open_spool(&x.spool, err);
	if (st == SPOOL_OK)
		st = rebuild(&x, progress, arg, err);
	if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: %s", dir, spool_status_text(st));
	if (x.spool.locks_open)
		locks_close(&x.spool.locks);
	if (x.spool.segments_fd >= 0)
		close(x.spool.segments_fd);
	if (x.spool.dir_fd >= 0)
		close(x.spool.dir_fd);
	return st;
}

enum spool_status
reindex_spool(const char *dir, void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
    struct reindex_result *r, struct strbuf *err)
{
	return reindex_spool_on(dir, &disk_real, progress, arg, r, err);
}
