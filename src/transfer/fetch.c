/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* What a tier answered when it was asked whether it is there holds for so long. */
#define LOOK_NS (1 * NS_PER_SEC)

/* The copies of a content, owned. */
struct copies {
	struct copy_row *rows;
	size_t count;
};

static void copies_fini(struct copies *copies)
{
	for (size_t i = 0; i < copies->count; i++)
		copy_row_fini(&copies->rows[i]);
	free(copies->rows);
}

static int lane_condition(struct lane *lane)
{
	scoped_lock(&lane->transfer->lock);
	return lane->condition;
}

/* Lower is better: good ones in a tier that answers, then archived ones, then those in one that is
 * away, then bad. */
static int rank_copy(struct transfer *transfer, const struct copy_row *copy)
{
	struct lane *lane = lane_of(transfer, copy->tier);
	int rank = copy->bad ? 8 : copy->archived ? 1 : 0;

	return lane && lane_condition(lane) == -EHOSTDOWN ? rank + 4 : rank;
}

static void sort_copies(struct transfer *transfer, struct copies *copies)
{
	for (size_t i = 1; i < copies->count; i++) {
		struct copy_row row = copies->rows[i];
		int rank = rank_copy(transfer, &row);
		size_t j = i;

		for (; j > 0 && rank_copy(transfer, &copies->rows[j - 1]) > rank; j--)
			copies->rows[j] = copies->rows[j - 1];
		copies->rows[j] = row;
	}
}

/* One for all that failed: what may come right by waiting wins, then what is worst. */
static int worse(int a, int b)
{
	static const int order[] = { EHOSTDOWN, ENOMEDIUM, EBADMSG, EREMOTEIO };

	if (a == -ECANCELED || b == -ECANCELED)
		return -ECANCELED;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (a == -order[i] || b == -order[i])
			return -order[i];
	return b != -ENOENT ? b : a;
}

static int take_rate(struct lane *lane, uint64_t bytes, enum fetch_flags flags)
{
	struct transfer *transfer = lane->transfer;
	int r;

	if (!(flags & FETCH_URGENT) || !lane_is_on_uplink(lane))
		return lane_pace(lane, bytes);
	r = bucket_take(&transfer->urgent, bytes);
	if (r == 0)
		(void)atomic_fetch_add(&transfer->debt, bytes);
	return r;
}

/* One block of one content. */
struct want {
	const struct content_row *content;
	uint64_t offset;
	uint8_t *buffer;
	size_t length;
	enum fetch_flags flags;
	const struct tier_source *pace; /* borrowed, or NULL */
};

static int get_block(struct lane *lane, const char *key, const struct want *want)
{
	struct tier *tier = lane->tier.tier;
	int r = 0;

	/* Once more before it is called bad: it may have been the way and not the copy. */
	for (unsigned i = 0; i < 2; i++) {
		r = take_rate(lane, want->length, want->flags);
		if (r == 0)
			r = tier->backend->get(tier, key, want->offset, want->buffer, want->length,
					       want->pace);
		if (r == 0 && !blockmap_check(&want->content->map, want->offset / BLOCK_BYTES,
					      want->buffer, want->length))
			r = -EBADMSG;
		if (r != -EBADMSG && r != -EREMOTEIO)
			break;
	}
	return r;
}

static const char *why_bad(int error)
{
	return error == -ENOENT ? "it is missing" : "its bytes are not those that were stored";
}

void lane_copy_is_bad(struct lane *lane, const struct content_row *content,
		      const struct copy_row *copy, int error, uint64_t offset)
{
	struct transfer *transfer = lane->transfer;
	const char *name = lane->tier.tier->name;
	char where[48] = "";

	if (copy->bad)
		return; /* told already */
	(void)catalog_lose_copy(transfer->catalog, content->id, copy->tier, realtime_ns());
	if (offset != UINT64_MAX)
		(void)snprintf(where, sizeof(where), " (block at %" PRIu64 ")", offset);
	log_error("tier %s: the copy %s is bad%s: %s", name, copy->key, where, why_bad(error));
	transfer_event(transfer, "damaged copy", copy->key, &content->digest, "tier %s%s: %s", name,
		       where, why_bad(error));
}

