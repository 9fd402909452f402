/*
 * health - which segments, and whether the index, cannot be shown for what they should be.
 *
 * Invariants:
 *  1. Nothing is forgotten but by a look at the file: a note is taken back only when the segment has
 *     its header and all that its mark says.
 *  2. The list is bounded; past its bound every segment that is asked about is looked at.
 */
#include "health.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "files.h"
#include "segment.h"
#include "spool_internal.h"

static const char sql_segments[] = "SELECT number, mark FROM segment WHERE state <> 2"
				   " AND live <> 0 ORDER BY number";

static const char sql_segment[] = "SELECT mark FROM segment WHERE number = ?1 AND state <> 2"
				  " AND live <> 0";

struct health {
	pthread_mutex_t mutex; /* guards list, n, cap; never held across a call that may wait */
	uint64_t *list;        /* owned, in order */
	size_t n, cap;
	atomic_size_t known; /* n, or one more when there were too many */
	atomic_bool too_many;
	atomic_bool index_bad;
};

struct health *
health_new(void)
{
	struct health *h = mem_array(1, sizeof(*h));

	if (h != NULL)
		pthread_mutex_init(&h->mutex, NULL);
	return h;
}

void
health_free(struct health **hp)
{
	struct health *h = *hp;

	if (h == NULL)
		return;
	pthread_mutex_destroy(&h->mutex);
	free(h->list);
	mem_free(hp);
}

/* --- the list ------------------------------------------------------------- */

