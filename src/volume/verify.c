/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/offloads.h"
#include "hash/readback.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/historian.h"
#include "volume/history.h"
#include "volume/node.h"
#include "volume/syncer.h"
#include "volume/tree.h"

#define DETAIL_BYTES 1024
#define DETAIL_BLOCKS 8 /* named in one line; the count tells of the rest */

struct verify {
	struct live *live; /* owned, one ref */
	const struct verify_host *host;
	int fd;              /* owned */
	uint64_t generation; /* that is verified */
	uint64_t changes;    /* live->changes when it began */
	struct blockmap map; /* owned; what was received */
	struct digest digest;
	bool has_digest;
	bool kept;             /* the map came from the catalog: it is there already */
	uint64_t size;         /* when it was opened */
	struct digest found;   /* of the whole file, as it was read back */
	struct hashes *hashes; /* owned; for manifests; NULL: none are wanted, or it failed */
	unsigned formats;      /* of @hashes */
	bool claimed;
};

/* Claiming ------------------------------------------------------------------------------ */

static int claim(struct verify *verify, enum verify_flags flags)
{
	struct live *live = verify->live;
	unsigned allowed = flags & VERIFY_WHILE_OPEN ? 1 : 0;

	scoped_lock(&live->lock);
	live_drain_locked(live);
	if (live->unlinked || (live->state != FILE_RECEIVING && live->state != FILE_RECEIVED))
		return 1;
	if (live->verifying || live->moving)
		return -EBUSY;
	if (live->writers > allowed)
		return 1;
	if (!live_is_whole(live))
		return 1; /* placed just now: its state follows */
	live->verifying = true;
	verify->claimed = true;
	verify->generation = live->generation;
	verify->changes = live->changes;
	return 0;
}

static void release(struct verify *verify)
{
	struct live *live = verify->live;

	if (!verify->claimed)
		return;
	verify->claimed = false;
	scoped_lock(&live->lock);
	live->verifying = false;
	cond_broadcast(&live->changed);
}

static bool was_changed_locked(const struct verify *verify)
{
	return verify->live->changes != verify->changes;
}

static bool was_changed(const struct verify *verify)
{
	scoped_lock(&verify->live->lock);
	return was_changed_locked(verify);
}

/* A failure of reading what was written: -EBADMSG, unless it was written meanwhile. */
static int lost(struct verify *verify, int error)
{
	struct live *live = verify->live;
	char detail[DETAIL_BYTES];
	struct stat st;

	if (error != -EIO && error != -ESTALE)
		return error;
	{
		scoped_lock(&live->lock);
		if (was_changed_locked(verify))
			return -ESTALE;
	}
	if (error == -ESTALE && fstat(verify->fd, &st) == 0)
		(void)snprintf(detail, sizeof(detail),
			       "its size was changed behind our back, it is %lld now",
			       (long long)st.st_size);
	else
		(void)snprintf(detail, sizeof(detail), "reading it back failed: %s",
			       error_text(error));
	live_damage(live, verify->generation, error == -EIO ? error : -EBADMSG, detail);
	return -EBADMSG;
}

static int open_for_reading(struct volume *volume, uint64_t id)
{
	int fd = tree_open(volume, id, O_RDONLY | O_NOATIME);

	return fd == -EPERM ? tree_open(volume, id, O_RDONLY) : fd;
}

static void tell(struct live *live, const char *event, const struct digest *digest,
		 const char *detail)
{
	cleanup_free char *path = volume_path_of(live->volume, live->id);
	char hex[DIGEST_HEX_SIZE] = "";

	if (digest)
		digest_hex(digest, hex);
	volume_event(live->volume, "daemon", event, path ? path : "?", hex, detail);
}

/* What was received --------------------------------------------------------------------- */

/* 1: @verify has the map that was kept when the file was closed. 0: none, or of other bytes. */
static int load_kept(struct verify *verify)
{
	struct live *live = verify->live;
	struct catalog *catalog = live->volume->catalog;
	bool usable;
	int r;

	mutex_lock(&live->lock);
	usable = live->state == FILE_RECEIVED && live->is_level && !live->receipt;
	mutex_unlock(&live->lock);
	if (!usable)
		return 0;
	/* A generation has one map for ever: only what is not found yet may still be queued. */
	r = catalog_get_received(catalog, live->id, verify->generation, &verify->map,
				 &verify->digest, &verify->has_digest);
	if (r == 0) {
		r = catalog_barrier(catalog);
		if (r == 0)
			r = catalog_get_received(catalog, live->id, verify->generation,
						 &verify->map, &verify->digest,
						 &verify->has_digest);
	}
	verify->kept = r == 1;
	return r;
}

