/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/hydrate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/filling.h"
#include "volume/readers.h"
#include "volume/tree.h"

/*
 * Of which one only takes what somebody waits for: a reader who seeks does not queue behind what is
 * read ahead. With more than the other four each has too little of the line.
 */
#define WORKERS 5

#define WAITS 1 /* no result yet */

#define GIVE_UP_NS (300 * NS_PER_MS)

/* A person's evict waits so long for bytes that are on their way. */
#define END_AHEAD_NS (2 * NS_PER_SEC)

/* hydrate_all() asks for this much at a time. */
#define WINDOW_BYTES (64ull << 20)

struct hydrator {
	/* Constant after hydrator_new(). */
	struct volume *volume;
	struct thread workers[WORKERS];
	struct thread timer; /* answers in time even while every worker hangs in a dead mount */

	struct mutex lock;    /* rank 41; guards the rest */
	struct cond changed;  /* work, or stop */
	struct cond answered; /* one of those who wait in hydrate_wait() */
	bool stopping;
	unsigned running;         /* workers with a job */
	struct filling *fillings; /* owned */
	struct readers readers;
};

struct hydrator *hydrator_new(struct volume *volume)
{
	struct hydrator *hydrator = calloc(1, sizeof(*hydrator));

	if (!hydrator)
		return NULL;
	hydrator->volume = volume;
	mutex_init(&hydrator->lock, 41);
	cond_init(&hydrator->changed);
	cond_init(&hydrator->answered);
	return hydrator;
}

static struct filling *find_filling_locked(struct hydrator *hydrator, const struct live *live)
{
	mutex_assert_held(&hydrator->lock);
	for (struct filling *filling = hydrator->fillings; filling; filling = filling->next)
		if (filling->live == live)
			return filling;
	return NULL;
}

/* The inode's ctime moved: the catalog must not take that for a change of the file. */
static void keep_times(struct live *live)
{
	cleanup_close int fd = tree_open(live->volume, live->id, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0)
		(void)catalog_set_attributes(live->volume->catalog, live->id, st.st_mode,
					     (uint64_t)st.st_size, timespec_ns(st.st_mtim),
					     timespec_ns(st.st_ctim));
}

/* Nothing of @live is on its way any more: what it is now goes into the catalog. */
static bool settle_state(struct hydrator *hydrator, struct live *live)
{
	struct catalog *catalog = hydrator->volume->catalog;
	bool again;

	scoped_lock(&live->lock);
	mutex_lock(&hydrator->lock);
	again = find_filling_locked(hydrator, live) != NULL;
	mutex_unlock(&hydrator->lock);
	if (again || !live->has_residency)
		return false;
	if (live->state == FILE_HYDRATING) {
		live->state = residency_full(&live->residency) ? FILE_STORED : FILE_EVICTED;
		(void)catalog_set_state(catalog, live->id, live->generation, live->state, 0);
		cond_broadcast(&live->changed);
	}
	(void)catalog_set_resident(catalog, live->id, live->generation,
				   residency_bytes(&live->residency));
	return true;
}

static void settle(struct hydrator *hydrator, struct live *live)
{
	if (settle_state(hydrator, live))
		keep_times(live);
}

/* What read(2) gives for it. */
static int as_read_error(int error)
{
	switch (error) {
	case 0:
	case -EINTR:
	case -ENOMEM:
	case -ENOSPC:
	case -EDQUOT:
	case -ETIMEDOUT:
	case -ENOMEDIUM: /* waiting does not help: it has to be asked for */
		return error;
	default:
		return -EIO;
	}
}

static void answer(struct hydrator *hydrator, struct fill_over *over)
{
	while (over->fillings) {
		struct filling *filling = over->fillings;

		over->fillings = filling->next;
		settle(hydrator, filling->live);
		live_put(filling->live);
		filling_free(filling);
	}
	while (over->requests) {
		struct fill_request *request = over->requests;

		over->requests = request->next;
		request->done(request->arg, request->flags & HYDRATE_RAW
						    ? request->result
						    : as_read_error(request->result));
		free(request);
	}
}

static void collect_locked(struct hydrator *hydrator, int64_t now_ns, struct fill_over *over,
			   int64_t *ret_until_ns)
{
	struct filling **link = &hydrator->fillings;

	while (*link) {
		struct filling *filling = *link;

		if (!filling_collect_locked(filling, now_ns, over, ret_until_ns)) {
			link = &filling->next;
			continue;
		}
		*link = filling->next;
		filling->next = over->fillings;
		over->fillings = filling;
	}
}

