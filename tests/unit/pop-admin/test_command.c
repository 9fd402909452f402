/*
 * command, options, admin: the table, the command line, a status' exit code, and what stays in the
 * system's log.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "base/num.h"
#include "capture.h"
#include "pop-admin/command.h"
#include "pop-admin/options.h"
#include "tests/lib/folder.h"
#include "tests/lib/syslog_kept.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define WORDS_MAX 16

static struct capture out, err;

/* Runs the words of a line, which blanks part; what it said is in `out` and `err`. */
static int
run(const char *line)
{
	char text[800], *argv[WORDS_MAX + 1] = { (char[]){ "pop-admin" } }, *word, *rest;
	int argc = 1, code;

	snprintf(text, sizeof(text), "%s", line);
	for (word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		ck_assert_int_lt(argc, WORDS_MAX);
		argv[argc++] = word;
	}
	capture_begin(&out, stdout);
	capture_begin(&err, stderr);
	code = options_run(argc, argv);
	capture_end(&err);
	capture_end(&out);
	return code;
}

static void
assert_one_sentence(void)
{
	ck_assert_int_eq(strncmp(err.text, "pop-admin: ", 11), 0);
	ck_assert_ptr_eq(strchr(err.text, '\n'), err.text + strlen(err.text) - 1);
	ck_assert_str_eq(out.text, "");
}

START_TEST(every_status_has_a_code)
{
	static const int known[] = { EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE,
		EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG };

	for (int st = 0; st < SPOOL_STATUSES; st++) {
		int code = admin_exit_code((enum spool_status)st);
		bool found = false;

		for (int i = 0; i < COUNT(known); i++)
			found = found || known[i] == code;
		ck_assert_msg(st == SPOOL_OK ? code == EX_OK : found, "%s: %d",
		    spool_status_text((enum spool_status)st), code);
		ck_assert_ptr_nonnull(spool_status_text((enum spool_status)st));
	}
}
END_TEST

static const struct {
	enum spool_status st;
	int code;
} codes[] = {
	{ SPOOL_NO_DOMAIN, 65 },
	{ SPOOL_NO_MESSAGE, 65 },
	{ SPOOL_NOT_LOCAL, 65 },
	{ SPOOL_DAMAGED, 65 },
	{ SPOOL_NO_MAILBOX, 67 },
	{ SPOOL_NO_SPOOL, 69 },
	{ SPOOL_EXISTS, 73 },
	{ SPOOL_IO, 74 },
	{ SPOOL_BUSY, 75 },
	{ SPOOL_NOT_READY, 75 },
};

