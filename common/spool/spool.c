/*
 * spool - creating, opening and closing a spool; what it says of itself.
 *
 *     SPOOL/index/       SQLite: mailboxes, domains, aliases, entries
 *     SPOOL/secrets/     SQLite: what proves who somebody is
 *     SPOOL/segments/    the records
 *     SPOOL/locks/       empty files whose bytes are locked
 *     SPOOL/run/         the socket by which smtpd's keeper is woken
 *     SPOOL/ballast      room for removals on a full disk
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sysexits.h>
#include <unistd.h>

#include "ballast.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "committer.h"
#include "health.h"
#include "janitor.h"
#include "password.h"
#include "room_internal.h"
#include "spool_internal.h"
#include "warn.h"

#define SEGMENTS_DIR "segments"
#define RUN_DIR "run"
#define SEGMENT_MAX_DEFAULT (UINT64_C(128) << 20)
/* Free octets, for a site that wants no reserve: what a commit needs beside the message. */
#define RESERVE_LEAST (UINT64_C(1) << 20)

static const char *const status_texts[SPOOL_STATUSES] = {
	[SPOOL_OK] = "done",
	[SPOOL_NOT_READY] = "the spool is being recovered",
	[SPOOL_BUSY] = "in use",
	[SPOOL_WOULD_BLOCK] = "not in the page cache",
	[SPOOL_NO_DOMAIN] = "no such domain here",
	[SPOOL_NO_MAILBOX] = "no such mailbox here",
	[SPOOL_NO_ALIAS] = "no such alias",
	[SPOOL_NO_POSTMASTER] =
	    "nobody is postmaster yet: make that mailbox, or name one in [site]",
	[SPOOL_NO_MESSAGE] = "no such message",
	[SPOOL_DISABLED] = "the mailbox is disabled",
	[SPOOL_EXISTS] = "exists already",
	[SPOOL_IN_USE] = "the domain still has users",
	[SPOOL_NOT_LOCAL] = "not an address of this site, and Restante does not forward",
	[SPOOL_BAD_ADDRESS] = "not an address that a mailbox here can have",
	[SPOOL_BAD_PASSWORD] = "a password has 1 to 511 octets and no NUL",
	[SPOOL_DENIED] = "login refused",
	[SPOOL_TOO_MANY] = "too many recipients",
	[SPOOL_OVER_QUOTA] = "the mailbox is full",
	[SPOOL_NEVER_FITS] = "larger than the mailbox will ever take",
	[SPOOL_NO_SPACE] = "the disk is nearly full",
	[SPOOL_NO_MEMORY] = "out of memory",
	[SPOOL_IO] = "reading or writing failed",
	[SPOOL_DAMAGED] = "damaged",
	[SPOOL_UNKNOWN] = "the outcome could not be made sure",
	[SPOOL_NO_SPOOL] = "there is no spool yet: run pop-admin init",
	[SPOOL_VERSION] = "made by a newer Restante",
	[SPOOL_NETWORK_FS] = "on a network file system",
};

const char *
spool_status_text(enum spool_status st)
{
	return (unsigned)st < SPOOL_STATUSES ? status_texts[st] : "unknown status";
}

enum spool_status
spool_failed(const char *event, const char *what, int errnum)
{
	enum spool_status st = SPOOL_IO;
	const char *advice = "look at the disk and at the kernel's log";

	if (errnum == ENOSPC || errnum == EDQUOT) {
		st = SPOOL_NO_SPACE;
		advice = "make room on the spool's file system";
	} else if (errnum == EMFILE || errnum == ENFILE) {
		/* It passes; a client must not hear that its mail is damaged. */
		st = SPOOL_NO_MEMORY;
		advice = "raise the limit of open files";
	} else if (errnum == ENOMEM) {
		st = SPOOL_NO_MEMORY;
		advice = "give the process more memory";
	} else if (errnum == EACCES || errnum == EPERM) {
		advice = "the spool and all in it must belong to the account of the daemons";
	}
	log_event(LOG_LEVEL_ERROR, event, log_text("path", what), log_errno(errnum),
	    log_text("advice", advice));
	return st;
}

