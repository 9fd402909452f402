/* pop3_reply: both tables are complete, and every reply is one that a client can read. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "pop3d/pop3_reply.h"

/* RFC 1939 3, RFC 2449 8, RFC 3206: each line, and what may stand in brackets. */
START_TEST(reply_is_well_formed)
{
	static const char *const codes[] = { "[IN-USE] ", "[LOGIN-DELAY] ", "[SYS/TEMP] ",
		"[SYS/PERM] ", "[AUTH] " };
	const char *text = pop3_reply_text(_i);
	size_t len, known = 0;
	const char *rest;

	ck_assert_ptr_nonnull(text);
	len = strlen(text);
	ck_assert_uint_le(len, POP3_REPLY_MAX);
	ck_assert_str_eq(text + len - 2, "\r\n");
	ck_assert_uint_eq(strcspn(text, "\r\n"), len - 2);
	for (size_t i = 0; i < len - 2; i++)
		ck_assert(text[i] >= ' ' && text[i] <= '~');

	rest = text + (text[0] == '+' ? 3 : 4);
	ck_assert(strncmp(text, "+OK", 3) == 0 || strncmp(text, "-ERR", 4) == 0);
	ck_assert(rest[0] == ' ' || strcmp(rest, "\r\n") == 0);
	ck_assert_int_eq(text[0] == '+', _i < POP3_ERR_UNKNOWN);
	if (rest[0] == ' ' && rest[1] == '[') {
		for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
			known += strncmp(rest + 1, codes[i], strlen(codes[i])) == 0;
		ck_assert_uint_eq(known, 1);
		rest += 2;
	}
	/* Elsewhere a code would be words. */
	ck_assert_ptr_null(strchr(rest, '['));
	for (int other = POP3_REPLIED; other < _i; other++)
		ck_assert(
		    pop3_reply_text(other) == NULL || strcmp(pop3_reply_text(other), text) != 0);
}
END_TEST

START_TEST(what_is_no_reply_has_no_text)
{
	ck_assert_ptr_null(pop3_reply_text(_i));
}
END_TEST

START_TEST(some_replies_end_the_session)
{
	static const struct {
		enum pop3_reply reply;
		enum session_want then;
	} rows[] = {
		{ POP3_OK_STLS, SESSION_START_TLS },
		{ POP3_OK_GOODBYE, SESSION_CLOSE },
		{ POP3_OK_REMOVED, SESSION_CLOSE },
		{ POP3_ERR_NOT_REMOVED, SESSION_CLOSE },
		{ POP3_ERR_AUTH_OFTEN, SESSION_CLOSE },
		{ POP3_ERR_TOO_MANY, SESSION_CLOSE },
	};
	size_t ending = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_int_eq(pop3_reply_then(rows[i].reply), rows[i].then);
	for (int reply = POP3_OK_USER; reply < POP3_REPLIES; reply++)
		ending += pop3_reply_then(reply) != SESSION_READ;
	ck_assert_uint_eq(ending, sizeof(rows) / sizeof(rows[0]));
}
END_TEST

/* RFC 3206 6: [AUTH] for wrong credentials and for nothing else; 4: what may pass by itself is
 * [SYS/TEMP]. */
START_TEST(every_failure_of_the_spool_has_a_reply)
{
	enum pop3_reply reply = pop3_reply_to(_i);

	if (_i == SPOOL_UNKNOWN)
		ck_assert_int_eq(reply, POP3_DROP);
	else
		ck_assert(reply >= POP3_ERR_UNKNOWN && reply < POP3_REPLIES);
	ck_assert_int_eq(reply == POP3_ERR_AUTH, _i == SPOOL_DENIED);
	ck_assert_int_eq(reply == POP3_ERR_IN_USE, _i == SPOOL_BUSY);
	ck_assert_int_eq(reply == POP3_ERR_PERM, _i == SPOOL_DAMAGED);
	ck_assert_int_eq(reply == POP3_ERR_NO_MESSAGE, _i == SPOOL_NO_MESSAGE);
	ck_assert_int_eq(reply == POP3_ERR_TEMP, _i != SPOOL_UNKNOWN && _i != SPOOL_DENIED &&
						     _i != SPOOL_BUSY && _i != SPOOL_DAMAGED &&
						     _i != SPOOL_NO_MESSAGE);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_reply");
	TCase *tc = tcase_create("tables");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, reply_is_well_formed, POP3_OK_USER, POP3_REPLIES);
	tcase_add_loop_test(tc, what_is_no_reply_has_no_text, POP3_REPLIED, POP3_OK_USER);
	tcase_add_test(tc, some_replies_end_the_session);
	tcase_add_loop_test(
	    tc, every_failure_of_the_spool_has_a_reply, SPOOL_OK + 1, SPOOL_STATUSES);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
