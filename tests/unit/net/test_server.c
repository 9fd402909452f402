/*
 * server: the command line, serving, limits, and the end, whoever dawdles.
 */
#include "toyd.h"

/* --- the command line ------------------------------------------------------- */

/* Rows: arguments behind the name, the configuration, exit code, what is printed. */
static const struct {
	const char *args[4];
	const char *config;
	int code;
	const char *printed;
} lines[] = {
	{ { "-h" }, "", 0, "usage: toyd [-c FILE] [-t]" },
	{ { "--help" }, "", 0, "usage: toyd [-c FILE] [-t]" },
	{ { "-V" }, "", 0, "toyd (Restante) " },
	{ { "--version" }, "", 0, "toyd (Restante) " },
	{ { "-x" }, "", 64, "usage:" },
	{ { "--nonsense" }, "", 64, "usage:" },
	{ { "-c" }, "", 64, "usage:" },
	{ { "operand" }, "", 64, "takes no operand: operand" },
	{ { "operand", "-V" }, "", 0, "toyd (Restante) " },
	{ { "-t", "operand" }, "", 64, "takes no operand: operand" },
	{ { "-t" }, "listen 127.0.0.1:0\n", 0, NULL },
	{ { "-t" }, "bad x\n", 78, "this is bad: bad\n" },
	{ { "-tc", "/nowhere" }, "", 78, "/nowhere: cannot be read\n" },
	{ { "-c", "/nowhere", "-t" }, "", 78, "/nowhere: cannot be read\n" },
	{ { "-t" }, "cert /nowhere/c\nkey /nowhere/k\nlisten 127.0.0.1:0\n", 78,
	    "/config: [tls] the certificate /nowhere/c does not exist" },
	{ { "-t" }, "max 3\n", 78, "/config: there is no address to listen on" },
	{ { NULL }, "bad x\n", 78, "event=start_failed error=\"this is bad: bad\" exit=78" },
	{ { NULL }, "cert /nowhere/c\nkey /nowhere/k\nlisten 127.0.0.1:0\n", 78,
	    "/nowhere/c does not exist" },
	{ { NULL }, "max 3\n", 78, "there is no address to listen on" },
	{ { NULL }, "listen 192.0.2.1:0\n", 69, "event=start_failed" },
	{ { NULL }, "listen unix:/nowhere/at/all\n", 69, "make the folder first" },
};
#define LINES (int)(sizeof(lines) / sizeof(lines[0]))

START_TEST(command_lines)
{
	const struct surroundings none = { 0 };
	char args[5][32] = { "toyd" }, *argv[6] = { args[0] };
	int argc = 1;

	for (; argc < 5 && lines[_i].args[argc - 1] != NULL; argc++)
		argv[argc] = strcpy(args[argc], lines[_i].args[argc - 1]);
	write_config(lines[_i].config);
	start_with(&none, argc, argv);
	require_exit(lines[_i].code);
	if (lines[_i].printed == NULL)
		ck_assert_str_eq(logged, "");
	else
		ck_assert_msg(strstr(logged, lines[_i].printed) != NULL, "it says: %s", logged);
	ck_assert_ptr_null(strstr(logged, "closed"));
}
END_TEST

START_TEST(a_store_that_cannot_be_opened_ends_the_start)
{
	const struct surroundings failing = { .variable = "FAIL_OPEN", .value = "1" };
	char name[] = "toyd", *argv[] = { name, NULL };

	start_with(&failing, 1, argv);
	require_exit(EX_UNAVAILABLE);
	log_line("event=start_failed error=\"there is nothing to open\" exit=69");
	ck_assert_ptr_null(strstr(logged, "closed"));
	ck_assert_ptr_null(strstr(logged, "listening"));
}
END_TEST

/* --- serving and ending ------------------------------------------------------ */

START_TEST(serves_and_ends)
{
	int fd, idle;

	start();
	learn_address("toy");
	fd = client();
	idle = client();
	say(fd, "ECHO a\r\nQUIT\r\n");
	hear(fd, "a\r\nbye\r\n");
	hear_end(fd);
	close(fd);
	log_line("event=ready");
	signal_daemon(_i == 0 ? SIGTERM : SIGINT);
	hear(idle, "going down\r\n");
	hear_end(idle);
	close(idle);
	require_exit(EX_OK);
	log_line("event=stopping sessions=1");
	/* In this order: the last session, then the store. */
	log_line_after(log_line("event=session_end why=3"), "event=closed");
	log_line_after(log_line("event=closed"), "event=stopped");
}
END_TEST

START_TEST(an_operation_is_let_finish)
{
	int fd, until_refused;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "HOLD\r\nECHO no more\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	log_line("event=stopping");
	/* Meanwhile nobody new comes in. */
	for (until_refused = 0; until_refused < 100; until_refused++) {
		int other = try_connect();

		if (other == -1)
			break;
		close(other);
		usleep(2000);
	}
	ck_assert_int_lt(until_refused, 100);
	hear(fd, "held\r\ngoing down\r\n");
	hear_end(fd);
	close(fd);
	require_exit(EX_OK);
}
END_TEST

START_TEST(a_second_signal_ends_at_once)
{
	int fd;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "HANG\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	log_line("event=stopping");
	usleep(50000);
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
	log_line("event=ended_at_once");
	ck_assert_ptr_null(strstr(logged, "event=closed"));
	close(fd);
}
END_TEST

