/*
 * Quotas as a sender meets them: at RCPT, at DATA and the first BDAT, behind the data.
 *
 * Rows are run whole, octet by octet and in pieces, each time on mailboxes set up anew.  {n} in a
 * dialogue stands for n octets of text in lines.  max_message_size is 64K, ROOM_TRACE_MAX is 2,560.
 */
#include <check.h>

#include "base/clock.h"
#include "drive.h"
#include "common/spool/delivery_internal.h"

static struct site site;

#define HI "EHLO client.example\r\n"
#define LHLO "LHLO client.example\r\n"
#define MAIL "MAIL FROM:<a@b.example>"
#define FROM MAIL "\r\n"
#define JOE "RCPT TO:<joe@example.test>\r\n"
#define ANN "RCPT TO:<ann@example.test>\r\n"
#define TEAM "RCPT TO:<team@example.test>\r\n"
#define DATA "DATA\r\n"
#define END ".\r\n"
#define NONE -1
#define MAX (64 * 1024 + (int)ROOM_TRACE_MAX)

static void
sql(const char *text)
{
	struct index_conn *c;
	char *error = NULL;

	ck_assert_int_eq(index_write_begin(site.spool, INDEX_MAIN, "test", &c), SPOOL_OK);
	ck_assert_msg(
	    sqlite3_exec(index_db(c), text, NULL, NULL, &error) == SQLITE_OK, "%s", error);
	ck_assert_int_eq(index_write_commit(site.spool, &c, false), SPOOL_OK);
}

/* A mailbox's quota, and how much of it is free; NONE: no quota. */
static void
set_room(const char *local, int64_t quota, int64_t room)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "UPDATE mailbox SET quota = nullif(%lld, -1), used = %lld, messages = 0"
	    " WHERE local = '%s'",
	    (long long)quota, (long long)(quota == NONE ? 0 : quota - room), local);
	sql(text);
}

static char *
expanded(const char *in)
{
	struct strbuf out;

	strbuf_init(&out, SIZE_MAX);
	for (; *in != '\0'; in++) {
		if (*in != '{') {
			strbuf_addch(&out, *in);
			continue;
		}
		unsigned long n = strtoul(in + 1, (char **)(uintptr_t)&in, 10);

		for (unsigned long i = 0; i < n - 2; i++)
			strbuf_addch(&out, i % 72 == 70 ? '\r' : i % 72 == 71 ? '\n' : 'x');
		strbuf_addstr(&out, "\r\n");
	}
	ck_assert(!out.failed);
	return out.buf;
}

static void
begin(struct drive *d, bool lmtp)
{
	drive_open(d, &site, lmtp);
	strbuf_clear(&d->said);
}

/* Another address than drive.h's. */
static void
move_to(struct drive *d, const char *peer)
{
	ck_assert_int_eq(endpoint_parse(peer, &d->peer), 0);
}

static const char *
say(struct drive *d, const char *in)
{
	char *text = expanded(in);

	drive_say(d, text);
	free(text);
	return drive_take(d);
}