/* What the tier says of where the bytes of @copy are: noted, and told when it is news. */
static void note_archived(struct lane *lane, const struct content_row *content,
			  struct copy_row *copy, bool archived)
{
	struct transfer *transfer = lane->transfer;

	if (copy->archived == archived)
		return;
	copy->archived = archived;
	if (!archived) {
		(void)catalog_set_readable(transfer->catalog, copy);
		return;
	}
	(void)catalog_set_archived(transfer->catalog, copy, 0);
	log_info("tier %s: the bytes of %s are archived", lane->tier.tier->name, copy->key);
	transfer_event(transfer, "archived", copy->key, &content->digest, "tier %s",
		       lane->tier.tier->name);
}

static int try_copy(struct transfer *transfer, struct copy_row *copy, const struct want *want)
{
	struct lane *lane = lane_of(transfer, copy->tier);
	char why[TIER_WHY_SIZE];
	int r;

	if (!lane)
		return -EHOSTDOWN; /* a tier that was taken out of the settings may come back */
	if (!tier_key_ok(copy->key))
		return -EUCLEAN;
	r = get_block(lane, copy->key, want);
	if (r == 0 || r == -ENOMEDIUM)
		note_archived(lane, want->content, copy, r != 0);
	else if (r != -EBADMSG)
		r = lane_judge(lane, r);
	if (r == -EBADMSG || r == -ENOENT) {
		lane_copy_is_bad(lane, want->content, copy, r,
				 r == -ENOENT ? UINT64_MAX : want->offset);
		copy->bad = true;
	} else if (r == -EREMOTEIO) {
		lane_ask_why(lane, r, why);
		log_warning("tier %s: %s: %s", lane->tier.tier->name, copy->key,
			    *why ? why : error_text(r));
	} else if (r == -EHOSTDOWN) {
		lane_note_down(lane);
	}
	return r;
}

static int fetch_block(struct transfer *transfer, const struct copies *copies,
		       const struct want *want)
{
	int result = -ENOENT;

	for (size_t i = 0; i < copies->count; i++) {
		int r = try_copy(transfer, &copies->rows[i], want);

		if (r == 0 || r == -ECANCELED)
			return r;
		result = i == 0 ? r : worse(result, r);
	}
	return result;
}

int transfer_fetch(struct transfer *transfer, const struct content_row *content, uint64_t offset,
		   void *buffer, size_t length, enum fetch_flags flags,
		   const struct tier_source *pace)
{
	cleanup_with(copies_fini) struct copies copies = { 0 };
	struct want want = {
		.content = content, .offset = offset, .buffer = buffer, .flags = flags, .pace = pace
	};
	uint64_t end = offset + length;
	int r;

	if (offset % BLOCK_BYTES || offset > content->size || length > content->size - offset ||
	    (length % BLOCK_BYTES && offset + length != content->size))
		return -EINVAL;
	r = catalog_get_copies(transfer->catalog, content->id, &copies.rows, &copies.count);
	if (r < 0)
		return r;
	while (want.offset < end) {
		want.length = blockmap_length(content->size, want.offset / BLOCK_BYTES);
		sort_copies(transfer, &copies);
		r = fetch_block(transfer, &copies, &want);
		if (r < 0)
			return r;
		want.offset += want.length;
		want.buffer += want.length;
	}
	return 0;
}

static int pace_check(void *arg, uint64_t bytes)
{
	return lane_pace(arg, bytes);
}

/* NULL: its copies do not count, since it is not in the settings, or about to leave them. */
static struct lane *lane_that_counts(struct transfer *transfer, uint32_t tier)
{
	struct lane *lane = lane_of(transfer, tier);

	return lane && !lane->is_leaving ? lane : NULL;
}

