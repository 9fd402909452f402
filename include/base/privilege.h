/*
 * privilege - from root to the account that owns the spool, for good.
 *
 * Thread: before any other exists.
 */
#ifndef BASE_PRIVILEGE_H
#define BASE_PRIVILEGE_H

#include "base/strbuf.h"

/* Started as root: takes on the groups, group and user of `account`, checks that
 * root cannot be had back, and gives up new privileges (PR_SET_NO_NEW_PRIVS).
 * Not started as root, or where `account` is "root": only the last.  Sets the umask
 * to 077.  0, or -1 with a sentence in err (unknown account: what to create).  errno is 0 where
 * another account has to be named or made, else what failed. */
int privilege_become(const char *account, struct strbuf *err);

/* Whether privilege_become() would find an account to become; not asked who is not root.  Fails as
 * it does. */
int privilege_check(const char *account, struct strbuf *err);

#endif