/* Only what may be called in a handler. */
static void
on_lost_page(int signo)
{
	static const char line[] =
	    "event=mapping_lost error=\"a file that is mapped was cut, or its disk fails\" "
	    "advice=\"the -shm files in index/ and secrets/ are SQLite's and nobody else's: it "
	    "makes them anew when the daemon is started again\"\n";

	ssize_t written = write(STDERR_FILENO, line, sizeof(line) - 1);

	(void)signo;
	(void)written;
	_exit(EX_IOERR);
}

void
spool_end_on_lost_pages(void)
{
	(void)signal(SIGBUS, on_lost_page);
}

bool
spool_fs_refused(unsigned long type)
{
	/* Of these linux/magic.h names some; the others are as their sources have them.  FUSE
	 * is among them: what is behind it nobody knows. */
	static const uint32_t refused[] = {
		NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
		CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC, AFS_FS_MAGIC, CODA_SUPER_MAGIC, NCP_SUPER_MAGIC,
		V9FS_MAGIC, FUSE_SUPER_MAGIC, OCFS2_SUPER_MAGIC, 0x01161970, /* GFS2 */
		0x0bd00bd0,                                                  /* Lustre */
		0x786f4256, /* VirtualBox shared folders */
		0xbacbacbc, /* VMware shared folders */
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		if ((uint32_t)type == refused[i])
			return true;
	return false;
}

/* Opens the spool's folder, where it may be. */
static enum spool_status
open_dir(const char *dir, int *fd_r, struct strbuf *err)
{
	struct statfs fs;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		strbuf_addf(err, "%s: there is no spool: run pop-admin init", dir);
		return SPOOL_NO_SPOOL;
	}
	if (fd < 0 || fstatfs(fd, &fs) != 0) {
		strbuf_addf(err, "%s: %s", dir, strerror(errno));
		if (fd >= 0)
			close(fd);
		return SPOOL_IO;
	}
	if (spool_fs_refused((unsigned long)fs.f_type)) {
		strbuf_addf(err,
		    "%s: is on a network file system (type 0x%x), where neither locks nor syncs "
		    "can be relied on: put the spool on a local disk",
		    dir, (unsigned)fs.f_type);
		close(fd);
		return SPOOL_NETWORK_FS;
	}
	*fd_r = fd;
	return SPOOL_OK;
}

