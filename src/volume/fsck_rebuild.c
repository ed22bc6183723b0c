/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A new catalog from what lies on disk and in the tiers.
 *
 * Files that are here are received again and read back. Of a file with absent blocks only its
 * digest is known, from the residency xattr: its block map comes from the records that the
 * sites left in the tier, or is made from the object in the tier when that has the digest.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/offloads.h"
#include "sync/journal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/fsck_manifests.h"
#include "volume/fsck_parts.h"
#include "volume/level.h"
#include "volume/level_walk.h"

/* The log first: a catalog without its log would be an older one, not a broken one. */
static const char *const parts[] = { "-wal", "-shm", "" };

/* 1: there was something under the name @from; 0: nothing. */
static int rename_parts(struct fsck *fsck, const char *from, const char *to)
{
	int root = fsck->store->root_fd, any = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		char old[64], new[64];

		(void)snprintf(old, sizeof(old), "%s%s", from, parts[i]);
		(void)snprintf(new, sizeof(new), "%s%s", to, parts[i]);
		if (renameat2(root, old, root, new, RENAME_NOREPLACE) == 0)
			any = 1;
		else if (errno != ENOENT)
			return -errno;
	}
	return fsync(root) < 0 ? -errno : any;
}

int fsck_put_aside(struct fsck *fsck, char **ret_name)
{
	cleanup_free char *name = NULL;
	struct timespec now = ns_timespec(realtime_ns());
	char time[32];
	struct tm utc;
	int r;

	if (!gmtime_r(&now.tv_sec, &utc) || !strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &utc))
		return -EINVAL;
	if (asprintf(&name, "catalog.db.old-%s", time) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	r = rename_parts(fsck, "catalog.db", name);
	if (r < 0)
		(void)rename_parts(fsck, name, "catalog.db"); /* the first error tells */
	else
		*ret_name = r ? take_ptr(name) : NULL;
	return r < 0 ? r : 0;
}

