/* check: a store that is as it should be, and each way in which it can drift. */
#include "check_test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "spool/history.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* --- as it should be ------------------------------------------------------ */

/* A message of a mailbox at random, or 0. */
static uint64_t
any_message(uint64_t mailbox, int state)
{
	char sql[200];
	int64_t n;

	snprintf(sql, sizeof(sql), "SELECT message FROM entry WHERE mailbox = %" PRIu64
	    " AND state = %d ORDER BY random() LIMIT 1", mailbox, state);
	n = test_number(sp, sql);
	return n > 0 ? (uint64_t)n : 0;
}

START_TEST(any_mix_is_right)
{
	struct history_restored restored;
	unsigned random = 12345u + (unsigned)_i;
	struct address address;
	uint64_t mailbox, id;
	char text[64];

	assert_right();
	for (unsigned i = 0; i < 400; i++) {
		random = random * 1103515245 + 12345;
		mailbox = 1 + random / 65536 % 5;
		random = random * 1103515245 + 12345;
		switch (random / 65536 % 12) {
		case 0: case 1: case 2:
			deliver(i, 200 + random % 20000, mailbox, mailbox);
			break;
		case 3: case 4:
			deliver(i, 200 + random % 5000, 1, mailbox);
			break;
		case 5:
			if (random % 3 == 0)
				deliver(i, 300000, mailbox, 5);
			break;
		case 6: case 7:
			keep(random % 2 == 0 ? 0 : 3600);
			if ((id = any_message(mailbox, 0)) != 0)
				remove_one(mailbox, id, false);
			break;
		case 8:
			if ((id = any_message(mailbox, 1)) != 0)
				remove_one(mailbox, id, true);
			break;
		case 9:
			ck_assert_int_eq(history_restore(sp, mailbox, NULL, 0, random % 2 == 0,
			    &restored), SPOOL_OK);
			break;
		case 10:
			ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
			break;
		case 11:
			if (random % 4 == 0) {
				spool_close(&sp);
				open_spool();
			}
			break;
		}
		if (i % 20 == 0)
			assert_right();
	}
	/* With its mailbox all of its mail goes, what is kept too. */
	snprintf(text, sizeof(text), "user%u@example.test", 1 + random % 5);
	address = spool_test_address(text);
	ck_assert_int_eq(account_user_remove(sp, &address), SPOOL_OK);
	assert_right();
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	assert_right();
}
END_TEST

/* Delivers, removes and gives room back for as long as it is wanted. */
static void *
go_on(void *arg)
{
	atomic_bool *wanted = arg;
	uint64_t ids[8] = { 0 };

	for (unsigned i = 0; atomic_load(wanted); i++) {
		uint64_t *id = &ids[i % 8];

		if (*id != 0)
			remove_one(1, *id, false);
		if (*id != 0 && i % 3 == 0)
			remove_one(2, *id, false);
		*id = deliver(i, i % 16 == 5 ? 300000 : 3000, 1, 2);
		if (i % 8 == 0)
			ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	}
	return NULL;
}

START_TEST(mail_comes_and_goes_meanwhile)
{
	atomic_bool wanted = true;
	struct check_result r;
	pthread_t thread;
	char *found;

	keep(0);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on, &wanted), 0);
	for (unsigned i = 0; i < 100; i++) {
		found = check(&r);
		ck_assert_str_eq(found, "");
		free(found);
		usleep(2000);
	}
	atomic_store(&wanted, false);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	assert_right();
	ck_assert_uint_gt(r.messages, 0);
}
END_TEST

/* --- as it should not be -------------------------------------------------- */

/* Of the messages below: 1 is in mailbox 1, 2 in 1 to 3, 3 is kept in 2, 4 is garbage. */
#define ONE "(SELECT message FROM entry WHERE octets BETWEEN 1000 AND 1999)"
#define TWO "(SELECT message FROM entry WHERE octets BETWEEN 2000 AND 2999 LIMIT 1)"
#define THREE "(SELECT message FROM entry WHERE octets BETWEEN 3000 AND 3999)"

