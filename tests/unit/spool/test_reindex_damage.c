/* reindex: what is believed of a segment that is damaged, and of records that somebody sent. */
#include "reindex_test.h"

#include "base/crc32c.h"
#include "spool/extract.h"

/* Damage is passed over, and what is around it stays. */
START_TEST(damage_is_passed_over)
{
	spool_close(&sp);
	flip(ids[2], 60);
	flip(ids[1], 3000);
	run("rm index/index.db*");
	reindex();
	ck_assert_uint_gt(result.unread, 0);
	ck_assert_uint_eq(shown(1), 2);
	ck_assert_int_eq(test_read_back(sp, ids[3], 2), 3);
	/* Of one of which nothing is believed nothing is deleted either. */
	ck_assert_int_eq(spool_upkeep(sp), SPOOL_OK);
	ck_assert_int_ne(access(segment_path(ids[1]), F_OK), 0);
	run("test $(ls damaged | wc -l) = 1");
}
END_TEST

/* Somebody sends a mail with a record in it, for another mailbox, at what is a block of the segment;
 * he knows everything but the segment's random octets. */
static void
forge_at(uint64_t message, uint64_t offset)
{
	uint8_t *buf = malloc(4096);
	uint64_t block = message_block(message) + offset;
	struct record_recipient victim = { .mailbox = 3, .expires_day = RECORD_NEVER,
		.address = "user3@example.test", .written = "user3@example.test" };
	struct record forged = { .block = block, .received_ms = 1, .wire_len = 500, .octets = 497,
		.body = 200 };
	struct segment_id id = { .number = message_segment(message) };
	int fd = open(segment_path(message), O_RDWR);

	memset(buf, 'x', 4096);
	forged.header_len = 400;
	forged.wire_crc = crc32c(0, buf + 400, 500);
	record_header_encode(buf, &id, &forged, "forged@example.org", &victim, 1);
	ck_assert_int_eq(pwrite(fd, buf, 4096, (off_t)(block * 4096)), 4096);
	close(fd);
	free(buf);
}

static uint64_t
extracted(uint64_t message, bool *without_header_r)
{
	struct extract_message m;
	struct extract *x;
	struct strbuf err;
	enum spool_status st;
	uint64_t n = 0;

	strbuf_init(&err, 1024);
	ck_assert_int_eq(extract_open(segment_path(message), &x, &err), SPOOL_OK);
	strbuf_release(&err);
	while ((st = extract_next(x, &m)) == SPOOL_OK)
		n++;
	ck_assert_int_eq(st, SPOOL_NO_MESSAGE);
	*without_header_r = extract_without_header(x);
	extract_close(&x);
	return n;
}

/* What is lost beside the header of the record that the mail is in, so that what is within is looked at
 * block by block. */
static const struct {
	bool header, index;
	unsigned unreadable;
} losses[] = {
	{ false, false, 0 },
	{ false, true, 0 },
	{ true, false, 1 },
	{ true, true, 1 },
};

START_TEST(record_within_a_mail)
{
	bool without;

	spool_close(&sp);
	forge_at(ids[0], 2);
	flip(ids[0], 60);
	if (losses[_i].header)
		destroy_header(ids[0]);
	if (losses[_i].index)
		run("rm index/index.db*");
	/* Where nothing is known of the segment its records vouch for themselves, for one who looks. */
	ck_assert_uint_eq(extracted(ids[0], &without), losses[_i].header);
	ck_assert_int_eq(without, losses[_i].header);
	reindex();
	ck_assert_uint_eq(result.unreadable, losses[_i].unreadable);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 3"), 0);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM mailbox WHERE id = 3"),
	    !losses[_i].index);
	ck_assert_uint_eq(shown(1), 2);
	/* Nor at the next start. */
	spool_close(&sp);
	open_as(SPOOL_SMTPD);
	ck_assert_int_eq(spool_wait_ready(sp), SPOOL_OK);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 3"), 0);
	ck_assert_int_eq(access(losses[_i].header ? segment_path(ids[0]) : path_of("segments"), F_OK), 0);
}
END_TEST

/* A whole message before the one with the other's record in it says what the header was. */
START_TEST(record_within_a_later_mail)
{
	bool without;

	spool_close(&sp);
	forge_at(ids[3], 2);
	flip(ids[3], 60);
	destroy_header(ids[3]);
	run("rm index/index.db*");
	ck_assert_uint_eq(extracted(ids[3], &without), 1);
	ck_assert(!without);
	reindex();
	ck_assert_uint_eq(result.headers, 1);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM entry WHERE mailbox = 3"), 0);
	ck_assert_uint_eq(shown(1), 2);
	ck_assert_int_eq(test_read_back(sp, ids[2], 1), 2);
}
END_TEST

/* The first record says what the header was; or, where that was given back, one that the index knows. */
START_TEST(header_out_of_the_records)
{
	spool_close(&sp);
	if (_i == 2) {
		uint64_t end = message_block(ids[3]);
		int fd = open(segment_path(ids[3]), O_RDWR);

		ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096,
				     (off_t)((end - 1) * 4096)), 0);
		close(fd);
	}
	destroy_header(ids[3]);
	if (_i == 1)
		run("rm index/index.db*");
	reindex();
	ck_assert_uint_eq(result.unreadable, 0);
	ck_assert_uint_eq(result.headers, 1);
	ck_assert_int_eq(test_read_back(sp, ids[3], 2), 3);
	run("test -s damaged/*.header");
	if (_i == 2)
		ck_assert_uint_eq(shown(1), 2);
	else
		assert_all_there();
}
END_TEST

/* Without either, of another segment's file, and where they say different things nothing is believed
 * and nothing is moved. */
START_TEST(segment_without_a_header)
{
	uint64_t message = _i == 2 ? ids[3] : ids[1];
	char command[900];

	spool_close(&sp);
	if (_i == 0) {
		flip(ids[1], 30);
		destroy_header(ids[1]);
	} else if (_i == 2) {
		forge_at(ids[2], 0);
		destroy_header(ids[3]);
	} else {
		snprintf(command, sizeof(command), "cp segments/%" PRIu64 " '%s'",
		    message_segment(ids[0]), segment_path(ids[1]));
		run(command);
	}
	reindex();
	ck_assert_uint_eq(result.unreadable, 1);
	ck_assert_uint_eq(result.headers, 0);
	ck_assert_uint_eq(shown(1), _i == 2 ? 1 : 3);
	ck_assert_uint_eq(shown(2), 1);
	ck_assert_int_eq(access(segment_path(message), F_OK), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("reindex_damage");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("reindex_damage");
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, damage_is_passed_over);
	tcase_add_loop_test(tc, record_within_a_mail, 0, 4);
	tcase_add_test(tc, record_within_a_later_mail);
	tcase_add_loop_test(tc, header_out_of_the_records, 0, 3);
	tcase_add_loop_test(tc, segment_without_a_header, 0, 3);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
