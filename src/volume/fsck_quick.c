/* SPDX-License-Identifier: Apache-2.0 */

/* Without reading media: the catalog against itself, against the tree, and what it says. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/check.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/thread.h"
#include "volume/fsck_parts.h"
#include "volume/level.h"
#include "volume/level_walk.h"

/* A daemon's queue is in the catalog after 200 ms; anything still different later is. */
#define MOMENT_NS NS_PER_SEC

static void pause_for(int64_t ns)
{
	struct timespec ts = ns_timespec(ns);

	(void)nanosleep(&ts, NULL); /* shorter when a signal comes: the stop is looked at next */
}

/* The catalog against itself -------------------------------------------------------------- */

struct item {
	const char *what; /* static */
	uint64_t id;
	char *text; /* owned */
};

struct items {
	struct item *items; /* owned */
	size_t count, room;
};

static void items_fini(struct items *items)
{
	for (size_t i = 0; i < items->count; i++)
		free(items->items[i].text);
	free(items->items);
	*items = (struct items){ 0 };
}

static int keep_item(void *arg, const struct catalog_finding *finding)
{
	struct items *items = arg;
	struct item item = { .what = finding->what, .id = finding->id };

	if (items->count == items->room) {
		size_t room = items->room ? items->room * 2 : 16;
		struct item *moved = reallocarray(items->items, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		items->items = moved;
		items->room = room;
	}
	item.text = strdup(finding->text);
	if (!item.text)
		return -ENOMEM;
	items->items[items->count++] = item;
	return 0;
}

static bool has_item(const struct items *items, const struct item *item)
{
	for (size_t i = 0; i < items->count; i++)
		if (items->items[i].id == item->id && strcmp(items->items[i].what, item->what) == 0)
			return true;
	return false;
}

/* Beside a daemon: only what is found twice. */
static int find_items(struct fsck *fsck, struct items *items)
{
	struct items again = { 0 };
	size_t kept = 0;
	int r = catalog_check(fsck->catalog, keep_item, items);

	if (r <= 0 || !fsck->mounted || items->count == 0)
		return r < 0 ? r : 0;
	pause_for(MOMENT_NS);
	r = catalog_check(fsck->catalog, keep_item, &again);
	for (size_t i = 0; i < items->count; i++) {
		if (r < 0 || has_item(&again, &items->items[i]))
			items->items[kept++] = items->items[i];
		else
			free(items->items[i].text);
	}
	items->count = kept;
	items_fini(&again);
	return r < 0 ? r : 0;
}

/* What catalog_mend() mends. */
static bool is_mendable(const char *what)
{
	static const char *const kinds[] = { "name without node",
					     "name without folder",
					     "node without name",
					     "unreachable",
					     "totals",
					     "queue totals" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(what, kinds[i]) == 0)
			return true;
	return false;
}

int fsck_requeue(struct fsck *fsck, const struct node_row *row)
{
	int r;

	if (row->state != FILE_QUEUED && row->state != FILE_UPLOADING && row->state != FILE_STORED)
		return 0;
	r = catalog_set_state(fsck->catalog, row->id, row->generation, FILE_VERIFIED, STEP_WAIT);
	return r == -ESTALE ? 0 : r < 0 ? r : 1;
}

/* Nothing is known of its bytes: what is there is received again, if all of it is there. */
static int receive_again(struct fsck *fsck, struct node_row *row, const char *path)
{
	cleanup_close int fd = fsck_open_file(fsck, row, path, O_RDONLY);
	struct residency residency;
	int r;

	if (fd < 0)
		return fd == -ESTALE ? 0 : fd;
	r = residency_read(fd, &residency);
	if (r != 0 && (r != 1 || !residency_full(&residency)))
		return 0;
	row->generation++;
	row->state = FILE_RECEIVING;
	row->content = 0;
	row->error = 0;
	row->resident_bytes = row->size;
	r = catalog_put_node(fsck->catalog, row);
	return r < 0 ? r : 1;
}

/* 1: mended, 0: not, or an error. */
static int mend_item(struct fsck *fsck, const struct item *item, const char *path)
{
	struct node_row row;
	int r;

	if (!fsck->can_repair)
		return 0;
	if (strcmp(item->what, "file not queued") != 0 &&
	    strcmp(item->what, "file without good copy") != 0 &&
	    strcmp(item->what, "file without content") != 0)
		return 0;
	r = catalog_get_node(fsck->catalog, item->id, &row);
	if (r <= 0)
		return r;
	if (strcmp(item->what, "file without content") == 0)
		return receive_again(fsck, &row, path);
	return fsck_requeue(fsck, &row);
}

static int tell_item(struct fsck *fsck, const struct item *item, bool mended)
{
	bool of_file = strncmp(item->what, "file ", 5) == 0;
	cleanup_free char *path = of_file ? fsck_path(fsck, item->id) : strdup("");
	int r = 0;

	if (!path)
		return -ENOMEM;
	if (!mended && of_file) {
		r = mend_item(fsck, item, path);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot mend %s in the catalog", path);
	}
	if (of_file || !item->id)
		fsck_tell(fsck, mended || r == 1 ? FSCK_CORRECTED : FSCK_LEFT, item->what, path,
			  "%s%s", item->text, r == 1 ? "; it goes through it again" : "");
	else
		fsck_tell(fsck, mended ? FSCK_CORRECTED : FSCK_LEFT, item->what, "", "%llu: %s",
			  (unsigned long long)item->id, item->text);
	return 0;
}

static int mend_catalog(struct fsck *fsck, const struct items *items)
{
	bool mendable = false, mended = false;
	int r = 0;

	for (size_t i = 0; i < items->count; i++)
		mendable |= is_mendable(items->items[i].what);
	if (mendable && fsck->can_repair) {
		r = catalog_mend(fsck->catalog);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot mend the catalog");
		mended = true;
	}
	for (size_t i = 0; r == 0 && i < items->count; i++)
		r = tell_item(fsck, &items->items[i], mended && is_mendable(items->items[i].what));
	return r;
}

/* The catalog against the tree ------------------------------------------------------------ */

static void tell_difference(struct fsck *fsck, const char *what, const char *path)
{
	static const struct {
		const char *what, *detail;
	} texts[] = {
		{ "added", "it is in the tree and not in the catalog" },
		{ "renamed", "the catalog has it under another name" },
		{ "changed", "size, times or type are not what the catalog says" },
		{ "touched", "only mode or change time are not what the catalog says" },
		{ "marked", "what is resident of it is not what the catalog says" },
		{ "missing", "it is in the catalog and not in the tree" },
	};
	bool harmless = strcmp(what, "touched") == 0;
	const char *detail = "";

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].what, what) == 0)
			detail = texts[i].detail;
	fsck_tell(fsck,
		  harmless           ? FSCK_NOTE
		  : fsck->can_repair ? FSCK_CORRECTED
				     : FSCK_LEFT,
		  what, path, "%s", detail);
}

