/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/place_spot.h"
#include "volume/seals.h"

#define IMPLIED_FOLDER_MODE 0755

int spot_enter(struct volume *volume, const char *path, const char *other, struct spot *ret_spot)
{
	struct spot spot = { .change = { .fd = -1, .other_fd = -1 } };
	int r;

	r = catalog_error(volume->catalog);
	if (r == 0)
		r = spot_folder(volume, path, &spot.change.fd, &spot.change.parent, &spot.name);
	if (r == 0 && other)
		r = spot_folder(volume, other, &spot.change.other_fd, &spot.change.other,
				&spot.other_name);
	spot.change.volume = volume;
	if (r == 0)
		r = tree_enter(&spot.change);
	if (r < 0) {
		close_fd_slot(&spot.change.fd);
		close_fd_slot(&spot.change.other_fd);
		return r;
	}
	*ret_spot = spot;
	return 0;
}

void spot_leave(struct spot *spot)
{
	tree_end(&spot->change);
}

int spot_folder(struct volume *volume, const char *path, int *ret_fd, uint64_t *ret_id,
		const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder = strndup(path, slash ? (size_t)(slash - path) : 0);
	cleanup_close int fd = -1;
	struct stat st;

	if (!folder)
		return -ENOMEM;
	fd = store_open_path(volume->store, folder, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd == -ELOOP ? -ENOTDIR : fd; /* a link is no folder */
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != volume->store->tree_device)
		return -EXDEV;
	*ret_id = store_node_id(volume->store, &st);
	*ret_fd = take_fd(fd);
	*ret_name = slash ? slash + 1 : path;
	return 0;
}

