/*
 * delivery_test - messages put into a throw-away spool, and what is in it afterwards.
 *
 * A message of these tests has a number, which is its first line after Received:, and
 * octets that follow from number and size: so what is found can be compared with what
 * was sent, octet for octet, without keeping it.
 */
#ifndef TESTS_UNIT_SPOOL_DELIVERY_TEST_H
#define TESTS_UNIT_SPOOL_DELIVERY_TEST_H

#include <pthread.h>
#include <stdint.h>

#include "base/mem.h"
#include "common/spool/index.h"
#include "common/spool/record.h"
#include "common/spool/recover.h"
#include "common/spool/segment.h"
#include "common/spool/spool_internal.h"
#include "spool/delivery.h"
#include "spool/maildrop.h"
#include "spool_test.h"

/* --- the index ------------------------------------------------------------ */

SPOOL_TEST_MAYBE static void
test_sql(struct spool *sp, const char *sql)
{
	struct index_conn *c;
	char *error = NULL;

	ck_assert_int_eq(index_write_begin(sp, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_msg(sqlite3_exec(index_db(c), sql, NULL, NULL, &error) == SQLITE_OK, "%s: %s",
	    sql, error);
	ck_assert_int_eq(index_write_commit(sp, &c, false), SPOOL_OK);
}

/* The first column of the first row; -1 when there is none or it is NULL. */
SPOOL_TEST_MAYBE static int64_t
test_number(struct spool *sp, const char *sql)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	int64_t n = -1;

	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_OK);
	ck_assert_msg(sqlite3_prepare_v2(index_db(c), sql, -1, &stmt, NULL) == SQLITE_OK, "%s: %s",
	    sql, sqlite3_errmsg(index_db(c)));
	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	index_read_end(sp, &c);
	return n;
}

/* Mailboxes 1 to n of one domain. */
SPOOL_TEST_MAYBE static void
test_mailboxes(struct spool *sp, unsigned n)
{
	char sql[400];

	snprintf(sql, sizeof(sql),
	    "INSERT INTO domain (name, folded) VALUES ('example.test', 'example.test');"
	    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
	    " INSERT INTO mailbox (id, domain, local, folded, created_s)"
	    " SELECT i, 1, 'user' || i, 'user' || i, 0 FROM n", n);
	test_sql(sp, sql);
}

/* --- messages ------------------------------------------------------------- */

#define TEST_MESSAGE_MIN 100

/* At least TEST_MESSAGE_MIN octets of wire form, without the final dot; free(3). */
SPOOL_TEST_MAYBE static char *
test_message(unsigned number, size_t len)
{
	char *text = malloc(len + 128);
	uint32_t random = number * 2654435761u + (uint32_t)len;
	size_t n;

	ck_assert_ptr_nonnull(text);
	n = (size_t)snprintf(text, 128, "Received: by test\r\nNumber: %u %zu\r\n\r\n", number, len);
	while (n < len - 2) {
		random = random * 1664525 + 1013904223;
		text[n] = (char)('a' + (random >> 24) % 26);
		if (n % 72 >= 70)
			text[n] = n % 72 == 70 ? '\r' : '\n';
		n++;
	}
	memcpy(text + len - 2, "\r\n", 2);
	return text;
}

/* --- delivering ----------------------------------------------------------- */

/* Counts deliveries that are done; their outcomes stay in them. */
struct test_wait {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned done;
};

SPOOL_TEST_MAYBE static void
test_wait_init(struct test_wait *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->cond, NULL);
}

