/*
 * conn: how connections end. Peers that close, reset, vanish or dawdle; time limits;
 * shutdown; and that whatever a peer does, the loop does not turn for nothing.
 */
#include "toy.h"

/* --- the peer closes its side ---------------------------------------------- */

START_TEST(all_that_came_before_fin_is_answered)
{
	toy_connect(_i % 2 == 0 ? TOY_TCP : TOY_UNIX, 0, NULL, false);
	if (_i < 2)
		toy_hear("hello\r\n");
	ck_assert_int_eq(
	    send(toy_peer, "ECHO a\r\nJOB b\r\nACKED c\r\nGEN 10\r\nECHO d\r\nEC", 43, 0), 43);
	ck_assert_int_eq(shutdown(toy_peer, SHUT_WR), 0);
	if (_i >= 2)
		toy_hear("hello\r\n");
	toy_hear("a\r\nb\r\nc\r\nahovcjqxeld\r\n");
	toy_hear_end();
	toy_wait_gone(SESSION_END_PEER);
}
END_TEST

/* RFC 1939 6: who sends QUIT and closes gets what QUIT does. */
START_TEST(quit_and_close_is_still_quit)
{
	toy_connect(_i % 2 == 0 ? TOY_TCP : TOY_UNIX, 0, NULL, false);
	if (_i < 2)
		toy_hear("hello\r\n");
	ck_assert_int_eq(send(toy_peer, "ECHO a\r\nUPDATE b\r\n", 18, 0), 18);
	toy_close();
	toy_wait_gone(SESSION_END_SELF);
	ck_assert(toy.job_ran);
	ck_assert_uint_eq(toy.resumed, 2);
}
END_TEST

/* A reset while an operation runs: it ends first, and the session hears of both. */
START_TEST(a_reset_does_not_end_an_operation)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say(_i == 0 ? "HOLD a\r\nECHO b\r\n" : "ECHO x\r\nHOLD a\r\n");
	(void)toy_run(20);
	ck_assert_int_eq(toy.doing, TOY_HOLD);
	toy_reset();
	(void)toy_run(50);
	ck_assert(!toy.freed);
	toy_release();
	toy_wait_gone(SESSION_END_PEER);
	ck_assert_ptr_nonnull(strstr(toy.seen, "HOLD a;"));
}
END_TEST

