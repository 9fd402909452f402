/*
 * lock - OFD locks on bytes of the files in locks/.
 *
 * roles     a byte for each enum lock_role
 * writer    byte 0 is the writer, byte 1 the turnstile before it
 * 0 … 255   byte n of file n mod 256 is the maildrop of mailbox n: the kernel keeps
 *           a file's locks in a list and walks it
 *
 * The turnstile makes turns: who waits for the writer's byte holds the
 * turnstile, so who just gave the byte back cannot take it again before him.
 */
#include "lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define LOCKS_DIR "locks"
#define ROLES_FILE "roles"
#define WRITER_FILE "writer"

enum writer_byte { WRITER_BYTE, TURNSTILE_BYTE };

struct lock_maildrop {
	struct map_node node; /* in locks.held, by mailbox */
	uint64_t mailbox;
	uint64_t since_ms;
	char who[];
};

/* 0, 1 when somebody else has it (never when waiting), -1 with errno. */
static int
lock_bytes(int fd, short type, uint64_t first, uint64_t n, bool wait)
{
	struct flock range = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)first,
		.l_len = (off_t)n,
	};
	int rc;

	do
		rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
	while (rc != 0 && errno == EINTR);
	if (rc != 0 && !wait && (errno == EAGAIN || errno == EACCES))
		return 1;
	return rc;
}

static int
create_file(const struct disk_ops *ops, int dir, const char *name)
{
	int fd = disk_open(ops, dir, name, true);

	if (fd < 0)
		return errno == EEXIST ? 0 : -1;
	return close(fd);
}

static const char *
maildrop_file(char name[8], unsigned i)
{
	snprintf(name, 8, "%u", i);
	return name;
}

int
locks_create(const struct disk_ops *ops, int spool_dir)
{
	char name[8];
	int dir, rc;

	if (disk_mkdir(ops, spool_dir, LOCKS_DIR) != 0)
		return -1;
	dir = openat(spool_dir, LOCKS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	rc = create_file(ops, dir, ROLES_FILE);
	if (rc == 0)
		rc = create_file(ops, dir, WRITER_FILE);
	for (unsigned i = 0; rc == 0 && i < LOCK_MAILDROP_FILES; i++)
		rc = create_file(ops, dir, maildrop_file(name, i));
	if (rc == 0)
		rc = disk_sync(ops, dir);
	close(dir);
	return rc;
}

int
locks_open(struct locks *l, const struct disk_ops *ops, int spool_dir)
{
	memset(l, 0, sizeof(*l));
	l->disk = ops;
	l->roles = l->writer = -1;
	for (size_t i = 0; i < LOCK_MAILDROP_FILES; i++)
		l->files[i] = -1;
	map_init(&l->held);
	pthread_mutex_init(&l->queue, NULL);
	pthread_cond_init(&l->moved, NULL);
	pthread_mutex_init(&l->mutex, NULL);
	l->dir = openat(spool_dir, LOCKS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir >= 0)
		l->roles = disk_open(ops, l->dir, ROLES_FILE, false);
	if (l->roles >= 0)
		l->writer = disk_open(ops, l->dir, WRITER_FILE, false);
	if (l->writer >= 0)
		return 0;
	int saved = errno;
	locks_close(l);
	errno = saved;
	return -1;
}

void
locks_close(struct locks *l)
{
	assert(l->held.count == 0);
	for (size_t i = 0; i < LOCK_MAILDROP_FILES; i++)
		if (l->files[i] >= 0)
			close(l->files[i]);
	if (l->writer >= 0)
		close(l->writer);
	if (l->roles >= 0)
		close(l->roles);
	if (l->dir >= 0)
		close(l->dir);
	map_release(&l->held);
	pthread_mutex_destroy(&l->mutex);
	pthread_cond_destroy(&l->moved);
	pthread_mutex_destroy(&l->queue);
}

int
lock_role_try(struct locks *l, enum lock_role role, bool shared)
{
	return lock_bytes(l->roles, shared ? F_RDLCK : F_WRLCK, (uint64_t)role, 1, false);
}

int
lock_role_release(struct locks *l, enum lock_role role)
{
	return lock_bytes(l->roles, F_UNLCK, (uint64_t)role, 1, false);
}

/* Whether a lock of this type could not be had. */
static int
role_in_the_way(struct locks *l, enum lock_role role, short type)
{
	struct flock range = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)role,
		.l_len = 1,
	};

	/* Our own description is not in our way. */
	if (fcntl(l->roles, F_OFD_GETLK, &range) != 0)
		return -1;
	return range.l_type != F_UNLCK;
}

int
lock_role_elsewhere(struct locks *l, enum lock_role role)
{
	return role_in_the_way(l, role, F_WRLCK);
}

int
lock_role_taken(struct locks *l, enum lock_role role)
{
	return role_in_the_way(l, role, F_RDLCK);
}

static void
queue_leave(struct locks *l)
{
	pthread_mutex_lock(&l->queue);
	l->serving++;
	pthread_cond_broadcast(&l->moved);
	pthread_mutex_unlock(&l->queue);
}

