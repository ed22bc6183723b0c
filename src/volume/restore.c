/* SPDX-License-Identifier: Apache-2.0 */

/* fetch --restore: a pass over what is archived (volume_restore()). */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/crew.h"
#include "util/thread.h"
#include "volume/internal.h"
#include "volume/manage.h"
#include "volume/targets.h"

/* What came of a target, beside 0 (it was fetched) and errors. */
enum { TARGET_HERE = 1, TARGET_READABLE, TARGET_WAITS };

struct outcome {
	const struct tier *away; /* of -EHOSTDOWN; written before the result */
	atomic_int result;
};

/* In one pass no more is asked about of what was asked for before: the others come no sooner. */
#define LOOKS_MAX 32u

struct restoring {
	/* Constant while it runs. */
	struct volume *volume;
	const struct tier_restore *how; /* borrowed */
	volume_restore_fn progress;
	void *arg;

	struct targets targets;   /* owned */
	struct outcome *outcomes; /* owned, of each target */
	atomic_uint looks;

	/* The thread's that asked. */
	size_t told;
	int stopped;                   /* by progress */
	struct restore_counts *counts; /* borrowed */

	struct mutex lock; /* rank 52; guards the rest */
	struct cond changed;
	uint64_t asked_about[TARGETS_SIDE_BY_SIDE]; /* contents, by thread; 0 none */
};

static bool is_asked_about_locked(const struct restoring *restoring, uint64_t content)
{
	for (size_t i = 0; content && i < TARGETS_SIDE_BY_SIDE; i++)
		if (restoring->asked_about[i] == content)
			return true;
	return false;
}

/* One content has many names: nobody asks for it twice. */
static int enter_content(struct restoring *restoring, unsigned worker, uint64_t content)
{
	bool waited = false;

	mutex_lock(&restoring->lock);
	while (is_asked_about_locked(restoring, content)) {
		waited = true;
		cond_wait(&restoring->changed, &restoring->lock);
	}
	restoring->asked_about[worker] = content;
	mutex_unlock(&restoring->lock);
	/* What the other one has noted is to be seen. */
	return waited ? catalog_barrier(restoring->volume->catalog) : 0;
}

static void leave_content(struct restoring *restoring, unsigned worker)
{
	scoped_lock(&restoring->lock);
	restoring->asked_about[worker] = 0;
	cond_broadcast(&restoring->changed);
}

/* 0 it can be fetched; -EINPROGRESS; -EHOSTDOWN with *ret_away; errors. */
static int ask_for(struct restoring *restoring, uint64_t content_id, const struct tier **ret_away)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct volume *volume = restoring->volume;
	int archived = catalog_is_archived(volume->catalog, content_id);
	int r;

	if (archived == 2 && atomic_load(&restoring->looks) >= LOOKS_MAX)
		return -EINPROGRESS;
	if (archived <= 0)
		return archived;
	r = catalog_get_content(volume->catalog, content_id, &content);
	if (r <= 0)
		return r < 0 ? r : -EUCLEAN;
	r = transfer_restore(volume->transfer, &content, restoring->how, ret_away);
	if (archived == 2 && r == -EINPROGRESS)
		(void)atomic_fetch_add(&restoring->looks, 1);
	return r;
}

/* 1 it is here; else as ask_for(). */
static int see_to_copy(struct restoring *restoring, unsigned worker, size_t index)
{
	uint64_t id = restoring->targets.list[index].id;
	struct node_row row;
	int r = catalog_get_node(restoring->volume->catalog, id, &row);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (row.state != FILE_EVICTED && row.state != FILE_HYDRATING)
		return 1;
	r = enter_content(restoring, worker, row.content);
	if (r == 0)
		r = ask_for(restoring, row.content, &restoring->outcomes[index].away);
	leave_content(restoring, worker);
	return r;
}

/* The others would wait as long, for nothing. */
static bool ends_pass(int error)
{
	return error == -ETIMEDOUT || error == -ECANCELED || error == -EINTR || error == -ENOSPC;
}

static int note_result(struct restoring *restoring, size_t index, int result)
{
	if (ends_pass(result))
		return result;
	atomic_store(&restoring->outcomes[index].result, result);
	return 0;
}

/* First of all, so that what takes hours to come back is on its way while the rest is fetched. */
static int ask_one(void *arg, unsigned worker, size_t index)
{
	struct restoring *restoring = arg;
	const struct target *target = &restoring->targets.list[index];
	int r = target->is_file ? see_to_copy(restoring, worker, index) : 1;

	return note_result(restoring, index, r == 0 ? TARGET_READABLE : r == 1 ? TARGET_HERE : r);
}

/* 0, or -EHOSTDOWN: what could be read lies in tiers that are away. */
static int find_away(struct restoring *restoring, size_t index)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct volume *volume = restoring->volume;
	struct node_row row;
	int r = catalog_get_node(volume->catalog, restoring->targets.list[index].id, &row);

	if (r > 0)
		r = catalog_get_content(volume->catalog, row.content, &content);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return transfer_find_away(volume->transfer, &content, &restoring->outcomes[index].away);
}

