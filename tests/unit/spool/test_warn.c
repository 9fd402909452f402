/* warn: who is warned of how full a mailbox is, how often, and what it says. */
#include "warn_test.h"

#include "spool/maildrop.h"

/* --- one mailbox, up and down ---------------------------------------------- */

#define STEPS 5

static const struct {
	const char *name;
	const char *percents;
	struct {
		unsigned use; /* thousandths of the quota; 0: the end */
		int warnings; /* in all */
		int warned;
	} steps[STEPS];
} ways[] = {
	{ "up to a share", "\x50\x5f", { { 799, 0, 0 }, { 800, 1, 80 } } },
	{ "told once", "\x50\x5f", { { 800, 1, 80 }, { 850, 1, 80 }, { 949, 1, 80 } } },
	{ "from share to share", "\x50\x5f", { { 800, 1, 80 }, { 950, 2, 95 }, { 990, 2, 95 } } },
	{ "two at once are one message", "\x50\x5f", { { 700, 0, 0 }, { 960, 1, 95 } } },
	{ "nine points down and up", "\x50\x5f", { { 800, 1, 80 }, { 710, 1, 80 }, { 800, 1, 80 } } },
	{ "ten points down and up", "\x50\x5f", { { 800, 1, 80 }, { 700, 1, 80 }, { 800, 1, 80 } } },
	{ "eleven points down and up", "\x50\x5f",
	    { { 800, 1, 80 }, { 690, 1, 0 }, { 799, 1, 0 }, { 800, 2, 80 } } },
	{ "ten points and a little", "\x50\x5f", { { 800, 1, 80 }, { 699, 1, 0 }, { 800, 2, 80 } } },
	{ "below the upper share alone", "\x50\x5f",
	    { { 950, 1, 95 }, { 840, 1, 80 }, { 900, 1, 80 }, { 950, 2, 95 } } },
	{ "not so far below the upper one", "\x50\x5f",
	    { { 950, 1, 95 }, { 855, 1, 95 }, { 950, 1, 95 } } },
	{ "between lower share and its ten points", "\x50\x5f",
	    { { 950, 1, 95 }, { 710, 1, 80 }, { 800, 1, 80 }, { 950, 2, 95 } } },
	{ "below both", "\x50\x5f", { { 950, 1, 95 }, { 690, 1, 0 }, { 800, 2, 80 }, { 950, 3, 95 } } },
	{ "lowered to less than is there", "\x50\x5f", { { 1500, 0, 95 }, { 500, 0, 0 } } },
	{ "full to the last octet", "\x50\x5f", { { 1000, 0, 95 }, { 960, 0, 95 } } },
	{ "all of it as a share", "\x64", { { 999, 0, 0 }, { 1000, 0, 100 }, { 899, 0, 0 } } },
	{ "small shares", "\x01\x0a", { { 10, 1, 1 }, { 100, 2, 10 }, { 1, 2, 10 }, { 200, 2, 10 } } },
	{ "eight shares", "\x0b\x16\x21\x2c\x37\x42\x4d\x58",
	    { { 110, 1, 11 }, { 560, 2, 55 }, { 890, 3, 88 }, { 100, 3, 11 }, { 9, 3, 0 } } },
	{ "no shares", "", { { 500, 0, 0 }, { 990, 0, 0 } } },
};

START_TEST(a_mailbox_goes_up_and_down)
{
	struct spool *sp = open_filled(1);

	set_shares(sp, ways[_i].percents);
	for (int i = 0; i < STEPS && ways[_i].steps[i].use > 0; i++) {
		set_use(sp, 1, ways[_i].steps[i].use);
		/* Again and again: nothing more comes of it. */
		for (int again = 0; again < 2; again++) {
			round_of(sp);
			ck_assert_msg(warnings_of(sp, 1) == ways[_i].steps[i].warnings,
			    "%s, step %d: %d warnings", ways[_i].name, i,
			    (int)warnings_of(sp, 1));
			ck_assert_msg(number_of(sp, "warned", 1) == ways[_i].steps[i].warned,
			    "%s, step %d: warned is %d", ways[_i].name, i,
			    (int)number_of(sp, "warned", 1));
		}
	}
	spool_close(&sp);
}
END_TEST

