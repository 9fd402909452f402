/*
 * Whole dialogues: every command in every state, right and wrong, each run as one piece, octet
 * by octet, and cut in two at every place.  In what the server says, `*` is any text within a
 * line.
 */
#include <check.h>

#include "tests/unit/pop3d/drive.h"

#define PREFIX "Return-Path: <sender@client.example>\r\nDelivered-To: joe@example.test\r\n"

#define ONE "Subject: one\r\n\r\nfirst\r\n"
#define TWO "Subject: two\r\n\r\n.dot\r\n..\r\n.\r\nlast\r\n"
#define TWO_STUFFED "Subject: two\r\n\r\n..dot\r\n...\r\n..\r\nlast\r\n"
#define THREE "Subject: three\r\nX-No-Body: yes\r\n"

#define USER "USER joe@example.test\r\n"
#define LOGIN USER "PASS secret\r\n"
#define LOGGED_IN "+OK send PASS\r\n+OK 3 messages (300 octets)\r\n"
#define ARGUMENT "-ERR wrong or missing argument\r\n"
#define LOGIN_FIRST "-ERR log in first\r\n"
#define NOT_AFTER "-ERR not after login\r\n"
#define NO_MESSAGE "-ERR no such message\r\n"
#define MARKED "+OK marked, QUIT removes it\r\n"
#define IS_MARKED "-ERR message is marked for removal\r\n"
#define GOODBYE "+OK goodbye\r\n"
#define AUTH_FAILED "-ERR [AUTH] wrong user name or password\r\n"
#define BAD_SASL "-ERR malformed response\r\n"

struct row {
	const char *name;
	const char *client;
	const char *server;
};

#define CAPA_BEGIN                                                                                 \
	"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN LOGIN\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"       \
	"PIPELINING\r\nEXPIRE NEVER\r\n"
#define CAPA_END "IMPLEMENTATION Restante-0.1.0\r\n.\r\n"

static const struct row authorization[] = {
	{ "QUIT", "QUIT\r\n", GOODBYE },
	{ "keywords have no case", "qUiT\r\n", GOODBYE },
	{ "a bare LF ends a line", "NOOP\nquit\n", LOGIN_FIRST GOODBYE },
	{ "an empty line", "\r\n", "-ERR unknown command\r\n" },
	{ "unknown", "FOO\r\nQUITX\r\nQUI\r\n",
	    "-ERR unknown command\r\n-ERR unknown command\r\n-ERR unknown command\r\n" },
	{ "not before login",
	    "STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nTOP 1 0\r\nRSET\r\nNOOP\r\n",
	    LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST
		LOGIN_FIRST },
	{ "arguments where none may be", "QUIT now\r\nCAPA x\r\nSTLS x\r\n",
	    ARGUMENT ARGUMENT ARGUMENT },
	{ "blanks at the end are none", "QUIT  \r\n", GOODBYE },
	{ "arguments that are missing", "USER\r\nUSER \r\nPASS\r\nPASS \r\n",
	    ARGUMENT ARGUMENT ARGUMENT ARGUMENT },
	{ "CAPA", "CAPA\r\n", CAPA_BEGIN "STLS\r\n" CAPA_END },
	{ "PASS without USER", "PASS secret\r\n", "-ERR send USER first\r\n" },
	{ "PASS not right behind USER", USER "CAPA\r\nPASS secret\r\n",
	    "+OK send PASS\r\n" CAPA_BEGIN "STLS\r\n" CAPA_END "-ERR send USER first\r\n" },
	{ "a wrong line is between them, too", USER "FOO\r\nPASS secret\r\n",
	    "+OK send PASS\r\n-ERR unknown command\r\n-ERR send USER first\r\n" },
	{ "USER twice", "USER nobody\r\n" LOGIN "QUIT\r\n", "+OK send PASS\r\n" LOGGED_IN GOODBYE },
	{ "login", LOGIN "QUIT\r\n", LOGGED_IN GOODBYE },
	{ "login in pieces of any case", "user JOE@Example.Test\r\npass secret\r\nquit\r\n",
	    LOGGED_IN GOODBYE },
	{ "the local part is enough", "USER joe\r\nPASS secret\r\nQUIT\r\n", LOGGED_IN GOODBYE },
	{ "a tag is passed over", "USER joe+tag@example.test\r\nPASS secret\r\nQUIT\r\n",
	    LOGGED_IN GOODBYE },
	{ "blanks belong to the password", "USER ann\r\nPASS  pass  word \r\nQUIT\r\n",
	    "+OK send PASS\r\n+OK 0 messages (0 octets)\r\n" GOODBYE },
	{ "APOP is not offered", "APOP joe 0123456789abcdef0123456789abcdef\r\n",
	    "-ERR APOP is not offered\r\n" },
	{ "a NUL", "QU\0IT\r\n", "-ERR NUL in a command\r\n" },
};

