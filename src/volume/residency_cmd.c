/* SPDX-License-Identifier: Apache-2.0 */

/* What people ask for about residency: evict, fetch, pin, unpin, restore (volume/manage.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "volume/hydrate.h"
#include "volume/keeper.h"

/* A file or folder the verb is for. */
struct target {
	uint64_t id, size;
	bool is_file;
	char *path; /* owned */
};

/* Collected before anything is done: the catalog is not called back from its own walk. */
struct targets {
	struct target *list; /* owned */
	size_t count, room;
};

static void targets_fini(struct targets *targets)
{
	for (size_t i = 0; i < targets->count; i++)
		free(targets->list[i].path);
	free(targets->list);
}

static int add_target(void *arg, const char *path, const struct node_row *row)
{
	struct targets *targets = arg;
	struct target *target;

	if (targets->count == targets->room) {
		size_t room = targets->room ? targets->room * 2 : 64;
		struct target *list = reallocarray(targets->list, room, sizeof(*list));

		if (!list)
			return -ENOMEM;
		targets->list = list;
		targets->room = room;
	}
	target = &targets->list[targets->count];
	target->id = row->id;
	target->size = row->size;
	target->is_file = S_ISREG(row->mode);
	target->path = strdup(path);
	if (!target->path)
		return -ENOMEM;
	targets->count++;
	return 0;
}

static int find_targets(struct volume *volume, const char *path, struct targets *targets)
{
	struct node_row row;
	int r;

	if (*path && !path_ok(path))
		return -ENOENT;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_lookup_path(volume->catalog, path, &row);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (S_ISREG(row.mode) || S_ISDIR(row.mode))
		r = add_target(targets, path, &row);
	if (r >= 0 && S_ISDIR(row.mode))
		r = catalog_each_under(volume->catalog, row.id, add_target, targets);
	return r < 0 ? r : 0;
}

static int fetch(struct volume *volume, uint64_t id)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	int r = live_get(volume, id, -1, &live);

	return r < 0 ? r : hydrate_all(live);
}

static int set_pin(struct volume *volume, uint64_t id, bool pinned)
{
	return catalog_set_flags(volume->catalog, id, pinned ? NODE_PINNED : 0,
				 pinned ? 0 : NODE_PINNED);
}

/* 0 or the error; *ret_bytes: freed, or how large what is here now is. */
static int act(struct volume *volume, enum residency_verb verb, const struct target *target,
	       uint64_t *ret_bytes)
{
	int64_t freed;

	*ret_bytes = target->is_file ? target->size : 0;
	switch (verb) {
	case RESIDENCY_EVICT:
		*ret_bytes = 0;
		freed = evict_file(volume, target->id);
		if (freed < 0)
			return (int)freed;
		*ret_bytes = (uint64_t)freed;
		return 0;
	case RESIDENCY_FETCH:
		return fetch(volume, target->id);
	case RESIDENCY_PIN:
	case RESIDENCY_UNPIN:
		return set_pin(volume, target->id, verb == RESIDENCY_PIN);
	default:
		return -EINVAL;
	}
}

int volume_residency(struct volume *volume, enum residency_verb verb, const char *path,
		     volume_progress_fn progress, void *arg)
{
	cleanup_with(targets_fini) struct targets targets = { 0 };
	bool is_pin = verb == RESIDENCY_PIN || verb == RESIDENCY_UNPIN;
	int r;

	r = find_targets(volume, path, &targets);
	if (r < 0)
		return r;
	for (size_t i = 0; i < targets.count; i++) {
		const struct target *target = &targets.list[i];
		uint64_t bytes;
		int error;

		/* Folders take a pin too; nothing inherits it yet (HACKING, Open). */
		if (!target->is_file && !is_pin)
			continue;
		error = act(volume, verb, target, &bytes);
		r = target->is_file ? progress(arg, target->path, bytes, error) : 0;
		if (r != 0)
			return r;
	}
	r = catalog_barrier(volume->catalog);
	keeper_wake(volume->keeper);
	return r;
}

/* Restoring ------------------------------------------------------------------------------ */

/* In one pass no more is asked about of what was asked for before: the others come no sooner. */
#define LOOKS_MAX 32u

struct restoring {
	struct volume *volume;
	const struct tier_restore *how; /* borrowed */
	unsigned looks;
};

/* 0 it can be fetched; -EINPROGRESS; errors. */
static int see_to_copy(struct restoring *restoring, uint64_t content_id)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct volume *volume = restoring->volume;
	int archived = catalog_is_archived(volume->catalog, content_id);
	int r;

	if (archived == 2 && restoring->looks >= LOOKS_MAX)
		return -EINPROGRESS;
	if (archived <= 0)
		return archived;
	r = catalog_get_content(volume->catalog, content_id, &content);
	if (r <= 0)
		return r < 0 ? r : -EUCLEAN;
	r = transfer_restore(volume->transfer, &content, restoring->how);
	restoring->looks += archived == 2 && r == -EINPROGRESS;
	return r;
}

/* 1 it was here already, 0 it is now. */
static int restore(struct restoring *restoring, uint64_t id)
{
	struct volume *volume = restoring->volume;
	struct node_row row;
	int r = catalog_get_node(volume->catalog, id, &row);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (row.state != FILE_EVICTED && row.state != FILE_HYDRATING)
		return 1;
	/* That a copy is archived may only show when it is read. */
	for (unsigned tries = 0; tries < 2; tries++) {
		r = see_to_copy(restoring, row.content);
		if (r == 0)
			r = fetch(volume, id);
		if (r != -ENOMEDIUM)
			return r;
		r = catalog_barrier(volume->catalog);
		if (r < 0)
			return r;
	}
	return -ENOMEDIUM;
}

/* The others would wait as long, for nothing. */
static bool ends_pass(int error)
{
	return error == -EHOSTDOWN || error == -ETIMEDOUT || error == -ECANCELED ||
	       error == -EINTR || error == -ENOSPC;
}

int volume_restore(struct volume *volume, const char *path, const struct tier_restore *how,
		   volume_progress_fn progress, void *arg, struct restore_counts *ret_counts)
{
	cleanup_with(targets_fini) struct targets targets = { 0 };
	struct restoring restoring = { .volume = volume, .how = how };
	int r = find_targets(volume, path, &targets);

	*ret_counts = (struct restore_counts){ 0 };
	for (size_t i = 0; r == 0 && i < targets.count; i++) {
		const struct target *target = &targets.list[i];
		int error;

		if (!target->is_file)
			continue;
		error = restore(&restoring, target->id);
		ret_counts->files++;
		ret_counts->bytes += target->size;
		if (error >= 0) {
			ret_counts->here_files++;
			ret_counts->here_bytes += target->size;
		} else if (error == -EINPROGRESS) {
			ret_counts->coming_files++;
			ret_counts->coming_bytes += target->size;
		}
		if (ends_pass(error))
			return error;
		if (error != 1 && error != -EINPROGRESS)
			r = progress(arg, target->path, target->size, error);
	}
	return r;
}
