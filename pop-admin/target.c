/*
 * target - files without names, which get one by a link: that never overwrites, and whatever ends
 * us leaves nothing behind.
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/mem.h"
#include "command.h"
#include "mail/date.h"
#include "maildir.h"
#include "mbox.h"
#include "spool/maildrop.h"

#define LIST_SUFFIX ".uidl"
#define EML_SUFFIX ".eml"
#define TMP_NAME ".export-XXXXXX"
#define FILE_NAME_MAX (3 * MAILDROP_UID_MAX + 300)

/* A file that has no name yet. */
struct out {
	FILE *f; /* owned; NULL: none */
	int dir; /* borrowed: the folder that it will stand in, or one of the same file system */
	char tmp[sizeof(TMP_NAME)]; /* where the file system has no unnamed files; "" else */
};

struct target {
	enum { TARGET_MBOX, TARGET_MAILDIR, TARGET_EML } form;
	char *path; /* owned; without '/' at its end */
	const char *hostname;
	int parent;               /* owned: the folder of `path` */
	const char *base;         /* in path: its last part */
	int folder;               /* owned: where messages go to; -1 for an mbox */
	int tmp;                  /* owned: a Maildir's tmp; -1 */
	struct out list, message; /* an mbox's message is all of it */
	uint64_t number;
	uint64_t skipped;
	off_t begun; /* an mbox's: where the message at hand begins */
	struct mbox_quote quote;
	bool failed; /* writing did, errno is in `errnum` */
	int errnum;
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t received_s;
};

static int
fail(const struct target *t, const char *what, int errnum)
{
	return admin_fail(errnum == EEXIST                      ? EX_CANTCREAT
			  : errnum == EACCES || errnum == EPERM ? EX_NOPERM
								: EX_IOERR,
	    "%s%s: cannot be written: %s", t->path, what, strerror(errnum));
}

/* --- files without names -------------------------------------------------- */