/* Whoever touched it may have changed its bytes: they are read, once the catalog is level. */
static void note_touched(struct fsck *fsck, const char *path)
{
	struct node_row row;

	if (fsck->can_repair && catalog_lookup_path(fsck->catalog, path, &row) == 1 &&
	    S_ISREG(row.mode))
		(void)fsck_add_id(&fsck->touched, &row); /* without memory: the scrub has it */
}

static void hear(void *arg, const char *what, const char *path)
{
	struct fsck *fsck = arg;

	bool touched = strcmp(what, "touched") == 0;

	if (touched)
		note_touched(fsck, path);
	if (!touched || !fsck->copied) /* a copy is all that */
		tell_difference(fsck, what, path);
}

static int level_offline(struct fsck *fsck)
{
	struct level_report report;
	int r = level_tree(fsck->store, fsck->catalog, fsck->can_repair ? LEVEL_FIX : 0,
			   fsck->host->stop, hear, fsck, &report);

	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return fsck_fail(fsck, r, "cannot compare the catalog with %s/tree",
				 fsck->store->path);
	fsck->report.names = report.nodes;
	return 0;
}

/* A difference seen beside a running daemon, and what was seen of it. */
struct suspect {
	char *path; /* owned */
	uint64_t parent;
	enum level_kind kind;
	uint64_t id, generation;
	int64_t mtime_ns, ctime_ns, row_mtime_ns, row_ctime_ns, row_state_ns;
	bool still; /* the same at the last look */
};

