/* SPDX-License-Identifier: Apache-2.0 */
/* The lanes as a whole: which tiers there are, and how one comes and goes while others work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"

/* Meta: tiers.id of those that the settings had when they were looked at last, " 1 2". */
#define META_TIERS "tiers.known"
/* Meta: one of them has left, and what that means for files is not done yet. */
#define META_LEFT "tiers.left"
#define KNOWN_SIZE (SETTINGS_TIERS_MAX * 12)

void lane_key(uint32_t tier, const char *what, char *key, size_t size)
{
	(void)snprintf(key, size, "tier.%" PRIu32 ".%s", tier, what);
}

/* Which there are ------------------------------------------------------------------------ */

struct lane *lane_next(const struct transfer *transfer, size_t *at)
{
	while (*at < transfer->lane_count) {
		struct lane *lane = transfer->lanes[(*at)++];

		if (!lane->is_gone)
			return lane;
	}
	return NULL;
}

struct lane *lane_of(struct transfer *transfer, uint32_t tier)
{
	struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		if (lane->tier.id == tier)
			return lane;
	return NULL;
}

const struct transfer_tier *transfer_tier(const struct transfer *transfer, size_t index)
{
	const struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		if (index-- == 0)
			return &lane->tier;
	return NULL;
}

static struct lane *find_lane(const struct transfer *transfer, const char *name)
{
	struct lane *lane;

	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL;)
		if (strcmp(lane->tier.tier->name, name) == 0)
			return lane;
	return NULL;
}

/* Threads -------------------------------------------------------------------------------- */

bool lane_stopping(const struct lane *lane)
{
	return lane->is_gone || transfer_stopping(lane->transfer);
}

/* Sleep until @until_ns (transfer_now_ns()) or until something happened that the lane has not seen.
 */
static void wait_until(struct lane *lane, int64_t until_ns)
{
	struct transfer *transfer = lane->transfer;
	int64_t wait = until_ns - transfer_now_ns(transfer);

	if (wait <= 0)
		return;
	scoped_lock(&transfer->lock);
	if (lane_is_first(lane) && wait > transfer->requeue_ns - monotonic_ns())
		wait = transfer->requeue_ns - monotonic_ns();
	if (!transfer->stopping && !lane->is_gone && transfer->wakes == lane->seen &&
	    !senders_have_news_locked(lane))
		(void)cond_wait_until(&transfer->changed, &transfer->lock, monotonic_ns() + wait);
}

static void *lane_body(void *arg)
{
	struct lane *lane = arg;
	int64_t until_ns;

	while (!lane_stopping(lane))
		if (lane_step(lane, &until_ns) == LANE_SLEEP)
			wait_until(lane, until_ns);
	return NULL;
}

int lane_start(struct lane *lane)
{
	int r = senders_start(lane);

	return r == 0 ? thread_start(&lane->thread, "upload", lane_body, lane) : r;
}

/* Life ----------------------------------------------------------------------------------- */

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	thread_join(&lane->thread);
	senders_fini(lane);
	tier_close(lane->tier.tier);
	free(lane);
}

static int fill_in(struct lane *lane, const char *name, const char *url)
{
	struct transfer *transfer = lane->transfer;
	int r = tier_open(name, url, &lane->tier.tier);

	if (r < 0) {
		log_error_errno(r, "tier %s: cannot use its address", name);
		return r;
	}
	tier_set_owner(lane->tier.tier, transfer->store->site_uuid);
	lane->is_remote = true; /* until it was seen */
	lane->uplink = transfer->host.uplink(transfer->host.arg, name);
	r = catalog_put_tier(transfer->catalog, name, url, &lane->tier.id);
	if (r == 0)
		r = lane_expect(lane);
	if (r < 0)
		log_error_errno(r, "tier %s: cannot be put into the catalog", name);
	return r;
}

int lane_open(struct transfer *transfer, const char *name, const char *url, struct lane **ret_lane)
{
	struct lane *lane = calloc(1, sizeof(*lane));
	int r;

	if (!lane)
		return -ENOMEM;
	lane->transfer = transfer;
	senders_init(lane);
	r = fill_in(lane, name, url);
	if (r < 0) {
		lane_free(lane);
		return r;
	}
	*ret_lane = lane;
	return 0;
}

