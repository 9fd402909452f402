/* pop3d's own hooks: how it ends where there is no spool that it can serve, and what it says of its
 * configuration. */
#include <check.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>

#include "drive.h"
#include "tests/unit/pop-admin/capture.h"

static struct site site; /* its folders alone */
static struct pop3d d;
static struct strbuf err;
static struct server_options options;
static struct capture said;

static const char *
configure_file(const char *keys)
{
	static char file[300];
	FILE *f;

	snprintf(file, sizeof(file), "%s/restante.conf", site.dir);
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "[site]\nhostname = mail.example.test\nspool = %s\n[pop3d]\n%s\n",
	    site.spool_dir, keys);
	ck_assert_int_eq(fclose(f), 0);
	return file;
}

static void
begin(void)
{
	snprintf(site.dir, sizeof(site.dir), "%s/pop3d-test-XXXXXX", test_memory());
	ck_assert_ptr_nonnull(mkdtemp(site.dir));
	snprintf(site.spool_dir, sizeof(site.spool_dir), "%s/spool", site.dir);
	strbuf_init(&err, 1000);
	d = (struct pop3d){ .lock = PTHREAD_MUTEX_INITIALIZER };
}

static void
end(void)
{
	pop3d_close(&d);
	strbuf_release(&err);
	ck_assert_int_eq(folder_remove(site.dir), 0);
}

static void
nothing(void)
{
}

static void
a_file(void)
{
	fclose(fopen(site.spool_dir, "w"));
}

static void
a_spool(void)
{
	ck_assert_int_eq(spool_create(site.spool_dir, &err), SPOOL_OK);
}

static void
a_newer_spool(void)
{
	char path[330];
	sqlite3 *db;

	a_spool();
	snprintf(path, sizeof(path), "%s/index/index.db", site.spool_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(
	    sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* Clients are told to come again. */
static void
a_damaged_index(void)
{
	char path[330];

	a_spool();
	snprintf(path, sizeof(path), "%s/index/index.db", site.spool_dir);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(truncate(path, 8192), 0);
}

static const struct {
	void (*make)(void);
	int code;
	const char *says;
} opens[] = {
	{ nothing, EX_UNAVAILABLE, "run pop-admin init" },
	{ a_file, EX_IOERR, "Not a directory" },
	{ a_spool, EX_OK, "" },
	{ a_newer_spool, EX_CONFIG, "newer" },
	{ a_damaged_index, EX_OK, "" },
};

START_TEST(a_spool_is_opened_or_it_is_said_why_not)
{
	const struct timespec nap = { .tv_nsec = 10000000 };
	const char *file = configure_file("listen = 127.0.0.1:0");

	opens[_i].make();
	capture_begin(&said, stderr);
	ck_assert_int_eq(pop3d_configure(&d, file, false, &options, &err), 0);
	ck_assert_int_eq(pop3d_open(&d, NULL, &err), opens[_i].code);
	/* Also where nothing can be shown: then clients are told so. */
	for (int i = 0; opens[_i].code == EX_OK && i < 3000 && !pop3d_ready(&d); i++)
		nanosleep(&nap, NULL);
	ck_assert(opens[_i].code != EX_OK || pop3d_ready(&d));
	capture_end(&said);
	ck_assert_msg(strstr(err.len > 0 ? err.buf : "", opens[_i].says) != NULL, "%s", err.buf);
}
END_TEST

/* What a site without a certificate means for those who want to log in, at the start and at a
 * reload. */
static const struct {
	const char *keys, *says;
} certificates[] = {
	{ "plaintext_auth = never", "nobody can log in" },
	{ "plaintext_auth = loopback", "nobody outside this machine can log in" },
	{ "plaintext_auth = always", NULL },
};

static void
require_warning(const char *says)
{
	capture_end(&said);
	if (says == NULL)
		ck_assert_ptr_null(strstr(said.text, "no_certificate"));
	else
		ck_assert_msg(strstr(said.text, says) != NULL, "%s", said.text);
}

START_TEST(a_missing_certificate_is_told)
{
	const char *file = configure_file(certificates[_i].keys);

	a_spool();
	capture_begin(&said, stderr);
	ck_assert_int_eq(pop3d_configure(&d, file, false, &options, &err), 0);
	ck_assert_int_eq(pop3d_open(&d, NULL, &err), EX_OK);
	require_warning(certificates[_i].says);
	capture_begin(&said, stderr);
	ck_assert_int_eq(pop3d_configure(&d, file, true, &options, &err), 0);
	require_warning(certificates[_i].says);
}
END_TEST

START_TEST(what_a_reload_cannot_change_is_told)
{
	const char *file =
	    configure_file("plaintext_auth = always\nlisten = 127.0.0.1:4110\nlisten_tls = none");
	size_t nlisten;

	ck_assert_int_eq(pop3d_configure(&d, file, false, &options, &err), 0);
	nlisten = options.nlisten;
	ck_assert_uint_eq(nlisten, 1);
	configure_file("plaintext_auth = always\nlisten = 127.0.0.1:4110 127.0.0.1:4111\n"
		       "listen_tls = none\ntimeout = 11m");
	capture_begin(&said, stderr);
	ck_assert_int_eq(pop3d_configure(&d, file, true, &options, &err), 0);
	capture_end(&said);
	ck_assert_msg(strstr(said.text, "restart_needed") != NULL, "%s", said.text);
	ck_assert_msg(strstr(said.text, "listen") != NULL, "%s", said.text);
	ck_assert_uint_eq(options.nlisten, nlisten);
	ck_assert_uint_eq(options.timeout_ms, 11 * 60 * 1000);
	/* One that is wrong changes nothing. */
	configure_file("timeout = soon");
	ck_assert_int_eq(pop3d_configure(&d, file, true, &options, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.buf, "timeout"));
	ck_assert_uint_eq(d.config->pop3d.timeout_s, 11 * 60);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3d");
	TCase *t = tcase_create("hooks");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_loop_test(
	    t, a_spool_is_opened_or_it_is_said_why_not, 0, (int)(sizeof(opens) / sizeof(opens[0])));
	tcase_add_loop_test(t, a_missing_certificate_is_told, 0,
	    (int)(sizeof(certificates) / sizeof(certificates[0])));
	tcase_add_test(t, what_a_reload_cannot_change_is_told);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
