/* map: many members, keys that meet in one bucket, walking and taking out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

struct member {
	uint64_t n;
	struct map_node in_map;
	int seen;
};

#define MEMBERS 5000

static struct member members[MEMBERS];
static struct map map;

static void
fill(size_t n)
{
	size_t i;

	map_init(&map);
	for (i = 0; i < n; i++) {
		members[i] = (struct member){ .n = i, .in_map = { .key = map_key_u64(i) } };
		ck_assert_int_eq(map_add(&map, &members[i].in_map), 0);
	}
	ck_assert_uint_eq(map.count, n);
}

START_TEST(empty_map_has_nobody)
{
	map_init(&map);
	ck_assert_ptr_null(map_find(&map, map_key_u64(0)));
	ck_assert_ptr_null(map_next(&map, NULL));
	ck_assert_ptr_null(map.buckets);
	map_release(&map);
}
END_TEST

START_TEST(finds_what_was_added_and_nothing_else)
{
	size_t i;

	fill(MEMBERS);
	for (i = 0; i < MEMBERS; i++) {
		struct map_node *n = map_find(&map, map_key_u64(i));

		ck_assert_ptr_nonnull(n);
		ck_assert_uint_eq(MAP_OBJECT(n, struct member, in_map)->n, i);
	}
	ck_assert_ptr_null(map_find(&map, map_key_u64(MEMBERS)));
	ck_assert_uint_ge(map.nbuckets, MEMBERS);
	map_release(&map);
	ck_assert_uint_eq(map.count, 0);
}
END_TEST

START_TEST(every_octet_of_the_key_counts)
{
	struct member many[16];
	size_t i;

	map_init(&map);
	memset(many, 0, sizeof(many));
	for (i = 0; i < 16; i++) {
		many[i].in_map.key.octets[i] = 1;
		ck_assert_ptr_null(map_find(&map, many[i].in_map.key));
		ck_assert_int_eq(map_add(&map, &many[i].in_map), 0);
	}
	for (i = 0; i < 16; i++)
		ck_assert_ptr_eq(map_find(&map, many[i].in_map.key), &many[i].in_map);
	map_release(&map);
}
END_TEST

START_TEST(removed_are_gone_and_the_rest_stays)
{
	size_t i;

	fill(MEMBERS);
	for (i = 0; i < MEMBERS; i += 2)
		map_remove(&map, &members[i].in_map);
	ck_assert_uint_eq(map.count, MEMBERS / 2);
	for (i = 0; i < MEMBERS; i++) {
		struct map_node *n = map_find(&map, map_key_u64(i));

		ck_assert_ptr_eq(n, i % 2 == 0 ? NULL : &members[i].in_map);
	}
	for (i = 0; i < MEMBERS; i += 2)
		ck_assert_int_eq(map_add(&map, &members[i].in_map), 0);
	for (i = 0; i < MEMBERS; i++)
		map_remove(&map, &members[i].in_map);
	ck_assert_uint_eq(map.count, 0);
	ck_assert_ptr_null(map_next(&map, NULL));
	map_release(&map);
}
END_TEST

/* In one bucket, where the hash does not tell them apart. */
START_TEST(every_octet_of_the_key_is_compared)
{
	struct map_node first = { .next = NULL }, *bucket = &first;
	struct map_key other;
	size_t i;

	map_init(&map);
	map.buckets = &bucket;
	map.nbuckets = 1;
	map.count = 1;
	memset(&first.key, 'x', sizeof(first.key));
	ck_assert_ptr_eq(map_find(&map, first.key), &first);
	for (i = 0; i < 16; i++) {
		other = first.key;
		other.octets[i] ^= 1;
		ck_assert_ptr_null(map_find(&map, other));
	}
}
END_TEST

/* With one bucket for all, every way through a chain is gone. */
START_TEST(chains_hold_together)
{
	struct member chained[4];
	size_t out, i;

	for (out = 0; out < 4; out++) {
		struct map_node *bucket = NULL;

		map_init(&map);
		map.buckets = &bucket;
		map.nbuckets = 1;
		map.count = 0;
		for (i = 0; i < 4; i++) {
			chained[i] = (struct member){ .in_map = { .key = map_key_u64(i) } };
			chained[i].in_map.next = bucket;
			bucket = &chained[i].in_map;
			map.count++;
		}
		map_remove(&map, &chained[out].in_map);
		ck_assert_uint_eq(map.count, 3);
		for (i = 0; i < 4; i++) {
			ck_assert_ptr_eq(
			    map_find(&map, map_key_u64(i)), i == out ? NULL : &chained[i].in_map);
		}
	}
}
END_TEST

START_TEST(walk_meets_each_once)
{
	struct map_node *n, *next;
	size_t met = 0, i;

	fill(1000);
	for (n = map_next(&map, NULL); n != NULL; n = map_next(&map, n)) {
		MAP_OBJECT(n, struct member, in_map)->seen++;
		met++;
	}
	ck_assert_uint_eq(met, 1000);
	for (i = 0; i < 1000; i++)
		ck_assert_int_eq(members[i].seen, 1);

	for (n = map_next(&map, NULL); n != NULL; n = next) {
		next = map_next(&map, n);
		map_remove(&map, n);
		MAP_OBJECT(n, struct member, in_map)->seen++;
	}
	for (i = 0; i < 1000; i++)
		ck_assert_int_eq(members[i].seen, 2);
	ck_assert_uint_eq(map.count, 0);
	map_release(&map);
}
END_TEST

START_TEST(each_map_has_its_own_seed)
{
	struct map other;

	map_init(&map);
	map_init(&other);
	ck_assert_mem_ne(map.seed, other.seed, sizeof(map.seed));
	map_release(&map);
	map_release(&other);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("map");
	TCase *tc = tcase_create("map");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, empty_map_has_nobody);
	tcase_add_test(tc, finds_what_was_added_and_nothing_else);
	tcase_add_test(tc, every_octet_of_the_key_counts);
	tcase_add_test(tc, every_octet_of_the_key_is_compared);
	tcase_add_test(tc, removed_are_gone_and_the_rest_stays);
	tcase_add_test(tc, chains_hold_together);
	tcase_add_test(tc, walk_meets_each_once);
	tcase_add_test(tc, each_map_has_its_own_seed);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
