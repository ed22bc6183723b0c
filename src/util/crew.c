/* SPDX-License-Identifier: Apache-2.0 */
#include "util/crew.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

#include "util/clock.h"
#include "util/thread.h"

#define TICK_NS (200 * NS_PER_MS)

struct run {
	const struct crew *crew; /* constant while it runs */

	_Atomic size_t next;
	size_t next_large; /* the first thread's */
	atomic_bool stopping;

	struct mutex lock; /* rank 97; guards the rest */
	struct cond changed;
	unsigned running;
	int result;
};

struct member {
	struct run *run;
	unsigned number;
	struct thread thread;
};

static bool is_large(const struct crew *crew, size_t index)
{
	return crew->is_large && crew->is_large(crew->arg, index);
}

/* The first thread has the large ones before it goes with the others. */
static bool take(struct run *run, unsigned worker, size_t *ret_index)
{
	const struct crew *crew = run->crew;
	size_t index;

	while (worker == 0 && crew->is_large && run->next_large < crew->count) {
		index = run->next_large++;
		if (is_large(crew, index)) {
			*ret_index = index;
			return true;
		}
	}
	do {
		index = atomic_fetch_add(&run->next, 1);
		if (index >= crew->count)
			return false;
	} while (is_large(crew, index));
	*ret_index = index;
	return true;
}

static void *work(void *arg)
{
	struct member *member = arg;
	struct run *run = member->run;
	size_t index;
	int r = 0;

	while (r == 0 && !atomic_load(&run->stopping) && take(run, member->number, &index))
		r = run->crew->fn(run->crew->arg, member->number, index);
	scoped_lock(&run->lock);
	if (r != 0)
		atomic_store(&run->stopping, true);
	if (run->result == 0)
		run->result = r;
	run->running--;
	cond_signal(&run->changed);
	return NULL;
}

static void wait_for_all(struct run *run)
{
	bool running = true;

	while (running) {
		if (run->crew->tick(run->crew->arg) != 0)
			atomic_store(&run->stopping, true);
		scoped_lock(&run->lock);
		if (run->running)
			(void)cond_wait_until(&run->changed, &run->lock, monotonic_ns() + TICK_NS);
		running = run->running > 0;
	}
}

/* As many as can be had, one is enough: how many. */
static unsigned start(struct run *run, struct member *members, int *ret_error)
{
	const struct crew *crew = run->crew;
	unsigned started = 0;
	int r = 0;

	for (; r == 0 && started < crew->threads && started < crew->count; started += r == 0) {
		struct member *member = &members[started];

		*member = (struct member){ .run = run, .number = started };
		mutex_lock(&run->lock);
		run->running++;
		mutex_unlock(&run->lock);
		r = thread_start(&member->thread, crew->name, work, member);
		if (r < 0) {
			scoped_lock(&run->lock);
			run->running--;
		}
	}
	*ret_error = r;
	return started;
}

int crew_run(const struct crew *crew)
{
	struct run run = { .crew = crew };
	struct member members[CREW_THREADS_MAX] = { 0 };
	unsigned started;
	int r;

	assert(crew->threads > 0 && crew->threads <= CREW_THREADS_MAX);
	mutex_init(&run.lock, 97);
	cond_init(&run.changed);
	started = start(&run, members, &r);
	if (started)
		wait_for_all(&run);
	for (unsigned i = 0; i < started; i++)
		thread_join(&members[i].thread);
	cond_fini(&run.changed);
	mutex_fini(&run.lock);
	if (!started)
		return crew->count ? r : 0;
	if (run.result)
		return run.result;
	return atomic_load(&run.stopping) ? -ECANCELED : 0;
}
