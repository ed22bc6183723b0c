/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/residency.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"

bool tree_name_is_ours(const char *name)
{
	return strncmp(name, TREE_OWN_PREFIX, strlen(TREE_OWN_PREFIX)) == 0;
}

int tree_check_name(const char *name)
{
	if (strlen(name) > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	if (!name_ok(name))
		return -EINVAL;
	return tree_name_is_ours(name) ? -ENOENT : 0;
}

int tree_check_new_name(const char *name)
{
	int r = tree_check_name(name);

	return r == -ENOENT ? -EPERM : r;
}

/* A descriptor on what the catalog says is @id. The catalog may lag behind a rename. */
static int open_by_catalog(struct volume *volume, uint64_t id)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	r = catalog_path_of(volume->catalog, id, &path);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	fd = store_open_path(volume->store, path, O_PATH | O_NOFOLLOW, 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (store_node_id(volume->store, &st) != id || st.st_dev != volume->store->tree_device)
		return -ESTALE;
	return take_fd(fd);
}

static int open_path_fd(struct volume *volume, uint64_t id)
{
	int fd, r;

	fd = nodes_open(volume->nodes, id, O_PATH | O_NOFOLLOW);
	if (fd != -ESTALE)
		return fd;
	fd = open_by_catalog(volume, id);
	if (fd != -ESTALE)
		return fd;
	r = catalog_barrier(volume->catalog);
	return r < 0 ? r : open_by_catalog(volume, id);
}

int tree_open(struct volume *volume, uint64_t id, int flags)
{
	cleanup_close int fd = open_path_fd(volume, id);
	struct stat st;

	if (fd < 0 || (flags & O_PATH))
		return take_fd(fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -ENXIO;
	return store_reopen(fd, flags);
}

/* 1 when the file has a residency xattr, 0 not. @fd may be O_PATH. */
static int read_residency(int fd, struct residency *ret_residency)
{
	cleanup_close int readable = -1;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (getxattr(path, RESIDENCY_XATTR, NULL, 0) < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	readable = store_reopen(fd, O_RDONLY | O_NONBLOCK | O_NOATIME);
	if (readable == -EPERM)
		readable = store_reopen(fd, O_RDONLY | O_NONBLOCK);
	if (readable < 0)
		return readable;
	return residency_read(readable, ret_residency);
}

/* A file with blocks elsewhere looks like one that has them all, as old as it was. */
static void show_whole(struct stat *st, int64_t ctime_ns)
{
	blkcnt_t blocks = (blkcnt_t)((st->st_size + 4095) / 4096 * 8);

	if (st->st_blocks < blocks)
		st->st_blocks = blocks;
	st->st_ctim = ns_timespec(ctime_ns);
}

/* Under the lock, so as not to look while our own putting back has moved the times. */
static int show_live(struct live *live, int fd, struct stat *st)
{
	const struct residency *residency = &live->residency;
	int64_t ctime_ns;

	scoped_lock(&live->lock);
	if (fstat(fd, st) < 0)
		return -errno;
	if (!live->has_residency)
		return 0;
	ctime_ns = residency_ctime(residency, timespec_ns(st->st_ctim));
	if (live->putting_back && residency->shown_ctime_ns)
		ctime_ns = residency->shown_ctime_ns;
	show_whole(st, ctime_ns);
	return 0;
}

static bool same_times(const struct stat *a, const struct stat *b)
{
	return timespec_ns(a->st_mtim) == timespec_ns(b->st_mtim) &&
	       timespec_ns(a->st_ctim) == timespec_ns(b->st_ctim);
}

/*
 * 1: shown. 0: @st was looked at while somebody, who is done by now, put a block back or punched
 * one out: look again. A file without a record of residency never has its times moved by us.
 */
static int show_closed(int fd, struct stat *st)
{
	struct residency residency;
	struct stat again;
	int r = read_residency(fd, &residency);

	if (r < 0)
		log_warning_errno(r, "cannot read what is resident of inode %llu",
				  (unsigned long long)st->st_ino);
	if (r <= 0)
		return 1;
	if (fstat(fd, &again) < 0)
		return -errno;
	if (!same_times(st, &again)) {
		*st = again;
		return 0;
	}
	show_whole(st, residency_ctime(&residency, timespec_ns(st->st_ctim)));
	return 1;
}

static int show_file(struct volume *volume, uint64_t id, int fd, struct stat *st)
{
	int r = 0;

	(void)live_drain_id(volume, id); /* what was acknowledged is part of the size */
	/* Whoever moves the times has a live object: without one between two equal looks nobody
	 * did. */
	while (r == 0) {
		cleanup_with(live_put_slot) struct live *live = live_peek(volume, id);

		if (live)
			return show_live(live, fd, st);
		r = show_closed(fd, st);
	}
	return r < 0 ? r : 0;
}

int volume_show_stat(struct volume *volume, int fd, struct stat *st)
{
	uint64_t id = store_node_id(volume->store, st);

	if (S_ISREG(st->st_mode)) {
		int r = show_file(volume, id, fd, st);

		if (r < 0)
			return r;
		st->st_blksize = WRITE_MAX_BYTES;
	}
	st->st_ino = id;
	return 0;
}

int tree_enter(const struct tree_change *change)
{
	int r = catalog_reserve();

	if (r == 0)
		r = nodes_enter(change->volume->nodes, change->parent, change->other);
	if (r < 0)
		catalog_unreserve();
	return r;
}

static int begin(struct volume *volume, uint64_t parent, uint64_t other,
		 struct tree_change *ret_change)
{
	struct tree_change change = { .volume = volume, .parent = parent, .fd = -1 };
	int r;

	if (volume->flags & VOLUME_READ_ONLY)
		return -EROFS;
	change.other = other != parent ? other : 0;
	change.other_fd = -1;
	change.fd = nodes_open(volume->nodes, parent, O_PATH | O_DIRECTORY);
	if (change.fd < 0)
		return change.fd;
	if (change.other) {
		change.other_fd = nodes_open(volume->nodes, other, O_PATH | O_DIRECTORY);
		if (change.other_fd < 0) {
			(void)close(change.fd);
			return change.other_fd;
		}
	}
	r = tree_enter(&change);
	if (r < 0) {
		close_fd_slot(&change.fd);
		close_fd_slot(&change.other_fd);
		return r;
	}
	*ret_change = change;
	return 0;
}

int tree_begin(struct volume *volume, uint64_t parent, uint64_t other,
	       struct tree_change *ret_change)
{
	int r = catalog_error(volume->catalog);

	*ret_change = (struct tree_change){ 0 };
	return r < 0 ? r : begin(volume, parent, other, ret_change);
}

int tree_begin_removal(struct volume *volume, uint64_t parent, struct tree_change *ret_change)
{
	int r = catalog_refuses(volume->catalog);

	*ret_change = (struct tree_change){ 0 };
	return r < 0 ? r : begin(volume, parent, 0, ret_change);
}

void tree_end(struct tree_change *change)
{
	if (!change->volume)
		return;
	nodes_leave(change->volume->nodes, change->parent, change->other);
	catalog_unreserve();
	close_fd_slot(&change->fd);
	close_fd_slot(&change->other_fd);
	change->volume = NULL;
}

int tree_queue_node(struct volume *volume, const struct stat *st, struct live *live)
{
	struct node_row row = {
		.id = store_node_id(volume->store, st),
		.mode = st->st_mode,
		.size = (uint64_t)st->st_size,
		.mtime_ns = timespec_ns(st->st_mtim),
		.ctime_ns = timespec_ns(st->st_ctim),
		.state_ns = realtime_ns(),
	};

	if (live) {
		scoped_lock(&live->lock);
		row.state = live->state;
		row.generation = live->generation;
		row.resident_bytes = row.size;
		/* Under the lock: no step of this generation may be queued before its row. */
		return catalog_put_node(volume->catalog, &row);
	}
	return catalog_put_node(volume->catalog, &row);
}

int tree_made(struct tree_change *change, const char *name, int path_fd, struct live *live,
	      struct volume_entry *ret_entry)
{
	struct volume *volume = change->volume;
	struct stat st;
	int r;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	/* First what can fail: the catalog is not told of what is undone again. */
	r = tree_entry(volume, path_fd, &st, change->parent, name, ret_entry);
	if (r < 0)
		return r;
	r = tree_queue_node(volume, &st, live);
	if (r == 0)
		r = catalog_put_name(volume->catalog, change->parent, name, ret_entry->id);
	if (r < 0)
		nodes_forget(volume->nodes, ret_entry->id, 1);
	return r;
}

int tree_entry(struct volume *volume, int fd, const struct stat *st, uint64_t parent,
	       const char *name, struct volume_entry *ret_entry)
{
	struct volume_entry entry = { .st = *st };
	int r;

	/* Another file system mounted inside: its inode numbers are not ours. */
	if (st->st_dev != volume->store->tree_device)
		return -EXDEV;
	entry.id = store_node_id(volume->store, st);
	r = volume_show_stat(volume, fd, &entry.st);
	if (r < 0)
		return r;
	r = nodes_remember(volume->nodes, fd, st, parent, name, &entry.generation);
	if (r == 0)
		*ret_entry = entry;
	return r;
}

char *volume_path_of(struct volume *volume, uint64_t id)
{
	char *path = NULL;

	/* What the kernel just told us is newer than what the catalog has read. */
	if (nodes_path(volume->nodes, id, &path) > 0)
		return path;
	if (catalog_path_of(volume->catalog, id, &path) > 0)
		return path;
	return strdup("?");
}
