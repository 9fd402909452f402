/*
 * loop: timers in order, posts from threads, and what may happen inside a turn.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/loop.h"

#define WALL_MS 1700000000000u

static struct loop *loop;

static void
begin(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

static void
end(void)
{
	loop_free(&loop);
	ck_assert_ptr_null(loop);
	clock_set(0, 0);
}

/* --- timers ---------------------------------------------------------------- */

#define TIMERS 200

struct noted {
	struct timer timer;
	int number;
	uint64_t want_ms; /* when it should run; 0: never */
	uint64_t order;   /* of starting */
};

static struct noted timers[TIMERS];
static int ran[TIMERS * 10];
static int nran;

static void
note(struct timer *timer)
{
	ran[nran++] = LIST_OBJECT(timer, struct noted, timer)->number;
}

static void
timers_begin(int n)
{
	int i;

	nran = 0;
	ck_assert_int_eq(loop_reserve_timers(loop, n), 0);
	for (i = 0; i < n; i++)
		timers[i] = (struct noted){ .timer.due = note, .number = i };
}

START_TEST(timers_run_by_time_then_by_age)
{
	static const uint64_t in_ms[] = { 30, 10, 20, 10, 0, 30, 20, 0, 10 };
	static const int want[] = { 4, 7, 1, 3, 8, 2, 6, 0, 5 };
	const int n = sizeof(in_ms) / sizeof(in_ms[0]);
	int i;

	clock_set(1000, WALL_MS);
	timers_begin(n);
	for (i = 0; i < n; i++)
		timer_start(loop, &timers[i].timer, in_ms[i]);
	clock_set(1009, WALL_MS);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(nran, 2);
	clock_set(1030, WALL_MS);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(nran, n);
	for (i = 0; i < n; i++)
		ck_assert_int_eq(ran[i], want[i]);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(nran, n);
	ck_assert_int_eq(loop_reserve_timers(loop, -n), 0);
}
END_TEST

/* Random starts, restarts and stops against a plain search for the next. */
START_TEST(timers_agree_with_a_search)
{
	uint64_t now = 5000, order = 0;
	int step, i;

	srandom(11);
	clock_set(now, WALL_MS);
	timers_begin(TIMERS);
	for (step = 0; step < 5000; step++) {
		struct noted *t = &timers[random() % TIMERS];
		int next, done = 0;

		if (random() % 4 == 0) {
			timer_stop(&t->timer);
			t->want_ms = 0;
		} else {
			uint64_t in_ms = (uint64_t)(random() % 50);

			timer_start(loop, &t->timer, in_ms);
			t->want_ms = now + in_ms;
			t->order = order++;
		}
		if (random() % 3 != 0)
			continue;
		now += (uint64_t)(random() % 8);
		clock_set(now, WALL_MS);
		nran = 0;
		ck_assert_int_eq(loop_turn(loop, 0), 0);
		for (;;) {
			next = -1;
			for (i = 0; i < TIMERS; i++) {
				if (timers[i].want_ms == 0 || timers[i].want_ms > now)
					continue;
				if (next == -1 || timers[i].want_ms < timers[next].want_ms ||
				    (timers[i].want_ms == timers[next].want_ms &&
					timers[i].order < timers[next].order))
					next = i;
			}
			if (next == -1)
				break;
			if (done >= nran || ran[done] != next)
				ck_abort_msg("timer %d should have run as number %d", next, done);
			done++;
			timers[next].want_ms = 0;
			ck_assert_ptr_null(timers[next].timer.loop);
		}
		ck_assert_int_eq(done, nran);
	}
	for (i = 0; i < TIMERS; i++)
		timer_stop(&timers[i].timer);
	ck_assert_int_eq(loop_reserve_timers(loop, -TIMERS), 0);
}
END_TEST

static int again_runs;

static void
start_again(struct timer *timer)
{
	again_runs++;
	timer_start(loop, timer, 0);
}

START_TEST(a_timer_for_now_waits_for_the_next_turn)
{
	struct timer a = { .due = start_again }, b = { .due = start_again };

	ck_assert_int_eq(loop_reserve_timers(loop, 2), 0);
	clock_set(1000, WALL_MS);
	again_runs = 0;
	timer_start(loop, &a, 0);
	timer_start(loop, &b, 0);
	ck_assert_int_eq(loop_turn(loop, -1), 0);
	ck_assert_int_eq(again_runs, 2);
	clock_set(1003, WALL_MS);
	ck_assert_int_eq(loop_turn(loop, -1), 0);
	ck_assert_int_eq(again_runs, 4);
	timer_stop(&a);
	timer_stop(&b);
	ck_assert_int_eq(loop_reserve_timers(loop, -2), 0);
}
END_TEST