void fsck_put_back(struct fsck *fsck, const char *name)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		char half[64];

		(void)snprintf(half, sizeof(half), "catalog.db%s", parts[i]);
		if (unlinkat(fsck->store->root_fd, half, 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	if (r == 0)
		r = rename_parts(fsck, name, "catalog.db");
	if (r < 0)
		(void)fsck_fail(fsck, r, "the old catalog is %s now", name);
}

/* What has absent blocks ----------------------------------------------------------------- */

struct want {
	struct residency residency;
	char *path; /* owned */
	bool found;
};

struct wants {
	struct fsck *fsck;
	struct want *list; /* owned */
	size_t count, room, left;
};

static void wants_fini(struct wants *wants)
{
	for (size_t i = 0; i < wants->count; i++)
		free(wants->list[i].path);
	free(wants->list);
}

static int add_want(struct wants *wants, const char *path, const struct residency *residency)
{
	struct want *want;

	if (wants->count == wants->room) {
		size_t room = wants->room ? wants->room * 2 : 16;
		struct want *moved = reallocarray(wants->list, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		wants->list = moved;
		wants->room = room;
	}
	want = &wants->list[wants->count];
	want->path = strdup(path);
	want->found = false;
	want->residency = *residency;
	if (!want->path)
		return -ENOMEM;
	wants->count++;
	wants->left++;
	return 0;
}

/* The catalog is empty: every name in the tree comes by here. */
static int look_for_marks(void *arg, const struct level_find *find)
{
	struct wants *wants = arg;
	cleanup_close int fd = -1;
	struct residency residency;
	int r;

	if (find->kind == LEVEL_MISSING)
		return 0;
	r = fsck_manifests_see(wants->fsck->manifests, find->path, find->st.st_mode);
	if (r < 0 || !S_ISREG(find->st.st_mode) || find->st.st_size == 0)
		return r;
	fd = level_open_path(wants->fsck->store, find->path, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return fd;
	r = residency_read(fd, &residency);
	if (r == -EUCLEAN || r == 0 || (r == 1 && residency_full(&residency)))
		return 0; /* the leveller sees what is damaged */
	return r < 0 ? r : add_want(wants, find->path, &residency);
}

static int compare_wants(const void *a, const void *b)
{
	return memcmp(((const struct want *)a)->residency.digest.bytes,
		      ((const struct want *)b)->residency.digest.bytes, sizeof(struct digest));
}

static struct want *find_want(struct wants *wants, const struct digest *digest, uint64_t size)
{
	struct want key = { .residency = { .digest = *digest } };
	struct want *want;

	if (!wants->count)
		return NULL;
	want = bsearch(&key, wants->list, wants->count, sizeof(*want), compare_wants);
	return want && want->residency.size == size ? want : NULL;
}

/* Every file with these bytes is served by one content and its copy. */
static int put_content(struct wants *wants, const struct digest *digest, const struct blockmap *map,
		       uint32_t tier, const char *key)
{
	struct copy_row copy = {
		.tier = tier,
		.key = (char *)key,
		.digest = *digest,
		.confirmed_ns = realtime_ns(),
	};
	int r = catalog_put_content(wants->fsck->catalog, map->size, digest, map, &copy.content);

	if (r == 0)
		r = catalog_put_copy(wants->fsck->catalog, &copy, STEP_WAIT);
	if (r < 0)
		return r;
	for (size_t i = 0; i < wants->count; i++) {
		struct want *want = &wants->list[i];

		if (want->found || !digest_equal(&want->residency.digest, digest) ||
		    want->residency.size != map->size)
			continue;
		want->found = true;
		wants->left--;
	}
	return 0;
}

/* From the journals ----------------------------------------------------------------------- */

struct reading {
	struct wants *wants;
	struct fsck_tier *tier;
	char uuid[37]; /* of the tier */
};

static int use_records(struct reading *reading, const struct segment *segment)
{
	for (size_t i = 0; i < segment->count; i++) {
		const struct sync_record *record = &segment->records[i];
		const struct version_body *body = &record->body;
		struct want *want;
		int r;

		if (record->verb != RECORD_PUT || body->kind != VERSION_FILE || !body->key ||
		    !tier_key_ok(body->key) || strcmp(body->tier, reading->uuid) != 0)
			continue;
		want = find_want(reading->wants, &body->digest, body->size);
		if (!want || want->found)
			continue;
		r = put_content(reading->wants, &body->digest, &body->map, reading->tier->id,
				body->key);
		if (r < 0)
			return r;
	}
	return 0;
}

static int use_packed(struct reading *reading, const struct bundle_part *packed, char **ret_why)
{
	struct segment segment = { 0 };
	uint8_t chain[CHAIN_BYTES];
	int r = segment_unpack(packed->bytes, packed->length, &segment, chain, ret_why);

	if (r < 0)
		return r;
	r = use_records(reading, &segment);
	segment_fini(&segment);
	return r;
}

/* All of the bundle that ends with the segment @number; 1: it was read, 0: it is of no use. */
static int use_bundle(struct reading *reading, const char *site, uint64_t number)
{
	struct tier *tier = reading->tier->tier;
	struct bundle_part segments[BUNDLE_SEGMENTS];
	cleanup_free void *bytes = NULL;
	size_t length;
	int r;

	if (number % BUNDLE_SEGMENTS != 0 ||
	    journal_get_bundle(tier, site, bundle_of(number), &bytes, &length) < 0 ||
	    !bundle_unpack(bytes, length, segments))
		return 0;
	for (size_t i = BUNDLE_SEGMENTS; i > 0; i--) {
		cleanup_free char *why = NULL;

		r = use_packed(reading, &segments[i - 1], &why);
		if (r < 0)
			return r == -ENOMEM ? r : 0; /* by itself it may be right */
	}
	return 1;
}

static int use_segment(struct reading *reading, const char *site, uint64_t number, char **ret_why)
{
	cleanup_free void *bytes = NULL;
	size_t length = 0;
	int r = journal_get_packed(reading->tier->tier, site, number, &bytes, &length);

	return r < 0 ? r : use_packed(reading, &(struct bundle_part){ bytes, length }, ret_why);
}

/* The newest first. What cannot be read of a journal is said and left out: the objects may still
 * help. */
static int read_site(void *arg, const char *site)
{
	struct reading *reading = arg;
	struct fsck *fsck = reading->wants->fsck;
	struct tier *tier = reading->tier->tier;
	cleanup_free char *why = NULL;
	struct head head = { 0 };
	int r = journal_get_head(tier, site, &head);

	for (uint64_t i = head.segment; r == 0 && i > 0 && reading->wants->left; i--) {
		if (fsck_stopped(fsck))
			return -ECANCELED;
		r = use_bundle(reading, site, i);
		if (r == 0)
			r = use_segment(reading, site, i, &why);
		else if (r > 0)
			i -= BUNDLE_SEGMENTS - 1;
		r = r < 0 ? r : 0;
	}
	if (r == 0 || r == -ENOENT)
		return 0;
	fsck_tell(fsck, FSCK_NOTE, "journal", site, "tier %s: %s", tier->name,
		  why ? why : error_text(r));
	return r == -ENOMEM ? r : 0;
}

/* From the objects ------------------------------------------------------------------------ */

static bool wants_size(const struct wants *wants, uint64_t size)
{
	for (size_t i = 0; i < wants->count; i++)
		if (!wants->list[i].found && wants->list[i].residency.size == size)
			return true;
	return false;
}

static int read_object(struct wants *wants, struct fsck_tier *tier, const char *key, uint64_t size,
		       void *buffer, struct digest_state *state)
{
	cleanup_with(blockmap_fini) struct blockmap map = { 0 };
	struct digest digest;
	const struct want *want;
	int r = blockmap_init(&map, size);

	for (uint64_t i = 0; r == 0 && i < blockmap_count(size); i++) {
		size_t length = blockmap_length(size, i);

		r = fsck_stopped(wants->fsck)
			    ? -ECANCELED
			    : tier->tier->backend->get(tier->tier, key, i * BLOCK_BYTES, buffer,
						       length, NULL);
		if (r < 0)
			return r;
		map.hash[i] = block_hash(buffer, length);
		digest_update(state, buffer, length);
	}
	if (r < 0)
		return r;
	digest_final(state, &digest);
	want = find_want(wants, &digest, size);
	return want && !want->found ? put_content(wants, &digest, &map, tier->id, key) : 0;
}

/* An object of a size that is wanted is read as a whole. */
static int try_object(struct wants *wants, struct fsck_tier *tier, const char *key)
{
	cleanup_free void *buffer = NULL;
	struct digest_state *state;
	uint64_t size;
	int r;

	if (!tier_key_ok(key) || tier->tier->backend->stat(tier->tier, key, &size) < 0 ||
	    !wants_size(wants, size))
		return 0;
	buffer = malloc(BLOCK_BYTES);
	state = digest_new();
	r = buffer && state ? read_object(wants, tier, key, size, buffer, state) : -ENOMEM;
	digest_free(state);
	return r == -ENOMEM || r == -ECANCELED ? r : 0; /* what cannot be read helps nobody */
}

struct listing {
	char **names; /* owned; folders end in '/' */
	size_t count, room;
};

static int keep_name(void *arg, const char *name, bool is_folder)
{
	struct listing *listing = arg;
	char *copy;

	if (listing->count == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 64;
		char **moved = reallocarray(listing->names, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		listing->names = moved;
		listing->room = room;
	}
	if (asprintf(&copy, "%s%s", name, is_folder ? "/" : "") < 0)
		return -ENOMEM;
	listing->names[listing->count++] = copy;
	return 0;
}

/* Folders deeper than that hold no media of ours: a key has 4096 bytes at most. */
#define MAX_DEPTH 2048

/* Every object under @prefix ("" or a key). */
static int search(struct wants *wants, struct fsck_tier *tier, const char *prefix, unsigned depth)
{
	struct listing listing = { 0 };
	int r = tier->tier->backend->list(tier->tier, prefix, keep_name, &listing);

	if (r != -ENOMEM)
		r = 0;
	for (size_t i = 0; i < listing.count; i++) {
		cleanup_free char *name = listing.names[i];
		cleanup_free char *key = path_join(prefix, name);
		size_t end = key ? strlen(key) - 1 : 0;

		if (!key || r < 0 || !wants->left) {
			r = key ? r : -ENOMEM;
		} else if (key[end] != '/') {
			r = try_object(wants, tier, key);
		} else if (depth < MAX_DEPTH) {
			key[end] = '\0';
			if (tier_key_ok(key))
				r = search(wants, tier, key, depth + 1);
		}
	}
	free(listing.names);
	return r;
}

/* Most lie under the file's own path; the rest was renamed since. */
static int read_objects(struct wants *wants, struct fsck_tier *tier)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < wants->count; i++)
		if (!wants->list[i].found)
			r = try_object(wants, tier, wants->list[i].path);
	return r == 0 && wants->left ? search(wants, tier, "", 0) : r;
}

static int ask_tier(struct wants *wants, struct fsck_tier *tier)
{
	struct fsck *fsck = wants->fsck;
	struct reading reading = { .wants = wants, .tier = tier };
	char key[64];
	int r;

	if (tier->error < 0)
		return 0; /* said */
	r = tier_claim(tier->tier, fsck->store->volume_uuid, reading.uuid);
	if (r < 0) {
		(void)fsck_fail(fsck, r, "tier %s", tier->tier->name);
		return 0;
	}
	(void)snprintf(key, sizeof(key), "tier.%" PRIu32 ".uuid", tier->id);
	r = catalog_set_meta(fsck->catalog, key, reading.uuid);
	if (r == 0 && wants->left)
		r = journal_each_site(tier->tier, read_site, &reading);
	if (r < 0 && r != -ENOMEM && r != -ECANCELED) {
		fsck_tell(fsck, FSCK_NOTE, "journal", "", "tier %s: %s", tier->tier->name,
			  error_text(r));
		r = 0;
	}
	return r == 0 && wants->left ? read_objects(wants, tier) : r;
}

static int find_contents(struct fsck *fsck)
{
	cleanup_with(wants_fini) struct wants wants = { .fsck = fsck };
	uint64_t nodes;
	int r = fsck_open_tiers(fsck);

	if (r == 0)
		r = level_walk(fsck->store, fsck->catalog, fsck->host->stop, look_for_marks, &wants,
			       &nodes);
	if (r < 0)
		return r;
	if (wants.count)
		qsort(wants.list, wants.count, sizeof(*wants.list), compare_wants);
	for (size_t i = 0; r == 0 && i < fsck->tier_count; i++)
		r = ask_tier(&wants, &fsck->tiers[i]);
	for (size_t i = 0; r == 0 && i < wants.count; i++)
		if (!wants.list[i].found)
			fsck_tell(fsck, FSCK_LEFT, "unknown content", wants.list[i].path,
				  "blocks of it are absent, and no tier knows what they were");
	return r;
}

/* What is here ---------------------------------------------------------------------------- */

/* It was verified once, and is not what it was then. */
static int keep_damaged(struct fsck *fsck, const struct fsck_file *file, const char *detail)
{
	const struct node_row *row = &file->row;
	int r = catalog_set_damaged(fsck->catalog, row->id, row->generation, -EBADMSG, 0);

	fsck_tell(fsck, FSCK_LEFT, "not as in its manifest", file->path, "%s", detail);
	if (r == 0)
		fsck_event(fsck, "damaged", file->path, &file->read_digest, detail);
	return r;
}

static int on_received(struct fsck *fsck, struct fsck_file *file)
{
	const struct node_row *row = &file->row;
	char detail[512];
	int r, differs;

	if (file->error < 0 || !file->settled) {
		fsck_tell(fsck, FSCK_LEFT, "not verified", file->path ? file->path : "?", "%s",
			  file->error < 0 ? error_text(file->error)
			  : file->cached
				  ? "its pages would not leave memory: the medium was not read"
				  : "two readings of it differ");
		return file->error == -ENOMEM ? -ENOMEM : 0;
	}
	fsck->report.files++;
	r = catalog_set_received(fsck->catalog, row->id, row->generation, row->mtime_ns,
				 row->ctime_ns, &file->read_map, &file->read_digest, 0);
	differs = file->path ? fsck_manifests_judge(fsck, fsck->manifests, file, detail,
						    sizeof(detail))
			     : 0;
	if (differs < 0) {
		fsck_tell(fsck, FSCK_LEFT, "not verified", file->path,
			  "it cannot be compared with its manifest: %s", error_text(differs));
		return differs == -ENOMEM ? differs : r;
	}
	if (r == 0 && differs)
		return keep_damaged(fsck, file, detail);
	if (r == 0)
		r = catalog_set_verified(fsck->catalog, row->id, row->generation,
					 &file->read_digest, &file->read_map, 0);
	if (r == 0)
		fsck_event(fsck, "verified", file->path, &file->read_digest,
			   "received again: the catalog was rebuilt");
	return r;
}

static int receive_all(struct fsck *fsck)
{
	struct fsck_ids ids = { 0 };
	int r = fsck_collect(fsck, 1u << FILE_RECEIVING, &ids);

	if (r == 0 && ids.count)
		r = fsck_read(fsck, &ids, FSCK_READ_RECEIVE, on_received);
	free(ids.ids);
	/* They arrived long ago, and not all of them here. */
	if (r == 0)
		r = catalog_forget_unsettled(fsck->catalog);
	if (r == 0)
		r = catalog_flush(fsck->catalog);
	return r;
}

static int level(struct fsck *fsck, struct level_report *ret_report)
{
	return level_tree(fsck->store, fsck->catalog, LEVEL_FIX, fsck->host->stop, NULL, NULL,
			  ret_report);
}

static int fill(struct fsck *fsck, const char *old_name, struct level_report *ret_report)
{
	int r = find_contents(fsck);

	if (r == 0)
		r = level(fsck, ret_report);
	if (r == 0 && old_name)
		r = fsck_take_pins(fsck, old_name);
	return r < 0 ? r : receive_all(fsck);
}

int fsck_rebuild(struct fsck *fsck, const char *old_name)
{
	cleanup_with(fsck_manifests_free_slot) struct fsck_manifests *manifests =
		fsck_manifests_new();
	struct level_report report;
	char detail[128];
	int r = -ENOMEM;

	fsck->manifests = manifests;
	if (manifests)
		r = fill(fsck, old_name, &report);
	fsck->manifests = NULL;
	if (r < 0)
		return r == -ECANCELED ? r : fsck_fail(fsck, r, "cannot make a new catalog");
	(void)snprintf(detail, sizeof(detail), "%" PRIu64 " names; the old one is %s", report.nodes,
		       old_name ? old_name : "gone");
	fsck_event(fsck, "catalog rebuilt", "", NULL, detail);
	fsck_tell(fsck, FSCK_CORRECTED, "catalog rebuilt", "", "%s", detail);
	return 0;
}
