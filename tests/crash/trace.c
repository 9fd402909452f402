/*
 * trace - the recorder's calls; SQLite's are in trace_vfs.c.
 */
#include "trace_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const folder_names[FOLDERS] = {
	"", "index", "secrets", "segments", "backup", "backup/segments",
};
struct trace trace;
_Thread_local enum context trace_context;

/* What is noted goes by inodes: names come and go. */
struct inode {
	ino_t ino;
	uint32_t file;
	enum class class;
};

static struct {
	pthread_mutex_t mutex;  /* guards all of this, trace, and the order of calls */
	bool on;
	ino_t folders[FOLDERS];
	struct inode *list;
	size_t n, cap;
	enum op_kind fail_kind;
	enum class fail_class;
	bool failed;
} recorder = { .mutex = PTHREAD_MUTEX_INITIALIZER };

void
die(const char *format, ...)
{
	va_list args;

	fputs("crash: ", stdout);
	va_start(args, format);
	vfprintf(stdout, format, args);
	va_end(args);
	fputc(10, stdout);
	fflush(stdout);
	_exit(70);
}

enum class
trace_class(enum folder folder, const char *name)
{
	switch (folder) {
	case FOLDER_ROOT:
		return CLASS_BALLAST;
	case FOLDER_INDEX:
		return strstr(name, "-wal") != NULL ? CLASS_LOG : CLASS_DB;
	case FOLDER_SECRETS:
		return CLASS_SECRETS;
	case FOLDER_BACKUP:
	case FOLDER_BACKUP_SEGMENTS:
		return CLASS_BACKUP;
	default:
		return strncmp(name, DISK_TMP_PREFIX, strlen(DISK_TMP_PREFIX)) == 0 ? CLASS_BODY
										    : CLASS_SEGMENT;
	}
}

/* --- notes: under the mutex ----------------------------------------------- */

void
trace_lock(void)
{
	pthread_mutex_lock(&recorder.mutex);
}

void
trace_unlock(void)
{
	int errnum = errno;

	pthread_mutex_unlock(&recorder.mutex);
	errno = errnum;
}

static enum context
context_now(void)
{
	char name[32] = "";

	if (trace_context != CONTEXT_OTHER)
		return trace_context;
	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (strcmp(name, "committer") == 0)
		return CONTEXT_COMMITTER;
	if (strcmp(name, "stager") == 0)
		return CONTEXT_STAGER;
	return strcmp(name, "keeper") == 0 ? CONTEXT_KEEPER : CONTEXT_OTHER;
}

struct op *
trace_append(struct trace *t, enum op_kind kind)
{
	struct op *op;

	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? 4096 : 2 * t->cap;
		t->ops = realloc(t->ops, t->cap * sizeof(*t->ops));
		if (t->ops == NULL)
			die("no memory");
	}
	op = &t->ops[t->n++];
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->context = context_now();
	op->thread = (unsigned long)pthread_self();
	return op;
}

static struct inode *
find_inode(ino_t ino)
{
	for (size_t i = recorder.n; i > 0; i--)
		if (recorder.list[i - 1].ino == ino)
			return &recorder.list[i - 1];
	return NULL;
}

static void
add_inode(ino_t ino, uint32_t file, enum class class)
{
	struct inode *old = find_inode(ino);

	/* A number that was another file's. */
	if (old != NULL)
		old->ino = 0;
	if (recorder.n == recorder.cap) {
		recorder.cap = recorder.cap == 0 ? 256 : 2 * recorder.cap;
		recorder.list = realloc(recorder.list, recorder.cap * sizeof(*recorder.list));
		if (recorder.list == NULL)
			die("no memory");
	}
	recorder.list[recorder.n++] = (struct inode) { ino, file, class };
}

bool
trace_folder(ino_t ino, enum folder *folder_r)
{
	for (int i = 0; i < FOLDERS; i++)
		if (recorder.folders[i] == ino) {
			*folder_r = (enum folder)i;
			return true;
		}
	return false;
}

/* Copied at once: what is noted later must not change it. */
struct op *
trace_note(ino_t ino, enum op_kind kind)
{
	struct inode *inode;
	struct op *op;

	if (!recorder.on || (inode = find_inode(ino)) == NULL)
		return NULL;
	op = trace_append(&trace, kind);
	op->file = inode->file;
	op->class = inode->class;
	return op;
}