/* *ret_result as for transfer_recheck_fn; 0, or why nothing more can be asked. */
static int recheck_copy(struct transfer *transfer, const struct content_row *content,
			struct copy_row *copy, int *ret_result)
{
	struct lane *lane = lane_that_counts(transfer, copy->tier);
	const struct tier_source pace = { .pace = pace_check, .arg = lane };
	const struct tier_object object = { .size = content->size, .digest = content->digest };
	struct tier *tier;
	int r;

	*ret_result = lane ? -EINVAL : -ENODEV;
	if (!lane || !tier_key_ok(copy->key))
		return 0;
	tier = lane->tier.tier;
	r = tier_verify(tier, copy->key, &object, &pace);
	if (r >= 0 || r == -ENOMEDIUM)
		note_archived(lane, content, copy, r != 0);
	else if (r != -EBADMSG)
		r = lane_judge(lane, r);
	*ret_result = r > 0 ? 0 : r; /* what is archived is there */
	switch (r) {
	case 0:
	case 1:
		return catalog_mark_copy(transfer->catalog, content->id, copy->tier, realtime_ns(),
					 false);
	case -EBADMSG:
	case -ENOENT:
		lane_copy_is_bad(lane, content, copy, r, UINT64_MAX);
		return 0;
	case -EHOSTDOWN:
		lane_note_down(lane);
		return 0;
	case -ECANCELED:
		return r;
	default:
		log_warning_errno(r, "tier %s: cannot check the copy %s", tier->name, copy->key);
		return 0;
	}
}

/*
 * Another site that asked for the name before the copy was stored may not have written yet. A copy
 * of the future was stored under another time of day: it is as old as it can be.
 */
static bool may_be_overwritten(struct transfer *transfer, const struct content_row *content,
			       const struct copy_row *copy)
{
	int64_t wait_ns = transfer->host.setting(transfer->host.arg, SETTING_OVERWRITE_WAIT);
	int64_t age_ns = realtime_ns() - copy->confirmed_ns;
	struct lane *lane = lane_that_counts(transfer, copy->tier);

	return lane && age_ns < wait_ns && -age_ns < wait_ns &&
	       tier_may_overwrite(lane->tier.tier, content->size);
}

int transfer_recheck_each(struct transfer *transfer, const struct content_row *content,
			  transfer_recheck_fn fn, void *arg)
{
	cleanup_with(copies_fini) struct copies copies = { 0 };
	int r;

	r = catalog_get_copies(transfer->catalog, content->id, &copies.rows, &copies.count);
	for (size_t i = 0; r == 0 && i < copies.count; i++) {
		struct copy_row *copy = &copies.rows[i];
		const struct lane *lane = lane_that_counts(transfer, copy->tier);
		int result;

		r = recheck_copy(transfer, content, copy, &result);
		if (result == 0 && may_be_overwritten(transfer, content, copy))
			result = -ENOTUNIQ;
		if (r == 0)
			r = fn(arg, lane ? lane->tier.tier : NULL, result);
	}
	return r;
}

int transfer_recheck_copy(struct transfer *transfer, const struct content_row *content,
			  uint32_t tier)
{
	cleanup_with(copies_fini) struct copies copies = { 0 };
	struct lane *lane = lane_of(transfer, tier);
	int result = -ENOENT;
	int r;

	if (lane && lane_condition(lane) == -EHOSTDOWN)
		return -EHOSTDOWN;
	r = catalog_get_copies(transfer->catalog, content->id, &copies.rows, &copies.count);
	for (size_t i = 0; r == 0 && i < copies.count; i++)
		if (copies.rows[i].tier == tier) {
			r = recheck_copy(transfer, content, &copies.rows[i], &result);
			if (result == 0)
				result = may_be_overwritten(transfer, content, &copies.rows[i]);
		}
	return r < 0 ? r : result;
}

static int count(void *arg, struct tier *tier, int result)
{
	struct transfer_count *count = arg;

	(void)tier;
	count->good += result == 0;
	count->unsettled += result == -ENOTUNIQ;
	return 0;
}

int transfer_recheck(struct transfer *transfer, const struct content_row *content,
		     struct transfer_count *ret_count)
{
	*ret_count = (struct transfer_count){ 0 };
	return transfer_recheck_each(transfer, content, count, ret_count);
}