/* Coming and going ----------------------------------------------------------------------- */

static int note_left(struct transfer *transfer)
{
	mutex_lock(&transfer->lock);
	transfer->one_left = true;
	mutex_unlock(&transfer->lock);
	return catalog_set_meta(transfer->catalog, META_LEFT, "1");
}

int transfer_left_done(struct transfer *transfer)
{
	int r = catalog_drop_meta(transfer->catalog, META_LEFT);
	bool again;

	mutex_lock(&transfer->lock);
	again = transfer->one_left;
	mutex_unlock(&transfer->lock);
	/* Another one has left meanwhile, and may have noted it before it was dropped here. */
	return r == 0 && again ? note_left(transfer) : r;
}

/* @tier has left the settings: should it come back, it lacks what came meanwhile. */
static int note_gone(struct transfer *transfer, uint32_t tier)
{
	char key[64];
	int r = note_left(transfer);

	lane_key(tier, "filled", key, sizeof(key));
	return r < 0 ? r : catalog_drop_meta(transfer->catalog, key);
}

int transfer_note_tiers(struct transfer *transfer)
{
	cleanup_free char *before = NULL, *left = NULL;
	char now[KNOWN_SIZE] = "";
	size_t length = 0;
	struct lane *lane;
	int r = catalog_get_meta(transfer->catalog, META_LEFT, &left);

	if (r > 0) /* of before a kill */
		r = note_left(transfer);
	if (r >= 0)
		r = catalog_get_meta(transfer->catalog, META_TIERS, &before);
	for (const char *at = before; r > 0 && at && *at;) {
		char *end;
		unsigned long tier = strtoul(at, &end, 10);
		int error = 0;

		if (end == at)
			break;
		if (tier <= UINT32_MAX && !lane_of(transfer, (uint32_t)tier))
			error = note_gone(transfer, (uint32_t)tier);
		if (error < 0)
			return error;
		at = end;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; (lane = lane_next(transfer, &i)) != NULL && length < sizeof(now);)
		length += (size_t)snprintf(now + length, sizeof(now) - length, " %" PRIu32,
					   lane->tier.id);
	if (before && strcmp(before, now) == 0)
		return 0;
	return catalog_set_meta(transfer->catalog, META_TIERS, now);
}

/* Its threads are to end, nobody finds it any more. */
static void end_lane(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;

	mutex_lock(&transfer->lock);
	lane->is_gone = true;
	senders_stop_locked(lane);
	transfer->wakes++;
	cond_broadcast(&transfer->changed);
	mutex_unlock(&transfer->lock);
	tier_stop(lane->tier.tier);
}

static int publish(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;

	scoped_lock(&transfer->lock);
	if (transfer->stopping)
		return -ECANCELED;
	if (transfer->lane_count == LANES_MAX)
		return -EMFILE;
	transfer->lanes[transfer->lane_count] = lane;
	transfer->lane_count++;
	return 0;
}

int transfer_add_tier(struct transfer *transfer, const char *name, const char *url)
{
	struct lane *lane;
	int r = lane_open(transfer, name, url, &lane);

	if (r < 0)
		return r;
	r = lane_start(lane);
	if (r == 0)
		r = publish(lane);
	if (r < 0) {
		end_lane(lane);
		lane_free(lane);
		return r;
	}
	r = transfer_note_tiers(transfer);
	if (r < 0)
		end_lane(lane);
	return r;
}

int transfer_drop_tier(struct transfer *transfer, const char *name)
{
	struct lane *lane = find_lane(transfer, name);

	if (!lane)
		return -ENOENT;
	end_lane(lane);
	return transfer_note_tiers(transfer);
}

const struct transfer_tier *transfer_find_tier(const struct transfer *transfer, const char *name)
{
	const struct lane *lane = find_lane(transfer, name);

	return lane ? &lane->tier : NULL;
}

void transfer_tier_leaves(struct transfer *transfer, const char *name, bool leaves)
{
	struct lane *lane = find_lane(transfer, name);

	if (lane)
		lane->is_leaving = leaves;
}
