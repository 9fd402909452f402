/*
 * image - a disk as the notes of a trace leave it: what is on it for sure, what the page cache
 * has beside that, and the disks that a power cut may make of the two.
 *
 * What is sure: of a file what its last sync found, of a folder the names that its own last sync
 * found; a file's sync says nothing of its name.  Of what came later each sector of 512 octets
 * stands by itself: it holds what it held after some of the calls that touched it.  So does each
 * name, and each length.  Where only a length came through, the octets are zeros, or another
 * file's.
 *
 * Thread: one.
 */
#ifndef TESTS_CRASH_IMAGE_H
#define TESTS_CRASH_IMAGE_H

#include "trace.h"

struct octets {
	uint8_t *data;                  /* owned; NULL: nothing but zeros, as the ballast has */
	size_t len, cap;
};

struct image_file {
	struct octets sure, cache;
	const struct op **pending;      /* since the last sync */
	size_t npending, cap;
};

struct image_name {
	enum folder folder;
	char name[TRACE_NAME_MAX];
	uint32_t file;
};

struct names {
	struct image_name *list;
	size_t n, cap;
};

struct image {
	struct image_file *files;       /* by their numbers */
	size_t nfiles, cap;
	struct names sure, cache;
	const struct op **pending;      /* names, since each folder's last sync */
	size_t npending, pending_cap;
	uint64_t random;                /* of failed syncs */
};

enum end {
	END_LOST,               /* nothing that was not synced is there */
	END_KEPT,               /* everything is */
	END_SOME,               /* of each file, and of each folder, all or nothing */
	END_TORN,               /* each sector, each name by itself */
	END_ONE_LOST,           /* everything but one file's, or one folder's names */
	END_ONE_KEPT,
	END_KILLED,             /* the machine runs on: the page cache */
	ENDS
};
extern const char *const end_names[ENDS];

/* All that lies in the folders now, as sure. */
void image_load(struct image *, const char *dir);
void image_release(struct image *);

/* The next note.  It is borrowed until what it says is sure. */
void image_apply(struct image *, const struct op *);
/* Something is not sure. */
bool image_pending(const struct image *);

/* Makes the folders hold what this end leaves; nobody has them open. */
void image_write(const struct image *, enum end, uint64_t random, const char *dir);

/* For trace_begin(): the names of the page cache. */
bool image_find(void *image, enum folder, const char *name, uint32_t *file_r);

uint64_t image_random(uint64_t *state);

#endif
