/* SPDX-License-Identifier: Apache-2.0 */
#include "util/crew.h"

#include <errno.h>
#include <stdatomic.h>

#include "test.h"
#include "util/clock.h"
#include "util/thread.h"

#define ITEMS 100
#define THREADS 8

struct work {
	atomic_uint done[ITEMS];
	size_t large_from;     /* items from here are */
	atomic_bool unordered; /* a large one came before a larger number */
	atomic_size_t last_large;
	atomic_uint large_now, large_most;
	size_t fail_at;
	bool told_to_stop;

	struct mutex lock;
	struct cond all_here;
	unsigned meet, waiting; /* so many are in fn at one time before any goes on */
};

static void begin(struct work *work)
{
	*work = (struct work){ .large_from = ITEMS, .fail_at = ITEMS };
	mutex_init(&work->lock, 10);
	cond_init(&work->all_here);
}

static void end(struct work *work)
{
	cond_fini(&work->all_here);
	mutex_fini(&work->lock);
}

static bool is_large(void *arg, size_t index)
{
	return index >= ((struct work *)arg)->large_from;
}

/* Not for ever: a crew that is too small is to fail the test, not to hang it. */
static bool meet_others(struct work *work)
{
	int64_t deadline_ns = monotonic_ns() + 20 * NS_PER_SEC;

	scoped_lock(&work->lock);
	work->waiting++;
	cond_broadcast(&work->all_here);
	while (work->waiting < work->meet)
		if (!cond_wait_until(&work->all_here, &work->lock, deadline_ns))
			return false;
	return true;
}

static int deal_with(void *arg, unsigned worker, size_t index)
{
	struct work *work = arg;

	check(worker < THREADS);
	if (is_large(work, index)) {
		unsigned now = atomic_fetch_add(&work->large_now, 1) + 1;

		if (now > atomic_load(&work->large_most))
			atomic_store(&work->large_most, now);
		if (atomic_exchange(&work->last_large, index) > index)
			atomic_store(&work->unordered, true);
	}
	if (work->meet)
		check(meet_others(work));
	if (is_large(work, index))
		atomic_fetch_sub(&work->large_now, 1);
	atomic_fetch_add(&work->done[index], 1);
	return index == work->fail_at ? -EIO : 0;
}

static int tick(void *arg)
{
	struct work *work = arg;

	if (!work->told_to_stop)
		return 0;
	scoped_lock(&work->lock);
	if (work->waiting == 0)
		return 0; /* nothing is begun yet */
	work->waiting++;
	cond_broadcast(&work->all_here);
	return 1;
}

static int run(struct work *work)
{
	const struct crew crew = {
		.name = "crew",
		.threads = THREADS,
		.count = ITEMS,
		.fn = deal_with,
		.is_large = is_large,
		.tick = tick,
		.arg = work,
	};

	return crew_run(&crew);
}

static unsigned count_done(struct work *work)
{
	unsigned count = 0;

	for (size_t i = 0; i < ITEMS; i++) {
		check(work->done[i] <= 1);
		count += work->done[i];
	}
	return count;
}

TEST(each_item_is_dealt_with_once_and_as_many_at_a_time_as_there_are_threads)
{
	struct work work;

	begin(&work);
	work.meet = THREADS;
	check_int(run(&work), 0);
	check_int(count_done(&work), ITEMS);
	end(&work);
}

TEST(large_items_go_one_at_a_time_in_order_beside_small_ones)
{
	struct work work;

	begin(&work);
	work.large_from = 2; /* so seven threads find nothing small, but for two */
	work.meet = 3;       /* a large one and both small ones */
	check_int(run(&work), 0);
	check_int(count_done(&work), ITEMS);
	check_int(work.large_most, 1);
	check(!work.unordered);
	end(&work);
}

TEST(after_an_error_no_item_is_begun)
{
	struct work work;

	begin(&work);
	work.fail_at = 0;
	work.large_from = 0; /* one thread, so what it began is known */
	check_int(run(&work), -EIO);
	check_int(count_done(&work), 1);
	end(&work);
}

TEST(who_runs_it_can_stop_it)
{
	struct work work;

	begin(&work);
	work.told_to_stop = true;
	work.large_from = 0;
	work.meet = 3; /* the first item lasts until it is said a second time */
	check_int(run(&work), -ECANCELED);
	check_int(count_done(&work), 1);
	end(&work);
}

TEST(nothing_to_do_is_done)
{
	struct crew crew = { .name = "crew", .threads = THREADS };

	check_int(crew_run(&crew), 0);
}
