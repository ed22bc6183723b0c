/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/disk.h"
#include "util/error.h"
#include "util/log.h"

/* The first pause after the tier failed; doubled each time, up to retry_max. */
#define BACK_OFF_NS NS_PER_SEC

/* Rows looked at: one that fits a tier that is nearly full may go, or beside what is on its way. */
#define PICK_ROWS 32

/* What a directory needs beside the bytes of a file. */
#define SPACE_MARGIN (1u << 20)

/* Files that were left out are looked at again this often: a rename may have made them media. */
#define REQUEUE_NS (30 * NS_PER_SEC)

/* How long to do nothing when nobody knows better: a wake ends it. */
#define IDLE_NS (3600 * NS_PER_SEC)

/* While something is on its way: rows may have become due. Its end ends the wait. */
#define BUSY_NS (1 * NS_PER_SEC)

/* While the catalog cannot be written (nothing that is sent could be recorded) or read. */
#define CATALOG_NS (1 * NS_PER_SEC)

/* While bytes arrive on its disk a lane waits this long at most with each piece (a block). */
#define ASIDE_MOST_NS (1 * NS_PER_SEC)
#define ASIDE_LOOK_NS (50 * NS_PER_MS)

bool error_is_of_tier(int error)
{
	switch (-error) {
	case EHOSTDOWN:
	case ENOSPC:
	case EDQUOT:
	case EROFS:
	case EMEDIUMTYPE:
		return true;
	default:
		return false;
	}
}

int lane_judge(struct lane *lane, int error)
{
	struct tier *tier = lane->tier.tier;
	int r;

	if (error == 0 || error == -EEXIST || error == -ECANCELED || error_is_of_tier(error))
		return error;
	/* A place that went away in the middle fails in many ways. */
	r = tier->backend->probe(tier);
	return r < 0 ? r : error;
}

static const char *condition_text(int error)
{
	switch (-error) {
	case EHOSTDOWN:
		return "cannot be reached";
	case ENOSPC:
	case EDQUOT:
		return "is full";
	case EROFS:
		return "is read-only";
	case EMEDIUMTYPE:
		return "belongs to another volume";
	default:
		return error_text(error);
	}
}

/* A quarter up or down, so that many sites do not come back at one moment. */
static int64_t with_jitter(int64_t ns)
{
	uint64_t noise = (uint64_t)monotonic_ns() * 0x9e3779b97f4a7c15u >> 33;

	return ns - ns / 4 + (int64_t)(noise % (uint64_t)(ns / 2 + 1));
}

static int64_t next_back_off(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	int64_t most = transfer->host.setting(transfer->host.arg, SETTING_RETRY_MAX);

	lane->back_off_ns = lane->back_off_ns ? lane->back_off_ns * 2 : BACK_OFF_NS;
	if (lane->back_off_ns > most)
		lane->back_off_ns = most > 0 ? most : BACK_OFF_NS;
	return with_jitter(lane->back_off_ns);
}

void lane_ask_why(struct lane *lane, int error, char why[TIER_WHY_SIZE])
{
	why[0] = 0;
	if (error == -EHOSTDOWN || error == -EROFS || error == -ENOSPC || error == -EREMOTEIO)
		(void)tier_why(lane->tier.tier, why, TIER_WHY_SIZE);
}

static void warn(const struct lane *lane, int error, const char *why, const char *then)
{
	log_warning("tier %s %s%s%s%s", lane->tier.tier->name, condition_text(error),
		    *why ? ": " : "", why, then);
}

void lane_set_condition(struct lane *lane, int error)
{
	struct transfer *transfer = lane->transfer;
	const char *name = lane->tier.tier->name;
	char why[TIER_WHY_SIZE];
	int64_t pause_ns = 0;
	bool is_news;
	int before;

	if (error)
		pause_ns = next_back_off(lane);
	else
		lane->back_off_ns = 0;
	lane_ask_why(lane, error, why);
	mutex_lock(&transfer->lock);
	before = lane->condition;
	is_news = error != before || strcmp(why, lane->why) != 0;
	memcpy(lane->why, why, sizeof(lane->why));
	lane->condition = error;
	lane->next_try_ns = error ? transfer_now_ns(transfer) + pause_ns : 0;
	mutex_unlock(&transfer->lock);
	if (error && is_news)
		warn(lane, error, why, ": what is to go there waits");
	else if (!error && before)
		log_info("tier %s works again", name);
}

