/*
 * conn: TLS, from the first octet and by command; what is thrown away, what is answered,
 * how it ends.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "toy.h"

static struct tls_context *context;
static SSL_CTX *client_ctx;
static SSL *client;

static void
begin(void)
{
	char folder[] = "/tmp/restante-test-XXXXXX", cert[80], key[80];
	struct strbuf err;

	toy_begin();
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(cert, sizeof(cert), "%s/cert", folder);
	(void)snprintf(key, sizeof(key), "%s/key", folder);
	certificate_make(cert, key, false, 1);
	strbuf_init(&err, 1000);
	context = tls_context_load(cert, key, &err);
	ck_assert_msg(context != NULL, "%s", err.buf);
	strbuf_release(&err);
	(void)unlink(cert);
	(void)unlink(key);
	(void)rmdir(folder);
	client_ctx = SSL_CTX_new(TLS_client_method());
	ck_assert_ptr_nonnull(client_ctx);
	client = NULL;
}

static void
end(void)
{
	SSL_free(client);
	SSL_CTX_free(client_ctx);
	toy_end();
	tls_context_unref(&context);
}

static void
client_begin(void)
{
	client = SSL_new(client_ctx);
	ck_assert_ptr_nonnull(client);
	ck_assert_int_eq(SSL_set_fd(client, toy_peer), 1);
	SSL_set_connect_state(client);
}

/* Waits for what the client's last call wants; false when it failed for good. */
static bool
client_may_go_on(int rc, uint64_t until)
{
	const int error = SSL_get_error(client, rc);

	ck_assert_uint_lt(toy_real_ms(), until);
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		return false;
	ck_assert_int_eq(loop_turn(toy_loop, 1), 0);
	return true;
}

static int
client_connect(void)
{
	const uint64_t until = toy_real_ms() + TOY_PATIENCE_MS;
	int rc;

	client_begin();
	do {
		ERR_clear_error();
		rc = SSL_do_handshake(client);
	} while (rc != 1 && client_may_go_on(rc, until));
	return rc;
}

static void
client_say(const char *text)
{
	const uint64_t until = toy_real_ms() + TOY_PATIENCE_MS;
	int rc;

	while ((rc = SSL_write(client, text, (int)strlen(text))) <= 0)
		ck_assert(client_may_go_on(rc, until));
	ck_assert_int_eq(loop_turn(toy_loop, 0), 0);
}

static size_t
client_read(char *buf, size_t len)
{
	const uint64_t until = toy_real_ms() + TOY_PATIENCE_MS;
	size_t got = 0;
	int rc;

	while (got < len) {
		ERR_clear_error();
		rc = SSL_read(client, buf + got, (int)(len - got));
		if (rc > 0)
			got += (size_t)rc;
		else if (!client_may_go_on(rc, until))
			break;
	}
	return got;
}

static void
client_hear(const char *want)
{
	char got[20000] = "";

	ck_assert_uint_eq(client_read(got, strlen(want)), strlen(want));
	ck_assert_str_eq(got, want);
}

/* RFC 8314 3.4: close_notify comes before the end. */
static void
client_hear_end(void)
{
	char c;

	ck_assert_uint_eq(client_read(&c, 1), 0);
	ck_assert_int_ne(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN, 0);
	toy_hear_end();
}

/* --- beginning ------------------------------------------------------------- */

START_TEST(tls_from_the_first_octet)
{
	toy_connect(_i == 0 ? TOY_TCP : TOY_UNIX, 0, context, true);
	ck_assert(!toy.greeted && toy.link->tls_available && !toy.link->tls);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	ck_assert(toy.link->tls);
	ck_assert_str_eq(toy.link->tls_version, SSL_get_version(client));
	ck_assert_str_eq(toy.link->tls_cipher, SSL_get_cipher_name(client));
	client_say("ECHO a\r\nJOB b\r\nACKED c\r\n");
	client_hear("a\r\nb\r\nc\r\n");
	ck_assert_uint_eq(toy.link->out_octets, strlen("hello\r\na\r\nb\r\nc\r\n"));
	client_say("QUIT\r\n");
	client_hear("bye\r\n");
	client_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_SELF);
	ck_assert_int_eq(toy.tls_starts, 0);
}
END_TEST