int
lock_writer(struct locks *l)
{
	int rc, saved;

	pthread_mutex_lock(&l->queue);
	uint64_t turn = l->next++;
	while (l->serving != turn)
		pthread_cond_wait(&l->moved, &l->queue);
	pthread_mutex_unlock(&l->queue);

	rc = lock_bytes(l->writer, F_WRLCK, TURNSTILE_BYTE, 1, true);
	if (rc == 0) {
		rc = lock_bytes(l->writer, F_WRLCK, WRITER_BYTE, 1, true);
		saved = errno;
		if (lock_bytes(l->writer, F_UNLCK, TURNSTILE_BYTE, 1, false) != 0)
			log_event(LOG_LEVEL_ERROR, "lock_failed", log_text("path", WRITER_FILE),
			    log_errno(errno));
		errno = saved;
	}
	if (rc != 0) {
		saved = errno;
		queue_leave(l);
		errno = saved;
	}
	return rc;
}

void
lock_writer_release(struct locks *l)
{
	if (lock_bytes(l->writer, F_UNLCK, WRITER_BYTE, 1, false) != 0)
		log_event(LOG_LEVEL_ERROR, "lock_failed", log_text("path", WRITER_FILE),
		    log_errno(errno));
	queue_leave(l);
}

/* The descriptor of the file in which this mailbox has its byte, or -1.  Under the mutex. */
static int
maildrop_fd(struct locks *l, uint64_t mailbox)
{
	unsigned i = (unsigned)(mailbox % LOCK_MAILDROP_FILES);
	char name[8];

	if (l->files[i] < 0)
		l->files[i] = disk_open(l->disk, l->dir, maildrop_file(name, i), false);
	/* Somebody removed it.  Who has it open is no longer in others' way, but without it its mailboxes
	 * are nobody's for ever. */
	if (l->files[i] < 0 && errno == ENOENT &&
	    create_file(l->disk, l->dir, maildrop_file(name, i)) == 0)
		l->files[i] = disk_open(l->disk, l->dir, maildrop_file(name, i), false);
	return l->files[i];
}

enum spool_status
lock_maildrop(struct locks *l, uint64_t mailbox, const char *who, struct lock_maildrop **l_r)
{
	struct map_key key = map_key_u64(mailbox);
	size_t len = strnlen(who, LOCK_WHO_MAX - 1);
	struct lock_maildrop *held = mem_array(1, sizeof(*held) + len + 1);
	enum spool_status st = SPOOL_NO_MEMORY;
	int fd, rc;

	*l_r = NULL;
	if (held == NULL)
		return SPOOL_NO_MEMORY;
	held->mailbox = mailbox;
	held->since_ms = clock_wall_ms();
	held->node.key = key;
	memcpy(held->who, who, len);

	pthread_mutex_lock(&l->mutex);
	if (map_find(&l->held, key) != NULL) {
		st = SPOOL_BUSY;
		goto out;
	}
	if (map_add(&l->held, &held->node) != 0)
		goto out;
	fd = maildrop_fd(l, mailbox);
	rc = fd < 0 ? -1 : lock_bytes(fd, F_WRLCK, mailbox, 1, false);
	if (rc < 0)
		log_event(LOG_LEVEL_ERROR, "lock_failed", log_num("mailbox", mailbox),
		    log_errno(errno),
		    log_text("advice", "the files in locks/ must exist and be writable"));
	st = rc == 0 ? SPOOL_OK : rc > 0 ? SPOOL_BUSY : SPOOL_IO;
	if (st != SPOOL_OK)
		map_remove(&l->held, &held->node);
out:
	pthread_mutex_unlock(&l->mutex);
	if (st == SPOOL_OK)
		*l_r = held;
	else
		free(held);
	return st;
}

void
lock_maildrop_release(struct locks *l, struct lock_maildrop **lp)
{
	struct lock_maildrop *held = *lp;

	if (held == NULL)
		return;
	pthread_mutex_lock(&l->mutex);
	/* Byte first: between the two, nobody of this process can be granted it anew. */
	if (lock_bytes(maildrop_fd(l, held->mailbox), F_UNLCK, held->mailbox, 1, false) != 0)
		log_event(LOG_LEVEL_ERROR, "lock_failed", log_num("mailbox", held->mailbox),
		    log_errno(errno));
	map_remove(&l->held, &held->node);
	pthread_mutex_unlock(&l->mutex);
	mem_free(lp);
}

bool
lock_maildrop_holder(
    struct locks *l, uint64_t mailbox, char who[LOCK_WHO_MAX], uint64_t *since_ms_r)
{
	struct map_node *node;

	pthread_mutex_lock(&l->mutex);
	node = map_find(&l->held, map_key_u64(mailbox));
	if (node != NULL) {
		const struct lock_maildrop *held = MAP_OBJECT(node, struct lock_maildrop, node);

		snprintf(who, LOCK_WHO_MAX, "%s", held->who);
		*since_ms_r = held->since_ms;
	}
	pthread_mutex_unlock(&l->mutex);
	return node != NULL;
}

int
lock_segment(int fd)
{
	return lock_bytes(fd, F_WRLCK, 0, 1, false);
}
