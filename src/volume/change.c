/* SPDX-License-Identifier: Apache-2.0 */

/* Generations: how one begins, and how one ends in damage (volume/live.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"
#include "volume/hydrate.h"
#include "volume/node.h"

/* Writers that wait for blocks of evicted files at one time; any more are told -EBUSY. */
#define FETCHERS_MAX 16

/* What a change of the bytes resumes from, when none is being received. NULL without memory. */
static struct receipt *resumed_receipt(struct live *live, uint64_t size)
{
	if (live->has_map && live->map.size == size)
		return receipt_resume(&live->map);
	return receipt_unknown(size);
}

/* True when the catalog may have a block map of the bytes that should be in the file. */
static bool wants_map_locked(const struct live *live)
{
	if (live->has_map || live->no_map)
		return false;
	if (live->state == FILE_DAMAGED)
		return true;
	return !live->receipt && live->is_level &&
	       (file_state_is_verified(live->state) || live->state == FILE_RECEIVED);
}

/* Consumes @receipt. */
static void start_locked(struct live *live, struct receipt *receipt)
{
	if (receipt != live->receipt) {
		receipt_free(live->receipt);
		live->receipt = receipt;
	}
	live->generation++;
	live->state = FILE_RECEIVING;
	live->error = 0;
	live->is_level = true; /* from now on we see every change */
	blockmap_fini(&live->map);
	memset(&live->map, 0, sizeof(live->map));
	live->has_map = false;
	live->no_map = false;
	live->beginning = false;
	live->changes++;
	cond_broadcast(&live->changed);
}

int live_begin_locked(struct live *live, int fd)
{
	bool was_verified = file_state_is_verified(live->state);
	struct receipt *receipt = live->receipt;
	struct stat st;
	int r;

	mutex_assert_held(&live->lock);
	if (live->beginning)
		return -EAGAIN;
	if (live->state == FILE_RECEIVING && receipt) {
		live->changes++;
		return 0;
	}
	if (live->state == FILE_DAMAGED)
		return -EIO;
	if (live->has_residency && residency_full(&live->residency)) {
		r = residency_remove(fd);
		if (r < 0)
			return r;
		live->has_residency = false;
	}
	if (live->has_residency || wants_map_locked(live))
		return -EAGAIN;
	if (!receipt) {
		if (fstat(fd, &st) < 0)
			return -errno;
		receipt = resumed_receipt(live, (uint64_t)st.st_size);
		if (!receipt)
			return -ENOMEM;
	}
	r = catalog_begin_generation(live->volume->catalog, live->id, live->generation + 1);
	if (r < 0) {
		if (receipt != live->receipt)
			receipt_free(receipt);
		return r;
	}
	start_locked(live, receipt);
	/*
	 * The disk may get the bytes long before the times: after a power cut it would hold some
	 * of them, under a row that says that they were verified.
	 */
	live->beginning = was_verified;
	return was_verified ? -EAGAIN : 0;
}

static int cut_locked(struct live *live, int fd)
{
	struct receipt *receipt = receipt_new();
	int r;

	if (!receipt)
		return -ENOMEM;
	if (ftruncate(fd, 0) < 0) {
		r = -errno;
		receipt_free(receipt);
		return r;
	}
	start_locked(live, receipt);
	r = catalog_begin_generation(live->volume->catalog, live->id, live->generation);
	if (live->has_residency) {
		/* The xattr goes last: while there are holes nobody may take them for zeros. */
		int removed = residency_remove(fd);

		live->has_residency = false;
		if (r == 0)
			r = removed;
	}
	return r;
}

int live_cut_locked(struct live *live, int fd)
{
	int r = catalog_error(live->volume->catalog);

	mutex_assert_held(&live->lock);
	if (r == 0)
		r = catalog_reserve();
	if (r < 0)
		return r;
	r = cut_locked(live, fd);
	catalog_unreserve();
	return r;
}

/* Preparing ----------------------------------------------------------------------------- */

static int map_of_content(struct catalog *catalog, uint64_t content, struct blockmap *ret_map)
{
	struct content_row row;
	int r = catalog_get_content(catalog, content, &row);

	if (r <= 0)
		return r;
	*ret_map = row.map; /* ours now; nothing else in the row is owned */
	return 1;
}

/* 1 loaded into @ret_map, 0 there is none. */
static int load_map(struct live *live, uint64_t generation, struct blockmap *ret_map)
{
	struct catalog *catalog = live->volume->catalog;
	struct node_row node;
	struct digest digest;
	bool has_digest;
	int r;

	r = catalog_barrier(catalog);
	if (r == 0)
		r = catalog_get_node(catalog, live->id, &node);
	if (r <= 0)
		return r;
	if (node.generation != generation)
		return 0;
	if (node.content)
		return map_of_content(catalog, node.content, ret_map);
	return catalog_get_received(catalog, live->id, generation, ret_map, &digest, &has_digest);
}