/* Use rises by mail and falls by UPDATE, not by sleight of hand. */
START_TEST(deliveries_and_removals)
{
	struct spool *sp = spool_test_open(SPOOL_ADMIN);
	struct maildrop *md;

	test_mailboxes(sp, 1);
	ck_assert_int_eq(spool_set_warning(sp, &usual), SPOOL_OK);
	test_sql(sp, "UPDATE mailbox SET quota = 1000000");
	for (unsigned i = 1; i <= 8; i++) {
		ck_assert_int_eq(warnings_of(sp, 1), 0);
		ck_assert_int_eq(test_deliver(sp, i, 100000, 1, 1, NULL), SPOOL_OK);
		round_of(sp);
	}
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	/* The warning is counted like any other mail. */
	ck_assert_int_gt(number_of(sp, "used", 1), 800000 + 500);

	ck_assert_int_eq(maildrop_lock(sp, 1, "test", &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	maildrop_mark(md, 0);
	maildrop_mark(md, 1);
	ck_assert_int_eq(maildrop_update(md), SPOOL_OK);
	maildrop_close(&md);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	ck_assert_int_eq(test_deliver(sp, 11, 100000, 1, 1, NULL), SPOOL_OK);
	ck_assert_int_eq(test_deliver(sp, 12, 100000, 1, 1, NULL), SPOOL_OK);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	spool_close(&sp);
}
END_TEST

/* --- mailboxes of several kinds --------------------------------------------- */

START_TEST(without_a_quota_there_is_no_share)
{
	struct spool *sp = open_filled(2);

	set_use(sp, 1, 900);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 80);
	ck_assert_int_eq(number_of(sp, "warned", 2), 0);
	/* The limit is taken away, and comes back. */
	test_sql(sp, "UPDATE mailbox SET quota = NULL");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	set_use(sp, 1, 900);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	spool_close(&sp);
}
END_TEST

START_TEST(who_is_disabled_gets_none)
{
	struct spool *sp = open_filled(1);

	test_sql(sp, "UPDATE mailbox SET enabled = 0");
	set_use(sp, 1, 900);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 0);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	test_sql(sp, "UPDATE mailbox SET enabled = 1");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	/* What it was told is forgotten all the same. */
	test_sql(sp, "UPDATE mailbox SET enabled = 0");
	set_use(sp, 1, 500);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	spool_close(&sp);
}
END_TEST

/* Of a share that use cannot fall ten points below. */
START_TEST(small_shares_are_told_again_once_it_was_empty)
{
	struct spool *sp = open_filled(1);

	set_shares(sp, "\x05");
	set_use(sp, 1, 60);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	set_use(sp, 1, 1);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 5);
	/* Nor is there a share where there is no quota. */
	test_sql(sp, "UPDATE mailbox SET quota = NULL");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);

	set_use(sp, 1, 60);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 5);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	test_sql(sp, "DELETE FROM entry; UPDATE mailbox SET used = 0, messages = 0;"
		     " UPDATE segment SET live = 0");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	spool_close(&sp);
}
END_TEST

/* The largest quotas that there can be, and the smallest. */
START_TEST(quotas_of_any_size)
{
	struct spool *sp = open_filled(1);

	test_sql(sp, "UPDATE mailbox SET quota = 9223372036854775807");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	/* 80 times this is a little more than 64 bits hold. */
	test_sql(sp, "UPDATE mailbox SET quota = 230584300921369396, warned = 80");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	test_sql(sp, "UPDATE mailbox SET quota = 230584300921369396, warned = 1");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 1);
	/* The last octet below a share, and the share. */
	test_sql(sp, "UPDATE mailbox SET quota = used * 5 / 4 + 1");
	ck_assert_int_ne(number_of(sp, "quota", 1) % 100, 0);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 1);
	test_sql(sp, "UPDATE mailbox SET quota = used * 5 / 4, warned = 0");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 80);
	test_sql(sp, "UPDATE mailbox SET quota = used * 5 / 4 + 1, warned = 0");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 0);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	test_sql(sp, "UPDATE mailbox SET quota = 1");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 95);
	test_sql(sp, "UPDATE mailbox SET quota = 0");
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 95);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	spool_close(&sp);
}
END_TEST

/* More than are dealt with at once, between others who are due nothing; those that were told
 * before come first. */
START_TEST(many_at_once)
{
	struct spool *sp = open_filled(400);

	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9, warned = 80 WHERE id <= 150");
	test_sql(sp, "UPDATE mailbox SET quota = used * 10 / 9 WHERE id > 150 AND id % 3 <> 0");
	test_sql(sp, "UPDATE mailbox SET quota = used * 2 WHERE id > 150 AND id % 3 = 0");
	round_of(sp);
	for (unsigned i = 1; i <= 400; i++) {
		ck_assert_int_eq(warnings_of(sp, i), i > 150 && i % 3 != 0);
		ck_assert_int_eq(number_of(sp, "warned", i), i <= 150 || i % 3 != 0 ? 80 : 0);
	}
	/* Down again, all of them. */
	test_sql(sp, "UPDATE mailbox SET quota = used * 2");
	round_of(sp);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM mailbox WHERE warned > 0"), 0);
	spool_close(&sp);
}
END_TEST

/* --- other settings --------------------------------------------------------- */

