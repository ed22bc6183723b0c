/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/filling.h"

#include <stdlib.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"

#define BLOCKS 8

/* A file of BLOCKS blocks, of which none is here, and its filling. */
struct stage {
	struct live live;
	struct filling filling;
};

static struct stage *stage_new(void)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	struct digest digest = { 0 };

	check(stage != NULL);
	mutex_init(&stage->live.lock, 30);
	stage->live.has_residency = true;
	residency_init(&stage->live.residency, (uint64_t)BLOCKS * BLOCK_BYTES, &digest);
	stage->filling.live = &stage->live;
	return stage;
}

static void stage_free(struct stage *stage)
{
	struct fill_over over = { 0 };
	int64_t until_ns = INT64_MAX;

	for (struct fill_job *job = stage->filling.jobs; job; job = job->next) {
		job->ahead_of = NULL;
		job->running = false;
	}
	for (struct fill_request *request = stage->filling.requests; request;
	     request = request->next)
		request->result = -EINTR;
	(void)filling_collect_locked(&stage->filling, 0, &over, &until_ns);
	mutex_fini(&stage->live.lock);
	while (over.requests) {
		struct fill_request *request = over.requests;

		over.requests = request->next;
		free(request);
	}
	free(stage);
}
DEFINE_CLEANUP(struct stage *, stage_free)
#define cleanup_stage cleanup_with(stage_free_slot)

static struct fill_request *ask(struct stage *stage, uint64_t offset, uint64_t length)
{
	struct fill_request *request = calloc(1, sizeof(*request));

	check(request != NULL);
	request->offset = offset;
	request->end = offset + length;
	request->timeout_ns = 1000;
	request->deadline_ns = 1000;
	request->result = 1;
	request->next = stage->filling.requests;
	stage->filling.requests = request;
	scoped_lock(&stage->live.lock);
	check_int(filling_want_locked(&stage->filling, offset, offset + length, 0, NULL), 0);
	return request;
}

static unsigned count_jobs(const struct stage *stage)
{
	unsigned count = 0;

	for (const struct fill_job *job = stage->filling.jobs; job; job = job->next)
		count++;
	return count;
}

/* Run the next job to its @result at @now_ns; where it was. */
static uint64_t run_next(struct stage *stage, int result, int64_t now_ns)
{
	int64_t until_ns = INT64_MAX;
	struct fill_job *job = filling_next_locked(&stage->filling, now_ns, false, &until_ns);
	uint64_t offset;

	check(job != NULL);
	offset = job->offset;
	job->running = true;
	filling_job_done_locked(&stage->filling, job, result, now_ns);
	return offset;
}

/* How many requests are over at @now_ns; *ret_result of the last one. Frees them. */
static unsigned collect(struct stage *stage, int64_t now_ns, int *ret_result)
{
	struct fill_over over = { 0 };
	int64_t until_ns = INT64_MAX;
	unsigned count = 0;

	(void)filling_collect_locked(&stage->filling, now_ns, &over, &until_ns);
	while (over.requests) {
		struct fill_request *request = over.requests;

		over.requests = request->next;
		*ret_result = request->result;
		free(request);
		count++;
	}
	return count;
}

TEST(many_readers_of_one_granule_cost_one_fetch)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	for (unsigned i = 0; i < 10; i++)
		ask(stage, BLOCK_BYTES + i * 1000, 1000);
	check_int(count_jobs(stage), 1);
	check_int(collect(stage, 0, &result), 0);
	check_int(run_next(stage, 0, 0), BLOCK_BYTES);
	check_int(collect(stage, 0, &result), 10);
	check_int(result, 0);
	check_int(count_jobs(stage), 0);
}

TEST(a_request_is_answered_when_all_of_it_is_here)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	residency_set(&stage->live.residency, 2);
	ask(stage, BLOCK_BYTES + 1, 2 * BLOCK_BYTES);
	check_int(count_jobs(stage), 2);
	check_int(run_next(stage, 0, 0), BLOCK_BYTES);
	check_int(collect(stage, 0, &result), 0);
	check_int(run_next(stage, 0, 0), 3 * BLOCK_BYTES);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, 0);
}

TEST(what_is_here_already_is_answered_at_once)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	residency_set(&stage->live.residency, 0);
	ask(stage, 10, 100);
	check_int(count_jobs(stage), 0);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, 0);
}

TEST(damage_is_told_only_to_those_who_asked_for_it)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	ask(stage, 0, 10);
	ask(stage, BLOCK_BYTES, 10);
	check_int(run_next(stage, -EBADMSG, 0), 0);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, -EBADMSG);
	check_int(run_next(stage, 0, 0), BLOCK_BYTES);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, 0);
}

TEST(a_tier_that_is_away_is_asked_again_until_the_reader_has_waited_long_enough)
{
	cleanup_stage struct stage *stage = stage_new();
	int64_t until_ns = INT64_MAX;
	int result = 1;

	ask(stage, 0, 10);
	check_int(run_next(stage, -EHOSTDOWN, 0), 0);
	check_int(collect(stage, 999, &result), 0);
	check(filling_next_locked(&stage->filling, 999, false, &until_ns) == NULL);
	check(until_ns > 999 && until_ns < NS_PER_SEC);
	check_int(collect(stage, 1000, &result), 1);
	check_int(result, -ETIMEDOUT);
	check_int(count_jobs(stage), 0); /* nobody waits for it any more */
}

