/* SPDX-License-Identifier: Apache-2.0 */

/* Many files at once: two threads read, the calling one hears of each and shows progress. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "util/clock.h"
#include "util/rate.h"
#include "util/thread.h"
#include "volume/fsck_parts.h"

#define THREADS 2
#define SHOW_NS (250 * NS_PER_MS)

/* Results that wait for the caller: then the readers wait too. */
#define MAX_WAITING 64

struct reading {
	/* Constant while the threads run. */
	struct fsck *fsck; /* borrowed */
	const struct fsck_ids *ids;
	enum fsck_read_flags flags;
	int64_t start_ns;

	_Atomic uint64_t bytes;
	_Atomic bool stop;

	struct mutex lock; /* rank 46; guards the rest */
	struct cond changed;
	size_t next; /* of ids, to be taken */
	uint64_t files;
	struct fsck_file *first, **last; /* results, owned */
	size_t waiting;
	unsigned running;
	int error;
};

static int pace(void *arg, uint64_t bytes)
{
	struct reading *reading = arg;

	(void)atomic_fetch_add(&reading->bytes, bytes);
	return reading->stop || fsck_stopped(reading->fsck);
}

static bool take(struct reading *reading, uint64_t *ret_id)
{
	scoped_lock(&reading->lock);
	while (!reading->stop && reading->waiting >= MAX_WAITING)
		cond_wait(&reading->changed, &reading->lock);
	if (reading->stop || fsck_stopped(reading->fsck) || reading->next >= reading->ids->count)
		return false;
	*ret_id = reading->ids->ids[reading->next++];
	return true;
}

static void put(struct reading *reading, int result, struct fsck_file *file)
{
	scoped_lock(&reading->lock);
	reading->files++;
	if (result < 0 && result != -ECANCELED) {
		reading->error = result;
		reading->stop = true;
	}
	if (result == 1) {
		*reading->last = file;
		reading->last = &file->next;
		reading->waiting++;
	}
	cond_broadcast(&reading->changed);
}

static void *reader_main(void *arg)
{
	struct reading *reading = arg;
	uint64_t id;

	while (take(reading, &id)) {
		struct fsck_file *file = NULL;
		int r = fsck_check_file(reading->fsck, id, reading->flags, pace, reading, &file);

		put(reading, r, file);
	}
	scoped_lock(&reading->lock);
	reading->running--;
	cond_broadcast(&reading->changed);
	return NULL;
}

/* The next result; NULL when there is none now. *ret_over: and none will come. */
static struct fsck_file *next_result(struct reading *reading, bool *ret_over)
{
	struct fsck_file *file;

	scoped_lock(&reading->lock);
	if (!reading->first && reading->running)
		(void)cond_wait_until(&reading->changed, &reading->lock, monotonic_ns() + SHOW_NS);
	file = reading->first;
	*ret_over = !file && !reading->running;
	if (!file)
		return NULL;
	reading->first = file->next;
	if (!reading->first)
		reading->last = &reading->first;
	reading->waiting--;
	cond_broadcast(&reading->changed);
	return file;
}

static void show(struct reading *reading, int64_t *shown_ns)
{
	struct fsck *fsck = reading->fsck;
	int64_t now = monotonic_ns(), taken = now - reading->start_ns;
	struct fsck_progress progress = {
		.what = "files",
		.total = reading->ids->count,
		.total_bytes = reading->ids->bytes,
		.done_bytes = reading->bytes,
		.eta_ns = -1,
	};

	if (!fsck->host->progress || now - *shown_ns < SHOW_NS)
		return;
	*shown_ns = now;
	mutex_lock(&reading->lock);
	progress.done = reading->files;
	mutex_unlock(&reading->lock);
	if (taken > 0)
		progress.rate =
			(uint64_t)((double)progress.done_bytes * NS_PER_SEC / (double)taken);
	if (progress.rate && progress.total_bytes >= progress.done_bytes)
		progress.eta_ns = (int64_t)((double)(progress.total_bytes - progress.done_bytes) /
					    (double)progress.rate * NS_PER_SEC);
	fsck->host->progress(fsck->host->arg, &progress);
}

static int hear_all(struct reading *reading, int (*done)(struct fsck *fsck, struct fsck_file *file))
{
	int64_t shown_ns = reading->start_ns;
	bool over = false;
	int r = 0;

	while (!over) {
		struct fsck_file *file = next_result(reading, &over);

		if (file && r == 0 && !fsck_stopped(reading->fsck))
			r = done(reading->fsck, file);
		fsck_file_free(file);
		if (r < 0) {
			scoped_lock(&reading->lock);
			reading->stop = true;
			cond_broadcast(&reading->changed);
		}
		show(reading, &shown_ns);
	}
	return r;
}

int fsck_read(struct fsck *fsck, const struct fsck_ids *ids, enum fsck_read_flags flags,
	      int (*done)(struct fsck *fsck, struct fsck_file *file))
{
	struct reading reading = {
		.fsck = fsck,
		.ids = ids,
		.flags = flags,
		.start_ns = monotonic_ns(),
	};
	struct thread threads[THREADS] = { 0 };
	int started = 0, r = 0;

	mutex_init(&reading.lock, 46);
	cond_init(&reading.changed);
	reading.last = &reading.first;
	reading.running = THREADS;
	while (r == 0 && started < THREADS) {
		char name[16];

		(void)snprintf(name, sizeof(name), "fsck-%d", started);
		r = thread_start(&threads[started], name, reader_main, &reading);
		started += r == 0;
	}
	if (r < 0) {
		scoped_lock(&reading.lock);
		reading.stop = true;
		reading.running -= (unsigned)(THREADS - started);
	}
	r = r < 0 ? (void)hear_all(&reading, done), r : hear_all(&reading, done);
	for (int i = 0; i < started; i++)
		thread_join(&threads[i]);
	if (r == 0)
		r = reading.error;
	if (r == 0 && fsck_stopped(fsck))
		r = -ECANCELED;
	fsck->report.duration_ns += monotonic_ns() - reading.start_ns;
	fsck->report.file_bytes += reading.bytes;
	cond_fini(&reading.changed);
	mutex_fini(&reading.lock);
	return r;
}