SPOOL_TEST_MAYBE static void
test_done(void *arg, struct delivery *d)
{
	struct test_wait *w = arg;

	(void)d;
	pthread_mutex_lock(&w->mutex);
	w->done++;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

SPOOL_TEST_MAYBE static void
test_wait_for(struct test_wait *w, unsigned n)
{
	pthread_mutex_lock(&w->mutex);
	while (w->done < n)
		pthread_cond_wait(&w->cond, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}

/* For mailboxes `first` to `last`, a RCPT for each. */
SPOOL_TEST_MAYBE static struct envelope *
test_envelope(uint64_t first, uint64_t last)
{
	struct envelope *env = envelope_new("sender@example.org");
	char address[64];

	ck_assert_ptr_nonnull(env);
	for (uint64_t i = first; i <= last; i++) {
		snprintf(address, sizeof(address), "user%llu@example.test", (unsigned long long)i);
		struct account_target target = { .mailbox = i, .address = address };
		struct account_targets targets = { .list = &target, .n = 1 };
		ck_assert_int_eq(envelope_add(env, address, &targets), SPOOL_OK);
	}
	return env;
}

/* Held to no limit but the mailboxes'. */
static const struct delivery_options test_trusted = { .trusted = true };

/* Begins a message and writes all of it; NULL with *st_r when that fails. */
SPOOL_TEST_MAYBE static struct delivery *
test_written(struct spool *sp, unsigned number, size_t len, struct envelope *env,
    enum spool_status *st_r)
{
	char *text = test_message(number, len);
	struct delivery *d;

	*st_r = delivery_begin(sp, &env, &test_trusted, &d);
	/* In pieces, so that large ones spill on the way. */
	for (size_t i = 0; *st_r == SPOOL_OK && i < len; i += 30000)
		*st_r = delivery_write(d, text + i, len - i < 30000 ? len - i : 30000);
	free(text);
	if (*st_r == SPOOL_OK)
		return d;
	envelope_free(&env);
	delivery_abandon(&d);
	return NULL;
}

/* One message, from beginning to end: its outcome, and its id. */
SPOOL_TEST_MAYBE static enum spool_status
test_deliver(struct spool *sp, unsigned number, size_t len, uint64_t first, uint64_t last,
    uint64_t *id_r)
{
	struct test_wait w;
	enum spool_status st;
	struct delivery *d = test_written(sp, number, len, test_envelope(first, last), &st);

	if (d == NULL)
		return st;
	test_wait_init(&w);
	delivery_commit(d, len, test_done, &w);
	test_wait_for(&w, 1);
	st = delivery_outcome(d);
	if (st == SPOOL_OK && id_r != NULL)
		*id_r = delivery_message(d);
	delivery_abandon(&d);
	return st;
}

/* --- what is there -------------------------------------------------------- */

/* Reads a message back and compares all of it with what was sent; returns its number. */
SPOOL_TEST_MAYBE static unsigned
test_read_back(struct spool *sp, uint64_t message, uint64_t mailbox)
{
	struct record_envelope e;
	struct segment_file *f;
	struct record r;
	unsigned number;
	size_t len;
	bool found = false;
	char *text, *want;

	ck_assert_int_eq(segment_find(sp, message, true, &f, &r), SPOOL_OK);
	ck_assert_int_eq(recover_read(f->fd, &f->id, r.block, &r, &e), SPOOL_OK);
	for (size_t i = 0; i < e.n; i++)
		found = found || e.list[i].mailbox == mailbox;
	ck_assert(found);
	ck_assert_str_eq(e.reverse_path, "sender@example.org");
	record_envelope_release(&e);

	text = malloc(r.wire_len + 1);
	ck_assert_int_eq(pread(f->fd, text, r.wire_len,
			     (off_t)(r.block * RECORD_BLOCK + r.header_len)), (ssize_t)r.wire_len);
	text[r.wire_len] = '\0';
	ck_assert_int_eq(
	    sscanf(text, "Received: by test\r\nNumber: %u %zu\r\n\r\n", &number, &len), 2);
	ck_assert_uint_eq(r.wire_len, len + 3);
	ck_assert_uint_eq(r.octets, len);
	want = test_message(number, len);
	ck_assert(memcmp(text, want, len) == 0);
	ck_assert(memcmp(text + len, ".\r\n", 3) == 0);
	ck_assert(memcmp(text + r.body - 4, "\r\n\r\n", 4) == 0);
	free(want);
	free(text);
	segment_put(sp, &f);
	return number;
}

/* How often each message number below `max` is in the mailbox; every octet is compared. */
SPOOL_TEST_MAYBE static void
test_count(struct spool *sp, uint64_t mailbox, unsigned *count, unsigned max)
{
	struct index_conn *c;
	sqlite3_stmt *stmt;
	bool row;

	memset(count, 0, max * sizeof(*count));
	ck_assert_int_eq(index_read_begin(sp, INDEX_MAIN, &c), SPOOL_OK);
	stmt = index_stmt(c, "SELECT message FROM entry WHERE mailbox = ?1 AND state = 0");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)mailbox);
	while (index_step(c, stmt, &row) == SPOOL_OK && row) {
		unsigned number =
		    test_read_back(sp, (uint64_t)sqlite3_column_int64(stmt, 0), mailbox);

		ck_assert_uint_lt(number, max);
		count[number]++;
	}
	index_read_end(sp, &c);
}

/* How often this message is in the mailbox. */
SPOOL_TEST_MAYBE static unsigned
test_copies(struct spool *sp, uint64_t mailbox, unsigned number)
{
	unsigned count[4096];

	test_count(sp, mailbox, count, 4096);
	return count[number];
}

/* What must be true of the index at any time. */
SPOOL_TEST_MAYBE static void
test_invariants(struct spool *sp)
{
	static const char *const wrong[] = {
		"SELECT id FROM mailbox AS m WHERE used <>"
		" (SELECT coalesce(sum(octets), 0) FROM entry"
		" WHERE mailbox = m.id AND state = 0)",
		"SELECT id FROM mailbox AS m WHERE messages <>"
		" (SELECT count(*) FROM entry WHERE mailbox = m.id AND state = 0)",
		"SELECT value FROM meta WHERE key = 'kept_blocks' AND value <>"
		" (SELECT coalesce(sum(blocks), 0) FROM entry WHERE state = 1)",
		"SELECT message FROM entry GROUP BY message HAVING count(*) > 1 AND count(*) IS NOT"
		" (SELECT n FROM holders AS h WHERE h.message = entry.message)",
		"SELECT message FROM holders AS h WHERE n < 2 OR n <>"
		" (SELECT count(*) FROM entry WHERE message = h.message)",
		"SELECT number FROM segment AS s WHERE live <> (SELECT count(DISTINCT message) FROM"
		" entry WHERE message >> 21 = s.number)",
		"SELECT message FROM garbage JOIN entry USING (message)",
		"SELECT message FROM entry WHERE message >> 21 NOT IN (SELECT number FROM segment)",
		"SELECT message FROM entry JOIN segment ON message >> 21 = number"
		" WHERE (message & 2097151) + blocks > mark",
		"SELECT number FROM segment WHERE number >"
		" (SELECT value FROM meta WHERE key = 'newest_segment')",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		ck_assert_msg(test_number(sp, wrong[i]) == -1, "%s: %lld", wrong[i],
		    (long long)test_number(sp, wrong[i]));
}

/* A mailbox as a session has it, for maildrop_close(). */
SPOOL_TEST_MAYBE static struct maildrop *
test_maildrop(struct spool *sp, uint64_t mailbox)
{
	struct maildrop *md;

	ck_assert_int_eq(maildrop_lock(sp, mailbox, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	return md;
}

#endif
