/*
 * outq: what goes in comes out, whatever the slices, the socket and the budget; files that
 * are too short; what is held and given back.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/outq.h"
#include "rig.h"

#define FILE_LEN (256u * 1024)
#define STREAM_MAX (8u * 1024 * 1024)
#define PEEK_MAX (16u * 1024)

static struct outq q;
static struct outq_recent recent;
static int file;
static unsigned char file_octets[FILE_LEN];
static unsigned char want[STREAM_MAX]; /* all that was put in */
static size_t want_len;

static unsigned releases_due, releases;

static void
begin(void)
{
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	recent.put = 0;
	outq_init(&q, &recent);
	want_len = 0;
	releases = releases_due = 0;
	for (i = 0; i < FILE_LEN; i++)
		file_octets[i] = (unsigned char)(i * 2654435761u >> 13);
	file = rig_file(file_octets, FILE_LEN);
}

static void
end(void)
{
	outq_release(&q);
	ck_assert(list_empty(&q.slices));
	ck_assert_uint_eq(q.pending, 0);
	ck_assert_uint_eq(releases, releases_due);
	close(file);
}

/* The argument says which of the files it is: they are released in order. */
static void
released(void *arg)
{
	ck_assert_uint_eq((size_t)(uintptr_t)arg, ++releases);
}

/* The next file's argument: no two have the same. */
static void *
next_arg(void)
{
	return (void *)(uintptr_t)++releases_due;
}

static void
put_memory(const void *buf, size_t len)
{
	outq_add(&q, buf, len);
	memcpy(want + want_len, buf, len);
	want_len += len;
}

static void
put_file_at(size_t offset, size_t len, uint64_t place)
{
	outq_add_file(&q, file, offset, len, place, released, next_arg());
	memcpy(want + want_len, file_octets + offset, len);
	want_len += len;
}

static void
put_file(size_t offset, size_t len)
{
	put_file_at(offset, len, OUTQ_NOWHERE);
}

/* One that was read a moment ago. */
static void
put_read_file(size_t offset, size_t len)
{
	uint64_t place;

	memcpy(outq_recent_room(&recent, len, &place), file_octets + offset, len);
	put_file_at(offset, len, place);
}

static size_t
random_size(size_t max)
{
	size_t size = (size_t)random() % max;

	/* As often near nothing as near all. */
	return random() % 2 == 0 ? size % 64 : size;
}

static void
put_something(void)
{
	char line[64];
	size_t len;

	switch (random() % 6) {
	case 0:
		len = 1 + random_size(40000);
		put_file(random_size(FILE_LEN - len), len);
		break;
	case 3:
		len = 1 + random_size(40000);
		put_read_file(random_size(FILE_LEN - len), len);
		break;
	case 1:
		(void)snprintf(line, sizeof(line), "+OK %ld octets\r\n", random());
		outq_addf(&q, "%s", line);
		memcpy(want + want_len, line, strlen(line));
		want_len += strlen(line);
		break;
	case 2:
		outq_addstr(&q, ".\r\n");
		memcpy(want + want_len, ".\r\n", 3);
		want_len += 3;
		break;
	default:
		len = random_size(20000);
		put_memory(file_octets + random_size(FILE_LEN - len), len);
		break;
	}
}

static void
require_same(const unsigned char *got, size_t at, size_t len)
{
	if (len == 0)
		return;
	if (at + len > want_len || memcmp(got, want + at, len) != 0)
		ck_abort_msg("other octets came at %zu", at);
}

/* --- sending --------------------------------------------------------------- */

/* Row: which sockets, with what buffers, and with how much room for what is read. */
static const struct {
	bool tcp;
	int buffer; /* 0: as they come */
	size_t room;
} sockets[] = {
	{ false, 0, 60000 },
	{ false, 2048, 700 },
	{ true, 0, 60000 },
	{ true, 0, 700 },
	{ true, 2048, 60000 },
};

static ssize_t
send_with(size_t room, int socket, size_t budget)
{
	static unsigned char scratch[65536];

	ck_assert_uint_le(room, sizeof(scratch));
	return outq_send(&q, socket, budget, scratch, room);
}

