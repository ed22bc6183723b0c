/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level_walk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/contents.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/tree.h"

/* A folder as it is on disk, and as the catalog has it; both sorted by name. */
struct entry {
	char *name; /* owned */
	struct stat st;
};

struct child {
	char *name; /* owned */
	struct node_row row;
};

struct listing {
	struct entry *entries; /* owned */
	size_t entry_count, entry_room;
	struct child *children; /* owned */
	size_t child_count, child_room;
};

struct pending {
	char *path; /* owned */
	uint64_t id;
};

struct walk {
	struct store *store;     /* borrowed */
	struct catalog *catalog; /* borrowed */
	const _Atomic bool *stop;
	level_find_fn fn;
	level_name_fn name_fn; /* by names alone, instead of @fn */
	void *arg;
	struct pending *pending; /* folders still to look at; owned */
	size_t pending_count, pending_room;
	uint64_t nodes;
};

const char *level_kind_name(enum level_kind kind)
{
	static const char *const names[] = {
		[LEVEL_SAME] = "same",       [LEVEL_ADDED] = "added",   [LEVEL_CHANGED] = "changed",
		[LEVEL_TOUCHED] = "touched", [LEVEL_MARKED] = "marked", [LEVEL_MISSING] = "missing",
	};

	return names[kind];
}

static void listing_fini(struct listing *listing)
{
	for (size_t i = 0; i < listing->entry_count; i++)
		free(listing->entries[i].name);
	for (size_t i = 0; i < listing->child_count; i++)
		free(listing->children[i].name);
	free(listing->entries);
	free(listing->children);
}

/* Room for one more of @size bytes in *array; false without memory. */
static bool grow(void *array, size_t *room, size_t count, size_t size)
{
	void **items = array;
	size_t wanted = *room ? *room * 2 : 32;
	void *moved;

	if (count < *room)
		return true;
	moved = reallocarray(*items, wanted, size);
	if (!moved)
		return false;
	*items = moved;
	*room = wanted;
	return true;
}

static int add_child(void *arg, const char *name, const struct node_row *row)
{
	struct listing *listing = arg;
	char *copy = strdup(name);

	if (!copy || !grow(&listing->children, &listing->child_room, listing->child_count,
			   sizeof(*listing->children))) {
		free(copy);
		return -ENOMEM;
	}
	listing->children[listing->child_count++] = (struct child){ .name = copy, .row = *row };
	return 0;
}