START_TEST(promised_codes)
{
	ck_assert_int_eq(admin_exit_code(codes[_i].st), codes[_i].code);
	capture_begin(&err, stderr);
	ck_assert_int_eq(admin_result(codes[_i].st, "joe"), codes[_i].code);
	capture_end(&err);
	ck_assert_int_eq(strncmp(err.text, "pop-admin: joe: ", 16), 0);
	capture_begin(&err, stderr);
	ck_assert_int_eq(admin_result(SPOOL_OK, "joe"), 0);
	capture_end(&err);
	ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(table)
{
	char line[200];

	for (size_t i = 0; i < ncommands; i++) {
		const struct command *c = &commands[i];
		const char *blank = c->verb != NULL ? " " : "",
			   *verb = c->verb != NULL ? c->verb : "";

		for (size_t k = 0; k < i; k++) {
			if (strcmp(commands[k].noun, c->noun) != 0)
				continue;
			/* A noun has verbs, each once, or none. */
			ck_assert(c->verb != NULL && commands[k].verb != NULL);
			ck_assert_str_ne(commands[k].verb, c->verb);
		}
		snprintf(line, sizeof(line), "%s%s%s", c->noun, blank, verb);
		if (c->run == NULL) {
			ck_assert_int_eq(run(line), EX_USAGE);
			assert_one_sentence();
			ck_assert_ptr_nonnull(strstr(err.text, "is not in this version"));
			ck_assert_ptr_nonnull(strstr(err.text, line));
			strcat(line, " a b c d e");
			ck_assert_int_eq(run(line), EX_USAGE);
			ck_assert_ptr_nonnull(strstr(err.text, "is not in this version"));
			continue;
		}
		ck_assert_uint_le(c->min, c->max);
		ck_assert_str_ne(c->does, "");
		/* Help names it. */
		ck_assert_int_eq(run("--help"), EX_OK);
		ck_assert_msg(strstr(out.text, line) != NULL, "%s", line);
		ck_assert_ptr_nonnull(strstr(out.text, c->does));
		/* Too few and too many. */
		if (c->min > 0) {
			ck_assert_int_eq(run(line), EX_USAGE);
			assert_one_sentence();
			ck_assert_ptr_nonnull(strstr(err.text, "usage: pop-admin "));
			ck_assert_ptr_nonnull(strstr(err.text, c->operands));
		}
		if (c->max < 5) {
			strcat(line, " a b c d e");
			ck_assert_int_eq(run(line), EX_USAGE);
			assert_one_sentence();
		}
	}
}
END_TEST

static const struct {
	const char *name, *line;
	int code;
	const char *says; /* on standard error; NULL: nothing */
} lines[] = {
	{ "nothing", "", EX_USAGE, "no command" },
	{ "unknown", "frobnicate", EX_USAGE, "frobnicate" },
	{ "noun alone", "user", EX_USAGE, "what is to be done" },
	{ "unknown verb", "user frobnicate", EX_USAGE, "user frobnicate" },
	{ "unknown option", "user list --frobnicate", EX_USAGE, "--frobnicate" },
	{ "unknown letter", "-x user list", EX_USAGE, "-x" },
	{ "file missing", "user list -c", EX_USAGE, "-c needs a file" },
	{ "no such file", "-c /nonexistent user list", EX_CONFIG, "/nonexistent" },
	{ "no such file, behind", "user list -c /nonexistent", EX_CONFIG, "/nonexistent" },
	{ "no such file, together", "-c/nonexistent user list", EX_CONFIG, "/nonexistent" },
	{ "key missing", "user list --sort", EX_USAGE, "--sort needs a key" },
	{ "apop elsewhere", "user list --apop", EX_USAGE, "takes no --apop" },
	{ "sort elsewhere", "domain list --sort users", EX_USAGE, "takes no --sort" },
	{ "quota elsewhere", "user list --quota 1G", EX_USAGE, "takes no --quota" },
	{ "quota missing", "user add joe@a.test --quota", EX_USAGE, "--quota needs a size" },
	{ "quota, together", "user list --quota=1G", EX_USAGE, "takes no --quota" },
	{ "expire elsewhere", "user quota joe@a.test 1G --expire 1d", EX_USAGE, "takes no --expire" },
	{ "expire missing", "user add joe@a.test --expire", EX_USAGE, "--expire needs an age" },
	{ "now elsewhere", "user quota joe@a.test 1G --now", EX_USAGE, "takes no --now" },
	{ "now with a value", "user expire joe@a.test 1d --now=1", EX_USAGE, "no option --now=1" },
	{ "almost an option", "user list --sorted", EX_USAGE, "no option --sorted" },
	{ "repair elsewhere", "status --repair", EX_USAGE, "takes no --repair" },
	{ "dry run elsewhere", "check --dry-run", EX_USAGE, "takes no --dry-run" },
	{ "help", "--help", EX_OK, NULL },
	{ "help for a noun", "user --help", EX_OK, NULL },
	{ "help for a command", "user add -h", EX_OK, NULL },
	{ "help for what is unknown", "frobnicate --help", EX_OK, NULL },
	{ "version", "-V", EX_OK, NULL },
	{ "version, behind", "user list --version", EX_OK, NULL },
};

START_TEST(command_lines)
{
	ck_assert_msg(run(lines[_i].line) == lines[_i].code, "%s: %s", lines[_i].name, err.text);
	if (lines[_i].says == NULL) {
		ck_assert_str_eq(err.text, "");
		ck_assert_str_ne(out.text, "");
	} else {
		assert_one_sentence();
		ck_assert_msg(strstr(err.text, lines[_i].says) != NULL, "%s", err.text);
	}
}
END_TEST

static const struct {
	const char *text;
	bool is_age;
	uint64_t min_s;
	int code;
	uint64_t want;
} limits[] = {
	{ "none", false, 0, EX_OK, NUM_UNLIMITED },
	{ "1G", false, 0, EX_OK, 1 << 30 },
	{ "1", false, 0, EX_OK, 1 },
	{ "0", false, 0, EX_DATAERR, 0 },
	{ "", false, 0, EX_DATAERR, 0 },
	{ "never", false, 0, EX_DATAERR, 0 },
	{ "site", false, 0, EX_DATAERR, 0 },
	{ "-1", false, 0, EX_DATAERR, 0 },
	{ "1X", false, 0, EX_DATAERR, 0 },
	{ "never", true, 86400, EX_OK, NUM_UNLIMITED },
	{ "1d", true, 86400, EX_OK, 86400 },
	{ "24h", true, 86400, EX_OK, 86400 },
	{ "86399s", true, 86400, EX_DATAERR, 0 },
	{ "0s", true, 86400, EX_DATAERR, 0 },
	{ "0s", true, 0, EX_OK, 0 },
	{ "none", true, 0, EX_DATAERR, 0 },
	{ "30", true, 0, EX_DATAERR, 0 },
	{ "", true, 0, EX_DATAERR, 0 },
};

START_TEST(quotas_and_ages)
{
	uint64_t got = 0;
	int code;

	capture_begin(&out, stdout);
	capture_begin(&err, stderr);
	code = limits[_i].is_age ? admin_age(limits[_i].text, limits[_i].min_s, &got)
	                         : admin_quota(limits[_i].text, &got);
	capture_end(&err);
	capture_end(&out);
	ck_assert_int_eq(code, limits[_i].code);
	if (code == EX_OK)
		ck_assert_uint_eq(got, limits[_i].want);
	else
		assert_one_sentence();
}
END_TEST

START_TEST(help_is_about_what_was_asked)
{
	ck_assert_int_eq(run("alias --help"), EX_OK);
	ck_assert_ptr_nonnull(strstr(out.text, "alias resolve ADDRESS\n"));
	ck_assert_ptr_null(strstr(out.text, "user add"));
	ck_assert_int_eq(run("frobnicate --help"), EX_OK);
	ck_assert_ptr_nonnull(strstr(out.text, "user add"));
	ck_assert_ptr_nonnull(strstr(out.text, "alias resolve"));
	/* Nothing is promised that is not there. */
	ck_assert_ptr_null(strstr(out.text, "kick"));
	ck_assert_int_eq(run("-V"), EX_OK);
	ck_assert_int_eq(strncmp(out.text, "pop-admin (Restante) ", 21), 0);
}
END_TEST

static const struct {
	const char *text;
	bool catch_all;
	int code;
	const char *local, *domain;
} addresses[] = {
	{ "joe@a.test", false, EX_OK, "joe", "a.test" },
	{ "\"odd joe\"@a.test", false, EX_OK, "odd joe", "a.test" },
	{ "@a.test", true, EX_OK, "", "a.test" },
	{ "@a.test", false, EX_DATAERR, NULL, NULL },
	{ "\"\"@a.test", false, EX_DATAERR, NULL, NULL },
	{ "\"\"@a.test", true, EX_DATAERR, NULL, NULL },
	{ "@", true, EX_DATAERR, NULL, NULL },
	{ "joe", false, EX_DATAERR, NULL, NULL },
	{ "", false, EX_DATAERR, NULL, NULL },
	{ "joe@[127.0.0.1]", false, EX_DATAERR, NULL, NULL },
	{ "@[127.0.0.1]", true, EX_DATAERR, NULL, NULL },
	{ "<joe@a.test>", false, EX_DATAERR, NULL, NULL },
	{ "joe@a.test ", false, EX_DATAERR, NULL, NULL },
};

START_TEST(full_addresses)
{
	struct address address;

	capture_begin(&err, stderr);
	ck_assert_int_eq(admin_address(addresses[_i].text, addresses[_i].catch_all, &address),
	    addresses[_i].code);
	capture_end(&err);
	if (addresses[_i].code != EX_OK) {
		ck_assert_ptr_nonnull(strstr(err.text, "is not a full address"));
		return;
	}
	ck_assert_str_eq(err.text, "");
	ck_assert_str_eq(address.local, addresses[_i].local);
	ck_assert_str_eq(address.domain, addresses[_i].domain);
}
END_TEST

/* --- what an administrator does is found in a log afterwards -------------------- */

static char folder[200];

static void
write_file(const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

/* A command on the site in `folder`, which says nothing on standard error. */
__attribute__((format(printf, 1, 2))) static void
on_site(const char *fmt, ...)
{
	char line[800], text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "-c %s/conf --yes %s", folder, text);
	syslog_kept[0] = '\0';
	ck_assert_msg(run(line) == EX_OK, "%s: %s", line, err.text);
	ck_assert_msg(err.text[0] == '\0', "%s: %s", line, err.text);
}

static void
site_begin(void)
{
	char path[300], conf[600];
	int fd;

	snprintf(folder, sizeof(folder), "%.150s/command-XXXXXX", test_memory());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(conf, sizeof(conf),
	    "[site]\nhostname = mail.example.test\nuser = root\nspool = %s/spool\n"
	    "[spool]\nkeep_deleted = 7d\nreserve = 1M\n",
	    folder);
	write_file("conf", conf);
	write_file("password", "secret\n");
	snprintf(path, sizeof(path), "%s/mail", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	write_file("mail/one.eml", "Subject: one\n\nbody\n");
	snprintf(path, sizeof(path), "%s/password", folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	on_site("init");
	ck_assert_int_ge(dup2(fd, STDIN_FILENO), 0);
	on_site("user add joe@a.test");
	on_site("import joe@a.test %s/mail", folder);
}

static void
assert_logged(const char *want)
{
	ck_assert_msg(strstr(syslog_kept, want) != NULL, "no %s in: %s", want, syslog_kept);
}

START_TEST(what_was_done_is_logged)
{
	char uid[80] = "";
	const char *at;

	site_begin();
	on_site("backup %s/backup", folder);
	on_site("mail list joe@a.test --json");
	at = strstr(out.text, "\"uid\":");
	ck_assert_msg(at != NULL && sscanf(at, "\"uid\": \"%70[^\"]", uid) == 1, "%s", out.text);
	on_site("mail remove joe@a.test %s", uid);
	assert_logged("6 event=removed cause=admin user=joe@a.test messages=1 octets=");
	on_site("mail restore joe@a.test %s", uid);
	assert_logged("6 event=restored user=joe@a.test messages=1 octets=");
	on_site("user remove joe@a.test");
	assert_logged("6 event=user_removed user=joe@a.test\n");
	ck_assert_int_eq(lseek(STDIN_FILENO, 0, SEEK_SET), 0);
	on_site("user add joe@a.test");
	on_site("restore %s/backup --mail joe@a.test", folder);
	assert_logged("6 event=brought_back user=joe@a.test messages=1 from=");
	ck_assert_int_eq(folder_remove(folder), 0);
}
END_TEST

START_TEST(an_account_that_is_not_there)
{
	char line[300];

	if (geteuid() != 0)
		return;
	snprintf(folder, sizeof(folder), "%.150s/command-XXXXXX", test_memory());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	write_file("conf", "[site]\nhostname = mail.example.test\nuser = nobody-of-this-name\n");
	snprintf(line, sizeof(line), "-c %s/conf status", folder);
	ck_assert_int_eq(run(line), EX_CONFIG);
	assert_one_sentence();
	ck_assert_int_eq(folder_remove(folder), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("command");
	TCase *tc = tcase_create("command");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, every_status_has_a_code);
	tcase_add_loop_test(tc, promised_codes, 0, COUNT(codes));
	tcase_add_test(tc, table);
	tcase_add_loop_test(tc, command_lines, 0, COUNT(lines));
	tcase_add_loop_test(tc, quotas_and_ages, 0, COUNT(limits));
	tcase_add_test(tc, help_is_about_what_was_asked);
	tcase_add_loop_test(tc, full_addresses, 0, COUNT(addresses));
	tcase_add_test(tc, what_was_done_is_logged);
	tcase_add_test(tc, an_account_that_is_not_there);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
