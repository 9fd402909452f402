/*
 * segment - naming, creating, opening, cutting and closing segments, and the cache of
 * those that are read.
 *
 * Invariants:
 *  1. A number is never given twice: it is above every one that the index knows, and a file
 *     that has it already (its row was lost with the power) makes us take the next.
 *  2. Header and name of a segment are on disk before its first record is written.
 *  3. Only who holds its lock writes records to a segment, and appends to one that it made.
 */
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/num.h"
#include "health.h"
#include "lock.h"
#include "spool_internal.h"

/* Descriptors that are kept open; more only while more are in use at once. */
#define CACHE_MAX 512

/* A segment in the cache. */
struct cached {
	struct segment_file file; /* first, so that it is also this */
	struct map_node node;     /* in files, by number */
	struct list_node in_idle; /* in idle while refs is 0, the oldest first */
	unsigned refs;
	bool forgotten; /* not in files any more: it goes with its last reader */
};

struct segment_cache {
	pthread_mutex_t mutex; /* guards all of it */
	struct map files;      /* owned */
	struct list_node idle;
};

const char *
segment_name(char name[SEGMENT_NAME_MAX], uint64_t number)
{
	snprintf(name, SEGMENT_NAME_MAX, "%llu", (unsigned long long)number);
	return name;
}

bool
segment_parse_name(const char *name, uint64_t *number_r)
{
	return name[0] != '0' &&
	       num_parse_u64(name, strlen(name), 1, SEGMENT_NUMBER_MAX, number_r) == 0;
}

