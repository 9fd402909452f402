/*
 * files - the segments as they lie in their folder.
 */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "record.h"
#include "segment.h"
#include "spool_internal.h"

/* stat(2) counts room in these. */
#define STAT_BLOCK 512

static int
compare_entries(const void *a, const void *b)
{
	const struct files_entry *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static enum spool_status
add(struct files *f, int dir, const char *name, uint64_t number)
{
	struct files_entry *e;
	struct stat st;
	uint64_t taken;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? SPOOL_OK
		                       : spool_failed("segment_stat_failed", name, errno);
	if (mem_grow(&f->list, &f->cap, f->n + 1, sizeof(*f->list)) != 0)
		return SPOOL_NO_MEMORY;
	e = &f->list[f->n++];
	e->number = number;
	e->size = (uint64_t)st.st_size;
	/* A file system may take more than the length: for blocks of its own, or ahead. */
	taken = (uint64_t)st.st_blocks * STAT_BLOCK;
	e->given_back = taken < e->size ? e->size - taken : 0;
	return SPOOL_OK;
}

enum spool_status
files_list_at(int folder, struct files *f_r)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	enum spool_status st = SPOOL_OK;
	const struct dirent *file;
	uint64_t number;

	*f_r = (struct files){ 0 };
	if (dir == NULL) {
		st = spool_failed("segments_not_listed", "segments", errno);
		if (fd >= 0)
			close(fd);
		return st;
	}
	for (errno = 0; st == SPOOL_OK && (file = readdir(dir)) != NULL; errno = 0)
		if (segment_parse_name(file->d_name, &number))
			st = add(f_r, fd, file->d_name, number);
	if (st == SPOOL_OK && errno != 0)
		st = spool_failed("segments_not_listed", "segments", errno);
	closedir(dir);
	if (f_r->n > 1)
		qsort(f_r->list, f_r->n, sizeof(*f_r->list), compare_entries);
	return st;
}

enum spool_status
files_list(struct spool *sp, struct files *f_r)
{
	return files_list_at(sp->segments_fd, f_r);
}

void
files_release(struct files *f)
{
	free(f->list);
	*f = (struct files){ 0 };
}

const struct files_entry *
files_find(const struct files *f, uint64_t number)
{
	const struct files_entry key = { .number = number };

	if (f->n == 0)
		return NULL;
	return bsearch(&key, f->list, f->n, sizeof(*f->list), compare_entries);
}

void
files_add_dead(struct spool *sp, uint64_t blocks, struct survey_space *space)
{
	uint64_t known = space->live + space->kept + space->dead + space->given_back;
	bool possible;

	/* With holes it is the file system's own blocks that make given_back seem less. */
	if (blocks * RECORD_BLOCK > known && survey_holes(sp, &possible) == SPOOL_OK && !possible)
		space->dead += blocks * RECORD_BLOCK - known;
}