struct suspects {
	struct suspect *list; /* owned */
	size_t count, room;
};

static struct suspect suspect_of(const struct level_find *find)
{
	struct suspect suspect = {
		.parent = find->parent,
		.kind = find->kind,
		.id = find->id,
		.mtime_ns = timespec_ns(find->st.st_mtim),
		.ctime_ns = timespec_ns(find->st.st_ctim),
	};

	if (find->has_row) {
		suspect.generation = find->row.generation;
		suspect.row_mtime_ns = find->row.mtime_ns;
		suspect.row_ctime_ns = find->row.ctime_ns;
		suspect.row_state_ns = find->row.state_ns;
	}
	return suspect;
}

static bool is_still(const struct suspect *a, const struct suspect *b)
{
	return a->kind == b->kind && a->id == b->id && a->generation == b->generation &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
	       a->row_mtime_ns == b->row_mtime_ns && a->row_ctime_ns == b->row_ctime_ns &&
	       a->row_state_ns == b->row_state_ns;
}

static int suspect_it(void *arg, const struct level_find *find)
{
	struct suspects *suspects = arg;
	struct suspect suspect = suspect_of(find);

	if (suspects->count == suspects->room) {
		size_t room = suspects->room ? suspects->room * 2 : 64;
		struct suspect *moved = reallocarray(suspects->list, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		suspects->list = moved;
		suspects->room = room;
	}
	suspect.path = strdup(find->path);
	if (!suspect.path)
		return -ENOMEM;
	suspects->list[suspects->count++] = suspect;
	return 0;
}

/* Drop what is no more; mark what did not move since the last look. */
static int look_again(struct fsck *fsck, struct suspects *suspects)
{
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < suspects->count; i++) {
		struct suspect *suspect = &suspects->list[i], now = { 0 };
		struct level_find find = { 0 };

		if (r == 0)
			r = level_look(fsck->store, fsck->catalog, suspect->parent, suspect->path,
				       &find);
		if (r == 0 && find.kind == LEVEL_SAME) {
			free(suspect->path);
			continue;
		}
		if (r == 0) {
			now = suspect_of(&find);
			now.still = is_still(suspect, &now);
			now.path = suspect->path;
		}
		suspects->list[kept++] = r == 0 ? now : *suspect;
	}
	suspects->count = kept;
	return r;
}

/*
 * A first look at the tree, in a thread of its own while the catalog is checked against itself:
 * of a mounted store all that differs, else only whether anything does.
 */
struct glance {
	struct fsck *fsck; /* borrowed */
	struct thread thread;
	struct suspects suspects; /* owned */
	uint64_t names;
	int result; /* 1: something differs, 0: nothing, -errno */
};

static int differs(void *arg, const struct level_find *find)
{
	(void)arg;
	(void)find;
	return 1;
}

static void *glance_main(void *arg)
{
	struct glance *glance = arg;
	struct fsck *fsck = glance->fsck;

	glance->result =
		level_walk(fsck->store, fsck->catalog, fsck->host->stop,
			   fsck->mounted ? suspect_it : differs, &glance->suspects, &glance->names);
	return NULL;
}

static void glance_fini(struct glance *glance)
{
	for (size_t i = 0; i < glance->suspects.count; i++)
		free(glance->suspects.list[i].path);
	free(glance->suspects.list);
}