struct op *
trace_note_name(enum op_kind kind, enum folder folder, const char *name)
{
	struct op *op;

	if (!recorder.on)
		return NULL;
	op = trace_append(&trace, kind);
	op->folder = folder;
	op->class = trace_class(folder, name);
	snprintf(op->name, sizeof(op->name), "%s", name);
	return op;
}

struct op *
trace_note_new(enum op_kind kind, enum folder folder, const char *name, ino_t ino)
{
	struct op *op = trace_note_name(kind, folder, name);

	if (op == NULL)
		return NULL;
	if (kind == OP_UNNAMED)
		op->class = CLASS_BODY;
	op->file = trace.files++;
	add_inode(ino, op->file, op->class);
	return op;
}

bool
trace_fails(enum op_kind kind, ino_t ino)
{
	const struct inode *inode;

	if (!recorder.on || recorder.fail_kind != kind || (inode = find_inode(ino)) == NULL ||
	    inode->class != recorder.fail_class)
		return false;
	recorder.fail_kind = OP_NONE;
	recorder.failed = true;
	return true;
}

void
trace_fail(enum op_kind kind, enum class class)
{
	trace_lock();
	recorder.fail_kind = kind;
	recorder.fail_class = class;
	recorder.failed = false;
	trace_unlock();
}

bool
trace_failed(void)
{
	bool failed;

	trace_lock();
	failed = recorder.failed;
	recorder.fail_kind = OP_NONE;
	trace_unlock();
	return failed;
}

void
trace_event(const struct event *event)
{
	struct op *op;

	trace_lock();
	if (recorder.on) {
		mutation_before_event(&trace);
		op = trace_append(&trace, OP_EVENT);
		op->event = malloc(sizeof(*event));
		if (op->event == NULL)
			die("no memory");
		*op->event = *event;
	}
	trace_unlock();
}

/* --- beginning ------------------------------------------------------------ */

void
trace_begin(const char *dir, uint32_t files,
    bool (*find)(void *arg, enum folder, const char *name, uint32_t *file_r), void *arg)
{
	char path[600];
	struct stat st;

	trace = (struct trace) { .files = files };
	recorder.n = 0;
	for (int i = 0; i < FOLDERS; i++) {
		const struct dirent *entry;
		uint32_t file;
		DIR *d;

		snprintf(path, sizeof(path), "%s/%s", dir, folder_names[i]);
		d = opendir(path);
		if (d == NULL || fstat(dirfd(d), &st) != 0)
			die("%s: %s", path, strerror(errno));
		recorder.folders[i] = st.st_ino;
		while ((entry = readdir(d)) != NULL)
			if (find(arg, (enum folder)i, entry->d_name, &file) &&
			    fstatat(dirfd(d), entry->d_name, &st, 0) == 0)
				add_inode(st.st_ino, file,
				    trace_class((enum folder)i, entry->d_name));
		closedir(d);
	}
	recorder.fail_kind = OP_NONE;
	recorder.on = true;
}

void
trace_end(void)
{
	trace_lock();
	recorder.on = false;
	trace_unlock();
}

/* --- the spool's calls ---------------------------------------------------- */

static ino_t
inode_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		die("fstat: %s", strerror(errno));
	return st.st_ino;
}