/* The folder that `dir` stands in, so that its name can be synced. */
static int
sync_parent(const char *dir)
{
	char *path = mem_array(1, strlen(dir) + 4);
	int fd, rc = -1;

	if (path == NULL)
		return -1;
	sprintf(path, "%s/..", dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	if (fd >= 0) {
		rc = disk_sync(&disk_real, fd);
		close(fd);
	}
	return rc;
}

static bool
has_mail(int spool_fd)
{
	int fd = openat(spool_fd, SEGMENTS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool has = fd >= 0 && segment_any(fd);

	if (fd >= 0)
		close(fd);
	return has;
}

enum spool_status
spool_make_folders(const char *dir, int *fd_r, struct strbuf *err)
{
	const struct disk_ops *disk = &disk_real;
	/* One that root made for us may stand in a folder that we cannot open. */
	bool made = access(dir, F_OK) != 0;
	enum spool_status st;

	*fd_r = -1;
	if (disk_mkdir(disk, AT_FDCWD, dir) != 0) {
		strbuf_addf(err, "%s: cannot be created: %s", dir, strerror(errno));
		return errno == ENOSPC ? SPOOL_NO_SPACE : SPOOL_IO;
	}
	st = open_dir(dir, fd_r, err);
	if (st != SPOOL_OK)
		return st;
	if (disk_mkdir(disk, *fd_r, SEGMENTS_DIR) != 0 || disk_mkdir(disk, *fd_r, RUN_DIR) != 0 ||
	    locks_create(disk, *fd_r) != 0) {
		strbuf_addf(err, "%s: cannot be filled: %s", dir, strerror(errno));
		st = errno == ENOSPC ? SPOOL_NO_SPACE : SPOOL_IO;
	} else if (disk_sync(disk, *fd_r) != 0 ||
		   (sync_parent(dir) != 0 && (made || errno != EACCES))) {
		strbuf_addf(err, "%s: cannot be synced: %s", dir, strerror(errno));
		st = SPOOL_IO;
	}
	if (st != SPOOL_OK) {
		close(*fd_r);
		*fd_r = -1;
	}
	return st;
}

/* What a restore has not filled yet would be a spool without any mail. */
static enum spool_status
check_not_restoring(const char *dir, int fd, struct strbuf *err)
{
	if (faccessat(fd, SPOOL_RESTORING, F_OK, 0) != 0 ||
	    faccessat(fd, "index/index.db", F_OK, 0) == 0)
		return SPOOL_OK;
	strbuf_addf(err,
	    "%s: a restore into it has not come to its end: run it again, or remove the folder",
	    dir);
	return SPOOL_BUSY;
}

enum spool_status
spool_create(const char *dir, struct strbuf *err)
{
	const struct disk_ops *disk = &disk_real;
	enum spool_status st;
	int fd;

	st = spool_make_folders(dir, &fd, err);
	if (st != SPOOL_OK)
		return st;
	st = check_not_restoring(dir, fd, err);
	if (st == SPOOL_OK)
		st = index_create(disk, dir, fd, INDEX_SECRETS, err);
	/* An empty index beside mail would make all of it nobody's. */
	if (st == SPOOL_OK && faccessat(fd, "index/index.db", F_OK, 0) != 0 && has_mail(fd)) {
		strbuf_addf(err,
		    "%s: there is mail in segments/ but no index: put index/index.db back from a "
		    "backup, or run pop-admin reindex",
		    dir);
		st = SPOOL_DAMAGED;
	}
	/* The index last: without it there is no spool. */
	if (st == SPOOL_OK)
		st = index_create(disk, dir, fd, INDEX_MAIN, err);
	if (st == SPOOL_OK && disk_sync(disk, fd) != 0) {
		strbuf_addf(err, "%s: cannot be synced: %s", dir, strerror(errno));
		st = SPOOL_IO;
	}
	close(fd);
	return st;
}

enum spool_status
spool_open_databases(struct spool *sp, struct strbuf *err)
{
	enum spool_status st = SPOOL_OK;

	if (atomic_load(&sp->databases_open))
		return st;
	if (sp->index == NULL)
		st = index_open(sp, INDEX_MAIN, &sp->index, err);
	if (st == SPOOL_OK && sp->role != SPOOL_SMTPD)
		st = index_open(sp, INDEX_SECRETS, &sp->secrets, err);
	if (st == SPOOL_OK)
		atomic_store(&sp->databases_open, true);
	return st;
}

/* A daemon goes on without: clients are told to come again, which is better than no answer, and
 * whatever is mended meanwhile is found by the keeper. */
static enum spool_status
open_or_put_off(struct spool *sp, struct strbuf *err)
{
	enum spool_status st = spool_open_databases(sp, err);

	if (sp->role == SPOOL_ADMIN ||
	    (st != SPOOL_DAMAGED && st != SPOOL_IO && st != SPOOL_NOT_READY))
		return st;
	log_event(LOG_LEVEL_ERROR, "spool_put_off", log_text("error", err->buf),
	    log_text("advice", "no mail is taken or shown until it can be opened"));
	strbuf_clear(err);
	return SPOOL_OK;
}

static enum spool_status
open_parts(struct spool *sp, struct strbuf *err)
{
	enum spool_status st;

	st = open_dir(sp->dir, &sp->dir_fd, err);
	if (st != SPOOL_OK)
		return st;
	sp->segments_fd = openat(sp->dir_fd, SEGMENTS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sp->segments_fd < 0 || locks_open(&sp->locks, sp->disk, sp->dir_fd) != 0) {
		st = errno == ENOENT ? SPOOL_NO_SPOOL : SPOOL_IO;
		strbuf_addf(err, "%s: %s%s", sp->dir, strerror(errno),
		    st == SPOOL_NO_SPOOL ? ": run pop-admin init" : "");
		return st;
	}
	sp->locks_open = true;
	sp->files = segment_cache_new();
	sp->health = health_new();
	if (sp->role != SPOOL_SMTPD)
		sp->passwords = password_cache_new();
	if (sp->files == NULL || sp->health == NULL ||
	    (sp->role != SPOOL_SMTPD && sp->passwords == NULL))
		return SPOOL_NO_MEMORY;
	/* SQLite needs a few pages beside the databases before it reads the first. */
	ballast_prepare(sp, 0);
	st = open_or_put_off(sp, err);
	if (st == SPOOL_OK && sp->role != SPOOL_POP3D) {
		sp->room = room_new();
		st = sp->room == NULL ? SPOOL_NO_MEMORY : committer_new(sp, &sp->committer);
	}
	if (st == SPOOL_OK && sp->role != SPOOL_POP3D)
		st = warn_new(&sp->warner);
	if (st == SPOOL_OK)
		st = keeper_start(sp);
	return st;
}

enum spool_status
spool_open_on(const struct spool_options *options, const struct disk_ops *disk,
    struct spool **spool_r, struct strbuf *err)
{
	struct spool *sp = mem_array(1, sizeof(*sp));
	enum spool_status st = SPOOL_NO_MEMORY;

	*spool_r = NULL;
	if (sp == NULL)
		return st;
	sp->dir_fd = sp->segments_fd = -1;
	sp->dir = mem_dup(options->dir, strlen(options->dir));
	sp->role = options->role;
	sp->segment_max = options->segment_max != 0 ? options->segment_max : SEGMENT_MAX_DEFAULT;
	sp->reclaim_ms = options->reclaim_ms != 0 ? options->reclaim_ms : JANITOR_RECLAIM_MS;
	sp->disk = disk;
	pthread_mutex_init(&sp->space_mutex, NULL);
	pthread_mutex_init(&sp->round_mutex, NULL);
	spool_set_policy(sp, &options->policy);
	if (sp->dir != NULL)
		st = open_parts(sp, err);
	if (st == SPOOL_OK) {
		*spool_r = sp;
		return st;
	}
	if (err->len == 0 && st == SPOOL_DAMAGED)
		strbuf_addf(err,
		    "%s: index/index.db is damaged, or an older copy than the mail: put the right "
		    "one back, or stop the daemons and run pop-admin reindex",
		    options->dir);
	else if (err->len == 0)
		strbuf_addf(err, "%s: %s", options->dir, spool_status_text(st));
	spool_close(&sp);
	return st;
}

enum spool_status
spool_open(const struct spool_options *options, struct spool **spool_r, struct strbuf *err)
{
	return spool_open_on(options, &disk_real, spool_r, err);
}

void
spool_close(struct spool **spp)
{
	struct spool *sp = *spp;

	if (sp == NULL)
		return;
	/* The committer's last group may wake the janitor, who may still be recovering, and who
	 * gives the committer nothing more. */
	warn_stop(sp);
	committer_free(&sp->committer);
	keeper_stop(sp);
	warn_free(&sp->warner);
	room_free(&sp->room);
	index_close(&sp->secrets);
	index_close(&sp->index);
	segment_cache_free(&sp->files);
	health_free(&sp->health);
	password_cache_free(&sp->passwords);
	if (sp->locks_open)
		locks_close(&sp->locks);
	if (sp->segments_fd >= 0)
		close(sp->segments_fd);
	if (sp->dir_fd >= 0)
		close(sp->dir_fd);
	pthread_mutex_destroy(&sp->round_mutex);
	pthread_mutex_destroy(&sp->space_mutex);
	free(sp->dir);
	mem_free(spp);
}

bool
spool_ready(struct spool *sp)
{
	return atomic_load(&sp->ready);
}

static bool
space_low(struct spool *sp)
{
	struct statvfs fs;
	uint64_t need;

	if (fstatvfs(sp->dir_fd, &fs) != 0) {
		spool_failed("statvfs_failed", sp->dir, errno);
		return true;
	}
	/* What arriving messages have in unnamed files is not free any more; what the ballast
	 * lacks is not mail's.  A file system that makes inodes as it needs them counts none. */
	need = (sp->reserve > RESERVE_LEAST ? sp->reserve : RESERVE_LEAST) + ballast_missing(sp);
	return (uint64_t)fs.f_bavail * fs.f_frsize < need ||
	       (fs.f_files != 0 && fs.f_favail < SPOOL_RESERVE_INODES);
}

enum spool_status
spool_may_deliver(struct spool *sp)
{
	uint64_t now = clock_mono_ms();
	bool low, regained = false;

	if (!spool_ready(sp) || !health_index(sp))
		return SPOOL_NOT_READY;
	pthread_mutex_lock(&sp->space_mutex);
	if (sp->space_asked_ms == 0 || now - sp->space_asked_ms >= 1000) {
		low = space_low(sp);
		if (low != sp->space_low)
			log_event(LOG_LEVEL_WARNING, low ? "space_low" : "space_regained",
			    log_text("path", sp->dir), log_num("reserve", sp->reserve),
			    log_text("advice",
				low ? "mail is put off with 452 until there is room: make some "
				      "on this file system, or have mail removed"
				    : NULL));
		regained = sp->space_low && !low;
		sp->space_low = low;
		sp->space_asked_ms = now == 0 ? 1 : now;
	}
	low = sp->space_low;
	pthread_mutex_unlock(&sp->space_mutex);
	if (regained)
		keeper_wake(sp); /* It may take the ballast's part. */
	return low ? SPOOL_NO_SPACE : SPOOL_OK;
}

void
spool_space_changed(struct spool *sp)
{
	pthread_mutex_lock(&sp->space_mutex);
	sp->space_asked_ms = 0;
	pthread_mutex_unlock(&sp->space_mutex);
}

void
spool_set_policy(struct spool *sp, const struct spool_policy *policy)
{
	pthread_mutex_lock(&sp->space_mutex);
	sp->reserve = policy->reserve;
	sp->space_asked_ms = 0;
	pthread_mutex_unlock(&sp->space_mutex);
	atomic_store(&sp->keep_deleted_s, policy->keep_deleted_s);
	atomic_store(&sp->keep_deleted_max, policy->keep_deleted_max);
	atomic_store(&sp->expire_every_s, policy->expire_every_s);
	keeper_wake(sp);
}

void
spool_uid_format(char uid[SPOOL_UID_LEN + 1], uint64_t message)
{
	uint64_t octets = htobe64(message);

	num_format_hex(uid, &octets, sizeof(octets));
}

int
spool_uid_parse(const char *uid, uint64_t *message_r)
{
	uint8_t octets[SPOOL_UID_LEN / 2];
	char again[SPOOL_UID_LEN + 1];
	uint64_t message = 0;

	if (num_parse_hex(uid, strlen(uid), octets, sizeof(octets)) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(octets); i++)
		message = message << 8 | octets[i];
	/* Upper case is another UID. */
	spool_uid_format(again, message);
	if (strcmp(uid, again) != 0)
		return -1;
	*message_r = message;
	return 0;
}
