/* smtpd: what its own hook refuses of a configuration that is well-formed. */
#include <check.h>

#include "drive.h"
#include "smtpd/smtpd.h"

/* RFC 2033 5: LMTP is never spoken on port 25. */
static const struct {
	const char *listen_lmtp;
	bool refused;
} rows[] = {
	{ "127.0.0.1:25", true },
	{ "[::1]:25", true },
	{ "unix:/run/lmtp 0.0.0.0:25", true },
	{ "127.0.0.1:24", false },
	{ "[::1]:2500", false },
	{ "unix:/run/lmtp:25", false },
	{ "none", false },
};

START_TEST(lmtp_is_not_on_port_25)
{
	struct smtpd d = { .lock = PTHREAD_MUTEX_INITIALIZER };
	char dir[] = "/tmp/smtpd-test-XXXXXX", keys[128], file[96];
	struct server_options options;
	struct config *config;
	struct strbuf err;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(keys, sizeof(keys), "listen_lmtp = %s", rows[_i].listen_lmtp);
	config = site_config(dir, keys);
	config_unref(&config);
	snprintf(file, sizeof(file), "%s/restante.conf", dir);
	strbuf_init(&err, 1000);
	ck_assert_int_eq(
	    smtpd_configure(&d, file, false, &options, &err), rows[_i].refused ? -1 : 0);
	if (rows[_i].refused)
		ck_assert_ptr_nonnull(strstr(err.buf, "listen_lmtp: port 25 is SMTP's alone"));
	else
		ck_assert_str_eq(err.buf, "");
	smtpd_close(&d);
	strbuf_release(&err);
	nftw(dir, site_unlink, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtpd");
	TCase *t = tcase_create("hooks");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, lmtp_is_not_on_port_25, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