static const struct {
	const char *name, *sql;
	const char *who;        /* the mailbox; "-" */
	bool message;           /* named */
	const char *says;
	unsigned findings;
} drifts[] = {
	{ "octets too many", "UPDATE mailbox SET used = used + 1 WHERE id = 1",
	    "user1@example.test", false, "octets and holds", 1 },
	{ "octets below nothing", "UPDATE mailbox SET used = -5 WHERE id = 5", "user5@example.test",
	    false, "counts -5 octets and holds 0", 1 },
	{ "messages too few", "UPDATE mailbox SET messages = messages - 1 WHERE id = 2",
	    "user2@example.test", false, "counts 0 messages and holds 1", 1 },
	{ "kept mail counted", "UPDATE mailbox SET messages = messages + 1, used = used +"
	    " (SELECT octets FROM entry WHERE state = 1) WHERE id = 2", "user2@example.test", false,
	    "messages and holds", 2 },
	{ "no such mailbox", "UPDATE entry SET mailbox = 77 WHERE message = " ONE "",
	    "-", true, "mailbox 77, which is not there", 3 },
	{ "unknown state", "UPDATE entry SET state = 7, removed_s = 1 WHERE message = " ONE,
	    "user1@example.test", true, "has the state 7", 4 },
	{ "kept without a time", "UPDATE entry SET removed_s = NULL WHERE state = 1",
	    "user2@example.test", true, "not known since when", 1 },
	{ "no blocks", "UPDATE entry SET blocks = 0 WHERE message = " ONE, "user1@example.test",
	    true, "takes 0 blocks", 1 },
	{ "blocks differ", "UPDATE entry SET blocks = blocks + 1 WHERE mailbox = 3",
	    "user3@example.test", true, "takes 2 blocks here and 1 elsewhere", 1 },
	{ "holders too many", "UPDATE holders SET n = 4", "-", true,
	    "counts 4 mailboxes that hold it, and 3 do", 1 },
	{ "holders missing", "DELETE FROM holders", "-", true,
	    "counts 1 mailboxes that hold it, and 3 do", 1 },
	{ "holders of one", "INSERT INTO holders VALUES (" ONE ", 1)", "-", true,
	    "counts 1 mailboxes that hold it, and 1 do", 1 },
	{ "holders of none", "INSERT INTO holders VALUES (4711, 2)", "-", true,
	    "counts 2 mailboxes that hold it, and none does", 1 },
	{ "holders of none, last", "INSERT INTO holders VALUES (9223372036854775807, 2)", "-", true,
	    "and none does", 1 },
	{ "holders of garbage", "INSERT INTO holders SELECT message, 2 FROM garbage", "-", true,
	    "and none does", 1 },
	{ "live too many", "UPDATE segment SET live = live + 1", "-", false,
	    "counts 4 messages and has 3", 1 },
	{ "live too few", "UPDATE segment SET live = 0", "-", false, "counts 0 messages and has 3",
	    1 },
	{ "unknown segment state", "UPDATE segment SET state = 3", "-", false, "has the state 3",
	    1 },
	{ "dead segment", "UPDATE segment SET state = 2", "user1@example.test", true,
	    "marked dead", 5 },
	{ "unknown segment", "DELETE FROM segment", "user1@example.test", true,
	    "which the index does not know", 7 },
	{ "mark too low", "UPDATE segment SET mark = 2", "user1@example.test", true,
	    "which is indexed up to 2", 4 },
	{ "beyond the file", "UPDATE entry SET blocks = 1000 WHERE message = " THREE ";"
	    "UPDATE meta SET value = 1000 WHERE key = 'kept_blocks'", "user2@example.test", true,
	    "whose file is shorter", 2 },
	{ "kept blocks", "UPDATE meta SET value = value - 2 WHERE key = 'kept_blocks'", "-", false,
	    "-1 blocks are counted as kept and 1 are", 1 },
	{ "newest segment", "UPDATE meta SET value = 5 WHERE key = 'newest_segment'", "-", false,
	    "above 5, the newest number", 1 },
	{ "garbage that lives", "INSERT INTO garbage VALUES (" TWO ", 1)", "user1@example.test",
	    true, "is garbage too", 1 },
	{ "garbage over mail", "UPDATE garbage SET message = " ONE " - 1, blocks = 2", "user1@example"
	    ".test", true, "begins before the one ahead of it ends", 1 },
	{ "garbage nowhere", "INSERT INTO garbage VALUES (4711 << 21, 1)", "-", true,
	    "garbage in segment 4711, which is not there", 1 },
	{ "segment without a file", "INSERT INTO segment VALUES (4711, 1, 1, 0)", "-", false,
	    "segment 4711 has no file", 1 },
};

static void
make_some(void)
{
	deliver(1, 1200, 1, 1);
	deliver(2, 2200, 1, 3);
	uint64_t three = deliver(3, 3200, 2, 2), four = deliver(4, 4200, 4, 4);

	remove_one(2, three, false);
	keep(0);
	remove_one(4, four, false);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM segment"), 1);
}

START_TEST(each_drift)
{
	struct check_result r;
	char *found, who[100];
	bool named = false;

	make_some();
	assert_right();
	test_sql(sp, drifts[_i].sql);
	found = check(&r);
	ck_assert_msg(strstr(found, drifts[_i].says) != NULL, "%s: %s", drifts[_i].name, found);
	ck_assert_msg(r.wrong == drifts[_i].findings, "%s: %s", drifts[_i].name, found);
	/* Some line says it of whom it is about. */
	snprintf(who, sizeof(who), "%s ", drifts[_i].who);
	for (char *line = strtok(found, "\n"); line != NULL; line = strtok(NULL, "\n"))
		if (strncmp(line, who, strlen(who)) == 0 && strstr(line, drifts[_i].says) != NULL)
			named = (line[strlen(who)] != '-') == drifts[_i].message;
	ck_assert_msg(named, "%s", drifts[_i].name);
	free(found);
}
END_TEST