START_TEST(tls_by_command)
{
	toy_connect(_i == 0 ? TOY_TCP : TOY_UNIX, 0, context, false);
	toy_hear("hello\r\n");
	toy_say("ECHO a\r\nSTARTTLS\r\n");
	toy_hear("a\r\ngo\r\n");
	ck_assert_str_eq(toy.link->tls_version, "");
	ck_assert_int_eq(client_connect(), 1);
	client_say("ECHO b\r\n");
	client_hear("b\r\n");
	ck_assert_int_eq(toy.tls_starts, 1);
	client_say("QUIT\r\n");
	client_hear("bye\r\n");
	client_hear_end();
}
END_TEST

/* Client's first octets in the segment of its Finished: no event will tell of them. */
START_TEST(what_comes_with_the_handshake_is_read)
{
	toy_connect(TOY_TCP, 0, context, true);
	client_begin();
	while (!SSL_is_init_finished(client)) {
		int rc = SSL_do_handshake(client);

		if (rc == 1)
			break;
		ck_assert_int_eq(SSL_get_error(client, rc), SSL_ERROR_WANT_READ);
		ck_assert_int_eq(loop_turn(toy_loop, 10), 0);
	}
	ck_assert_int_eq(SSL_write(client, "ECHO a\r\n", 8), 8);
	ck_assert_int_eq(SSL_write(client, "ECHO b\r\n", 8), 8);
	client_hear("hello\r\na\r\nb\r\n");
}
END_TEST

/* --- what was in the clear --------------------------------------------------- */

/* RFC 3207 6, RFC 2595 4: a command put behind STARTTLS by somebody on the way must not
 * be executed as if it had come under TLS. */
START_TEST(what_came_in_the_clear_is_thrown_away)
{
	toy_connect(TOY_TCP, 0, context, false);
	toy_hear("hello\r\n");
	if (_i == 1) {
		toy_say("HOLD x\r\nSTARTTLS\r\nECHO injected\r\nQUI");
		toy_release();
		toy_hear("x\r\n");
	} else {
		toy_say("STARTTLS\r\nECHO injected\r\nQUI");
	}
	toy_hear("go\r\n");
	ck_assert_int_eq(client_connect(), 1);
	client_say("ECHO b\r\n");
	client_hear("b\r\n");
	ck_assert_ptr_null(strstr(toy.seen, "injected"));
	ck_assert_ptr_nonnull(strstr(toy.seen, "STARTTLS;ECHO b;"));
}
END_TEST

/* What comes a moment later breaks the handshake. */
START_TEST(what_comes_in_the_clear_later_breaks_it)
{
	toy_connect(TOY_TCP, 0, context, false);
	toy_hear("hello\r\n");
	toy_say("STARTTLS\r\n");
	toy_hear("go\r\n");
	toy_say("ECHO injected\r\n");
	toy_wait_gone(SESSION_END_ERROR);
	ck_assert_ptr_null(strstr(toy.seen, "injected"));
	ck_assert_int_eq(toy.tls_starts, 0);
}
END_TEST

/* --- handshakes that do not come to an end ----------------------------------- */

START_TEST(nonsense_gets_an_alert_and_the_end)
{
	unsigned char buf[100];
	size_t n;

	toy_connect(TOY_TCP, 0, context, true);
	if (_i == 0) {
		toy_say_octets("\x16\x03\x01\x00\x09\x01\x00\x00\x05hello", 14);
		n = toy_read((char *)buf, 7);
		ck_assert_uint_eq(n, 7);
		ck_assert_uint_eq(buf[0], 21);
	} else {
		toy_say("EHLO this is not even TLS, is it?\r\n");
	}
	toy_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_ERROR);
	ck_assert(!toy.greeted);
}
END_TEST

START_TEST(a_handshake_has_its_limit)
{
	toy_pass(1000000);
	toy_connect(TOY_TCP, 0, context, true);
	if (_i == 1)
		toy_say("\x16\x03\x01");
	toy_pass(CONN_TLS_TIMEOUT_MS - 1000);
	/* Octet by octet is no progress. */
	if (_i == 1)
		toy_say("\x02");
	ck_assert(!toy.gone);
	toy_pass(1000);
	ck_assert(toy.gone);
	ck_assert_int_eq(toy.end, SESSION_END_TIMEOUT);
	ck_assert_int_eq(toy.timeouts, 0);
}
END_TEST

START_TEST(a_peer_may_go_in_the_handshake)
{
	toy_connect(TOY_TCP, 0, context, true);
	if (_i % 2 == 1)
		toy_say("\x16\x03\x01");
	if (_i / 2 == 0)
		toy_close();
	else
		toy_reset();
	toy_wait_gone(SESSION_END_PEER);
}
END_TEST

