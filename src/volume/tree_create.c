/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "volume/caller.h"
#include "volume/seals.h"
#include "volume/tree.h"
#include "volume/verifier.h"

/* What of open(2)'s flags reaches the backing descriptor. Not O_APPEND: the kernel gives
 * offsets. Not O_DIRECT: write-back of an unaligned tail would fail. */
#define OPEN_FLAGS_KEPT (O_ACCMODE | O_NOATIME | O_SYNC | O_DSYNC)

/* Made, but neither the catalog nor the kernel could be told: as if it had not been. */
static void undo(const struct tree_change *change, const char *name, int flags)
{
	(void)unlinkat(change->fd, name, flags);
}

/* Anything but a regular file. */
struct special {
	mode_t mode;        /* with its type */
	dev_t device;       /* of device files */
	const char *target; /* of links */
};

static int make_at(int fd, const char *name, const struct special *special)
{
	int r;

	if (S_ISDIR(special->mode))
		r = mkdirat(fd, name, special->mode & 07777);
	else if (S_ISLNK(special->mode))
		r = symlinkat(special->target, fd, name);
	else
		r = mknodat(fd, name, special->mode, special->device);
	return r < 0 ? -errno : 0;
}

static int finish_made(struct tree_change *change, const char *name, int undo_flags,
		       struct volume_entry *ret_entry)
{
	cleanup_close int fd = openat(change->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : tree_made(change, name, fd, NULL, ret_entry);

	if (r < 0)
		undo(change, name, undo_flags);
	return r;
}

static int make_special(struct volume *volume, const struct caller *caller, uint64_t parent,
			const char *name, const struct special *special,
			struct volume_entry *ret_entry)
{
	cleanup_with(tree_end) struct tree_change change = { 0 };
	struct caller_scope scope;
	int r;

	r = tree_check_new_name(name);
	if (r == 0)
		r = tree_begin(volume, parent, 0, &change);
	if (r == 0)
		r = seals_check_new(volume->seals, parent, name);
	if (r == 0)
		r = caller_enter(caller, special->mode & ~S_IFMT, &scope);
	if (r < 0)
		return r;
	r = make_at(change.fd, name, special);
	caller_leave(&scope);
	if (r < 0)
		return r;
	return finish_made(&change, name, S_ISDIR(special->mode) ? AT_REMOVEDIR : 0, ret_entry);
}

int volume_mkdir(struct volume *volume, const struct caller *caller, uint64_t parent,
		 const char *name, mode_t mode, struct volume_entry *ret_entry)
{
	const struct special folder = { .mode = S_IFDIR | (mode & 07777) };

	return make_special(volume, caller, parent, name, &folder, ret_entry);
}

int volume_symlink(struct volume *volume, const struct caller *caller, const char *target,
		   uint64_t parent, const char *name, struct volume_entry *ret_entry)
{
	const struct special link = { .mode = S_IFLNK | 0777, .target = target };

	return make_special(volume, caller, parent, name, &link, ret_entry);
}

int volume_mknod(struct volume *volume, const struct caller *caller, uint64_t parent,
		 const char *name, mode_t mode, dev_t device, struct volume_entry *ret_entry)
{
	const struct special special = { .mode = mode, .device = device };
	struct live *live = NULL;
	int fd = -1, r;

	if (!S_ISREG(mode))
		return make_special(volume, caller, parent, name, &special, ret_entry);
	r = tree_create_file(volume, caller, parent, name, mode, O_RDWR, ret_entry, &live, &fd);
	if (r < 0)
		return r;
	(void)close(fd); /* nothing was written */
	/* Nobody will close it: an empty file is complete now. */
	verifier_add(volume->verifier, ret_entry->id);
	live_put(live);
	return 0;
}

/* Open the new file @name of @change, exclusively, as @caller. */
static int create_as(const struct tree_change *change, const struct caller *caller,
		     const char *name, mode_t mode, int flags)
{
	struct caller_scope scope;
	int fd, r;

	r = caller_enter(caller, mode, &scope);
	if (r < 0)
		return r;
	fd = openat(change->fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode & 07777);
	r = fd < 0 ? -errno : fd;
	caller_leave(&scope);
	return r;
}

static int live_of_new(struct volume *volume, int fd, struct live **ret_live)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != volume->store->tree_device)
		return -EXDEV;
	return live_create(volume, store_node_id(volume->store, &st), ret_live);
}

int tree_create_file(struct volume *volume, const struct caller *caller, uint64_t parent,
		     const char *name, mode_t mode, int flags, struct volume_entry *ret_entry,
		     struct live **ret_live, int *ret_fd)
{
	cleanup_with(tree_end) struct tree_change change = { 0 };
	cleanup_close int fd = -1;
	struct live *live = NULL;
	int r;

