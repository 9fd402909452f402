/*
 * epoch - knowing an index of another day.
 *
 * The number is SQLite's application_id, four octets in the first page of index.db: it is read
 * through a transaction, where the log counts, and out of the file itself, where it does not.  A log
 * that was left beside an older index.db would hide that one's age otherwise.
 *
 * Invariant: what segments/epoch says is on disk in the index before it is written there.  So after
 * a power cut the index has at least that; a lower one is an older copy that somebody put back.
 *
 * The file is 24 octets, little-endian: "RSTNTEPO" (8), the epoch (4), that of index.db alone (4),
 * CRC-32C of these 16 (4), zeros.  It is written in place, within one sector.  One that is missing
 * or torn says nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "account_internal.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "health.h"
#include "spool_internal.h"

#define EPOCH_FILE "epoch"
#define EPOCH_LEN 24
#define CRC_AT 16

static const char magic[8] = { 'R', 'S', 'T', 'N', 'T', 'E', 'P', 'O' };

/* Where SQLite's file format has the application_id, big-endian. */
#define DATABASE_AT 68
/* It is a signed number there. */
#define EPOCH_MAX INT32_MAX

struct said {
	uint32_t epoch, file;
};

static void
put(uint8_t *p, uint32_t n)
{
	for (size_t i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> 8 * i);
}

