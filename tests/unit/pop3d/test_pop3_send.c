/* RETR, TOP and listings of any length: octets, windows, slow clients, damage. */
#include <check.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "tests/unit/pop3d/drive.h"

#define JOE "joe@example.test"
#define PREFIX "Return-Path: <sender@client.example>\r\nDelivered-To: " JOE "\r\n"
#define HEADER "Subject: x\r\n\r\n"

static struct site site;

static void
open_site(void)
{
	site_open(&site, false);
}

static void
close_site(void)
{
	site_close(&site);
}

/* A message of `len` octets behind its header: lines of `line` octets and their CRLF, some that
 * begin with dots. */
static char *
make_message(size_t len, size_t line, size_t *len_r)
{
	char *message = mem_must_array(strlen(HEADER) + len + 1, 1);
	char *p = message + strlen(HEADER);

	memcpy(message, HEADER, strlen(HEADER));
	for (size_t i = 0; i < len; i++)
		p[i] = (char)('a' + i % 23);
	for (size_t i = line; i + 1 < len; i += line + 2) {
		p[i] = '\r';
		p[i + 1] = '\n';
		if (i % 7 == 0 && i + 2 < len)
			p[i + 2] = '.';
	}
	if (len >= 2) {
		p[len - 2] = '\r';
		p[len - 1] = '\n';
	}
	if (len >= 3 && p[len - 3] == '\r')
		p[len - 3] = '.';
	*len_r = strlen(HEADER) + len;
	return message;
}

