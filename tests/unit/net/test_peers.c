/*
 * peers: limits by address and in all, and how failed logins slow an address down.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/endpoint.h"
#include "net/peers.h"

#define WALL_MS 1700000000000u

static struct peers *peers;
static uint64_t now;

static void
begin(void)
{
	peers = peers_new();
	ck_assert_ptr_nonnull(peers);
	now = 1000000;
	clock_set(now, WALL_MS);
}

static void
end(void)
{
	peers_free(&peers);
	ck_assert_ptr_null(peers);
	clock_set(0, 0);
}

static const uint8_t *
address(const char *text)
{
	static uint8_t octets[16];
	struct network n;

	ck_assert_int_eq(network_parse(text, &n), 0);
	memcpy(octets, n.octets, 16);
	return octets;
}

static enum peers_verdict
enter(const char *from)
{
	return peers_enter(peers, address(from), false, 100, 2);
}

START_TEST(an_address_has_its_limit)
{
	ck_assert_int_eq(enter("192.0.2.1"), PEERS_OK);
	ck_assert_int_eq(enter("192.0.2.1"), PEERS_OK);
	ck_assert_int_eq(enter("192.0.2.1"), PEERS_TOO_MANY_FROM_ADDRESS);
	ck_assert_int_eq(enter("192.0.2.2"), PEERS_OK);
	ck_assert_uint_eq(peers_total(peers), 3);
	peers_leave(peers, address("192.0.2.1"));
	ck_assert_int_eq(enter("192.0.2.1"), PEERS_OK);
	ck_assert_int_eq(enter("192.0.2.1"), PEERS_TOO_MANY_FROM_ADDRESS);
	ck_assert_uint_eq(peers_total(peers), 3);
}
END_TEST

START_TEST(all_together_have_theirs)
{
	ck_assert_int_eq(peers_enter(peers, address("192.0.2.1"), false, 2, 9), PEERS_OK);
	ck_assert_int_eq(peers_enter(peers, address("192.0.2.2"), true, 2, 9), PEERS_OK);
	ck_assert_int_eq(peers_enter(peers, address("192.0.2.3"), false, 2, 9), PEERS_TOO_MANY);
	ck_assert_int_eq(peers_enter(peers, address("192.0.2.3"), true, 2, 9), PEERS_TOO_MANY);
	peers_leave(peers, address("192.0.2.1"));
	ck_assert_int_eq(peers_enter(peers, address("192.0.2.3"), true, 2, 9), PEERS_OK);
}
END_TEST

START_TEST(the_exempt_are_not_counted_by_address)
{
	int i;

	for (i = 0; i < 20; i++)
		ck_assert_int_eq(peers_enter(peers, address("127.0.0.1"), true, 100, 2), PEERS_OK);
	ck_assert_uint_eq(peers_total(peers), 20);
}
END_TEST

/* Rows: do two addresses count as one? */
static const struct {
	const char *a, *b;
	bool same;
} pairs[] = {
	{ "2001:db8::1", "2001:db8::ffff:1", true },
	{ "2001:db8:0:1::1", "2001:db8:0:2::1", false },
	{ "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true },
	{ "192.0.2.1", "192.0.2.2", false },
	{ "192.0.2.1", "198.51.100.1", false },
	{ "::1", "127.0.0.1", false },
};

START_TEST(ipv6_counts_by_its_64)
{
	ck_assert_int_eq(peers_enter(peers, address(pairs[_i].a), false, 9, 1), PEERS_OK);
	ck_assert_int_eq(peers_enter(peers, address(pairs[_i].b), false, 9, 1),
	    pairs[_i].same ? PEERS_TOO_MANY_FROM_ADDRESS : PEERS_OK);
}
END_TEST

/* --- failures -------------------------------------------------------------- */

static void
require_delays(const char *from, const uint64_t *delays, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ck_assert_uint_eq(peers_failure_delay(peers, address(from)), delays[i]);
}

static const uint64_t rising[] = { 0, 500, 1000, 2000, 4000, 8000, 8000, 8000 };

START_TEST(delays_double_up_to_a_bound)
{
	enter("192.0.2.1");
	require_delays("192.0.2.1", rising, 8);
	require_delays("192.0.2.2", rising, 3);
}
END_TEST

/* Rows: after many failures, so many seconds later, the next delay. */
static const struct {
	uint64_t seconds, delay;
} fading[] = { { 59, 8000 }, { 60, 8000 }, { 120, 4000 }, { 240, 1000 }, { 360, 0 }, { 86400, 0 } };

START_TEST(delays_fade)
{
	enter("192.0.2.1");
	require_delays("192.0.2.1", rising, 8);
	clock_set(now + fading[_i].seconds * 1000, WALL_MS);
	require_delays("192.0.2.1", &fading[_i].delay, 1);
}
END_TEST

START_TEST(failures_outlive_the_session)
{
	enter("192.0.2.1");
	require_delays("192.0.2.1", rising, 3);
	peers_leave(peers, address("192.0.2.1"));
	ck_assert_uint_eq(peers_total(peers), 0);
	enter("192.0.2.1");
	require_delays("192.0.2.1", rising + 3, 2);
	peers_leave(peers, address("192.0.2.1"));
	/* Forgotten after a while, also when the address never comes again. */
	clock_set(now + 3600 * 1000, WALL_MS);
	enter("192.0.2.9");
	enter("192.0.2.1");
	require_delays("192.0.2.1", rising, 2);
}
END_TEST

START_TEST(what_is_remembered_is_bounded)
{
	uint8_t octets[16] = { [10] = 0xff, [11] = 0xff, [12] = 10 };
	unsigned i;

	for (i = 0; i < PEERS_REMEMBERED + 1; i++) {
		octets[13] = (uint8_t)(i >> 16);
		octets[14] = (uint8_t)(i >> 8);
		octets[15] = (uint8_t)i;
		(void)peers_failure_delay(peers, octets);
	}
	/* The last is known, the first was given up for it. */
	require_delays("10.1.0.0", rising + 1, 1);
	require_delays("10.0.0.1", rising + 1, 1);
	require_delays("10.0.0.0", rising, 1);
}
END_TEST

/* --- threads --------------------------------------------------------------- */

static void *
come_and_go(void *arg)
{
	uint8_t octets[16] = { 0 };
	int i;

	octets[0] = (uint8_t)(uintptr_t)arg;
	for (i = 0; i < 2000; i++) {
		octets[1] = (uint8_t)(i % 5);
		ck_assert_int_eq(peers_enter(peers, octets, false, 100, 1), PEERS_OK);
		if (i % 7 == 0)
			(void)peers_failure_delay(peers, octets);
		peers_leave(peers, octets);
	}
	return NULL;
}

START_TEST(threads_do_not_disturb_each_other)
{
	pthread_t threads[4];
	uintptr_t i;

	for (i = 0; i < 4; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, come_and_go, (void *)(i + 32)), 0);
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(peers_total(peers), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("peers");
	TCase *tc = tcase_create("peers");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_address_has_its_limit);
	tcase_add_test(tc, all_together_have_theirs);
	tcase_add_test(tc, the_exempt_are_not_counted_by_address);
	tcase_add_loop_test(tc, ipv6_counts_by_its_64, 0, sizeof(pairs) / sizeof(pairs[0]));
	tcase_add_test(tc, delays_double_up_to_a_bound);
	tcase_add_loop_test(tc, delays_fade, 0, sizeof(fading) / sizeof(fading[0]));
	tcase_add_test(tc, failures_outlive_the_session);
	tcase_add_test(tc, what_is_remembered_is_bounded);
	tcase_add_test(tc, threads_do_not_disturb_each_other);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
