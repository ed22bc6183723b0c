/* SPDX-License-Identifier: Apache-2.0 */

/* The copies: every one exists in its tier, with the checksum that the tier confirmed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/fsck_parts.h"

#define PAGE_COPIES 256
#define SHOW_NS (250 * NS_PER_MS)

/* Demand that the place is the one that was used so far: a NAS not mounted is no empty NAS. */
static int probe(struct fsck *fsck, struct fsck_tier *tier)
{
	cleanup_free char *uuid = NULL;
	char key[64];
	int r;

	if (!tier->id)
		return 0;
	(void)snprintf(key, sizeof(key), "tier.%" PRIu32 ".uuid", tier->id);
	r = catalog_get_meta(fsck->catalog, key, &uuid);
	if (r < 0)
		return r;
	if (r == 1) {
		r = tier_expect(tier->tier, uuid);
		if (r < 0)
			return r;
	}
	return tier->tier->backend->probe(tier->tier);
}

static int open_tier(struct fsck *fsck, const struct settings_tier *setting, struct fsck_tier *tier)
{
	int r = tier_open(setting->name, setting->url, &tier->tier);

	if (r < 0)
		return fsck_fail(fsck, r, "tier %s: cannot use its address", setting->name);
	if (fsck->flags & FSCK_REBUILD)
		r = catalog_put_tier(fsck->catalog, setting->name, setting->url, &tier->id);
	else
		r = catalog_find_tier(fsck->catalog, setting->name, setting->url, &tier->id);
	if (r < 0)
		return fsck_fail(fsck, r, "tier %s: cannot find it in the catalog", setting->name);
	tier->error = probe(fsck, tier);
	if (tier->error < 0)
		(void)fsck_fail(fsck, tier->error, "tier %s (%s)", setting->name, setting->url);
	return 0;
}

int fsck_open_tiers(struct fsck *fsck)
{
	size_t count = settings_tier_count(fsck->settings);
	int r = 0;

	if (fsck->tiers_open)
		return 0;
	fsck->tiers = calloc(count ? count : 1, sizeof(*fsck->tiers));
	if (!fsck->tiers)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = open_tier(fsck, settings_tier(fsck->settings, i), &fsck->tiers[i]);
		fsck->tier_count += fsck->tiers[i].tier != NULL;
	}
	fsck->tiers_open = r == 0;
	return r;
}

struct fsck_tier *fsck_tier(struct fsck *fsck, uint32_t id)
{
	for (size_t i = 0; i < fsck->tier_count; i++)
		if (id && fsck->tiers[i].id == id)
			return &fsck->tiers[i];
	return NULL;
}

/* One tier ------------------------------------------------------------------------------ */

struct page {
	struct copy_row rows[PAGE_COPIES]; /* owned */
	size_t count;
};

static void page_clear(struct page *page)
{
	for (size_t i = 0; i < page->count; i++)
		copy_row_fini(&page->rows[i]);
	page->count = 0;
}

static int keep_copy(void *arg, const struct copy_row *row)
{
	struct page *page = arg;
	struct copy_row copy = *row;

	copy.key = strdup(row->key);
	if (!copy.key)
		return -ENOMEM;
	page->rows[page->count++] = copy;
	return page->count == PAGE_COPIES;
}

static int count_copy(void *arg, const struct copy_row *row)
{
	(void)row;
	(*(uint64_t *)arg)++;
	return 0;
}

struct remote {
	struct fsck *fsck;
	struct fsck_tier *tier;
	struct fsck_progress progress;
	int64_t start_ns, shown_ns;
	struct table *bad; /* contents that have a bad copy */
};

static int pace(void *arg, uint64_t bytes)
{
	struct remote *remote = arg;
	struct fsck *fsck = remote->fsck;
	int64_t now = monotonic_ns(), taken = now - remote->start_ns;
	struct fsck_progress *progress = &remote->progress;

	progress->done_bytes += bytes;
	if (fsck->host->progress && now - remote->shown_ns >= SHOW_NS && taken > 0) {
		remote->shown_ns = now;
		progress->rate =
			(uint64_t)((double)progress->done_bytes * NS_PER_SEC / (double)taken);
		progress->eta_ns = progress->done
					   ? (int64_t)((double)taken / (double)progress->done *
						       (double)(progress->total - progress->done))
					   : -1;
		fsck->host->progress(fsck->host->arg, progress);
	}
	return fsck_stopped(fsck);
}

/* Its bytes cannot be read; does the place vouch for it? -ENOMEDIUM: it does. */
static int check_archived(struct tier *tier, const struct copy_row *copy)
{
	struct tier_object object = { .digest = copy->digest };
	int r = tier->backend->stat(tier, copy->key, &object.size);

	if (r == 0)
		r = tier_verify(tier, copy->key, &object, NULL);
	return r < 0 ? r : -ENOMEDIUM;
}

/*
 * 0 right, -ENOMEDIUM archived and vouched for, -ENOENT missing, -EBADMSG other bytes; anything
 * else: not known.
 */
static int check_copy(struct remote *remote, const struct copy_row *copy, struct digest *ret_digest)
{
	struct tier *tier = remote->tier->tier;
	const struct tier_source source = { .pace = pace, .arg = remote };
	uint64_t size;
	int r;

	if (!tier_key_ok(copy->key))
		return -EUCLEAN;
	r = tier->backend->check(tier, copy->key, &source, ret_digest, &size);
	if (r == -ENOMEDIUM)
		return check_archived(tier, copy);
	if (r < 0)
		return r;
	return digest_equal(ret_digest, &copy->digest) ? 0 : -EBADMSG;
}

