/* smtpd: what its own hooks refuse of a configuration that is well-formed, how it ends where there
 * is no spool that it can serve, what a reload cannot change; and what never gets into the log. */
#include <check.h>
#include <sqlite3.h>
#include <sysexits.h>

#include "drive.h"
#include "smtpd/smtpd.h"
#include "tests/unit/pop-admin/capture.h"

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
	folder_remove(dir);
}
END_TEST

/* --- opening ---------------------------------------------------------------- */

static char dir[64], spool_dir[80];
static struct capture said;

static void
make_dir(void)
{
	snprintf(dir, sizeof(dir), "%s/smtpd-test-XXXXXX", test_memory());
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(spool_dir, sizeof(spool_dir), "%s/spool", dir);
}

static void
remove_dir(void)
{
	ck_assert_int_eq(folder_remove(dir), 0);
}

static void
nothing(void)
{
}

static void
a_spool(void)
{
	struct strbuf err;

	strbuf_init(&err, 1000);
	ck_assert_int_eq(spool_create(spool_dir, &err), SPOOL_OK);
	strbuf_release(&err);
}

static void
a_newer_spool(void)
{
	char path[120];
	sqlite3 *db;

	a_spool();
	snprintf(path, sizeof(path), "%s/index/index.db", spool_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(
	    sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* Its folder of locks is a file. */
static void
without_locks(void)
{
	char path[120];

	a_spool();
	snprintf(path, sizeof(path), "%s/locks", spool_dir);
	ck_assert_int_eq(folder_remove(path), 0);
	fclose(fopen(path, "w"));
}

static const struct {
	void (*make)(void);
	int code;
	const char *says;
} opens[] = {
	{ nothing, EX_UNAVAILABLE, "run pop-admin init" },
	{ without_locks, EX_IOERR, "Not a directory" },
	{ a_newer_spool, EX_CONFIG, "newer" },
	{ a_spool, EX_OK, "" },
};

START_TEST(a_spool_is_opened_or_it_is_said_why_not)
{
	struct smtpd d = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct server_options options;
	struct strbuf err;
	char file[96];

	strbuf_init(&err, 1000);
	opens[_i].make();
	snprintf(file, sizeof(file), "%s/restante.conf", dir);
	struct config *config = site_config(dir, "");

	config_unref(&config);
	capture_begin(&said, stderr);
	ck_assert_int_eq(smtpd_configure(&d, file, false, &options, &err), 0);
	ck_assert_int_eq(smtpd_open(&d, NULL, &err), opens[_i].code);
	ck_assert(opens[_i].code != EX_OK || smtpd_ready(&d));
	capture_end(&said);
	ck_assert_msg(strstr(err.len > 0 ? err.buf : "", opens[_i].says) != NULL, "%s", err.buf);
	smtpd_close(&d);
	strbuf_release(&err);
}
END_TEST

START_TEST(what_a_reload_cannot_change_is_told)
{
	struct smtpd d = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct server_options options;
	struct config *config;
	struct strbuf err;
	char file[96];
	FILE *f;

	strbuf_init(&err, 1000);
	a_spool();
	snprintf(file, sizeof(file), "%s/restante.conf", dir);
	config = site_config(dir, "");
	config_unref(&config);
	ck_assert_int_eq(smtpd_configure(&d, file, false, &options, &err), 0);
	ck_assert_int_eq(smtpd_open(&d, NULL, &err), EX_OK);
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f,
	    "[site]\nhostname = mail.example.test\nspool = %s/elsewhere\n[smtpd]\n"
	    "listen = 127.0.0.1:0\nmax_message_size = 1M\n",
	    dir);
	ck_assert_int_eq(fclose(f), 0);
	log_set_level(LOG_LEVEL_WARNING);
	capture_begin(&said, stderr);
	ck_assert_int_eq(smtpd_configure(&d, file, true, &options, &err), 0);
	capture_end(&said);
	ck_assert_msg(strstr(said.text, "restart_needed") != NULL, "%s", said.text);
	ck_assert_msg(strstr(said.text, "spool") != NULL, "%s", said.text);
	ck_assert_uint_eq(d.config->smtpd.max_message_size, 1024 * 1024);
	smtpd_close(&d);
	strbuf_release(&err);
}
END_TEST

/* --- the log ---------------------------------------------------------------- */

/* Passwords that somebody sends to the wrong port: behind AUTH, or in lines of their own after it. */
static const char *const secrets[] = { "AUTH PLAIN c2VjcmV0\r\n", "AUTH\tPLAIN c2VjcmV0\r\n",
	"auth login\r\nc2VjcmV0\r\n", "AUTH\r\nc2VjcmV0\r\n", "AUTH PLAIN\r\nc2VjcmV0\n" };

START_TEST(no_password_is_logged)
{
	struct site site = { .disk = NULL };
	struct drive d;

	site_open(&site, "", 1);
	log_set_level(LOG_LEVEL_INFO);
	capture_begin(&said, stderr);
	drive_open(&d, &site, false);
	drive_say(&d, "EHLO c\r\nAUTHOR of this\r\n");
	drive_say(&d, secrets[_i]);
	drive_close(&d, SESSION_END_PEER);
	capture_end(&said);
	/* What is no password is. */
	ck_assert_ptr_nonnull(strstr(said.text, "AUTHOR of this"));
	ck_assert_ptr_null(strstr(said.text, "c2VjcmV0"));
	site_close(&site);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtpd");
	TCase *opening = tcase_create("opening");
	TCase *t = tcase_create("hooks");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, lmtp_is_not_on_port_25, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_loop_test(t, no_password_is_logged, 0, (int)(sizeof(secrets) / sizeof(*secrets)));
	suite_add_tcase(suite, t);
	tcase_set_timeout(opening, 60);
	tcase_add_checked_fixture(opening, make_dir, remove_dir);
	tcase_add_loop_test(opening, a_spool_is_opened_or_it_is_said_why_not, 0,
	    (int)(sizeof(opens) / sizeof(opens[0])));
	tcase_add_test(opening, what_a_reload_cannot_change_is_told);
	suite_add_tcase(suite, opening);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