/* Whoever had a turn goes to the end: one long fetch does not hold up the other files. */
static void rotate_locked(struct hydrator *hydrator, struct filling *filling)
{
	struct filling **link = &hydrator->fillings;

	while (*link != filling)
		link = &(*link)->next;
	*link = filling->next;
	while (*link)
		link = &(*link)->next;
	*link = filling;
	filling->next = NULL;
}

static struct fill_job *pick_locked(struct hydrator *hydrator, int64_t now_ns,
				    struct filling **ret_filling, int64_t *ret_until_ns)
{
	int passes = hydrator->running < WORKERS - 1 ? 2 : 1;

	for (int pass = 0; pass < passes; pass++) {
		for (struct filling *filling = hydrator->fillings; filling;
		     filling = filling->next) {
			struct fill_job *job =
				filling_next_locked(filling, now_ns, pass == 0, ret_until_ns);

			if (!job)
				continue;
			rotate_locked(hydrator, filling);
			*ret_filling = filling;
			return job;
		}
	}
	return NULL;
}

struct run {
	struct hydrator *hydrator;
	struct fill_job *job;
};

/*
 * What nobody comes to any more would take its share of the line from a reader who waits elsewhere,
 * for seconds where that is slow. Where it is fast it comes to its end: giving up costs a
 * connection, and a new one begins slowly.
 */
static int goes_on(void *arg, uint64_t bytes)
{
	struct run *run = arg;

	(void)bytes;
	scoped_lock(&run->hydrator->lock);
	run->job->given_up =
		run->job->stale_ns && monotonic_ns() - run->job->stale_ns >= GIVE_UP_NS;
	return run->job->given_up ? -ECANCELED : 0;
}

static void run_locked(struct hydrator *hydrator, struct filling *filling, struct fill_job *job)
{
	struct run run = { hydrator, job };
	const struct tier_source pace = { .pace = goes_on, .arg = &run };
	struct live *live = filling->live;
	uint64_t generation = filling->generation, offset = job->offset;
	enum hydrate_flags flags = job->urgent ? HYDRATE_URGENT : 0;
	int r;

	job->running = true; /* keeps job and filling, and so the live file */
	hydrator->running++;
	mutex_unlock(&hydrator->lock);
	r = hydrate_granule(live, generation, offset, flags, &pace);
	mutex_lock(&hydrator->lock);
	hydrator->running--;
	filling_job_done_locked(filling, job, r, monotonic_ns());
	cond_broadcast(&hydrator->changed);
}

static void loop(struct hydrator *hydrator, bool works)
{
	mutex_lock(&hydrator->lock);
	while (!hydrator->stopping) {
		int64_t now_ns = monotonic_ns(), until_ns = now_ns + 3600 * NS_PER_SEC;
		struct fill_over over = { 0 };
		struct filling *filling = NULL;
		struct fill_job *job = NULL;

		collect_locked(hydrator, now_ns, &over, &until_ns);
		if (over.requests || over.fillings) {
			mutex_unlock(&hydrator->lock);
			answer(hydrator, &over);
			mutex_lock(&hydrator->lock);
			continue;
		}
		if (works)
			job = pick_locked(hydrator, now_ns, &filling, &until_ns);
		if (job)
			run_locked(hydrator, filling, job);
		else
			(void)cond_wait_until(&hydrator->changed, &hydrator->lock, until_ns);
	}
	mutex_unlock(&hydrator->lock);
}

static void *worker_body(void *arg)
{
	loop(arg, true);
	return NULL;
}

static void *timer_body(void *arg)
{
	loop(arg, false);
	return NULL;
}

int hydrator_start(struct hydrator *hydrator)
{
	int r = thread_start(&hydrator->timer, "hydrate-timer", timer_body, hydrator);

	for (unsigned i = 0; r == 0 && i < WORKERS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "hydrate-%u", i + 1);
		r = thread_start(&hydrator->workers[i], name, worker_body, hydrator);
	}
	return r;
}

void hydrator_stop(struct hydrator *hydrator)
{
	struct fill_over over = { 0 };
	int64_t until_ns = 0;

	mutex_lock(&hydrator->lock);
	hydrator->stopping = true;
	cond_broadcast(&hydrator->changed);
	mutex_unlock(&hydrator->lock);
	for (unsigned i = 0; i < WORKERS; i++)
		thread_join(&hydrator->workers[i]);
	thread_join(&hydrator->timer);

	mutex_lock(&hydrator->lock);
	for (struct filling *filling = hydrator->fillings; filling; filling = filling->next) {
		for (struct fill_job *job = filling->jobs; job; job = job->next)
			job->ahead_of = NULL;
		for (struct fill_request *request = filling->requests; request;
		     request = request->next)
			request->result = -EINTR;
	}
	collect_locked(hydrator, monotonic_ns(), &over, &until_ns);
	mutex_unlock(&hydrator->lock);
	answer(hydrator, &over);
}

