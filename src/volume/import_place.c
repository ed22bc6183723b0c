/* SPDX-License-Identifier: Apache-2.0 */

/* What was read becomes a file of the tree. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sync/merge.h"
#include "sync/record.h"
#include "util/clock.h"
#include "volume/import_object.h"
#include "volume/internal.h"
#include "volume/place.h"

#define DEFAULT_MODE 0644u

/* At @path: 0 nothing, 1 a file of the same bytes, 2 anything else. */
static int look_at(struct volume *volume, const char *path, const struct adoptee *adoptee)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct node_row row;
	int r = place_exists(volume, path);

	if (r <= 0)
		return r;
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_lookup_path(volume->catalog, path, &row);
	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(row.mode) || !row.content)
		return 2;
	r = catalog_get_content(volume->catalog, row.content, &content);
	if (r < 0)
		return r;
	return r == 1 && content.size == adoptee->size &&
			       digest_equal(&content.digest, &adoptee->digest)
		       ? 1
		       : 2;
}

/* -EEXIST when it has to have another name. */
static int place_at(struct volume *volume, const char *path, struct adoptee *adoptee,
		    uint64_t content)
{
	const struct version_body body = {
		.kind = VERSION_FILE,
		.mode = adoptee->mode & RECORD_FILE_MODES ? adoptee->mode & RECORD_FILE_MODES
							  : DEFAULT_MODE,
		.mtime_ns = adoptee->mtime_ns,
		.size = adoptee->size,
		.digest = adoptee->digest,
	};
	const struct place_file file = { .body = &body, .content = content, .state = FILE_EVICTED };
	int r = look_at(volume, path, adoptee);

	if (r != 0)
		return r == 2 ? -EEXIST : r;
	return place_file(volume, path, &file, 0);
}

/* 1 the tier has a good one under another name, which stays the one that is read. */
static int has_copy(struct catalog *catalog, const struct copy_row *copy)
{
	struct copy_row *rows = NULL;
	size_t count = 0;
	int found = 0, r;

	r = catalog_get_copies(catalog, copy->content, &rows, &count);
	for (size_t i = 0; i < count; i++) {
		found |= rows[i].tier == copy->tier && !rows[i].bad;
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return r < 0 ? r : found;
}

/* The copy is known first: who opens the file can read it. */
static int keep_copy(struct catalog *catalog, const struct adoptee *adoptee, uint32_t tier,
		     uint64_t *ret_content)
{
	const int64_t now = realtime_ns();
	struct copy_row copy = {
		.tier = tier,
		.key = adoptee->key,
		.digest = adoptee->digest,
		.confirmed_ns = now,
		.checked_ns = now,
	};
	int r = catalog_put_content(catalog, adoptee->size, &adoptee->digest, &adoptee->map,
				    ret_content);

	if (r < 0)
		return r;
	copy.content = *ret_content;
	r = has_copy(catalog, &copy);
	if (r < 0)
		return r;
	return r ? catalog_note_key(catalog, copy.tier, copy.key)
		 : catalog_put_copy(catalog, &copy, STEP_WAIT);
}

/* Where it lost its name to: told as a conflict, as between sites. */
static char *other_path(const struct adoptee *adoptee)
{
	const struct version_row row = {
		.site_name = "bucket", .body = { .kind = VERSION_FILE, .digest = adoptee->digest }
	};

	return conflict_path(adoptee->key, &row);
}

static void note_event(struct volume *volume, const char *actor, const struct adoptee *adoptee,
		       const char *path)
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&adoptee->digest, hex);
	volume_event(volume, actor, "imported", path, hex, adoptee->key);
}

int adoptee_place(struct adoptee *adoptee, struct volume *volume, uint32_t tier, const char *actor,
		  struct import_object *ret_object)
{
	struct import_object object = { .key = adoptee->key, .size = adoptee->size };
	uint64_t content = 0;
	int r = place_parents(volume, adoptee->key);

	object.path = adoptee->key;
	if (r == 0)
		r = keep_copy(volume->catalog, adoptee, tier, &content);
	if (r == 0)
		r = place_at(volume, object.path, adoptee, content);
	if (r == -EEXIST) {
		adoptee->other_path = other_path(adoptee);
		object.path = adoptee->other_path;
		object.result = IMPORT_CONFLICT;
		r = object.path ? place_at(volume, object.path, adoptee, content) : -ENOMEM;
	}
	if (r == -ENOMEM || r == -ENOSPC || catalog_error(volume->catalog) < 0)
		return r < 0 ? r : catalog_error(volume->catalog);
	if (r == 1) {
		object.result = IMPORT_SAME;
	} else if (r == 0) {
		note_event(volume, actor, adoptee, object.path);
	} else {
		object.path = NULL;
		object.result = r == -ENOTDIR ? IMPORT_REFUSED : IMPORT_FAILED;
		object.why = r == -ENOTDIR ? "a file is where its folder would be" : NULL;
		object.error = r;
	}
	*ret_object = object;
	return 0;
}