/* Under the mutex: where it is, or would be. */
static size_t
place_of(const struct health *h, uint64_t number)
{
	size_t low = 0, high = h->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (h->list[mid] < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* False when it was there already, or there is no room for it. */
static bool
list_add(struct health *h, uint64_t number)
{
	bool added = false;

	pthread_mutex_lock(&h->mutex);
	size_t at = place_of(h, number);
	if (at == h->n || h->list[at] != number) {
		added = h->n < HEALTH_SEGMENTS_MAX &&
		        mem_grow(&h->list, &h->cap, h->n + 1, sizeof(*h->list)) == 0;
		if (added) {
			memmove(h->list + at + 1, h->list + at, (h->n - at) * sizeof(*h->list));
			h->list[at] = number;
			h->n++;
		} else {
			atomic_store(&h->too_many, true);
		}
		atomic_store(&h->known, h->n + atomic_load(&h->too_many));
	}
	pthread_mutex_unlock(&h->mutex);
	return added;
}

static bool
list_remove_number(struct health *h, uint64_t number)
{
	bool removed = false;

	pthread_mutex_lock(&h->mutex);
	size_t at = place_of(h, number);
	if (at < h->n && h->list[at] == number) {
		h->n--;
		memmove(h->list + at, h->list + at + 1, (h->n - at) * sizeof(*h->list));
		removed = true;
		atomic_store(&h->known, h->n + atomic_load(&h->too_many));
	}
	pthread_mutex_unlock(&h->mutex);
	return removed;
}

static bool
list_has(struct health *h, uint64_t number)
{
	pthread_mutex_lock(&h->mutex);
	size_t at = place_of(h, number);
	bool has = at < h->n && h->list[at] == number;
	pthread_mutex_unlock(&h->mutex);
	return has;
}

void
health_note_segment(struct spool *sp, uint64_t number, const char *why)
{
	if (sp->health == NULL || !list_add(sp->health, number))
		return;
	log_event(LOG_LEVEL_ERROR, "segment_damaged", log_num("segment", number),
	    log_text("error", why),
	    log_text("advice", "mailboxes with mail in it are not shown: put the file back from a "
			       "backup, or run pop-admin check --repair"));
}

bool
health_any(struct spool *sp)
{
	return sp->health != NULL && atomic_load(&sp->health->known) > 0;
}

size_t
health_known(struct spool *sp)
{
	return sp->health != NULL ? atomic_load(&sp->health->known) : 0;
}

/* --- looking at files ------------------------------------------------------ */

/* Blocks before `mark` are in the file; the last one perhaps in part, as a large message ends. */
static bool
is_long_enough(uint64_t mark, uint64_t size)
{
	return mark <= 1 ? size > 0 : (mark - 1) * RECORD_BLOCK < size;
}

/* NULL: nothing is wrong with it. */
static const char *
probe_file(struct spool *sp, uint64_t number, uint64_t mark)
{
	uint8_t buf[SEGMENT_HEADER_LEN];
	char name[SEGMENT_NAME_MAX];
	struct segment_id id;
	const char *why = NULL;
	struct stat file;
	int fd;

	fd = openat(sp->segments_fd, segment_name(name, number), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? "it is not there" : "it cannot be opened";
	if (fstat(fd, &file) != 0 || pread(fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
		why = "it cannot be read";
	else if (segment_header_decode(buf, &id) != SPOOL_OK || id.number != number)
		why = "its header is not one";
	else if (!is_long_enough(mark, (uint64_t)file.st_size))
		why = "it is shorter than what was written to it";
	close(fd);
	return why;
}

/* The same by what the index says now; one in which nothing lives any more is nobody's trouble. */
static enum spool_status
probe(struct spool *sp, uint64_t number, const char **why_r)
{
	enum spool_status st;
	struct index_conn *c;
	sqlite3_stmt *stmt;
	uint64_t mark = 0;
	bool row = false;

	*why_r = NULL;
	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	stmt = account_query(c, sql_segment, "u", number);
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && row) {
		mark = account_u64(stmt, 0);
		sqlite3_reset(stmt);
	}
	index_read_end(sp, &c);
	if (st == SPOOL_OK && row)
		*why_r = probe_file(sp, number, mark);
	return st;
}

bool
health_segment(struct spool *sp, uint64_t number)
{
	struct health *h = sp->health;
	const char *why;

	if (!health_any(sp) || (!list_has(h, number) && !atomic_load(&h->too_many)))
		return true;
	if (probe(sp, number, &why) != SPOOL_OK || why != NULL)
		return false;
	if (list_remove_number(h, number))
		log_event(LOG_LEVEL_WARNING, "segment_well_again", log_num("segment", number));
	return true;
}

/* Those of which the folder says that they are not what the index says. */
static enum spool_status
look_for(struct spool *sp, struct index_conn *c, uint64_t **suspects, size_t *n)
{
	sqlite3_stmt *stmt = account_query(c, sql_segments, "");
	const struct files_entry *file;
	struct files files = { 0 };
	enum spool_status st;
	size_t cap = 0;
	bool row;

	/* The state of the index stands with the first row: each of its files is older. */
	st = index_step(c, stmt, &row);
	if (st == SPOOL_OK && row)
		st = files_list(sp, &files);
	while (st == SPOOL_OK && row) {
		file = files_find(&files, account_u64(stmt, 0));
		if (file == NULL || !is_long_enough(account_u64(stmt, 1), file->size)) {
			if (mem_grow(suspects, &cap, *n + 1, sizeof(**suspects)) != 0) {
				st = SPOOL_NO_MEMORY;
				break;
			}
			(*suspects)[(*n)++] = account_u64(stmt, 0);
		}
		st = index_step(c, stmt, &row);
	}
	files_release(&files);
	return st;
}

enum spool_status
health_look(struct spool *sp)
{
	uint64_t *suspects = NULL;
	enum spool_status st;
	struct index_conn *c;
	const char *why;
	size_t n = 0;

	st = index_read_begin(sp, INDEX_MAIN, &c);
	if (st != SPOOL_OK)
		return st;
	st = look_for(sp, c, &suspects, &n);
	index_read_end(sp, &c);
	/* Again, by the index of now: the janitor may have unlinked it meanwhile. */
	for (size_t i = 0; st == SPOOL_OK && i < n; i++) {
		st = probe(sp, suspects[i], &why);
		if (st == SPOOL_OK && why != NULL)
			health_note_segment(sp, suspects[i], why);
	}
	free(suspects);
	return st;
}

/* --- the index ------------------------------------------------------------ */

void
health_note_index(struct spool *sp, const char *why, const char *advice)
{
	if (sp->health == NULL || atomic_exchange(&sp->health->index_bad, true))
		return;
	log_event(LOG_LEVEL_ERROR, "index_not_believed", log_text("path", sp->dir),
	    log_text("error", why), log_text("advice", advice));
}

bool
health_index(struct spool *sp)
{
	return sp->health == NULL || !atomic_load(&sp->health->index_bad);
}
