/* message: opening one, what is damaged, and how much of it TOP sends. */
#include "delivery_test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/uio.h>

#include "spool/maildrop.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct spool *sp;

static void
setup_in(const char *dir)
{
	spool_test_make_in(dir);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, 3);
}

static void
setup(void)
{
	setup_in(test_memory());
}

static void
setup_on_disk(void)
{
	setup_in(test_disk());
}

static void
teardown(void)
{
	spool_close(&sp);
	spool_test_remove();
}

/* One message of any wire form for users 1 and 2, as "alias+Tag@Example.TEST" wrote it. */
static uint64_t
deliver_wire(const char *wire, size_t len, uint64_t octets)
{
	struct account_target list[] = { { 1, (char[]){ "user1@example.test" } },
		{ 2, (char[]){ "user2@example.test" } } };
	struct account_targets targets = { .list = list, .n = 2 };
	struct envelope *env = envelope_new("\"odd sender\"@example.org");
	struct test_wait w;
	struct delivery *d;
	uint64_t id;

	ck_assert_int_eq(envelope_add(env, "alias+Tag@Example.TEST", &targets), SPOOL_OK);
	ck_assert_int_eq(delivery_begin(sp, &env, &test_trusted, &d), SPOOL_OK);
	ck_assert_int_eq(delivery_write(d, wire, len), SPOOL_OK);
	test_wait_init(&w);
	delivery_commit(d, octets, test_done, &w);
	test_wait_for(&w, 1);
	ck_assert_int_eq(delivery_outcome(d), SPOOL_OK);
	id = delivery_message(d);
	delivery_abandon(&d);
	return id;
}

static struct maildrop *
open_maildrop(uint64_t mailbox)
{
	struct maildrop *md;

	ck_assert_int_eq(maildrop_view(sp, mailbox, &md), SPOOL_OK);
	ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
	return md;
}

/* The outcome of opening message `i` of mailbox 1; closed again. */
static enum spool_status
try_open(size_t i)
{
	struct maildrop *md = open_maildrop(1);
	struct maildrop_message *m;
	enum spool_status st = maildrop_open_message(md, i, true, &m);

	ck_assert((m != NULL) == (st == SPOOL_OK));
	maildrop_close_message(&m);
	maildrop_close(&md);
	return st;
}

static const char wire[] = "Received: by us\r\nSubject: hello\r\n\r\nfirst\r\n..second\r\n";
static const char prefix[] = "Return-Path: <\"odd sender\"@example.org>\r\n"
			     "Delivered-To: alias+Tag@Example.TEST\r\n";

START_TEST(opened)
{
	struct maildrop_message *m, *second;
	struct maildrop *md;
	char got[sizeof(wire) + 3];

	deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	md = open_maildrop(1);
	ck_assert_uint_eq(maildrop_octets(md, 0), sizeof(prefix) - 1 + sizeof(wire) - 2);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &second), SPOOL_OK);
	ck_assert_str_eq(m->prefix, prefix);
	ck_assert_uint_eq(m->prefix_len, sizeof(prefix) - 1);
	ck_assert_uint_eq(m->wire_len, sizeof(wire) - 1 + 3);
	ck_assert_uint_eq(m->header_len, strlen("Received: by us\r\nSubject: hello\r\n\r\n"));
	ck_assert_int_eq(maildrop_verify(m), SPOOL_OK);
	maildrop_close_message(&second);
	ck_assert_ptr_null(second);
	maildrop_close_message(&second);

	/* It outlives the maildrop. */
	maildrop_close(&md);
	ck_assert_int_eq(
	    pread(m->fd, got, m->wire_len, (off_t)m->wire_offset), (ssize_t)m->wire_len);
	ck_assert_mem_eq(got, wire, sizeof(wire) - 1);
	ck_assert_mem_eq(got + sizeof(wire) - 1, ".\r\n", 3);
	maildrop_close_message(&m);
}
END_TEST