static void
segment_path(char path[400], const char *number)
{
	snprintf(path, 400, "%s/segments/%s", spool_test_dir, number);
}

/* The only segment there is. */
static void
only_segment(char path[400])
{
	char number[32];

	snprintf(number, sizeof(number), "%" PRId64,
	    test_number(sp, "SELECT number FROM segment"));
	segment_path(path, number);
}

START_TEST(files_that_are_wrong)
{
	char path[400], other[400];
	struct check_result r;
	char *found;
	int fd;

	make_some();
	only_segment(path);
	/* Without the last record of those that are held. */
	ck_assert_int_eq(truncate(path, 3 * 4096), 0);
	found = check(&r);
	ck_assert_uint_eq(r.wrong, 1);
	ck_assert_ptr_nonnull(strstr(found, "whose file is shorter"));
	ck_assert_ptr_nonnull(strstr(found, "user2@example.test "));
	free(found);
	ck_assert_int_eq(unlink(path), 0);
	found = check(&r);
	/* The message in three mailboxes is lost in each. */
	ck_assert_uint_eq(r.wrong, 5);
	ck_assert_ptr_nonnull(strstr(found, "whose file is gone"));
	ck_assert_ptr_nonnull(strstr(found, "user3@example.test "));
	free(found);
	/* A file that the index does not know; one of a number yet to come may be being made. */
	segment_path(other, "4711");
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	close(fd);
	segment_path(other, "4398046511000");
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	close(fd);
	found = check(&r);
	ck_assert_uint_eq(r.wrong, 6);
	ck_assert_ptr_nonnull(strstr(found, "- - segments/4711 is not in the index"));
	free(found);
}
END_TEST

/* What lies behind the mark of a closed segment: it was taken for closed while its writer lived. */
START_TEST(mail_behind_the_mark)
{
	struct strbuf text;
	const struct check_options options = { .repair = true, .each = write_finding, .arg = &text };
	struct check_result r;
	char *found;

	make_some();
	deliver(5, 5200, 5, 5);
	spool_close(&sp);
	open_spool();
	assert_right();
	test_sql(sp, "UPDATE segment SET live = live - 1, mark ="
	    " (SELECT message & 2097151 FROM entry WHERE mailbox = 5);"
	    "DELETE FROM entry WHERE mailbox = 5;"
	    "UPDATE mailbox SET used = 0, messages = 0 WHERE id = 5");
	found = check(&r);
	ck_assert_uint_eq(r.wrong, 1);
	ck_assert_ptr_nonnull(strstr(found, "it is in no mailbox"));
	free(found);
	strbuf_init(&text, 1 << 20);
	ck_assert_int_eq(check_spool(sp, &options, &r), SPOOL_OK);
	strbuf_release(&text);
	ck_assert_uint_eq(r.wrong, 1);
	ck_assert_uint_eq(r.mended, 1);
	assert_right();
	ck_assert_int_eq(test_number(sp, "SELECT messages FROM mailbox WHERE id = 5"), 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE state = 0"), 5);
}
END_TEST

/* By the UID that is shown. */
START_TEST(named_by_uid)
{
	struct check_result r;
	char *found;

	make_some();
	test_sql(sp, "UPDATE entry SET uid = 'elsewhere' WHERE message = " ONE ";"
	    "UPDATE segment SET mark = 1");
	found = check(&r);
	ck_assert_ptr_nonnull(strstr(found, "user1@example.test elsewhere ends at block"));
	free(found);
}
END_TEST

/* Upkeep of another process ends before files are looked at. */
START_TEST(waits_for_upkeep)
{
	uint64_t began;
	pid_t child;
	int status;

	make_some();
	child = take_elsewhere(LOCK_JANITOR, false, 300);
	began = clock_mono_ms();
	assert_right();
	ck_assert_uint_ge(clock_mono_ms() - began, 250);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	/* And gave the role back. */
	ck_assert_int_eq(lock_role_try(&sp->locks, LOCK_JANITOR, false), 0);
	ck_assert_int_eq(lock_role_release(&sp->locks, LOCK_JANITOR), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("check");
	TCase *tc = tcase_create("check");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, any_mix_is_right, 0, 3);
	tcase_add_test(tc, mail_comes_and_goes_meanwhile);
	tcase_add_loop_test(tc, each_drift, 0, COUNT(drifts));
	tcase_add_test(tc, files_that_are_wrong);
	tcase_add_test(tc, mail_behind_the_mark);
	tcase_add_test(tc, named_by_uid);
	tcase_add_test(tc, waits_for_upkeep);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