static int add_entry(struct listing *listing, int dir_fd, const char *name)
{
	struct entry entry = { 0 };

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strncmp(name, TREE_OWN_PREFIX, strlen(TREE_OWN_PREFIX)) == 0)
		return 0;
	if (fstatat(dir_fd, name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno; /* gone since: of a mounted store */
	entry.name = strdup(name);
	if (!entry.name || !grow(&listing->entries, &listing->entry_room, listing->entry_count,
				 sizeof(*listing->entries))) {
		free(entry.name);
		return -ENOMEM;
	}
	listing->entries[listing->entry_count++] = entry;
	return 0;
}

/* Consumes @dir_fd. */
static int read_entries(int dir_fd, struct listing *listing)
{
	cleanup_closedir DIR *dir = fdopendir(dir_fd);
	struct dirent *found;
	int r = 0;

	if (!dir) {
		r = -errno;
		(void)close(dir_fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		found = readdir(dir);
		if (!found)
			return -errno;
		r = add_entry(listing, dir_fd, found->d_name);
	}
	return r;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int compare_children(const void *a, const void *b)
{
	return strcmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

/* Comparing ----------------------------------------------------------------------------- */

static bool may_be_absent(enum file_state state)
{
	return state == FILE_EVICTED || state == FILE_HYDRATING || state == FILE_ANNOUNCED ||
	       state == FILE_DAMAGED;
}

/* 1 when the content that the catalog names has this digest and size. */
static int is_content(struct catalog *catalog, uint64_t content, const struct residency *residency)
{
	struct content_row row;
	bool same;
	int r = catalog_get_content(catalog, content, &row);

	if (r <= 0)
		return r;
	same = row.size == residency->size && digest_equal(&row.digest, &residency->digest);
	content_row_fini(&row);
	return same;
}

/* Only files with holes, or of which the catalog says that they have some. */
static int compare_marks(struct catalog *catalog, int dir_fd, const char *name,
			 const struct stat *st, const struct node_row *row,
			 enum level_kind *ret_kind)
{
	bool evicted = row->state == FILE_EVICTED || row->state == FILE_HYDRATING;
	struct residency residency;
	cleanup_close int fd = -1;
	int r;

	if (!evicted && st->st_blocks * 512 >= st->st_size)
		return 0;
	fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = residency_read(fd, &residency);
	if (r < 0 && r != -EUCLEAN)
		return r;
	if (r == -EUCLEAN || (r == 1 && residency.size != (uint64_t)st->st_size)) {
		*ret_kind = LEVEL_MARKED;
		return 0;
	}
	if (r == 0 || residency_full(&residency)) {
		if (evicted)
			*ret_kind = LEVEL_MARKED;
		return 0;
	}
	if (!may_be_absent(row->state)) {
		*ret_kind = LEVEL_MARKED;
		return 0;
	}
	r = evicted ? is_content(catalog, row->content, &residency) : 1;
	if (r == 0)
		*ret_kind = LEVEL_MARKED;
	return r < 0 ? r : 0;
}

static enum level_kind compare_stat(const struct stat *st, const struct node_row *row)
{
	bool evicted = may_be_absent(row->state);

	if ((st->st_mode & S_IFMT) != (row->mode & S_IFMT))
		return LEVEL_CHANGED;
	if (!S_ISREG(st->st_mode))
		return st->st_mode == row->mode ? LEVEL_SAME : LEVEL_TOUCHED;
	if (row->state == FILE_RECEIVING)
		return LEVEL_SAME; /* will be received from what is there anyway */
	if ((uint64_t)st->st_size != row->size)
		return LEVEL_CHANGED;
	if (timespec_ns(st->st_mtim) != row->mtime_ns)
		return evicted ? LEVEL_TOUCHED : LEVEL_CHANGED;
	if (st->st_mode != row->mode)
		return LEVEL_TOUCHED;
	/* Our own punching and marking moves an evicted file's ctime. */
	return evicted || timespec_ns(st->st_ctim) == row->ctime_ns ? LEVEL_SAME : LEVEL_TOUCHED;
}

/* @find has everything but the kind. */
static int judge(struct catalog *catalog, int dir_fd, struct level_find *find)
{
	enum level_kind kind = compare_stat(&find->st, &find->row);
	int r = 0;

	if (S_ISREG(find->st.st_mode) && kind != LEVEL_CHANGED)
		r = compare_marks(catalog, dir_fd, find->name, &find->st, &find->row, &kind);
	find->kind = kind;
	return r;
}

/* The walk ------------------------------------------------------------------------------ */

static int tell(struct walk *walk, const struct level_find *find)
{
	return find->kind == LEVEL_SAME ? 0 : walk->fn(walk->arg, find);
}

static int push_folder(struct walk *walk, const char *path, uint64_t id)
{
	char *copy = strdup(path);

	if (!copy || !grow(&walk->pending, &walk->pending_room, walk->pending_count,
			   sizeof(*walk->pending))) {
		free(copy);
		return -ENOMEM;
	}
	walk->pending[walk->pending_count++] = (struct pending){ .path = copy, .id = id };
	return 0;
}

/* The folders' ids are the catalog's here: what it does not have is not entered. */
static int look_at_name(struct walk *walk, const struct pending *folder, const struct entry *entry,
			const struct child *child)
{
	cleanup_free char *path = NULL;
	int r;

	if (!child || (entry->st.st_mode & S_IFMT) != (child->row.mode & S_IFMT))
		return 0;
	r = walk->name_fn(walk->arg, child->row.id, store_node_id(walk->store, &entry->st));
	if (r != 0 || !S_ISDIR(entry->st.st_mode))
		return r;
	path = path_join(folder->path, entry->name);
	return path ? push_folder(walk, path, child->row.id) : -ENOMEM;
}

/* What is at @entry, which the catalog has as @child (NULL: not at all). */
static int look_at_entry(struct walk *walk, const struct pending *folder, int dir_fd,
			 const struct entry *entry, const struct child *child)
{
	cleanup_free char *path = path_join(folder->path, entry->name);
	struct level_find find = {
		.kind = LEVEL_ADDED,
		.parent = folder->id,
		.name = entry->name,
		.path = path,
		.id = store_node_id(walk->store, &entry->st),
		.st = entry->st,
		.replaces = child ? child->row.id : 0,
	};
	int r = 0;

	if (!path)
		return -ENOMEM;
	walk->nodes++;
	if (child && child->row.id == find.id) {
		find.has_row = true;
		find.row = child->row;
		r = judge(walk->catalog, dir_fd, &find);
	} else {
		r = catalog_get_node(walk->catalog, find.id, &find.row);
		find.has_row = r == 1;
	}
	if (r >= 0)
		r = tell(walk, &find);
	if (r == 0 && S_ISDIR(entry->st.st_mode))
		r = push_folder(walk, path, find.id);
	return r;
}

static int look_at_missing(struct walk *walk, const struct pending *folder,
			   const struct child *child)
{
	cleanup_free char *path = path_join(folder->path, child->name);
	struct level_find find = {
		.kind = LEVEL_MISSING,
		.parent = folder->id,
		.name = child->name,
		.path = path,
		.id = child->row.id,
		.has_row = true,
		.row = child->row,
	};

	if (walk->name_fn)
		return 0;
	return path ? tell(walk, &find) : -ENOMEM;
}

/* Both lists are sorted: one pass over both. */
static int compare_listing(struct walk *walk, const struct pending *folder, int dir_fd,
			   const struct listing *listing)
{
	size_t c = 0;
	int r = 0;

	for (size_t e = 0; r == 0 && e < listing->entry_count; e++) {
		const struct entry *entry = &listing->entries[e];
		const struct child *child = NULL;

		while (r == 0 && c < listing->child_count &&
		       strcmp(listing->children[c].name, entry->name) < 0)
			r = look_at_missing(walk, folder, &listing->children[c++]);
		if (c < listing->child_count && strcmp(listing->children[c].name, entry->name) == 0)
			child = &listing->children[c++];
		if (r != 0 || entry->st.st_dev != walk->store->tree_device)
			continue;
		r = walk->name_fn ? look_at_name(walk, folder, entry, child)
				  : look_at_entry(walk, folder, dir_fd, entry, child);
	}
	while (r == 0 && c < listing->child_count)
		r = look_at_missing(walk, folder, &listing->children[c++]);
	return r;
}

int level_open_path(struct store *store, const char *path, int flags)
{
	cleanup_close int fd = -1;
	cleanup_free char *copy = NULL;
	char *name, *slash;
	int last;

	if (strlen(path) < PATH_MAX)
		return store_open_path(store, path, flags, 0);
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	fd = store_open_path(store, "", O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	for (name = copy; (slash = strchr(name, '/')); name = slash + 1) {
		int next;

		*slash = '\0';
		if (!name_ok(name))
			return -EXDEV;
		next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		(void)close(fd);
		fd = next;
	}
	/* As RESOLVE_BENEATH does: no way up. */
	if (!name_ok(name))
		return -EXDEV;
	last = openat(fd, name, flags | O_NOFOLLOW | O_CLOEXEC);
	return last < 0 ? -errno : last;
}

static int walk_folder(struct walk *walk, const struct pending *folder)
{
	cleanup_with(listing_fini) struct listing listing = { 0 };
	cleanup_close int dir_fd = -1;
	int listed_fd, r;

	dir_fd = level_open_path(walk->store, folder->path, O_RDONLY | O_DIRECTORY);
	if (dir_fd == -ENOENT || dir_fd == -ENOTDIR || dir_fd == -ELOOP)
		return 0; /* gone since: of a mounted store; else the next pass finds it missing */
	if (dir_fd < 0)
		return dir_fd;
	/* The catalog first: what comes after is in both, or is found to be so by a second look. */
	r = catalog_each_child(walk->catalog, folder->id, add_child, &listing);
	if (r < 0)
		return r;
	listed_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (listed_fd < 0)
		return -errno;
	r = read_entries(listed_fd, &listing);
	if (r < 0)
		return r;
	if (listing.entry_count)
		qsort(listing.entries, listing.entry_count, sizeof(*listing.entries),
		      compare_entries);
	if (listing.child_count)
		qsort(listing.children, listing.child_count, sizeof(*listing.children),
		      compare_children);
	return compare_listing(walk, folder, dir_fd, &listing);
}

static int walk_all(struct walk *walk)
{
	int r = push_folder(walk, "", CATALOG_ROOT);

	while (r == 0 && walk->pending_count) {
		struct pending folder = walk->pending[--walk->pending_count];

		r = walk->stop && *walk->stop ? -ECANCELED : walk_folder(walk, &folder);
		free(folder.path);
	}
	while (walk->pending_count)
		free(walk->pending[--walk->pending_count].path);
	free(walk->pending);
	return r;
}

int level_walk(struct store *store, struct catalog *catalog, const _Atomic bool *stop,
	       level_find_fn fn, void *arg, uint64_t *ret_nodes)
{
	struct walk walk = {
		.store = store,
		.catalog = catalog,
		.stop = stop,
		.fn = fn,
		.arg = arg,
	};
	int r = walk_all(&walk);

	if (r == 0)
		*ret_nodes = walk.nodes;
	return r;
}

int level_walk_names(struct store *store, struct catalog *catalog, const _Atomic bool *stop,
		     level_name_fn fn, void *arg)
{
	struct walk walk = {
		.store = store,
		.catalog = catalog,
		.stop = stop,
		.name_fn = fn,
		.arg = arg,
	};

	return walk_all(&walk);
}

/* Open the folder of @path if it is still @parent. */
static int open_folder_of(struct store *store, uint64_t parent, const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder = strndup(path, slash ? (size_t)(slash - path) : 0);
	cleanup_close int fd = -1;
	struct stat st;

	if (!folder)
		return -ENOMEM;
	fd = level_open_path(store, folder, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return store_node_id(store, &st) == parent ? take_fd(fd) : -ENOENT;
}

int level_look(struct store *store, struct catalog *catalog, uint64_t parent, const char *path,
	       struct level_find *ret_find)
{
	const char *slash = strrchr(path, '/');
	struct level_find find = {
		.kind = LEVEL_SAME,
		.parent = parent,
		.path = path,
		.name = slash ? slash + 1 : path,
	};
	cleanup_close int dir_fd = open_folder_of(store, parent, path);
	bool exists;
	int r;

	*ret_find = find;
	if (dir_fd == -ENOENT || dir_fd == -ENOTDIR || dir_fd == -ELOOP)
		return 0;
	if (dir_fd < 0)
		return dir_fd;
	exists = fstatat(dir_fd, find.name, &find.st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!exists && errno != ENOENT)
		return -errno;
	r = catalog_lookup(catalog, parent, find.name, &find.row);
	if (r < 0)
		return r;
	find.has_row = r == 1;
	find.id = exists ? store_node_id(store, &find.st) : find.row.id;
	if (!exists) {
		find.kind = find.has_row ? LEVEL_MISSING : LEVEL_SAME;
	} else if (find.has_row && find.row.id == find.id) {
		r = judge(catalog, dir_fd, &find);
	} else {
		find.kind = LEVEL_ADDED;
		find.replaces = find.row.id;
		r = catalog_get_node(catalog, find.id, &find.row);
		find.has_row = r == 1;
	}
	*ret_find = find;
	return r < 0 ? r : 0;
}
