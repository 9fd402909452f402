/* backup_restore: what a spool that is made out of a backup holds, which numbers it gives, and where
 * it may be made. */
#include "backup_test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "spool/account.h"
#include "spool/check.h"
#include "spool/history.h"

#define MINUTE_MS UINT64_C(60000)

START_TEST(what_is_restored_is_what_was)
{
	uint64_t ids[5] = { deliver(0, 500, 1, 1), deliver(1, 9000, 1, 3), deliver(2, 300000, 2, 2),
		deliver(3, 100, 1, 2), deliver(4, 200, 3, 3) };
	unsigned count[5];
	struct backup_result r;
	struct check_result check;
	struct stat st;

	remove_message(3, ids[4]);
	r = back_up();
	ck_assert_uint_eq(r.messages, 4);
	ck_assert_uint_eq(r.damaged, 0);
	ck_assert_int_eq(stat(backup_dir, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(stat(segment_path(backup_dir, ids[0]), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	/* Never one file by two names. */
	ck_assert_uint_eq(st.st_nlink, 1);
	ck_assert_uint_eq(verify_as(SPOOL_OK, "").messages, 4);

	/* What comes or goes afterwards is not in it. */
	deliver(5, 300, 1, 1);
	remove_message(1, ids[0]);
	restore_as(SPOOL_OK, "");
	change_to_other();
	test_invariants(sp);
	/* Also where a segment's last record was gone: a login finds as much of it as it looks for. */
	ck_assert_int_eq(check_spool(sp, &(struct check_options){ .each = note_finding }, &check), SPOOL_OK);
	ck_assert_uint_eq(check.wrong, 0);
	test_count(sp, 1, count, 5);
	ck_assert(count[0] == 1 && count[1] == 1 && count[3] == 1);
	test_count(sp, 2, count, 5);
	ck_assert(count[1] == 1 && count[2] == 1 && count[3] == 1);
	test_count(sp, 3, count, 5);
	ck_assert(count[1] == 1 && count[4] == 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry"), 7);
	/* UIDs stay. */
	for (unsigned i = 0; i < 4; i++) {
		char sql[100];

		snprintf(sql, sizeof(sql), "SELECT 1 FROM entry WHERE message = %" PRIu64, ids[i]);
		ck_assert_int_eq(test_number(sp, sql), 1);
	}
}
END_TEST

START_TEST(no_uid_is_given_twice)
{
	uint64_t now = UINT64_C(1800000000000), id, later, again;

	clock_set(1000, now);
	deliver(0, 500, 1, 1);
	back_up();
	/* The original goes on for a minute, many segments in one millisecond. */
	clock_set(1000, now + MINUTE_MS);
	for (unsigned i = 1; i < 20; i++)
		later = deliver(i, 270000, 1, 1);
	ck_assert_uint_gt(message_segment(later), now + MINUTE_MS);

	clock_set(1000, now - 1);
	restore_as(SPOOL_NOT_READY, "set the clock");
	ck_assert_int_ne(access(other_dir, F_OK), 0);
	clock_set(1000, now + MINUTE_MS);
	restore_as(SPOOL_OK, "");
	change_to_other();
	id = deliver(20, 500, 1, 1);
	again = deliver(21, 270000, 1, 1);
	ck_assert_uint_gt(message_segment(id), message_segment(later));
	ck_assert_uint_gt(message_segment(again), message_segment(later));
}
END_TEST

START_TEST(numbers_ahead_of_the_clock)
{
	uint64_t now = UINT64_C(1800000000000), later, id;

	/* A clock that was once a year ahead. */
	clock_set(1000, now + UINT64_C(365) * 86400 * 1000);
	deliver(0, 500, 1, 1);
	spool_close(&sp);
	clock_set(1000, now);
	sp = spool_test_open(SPOOL_ADMIN);
	back_up();
	later = deliver(1, 300000, 1, 1);
	restore_as(SPOOL_OK, "");
	change_to_other();
	id = deliver(2, 500, 1, 1);
	ck_assert_uint_gt(message_segment(id), message_segment(later));
}
END_TEST

START_TEST(what_is_dead_stays_behind)
{
	uint64_t id = deliver(0, 500, 1, 1), large = deliver(1, 300000, 1, 1);
	struct history_restored restored;
	struct check_result r;
	const struct spool_policy keep = { .keep_deleted_s = 86400, .keep_deleted_max = 1 << 30 };

	deliver(2, 500, 1, 1);
	remove_message(1, id);
	remove_message(1, large);
	/* Deleted and kept comes along. */
	spool_set_policy(sp, &keep);
	remove_message(1, deliver(3, 500, 1, 1));
	ck_assert_int_gt(test_number(sp, "SELECT count(*) FROM garbage"), 1);
	ck_assert_uint_eq(back_up().messages, 2);
	restore_as(SPOOL_OK, "");
	change_to_other();
	findings = 0;
	ck_assert_int_eq(check_run(sp, note_finding, NULL, &r), SPOOL_OK);
	ck_assert_uint_eq(r.wrong, 0);
	ck_assert_uint_eq(r.space.dead, 0);
	/* A UID by number of removals is new in any case. */
	ck_assert_int_ge(test_number(sp, "SELECT removals FROM mailbox WHERE id = 1"), 1 << 20);
	ck_assert_int_eq(history_restore(sp, 1, NULL, 0, true, &restored), SPOOL_OK);
	ck_assert_uint_eq(restored.messages, 1);
	ck_assert_uint_eq(test_copies(sp, 1, 3), 1);
}
END_TEST

START_TEST(only_where_nothing_is)
{
	struct strbuf err;
	char path[400];
	int fd;

	deliver(0, 500, 1, 1);
	back_up();
	ck_assert_int_eq(mkdir(other_dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/letter", other_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	restore_as(SPOOL_EXISTS, "not empty");
	ck_assert_int_eq(unlink(path), 0);

	/* One that did not come to its end is nobody's spool, and gone on with. */
	snprintf(path, sizeof(path), "%s/" SPOOL_RESTORING, other_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	strbuf_init(&err, 1024);
	ck_assert_int_eq(spool_create(other_dir, &err), SPOOL_BUSY);
	ck_assert_ptr_nonnull(strstr(err.buf, "has not come to its end"));
	strbuf_release(&err);
	restore_as(SPOOL_OK, "");
	ck_assert_int_ne(access(path, F_OK), 0);
	restore_as(SPOOL_EXISTS, "not empty");

	/* In use. */
	snprintf(other_dir, sizeof(other_dir), "%s", spool_test_dir);
	struct spool *live = spool_test_open(SPOOL_ADMIN);
	restore_as(SPOOL_BUSY, "in use");
	spool_close(&live);
}
END_TEST

/* The index has its name, and the power failed before the marker was gone: it is a spool, its mail is
 * its own from then on, and no restore goes on with it. */
START_TEST(came_to_its_end_but_for_the_marker)
{
	static const enum spool_role roles[] = { SPOOL_ADMIN, SPOOL_SMTPD, SPOOL_POP3D };
	char path[400];
	int fd;

	deliver(0, 500, 1, 1);
	back_up();
	restore_as(SPOOL_OK, "");
	snprintf(path, sizeof(path), "%s/" SPOOL_RESTORING, other_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	restore_as(SPOOL_EXISTS, "not empty");
	spool_close(&sp);
	snprintf(spool_test_dir, sizeof(spool_test_dir), "%.255s", other_dir);
	sp = spool_test_open(roles[_i]);
	ck_assert_uint_eq(test_copies(sp, 1, 0), 1);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(accounts_come_along)
{
	const struct address joe = spool_test_address("joe@example.test");
	const struct account_policy policy = { .delimiter = '+' };
	struct account_login login;

	ck_assert_int_eq(account_user_add(sp, &joe, "secret", 6, true, NULL, NULL), SPOOL_OK);
	back_up();
	restore_as(SPOOL_OK, "");
	change_to_other();
	ck_assert_int_eq(account_check_password(sp, &policy, "joe@example.test", 16, "secret", 6,
			     &login), SPOOL_OK);
	ck_assert(account_apop_exists(sp));
	ck_assert_int_eq(account_user_set_password(sp, &joe, "other", 5), SPOOL_OK);
	/* The spool is the same one: its backups go on. */
	back_up();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backup_restore");
	TCase *tc = tcase_create("backup_restore");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_restored_is_what_was);
	tcase_add_test(tc, no_uid_is_given_twice);
	tcase_add_test(tc, numbers_ahead_of_the_clock);
	tcase_add_test(tc, what_is_dead_stays_behind);
	tcase_add_test(tc, only_where_nothing_is);
	tcase_add_loop_test(tc, came_to_its_end_but_for_the_marker, 0, 3);
	tcase_add_test(tc, accounts_come_along);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
