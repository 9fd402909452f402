/*
 * privilege - from root to the account that owns the spool, for good.
 *
 * The order matters: groups while still root, then the group, then the user;
 * each with its real, effective and saved id at once, so that none is left to
 * go back to.
 */
#include "base/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define PASSWD_BUF_MAX ((size_t)1 << 20)

static int
fail(struct strbuf *err, const char *what, int errnum)
{
	strbuf_addf(err, "%s: %s", what, strerrordesc_np(errnum));
	errno = errnum;
	return -1;
}

/* What root needs to know about an account; its texts are not kept. */
static int
find_account(const char *account, uid_t *uid_r, gid_t *gid_r, struct strbuf *err)
{
	struct passwd pw, *found = NULL;
	char *buf = NULL;
	size_t cap = 0;
	int rc;

	do {
		if (mem_grow(&buf, &cap, cap == 0 ? 1024 : cap * 2, 1) == -1) {
			rc = ENOMEM;
			break;
		}
		rc = getpwnam_r(account, &pw, buf, cap, &found);
	} while (rc == ERANGE && cap < PASSWD_BUF_MAX);
	if (found == NULL) {
		mem_free(&buf);
		if (rc != 0)
			return fail(err, "looking up the account to become", rc);
		strbuf_addf(err,
		    "there is no account \"%s\" to become: create it (useradd --system %s) or name "
		    "another",
		    account, account);
		errno = 0;
		return -1;
	}
	*uid_r = pw.pw_uid;
	*gid_r = pw.pw_gid;
	mem_free(&buf);
	if (*uid_r != 0)
		return 0;
	strbuf_addf(err,
	    "the account \"%s\" is root under another name: name one with a uid of its own",
	    account);
	errno = 0;
	return -1;
}

static int
become(const char *account, struct strbuf *err)
{
	uid_t uid, ruid, euid, suid;
	gid_t gid, rgid, egid, sgid;

	if (find_account(account, &uid, &gid, err) == -1)
		return -1;
	if (initgroups(account, gid) == -1)
		return fail(err, "taking on the account's groups", errno);
	if (setresgid(gid, gid, gid) == -1)
		return fail(err, "taking on the account's group", errno);
	if (setresuid(uid, uid, uid) == -1)
		return fail(err, "taking on the account's user", errno);

	if (getresuid(&ruid, &euid, &suid) == -1 || getresgid(&rgid, &egid, &sgid) == -1)
		return fail(err, "asking who we are", errno);
	if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid ||
	    sgid != gid || setuid(0) != -1 || (gid != 0 && setgid(0) != -1)) {
		strbuf_addf(err,
		    "root could be had back after becoming \"%s\": start without capabilities",
		    account);
		errno = EPERM;
		return -1;
	}
	return 0;
}

static bool
is_needed(const char *account)
{
	return geteuid() == 0 && strcmp(account, "root") != 0;
}

int
privilege_check(const char *account, struct strbuf *err)
{
	uid_t uid;
	gid_t gid;

	return is_needed(account) ? find_account(account, &uid, &gid, err) : 0;
}

int
privilege_become(const char *account, struct strbuf *err)
{
	(void)umask(077);
	if (is_needed(account) && become(account, err) == -1)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return fail(err, "giving up new privileges", errno);
	return 0;
}
