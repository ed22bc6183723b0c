/* SPDX-License-Identifier: Apache-2.0 */
/* Placeholders: files of which nothing is here yet (volume/place.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/residency.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/place_spot.h"
#include "volume/seals.h"

struct placing {
	const struct spot *spot;
	const struct place_file *file;
	uint64_t replaces;
	char temporary[64]; /* in the tree's own folder */
	uint64_t id;
};

/* Its size, and on record that all of it is a hole. */
static int fill(int fd, const struct version_body *body)
{
	struct residency residency;

	if (ftruncate(fd, (off_t)body->size) < 0)
		return -errno;
	if (body->size == 0)
		return 0;
	residency_init(&residency, body->size, &body->digest);
	residency.shown_ctime_ns = realtime_ns();
	return residency_mark(fd, &residency);
}

/*
 * The row comes before the name: who opens the file finds what it is. (A row without name
 * that a crash leaves behind does no harm: the inode is gone, or found again by its xattr.)
 */
static int queue_row(const struct placing *placing, const struct stat *st)
{
	struct volume *volume = placing->spot->change.volume;
	const struct place_file *file = placing->file;
	struct node_row row = {
		.id = placing->id,
		.mode = st->st_mode,
		.size = (uint64_t)st->st_size,
		.mtime_ns = timespec_ns(st->st_mtim),
		.ctime_ns = timespec_ns(st->st_ctim),
		.generation = live_new_generation(),
		/* Nothing of an empty file is missing. */
		.state =
			st->st_size == 0 && file->state == FILE_EVICTED ? FILE_STORED : file->state,
		.state_ns = realtime_ns(),
		.content = file->content,
		.flags = file->flags,
	};

	return catalog_put_node(volume->catalog, &row);
}

static int make(struct placing *placing)
{
	struct volume *volume = placing->spot->change.volume;
	cleanup_close int fd = -1;
	char uuid[37];
	struct stat st;
	int r = uuid_make(uuid);

	if (r < 0)
		return r;
	(void)snprintf(placing->temporary, sizeof(placing->temporary), PLACE_PREFIX "%s", uuid);
	fd = store_open_path(volume->store, placing->temporary, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0) {
		placing->temporary[0] = '\0';
		return fd;
	}
	r = fill(fd, placing->file->body);
	if (r == 0)
		r = spot_dress(placing->spot, fd, placing->file->body, true);
	if (r == 0)
		r = seals_placed(volume->seals, placing->spot->change.parent, fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	placing->id = store_node_id(volume->store, &st);
	return queue_row(placing, &st);
}

/* Into its place. The ctime moves with it. */
static int move_in(struct placing *placing, int old_fd)
{
	const struct spot *spot = placing->spot;
	struct volume *volume = spot->change.volume;
	struct stat st;
	int r;

	if (renameat2(volume->store->tree_fd, placing->temporary, spot->change.fd, spot->name,
		      old_fd < 0 ? RENAME_NOREPLACE : 0) < 0)
		return -errno;
	placing->temporary[0] = '\0';
	if (old_fd >= 0)
		tree_lost_name(volume, old_fd);
	r = catalog_put_name(volume->catalog, spot->change.parent, spot->name, placing->id);
	if (r < 0)
		return r;
	if (fstatat(spot->change.fd, spot->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return store_node_id(volume->store, &st) == placing->id ? tree_queue_attributes(volume, &st)
								: 0;
}

/* It got no name. Its row goes first: afterwards the number may be another file's. */
static void undo(const struct placing *placing)
{
	struct volume *volume = placing->spot->change.volume;

	if (placing->id)
		(void)catalog_drop_node(volume->catalog, placing->id);
	(void)unlinkat(volume->store->tree_fd, placing->temporary,
		       0); /* else place_clean() finds it */
}

static int place_at(struct placing *placing)
{
	cleanup_close int old_fd = -1;
	struct stat st;
	int r;

	if (placing->replaces) {
		old_fd = spot_open(placing->spot, placing->replaces, &st);
		if (old_fd < 0)
			return old_fd;
	}
	r = make(placing);
	if (r == 0)
		r = move_in(placing, old_fd);
	if (r < 0 && placing->temporary[0])
		undo(placing);
	return r;
}

int place_file(struct volume *volume, const char *path, const struct place_file *file,
	       uint64_t replaces)
{
	struct placing placing = { .file = file, .replaces = replaces };
	struct spot spot;
	uint64_t parent;
	int r = spot_enter(volume, path, NULL, &spot);

	if (r < 0)
		return r;
	placing.spot = &spot;
	parent = spot.change.parent;
	r = place_at(&placing);
	spot_leave(&spot);
	volume_notify_entry(volume, parent, spot.name);
	return r;
}

int place_leftover(struct volume *volume, const char *path, uint64_t *ret_id)
{
	cleanup_close int fd = store_open_path(volume->store, path, O_PATH | O_NOFOLLOW, 0);
	struct residency residency;
	struct stat st;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return 0;
	r = residency_read(fd, &residency);
	if (r <= 0)
		return r == -EUCLEAN ? 0 : r;
	*ret_id = store_node_id(volume->store, &st);
	return residency_bytes(&residency) == 0;
}

int place_clean(struct volume *volume)
{
	cleanup_closedir DIR *dir = NULL;
	int fd = store_open_path(volume->store, "", O_RDONLY | O_DIRECTORY, 0);
	struct dirent *entry;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;

		(void)close(fd);
		return r;
	}
	while ((entry = readdir(dir)))
		if (strncmp(entry->d_name, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0 &&
		    unlinkat(volume->store->tree_fd, entry->d_name, 0) < 0)
			return -errno;
	return 0;
}
