/*
 * index_schema - creating databases and bringing older ones up to date.
 *
 * The steps are the files in schema/, built in.  PRAGMA user_version counts those that
 * were taken; a step and its count are one transaction.
 *
 * No step is taken while another process has the spool open: it must be an older program, for
 * ours take all steps before they are ready, and would go on by rules that hold no more.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "index_internal.h"
#include "lock.h"
#include "segment.h"
#include "schema_steps.h"

static const struct {
	const char *dir, *file;
	const char *const *steps;
	int nsteps;
} databases[] = {
	[INDEX_MAIN] = { "index", "index.db", index_steps,
	    sizeof(index_steps) / sizeof(*index_steps) },
	[INDEX_NEW] = { "index", "rebuild.db", index_steps,
	    sizeof(index_steps) / sizeof(*index_steps) },
	[INDEX_SECRETS] = { "secrets", "secrets.db", secrets_steps,
	    sizeof(secrets_steps) / sizeof(*secrets_steps) },
};

int
index_version(enum index_db which)
{
	return databases[which].nsteps;
}

enum spool_status
index_read_version(struct index_conn *c, int *version_r)
{
	int64_t version = 0;
	enum spool_status st = index_number(c, index_stmt(c, "PRAGMA user_version"), &version);

	*version_r = (int)version;
	return st;
}

/* A program that knows fewer steps has the spool open, or is about to. */
static bool
older_has_it(struct index_conn *c)
{
	struct spool *sp = c->store->spool;

	return sp != NULL && (lock_role_elsewhere(&sp->locks, LOCK_OPEN) != 0 ||
				 lock_role_elsewhere(&sp->locks, LOCK_RECOVERY) != 0);
}

/* One step, unless somebody else has taken it meanwhile. */
static enum spool_status
take_step(struct index_conn *c, int step)
{
	const char *sql = databases[c->store->which].steps[step];
	enum spool_status st;
	char count[64];
	int version, rc = SQLITE_OK;

	st = index_run(c, index_stmt(c, "BEGIN IMMEDIATE"));
	if (st != SPOOL_OK)
		return st;
	st = index_read_version(c, &version);
	if (st == SPOOL_OK && version == step && older_has_it(c))
		st = SPOOL_BUSY;
	if (st == SPOOL_OK && version == step) {
		snprintf(count, sizeof(count), "PRAGMA user_version = %d", step + 1);
		rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
		if (rc == SQLITE_OK)
			rc = sqlite3_exec(c->db, count, NULL, NULL, NULL);
		if (rc != SQLITE_OK)
			st = index_failed(c, "schema", rc);
	}
	if (st == SPOOL_OK)
		st = index_run(c, index_stmt(c, "COMMIT"));
	if (st != SPOOL_OK)
		index_rollback(c);
	return st;
}

static enum spool_status
take_steps(struct index_conn *c, int version)
{
	enum spool_status st = SPOOL_OK;

	for (; st == SPOOL_OK && version < databases[c->store->which].nsteps; version++)
		st = take_step(c, version);
	return st;
}

/* Nobody asks how much memory SQLite uses, and counting it, under one mutex for all threads, is a
 * tenth of what a statement costs.  A program that has used SQLite before keeps its own choice. */
static void
count_no_memory(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* Who wants to open another file goes before those who read, or logins that never cease would keep
 * him out. */
static void
init_exchange(struct index_store *s)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->exchange, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static struct index_store *
store_new(const char *spool_dir, enum index_db which)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct index_store *s = mem_array(1, sizeof(*s));
	size_t len = strlen(spool_dir) + 64;

	if (s == NULL)
		return NULL;
	s->path = mem_array(1, len);
	if (s->path == NULL) {
		free(s);
		return NULL;
	}
	snprintf(s->path, len, "%s/%s/%s", spool_dir, databases[which].dir, databases[which].file);
	pthread_once(&once, count_no_memory);
	s->which = which;
	s->log_fd = -1;
	s->file_fd = -1;
	pthread_mutex_init(&s->mutex, NULL);
	init_exchange(s);
	pthread_mutex_init(&s->write_mutex, NULL);
	pthread_mutex_init(&s->log_mutex, NULL);
	pthread_cond_init(&s->log_synced, NULL);
	return s;
}

