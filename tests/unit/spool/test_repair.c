/* check with its records, and what --repair makes of each damage. */
#include "damage_test.h"

#include <stdatomic.h>

#include "common/spool/health.h"

static char *
says(const char *state, const char *address, uint64_t message, const char *what)
{
	static char text[300];
	char uid[SPOOL_UID_LEN + 1] = "-";

	if (message != 0)
		spool_uid_format(uid, message);
	snprintf(text, sizeof(text), "%s %s %s %s", state, address, uid, what);
	return text;
}

#define FINDS(text, ...)                                                                           \
	ck_assert_msg(strstr(text, says(__VA_ARGS__)) != NULL, "%s\nnot in\n%s", says(__VA_ARGS__), text)

START_TEST(nothing_wrong)
{
	assert_right();
	ck_assert_uint_eq(r.records, 4);
	ck_assert_uint_eq(r.messages, 5);
	ck_assert_str_eq(check(true), "");
	assert_right();
}
END_TEST

/* Where an octet of a record may be wrong: magic, lengths, envelope, body, its very end. */
static const uint64_t octets[] = { 0, 60, 97, 110, 3000, 9000 };

START_TEST(damaged_record)
{
	const char *found;

	flip(ids[3], octets[_i]);
	found = check(false);
	FINDS(found, "wrong", "user1@example.test", ids[3], "its record is damaged");
	FINDS(found, "wrong", "user2@example.test", ids[3], "its record is damaged");
	ck_assert_uint_eq(r.wrong, 2);
	/* Looking changes nothing. */
	ck_assert_uint_eq(shown(1), 3);
	ck_assert(!copied(ids[3]));

	found = check(true);
	FINDS(found, "mended", "user1@example.test", ids[3], "its record is damaged");
	ck_assert_uint_eq(r.mended, 2);
	ck_assert_uint_eq(r.wrong, 2);
	ck_assert_uint_eq(r.set_apart, 2);
	ck_assert(copied(ids[3]));
	ck_assert_uint_eq(shown(1), 2);
	ck_assert_uint_eq(shown(2), 1);
	test_invariants(sp);
	ck_assert_int_eq(test_read_back(sp, ids[2], 1), 2);

	/* It is known now. */
	found = check(false);
	FINDS(found, "note", "user1@example.test", ids[3], "is set apart");
	ck_assert_uint_eq(r.wrong, 0);
	ck_assert_uint_eq(r.set_apart, 2);
	/* Upkeep gives nothing of it back. */
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);

	/* Somebody put the file back. */
	flip(ids[3], octets[_i]);
	found = check(false);
	FINDS(found, "wrong", "user2@example.test", ids[3], "is set apart, and is whole again");
	check(true);
	ck_assert_uint_eq(r.mended, 2);
	assert_right();
	ck_assert_uint_eq(shown(1), 3);
	ck_assert_uint_eq(shown(2), 2);
	test_invariants(sp);
}
END_TEST