void hydrator_free(struct hydrator *hydrator)
{
	if (!hydrator)
		return;
	hydrator_stop(hydrator);
	cond_fini(&hydrator->answered);
	cond_fini(&hydrator->changed);
	mutex_fini(&hydrator->lock);
	free(hydrator);
}

/* Beyond what @request waits for; see readers_missed(). */
static void want_ahead_locked(struct hydrator *hydrator, struct filling *filling,
			      const struct fill_request *request, const void *reader, uint64_t most)
{
	struct live *live = filling->live;
	uint64_t granule = (uint64_t)BLOCK_BYTES << live->residency.shift, edge;

	if (!readers_missed(&hydrator->readers, live->id, reader, request->offset, request->end,
			    granule, most, &edge))
		filling_drop_ahead_locked(filling, reader, monotonic_ns());
	(void)filling_want_locked(filling, request->end, edge, request->flags, reader);
}

/* The filling of @live, made when there is none; *counted is used up then. */
static struct filling *filling_of_locked(struct hydrator *hydrator, struct live *live,
					 struct live **counted)
{
	struct filling *filling = find_filling_locked(hydrator, live);

	if (filling && filling->generation == live->generation)
		return filling;
	filling = calloc(1, sizeof(*filling));
	if (!filling)
		return NULL;
	filling->live = take_ptr(*counted);
	filling->generation = live->generation;
	filling->next = hydrator->fillings;
	hydrator->fillings = filling;
	return filling;
}

static int add_locked(struct hydrator *hydrator, struct live *live, struct live **counted,
		      const void *reader, struct fill_request *request)
{
	uint64_t most = 0;
	struct filling *filling;
	int r;

	if (reader)
		most = (uint64_t)volume_setting(live->volume, SETTING_READ_AHEAD);
	scoped_lock(&hydrator->lock);
	if (hydrator->stopping)
		return -EINTR;
	filling = filling_of_locked(hydrator, live, counted);
	if (!filling)
		return -ENOMEM;
	request->next = filling->requests;
	filling->requests = request;
	r = filling_want_locked(filling, request->offset, request->end, request->flags, NULL);
	if (r < 0)
		request->result = r;
	else if (most)
		want_ahead_locked(hydrator, filling, request, reader, most);
	cond_broadcast(&hydrator->changed);
	return 0;
}

static void begin_hydrating_locked(struct live *live)
{
	if (live->state != FILE_EVICTED || !live->has_residency)
		return;
	live->state = FILE_HYDRATING;
	(void)catalog_set_state(live->volume->catalog, live->id, live->generation, FILE_HYDRATING,
				0);
}

static int add(struct live *live, const void *reader, uint64_t offset, uint64_t length,
	       enum hydrate_flags flags, hydrate_done done, void *arg)
{
	struct volume *volume = live->volume;
	cleanup_with(live_put_slot) struct live *counted = live_peek(volume, live->id);
	struct fill_request *request = calloc(1, sizeof(*request));
	int r;

	if (!request || counted != live) {
		free(request);
		return counted == live ? -ENOMEM : -ESTALE;
	}
	request->offset = offset;
	request->end = offset + length < offset ? UINT64_MAX : offset + length;
	request->flags = flags;
	request->done = done;
	request->arg = arg;
	request->result = WAITS;
	request->timeout_ns = volume_setting(volume, SETTING_HYDRATE_TIMEOUT);
	request->deadline_ns = monotonic_ns() + request->timeout_ns;

	mutex_lock(&live->lock);
	while (live->moving)
		cond_wait(&live->changed, &live->lock);
	r = add_locked(volume->hydrator, live, &counted, reader, request);
	if (r == 0)
		begin_hydrating_locked(live);
	mutex_unlock(&live->lock);
	if (r < 0)
		free(request);
	return r;
}