START_TEST(other_shares_from_now_on)
{
	struct spool *sp = open_filled(1);

	set_use(sp, 1, 850);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	/* Sees the warning itself. */
	round_of(sp);
	/* One that is crossed already, though nothing else changed. */
	set_shares(sp, "\x32\x55");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	ck_assert_int_eq(number_of(sp, "warned", 1), 85);
	/* None that is crossed: it was told more. */
	set_shares(sp, "\x32\x5a");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	ck_assert_int_eq(number_of(sp, "warned", 1), 85);
	/* Ten points below what it was told, not below what is told now. */
	set_use(sp, 1, 740);
	round_of(sp);
	ck_assert_int_eq(number_of(sp, "warned", 1), 50);
	set_use(sp, 1, 890);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 2);
	set_use(sp, 1, 900);
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 3);
	spool_close(&sp);
}
END_TEST

/* The newest message of mailbox 1, its header and text as stored; free(3). */
static char *
newest_text(struct spool *sp)
{
	struct segment_file *f;
	struct record r;
	char *text;
	uint64_t message = (uint64_t)test_number(
	    sp, "SELECT message FROM entry WHERE mailbox = 1 ORDER BY message DESC LIMIT 1");

	ck_assert_int_eq(segment_find(sp, message, true, &f, &r), SPOOL_OK);
	text = calloc(1, r.wire_len + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(pread(f->fd, text, r.wire_len,
			     (off_t)(r.block * RECORD_BLOCK + r.header_len)), (ssize_t)r.wire_len);
	segment_put(sp, &f);
	return text;
}

START_TEST(what_it_says)
{
	static const char template[] = "Subject: {percent}|{messages}|{hostname}\n\n"
				       "{address} {used} {quota} {postmaster}\n.\n";
	struct spool_warning w = usual;
	struct spool *sp = open_filled(1);
	char *text, own[sizeof(template)];

	strcpy(own, template);
	w.template = own;
	w.postmaster = "boss@example.test";
	ck_assert_int_eq(spool_set_warning(sp, &w), SPOOL_OK);
	/* It was copied. */
	memset(own, 'x', sizeof(own) - 1);
	set_use(sp, 1, 812);
	round_of(sp);
	text = newest_text(sp);
	ck_assert_msg(strncmp(text, "Received: by mail.example.test\r\n", 32) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "\r\nSubject: 81|1|mail.example.test\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\nTo: <user1@example.test>\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\nMessage-ID: <warning.1."));
	ck_assert_ptr_nonnull(strstr(text, "\r\nAuto-Submitted: auto-generated\r\n"));
	ck_assert_ptr_nonnull(
	    strstr(text, "\r\n\r\nuser1@example.test 1.91M 2.35M boss@example.test\r\n..\r\n.\r\n"));
	free(text);
	/* And the built-in text. */
	ck_assert_int_eq(spool_set_warning(sp, &usual), SPOOL_OK);
	set_use(sp, 1, 960);
	round_of(sp);
	text = newest_text(sp);
	ck_assert_ptr_nonnull(strstr(text, "\r\nSubject: Your mailbox is 96% full\r\n"));
	ck_assert_ptr_nonnull(strstr(text, " <postmaster@mail.example.test>\r\n"));
	free(text);
	spool_close(&sp);
}
END_TEST

/* It needs some 1,100 octets. */
START_TEST(it_fits_or_it_is_not_sent)
{
	struct spool *sp = open_filled(1);

	test_sql(sp, "UPDATE mailbox SET quota = used + 400");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 0);
	ck_assert_int_eq(number_of(sp, "warned", 1), 95);
	test_sql(sp, "UPDATE mailbox SET quota = used * 2");
	round_of(sp);
	test_sql(sp, "UPDATE mailbox SET quota = used + 2000");
	round_of(sp);
	ck_assert_int_eq(warnings_of(sp, 1), 1);
	ck_assert_int_le(number_of(sp, "used", 1), number_of(sp, "quota", 1));
	spool_close(&sp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("warn");
	TCase *tc = tcase_create("warn");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, spool_test_make, spool_test_remove);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, a_mailbox_goes_up_and_down, 0, COUNT(ways));
	tcase_add_test(tc, deliveries_and_removals);
	tcase_add_test(tc, without_a_quota_there_is_no_share);
	tcase_add_test(tc, who_is_disabled_gets_none);
	tcase_add_test(tc, small_shares_are_told_again_once_it_was_empty);
	tcase_add_test(tc, quotas_of_any_size);
	tcase_add_test(tc, many_at_once);
	tcase_add_test(tc, other_shares_from_now_on);
	tcase_add_test(tc, what_it_says);
	tcase_add_test(tc, it_fits_or_it_is_not_sent);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