static int
out_open(struct out *o, int dir)
{
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	o->dir = dir;
	o->tmp[0] = '\0';
	for (unsigned i = 0; fd < 0 && i < 100; i++) {
		snprintf(o->tmp, sizeof(o->tmp), ".export-%06x",
		    ((unsigned)getpid() * 100 + i) & 0xffffff);
		fd = openat(dir, o->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	o->f = fd >= 0 ? fdopen(fd, "w+") : NULL;
	if (o->f == NULL && fd >= 0)
		close(fd);
	return o->f != NULL ? 0 : -1;
}

static void
out_close(struct out *o)
{
	if (o->f == NULL)
		return;
	if (o->tmp[0] != '\0')
		unlinkat(o->dir, o->tmp, 0);
	fclose(o->f);
	o->f = NULL;
}

/* Synced first.  0, or -1 with errno; EEXIST when the name is taken. */
static int
out_name(struct out *o, int dir, const char *name)
{
	char proc[40];
	int rc;

	if (fflush(o->f) != 0 || fsync(fileno(o->f)) != 0)
		return -1;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fileno(o->f));
	if (o->tmp[0] != '\0')
		rc = linkat(o->dir, o->tmp, dir, name, 0);
	else
		rc = linkat(AT_FDCWD, proc, dir, name, AT_SYMLINK_FOLLOW);
	return rc;
}

/* --- opening -------------------------------------------------------------- */

static int
open_dir(int at, const char *path)
{
	return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* One that is there will do. */
static int
make_dir(int at, const char *path)
{
	return mkdirat(at, path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

static int
open_maildir(struct target *t)
{
	int fd = -1, rc = make_dir(t->parent, t->base);

	if (rc == 0)
		fd = open_dir(t->parent, t->base);
	if (fd < 0)
		return -1;
	rc = make_dir(fd, "cur") == 0 && make_dir(fd, "new") == 0 && make_dir(fd, "tmp") == 0 ? 0
	                                                                                      : -1;
	if (rc == 0) {
		t->folder = open_dir(fd, "new");
		t->tmp = open_dir(fd, "tmp");
		rc = t->folder >= 0 && t->tmp >= 0 ? fsync(fd) : -1;
	}
	close(fd);
	return rc;
}

static int
open_form(struct target *t)
{
	switch (t->form) {
	case TARGET_MAILDIR:
		return open_maildir(t);
	case TARGET_EML:
		t->folder = open_dir(t->parent, t->base);
		return t->folder >= 0 ? 0 : -1;
	default:
		return out_open(&t->message, t->parent);
	}
}

/* The folder that `path` stands in, and its name there. */
static int
open_parent(struct target *t)
{
	char *slash = strrchr(t->path, '/');

	t->base = slash != NULL ? slash + 1 : t->path;
	if (slash == NULL) {
		t->parent = open_dir(AT_FDCWD, ".");
	} else if (slash == t->path) {
		t->parent = open_dir(AT_FDCWD, "/");
	} else {
		*slash = '\0';
		t->parent = open_dir(AT_FDCWD, t->path);
		*slash = '/';
	}
	return t->parent >= 0 ? 0 : -1;
}

/* What must not be there; the link at the end would find it too, hours later. */
static int
check_free(const struct target *t)
{
	char name[FILE_NAME_MAX];
	struct stat st;

	if (t->form == TARGET_MBOX && fstatat(t->parent, t->base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return admin_fail(
		    EX_CANTCREAT, "%s: exists already, and is not overwritten", t->path);
	if (snprintf(name, sizeof(name), "%s" LIST_SUFFIX, t->base) >= (int)sizeof(name))
		return admin_fail(EX_USAGE, "%s: is too long a name", t->path);
	if (fstatat(t->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return admin_fail(EX_CANTCREAT,
		    "%s" LIST_SUFFIX ": the list of an earlier export exists already, and is not "
		    "overwritten",
		    t->path);
	return EX_OK;
}

int
target_open(const char *path, const char *hostname, struct target **t_r)
{
	struct target *t = mem_must_array(1, sizeof(*t));
	size_t len = strlen(path);
	struct stat st;
	int code = EX_OK;

	*t_r = t;
	t->parent = t->folder = t->tmp = -1;
	t->hostname = hostname;
	t->path = mem_must_dup(path);
	if ((len > 0 && path[len - 1] == '/') || maildir_is_one(path))
		t->form = TARGET_MAILDIR;
	else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		t->form = TARGET_EML;
	while (len > 0 && t->path[len - 1] == '/')
		t->path[--len] = '\0';
	if (len == 0)
		code = admin_fail(EX_USAGE, "\"%s\" is no place to export to", path);
	else if (open_parent(t) != 0)
		code = fail(t, "", errno);
	if (code == EX_OK)
		code = check_free(t);
	if (code == EX_OK && (open_form(t) != 0 || out_open(&t->list, t->parent) != 0))
		code = fail(t, "", errno);
	if (code != EX_OK)
		target_close(t_r);
	return code;
}

void
target_close(struct target **tp)
{
	struct target *t = *tp;

	if (t == NULL)
		return;
	out_close(&t->message);
	out_close(&t->list);
	if (t->folder >= 0)
		close(t->folder);
	if (t->tmp >= 0)
		close(t->tmp);
	if (t->parent >= 0)
		close(t->parent);
	free(t->path);
	mem_free(tp);
}

uint64_t
target_skipped(const struct target *t)
{
	return t->skipped;
}

/* --- a message ------------------------------------------------------------ */

static int
put(void *arg, const void *buf, size_t len)
{
	struct target *t = arg;

	if (!t->failed && fwrite(buf, 1, len, t->message.f) != len) {
		t->failed = true;
		t->errnum = errno;
	}
	return t->failed ? -1 : 0;
}

int
target_begin(struct target *t, const struct target_message *m)
{
	char date[DATE_MAX];

	snprintf(t->uid, sizeof(t->uid), "%s", m->uid);
	t->received_s = m->received_s;
	t->quote = (struct mbox_quote){ .marks = 0 };
	if (t->form != TARGET_MBOX)
		return out_open(&t->message, t->tmp >= 0 ? t->tmp : t->folder) == 0
		           ? EX_OK
		           : fail(t, "", errno);
	t->begun = ftello(t->message.f);
	if (t->begun < 0 || fprintf(t->message.f, "From %s %s\n",
				m->sender[0] != '\0' ? m->sender : "MAILER-DAEMON",
				date_format_from(date, m->received_s)) < 0)
		return fail(t, "", errno);
	return EX_OK;
}

int
target_write(void *arg, const void *buf, size_t len)
{
	struct target *t = arg;

	if (t->form == TARGET_EML)
		return put(t, buf, len);
	return mbox_write(&t->quote, t->form == TARGET_MBOX, buf, len, put, t);
}

int
target_drop(struct target *t)
{
	if (t->form != TARGET_MBOX) {
		out_close(&t->message);
		return EX_OK;
	}
	if (fflush(t->message.f) != 0 || ftruncate(fileno(t->message.f), t->begun) != 0 ||
	    fseeko(t->message.f, t->begun, SEEK_SET) != 0)
		return fail(t, "", errno);
	return EX_OK;
}

/* Gives the message's file its name and its times. */
static int
keep_file(struct target *t, char *name, size_t size)
{
	const struct timespec times[2] = { { .tv_sec = (time_t)t->received_s },
		{ .tv_sec = (time_t)t->received_s } };
	char text[3 * MAILDROP_UID_MAX + 1];
	int rc;

	maildir_name_of_uid(text, t->uid);
	if (t->form == TARGET_MAILDIR)
		snprintf(name, size, "%" PRIu64 ".%s.%s", t->received_s, text, t->hostname);
	else
		snprintf(name, size, "%s" EML_SUFFIX, text);
	rc = fflush(t->message.f);
	if (rc == 0)
		rc = futimens(fileno(t->message.f), times);
	if (rc == 0)
		rc = out_name(&t->message, t->folder, name);
	if (rc != 0 && errno == EEXIST) {
		t->skipped++;
		rc = 0;
	}
	if (rc != 0)
		t->errnum = errno;
	out_close(&t->message);
	return rc;
}

int
target_keep(struct target *t)
{
	char name[FILE_NAME_MAX];
	int rc = t->failed ? -1 : 0;

	if (rc == 0 && t->form == TARGET_MBOX) {
		put(t, "\n", 1);
		snprintf(name, sizeof(name), "%" PRIu64, ++t->number);
	} else if (rc == 0) {
		rc = keep_file(t, name, sizeof(name));
	}
	if (rc != 0 || t->failed)
		return fail(t, "", t->errnum);
	if (fprintf(t->list.f, "%s %s\n", t->uid, name) < 0)
		return fail(t, LIST_SUFFIX, errno);
	return EX_OK;
}

int
target_finish(struct target *t)
{
	char name[FILE_NAME_MAX];

	if (t->form == TARGET_MBOX && out_name(&t->message, t->parent, t->base) != 0)
		return fail(t, "", errno);
	if (t->folder >= 0 && fsync(t->folder) != 0)
		return fail(t, "", errno);
	snprintf(name, sizeof(name), "%s" LIST_SUFFIX, t->base);
	if (out_name(&t->list, t->parent, name) != 0)
		return fail(t, LIST_SUFFIX, errno);
	return fsync(t->parent) == 0 ? EX_OK : fail(t, "", errno);
}