void lane_note_down(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	char why[TIER_WHY_SIZE];
	bool new_to_us;

	lane_ask_why(lane, -EHOSTDOWN, why);
	mutex_lock(&transfer->lock);
	new_to_us = lane->condition == 0;
	if (new_to_us) {
		lane->condition = -EHOSTDOWN;
		memcpy(lane->why, why, sizeof(lane->why));
		lane->next_try_ns = transfer_now_ns(transfer) + BACK_OFF_NS;
		transfer->wakes++;
		cond_broadcast(&transfer->changed);
	}
	mutex_unlock(&transfer->lock);
	if (new_to_us)
		warn(lane, -EHOSTDOWN, why, "");
}

int lane_expect(struct lane *lane)
{
	cleanup_free char *uuid = NULL;
	char key[64];
	int r;

	lane_key(lane->tier.id, "uuid", key, sizeof(key));
	r = catalog_get_meta(lane->transfer->catalog, key, &uuid);
	if (r <= 0)
		return r;
	lane->known = true;
	return tier_expect(lane->tier.tier, uuid);
}

/* The first time: it becomes ours. Later the place must show the identity it had then. */
static int claim_first(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	struct tier *tier = lane->tier.tier;
	char uuid[37], key[64];
	int r;

	r = tier_claim(tier, transfer->store->volume_uuid, uuid);
	if (r < 0)
		return r;
	lane_key(lane->tier.id, "uuid", key, sizeof(key));
	r = catalog_set_meta(transfer->catalog, key, uuid);
	if (r == 0)
		r = catalog_flush(transfer->catalog);
	if (r == 0)
		r = tier_expect(tier, uuid);
	lane->known = r == 0;
	return r;
}

/* Asked each time that it is there: another disk may be mounted now. */
static bool is_on_our_disk(struct lane *lane)
{
	struct tier *tier = lane->tier.tier;
	struct stat st;
	dev_t device;

	return tier->backend->device && tier->backend->device(tier, &device) == 0 &&
	       fstat(lane->transfer->store->root_fd, &st) == 0 && disk_same(device, st.st_dev);
}

int lane_claim(struct lane *lane)
{
	struct tier *tier = lane->tier.tier;
	int r = lane->known ? tier->backend->probe(tier) : claim_first(lane);

	lane->claimed |= r == 0;
	if (r == 0)
		lane->shares_disk = is_on_our_disk(lane);
	if (r == 0)
		lane->is_remote = !tier->backend->is_remote || tier->backend->is_remote(tier);
	return r;
}

void lane_step_aside(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	int64_t until_ns = monotonic_ns() + ASIDE_MOST_NS;

	while (lane->shares_disk && transfer->host.is_busy(transfer->host.arg)) {
		int64_t now_ns = monotonic_ns();
		int64_t look_ns = now_ns + ASIDE_LOOK_NS;

		scoped_lock(&transfer->lock);
		if (transfer->stopping || lane->is_gone || now_ns >= until_ns)
			return;
		lane->aside_ns = now_ns;
		(void)cond_wait_until(&transfer->changed, &transfer->lock,
				      look_ns < until_ns ? look_ns : until_ns);
	}
}

/* How large a file may be that goes there now. */
static uint64_t room(struct lane *lane)
{
	struct tier *tier = lane->tier.tier;
	uint64_t free_bytes, total;

	if (tier->backend->space(tier, &free_bytes, &total) < 0)
		return UINT64_MAX; /* it cannot tell: try */
	return free_bytes > SPACE_MARGIN ? free_bytes - SPACE_MARGIN : 0;
}

/*
 * 1 a row was given to a sender; 0 none is due, or all that are wait for what is on its way.
 * @metered: originals wait. @condition: of the tier, 0 none.
 */
