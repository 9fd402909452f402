/*
 * conn: octets to and from a session, in order, whole, and no more of them in memory
 * than there must be.
 */
#include <linux/tcp.h>
#include <sys/ioctl.h>

#include "toy.h"

#define WIRES 2

/* --- lines ----------------------------------------------------------------- */

START_TEST(greets_answers_and_parts)
{
	toy_connect((enum toy_wire)_i, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say("ECHO one\r\n");
	toy_hear("one\r\n");
	toy_say("QUIT\r\n");
	toy_hear("bye\r\n");
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_SELF);
	ck_assert_str_eq(toy.seen, "ECHO one;QUIT;");
}
END_TEST

static const char dialogue[] = "ECHO one\r\nHOLD two\r\nECHO three\r\nNOW four\r\nACKED five\r\n"
			       "ECHO six\r\n";

static void
hold_once(void)
{
	const uint64_t end = toy_real_ms() + TOY_PATIENCE_MS;

	while (toy.doing != TOY_HOLD) {
		ck_assert_uint_lt(toy_real_ms(), end);
		ck_assert_int_eq(loop_turn(toy_loop, 1), 0);
	}
	toy_release();
}

START_TEST(split_anywhere_it_is_the_same)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say_octets(dialogue, (size_t)_i);
	(void)toy_run(1);
	toy_say(dialogue + _i);
	hold_once();
	toy_hear("hello\r\none\r\ntwo\r\nthree\r\nfour\r\nfive\r\nsix\r\n");
	ck_assert_str_eq(toy.seen, "ECHO one;HOLD two;ECHO three;NOW four;ACKED five;ECHO six;");
}
END_TEST

START_TEST(octet_by_octet_it_is_the_same)
{
	const char *p;

	toy_connect((enum toy_wire)_i, 0, NULL, false);
	for (p = dialogue; *p != '\0'; p++)
		toy_say_octets(p, 1);
	hold_once();
	toy_hear("hello\r\none\r\ntwo\r\nthree\r\nfour\r\nfive\r\nsix\r\n");
}
END_TEST

START_TEST(a_thousand_pipelined_commands)
{
	char want[20000] = "hello\r\n", *in = malloc(40000), *p = in;
	size_t len = strlen(want);
	int i;

	ck_assert_ptr_nonnull(in);
	for (i = 0; i < 1000; i++) {
		p += sprintf(p, i % 100 == 50 ? "JOB %d\r\n" : "ECHO %d\r\n", i);
		len += (size_t)sprintf(want + len, "%d\r\n", i);
	}
	toy_connect((enum toy_wire)_i, 0, NULL, false);
	toy_say(in);
	toy_hear(want);
	free(in);
}
END_TEST