static const struct row {
	const char *name;
	bool lmtp;
	struct {
		int64_t quota, room;
	} joe, ann;
	const char *in, *want;
	unsigned joe_has, ann_has;
} rows[] = {
	{ "SIZE that fits", false, { 10000, 10000 }, { NONE, 0 }, HI MAIL " SIZE=7440\r\n" JOE,
	    "250 250/2.1.0 250/2.1.5", 0, 0 },
	{ "SIZE beyond the quota", false, { 10000, 10000 }, { NONE, 0 },
	    HI MAIL " SIZE=7441\r\n" JOE ANN, "250 250/2.1.0 552/5.2.3 250/2.1.5", 0, 0 },
	{ "SIZE beyond what is free", false, { 10000, 9999 }, { NONE, 0 },
	    HI MAIL " SIZE=7440\r\n" JOE ANN, "250 250/2.1.0 452/4.2.2 250/2.1.5", 0, 0 },
	{ "SIZE that several have room for", false, { 10000, 5000 }, { 10000, 5000 },
	    HI MAIL " SIZE=2440\r\n" JOE ANN DATA "{2440}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 250/2.0.0", 1, 1 },
	{ "nothing refused is counted", false, { 10000, 100 }, { NONE, 0 },
	    HI MAIL " SIZE=100\r\n" JOE DATA ANN DATA "{100}" END,
	    "250 250/2.1.0 452/4.2.2 503/5.5.1 250/2.1.5 354 250/2.0.0", 0, 1 },

	{ "full", false, { 10000, 2559 }, { NONE, 0 }, HI FROM JOE ANN,
	    "250 250/2.1.0 452/4.2.2 250/2.1.5", 0, 0 },
	{ "full as could be", false, { 10000, 0 }, { NONE, 0 }, HI FROM JOE,
	    "250 250/2.1.0 452/4.2.2", 0, 0 },
	{ "beyond a quota that was lowered", false, { 10000, -500 }, { NONE, 0 }, HI FROM JOE,
	    "250 250/2.1.0 452/4.2.2", 0, 0 },
	{ "just not full", false, { 10000, 2560 }, { NONE, 0 },
	    HI FROM JOE DATA "{1500}" END, "250 250/2.1.0 250/2.1.5 354 250/2.0.0", 1, 0 },
	{ "SIZE=0 says nothing", false, { 10000, 5000 }, { NONE, 0 },
	    HI MAIL " SIZE=0\r\n" JOE ANN, "250 250/2.1.0 250/2.1.5 452/4.5.3", 0, 0 },

	{ "a lone recipient", false, { 100000, 30000 }, { NONE, 0 },
	    HI FROM JOE ANN JOE TEAM DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 452/4.5.3 250/2.1.5 452/4.5.3 354 250/2.0.0", 1, 0 },
	{ "the others come again, at once", false, { 100000, 30000 }, { NONE, 0 },
	    HI FROM JOE ANN DATA "{200}" END FROM ANN DATA "{200}" END,
	    "250 250/2.1.0 250/2.1.5 452/4.5.3 354 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0", 1,
	    1 },
	{ "room for the largest message", false, { 1000000, MAX }, { 1000000, MAX },
	    HI FROM JOE ANN TEAM DATA "{200}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 250/2.1.5 354 250/2.0.0", 1, 1 },
	{ "an octet less for the first", false, { 1000000, MAX - 1 }, { 1000000, MAX },
	    HI FROM JOE ANN, "250 250/2.1.0 250/2.1.5 452/4.5.3", 0, 0 },
	{ "an octet less for the second", false, { 1000000, MAX - 1 }, { 1000000, MAX },
	    HI FROM ANN JOE DATA "{200}" END, "250 250/2.1.0 250/2.1.5 452/4.2.2 354 250/2.0.0", 0,
	    1 },
	{ "RSET forgets that one was alone", false, { 100000, 30000 }, { NONE, 0 },
	    HI FROM JOE "RSET\r\n" FROM ANN JOE,
	    "250 250/2.1.0 250/2.1.5 250/2.0.0 250/2.1.0 250/2.1.5 452/4.2.2", 0, 0 },

	{ "an alias with a full mailbox", false, { 10000, 100 }, { NONE, 0 },
	    HI FROM TEAM ANN DATA "{200}" END,
	    "250 250/2.1.0 452/4.2.2 250/2.1.5 354 250/2.0.0", 0, 1 },
	{ "an alias with a mailbox that never takes it", false, { 10000, 100 }, { NONE, 0 },
	    HI MAIL " SIZE=20000\r\n" TEAM ANN, "250 250/2.1.0 552/5.2.3 250/2.1.5", 0, 0 },
	{ "an alias alone", false, { 100000, 30000 }, { NONE, 0 },
	    HI FROM TEAM ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 250/2.0.0", 1, 1 },
	{ "an alias alone, all or none", false, { 100000, 5000 }, { NONE, 0 },
	    HI FROM TEAM DATA "{20000}" END, "250 250/2.1.0 250/2.1.5 354 452/4.2.2", 0, 0 },
	{ "an alias to two who are there", false, { 100000, 30000 }, { NONE, 0 },
	    HI FROM ANN TEAM, "250 250/2.1.0 250/2.1.5 452/4.2.2", 0, 0 },

	{ "larger than declared, and room for it", false, { 100000, 50000 }, { NONE, 0 },
	    HI MAIL " SIZE=100\r\n" JOE ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 250/2.0.0", 1, 1 },
	{ "larger than declared, and none", false, { 100000, 10000 }, { NONE, 0 },
	    HI MAIL " SIZE=100\r\n" JOE ANN DATA "{20000}" END ANN,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 552/5.3.4 503/5.5.1", 0, 0 },
	{ "larger than declared, and than the quota", false, { 10000, 10000 }, { NONE, 0 },
	    HI MAIL " SIZE=100\r\n" JOE DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 354 552/5.3.4", 0, 0 },
	{ "declared larger than it is", false, { 100000, 10000 }, { NONE, 0 },
	    HI MAIL " SIZE=7000\r\n" JOE DATA "{200}" END,
	    "250 250/2.1.0 250/2.1.5 354 250/2.0.0", 1, 0 },
	{ "not declared, and no room", false, { 100000, 10000 }, { NONE, 0 },
	    HI FROM JOE DATA "{20000}" END, "250 250/2.1.0 250/2.1.5 354 452/4.2.2", 0, 0 },
	{ "not declared, and larger than the quota", false, { 10000, 10000 }, { NONE, 0 },
	    HI FROM JOE DATA "{20000}" END, "250 250/2.1.0 250/2.1.5 354 552/5.2.3", 0, 0 },
	{ "chunks, and no room", false, { 100000, 10000 }, { NONE, 0 },
	    HI FROM JOE "BDAT 10000\r\n{10000}BDAT 10000 LAST\r\n{10000}NOOP\r\n",
	    "250 250/2.1.0 250/2.1.5 250/2.0.0 452/4.2.2 250/2.0.0", 0, 0 },
	{ "chunks, larger than declared", false, { 100000, 10000 }, { NONE, 0 },
	    HI MAIL " SIZE=7000\r\n" JOE "BDAT 10000\r\n{10000}BDAT 10000 LAST\r\n{10000}NOOP\r\n",
	    "250 250/2.1.0 250/2.1.5 250/2.0.0 552/5.3.4 250/2.0.0", 0, 0 },

	{ "LMTP: sizes at RCPT", true, { 10000, 9999 }, { 10000, 10000 },
	    LHLO MAIL " SIZE=7440\r\n" JOE ANN "RSET\r\n" MAIL " SIZE=7441\r\n" ANN,
	    "250 250/2.1.0 452/4.2.2 250/2.1.5 250/2.0.0 250/2.1.0 552/5.2.3", 0, 0 },
	{ "LMTP: nobody is alone", true, { 100000, 30000 }, { NONE, 0 },
	    LHLO FROM JOE ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 250/2.0.0 250/2.0.0", 1, 1 },
	{ "LMTP: each his own answer", true, { 100000, 10000 }, { NONE, 0 },
	    LHLO FROM JOE ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 452/4.2.2 250/2.0.0", 0, 1 },
	{ "LMTP: never, and not now", true, { 10000, 10000 }, { 100000, 10000 },
	    LHLO FROM JOE ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 552/5.2.3 452/4.2.2", 0, 0 },
	{ "LMTP: larger than declared", true, { 100000, 10000 }, { NONE, 0 },
	    LHLO MAIL " SIZE=10\r\n" JOE ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 552/5.3.4 250/2.0.0", 0, 1 },
	{ "LMTP: an alias is true", true, { 100000, 10000 }, { NONE, 0 },
	    LHLO FROM TEAM ANN DATA "{20000}" END,
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 354 452/4.2.2 250/2.0.0", 0, 1 },
	{ "LMTP: full", true, { 100000, 100 }, { NONE, 0 }, LHLO FROM JOE ANN DATA "{100}" END,
	    "250 250/2.1.0 452/4.2.2 250/2.1.5 354 250/2.0.0", 0, 1 },
};

static void
check_row(const struct row *row, size_t step)
{
	struct drive d;
	char *in = expanded(row->in);
	size_t len = strlen(in);

	set_room("joe", row->joe.quota, row->joe.room);
	set_room("ann", row->ann.quota, row->ann.room);
	begin(&d, row->lmtp);
	for (size_t at = 0; at < len; at += step)
		drive_send(&d, in + at, len - at < step ? len - at : step);
	const char *got = drive_take(&d);

	ck_assert_msg(strcmp(got, row->want) == 0, "%s, %zu at a time: %s, not %s", row->name, step,
	    got, row->want);
	ck_assert_msg(site_count(&site, "joe@example.test") == row->joe_has &&
			  site_count(&site, "ann@example.test") == row->ann_has,
	    "%s: delivered to others", row->name);
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(room_claimed(site.spool, 1) + room_claimed(site.spool, 2), 0);
	free(in);
}

START_TEST(dialogues)
{
	static const size_t steps[] = { 1, 7, 61, 4096, SIZE_MAX / 2 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		check_row(&rows[_i], steps[i]);
}
END_TEST

/* --- while others send ----------------------------------------------------- */

/* Room that was there at RCPT and went: DATA says so, and nothing was sent in vain. */
START_TEST(gone_at_data)
{
	struct drive a, b;

	set_room("joe", 20000, 20000);
	set_room("ann", NONE, 0);
	begin(&a, false);
	begin(&b, false);
	move_to(&b, "192.0.2.8:1");
	ck_assert_str_eq(say(&a, HI MAIL " SIZE=10000\r\n" JOE ANN),
	    "250 250/2.1.0 250/2.1.5 250/2.1.5");
	ck_assert_str_eq(say(&b, HI MAIL " SIZE=10000\r\n" JOE), "250 250/2.1.0 250/2.1.5");
	ck_assert_str_eq(say(&b, DATA), "354");
	ck_assert_uint_eq(room_claimed(site.spool, 1), 12560);
	ck_assert_str_eq(say(&a, DATA JOE), "452/4.2.2 503/5.5.1");
	ck_assert_str_eq(say(&a, MAIL " SIZE=10000\r\n" JOE), "250/2.1.0 452/4.2.2");
	ck_assert_uint_eq(room_claimed(site.spool, 2), 0);
	drive_close(&b, SESSION_END_PEER);
	ck_assert_str_eq(say(&a, JOE DATA "{10000}" END), "250/2.1.5 354 250/2.0.0");
	drive_close(&a, SESSION_END_PEER);
}
END_TEST

/* Lowered since: final for who named but an alias with it, not for who named others. */
START_TEST(never_at_data)
{
	struct drive d;

	set_room("ann", NONE, 0);
	begin(&d, false);
	set_room("joe", 20000, 20000);
	say(&d, HI MAIL " SIZE=10000\r\n" TEAM);
	set_room("joe", 5000, 5000);
	ck_assert_str_eq(say(&d, DATA), "552/5.2.3");
	set_room("joe", 20000, 20000);
	say(&d, MAIL " SIZE=10000\r\n" JOE ANN);
	set_room("joe", 5000, 5000);
	ck_assert_str_eq(say(&d, DATA), "452/4.2.2");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* RFC 3030 2: the octets of a chunk come all the same. */
START_TEST(gone_at_bdat)
{
	struct drive a, b;

	set_room("joe", 20000, 20000);
	begin(&a, false);
	begin(&b, false);
	move_to(&b, "192.0.2.8:1");
	ck_assert_str_eq(say(&a, HI MAIL " SIZE=10000\r\n" JOE), "250 250/2.1.0 250/2.1.5");
	ck_assert_str_eq(
	    say(&b, HI MAIL " SIZE=10000\r\n" JOE DATA), "250 250/2.1.0 250/2.1.5 354");
	ck_assert_str_eq(say(&a, "BDAT 5000\r\n{5000}BDAT 5000 LAST\r\n{5000}NOOP\r\n"),
	    "452/4.2.2 503/5.5.1 250/2.0.0");
	drive_close(&a, SESSION_END_PEER);
	drive_close(&b, SESSION_END_PEER);
}
END_TEST

/* LMTP: DATA is refused where nobody has room any more, and then for all. */
START_TEST(gone_at_data_of_lmtp)
{
	struct drive a, b;

	set_room("joe", 20000, 20000);
	set_room("ann", 20000, 20000);
	begin(&a, true);
	begin(&b, false);
	move_to(&b, "192.0.2.8:1");
	ck_assert_str_eq(say(&a, LHLO MAIL " SIZE=10000\r\n" JOE ANN),
	    "250 250/2.1.0 250/2.1.5 250/2.1.5");
	ck_assert_str_eq(
	    say(&b, HI MAIL " SIZE=10000\r\n" JOE DATA), "250 250/2.1.0 250/2.1.5 354");
	ck_assert_str_eq(say(&a, DATA "{10000}"), "354");
	ck_assert_str_eq(say(&b, "{10000}" END), "250/2.0.0");
	ck_assert_str_eq(say(&a, END), "452/4.2.2 250/2.0.0");
	set_room("joe", 20000, 20000);
	set_room("ann", 20000, 20000);
	ck_assert_str_eq(say(&a, MAIL " SIZE=10000\r\n" JOE ANN), "250/2.1.0 250/2.1.5 250/2.1.5");
	set_room("joe", 20000, 100);
	set_room("ann", 20000, 100);
	ck_assert_str_eq(say(&a, DATA JOE), "452/4.2.2 503/5.5.1");
	drive_close(&a, SESSION_END_PEER);
	drive_close(&b, SESSION_END_PEER);
}
END_TEST

/* Who says nothing for thirty seconds keeps nobody out, and hears at the end what became of it. */
START_TEST(stalled)
{
	struct drive a, b;

	clock_set(1000000, 1795489877000);
	set_room("joe", 20000, 20000);
	begin(&a, false);
	begin(&b, false);
	move_to(&b, "192.0.2.8:1");
	ck_assert_str_eq(say(&a, HI MAIL " SIZE=10000\r\n" JOE DATA "{100}"),
	    "250 250/2.1.0 250/2.1.5 354");
	ck_assert_str_eq(say(&b, HI MAIL " SIZE=10000\r\n" JOE), "250 250/2.1.0 452/4.2.2");
	clock_set(1000000 + ROOM_LAPSE_MS, 1795489877000);
	ck_assert_str_eq(say(&b, JOE DATA "{100}"), "250/2.1.5 354");
	ck_assert_str_eq(say(&a, "{100}"), "");
	ck_assert_str_eq(say(&a, "{100}" END "NOOP\r\n"), "452/4.2.2 250/2.0.0");
	ck_assert_str_eq(say(&b, END), "250/2.0.0");
	drive_close(&a, SESSION_END_PEER);
	drive_close(&b, SESSION_END_PEER);
	clock_set(0, 0);
}
END_TEST

/* One address has one message's room, however many it sends at once, and all may arrive; unless it
 * is trusted. */
START_TEST(one_address)
{
	struct drive d[4], other;

	set_room("joe", 60000, 60000);
	for (size_t i = 0; i < 4; i++) {
		begin(&d[i], false);
		ck_assert_str_eq(say(&d[i], HI MAIL " SIZE=10000\r\n" JOE DATA),
		    "250 250/2.1.0 250/2.1.5 354");
		ck_assert_uint_eq(room_claimed(site.spool, 1), 12560);
	}
	begin(&other, false);
	move_to(&other, "192.0.2.8:4711");
	ck_assert_str_eq(
	    say(&other, HI MAIL " SIZE=1000\r\n" JOE DATA), "250 250/2.1.0 250/2.1.5 354");
	ck_assert_uint_eq(room_claimed(site.spool, 1), 12560 + 3560);
	drive_close(&other, SESSION_END_PEER);
	begin(&other, false);
	other.link.trusted = true;
	ck_assert_str_eq(
	    say(&other, HI MAIL " SIZE=40000\r\n" JOE DATA), "250 250/2.1.0 250/2.1.5 354");
	ck_assert_uint_eq(room_claimed(site.spool, 1), 12560 + 42560);
	ck_assert_str_eq(say(&other, "{40000}" END), "250/2.0.0");
	ck_assert_str_eq(say(&d[1], "{10000}" END), "452/4.2.2");
	ck_assert_str_eq(say(&d[0], "{10000}" END), "250/2.0.0");
	ck_assert_str_eq(say(&d[2], "{1000}" END), "250/2.0.0");
	ck_assert_str_eq(say(&d[3], "{10000}" END), "452/4.2.2");
	for (size_t i = 0; i < 4; i++)
		drive_close(&d[i], SESSION_END_PEER);
	drive_close(&other, SESSION_END_PEER);
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), 3);
}
END_TEST

/* Rows: what is said once a message of which 100 octets are here has room, and whether it has after
 * that.  In the end it has none in any case. */
static const struct ending {
	const char *says;
	bool keeps;
} endings[] = {
	{ "NOOP\r\n", true },
	{ "MAIL FROM:<x@y.example>\r\n", true },
	{ "BDAT 0\r\n", true },
	{ "BDAT 10\r\n{5}", true },
	{ "BDAT 0 LAST\r\n", false },
	{ "RSET\r\n", false },
	{ HI, false },
	{ "QUIT\r\n", true },
	{ "BDAT 10 FIRST\r\n{10}", false },
	{ "BDAT 70000\r\n{100}", false },
	{ "BDAT 99999999999\r\n", true },
	{ "STARTTLS\r\n", false },
};

START_TEST(each_end_gives_room_back)
{
	const struct ending *e = &endings[_i];
	struct drive d;

	set_room("joe", 60000, 60000);
	begin(&d, false);
	d.link.tls_available = true;
	say(&d, HI MAIL " SIZE=10000\r\n" JOE "BDAT 100\r\n{100}");
	ck_assert_uint_eq(room_claimed(site.spool, 1), 12560);
	say(&d, e->says);
	ck_assert_msg((room_claimed(site.spool, 1) > 0) == e->keeps, "%s", e->says);
	if (d.want == SESSION_START_TLS) {
		d.link.tls = true;
		smtp_session_ops.tls_started(d.session);
		ck_assert_uint_eq(room_claimed(site.spool, 1), 0);
	}
	drive_close(&d, SESSION_END_PEER);
	ck_assert_uint_eq(room_claimed(site.spool, 1), 0);
}
END_TEST

/* While a COMMIT takes its time, what may be counted twice refuses nobody, with SIZE or without, the
 * second recipient neither. */
START_TEST(unsure_refuses_nobody)
{
	struct room_sum sum = { .quota = 200000, .octets = 90000 };
	struct drive a, b;

	set_room("joe", 200000, 200000);
	set_room("ann", NONE, 0);
	begin(&a, false);
	begin(&b, false);
	move_to(&b, "192.0.2.8:1");
	say(&a, HI FROM JOE DATA);
	struct delivery *d = a.session->tx->delivery;

	room_settle(site.spool, d->claim, d->env, &sum);
	room_commit_begin(site.spool);
	set_room("joe", 200000, 110000);
	ck_assert_str_eq(
	    say(&b, HI MAIL " SIZE=60000\r\n" JOE ANN "RSET\r\n" FROM ANN JOE "RSET\r\n"),
	    "250 250/2.1.0 250/2.1.5 250/2.1.5 250/2.0.0 250/2.1.0 250/2.1.5 250/2.1.5 250/2.0.0");
	ck_assert_str_eq(say(&b, FROM JOE ANN DATA "{60000}"), "250/2.1.0 250/2.1.5 250/2.1.5 354");
	drive_close(&a, SESSION_END_PEER);
	room_commit_end(site.spool);
	ck_assert_str_eq(say(&b, END), "250/2.0.0");
	drive_close(&b, SESSION_END_PEER);
}
END_TEST

/* RFC 1870 6.1: a disk that filled up while the message came. */
START_TEST(disk_full_at_the_end)
{
	struct spool_policy policy = { .reserve = UINT64_MAX / 2 }, before = { .reserve = 1 };

	set_room("joe", NONE, 0);
	for (int lmtp = 0; lmtp < 2; lmtp++) {
		struct drive d;

		begin(&d, lmtp);
		ck_assert_str_eq(say(&d, lmtp ? LHLO FROM JOE JOE DATA "{100}"
					      : HI FROM JOE JOE DATA "{100}"),
		    "250 250/2.1.0 250/2.1.5 250/2.1.5 354");
		spool_set_policy(site.spool, &policy);
		ck_assert_str_eq(say(&d, END FROM), lmtp ? "452/4.3.1 452/4.3.1 452/4.3.1"
							 : "452/4.3.1 452/4.3.1");
		spool_set_policy(site.spool, &before);
		ck_assert_str_eq(say(&d, FROM JOE "BDAT 100\r\n{100}"),
		    "250/2.1.0 250/2.1.5 250/2.0.0");
		spool_set_policy(site.spool, &policy);
		ck_assert_str_eq(say(&d, "BDAT 0 LAST\r\n"), "452/4.3.1");
		spool_set_policy(site.spool, &before);
		drive_close(&d, SESSION_END_PEER);
	}
	ck_assert_uint_eq(site_count(&site, "joe@example.test"), 0);
}
END_TEST

/* The one answer must be true for all, whatever comes: room for the largest message in each.  Of
 * one, only what has come. */
START_TEST(held_without_size)
{
	struct drive d;

	set_room("joe", 1000000, 1000000);
	set_room("ann", 1000000, 1000000);
	begin(&d, false);
	say(&d, HI FROM JOE ANN DATA);
	ck_assert_uint_eq(room_claimed(site.spool, 1), MAX);
	ck_assert_uint_eq(room_claimed(site.spool, 2), MAX);
	drive_close(&d, SESSION_END_PEER);
	begin(&d, false);
	say(&d, HI FROM JOE JOE DATA);
	ck_assert_uint_eq(room_claimed(site.spool, 1), ROOM_TRACE_MAX);
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

/* An alias that leads to many: others of the loop get their turns, behind RCPT and behind DATA. */
START_TEST(looks_give_way)
{
	static const char in[] = HI FROM "RCPT TO:<many@example.test>\r\n" DATA "x\r\n" END;
	struct drive d;
	size_t n = 0;
	unsigned drains = 0;

	sql("WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
	    " INSERT INTO mailbox (domain, local, folded, created_s)"
	    " SELECT 1, 'n' || i, 'n' || i, 0 FROM n;"
	    "INSERT INTO alias (id, domain, local, folded) VALUES (999, 1, 'many', 'many');"
	    "INSERT INTO alias_target (alias, mailbox) SELECT 999, id FROM mailbox"
	    " WHERE local GLOB 'n[0-9]*'");
	begin(&d, false);
	while (n < sizeof(in) - 1) {
		size_t used = 0;

		d.want = smtp_session_ops.input(d.session, in + n, sizeof(in) - 1 - n, &used);
		n += used;
		drains += d.want == SESSION_DRAIN;
		ck_assert(d.want == SESSION_DRAIN || d.want == SESSION_WAIT);
	}
	ck_assert_uint_eq(drains, 2);
	drive_wait(&d);
	drive_run(&d);
	ck_assert_str_eq(drive_take(&d), "250 250/2.1.0 250/2.1.5 354 250/2.0.0");
	drive_close(&d, SESSION_END_PEER);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("smtp_quota");
	TCase *t = tcase_create("quota");
	SRunner *runner;
	int failed;

	site_open(&site, "max_message_size = 64K", 1);
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, dialogues, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, gone_at_data);
	tcase_add_test(t, never_at_data);
	tcase_add_test(t, gone_at_bdat);
	tcase_add_test(t, gone_at_data_of_lmtp);
	tcase_add_test(t, stalled);
	tcase_add_loop_test(
	    t, each_end_gives_room_back, 0, sizeof(endings) / sizeof(endings[0]));
	tcase_add_test(t, one_address);
	tcase_add_test(t, unsure_refuses_nobody);
	tcase_add_test(t, disk_full_at_the_end);
	tcase_add_test(t, held_without_size);
	tcase_add_test(t, looks_give_way);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	/* The spool's threads would not survive a fork. */
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	site_close(&site);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
