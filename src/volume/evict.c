/* SPDX-License-Identifier: Apache-2.0 */

/* Eviction (volume/hydrate.h): blocks of a stored file go, when enough copies are good now. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/hydrate.h"
#include "volume/tree.h"

struct eviction {
	struct volume *volume;
	struct live *live;
	uint64_t generation;
	struct node_row node;
	struct content_row content;
	char *path; /* owned */
	int fd;     /* owned */
	struct residency before, after;
};

static void eviction_free(struct eviction *eviction)
{
	if (eviction->fd >= 0)
		(void)close(eviction->fd);
	content_row_fini(&eviction->content);
	live_put(eviction->live);
	free(eviction->path);
	free(eviction);
}
DEFINE_CLEANUP(struct eviction *, eviction_free)

/* May it go, as far as we can see without asking a tier? */
static int may_evict_locked(const struct live *live, uint64_t generation)
{
	if (live->generation != generation)
		return -ESTALE;
	if (live->writers > 0 || live->readers > 0 || live->moving || live->verifying ||
	    live->putting_back > 0)
		return -EBUSY;
	switch (live->state) {
	case FILE_STORED:
	case FILE_EVICTED:
		break;
	case FILE_HYDRATING:
		return -EBUSY;
	default:
		return -EPERM;
	}
	return live->error || live->unlinked ? -EPERM : 0;
}

/* The catalog's side: which content, pinned or not. */
static int look_up(struct eviction *eviction, uint64_t id)
{
	struct catalog *catalog = eviction->volume->catalog;
	int r;

	r = catalog_barrier(catalog);
	if (r == 0)
		r = catalog_get_node(catalog, id, &eviction->node);
	if (r < 0)
		return r;
	if (r == 0)
		return -ENOENT;
	if (!S_ISREG(eviction->node.mode) || (eviction->node.flags & NODE_PINNED) ||
	    !file_state_is_stored(eviction->node.state) || !eviction->node.content)
		return -EPERM;
	eviction->generation = eviction->node.generation;
	r = catalog_get_content(catalog, eviction->node.content, &eviction->content);
	if (r == 0)
		return -EUCLEAN;
	return r < 0 ? r : 0;
}

