/* SPDX-License-Identifier: Apache-2.0 */

/* What people ask for about residency: evict, fetch, pin, unpin (volume/manage.h). */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/crew.h"
#include "volume/hydrate.h"
#include "volume/keeper.h"
#include "volume/targets.h"

#define WAITS 1 /* no result yet */

/* 0 or the error; *ret_bytes: freed, or how large it is. Pins are set all at once (set_pin()). */
static int act(struct volume *volume, enum residency_verb verb, const struct target *target,
	       uint64_t *ret_bytes)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	int64_t freed;

	*ret_bytes = target->size;
	if (verb != RESIDENCY_EVICT)
		return 0;
	live = live_peek(volume, target->id);
	if (live)
		hydrate_end_ahead(live);
	freed = evict_file(volume, target->id);
	*ret_bytes = freed < 0 ? 0 : (uint64_t)freed;
	return freed < 0 ? (int)freed : 0;
}

/* Of @path and all below, before that is listed: nothing comes in between. */
static int set_pin(struct volume *volume, const char *path, bool pinned)
{
	struct node_row row;
	int r = target_node(volume, path, &row);

	if (r == 0)
		r = catalog_set_pin(volume->catalog, row.id, pinned);
	if (r < 0)
		return r;
	/* What somebody was told is pinned is so after a power cut, too. */
	r = catalog_flush(volume->catalog);
	keeper_wake(volume->keeper);
	return r;
}

struct fetching {
	struct volume *volume;
	const struct targets *targets; /* borrowed */
	atomic_int *results;           /* owned, of each target */
	volume_progress_fn progress;
	void *arg;
	size_t told; /* the thread's that asked */
};

static void fetching_fini(struct fetching *fetching)
{
	free(fetching->results);
}

static int fetch_one(void *arg, unsigned worker, size_t index)
{
	struct fetching *fetching = arg;
	const struct target *target = &fetching->targets->list[index];

	(void)worker;
	atomic_store(&fetching->results[index],
		     target->is_file ? target_fetch(fetching->volume, target->id) : 0);
	return 0;
}

static bool is_large(void *arg, size_t index)
{
	return ((struct fetching *)arg)->targets->list[index].size >= TARGET_LARGE;
}

/* In the order of the names. */
static int tell(void *arg)
{
	struct fetching *fetching = arg;
	int r = 0;

	for (; r == 0 && fetching->told < fetching->targets->count; fetching->told++) {
		const struct target *target = &fetching->targets->list[fetching->told];
		int result = atomic_load(&fetching->results[fetching->told]);

		if (result == WAITS)
			break;
		if (target->is_file)
			r = fetching->progress(fetching->arg, target->path, target->size, result);
	}
	return r;
}

static int fetch_all(struct volume *volume, const struct targets *targets,
		     volume_progress_fn progress, void *arg)
{
	cleanup_with(fetching_fini) struct fetching fetching = {
		.volume = volume,
		.targets = targets,
		.results = calloc(targets->count + 1, sizeof(*fetching.results)),
		.progress = progress,
		.arg = arg,
	};
	const struct crew crew = {
		.name = "fetch",
		.threads = TARGETS_SIDE_BY_SIDE,
		.count = targets->count,
		.fn = fetch_one,
		.is_large = is_large,
		.tick = tell,
		.arg = &fetching,
	};
	int r;

	if (!fetching.results)
		return -ENOMEM;
	for (size_t i = 0; i < targets->count; i++)
		atomic_init(&fetching.results[i], WAITS);
	r = crew_run(&crew);
	return r == 0 ? tell(&fetching) : r;
}

int volume_residency(struct volume *volume, enum residency_verb verb, const char *path,
		     volume_progress_fn progress, void *arg)
{
	cleanup_with(targets_fini) struct targets targets = { 0 };
	int r = 0;

	if (verb == RESIDENCY_PIN || verb == RESIDENCY_UNPIN)
		r = set_pin(volume, path, verb == RESIDENCY_PIN);
	if (r == 0)
		r = targets_find(volume, path, &targets);
	if (r == 0 && verb == RESIDENCY_FETCH)
		r = fetch_all(volume, &targets, progress, arg);
	for (size_t i = 0; verb != RESIDENCY_FETCH && r == 0 && i < targets.count; i++) {
		const struct target *target = &targets.list[i];
		uint64_t bytes;
		int error;

		if (!target->is_file)
			continue;
		error = act(volume, verb, target, &bytes);
		r = progress(arg, target->path, bytes, error);
	}
	return r ? r : catalog_barrier(volume->catalog);
}
