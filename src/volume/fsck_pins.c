/* SPDX-License-Identifier: Apache-2.0 */

/* Pins are only in the catalog: a new one takes them from the old one, as far as that can be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/fsck_parts.h"

#define ANY_STATE (~0u)

DEFINE_CLEANUP(struct catalog *, catalog_close)

static int add_pinned(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return row->flags & NODE_PINNED ? fsck_add_id(arg, row) : 0;
}

struct newer {
	struct catalog *old;
	const char *folder; /* its path */
	struct fsck_ids ids;
};

static int add_unknown(void *arg, const char *name, const struct node_row *row)
{
	struct newer *newer = arg;
	cleanup_free char *path = path_join(newer->folder, name);
	struct node_row known;
	int r = path ? catalog_lookup_path(newer->old, path, &known) : -ENOMEM;

	return r == 0 ? fsck_add_id(&newer->ids, row) : r < 0 ? r : 0;
}

/* The folder @id is pinned again, with what the old catalog did not get to know any more. */
static int pin_folder(struct fsck *fsck, struct catalog *old, const char *path, uint64_t id)
{
	struct newer newer = { .old = old, .folder = path };
	int r = catalog_each_child(fsck->catalog, id, add_unknown, &newer);

	for (size_t i = 0; r == 0 && i < newer.ids.count; i++)
		r = catalog_set_pin(fsck->catalog, newer.ids.ids[i], true);
	free(newer.ids.ids);
	return r < 0 ? r : catalog_set_flags(fsck->catalog, id, NODE_PINNED, 0);
}

/* By its path: the numbers of a store that was copied are others. 1 pinned, 0 it is not there. */
static int pin_same(struct fsck *fsck, struct catalog *old, uint64_t id, mode_t type)
{
	cleanup_free char *path = NULL;
	struct node_row row;
	int r = catalog_path_of(old, id, &path), error = 0;

	if (r > 0)
		r = catalog_lookup_path(fsck->catalog, path, &row);
	if (r > 0 && (row.mode & S_IFMT) != type)
		r = 0;
	if (r > 0)
		error = S_ISDIR(type) ? pin_folder(fsck, old, path, row.id)
				      : catalog_set_flags(fsck->catalog, row.id, NODE_PINNED, 0);
	if (error < 0)
		return -EIO;
	if (r == 0 && path)
		fsck_tell(fsck, FSCK_NOTE, "pin", path, "it was pinned and is not there any more");
	return r;
}

/* What could be read counts, wherever it is broken. */
static int pin_list(struct fsck *fsck, struct catalog *old, const uint64_t *ids, size_t count,
		    mode_t type, uint64_t *ret_count)
{
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		int pinned = pin_same(fsck, old, ids[i], type);

		if (pinned > 0)
			++*ret_count;
		else if (pinned < 0)
			r = pinned;
	}
	return r;
}

static int take_folders(struct fsck *fsck, struct catalog *old, uint64_t *ret_count)
{
	uint64_t ids[256], after = 0;
	int count, r = 0;

	do {
		int error;

		count = catalog_get_pinned_folders(old, after, ids, ARRAY_SIZE(ids));
		if (count <= 0)
			return count < 0 ? count : r;
		error = pin_list(fsck, old, ids, (size_t)count, S_IFDIR, ret_count);
		r = error < 0 ? error : r;
		after = ids[count - 1];
	} while (count == (int)ARRAY_SIZE(ids));
	return r;
}

static int take_pins(struct fsck *fsck, struct catalog *old, uint64_t *ret_files,
		     uint64_t *ret_folders)
{
	struct fsck_ids ids = { 0 };
	int r = take_folders(fsck, old, ret_folders);
	int files = catalog_each_file(old, ANY_STATE, 0, add_pinned, &ids);
	int pinned = pin_list(fsck, old, ids.ids, ids.count, S_IFREG, ret_files);

	free(ids.ids);
	return r < 0 ? r : files < 0 ? files : pinned;
}

int fsck_take_pins(struct fsck *fsck, const char *old_name)
{
	cleanup_with(catalog_close_slot) struct catalog *old = NULL;
	cleanup_free char *file = store_file(fsck->store, old_name);
	uint64_t files = 0, folders = 0;
	int r;

	if (!file)
		return -ENOMEM;
	r = catalog_barrier(fsck->catalog);
	if (r < 0)
		return r;
	r = catalog_open(file, fsck->store->site_uuid, CATALOG_READ_ONLY, &old);
	if (r == 0)
		r = take_pins(fsck, old, &files, &folders);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		fsck_tell(fsck, FSCK_NOTE, "pin", "",
			  "the old catalog cannot be read (%s): what was pinned may not be "
			  "any more",
			  error_text(r));
	if (files || folders)
		fsck_tell(fsck, FSCK_NOTE, "pin", "",
			  "%" PRIu64 " files and %" PRIu64 " folders are pinned as before", files,
			  folders);
	return catalog_barrier(fsck->catalog);
}
