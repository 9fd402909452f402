/*
 * server: what surrounds a daemon: renewed certificates and configurations, supervisors,
 * root.
 */
#include <openssl/ssl.h>
#include <pwd.h>

#include "certificate.h"
#include "toyd.h"

/* --- reload ------------------------------------------------------------------ */

static long
served_serial(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	X509 *x;
	long serial;
	int fd = client();

	say(fd, "STARTTLS\r\n");
	hear(fd, "go\r\n");
	ssl = SSL_new(ctx);
	ck_assert(ctx != NULL && ssl != NULL && SSL_set_fd(ssl, fd) == 1);
	ck_assert_int_eq(SSL_connect(ssl), 1);
	x = SSL_get1_peer_certificate(ssl);
	ck_assert_ptr_nonnull(x);
	serial = ASN1_INTEGER_get(X509_get0_serialNumber(x));
	X509_free(x);
	ck_assert_int_eq(SSL_write(ssl, "QUIT\r\n", 6), 6);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return serial;
}

static void
write_tls_config(const char *more)
{
	char text[300];

	(void)snprintf(
	    text, sizeof(text), "listen 127.0.0.1:0\ncert %s\nkey %s\n%s", cert, key, more);
	write_config(text);
}

START_TEST(a_renewed_certificate_is_taken)
{
	const char *at;
	FILE *f;

	certificate_make(cert, key, false, 41);
	write_tls_config("");
	start();
	learn_address("toy");
	ck_assert_int_eq(served_serial(), 41);

	certificate_make(cert, key, false, 42);
	ck_assert_int_eq(served_serial(), 41);
	signal_daemon(SIGHUP);
	at = log_line("event=reloaded ");
	ck_assert_int_eq(served_serial(), 42);

	/* A broken one is not; the old one stays. */
	f = fopen(cert, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fclose(f), 0);
	signal_daemon(SIGHUP);
	at = log_line_after(at, "event=reload_failed");
	at = log_line_after(at, "event=reloaded_in_part ");
	ck_assert_int_eq(served_serial(), 42);

	/* Nor does a broken configuration keep a good certificate out. */
	certificate_make(cert, key, false, 43);
	write_tls_config("bad x\n");
	signal_daemon(SIGHUP);
	at = log_line_after(at, "event=reload_failed error=\"this is bad: bad\"");
	at = log_line_after(at, "event=reloaded_in_part ");
	ck_assert_int_eq(served_serial(), 43);
	stop_daemon();
}
END_TEST

START_TEST(a_reload_changes_limits_and_keeps_sessions)
{
	int fd;

	start();
	learn_address("toy");
	fd = client();
	write_config("listen 127.0.0.1:0\nperip 1\n");
	signal_daemon(SIGHUP);
	log_line("event=reloaded");
	require_refused();
	say(fd, "ECHO still here\r\n");
	hear(fd, "still here\r\n");
	close(fd);
	stop_daemon();
}
END_TEST

START_TEST(tls_first_is_refused_without_a_word)
{
	char more[40] = "listens 127.0.0.1:0\nperip 0\n";
	int fd;

	certificate_make(cert, key, false, 1);
	write_tls_config(more);
	start();
	learn_address("toys");
	fd = try_connect();
	ck_assert_int_ne(fd, -1);
	hear_end(fd);
	close(fd);
	stop_daemon();
}
END_TEST

/* --- supervisors ------------------------------------------------------------- */

/* Rows: what the configuration has, the socket's name, whether that fits. */
static const struct {
	const char *listen; /* NULL: the socket's own address */
	const char *name;
	const char *proto; /* NULL: refused */
} handed[] = {
	{ NULL, "unknown", "toy" },
	{ "listen 127.0.0.2:1", "toy", "toy" },
	{ "listen 127.0.0.2:1\nlistens 127.0.0.3:1", "toys", "toys" },
	{ "listen 127.0.0.2:1", "unknown", NULL },
};

START_TEST(a_socket_handed_over_is_served)
{
	struct surroundings with = { .listen_name = handed[_i].name };
	char name[] = "toyd", *argv[] = { name, NULL }, text[300];
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int fd;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	with.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(with.listen_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(with.listen_fd, 5), 0);
	ck_assert_int_eq(getsockname(with.listen_fd, (struct sockaddr *)&at, &len), 0);
	certificate_make(cert, key, false, 1);
	if (handed[_i].listen != NULL)
		(void)snprintf(
		    text, sizeof(text), "%s\ncert %s\nkey %s\n", handed[_i].listen, cert, key);
	else
		(void)snprintf(text, sizeof(text), "listen 127.0.0.1:%u\n", ntohs(at.sin_port));
	write_config(text);
	start_with(&with, 1, argv);
	if (handed[_i].proto == NULL) {
		require_exit(EX_CONFIG);
		ck_assert_ptr_nonnull(strstr(logged, "handed over by the supervisor, is none"));
	} else {
		learn_address(handed[_i].proto);
		ck_assert_uint_eq(ntohs(address.addr.in.sin_port), ntohs(at.sin_port));
		if (strcmp(handed[_i].proto, "toy") == 0) {
			fd = client();
			close(fd);
		}
		stop_daemon();
	}
	close(with.listen_fd);
}
END_TEST