void hydrate_hint(struct live *live, const void *reader, uint64_t offset, uint64_t length)
{
	struct volume *volume = live->volume;
	struct hydrator *hydrator = volume->hydrator;
	cleanup_with(live_put_slot) struct live *counted = NULL;
	struct filling *filling;
	uint64_t start, end;

	uint64_t most = (uint64_t)volume_setting(volume, SETTING_READ_AHEAD);
	bool reads_on;

	mutex_lock(&hydrator->lock);
	reads_on = readers_hit(&hydrator->readers, live->id, reader, offset, offset + length, most,
			       &start, &end);
	mutex_unlock(&hydrator->lock);
	if (!reads_on)
		return;
	counted = live_peek(volume, live->id);
	if (counted != live)
		return;
	mutex_lock(&live->lock);
	if (live->moving || !live->has_residency ||
	    residency_has_range(&live->residency, start, end - start)) {
		mutex_unlock(&live->lock);
		return;
	}
	mutex_lock(&hydrator->lock);
	filling = filling_of_locked(hydrator, live, &counted);
	if (filling && filling_want_locked(filling, start, end, HYDRATE_URGENT, reader) == 0)
		cond_broadcast(&hydrator->changed);
	mutex_unlock(&hydrator->lock);
	begin_hydrating_locked(live);
	mutex_unlock(&live->lock);
}

void hydrate_end_ahead(struct live *live)
{
	struct hydrator *hydrator = live->volume->hydrator;
	int64_t until_ns = monotonic_ns() + END_AHEAD_NS;
	struct filling *filling;

	mutex_lock(&hydrator->lock);
	filling = find_filling_locked(hydrator, live);
	if (filling)
		filling_drop_ahead_locked(filling, NULL, monotonic_ns());
	cond_broadcast(&hydrator->changed);
	mutex_unlock(&hydrator->lock);

	scoped_lock(&live->lock);
	while (live->state == FILE_HYDRATING &&
	       cond_wait_until(&live->changed, &live->lock, until_ns))
		;
}

int hydrate_async(struct live *live, const void *reader, uint64_t offset, uint64_t length,
		  hydrate_done done, void *arg)
{
	return add(live, reader, offset, length, HYDRATE_URGENT, done, arg);
}

void hydrate_cancel(struct hydrator *hydrator, void *arg)
{
	scoped_lock(&hydrator->lock);
	for (struct filling *filling = hydrator->fillings; filling; filling = filling->next)
		for (struct fill_request *request = filling->requests; request;
		     request = request->next)
			if (request->arg == arg && request->result == WAITS)
				request->result = -EINTR;
	cond_broadcast(&hydrator->changed);
}

/*
 * Somebody who waits for an answer. Lock and condition are the hydrator's: whoever answers
 * may still hold them when the waiter is gone.
 */
struct waiter {
	struct hydrator *hydrator;
	int result; /* guarded by hydrator->lock */
};

static void wake_waiter(void *arg, int result)
{
	struct waiter *waiter = arg;
	struct hydrator *hydrator = waiter->hydrator;

	scoped_lock(&hydrator->lock);
	waiter->result = result;
	cond_broadcast(&hydrator->answered);
}

static int wait_for_range(struct live *live, uint64_t offset, uint64_t length,
			  enum hydrate_flags flags)
{
	struct hydrator *hydrator = live->volume->hydrator;
	struct waiter waiter = { .hydrator = hydrator, .result = WAITS };
	int r;

	/* Whoever waits here reads on as one: writers and copies do in order. */
	r = add(live, flags & HYDRATE_URGENT ? live : NULL, offset, length, flags, wake_waiter,
		&waiter);
	if (r < 0)
		return r;
	scoped_lock(&hydrator->lock);
	while (waiter.result == WAITS)
		cond_wait(&hydrator->answered, &hydrator->lock);
	return waiter.result;
}

static int wait_window_by_window(struct live *live, uint64_t offset, uint64_t length,
				 enum hydrate_flags flags)
{
	uint64_t end, part;

	mutex_lock(&live->lock);
	end = live->has_residency ? live->residency.size : 0;
	mutex_unlock(&live->lock);
	if (offset >= end)
		return 0;
	end = length < end - offset ? offset + length : end;
	for (; offset < end; offset += part) {
		int r;

		part = end - offset < WINDOW_BYTES ? end - offset : WINDOW_BYTES;
		r = wait_for_range(live, offset, part, flags);
		if (r < 0)
			return r;
	}
	return 0;
}

int hydrate_wait(struct live *live, uint64_t offset, uint64_t length)
{
	return wait_window_by_window(live, offset, length, HYDRATE_URGENT);
}

int hydrate_all(struct live *live)
{
	return wait_window_by_window(live, 0, UINT64_MAX, HYDRATE_RAW);
}
