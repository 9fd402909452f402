/* clock: the machine's own time, and the time that tests set. */
#include <check.h>
#include <time.h>

#include "base/clock.h"

/* time(2) lags behind by up to a tick. */
static uint64_t
machine_ms(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

START_TEST(follows_the_machine)
{
	uint64_t before = machine_ms(), wall = clock_wall_ms(), i, last = 0;

	ck_assert_uint_ge(wall, before);
	ck_assert_uint_le(wall, machine_ms());
	for (i = 0; i < 1000; i++) {
		uint64_t now = clock_mono_ms();

		ck_assert_uint_ge(now, last);
		last = now;
	}
	ck_assert_uint_gt(last, 0);
}
END_TEST

START_TEST(stands_still_where_it_was_set)
{
	clock_set(5, 7000);
	ck_assert_uint_eq(clock_mono_ms(), 5);
	ck_assert_uint_eq(clock_wall_ms(), 7000);
	clock_set(0, 8000);
	ck_assert_uint_eq(clock_mono_ms(), 0);
	ck_assert_uint_eq(clock_wall_ms(), 8000);
	clock_set(6, 0);
	ck_assert_uint_eq(clock_mono_ms(), 6);
	ck_assert_uint_eq(clock_wall_ms(), 0);
	clock_set(0, 0);
	ck_assert_uint_ge(clock_wall_ms() / 1000, (uint64_t)time(NULL) - 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("clock");
	TCase *tc = tcase_create("clock");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, follows_the_machine);
	tcase_add_test(tc, stands_still_where_it_was_set);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