/* What is here now and what is to stay. */
static int plan_locked(struct eviction *eviction)
{
	struct live *live = eviction->live;
	const struct content_row *content = &eviction->content;
	struct residency *before = &eviction->before;
	struct stat st;
	int r;

	if (fstat(eviction->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != content->size)
		return -ESTALE;
	r = residency_read(eviction->fd, before);
	if (r < 0)
		return r;
	if (r == 0) {
		residency_init(before, content->size, &content->digest);
		for (uint64_t block = 0; block < blockmap_count(content->size); block++)
			residency_set(before, block);
	}
	if (before->size != content->size || !digest_equal(&before->digest, &content->digest))
		return -EUCLEAN;
	before->shown_ctime_ns = residency_ctime(before, timespec_ns(st.st_ctim));
	if (live->has_residency)
		memcpy(before->bits, live->residency.bits, sizeof(before->bits));
	eviction->after = *before;
	residency_keep_ends(&eviction->after);
	return 0;
}

/* Enough good copies, read back from their media in this moment? */
static int ask_tiers(struct eviction *eviction)
{
	struct volume *volume = eviction->volume;
	int required = (int)volume_setting(volume, SETTING_REQUIRED_COPIES);
	struct transfer_count count;
	int r = transfer_recheck(volume->transfer, &eviction->content, &count);

	if (r < 0)
		return r;
	if (count.good > 0 && count.good >= required)
		return 0;
	if (count.unsettled > 0 && count.good + count.unsettled >= required)
		return -ENOTUNIQ;
	log_warning("%s: not evicted: %d good copies now, %d required", eviction->path, count.good,
		    required);
	/* All of it is still here: what the tiers lost can be sent again. */
	if (residency_full(&eviction->before))
		(void)transfer_file_verified(volume->transfer, eviction->node.id,
					     eviction->generation, eviction->path,
					     eviction->content.size);
	return -ENOTRECOVERABLE;
}

/* The intent is on disk before the first block goes. */
static int tell(struct eviction *eviction, const char *event, uint64_t bytes, bool durable)
{
	char hex[DIGEST_HEX_SIZE], detail[64];

	digest_hex(&eviction->content.digest, hex);
	(void)snprintf(detail, sizeof(detail), "%" PRIu64 " bytes", bytes);
	volume_event(eviction->volume, "daemon", event, eviction->path, hex, detail);
	return durable ? catalog_flush(eviction->volume->catalog) : 0;
}

/* The catalog follows what is on disk. */
static void mirror(struct eviction *eviction, const struct residency *now)
{
	struct catalog *catalog = eviction->volume->catalog;
	struct live *live = eviction->live;
	struct stat st;

	(void)catalog_set_state(catalog, live->id, live->generation, live->state, 0);
	(void)catalog_set_resident(catalog, live->id, live->generation, residency_bytes(now));
	if (fstat(eviction->fd, &st) == 0)
		(void)catalog_set_attributes(catalog, live->id, st.st_mode, (uint64_t)st.st_size,
					     timespec_ns(st.st_mtim), timespec_ns(st.st_ctim));
}

/*
 * First the record that the blocks are gone, then the blocks. When punching fails in the
 * middle, blocks that are still there count as gone: they come back from a tier if wanted.
 */
static int punch(struct eviction *eviction)
{
	struct live *live = eviction->live;
	struct stat st;
	int r;

	scoped_lock(&live->lock);
	r = residency_write(eviction->fd, &eviction->after);
	if (r == 0) {
		live->has_residency = true;
		live->residency = eviction->after;
		live->state = FILE_EVICTED;
		live->changes++; /* who looked at its blocks before has to look again */
		r = residency_punch(eviction->fd, &eviction->after);
		if (fstat(eviction->fd, &st) == 0)
			live->residency.written_ns = timespec_ns(st.st_ctim);
		mirror(eviction, &eviction->after);
	}
	live->moving = false;
	cond_broadcast(&live->changed);
	return r;
}

static int begin_moving(struct eviction *eviction)
{
	struct live *live = eviction->live;
	int r;

	scoped_lock(&live->lock);
	r = may_evict_locked(live, eviction->generation);
	if (r == 0)
		r = plan_locked(eviction);
	if (r == 0)
		live->moving = true;
	return r;
}

static void end_moving(struct live *live)
{
	scoped_lock(&live->lock);
	live->moving = false;
	cond_broadcast(&live->changed);
}

static int open_eviction(struct volume *volume, uint64_t id, struct eviction *eviction)
{
	int r;

	eviction->volume = volume;
	eviction->fd = tree_open(volume, id, O_RDONLY | O_CLOEXEC | O_NOATIME);
	if (eviction->fd == -EPERM)
		eviction->fd = tree_open(volume, id, O_RDONLY | O_CLOEXEC);
	if (eviction->fd < 0)
		return eviction->fd;
	eviction->path = volume_path_of(volume, id);
	if (!eviction->path)
		return -ENOMEM;
	r = live_get(volume, id, eviction->fd, &eviction->live);
	if (r < 0)
		return r;
	r = look_up(eviction, id);
	if (r < 0)
		return r;
	scoped_lock(&eviction->live->lock);
	r = may_evict_locked(eviction->live, eviction->generation);
	return r < 0 ? r : plan_locked(eviction);
}

int64_t evict_file(struct volume *volume, uint64_t id)
{
	cleanup_with(eviction_free_slot) struct eviction *eviction = calloc(1, sizeof(*eviction));
	uint64_t bytes;
	int r;

	if (!eviction)
		return -ENOMEM;
	eviction->fd = -1;
	r = open_eviction(volume, id, eviction);
	if (r < 0)
		return r;
	bytes = residency_bytes(&eviction->before) - residency_bytes(&eviction->after);
	if (bytes == 0)
		return 0;
	r = ask_tiers(eviction);
	if (r == 0)
		r = tell(eviction, "evicting", bytes, true);
	if (r == 0)
		r = begin_moving(eviction); /* much may have happened while the tiers were asked */
	if (r < 0)
		return r;
	bytes = residency_bytes(&eviction->before) - residency_bytes(&eviction->after);
	r = bytes ? punch(eviction) : 0;
	if (!bytes)
		end_moving(eviction->live);
	if (r < 0) {
		log_error_errno(r, "%s: cannot be evicted", eviction->path);
		return r;
	}
	(void)tell(eviction, "evicted", bytes, false);
	return (int64_t)bytes;
}
