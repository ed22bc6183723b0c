/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "hash/readback.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/keeper.h"
#include "volume/live.h"
#include "volume/tree.h"

#define DETAIL_BYTES 700
#define DETAIL_BLOCKS 8

struct scrub {
	struct volume *volume;
	struct live *live; /* owned, one ref */
	int fd;            /* owned */
	uint64_t generation, changes, content_id;
	struct content_row content;
	struct readback readback;
	uint8_t *resident; /* owned, bitmap of blocks; NULL: all */
	int (*pace)(void *arg, uint64_t bytes);
	void *arg;
};

static void scrub_fini(struct scrub *scrub)
{
	live_put(scrub->live);
	if (scrub->fd >= 0)
		(void)close(scrub->fd);
	content_row_fini(&scrub->content);
	blockmap_fini(&scrub->readback.map);
	free(scrub->resident);
}

static bool was_changed(struct scrub *scrub)
{
	scoped_lock(&scrub->live->lock);
	return scrub->live->changes != scrub->changes ||
	       scrub->live->generation != scrub->generation;
}

static int keep_pace(void *arg, uint64_t bytes)
{
	struct scrub *scrub = arg;
	int r;

	/* Whoever writes to this very file waits for nothing, least of all for others who write. */
	do
		r = was_changed(scrub) ? 1 : scrub->pace(scrub->arg, bytes);
	while (r == -EAGAIN);
	return r;
}

/* Which blocks are here now; they stay while `verifying` is set, for nothing evicts then. */
static int copy_residency_locked(struct scrub *scrub)
{
	const struct residency *residency = &scrub->live->residency;
	uint64_t count = blockmap_count(residency->size);

	if (!scrub->live->has_residency)
		return 0;
	scrub->resident = calloc(1, count / 8 + 1);
	if (!scrub->resident)
		return -ENOMEM;
	for (uint64_t block = 0; block < count; block++)
		if (residency_has(residency, block))
			scrub->resident[block / 8] |= (uint8_t)(1u << (block % 8));
	return 0;
}

/* 1 claimed, 0 nothing to check now. */
static int claim(struct scrub *scrub)
{
	struct live *live = scrub->live;
	int r;

	scoped_lock(&live->lock);
	if (!file_state_is_verified(live->state) || live->unlinked)
		return 0;
	if (live->verifying || live->moving)
		return -EBUSY;
	r = copy_residency_locked(scrub);
	if (r < 0)
		return r;
	scrub->generation = live->generation;
	scrub->changes = live->changes;
	live->verifying = true;
	return 1;
}

static void release(struct live *live)
{
	scoped_lock(&live->lock);
	live->verifying = false;
	cond_broadcast(&live->changed);
}

/* What the catalog says of it now. -ESTALE: not of these bytes. */
static int find_content(struct scrub *scrub)
{
	struct catalog *catalog = scrub->volume->catalog;
	struct node_row node;
	struct stat st;
	int r;

	r = catalog_get_node(catalog, scrub->live->id, &node);
	if (r < 0)
		return r;
	if (r == 0 || node.generation != scrub->generation || !node.content)
		return -ESTALE;
	/* Somebody wrote to it while nothing was mounted: the leveller will have it received again.
	 * Bytes that differ under an old mtime are another thing. */
	if (fstat(scrub->fd, &st) < 0)
		return -errno;
	if (node.mtime_ns != timespec_ns(st.st_mtim))
		return -ESTALE;
	r = catalog_get_content(catalog, node.content, &scrub->content);
	return r == 0 ? -EUCLEAN : r < 0 ? r : 0;
}

/* A generation has one content for ever: only what is not found yet may still be queued. */
static int load_content(struct scrub *scrub)
{
	int r = find_content(scrub);

	if (r == -ESTALE) {
		r = catalog_barrier(scrub->volume->catalog);
		if (r == 0)
			r = find_content(scrub);
	}
	return r;
}

static bool is_resident(const struct scrub *scrub, uint64_t block)
{
	return !scrub->resident || (scrub->resident[block / 8] >> (block % 8) & 1);
}

/* How many blocks differ, told in @detail. */
static uint64_t compare(const struct scrub *scrub, char *detail, size_t size)
{
	const struct blockmap *want = &scrub->content.map, *got = &scrub->readback.map;
	uint64_t count = 0;
	size_t used = (size_t)snprintf(detail, size, "found by the scrub:");

	for (uint64_t block = 0; block < blockmap_count(want->size); block++) {
		if (!is_resident(scrub, block) || want->hash[block] == got->hash[block])
			continue;
		if (count++ < DETAIL_BLOCKS && used < size)
			used += (size_t)snprintf(
				detail + used, size - used,
				" block at %" PRIu64 " was %016" PRIx64 " is %016" PRIx64 ";",
				block * BLOCK_BYTES, want->hash[block], got->hash[block]);
	}
	if (used < size)
		(void)snprintf(detail + used, size - used, " %" PRIu64 " blocks differ", count);
	return count;
}

static int judge(struct scrub *scrub, int r)
{
	char detail[DETAIL_BYTES];

	if (was_changed(scrub))
		return -ESTALE;
	if (r == -EIO) {
		(void)snprintf(detail, sizeof(detail), "found by the scrub: %s", error_text(r));
	} else if (r == -ESTALE ||
		   (r == 0 && scrub->readback.map.size != scrub->content.map.size)) {
		(void)snprintf(detail, sizeof(detail),
			       "found by the scrub: its size was changed behind our back");
		r = -EBADMSG;
	} else if (r < 0) {
		return r;
	} else {
		if (scrub->readback.source == READBACK_CACHED)
			return 0; /* nothing is proven, nothing is wrong */
		if (compare(scrub, detail, sizeof(detail)) == 0)
			return 0;
		r = -EBADMSG;
	}
	live_damage(scrub->live, scrub->generation, r, detail);
	return r;
}

static int open_to_read(struct volume *volume, uint64_t id)
{
	int fd = tree_open(volume, id, O_RDONLY | O_NOATIME);

	return fd == -EPERM ? tree_open(volume, id, O_RDONLY) : fd;
}

int scrub_file(struct volume *volume, uint64_t id, int (*pace)(void *arg, uint64_t bytes),
	       void *arg)
{
	cleanup_with(scrub_fini) struct scrub scrub = {
		.volume = volume, .fd = -1, .pace = pace, .arg = arg
	};
	int r;

	scrub.fd = open_to_read(volume, id);
	if (scrub.fd < 0)
		return scrub.fd;
	r = live_get(volume, id, scrub.fd, &scrub.live);
	if (r < 0)
		return r;
	r = claim(&scrub);
	if (r <= 0)
		return r;
	r = load_content(&scrub);
	if (r == 0) {
		scrub.readback.resident = scrub.resident;
		scrub.readback.pace = keep_pace;
		scrub.readback.is_look = true;
		scrub.readback.arg = &scrub;
		r = judge(&scrub, readback_file(scrub.fd, &scrub.readback));
	}
	release(scrub.live);
	if (r == 0)
		r = catalog_set_checked(volume->catalog, id, scrub.generation, realtime_ns());
	return r;
}