/* A loop asks without waiting; what it was refused, a job fetches, and then it is there. */
START_TEST(opened_without_waiting)
{
	struct maildrop_message *m;
	struct maildrop *md;
	struct iovec iov;
	bool nowait;
	char octet;

	deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	spool_close(&sp);
	sp = spool_test_open(SPOOL_ADMIN);
	md = open_maildrop(1);
	/* The segment is not open yet, and opening may wait. */
	ck_assert_int_eq(maildrop_open_message(md, 0, false, &m), SPOOL_WOULD_BLOCK);
	ck_assert_ptr_null(m);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	maildrop_read_ahead(m, 0, m->wire_len);
	maildrop_read_ahead(m, m->wire_len - 1, 1000000);
	maildrop_read_ahead(m, m->wire_len + 1, 1);
	iov = (struct iovec){ .iov_base = &octet, .iov_len = 1 };
	nowait = preadv2(m->fd, &iov, 1, (off_t)m->wire_offset, RWF_NOWAIT) == 1;
	if (nowait)
		ck_assert(maildrop_resident(m, 0, m->wire_len));
	maildrop_close_message(&m);
	ck_assert_int_eq(
	    maildrop_open_message(md, 0, false, &m), nowait ? SPOOL_OK : SPOOL_WOULD_BLOCK);
	maildrop_close_message(&m);
	maildrop_close(&md);
}
END_TEST

static int
open_segment(uint64_t id, int flags)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/segments/%" PRIu64, spool_test_dir, message_segment(id));
	fd = open(path, flags);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void
make_crowd(void)
{
	test_sql(sp,
	    "WITH RECURSIVE n (i) AS (VALUES (4) UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
	    " INSERT INTO mailbox (id, domain, local, folded, created_s)"
	    " SELECT i, 1, 'user' || i, 'user' || i, 0 FROM n");
}

