/* limits: what a mailbox may hold and for how long, and what a change does to what lies there. */
#include "delivery_test.h"

#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/num.h"
#include "common/spool/age.h"
#include "spool/account.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define DAY 86400ull

static struct spool *sp;
static struct address joe;

static void
setup(void)
{
	spool_test_make();
	sp = spool_test_open(SPOOL_ADMIN);
}

static void
teardown(void)
{
	clock_set(0, 0);
	test_invariants(sp);
	spool_close(&sp);
	spool_test_remove();
}

static struct account_user
find(const char *text)
{
	struct address address = spool_test_address(text);
	struct account_user user;

	memset(&user, 0xa5, sizeof(user));
	ck_assert_int_eq(account_user_find(sp, &address, &user), SPOOL_OK);
	return user;
}

/* --- new mailboxes -------------------------------------------------------- */

/* Beside NUM_UNLIMITED and ACCOUNT_SITE. */
#define NOT_SAID (UINT64_MAX - 99)

static struct account_limits
limits(uint64_t quota, uint64_t expire_s)
{
	return (struct account_limits){ .has_quota = quota != NOT_SAID, .quota = quota,
		.has_expire = expire_s != NOT_SAID, .expire_s = expire_s };
}

static const struct {
	const char *name;
	uint64_t own, domain, site, want;
} levels[] = {
	{ "nothing is said", NOT_SAID, NOT_SAID, NOT_SAID, NUM_UNLIMITED },
	{ "the site", NOT_SAID, NOT_SAID, 3 * DAY, 3 * DAY },
	{ "the domain", NOT_SAID, 2 * DAY, 3 * DAY, 2 * DAY },
	{ "the domain, none", NOT_SAID, NUM_UNLIMITED, 3 * DAY, NUM_UNLIMITED },
	{ "the domain, back to the site", NOT_SAID, ACCOUNT_SITE, 3 * DAY, 3 * DAY },
	{ "the mailbox", 1 * DAY, 2 * DAY, 3 * DAY, 1 * DAY },
	{ "the mailbox, none", NUM_UNLIMITED, 2 * DAY, 3 * DAY, NUM_UNLIMITED },
	{ "the mailbox without a domain's", 1 * DAY, NOT_SAID, 3 * DAY, 1 * DAY },
};

static int
keep_domain(void *arg, const struct account_domain *d)
{
	*(struct account_domain *)arg = *d;
	return 0;
}

START_TEST(each_level)
{
	struct account_limits own = limits(levels[_i].own, levels[_i].own),
			      domain = limits(levels[_i].domain, levels[_i].domain),
			      site = limits(levels[_i].site, levels[_i].site);
	struct address ann = spool_test_address("ann@a.test");
	struct account_domain listed;
	struct account_user user;
	uint64_t want;

	ck_assert_int_eq(account_domain_add(sp, "a.test", &domain), SPOOL_OK);
	ck_assert_int_eq(account_domain_list(sp, &site, keep_domain, &listed), SPOOL_OK);
	want = levels[_i].domain == NOT_SAID || levels[_i].domain == ACCOUNT_SITE
	           ? levels[_i].site : levels[_i].domain;
	if (want == NOT_SAID)
		want = NUM_UNLIMITED;
	ck_assert_uint_eq(listed.quota, want);
	ck_assert_uint_eq(listed.expire_s, want);
	ck_assert_int_eq(
	    account_user_add(sp, &ann, "x", 1, false, &own, &site), SPOOL_OK);
	user = find("ann@a.test");
	ck_assert_uint_eq(user.quota, levels[_i].want);
	ck_assert_uint_eq(user.expire_s, levels[_i].want);
	ck_assert_uint_eq(user.expire_retrieved_s, NUM_UNLIMITED);
	ck_assert_uint_eq(user.oldest_ms, 0);
}
END_TEST

