/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/live.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/table.h"
#include "volume/tree.h"

struct lives {
	struct volume *volume; /* borrowed, outlives us */

	struct mutex lock;  /* rank 20; guards the rest */
	struct cond loaded; /* an object has been made, or could not be */
	struct table table; /* id -> struct live */
	uint64_t dropped;   /* objects so far; their last steps are queued before */
};

struct lives *lives_new(struct volume *volume)
{
	struct lives *lives = calloc(1, sizeof(*lives));

	if (!lives)
		return NULL;
	lives->volume = volume;
	mutex_init(&lives->lock, 20);
	cond_init(&lives->loaded);
	table_init(&lives->table);
	return lives;
}

void lives_free(struct lives *lives)
{
	if (!lives)
		return;
	assert(lives->table.used == 0);
	table_fini(&lives->table);
	cond_fini(&lives->loaded);
	mutex_fini(&lives->lock);
	free(lives);
}

static struct live *live_new(struct volume *volume, uint64_t id)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return NULL;
	live->volume = volume;
	live->id = id;
	live->refs = 1;
	mutex_init(&live->lock, 30);
	cond_init(&live->changed);
	return live;
}

static void live_free(struct live *live)
{
	receipt_free(live->receipt);
	blockmap_fini(&live->map);
	cond_fini(&live->changed);
	mutex_fini(&live->lock);
	free(live);
}

uint64_t live_new_generation(void)
{
	static _Atomic uint64_t last;
	uint64_t seen = atomic_load(&last), next;

	do {
		next = (uint64_t)realtime_ns() >> 10; /* about a microsecond: fits a double */
		if (next <= seen)
			next = seen + 1;
	} while (!atomic_compare_exchange_weak(&last, &seen, next));
	return next;
}

/* Making one ---------------------------------------------------------------------------- */

/*
 * The catalog cannot tell (it failed, or has no such row yet): the bytes are here as far as
 * the xattr says, and nothing is known about them. Reading must go on without a catalog.
 */
static void load_unknown(struct live *live)
{
	live->generation = live_new_generation();
	live->state = FILE_RECEIVING;
}

static void load_row(struct live *live, const struct node_row *row, const struct stat *st)
{
	live->generation = row->generation;
	live->state = row->state;
	live->error = row->error;
	if (row->size != (uint64_t)st->st_size || row->mtime_ns != timespec_ns(st->st_mtim))
		live->is_level = false;
	else if (row->ctime_ns == timespec_ns(st->st_ctim))
		live->is_level = true;
}

/* A file in the tree that the catalog does not know: its names are the leveller's to find. */
static int put_missing_row(struct live *live, const struct stat *st)
{
	struct node_row row = {
		.id = live->id,
		.mode = st->st_mode,
		.size = (uint64_t)st->st_size,
		.mtime_ns = timespec_ns(st->st_mtim),
		.ctime_ns = timespec_ns(st->st_ctim),
		.generation = live->generation,
		.state = live->state,
		.state_ns = realtime_ns(),
		.resident_bytes = (uint64_t)st->st_size,
	};

	/* One whose last name went, and that is opened through what still holds it, has no row. */
	if (st->st_nlink == 0)
		live->unlinked = true;
	if (live->unlinked || live->volume->flags & VOLUME_READ_ONLY)
		return 0;
	return catalog_put_node(live->volume->catalog, &row);
}

static int load_residency(struct live *live, int fd, const struct stat *st)
{
	int r = residency_read(fd, &live->residency);

	if (r <= 0)
		return r;
	if (live->residency.size != (uint64_t)st->st_size) {
		/* Cut to nothing, and no time to take the xattr away: no hole is left. */
		if (st->st_size != 0)
			return -EUCLEAN;
		return residency_remove(fd);
	}
	live->has_residency = true;
	return 0;
}

static uint64_t count_dropped(struct lives *lives)
{
	scoped_lock(&lives->lock);
	return lives->dropped;
}

/* Wait for what is queued, unless @look (or NULL) knows that it was seen already. */
static int settle(struct live *live, struct live_look *look)
{
	uint64_t dropped = count_dropped(live->volume->lives);
	int r;

	if (look && look->settled && look->dropped == dropped)
		return 0;
	r = catalog_barrier(live->volume->catalog);
	if (look)
		*look = (struct live_look){ .settled = r == 0, .dropped = dropped };
	return r;
}

/* By the catalog's row: what was queued for it must be readable first. 1 found, 0 not. */
static int find_row(struct live *live, const struct stat *st, struct live_look *look)
{
	bool again = look && look->settled;
	struct node_row row;
	int r = settle(live, look);

	if (r == 0)
		r = catalog_get_node(live->volume->catalog, live->id, &row);
	if (r == 1 && S_ISREG(row.mode))
		load_row(live, &row, st);
	else if (r >= 0)
		r = 0;
	if (r >= 0 && again && !live->is_level) {
		look->settled =
			false; /* its attributes may be queued by somebody without an object */
		return find_row(live, st, look);
	}
	return r;
}

/*
 * Whoever hydrates has a live object: without one a row that says so is old (the end of it found no
 * memory, or was killed).
 */
static void end_hydrating(struct live *live)
{
	if (live->state != FILE_HYDRATING)
		return;
	live->state = live_is_whole(live) ? FILE_STORED : FILE_EVICTED;
	(void)catalog_set_state(live->volume->catalog, live->id, live->generation, live->state, 0);
}

