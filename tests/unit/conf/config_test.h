/*
 * config_test - a configuration file for the tests of one program, written and loaded.
 */
#ifndef TESTS_UNIT_CONF_CONFIG_TEST_H
#define TESTS_UNIT_CONF_CONFIG_TEST_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf/config_internal.h"
#include "conf/config.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define HOST "[site]\nhostname = mail.example.org\n"

static char path[] = "/tmp/test_config.XXXXXX";

static void
write_text(const char *text, size_t len)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(text, 1, len, out), len);
	ck_assert_int_eq(fclose(out), 0);
}

/* NULL, with the message in err behind the file's name. */
static struct config *
load(const char *text, struct strbuf *err)
{
	struct config *c = NULL;
	struct strbuf whole;

	write_text(text, strlen(text));
	strbuf_init(&whole, 4096);
	if (config_load(path, &c, &whole) == 0) {
		ck_assert_ptr_nonnull(c);
		ck_assert_str_eq(whole.buf, "");
	} else {
		ck_assert_ptr_null(c);
		ck_assert_ptr_eq(strstr(whole.buf, path), whole.buf);
		strbuf_addstr(err, whole.buf + strlen(path));
	}
	strbuf_release(&whole);
	return c;
}

static struct config *
load_good(const char *text)
{
	struct strbuf err;
	struct config *c;

	strbuf_init(&err, 4096);
	c = load(text, &err);
	ck_assert_msg(c != NULL, "%s", err.buf);
	strbuf_release(&err);
	return c;
}

/* Runs the suite, with a file at `path`, and frees it; what main() returns. */
static int
run_with_file(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed, fd = mkstemp(path);

	if (fd == -1) {
		perror(path);
		srunner_free(runner);
		return 1;
	}
	(void)close(fd);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	(void)unlink(path);
	return failed != 0;
}

#endif
