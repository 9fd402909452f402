/*
 * cmd_store - the spool as a whole: init.
 */
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "command.h"

/* Root makes the folder where the account that will own it could not. */
static int
make_folder(const struct admin *a)
{
	const char *dir = a->config->site.spool;
	const struct passwd *pw;

	if (geteuid() != 0 || access(dir, F_OK) == 0)
		return EX_OK;
	pw = getpwnam(a->config->site.user);
	if (pw == NULL)
		return admin_fail(EX_NOPERM,
		    "there is no account \"%s\" to own the spool: create it (useradd --system %s)",
		    a->config->site.user, a->config->site.user);
	if (mkdir(dir, 0700) != 0)
		return admin_fail(EX_CANTCREAT, "%s: %s", dir, strerror(errno));
	if (chown(dir, pw->pw_uid, pw->pw_gid) != 0)
		return admin_fail(EX_NOPERM, "%s: %s", dir, strerror(errno));
	return EX_OK;
}

int
cmd_init(struct admin *a, char **operands, size_t n)
{
	struct strbuf err;
	enum spool_status st;
	int code = make_folder(a);

	(void)operands;
	(void)n;
	if (code == EX_OK)
		code = admin_become(a);
	if (code != EX_OK)
		return code;
	strbuf_init(&err, 4096);
	st = spool_create(a->config->site.spool, &err);
	if (st == SPOOL_OK)
		admin_say(a, "the spool is at %s", a->config->site.spool);
	else
		code = admin_fail(
		    admin_exit_code(st), "%s", err.len > 0 ? err.buf : spool_status_text(st));
	strbuf_release(&err);
	return code;
}
