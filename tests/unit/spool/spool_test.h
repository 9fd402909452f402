/*
 * spool_test - a throw-away spool for one test.
 *
 * spool_test_make() is a set-up, spool_test_remove() a tear-down (checked fixtures: each
 * test has a process and a folder of its own).  A test opens what it wants and closes it.
 */
#ifndef TESTS_UNIT_SPOOL_SPOOL_TEST_H
#define TESTS_UNIT_SPOOL_SPOOL_TEST_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "mail/address.h"
#include "spool/spool.h"
#include "tests/lib/folder.h"

/* Each test uses of these what it needs. */
#define SPOOL_TEST_MAYBE __attribute__((unused))

static char spool_test_dir[256];

SPOOL_TEST_MAYBE static void
spool_test_make_in(const char *dir)
{
	char base[200];
	struct strbuf err;

	snprintf(base, sizeof(base), "%.180s/spool-test-XXXXXX", dir);
	ck_assert_ptr_nonnull(mkdtemp(base));
	snprintf(spool_test_dir, sizeof(spool_test_dir), "%s/spool", base);
	strbuf_init(&err, 1024);
	ck_assert_msg(spool_create(spool_test_dir, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
}

SPOOL_TEST_MAYBE static void
spool_test_make(void)
{
	spool_test_make_in(test_memory());
}

SPOOL_TEST_MAYBE static void
spool_test_remove(void)
{
	char *slash = strrchr(spool_test_dir, '/');

	ck_assert_ptr_nonnull(slash);
	*slash = '\0';
	ck_assert_int_eq(folder_remove(spool_test_dir), 0);
}

SPOOL_TEST_MAYBE static struct spool *
spool_test_open(enum spool_role role)
{
	const struct spool_options options = { .dir = spool_test_dir, .role = role };
	struct spool *spool;
	struct strbuf err;

	strbuf_init(&err, 1024);
	ck_assert_msg(spool_open(&options, &spool, &err) == SPOOL_OK, "%s", err.buf);
	strbuf_release(&err);
	ck_assert_int_eq(spool_wait_ready(spool), SPOOL_OK);
	return spool;
}

SPOOL_TEST_MAYBE static struct address
spool_test_address(const char *text)
{
	struct address address;

	memset(&address, 0, sizeof(address));
	/* As pop-admin reads a catch-all. */
	if (text[0] == '@')
		snprintf(address.domain, sizeof(address.domain), "%s", text + 1);
	else
		ck_assert_msg(address_parse(text, &address) == 0, "%s", text);
	return address;
}

#endif
