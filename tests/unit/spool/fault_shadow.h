/*
 * fault_shadow - what a disk would have if the power failed now: the octets of each file at its
 * last sync, the names of segments/ at the folder's.
 *
 * Whoever syncs tells fault_synced().  After the end of the process fault_apply_end() makes of the
 * spool what one of several ends leaves; fault_reset() makes it what it was at fault_keep().
 */
#ifndef TESTS_UNIT_SPOOL_FAULT_SHADOW_H
#define TESTS_UNIT_SPOOL_FAULT_SHADOW_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "delivery_test.h"

static const char *const fault_index_files[] = { "index/index.db", "index/index.db-wal" };

/* --- what is durable ------------------------------------------------------ */

static char fault_shadow[300];

static void
fault_copy(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	ssize_t n;

	ck_assert_msg(in >= 0, "%s", from);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(out, 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		ck_assert_int_eq(write(out, buf, (size_t)n), n);
	ck_assert_int_eq(n, 0);
	close(in);
	close(out);
}

static char *
fault_shadow_path(char path[400], ino_t ino)
{
	snprintf(path, 400, "%s/%llu", fault_shadow, (unsigned long long)ino);
	return path;
}

/* The names of segments/, one "NAME INODE" a line. */
static void
fault_list_names(const char *to)
{
	char dir_path[300];
	const struct dirent *file;
	FILE *out = fopen(to, "w");
	DIR *dir;

	snprintf(dir_path, sizeof(dir_path), "%s/segments", spool_test_dir);
	dir = opendir(dir_path);
	while ((file = readdir(dir)) != NULL)
		if (file->d_name[0] != '.')
			fprintf(out, "%s %llu\n", file->d_name, (unsigned long long)file->d_ino);
	closedir(dir);
	ck_assert_int_eq(fclose(out), 0);
}

static void
fault_synced(int fd)
{
	char path[400], link[64];
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		snprintf(path, sizeof(path), "%s/names", fault_shadow);
		fault_list_names(path);
		return;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	fault_copy(link, fault_shadow_path(path, st.st_ino));
}

static void
fault_synced_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	fault_synced(fd);
	close(fd);
}

/* All that there is now is on disk. */
SPOOL_TEST_MAYBE static void
fault_all_synced(void)
{
	char path[600];
	const struct dirent *file;
	DIR *dir;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", spool_test_dir, fault_index_files[i]);
		fault_synced_path(path);
	}
	snprintf(path, sizeof(path), "%s/segments", spool_test_dir);
	fault_synced_path(path);
	dir = opendir(path);
	while ((file = readdir(dir)) != NULL)
		if (file->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/segments/%s", spool_test_dir,
			    file->d_name);
			fault_synced_path(path);
		}
	closedir(dir);
}

/* --- from the beginning again --------------------------------------------- */

static char fault_template[300];

/* Keeps the spool's index, for fault_reset(); nobody has it open. */
SPOOL_TEST_MAYBE static void
fault_keep(void)
{
	char from[600], to[600];

	snprintf(fault_shadow, sizeof(fault_shadow), "%.250s-shadow", spool_test_dir);
	snprintf(fault_template, sizeof(fault_template), "%.250s-template", spool_test_dir);
	ck_assert_int_eq(mkdir(fault_shadow, 0700), 0);
	ck_assert_int_eq(mkdir(fault_template, 0700), 0);
	for (size_t i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/%s", spool_test_dir, fault_index_files[i]);
		snprintf(to, sizeof(to), "%s/%zu", fault_template, i);
		fault_copy(from, to);
	}
}

/* The spool as it was kept, without segments; nothing is known to be durable. */
SPOOL_TEST_MAYBE static void
fault_reset(void)
{
	char from[600], to[600];

	for (size_t i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/%zu", fault_template, i);
		snprintf(to, sizeof(to), "%s/%s", spool_test_dir, fault_index_files[i]);
		fault_copy(from, to);
	}
	snprintf(to, sizeof(to), "%s/index/index.db-shm", spool_test_dir);
	unlink(to);
	snprintf(to, sizeof(to), "%s/segments", spool_test_dir);
	ck_assert_int_eq(folder_remove(to), 0);
	ck_assert_int_eq(folder_remove(fault_shadow), 0);
	ck_assert_int_eq(mkdir(to, 0700), 0);
	ck_assert_int_eq(mkdir(fault_shadow, 0700), 0);
}

/* --- after the end -------------------------------------------------------- */

enum fault_end {
	FAULT_END_KILL,         /* the process ended, the machine did not */
	FAULT_END_LOST,         /* power: nothing that was not synced is there */
	FAULT_END_INDEX,        /* power: of the index what was synced, of the segments all */
	FAULT_END_MIXED,        /* power: of some files what was synced, of some all */
	FAULT_ENDS
};

static bool
fault_toss(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return (*random >> 28 & 1) != 0;
}

static void
fault_restore_segments(enum fault_end end, uint32_t *random)
{
	char names[400], old[400], was[700], is[700], shadow[400], name[64];
	unsigned long long ino;
	FILE *list;

	/* What it has now stands aside, by inode. */
	snprintf(names, sizeof(names), "%s/now", fault_shadow);
	fault_list_names(names);
	snprintf(old, sizeof(old), "%s/segments", spool_test_dir);
	snprintf(is, sizeof(is), "%s/aside", fault_shadow);
	ck_assert_int_eq(mkdir(is, 0700), 0);
	list = fopen(names, "r");
	while (fscanf(list, "%63s %llu\n", name, &ino) == 2) {
		snprintf(was, sizeof(was), "%s/%s", old, name);
		snprintf(is, sizeof(is), "%s/aside/%llu", fault_shadow, ino);
		ck_assert_int_eq(rename(was, is), 0);
	}
	fclose(list);
	if (end == FAULT_END_LOST || fault_toss(random))
		snprintf(names, sizeof(names), "%s/names", fault_shadow);
	list = fopen(names, "r");
	while (fscanf(list, "%63s %llu\n", name, &ino) == 2) {
		snprintf(is, sizeof(is), "%s/%s", old, name);
		snprintf(was, sizeof(was), "%s/aside/%llu", fault_shadow, ino);
		fault_shadow_path(shadow, (ino_t)ino);
		if (end == FAULT_END_MIXED && access(was, F_OK) == 0 && fault_toss(random))
			fault_copy(was, is);
		else if (access(shadow, F_OK) == 0)
			fault_copy(shadow, is);
		else
			ck_assert_int_ge(close(open(is, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	}
	fclose(list);
}

/* Makes of the spool what such an end leaves; nobody has it open. */
SPOOL_TEST_MAYBE static void
fault_apply_end(enum fault_end end, uint32_t random)
{
	char path[400], shadow[400];
	struct stat st;

	if (end == FAULT_END_KILL)
		return;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", spool_test_dir, fault_index_files[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		if (end != FAULT_END_MIXED || fault_toss(&random))
			fault_copy(fault_shadow_path(shadow, st.st_ino), path);
	}
	snprintf(path, sizeof(path), "%s/index/index.db-shm", spool_test_dir);
	unlink(path);
	if (end != FAULT_END_INDEX)
		fault_restore_segments(end, &random);
}

#endif