/*
 * After a crash, or a change behind our back: nobody knows what was received, so it is
 * what is there. Nobody was told that it was verified. A new generation, since the catalog may
 * hold another map for this one.
 */
static int receive_again(struct verify *verify)
{
	struct live *live = verify->live;
	bool is_news;
	int r;

	{
		scoped_lock(&live->lock);
		if (was_changed_locked(verify))
			return -ESTALE;
		if (live->receipt)
			return 0;
		live->is_level = false;
		r = live_begin_locked(live, verify->fd);
		if (r < 0)
			return r;
		verify->generation = live->generation;
		verify->changes = live->changes;
		is_news = receipt_size(live->receipt) > 0;
	}
	if (is_news)
		tell(live, "received again", NULL, "nothing was known of its bytes");
	return 0;
}

static int next_dirty(struct verify *verify, uint64_t *ret_index, uint64_t *ret_size)
{
	struct live *live = verify->live;

	scoped_lock(&live->lock);
	if (was_changed_locked(verify))
		return -ESTALE;
	if (live->unlinked)
		return -ECANCELED; /* nobody will ask for it */
	*ret_size = receipt_size(live->receipt);
	return receipt_next_dirty(live->receipt, verify->fd, ret_index);
}

static int take_hash(struct verify *verify, uint64_t index, uint64_t hash)
{
	struct live *live = verify->live;

	scoped_lock(&live->lock);
	if (was_changed_locked(verify))
		return -ESTALE;
	receipt_settle_block(live->receipt, index, hash);
	return 0;
}

/* Reads without the lock: who wants to write, or to look, does not wait for it. */
static int settle(struct verify *verify)
{
	uint64_t index = 0, size = 0, hash;
	int r;

	while ((r = next_dirty(verify, &index, &size)) > 0) {
		r = receipt_read_block(size, verify->fd, index, &hash);
		if (r == 0)
			r = take_hash(verify, index, hash);
		if (r == 0 && verify->host->is_stopping(verify->host->arg))
			r = -ECANCELED;
		if (r < 0)
			return r;
	}
	return r;
}

/* The times may have been set while we looked: the last to look tells the catalog. */
static int keep_times(struct verify *verify, const struct stat *before)
{
	struct live *live = verify->live;
	struct stat st;

	if (fstat(verify->fd, &st) < 0)
		return -errno;
	if (timespec_ns(st.st_ctim) == timespec_ns(before->st_ctim))
		return 0;
	return catalog_set_attributes(live->volume->catalog, live->id, st.st_mode,
				      (uint64_t)st.st_size, timespec_ns(st.st_mtim),
				      timespec_ns(st.st_ctim));
}

static int keep_received(struct verify *verify)
{
	struct live *live = verify->live;
	struct stat st;
	int r;

	{
		scoped_lock(&live->lock);
		if (was_changed_locked(verify))
			return -ESTALE;
		r = blockmap_copy(receipt_map(live->receipt), &verify->map);
		if (r < 0)
			return r;
		verify->has_digest = receipt_digest(live->receipt, &verify->digest);
		if (fstat(verify->fd, &st) < 0)
			return -errno;
		if (live->state == FILE_RECEIVED)
			return 0; /* kept when it was closed */
		r = catalog_set_received(live->volume->catalog, live->id, verify->generation,
					 timespec_ns(st.st_mtim), timespec_ns(st.st_ctim),
					 &verify->map, verify->has_digest ? &verify->digest : NULL,
					 0);
		if (r < 0)
			return r;
		live->state = FILE_RECEIVED;
		cond_broadcast(&live->changed);
	}
	return keep_times(verify, &st);
}

static int find_received(struct verify *verify)
{
	int r = load_kept(verify);

	if (r != 0)
		return r < 0 ? r : 0;
	r = receive_again(verify);
	if (r < 0)
		return r;
	r = settle(verify);
	if (r < 0)
		return lost(verify, r);
	return keep_received(verify);
}

/* Reading back -------------------------------------------------------------------------- */

static int pace(void *arg, uint64_t bytes)
{
	struct verify *verify = arg;
	struct live *live = verify->live;

	{
		scoped_lock(&live->lock);
		if (was_changed_locked(verify) || live->unlinked)
			return 1;
	}
	return verify->host->pace(verify->host->arg, bytes);
}

static void drop_hashes(struct verify *verify)
{
	hashes_free(take_ptr(verify->hashes));
}

