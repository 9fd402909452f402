/*
 * cmd_import - brings mail in that lay somewhere else.
 *
 * The maildrop's lock is held all the time: nobody sees half of it, and no other import or
 * restoration gives a UID away meanwhile.  Nothing is written to a terminal as long.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/num.h"
#include "command.h"
#include "importer.h"
#include "maildir.h"
#include "mbox.h"
#include "progress.h"
#include "spool/import.h"
#include "uidlist.h"

#define ERROR_MAX 8192

/* Where the mail lies: one of the two. */
struct place {
	const char *path;
	int fd; /* owned: an mbox file; -1 */
	uint64_t file_s;
	struct maildir *folder; /* owned; NULL */
};

static ssize_t
read_file(void *arg, void *buf, size_t len, uint64_t offset)
{
	const struct place *p = arg;
	ssize_t n;

	do
		n = pread(p->fd, buf, len, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n;
}

/* root has become somebody else by now. */
static int
cannot_read(const struct admin *a, const char *path, int errnum)
{
	if (errnum == EACCES || errnum == EPERM)
		return admin_fail(EX_NOPERM,
		    "%s: cannot be read: %s: let the account that owns the spool (%s) read it",
		    path, strerror(errnum), a->config->site.user);
	return admin_fail(errnum == ENOENT || errnum == ENOTDIR ? EX_DATAERR : EX_IOERR,
	    "%s: cannot be read: %s", path, strerror(errnum));
}

static int
open_place(const struct admin *a, struct place *p, const char *path)
{
	struct stat st;

	*p = (struct place){ .path = path, .fd = -1 };
	if (stat(path, &st) != 0)
		return cannot_read(a, path, errno);
	if (S_ISDIR(st.st_mode)) {
		if (maildir_open(path, &p->folder) == 0)
			return EX_OK;
	} else if (S_ISREG(st.st_mode)) {
		p->fd = open(path, O_RDONLY | O_CLOEXEC);
		p->file_s = st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0;
		if (p->fd >= 0)
			return EX_OK;
	} else {
		return admin_fail(EX_DATAERR, "%s: is neither a file nor a folder", path);
	}
	return cannot_read(a, path, errno);
}

static void
close_place(struct place *p)
{
	if (p->fd >= 0)
		close(p->fd);
	maildir_close(&p->folder);
}

/* The list of --uidl-from, or the one that Dovecot keeps in its Maildir.  *list_r is NULL where there
 * is none. */
static int
read_list(const struct admin *a, const struct place *p, struct uidlist **list_r)
{
	const char *path = a->uidl_from;
	char *own = NULL;
	struct strbuf err;
	int code = EX_OK;

	*list_r = NULL;
	if (path == NULL && p->folder != NULL &&
	    asprintf(&own, "%s/dovecot-uidlist", p->path) > 0 && access(own, F_OK) == 0)
		path = own;
	if (path != NULL) {
		strbuf_init(&err, ERROR_MAX);
		if (uidlist_read(path, list_r, &err) != 0)
			code = admin_fail(EX_DATAERR, "%s", err.buf);
		strbuf_release(&err);
	}
	free(own);
	return code;
}

/* Says nothing yet: what it returns is for say_reading(). */
static int
read_place(struct place *p, struct importer *im, bool bring, int *errno_r)
{
	struct mbox_input in = { .read = read_file, .arg = p, .file_s = p->file_s };
	struct source_sink sink = importer_sink(im);
	int rc;

	importer_begin(im, bring);
	rc = p->folder != NULL ? maildir_read(p->folder, &sink) : mbox_read(&in, &sink);
	*errno_r = errno;
	return rc;
}

static int
say_reading(const struct place *p, int rc, int errnum)
{
	const char *bad = p->folder != NULL ? maildir_bad(p->folder) : NULL;

	switch (rc) {
	case SOURCE_READ_FAILED:
		return admin_fail(errnum == EACCES ? EX_NOPERM : EX_IOERR,
		    "%s%s%s: cannot be read: %s", p->path, bad != NULL ? ": " : "",
		    bad != NULL ? bad : "", strerror(errnum));
	case SOURCE_NO_MBOX:
		return admin_fail(EX_DATAERR,
		    "%s: is no mbox file: it does not begin with \"From \"; nothing was imported",
		    p->path);
	case SOURCE_NO_MEMORY:
		return admin_fail(EX_TEMPFAIL, "%s: there is not enough memory", p->path);
	default:
		return EX_OK;
	}
}

/* What the second reading is to find room for. */
static bool
fits(const struct account_user *u, const struct importer_count *n)
{
	return u->quota == NUM_UNLIMITED ||
	       (u->used <= u->quota && n->octets <= u->quota - u->used);
}

struct outcome {
	int rc, errnum; /* of reading */
	enum spool_status status;
	bool brought; /* the second reading was begun */
	bool full;    /* it was not, for the quota */
	struct importer_count count;
	char *refusals; /* owned */
};

static void
run(struct importer *im, struct place *p, const struct account_user *u, struct outcome *o)
{
	o->rc = read_place(p, im, false, &o->errnum);
	o->status = importer_finish(im);
	o->count = *importer_counts(im);
	o->full = o->rc == 0 && !fits(u, &o->count);
	if (o->rc == 0 && !o->full && o->count.messages > 0) {
		o->brought = true;
		o->rc = read_place(p, im, true, &o->errnum);
		o->status = importer_finish(im);
		o->count = *importer_counts(im);
	}
	o->refusals = strdup(importer_refusals(im));
}

static int
say_counts(
    const struct admin *a, const struct place *p, const char *address, const struct outcome *o)
{
	size_t passed = p->folder != NULL ? maildir_passed(p->folder) : 0;

	admin_say(a, "%" PRIu64 " imported, %" PRIu64 " were there already", o->count.messages,
	    o->count.known);
	if (passed > 0)
		admin_say(a, "%zu passed over that are no plain files", passed);
	if (o->count.refused == 0)
		return EX_OK;
	fputs(o->refusals != NULL ? o->refusals : "", stderr);
	return admin_fail(EX_DATAERR, "%s: %" PRIu64 " messages could not be imported", address,
	    o->count.refused);
}

static int
say_outcome(const struct admin *a, const struct place *p, const struct account_user *u,
    const struct outcome *o)
{
	char size[NUM_TEXT_MAX], left[NUM_TEXT_MAX];
	int code = say_reading(p, o->rc, o->errnum);

	if (code == EX_OK && o->full)
		return admin_fail(EX_DATAERR,
		    "%s: %" PRIu64 " messages of %s do not fit into its quota, which has %s left; "
		    "nothing was imported",
		    u->address, o->count.messages, num_format_size_short(size, o->count.octets),
		    num_format_size_short(left, u->used < u->quota ? u->quota - u->used : 0));
	if (code == EX_OK && o->status == SPOOL_OK)
		return say_counts(a, p, u->address, o);
	if (code == EX_OK)
		code = admin_result(o->status, u->address);
	if (o->brought)
		admin_say(a, "%" PRIu64 " were imported before that; run it again for the others",
		    o->count.messages);
	return code;
}

/* With the lock; the user is read anew, for what is used. */
static int
import(struct admin *a, struct place *p, const struct address *address, const struct uidlist *uids)
{
	struct outcome o = { .rc = 0 };
	struct account_user user;
	struct importer_options options = {
		.spool = a->spool, .user = &user, .hostname = a->config->site.hostname, .uids = uids
	};
	struct importer *im = NULL;
	enum spool_status st = account_user_find(a->spool, address, &user);
	int code;

	if (st == SPOOL_OK)
		st = import_lock(a->spool, user.mailbox, "import", &options.md);
	if (st == SPOOL_OK)
		st = maildrop_load(options.md);
	if (st == SPOOL_OK)
		st = account_user_find(a->spool, address, &user);
	options.progress = progress_begin("importing", PROGRESS_MESSAGES);
	if (st == SPOOL_OK)
		st = importer_new(&options, &im);
	if (st == SPOOL_OK)
		run(im, p, &user, &o);
	importer_free(&im);
	maildrop_close(&options.md);
	progress_end(&options.progress);
	code = st == SPOOL_OK ? say_outcome(a, p, &user, &o) : admin_result(st, address->text);
	free(o.refusals);
	return code;
}

int
cmd_import(struct admin *a, char **operands, size_t n)
{
	struct uidlist *uids = NULL;
	struct address address;
	struct place place;
	uint64_t mailbox;
	int code = admin_address(operands[0], false, &address);

	(void)n;
	if (code == EX_OK)
		code = admin_mailbox(a, operands[0], &mailbox);
	if (code != EX_OK)
		return code;
	code = open_place(a, &place, operands[1]);
	if (code == EX_OK)
		code = read_list(a, &place, &uids);
	if (code == EX_OK)
		code = import(a, &place, &address, uids);
	uidlist_free(&uids);
	close_place(&place);
	return code;
}