START_TEST(shutdown_in_the_handshake_ends_it)
{
	toy_connect(TOY_TCP, 0, context, true);
	conn_shutdown(toy_conn);
	toy_wait_gone(SESSION_END_SHUTDOWN);
	ck_assert_int_eq(toy.shutdowns, 0);
	toy_hear_end();
}
END_TEST

START_TEST(tls_that_is_not_to_be_had_ends_it)
{
	toy_connect(TOY_TCP, 0, _i == 0 ? NULL : context, false);
	ck_assert(toy.link->tls_available == (_i == 1));
	toy_hear("hello\r\n");
	toy_say("STARTTLS\r\n");
	toy_hear("go\r\n");
	if (_i == 1) {
		/* A second time, inside. */
		ck_assert_int_eq(client_connect(), 1);
		client_say("STARTTLS\r\n");
	}
	toy_wait_gone(SESSION_END_ERROR);
}
END_TEST

/* --- octets ---------------------------------------------------------------- */

static void
hear_pattern(size_t octets)
{
	char buf[30000];
	size_t got, n, i;

	for (got = 0; got < octets; got += n) {
		n = octets - got < sizeof(buf) ? octets - got : sizeof(buf);
		ck_assert_uint_eq(client_read(buf, n), n);
		for (i = 0; i < n; i++)
			if ((unsigned char)buf[i] != toy_octet(got + i))
				ck_abort_msg("another octet came at %zu", got + i);
	}
}