/* What is sent during the operation shows that the peer is gone. */
START_TEST(an_operation_hears_that_the_peer_is_gone)
{
	toy_connect(TOY_TCP, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say("FILE 1000000\r\nHOLD a\r\nECHO b\r\n");
	(void)toy_run(20);
	toy_reset();
	(void)toy_run(50);
	ck_assert(!toy.freed);
	ck_assert_uint_eq(toy.files, 0);
	ck_assert_uint_eq(toy_conn->out.pending, 0);
	toy_release();
	toy_wait_gone(SESSION_END_PEER);
	ck_assert(toy.saw_peer_gone);
	ck_assert_ptr_null(strstr(toy.seen, "ECHO b;"));
}
END_TEST

START_TEST(acked_goes_on_when_the_peer_is_gone)
{
	toy_connect(_i == 0 ? TOY_TCP : TOY_UNIX, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say("FILE 300000\r\nACKED a\r\nHOLD b\r\n");
	(void)toy_run(20);
	ck_assert_int_eq(toy.doing, TOY_ACKED);
	if (_i == 0)
		toy_reset();
	else
		toy_close();
	toy_wait_gone(SESSION_END_PEER);
	ck_assert_uint_eq(toy.resumed, 1);
	ck_assert(toy.saw_peer_gone);
}
END_TEST

START_TEST(a_reset_ends_the_rest)
{
	toy_connect(TOY_TCP, 8192, NULL, false);
	toy_hear("hello\r\n");
	if (_i == 1)
		toy_say("GEN 10000000\r\n");
	if (_i == 2)
		toy_say("FILE 1000000\r\nECHO a\r\n");
	(void)toy_run(10);
	toy_reset();
	toy_wait_gone(SESSION_END_PEER);
}
END_TEST

/* --- the session ends it --------------------------------------------------- */

START_TEST(drop_sends_nothing_more)
{
	toy_connect(_i == 0 ? TOY_TCP : TOY_UNIX, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say("ECHO a\r\nDROP\r\n");
	toy_wait_gone(SESSION_END_SELF);
	ck_assert_str_eq(toy.seen, "ECHO a;DROP;");
	toy_hear_end();
}
END_TEST

/* Input that nobody reads would make closing a reset, which can destroy "bye". */
START_TEST(the_last_reply_survives_unread_input)
{
	char junk[100000];

	memset(junk, 'x', sizeof(junk));
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say("QUIT\r\n");
	toy_say_octets(junk, sizeof(junk));
	toy_hear("bye\r\n");
	toy_hear_end();
	ck_assert_int_eq(send(toy_peer, junk, 1000, MSG_NOSIGNAL), 1000);
	toy_close();
	toy_wait_gone(SESSION_END_SELF);
}
END_TEST

START_TEST(lingering_is_bounded_in_time)
{
	toy_pass(1000000);
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("QUIT\r\n");
	toy_hear("hello\r\nbye\r\n");
	toy_hear_end();
	ck_assert(toy.freed && !toy.gone);
	toy_pass(990);
	ck_assert(!toy.gone);
	toy_pass(20);
	ck_assert(toy.gone);
}
END_TEST

START_TEST(lingering_is_bounded_in_octets)
{
	char junk[65536];
	int i;

	memset(junk, 'x', sizeof(junk));
	toy_pass(1000000);
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("QUIT\r\n");
	toy_hear("hello\r\nbye\r\n");
	for (i = 0; i < 1000 && !toy.gone; i++) {
		(void)send(toy_peer, junk, sizeof(junk), MSG_NOSIGNAL);
		ck_assert_int_eq(loop_turn(toy_loop, 1), 0);
	}
	ck_assert(toy.gone);
}
END_TEST

START_TEST(a_session_that_takes_nothing_is_ended)
{
	char junk[70000];

	memset(junk, 'x', sizeof(junk));
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("STUCK\r\n");
	toy_hear("hello\r\n");
	(void)send(toy_peer, junk, sizeof(junk), MSG_NOSIGNAL);
	toy_wait_gone(SESSION_END_ERROR);
}
END_TEST

/* A message that cannot be read to its end must not look as if it ended. */
START_TEST(a_short_file_cuts_the_connection)
{
	char buf[2000];
	size_t n;

	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	ck_assert_int_eq(ftruncate(toy_file, 1000), 0);
	ck_assert_int_eq(send(toy_peer, "FILE 1500\r\nECHO x\r\n", 19, 0), 19);
	n = toy_read(buf, sizeof(buf));
	/* Octets that are there may be sent; none that are not. */
	ck_assert_uint_le(n, 1000);
	toy_wait_gone(SESSION_END_ERROR);
}
END_TEST

START_TEST(a_failed_queue_ends_the_session)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_conn->out.failed = true;
	ck_assert_int_eq(send(toy_peer, "ECHO x\r\n", 8, 0), 8);
	toy_wait_gone(SESSION_END_ERROR);
}
END_TEST

/* --- time limits ----------------------------------------------------------- */

#define TICK 1000

START_TEST(an_idle_session_times_out)
{
	toy_pass(1000000);
	toy.on_timeout = _i == 0 ? SESSION_CLOSE : SESSION_DROP;
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_pass(TOY_TIMEOUT_MS - TICK);
	ck_assert_int_eq(toy.timeouts, 0);
	/* One octet is enough to begin anew; it may be part of a line. */
	toy_say("E");
	toy_pass(0);
	toy_pass(TOY_TIMEOUT_MS - TICK);
	ck_assert_int_eq(toy.timeouts, 0);
	toy_pass(TICK);
	ck_assert_int_eq(toy.timeouts, 1);
	if (_i == 0)
		toy_hear("too slow\r\n");
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_TIMEOUT);
}
END_TEST

START_TEST(a_session_may_bear_a_timeout)
{
	toy_pass(1000000);
	toy.on_timeout = SESSION_READ;
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_pass(TOY_TIMEOUT_MS);
	toy_hear("too slow\r\n");
	toy_pass(TOY_TIMEOUT_MS - TICK);
	ck_assert_int_eq(toy.timeouts, 1);
	toy_say("ECHO a\r\nQUIT\r\n");
	toy_hear("a\r\nbye\r\n");
	toy_close();
	toy_wait_gone(SESSION_END_SELF);
}
END_TEST

START_TEST(waiting_is_not_idling)
{
	toy_pass(1000000);
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	toy_say("HOLD a\r\n");
	toy_pass(0);
	ck_assert_int_eq(toy.doing, TOY_HOLD);
	toy_pass(10 * TOY_TIMEOUT_MS);
	ck_assert_int_eq(toy.timeouts, 0);
	toy_release();
	toy_hear("a\r\n");
	/* The clock stood still while it waited. */
	toy_pass(TOY_TIMEOUT_MS - TICK);
	ck_assert_int_eq(toy.timeouts, 0);
	toy_pass(TICK);
	ck_assert_int_eq(toy.timeouts, 1);
}
END_TEST

static size_t
read_now(size_t len)
{
	char buf[65536];
	size_t got = 0;
	ssize_t n;

	while (got < len && (n = recv(toy_peer, buf, sizeof(buf), 0)) > 0)
		got += (size_t)n;
	return got;
}

/* RFC 1939 3: the clock does not run while a reply is being sent, however slowly. */
START_TEST(a_slow_reader_is_not_idle)
{
	int i;

	toy_pass(1000000);
	toy_connect(TOY_UNIX, 8192, NULL, false);
	toy_say("FILE 1000000\r\n");
	for (i = 0; i < 10; i++) {
		toy_pass(CONN_SEND_TIMEOUT_MS - TICK);
		ck_assert(!toy.freed);
		/* All: a Unix socket takes more only when it is nearly empty. */
		ck_assert_uint_gt(read_now(SIZE_MAX), 0);
		toy_pass(0);
	}
	ck_assert_int_eq(toy.timeouts, 0);
	ck_assert_uint_gt(toy_conn->out.pending, 0);
}
END_TEST

START_TEST(a_peer_that_never_reads_is_cut)
{
	toy_pass(1000000);
	toy_connect(TOY_UNIX, 8192, NULL, false);
	toy_say(_i == 0 ? "FILE 400000\r\n" : "GEN 400000\r\n");
	toy_pass(0);
	toy_pass(CONN_SEND_TIMEOUT_MS - TICK);
	ck_assert(!toy.freed);
	toy_pass(TICK);
	ck_assert(toy.gone);
	ck_assert_int_eq(toy.end, SESSION_END_TIMEOUT);
	ck_assert_int_eq(toy.timeouts, 0);
}
END_TEST

/* Sending more does not make up for not reading. */
START_TEST(a_peer_that_only_sends_is_cut)
{
	toy_pass(1000000);
	toy_connect(TOY_UNIX, 8192, NULL, false);
	toy_say("GEN 60000\r\n");
	toy_pass(0);
	ck_assert_uint_gt(toy_conn->out.pending, 0);
	toy_pass(CONN_SEND_TIMEOUT_MS - TICK);
	ck_assert_int_eq(send(toy_peer, "ECHO a\r\n", 8, MSG_NOSIGNAL), 8);
	toy_pass(0);
	ck_assert_ptr_nonnull(strstr(toy.seen, "ECHO a;"));
	toy_pass(TICK);
	ck_assert(toy.gone);
}
END_TEST

START_TEST(a_waiting_session_outlives_its_send_limit)
{
	toy_pass(1000000);
	toy_connect(TOY_UNIX, 8192, NULL, false);
	toy_say("FILE 400000\r\nHOLD a\r\n");
	toy_pass(0);
	toy_pass(CONN_SEND_TIMEOUT_MS);
	ck_assert(!toy.freed);
	ck_assert_uint_eq(toy_conn->out.pending, 0);
	toy_release();
	toy_pass(0);
	ck_assert(toy.gone);
	ck_assert_int_eq(toy.end, SESSION_END_TIMEOUT);
	ck_assert(toy.saw_peer_gone);
}
END_TEST

START_TEST(a_peer_that_never_acknowledges_is_given_up)
{
	toy_pass(1000000);
	toy_connect(TOY_TCP, 8192, NULL, false);
	toy.link->until_acked = true;
	toy_say("FILE 16000\r\nACKED a\r\n");
	toy_pass(0);
	ck_assert_uint_eq(toy_conn->out.pending, 0);
	toy_pass(CONN_SEND_TIMEOUT_MS - TICK);
	ck_assert_int_eq(toy.doing, TOY_ACKED);
	toy_pass(2 * TICK);
	ck_assert(toy.gone);
	ck_assert_uint_eq(toy.resumed, 1);
	ck_assert(toy.saw_peer_gone);
}
END_TEST

/* --- shutdown -------------------------------------------------------------- */

START_TEST(shutdown_asks_for_last_words)
{
	toy.on_shutdown = _i == 1 ? SESSION_DROP : SESSION_CLOSE;
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	if (_i == 2)
		toy_say("EC");
	conn_shutdown(toy_conn);
	conn_shutdown(toy_conn);
	ck_assert_int_eq(toy.shutdowns, 0);
	if (_i != 1)
		toy_hear("going down\r\n");
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_SHUTDOWN);
	ck_assert_int_eq(toy.shutdowns, 1);
}
END_TEST