static const struct row auth[] = {
	{ "mechanisms", "AUTH\r\n", "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n" },
	{ "mechanisms, as Outlook asks", "AUTH \r\n", "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n" },
	{ "unknown mechanism", "AUTH CRAM-MD5\r\nAUTH FOO AAAA\r\nAUTH PLAINX\r\n",
	    "-ERR unknown mechanism\r\n-ERR unknown mechanism\r\n-ERR unknown mechanism\r\n" },
	{ "PLAIN with initial response", "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\nQUIT\r\n",
	    "+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "PLAIN without", "auth plain\r\nAGpvZQBzZWNyZXQ=\r\nQUIT\r\n",
	    "+ \r\n+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "PLAIN for oneself", "AUTH PLAIN am9lAGpvZQBzZWNyZXQ=\r\nQUIT\r\n",
	    "+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "PLAIN for another", "AUTH PLAIN YW5uAGpvZQBzZWNyZXQ=\r\n", BAD_SASL },
	{ "PLAIN without NULs", "AUTH PLAIN am9lc2VjcmV0\r\n", BAD_SASL },
	{ "PLAIN with one NUL more", "AUTH PLAIN AGpvZQBzZWNyZXQA\r\n", BAD_SASL },
	{ "PLAIN cancelled", "AUTH PLAIN\r\n*\r\nQUIT\r\n", "+ \r\n-ERR cancelled\r\n" GOODBYE },
	{ "an empty initial response", "AUTH PLAIN =\r\nQUIT\r\n", BAD_SASL GOODBYE },
	{ "an empty answer", "AUTH PLAIN\r\n\r\nQUIT\r\n", "+ \r\n" BAD_SASL GOODBYE },
	{ "base64 that is none",
	    "AUTH PLAIN =AAA\r\nAUTH PLAIN AAA=BBB\r\nAUTH PLAIN A\r\nAUTH PLAIN A!==\r\n"
	    "AUTH PLAIN AGpvZQBzZWNyZXQ= \r\nQUIT\r\n",
	    BAD_SASL BAD_SASL BAD_SASL BAD_SASL "+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "a command is no answer", "AUTH PLAIN\r\nQUIT\r\nQUIT\r\n", "+ \r\n" BAD_SASL GOODBYE },
	{ "a NUL in an answer", "AUTH PLAIN\r\nAG\0\r\nQUIT\r\n",
	    "+ \r\n-ERR NUL in a command\r\n" GOODBYE },
	{ "LOGIN", "AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\nQUIT\r\n",
	    "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "LOGIN with the name at once", "AUTH LOGIN am9l\r\nc2VjcmV0\r\nQUIT\r\n",
	    "+ UGFzc3dvcmQ6\r\n+OK 3 messages (300 octets)\r\n" GOODBYE },
	{ "LOGIN cancelled",
	    "AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\nam9l\r\n*\r\nPASS secret\r\nQUIT\r\n",
	    "+ VXNlcm5hbWU6\r\n-ERR cancelled\r\n+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n"
	    "-ERR cancelled\r\n-ERR send USER first\r\n" GOODBYE },
	{ "LOGIN with nothing", "AUTH LOGIN\r\n\r\nAUTH LOGIN am9l\r\n\r\n",
	    "+ VXNlcm5hbWU6\r\n" BAD_SASL "+ UGFzc3dvcmQ6\r\n" BAD_SASL },
	{ "LOGIN with base64 that is none", "AUTH LOGIN ???\r\nAUTH LOGIN am9l\r\n???\r\n",
	    BAD_SASL "+ UGFzc3dvcmQ6\r\n" BAD_SASL },
	{ "nothing is left behind", "AUTH PLAIN\r\n*\r\n" LOGIN "QUIT\r\n",
	    "+ \r\n-ERR cancelled\r\n" LOGGED_IN GOODBYE },
	{ "not after login", LOGIN "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\nAUTH\r\nQUIT\r\n",
	    LOGGED_IN NOT_AFTER NOT_AFTER GOODBYE },
};

/* Behind a login, and before QUIT. */
static const struct row transaction[] = {
	{ "not after login", "USER joe\r\nPASS secret\r\nAPOP a b\r\nSTLS\r\n",
	    NOT_AFTER NOT_AFTER NOT_AFTER NOT_AFTER },
	{ "CAPA says the same, but for STLS", "CAPA\r\n", CAPA_BEGIN CAPA_END },
	{ "STAT", "STAT\r\n", "+OK 3 300\r\n" },
	{ "LIST", "LIST\r\n", "+OK 3 messages\r\n1 93\r\n2 105\r\n3 102\r\n.\r\n" },
	{ "LIST of one", "LIST 2\r\n", "+OK 2 105\r\n" },
	{ "UIDL", "UIDL\r\n", "+OK 3 messages\r\n1 *\r\n2 *\r\n3 *\r\n.\r\n" },
	{ "UIDL of one", "UIDL 3\r\n", "+OK 3 *\r\n" },
	{ "listings of nothing", "DELE 1\r\nDELE 2\r\nDELE 3\r\nLIST\r\nUIDL\r\nSTAT\r\n",
	    MARKED MARKED MARKED "+OK 0 messages\r\n.\r\n+OK 0 messages\r\n.\r\n+OK 0 0\r\n" },
	{ "NOOP", "NOOP\r\n", "+OK\r\n" },
	{ "RETR", "RETR 1\r\n", "+OK 93 octets\r\n" PREFIX ONE ".\r\n" },
	{ "RETR stuffs", "RETR 2\r\n", "+OK 105 octets\r\n" PREFIX TWO_STUFFED ".\r\n" },
	{ "RETR without a body", "rEtR 3\r\n", "+OK 102 octets\r\n" PREFIX THREE ".\r\n" },
	{ "TOP of the header", "TOP 2 0\r\n", "+OK\r\n" PREFIX "Subject: two\r\n\r\n.\r\n" },
	{ "TOP of some lines", "TOP 2 2\r\n",
	    "+OK\r\n" PREFIX "Subject: two\r\n\r\n..dot\r\n...\r\n.\r\n" },
	{ "TOP of exactly all", "TOP 2 4\r\n", "+OK\r\n" PREFIX TWO_STUFFED ".\r\n" },
	{ "TOP of more than all", "TOP 2 18446744073709551615\r\n",
	    "+OK\r\n" PREFIX TWO_STUFFED ".\r\n" },
	{ "TOP without a body", "TOP 3 0\r\nTOP 3 7\r\n",
	    "+OK\r\n" PREFIX THREE ".\r\n+OK\r\n" PREFIX THREE ".\r\n" },
	{ "arguments that are missing", "RETR\r\nDELE\r\nTOP\r\nTOP 1\r\nRETR \r\nTOP 1 \r\n",
	    ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT },
	{ "arguments too many",
	    "STAT 1\r\nNOOP 1\r\nRSET 1\r\nQUIT 1\r\nRETR 1 2\r\nDELE 1 2\r\nLIST 1 2\r\n"
	    "UIDL 1 2\r\nTOP 1 2 3\r\nCAPA 1\r\n",
	    ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT
		ARGUMENT },
	{ "no numbers",
	    "RETR x\r\nRETR 1x\r\nRETR -1\r\nRETR +1\r\nRETR 1.0\r\nTOP 1 -1\r\nTOP 1 x\r\n",
	    ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT ARGUMENT },
	{ "no numbers of messages",
	    "RETR 0\r\nRETR 4\r\nRETR 01\r\nLIST 001\r\nUIDL 0\r\nTOP 4 0\r\nDELE 4294967297\r\n"
	    "DELE 18446744073709551617\r\nDELE 0\r\n",
	    NO_MESSAGE NO_MESSAGE NO_MESSAGE NO_MESSAGE NO_MESSAGE NO_MESSAGE NO_MESSAGE NO_MESSAGE
		NO_MESSAGE },
	{ "marked messages are not there",
	    "DELE 2\r\nSTAT\r\nLIST\r\nUIDL\r\nLIST 2\r\nUIDL 2\r\nRETR 2\r\nTOP 2 0\r\nDELE "
	    "2\r\nRSET\r\n",
	    MARKED "+OK 2 195\r\n+OK 2 messages\r\n1 93\r\n3 102\r\n.\r\n"
		   "+OK 2 messages\r\n1 *\r\n3 *\r\n.\r\n" IS_MARKED IS_MARKED IS_MARKED IS_MARKED
		       IS_MARKED "+OK nothing is marked\r\n" },
	{ "RSET brings them back", "DELE 1\r\nDELE 2\r\nDELE 3\r\nSTAT\r\nLIST\r\nRSET\r\nLIST\r\n",
	    MARKED MARKED MARKED "+OK 0 0\r\n+OK 0 messages\r\n.\r\n+OK nothing is marked\r\n"
				 "+OK 3 messages\r\n1 93\r\n2 105\r\n3 102\r\n.\r\n" },
	{ "RETR marks nothing", "RETR 1\r\nSTAT\r\n",
	    "+OK 93 octets\r\n" PREFIX ONE ".\r\n+OK 3 300\r\n" },
};

struct group {
	const struct row *rows;
	size_t n;
	bool logged_in;
};

#define GROUP(rows, logged_in)                                                                     \
	{                                                                                          \
		rows, sizeof(rows) / sizeof((rows)[0]), logged_in                                  \
	}

static const struct group groups[] = {
	GROUP(authorization, false),
	GROUP(auth, false),
	GROUP(transaction, true),
};

static struct site site;

/* The rows with a NUL have their length from here. */
static size_t
client_len(const struct row *row)
{
	const char *after = row->client + strlen(row->client) + 1;

	if (strcmp(row->name, "a NUL") == 0 || strcmp(row->name, "a NUL in an answer") == 0)
		return (size_t)(after - row->client) + strlen(after);
	return (size_t)(after - row->client) - 1;
}

static bool
matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0' && *pattern != '*'; pattern++, text++)
		if (*pattern != *text)
			return false;
	if (*pattern == '\0')
		return *text == '\0';
	for (; *text != '\0' && *text != '\r'; text++)
		if (matches(pattern + 1, text))
			return true;
	return matches(pattern + 1, text);
}

/* `first` octets at once, then `step` at a time. */
static void
run(const struct group *group, const struct row *row, size_t first, size_t step)
{
	size_t len = client_len(row);
	struct drive d;

	if (group->logged_in)
		drive_login(&d, &site);
	else
		drive_start(&d, &site);
	drive_send(&d, row->client, first);
	for (size_t at = first; at < len; at += step)
		drive_send(&d, row->client + at, len - at < step ? len - at : step);
	ck_assert_msg(d.npending == 0, "%s: something is left", row->name);
	ck_assert_msg(matches(row->server, d.said.buf), "%s: first %zu, then %zu: %s", row->name,
	    first, step, d.said.buf);
	ck_assert_msg(
	    drive_closed(&d) == (strstr(row->server, "goodbye") != NULL), "%s: closed?", row->name);
	drive_free(&d, SESSION_END_PEER);
}

START_TEST(dialogues)
{
	const struct group *group = &groups[_i];

	site_open(&site, false);
	site_deliver(&site, "joe@example.test", ONE, strlen(ONE), 1);
	site_deliver(&site, "joe@example.test", TWO, strlen(TWO), 1);
	site_deliver(&site, "joe@example.test", THREE, strlen(THREE), 1);
	for (size_t i = 0; i < group->n; i++) {
		const struct row *row = &group->rows[i];
		size_t len = client_len(row);

		run(group, row, len, 1);
		run(group, row, 0, 1);
		for (size_t cut = 1; cut < len; cut++)
			run(group, row, cut, len);
	}
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), 3);
	site_close(&site);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_dialogue");
	TCase *tc = tcase_create("dialogues");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, dialogues, 0, sizeof(groups) / sizeof(groups[0]));
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
