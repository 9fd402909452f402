/* backup_bring: single messages out of a backup into a live spool. */
#include "backup_test.h"

#include <fcntl.h>

#include "common/spool/lock.h"
#include "spool/account.h"
#include "spool/history.h"

#define DAY UINT64_C(86400)
#define NOW UINT64_C(1800000000000)

static struct backup_result result;

static uint64_t ids[4];

/* Mailbox 1 has messages 0 to 3, 1 shared with mailbox 2; all are in a backup. */
static void
back_up_four(void)
{
	setup();
	for (unsigned i = 0; i < 4; i++) {
		clock_set(1000, NOW - (10 - i) * DAY * 1000);
		ids[i] = deliver(i, i == 2 ? 300000 : 500 + i, 1, i == 1 ? 2 : 1);
	}
	clock_set(1000, NOW);
	back_up();
	findings = 0;
}

/* The messages of `which`, or all. */
static void
bring(const char *address, const uint64_t *which, size_t n, enum spool_status want, const char *says)
{
	const struct address to = spool_test_address(address);
	char uids[4][SPOOL_UID_LEN + 1];
	const char *names[4];
	struct strbuf err;
	enum spool_status st;

	for (size_t i = 0; i < n; i++) {
		spool_uid_format(uids[i], which[i]);
		names[i] = uids[i];
	}
	strbuf_init(&err, 1024);
	st = backup_bring(sp, backup_dir, &to, names, n, watched(), &result, &err);
	ck_assert_msg(st == want, "%d: %s", st, err.buf);
	ck_assert_msg(strstr(err.buf, says) != NULL, "%s", err.buf);
	strbuf_release(&err);
}

static int64_t
number_of(const char *what, uint64_t message)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT %s FROM entry WHERE mailbox = 1 AND uid = '%016" PRIx64 "'",
	    what, message);
	return test_number(sp, sql);
}