void
index_close(struct index_store **sp)
{
	struct index_store *s = *sp;
	struct index_conn *next;

	if (s == NULL)
		return;
	for (struct index_conn *c = s->idle; c != NULL; c = next) {
		next = c->next;
		index_conn_close(c);
	}
	index_conn_close(s->writer);
	if (s->log_fd >= 0)
		close(s->log_fd);
	if (s->file_fd >= 0)
		close(s->file_fd);
	pthread_cond_destroy(&s->log_synced);
	pthread_mutex_destroy(&s->log_mutex);
	pthread_mutex_destroy(&s->write_mutex);
	pthread_rwlock_destroy(&s->exchange);
	pthread_mutex_destroy(&s->mutex);
	free(s->path);
	mem_free(sp);
}

/* What a database that is gone has left beside its name would be taken for the new one's. */
static int
remove_leavings(const struct disk_ops *ops, int dir, const char *file)
{
	char log[32], shared[32];

	snprintf(log, sizeof(log), "%s-wal", file);
	snprintf(shared, sizeof(shared), "%s-shm", file);
	return disk_unlink(ops, dir, log) == 0 ? disk_unlink(ops, dir, shared) : -1;
}

/* The folder, and an empty file of our mode: SQLite would let others read it. */
static int
make_file(const struct disk_ops *ops, int spool_fd, enum index_db which, int *dir_r)
{
	int fd;

	if (disk_mkdir(ops, spool_fd, databases[which].dir) != 0)
		return -1;
	*dir_r = openat(spool_fd, databases[which].dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dir_r < 0)
		return -1;
	fd = disk_open(ops, *dir_r, databases[which].file, true);
	if (fd < 0)
		return errno == EEXIST ? 0 : -1;
	if (close(fd) != 0)
		return -1;
	return remove_leavings(ops, *dir_r, databases[which].file);
}

/* On disk when it returns: in the database itself, so that an empty log is no loss.  An older one is
 * brought up to date by who opens it. */