/* The first message of mailbox 2. */
static void
delete_and_keep(void)
{
	const struct spool_policy policy = { .keep_deleted_s = 3600,
		.keep_deleted_max = UINT64_C(1) << 40 };
	struct maildrop *md;

	spool_set_policy(sp, &policy);
	ck_assert_int_eq(maildrop_lock(sp, 2, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	maildrop_mark(md, 0);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
}

/* What was deleted and is kept comes back as that. */
START_TEST(damaged_while_kept)
{
	delete_and_keep();
	flip(ids[1], 3000);
	check(true);
	ck_assert_uint_eq(r.mended, 1);
	test_invariants(sp);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state = 1"), 0);
	flip(ids[1], 3000);
	check(true);
	test_invariants(sp);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state = 1"), 1);
	assert_right();
}
END_TEST

/* What is kept is counted in blocks, and these were wrong. */
START_TEST(wrong_blocks_of_what_is_kept)
{
	const char *found;

	delete_and_keep();
	test_sql(sp, "UPDATE meta SET value = value + 1 - (SELECT blocks FROM entry WHERE state = 1)"
		     " WHERE key = 'kept_blocks';"
		     "UPDATE entry SET blocks = 1 WHERE state = 1");
	found = check(true);
	FINDS(found, "mended", "user2@example.test", ids[1], "takes 18 blocks and counts 1");
	test_invariants(sp);
	assert_right();
}
END_TEST

/* A mailbox goes with what was set apart in it, and nothing is counted wrongly. */
START_TEST(goes_with_its_mailbox)
{
	struct address address = spool_test_address("user1@example.test");

	flip(ids[3], 3000);
	check(true);
	ck_assert_int_eq(account_user_remove(sp, &address), SPOOL_OK);
	test_invariants(sp);
	check(false);
	ck_assert_uint_eq(r.wrong, 0);
	ck_assert_uint_eq(r.set_apart, 1);
}
END_TEST

/* An administrator ends what is set apart: it is no live mail's removal, and it is remembered. */
START_TEST(removed_by_an_administrator)
{
	const struct spool_policy policy = { .keep_deleted_s = _i == 0 ? 0 : 3600,
		.keep_deleted_max = UINT64_C(1) << 40 };
	char uid[SPOOL_UID_LEN + 1], other[SPOOL_UID_LEN + 1];
	struct maildrop *md;

	spool_set_policy(sp, &policy);
	flip(ids[3], 3000);
	check(true);
	spool_uid_format(uid, ids[3]);
	spool_uid_format(other, ids[2]);
	for (uint64_t i = 1; i <= 2; i++) {
		ck_assert_int_eq(maildrop_lock(sp, i, "test", &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
		/* Only what is set apart is marked so. */
		ck_assert_int_eq(maildrop_mark_apart(md, other), SPOOL_NO_MESSAGE);
		ck_assert_int_eq(maildrop_mark_apart(md, "another"), SPOOL_NO_MESSAGE);
		ck_assert(!maildrop_has_leaving(md));
		ck_assert_int_eq(maildrop_mark_apart(md, uid), SPOOL_OK);
		ck_assert_int_eq(maildrop_mark_apart(md, uid), SPOOL_OK);
		if (i == 2)
			maildrop_mark(md, 0);
		ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
		ck_assert_uint_eq(maildrop_removed(md), i);
		maildrop_close(&md);
		test_invariants(sp);
	}
	ck_assert_uint_eq(shown(1), 2);
	ck_assert_uint_eq(shown(2), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM removal WHERE cause = 2"), 3);
	ck_assert_int_eq(test_number(sp, "SELECT removals FROM mailbox WHERE id = 1"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(DISTINCT number) FROM removal WHERE mailbox = 2"), 2);
	ck_assert_int_eq(test_number(sp, "SELECT used FROM mailbox WHERE id = 2"), 0);
	/* A damaged message is not kept, a whole one is. */
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state <> 0"), _i);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	assert_right();
}
END_TEST

START_TEST(missing_segment)
{
	char command[900];
	const char *found;

	snprintf(command, sizeof(command), "mv '%s' away", segment_path(ids[3]));
	run(command);
	spool_close(&sp);
	open_as(SPOOL_ADMIN);
	found = check(false);
	FINDS(found, "wrong", "user1@example.test", ids[2], "lies in segment ");
	ck_assert_ptr_nonnull(strstr(found, "whose file is gone"));
	ck_assert_uint_eq(r.wrong, 3);
	/* Whoever opens it for clients refuses both mailboxes, and not the third. */
	{
		struct spool *admin = sp;
		struct maildrop *md;

		open_as(SPOOL_POP3D);
		ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
		for (uint64_t i = 1; i <= 3; i++) {
			ck_assert_int_eq(maildrop_lock(sp, i, "test", &md), SPOOL_OK);
			ck_assert_int_eq(maildrop_load(md), i < 3 ? SPOOL_IO : SPOOL_OK);
			maildrop_close(&md);
		}
		/* Repaired meanwhile: it sees what is left, without a restart. */
		ck_assert_ptr_nonnull(admin);
		struct spool *daemon = sp;
		sp = admin;
		check(true);
		ck_assert_uint_eq(r.mended, 3);
		ck_assert_uint_eq(r.wrong, 3);
		sp = daemon;
		ck_assert_uint_eq(shown(1), 1);
		ck_assert_uint_eq(shown(2), 1);
		spool_close(&sp);
		sp = admin;
	}
	test_invariants(sp);
	snprintf(command, sizeof(command), "mv away '%s'", segment_path(ids[3]));
	run(command);
	check(true);
	assert_right();
	ck_assert_uint_eq(shown(1), 3);
}
END_TEST

/* The records say what a destroyed header was: nothing is set apart, in none of these. */
START_TEST(segment_without_a_header)
{
	const char *found;

	destroy_header(ids[3]);
	if (_i == 1)
		flip(ids[2], 60);
	found = check(false);
	FINDS(found, "wrong", "-", 0, "the header of segment ");
	ck_assert_uint_eq(r.wrong, _i == 1 ? 2 : 1);
	{
		struct spool *admin = sp;
		struct maildrop *md;

		open_as(SPOOL_POP3D);
		ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
		health_note_segment(sp, message_segment(ids[3]), "test");
		ck_assert_int_eq(maildrop_lock(sp, 2, "test", &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_IO);
		maildrop_close(&md);
		struct spool *daemon = sp;
		sp = admin;
		check(true);
		ck_assert_uint_eq(r.mended, r.wrong);
		sp = daemon;
		ck_assert_uint_eq(shown(2), 2);
		spool_close(&sp);
		sp = admin;
	}
	spool_close(&sp);
	open_as(SPOOL_ADMIN);
	ck_assert_int_eq(test_read_back(sp, ids[3], 2), 3);
	check(false);
	ck_assert_uint_eq(r.wrong, 0);
	ck_assert_uint_eq(r.set_apart, _i == 1 ? 1 : 0);
	run("test -s damaged/*.header");
}
END_TEST

/* Another segment's file says nothing of this one; all in it is set apart, and comes back with it. */
START_TEST(another_segments_file)
{
	char command[900];

	snprintf(command, sizeof(command), "cp '%s' keep && cp segments/%" PRIu64 " segments/%" PRIu64,
	    segment_path(ids[3]), message_segment(ids[0]), message_segment(ids[3]));
	run(command);
	check(true);
	ck_assert_uint_eq(r.mended, 3);
	ck_assert_uint_eq(r.set_apart, 3);
	run("! test -e damaged/*.header");
	snprintf(command, sizeof(command), "cp keep '%s'", segment_path(ids[3]));
	run(command);
	check(true);
	ck_assert_uint_eq(r.mended, 3);
	assert_right();
}
END_TEST

/* One that the index forgot too comes in by its first record. */
START_TEST(forgotten_without_a_header)
{
	char sql[300];

	snprintf(sql, sizeof(sql),
	    "DELETE FROM entry WHERE message = %" PRIu64 "; DELETE FROM segment WHERE number = %" PRIu64,
	    ids[0], message_segment(ids[0]));
	test_sql(sp, sql);
	destroy_header(ids[0]);
	FINDS(check(false), "wrong", "-", 0, "the header of segment ");
	check(true);
	check(true);
	assert_right();
	ck_assert_int_eq(test_read_back(sp, ids[0], 1), 0);
}
END_TEST

/* What is left of a file that was cut stays readable, and its mailbox is shown again. */
START_TEST(short_segment)
{
	uint64_t end = message_block(ids[3]) + 1;

	ck_assert_uint_lt(message_block(ids[2]), message_block(ids[3]));
	ck_assert_int_eq(truncate(segment_path(ids[3]), (off_t)(end * 4096)), 0);
	FINDS(check(false), "wrong", "user1@example.test", ids[3], "its record is damaged");
	ck_assert_ptr_nonnull(strstr(check(false), "is shorter than what was written to it"));
	check(true);
	ck_assert_uint_eq(r.wrong, 3);
	ck_assert_uint_eq(r.mended, 3);
	spool_close(&sp);
	open_as(SPOOL_POP3D);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_uint_eq(shown(1), 2);
	ck_assert_int_eq(test_read_back(sp, ids[2], 1), 2);
}
END_TEST

/* What sums and counts may be off by. */
static const char *const drifts[] = {
	"UPDATE mailbox SET used = used + 7 WHERE id = 1",
	"UPDATE mailbox SET used = 0, messages = 0 WHERE id = 2",
	"UPDATE mailbox SET messages = 40",
	"DELETE FROM holders",
	"UPDATE holders SET n = 9",
	"INSERT INTO holders SELECT message, 2 FROM entry WHERE mailbox = 1 AND octets < 9000",
	"INSERT INTO holders VALUES (5, 3)",
	"UPDATE segment SET live = live + 3",
	"UPDATE segment SET live = 9 WHERE number = (SELECT max(number) FROM segment)",
	"UPDATE meta SET value = 77 WHERE key = 'kept_blocks'",
	"UPDATE meta SET value = 1 WHERE key = 'newest_segment'",
	"INSERT INTO garbage SELECT message, blocks FROM entry WHERE mailbox = 2 LIMIT 1",
	"INSERT INTO garbage VALUES (4711, 1)",
	"UPDATE entry SET blocks = blocks + 1 WHERE mailbox = 1 AND octets > 60000",
	"UPDATE segment SET mark = mark - 1 WHERE number = (SELECT max(number) FROM segment)",
};

START_TEST(each_drift)
{
	test_sql(sp, drifts[_i]);
	check(false);
	ck_assert_uint_gt(r.wrong, 0);
	ck_assert_uint_eq(r.mended, 0);
	check(true);
	ck_assert_msg(r.mended == r.wrong && r.wrong > 0, "%s", drifts[_i]);
	assert_right();
	test_invariants(sp);
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_eq(test_read_back(sp, ids[0], 1), 0);
	ck_assert_int_eq(test_read_back(sp, ids[3], 2), 3);
}
END_TEST

static atomic_bool wanted;

/* Delivers, removes and gives room back for as long as it is wanted. */
static void *
go_on(void *arg)
{
	(void)arg;
	for (unsigned i = 0; atomic_load(&wanted); i++) {
		struct maildrop *md;

		ck_assert_int_eq(test_deliver(sp, 10 + i % 900, 3000, 3, 3, NULL), SPOOL_OK);
		if (i % 8 != 7)
			continue;
		ck_assert_int_eq(maildrop_lock(sp, 3, "test", &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
		for (size_t k = 0; k < maildrop_count(md); k++)
			maildrop_mark(md, k);
		ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
		maildrop_close(&md);
		ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	}
	return NULL;
}

/* What was removed while its record was read is no finding, and nothing of it is set apart. */
START_TEST(mail_comes_and_goes_meanwhile)
{
	pthread_t thread;

	atomic_store(&wanted, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on, NULL), 0);
	for (unsigned i = 0; i < 150; i++)
		ck_assert_str_eq(check(i % 2 == 1), "");
	atomic_store(&wanted, false);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	assert_right();
}
END_TEST

/* A segment that the index forgot: its mail comes in, as at a start. */
START_TEST(forgotten_segment)
{
	char sql[300];

	snprintf(sql, sizeof(sql),
	    "DELETE FROM entry WHERE message = %" PRIu64 "; DELETE FROM segment WHERE number = %" PRIu64
	    "; UPDATE mailbox SET messages = messages - 1, used = used - (70000 + 0) WHERE id = 1",
	    ids[0], message_segment(ids[0]));
	test_sql(sp, sql);
	check(false);
	ck_assert_uint_gt(r.wrong, 0);
	check(true);
	check(true);
	assert_right();
	ck_assert_uint_eq(shown(1), 3);
	ck_assert_int_eq(test_read_back(sp, ids[0], 1), 0);
}
END_TEST

/* An entry that says another length than its record: RETR would be refused, and nobody can tell which
 * is right. */
START_TEST(another_length)
{
	char sql[300];
	const char *found;

	snprintf(sql, sizeof(sql),
	    "UPDATE entry SET octets = octets + 1 WHERE message = %" PRIu64
	    "; UPDATE mailbox SET used = used + 1 WHERE id = 1", ids[2]);
	test_sql(sp, sql);
	found = check(true);
	FINDS(found, "wrong", "user1@example.test", ids[2], "counts");
	ck_assert_uint_eq(r.wrong, 1);
	ck_assert_uint_eq(r.mended, 0);
	ck_assert_uint_eq(shown(1), 3);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("repair");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("repair");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nothing_wrong);
	tcase_add_loop_test(tc, damaged_record, 0, 6);
	tcase_add_test(tc, damaged_while_kept);
	tcase_add_test(tc, wrong_blocks_of_what_is_kept);
	tcase_add_test(tc, goes_with_its_mailbox);
	tcase_add_loop_test(tc, removed_by_an_administrator, 0, 2);
	tcase_add_test(tc, missing_segment);
	tcase_add_loop_test(tc, segment_without_a_header, 0, 2);
	tcase_add_test(tc, another_segments_file);
	tcase_add_test(tc, forgotten_without_a_header);
	tcase_add_test(tc, short_segment);
	tcase_add_loop_test(tc, each_drift, 0, (int)(sizeof(drifts) / sizeof(*drifts)));
	tcase_add_test(tc, mail_comes_and_goes_meanwhile);
	tcase_add_test(tc, forgotten_segment);
	tcase_add_test(tc, another_length);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
