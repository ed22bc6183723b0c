/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "volume/tree.h"

#define FOLDER_BUFFER_BYTES (32u << 10)

/*
 * One reader at a time: the kernel holds the open folder's position lock. Positions are the
 * backing file system's own cookies, so a name is neither lost nor given twice while others
 * come and go.
 */
struct folder {
	struct volume *volume; /* borrowed, outlives us */
	int fd;                /* owned */
	uint64_t id;
	bool kept;         /* nodes_list_is_kept() when it was opened */
	bool whole;        /* read from the first name on, and none left out */
	uint32_t changes;  /* nodes_changes() before the first name */
	uint32_t names;    /* given since then */
	off_t position;    /* of the next entry to give */
	size_t used, next; /* bytes in @buffer, and where the next entry is */
	char buffer[FOLDER_BUFFER_BYTES] __attribute__((aligned(8)));
};

int volume_opendir(struct volume *volume, uint64_t id, struct folder **ret_folder)
{
	struct folder *folder = malloc(sizeof(*folder));
	int fd;

	if (!folder)
		return -ENOMEM;
	fd = tree_open(volume, id, O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		free(folder);
		return fd;
	}
	folder->volume = volume;
	folder->fd = fd;
	folder->id = id;
	folder->kept = nodes_list_is_kept(volume->nodes, id);
	folder->whole = false;
	folder->position = 0;
	folder->used = folder->next = 0;
	*ret_folder = folder;
	return 0;
}

void volume_closedir(struct folder *folder)
{
	if (!folder)
		return;
	(void)close(folder->fd); /* only read from */
	free(folder);
}

bool volume_list_is_kept(const struct folder *folder)
{
	return folder->kept;
}

int volume_fsyncdir(struct folder *folder)
{
	struct statfs vfs;

	if (fstatfs(folder->fd, &vfs) < 0)
		return -errno;
	/*
	 * After a power cut btrfs was seen to bring back names that were removed before the fsync
	 * of their folder, while files in it were being synced: only a whole commit holds.
	 */
	if (vfs.f_type == BTRFS_SUPER_MAGIC)
		return syncfs(folder->fd) < 0 ? -errno : 0;
	return fsync(folder->fd) < 0 ? -errno : 0;
}

/* The next entry of the backing folder; NULL at the end. */
static int next_dirent(struct folder *folder, const struct dirent64 **ret_dirent)
{
	if (folder->next >= folder->used) {
		ssize_t count = getdents64(folder->fd, folder->buffer, sizeof(folder->buffer));

		if (count < 0)
			return -errno;
		folder->used = (size_t)count;
		folder->next = 0;
		if (count == 0) {
			*ret_dirent = NULL;
			return 0;
		}
	}
	*ret_dirent = (const struct dirent64 *)(folder->buffer + folder->next);
	return 0;
}

static int go_to(struct folder *folder, off_t position)
{
	if (position == folder->position && position != 0)
		return 0;
	if (lseek(folder->fd, position, SEEK_SET) < 0)
		return -errno;
	folder->whole = position == 0;
	if (folder->whole) {
		folder->changes = nodes_changes(folder->volume->nodes, folder->id);
		folder->names = 0;
	}
	folder->position = position;
	folder->used = folder->next = 0;
	return 0;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Only number and type, as the folder tells them. */
static void plain_entry(struct folder *folder, const struct dirent64 *dirent,
			struct volume_entry *ret_entry)
{
	const struct store *store = folder->volume->store;
	struct stat as_stat = { .st_ino = dirent->d_ino, .st_dev = store->tree_device };
	uint64_t id = store_node_id(store, &as_stat);

	/* Above the root there is nothing. */
	if (strcmp(dirent->d_name, ".") == 0 ||
	    (strcmp(dirent->d_name, "..") == 0 && folder->id == CATALOG_ROOT))
		id = folder->id;
	*ret_entry = (struct volume_entry){ .id = id };
	ret_entry->st.st_ino = id;
	ret_entry->st.st_mode = DTTOIF(dirent->d_type);
}

/* Look the name up; false leaves the plain entry (it went meanwhile, or is not ours). */
static bool full_entry(struct folder *folder, const char *name, struct volume_entry *entry)
{
	cleanup_close int fd = openat(folder->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	return tree_entry(folder->volume, fd, &st, folder->id, name, entry) == 0;
}

static int give(struct folder *folder, const struct dirent64 *dirent, enum readdir_flags flags,
		volume_dirent_fn fn, void *arg)
{
	struct volume_entry entry;
	bool known = false;
	int r;

	if (tree_name_is_ours(dirent->d_name))
		return 0;
	plain_entry(folder, dirent, &entry);
	if ((flags & READDIR_ENTRIES) && !is_dots(dirent->d_name)) {
		known = full_entry(folder, dirent->d_name, &entry);
		if (!known)
			entry.id = 0; /* no answer for the kernel's cache: it will look up */
	}
	r = fn(arg, dirent->d_name, &entry, dirent->d_off);
	if (r != 0 && known)
		nodes_forget(folder->volume->nodes, entry.id, 1);
	if (r == 0 && !is_dots(dirent->d_name))
		folder->names++;
	return r;
}

int volume_readdir(struct folder *folder, off_t position, enum readdir_flags flags,
		   volume_dirent_fn fn, void *arg)
{
	const struct dirent64 *dirent = NULL;
	int r;

	r = go_to(folder, position);
	while (r == 0) {
		r = next_dirent(folder, &dirent);
		if (r == 0 && !dirent && folder->whole)
			nodes_listed(folder->volume->nodes, folder->id, folder->changes,
				     folder->names);
		if (r < 0 || !dirent)
			return r;
		r = give(folder, dirent, flags, fn, arg);
		if (r == 0) {
			folder->position = dirent->d_off;
			folder->next += dirent->d_reclen;
		}
	}
	return r < 0 ? r : 0;
}