/* A header whose first page alone is in memory; a file system that is in memory lets go of none. */
START_TEST(half_there)
{
	struct maildrop_message *m;
	struct maildrop *md;
	struct iovec iov;
	uint64_t id;
	char octet;
	int fd;

	make_crowd();
	ck_assert_int_eq(test_deliver(sp, 1, 300, 1, 200, &id), SPOOL_OK);
	md = open_maildrop(200);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	ck_assert_int_eq(fdatasync(m->fd), 0);
	ck_assert_int_eq(posix_fadvise(m->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	fd = open_segment(id, O_RDONLY);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
	ck_assert_int_eq(pread(fd, &octet, 1, (off_t)(message_block(id) * RECORD_BLOCK)), 1);
	ck_assert_int_eq(close(fd), 0);
	iov = (struct iovec){ .iov_base = &octet, .iov_len = 1 };
	/* Not every file system lets go of pages, nor can every one be asked. */
	if (preadv2(m->fd, &iov, 1, (off_t)m->wire_offset - 1, RWF_NOWAIT) != 1) {
		struct maildrop_message *again;

		ck_assert_int_eq(maildrop_open_message(md, 0, false, &again), SPOOL_WOULD_BLOCK);
	}
	maildrop_close_message(&m);
	maildrop_close(&md);
}
END_TEST

/* An envelope of thousands is not taken apart on a loop. */
START_TEST(long_envelope)
{
	struct maildrop_message *m;
	struct maildrop *md;
	unsigned n = 1500;

	make_crowd();
	ck_assert_int_eq(test_deliver(sp, 1, 300, 1, n, NULL), SPOOL_OK);
	md = open_maildrop(n);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	ck_assert_ptr_nonnull(strstr(m->prefix, "Delivered-To: user1500@example.test\r\n"));
	maildrop_close_message(&m);
	ck_assert_int_eq(maildrop_open_message(md, 0, false, &m), SPOOL_WOULD_BLOCK);
	maildrop_close(&md);
}
END_TEST

/* Changes one octet at `offset` of the message's record. */
static void
flip(uint64_t id, uint64_t offset)
{
	int fd = open_segment(id, O_RDWR);
	off_t at = (off_t)(message_block(id) * RECORD_BLOCK + offset);
	uint8_t octet;

	ck_assert_int_eq(pread(fd, &octet, 1, at), 1);
	octet ^= 0x20;
	ck_assert_int_eq(pwrite(fd, &octet, 1, at), 1);
	ck_assert_int_eq(close(fd), 0);
}

/* Not a single octet of the header may be another. */
START_TEST(damaged_header)
{
	uint64_t first, second, third;
	struct record r;
	struct segment_file *f;

	first = deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	second = deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	third = deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	ck_assert_uint_lt(first, second);
	ck_assert_uint_lt(second, third);
	ck_assert_int_eq(segment_find(sp, second, true, &f, &r), SPOOL_OK);
	segment_put(sp, &f);
	for (uint64_t at = 0; at < r.header_len; at++) {
		/* From 100 to the envelope there is nothing yet, but it is summed too. */
		flip(second, at);
		ck_assert_msg(try_open(1) == SPOOL_DAMAGED, "octet %" PRIu64, at);
		flip(second, at);
	}
	/* One that is damaged holds up no other. */
	flip(second, 0);
	ck_assert_int_eq(try_open(0), SPOOL_OK);
	ck_assert_int_eq(try_open(1), SPOOL_DAMAGED);
	ck_assert_int_eq(try_open(2), SPOOL_OK);
	flip(second, 0);
	ck_assert_int_eq(try_open(1), SPOOL_OK);
}
END_TEST

START_TEST(damaged_octets)
{
	struct maildrop *md;
	struct maildrop_message *m;
	struct record r;
	struct segment_file *f;
	uint64_t id = deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);

	ck_assert_int_eq(segment_find(sp, id, true, &f, &r), SPOOL_OK);
	segment_put(sp, &f);
	md = open_maildrop(1);
	for (uint64_t at = 0; at < r.wire_len; at++) {
		flip(id, r.header_len + at);
		ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
		ck_assert_msg(maildrop_verify(m) == SPOOL_DAMAGED, "octet %" PRIu64, at);
		flip(id, r.header_len + at);
		ck_assert_int_eq(maildrop_verify(m), SPOOL_OK);
		maildrop_close_message(&m);
	}
	maildrop_close(&md);
}
END_TEST

static const char *const disagreements[] = {
	"UPDATE entry SET octets = octets + 1",
	"UPDATE entry SET octets = octets - 1",
	"UPDATE entry SET octets = 0",
	/* Somebody else's. */
	"UPDATE entry SET mailbox = 1, received_ms = 0 WHERE mailbox = 3",
	/* No record begins there. */
	"UPDATE entry SET message = message + 1",
	"UPDATE entry SET message = message - message % (1 << 21)",
	"UPDATE entry SET message = message + (1 << 20)",
	/* No such segment. */
	"UPDATE entry SET message = message + (1 << 21)",
	"UPDATE entry SET message = 1",
};

START_TEST(index_and_record_disagree)
{
	uint64_t id;

	/* A message of mailbox 3 alone stands behind. */
	deliver_wire(wire, sizeof(wire) - 1, sizeof(wire) - 2);
	ck_assert_int_eq(test_deliver(sp, 1, 300, 3, 3, &id), SPOOL_OK);
	ck_assert_int_eq(try_open(0), SPOOL_OK);
	test_sql(sp, disagreements[_i]);
	ck_assert_int_eq(try_open(0), SPOOL_DAMAGED);
}
END_TEST

START_TEST(segment_cut_short)
{
	struct maildrop_message *m;
	struct maildrop *md;
	uint64_t id, len;
	int fd;

	len = 300000;
	ck_assert_int_eq(test_deliver(sp, 1, len, 1, 1, &id), SPOOL_OK);
	md = open_maildrop(1);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	fd = open_segment(id, O_RDWR);
	ck_assert_int_eq(ftruncate(fd, (off_t)(m->wire_offset + 100000)), 0);
	ck_assert_int_eq(maildrop_verify(m), SPOOL_DAMAGED);
	ck_assert_int_eq(maildrop_top(m, UINT64_MAX, &len), SPOOL_DAMAGED);
	ck_assert_int_eq(maildrop_top(m, 3, &len), SPOOL_OK);
	maildrop_read_ahead(m, 0, m->wire_len);
	maildrop_close_message(&m);
	maildrop_close(&md);
	ck_assert_int_eq(ftruncate(fd, RECORD_BLOCK * (off_t)message_block(id)), 0);
	ck_assert_int_eq(try_open(0), SPOOL_DAMAGED);
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

#define HEADER "Received: x\r\nA: b\r\n\r\n"

static const struct {
	const char *name, *wire;
	uint64_t lines;
	const char *want; /* what is sent */
} tops[] = {
	{ "header alone", HEADER "a\r\nb\r\n", 0, HEADER },
	{ "one line", HEADER "a\r\nb\r\n", 1, HEADER "a\r\n" },
	{ "all lines", HEADER "a\r\nb\r\n", 2, HEADER "a\r\nb\r\n" },
	{ "more than there are", HEADER "a\r\nb\r\n", 3, HEADER "a\r\nb\r\n" },
	{ "as many as can be asked", HEADER "a\r\nb\r\n", UINT64_MAX, HEADER "a\r\nb\r\n" },
	{ "empty lines are lines", HEADER "\r\n\r\na\r\n", 2, HEADER "\r\n\r\n" },
	{ "stuffed line", HEADER "..\r\n..b\r\n", 1, HEADER "..\r\n" },
	{ "bare CR ends nothing", HEADER "a\rb\r\nc\r\n", 1, HEADER "a\rb\r\n" },
	{ "CR before CRLF", HEADER "a\r\r\nb\r\n", 1, HEADER "a\r\r\n" },
	{ "no body", HEADER, 5, HEADER },
	{ "no empty line", "Received: x\r\nA: b\r\n", 0, "Received: x\r\nA: b\r\n" },
	{ "no empty line, some lines", "Received: x\r\nA: b\r\n", 1, "Received: x\r\nA: b\r\n" },
	{ "Received alone", "Received: x\r\n", 3, "Received: x\r\n" },
};

START_TEST(top)
{
	const char *text = tops[_i].wire;
	struct maildrop_message *m;
	struct maildrop *md;
	uint64_t len;

	deliver_wire(text, strlen(text), strlen(text));
	md = open_maildrop(1);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	ck_assert_int_eq(maildrop_top(m, tops[_i].lines, &len), SPOOL_OK);
	ck_assert_uint_eq(len, strlen(tops[_i].want));
	ck_assert_mem_eq(text, tops[_i].want, len);
	maildrop_close_message(&m);
	maildrop_close(&md);
}
END_TEST

/* The steps in which it is read are nothing to the lines. */
START_TEST(top_of_a_large_message)
{
	const size_t size = 200000, lines = (size - sizeof(HEADER) + 1) / 5;
	char *text = malloc(size + 8);
	struct maildrop_message *m;
	struct maildrop *md;
	uint64_t len;
	size_t n = sizeof(HEADER) - 1;

	memcpy(text, HEADER, n);
	for (size_t i = 0; i < lines; i++, n += 5)
		memcpy(text + n, "abc\r\n", 5);
	deliver_wire(text, n, n);
	md = open_maildrop(1);
	ck_assert_int_eq(maildrop_open_message(md, 0, true, &m), SPOOL_OK);
	/* Around the ends of the first steps, from the body on, each number of lines. */
	for (uint64_t i = 13100; i < 13115; i++) {
		ck_assert_int_eq(maildrop_top(m, i, &len), SPOOL_OK);
		ck_assert_uint_eq(len, sizeof(HEADER) - 1 + 5 * i);
	}
	for (uint64_t i = 0; i <= lines + 1; i += i < 26205 || i > 26222 ? 997 : 1) {
		ck_assert_int_eq(maildrop_top(m, i, &len), SPOOL_OK);
		ck_assert_uint_eq(len, sizeof(HEADER) - 1 + 5 * (i < lines ? i : lines));
	}
	ck_assert_int_eq(maildrop_verify(m), SPOOL_OK);
	maildrop_close_message(&m);
	maildrop_close(&md);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("message");
	TCase *tc = tcase_create("message"), *disk = tcase_create("disk");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, opened);
	tcase_add_test(tc, opened_without_waiting);
	tcase_add_test(tc, long_envelope);
	tcase_add_test(tc, damaged_header);
	tcase_add_test(tc, damaged_octets);
	tcase_add_loop_test(tc, index_and_record_disagree, 0, COUNT(disagreements));
	tcase_add_test(tc, segment_cut_short);
	tcase_add_loop_test(tc, top, 0, COUNT(tops));
	tcase_add_test(tc, top_of_a_large_message);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(disk, setup_on_disk, teardown);
	tcase_add_test(disk, half_there);
	suite_add_tcase(suite, disk);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