/* One limit is said without the other, and what is there keeps what it has. */
START_TEST(domain_set)
{
	struct account_limits site = limits(1000, 9 * DAY), quota = limits(500, NOT_SAID),
			      age = limits(NOT_SAID, NUM_UNLIMITED),
			      back = limits(ACCOUNT_SITE, NOT_SAID);
	struct address ann = spool_test_address("ann@a.test"),
		       ben = spool_test_address("ben@a.test");
	struct account_domain d;

	ck_assert_int_eq(account_domain_set(sp, "a.test", &quota), SPOOL_NO_DOMAIN);
	ck_assert_int_eq(account_domain_add(sp, "a.test", NULL), SPOOL_OK);
	ck_assert_int_eq(account_domain_set(sp, "A.test", &quota), SPOOL_OK);
	ck_assert_int_eq(account_domain_list(sp, &site, keep_domain, &d), SPOOL_OK);
	ck_assert_uint_eq(d.quota, 500);
	ck_assert_uint_eq(d.expire_s, 9 * DAY);
	ck_assert_int_eq(account_user_add(sp, &ann, "x", 1, false, NULL, &site), SPOOL_OK);
	ck_assert_int_eq(account_domain_set(sp, "a.test", &age), SPOOL_OK);
	ck_assert_int_eq(account_domain_set(sp, "a.test", &back), SPOOL_OK);
	ck_assert_int_eq(account_domain_list(sp, &site, keep_domain, &d), SPOOL_OK);
	ck_assert_uint_eq(d.quota, 1000);
	ck_assert_uint_eq(d.expire_s, NUM_UNLIMITED);
	ck_assert_int_eq(account_user_add(sp, &ben, "x", 1, false, NULL, &site), SPOOL_OK);
	ck_assert_uint_eq(find("ann@a.test").quota, 500);
	ck_assert_uint_eq(find("ann@a.test").expire_s, 9 * DAY);
	ck_assert_uint_eq(find("ben@a.test").quota, 1000);
	ck_assert_uint_eq(find("ben@a.test").expire_s, NUM_UNLIMITED);
}
END_TEST

/* --- changes -------------------------------------------------------------- */

static void
make_joe(void)
{
	test_mailboxes(sp, 2);
	joe = spool_test_address("user1@example.test");
}

static void
set_expire(uint64_t expire_s, bool now, uint64_t want)
{
	uint64_t changed = 99;

	ck_assert_int_eq(account_user_set_expire(sp, &joe, expire_s, now, &changed), SPOOL_OK);
	ck_assert_uint_eq(changed, want);
	ck_assert_uint_eq(find("user1@example.test").expire_s, expire_s);
}

static void
set_retrieved(uint64_t expire_s, uint64_t want)
{
	uint64_t changed = 99;

	ck_assert_int_eq(
	    account_user_set_expire_retrieved(sp, &joe, expire_s, &changed), SPOOL_OK);
	ck_assert_uint_eq(changed, want);
	ck_assert_uint_eq(find("user1@example.test").expire_retrieved_s, expire_s);
}

/* Message `number` to both mailboxes at noon of a day; every row has its octets. */
static void
deliver_on(unsigned day, unsigned number)
{
	clock_set(1, (day * DAY + DAY / 2) * 1000);
	ck_assert_int_eq(test_deliver(sp, number, 200 + number, 1, 2, NULL), SPOOL_OK);
}

/* The days of the messages in a mailbox, in order of their numbers, as "20 - 33 ". */
static const char *
days(unsigned mailbox, const char *column)
{
	static char text[256];
	char sql[300];

	text[0] = '\0';
	for (unsigned i = 0; i < 9; i++) {
		snprintf(sql, sizeof(sql), "SELECT coalesce(%s, -2) FROM entry WHERE mailbox = %u"
		    " ORDER BY octets LIMIT 1 OFFSET %u", column, mailbox, i);
		int64_t day = test_number(sp, sql);

		if (day == -1)
			break;
		if (day == -2)
			strcat(text, "- ");
		else
			sprintf(text + strlen(text), "%" PRId64 " ", day);
	}
	return text;
}

START_TEST(quota)
{
	struct address nobody = spool_test_address("nobody@example.test");

	make_joe();
	deliver_on(100, 0);
	ck_assert_int_eq(account_user_set_quota(sp, &joe, 4711), SPOOL_OK);
	ck_assert_uint_eq(find("user1@example.test").quota, 4711);
	ck_assert_uint_eq(find("user2@example.test").quota, NUM_UNLIMITED);
	/* Below the use: nothing is removed. */
	ck_assert_int_eq(account_user_set_quota(sp, &joe, 1), SPOOL_OK);
	ck_assert_uint_eq(find("user1@example.test").messages, 1);
	ck_assert_int_eq(account_user_set_quota(sp, &joe, NUM_UNLIMITED), SPOOL_OK);
	ck_assert_uint_eq(find("user1@example.test").quota, NUM_UNLIMITED);
	ck_assert_int_eq(account_user_set_quota(sp, &nobody, 1), SPOOL_NO_MAILBOX);
	ck_assert_uint_eq(find("user1@example.test").oldest_ms, (100 * DAY + DAY / 2) * 1000);
}
END_TEST

