/* SPDX-License-Identifier: Apache-2.0 */
/* What people ask for about seals (volume/manage.h). */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest/history.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "volume/seals.h"

static int find_folder(struct volume *volume, const char *path, struct node_row *ret_row)
{
	int r;

	if (!*path)
		return -EINVAL;
	if (!path_ok(path))
		return -ENOENT;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_lookup_path(volume->catalog, path, ret_row);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return S_ISDIR(ret_row->mode) ? 0 : -ENOTDIR;
}

static int is_manifest(void *arg, const char *name, const struct node_row *row)
{
	(void)arg;
	return S_ISREG(row->mode) && history_is_manifest(name);
}

/* 1: a history, or a list beside the files. */
static int has_manifest(struct volume *volume, uint64_t folder, const char *path)
{
	cleanup_free char *chain = path_join(path, HISTORY_FOLDER "/" CHAIN_NAME);
	struct node_row row;
	int r = chain ? catalog_lookup_path(volume->catalog, chain, &row) : -ENOMEM;

	return r != 0 ? r : catalog_each_child(volume->catalog, folder, is_manifest, NULL);
}

static int seal(struct seals *seals, uint64_t folder, const char *actor, char **ret_path)
{
	struct seal_try try;
	int r = seals_try(seals, folder, &try, ret_path);

	if (r < 0)
		return r;
	r = seals_keep(seals, &try, actor);
	if (r < 0)
		seals_undo(seals, &try);
	return r;
}

int volume_seal(struct volume *volume, const char *path, const char *actor, char **ret_path)
{
	struct node_row row;
	int r = find_folder(volume, path, &row);

	if (r == 0)
		r = has_manifest(volume, row.id, path);
	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	r = seals_enter(volume->seals, row.id);
	if (r < 0)
		return r;
	r = seal(volume->seals, row.id, actor, ret_path);
	seals_leave(volume->seals, row.id);
	return r;
}

int volume_unseal(struct volume *volume, const char *path, const char *actor)
{
	struct node_row row;
	int r = find_folder(volume, path, &row);

	return r < 0 ? r : seals_open(volume->seals, row.id, actor);
}