static int load(struct live *live, int fd, struct live_look *look)
{
	cleanup_close int opened = -1;
	struct stat st;
	int r;

	if (fd < 0) {
		opened = tree_open(live->volume, live->id, O_RDONLY | O_NOATIME);
		if (opened == -EPERM)
			opened = tree_open(live->volume, live->id, O_RDONLY);
		if (opened < 0)
			return opened;
		fd = opened;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	r = load_residency(live, fd, &st);
	if (r < 0)
		return r;

	r = find_row(live, &st, look);
	if (r == 1) {
		end_hydrating(live);
		return 0;
	}
	load_unknown(live);
	if (r >= 0)
		(void)put_missing_row(live, &st); /* the catalog's error sticks: told elsewhere */
	return 0;
}

static void drop_failed(struct lives *lives, struct live *live)
{
	mutex_lock(&lives->lock);
	(void)table_remove(&lives->table, live->id);
	cond_broadcast(&lives->loaded);
	mutex_unlock(&lives->lock);
	live_free(live);
}

static void mark_loaded(struct lives *lives, struct live *live)
{
	scoped_lock(&lives->lock);
	live->loading = false;
	cond_broadcast(&lives->loaded);
}

/* 1: *ret_live is there and counted. 0: a new one was put, to be filled in by the caller. */
static int find_or_put(struct lives *lives, uint64_t id, struct live **ret_live)
{
	struct live *live;
	int r;

	scoped_lock(&lives->lock);
	while ((live = table_get(&lives->table, id)) && live->loading)
		cond_wait(&lives->loaded, &lives->lock);
	if (live) {
		live->refs++;
		*ret_live = live;
		return 1;
	}
	live = live_new(lives->volume, id);
	if (!live)
		return -ENOMEM;
	r = table_put(&lives->table, id, live);
	if (r < 0) {
		live_free(live);
		return r;
	}
	live->loading = true;
	*ret_live = live;
	return 0;
}

int live_get_in_turn(struct volume *volume, uint64_t id, int fd, struct live_look *look,
		     struct live **ret_live)
{
	struct live *live;
	int r = find_or_put(volume->lives, id, &live);

	if (r < 0)
		return r;
	if (r == 0) {
		r = load(live, fd, look);
		if (r < 0) {
			drop_failed(volume->lives, live);
			return r;
		}
		mark_loaded(volume->lives, live);
	}
	*ret_live = live;
	return 0;
}

int live_get(struct volume *volume, uint64_t id, int fd, struct live **ret_live)
{
	return live_get_in_turn(volume, id, fd, NULL, ret_live);
}

/*
 * An object of that number that is still there is about an inode that is gone (the verifier
 * had not noticed yet): it leaves the table, its last user frees it.
 */
int live_create(struct volume *volume, uint64_t id, struct live **ret_live)
{
	struct lives *lives = volume->lives;
	struct live *live = live_new(volume, id), *old;
	int r;

	if (!live)
		return -ENOMEM;
	live->generation = live_new_generation();
	live->state = FILE_RECEIVING;
	live->is_level = true;
	live->receipt = receipt_new();
	if (!live->receipt) {
		live_free(live);
		return -ENOMEM;
	}
	scoped_lock(&lives->lock);
	while ((old = table_get(&lives->table, id)) && old->loading)
		cond_wait(&lives->loaded, &lives->lock);
	r = table_put(&lives->table, id, live);
	if (r < 0) {
		live_free(live);
		return r;
	}
	*ret_live = live;
	return 0;
}

struct live *live_peek(struct volume *volume, uint64_t id)
{
	struct lives *lives = volume->lives;
	struct live *live;

	scoped_lock(&lives->lock);
	while ((live = table_get(&lives->table, id)) && live->loading)
		cond_wait(&lives->loaded, &lives->lock);
	if (live)
		live->refs++;
	return live;
}

void live_put(struct live *live)
{
	struct lives *lives;

	if (!live)
		return;
	lives = live->volume->lives;
	mutex_lock(&lives->lock);
	assert(live->refs > 0);
	if (--live->refs > 0) {
		mutex_unlock(&lives->lock);
		return;
	}
	if (table_get(&lives->table, live->id) == live)
		(void)table_remove(&lives->table, live->id);
	lives->dropped++;
	mutex_unlock(&lives->lock);
	live_free(live);
}

void live_follow(struct volume *volume, uint64_t id, uint64_t generation, enum file_state state)
{
	cleanup_with(live_put_slot) struct live *live = live_peek(volume, id);

	if (!live)
		return;
	scoped_lock(&live->lock);
	if (live->generation != generation || live->state == FILE_RECEIVING)
		return;
	live->state = state;
	cond_broadcast(&live->changed);
}

void live_drain_locked(struct live *live)
{
	mutex_assert_held(&live->lock);
	while (live->behind > 0)
		cond_wait(&live->changed, &live->lock);
}

void live_drain(struct live *live)
{
	scoped_lock(&live->lock);
	live_drain_locked(live);
}

bool live_drain_id(struct volume *volume, uint64_t id)
{
	cleanup_with(live_put_slot) struct live *live = live_peek(volume, id);

	if (live)
		live_drain(live);
	return live != NULL;
}
