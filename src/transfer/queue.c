/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

#define PAGE_FILES 256
#define BIT(state) (1u << (state))

/* Small files settle in this part of SETTING_SETTLE: of the 5 s that it has at first, one. */
#define SMALL_SETTLE_SHARE 5

int transfer_enqueue(struct transfer *transfer, struct lane *lane, uint64_t id, uint64_t generation,
		     const char *path, uint64_t size, int64_t due_ns)
{
	struct queue_row row = {
		.id = id,
		.generation = generation,
		.tier = lane->tier.id,
		.size = size,
		.queued_ns = transfer_now_ns(transfer),
		.due_ns = due_ns,
	};
	int r;

	mutex_lock(&transfer->lock);
	if (rules_ignores(transfer->rules, path)) {
		mutex_unlock(&transfer->lock);
		return 0;
	}
	row.class = rules_class(transfer->rules, path);
	mutex_unlock(&transfer->lock);
	r = catalog_enqueue(transfer->catalog, &row, 0);
	return r < 0 ? r : 1;
}

/*
 * When a file of @size that became what it is at @state_ns (by the clock of the machine) has
 * settled. The pause is for programs that patch what they have just closed, and saves sending it
 * twice: what @lane sends in one request is not worth all of it.
 */
static int64_t settled_ns(const struct lane *lane, uint64_t size, int64_t state_ns)
{
	struct transfer *transfer = lane->transfer;
	int64_t now_ns = transfer_now_ns(transfer);
	int64_t settle_ns = transfer->host.setting(transfer->host.arg, SETTING_SETTLE);

	if (size < lane->tier.tier->backend->small_bytes)
		settle_ns /= SMALL_SETTLE_SHARE;
	return (state_ns < now_ns ? state_ns : now_ns) + settle_ns;
}

int transfer_file_verified(struct transfer *transfer, uint64_t id, uint64_t generation,
			   const char *path, uint64_t size)
{
	struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;) {
		int r = transfer_enqueue(transfer, lane, id, generation, path, size,
					 settled_ns(lane, size, INT64_MAX));

		if (r < 0)
			return r;
	}
	transfer_nudge(transfer);
	return 0;
}

/* A page of files, collected first: the catalog is not called back from its own walk. */
struct page {
	struct node_row rows[PAGE_FILES];
	size_t count;
};

static int collect(void *arg, const char *name, const struct node_row *row)
{
	struct page *page = arg;

	(void)name;
	page->rows[page->count++] = *row;
	return page->count == PAGE_FILES;
}

/* 1: there is a good copy of @content in the tier of @lane; NULL: in any of the settings. */
static int has_copy(struct transfer *transfer, uint64_t content, const struct lane *lane)
{
	struct copy_row *copies = NULL;
	size_t count = 0;
	bool found = false;
	int r = catalog_get_copies(transfer->catalog, content, &copies, &count);

	for (size_t i = 0; i < count; i++) {
		found |= !copies[i].bad && (lane ? copies[i].tier == lane->tier.id
						 : lane_of(transfer, copies[i].tier) != NULL);
		copy_row_fini(&copies[i]);
	}
	free(copies);
	return r < 0 ? r : found;
}

/* Called for each file; negative stops. */
typedef int (*requeue_fn)(struct transfer *transfer, void *arg, const struct node_row *row);

static int each_file(struct transfer *transfer, unsigned states, requeue_fn fn, void *arg)
{
	cleanup_free struct page *page = malloc(sizeof(*page));
	uint64_t after = 0;
	int r;

	if (!page)
		return -ENOMEM;
	do {
		page->count = 0;
		r = catalog_each_file(transfer->catalog, states, after, collect, page);
		if (r < 0)
			return r;
		for (size_t i = 0; i < page->count; i++) {
			if (transfer_stopping(transfer))
				return -ECANCELED;
			r = fn(transfer, arg, &page->rows[i]);
			if (r < 0)
				return r;
			after = page->rows[i].id;
		}
	} while (page->count == PAGE_FILES);
	return 0;
}

/* Verified and in no queue: unless a rule keeps it here, it goes into every one. */
static int requeue_verified(struct transfer *transfer, void *arg, const struct node_row *row)
{
	cleanup_free char *path = NULL;
	int r = catalog_path_of(transfer->catalog, row->id, &path);
	struct lane *lane;

	(void)arg;
	if (r <= 0)
		return r;
	for (size_t i = 0; r >= 0 && (lane = lane_next(transfer, &i)) != NULL;)
		r = transfer_enqueue(transfer, lane, row->id, row->generation, path, row->size,
				     settled_ns(lane, row->size, row->state_ns));
	return r;
}

/* On its way when the daemon ended: it goes back, its row of the queue is still there. */
static int requeue_uploading(struct transfer *transfer, void *arg, const struct node_row *row)
{
	(void)arg;
	return catalog_set_state(transfer->catalog, row->id, row->generation, FILE_QUEUED, 0);
}

/* For a tier that never had them all: what has no copy there. */
static int fill_lane(struct transfer *transfer, void *arg, const struct node_row *row)
{
	struct lane *lane = arg;
	cleanup_free char *path = NULL;
	int r;

	if (lane->is_gone)
		return -EAGAIN;
	r = row->content ? has_copy(transfer, row->content, lane) : 1;
	if (r != 0)
		return r < 0 ? r : 0;
	r = catalog_path_of(transfer->catalog, row->id, &path);
	if (r <= 0)
		return r;
	return transfer_enqueue(transfer, lane, row->id, row->generation, path, row->size,
				settled_ns(lane, row->size, row->state_ns));
}