bool
segment_any(int segments_fd)
{
	int fd = openat(segments_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *file;
	uint64_t number;
	bool any = dir == NULL;

	if (dir == NULL && fd >= 0)
		close(fd);
	while (!any && (file = readdir(dir)) != NULL)
		any = segment_parse_name(file->d_name, &number);
	if (dir != NULL)
		closedir(dir);
	return any;
}

struct segment_cache *
segment_cache_new(void)
{
	struct segment_cache *cache = mem_array(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	pthread_mutex_init(&cache->mutex, NULL);
	map_init(&cache->files);
	list_init(&cache->idle);
	return cache;
}

/* Under the mutex; the file is idle. */
static void
cached_free(struct segment_cache *cache, struct cached *c)
{
	list_remove(&c->in_idle);
	if (!c->forgotten)
		map_remove(&cache->files, &c->node);
	close(c->file.fd);
	free(c);
}

void
segment_cache_free(struct segment_cache **cp)
{
	struct segment_cache *cache = *cp;

	if (cache == NULL)
		return;
	while (!list_empty(&cache->idle))
		cached_free(cache, LIST_OBJECT(cache->idle.next, struct cached, in_idle));
	map_release(&cache->files);
	pthread_mutex_destroy(&cache->mutex);
	mem_free(cp);
}

/* Under the mutex: the file with this number, counted, or NULL. */
static struct cached *
cache_take(struct segment_cache *cache, uint64_t number)
{
	struct map_node *node = map_find(&cache->files, map_key_u64(number));

	if (node == NULL)
		return NULL;
	struct cached *c = MAP_OBJECT(node, struct cached, node);
	if (c->refs++ == 0)
		list_remove(&c->in_idle);
	return c;
}

static enum spool_status
damaged(uint64_t number, const char *why)
{
	log_event(LOG_LEVEL_ERROR, "segment_damaged", log_num("segment", number),
	    log_text("error", why),
	    log_text("advice", "its messages cannot be read: look at the disk and at backups"));
	return SPOOL_DAMAGED;
}

bool
segment_header_is(int fd, uint64_t number, struct segment_id *id_r)
{
	uint8_t buf[SEGMENT_HEADER_LEN];

	return fd >= 0 && pread(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf) &&
	       segment_header_decode(buf, id_r) == SPOOL_OK && id_r->number == number;
}

static enum spool_status
read_header(int fd, uint64_t number, struct segment_id *id_r)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	ssize_t n;

	n = pread(fd, buf, sizeof(buf), 0);
	if (n < 0)
		return spool_failed("segment_read_failed", segment_name(name, number), errno);
	if (n < (ssize_t)sizeof(buf))
		return damaged(number, "shorter than its header");
	st = segment_header_decode(buf, id_r);
	if (st == SPOOL_VERSION)
		log_event(LOG_LEVEL_ERROR, "segment_version", log_num("segment", number),
		    log_text("advice", "it was made by a newer Restante: install that"));
	else if (st != SPOOL_OK || id_r->number != number)
		st = damaged(number, "its header is not one");
	return st;
}

static enum spool_status
cached_open(struct spool *sp, uint64_t number, struct cached **c_r)
{
	struct cached *c = mem_array(1, sizeof(*c));
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;

	if (c == NULL)
		return SPOOL_NO_MEMORY;
	c->refs = 1;
	c->node.key = map_key_u64(number);
	list_init(&c->in_idle);
	c->file.fd = openat(sp->segments_fd, segment_name(name, number), O_RDONLY | O_CLOEXEC);
	if (c->file.fd < 0) {
		st = errno == ENOENT ? damaged(number, "it is not there")
		                     : spool_failed("segment_open_failed", name, errno);
		/* Not for what passes: too many open files, no memory. */
		if (st == SPOOL_DAMAGED || st == SPOOL_IO)
			health_note_segment(sp, number, "it cannot be opened");
		free(c);
		return st;
	}
	st = read_header(c->file.fd, number, &c->file.id);
	if (st != SPOOL_OK) {
		health_note_segment(sp, number, "its header cannot be read");
		close(c->file.fd);
		free(c);
		return st;
	}
	*c_r = c;
	return SPOOL_OK;
}

enum spool_status
segment_get(struct spool *sp, uint64_t number, bool may_block, struct segment_file **f_r)
{
	struct segment_cache *cache = sp->files;
	struct cached *c, *other;
	enum spool_status st;

	*f_r = NULL;
	pthread_mutex_lock(&cache->mutex);
	c = cache_take(cache, number);
	pthread_mutex_unlock(&cache->mutex);
	if (c == NULL) {
		if (!may_block)
			return SPOOL_WOULD_BLOCK;
		st = cached_open(sp, number, &c);
		if (st != SPOOL_OK)
			return st;
		pthread_mutex_lock(&cache->mutex);
		other = cache_take(cache, number);
		if (other == NULL && map_add(&cache->files, &c->node) != 0)
			st = SPOOL_NO_MEMORY;
		pthread_mutex_unlock(&cache->mutex);
		if (other != NULL || st != SPOOL_OK) {
			close(c->file.fd);
			free(c);
			c = other;
		}
		if (st != SPOOL_OK)
			return st;
	}
	*f_r = &c->file;
	return SPOOL_OK;
}

void
segment_put(struct spool *sp, struct segment_file **fp)
{
	struct segment_cache *cache = sp->files;
	struct cached *c = (struct cached *)*fp;

	if (c == NULL)
		return;
	*fp = NULL;
	pthread_mutex_lock(&cache->mutex);
	if (--c->refs == 0 && c->forgotten)
		cached_free(cache, c);
	else if (c->refs == 0)
		list_append(&cache->idle, &c->in_idle);
	while (cache->files.count > CACHE_MAX && !list_empty(&cache->idle))
		cached_free(cache, LIST_OBJECT(cache->idle.next, struct cached, in_idle));
	pthread_mutex_unlock(&cache->mutex);
}

bool
segment_exchanged(struct spool *sp, struct segment_file *f)
{
	struct segment_cache *cache = sp->files;
	struct cached *c = (struct cached *)f;
	struct stat open_file, named;
	char name[SEGMENT_NAME_MAX];
	bool first;

	if (fstat(f->fd, &open_file) != 0 ||
	    fstatat(sp->segments_fd, segment_name(name, f->id.number), &named, 0) != 0 ||
	    (open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev))
		return false;
	pthread_mutex_lock(&cache->mutex);
	first = !c->forgotten;
	if (first)
		map_remove(&cache->files, &c->node);
	c->forgotten = true;
	pthread_mutex_unlock(&cache->mutex);
	if (first)
		log_event(LOG_LEVEL_WARNING, "segment_exchanged", log_num("segment", f->id.number),
		    log_text("advice", "the file that was open is damaged: the new one is read"));
	return true;
}

enum spool_status
segment_find(struct spool *sp, uint64_t message, bool may_block, struct segment_file **f_r,
    struct record *r_r)
{
	uint64_t block = message_block(message);
	struct segment_file *f;
	uint8_t buf[RECORD_FIXED_LEN];
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	ssize_t n;

	*f_r = NULL;
	st = segment_get(sp, message_segment(message), may_block, &f);
	if (st != SPOOL_OK)
		return st;
	n = preadv2(f->fd, &iov, 1, (off_t)(block * RECORD_BLOCK), may_block ? 0 : RWF_NOWAIT);
	if (n < 0 && !may_block && (errno == EAGAIN || errno == EOPNOTSUPP))
		st = SPOOL_WOULD_BLOCK;
	else if (n < 0)
		st = spool_failed(
		    "segment_read_failed", segment_name(name, message_segment(message)), errno);
	else if (n < (ssize_t)sizeof(buf) && !may_block)
		st = SPOOL_WOULD_BLOCK;
	else if (n < (ssize_t)sizeof(buf) && segment_exchanged(sp, f))
		st = SPOOL_IO;
	else if (n < (ssize_t)sizeof(buf)) {
		st = damaged(message_segment(message), "it is shorter than what was written to it");
		health_note_segment(sp, message_segment(message), "it is too short");
	} else if (!record_fixed_decode(buf, &f->id, block, r_r))
		st = segment_exchanged(sp, f)
		         ? SPOOL_IO
		         : damaged(message_segment(message), "a message's record is not one");
	if (st == SPOOL_OK)
		*f_r = f;
	else
		segment_put(sp, &f);
	return st;
}

enum spool_status
segment_id_make(uint64_t number, struct segment_id *id_r)
{
	id_r->number = number;
	if (getrandom(id_r->random, SEGMENT_RANDOM_LEN, 0) != SEGMENT_RANDOM_LEN)
		return spool_failed("getrandom_failed", "segment", errno);
	return SPOOL_OK;
}

enum spool_status
segment_next_number(struct spool *sp, struct index_conn *c, uint64_t *number_r)
{
	uint64_t number = clock_wall_ms();
	char name[SEGMENT_NAME_MAX];
	enum spool_status st;
	sqlite3_stmt *stmt;
	int64_t newest = 0;

	stmt = index_stmt(c, "SELECT value FROM meta WHERE key = 'newest_segment'");
	st = index_number(c, stmt, &newest);
	if (st != SPOOL_OK)
		return st;
	if (number <= (uint64_t)newest)
		number = (uint64_t)newest + 1;
	while (faccessat(sp->segments_fd, segment_name(name, number), F_OK, 0) == 0)
		number++;
	if (number > SEGMENT_NUMBER_MAX)
		return spool_failed("segment_numbers_spent", name, EOVERFLOW);
	stmt = index_stmt(c, "UPDATE meta SET value = ?1 WHERE key = 'newest_segment'");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
	*number_r = number;
	return index_run(c, stmt);
}

int
segment_lock_new(int fd)
{
	struct stat file;

	if (lock_segment(fd) != 0 || fstat(fd, &file) != 0)
		return -1;
	errno = file.st_nlink == 0 ? ENOENT : 0;
	return file.st_nlink == 0 ? -1 : 0;
}

/* The file with its header, locked and durable.  On a failure nothing of it is left, or a
 * segment without records that recovery will find. */
static enum spool_status
make_file(struct spool *sp, struct segment *s)
{
	uint8_t block[RECORD_BLOCK] = { 0 };
	char name[SEGMENT_NAME_MAX];
	enum spool_status st = SPOOL_OK;

	segment_name(name, s->id.number);
	s->fd = disk_open(sp->disk, sp->segments_fd, name, true);
	if (s->fd < 0)
		return spool_failed("segment_create_failed", name, errno);
	segment_header_encode(block, &s->id);
	if (segment_lock_new(s->fd) != 0 ||
	    disk_write_buf(sp->disk, s->fd, block, sizeof(block), 0) != 0 ||
	    disk_sync_data(sp->disk, s->fd) != 0 || disk_sync(sp->disk, sp->segments_fd) != 0)
		st = spool_failed("segment_create_failed", name, errno);
	if (st != SPOOL_OK) {
		disk_unlink(sp->disk, sp->segments_fd, name);
		segment_close(s);
	}
	return st;
}

enum spool_status
segment_create(struct spool *sp, struct segment *s_r)
{
	struct segment s = { .fd = -1, .end = 1 };
	char name[SEGMENT_NAME_MAX];
	struct index_conn *c;
	enum spool_status st;
	uint64_t number = 0;

	st = index_write_begin(sp, INDEX_MAIN, "segment", &c);
	if (st != SPOOL_OK)
		return st;
	st = segment_next_number(sp, c, &number);
	if (st == SPOOL_OK)
		st = segment_id_make(number, &s.id);
	if (st == SPOOL_OK)
		st = make_file(sp, &s);
	if (st == SPOOL_OK) {
		sqlite3_stmt *stmt = index_stmt(c, "INSERT INTO segment VALUES (?1, 0, 1, 0)");
		sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
		st = index_run(c, stmt);
	}
	if (st == SPOOL_OK)
		st = index_write_commit(sp, &c, false);
	else
		index_write_abandon(sp, &c);
	if (st == SPOOL_OK) {
		*s_r = s;
		return st;
	}
	/* Where its row may yet come, the file stays; without one recovery gives it one. */
	if (s.fd >= 0 && st != SPOOL_UNKNOWN)
		disk_unlink(sp->disk, sp->segments_fd, segment_name(name, number));
	segment_close(&s);
	return st;
}

enum spool_status
segment_open(struct spool *sp, uint64_t number, struct segment *s_r)
{
	struct segment s = { .fd = -1 };
	char name[SEGMENT_NAME_MAX];
	struct stat file;
	enum spool_status st;
	int rc;

	segment_name(name, number);
	s.fd = disk_open(sp->disk, sp->segments_fd, name, false);
	if (s.fd < 0)
		return errno == ENOENT ? SPOOL_NO_MESSAGE
		                       : spool_failed("segment_open_failed", name, errno);
	rc = lock_segment(s.fd);
	/* What its writer took back was unlinked before the lock was given up. */
	if (rc == 0)
		rc = fstat(s.fd, &file);
	if (rc < 0)
		st = spool_failed("segment_open_failed", name, errno);
	else if (rc > 0)
		st = SPOOL_BUSY;
	else if (file.st_nlink == 0)
		st = SPOOL_NO_MESSAGE;
	else
		st = read_header(s.fd, number, &s.id);
	if (st != SPOOL_OK) {
		close(s.fd);
		return st;
	}
	s.end = ((uint64_t)file.st_size + RECORD_BLOCK - 1) / RECORD_BLOCK;
	*s_r = s;
	return SPOOL_OK;
}

enum spool_status
segment_cut(struct spool *sp, struct segment *s, uint64_t end)
{
	char name[SEGMENT_NAME_MAX];

	if (disk_truncate(sp->disk, s->fd, end * RECORD_BLOCK) != 0 ||
	    disk_sync(sp->disk, s->fd) != 0)
		return spool_failed("segment_cut_failed", segment_name(name, s->id.number), errno);
	s->end = end;
	return SPOOL_OK;
}

void
segment_close(struct segment *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