/* What still differs and does not move is a difference; what moves is being worked on. */
static int level_mounted(struct fsck *fsck, struct glance *glance)
{
	struct suspects *suspects = &glance->suspects;
	int r = glance->result;

	fsck->report.names = glance->names;
	if (r == 0 && suspects->count) {
		pause_for(MOMENT_NS);
		r = fsck_stopped(fsck) ? -ECANCELED : look_again(fsck, suspects);
	}
	for (size_t i = 0; r == 0 && i < suspects->count; i++)
		if (suspects->list[i].still)
			tell_difference(fsck, level_kind_name(suspects->list[i].kind),
					suspects->list[i].path);
	if (r < 0 && r != -ECANCELED)
		(void)fsck_fail(fsck, r, "cannot compare the catalog with %s/tree",
				fsck->store->path);
	return r;
}

/* States ---------------------------------------------------------------------------------- */

static int tell_damaged(struct fsck *fsck)
{
	struct fsck_ids ids = { 0 };
	int r = fsck_collect(fsck, 1u << FILE_DAMAGED, &ids);

	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		cleanup_free char *path = fsck_path(fsck, ids.ids[i]);
		struct node_row row;

		r = path ? catalog_get_node(fsck->catalog, ids.ids[i], &row) : -ENOMEM;
		if (r == 1)
			fsck_tell(fsck, FSCK_LEFT, "damaged", path, "%s%s", error_text(row.error),
				  row.content ? "; --full says which blocks, -p tries to mend them"
					      : "");
		r = r < 0 ? r : 0;
	}
	free(ids.ids);
	return r;
}

static int tell_aside(void *arg, const struct queue_row *row)
{
	struct fsck *fsck = arg;
	cleanup_free char *path = row->poison ? fsck_path(fsck, row->id) : NULL;

	if (path)
		fsck_tell(fsck, FSCK_NOTE, "set aside", path, "not sent after %u attempts: %s",
			  row->attempts, error_text(row->error));
	return 0;
}

static int check_states(struct fsck *fsck)
{
	struct catalog_totals totals;
	int r = catalog_barrier(fsck->catalog);

	if (r == 0 || r == -EROFS)
		r = catalog_get_totals(fsck->catalog, &totals);
	if (r < 0)
		return fsck_fail(fsck, r, "cannot read the totals of the catalog");
	fsck->report.unverified = totals.files[FILE_RECEIVING] + totals.files[FILE_RECEIVED];
	r = catalog_each_queued(fsck->catalog, tell_aside, fsck);
	if (r < 0)
		return fsck_fail(fsck, r, "cannot read the queue in the catalog");
	/* Else they are looked at block by block. */
	if (!totals.files[FILE_DAMAGED] || (fsck->flags & FSCK_FULL) || fsck->can_repair)
		return 0;
	return tell_damaged(fsck);
}

/* Two threads, as most time goes into pages of the catalog and inodes of the tree. */
static int look(struct fsck *fsck, struct items *items, struct glance *glance)
{
	bool beside = thread_start(&glance->thread, "fsck-tree", glance_main, glance) == 0;
	int r = find_items(fsck, items);

	if (beside)
		thread_join(&glance->thread);
	else
		(void)glance_main(glance);
	return r < 0 ? fsck_fail(fsck, r, "cannot check the catalog") : 0;
}

static int compare_tree(struct fsck *fsck, const struct items *items, struct glance *glance)
{
	int r = 0;

	if (fsck->mounted)
		return level_mounted(fsck, glance);
	if (glance->result == 0 && items->count == 0)
		fsck->report.names = glance->names;
	else /* the catalog may have been mended since */
		r = level_offline(fsck);
	if (r == 0 && fsck->can_repair)
		catalog_keep_unclean(fsck->catalog, false);
	return r;
}

int fsck_quick(struct fsck *fsck)
{
	cleanup_with(items_fini) struct items items = { 0 };
	cleanup_with(glance_fini) struct glance glance = { .fsck = fsck };
	int r = look(fsck, &items, &glance);

	if (r == 0)
		r = mend_catalog(fsck, &items);
	if (r == 0)
		r = compare_tree(fsck, &items, &glance);
	return r == 0 ? check_states(fsck) : r;
}