/* Never in the way of verifying: a hash that failed is made later, by reading once more. */
static int take_bytes(void *arg, const void *bytes, size_t length)
{
	struct verify *verify = arg;

	if (verify->hashes && hashes_update(verify->hashes, bytes, length) < 0)
		drop_hashes(verify);
	return 0;
}

/* What else manifests want of the bytes that were read back and are right. */
static void keep_hashes(struct verify *verify)
{
	struct content_hash hashes[HASH_FORMATS];
	size_t count = 0;

	for (size_t i = 0; verify->hashes && i < HASH_FORMATS; i++) {
		hashes[count].format = (enum hash_format)i;
		if ((verify->formats & HASH_BIT(i)) &&
		    hashes_final(verify->hashes, (enum hash_format)i, hashes[count].bytes) == 0)
			count++;
	}
	drop_hashes(verify);
	if (count)
		(void)catalog_put_hashes(verify->live->volume->catalog, verify->map.size,
					 &verify->found, hashes, count);
}

/* *ret_equal tells whether what was read is what was received. */
static int read_back(struct verify *verify, struct readback *readback, bool *ret_equal)
{
	int r;

	drop_hashes(verify);
	verify->formats = history_formats(verify->live->volume);
	verify->hashes = verify->formats ? hashes_new(verify->formats) : NULL;
	*readback = (struct readback){ .pace = pace, .arg = verify };
	if (verify->hashes)
		readback->tap = take_bytes;
	r = readback_file(verify->fd, readback);
	if (r < 0)
		return lost(verify, r);
	if (readback->source == READBACK_CACHED) {
		blockmap_fini(&readback->map);
		return -ENOTSUP;
	}
	*ret_equal = blockmap_equal(&readback->map, &verify->map) &&
		     (!verify->has_digest || digest_equal(&readback->digest, &verify->digest));
	return 0;
}

static void describe_mismatch(const struct verify *verify, const struct readback *readback,
			      char *text, size_t size)
{
	const struct blockmap *want = &verify->map, *got = &readback->map;
	uint64_t block = 0, count = 0;
	size_t used;

	if (want->size != got->size) {
		(void)snprintf(text, size, "%llu bytes were received, %llu are there",
			       (unsigned long long)want->size, (unsigned long long)got->size);
		return;
	}
	used = (size_t)snprintf(text, size, "what was read back is not what was received:");
	while ((block = blockmap_mismatch(want, got, block)) != UINT64_MAX) {
		if (count++ < DETAIL_BLOCKS && used < size)
			used += (size_t)snprintf(text + used, size - used,
						 " block at %llu was %016llx is %016llx;",
						 (unsigned long long)block * BLOCK_BYTES,
						 (unsigned long long)want->hash[block],
						 (unsigned long long)got->hash[block]);
		block++;
	}
	if (used < size)
		(void)snprintf(text + used, size - used, " %llu of %llu blocks differ",
			       (unsigned long long)count,
			       (unsigned long long)blockmap_count(want->size));
}

static int mismatched(struct verify *verify, const struct readback *readback)
{
	struct live *live = verify->live;
	char detail[DETAIL_BYTES];

	if (was_changed(verify))
		return -ESTALE;
	describe_mismatch(verify, readback, detail, sizeof(detail));
	live_damage(live, verify->generation, -EBADMSG, detail);
	return -EBADMSG;
}

static int take_step(struct verify *verify, enum step_flags flags)
{
	struct live *live = verify->live;

	return catalog_set_verified(live->volume->catalog, live->id, verify->generation,
				    &verify->found, &verify->map, flags);
}

/* The step is durable (0), or was refused (@step): now the others hear of it. */
static int tell_verified(struct verify *verify, int step)
{
	struct live *live = verify->live;
	struct volume *volume = live->volume;
	cleanup_free char *path = NULL;
	bool unlinked;
	int r;

	if (step < 0 && step != -ESTALE)
		return step;
	{
		scoped_lock(&live->lock);
		if (was_changed_locked(verify))
			return -ESTALE;
		if (step < 0)
			/* Its row went with its last name, or the catalog disagrees. */
			return live->unlinked ? 1 : -EAGAIN;
		live->state = FILE_VERIFIED;
		receipt_free(live->receipt);
		live->receipt = NULL;
		live->is_level = true;
		unlinked = live->unlinked;
		cond_broadcast(&live->changed);
	}
	if (unlinked)
		return 0;
	tell(live, "verified", &verify->found, NULL);
	historian_wake(volume->historian);
	r = catalog_path_of(volume->catalog, live->id, &path);
	if (r <= 0)
		return r; /* no name yet: whoever finds it queues it */
	r = transfer_file_verified(volume->transfer, live->id, verify->generation, path,
				   verify->map.size);
	if (volume->syncer)
		syncer_wake(volume->syncer); /* to announce it */
	return r;
}