START_TEST(long_answers_and_files_are_whole)
{
	int i;

	toy_connect(_i == 0 ? TOY_TCP : TOY_UNIX, 4096, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	client_say("GEN 1000000\r\nECHO a\r\nFILE 300001\r\nECHO b\r\nFILE 77\r\nFILE 16384\r\n");
	hear_pattern(1000000);
	client_hear("a\r\n");
	hear_pattern(300001);
	client_hear("b\r\n");
	hear_pattern(77);
	hear_pattern(16384);
	ck_assert_uint_lt(toy.most_pending, OUTQ_HIGH_WATER + 8192 + 320000);
	for (i = 0; i < 200; i++) {
		client_say("ECHO again\r\n");
		client_hear("again\r\n");
	}
}
END_TEST

START_TEST(a_thousand_pipelined_commands)
{
	char want[20000] = "", *in = malloc(40000), *p = in;
	size_t len = 0;
	int i;

	ck_assert_ptr_nonnull(in);
	for (i = 0; i < 1000; i++) {
		p += sprintf(p, i % 100 == 50 ? "JOB %d\r\n" : "ECHO %d\r\n", i);
		len += (size_t)sprintf(want + len, "%d\r\n", i);
	}
	toy_connect(TOY_TCP, 0, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	client_say(in);
	client_hear(want);
	free(in);
}
END_TEST

START_TEST(a_short_file_cuts_the_connection)
{
	char buf[3000];

	toy_connect(TOY_TCP, 0, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	ck_assert_int_eq(ftruncate(toy_file, 1000), 0);
	client_say("FILE 1500\r\n");
	ck_assert_uint_lt(client_read(buf, sizeof(buf)), 1500);
	/* Nor does it look like a good end. */
	ck_assert_int_eq(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN, 0);
	toy_wait_gone(SESSION_END_ERROR);
}
END_TEST

/* --- the end --------------------------------------------------------------- */

START_TEST(all_that_came_before_the_end_is_answered)
{
	toy_connect(TOY_TCP, 0, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	client_say("ECHO a\r\nJOB b\r\nUPDATE c\r\n");
	if (_i == 0)
		ck_assert_int_ge(SSL_shutdown(client), 0);
	else
		ck_assert_int_eq(shutdown(toy_peer, SHUT_WR), 0);
	client_hear("a\r\nb\r\nc\r\n");
	toy_wait_gone(SESSION_END_SELF);
}
END_TEST

/* The end is read while the answer is still on its way. */
START_TEST(the_end_does_not_overtake_an_answer)
{
	toy_connect(TOY_TCP, 4096, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	client_say("FILE 60000\r\n");
	if (_i == 0)
		ck_assert_int_ge(SSL_shutdown(client), 0);
	else
		ck_assert_int_eq(shutdown(toy_peer, SHUT_WR), 0);
	(void)toy_run(20);
	hear_pattern(60000);
	client_hear_end();
	toy_wait_gone(SESSION_END_PEER);
}
END_TEST

START_TEST(a_reset_does_not_end_an_operation)
{
	toy_connect(TOY_TCP, 0, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	client_say("HOLD a\r\nECHO b\r\n");
	(void)toy_run(10);
	toy_reset();
	ck_assert_uint_le(toy_run(50), 10);
	ck_assert(!toy.freed);
	toy_release();
	toy_wait_gone(SESSION_END_PEER);
}
END_TEST

START_TEST(an_idle_session_times_out)
{
	toy_pass(1000000);
	toy_connect(TOY_TCP, 0, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_hear("hello\r\n");
	toy_pass(TOY_TIMEOUT_MS);
	client_hear("too slow\r\n");
	client_hear_end();
	toy_close();
	toy_wait_gone(SESSION_END_TIMEOUT);
}
END_TEST

START_TEST(a_peer_that_never_reads_is_cut)
{
	toy_pass(1000000);
	toy_connect(TOY_UNIX, 8192, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_say("FILE 400000\r\n");
	toy_pass(0);
	toy_pass(CONN_SEND_TIMEOUT_MS - 1000);
	ck_assert(!toy.freed);
	toy_pass(1000);
	ck_assert(toy.gone);
	ck_assert_int_eq(toy.end, SESSION_END_TIMEOUT);
}
END_TEST

/* --- never for nothing ------------------------------------------------------ */

static const char *const doings[] = { "ECHO a\r\n", "ECHO ", "HOLD a\r\n", "FILE 900000\r\n",
	"GEN 900000\r\n", "FILE 900000\r\nHOLD a\r\n", "QUIT\r\n", "FILE 900000\r\nQUIT\r\n" };
#define DOINGS (int)(sizeof(doings) / sizeof(doings[0]))
#define EVENTS 6

START_TEST(the_loop_does_not_turn_for_nothing)
{
	toy_connect(TOY_TCP, 8192, context, true);
	ck_assert_int_eq(client_connect(), 1);
	client_say(doings[_i / EVENTS]);
	(void)toy_run(5);
	switch (_i % EVENTS) {
	case 1:
		(void)SSL_write(client, "ECHO b\r\nECHO c\r\n", 16);
		break;
	case 2:
		ck_assert_int_eq(shutdown(toy_peer, SHUT_WR), 0);
		break;
	case 3:
		toy_reset();
		break;
	case 4:
		(void)SSL_shutdown(client);
		break;
	case 5:
		/* Part of a record. */
		(void)send(toy_peer, "\x17\x03\x03", 3, MSG_NOSIGNAL);
		break;
	default:
		break;
	}
	ck_assert_uint_le(toy_run(30), 30);
	ck_assert_uint_le(toy_run(30), 8);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("conn_tls");
	TCase *tc = tcase_create("conn_tls");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, tls_from_the_first_octet, 0, 2);
	tcase_add_loop_test(tc, tls_by_command, 0, 2);
	tcase_add_test(tc, what_comes_with_the_handshake_is_read);
	tcase_add_loop_test(tc, what_came_in_the_clear_is_thrown_away, 0, 2);
	tcase_add_test(tc, what_comes_in_the_clear_later_breaks_it);
	tcase_add_loop_test(tc, nonsense_gets_an_alert_and_the_end, 0, 2);
	tcase_add_loop_test(tc, a_handshake_has_its_limit, 0, 2);
	tcase_add_loop_test(tc, a_peer_may_go_in_the_handshake, 0, 4);
	tcase_add_test(tc, shutdown_in_the_handshake_ends_it);
	tcase_add_loop_test(tc, tls_that_is_not_to_be_had_ends_it, 0, 2);
	tcase_add_loop_test(tc, long_answers_and_files_are_whole, 0, 2);
	tcase_add_test(tc, a_thousand_pipelined_commands);
	tcase_add_test(tc, a_short_file_cuts_the_connection);
	tcase_add_loop_test(tc, all_that_came_before_the_end_is_answered, 0, 2);
	tcase_add_loop_test(tc, the_end_does_not_overtake_an_answer, 0, 2);
	tcase_add_test(tc, a_reset_does_not_end_an_operation);
	tcase_add_test(tc, an_idle_session_times_out);
	tcase_add_test(tc, a_peer_that_never_reads_is_cut);
	tcase_add_loop_test(tc, the_loop_does_not_turn_for_nothing, 0, DOINGS * EVENTS);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
