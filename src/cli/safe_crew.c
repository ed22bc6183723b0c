/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>

#include "cli/safe.h"
#include "util/clock.h"

#define CREW_MAX 16u
#define TICK_NS (200 * NS_PER_MS)

struct crew {
	/* Constant while it runs. */
	size_t count;
	int (*fn)(void *arg, unsigned worker, size_t index);
	void *arg;

	_Atomic size_t next;
	atomic_bool stopping;

	struct mutex lock; /* rank 11; guards the rest */
	struct cond changed;
	unsigned running;
	int result;
};

struct member {
	struct crew *crew;
	unsigned number;
	struct thread thread;
};

static void *work(void *arg)
{
	struct member *member = arg;
	struct crew *crew = member->crew;
	int r = 0;

	while (r == 0 && !atomic_load(&crew->stopping)) {
		size_t index = atomic_fetch_add(&crew->next, 1);

		if (index >= crew->count)
			break;
		r = crew->fn(crew->arg, member->number, index);
	}
	if (r != 0)
		atomic_store(&crew->stopping, true);
	scoped_lock(&crew->lock);
	if (crew->result == 0)
		crew->result = r;
	crew->running--;
	cond_signal(&crew->changed);
	return NULL;
}

static void wait_for_all(struct crew *crew, int (*tick)(void *arg))
{
	bool running = true;

	while (running) {
		if (tick(crew->arg) != 0)
			atomic_store(&crew->stopping, true);
		scoped_lock(&crew->lock);
		if (crew->running)
			(void)cond_wait_until(&crew->changed, &crew->lock,
					      monotonic_ns() + TICK_NS);
		running = crew->running > 0;
	}
}

int crew_run(size_t count, unsigned threads, int (*fn)(void *arg, unsigned worker, size_t index),
	     int (*tick)(void *arg), void *arg)
{
	struct crew crew = { .count = count, .fn = fn, .arg = arg };
	struct member members[CREW_MAX] = { 0 };
	unsigned started = 0;
	int r = 0;

	if (threads > count)
		threads = (unsigned)count;
	mutex_init(&crew.lock, 11);
	cond_init(&crew.changed);
	for (; started < threads && started < CREW_MAX; started++) {
		members[started] = (struct member){ .crew = &crew, .number = started };
		mutex_lock(&crew.lock);
		crew.running++;
		mutex_unlock(&crew.lock);
		r = thread_start(&members[started].thread, "safe", work, &members[started]);
		if (r < 0) {
			mutex_lock(&crew.lock);
			crew.running--;
			mutex_unlock(&crew.lock);
			break;
		}
	}
	if (started)
		wait_for_all(&crew, tick);
	for (unsigned i = 0; i < started; i++)
		thread_join(&members[i].thread);
	cond_fini(&crew.changed);
	mutex_fini(&crew.lock);
	if (count && !started)
		return r < 0 ? r : -EAGAIN;
	if (crew.result)
		return crew.result;
	/* Told to stop, or all the threads there are ended early: not everything was done. */
	return atomic_load(&crew.stopping) || atomic_load(&crew.next) < count ? -ECANCELED : 0;
}