static unsigned
segments_sent(void)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	ck_assert_int_eq(getsockopt(toy_conn->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_data_segs_out;
}

/* What came together is answered together. */
START_TEST(replies_leave_together)
{
	const int one = 1;
	unsigned before;

	toy_connect(TOY_TCP, 0, NULL, false);
	ck_assert_int_eq(
	    setsockopt(toy_conn->watch.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	toy_hear("hello\r\n");
	before = segments_sent();
	toy_say("ECHO a\r\nECHO b\r\nFILE 10\r\nECHO c\r\nNOW d\r\nECHO e\r\n");
	toy_hear("a\r\nb\r\nahovcjqxelc\r\nd\r\ne\r\n");
	ck_assert_uint_eq(segments_sent() - before, 1);
}
END_TEST

/* --- flow ------------------------------------------------------------------ */

static void
hear_pattern(uint64_t octets)
{
	char buf[30000];
	uint64_t got = 0;
	size_t n, i;

	while (got < octets) {
		n = octets - got < sizeof(buf) ? (size_t)(octets - got) : sizeof(buf);
		ck_assert_uint_eq(toy_read(buf, n), n);
		for (i = 0; i < n; i++)
			if ((unsigned char)buf[i] != toy_octet(got + i))
				ck_abort_msg("another octet came at %zu", (size_t)got + i);
		got += n;
	}
}

START_TEST(a_long_answer_is_made_as_it_is_read)
{
	toy_connect((enum toy_wire)_i, 4096, NULL, false);
	toy_say("GEN 3000000\r\nECHO end\r\n");
	toy_hear("hello\r\n");
	hear_pattern(3000000);
	toy_hear("end\r\n");
	ck_assert_uint_lt(toy.most_pending, OUTQ_HIGH_WATER + 8192);
	ck_assert_uint_gt(toy.resumed, 20);
}
END_TEST

START_TEST(files_and_replies_keep_their_order)
{
	char in[1000] = "";
	int i;

	toy_connect((enum toy_wire)_i, 4096, NULL, false);
	toy_hear("hello\r\n");
	for (i = 0; i < 20; i++)
		strcat(in, "ECHO a\r\nFILE 100000\r\nECHO b\r\n");
	toy_say(in);
	for (i = 0; i < 20; i++) {
		toy_hear("a\r\n");
		hear_pattern(100000);
		toy_hear("b\r\n");
	}
	ck_assert_uint_eq(toy.files, 0);
}
END_TEST

/* A client that sends and does not read is not read from either, and loses nothing. */
START_TEST(a_client_that_does_not_read_is_not_read_from)
{
	const char line[] = "ECHO 0123456789012345678901234567890123456789\r\n";
	const int small = 4096;
	char hundred[100 * sizeof(line)] = "";
	size_t said = 0, i;
	int idle = 0;

	if (_i == 0) {
		toy_connect(TOY_TCP, 65536, NULL, false);
	} else {
		/* Much input at once, and little room for what it is answered with. */
		toy_connect(TOY_UNIX, 1 << 20, NULL, false);
		ck_assert_int_eq(
		    setsockopt(toy_conn->watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)),
		    0);
		for (i = 0; i < 100; i++)
			strcat(hundred, line);
		for (; said < 250000; said += strlen(hundred))
			ck_assert_int_eq(
			    send(toy_peer, hundred, strlen(hundred), 0), (ssize_t)strlen(hundred));
	}
	while (idle < 100) {
		ssize_t n = send(toy_peer, line + said % (sizeof(line) - 1),
		    sizeof(line) - 1 - said % (sizeof(line) - 1), MSG_NOSIGNAL);

		idle = n > 0 ? 0 : idle + 1;
		said += n > 0 ? (size_t)n : 0;
		ck_assert_int_eq(loop_turn(toy_loop, n > 0 ? 0 : 1), 0);
		ck_assert_uint_lt(said, 4u << 20);
	}
	ck_assert_uint_ge(toy.most_pending, OUTQ_HIGH_WATER);
	/* One helping of input may be answered at once. */
	ck_assert_uint_lt(toy.most_pending, OUTQ_HIGH_WATER + SESSION_INPUT_MAX);
	toy_hear("hello\r\n");
	for (i = 0; i < said / (sizeof(line) - 1); i++)
		toy_hear(line + 5);
}
END_TEST

/* No client gets more than its share of a turn. */
START_TEST(a_turn_is_bounded)
{
	uint64_t before = 0, share;
	bool more = false;
	int i;

	toy_connect(TOY_UNIX, 8 << 20, NULL, false);
	ck_assert_int_eq(send(toy_peer, "FILE 1000000\r\nGEN 4000000\r\n", 27, 0), 27);
	for (i = 0; i < 40 && toy.doing == TOY_IDLE; i++)
		ck_assert_int_eq(loop_turn(toy_loop, 10), 0);
	before = toy.link->out_octets;
	for (i = 0; i < 4; i++) {
		char buf[65536];

		ck_assert_int_eq(loop_turn(toy_loop, 10), 0);
		share = toy.link->out_octets - before;
		before = toy.link->out_octets;
		/* An event and the timer that goes on may fall in one turn. */
		ck_assert_uint_le(share, 2 * CONN_TURN);
		more |= share > 0;
		while (recv(toy_peer, buf, sizeof(buf), 0) > 0)
			continue;
	}
	ck_assert(more);
}
END_TEST

/* A session that has room and wants DRAIN has worked enough for this turn. */
START_TEST(who_gives_way_goes_on_in_another_turn)
{
	static const char says[] = "ECHO 0\r\nYIELD 1\r\nYIELD 2\r\nYIELD 3\r\nQUIT\r\n";
	unsigned before, turns = 0;

	toy_connect(_i, 0, NULL, false);
	toy_hear("hello\r\n");
	ck_assert_int_eq(send(toy_peer, says, sizeof(says) - 1, 0), sizeof(says) - 1);
	while (toy.resumed < 3) {
		before = toy.resumed;
		ck_assert_int_eq(loop_turn(toy_loop, 100), 0);
		ck_assert_uint_le(toy.resumed, before + 1);
		ck_assert_uint_lt(turns++, 20);
	}
	toy_hear("0\r\n1\r\n2\r\n3\r\nbye\r\n");
}
END_TEST

START_TEST(an_idle_connection_holds_no_buffer)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("ECHO a\r\nECH");
	toy_hear("hello\r\na\r\n");
	ck_assert_uint_eq(toy_conn->rest_len, 3);
	ck_assert_uint_le(toy_conn->rest_cap, 16);
	toy_say("O b\r\n");
	toy_hear("b\r\n");
	ck_assert_ptr_null(toy_conn->rest);
	ck_assert(list_empty(&toy_conn->out.slices));
	ck_assert_uint_le(sizeof(*toy_conn), 768);
}
END_TEST

/* What was left over of a long helping does not keep its room. */
START_TEST(left_over_input_shrinks)
{
	char *in = malloc(40000);
	size_t i;

	ck_assert_ptr_nonnull(in);
	memcpy(in, "HOLD x\r\n", 8);
	for (i = 8; i < 39992; i += 8)
		memcpy(in + i, "ECHO y\r\n", 8);
	memcpy(in + i, "ECHO", 5);
	toy_connect(TOY_UNIX, 1 << 20, NULL, false);
	toy_say(in);
	(void)toy_run(20);
	ck_assert_uint_gt(toy_conn->rest_cap, 20000);
	toy_release();
	(void)toy_run(20);
	ck_assert_uint_eq(toy_conn->rest_len, 4);
	ck_assert_uint_lt(toy_conn->rest_cap, 64);
	free(in);
}
END_TEST

/* --- waiting --------------------------------------------------------------- */

START_TEST(while_it_waits_nothing_is_given)
{
	toy_connect((enum toy_wire)_i, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say("ECHO a\r\nHOLD b\r\nECHO c\r\n");
	toy_hear("a\r\n");
	toy_say("ECHO d\r\n");
	toy_hear_nothing(30);
	ck_assert_str_eq(toy.seen, "ECHO a;HOLD b;");
	toy_release();
	toy_hear("b\r\nc\r\nd\r\n");
}
END_TEST

START_TEST(a_wake_out_of_season_is_nothing)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("ECHO a\r\n");
	toy_hear("hello\r\na\r\n");
	toy.link->wake(toy.link);
	(void)toy_run(10);
	toy_say("HOLD b\r\n");
	toy_hear_nothing(20);
	ck_assert_uint_eq(toy.resumed, 0);
	toy_release();
	toy.link->wake(toy.link);
	toy_hear("b\r\n");
	ck_assert_uint_eq(toy.resumed, 1);
}
END_TEST

/* --- acknowledged ---------------------------------------------------------- */

/* What the peer's TCP has is what it read and what it could read. */
START_TEST(acked_waits_for_the_peer)
{
	char buf[4096];
	size_t got = 0;
	ssize_t n;
	int waiting;

	toy_connect((enum toy_wire)_i, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy.link->until_acked = true;
	toy_say("FILE 300000\r\nACKED done\r\n");
	(void)toy_run(50);
	while (toy.doing == TOY_ACKED) {
		ck_assert_int_eq(loop_turn(toy_loop, 1), 0);
		n = recv(toy_peer, buf, sizeof(buf), 0);
		got += n > 0 ? (size_t)n : 0;
	}
	ck_assert_int_eq(ioctl(toy_peer, FIONREAD, &waiting), 0);
	ck_assert_uint_ge(got + (size_t)waiting, 300000);
	ck_assert_uint_eq(toy.resumed, 1);
	ck_assert(!toy.saw_peer_gone);
}
END_TEST

/* On one machine, what is acknowledged is not yet read, and the peer's socket could hold
 * the file's own pages.  Here they change as soon as the session may change them. */
START_TEST(acked_means_that_files_may_change)
{
	static const unsigned char nothing[TOY_FILE];
	char buf[4096];
	size_t got = 0;
	ssize_t n, k;

	toy_connect((enum toy_wire)_i, _i == TOY_TCP ? 0 : 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say("FILE 300000\r\nACKED done\r\n");
	while (got < 300000) {
		(void)toy_run(1);
		if (toy.doing == TOY_IDLE)
			ck_assert_int_eq(pwrite(toy_file, nothing, TOY_FILE, 0), TOY_FILE);
		n = recv(toy_peer, buf, 300000 - got < sizeof(buf) ? 300000 - got : sizeof(buf), 0);
		for (k = 0; k < n; k++)
			if ((unsigned char)buf[k] != toy_octet(got + (size_t)k))
				ck_abort_msg("the file changed before it was sent");
		got += n > 0 ? (size_t)n : 0;
	}
	toy_hear("done\r\n");
}
END_TEST

/* --- names ----------------------------------------------------------------- */

START_TEST(each_session_has_its_name)
{
	struct endpoint nobody = { .len = 0 };
	struct conn_options options = { .timeout_ms = 1 };
	char seen[50][16];
	int i, k;

	for (i = 0; i < 50; i++) {
		struct conn *c = conn_new(toy_loop, dup(toy_file), &nobody, &nobody, &options);

		ck_assert_ptr_nonnull(c);
		strcpy(seen[i], conn_link(c)->id);
		ck_assert_uint_eq(strlen(seen[i]), 11);
		ck_assert_uint_eq(strspn(seen[i], "0123456789abcdefghijklmnopqrstuvwxyz"), 11);
		for (k = 0; k < i; k++)
			ck_assert_str_lt(seen[k], seen[i]);
		conn_drop(c, SESSION_END_ERROR);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("conn");
	TCase *tc = tcase_create("conn");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, toy_begin, toy_end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, greets_answers_and_parts, 0, WIRES);
	tcase_add_loop_test(tc, split_anywhere_it_is_the_same, 0, sizeof(dialogue));
	tcase_add_loop_test(tc, octet_by_octet_it_is_the_same, 0, WIRES);
	tcase_add_loop_test(tc, a_thousand_pipelined_commands, 0, WIRES);
	tcase_add_test(tc, replies_leave_together);
	tcase_add_loop_test(tc, a_long_answer_is_made_as_it_is_read, 0, WIRES);
	tcase_add_loop_test(tc, files_and_replies_keep_their_order, 0, WIRES);
	tcase_add_loop_test(tc, a_client_that_does_not_read_is_not_read_from, 0, 2);
	tcase_add_test(tc, a_turn_is_bounded);
	tcase_add_loop_test(tc, who_gives_way_goes_on_in_another_turn, 0, WIRES);
	tcase_add_test(tc, an_idle_connection_holds_no_buffer);
	tcase_add_test(tc, left_over_input_shrinks);
	tcase_add_loop_test(tc, while_it_waits_nothing_is_given, 0, WIRES);
	tcase_add_test(tc, a_wake_out_of_season_is_nothing);
	tcase_add_loop_test(tc, acked_waits_for_the_peer, 0, WIRES);
	tcase_add_loop_test(tc, acked_means_that_files_may_change, 0, WIRES);
	tcase_add_test(tc, each_session_has_its_name);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
