/* The template of the warning that stands beside the configuration: taken, or refused with its
 * name, its line, and what would be right. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define TEXT(literal) literal, sizeof(literal) - 1

static char folder[] = "/tmp/test_warning.XXXXXX";
static char conf[64], template[64];

static void
write_file(const char *path, const char *text, size_t len)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(text, 1, len, out), len);
	ck_assert_int_eq(fclose(out), 0);
}

static void
make(void)
{
	static const char text[] = "[site]\nhostname = mail.example.org\n";

	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(conf, sizeof(conf), "%s/restante.conf", folder);
	(void)snprintf(template, sizeof(template), "%s/" CONFIG_WARNING_FILE, folder);
	write_file(conf, text, strlen(text));
}

static void
unmake(void)
{
	(void)remove(template);
	(void)remove(conf);
	(void)rmdir(folder);
}

/* What is complained of, behind the template's name; "" when all is well. */
static const char *
load(struct config **c_r)
{
	static char why[4096];
	struct strbuf err;

	*c_r = NULL;
	strbuf_init(&err, sizeof(why) - 1);
	if (config_load(conf, c_r, &err) == 0) {
		ck_assert_ptr_nonnull(*c_r);
		ck_assert_str_eq(err.buf, "");
		why[0] = '\0';
	} else {
		ck_assert_ptr_null(*c_r);
		ck_assert_msg(strncmp(err.buf, template, strlen(template)) == 0, "%s", err.buf);
		strcpy(why, err.buf + strlen(template));
	}
	strbuf_release(&err);
	return why;
}

#define NOT_UTF8 " is not UTF-8: save the text in that form"
#define NO_SUBJECT ":1: has no subject: write \"Subject: \" and what the message is about"
#define NOT_EMPTY ":2: is not empty: write an empty line below the subject"

static const struct {
	const char *text;
	size_t len;
	const char *error;
} rows[] = {
	{ TEXT("Subject: Full\n\nYour mailbox is full.\n"), "" },
	{ TEXT("Subject: Full\r\n\r\nYour mailbox is full.\r\n"), "" },
	{ TEXT("subject:Full\n\n"), "" },
	{ TEXT("SUBJECT:\tFull\n"), "" },
	{ TEXT("Subject: Full"), "" },
	{ TEXT("Subject: x\n\n\n"), "" },
	{ TEXT("\xef\xbb\xbfSubject: F\xc3\xbcr Sie\n\nGr\xc3\xbc\xc3\x9f" "e\n"), "" },
	{ TEXT(""), NO_SUBJECT },
	{ TEXT("\n"), NO_SUBJECT },
	{ TEXT("\nSubject: Full\n\n"), NO_SUBJECT },
	{ TEXT("Subject:\n\nx\n"), NO_SUBJECT },
	{ TEXT("Subject: \t \r\n\r\nx\r\n"), NO_SUBJECT },
	{ TEXT("Subject:"), NO_SUBJECT },
	{ TEXT("Subject : Full\n\n"), NO_SUBJECT },
	{ TEXT(" Subject: Full\n\n"), NO_SUBJECT },
	{ TEXT("Your mailbox is full.\n"), NO_SUBJECT },
	{ TEXT("Subject: Full\nYour mailbox is full.\n"), NOT_EMPTY },
	{ TEXT("Subject: Full\n \nYour mailbox is full.\n"), NOT_EMPTY },
	{ TEXT("Subject: Full\n of mail\n\n"), NOT_EMPTY },
	{ TEXT("Subject: Full\r\nTo: me\r\n\r\n"), NOT_EMPTY },
	{ TEXT("Subject: Full\n\r\rx\n"), NOT_EMPTY },
	{ TEXT("Subject: F\xfcr Sie\n\n"), ":1:" NOT_UTF8 },
	{ TEXT("Subject: Full\n\nOne\nGr\xc3\xbc\xdf" "e\n"), ":4:" NOT_UTF8 },
	{ TEXT("Subject: Full\n\nOne\n\xc3"), ":4:" NOT_UTF8 },
	{ TEXT("Subject: Full\n\nA NUL\0\n\xff"), ":3:" NOT_UTF8 },
	{ TEXT("Subject: Full\n\n\xff" "A NUL\n\0"), ":3:" NOT_UTF8 },
	{ TEXT("\xff\xfeS\0u\0b\0j\0"), ":1:" NOT_UTF8 },
};

