/*
 * folder - where tests make their files, in memory but for those that are about a disk, and how
 * they go.
 *
 * No test can see whether a sync was worth the time that a disk takes for it, and most of what the
 * unit tests do is syncs.  TEST_MEMORY=FOLDER puts all on the disk of that folder.
 */
#ifndef TESTS_LIB_FOLDER_H
#define TESTS_LIB_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The environment's, or static text. */
static inline const char *
test_disk(void)
{
	const char *dir = getenv("TMPDIR");

	return dir != NULL ? dir : "/tmp";
}

static inline const char *
test_memory(void)
{
	const char *dir = getenv("TEST_MEMORY");

	if (dir != NULL)
		return dir;
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : test_disk();
}

static inline int
folder_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* Removes it with all that is in it; 0, or not where something stays. */
static inline int
folder_remove(const char *dir)
{
	return nftw(dir, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