static int fill_new_lanes(struct transfer *transfer)
{
	struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;) {
		cleanup_free char *value = NULL;
		char key[64];
		int r;

		lane_key(lane->tier.id, "filled", key, sizeof(key));
		r = catalog_get_meta(transfer->catalog, key, &value);
		if (r > 0)
			continue;
		/*
		 * Whoever queued a file before the lane was there did so for the others alone, and
		 * that may not be in the catalog yet: it may still say VERIFIED.
		 */
		if (r == 0)
			r = catalog_barrier(transfer->catalog);
		if (r == 0)
			r = each_file(transfer,
				      BIT(FILE_VERIFIED) | BIT(FILE_QUEUED) | BIT(FILE_UPLOADING) |
					      BIT(FILE_STORED) | BIT(FILE_EVICTED) |
					      BIT(FILE_HYDRATING),
				      fill_lane, lane);
		if (r == 0)
			r = catalog_set_meta(transfer->catalog, key, "1");
		/* Who took it out meanwhile may have dropped that before it was set. */
		if (r == 0 && lane->is_gone)
			r = catalog_drop_meta(transfer->catalog, key);
		if (r < 0)
			return r;
	}
	return 0;
}

int transfer_requeue(struct transfer *transfer)
{
	int r;

	r = catalog_barrier(transfer->catalog);
	if (r == 0)
		r = each_file(transfer, BIT(FILE_VERIFIED), requeue_verified, NULL);
	if (r == 0)
		r = fill_new_lanes(transfer);
	return r;
}

/* Rows for tiers that were taken out of the settings. */
struct orphans {
	struct transfer *transfer;
	struct queue_row rows[PAGE_FILES];
	size_t count;
};

static int collect_orphan(void *arg, const struct queue_row *row)
{
	struct orphans *orphans = arg;

	if (!lane_of(orphans->transfer, row->tier))
		orphans->rows[orphans->count++] = *row;
	return orphans->count == PAGE_FILES;
}

/* Verified again when no tier of the settings has it. The look at verified files does the rest. */
static int forget_stored(struct transfer *transfer, void *arg, const struct node_row *row)
{
	int r = has_copy(transfer, row->content, NULL);

	(void)arg;
	if (r != 0)
		return r < 0 ? r : 0;
	return catalog_set_state(transfer->catalog, row->id, row->generation, FILE_VERIFIED, 0);
}

/* The file waits for that tier no more. What it is now, the look at verified files decides. */
static int forget_orphan(struct transfer *transfer, const struct queue_row *row)
{
	struct node_row node;
	int r;

	r = catalog_dequeue(transfer->catalog, row->id, row->generation, row->tier);
	if (r == 0)
		r = catalog_get_node(transfer->catalog, row->id, &node);
	if (r <= 0)
		return r;
	if (node.generation != row->generation ||
	    (node.state != FILE_QUEUED && node.state != FILE_UPLOADING))
		return 0;
	return catalog_set_state(transfer->catalog, row->id, row->generation, FILE_VERIFIED, 0);
}

static int forget_orphans(struct transfer *transfer)
{
	cleanup_free struct orphans *orphans = malloc(sizeof(*orphans));
	int r;

	if (!orphans)
		return -ENOMEM;
	orphans->transfer = transfer;
	do {
		orphans->count = 0;
		r = catalog_each_queued(transfer->catalog, collect_orphan, orphans);
		for (size_t i = 0; r >= 0 && i < orphans->count; i++)
			r = forget_orphan(transfer, &orphans->rows[i]);
		if (r >= 0)
			r = catalog_barrier(transfer->catalog);
	} while (r == 0 && orphans->count == PAGE_FILES);
	return r;
}

int transfer_forget_gone(struct transfer *transfer)
{
	int r = catalog_barrier(transfer->catalog);

	if (r == 0)
		r = each_file(transfer, BIT(FILE_STORED), forget_stored, NULL);
	/* What one of them is still sending, it puts back into the queue when it ends. */
	for (size_t i = 0; r == 0 && i < transfer->lane_count; i++)
		if (transfer->lanes[i]->is_gone && senders_work(transfer->lanes[i]))
			r = -EAGAIN;
	if (r == 0)
		r = forget_orphans(transfer);
	return r == 0 ? transfer_left_done(transfer) : r;
}

int transfer_hasten(struct transfer *transfer, enum hasten_flags flags)
{
	int64_t now_ns = transfer_now_ns(transfer);
	int64_t settle_ns = transfer->host.setting(transfer->host.arg, SETTING_SETTLE);

	/* An upper bound: what is small was due earlier already. */
	return catalog_queue_hasten(transfer->catalog, now_ns, now_ns + settle_ns, flags);
}

int transfer_resume(struct transfer *transfer)
{
	int r = catalog_barrier(transfer->catalog);

	if (r == 0)
		r = each_file(transfer, BIT(FILE_UPLOADING), requeue_uploading, NULL);
	return r == 0 ? forget_orphans(transfer) : r;
}