static int give_next(struct lane *lane, bool metered, int condition)
{
	struct catalog *catalog = lane->transfer->catalog;
	struct queue_row rows[PICK_ROWS];
	uint64_t room_bytes, to_write;
	bool waits = false;
	int count;

	if (lane->dirty) {
		int r = catalog_barrier(catalog);

		if (r < 0)
			return r;
		lane->dirty = false;
	}
	count = catalog_queue_next(catalog, lane->tier.id,
				   metered ? PRIORITY_ORIGINALS : PRIORITY_COUNT,
				   transfer_now_ns(lane->transfer), rows, PICK_ROWS);
	room_bytes = count > 0 ? room(lane) : 0;
	to_write = senders_to_write(lane);
	for (int i = 0; i < count; i++) {
		struct sender *sender = sender_for(lane, &rows[i]);

		if (!sender) {
			waits = true;
			continue;
		}
		if (rows[i].size > room_bytes)
			continue;
		/* Some places have set it aside already, and it is counted twice: it only waits. */
		if (rows[i].size > room_bytes - (to_write < room_bytes ? to_write : room_bytes)) {
			waits = true;
			continue;
		}
		sender->is_trial = condition != 0;
		sender->is_first = i == 0;
		sender_give(sender, &rows[i]);
		return 1;
	}
	return count > 0 && !waits ? -ENOSPC : count < 0 ? count : 0;
}

/* What other threads told since the last step. */
struct look {
	bool paused, metered, requeue, hasten, one_left;
	int condition;
	int64_t next_try_ns;
};

static struct look look_around(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	struct look look;

	scoped_lock(&transfer->lock);
	if (lane->seen != transfer->wakes)
		lane->dirty = true;
	lane->seen = transfer->wakes;
	look.paused = transfer->paused;
	if (lane->is_another_network && lane->condition) {
		lane->back_off_ns = 0;
		lane->next_try_ns = 0;
	}
	lane->is_another_network = false;
	look.metered = transfer->metered && lane_is_on_uplink(lane);
	look.condition = lane->condition;
	look.next_try_ns = lane->next_try_ns;
	look.requeue = lane_is_first(lane) && monotonic_ns() >= transfer->requeue_ns;
	look.hasten = look.requeue && transfer->hasten;
	look.one_left = look.requeue && transfer->one_left;
	if (look.requeue) {
		transfer->requeue_ns = monotonic_ns() + REQUEUE_NS;
		transfer->hasten = transfer->one_left = false;
	}
	return look;
}

/* What was asked for is still to be done. */
static void put_off(struct lane *lane, const struct look *look)
{
	struct transfer *transfer = lane->transfer;

	if (!look->requeue)
		return;
	scoped_lock(&transfer->lock);
	transfer->requeue_ns = monotonic_ns() + CATALOG_NS;
	transfer->hasten |= look->hasten;
	transfer->one_left |= look->one_left;
}

static void requeue(struct lane *lane, const struct look *look)
{
	struct transfer *transfer = lane->transfer;
	int r = 0;

	if (!transfer->resumed)
		r = transfer_resume(transfer);
	transfer->resumed = r == 0;
	if (r == 0 && look->one_left)
		r = transfer_forget_gone(transfer);
	if (r == 0 && look->hasten)
		r = transfer_hasten(transfer, 0);
	if (r == 0)
		r = transfer_requeue(transfer);
	if (r < 0 && r != -ECANCELED && r != -EAGAIN)
		log_error_errno(r, "cannot look for verified files that are not queued");
	if (r < 0)
		put_off(lane, look);
	transfer_nudge(transfer);
}

/* *ret_until_ns stays 0 after a row was given. */
static int hand_out(struct lane *lane, const struct look *look, int64_t *ret_until_ns)
{
	unsigned busy = senders_busy(lane);
	int64_t now_ns;
	int r = 0;

	/* A tier that takes nothing is tried with one file. */
	if (look->condition ? busy == 0 : busy < SENDERS)
		r = give_next(lane, look->metered, look->condition);
	if (r != 0)
		return r < 0 ? r : 0;
	now_ns = transfer_now_ns(lane->transfer);
	*ret_until_ns = now_ns + BUSY_NS;
	if (busy)
		return 0;
	r = catalog_queue_due(lane->transfer->catalog, lane->tier.id, ret_until_ns);
	/* What is due and was not given is held back; what ends that wakes the lane. */
	if (r == 0 && *ret_until_ns <= now_ns)
		*ret_until_ns = now_ns + BUSY_NS;
	if (r == 0 && *ret_until_ns > now_ns + IDLE_NS)
		*ret_until_ns = now_ns + IDLE_NS;
	return r;
}