START_TEST(it_is_what_it_was)
{
	struct maildrop *md;
	char uid[MAILDROP_UID_MAX + 1], want[SPOOL_UID_LEN + 1];

	remove_message(1, ids[0]);
	remove_message(1, ids[1]);
	remove_message(1, ids[2]);
	bring("user1@example.test", (uint64_t[]){ ids[2], ids[1], ids[2] }, 3, SPOOL_OK, "");
	ck_assert_uint_eq(result.messages, 2);
	/* Octet for octet, at the place in the listing where it stood, under the UID that it had. */
	ck_assert_uint_eq(test_copies(sp, 1, 1), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	ck_assert_int_eq(maildrop_view(sp, 1, &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	ck_assert_uint_eq(maildrop_count(md), 3);
	for (size_t i = 0; i < 3; i++) {
		maildrop_uid(md, i, uid);
		spool_uid_format(want, ids[i + 1]);
		ck_assert_str_eq(uid, want);
	}
	maildrop_close(&md);
	ck_assert_int_eq(number_of("received_ms", ids[2]), (int64_t)(NOW - 8 * DAY * 1000));
	/* Its age began anew with the restore, and no delivery was as late as the last one. */
	ck_assert_int_eq(number_of("expires_day", ids[2]), -1);
	ck_assert_int_eq(test_number(sp, "SELECT last_delivery_s FROM mailbox WHERE id = 1"),
	    (int64_t)((NOW - 7 * DAY * 1000) / 1000));
	/* Survives as it is: the record has it all. */
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	ck_assert_int_ge(number_of("1", ids[1]), 1);
}
END_TEST

START_TEST(its_age_begins_anew)
{
	test_sql(sp, "UPDATE mailbox SET expire_s = 259200");
	remove_message(1, ids[0]);
	bring("user1@example.test", ids, 1, SPOOL_OK, "");
	ck_assert_int_ge(number_of("expires_day", ids[0]), (int64_t)(NOW / 1000 / DAY + 3));
}
END_TEST

START_TEST(what_is_there_is_refused)
{
	struct history_restored restored;
	const struct spool_policy keep = { .keep_deleted_s = 7 * DAY, .keep_deleted_max = 1 << 30 };

	remove_message(1, ids[0]);
	bring("user1@example.test", (uint64_t[]){ ids[0], ids[3] }, 2, SPOOL_EXISTS, "has this UID");
	ck_assert_uint_eq(result.messages, 0);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	bring("user1@example.test", ids, 1, SPOOL_OK, "");
	/* Under its foreign UID it is there as well. */
	bring("user1@example.test", ids, 1, SPOOL_EXISTS, "has this UID");
	/* Deleted and kept: it could come back beside it. */
	spool_set_policy(sp, &keep);
	remove_message(1, ids[3]);
	bring("user1@example.test", &ids[3], 1, SPOOL_EXISTS, "mail restore");
	ck_assert_int_eq(history_restore(sp, 1, NULL, 0, false, &restored), SPOOL_OK);
	ck_assert_uint_eq(restored.messages, 1);
	/* Without names it is passed over. */
	remove_message(2, ids[1]);
	bring("user1@example.test", NULL, 0, SPOOL_OK, "");
	ck_assert_uint_eq(result.messages, 0);
	ck_assert_uint_eq(result.skipped, 4);
}
END_TEST

/* A whole message takes the place of the damaged one that has its UID. */
START_TEST(instead_of_what_is_set_apart)
{
	const struct check_options repair = { .repair = true, .each = note_finding };
	struct check_result checked;
	int fd;

	fd = open(segment_path(spool_test_dir, ids[2]), O_RDWR);
	ck_assert_int_eq(pwrite(fd, "~", 1, 200000), 1);
	close(fd);
	ck_assert_int_eq(check_spool(sp, &repair, &checked), SPOOL_OK);
	ck_assert_uint_eq(checked.set_apart, 1);
	if (_i == 0)
		bring("user1@example.test", &ids[2], 1, SPOOL_OK, "");
	else
		bring("user1@example.test", NULL, 0, SPOOL_OK, "");
	ck_assert_uint_eq(result.messages, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state = 2"), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM removal WHERE cause = 2"), 1);
	ck_assert_int_eq(number_of("state", ids[2]), 0);
	test_invariants(sp);
	ck_assert_int_eq(check_spool(sp, &repair, &checked), SPOOL_OK);
	ck_assert_uint_eq(checked.wrong + checked.set_apart, 0);
}
END_TEST

START_TEST(all_that_it_has_not)
{
	for (unsigned i = 0; i < 3; i++)
		remove_message(1, ids[i]);
	bring("user1@example.test", NULL, 0, SPOOL_OK, "");
	ck_assert_uint_eq(progress_done, 2);
	ck_assert_uint_eq(progress_all, 3);
	ck_assert_uint_eq(result.messages, 3);
	ck_assert_uint_eq(result.skipped, 1);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(test_copies(sp, 1, i), 1);
}
END_TEST

START_TEST(who_and_which)
{
	uint64_t none = ids[3] + 50;
	struct lock_maildrop *lock;

	bring("nobody@example.test", ids, 1, SPOOL_NO_MAILBOX, "nobody@example.test");
	test_sql(sp, "INSERT INTO mailbox (domain, local, folded, created_s)"
		     " VALUES (1, 'late', 'late', 0)");
	bring("late@example.test", ids, 1, SPOOL_NO_MAILBOX, "the backup has no such mailbox");
	remove_message(1, ids[0]);
	bring("user1@example.test", (uint64_t[]){ ids[0], none }, 2, SPOOL_NO_MESSAGE,
	    "the backup has no such message");
	ck_assert_uint_eq(test_copies(sp, 1, 0), 0);
	/* Another's is not his. */
	bring("user2@example.test", ids, 1, SPOOL_NO_MESSAGE, "the backup has no such message");
	ck_assert_int_eq(lock_maildrop(&sp->locks, 1, "test", &lock), SPOOL_OK);
	bring("user1@example.test", ids, 1, SPOOL_BUSY, "in use");
	lock_maildrop_release(&sp->locks, &lock);
}
END_TEST

START_TEST(quota_holds)
{
	char sql[100];
	int64_t used;

	for (unsigned i = 0; i < 3; i++)
		remove_message(1, ids[i]);
	used = test_number(sp, "SELECT used FROM mailbox WHERE id = 1");
	/* To the octet. */
	snprintf(sql, sizeof(sql), "UPDATE mailbox SET quota = %lld WHERE id = 1",
	    (long long)(used + test_number(sp, "SELECT octets FROM entry WHERE mailbox = 2") - 1));
	test_sql(sp, sql);
	bring("user1@example.test", &ids[1], 1, SPOOL_OVER_QUOTA, "full");
	ck_assert_uint_eq(result.messages, 0);
	test_sql(sp, "UPDATE mailbox SET quota = quota + 1 WHERE id = 1");
	bring("user1@example.test", &ids[1], 1, SPOOL_OK, "");
	bring("user1@example.test", NULL, 0, SPOOL_OVER_QUOTA, "full");
	ck_assert_int_eq(test_number(sp, "SELECT used = quota FROM mailbox WHERE id = 1"), 1);
}
END_TEST

START_TEST(damaged_ones_are_left_out)
{
	int fd;

	for (unsigned i = 0; i < 3; i++)
		remove_message(1, ids[i]);
	fd = open(segment_path(backup_dir, ids[2]), O_RDWR);
	ck_assert_int_eq(pwrite(fd, "~", 1, 200000), 1);
	close(fd);
	bring("user1@example.test", NULL, 0, SPOOL_OK, "");
	ck_assert_uint_eq(result.messages, 2);
	ck_assert_uint_eq(result.damaged, 1);
	ck_assert_uint_eq(findings, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 2), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backup_bring");
	TCase *tc = tcase_create("backup_bring");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, back_up_four, teardown);
	tcase_add_test(tc, it_is_what_it_was);
	tcase_add_test(tc, its_age_begins_anew);
	tcase_add_test(tc, what_is_there_is_refused);
	tcase_add_loop_test(tc, instead_of_what_is_set_apart, 0, 2);
	tcase_add_test(tc, all_that_it_has_not);
	tcase_add_test(tc, who_and_which);
	tcase_add_test(tc, quota_holds);
	tcase_add_test(tc, damaged_ones_are_left_out);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