static uint32_t
get(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Zeros when the file does not say. */
static enum spool_status
read_said(struct spool *sp, struct said *said_r)
{
	uint8_t buf[EPOCH_LEN];
	int fd = openat(sp->segments_fd, EPOCH_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	*said_r = (struct said){ 0 };
	if (fd < 0)
		return errno == ENOENT
		           ? SPOOL_OK
		           : spool_failed("epoch_failed", "segments/" EPOCH_FILE, errno);
	n = pread(fd, buf, sizeof(buf), 0);
	close(fd);
	if (n == (ssize_t)sizeof(buf) && memcmp(buf, magic, sizeof(magic)) == 0 &&
	    get(buf + CRC_AT) == crc32c(0, buf, CRC_AT))
		*said_r = (struct said){ get(buf + 8), get(buf + 12) };
	else
		log_event(LOG_LEVEL_WARNING, "epoch_unknown",
		    log_text("path", "segments/" EPOCH_FILE),
		    log_text("advice", "an older copy of the index would not be noticed; it is "
				       "written anew at once"));
	return SPOOL_OK;
}

uint32_t
epoch_said(struct spool *sp)
{
	struct said said;

	return read_said(sp, &said) == SPOOL_OK ? said.epoch : 0;
}

static enum spool_status
read_index(struct index_conn *c, uint32_t *epoch_r)
{
	int64_t id = 0;
	enum spool_status st = index_number(c, index_stmt(c, "PRAGMA application_id"), &id);

	*epoch_r = (uint32_t)id;
	return st;
}

/* 1; 0 where the file has none; -1 with errno. */
static int
read_database(int fd, uint32_t *epoch_r)
{
	uint8_t buf[4];
	ssize_t n = pread(fd, buf, sizeof(buf), DATABASE_AT);

	if (n != (ssize_t)sizeof(buf))
		return n < 0 ? -1 : 0;
	*epoch_r = (uint32_t)buf[0] << 24 | (uint32_t)buf[1] << 16 | (uint32_t)buf[2] << 8 | buf[3];
	return 1;
}

int
epoch_file_holds(struct spool *sp, int fd)
{
	uint32_t has = 0;
	int rc = read_database(fd, &has);

	return rc == 1 ? has >= atomic_load(&sp->epoch_file) : rc;
}

static enum spool_status
older(struct spool *sp, uint32_t has, uint32_t wanted)
{
	log_event(LOG_LEVEL_ERROR, "index_older", log_text("path", sp->dir), log_num("epoch", has),
	    log_num("wanted", wanted),
	    log_text("advice",
		"index/index.db is an older copy than the mail: no mail is taken or shown; stop "
		"the daemons, put the right one back or run pop-admin reindex"));
	return SPOOL_DAMAGED;
}

enum spool_status
epoch_check(struct spool *sp)
{
	enum spool_status st;
	struct index_conn *c;
	uint32_t has, file;
	struct said said;

	st = read_said(sp, &said);
	if (st == SPOOL_OK)
		st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = read_index(c, &has);
	index_read_end(sp, &c);
	if (st == SPOOL_OK && read_database(index_file(sp), &file) != 1)
		st = spool_failed("index_read_failed", "index/index.db", EIO);
	if (st != SPOOL_OK)
		return st;
	if (has < said.epoch)
		return older(sp, has, said.epoch);
	if (file < said.file)
		return older(sp, file, said.file);
	atomic_store(&sp->epoch, has);
	atomic_store(&sp->epoch_file, said.file);
	return SPOOL_OK;
}

static enum spool_status
write_said(struct spool *sp, const struct said *said)
{
	uint8_t buf[EPOCH_LEN] = { 0 };
	bool made = false;
	int fd = disk_open(sp->disk, sp->segments_fd, EPOCH_FILE, false);
	enum spool_status st = SPOOL_OK;

	if (fd < 0 && errno == ENOENT) {
		fd = disk_open(sp->disk, sp->segments_fd, EPOCH_FILE, true);
		made = true;
		/* Another process is at it: what it writes is as good. */
		if (fd < 0 && errno == EEXIST)
			return SPOOL_OK;
	}
	if (fd < 0)
		return spool_failed("epoch_failed", "segments/" EPOCH_FILE, errno);
	memcpy(buf, magic, sizeof(magic));
	put(buf + 8, said->epoch);
	put(buf + 12, said->file);
	put(buf + CRC_AT, crc32c(0, buf, CRC_AT));
	if (disk_write_buf(sp->disk, fd, buf, sizeof(buf), 0) != 0 ||
	    disk_sync_data(sp->disk, fd) != 0 ||
	    (made && disk_sync(sp->disk, sp->segments_fd) != 0))
		st = spool_failed("epoch_failed", "segments/" EPOCH_FILE, errno);
	close(fd);
	return st;
}

/* In the transaction on `c`. */
static enum spool_status
raise_index(struct spool *sp, struct index_conn *c, uint32_t *epoch_r)
{
	uint32_t known = atomic_load(&sp->epoch);
	enum spool_status st;
	char sql[64];
	int rc;

	st = read_index(c, epoch_r);
	if (st != SPOOL_OK)
		return st;
	if (*epoch_r < known)
		*epoch_r = known;
	/* One change a minute at most: it does not come to an end. */
	if (*epoch_r < EPOCH_MAX)
		++*epoch_r;
	snprintf(sql, sizeof(sql), "PRAGMA application_id = %u", (unsigned)*epoch_r);
	rc = sqlite3_exec(index_db(c), sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return SPOOL_OK;
	log_event(LOG_LEVEL_ERROR, "epoch_failed", log_text("path", "index/index.db"),
	    log_text("error", sqlite3_errstr(rc)),
	    log_text("advice", "look at the disk and at the kernel's log"));
	return rc == SQLITE_NOMEM ? SPOOL_NO_MEMORY : SPOOL_IO;
}

enum spool_status
epoch_raise(struct spool *sp)
{
	enum spool_status st;
	struct index_conn *c;
	struct said said;

	st = index_write_begin(sp, INDEX_MAIN, "epoch", &c);
	if (st != SPOOL_OK)
		return st;
	said.file = atomic_load(&sp->epoch_file);
	st = raise_index(sp, c, &said.epoch);
	if (st == SPOOL_OK)
		st = index_write_commit(sp, &c, true);
	else
		index_write_abandon(sp, &c);
	if (st == SPOOL_OK)
		st = write_said(sp, &said);
	if (st == SPOOL_OK)
		atomic_store(&sp->epoch, said.epoch);
	return st;
}

void
epoch_note_file(struct spool *sp)
{
	struct said said = { .epoch = atomic_load(&sp->epoch) };

	if (read_database(index_file(sp), &said.file) != 1 ||
	    said.file <= atomic_load(&sp->epoch_file))
		return;
	if (write_said(sp, &said) == SPOOL_OK)
		atomic_store(&sp->epoch_file, said.file);
}

enum spool_status
epoch_compare(struct spool *sp, struct index_conn *c)
{
	uint32_t has;
	enum spool_status st = read_index(c, &has);

	if (st != SPOOL_OK || has >= atomic_load(&sp->epoch))
		return st;
	health_note_index(
	    sp, "index/index.db was exchanged for an older copy", HEALTH_INDEX_ADVICE);
	return SPOOL_IO;
}