/* What was announced holds: only a longer age reaches what lies there. */
START_TEST(longer_for_all_shorter_for_later)
{
	make_joe();
	deliver_on(100, 0);
	set_expire(10 * DAY, false, 0);
	ck_assert_str_eq(days(1, "expires_day"), "- ");
	deliver_on(100, 1);
	ck_assert_str_eq(days(1, "expires_day"), "- 111 ");
	set_expire(5 * DAY, false, 0);
	deliver_on(101, 2);
	ck_assert_str_eq(days(1, "expires_day"), "- 111 107 ");
	set_expire(7 * DAY, false, 1);
	ck_assert_str_eq(days(1, "expires_day"), "- 111 109 ");
	set_expire(30 * DAY, false, 2);
	ck_assert_str_eq(days(1, "expires_day"), "- 131 132 ");
	set_expire(30 * DAY, false, 0);
	set_expire(1 * DAY, false, 0);
	ck_assert_str_eq(days(1, "expires_day"), "- 131 132 ");
	set_expire(NUM_UNLIMITED, false, 2);
	ck_assert_str_eq(days(1, "expires_day"), "- - - ");
	/* Nobody else's. */
	ck_assert_str_eq(days(2, "expires_day"), "- - - ");
	ck_assert_uint_eq(find("user2@example.test").expire_s, NUM_UNLIMITED);
}
END_TEST

START_TEST(now_both_ways)
{
	uint64_t messages, octets;

	make_joe();
	set_expire(10 * DAY, false, 0);
	deliver_on(100, 0);
	deliver_on(103, 1);
	deliver_on(104, 2);
	test_sql(sp, "UPDATE entry SET state = 1, removed_s = 0 WHERE mailbox = 1 AND octets ="
	    " (SELECT max(octets) FROM entry);"
	    "UPDATE mailbox SET messages = 2, used = (SELECT sum(octets) FROM entry"
	    " WHERE mailbox = 1 AND state = 0) WHERE id = 1;"
	    "UPDATE meta SET value = (SELECT blocks FROM entry WHERE state = 1) WHERE key ="
	    " 'kept_blocks'");
	/* Noon of day 100 and two days are on day 103, of day 103 on day 106. */
	clock_set(1, 106 * DAY * 1000 - 1);
	ck_assert_int_eq(account_user_past_age(sp, &joe, 2 * DAY, &messages, &octets), SPOOL_OK);
	ck_assert_uint_eq(messages, 1);
	ck_assert_uint_eq(octets,
	    (uint64_t)test_number(sp, "SELECT min(octets) FROM entry WHERE mailbox = 1"));
	clock_set(1, 106 * DAY * 1000);
	ck_assert_int_eq(account_user_past_age(sp, &joe, 2 * DAY, &messages, &octets), SPOOL_OK);
	ck_assert_uint_eq(messages, 2);
	ck_assert_int_eq(
	    account_user_past_age(sp, &joe, NUM_UNLIMITED, &messages, &octets), SPOOL_OK);
	ck_assert_uint_eq(messages, 0);

	set_expire(2 * DAY, true, 2);
	/* What is kept has left the mailbox. */
	ck_assert_str_eq(days(1, "expires_day"), "103 106 115 ");
	set_expire(2 * DAY, true, 0);
	set_expire(NUM_UNLIMITED, true, 2);
	ck_assert_str_eq(days(1, "expires_day"), "- - 115 ");
	set_expire(20 * DAY, true, 2);
	ck_assert_str_eq(days(1, "expires_day"), "121 124 115 ");
}
END_TEST

START_TEST(retrieved)
{
	make_joe();
	set_retrieved(10 * DAY, 0);
	deliver_on(100, 0);
	deliver_on(100, 1);
	ck_assert_str_eq(days(1, "keep_retrieved_s / 86400"), "10 10 ");
	ck_assert_str_eq(days(2, "keep_retrieved_s"), "- - ");
	/* The first was retrieved on day 105. */
	test_sql(sp, "UPDATE entry SET retrieved_s = 105 * 86400 + 7, retrieved_expires_day = 116"
	    " WHERE mailbox = 1 AND octets = (SELECT min(octets) FROM entry)");
	set_retrieved(2 * DAY, 0);
	deliver_on(106, 2);
	ck_assert_str_eq(days(1, "keep_retrieved_s / 86400"), "10 10 2 ");
	ck_assert_str_eq(days(1, "retrieved_expires_day"), "116 - - ");
	set_retrieved(5 * DAY, 1);
	ck_assert_str_eq(days(1, "keep_retrieved_s / 86400"), "10 10 5 ");
	set_retrieved(20 * DAY, 3);
	ck_assert_str_eq(days(1, "keep_retrieved_s / 86400"), "20 20 20 ");
	ck_assert_str_eq(days(1, "retrieved_expires_day"), "126 - - ");
	set_retrieved(0, 0);
	ck_assert_str_eq(days(1, "retrieved_expires_day"), "126 - - ");
	set_retrieved(NUM_UNLIMITED, 3);
	ck_assert_str_eq(days(1, "keep_retrieved_s"), "- - - ");
	ck_assert_str_eq(days(1, "retrieved_expires_day"), "- - - ");
	ck_assert_str_eq(days(2, "keep_retrieved_s"), "- - - ");
}
END_TEST