/* Restoring ------------------------------------------------------------------------------ */

/* Is the tier there? An answer serves all who ask within a second of it. */
static int lane_look(struct lane *lane)
{
	struct transfer *transfer = lane->transfer;
	struct tier *tier = lane->tier.tier;
	int64_t now_ns = monotonic_ns();
	int r;

	mutex_lock(&transfer->lock);
	r = lane->looked;
	if (lane->looked_ns && now_ns - lane->looked_ns < LOOK_NS) {
		mutex_unlock(&transfer->lock);
		return r;
	}
	mutex_unlock(&transfer->lock);
	r = tier->backend->probe(tier);
	if (r == -EHOSTDOWN)
		lane_note_down(lane);
	scoped_lock(&transfer->lock);
	lane->looked = r;
	lane->looked_ns = monotonic_ns();
	return r;
}

/* NULL: it is away, and *ret_away what it is called if it is known. */
static struct lane *lane_there(struct transfer *transfer, uint32_t tier,
			       const struct tier **ret_away)
{
	struct lane *lane = lane_of(transfer, tier);

	if (lane && lane_look(lane) != -EHOSTDOWN)
		return lane;
	*ret_away = lane ? lane->tier.tier : NULL;
	return NULL;
}

int transfer_find_away(struct transfer *transfer, const struct content_row *content,
		       const struct tier **ret_away)
{
	cleanup_with(copies_fini) struct copies copies = { 0 };
	int r = catalog_get_copies(transfer->catalog, content->id, &copies.rows, &copies.count);
	int result = 0;

	for (size_t i = 0; r == 0 && i < copies.count; i++) {
		const struct copy_row *copy = &copies.rows[i];

		if (copy->bad || copy->archived)
			continue;
		if (lane_there(transfer, copy->tier, ret_away))
			return 0;
		result = -EHOSTDOWN;
	}
	return r < 0 ? r : result;
}

static int restore_copy(struct transfer *transfer, struct copy_row *copy,
			const struct content_row *content, const struct tier_restore *how,
			const struct tier **ret_away)
{
	struct lane *lane = lane_there(transfer, copy->tier, ret_away);
	const struct tier_backend *backend;
	int r;

	if (!lane)
		return -EHOSTDOWN;
	if (!tier_key_ok(copy->key))
		return -EUCLEAN;
	backend = lane->tier.tier->backend;
	r = backend->restore ? backend->restore(lane->tier.tier, copy->key, how) : 0;
	if (r == 0 || r == -ENOMEDIUM || r == -EINPROGRESS)
		note_archived(lane, content, copy, r != 0);
	if (r == -EINPROGRESS && !copy->asked_ns) {
		(void)catalog_set_archived(transfer->catalog, copy, realtime_ns());
		transfer_event(transfer, "restoring", copy->key, &content->digest, "tier %s",
			       lane->tier.tier->name);
	}
	if (r == -EHOSTDOWN) {
		lane_note_down(lane);
		*ret_away = lane->tier.tier;
	}
	return r;
}

int transfer_restore(struct transfer *transfer, const struct content_row *content,
		     const struct tier_restore *how, const struct tier **ret_away)
{
	cleanup_with(copies_fini) struct copies copies = { 0 };
	int result = -ENOENT;
	int r;

	r = catalog_get_copies(transfer->catalog, content->id, &copies.rows, &copies.count);
	/* One that can be read, or is on its way, saves asking for another. */
	for (size_t pass = 0; r >= 0 && pass < (how ? 2 : 1); pass++) {
		result = -ENOENT;
		for (size_t i = 0; i < copies.count; i++) {
			if (copies.rows[i].bad)
				continue;
			r = restore_copy(transfer, &copies.rows[i], content, pass ? how : NULL,
					 ret_away);
			if (r == 0 || r == -EINPROGRESS || r == -ECANCELED)
				return r;
			result = worse(result, r);
		}
		r = 0;
	}
	return r < 0 ? r : result;
}