	r = tree_check_new_name(name);
	if (r == 0)
		r = tree_begin(volume, parent, 0, &change);
	if (r == 0)
		r = seals_check_new(volume->seals, parent, name);
	if (r < 0)
		return r;
	fd = create_as(&change, caller, name, mode, (flags & OPEN_FLAGS_KEPT) | O_CREAT | O_EXCL);
	if (fd < 0)
		return fd;
	r = live_of_new(volume, fd, &live);
	if (r == 0)
		r = tree_made(&change, name, fd, live, ret_entry);
	if (r < 0) {
		undo(&change, name, 0);
		live_put(live);
		return r;
	}
	*ret_live = live;
	*ret_fd = take_fd(fd);
	return 0;
}

int tree_create_tmpfile(struct volume *volume, const struct caller *caller, uint64_t parent,
			mode_t mode, int flags, struct volume_entry *ret_entry,
			struct live **ret_live, int *ret_fd)
{
	cleanup_with(tree_end) struct tree_change change = { 0 };
	cleanup_close int fd = -1;
	struct live *live = NULL;
	struct stat st;
	int r;

	r = tree_begin(volume, parent, 0, &change);
	if (r < 0)
		return r;
	/* O_EXCL here means that it will never get a name. */
	fd = create_as(&change, caller, ".", mode,
		       (flags & (OPEN_FLAGS_KEPT | O_EXCL)) | O_TMPFILE);
	if (fd < 0)
		return fd;
	r = live_of_new(volume, fd, &live);
	if (r < 0)
		return r;
	mutex_lock(&live->lock);
	live->unlinked = true;
	mutex_unlock(&live->lock);
	r = fstat(fd, &st) < 0 ? -errno : tree_entry(volume, fd, &st, 0, NULL, ret_entry);
	if (r < 0) {
		live_put(live);
		return r;
	}
	nodes_unnamed(volume->nodes, ret_entry->id, fd);
	*ret_live = live;
	*ret_fd = take_fd(fd);
	return 0;
}

/* A file without a name (O_TMPFILE) got its first one: now it counts. */
static int queue_first_name(struct volume *volume, const struct stat *st)
{
	uint64_t id = store_node_id(volume->store, st);
	struct live *live = live_peek(volume, id);
	bool closed;
	int r = 0;

	if (!live)
		r = live_create(volume, id, &live);
	if (r < 0)
		return r;
	r = tree_queue_node(volume, st, live);
	mutex_lock(&live->lock);
	live->unlinked = false;
	closed = live->writers == 0;
	mutex_unlock(&live->lock);
	if (r == 0 && closed)
		verifier_add(volume->verifier, id);
	live_put(live);
	return r;
}

static int link_on_disk(const struct tree_change *change, int fd, const char *name)
{
	char path[32];

	/* AT_EMPTY_PATH would ask for CAP_DAC_READ_SEARCH. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, change->fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* The catalog hears of the name last: it is not told of what is undone again. */
static int tell_link(struct volume *volume, const struct stat *before, const struct stat *after,
		     uint64_t parent, const char *name)
{
	int r = 0;

	if (before->st_nlink == 0 && S_ISREG(before->st_mode))
		r = queue_first_name(volume, after);
	else
		r = tree_queue_attributes(volume, after); /* ctime changed */
	if (r == 0)
		r = catalog_put_name(volume->catalog, parent, name,
				     store_node_id(volume->store, after));
	return r;
}

int volume_link(struct volume *volume, uint64_t id, uint64_t new_parent, const char *new_name,
		struct volume_entry *ret_entry)
{
	cleanup_with(tree_end) struct tree_change change = { 0 };
	cleanup_close int fd = -1;
	struct stat before, after;
	int r;

	r = tree_check_new_name(new_name);
	if (r == 0)
		r = tree_begin(volume, new_parent, 0, &change);
	if (r == 0)
		r = seals_check_new(volume->seals, new_parent, new_name);
	if (r < 0)
		return r;
	fd = tree_open(volume, id, O_PATH);
	if (fd < 0)
		return fd;
	if (fstat(fd, &before) < 0)
		return -errno;
	r = link_on_disk(&change, fd, new_name);
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		r = -errno;
	if (r == 0)
		r = tree_entry(volume, fd, &after, new_parent, new_name, ret_entry);
	if (r == 0) {
		r = tell_link(volume, &before, &after, new_parent, new_name);
		if (r < 0)
			nodes_forget(volume->nodes, id, 1);
	}
	if (r < 0)
		undo(&change, new_name, 0);
	return r;
}