START_TEST(a_template_is_taken_or_refused)
{
	struct config *c;

	write_file(template, rows[_i].text, rows[_i].len);
	ck_assert_str_eq(load(&c), rows[_i].error);
	if (c != NULL)
		ck_assert_str_eq(c->spool.quota_warning, rows[_i].text);
	config_unref(&c);
}
END_TEST

START_TEST(without_a_template_there_is_none)
{
	struct config *c;

	ck_assert_str_eq(load(&c), "");
	ck_assert_ptr_null(c->spool.quota_warning);
	config_unref(&c);
}
END_TEST

/* Beside the configuration, wherever that is named from. */
START_TEST(it_stands_beside_the_configuration)
{
	struct config *c = NULL;
	struct strbuf err;

	write_file(template, TEXT("Subject: Full\n"));
	ck_assert_int_eq(chdir(folder), 0);
	strbuf_init(&err, 4096);
	ck_assert_msg(config_load("restante.conf", &c, &err) == 0, "%s", err.buf);
	ck_assert_str_eq(c->spool.quota_warning, "Subject: Full\n");
	config_unref(&c);

	/* And only there: another folder's is none of ours. */
	ck_assert_int_eq(mkdir("other", 0700), 0);
	ck_assert_int_eq(rename("restante.conf", "other/restante.conf"), 0);
	ck_assert_msg(config_load("other/restante.conf", &c, &err) == 0, "%s", err.buf);
	ck_assert_ptr_null(c->spool.quota_warning);
	config_unref(&c);
	strbuf_release(&err);
	ck_assert_int_eq(remove("other/restante.conf"), 0);
	ck_assert_int_eq(rmdir("other"), 0);
}
END_TEST

START_TEST(it_has_at_most_16K)
{
	char text[CONFIG_WARNING_MAX + 1];
	struct config *c;

	memset(text, 'x', sizeof(text));
	memcpy(text, "Subject: Full\n\n", 15);
	write_file(template, text, sizeof(text) - 1);
	ck_assert_str_eq(load(&c), "");
	ck_assert_uint_eq(strlen(c->spool.quota_warning), CONFIG_WARNING_MAX);
	config_unref(&c);
	write_file(template, text, sizeof(text));
	ck_assert_str_eq(load(&c), ": is larger than 16K");
}
END_TEST

START_TEST(one_that_cannot_be_read_is_an_error)
{
	struct config *c;

	ck_assert_int_eq(mkdir(template, 0700), 0);
	ck_assert_str_eq(load(&c), ": cannot be read: Is a directory");
	ck_assert_int_eq(rmdir(template), 0);

	ck_assert_int_eq(symlink(CONFIG_WARNING_FILE, template), 0);
	ck_assert_str_eq(load(&c), ": Too many levels of symbolic links");
	ck_assert_int_eq(unlink(template), 0);

	/* Whom modes do not stop, root, cannot see this one. */
	write_file(template, TEXT("Subject: Full\n"));
	ck_assert_int_eq(chmod(template, 0), 0);
	ck_assert_str_eq(load(&c), geteuid() == 0 ? "" : ": Permission denied");
	config_unref(&c);
}
END_TEST

/* The site that is installed has a good one. */
START_TEST(the_example_is_good)
{
	FILE *in = fopen("init/quota-warning.txt", "r");
	char text[CONFIG_WARNING_MAX];
	struct config *c;
	size_t len;

	ck_assert_msg(in != NULL, "%s", strerror(errno));
	len = fread(text, 1, sizeof(text), in);
	(void)fclose(in);
	write_file(template, text, len);
	ck_assert_str_eq(load(&c), "");
	config_unref(&c);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("warning_file");
	TCase *tc = tcase_create("warning_file");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, make, unmake);
	tcase_add_loop_test(tc, a_template_is_taken_or_refused, 0, COUNT(rows));
	tcase_add_test(tc, without_a_template_there_is_none);
	tcase_add_test(tc, it_stands_beside_the_configuration);
	tcase_add_test(tc, it_has_at_most_16K);
	tcase_add_test(tc, one_that_cannot_be_read_is_an_error);
	tcase_add_test(tc, the_example_is_good);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
