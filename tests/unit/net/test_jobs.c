/*
 * jobs: each runs once off the loop and is done once on its own loop; several at a time;
 * what is queued is finished at the end.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/jobs.h"

#define JOBS 400

struct counted {
	struct job job;
	int runs, dones;
	pthread_t ran_on;
};

static struct loop *loop;
static struct counted counted[JOBS];
static pthread_t loop_thread;
static int done_in_all;
static pthread_barrier_t together;

static void
count_run(struct job *job)
{
	struct counted *c = LIST_OBJECT(job, struct counted, job);

	c->runs++;
	c->ran_on = pthread_self();
}

static void
count_done(struct job *job)
{
	struct counted *c = LIST_OBJECT(job, struct counted, job);

	ck_assert(pthread_equal(pthread_self(), loop_thread));
	ck_assert(!pthread_equal(pthread_self(), c->ran_on));
	ck_assert_int_eq(c->runs, c->dones + 1);
	c->dones++;
	done_in_all++;
}

static void
submit(struct jobs *jobs, struct counted *c, void (*run)(struct job *))
{
	c->job = (struct job){ .run = run, .done = count_done, .loop = loop };
	jobs_submit(jobs, &c->job);
}

static void
begin(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	loop_thread = pthread_self();
	done_in_all = 0;
}

static void
end(void)
{
	loop_free(&loop);
}

START_TEST(each_job_runs_once_and_comes_back)
{
	struct jobs *jobs = jobs_new("test", (unsigned)_i);
	int i;

	ck_assert_ptr_nonnull(jobs);
	for (i = 0; i < JOBS; i++)
		submit(jobs, &counted[i], count_run);
	while (done_in_all < JOBS)
		ck_assert_int_eq(loop_turn(loop, 5000), 0);
	for (i = 0; i < JOBS; i++)
		if (counted[i].runs != 1 || counted[i].dones != 1)
			ck_abort_msg("job %d ran %d times and was done %d times", i,
			    counted[i].runs, counted[i].dones);
	jobs_free(&jobs);
	ck_assert_ptr_null(jobs);
}
END_TEST

START_TEST(a_job_may_be_submitted_again_when_done)
{
	struct jobs *jobs = jobs_new("test", 2);
	int i;

	ck_assert_ptr_nonnull(jobs);
	for (i = 1; i <= 50; i++) {
		submit(jobs, &counted[0], count_run);
		while (done_in_all < i)
			ck_assert_int_eq(loop_turn(loop, 5000), 0);
	}
	ck_assert_int_eq(counted[0].dones, 50);
	jobs_free(&jobs);
}
END_TEST

/* Neither ends before the other has begun. */
static void
meet(struct job *job)
{
	(void)pthread_barrier_wait(&together);
	count_run(job);
}

START_TEST(jobs_run_at_the_same_time)
{
	struct jobs *jobs = jobs_new("test", 3);
	int i;

	ck_assert_ptr_nonnull(jobs);
	ck_assert_int_eq(pthread_barrier_init(&together, NULL, 3), 0);
	for (i = 0; i < 3; i++)
		submit(jobs, &counted[i], meet);
	while (done_in_all < 3)
		ck_assert_int_eq(loop_turn(loop, 5000), 0);
	jobs_free(&jobs);
	pthread_barrier_destroy(&together);
}
END_TEST

static void
dawdle(struct job *job)
{
	usleep(1000);
	count_run(job);
}

START_TEST(what_is_queued_at_the_end_is_finished)
{
	struct jobs *jobs = jobs_new("test", 2);
	int i;

	ck_assert_ptr_nonnull(jobs);
	for (i = 0; i < 50; i++)
		submit(jobs, &counted[i], dawdle);
	jobs_free(&jobs);
	for (i = 0; i < 50; i++)
		ck_assert_int_eq(counted[i].runs, 1);
	ck_assert_int_eq(done_in_all, 0);
	ck_assert_int_eq(loop_turn(loop, 0), 0);
	ck_assert_int_eq(done_in_all, 50);
	jobs_free(&jobs);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("jobs");
	TCase *tc = tcase_create("jobs");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, each_job_runs_once_and_comes_back, 1, 5);
	tcase_add_test(tc, a_job_may_be_submitted_again_when_done);
	tcase_add_test(tc, jobs_run_at_the_same_time);
	tcase_add_test(tc, what_is_queued_at_the_end_is_finished);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
