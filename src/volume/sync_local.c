/* SPDX-License-Identifier: Apache-2.0 */
/* What our tree has at a path, compared with what versions say (volume/sync_parts.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/doubts.h"
#include "sync/merge.h"
#include "sync/record.h"
#include "util/cleanup.h"
#include "volume/sync_parts.h"

void local_fini(struct local *local)
{
	version_body_fini(&local->body);
	*local = (struct local){ 0 };
}

uint32_t local_mode(const struct version_body *body, uint32_t mode)
{
	if (body->kind == VERSION_LINK)
		return 0777;
	return mode &
	       (body->kind == VERSION_DIR ? RECORD_DIR_MODES | VERSION_SEALED : RECORD_FILE_MODES);
}

bool local_same_attributes(const struct local *local, const struct version_body *body)
{
	return local->body.mode == local_mode(body, body->mode) &&
	       local->body.mtime_ns == body->mtime_ns;
}

bool local_same_content(const struct local *local, const struct version_body *body)
{
	return local->found && local->body.kind && version_same_content(&local->body, body);
}

static int read_target(struct syncer *syncer, const char *path, struct local *local)
{
	cleanup_close int fd = store_open_path(syncer->volume->store, path, O_PATH | O_NOFOLLOW, 0);
	char target[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	local->body.target = strdup(target);
	return local->body.target ? 0 : -ENOMEM;
}

/* Digest and map of a file whose content is known. */
static int read_content(struct syncer *syncer, struct local *local)
{
	struct content_row content;
	int r;

	if (!local->row.content)
		return 0;
	r = catalog_get_content(syncer->volume->catalog, local->row.content, &content);
	if (r <= 0)
		return r;
	if (content.size == local->row.size) {
		local->body.digest = content.digest;
		local->body.map = content.map;
		local->body.kind = VERSION_FILE;
		local->settled = file_state_is_verified(local->row.state);
		local->stored = file_state_is_stored(local->row.state);
	} else {
		content_row_fini(&content);
	}
	return 0;
}

static int fill(struct syncer *syncer, const char *path, struct local *local)
{
	uint32_t mode = local->row.mode;

	local->body.mtime_ns = local->row.mtime_ns;
	if (S_ISREG(mode)) {
		local->body.size = local->row.size;
		local->body.mode = mode & RECORD_FILE_MODES;
		return read_content(syncer, local);
	}
	if (S_ISDIR(mode))
		local->body.kind = VERSION_DIR;
	else if (S_ISLNK(mode))
		local->body.kind = VERSION_LINK;
	else
		return 0;
	/* The row's bits beyond the permissions are the type's. */
	local->body.mode = local_mode(&local->body, mode & 07777);
	if (S_ISDIR(mode) && (local->row.flags & NODE_SEALED))
		local->body.mode |= VERSION_SEALED;
	local->settled = true;
	return S_ISLNK(mode) ? read_target(syncer, path, local) : 0;
}

/* It went away, or another thing has its name: the catalog hears of it soon, and notes it again. */
static bool has_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -EINVAL || error == -ELOOP;
}

int local_get(struct syncer *syncer, const char *path, struct local *ret_local)
{
	struct local local = { 0 };
	int r = catalog_lookup_path(syncer->volume->catalog, path, &local.row);

	if (r > 0) {
		local.found = true;
		r = fill(syncer, path, &local);
		if (S_ISLNK(local.row.mode) && has_gone(r)) {
			local.body.kind = 0;
			local.settled = false;
			r = 0;
		}
	}
	if (r < 0) {
		local_fini(&local);
		return r;
	}
	*ret_local = local;
	return 0;
}

/* 1 and the UUID the tier was found to have, 0 when it was never reached. */
static int tier_uuid(struct syncer *syncer, uint32_t tier, char **ret_uuid)
{
	char key[64];

	(void)snprintf(key, sizeof(key), "tier.%" PRIu32 ".uuid", tier);
	return catalog_get_meta(syncer->volume->catalog, key, ret_uuid);
}

struct tier *syncer_tier(struct syncer *syncer, uint32_t id)
{
	const struct transfer_tier *tier;

	for (size_t i = 0; (tier = transfer_tier(syncer->volume->transfer, i)) != NULL; i++)
		if (tier->id == id)
			return tier->tier;
	return NULL;
}

int syncer_find_tier(struct syncer *syncer, const char *uuid, uint32_t *ret_tier)
{
	const struct transfer_tier *tier;

	for (size_t i = 0; (tier = transfer_tier(syncer->volume->transfer, i)) != NULL; i++) {
		cleanup_free char *found = NULL;
		int r = tier_uuid(syncer, tier->id, &found);

		if (r < 0)
			return r;
		if (r > 0 && strcmp(found, uuid) == 0) {
			*ret_tier = tier->id;
			return 1;
		}
	}
	return 0;
}

/* 1: @copy is one that other sites can use, and is put into @body. */
static int use_copy(struct syncer *syncer, const struct copy_row *copy, struct version_body *body)
{
	cleanup_free char *uuid = NULL;
	int r;

	if (copy->bad || !tier_key_ok(copy->key))
		return 0;
	r = tier_uuid(syncer, copy->tier, &uuid);
	if (r <= 0)
		return r;
	if (strlen(uuid) >= sizeof(body->tier))
		return -EUCLEAN;
	body->key = strdup(copy->key);
	if (!body->key)
		return -ENOMEM;
	(void)strcpy(body->tier, uuid);
	return 1;
}

int syncer_find_copy(struct syncer *syncer, uint64_t content, struct version_body *body)
{
	struct copy_row *rows = NULL;
	size_t count = 0;
	int r;

	r = catalog_get_copies(syncer->volume->catalog, content, &rows, &count);
	if (r < 0)
		return r;
	r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = use_copy(syncer, &rows[i], body);
	for (size_t i = 0; i < count; i++)
		copy_row_fini(&rows[i]);
	free(rows);
	return r;
}

int syncer_is_lost(struct syncer *syncer, const struct version_body *body, uint64_t content)
{
	uint32_t tier;
	int r;

	if (!body->key)
		return 0;
	r = syncer_find_tier(syncer, body->tier, &tier);
	return r <= 0 ? r : catalog_is_lost(syncer->volume->catalog, tier, body->key, content);
}
