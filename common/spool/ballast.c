/*
 * ballast - giving blocks up, and taking them again.
 *
 * Any process may cut the file, the janitor alone (whose byte is held) fills it.  Two that cut
 * it at once give up more than needed, and the later one may make it longer again, by a hole:
 * so its blocks say how much it holds, and not its size.
 */
#include "ballast.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "spool_internal.h"

#define BALLAST_FILE "ballast"
/* It is given up and taken in multiples of this: what is left serves the next removal. */
#define PIECE (UINT64_C(64) << 10)
/* About what a removal's transaction takes of the log: for itself, for each entry. */
#define COST (UINT64_C(256) << 10)
#define COST_ENTRY 1024u
/* stat(2) counts room in these. */
#define STAT_BLOCK 512

/* Octets that we could write; with the file system's size. */
static bool
free_octets(struct spool *sp, uint64_t *free_r, uint64_t *size_r)
{
	struct statvfs fs;

	if (fstatvfs(sp->dir_fd, &fs) != 0) {
		spool_failed("statvfs_failed", sp->dir, errno);
		return false;
	}
	*free_r = (uint64_t)fs.f_bavail * fs.f_frsize;
	*size_r = (uint64_t)fs.f_blocks * fs.f_frsize;
	return true;
}

static uint64_t
held(struct spool *sp)
{
	struct stat file;
	uint64_t taken;

	if (fstatat(sp->dir_fd, BALLAST_FILE, &file, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(file.st_mode))
		return 0;
	/* More than its size where the file system counts blocks of its own among them. */
	taken = (uint64_t)file.st_blocks * STAT_BLOCK;
	return taken < (uint64_t)file.st_size ? taken : (uint64_t)file.st_size;
}

static uint64_t
wanted(uint64_t fs_size)
{
	uint64_t part = fs_size / 16 / PIECE * PIECE;

	return part < BALLAST_OCTETS ? part : BALLAST_OCTETS;
}

/* False where there was nothing left, or it could not be given up. */
static bool
give_up(struct spool *sp, uint64_t octets)
{
	uint64_t has = held(sp);
	uint64_t left = has > octets ? has - octets : 0;
	int fd;

	if (has == 0)
		return false;
	fd = disk_open(sp->disk, sp->dir_fd, BALLAST_FILE, false);
	/* Synced: some file systems hand blocks out again only after that. */
	if (fd < 0 || disk_truncate(sp->disk, fd, left) != 0 || disk_sync(sp->disk, fd) != 0) {
		spool_failed("ballast_failed", BALLAST_FILE, errno);
		if (fd >= 0)
			close(fd);
		return false;
	}
	close(fd);
	log_event(LOG_LEVEL_WARNING, "ballast_given", log_text("path", sp->dir),
	    log_num("octets", has - left), log_num("left", left),
	    log_text("advice",
		"the disk is full and room kept for removing mail is in use: make room on it"));
	spool_space_changed(sp);
	return true;
}

void
ballast_prepare(struct spool *sp, uint64_t entries)
{
	uint64_t cost = COST + entries * COST_ENTRY;
	uint64_t room, size;

	if (free_octets(sp, &room, &size) && room < cost)
		give_up(sp, (cost - room + PIECE - 1) / PIECE * PIECE);
}

bool
ballast_helps(struct spool *sp, enum spool_status st)
{
	return st == SPOOL_NO_SPACE && give_up(sp, UINT64_MAX);
}

uint64_t
ballast_missing(struct spool *sp)
{
	uint64_t room, size, want, has = held(sp);

	if (atomic_load(&sp->no_ballast) || !free_octets(sp, &room, &size))
		return 0;
	want = wanted(size);
	return want > has ? want - has : 0;
}

/* Opens it, and makes it where it is not there yet. */
static int
open_file(struct spool *sp)
{
	int fd = disk_open(sp->disk, sp->dir_fd, BALLAST_FILE, false);

	return fd < 0 && errno == ENOENT ? disk_open(sp->disk, sp->dir_fd, BALLAST_FILE, true) : fd;
}

/* Takes `octets` more than the `has` that it holds; one with a hole in it is begun anew. */
static int
grow(struct spool *sp, uint64_t has, uint64_t octets)
{
	int fd = open_file(sp);
	struct stat file;
	int saved, rc = fd < 0 ? -1 : fstat(fd, &file);

	if (rc == 0 && (uint64_t)file.st_size != has) {
		rc = disk_truncate(sp->disk, fd, 0);
		octets += has;
		has = 0;
	}
	if (rc == 0)
		rc = disk_allocate(sp->disk, fd, has, octets);
	saved = errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	return rc;
}

void
ballast_fill(struct spool *sp)
{
	uint64_t octets = ballast_missing(sp);
	uint64_t room, size;

	/* What a removal needs is to stay free, or the next one gives it up again. */
	if (octets == 0 || !free_octets(sp, &room, &size) || room < 2 * COST + PIECE)
		return;
	if (octets > room - 2 * COST)
		octets = (room - 2 * COST) / PIECE * PIECE;
	if (grow(sp, held(sp), octets) == 0) {
		spool_space_changed(sp);
		log_event(LOG_LEVEL_INFO, "ballast_taken", log_text("path", sp->dir),
		    log_num("octets", octets));
	} else if (errno == EOPNOTSUPP) {
		atomic_store(&sp->no_ballast, true);
		log_event(LOG_LEVEL_WARNING, "no_ballast", log_text("path", sp->dir),
		    log_text("advice",
			"this file system cannot set blocks aside: when it is full to the last "
			"octet mail cannot be removed before there is room"));
	} else if (errno != ENOSPC) {
		spool_failed("ballast_failed", BALLAST_FILE, errno);
	}
}