/* A client that does not read its last words is cut. */
START_TEST(the_drain_has_an_end)
{
	const uint64_t began = real_ms();
	int fd;

	start();
	learn_address("toy");
	fd = client();
	say(fd, "FLOOD\r\n");
	usleep(50000);
	signal_daemon(SIGTERM);
	require_exit(EX_OK);
	log_line("event=drain_over sessions=1");
	log_line("event=closed");
	ck_assert_uint_ge(real_ms() - began, SERVER_DRAIN_MS);
	close(fd);
}
END_TEST

START_TEST(a_unix_socket_is_served_and_removed)
{
	char text[128];
	struct stat st;
	int fd;

	(void)snprintf(text, sizeof(text), "listen unix:%s/socket\nperip 0\n", folder);
	write_config(text);
	start();
	learn_address("toy");
	fd = try_connect();
	ck_assert_int_ne(fd, -1);
	/* Trusted, and so without a limit of its own. */
	hear(fd, "hello unix 1\r\n");
	close(fd);
	stop_daemon();
	ck_assert_int_eq(stat(address.addr.un.sun_path, &st), -1);
}
END_TEST

START_TEST(a_port_in_use_is_said)
{
	char text[200];

	start();
	learn_address("toy");
	(void)snprintf(
	    text, sizeof(text), "listen 127.0.0.1:%u\n", ntohs(address.addr.in.sin_port));
	write_config(text);
	{
		pid_t first = daemon_pid;
		int first_log = log_fd;

		start();
		require_exit(EX_UNAVAILABLE);
		ck_assert_ptr_nonnull(strstr(logged, "another program listens there"));
		daemon_pid = first;
		log_fd = first_log;
	}
	stop_daemon();
}
END_TEST

/* --- limits ------------------------------------------------------------------ */

START_TEST(one_too_many_is_refused)
{
	int a, b;

	write_config(_i == 0 ? "listen 127.0.0.1:0\nperip 2\n" : "listen 127.0.0.1:0\nmax 2\n");
	start();
	learn_address("toy");
	a = client();
	b = client();
	require_refused();
	log_line(_i == 0 ? "max_connections_per_ip" : "max_connections");
	say(a, "QUIT\r\n");
	hear(a, "bye\r\n");
	close(a);
	log_line("event=session_end");
	usleep(20000);
	a = client();
	require_refused();
	close(a);
	close(b);
	stop_daemon();
}
END_TEST

START_TEST(connections_fit_the_descriptors)
{
	const struct surroundings few = { .files = 1024 };
	char name[] = "toyd", *argv[] = { name, NULL };

	write_config("listen 127.0.0.1:0\nmax 10000\n");
	start_with(&few, 1, argv);
	log_line("event=connections_limited max_connections=512 wanted=10000 open_files=1024");
	stop_daemon();
}
END_TEST

/* User and system time so far, in clock ticks. */
static unsigned long
ticks_used(void)
{
	unsigned long user, kernel;
	char path[40];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)daemon_pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			     &user, &kernel),
	    2);
	(void)fclose(f);
	return user + kernel;
}

START_TEST(without_descriptors_clients_are_told_and_nothing_spins)
{
	/* Another loop may serve a client with the descriptor that this one gives up for a moment. */
	const struct surroundings few = { .files = 128, .one_loop = true };
	char name[] = "toyd", *argv[] = { name, NULL };
	unsigned long ticks;
	int fd, other, i;

	start_with(&few, 1, argv);
	learn_address("toy");
	fd = client();
	say(fd, "GREED\r\n");
	hear(fd, "all mine\r\n");
	ticks = ticks_used();
	for (i = 0; i < 5; i++)
		require_refused();
	log_line("event=accept_failed");
	usleep(500000);
	ck_assert_uint_lt(ticks_used() - ticks, 20);
	say(fd, "GIVE\r\n");
	hear(fd, "all yours\r\n");
	other = client();
	close(other);
	close(fd);
	stop_daemon();
}
END_TEST

static void
limit_descriptors(rlim_t n)
{
	struct rlimit limit = { .rlim_cur = n, .rlim_max = 128 };

	ck_assert_int_eq(prlimit(daemon_pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* Not even the spare descriptor is of use: who comes now waits in the kernel's queue. */
START_TEST(without_any_descriptor_clients_wait_and_nothing_spins)
{
	const struct surroundings few = { .files = 128 };
	char name[] = "toyd", *argv[] = { name, NULL };
	unsigned long ticks;
	int fd;

	start_with(&few, 1, argv);
	learn_address("toy");
	log_line("event=ready");
	limit_descriptors(3);
	ticks = ticks_used();
	fd = try_connect();
	ck_assert_int_ne(fd, -1);
	log_line("event=accept_failed");
	usleep(500000);
	ck_assert_uint_lt(ticks_used() - ticks, 20);
	limit_descriptors(128);
	hear(fd, "hello 127.0.0.1 0\r\n");
	close(fd);
	stop_daemon();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server");
	TCase *tc = tcase_create("server");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, command_lines, 0, LINES);
	tcase_add_test(tc, a_store_that_cannot_be_opened_ends_the_start);
	tcase_add_loop_test(tc, serves_and_ends, 0, 2);
	tcase_add_test(tc, an_operation_is_let_finish);
	tcase_add_test(tc, a_second_signal_ends_at_once);
	tcase_add_test(tc, the_drain_has_an_end);
	tcase_add_test(tc, a_unix_socket_is_served_and_removed);
	tcase_add_test(tc, a_port_in_use_is_said);
	tcase_add_loop_test(tc, one_too_many_is_refused, 0, 2);
	tcase_add_test(tc, connections_fit_the_descriptors);
	tcase_add_test(tc, without_descriptors_clients_are_told_and_nothing_spins);
	tcase_add_test(tc, without_any_descriptor_clients_wait_and_nothing_spins);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