static int
trace_openat(int dir, const char *name, int flags, mode_t mode)
{
	enum folder folder;
	int fd;

	/* What only opens changes nothing. */
	if ((flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE)
		return openat(dir, name, flags, mode);
	trace_lock();
	fd = openat(dir, name, flags, mode);
	if (fd >= 0 && trace_folder(inode_of(dir), &folder)) {
		if ((flags & O_TMPFILE) == O_TMPFILE)
			trace_note_new(OP_UNNAMED, folder, "", inode_of(fd));
		else if ((flags & O_EXCL) != 0)
			trace_note_new(OP_CREATE, folder, name, inode_of(fd));
	}
	trace_unlock();
	return fd;
}

static ssize_t
trace_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	ino_t ino = inode_of(fd);
	struct op *op = NULL;
	size_t done = 0;
	ssize_t rc = -1;

	trace_lock();
	if (trace_fails(OP_WRITE, ino))
		errno = EIO;
	else
		rc = pwritev(fd, iov, n, offset);
	if (rc > 0)
		op = trace_note(ino, OP_WRITE);
	if (op != NULL) {
		op->offset = (uint64_t)offset;
		op->len = (uint64_t)rc;
		op->data = malloc((size_t)rc);
		if (op->data == NULL)
			die("no memory");
		for (int i = 0; i < n && done < (size_t)rc; i++) {
			size_t part = iov[i].iov_len < (size_t)rc - done ? iov[i].iov_len
									 : (size_t)rc - done;

			memcpy(op->data + done, iov[i].iov_base, part);
			done += part;
		}
		mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

static int
sync_with(int fd, int (*sync)(int fd))
{
	ino_t ino = inode_of(fd);
	enum folder folder;
	int rc = -1;

	trace_lock();
	if (trace_folder(ino, &folder)) {
		rc = sync(fd);
		if (rc == 0 && trace_note_name(OP_SYNC_FOLDER, folder, "") != NULL)
			mutation_apply(&trace);
	} else if (trace_fails(OP_SYNC, ino)) {
		trace_note(ino, OP_SYNC_FAILED);
		errno = EIO;
	} else {
		rc = sync(fd);
		if (rc == 0 && trace_note(ino, OP_SYNC) != NULL)
			mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

static int
trace_fdatasync(int fd)
{
	return sync_with(fd, fdatasync);
}

static int
trace_fsync(int fd)
{
	return sync_with(fd, fsync);
}

static int
trace_ftruncate(int fd, off_t len)
{
	ino_t ino = inode_of(fd);
	struct op *op;
	int rc;

	trace_lock();
	rc = ftruncate(fd, len);
	if (rc == 0 && (op = trace_note(ino, OP_TRUNCATE)) != NULL) {
		op->len = (uint64_t)len;
		mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

static int
trace_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	enum folder folder;
	struct stat st;
	struct op *op;
	int rc;

	trace_lock();
	if (fstatat(from_dir, from, &st, 0) == 0 && trace_fails(OP_LINK, st.st_ino)) {
		errno = EIO;
		rc = -1;
	} else {
		rc = linkat(from_dir, from, to_dir, to, flags);
	}
	if (rc == 0 && fstatat(to_dir, to, &st, 0) == 0 &&
	    trace_folder(inode_of(to_dir), &folder) &&
	    (op = trace_note(st.st_ino, OP_LINK)) != NULL) {
		op->folder = folder;
		snprintf(op->name, sizeof(op->name), "%s", to);
	}
	trace_unlock();
	return rc;
}

static int
trace_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	enum folder folder;
	struct op *op;
	int rc;

	trace_lock();
	rc = renameat2(from_dir, from, to_dir, to, flags);
	if (rc == 0 && trace_folder(inode_of(to_dir), &folder) &&
	    (op = trace_note_name(OP_RENAME, folder, from)) != NULL)
		snprintf(op->to, sizeof(op->to), "%s", to);
	trace_unlock();
	return rc;
}

static int
trace_unlinkat(int dir, const char *name, int flags)
{
	enum folder folder;
	int rc;

	trace_lock();
	rc = unlinkat(dir, name, flags);
	if (rc == 0 && trace_folder(inode_of(dir), &folder)) {
		/* The databases by a path. */
		if (folder == FOLDER_ROOT && strncmp(name, "index/", 6) == 0) {
			folder = FOLDER_INDEX;
			name += 6;
		}
		if (trace_note_name(OP_UNLINK, folder, name) != NULL)
			mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

/* Blocks that are only set aside need not be: the file gets its length. */
static int
trace_fallocate(int fd, int mode, off_t offset, off_t len)
{
	ino_t ino = inode_of(fd);
	struct op *op;
	int rc;

	trace_lock();
	rc = mode == 0 ? ftruncate(fd, offset + len) : fallocate(fd, mode, offset, len);
	if (rc == 0 && (op = trace_note(ino, mode == 0 ? OP_EXTEND : OP_PUNCH)) != NULL) {
		op->offset = (uint64_t)offset;
		op->len = (uint64_t)len;
		mutation_apply(&trace);
	}
	trace_unlock();
	return rc;
}

const struct disk_ops trace_disk = {
	.openat = trace_openat,
	.mkdirat = mkdirat,
	.pwritev = trace_pwritev,
	.fdatasync = trace_fdatasync,
	.fsync = trace_fsync,
	.ftruncate = trace_ftruncate,
	.linkat = trace_linkat,
	.renameat2 = trace_renameat2,
	.unlinkat = trace_unlinkat,
	.fallocate = trace_fallocate,
};