int live_load_map(struct live *live)
{
	struct blockmap map;
	uint64_t generation;
	bool wanted;
	int r;

	mutex_lock(&live->lock);
	wanted = wants_map_locked(live);
	generation = live->generation;
	mutex_unlock(&live->lock);
	if (!wanted)
		return 0;

	r = load_map(live, generation, &map);
	if (r < 0)
		return r;
	scoped_lock(&live->lock);
	if (live->generation != generation || !wants_map_locked(live)) {
		if (r > 0)
			blockmap_fini(&map);
		return 0;
	}
	if (r > 0) {
		live->map = map;
		live->has_map = true;
	} else {
		live->no_map = true;
	}
	return 0;
}

/* A writer's request holds its thread meanwhile: some must be left for all others. */
static int fetch_all(struct live *live)
{
	static _Atomic unsigned waiting;
	int r = -EBUSY;

	if (atomic_fetch_add(&waiting, 1) < FETCHERS_MAX)
		r = hydrate_wait(live, 0, live->residency.size);
	atomic_fetch_sub(&waiting, 1);
	return r;
}

/* Once for each generation that ends a verified one. */
static int make_durable(struct live *live, uint64_t generation)
{
	int r = catalog_flush(live->volume->catalog);

	if (r < 0)
		return r;
	scoped_lock(&live->lock);
	if (live->generation == generation)
		live->beginning = false;
	return 0;
}

int live_prepare(struct live *live)
{
	uint64_t generation;
	bool absent, beginning;
	int r;

	mutex_lock(&live->lock);
	absent = !live_is_whole(live);
	beginning = live->beginning;
	generation = live->generation;
	mutex_unlock(&live->lock);
	if (beginning)
		return make_durable(live, generation);
	if (absent) {
		r = fetch_all(live);
		if (r < 0)
			return r;
	}
	return live_load_map(live);
}

int live_lock_for_change(struct live *live, int fd, enum change_order order)
{
	int r;

	for (;;) {
		mutex_lock(&live->lock);
		while (live->moving || (live->behind > 0 && order == CHANGE_AFTER_WRITES))
			cond_wait(&live->changed, &live->lock);
		r = live_begin_locked(live, fd);
		if (r == 0)
			return 0;
		mutex_unlock(&live->lock);
		if (r != -EAGAIN)
			return r;
		r = live_prepare(live);
		if (r < 0)
			return r;
	}
}

/* Damage -------------------------------------------------------------------------------- */

void live_note_error_locked(struct live *live, int error)
{
	mutex_assert_held(&live->lock);
	live->error = error;
	live->error_count++;
}

void live_refused(struct live *live, int error)
{
	struct volume *volume = live->volume;
	cleanup_free char *path = NULL;
	bool is_news;

	mutex_lock(&live->lock);
	is_news = live->error == 0 && !live->unlinked;
	live_note_error_locked(live, error);
	mutex_unlock(&live->lock);
	if (!is_news)
		return;
	path = volume_path_of(volume, live->id);
	log_warning_errno(error, "a write to %s was refused, so it is not complete",
			  path ? path : "?");
	volume_event(volume, "daemon", "write refused", path ? path : "?", NULL, error_text(error));
}

void live_damage(struct live *live, uint64_t generation, int error, const char *detail)
{
	struct volume *volume = live->volume;
	cleanup_free char *path = NULL;
	bool unlinked;

	mutex_lock(&live->lock);
	if (live->generation != generation || live->state == FILE_DAMAGED) {
		mutex_unlock(&live->lock);
		return;
	}
	live->state = FILE_DAMAGED;
	live->changes++;
	live_note_error_locked(live, error);
	unlinked = live->unlinked;
	if (!unlinked)
		(void)catalog_set_damaged(volume->catalog, live->id, generation, error, 0);
	cond_broadcast(&live->changed);
	mutex_unlock(&live->lock);
	if (unlinked)
		return;

	path = volume_path_of(volume, live->id);
	log_error("%s is damaged: %s", path ? path : "?", detail);
	volume_event(volume, "daemon", "damaged", path ? path : "?", NULL, detail);
	(void)catalog_barrier(volume->catalog); /* whoever hears of it finds it so */
	volume_notify_inode(volume, live->id);
}

void live_lose(struct live *live, uint64_t generation, int error)
{
	char detail[160];

	(void)snprintf(detail, sizeof(detail),
		       "bytes of it could not be written (%s), write it again", error_text(error));
	live_damage(live, generation, error, detail);
}