TEST(a_disk_that_is_full_is_told_as_that)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	ask(stage, 0, 10);
	check_int(run_next(stage, -ENOSPC, 0), 0);
	check_int(collect(stage, 999, &result), 0);
	check_int(collect(stage, 1000, &result), 1);
	check_int(result, -ENOSPC);
}

TEST(progress_puts_the_deadline_off)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	ask(stage, 0, 3 * BLOCK_BYTES);
	check_int(run_next(stage, 0, 900), 0);
	check_int(collect(stage, 1500, &result), 0);
	check_int(collect(stage, 1900, &result), 1);
	check_int(result, -ETIMEDOUT);
}

TEST(a_file_rewritten_meanwhile_lacks_nothing)
{
	cleanup_stage struct stage *stage = stage_new();
	int result = 1;

	ask(stage, 0, 10);
	check_int(run_next(stage, -ESTALE, 0), 0);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, 0);
}

TEST(read_ahead_that_has_not_begun_is_dropped)
{
	cleanup_stage struct stage *stage = stage_new();
	int64_t until_ns = INT64_MAX;
	struct fill_job *job;

	mutex_lock(&stage->live.lock);
	check_int(filling_want_locked(&stage->filling, 0, 4 * BLOCK_BYTES, HYDRATE_URGENT, stage),
		  0);
	mutex_unlock(&stage->live.lock);
	ask(stage, 2 * BLOCK_BYTES, 10);
	job = filling_next_locked(&stage->filling, 0, false, &until_ns);
	check(job && job->offset == 0);
	job->running = true;
	filling_drop_ahead_locked(&stage->filling, stage, 5);
	check_int(job->stale_ns, 5);
	check_int(count_jobs(stage), 2); /* that one, and what somebody waits for */
	filling_job_done_locked(&stage->filling, job, 0, 0);
	check_int(run_next(stage, 0, 0), 2 * BLOCK_BYTES);
	check_int(count_jobs(stage), 0);
}

TEST(what_is_read_ahead_of_another_reader_stays)
{
	cleanup_stage struct stage *stage = stage_new();
	const int one = 1, other = 2;
	int64_t until_ns = INT64_MAX;
	struct fill_job *job;

	mutex_lock(&stage->live.lock);
	check_int(filling_want_locked(&stage->filling, 0, 2 * BLOCK_BYTES, HYDRATE_URGENT, &one),
		  0);
	check_int(filling_want_locked(&stage->filling, 2 * BLOCK_BYTES, 4 * BLOCK_BYTES,
				      HYDRATE_URGENT, &other),
		  0);
	mutex_unlock(&stage->live.lock);
	job = filling_next_locked(&stage->filling, 0, false, &until_ns);
	job->running = true;
	filling_drop_ahead_locked(&stage->filling, &other, 5);
	check_int(count_jobs(stage), 2);
	check_int(job->stale_ns, 0);
	filling_drop_ahead_locked(&stage->filling, NULL, 6);
	check_int(count_jobs(stage), 1);
	check_int(job->stale_ns, 6);
	filling_job_done_locked(&stage->filling, job, 0, 0);
}

TEST(what_was_given_up_is_fetched_again_for_who_came_back)
{
	cleanup_stage struct stage *stage = stage_new();
	int64_t until_ns = INT64_MAX;
	struct fill_job *job;
	int result = 1;

	mutex_lock(&stage->live.lock);
	check_int(filling_want_locked(&stage->filling, 0, BLOCK_BYTES, HYDRATE_URGENT, stage), 0);
	mutex_unlock(&stage->live.lock);
	job = filling_next_locked(&stage->filling, 0, false, &until_ns);
	job->running = true;
	filling_drop_ahead_locked(&stage->filling, stage, 5);
	job->given_up = true;
	ask(stage, 0, 10); /* while it comes to its end */
	check_int(job->stale_ns, 0);
	filling_job_done_locked(&stage->filling, job, -ECANCELED, 0);
	check_int(collect(stage, 0, &result), 0);
	check_int(run_next(stage, 0, 0), 0);
	check_int(collect(stage, 0, &result), 1);
	check_int(result, 0);
}

TEST(read_ahead_runs_without_readers_and_is_given_up_on_failure)
{
	cleanup_stage struct stage *stage = stage_new();
	int64_t until_ns = INT64_MAX;
	int result = 1;

	mutex_lock(&stage->live.lock);
	check_int(filling_want_locked(&stage->filling, 0, 2 * BLOCK_BYTES, HYDRATE_URGENT, stage),
		  0);
	mutex_unlock(&stage->live.lock);
	check_int(collect(stage, 0, &result), 0);
	check_int(count_jobs(stage), 2);
	check(filling_next_locked(&stage->filling, 0, true, &until_ns) == NULL);
	ask(stage, BLOCK_BYTES, 10); /* a reader comes: now it is urgent */
	check_int(count_jobs(stage), 2);
	check_int(run_next(stage, -EHOSTDOWN, 0), 0);
	check_int(count_jobs(stage), 1);
	check_int(run_next(stage, 0, 0), BLOCK_BYTES);
	check_int(collect(stage, 0, &result), 1);
	check_int(count_jobs(stage), 0);
}
