/*
 * A year in fast motion: mailboxes whose limits change, mail that comes, sessions that read and
 * delete and sometimes stay open, and expiry every hour.  A model beside it says what each mailbox
 * must hold, and when a message may go at the earliest: as long as the largest EXPIRE that its
 * owner was told while it lay there (RFC 2449 6.7).
 */
#include "delivery_test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "common/spool/janitor.h"
#include "spool/maildrop.h"

#define MAILBOXES 50u
#define HOURS (365u * 24)
#define DAY_S UINT64_C(86400)
#define FIRST_S (20000 * DAY_S + 1234)
#define MESSAGES_MAX 20000u
#define NEVER NUM_UNLIMITED

struct limits {
	uint64_t age_s, retrieved_s;    /* or NEVER */
};

struct message {
	uint64_t id;
	unsigned mailbox;
	uint64_t received_s;
	struct limits limits;           /* that hold for it */
	uint64_t retrieved_at_s;        /* 0: not yet */
	uint64_t told_days;             /* the largest that was said while it lay there */
	bool gone;
};

static struct spool *sp;
static struct message *messages;
static unsigned nmessages;
static struct limits limits[MAILBOXES + 1];
static struct maildrop *open_md[MAILBOXES + 1];
static unsigned open_until[MAILBOXES + 1];
static uint64_t now_s;
static uint32_t random_state = 7;

static uint32_t
random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

/* The administrator changes limits: shorter ones are for later mail, longer ones for all. */
static void
set_limits(unsigned mailbox, struct limits l)
{
	struct address address;
	uint64_t changed;
	char text[64];

	snprintf(text, sizeof(text), "user%u@example.test", mailbox);
	address = spool_test_address(text);
	ck_assert_int_eq(
	    account_user_set_expire(sp, &address, l.age_s, false, &changed), SPOOL_OK);
	ck_assert_int_eq(
	    account_user_set_expire_retrieved(sp, &address, l.retrieved_s, &changed),
	    SPOOL_OK);
}

/* --- the model -------------------------------------------------------------- */

static bool
lies_in(const struct message *m, unsigned mailbox)
{
	return !m->gone && m->mailbox == mailbox;
}

/* A limit of so many seconds is up at the first midnight that is not before. */
static bool
is_up(uint64_t from_s, uint64_t limit_s)
{
	return limit_s != NEVER && now_s / DAY_S * DAY_S >= from_s + limit_s;
}

static bool
is_due(const struct message *m)
{
	return is_up(m->received_s, m->limits.age_s) ||
	    (m->retrieved_at_s != 0 && is_up(m->retrieved_at_s, m->limits.retrieved_s));
}

/* Everything that expiry takes now; how many open maildrops it has to leave. */
static unsigned
model_expire(void)
{
	bool left[MAILBOXES + 1] = { false };
	unsigned n = 0;

	for (unsigned i = 0; i < nmessages; i++) {
		struct message *m = &messages[i];

		if (m->gone || !is_due(m))
			continue;
		if (open_md[m->mailbox] != NULL) {
			left[m->mailbox] = true;
			continue;
		}
		m->gone = true;
		ck_assert_msg(m->told_days == NEVER ? false :
			now_s >= m->received_s + m->told_days * DAY_S,
		    "mailbox %u: %llu days were said, gone after %llu s", m->mailbox,
		    (unsigned long long)m->told_days,
		    (unsigned long long)(now_s - m->received_s));
	}
	for (unsigned i = 1; i <= MAILBOXES; i++)
		n += left[i];
	return n;
}

/* The mailbox holds what the model says, in the order of arrival. */
static void
compare(const struct maildrop *md, unsigned mailbox)
{
	char uid[MAILDROP_UID_MAX + 1], want[SPOOL_UID_LEN + 1];
	size_t k = 0;

	for (unsigned i = 0; i < nmessages; i++) {
		if (!lies_in(&messages[i], mailbox))
			continue;
		ck_assert_msg(k < maildrop_count(md), "mailbox %u lacks message %u", mailbox, i);
		maildrop_uid(md, k++, uid);
		spool_uid_format(want, messages[i].id);
		ck_assert_str_eq(uid, want);
	}
	ck_assert_msg(k == maildrop_count(md), "mailbox %u has %zu, not %zu", mailbox,
	    maildrop_count(md), k);
}

static void
compare_all(void)
{
	for (unsigned i = 1; i <= MAILBOXES; i++) {
		struct maildrop *md;

		ck_assert_int_eq(maildrop_view(sp, i, &md), SPOOL_OK);
		ck_assert_int_eq(maildrop_load(md), SPOOL_OK);
		compare(md, i);
		maildrop_close(&md);
	}
}

/* --- what happens in an hour ------------------------------------------------ */

static uint64_t
random_age(void)
{
	switch (random_below(6)) {
	case 0:
		return NEVER;
	case 1:
		return DAY_S;
	case 2:
		/* Not a whole number of days. */
		return DAY_S + random_below(10 * DAY_S);
	default:
		return (1 + random_below(60)) * DAY_S;
	}
}

static void
change_limits(unsigned mailbox)
{
	struct limits l = { random_age(), random_below(2) ? NEVER : random_age() / 2 };
	struct limits *was;

	if (l.retrieved_s == NEVER / 2)
		l.retrieved_s = NEVER;
	/* Nothing may be left on the server. */
	if (random_below(5) == 0)
		l.retrieved_s = 0;
	/* More time, given while a session has the mail before it, is a test of its own. */
	if (open_md[mailbox] != NULL)
		l.retrieved_s = limits[mailbox].retrieved_s;
	set_limits(mailbox, l);
	limits[mailbox] = l;
	for (unsigned i = 0; i < nmessages; i++) {
		if (!lies_in(&messages[i], mailbox))
			continue;
		was = &messages[i].limits;
		if (l.age_s > was->age_s)
			was->age_s = l.age_s;
		if (l.retrieved_s > was->retrieved_s)
			was->retrieved_s = l.retrieved_s;
	}
}

