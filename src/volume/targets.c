/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/targets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "volume/hydrate.h"

void targets_fini(struct targets *targets)
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

int target_node(struct volume *volume, const char *path, struct node_row *ret_row)
{
	int r;

	if (*path && !path_ok(path))
		return -ENOENT;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_lookup_path(volume->catalog, path, ret_row);
	return r < 0 ? r : r > 0 ? 0 : -ENOENT;
}

int targets_find(struct volume *volume, const char *path, struct targets *targets)
{
	struct node_row row;
	int r = target_node(volume, path, &row);

	if (r < 0)
		return r;
	if (S_ISREG(row.mode) || S_ISDIR(row.mode))
		r = add_target(targets, path, &row);
	if (r >= 0 && S_ISDIR(row.mode))
		r = catalog_each_under(volume->catalog, row.id, add_target, targets);
	return r < 0 ? r : 0;
}

int target_fetch(struct volume *volume, uint64_t id)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	int r = live_get(volume, id, -1, &live);

	return r < 0 ? r : hydrate_all(live);
}
