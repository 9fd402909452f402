/*
 * room_test - a spool of twelve mailboxes, their quotas, and messages on their way to them.
 */
#ifndef TESTS_UNIT_SPOOL_ROOM_TEST_H
#define TESTS_UNIT_SPOOL_ROOM_TEST_H

#include "base/clock.h"
#include "common/spool/record.h"
#include "delivery_test.h"
#include "spool/room.h"

static struct spool *sp;

SPOOL_TEST_MAYBE static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_SMTPD);
	test_mailboxes(sp, 12);
}

SPOOL_TEST_MAYBE static void
teardown(void)
{
	clock_set(0, 0);
	spool_close(&sp);
	spool_test_remove();
}

SPOOL_TEST_MAYBE static void
set_quota(uint64_t mailbox, int64_t quota)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %lld WHERE id = %llu",
	    (long long)quota, (unsigned long long)mailbox);
	test_sql(sp, sql);
}

SPOOL_TEST_MAYBE static uint64_t
used(uint64_t mailbox)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT used FROM mailbox WHERE id = %llu",
	    (unsigned long long)mailbox);
	return (uint64_t)test_number(sp, sql);
}

/* An IPv4 address, or with `v6` the /64 of an IPv6 one and what stands behind it. */
SPOOL_TEST_MAYBE static struct delivery_options
from(uint64_t need, unsigned v4, unsigned net6, unsigned host6)
{
	struct delivery_options o = { .need = need };

	if (v4 != 0) {
		o.client[10] = o.client[11] = 0xff;
		o.client[12] = 10;
		o.client[15] = (uint8_t)v4;
	} else {
		o.client[0] = 0x20;
		o.client[7] = (uint8_t)net6;
		o.client[15] = (uint8_t)host6;
	}
	return o;
}

SPOOL_TEST_MAYBE static struct delivery_options
trusted(uint64_t need)
{
	return (struct delivery_options){ .need = need, .trusted = true };
}

SPOOL_TEST_MAYBE static enum spool_status
begin(uint64_t first, uint64_t last, struct delivery_options o, struct delivery **d_r)
{
	struct envelope *env = test_envelope(first, last);
	enum spool_status st = delivery_begin(sp, &env, &o, d_r);

	ck_assert(st == SPOOL_OK ? env == NULL : *d_r == NULL);
	envelope_free(&env);
	return st;
}

SPOOL_TEST_MAYBE static struct delivery *
begun(uint64_t first, uint64_t last, struct delivery_options o)
{
	struct delivery *d;

	ck_assert_int_eq(begin(first, last, o, &d), SPOOL_OK);
	return d;
}

SPOOL_TEST_MAYBE static enum spool_status
refused(uint64_t first, uint64_t last, struct delivery_options o)
{
	struct delivery *d;

	return begin(first, last, o, &d);
}

SPOOL_TEST_MAYBE static enum spool_status
look(uint64_t mailbox, uint64_t need, uint64_t most, bool *most_r)
{
	struct envelope *env = envelope_new("");
	struct account_target target = { .mailbox = mailbox, .address = (char *)(uintptr_t)"a@b" };
	struct account_targets targets = { .list = &target, .n = 1 };
	enum spool_status st = room_look(sp, &targets, env, need, most, most_r);

	envelope_free(&env);
	return st;
}

SPOOL_TEST_MAYBE static void
write_octets(struct delivery *d, unsigned number, size_t len)
{
	char *text = test_message(number, len);

	ck_assert_int_eq(delivery_write(d, text, len), SPOOL_OK);
	free(text);
}

/* What a message of `len` octets counts in mailbox 1 to 9. */
SPOOL_TEST_MAYBE static uint64_t
counted(size_t len)
{
	return len + record_prefix_len("sender@example.org", "user1@example.test");
}

#endif
