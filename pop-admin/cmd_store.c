/*
 * cmd_store - the spool as a whole: init.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/mem.h"
#include "command.h"

/* index/index.db is made last of all that makes a spool. */
static bool
is_complete(const char *dir)
{
	struct strbuf path;
	bool there;

	strbuf_init(&path, PATH_MAX);
	strbuf_addf(&path, "%s/index/index.db", dir);
	there = !path.failed && access(path.buf, F_OK) == 0;
	strbuf_release(&path);
	return there;
}

/* The owner-to-be may not even be able to open it. */
static int
sync_parent(const char *dir)
{
	char *copy = mem_must_dup(dir);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = -1;

	if (fd >= 0) {
		rc = fsync(fd);
		close(fd);
	}
	mem_free(&copy);
	return rc;
}

int
admin_make_folder(const struct admin *a, const char *dir)
{
	const struct passwd *pw;

	if (geteuid() != 0 || access(dir, F_OK) == 0)
		return EX_OK;
	pw = getpwnam(a->config->site.user);
	if (pw == NULL)
		return admin_fail(EX_NOPERM,
		    "there is no account \"%s\" to own it: create it (useradd --system %s)",
		    a->config->site.user, a->config->site.user);
	if (mkdir(dir, 0700) != 0 || chown(dir, pw->pw_uid, pw->pw_gid) != 0 ||
	    sync_parent(dir) != 0)
		return admin_fail(EX_IOERR, "%s: %s", dir, strerror(errno));
	return EX_OK;
}

int
cmd_init(struct admin *a, char **operands, size_t n)
{
	const char *dir = a->config->site.spool;
	struct strbuf err;
	enum spool_status st;
	bool complete;
	int code = admin_make_folder(a, dir);

	(void)operands;
	(void)n;
	if (code == EX_OK)
		code = admin_become(a);
	if (code != EX_OK)
		return code;
	complete = is_complete(dir);
	strbuf_init(&err, 4096);
	st = spool_create(dir, &err);
	if (st == SPOOL_OK && complete)
		admin_say(a, "the spool in %s is there already", dir);
	else if (st == SPOOL_OK)
		admin_say(a,
		    "created the spool in %s: index, secrets, segments, locks, run\n"
		    "next: pop-admin user add ADDRESS",
		    dir);
	else
		code = admin_fail(
		    admin_exit_code(st), "%s", err.len > 0 ? err.buf : spool_status_text(st));
	strbuf_release(&err);
	return code;
}
