/*
 * privilege: what a process is afterwards.  Each case runs in a child of its
 * own; those that need root are passed over, with a word, where there is none.
 */
#include <check.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/privilege.h"

#define ACCOUNT "nobody"

static bool
no_root(void)
{
	if (geteuid() == 0)
		return false;
	printf("not root: becoming an account was not tried\n");
	return true;
}

/* Runs `child`, whose exit code names the first thing that was wrong. */
static int
in_child(int (*child)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(child());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int
become_account(void)
{
	const struct passwd *pw = getpwnam(ACCOUNT);
	uid_t uids[3];
	gid_t gids[3], groups[64];
	struct strbuf err;
	int n, i;

	strbuf_init(&err, 200);
	if (pw == NULL || setgroups(2, (const gid_t[]){ 0, 54321 }) != 0)
		return 1;
	umask(0);
	if (privilege_become(ACCOUNT, &err) != 0 || err.len != 0)
		return 2;
	if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 ||
	    getresgid(&gids[0], &gids[1], &gids[2]) != 0)
		return 3;
	for (i = 0; i < 3; i++) {
		if (uids[i] != pw->pw_uid || gids[i] != pw->pw_gid)
			return 4;
	}
	n = getgroups(64, groups);
	for (i = 0; i < n; i++) {
		if (groups[i] == 0 || groups[i] == 54321)
			return 5;
	}
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
		return 6;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 7;
	if (umask(0) != 077)
		return 8;

	/* A second time there is nothing left to do, and it says so by success. */
	return privilege_become(ACCOUNT, &err) == 0 ? 0 : 9;
}

START_TEST(root_becomes_the_account)
{
	if (no_root())
		return;
	ck_assert_int_eq(in_child(become_account), 0);
}
END_TEST

static int
stay_root(void)
{
	struct strbuf err;

	strbuf_init(&err, 200);
	umask(0);
	if (privilege_become("root", &err) != 0)
		return 1;
	if (geteuid() != 0)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 3;
	return umask(0) == 077 ? 0 : 4;
}

START_TEST(root_may_stay_root)
{
	if (no_root())
		return;
	ck_assert_int_eq(in_child(stay_root), 0);
}
END_TEST

static int
become_unknown(void)
{
	struct strbuf err;

	strbuf_init(&err, 200);
	if (privilege_become("no-such-account-here", &err) != -1)
		return 1;
	if (strstr(err.buf, "\"no-such-account-here\"") == NULL ||
	    strstr(err.buf, "useradd") == NULL)
		return 2;
	return geteuid() == 0 ? 0 : 3;
}

START_TEST(unknown_account_is_named)
{
	if (no_root())
		return;
	ck_assert_int_eq(in_child(become_unknown), 0);
}
END_TEST

static int
nobody_becomes_nobody(void)
{
	uid_t uid;
	struct strbuf err;

	strbuf_init(&err, 200);
	if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(54321) != 0 || setuid(54321) != 0))
		return 1;
	uid = geteuid();
	umask(0);
	if (privilege_become("no-such-account-here", &err) != 0)
		return 2;
	if (geteuid() != uid)
		return 3;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	return umask(0) == 077 ? 0 : 5;
}

START_TEST(who_is_not_root_stays_what_he_is)
{
	ck_assert_int_eq(in_child(nobody_becomes_nobody), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("privilege");
	TCase *tc = tcase_create("privilege");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, root_becomes_the_account);
	tcase_add_test(tc, root_may_stay_root);
	tcase_add_test(tc, unknown_account_is_named);
	tcase_add_test(tc, who_is_not_root_stays_what_he_is);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
