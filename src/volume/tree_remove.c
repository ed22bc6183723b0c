/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/offloads.h"
#include "util/cleanup.h"
#include "volume/historian.h"
#include "volume/seals.h"
#include "volume/tree.h"

void tree_lost_name(struct volume *volume, int path_fd)
{
	struct live *live;
	struct stat st;
	uint64_t id;

	if (fstat(path_fd, &st) < 0)
		return;
	id = store_node_id(volume->store, &st);
	/* File systems differ in what a removed folder's link count is: it had one name only. */
	if (st.st_nlink > 0 && !S_ISDIR(st.st_mode)) {
		/* Another name is left, but which one we do not know. */
		if (!volume->store->by_handle)
			nodes_unnamed(volume->nodes, id, path_fd);
		(void)tree_queue_attributes(volume,
					    &st); /* ctime; an error sticks to the catalog */
		return;
	}
	nodes_unnamed(volume->nodes, id, path_fd);
	live = live_peek(volume, id);
	if (!live)
		return;
	mutex_lock(&live->lock);
	live->unlinked = true;
	mutex_unlock(&live->lock);
	live_put(live);
}

static int remove_name(struct volume *volume, uint64_t parent, const char *name, int flags)
{
	cleanup_close int fd = -1; /* outlives the change: see tree_lost_name() */
	cleanup_with(tree_end) struct tree_change change = { 0 };
	int r;

	r = tree_check_name(name);
	if (r == 0)
		r = tree_begin_removal(volume, parent, &change);
	if (r < 0)
		return r;
	fd = openat(change.fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = seals_check_name(volume->seals, parent, name, fd);
	if (r < 0)
		return r;
	if (unlinkat(change.fd, name, flags) < 0)
		return -errno;
	tree_lost_name(volume, fd);
	return catalog_remove_name(volume->catalog, parent, name);
}

int volume_unlink(struct volume *volume, uint64_t parent, const char *name)
{
	return remove_name(volume, parent, name, 0);
}

int volume_rmdir(struct volume *volume, uint64_t parent, const char *name)
{
	return remove_name(volume, parent, name, AT_REMOVEDIR);
}

struct renaming {
	struct volume *volume;
	uint64_t parent, new_parent;
	const char *name, *new_name;
	unsigned flags;
	int source, target; /* O_PATH, owned; target -1 when the new name is free */
	uint64_t source_id, target_id;
};

static int open_ends(struct renaming *renaming, const struct tree_change *change)
{
	int to = change->other ? change->other_fd : change->fd;
	struct stat st;

	renaming->source = openat(change->fd, renaming->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (renaming->source < 0 || fstat(renaming->source, &st) < 0)
		return -errno;
	renaming->source_id = store_node_id(renaming->volume->store, &st);
	renaming->target = openat(to, renaming->new_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (renaming->target < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(renaming->target, &st) < 0)
		return -errno;
	renaming->target_id = store_node_id(renaming->volume->store, &st);
	return 0;
}

/* What moves, what is replaced or exchanged, and where it goes. An exchanged one goes to where the
 * other may leave, which asks more. */
static int check_seals(const struct renaming *renaming)
{
	struct seals *seals = renaming->volume->seals;
	int r = seals_check_name(seals, renaming->parent, renaming->name, renaming->source);

	if (r == 0 && renaming->target >= 0)
		r = seals_check_name(seals, renaming->new_parent, renaming->new_name,
				     renaming->target);
	if (r == 0)
		r = seals_check_new(seals, renaming->new_parent, renaming->new_name);
	return r;
}

/* After the disk did it. */
static int tell_renamed(struct renaming *renaming)
{
	struct volume *volume = renaming->volume;
	bool exchange = renaming->flags & RENAME_EXCHANGE;

	/* Two names of one file: nothing happened. */
	if (renaming->target >= 0 && renaming->source_id == renaming->target_id && !exchange)
		return 0;
	if (exchange)
		nodes_renamed(volume->nodes, renaming->target_id, renaming->parent, renaming->name);
	else if (renaming->target >= 0)
		tree_lost_name(volume, renaming->target);
	nodes_renamed(volume->nodes, renaming->source_id, renaming->new_parent, renaming->new_name);
	return catalog_move_name(volume->catalog, renaming->parent, renaming->name,
				 renaming->new_parent, renaming->new_name,
				 exchange ? MOVE_EXCHANGE : 0);
}

/* The backing file system gives a renamed inode a new ctime. */
static void queue_ctime(struct volume *volume, int path_fd)
{
	struct stat st;

	if (path_fd >= 0 && fstat(path_fd, &st) == 0 && st.st_nlink > 0)
		(void)tree_queue_attributes(volume, &st); /* it is renamed all the same */
}

static int rename_ends(struct renaming *renaming, const struct tree_change *change)
{
	int to = change->other ? change->other_fd : change->fd;
	int r = open_ends(renaming, change);

	if (r == 0)
		r = check_seals(renaming);
	if (r < 0)
		return r;
	if (renameat2(change->fd, renaming->name, to, renaming->new_name, renaming->flags) < 0)
		return -errno;
	r = tell_renamed(renaming);
	if (r < 0)
		return r;
	queue_ctime(renaming->volume, renaming->source);
	if (renaming->flags & RENAME_EXCHANGE)
		queue_ctime(renaming->volume, renaming->target);
	return 0;
}

/* A history tells of names too. Without memory it does so with the next file. */
static void note_for_history(struct volume *volume, uint64_t folder)
{
	if (catalog_note_unsettled(volume->catalog, folder) == 0)
		historian_wake(volume->historian);
}

int volume_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
		  const char *new_name, unsigned flags)
{
	struct renaming renaming = {
		.volume = volume,
		.parent = parent,
		.new_parent = new_parent,
		.name = name,
		.new_name = new_name,
		.flags = flags,
		.source = -1,
		.target = -1,
	};
	struct tree_change change = { 0 };
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = tree_check_name(name);
	if (r == 0)
		r = tree_check_new_name(new_name);
	if (r == 0)
		r = tree_begin(volume, parent, new_parent, &change);
	if (r < 0)
		return r;
	r = rename_ends(&renaming, &change);
	tree_end(&change);
	if (r == 0) {
		transfer_renamed(volume->transfer);
		note_for_history(volume, new_parent);
	}
	close_fd_slot(&renaming.source);
	close_fd_slot(&renaming.target);
	return r;
}