static enum spool_status
fill(struct index_conn *c)
{
	enum spool_status st;
	int version = 0, rc;

	rc = sqlite3_exec(c->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
	st =
	    rc == SQLITE_OK ? index_read_version(c, &version) : index_failed(c, "journal_mode", rc);
	if (st == SPOOL_OK && version < databases[c->store->which].nsteps) {
		if (version == 0)
			st = take_steps(c, version);
		rc = st != SPOOL_OK ? SQLITE_OK
		                    : sqlite3_wal_checkpoint_v2(
					  c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		if (rc != SQLITE_OK)
			st = index_failed(c, "checkpoint", rc);
	}
	return st;
}

enum spool_status
index_create(const struct disk_ops *ops, const char *spool_dir, int spool_fd, enum index_db which,
    struct strbuf *err)
{
	struct index_store *s = store_new(spool_dir, which);
	enum spool_status st = SPOOL_NO_MEMORY;
	int dir = -1;

	if (s == NULL)
		return st;
	if (make_file(ops, spool_fd, which, &dir) != 0) {
		st = errno == ENOSPC ? SPOOL_NO_SPACE : SPOOL_IO;
		strbuf_addf(err, "%s: %s", s->path, strerror(errno));
		goto out;
	}
	st = index_conn_open(s, true, &s->writer);
	if (st == SPOOL_OK)
		st = fill(s->writer);
	if (st == SPOOL_OK && (disk_sync(ops, dir) != 0 || disk_sync(ops, spool_fd) != 0))
		st = SPOOL_IO;
	if (st != SPOOL_OK)
		strbuf_addf(err, "%s: cannot be created: %s", s->path, spool_status_text(st));
out:
	if (dir >= 0)
		close(dir);
	index_close(&s);
	return st;
}

void
index_rebuild_forget(const struct disk_ops *ops, int spool_fd)
{
	static const char *const names[] = { INDEX_REBUILT "-wal", INDEX_REBUILT "-shm",
		INDEX_REBUILT };

	for (size_t i = 0; i < 3; i++)
		if (disk_unlink(ops, spool_fd, names[i]) != 0)
			spool_failed("rebuild_not_removed", names[i], errno);
}

enum spool_status
index_rebuild_begin(const struct disk_ops *ops, const char *spool_dir, int spool_fd,
    struct index_store **store_r, struct strbuf *err)
{
	struct index_store *s;
	enum spool_status st;

	*store_r = NULL;
	index_rebuild_forget(ops, spool_fd);
	st = index_create(ops, spool_dir, spool_fd, INDEX_NEW, err);
	if (st != SPOOL_OK)
		return st;
	s = store_new(spool_dir, INDEX_NEW);
	if (s == NULL)
		return SPOOL_NO_MEMORY;
	st = index_conn_open(s, true, &s->writer);
	if (st == SPOOL_OK)
		*store_r = s;
	else
		index_close(&s);
	return st;
}

enum spool_status
index_rebuild_end(const struct disk_ops *ops, int spool_fd, struct index_store **sp)
{
	struct index_store *s = *sp;
	enum spool_status st = SPOOL_OK;
	int fd, rc;

	index_reset_all(s->writer);
	rc = sqlite3_wal_checkpoint_v2(
	    s->writer->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc != SQLITE_OK)
		return index_failed(s->writer, "checkpoint", rc);
	fd = disk_open(ops, spool_fd, INDEX_REBUILT, false);
	if (fd < 0 || disk_sync(ops, fd) != 0)
		st = spool_failed("reindex_failed", s->path, errno);
	/* SQLite's locks on it go with this: nobody else has it. */
	if (fd >= 0)
		close(fd);
	index_close(sp);
	return st;
}

#define PUT_SECRETS_BACK                                                                           \
	"put it back from a backup, or move it away, run pop-admin init and set passwords"

/* What to do for a database that is lost. */
static const char *
put_back(enum index_db which)
{
	return which == INDEX_MAIN
	           ? "put it back from a backup, or stop the daemons and run pop-admin reindex"
	           : PUT_SECRETS_BACK;
}

static enum spool_status
check_version(struct index_store *s, struct strbuf *err)
{
	int version;
	enum spool_status st = index_read_version(s->writer, &version);

	if (st != SPOOL_OK)
		return st;
	if (version > databases[s->which].nsteps) {
		strbuf_addf(err, "%s: made by a newer Restante (schema %d, this one knows %d)",
		    s->path, version, databases[s->which].nsteps);
		return SPOOL_VERSION;
	}
	if (version == 0 && segment_any(s->spool->segments_fd)) {
		strbuf_addf(
		    err, "%s: is empty, and there is mail: %s", s->path, put_back(s->which));
		return SPOOL_DAMAGED;
	}
	if (version == 0) {
		strbuf_addf(err, "%s: was never filled: run pop-admin init", s->path);
		return SPOOL_NO_SPOOL;
	}
	st = take_steps(s->writer, version);
	if (st == SPOOL_BUSY)
		strbuf_addf(err,
		    "%s: has to be brought up to date, and an older Restante has the spool open: "
		    "end it first",
		    s->path);
	return st;
}

int
index_open_file(struct index_store *s)
{
	int fd = open(s->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (s->file_fd >= 0)
		close(s->file_fd);
	s->file_fd = fd;
	return 0;
}

/* What stands beside the database may forbid to open it, or say how it comes back. */
static enum spool_status
look_beside(struct spool *sp, const struct index_store *s, struct strbuf *err)
{
	bool main_db = s->which == INDEX_MAIN;

	if (main_db && faccessat(sp->dir_fd, INDEX_REBUILT, F_OK, 0) == 0) {
		strbuf_addf(err,
		    "%s/" INDEX_REBUILT ": the index is being rebuilt, or that was interrupted: "
		    "run pop-admin reindex",
		    sp->dir);
		return SPOOL_NOT_READY;
	}
	if (access(s->path, F_OK) == 0 || errno != ENOENT)
		return SPOOL_OK;
	if (main_db && faccessat(sp->dir_fd, SPOOL_RESTORING, F_OK, 0) == 0) {
		strbuf_addf(err,
		    "%s/" SPOOL_RESTORING ": the spool is being restored, or that was "
		    "interrupted: run pop-admin restore",
		    sp->dir);
		return SPOOL_NOT_READY;
	}
	/* An empty index would make all that mail nobody's. */
	if (segment_any(sp->segments_fd)) {
		strbuf_addf(
		    err, "%s: is not there, and there is mail: %s", s->path, put_back(s->which));
		return SPOOL_DAMAGED;
	}
	strbuf_addf(err, "%s: is not there: run pop-admin init", s->path);
	return SPOOL_NO_SPOOL;
}

static enum spool_status
open_store(struct index_store *s, struct strbuf *err)
{
	enum spool_status st;

	if (index_open_file(s) != 0)
		return spool_failed("index_open_failed", s->path, errno);
	st = index_conn_open(s, true, &s->writer);
	if (st == SPOOL_OK)
		st = check_version(s, err);
	if (st == SPOOL_OK && s->which == INDEX_MAIN)
		st = index_log_open(s);
	return st;
}

/* Closes all of a file that has its name no more.  Beside that name log and shared memory may be
 * another's by now: nothing is moved into the file, and nothing cut. */
static void
let_go(struct index_store *s)
{
	struct index_conn *c;

	while ((c = s->writer != NULL ? s->writer : s->idle) != NULL) {
		if (c == s->writer) {
			s->writer = NULL;
		} else {
			s->idle = c->next;
			s->nidle--;
		}
		sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		index_conn_close(c);
	}
	close(s->file_fd);
	s->file_fd = -1;
}

static enum spool_status
open_other(struct index_store *s, struct strbuf *err)
{
	enum spool_status st;

	/* Who puts the old one back finds it open. */
	if (access(s->path, F_OK) != 0) {
		strbuf_addstr(err, strerrordesc_np(errno));
		return SPOOL_IO;
	}
	if (s->file_fd >= 0)
		let_go(s);
	st = open_store(s, err);
	if (st == SPOOL_OK)
		return st;
	index_conn_close(s->writer);
	s->writer = NULL;
	if (err->len == 0)
		strbuf_addstr(err, spool_status_text(st));
	return SPOOL_IO;
}

bool
index_followed(struct index_store *s)
{
	return s->writer != NULL && !s->lost && index_in_place(s) == 1;
}

enum spool_status
index_follow(struct index_store *s)
{
	bool same = s->writer != NULL && index_in_place(s) == 1;
	enum spool_status st = SPOOL_OK;
	struct strbuf err;

	strbuf_init(&err, 4096);
	if (!same)
		st = open_other(s, &err);
	if (st == SPOOL_OK && (!same || s->lost))
		log_event(LOG_LEVEL_WARNING, "secrets_opened", log_text("path", s->path),
		    log_text("advice", "passwords are those of the file that is there now"));
	else if (st != SPOOL_OK && !s->lost)
		log_event(LOG_LEVEL_ERROR, "secrets_not_opened", log_text("path", s->path),
		    log_text("error", err.len > 0 ? err.buf : spool_status_text(st)),
		    log_text("advice", "nobody can log in: " PUT_SECRETS_BACK));
	s->lost = st != SPOOL_OK;
	strbuf_release(&err);
	return st;
}

enum spool_status
index_open(struct spool *sp, enum index_db which, struct index_store **store_r, struct strbuf *err)
{
	struct index_store *s = store_new(sp->dir, which);
	enum spool_status st;

	*store_r = NULL;
	if (s == NULL)
		return SPOOL_NO_MEMORY;
	s->spool = sp;
	st = look_beside(sp, s, err);
	if (st == SPOOL_OK)
		st = open_store(s, err);
	if ((st == SPOOL_DAMAGED || st == SPOOL_IO) && err->len == 0)
		strbuf_addf(err, "%s: cannot be opened: %s: %s", s->path, spool_status_text(st),
		    put_back(which));
	else if (st != SPOOL_OK && err->len == 0)
		strbuf_addf(err, "%s: cannot be opened: %s", s->path, spool_status_text(st));
	if (st == SPOOL_OK)
		*store_r = s;
	else
		index_close(&s);
	return st;
}