static struct timer *victim;

static void
stop_victim(struct timer *timer)
{
	(void)timer;
	again_runs++;
	timer_stop(victim);
}

START_TEST(a_timer_stopped_by_another_does_not_run)
{
	struct timer a = { .due = stop_victim }, b = { .due = stop_victim };

	ck_assert_int_eq(loop_reserve_timers(loop, 2), 0);
	clock_set(1000, WALL_MS);
	again_runs = 0;
	victim = &b;
	timer_start(loop, &a, 0);
	timer_start(loop, &b, 0);
	ck_assert_int_eq(loop_turn(loop, -1), 0);
	ck_assert_int_eq(again_runs, 1);
	timer_stop(&b);
	ck_assert_int_eq(loop_reserve_timers(loop, -2), 0);
}
END_TEST

/* --- posts ----------------------------------------------------------------- */

#define POSTERS 4
#define POSTS 500

struct counted {
	struct post post;
	int runs;
};

static struct counted posts[POSTERS][POSTS];
static pthread_t loop_thread;
static int posts_run;

static void
count(struct post *post)
{
	struct counted *c = LIST_OBJECT(post, struct counted, post);

	ck_assert(pthread_equal(pthread_self(), loop_thread));
	c->runs++;
	if (++posts_run == POSTERS * POSTS)
		loop_stop(loop);
}

static void *
post_all(void *arg)
{
	struct counted *mine = arg;
	int i;

	for (i = 0; i < POSTS; i++) {
		mine[i].post.run = count;
		loop_post(loop, &mine[i].post);
	}
	return NULL;
}

START_TEST(each_post_runs_once_on_the_loop)
{
	pthread_t threads[POSTERS];
	int i, k;

	loop_thread = pthread_self();
	posts_run = 0;
	for (i = 0; i < POSTERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_all, posts[i]), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	for (i = 0; i < POSTERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (i = 0; i < POSTERS; i++)
		for (k = 0; k < POSTS; k++)
			if (posts[i][k].runs != 1)
				ck_abort_msg(
				    "post %d of thread %d ran %d times", k, i, posts[i][k].runs);
}
END_TEST

static void
post_again(struct post *post)
{
	again_runs++;
	loop_post(loop, post);
}

START_TEST(a_post_from_a_post_waits_for_the_next_turn)
{
	struct post p = { .run = post_again };
	int i;

	again_runs = 0;
	loop_post(loop, &p);
	for (i = 1; i <= 5; i++) {
		ck_assert_int_eq(loop_turn(loop, 1000), 0);
		ck_assert_int_eq(again_runs, i);
	}
}
END_TEST

static void *
stop_loop(void *arg)
{
	loop_stop(arg);
	return NULL;
}

START_TEST(stop_ends_a_loop_that_sleeps_or_did_not_begin)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, stop_loop, loop), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

/* --- descriptors ----------------------------------------------------------- */

struct seen {
	struct watch watch;
	int peer;
	int calls;
	uint32_t events;
	struct seen *unwatch; /* what its first call takes out ... */
	bool replace;         /* ... and puts another descriptor in its place */
	struct seen *narrow;  /* what its calls make ask for something else */
};

static void
see(struct watch *watch, uint32_t events)
{
	struct seen *s = LIST_OBJECT(watch, struct seen, watch), *other = s->unwatch;

	s->calls++;
	s->events = events;
	if (s->narrow != NULL)
		ck_assert_int_eq(loop_watch(loop, &s->narrow->watch, EPOLLPRI), 0);
	if (other == NULL)
		return;
	s->unwatch = NULL;
	loop_unwatch(&other->watch);
	if (other->replace) {
		int fds[2], fd = other->watch.fd;

		ck_assert_int_eq(close(fd), 0);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		ck_assert(fds[0] == fd || fds[1] == fd);
		other->watch.fd = fds[0];
		close(other->peer);
		other->peer = fds[1];
		ck_assert_int_eq(loop_watch(loop, &other->watch, EPOLLIN), 0);
	}
}

static void
seen_open(struct seen *s)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	*s = (struct seen){ .watch = { .fd = fds[0], .ready = see }, .peer = fds[1] };
	ck_assert_int_eq(loop_watch(loop, &s->watch, EPOLLIN), 0);
}

static void
seen_close(struct seen *s)
{
	loop_unwatch(&s->watch);
	close(s->watch.fd);
	close(s->peer);
}

