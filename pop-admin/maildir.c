/*
 * maildir - lists a folder first and then reads its files one by one.
 */
#include "maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"

#define BUFFER (64u * 1024)
#define EML ".eml"
/* A name's time: no mail is older than this, and none of the year 5000 is a time. */
#define TIME_MIN 1
#define TIME_MAX UINT64_C(95617584000)

struct file {
	char *name; /* owned */
	uint64_t time_s;
	unsigned char folder; /* place in `folders` */
};

struct maildir {
	int folders[2];    /* cur and new, or the folder itself and -1 */
	struct file *list; /* owned */
	size_t n, cap;
	bool timed; /* names have times */
	size_t passed;
	const char *bad; /* in list; NULL */
};

uint64_t
maildir_time(const char *name)
{
	size_t len = strspn(name, "0123456789");
	uint64_t time_s;

	if (name[len] != '.' || num_parse_u64(name, len, TIME_MIN, TIME_MAX, &time_s) != 0)
		return 0;
	return time_s;
}

size_t
maildir_base_len(const char *name)
{
	return strcspn(name, ":");
}

void
maildir_name_of_uid(char *name, const char *uid)
{
	static const char plain[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	for (size_t i = 0; uid[i] != '\0'; i++) {
		if (strchr(plain, uid[i]) != NULL || (uid[i] == '.' && i > 0))
			*name++ = uid[i];
		else
			name += sprintf(name, "%%%02X", (unsigned char)uid[i]);
	}
	*name = '\0';
}

static int
open_folder(int at, const char *path)
{
	return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool
maildir_is_one(const char *path)
{
	int fd = open_folder(AT_FDCWD, path);
	struct stat st;
	bool is = fd >= 0 && ((fstatat(fd, "cur", &st, 0) == 0 && S_ISDIR(st.st_mode)) ||
				 (fstatat(fd, "new", &st, 0) == 0 && S_ISDIR(st.st_mode)));

	if (fd >= 0)
		close(fd);
	return is;
}

static bool
is_wanted(const struct maildir *md, const char *name)
{
	size_t len = strlen(name);

	if (name[0] == '.')
		return false;
	return md->timed || (len > strlen(EML) && strcasecmp(name + len - strlen(EML), EML) == 0);
}

static int
add(struct maildir *md, const char *name, unsigned char folder)
{
	struct file *f;

	if (mem_grow(&md->list, &md->cap, md->n + 1, sizeof(*md->list)) != 0)
		return -1;
	f = &md->list[md->n];
	f->name = mem_dup(name, strlen(name));
	f->time_s = md->timed ? maildir_time(name) : 0;
	f->folder = folder;
	if (f->name == NULL)
		return -1;
	md->n++;
	return 0;
}

static int
list_folder(struct maildir *md, unsigned char folder)
{
	int fd = open_folder(md->folders[folder], ".");
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	int rc = 0;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (rc == 0) {
		errno = 0;
		e = readdir(dir);
		if (e == NULL) {
			rc = errno != 0 ? -1 : 0;
			break;
		}
		if (is_wanted(md, e->d_name) && add(md, e->d_name, folder) != 0) {
			errno = ENOMEM;
			rc = -1;
		}
	}
	closedir(dir);
	return rc;
}

static int
compare(const void *a, const void *b)
{
	const struct file *left = a, *right = b;

	if (left->time_s != right->time_s)
		return left->time_s < right->time_s ? -1 : 1;
	return strcmp(left->name, right->name);
}

/* A Maildir may lack one of its two. */
static int
open_folders(struct maildir *md, const char *path)
{
	int fd = open_folder(AT_FDCWD, path), saved;

	if (fd < 0)
		return -1;
	if (!md->timed) {
		md->folders[0] = fd;
		return 0;
	}
	md->folders[0] = open_folder(fd, "cur");
	if (md->folders[0] >= 0 || errno == ENOENT)
		md->folders[1] = open_folder(fd, "new");
	saved = errno;
	close(fd);
	errno = saved;
	return md->folders[1] >= 0 || (md->folders[0] >= 0 && saved == ENOENT) ? 0 : -1;
}

int
maildir_open(const char *path, struct maildir **md_r)
{
	struct maildir *md = mem_array(1, sizeof(*md));
	int rc, saved;

	*md_r = NULL;
	if (md == NULL)
		return -1;
	md->folders[0] = md->folders[1] = -1;
	md->timed = maildir_is_one(path);
	rc = open_folders(md, path);
	for (unsigned char i = 0; rc == 0 && i < 2; i++)
		if (md->folders[i] >= 0)
			rc = list_folder(md, i);
	if (rc == 0 && md->n > 1)
		qsort(md->list, md->n, sizeof(*md->list), compare);
	if (rc == 0) {
		*md_r = md;
		return 0;
	}
	saved = errno;
	maildir_close(&md);
	errno = saved;
	return -1;
}

void
maildir_close(struct maildir **mdp)
{
	struct maildir *md = *mdp;

	if (md == NULL)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (md->folders[i] >= 0)
			close(md->folders[i]);
	for (size_t i = 0; i < md->n; i++)
		free(md->list[i].name);
	free(md->list);
	mem_free(mdp);
}

const char *
maildir_bad(const struct maildir *md)
{
	return md->bad;
}

size_t
maildir_passed(const struct maildir *md)
{
	return md->passed;
}

static int
read_octets(int fd, char *buf, const struct source_sink *sink)
{
	for (;;) {
		ssize_t n = read(fd, buf, BUFFER);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return SOURCE_READ_FAILED;
		if (n == 0)
			return 0;
		rc = sink->octets(sink->arg, buf, (size_t)n);
		if (rc != 0)
			return rc;
	}
}

/* A pipe is not waited for, and no link followed: the folder may be somebody else's. */
static int
read_file(struct maildir *md, const struct file *f, uint64_t number, char *buf,
    const struct source_sink *sink)
{
	int fd =
	    openat(md->folders[f->folder], f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct source_message m = { .number = number, .name = f->name, .time_s = f->time_s };
	struct stat st = { .st_mode = 0 };
	int rc;

	if (fd < 0 && errno != ELOOP && errno != ENXIO)
		return SOURCE_READ_FAILED;
	if (fd < 0 || (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))) {
		md->passed++;
		if (fd >= 0)
			close(fd);
		return 0;
	}
	m.file_s = st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0;
	rc = sink->begin(sink->arg, &m);
	if (rc == 0)
		rc = read_octets(fd, buf, sink);
	if (rc == 0)
		rc = sink->end(sink->arg);
	close(fd);
	return rc;
}

int
maildir_read(struct maildir *md, const struct source_sink *sink)
{
	char *buf = malloc(BUFFER);
	int rc = buf == NULL ? SOURCE_NO_MEMORY : 0;

	md->passed = 0;
	md->bad = NULL;
	for (size_t i = 0; rc == 0 && i < md->n; i++) {
		md->bad = md->list[i].name;
		rc = read_file(md, &md->list[i], i + 1, buf, sink);
	}
	free(buf);
	return rc;
}
