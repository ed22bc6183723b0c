/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/import_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"

/* Of a smaller one the bytes are read at once: asking first costs as much. */
#define LOOK_BYTES (1u << 20)

void adoptee_fini(struct adoptee *adoptee)
{
	free(adoptee->key);
	free(adoptee->other_path);
	blockmap_fini(&adoptee->map);
	*adoptee = (struct adoptee){ 0 };
}

/* Bytes on their way through the hashes. */
struct hashing {
	struct digest_state *digest; /* owned */
	uint8_t *block;              /* owned, BLOCK_BYTES */
	uint64_t *hashes;            /* owned */
	size_t count, room;
	size_t used; /* of the block */
	uint64_t size;
};

static void hashing_fini(struct hashing *hashing)
{
	digest_free(hashing->digest);
	free(hashing->block);
	free(hashing->hashes);
}

static int end_block(struct hashing *hashing)
{
	if (hashing->count == hashing->room) {
		size_t room = hashing->room ? hashing->room * 2 : 64;
		uint64_t *hashes = reallocarray(hashing->hashes, room, sizeof(*hashes));

		if (!hashes)
			return -ENOMEM;
		hashing->hashes = hashes;
		hashing->room = room;
	}
	hashing->hashes[hashing->count++] = block_hash(hashing->block, hashing->used);
	hashing->used = 0;
	return 0;
}

static int hash_bytes(void *arg, const void *bytes, size_t length)
{
	struct hashing *hashing = arg;
	const uint8_t *at = bytes;
	int r = 0;

	if (length > BLOCKMAP_MAX_BYTES - hashing->size)
		return -EFBIG;
	digest_update(hashing->digest, bytes, length);
	hashing->size += length;
	while (r == 0 && length) {
		size_t part = BLOCK_BYTES - hashing->used;

		part = part < length ? part : length;
		memcpy(hashing->block + hashing->used, at, part);
		hashing->used += part;
		at += part;
		length -= part;
		if (hashing->used == BLOCK_BYTES)
			r = end_block(hashing);
	}
	return r;
}

static int make_map(struct hashing *hashing, struct blockmap *ret_map)
{
	int r = hashing->used ? end_block(hashing) : 0;

	if (r == 0)
		r = blockmap_init(ret_map, hashing->size);
	if (r == 0 && hashing->count)
		memcpy(ret_map->hash, hashing->hashes, hashing->count * sizeof(*hashing->hashes));
	return r;
}

static int read_through(struct adoptee *adoptee, struct tier *tier, const char *key,
			const struct tier_source *pace, struct tier_info *ret_info)
{
	cleanup_with(hashing_fini) struct hashing hashing = {
		.digest = digest_new(),
		.block = malloc(BLOCK_BYTES),
	};
	int r;

	if (!hashing.digest || !hashing.block)
		return -ENOMEM;
	r = tier->backend->stream(tier, key, pace, hash_bytes, &hashing, ret_info);
	if (r == 0)
		r = make_map(&hashing, &adoptee->map);
	if (r < 0)
		return r;
	adoptee->size = hashing.size;
	digest_final(hashing.digest, &adoptee->digest);
	if (ret_info->has_digest && !digest_equal(&ret_info->digest, &adoptee->digest))
		return -EBADMSG;
	return 0;
}

/* 1 it is ours, and its content is known; 0 it has to be read. */
static int believe(struct adoptee *adoptee, struct catalog *catalog, struct tier *tier,
		   const char *key, struct tier_info *info)
{
	struct content_row content;
	int r = tier->backend->look(tier, key, info);

	if (r < 0 || !info->has_digest)
		return r;
	r = catalog_find_content(catalog, info->size, &info->digest, &content);
	if (r <= 0)
		return r;
	adoptee->size = content.size;
	adoptee->digest = content.digest;
	adoptee->map = content.map; /* its owner now */
	return 1;
}

/* Some clients keep folders, links and devices as objects. */
static bool is_no_file(const struct tier_info *info)
{
	return (info->mode & S_IFMT) && !S_ISREG(info->mode);
}

int adoptee_learn(struct adoptee *adoptee, struct catalog *catalog, struct tier *tier,
		  const char *key, uint64_t size, const struct tier_source *pace,
		  const char **ret_why)
{
	struct tier_info info = { 0 };
	int r = 0;

	*adoptee = (struct adoptee){ .key = strdup(key) };
	if (!adoptee->key)
		r = -ENOMEM;
	if (r == 0 && size >= LOOK_BYTES)
		r = believe(adoptee, catalog, tier, key, &info);
	if (r == 0 && !is_no_file(&info))
		r = read_through(adoptee, tier, key, pace, &info);
	if (r >= 0 && is_no_file(&info)) {
		*ret_why = "it stands for a folder, a link or a device";
		r = -EINVAL;
	}
	if (r < 0) {
		adoptee_fini(adoptee);
		return r;
	}
	adoptee->mtime_ns = info.mtime_ns;
	adoptee->mode = info.mode;
	return 0;
}