START_TEST(a_watch_is_told_what_it_asked_for)
{
	struct seen s;

	seen_open(&s);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(s.calls, 0);
	ck_assert_int_eq(write(s.peer, "x", 1), 1);
	ck_assert_int_eq(loop_turn(loop, 1000), 0);
	ck_assert_int_eq(s.calls, 1);
	ck_assert_uint_eq(s.events, EPOLLIN);
	ck_assert_int_eq(loop_watch(loop, &s.watch, EPOLLOUT), 0);
	ck_assert_int_eq(loop_turn(loop, 1000), 0);
	ck_assert_uint_eq(s.events, EPOLLOUT);
	ck_assert_int_eq(loop_watch(loop, &s.watch, 0), 0);
	ck_assert_uint_eq(s.watch.events, 0);
	ck_assert_ptr_null(s.watch.loop);
	ck_assert_int_eq(loop_turn(loop, 10), 0);
	ck_assert_int_eq(s.calls, 2);
	seen_close(&s);
}
END_TEST

START_TEST(a_failed_watch_changes_nothing)
{
	struct watch w = { .fd = -1, .ready = see };

	ck_assert_int_eq(loop_watch(loop, &w, EPOLLIN), -1);
	ck_assert_ptr_null(w.loop);
	loop_unwatch(&w);
}
END_TEST

/* Two are ready in one turn, and whichever is called first takes the other out. */
START_TEST(a_watch_removed_in_the_turn_is_not_called)
{
	struct seen a, b;

	seen_open(&a);
	seen_open(&b);
	a.unwatch = &b;
	b.unwatch = &a;
	a.replace = b.replace = _i == 1;
	ck_assert_int_eq(write(a.peer, "x", 1), 1);
	ck_assert_int_eq(write(b.peer, "x", 1), 1);
	ck_assert_int_eq(loop_turn(loop, 1000), 0);
	ck_assert_int_eq(a.calls + b.calls, 1);
	if (_i == 1) {
		struct seen *other = a.calls == 1 ? &b : &a;

		/* What stands in its place is a new one: it hears of its own events. */
		ck_assert_int_eq(write(other->peer, "y", 1), 1);
		ck_assert_int_eq(loop_turn(loop, 1000), 0);
		ck_assert_int_eq(other->calls, 1);
	}
	seen_close(&a);
	seen_close(&b);
}
END_TEST

START_TEST(an_event_no_longer_asked_for_is_not_told)
{
	struct seen a, b;

	seen_open(&a);
	seen_open(&b);
	a.narrow = &b;
	b.narrow = &a;
	ck_assert_int_eq(write(a.peer, "x", 1), 1);
	ck_assert_int_eq(write(b.peer, "x", 1), 1);
	ck_assert_int_eq(loop_turn(loop, 1000), 0);
	ck_assert_int_eq(a.calls + b.calls, 1);
	seen_close(&a);
	seen_close(&b);
}
END_TEST

static char order[8];

static void
order_watch(struct watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	order[again_runs++] = 'w';
}

static void
order_post(struct post *post)
{
	(void)post;
	order[again_runs++] = 'p';
}

static void
order_timer(struct timer *timer)
{
	(void)timer;
	order[again_runs++] = 't';
}

START_TEST(a_turn_is_descriptors_then_posts_then_timers)
{
	struct seen s;
	struct post p = { .run = order_post };
	struct timer t = { .due = order_timer };

	seen_open(&s);
	s.watch.ready = order_watch;
	ck_assert_int_eq(loop_reserve_timers(loop, 1), 0);
	again_runs = 0;
	timer_start(loop, &t, 0);
	loop_post(loop, &p);
	ck_assert_int_eq(write(s.peer, "x", 1), 1);
	ck_assert_int_eq(loop_turn(loop, 1000), 0);
	order[again_runs] = '\0';
	ck_assert_str_eq(order, "wpt");
	ck_assert_int_eq(loop_reserve_timers(loop, -1), 0);
	seen_close(&s);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("loop");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, timers_run_by_time_then_by_age);
	tcase_add_test(tc, timers_agree_with_a_search);
	tcase_add_test(tc, a_timer_for_now_waits_for_the_next_turn);
	tcase_add_test(tc, a_timer_stopped_by_another_does_not_run);
	tcase_add_test(tc, each_post_runs_once_on_the_loop);
	tcase_add_test(tc, a_post_from_a_post_waits_for_the_next_turn);
	tcase_add_test(tc, stop_ends_a_loop_that_sleeps_or_did_not_begin);
	tcase_add_test(tc, a_watch_is_told_what_it_asked_for);
	tcase_add_test(tc, a_failed_watch_changes_nothing);
	tcase_add_loop_test(tc, a_watch_removed_in_the_turn_is_not_called, 0, 2);
	tcase_add_test(tc, an_event_no_longer_asked_for_is_not_told);
	tcase_add_test(tc, a_turn_is_descriptors_then_posts_then_timers);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
