/*
 * warn_test - mailboxes that are more or less full, and rounds that look at them.
 */
#ifndef TESTS_UNIT_SPOOL_WARN_TEST_H
#define TESTS_UNIT_SPOOL_WARN_TEST_H

#include "common/spool/warn.h"
#include "common/spool/warn_internal.h"
#include "delivery_test.h"
#include "spool/warning.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* So large that a warning is less than a thousandth of it. */
#define BASE_OCTETS 2000000

static const struct spool_warning usual = {
	.percent = { 80, 95 },
	.n = 2,
	.hostname = "mail.example.test",
};

static void
set_shares(struct spool *sp, const char *percents)
{
	struct spool_warning w = usual;

	w.n = strlen(percents);
	memcpy(w.percent, percents, w.n);
	ck_assert_int_eq(spool_set_warning(sp, &w), SPOOL_OK);
}

/* A spool whose mailboxes 1 to `n` hold one large message each; no thread looks at them. */
static struct spool *
open_filled(unsigned n)
{
	struct spool *sp = spool_test_open(SPOOL_ADMIN);

	test_mailboxes(sp, n);
	ck_assert_int_eq(test_deliver(sp, 1, BASE_OCTETS, 1, n, NULL), SPOOL_OK);
	ck_assert_int_eq(spool_set_warning(sp, &usual), SPOOL_OK);
	return sp;
}

static int64_t
number_of(struct spool *sp, const char *what, unsigned mailbox)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT %s FROM mailbox WHERE id = %u", what, mailbox);
	return test_number(sp, sql);
}

static int64_t
warnings_of(struct spool *sp, unsigned mailbox)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM entry WHERE mailbox = %u AND reverse_path = ''", mailbox);
	return test_number(sp, sql);
}

/* Makes use this many thousandths of the quota, a little more at most. */
static void
set_use(struct spool *sp, unsigned mailbox, unsigned thousandths)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = used * 1000 / %u WHERE id = %u",
	    thousandths, mailbox);
	test_sql(sp, sql);
}

static void
round_of(struct spool *sp)
{
	sp->warner->next_look_ms = 0;
	ck_assert_int_eq(warn_round(sp), SPOOL_OK);
	test_invariants(sp);
}

#endif