static bool only_a_file_can_show(int condition)
{
	return condition == -ENOSPC || condition == -EDQUOT || condition == -EROFS;
}

static int condition_of(struct lane *lane)
{
	scoped_lock(&lane->transfer->lock);
	return lane->condition;
}

/* What sending led to: the tier is said to be away only when it is the tier. */
static void judge_failure(struct lane *lane, int error)
{
	if (error == -ECANCELED || catalog_error(lane->transfer->catalog) < 0)
		return;
	if (error_is_of_tier(error))
		lane_set_condition(lane, error);
	else
		log_warning_errno(error, "tier %s: nothing can be sent just now",
				  lane->tier.tier->name);
}

/* What those that have ended led to: 0, or the last error. */
static int settle(struct lane *lane)
{
	struct sender *sender;
	int r = 0;

	while ((sender = sender_done(lane)) != NULL) {
		lane->dirty = true;
		if (sender->result == 0 && sender->is_trial && sender->is_first)
			lane_set_condition(lane, 0);
		if (sender->result < 0)
			r = sender->result;
		/* What fell with the same stroke lengthens no pause. */
		if (sender->result < 0 &&
		    (sender->is_trial || sender->result != condition_of(lane)))
			judge_failure(lane, sender->result);
	}
	return r;
}

/* After a failure: when to go on. */
static int64_t rest_until_ns(struct lane *lane)
{
	scoped_lock(&lane->transfer->lock);
	return lane->condition ? lane->next_try_ns : transfer_now_ns(lane->transfer) + CATALOG_NS;
}

/* The tier is there, and ours; sets what of @look changes by that. */
static int look_at_tier(struct lane *lane, struct look *look)
{
	int r = 0;

	if (!lane->claimed || look->condition) {
		r = lane_claim(lane);
		if (r < 0 && r != -ECANCELED && catalog_error(lane->transfer->catalog) == 0)
			lane_set_condition(lane, r);
	}
	/* It answers; whether it has room again only a file can show. */
	if (r == 0 && look->condition && !only_a_file_can_show(look->condition)) {
		lane_set_condition(lane, 0);
		look->condition = 0;
	}
	return r;
}

static enum lane_next sleep_after(struct lane *lane, int error, int64_t *ret_until_ns)
{
	if (error != -ECANCELED)
		*ret_until_ns = rest_until_ns(lane);
	return LANE_SLEEP;
}

enum lane_next lane_step(struct lane *lane, int64_t *ret_until_ns)
{
	int64_t now_ns = transfer_now_ns(lane->transfer);
	int r = settle(lane);
	struct look look;

	*ret_until_ns = now_ns + IDLE_NS;
	if (r < 0)
		return sleep_after(lane, r, ret_until_ns);
	look = look_around(lane);
	if (catalog_error(lane->transfer->catalog) < 0) {
		*ret_until_ns = now_ns + CATALOG_NS;
		put_off(lane, &look);
		return LANE_SLEEP;
	}
	if (look.requeue)
		requeue(lane, &look);
	if (look.condition && transfer_now_ns(lane->transfer) < look.next_try_ns) {
		*ret_until_ns = look.next_try_ns;
		return LANE_SLEEP;
	}
	r = look_at_tier(lane, &look);
	if (r == 0)
		lane_forget_uploads(lane);
	if (r == 0 && look.paused)
		return LANE_SLEEP;
	if (r == 0) {
		*ret_until_ns = 0;
		r = hand_out(lane, &look, ret_until_ns);
		if (r < 0)
			judge_failure(lane, r);
	}
	if (r == 0)
		r = settle(lane);
	if (r < 0)
		return sleep_after(lane, r, ret_until_ns);
	return *ret_until_ns ? LANE_SLEEP : LANE_AGAIN;
}