/* A tier that is away is not waited for: it may be that of many. */
static int fetch_there(struct restoring *restoring, size_t index)
{
	int r = find_away(restoring, index);
	int away;

	if (r == 0)
		r = target_fetch(restoring->volume, restoring->targets.list[index].id);
	if (r != -ETIMEDOUT)
		return r;
	away = find_away(restoring, index);
	return away < 0 ? away : r;
}

static int fetch_one(void *arg, unsigned worker, size_t index)
{
	struct restoring *restoring = arg;
	int r;

	if (atomic_load(&restoring->outcomes[index].result) != TARGET_READABLE)
		return 0;
	r = fetch_there(restoring, index);
	/* That a copy is archived may only show when it is read. */
	if (r == -ENOMEDIUM) {
		r = catalog_barrier(restoring->volume->catalog);
		if (r == 0)
			r = see_to_copy(restoring, worker, index);
		if (r == 0)
			r = fetch_there(restoring, index);
	}
	return note_result(restoring, index, r == 1 ? TARGET_HERE : r);
}

static bool is_large(void *arg, size_t index)
{
	return ((struct restoring *)arg)->targets.list[index].size >= TARGET_LARGE;
}

static int tell(struct restoring *restoring, size_t index)
{
	const struct target *target = &restoring->targets.list[index];
	struct restore_counts *counts = restoring->counts;
	const struct outcome *outcome = &restoring->outcomes[index];
	int result = atomic_load(&outcome->result);

	if (!target->is_file)
		return 0;
	if (result >= 0) {
		counts->here_files++;
		counts->here_bytes += target->size;
	} else if (result == -EINPROGRESS) {
		counts->coming_files++;
		counts->coming_bytes += target->size;
	} else if (result == -EHOSTDOWN) {
		counts->away_files++;
	}
	if (result == TARGET_HERE || result == -EINPROGRESS)
		return 0;
	return restoring->progress(restoring->arg, target->path, target->size, result,
				   result == -EHOSTDOWN && outcome->away ? outcome->away->name
									 : NULL);
}

static bool is_over(struct restoring *restoring, size_t index)
{
	int result = atomic_load(&restoring->outcomes[index].result);

	return result != TARGET_WAITS && result != TARGET_READABLE;
}

/* In the order of the names. */
static int tick(void *arg)
{
	struct restoring *restoring = arg;

	while (!restoring->stopped && restoring->told < restoring->targets.count &&
	       is_over(restoring, restoring->told))
		restoring->stopped = tell(restoring, restoring->told++);
	return restoring->stopped;
}

/* After a pass that was broken off: what was done all the same. */
static void tell_rest(struct restoring *restoring)
{
	for (; !restoring->stopped && restoring->told < restoring->targets.count; restoring->told++)
		if (is_over(restoring, restoring->told))
			restoring->stopped = tell(restoring, restoring->told);
}

static int run_pass(struct restoring *restoring)
{
	struct crew crew = {
		.name = "restore",
		.threads = TARGETS_SIDE_BY_SIDE,
		.count = restoring->targets.count,
		.fn = ask_one,
		.tick = tick,
		.arg = restoring,
	};
	int r = crew_run(&crew);

	crew.fn = fetch_one;
	crew.is_large = is_large;
	if (r == 0)
		r = crew_run(&crew);
	tell_rest(restoring);
	return restoring->stopped ? restoring->stopped : r;
}

static int prepare(struct restoring *restoring, const char *path)
{
	struct restore_counts *counts = restoring->counts;
	int r = targets_find(restoring->volume, path, &restoring->targets);

	if (r < 0)
		return r;
	restoring->outcomes = calloc(restoring->targets.count + 1, sizeof(*restoring->outcomes));
	if (!restoring->outcomes)
		return -ENOMEM;
	for (size_t i = 0; i < restoring->targets.count; i++) {
		const struct target *target = &restoring->targets.list[i];

		atomic_init(&restoring->outcomes[i].result, TARGET_WAITS);
		counts->files += target->is_file;
		counts->bytes += target->is_file ? target->size : 0;
	}
	return 0;
}

int volume_restore(struct volume *volume, const char *path, const struct tier_restore *how,
		   volume_restore_fn progress, void *arg, struct restore_counts *ret_counts)
{
	struct restoring restoring = {
		.volume = volume,
		.how = how,
		.progress = progress,
		.arg = arg,
		.counts = ret_counts,
	};
	int r;

	*ret_counts = (struct restore_counts){ 0 };
	mutex_init(&restoring.lock, 52);
	cond_init(&restoring.changed);
	r = prepare(&restoring, path);
	if (r == 0)
		r = run_pass(&restoring);
	free(restoring.outcomes);
	targets_fini(&restoring.targets);
	cond_fini(&restoring.changed);
	mutex_fini(&restoring.lock);
	return r;
}