START_TEST(no_such_mailbox)
{
	struct address unknown = spool_test_address("nobody@example.test"),
		       elsewhere = spool_test_address("joe@elsewhere.test");
	uint64_t n, octets;

	make_joe();
	ck_assert_int_eq(
	    account_user_set_expire(sp, &unknown, DAY, true, &n), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(
	    account_user_set_expire_retrieved(sp, &elsewhere, DAY, &n), SPOOL_NO_MAILBOX);
	ck_assert_int_eq(
	    account_user_past_age(sp, &unknown, DAY, &n, &octets), SPOOL_NO_MAILBOX);
}
END_TEST

static int
failing_fdatasync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

/* What may not be on disk is not said to be changed. */
START_TEST(failed_sync_is_no_success)
{
	struct disk_ops ops = disk_real;
	uint64_t changed;
	enum spool_status st;

	make_joe();
	deliver_on(100, 0);
	clock_set(0, 0);
	ops.fdatasync = failing_fdatasync;
	sp->disk = &ops;
	st = _i == 0   ? account_user_set_quota(sp, &joe, 1)
	     : _i == 1 ? account_user_set_expire(sp, &joe, 2 * DAY, true, &changed)
	     : _i == 2 ? account_user_set_expire_retrieved(sp, &joe, DAY, &changed)
	               : account_domain_set(
			     sp, "example.test", &(struct account_limits){ .has_quota = true });
	sp->disk = &disk_real;
	ck_assert_int_eq(st, SPOOL_UNKNOWN);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
}
END_TEST

/* Mailbox and mail change together or not at all. */
START_TEST(both_or_neither)
{
	uint64_t changed;

	make_joe();
	set_expire(10 * DAY, false, 0);
	deliver_on(100, 0);
	test_sql(sp, "CREATE TRIGGER fail BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'no'); END");
	ck_assert_int_eq(account_user_set_expire(sp, &joe, 20 * DAY, false, &changed), SPOOL_IO);
	ck_assert_uint_eq(find("user1@example.test").expire_s, 10 * DAY);
	ck_assert_str_eq(days(1, "expires_day"), "111 ");
	test_sql(sp, "DROP TRIGGER fail");
	set_expire(20 * DAY, false, 1);
}
END_TEST

/* --- days ----------------------------------------------------------------- */

static const struct {
	const char *name;
	uint64_t from_s, age_s, day;
} reckoned[] = {
	{ "nothing", 0, 0, 0 },
	{ "a second", 0, 1, 1 },
	{ "midnight", 100 * DAY, DAY, 101 },
	{ "behind midnight", 100 * DAY + 1, DAY, 102 },
	{ "before midnight", 101 * DAY - 1, DAY, 102 },
	{ "no age", 101 * DAY - 1, 0, 101 },
	{ "the last", 0, UINT64_C(4294967294) * DAY, UINT32_MAX - 1 },
	{ "beyond the last", 0, UINT64_C(4294967294) * DAY + 1, UINT32_MAX - 1 },
	{ "beyond all", 1700000000, INT64_MAX, UINT32_MAX - 1 },
};

START_TEST(both_reckon_alike)
{
	char sql[300];

	ck_assert_uint_eq(age_day(reckoned[_i].from_s, reckoned[_i].age_s), reckoned[_i].day);
	snprintf(sql, sizeof(sql), "SELECT " AGE_DAY_SQL("f", "a") " FROM (SELECT %" PRIu64
	    " AS f, %" PRIu64 " AS a)", reckoned[_i].from_s, reckoned[_i].age_s);
	ck_assert_int_eq(test_number(sp, sql), (int64_t)reckoned[_i].day);
	snprintf(sql, sizeof(sql), "SELECT " AGE_DAY_SQL("%" PRIu64, "NULL") " IS NULL",
	    reckoned[_i].from_s);
	ck_assert_int_eq(test_number(sp, sql), 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("limits");
	TCase *tc = tcase_create("limits");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_level, 0, COUNT(levels));
	tcase_add_test(tc, domain_set);
	tcase_add_test(tc, quota);
	tcase_add_test(tc, longer_for_all_shorter_for_later);
	tcase_add_test(tc, now_both_ways);
	tcase_add_test(tc, retrieved);
	tcase_add_test(tc, no_such_mailbox);
	tcase_add_loop_test(tc, failed_sync_is_no_success, 0, 4);
	tcase_add_test(tc, both_or_neither);
	tcase_add_loop_test(tc, both_reckon_alike, 0, COUNT(reckoned));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