static int
collect(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

/* Takes a response apart: the number in its first line, the message without stuffing. */
static void
check_message(const struct strbuf *said, const void *message, size_t len)
{
	size_t want = strlen(PREFIX) + len;
	const char *lf = strchr(said->buf, '\n');
	char first[64];
	struct strbuf got;
	struct dot dot;

	ck_assert_ptr_nonnull(lf);
	snprintf(first, sizeof(first), "+OK %zu octets\r\n", want);
	ck_assert_uint_eq((size_t)(lf + 1 - said->buf), strlen(first));
	ck_assert_mem_eq(said->buf, first, strlen(first));
	ck_assert_uint_gt(said->len, strlen(first) + 5);
	ck_assert_str_eq(said->buf + said->len - 5, "\r\n.\r\n");

	strbuf_init(&got, SIZE_MAX);
	dot_init(&dot);
	dot_unstuff(&dot, lf + 1, said->len - strlen(first) - 3, collect, &got);
	ck_assert_uint_eq(got.len, want);
	ck_assert_mem_eq(got.buf, PREFIX, strlen(PREFIX));
	ck_assert_mem_eq(got.buf + strlen(PREFIX), message, len);
	strbuf_release(&got);
}

/* Around the window in which a message is sent, and beside it; without the octets that were read
 * a moment ago, too, for which a loop may have had no memory. */
START_TEST(messages_of_many_sizes)
{
	static const size_t sizes[] = { 0, 2, 3, 997, 4096, 65536, 262140, 262144, 262145, 524288,
		1100000 };
	static const size_t lines[] = { 70, 1, 998, 100000 };
	size_t n = sizeof(sizes) / sizeof(sizes[0]);
	struct drive d;

	for (size_t i = 0; i < n; i++) {
		size_t len;
		char *message = make_message(sizes[i], lines[i % 4], &len);

		site_deliver(&site, JOE, message, len, 1);
		free(message);
	}
	drive_login(&d, &site);
	if (_i == 1)
		d.out.recent = NULL;
	for (size_t i = 0; i < n; i++) {
		char command[32];
		size_t len;
		char *message = make_message(sizes[i], lines[i % 4], &len);

		drive_forget(&d);
		snprintf(command, sizeof(command), "RETR %zu\r\n", i + 1);
		drive_say(&d, command);
		check_message(&d.said, message, len);
		free(message);
	}
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* Octets that no line of text has travel as they are. */
START_TEST(every_octet)
{
	char message[14 + 3 * 256];
	size_t len = strlen(HEADER);
	struct drive d;

	memcpy(message, HEADER, len);
	for (int c = 0; c < 256; c++) {
		if (c == '\n')
			continue;
		message[len++] = (char)c;
		message[len++] = '\r';
		message[len++] = '\n';
	}
	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	check_message(&d.said, message, len);
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* A client that asks for much and reads nothing is given one window, and later the rest. */
START_TEST(slow_client)
{
	struct strbuf asked;
	size_t len, before = 0;
	char *message = make_message(600000, 70, &len);
	struct drive d;

	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	strbuf_init(&asked, SIZE_MAX);
	for (int i = 0; i < 100; i++)
		strbuf_addstr(&asked, "RETR 1\r\n");
	strbuf_addstr(&asked, "NOOP\r\n");
	d.holding = true;
	drive_send(&d, asked.buf, asked.len);
	ck_assert_int_eq(d.want, SESSION_DRAIN);
	ck_assert_uint_gt(d.npending, asked.len / 2);
	before = d.most;
	drive_run(&d);
	ck_assert_uint_eq(d.most, before);
	ck_assert_uint_lt(d.most, 512 * 1024);

	d.holding = false;
	drive_read(&d);
	drive_run(&d);
	ck_assert_uint_lt(d.most, 512 * 1024);
	ck_assert_uint_gt(d.said.len, 100 * (len + strlen(PREFIX)));
	ck_assert_str_eq(d.said.buf + d.said.len - 10, "\r\n.\r\n+OK\r\n");
	drive_free(&d, SESSION_END_PEER);
	strbuf_release(&asked);
	free(message);
}
END_TEST

static size_t
count_lines(const struct strbuf *text)
{
	size_t n = 0;

	for (size_t i = 0; i < text->len; i++)
		n += text->buf[i] == '\n';
	return n;
}

/* Listings that the queue does not hold at once; nothing is lost where they go on. */
START_TEST(long_listings)
{
	static const struct {
		const char *command;
		size_t number;
	} rows[] = { { "LIST\r\n", 0 }, { "UIDL\r\n", 1 } };
	const size_t n = 9000;
	struct drive d;

	site_deliver(&site, JOE, HEADER, strlen(HEADER), (unsigned)n);
	drive_login(&d, &site);
	for (size_t i = 0; i < 2; i++) {
		char *line, *save = NULL;
		size_t expected = 1;

		d.holding = true;
		drive_forget(&d);
		drive_say(&d, rows[i].command);
		ck_assert_int_eq(d.want, SESSION_DRAIN);
		ck_assert_uint_lt(d.most, 2 * OUTQ_HIGH_WATER);
		d.holding = false;
		drive_read(&d);
		drive_run(&d);
		ck_assert_uint_eq(count_lines(&d.said), n + 2);
		line = strtok_r(d.said.buf, "\r\n", &save);
		ck_assert_str_eq(line, "+OK 9000 messages");
		while (expected <= n) {
			unsigned long long number, value;

			line = strtok_r(NULL, "\r\n", &save);
			ck_assert_int_eq(sscanf(line, "%llu %llu", &number, &value), 2);
			ck_assert_uint_eq(number, expected++);
		}
		ck_assert_str_eq(strtok_r(NULL, "\r\n", &save), ".");
	}
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

START_TEST(top_of_a_long_message)
{
	size_t len;
	char *message = make_message(300000, 70, &len);
	struct drive d;

	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	for (size_t lines = 0; lines < 5000; lines = lines * 3 + 1) {
		size_t want = strlen(PREFIX HEADER) + lines * 72;
		char command[32];
		struct strbuf got;
		struct dot dot;

		drive_forget(&d);
		snprintf(command, sizeof(command), "TOP 1 %zu\r\n", lines);
		drive_say(&d, command);
		ck_assert_mem_eq(d.said.buf, "+OK\r\n", 5);
		ck_assert_str_eq(d.said.buf + d.said.len - 5, "\r\n.\r\n");
		strbuf_init(&got, SIZE_MAX);
		dot_init(&dot);
		dot_unstuff(&dot, d.said.buf + 5, d.said.len - 8, collect, &got);
		if (want > strlen(PREFIX) + len)
			want = strlen(PREFIX) + len;
		ck_assert_uint_eq(got.len, want);
		ck_assert_mem_eq(got.buf + strlen(PREFIX), message, want - strlen(PREFIX));
		strbuf_release(&got);
	}
	drive_free(&d, SESSION_END_PEER);
	free(message);
}
END_TEST

/* The largest of the segments' files, opened; `path_r` has room for PATH_MAX octets. */
static int
open_largest_segment(char *path_r)
{
	char pattern[400];
	off_t largest = -1;
	struct stat st;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/segments/[0-9]*", site.spool_dir);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		ck_assert_int_eq(stat(found.gl_pathv[i], &st), 0);
		if (st.st_size > largest) {
			largest = st.st_size;
			snprintf(path_r, PATH_MAX, "%s", found.gl_pathv[i]);
		}
	}
	globfree(&found);
	return open(path_r, O_RDWR | O_CLOEXEC);
}

static bool
is_tmpfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* What has left the page cache is read by a job first, a window at a time. */
START_TEST(cold_message)
{
	size_t len;
	char *message = make_message(1000000, 70, &len);
	struct drive d;
	char path[PATH_MAX];
	unsigned before;
	int fd;

	site_close(&site);
	site_open_where(&site, false, true);
	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	drive_say(&d, "RETR 1\r\n");
	drive_forget(&d);
	fd = open_largest_segment(path);
	ck_assert_int_eq(fdatasync(fd), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	before = d.waits;
	drive_say(&d, "RETR 1\r\n");
	check_message(&d.said, message, len);
	/* One for the header, and one for each window that the kernel did not bring along. */
	if (!is_tmpfs(fd))
		ck_assert_uint_ge(d.waits - before, 2);
	before = d.waits;
	drive_forget(&d);
	drive_say(&d, "RETR 1\r\n");
	check_message(&d.said, message, len);
	ck_assert_uint_eq(d.waits, before);
	/* Nor is all of it read for a client that can be sent nothing. */
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	d.out.failed = true;
	drive_say(&d, "RETR 1\r\n");
	ck_assert_int_eq(d.want, SESSION_DROP);
	ck_assert_uint_le(d.waits - before, 1);
	close(fd);
	drive_free(&d, SESSION_END_ERROR);
	free(message);
}
END_TEST

/* --- damage ---------------------------------------------------------------- */

/* RFC 3206 4: one reply, and the other messages are served. */
START_TEST(damaged_message)
{
	char path[PATH_MAX], junk[100];
	struct drive d;
	int fd;

	site_deliver(&site, JOE, HEADER, strlen(HEADER), 1);
	drive_login(&d, &site);
	fd = open_largest_segment(path);
	/* Behind the segment's own block the record's header begins. */
	memset(junk, 0xa5, sizeof(junk));
	ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), 4096), (ssize_t)sizeof(junk));
	close(fd);
	drive_say(&d, "RETR 1\r\nTOP 1 0\r\nTOP 1 5\r\nNOOP\r\nDELE 1\r\nQUIT\r\n");
	ck_assert_str_eq(d.said.buf,
	    "-ERR [SYS/PERM] damaged, tell the postmaster\r\n"
	    "-ERR [SYS/PERM] damaged, tell the postmaster\r\n"
	    "-ERR [SYS/PERM] damaged, tell the postmaster\r\n"
	    "+OK\r\n+OK marked, QUIT removes it\r\n+OK removed, goodbye\r\n");
	drive_free(&d, SESSION_END_SELF);
}
END_TEST

/* The same for one that is not there.  What the disk does not give may come another time. */
START_TEST(message_that_cannot_be_read)
{
	char path[PATH_MAX];
	struct drive d;
	int fd;

	site_deliver(&site, JOE, HEADER, strlen(HEADER), 1);
	drive_login(&d, &site);
	fd = open_largest_segment(path);
	close(fd);
	ck_assert_int_eq(unlink(path), 0);
	drive_say(&d, "RETR 1\r\n");
	ck_assert_str_eq(d.said.buf, "-ERR [SYS/PERM] damaged, tell the postmaster\r\n");
	/* A folder can be opened, and reading it fails. */
	ck_assert_int_eq(mkdir(path, 0700), 0);
	drive_forget(&d);
	drive_say(&d, "RETR 1\r\nTOP 1 1\r\nNOOP\r\n");
	ck_assert_str_eq(d.said.buf, "-ERR [SYS/TEMP] try again later\r\n"
				     "-ERR [SYS/TEMP] try again later\r\n+OK\r\n");
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* What shows in the middle cuts the connection: no terminator makes half a message whole. */
START_TEST(damage_in_the_middle)
{
	size_t len;
	char *message = make_message(600000, 70, &len);
	char path[PATH_MAX];
	struct drive d;
	int fd;

	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	d.holding = true;
	drive_say(&d, "RETR 1\r\nDELE 1\r\nQUIT\r\n");
	ck_assert_int_eq(d.want, SESSION_DRAIN);
	fd = open_largest_segment(path);
	ck_assert_int_eq(ftruncate(fd, 300000), 0);
	close(fd);
	d.holding = false;
	drive_read(&d);
	drive_run(&d);
	ck_assert_int_eq(d.want, SESSION_DROP);
	ck_assert_uint_gt(d.said.len, 200000);
	ck_assert_ptr_null(strstr(d.said.buf, "\r\n.\r\n"));
	drive_free(&d, SESSION_END_ERROR);
	ck_assert_uint_eq(site_count(&site, JOE), 1);
	free(message);
}
END_TEST

/* Writes over one octet of the message's body. */
static void
spoil(const char *what)
{
	char path[PATH_MAX], *all, *at;
	struct stat file;
	int fd = open_largest_segment(path);

	ck_assert_int_eq(fstat(fd, &file), 0);
	all = malloc((size_t)file.st_size);
	ck_assert_int_eq(pread(fd, all, (size_t)file.st_size, 0), file.st_size);
	at = memmem(all, (size_t)file.st_size, what, strlen(what));
	ck_assert_ptr_nonnull(at);
	ck_assert_int_eq(pwrite(fd, "#", 1, at - all), 1);
	free(all);
	close(fd);
}

/* One octet of the body is another one: refused as a whole, set apart from the next login on, and
 * counted nowhere; everything else flows. */
START_TEST(checksum_of_a_small_message)
{
	static const char spoiled[] = "Subject: x\r\n\r\nfind me here\r\n";
	static const char begin[] = "-ERR [SYS/PERM] damaged, tell the postmaster\r\n+OK 2 ";
	struct drive d;

	site_deliver(&site, JOE, spoiled, strlen(spoiled), 1);
	site_deliver(&site, JOE, HEADER, strlen(HEADER), 1);
	drive_login(&d, &site);
	spoil("find me here");
	drive_say(&d, "RETR 1\r\nSTAT\r\nRETR 1\r\n");
	ck_assert_int_eq(strncmp(d.said.buf, begin, strlen(begin)), 0);
	ck_assert_ptr_nonnull(strstr(d.said.buf + strlen(begin), "\r\n-ERR [SYS/PERM] damaged"));
	drive_say(&d, "DELE 1\r\nQUIT\r\n");
	drive_free(&d, SESSION_END_SELF);
	ck_assert_uint_eq(site_count(&site, JOE), 1);
	drive_login(&d, &site);
	drive_say(&d, "STAT\r\nUIDL 2\r\nRETR 1\r\n");
	ck_assert_int_eq(strncmp(d.said.buf, "+OK 1 ", 6), 0);
	ck_assert_ptr_nonnull(strstr(d.said.buf, "\r\n-ERR "));
	ck_assert_ptr_nonnull(strstr(d.said.buf, HEADER));
	drive_free(&d, SESSION_END_PEER);
}
END_TEST

/* The same in a long one, which was begun by then: cut off, never ended. */
START_TEST(checksum_of_a_large_message)
{
	size_t len;
	char *message = make_message(600000, 70, &len);
	struct drive d;

	memcpy(message + len - 40, "find me here", 12);
	site_deliver(&site, JOE, message, len, 1);
	drive_login(&d, &site);
	spoil("find me here");
	drive_say(&d, "RETR 1\r\nNOOP\r\n");
	ck_assert_int_eq(d.want, SESSION_DROP);
	ck_assert_uint_gt(d.said.len, 200000);
	ck_assert_uint_lt(d.said.len, len);
	ck_assert_ptr_null(strstr(d.said.buf, "\r\n.\r\n"));
	drive_free(&d, SESSION_END_ERROR);
	ck_assert_uint_eq(site_count(&site, JOE), 0);
	free(message);
}
END_TEST

/* Memory runs out for a reply, or a slice that was on its way cannot be read any more: that ends
 * the session, but not while a job works for it. */
static const char *const last[] = {
	"NOOP\r\n",
	"LIST\r\n",
	"RETR 1\r\n",
	"TOP 1 1\r\n",
	"DELE 1\r\nQUIT\r\n",
};

START_TEST(lost_replies)
{
	struct drive d;

	site_deliver(&site, JOE, HEADER "body\r\n", strlen(HEADER "body\r\n"), 1);
	drive_login(&d, &site);
	d.out.failed = true;
	drive_say(&d, last[_i]);
	ck_assert_int_eq(d.want, SESSION_DROP);
	ck_assert_ptr_null(d.session->work);
	drive_free(&d, SESSION_END_ERROR);
	ck_assert_uint_eq(site_count(&site, JOE), 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pop3_send");
	TCase *tc = tcase_create("send");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_site, close_site);
	tcase_add_loop_test(tc, messages_of_many_sizes, 0, 2);
	tcase_add_test(tc, every_octet);
	tcase_add_test(tc, slow_client);
	tcase_add_test(tc, long_listings);
	tcase_add_test(tc, top_of_a_long_message);
	tcase_add_test(tc, cold_message);
	tcase_add_test(tc, damaged_message);
	tcase_add_test(tc, checksum_of_a_small_message);
	tcase_add_test(tc, checksum_of_a_large_message);
	tcase_add_test(tc, message_that_cannot_be_read);
	tcase_add_test(tc, damage_in_the_middle);
	tcase_add_loop_test(tc, lost_replies, 0, sizeof(last) / sizeof(*last));
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
