/* SPDX-License-Identifier: Apache-2.0 */

/* The leveller of a mounted volume (volume/level.h): what is found is looked at again with
 * the folder held, and a live file is asked first. */
#include <stdatomic.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/level.h"
#include "volume/level_fix.h"
#include "volume/level_pass.h"
#include "volume/live.h"
#include "volume/node.h"
#include "volume/verifier.h"

struct leveller {
	struct volume *volume; /* borrowed, outlives us */
	struct thread thread;
	_Atomic bool stop;
	struct level_pass pass; /* of the thread */
};

/* 1: nobody uses the bytes, and *ret_changes tells later whether somebody did. */
static int look_idle(struct live *live, uint64_t *ret_changes)
{
	scoped_lock(&live->lock);
	if (live->writers || live->moving || live->verifying || live->receipt)
		return 0;
	*ret_changes = live->changes;
	return 1;
}

/* Queue @row and let @live follow, unless it was changed meanwhile. 1: done. */
static int put_live(struct volume *volume, struct live *live, uint64_t changes,
		    const struct level_find *find, const struct node_row *row,
		    const struct residency *residency)
{
	int r;

	scoped_lock(&live->lock);
	if (live->changes != changes || live->writers || live->moving || live->verifying)
		return 0;
	r = level_put_row(volume->catalog, find, row);
	if (r < 0)
		return r;
	live->generation = row->generation;
	live->state = row->state;
	live->content = row->content;
	live->error = row->error;
	live->is_level = row->state != FILE_RECEIVING;
	if (live->has_map)
		blockmap_fini(&live->map);
	live->has_map = live->no_map = false;
	live->has_residency = residency;
	if (residency)
		live->residency = *residency;
	live->changes++;
	cond_broadcast(&live->changed);
	return 1;
}

static int fix_live_file(struct volume *volume, const struct level_find *find)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	cleanup_close int fd = level_open(volume->store, find);
	struct residency residency;
	struct node_row row;
	uint64_t changes;
	int has, r;

	if (fd < 0)
		return fd == -ESTALE ? 0 : fd;
	r = live_get(volume, find->id, fd, &live);
	if (r < 0)
		return r == -EUCLEAN ? 0 : r; /* nothing of it may be read: fsck mends it */
	if (!look_idle(live, &changes)) {
		if (find->kind == LEVEL_ADDED)
			r = catalog_put_name(volume->catalog, find->parent, find->name, find->id);
		/* Who made it RECEIVING may have been a daemon that died: nobody else asks. */
		return r < 0 ? r : verifier_add(volume->verifier, find->id);
	}
	r = level_make_row(volume->store, volume->catalog, find, &row);
	if (r < 0)
		return r == -ESTALE ? 0 : r;
	has = residency_read(fd, &residency);
	if (has < 0)
		has = 0; /* the row is DAMAGED then */
	r = put_live(volume, live, changes, find, &row,
		     has && !residency_full(&residency) ? &residency : NULL);
	if (r == 1 && (row.state == FILE_RECEIVING || row.state == FILE_RECEIVED))
		r = verifier_add(volume->verifier, find->id);
	return r < 0 ? r : 0;
}

static int fix_live_other(struct volume *volume, const struct level_find *find)
{
	struct node_row row;
	int r = level_make_row(volume->store, volume->catalog, find, &row);

	return r < 0 ? r : level_put_row(volume->catalog, find, &row);
}

/* Between nodes_enter() and nodes_leave(): what is seen of the name stays so. */
static int fix_entered(struct leveller *leveller, const struct level_find *find)
{
	struct volume *volume = leveller->volume;
	struct level_find again;
	int r = catalog_barrier(volume->catalog);

	if (r == 0)
		r = level_look(volume->store, volume->catalog, find->parent, find->path, &again);
	if (r < 0 || again.kind == LEVEL_SAME)
		return r;
	log_debug("level: %s is %s", again.path, level_kind_name(again.kind));
	if (again.kind == LEVEL_MISSING)
		return level_remove(volume->catalog, &again, level_pass_moved, &leveller->pass);
	return S_ISREG(again.st.st_mode) ? fix_live_file(volume, &again)
					 : fix_live_other(volume, &again);
}

static int fix_live(void *arg, const struct level_find *find)
{
	struct leveller *leveller = arg;
	struct nodes *nodes = leveller->volume->nodes;
	int r = nodes_enter(nodes, find->parent, 0);

	if (r < 0)
		return r;
	r = fix_entered(leveller, find);
	nodes_leave(nodes, find->parent, 0);
	return r;
}

static int verify_found(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return verifier_add(arg, row->id);
}

/* The verifier asked for these at the start, when their paths may not have been right yet. */
static int verify_again(struct volume *volume)
{
	unsigned unverified = 1u << FILE_RECEIVING | 1u << FILE_RECEIVED;
	int r = catalog_barrier(volume->catalog);

	return r < 0 ? r
		     : catalog_each_file(volume->catalog, unverified, 0, verify_found,
					 volume->verifier);
}

static void *leveller_main(void *arg)
{
	struct leveller *leveller = arg;
	struct level_pass *pass = &leveller->pass;
	const struct level_report *report = &pass->report;
	int64_t start_ns = monotonic_ns();
	int r;

	/* Ended too early: the next start goes on. */
	catalog_keep_unclean(pass->catalog, true);
	r = level_pass_run(pass);
	if (r == 0)
		r = verify_again(leveller->volume);
	catalog_keep_unclean(pass->catalog, r < 0);
	if (r == 0)
		log_info("catalog level with the tree after %lld ms: %llu names, %llu added, "
			 "%llu renamed, %llu changed, %llu touched, %llu missing",
			 (long long)((monotonic_ns() - start_ns) / NS_PER_MS),
			 (unsigned long long)report->nodes, (unsigned long long)report->added,
			 (unsigned long long)report->renamed, (unsigned long long)report->changed,
			 (unsigned long long)(report->touched + report->marked),
			 (unsigned long long)report->missing);
	else if (r != -ECANCELED)
		log_error_errno(r, "cannot bring the catalog level with the tree");
	return NULL;
}

struct leveller *leveller_new(struct volume *volume)
{
	struct leveller *leveller = calloc(1, sizeof(*leveller));

	if (!leveller)
		return NULL;
	leveller->volume = volume;
	leveller->pass = (struct level_pass){
		.store = volume->store,
		.catalog = volume->catalog,
		.stop = &leveller->stop,
		.fix = fix_live,
		.arg = leveller,
	};
	return leveller;
}

int leveller_start(struct leveller *leveller)
{
	struct volume *volume = leveller->volume;

	if (!catalog_was_unclean(volume->catalog))
		return 0;
	/* Where other sites' files are shown, the tree changes though nobody may write to it. */
	if ((volume->flags & VOLUME_READ_ONLY) && !volume->syncer)
		return 0;
	return thread_start(&leveller->thread, "level", leveller_main, leveller);
}

void leveller_free(struct leveller *leveller)
{
	if (!leveller)
		return;
	leveller->stop = true;
	thread_join(&leveller->thread);
	level_pass_fini(&leveller->pass);
	free(leveller);
}