static int on_good(struct remote *remote, const struct copy_row *copy)
{
	struct fsck *fsck = remote->fsck;
	bool mend = copy->bad && fsck->can_repair;

	if (copy->bad)
		fsck_tell(fsck, mend ? FSCK_CORRECTED : FSCK_LEFT, "copy marked bad", copy->key,
			  "tier %s has it as it was stored", remote->tier->tier->name);
	if (!fsck->can_write || (copy->bad && !mend))
		return 0;
	return catalog_mark_copy(fsck->catalog, copy->content, copy->tier, realtime_ns(), false);
}

static int on_bad(struct remote *remote, const struct copy_row *copy, int error,
		  const struct digest *actual)
{
	char expected_hex[DIGEST_HEX_SIZE], actual_hex[DIGEST_HEX_SIZE], detail[256];
	struct fsck *fsck = remote->fsck;
	const char *name = remote->tier->tier->name;
	int r;

	digest_hex(&copy->digest, expected_hex);
	if (error == -EBADMSG) {
		digest_hex(actual, actual_hex);
		(void)snprintf(detail, sizeof(detail), "tier %s has %s, stored was %s", name,
			       actual_hex, expected_hex);
	} else {
		(void)snprintf(detail, sizeof(detail), "tier %s: %s", name,
			       error == -ENOENT ? "it is not there" : error_text(error));
	}
	fsck_tell(fsck, FSCK_LEFT, error == -ENOENT ? "missing copy" : "bad copy", copy->key, "%s",
		  detail);
	r = table_put(remote->bad, copy->content, remote->bad);
	if (r < 0 || !fsck->can_write || copy->bad)
		return r;
	fsck_event(fsck, "damaged copy", copy->key, &copy->digest, detail);
	return catalog_mark_copy(fsck->catalog, copy->content, copy->tier, realtime_ns(), true);
}

static int on_copy(struct remote *remote, const struct copy_row *copy)
{
	struct fsck *fsck = remote->fsck;
	struct digest actual = { 0 };
	int r = check_copy(remote, copy, &actual);

	remote->progress.done++;
	if (r == 0) {
		fsck->report.copies++;
		return on_good(remote, copy);
	}
	if (r == -ENOMEDIUM) {
		fsck->report.archived++;
		return 0;
	}
	if (r == -ENOENT || r == -EBADMSG || r == -EUCLEAN || r == -EIO) {
		fsck->report.copies++;
		return on_bad(remote, copy, r, &actual);
	}
	if (r == -ECANCELED || fsck_stopped(fsck))
		return -ECANCELED;
	(void)fsck_fail(fsck, r, "tier %s: cannot check %s", remote->tier->tier->name, copy->key);
	return r == -EHOSTDOWN ? r : 0;
}

static int check_tier(struct remote *remote)
{
	struct catalog *catalog = remote->fsck->catalog;
	cleanup_free struct page *page = calloc(1, sizeof(*page));
	uint64_t after = 0;
	bool more = true;
	int r = 0;

	if (!page)
		return -ENOMEM;
	while (r == 0 && more) {
		r = catalog_each_copy(catalog, remote->tier->id, after, keep_copy, page);
		more = r == 1;
		r = r < 0 ? r : 0;
		for (size_t i = 0; r == 0 && i < page->count; i++) {
			r = fsck_stopped(remote->fsck) ? -ECANCELED
						       : on_copy(remote, &page->rows[i]);
			after = page->rows[i].content;
		}
		page_clear(page);
	}
	return r;
}

/* Files whose copy went bad and whose bytes are all here are sent again. */
static int requeue(struct fsck *fsck, const struct table *bad)
{
	struct fsck_ids ids = { 0 };
	uint64_t count = 0;
	int r;

	if (!fsck->can_repair || !bad->used)
		return 0;
	r = fsck_collect(fsck, 1u << FILE_STORED | 1u << FILE_QUEUED | 1u << FILE_UPLOADING, &ids);
	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		struct node_row row;

		r = catalog_get_node(fsck->catalog, ids.ids[i], &row);
		if (r == 1 && row.content && table_get(bad, row.content)) {
			r = fsck_requeue(fsck, &row);
			count += r == 1;
		}
		r = r < 0 ? r : 0;
	}
	free(ids.ids);
	if (r < 0)
		return fsck_fail(fsck, r, "cannot queue files again");
	if (count)
		fsck_tell(fsck, FSCK_CORRECTED, "queued again", "",
			  "%llu files are sent again under another name",
			  (unsigned long long)count);
	return 0;
}

int fsck_remote(struct fsck *fsck)
{
	struct table bad;
	int r = fsck_open_tiers(fsck);

	table_init(&bad);
	for (size_t i = 0; r == 0 && i < fsck->tier_count; i++) {
		struct remote remote = {
			.fsck = fsck,
			.tier = &fsck->tiers[i],
			.progress = { .what = "copies", .eta_ns = -1 },
			.start_ns = monotonic_ns(),
			.bad = &bad,
		};

		if (fsck->tiers[i].error < 0 || !fsck->tiers[i].id)
			continue;
		r = catalog_each_copy(fsck->catalog, remote.tier->id, 0, count_copy,
				      &remote.progress.total);
		if (r == 0)
			r = check_tier(&remote);
		fsck->report.copy_bytes += remote.progress.done_bytes;
		if (r == -EHOSTDOWN)
			r = 0; /* said; the other tiers may answer */
		else if (r < 0 && r != -ECANCELED)
			(void)fsck_fail(fsck, r, "tier %s could not be checked",
					remote.tier->tier->name);
	}
	if (r == 0)
		r = requeue(fsck, &bad);
	table_fini(&bad);
	return r;
}
