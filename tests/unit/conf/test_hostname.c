/* hostname: which names may stand in greetings, and what a machine calls itself. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/conf/config_internal.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#define FULL ": write a full name such as mail.example.org"
#define LABEL_63 "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy"

static const struct {
	const char *name, *error;
} names[] = {
	{ "mail.example.org", NULL },
	{ "MAIL.Example.ORG", NULL },
	{ "a.b", NULL },
	{ "0.example", NULL },
	{ "x--y.example", NULL },
	{ LABEL_63 ".example", NULL },
	{ LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63, NULL },
	{ LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63 ".a", "is longer than 255 octets" FULL },
	{ LABEL_63 "z.example", "is no domain name" FULL },
	{ "localhost", "has no dot in it" FULL },
	{ "", "has no dot in it" FULL },
	{ ".", "is no domain name" FULL },
	{ "mail.example.org.", "is no domain name" FULL },
	{ ".example.org", "is no domain name" FULL },
	{ "mail..org", "is no domain name" FULL },
	{ "-mail.example", "is no domain name" FULL },
	{ "mail-.example", "is no domain name" FULL },
	{ "mail_1.example", "is no domain name" FULL },
	{ "mail example.org", "is no domain name" FULL },
	{ "mail.example.org:25", "is no domain name" FULL },
	{ "m\xc3\xbcller.example", "is no domain name" FULL },
	{ "[192.0.2.1]", "is no domain name" FULL },
	{ "192.0.2.1", "is an address, not a name" FULL },
	{ "a.1", "is an address, not a name" FULL },
};

START_TEST(names_are_checked)
{
	struct strbuf err;
	int rc;

	strbuf_init(&err, 200);
	rc = config_hostname_check(names[_i].name, &err);
	ck_assert_msg(rc == (names[_i].error == NULL ? 0 : -1), "%s", names[_i].name);
	ck_assert_str_eq(err.buf, names[_i].error == NULL ? "" : names[_i].error);
	strbuf_release(&err);
}
END_TEST

/* NODE stands for this machine's own name.  want NULL: the node name as it is. */
static const struct {
	const char *hosts, *want;
} machines[] = {
	{ "", NULL },
	{ "127.0.1.1 NODE.example.org NODE\n", "NODE.example.org" },
	{ "127.0.1.1 NODE.example.org other.example NODE\n", "NODE.example.org" },
	{ "127.0.1.1 NODE NODE.example.org\n", "NODE.example.org" },
	{ "127.0.1.1\tnode2\tother.example\tNODE", "other.example" },
	{ "127.0.1.1 NODE\n::1 NODE NODE.example.org\r\n", "NODE.example.org" },
	{ "127.0.1.1 NODE\n", NULL },
	{ "127.0.1.1 other.example.org other\n", NULL },
	{ "127.0.1.1 NODE.example.org\n", NULL },
	{ "#127.0.1.1 NODE.example.org NODE\n", NULL },
	{ "127.0.1.1 NODE # NODE.example.org\n", NULL },
	{ "NODE NODE.example.org\n", NULL },
	{ "\n \n#\n127.0.1.1\n", NULL },
};

START_TEST(hosts_file_completes_the_name)
{
	char path[] = "/tmp/test_hostname.XXXXXX", *name;
	int fd = mkstemp(path);
	struct utsname machine;
	struct strbuf want;
	const char *p;
	FILE *out;

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(uname(&machine), 0);
	out = fdopen(fd, "w");
	ck_assert_ptr_nonnull(out);
	strbuf_init(&want, 500);
	for (p = machines[_i].hosts; *p != '\0'; p++) {
		if (strncmp(p, "NODE", 4) == 0) {
			ck_assert_int_ge(fputs(machine.nodename, out), 0);
			p += 3;
		} else {
			ck_assert_int_ne(fputc(*p, out), EOF);
		}
	}
	ck_assert_int_eq(fclose(out), 0);

	p = machines[_i].want;
	if (p == NULL || strchr(machine.nodename, '.') != NULL) {
		strbuf_addstr(&want, machine.nodename);
	} else {
		if (strncmp(p, "NODE", 4) == 0) {
			strbuf_addstr(&want, machine.nodename);
			p += 4;
		}
		strbuf_addstr(&want, p);
	}
	name = config_hostname_default(path);
	ck_assert_str_eq(name, want.buf);
	free(name);
	strbuf_release(&want);
	ck_assert_int_eq(unlink(path), 0);

	name = config_hostname_default(path);
	ck_assert_str_eq(name, machine.nodename);
	free(name);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hostname");
	TCase *tc = tcase_create("hostname");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, names_are_checked, 0, COUNT(names));
	tcase_add_loop_test(tc, hosts_file_completes_the_name, 0, COUNT(machines));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