START_TEST(a_random_mix_arrives_as_it_was_put)
{
	unsigned char buf[5000];
	size_t got = 0;
	int pair[2], round;
	ssize_t n;

	srandom((unsigned)_i + 1);
	rig_pair(pair, sockets[_i].tcp, sockets[_i].buffer);
	for (round = 0; round < 150 || got < want_len; round++) {
		ck_assert_msg(round < 100000, "it hangs");
		while (round < 150 && random() % 3 != 0 && want_len < STREAM_MAX - 100000)
			put_something();
		n = send_with(sockets[_i].room, pair[0], 1 + random_size(100000));
		ck_assert_int_ge(n, 0);
		while ((n = recv(pair[1], buf, 1 + random_size(sizeof(buf)), 0)) > 0) {
			require_same(buf, got, (size_t)n);
			got += (size_t)n;
			if (random() % 3 == 0)
				break;
		}
	}
	ck_assert_uint_eq(got, want_len);
	ck_assert_uint_eq(q.pending, 0);
	ck_assert(list_empty(&q.slices));
	ck_assert(!q.failed);
	ck_assert_uint_eq(releases, releases_due);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(a_budget_is_kept)
{
	const size_t budgets[] = { 1, 4, 5, 6, 100, 4999, 5003, 60000 };
	const size_t budget = budgets[_i / 2], room = _i % 2 == 0 ? 60000 : 3000;
	unsigned char buf[5000];
	size_t got = 0;
	ssize_t n;
	int pair[2];

	rig_pair(pair, true, 0);
	put_memory("12345", 5);
	put_file(3, 5000);
	put_memory(file_octets, 20000);
	put_memory(file_octets, 20000);
	ck_assert_int_eq(
	    send_with(room, pair[0], budget), (ssize_t)(budget < want_len ? budget : want_len));
	while (got < want_len) {
		ck_assert_int_ge(send_with(room, pair[0], budget), 0);
		while ((n = recv(pair[1], buf, sizeof(buf), 0)) > 0) {
			require_same(buf, got, (size_t)n);
			got += (size_t)n;
		}
	}
	close(pair[0]);
	close(pair[1]);
}
END_TEST

static unsigned
segments_sent(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_data_segs_out;
}

/* Reply, prefix, file, next reply: all in one segment, as far as it holds them. */
START_TEST(a_reply_and_its_file_leave_together)
{
	unsigned char buf[30000];
	int pair[2], one = 1, rest = _i;

	rig_pair(pair, true, 0);
	ck_assert_int_eq(setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	put_memory("+OK\r\n", 5);
	put_memory("Return-Path: <>\r\n", 17);
	put_file(0, 3000);
	if (rest > 0)
		put_memory(".\r\n+OK\r\n", 8);
	if (rest > 1)
		put_file(7, 3000);
	ck_assert_int_eq(send_with(8000, pair[0], 1u << 20), (ssize_t)want_len);
	/* It has left: nothing waits for a timer. */
	ck_assert_int_eq(
	    recv(pair[1], buf, want_len, MSG_WAITALL | MSG_DONTWAIT), (ssize_t)want_len);
	require_same(buf, 0, want_len);
	ck_assert_uint_eq(segments_sent(pair[0]), 1);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(a_full_socket_takes_nothing)
{
	int pair[2];

	rig_pair(pair, _i == 1, 2048);
	put_memory(file_octets, FILE_LEN);
	put_file(0, FILE_LEN);
	while (send_with(9000, pair[0], 1u << 20) > 0)
		continue;
	ck_assert_int_eq(send_with(9000, pair[0], 1u << 20), 0);
	ck_assert_uint_gt(q.pending, 0);
	close(pair[1]);
	ck_assert_int_eq(send_with(9000, pair[0], 1u << 20), -1);
	ck_assert(errno == EPIPE || errno == ECONNRESET);
	ck_assert(!q.failed);
	close(pair[0]);
}
END_TEST

/* Octets in the ring that are not the file's show who took them. */
START_TEST(what_was_read_is_not_read_again)
{
	/* What else comes into the ring, and how much of the slice is then still taken from there. */
	static const struct {
		size_t before, behind;
		bool nowhere, taken;
	} rows[] = {
		{ 0, 0, false, true },
		{ 0, OUTQ_RECENT_MAX - 1000, false, true },
		{ 0, OUTQ_RECENT_MAX - 999, false, false },
		{ OUTQ_RECENT_MAX - 1000, 0, false, true },
		/* In one piece: at the ring's beginning. */
		{ OUTQ_RECENT_MAX - 999, 0, false, true },
		{ OUTQ_RECENT_MAX - 999, OUTQ_RECENT_MAX - 1000, false, true },
		{ 5000, OUTQ_RECENT_MAX, false, false },
		{ 0, 0, true, false },
	};
	unsigned char buf[2000], scratch[2000], *octets;
	const bool taken = rows[_i / 2].taken;
	const void *p = NULL;
	uint64_t place;
	int pair[2];

	rig_pair(pair, true, 0);
	(void)outq_recent_room(&recent, rows[_i / 2].before, &place);
	octets = outq_recent_room(&recent, 1000, &place);
	memset(octets, '*', 1000);
	put_memory("+OK\r\n", 5);
	put_file_at(500, 1000, rows[_i / 2].nowhere ? OUTQ_NOWHERE : place);
	(void)outq_recent_room(&recent, rows[_i / 2].behind, &place);
	if (taken)
		memset(want + 5, '*', 1000);
	if (_i % 2 == 1) {
		ck_assert_int_eq(outq_peek(&q, scratch, sizeof(scratch), &p), 1005);
		require_same(p, 0, 1005);
		outq_consume(&q, 105);
		ck_assert_int_eq(outq_peek(&q, scratch, sizeof(scratch), &p), 900);
		require_same(p, 105, 900);
		ck_assert(taken == (p == octets + 100));
	} else {
		ck_assert_int_eq(send_with(2000, pair[0], 105), 105);
		ck_assert_int_eq(send_with(2000, pair[0], 1u << 20), 900);
		ck_assert_int_eq(recv(pair[1], buf, 1005, MSG_WAITALL), 1005);
		require_same(buf, 0, 1005);
	}
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* --- files that are not what they were ------------------------------------- */

START_TEST(a_file_that_is_too_short_fails)
{
	unsigned char buf[8192];
	const void *p;
	int pair[2];

	rig_pair(pair, true, 0);
	put_memory("+OK\r\n", 5);
	put_file(0, 6000);
	put_memory("+OK\r\n", 5);
	ck_assert_int_eq(ftruncate(file, 4000), 0);
	if (_i == 0) {
		ck_assert_int_eq(send_with(8000, pair[0], 1u << 20), -1);
		ck_assert_int_eq(errno, ENODATA);
	} else {
		ck_assert_int_eq(outq_peek(&q, buf, sizeof(buf), &p), -1);
		ck_assert_int_eq(errno, ENODATA);
	}
	ck_assert(q.failed);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_read_fails)
{
	int pair[2], write_only = open("/dev/null", O_WRONLY);
	unsigned char buf[16];
	const void *p;

	rig_pair(pair, true, 0);
	outq_add_file(&q, write_only, 0, 10, OUTQ_NOWHERE, released, next_arg());
	if (_i == 0)
		ck_assert_int_eq(send_with(100, pair[0], 100), -1);
	else
		ck_assert_int_eq(outq_peek(&q, buf, sizeof(buf), &p), -1);
	ck_assert(q.failed);
	close(write_only);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* --- as memory ------------------------------------------------------------- */

START_TEST(peek_shows_it_all_and_the_same_again)
{
	unsigned char scratch[PEEK_MAX], again[PEEK_MAX];
	const void *p, *p2;
	size_t got = 0;
	int round;

	srandom((unsigned)_i + 77);
	for (round = 0; round < 100 || got < want_len; round++) {
		size_t cap = _i == 0 ? PEEK_MAX : 1 + random_size(PEEK_MAX - 1);
		ssize_t n, n2;

		while (round < 100 && random() % 2 == 0 && want_len < STREAM_MAX - 100000)
			put_something();
		n = outq_peek(&q, scratch, cap, &p);
		ck_assert_int_ge(n, 0);
		ck_assert_uint_le((size_t)n, cap);
		ck_assert_int_eq(n == 0, q.pending == 0);
		require_same(p, got, (size_t)n);
		/* More may have come, and as many octets or more are shown then. */
		if (round < 100 && random() % 2 == 0)
			put_something();
		n2 = outq_peek(&q, again, cap, &p2);
		ck_assert_int_ge(n2, n);
		require_same(p2, got, (size_t)n2);
		if (n2 > 0 && random() % 4 != 0) {
			size_t used = 1 + random_size((size_t)n2);

			outq_consume(&q, used);
			got += used;
		}
	}
	ck_assert_uint_eq(q.pending, 0);
	ck_assert_uint_eq(releases, releases_due);
}
END_TEST

/* TLS makes a record of what it is shown: a short reply must not be one by itself. */
START_TEST(peek_gathers_short_slices)
{
	unsigned char scratch[PEEK_MAX];
	const void *p;

	put_memory("+OK\r\n", 5);
	put_file(0, 100);
	put_memory(".\r\n", 3);
	ck_assert_int_eq(outq_peek(&q, scratch, sizeof(scratch), &p), 108);
	require_same(p, 0, 108);
}
END_TEST

/* --- what is held ---------------------------------------------------------- */

START_TEST(nothing_makes_no_slice)
{
	outq_add(&q, "", 0);
	outq_addstr(&q, "");
	outq_addf(&q, "%s", "");
	ck_assert(list_empty(&q.slices));
	/* A file of nothing is released at once. */
	put_file(0, 0);
	ck_assert(list_empty(&q.slices));
	ck_assert_uint_eq(releases, 1);
	outq_add_file(&q, file, 0, 0, OUTQ_NOWHERE, NULL, NULL);
	outq_add_file(&q, file, 0, 10, OUTQ_NOWHERE, NULL, NULL);
	ck_assert_uint_eq(q.pending, 10);
}
END_TEST

START_TEST(dropping_releases_files_in_order)
{
	put_memory("a", 1);
	put_file(0, 10);
	put_file(10, 10);
	put_memory("b", 1);
	put_file(20, 10);
	outq_release(&q);
	ck_assert_uint_eq(releases, 3);
	put_memory("c", 1);
	ck_assert_uint_eq(q.pending, 1);
}
END_TEST

START_TEST(a_failed_queue_takes_nothing_more)
{
	put_memory("a", 1);
	q.failed = true;
	outq_addstr(&q, "b");
	outq_addf(&q, "%d", 3);
	outq_add_file(&q, file, 0, 10, OUTQ_NOWHERE, released, next_arg());
	ck_assert_uint_eq(releases, 1);
	ck_assert_uint_eq(q.pending, 1);
}
END_TEST

START_TEST(a_range_beyond_all_files_fails)
{
	outq_add_file(&q, file, INT64_MAX, 1, OUTQ_NOWHERE, released, next_arg());
	ck_assert(q.failed);
	ck_assert_uint_eq(releases, 1);
}
END_TEST

START_TEST(a_long_format_is_whole)
{
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	outq_addf(&q, "<%s>", text);
	ck_assert_uint_eq(q.pending, sizeof(text) + 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("outq");
	TCase *tc = tcase_create("outq");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_random_mix_arrives_as_it_was_put, 0, 5);
	tcase_add_loop_test(tc, a_budget_is_kept, 0, 16);
	tcase_add_loop_test(tc, a_reply_and_its_file_leave_together, 0, 3);
	tcase_add_loop_test(tc, a_full_socket_takes_nothing, 0, 2);
	tcase_add_loop_test(tc, what_was_read_is_not_read_again, 0, 16);
	tcase_add_loop_test(tc, a_file_that_is_too_short_fails, 0, 2);
	tcase_add_loop_test(tc, a_descriptor_that_cannot_be_read_fails, 0, 2);
	tcase_add_loop_test(tc, peek_shows_it_all_and_the_same_again, 0, 3);
	tcase_add_test(tc, peek_gathers_short_slices);
	tcase_add_test(tc, nothing_makes_no_slice);
	tcase_add_test(tc, dropping_releases_files_in_order);
	tcase_add_test(tc, a_failed_queue_takes_nothing_more);
	tcase_add_test(tc, a_range_beyond_all_files_fails);
	tcase_add_test(tc, a_long_format_is_whole);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