START_TEST(shutdown_lets_an_operation_end)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_say("HOLD a\r\nECHO b\r\n");
	toy_hear("hello\r\n");
	conn_shutdown(toy_conn);
	toy_hear_nothing(30);
	ck_assert_int_eq(toy.shutdowns, 0);
	toy_release();
	toy_hear("a\r\ngoing down\r\n");
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_SHUTDOWN);
	ck_assert_str_eq(toy.seen, "HOLD a;");
}
END_TEST

START_TEST(shutdown_lets_acked_end)
{
	static char file[100000];

	toy_connect(TOY_TCP, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say("FILE 100000\r\nACKED a\r\n");
	(void)toy_run(10);
	conn_shutdown(toy_conn);
	(void)toy_run(20);
	ck_assert_int_eq(toy.doing, TOY_ACKED);
	ck_assert_int_eq(toy.shutdowns, 0);
	ck_assert_uint_eq(toy_read(file, sizeof(file)), sizeof(file));
	toy_hear("a\r\ngoing down\r\n");
	toy_hear_end();
}
END_TEST

START_TEST(shutdown_does_not_wait_for_a_long_answer)
{
	toy.on_shutdown = SESSION_DROP;
	toy_connect(TOY_UNIX, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say("GEN 10000000\r\n");
	(void)toy_run(10);
	conn_shutdown(toy_conn);
	toy_wait_gone(SESSION_END_SHUTDOWN);
}
END_TEST

START_TEST(a_session_that_reads_on_after_shutdown_is_closed)
{
	toy.on_shutdown = SESSION_READ;
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	conn_shutdown(toy_conn);
	toy_hear("going down\r\n");
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_SHUTDOWN);
	ck_assert_int_eq(toy.shutdowns, 1);
}
END_TEST

START_TEST(drop_ends_at_once_but_for_an_operation)
{
	toy_connect(TOY_TCP, 8192, NULL, false);
	toy_hear("hello\r\n");
	toy_say(_i == 0   ? "ECHO a\r\n"
		: _i == 1 ? "FILE 900000\r\n"
		: _i == 2 ? "HOLD b\r\n"
			  : "FILE 900000\r\nACKED c\r\n");
	(void)toy_run(10);
	conn_drop(toy_conn, SESSION_END_SHUTDOWN);
	ck_assert_int_eq(toy.gone, _i != 2);
	if (_i == 2) {
		(void)toy_run(20);
		toy_release();
		(void)toy_run(20);
	}
	ck_assert(toy.gone);
	ck_assert_int_eq(toy.end, SESSION_END_SHUTDOWN);
	ck_assert_uint_eq(toy.resumed, _i == 2 ? 1 : 0);
}
END_TEST

START_TEST(a_session_may_drop_its_own_connection)
{
	toy_connect(TOY_TCP, 0, NULL, false);
	toy_hear("hello\r\n");
	ck_assert_int_eq(send(toy_peer, "ECHO a\r\nCUT b\r\nECHO c\r\n", 23, 0), 23);
	(void)toy_run(20);
	ck_assert(!toy.freed);
	toy_release();
	toy_wait_gone(SESSION_END_SHUTDOWN);
	ck_assert_str_eq(toy.seen, "ECHO a;CUT b;");
	ck_assert(toy.saw_peer_gone);
	toy_hear_end();
}
END_TEST

/* --- never for nothing ------------------------------------------------------ */

enum event { NOTHING, MORE_INPUT, FIN, RESET, CLOSE };

/* Rows: what the session is doing, and what the peer then does.  Whatever it is, the
 * loop may turn some times (looks for ACKs are the most frequent) and then sleeps. */
static const char *const doings[] = {
	"ECHO a\r\n",
	"ECHO ",
	"HOLD a\r\n",
	"FILE 900000\r\n",
	"GEN 900000\r\n",
	"FILE 900000\r\nACKED a\r\n",
	"FILE 900000\r\nHOLD a\r\n",
	"FILE 5000\r\nACKED a\r\n",
	"QUIT\r\n",
	"FILE 900000\r\nQUIT\r\n",
	"HOLD a\r\nQUIT\r\n",
};
#define DOINGS (int)(sizeof(doings) / sizeof(doings[0]))
#define EVENTS 5

START_TEST(the_loop_does_not_turn_for_nothing)
{
	const enum event event = (enum event)(_i / 2 % EVENTS);

	toy_connect((enum toy_wire)(_i % 2), 8192, NULL, false);
	toy.link->until_acked = true;
	toy_say(doings[_i / 2 / EVENTS]);
	(void)toy_run(5);
	switch (event) {
	case NOTHING:
		break;
	case MORE_INPUT:
		(void)send(toy_peer, "ECHO b\r\nECHO c\r\n", 16, MSG_NOSIGNAL);
		break;
	case FIN:
		ck_assert_int_eq(shutdown(toy_peer, SHUT_WR), 0);
		break;
	case RESET:
		toy_reset();
		break;
	case CLOSE:
		toy_close();
		break;
	}
	ck_assert_uint_le(toy_run(30), 30);
	ck_assert_uint_le(toy_run(30), 8);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("conn_end");
	TCase *tc = tcase_create("conn_end");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, toy_begin, toy_end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, all_that_came_before_fin_is_answered, 0, 4);
	tcase_add_loop_test(tc, quit_and_close_is_still_quit, 0, 4);
	tcase_add_loop_test(tc, a_reset_does_not_end_an_operation, 0, 2);
	tcase_add_test(tc, an_operation_hears_that_the_peer_is_gone);
	tcase_add_loop_test(tc, acked_goes_on_when_the_peer_is_gone, 0, 2);
	tcase_add_loop_test(tc, a_reset_ends_the_rest, 0, 3);
	tcase_add_loop_test(tc, drop_sends_nothing_more, 0, 2);
	tcase_add_test(tc, the_last_reply_survives_unread_input);
	tcase_add_test(tc, lingering_is_bounded_in_time);
	tcase_add_test(tc, lingering_is_bounded_in_octets);
	tcase_add_test(tc, a_session_that_takes_nothing_is_ended);
	tcase_add_test(tc, a_short_file_cuts_the_connection);
	tcase_add_test(tc, a_failed_queue_ends_the_session);
	tcase_add_loop_test(tc, an_idle_session_times_out, 0, 2);
	tcase_add_test(tc, a_session_may_bear_a_timeout);
	tcase_add_test(tc, waiting_is_not_idling);
	tcase_add_test(tc, a_slow_reader_is_not_idle);
	tcase_add_loop_test(tc, a_peer_that_never_reads_is_cut, 0, 2);
	tcase_add_test(tc, a_peer_that_only_sends_is_cut);
	tcase_add_test(tc, a_waiting_session_outlives_its_send_limit);
	tcase_add_test(tc, a_peer_that_never_acknowledges_is_given_up);
	tcase_add_loop_test(tc, shutdown_asks_for_last_words, 0, 3);
	tcase_add_test(tc, shutdown_lets_an_operation_end);
	tcase_add_test(tc, shutdown_lets_acked_end);
	tcase_add_test(tc, shutdown_does_not_wait_for_a_long_answer);
	tcase_add_test(tc, a_session_that_reads_on_after_shutdown_is_closed);
	tcase_add_loop_test(tc, drop_ends_at_once_but_for_an_operation, 0, 4);
	tcase_add_test(tc, a_session_may_drop_its_own_connection);
	tcase_add_loop_test(tc, the_loop_does_not_turn_for_nothing, 0, DOINGS * EVENTS * 2);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