static void
deliver(unsigned mailbox)
{
	struct message *m = &messages[nmessages];

	ck_assert_uint_lt(nmessages, MESSAGES_MAX);
	m->mailbox = mailbox;
	m->received_s = now_s;
	m->limits = limits[mailbox];
	ck_assert_int_eq(
	    test_deliver(sp, nmessages, 200 + random_below(3000), mailbox, mailbox, &m->id),
	    SPOOL_OK);
	nmessages++;
}

static struct message *
find(const struct maildrop *md, size_t k)
{
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t id;

	maildrop_uid(md, k, uid);
	ck_assert_int_eq(spool_uid_parse(uid, &id), 0);
	for (unsigned i = nmessages; i-- > 0;)
		if (messages[i].id == id)
			return &messages[i];
	ck_abort_msg("%s is nobody's", uid);
}

static void
log_in(unsigned mailbox, unsigned hour)
{
	struct maildrop *md = test_maildrop(sp, mailbox);
	uint64_t days;

	compare(md, mailbox);
	days = maildrop_retention_days(md);
	for (unsigned i = 0; i < nmessages; i++)
		if (lies_in(&messages[i], mailbox) && days > messages[i].told_days)
			messages[i].told_days = days;
	open_md[mailbox] = md;
	/* Most are over within the hour, some stay for days. */
	open_until[mailbox] = hour + (random_below(10) == 0 ? random_below(72) : 0);
}

static void
log_out(unsigned mailbox)
{
	struct maildrop *md = open_md[mailbox];
	bool quits = random_below(4) > 0;

	for (size_t k = 0; k < maildrop_count(md); k++) {
		struct message *m = find(md, k);

		bool reads = random_below(2) == 0;

		ck_assert(!m->gone);
		if (reads)
			maildrop_note_retrieved(md, k);
		if (quits && random_below(8) == 0)
			maildrop_mark(md, k);
		if (maildrop_marked(md, k))
			m->gone = true;
		else if (reads && m->limits.retrieved_s == 0)
			m->gone = quits;
		else if (reads && m->retrieved_at_s == 0)
			m->retrieved_at_s = now_s;
		ck_assert(!m->gone || maildrop_marked(md, k) || m->told_days == 0);
	}
	ck_assert_int_eq(quits ? maildrop_update(md) : maildrop_note(md), SPOOL_OK);
	maildrop_close(&open_md[mailbox]);
}

static void
one_hour(unsigned hour)
{
	struct janitor_task task = { .expire = true };
	unsigned lying = 0;
	unsigned left;

	for (unsigned n = random_below(4); n > 0; n--)
		deliver(1 + random_below(MAILBOXES));
	if (random_below(20) == 0)
		change_limits(1 + random_below(MAILBOXES));
	unsigned mailbox = 1 + random_below(MAILBOXES);
	if (open_md[mailbox] == NULL)
		log_in(mailbox, hour);
	for (unsigned i = 1; i <= MAILBOXES; i++)
		if (open_md[i] != NULL && open_until[i] <= hour)
			log_out(i);

	left = model_expire();
	ck_assert_int_eq(janitor_round(sp, &task), SPOOL_OK);
	ck_assert_uint_eq(task.busy, left);
	for (unsigned i = 0; i < nmessages; i++)
		lying += !messages[i].gone;
	ck_assert_int_eq(test_number(sp, "SELECT sum(messages) FROM mailbox"), lying);
}

START_TEST(a_year)
{
	unsigned gone = 0;

	for (unsigned hour = 0; hour < HOURS; hour++) {
		now_s = FIRST_S + hour * UINT64_C(3600);
		clock_set(now_s * 1000, now_s * 1000);
		one_hour(hour);
		if (hour % 24 == 23)
			compare_all();
		if (hour % (24 * 30) == 0)
			test_invariants(sp);
	}
	for (unsigned i = 1; i <= MAILBOXES; i++)
		maildrop_close(&open_md[i]);
	test_invariants(sp);
	ck_assert_int_eq(test_number(sp, "SELECT count(*) FROM garbage"), 0);
	for (unsigned i = 0; i < nmessages; i++)
		gone += messages[i].gone;
	/* It was a year with something in it. */
	ck_assert_uint_gt(nmessages, 10000);
	ck_assert_uint_gt(gone, 8000);
	ck_assert_int_gt(test_number(sp, "SELECT count(*) FROM removal WHERE cause = 1"), 1000);
}
END_TEST

static void
setup(void)
{
	spool_test_make();
	clock_set(FIRST_S * 1000, FIRST_S * 1000);
	sp = spool_test_open(SPOOL_ADMIN);
	test_mailboxes(sp, MAILBOXES);
	messages = calloc(MESSAGES_MAX, sizeof(*messages));
	ck_assert_ptr_nonnull(messages);
	for (unsigned i = 1; i <= MAILBOXES; i++)
		limits[i] = (struct limits){ NEVER, NEVER };
	for (unsigned i = 1; i <= MAILBOXES; i++)
		change_limits(i);
}

static void
teardown(void)
{
	spool_close(&sp);
	free(messages);
	spool_test_remove();
}

int
main(void)
{
	Suite *s = suite_create("year");
	TCase *tc = tcase_create("year");
	SRunner *runner;
	int failed;

	/* Its thousands of removals are not worth a line each. */
	log_set_level(LOG_LEVEL_WARNING);
	tcase_set_timeout(tc, 280);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_year);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