static int verified(struct verify *verify, enum verify_flags flags)
{
	bool later = flags & VERIFY_STEP_LATER;
	int r = take_step(verify, later ? STEP_DURABLE | STEP_LATER : STEP_DURABLE);

	keep_hashes(verify);
	return later ? r : tell_verified(verify, r);
}

static int compare(struct verify *verify, enum verify_flags flags)
{
	struct readback readback;
	bool equal;
	int r;

	r = read_back(verify, &readback, &equal);
	if (r < 0)
		return r;
	if (!equal && was_changed(verify)) {
		blockmap_fini(&readback.map);
		return -ESTALE;
	}
	if (!equal) {
		/* Once more: a fault on the way is not one of the medium. */
		log_warning("inode %llu: what was read back is not what was received, "
			    "reading again",
			    (unsigned long long)verify->live->id);
		blockmap_fini(&readback.map);
		r = read_back(verify, &readback, &equal);
		if (r < 0)
			return r;
	}
	verify->found = readback.digest;
	r = equal ? verified(verify, flags) : mismatched(verify, &readback);
	blockmap_fini(&readback.map);
	return r;
}

/* The whole ----------------------------------------------------------------------------- */

static int verify_claimed(struct verify *verify, enum verify_flags flags)
{
	struct live *live = verify->live;
	int r = find_received(verify);

	if (r == 0 && !(flags & VERIFY_KEEP_ONLY))
		r = compare(verify, flags);
	if (r == -ECANCELED) {
		scoped_lock(&live->lock);
		if (live->unlinked)
			r = 1;
		else if (was_changed_locked(verify))
			r = -ESTALE;
	}
	return r;
}

static int run(struct verify *verify, enum verify_flags flags, const struct verify_host *host)
{
	int r;

	verify->host = host;
	r = claim(verify, flags);
	if (r == 0)
		r = verify_claimed(verify, flags);
	if (r != 0 || !(flags & VERIFY_STEP_LATER))
		release(verify);
	return r;
}

int verify_open(struct volume *volume, uint64_t id, struct live_look *look,
		struct verify **ret_verify)
{
	cleanup_with(verify_free_slot) struct verify *verify = calloc(1, sizeof(*verify));
	struct stat st;
	int r;

	if (!verify)
		return -ENOMEM;
	verify->fd = open_for_reading(volume, id);
	/* -ENXIO: another kind of file has its number by now. */
	if (verify->fd == -ESTALE || verify->fd == -ENOENT || verify->fd == -ENXIO)
		return 1;
	if (verify->fd < 0)
		return verify->fd;
	if (fstat(verify->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 1;
	verify->size = (uint64_t)st.st_size;
	r = live_get_in_turn(volume, id, verify->fd, look, &verify->live);
	if (r == 0)
		*ret_verify = take_ptr(verify);
	return r;
}

void verify_prepare(const struct verify *verify)
{
	/* Its errors stay with the file, for the sync to find. */
	(void)sync_file_range(verify->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

uint64_t verify_size(const struct verify *verify)
{
	return verify->size;
}

int verify_run(struct verify *verify, const struct verify_host *host)
{
	return run(verify, VERIFY_STEP_LATER, host);
}

int verify_end(struct verify *verify)
{
	struct live *live = verify->live;
	struct node_row row;
	int r = catalog_get_node(live->volume->catalog, live->id, &row);

	if (r == 1 && row.generation == verify->generation && file_state_is_verified(row.state))
		r = tell_verified(verify, 0);
	else /* refused: again by itself, which says why */
		r = tell_verified(verify, take_step(verify, STEP_DURABLE));
	release(verify);
	return r;
}

void verify_free(struct verify *verify)
{
	if (!verify)
		return;
	if (verify->live)
		release(verify);
	blockmap_fini(&verify->map);
	drop_hashes(verify);
	live_put(verify->live);
	if (verify->fd >= 0)
		(void)close(verify->fd); /* opened for reading */
	free(verify);
}

int verify_file(struct volume *volume, uint64_t id, enum verify_flags flags,
		const struct verify_host *host)
{
	cleanup_with(verify_free_slot) struct verify *verify = NULL;
	int r = verify_open(volume, id, NULL, &verify);

	return r == 0 ? run(verify, flags, host) : r;
}