static void
require_told(int fd, const char *want)
{
	char got[200] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	ck_assert_int_gt(n, 0);
	ck_assert_msg(strncmp(got, want, strlen(want)) == 0, "it says: %s", got);
}

/* A program that is long in getting ready serves meanwhile, and is not taken for stuck. */
START_TEST(a_supervisor_is_told_in_time)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct surroundings with = { .variable = "NOTIFY_SOCKET", .value = at.sun_path };
	char name[] = "toyd", *argv[] = { name, NULL };
	int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd;

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", folder);
	ck_assert_int_eq(bind(notify, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(
	    setsockopt(notify, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	write_config("listen 127.0.0.1:0\nlate 1\n");
	start_with(&with, 1, argv);
	learn_address("toy");
	fd = client();
	close(fd);
	require_told(notify, "READY=1");
	log_line("event=ready_late program=toyd");
	ck_assert_ptr_null(strstr(logged, "event=ready "));
	write_config("listen 127.0.0.1:0\n");
	signal_daemon(SIGHUP);
	log_line("event=ready ");
	require_told(notify, "RELOADING=1\n");
	require_told(notify, "READY=1");
	stop_daemon();
	/* Not once more when it was. */
	require_told(notify, "STOPPING=1");
	close(notify);
}
END_TEST

START_TEST(a_supervisor_is_told)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct surroundings with = { .variable = "NOTIFY_SOCKET", .value = at.sun_path };
	char name[] = "toyd", *argv[] = { name, NULL };
	socklen_t len = sizeof(at);
	char abstract[80];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (_i == 0) {
		(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", folder);
	} else {
		(void)snprintf(abstract, sizeof(abstract), "@%s/socket", folder);
		memcpy(at.sun_path, abstract, sizeof(abstract));
		at.sun_path[0] = '\0';
		len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(abstract));
		with.value = abstract;
	}
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	start_with(&with, 1, argv);
	require_told(fd, "READY=1");
	signal_daemon(SIGHUP);
	require_told(fd, "RELOADING=1\nMONOTONIC_USEC=");
	require_told(fd, "READY=1");
	stop_daemon();
	require_told(fd, "STOPPING=1");
	/* Not before the program was ready. */
	log_line("event=closed asked=4");
	close(fd);
}
END_TEST

/* --- privileges -------------------------------------------------------------- */

START_TEST(root_is_given_up)
{
	const struct passwd *nobody = getpwnam("nobody");
	char want[64];

	if (geteuid() != 0 || nobody == NULL)
		return;
	certificate_make(cert, key, false, 1);
	ck_assert_int_eq(chmod(key, 0600), 0);
	write_tls_config("user nobody\n");
	start();
	(void)snprintf(want, sizeof(want), "event=opened uid=%u", (unsigned)nobody->pw_uid);
	log_line(want);
	log_line("event=key_unreadable");
	stop_daemon();
}
END_TEST

START_TEST(an_unknown_user_is_said)
{
	const struct surroundings none = { 0 };
	char name[] = "toyd", check[] = "-t", *argv[] = { name, check, NULL };

	if (geteuid() != 0)
		return;
	write_config("listen 127.0.0.1:0\nuser nobody-of-this-name\n");
	start();
	require_exit(EX_CONFIG);
	ck_assert_ptr_nonnull(strstr(logged, "nobody-of-this-name"));
	ck_assert_ptr_null(strstr(logged, "event=opened"));
	/* Checking finds out what starting would, and says so with the same code. */
	start_with(&none, 2, argv);
	require_exit(EX_CONFIG);
	ck_assert_ptr_nonnull(
	    strstr(logged, "/config: [site] user: there is no account \"nobody-of-this-name\""));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server_site");
	TCase *tc = tcase_create("server_site");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_renewed_certificate_is_taken);
	tcase_add_test(tc, a_reload_changes_limits_and_keeps_sessions);
	tcase_add_test(tc, tls_first_is_refused_without_a_word);
	tcase_add_loop_test(tc, a_socket_handed_over_is_served, 0, 4);
	tcase_add_loop_test(tc, a_supervisor_is_told, 0, 2);
	tcase_add_test(tc, a_supervisor_is_told_in_time);
	tcase_add_test(tc, root_is_given_up);
	tcase_add_test(tc, an_unknown_user_is_said);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
