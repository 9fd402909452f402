/*
 * retrieved_test - three messages of joe's, what RETR has sent whole of them, and how long that
 * may stay.
 */
#ifndef TESTS_UNIT_POP3D_RETRIEVED_TEST_H
#define TESTS_UNIT_POP3D_RETRIEVED_TEST_H

#include <check.h>
#include <sqlite3.h>

#include "tests/unit/pop3d/drive.h"

#define JOE "joe@example.test"
#define MESSAGE "Subject: x\r\n\r\ntext\r\n"
#define GOODBYE "+OK goodbye\r\n"

static struct site site;

/* A stranger's connection to the index: settings, and what is in it. */
static sqlite3 *
open_index(void)
{
	char path[400];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/index/index.db", site.spool_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	return db;
}

static void
sql(const char *text)
{
	sqlite3 *db = open_index();
	char *error = NULL;

	ck_assert_msg(
	    sqlite3_exec(db, text, NULL, NULL, &error) == SQLITE_OK, "%s: %s", text, error);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* The first column of the first row; -1 for NULL and for none. */
static int64_t
number(const char *text)
{
	sqlite3 *db = open_index();
	sqlite3_stmt *stmt;
	int64_t n = -1;

	ck_assert_int_eq(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	return n;
}

static void
open_site(void)
{
	site_open(&site, false);
	site_deliver(&site, JOE, MESSAGE, strlen(MESSAGE), 3);
}

static void
close_site(void)
{
	site_close(&site);
}

/* From now on the limit from the first retrieval on, for what lies there too; SQL. */
static void
keep(const char *seconds)
{
	char text[300];

	snprintf(text, sizeof(text),
	    "UPDATE mailbox SET expire_retrieved_s = %s WHERE folded = 'joe';"
	    "UPDATE entry SET keep_retrieved_s = %s",
	    seconds, seconds);
	sql(text);
}

static int64_t
noted(void)
{
	return number("SELECT count(*) FROM entry WHERE retrieved_s IS NOT NULL");
}

/* Lets `n` octets of what waits go to the client. */
static void
take(struct drive *d, uint64_t n)
{
	static char scratch[65536];
	const void *buf;
	ssize_t len;

	while (n > 0 && (len = outq_peek(&d->out, scratch, sizeof(scratch), &buf)) > 0) {
		if ((uint64_t)len > n)
			len = (ssize_t)n;
		outq_consume(&d->out, (size_t)len);
		d->link.out_octets += (uint64_t)len;
		n -= (uint64_t)len;
	}
}

#endif
