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
#include "volume/fsck_parts.h"

#define ANY_STATE (~0u)

DEFINE_CLEANUP(struct catalog *, catalog_close)

static int add_pinned(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return row->flags & NODE_PINNED ? fsck_add_id(arg, row) : 0;
}

/* By its path: the numbers of a store that was copied are others. 1 pinned, 0 it is not there. */
static int pin_same(struct fsck *fsck, struct catalog *old, uint64_t id)
{
	cleanup_free char *path = NULL;
	struct node_row row;
	int r = catalog_path_of(old, id, &path);

	if (r > 0)
		r = catalog_lookup_path(fsck->catalog, path, &row);
	if (r > 0 && S_ISREG(row.mode))
		r = catalog_set_flags(fsck->catalog, row.id, NODE_PINNED, 0) < 0 ? -EIO : 1;
	else if (r > 0)
		r = 0;
	if (r == 0 && path)
		fsck_tell(fsck, FSCK_NOTE, "pin", path, "it was pinned and is not there any more");
	return r;
}

static int take_pins(struct fsck *fsck, struct catalog *old, uint64_t *ret_count)
{
	struct fsck_ids ids = { 0 };
	int r = catalog_each_file(old, ANY_STATE, 0, add_pinned, &ids);

	/* What could be read counts, wherever it is broken. */
	for (size_t i = 0; i < ids.count; i++) {
		int pinned = pin_same(fsck, old, ids.ids[i]);

		if (pinned > 0)
			++*ret_count;
		else if (pinned < 0)
			r = pinned;
	}
	free(ids.ids);
	return r;
}

int fsck_take_pins(struct fsck *fsck, const char *old_name)
{
	cleanup_with(catalog_close_slot) struct catalog *old = NULL;
	cleanup_free char *file = store_file(fsck->store, old_name);
	uint64_t count = 0;
	int r;

	if (!file)
		return -ENOMEM;
	r = catalog_barrier(fsck->catalog);
	if (r < 0)
		return r;
	r = catalog_open(file, fsck->store->site_uuid, CATALOG_READ_ONLY, &old);
	if (r == 0)
		r = take_pins(fsck, old, &count);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		fsck_tell(fsck, FSCK_NOTE, "pin", "",
			  "the old catalog cannot be read (%s): files that were pinned may not be "
			  "any more",
			  error_text(r));
	if (count)
		fsck_tell(fsck, FSCK_NOTE, "pin", "", "%" PRIu64 " files are pinned as before",
			  count);
	return catalog_barrier(fsck->catalog);
}