int spot_dress(const struct spot *spot, int fd, const struct version_body *body, bool is_new)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, ns_timespec(body->mtime_ns) };
	struct stat folder;
	char path[32];

	/* Owners are not told between sites: it belongs to whom the folder belongs to. */
	if (is_new && geteuid() == 0 && fstat(spot->change.fd, &folder) == 0 &&
	    fchownat(fd, "", folder.st_uid, folder.st_gid, AT_EMPTY_PATH) < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (body->kind != VERSION_LINK && chmod(path, body->mode & 07777) < 0)
		return -errno;
	/* Not by the path: times of a link are its own. */
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Inode and name of what was just made at @spot; a file brings its own row. */
static int tell_made(const struct spot *spot, int fd)
{
	struct volume *volume = spot->change.volume;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	r = tree_queue_node(volume, &st, NULL);
	if (r == 0)
		r = catalog_put_name(volume->catalog, spot->change.parent, spot->name,
				     store_node_id(volume->store, &st));
	return r;
}

static int dress_and_tell(const struct spot *spot, const struct version_body *body)
{
	cleanup_close int fd = openat(spot->change.fd, spot->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = spot_dress(spot, fd, body, true);
	if (r == 0 && body->kind == VERSION_DIR)
		r = seals_placed(spot->change.volume->seals, spot->change.parent, fd);
	return r < 0 ? r : tell_made(spot, fd);
}

/* What was just made is removed again when the catalog does not hear of it: it would be in the way
 * of the next attempt, as something that a person has made. */
static int finish_made(const struct spot *spot, const struct version_body *body)
{
	int r = dress_and_tell(spot, body);

	if (r < 0)
		(void)unlinkat(spot->change.fd, spot->name,
			       body->kind == VERSION_DIR ? AT_REMOVEDIR : 0);
	return r;
}

int place_folder(struct volume *volume, const char *path, const struct version_body *body)
{
	struct spot spot;
	uint64_t parent;
	int r = spot_enter(volume, path, NULL, &spot);

	if (r < 0)
		return r;
	parent = spot.change.parent;
	r = mkdirat(spot.change.fd, spot.name, 0700) < 0 ? -errno : finish_made(&spot, body);
	spot_leave(&spot);
	volume_notify_entry(volume, parent, spot.name);
	return r;
}

int place_link(struct volume *volume, const char *path, const struct version_body *body)
{
	struct spot spot;
	uint64_t parent;
	int r = spot_enter(volume, path, NULL, &spot);

	if (r < 0)
		return r;
	parent = spot.change.parent;
	r = symlinkat(body->target, spot.change.fd, spot.name) < 0 ? -errno
								   : finish_made(&spot, body);
	spot_leave(&spot);
	volume_notify_entry(volume, parent, spot.name);
	return r;
}

int place_parents(struct volume *volume, const char *path)
{
	struct version_body body = { .kind = VERSION_DIR, .mode = IMPLIED_FOLDER_MODE };
	cleanup_free char *folder = strdup(path);
	char *slash = folder;
	int r = 0;

	if (!folder)
		return -ENOMEM;
	body.mtime_ns = realtime_ns();
	while (r == 0 && (slash = strchr(slash, '/'))) {
		cleanup_close int fd = -1;

		*slash = '\0';
		fd = store_open_path(volume->store, folder, O_PATH | O_DIRECTORY, 0);
		if (fd == -ENOENT)
			r = place_folder(volume, folder, &body);
		else if (fd < 0)
			r = fd == -ELOOP ? -ENOTDIR : fd;
		if (r == -EEXIST)
			r = 0; /* made by a person meanwhile; the next step sees what it is */
		*slash++ = '/';
	}
	return r;
}

int place_move(struct volume *volume, const char *from, const char *to)
{
	cleanup_close int fd = -1;
	struct tree_change *change;
	struct spot spot;
	uint64_t old_parent, new_parent, id;
	struct stat st;
	int to_fd, r;

	r = spot_enter(volume, from, to, &spot);
	if (r < 0)
		return r;
	change = &spot.change;
	old_parent = change->parent;
	new_parent = change->other;
	to_fd = change->other_fd;
	fd = openat(change->fd, spot.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	/* All that can fail comes before: the catalog must hear of what was moved. */
	if (fd < 0 || fstat(fd, &st) < 0 ||
	    renameat2(change->fd, spot.name, to_fd, spot.other_name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0) {
		id = store_node_id(volume->store, &st);
		nodes_renamed(volume->nodes, id, new_parent, spot.other_name);
		r = catalog_move_name(volume->catalog, old_parent, spot.name, new_parent,
				      spot.other_name, 0);
		if (r == 0) /* its ctime moved with it */
			r = fstat(fd, &st) < 0 ? -errno : tree_queue_attributes(volume, &st);
	}
	spot_leave(&spot);
	volume_notify_entry(volume, old_parent, spot.name);
	volume_notify_entry(volume, new_parent, spot.other_name);
	return r;
}

/* O_PATH of what is at @spot, if it is @id; -ESTALE. */
int spot_open(const struct spot *spot, uint64_t id, struct stat *ret_st)
{
	cleanup_close int fd = openat(spot->change.fd, spot->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(fd, ret_st) < 0)
		return -errno;
	if (store_node_id(spot->change.volume->store, ret_st) != id)
		return -ESTALE;
	return take_fd(fd);
}

static int remove_at(const struct spot *spot, uint64_t id)
{
	struct volume *volume = spot->change.volume;
	cleanup_close int fd = -1;
	struct stat st;

	fd = spot_open(spot, id, &st);
	if (fd < 0)
		return fd;
	if (unlinkat(spot->change.fd, spot->name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		return -errno;
	tree_lost_name(volume, fd);
	return catalog_remove_name(volume->catalog, spot->change.parent, spot->name);
}

int place_remove(struct volume *volume, const char *path, uint64_t id)
{
	struct spot spot;
	uint64_t parent;
	int r = spot_enter(volume, path, NULL, &spot);

	if (r < 0)
		return r;
	parent = spot.change.parent;
	r = remove_at(&spot, id);
	spot_leave(&spot);
	volume_notify_entry(volume, parent, spot.name);
	return r;
}

int place_attributes(struct volume *volume, const char *path, uint64_t id,
		     const struct version_body *body)
{
	cleanup_close int fd = -1;
	struct spot spot;
	struct stat st;
	int r = spot_enter(volume, path, NULL, &spot);

	if (r < 0)
		return r;
	fd = spot_open(&spot, id, &st);
	r = fd < 0 ? fd : spot_dress(&spot, fd, body, false);
	if (r == 0)
		r = fstat(fd, &st) < 0 ? -errno : tree_queue_attributes(volume, &st);
	spot_leave(&spot);
	if (r == 0)
		volume_notify_inode(volume, id);
	return r;
}

int place_exists(struct volume *volume, const char *path)
{
	cleanup_close int fd = store_open_path(volume->store, path, O_PATH | O_NOFOLLOW, 0);

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	return fd < 0 ? fd : 1;
}

int place_claim(struct volume *volume, uint64_t id, struct live **ret_live)
{
	struct live *live;
	int r = live_get(volume, id, -1, &live);

	if (r < 0)
		return r;
	mutex_lock(&live->lock);
	if (live->writers > 0 || live->verifying || live->moving || live->unlinked)
		r = -EBUSY;
	else
		live->moving = true;
	mutex_unlock(&live->lock);
	if (r < 0) {
		live_put(live);
		return r;
	}
	*ret_live = live;
	return 0;
}

void place_release(struct live *live)
{
	if (!live)
		return;
	mutex_lock(&live->lock);
	live->moving = false;
	cond_broadcast(&live->changed);
	mutex_unlock(&live->lock);
	live_put(live);
}

/* Folders' times, and the disk -------------------------------------------------------- */

int place_folder_mtime(struct volume *volume, const char *path, int64_t *ret_mtime_ns)
{
	cleanup_close int fd = store_open_path(volume->store, path, O_PATH | O_DIRECTORY, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_mtime_ns = timespec_ns(st.st_mtim);
	return 0;
}

int place_restore_mtime(struct volume *volume, const char *path, int64_t mtime_ns)
{
	cleanup_close int fd = store_open_path(volume->store, path, O_PATH | O_DIRECTORY, 0);
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, ns_timespec(mtime_ns) };
	struct stat st;

	if (fd < 0)
		return fd;
	if (utimensat(fd, "", times, AT_EMPTY_PATH) < 0 || fstat(fd, &st) < 0)
		return -errno;
	volume_notify_inode(volume, store_node_id(volume->store, &st));
	return 0;
}

int place_sync(struct volume *volume)
{
	cleanup_close int fd = store_open_path(volume->store, "", O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? -errno : 0;
}
