/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/node.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "hash/digest.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/table.h"

/* Deeper than this the chain of parents is taken for a loop. */
#define DEPTH_MAX 65536

/* One for each inode that the kernel keeps, a million of them: every byte counts. */
struct node {
	uint64_t id;
	uint64_t lookups;    /* how often the kernel was told */
	uint64_t children;   /* nodes whose parent this is: kept for their path */
	uint64_t parent;     /* with name: where it was last seen; 0 when nowhere */
	char *name;          /* owned */
	uint32_t generation; /* constant for one life of the inode */
	int fd;              /* O_PATH, owned: only when no name leads here any more */
	uint32_t listed;     /* names when it was last read whole, 0: changed since */
	uint32_t changes;    /* of its names, that the kernel did not ask for */
	uint32_t handle_type;
	uint8_t handle_length; /* 0: none, parent and name will do */
	uint8_t handle_room;   /* as the first one was long; those of one file system are alike */
	uint8_t handle[];
};

struct nodes {
	struct store *store; /* borrowed, outlives us */

	struct nodes_xattrs xattrs;

	struct mutex lock; /* rank 35; guards the rest */
	struct table by_id;
	uint64_t next_generation; /* where handles cannot be had */
	struct cond left;         /* a folder was left */
	uint64_t *entered;        /* folders in which names are being changed, owned */
	size_t entered_count, entered_max;
};

static void free_node(struct node *node)
{
	if (node->fd >= 0)
		(void)close(node->fd);
	free(node->name);
	free(node);
}

static struct node *new_node(uint64_t id, uint8_t handle_room)
{
	struct node *node = calloc(1, sizeof(*node) + handle_room);

	if (!node)
		return NULL;
	node->id = id;
	node->fd = -1;
	node->handle_room = handle_room;
	return node;
}

static bool is_selinux(void)
{
	struct statfs st;

	return statfs("/sys/fs/selinux", &st) == 0 && st.f_type == SELINUX_MAGIC;
}

struct nodes *nodes_new(struct store *store)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));
	struct node *root = new_node(CATALOG_ROOT, 0);

	if (!nodes || !root)
		goto no_memory;
	table_init(&nodes->by_id);
	if (table_put(&nodes->by_id, CATALOG_ROOT, root) < 0) {
		table_fini(&nodes->by_id);
		goto no_memory;
	}
	root->lookups = 1; /* the kernel knows it from the start and never forgets it */
	nodes->store = store;
	nodes->next_generation = (uint64_t)realtime_ns();
	nodes->xattrs.labels = is_selinux();
	mutex_init(&nodes->lock, 35);
	cond_init(&nodes->left);
	return nodes;

no_memory:
	free(nodes);
	free(root);
	return NULL;
}

void nodes_free(struct nodes *nodes)
{
	size_t i = 0;
	uint64_t id;
	void *node;

	if (!nodes)
		return;
	while (table_next(&nodes->by_id, &i, &id, &node))
		free_node(node);
	table_fini(&nodes->by_id);
	free(nodes->entered);
	cond_fini(&nodes->left);
	mutex_fini(&nodes->lock);
	free(nodes);
}

/* Take nodes nobody needs out of the table, from @node up; they are chained for free_chain(). */
static struct node *drop_unused_locked(struct nodes *nodes, struct node *node, struct node *chain)
{
	while (node && node->lookups == 0 && node->children == 0) {
		struct node *parent = node->parent ? table_get(&nodes->by_id, node->parent) : NULL;

		(void)table_remove(&nodes->by_id, node->id);
		/* Out of the table @children is free to be the link. */
		node->children = (uint64_t)(uintptr_t)chain;
		chain = node;
		if (parent)
			parent->children--;
		node = parent;
	}
	return chain;
}

static void free_chain(struct node *chain)
{
	while (chain) {
		struct node *next = (struct node *)(uintptr_t)chain->children;

		free_node(chain);
		chain = next;
	}
}

/* The node lies at (@parent, @name) now: consumes @name (NULL with @parent 0: nowhere). */
static struct node *place_locked(struct nodes *nodes, struct node *node, uint64_t parent,
				 char *name)
{
	struct node *old = node->parent ? table_get(&nodes->by_id, node->parent) : NULL;
	struct node *new = parent ? table_get(&nodes->by_id, parent) : NULL;

	free(node->name);
	node->name = new ? name : NULL;
	node->parent = new ? parent : 0;
	if (!new)
		free(name);
	if (new)
		new->children++;
	if (old)
		old->children--;
	return drop_unused_locked(nodes, old, NULL);
}

static bool placed_at(const struct node *node, uint64_t parent, const char *name)
{
	return node->parent == parent && node->name && strcmp(node->name, name) == 0;
}

/* A number that another inode with the same number would not have; 0 when there is none. */
static uint32_t generation_of(const struct store_handle *handle)
{
	if (handle->length == 0)
		return 0;
	/* The kernel keeps 32 bits of it. 0 would mean "none". */
	return (block_hash(handle->bytes, handle->length) & 0x7fffffff) | 1;
}

static void keep_handle(struct node *node, const struct store_handle *handle)
{
	node->handle_type = handle->type;
	node->handle_length = handle->length <= node->handle_room ? handle->length : 0;
	memcpy(node->handle, handle->bytes, node->handle_length);
}

static struct store_handle handle_of(const struct node *node)
{
	struct store_handle handle = { .type = node->handle_type, .length = node->handle_length };

	memcpy(handle.bytes, node->handle, node->handle_length);
	return handle;
}

static int find_or_add_locked(struct nodes *nodes, uint64_t id, uint8_t handle_room,
			      struct node **ret_node)
{
	struct node *node = table_get(&nodes->by_id, id);
	int r;

	if (!node) {
		node = new_node(id, handle_room);
		if (!node)
			return -ENOMEM;
		r = table_put(&nodes->by_id, id, node);
		if (r < 0) {
			free_node(node);
			return r;
		}
	}
	*ret_node = node;
	return 0;
}

/* Where it was found; what it was before is forgotten when the number has a new owner. */
static struct node *update_locked(struct nodes *nodes, struct node *node,
				  const struct store_handle *handle, uint64_t parent, char *name,
				  int *ret_stale_fd)
{
	uint32_t generation = generation_of(handle);
	struct node *unused = NULL;

	if (node->generation == 0 || (generation != 0 && generation != node->generation))
		node->generation =
			generation ? generation : (nodes->next_generation++ & 0x7fffffff) | 1;
	keep_handle(node, handle);
	*ret_stale_fd = -1;
	if (name) {
		*ret_stale_fd = take_fd(node->fd);
		unused = place_locked(nodes, node, parent, name);
	}
	return unused;
}

int nodes_remember(struct nodes *nodes, int path_fd, const struct stat *st, uint64_t parent,
		   const char *name, uint64_t *ret_generation)
{
	uint64_t id = store_node_id(nodes->store, st);
	struct store_handle handle = { .length = 0 };
	struct node *node, *unused = NULL;
	char *copy = NULL;
	int stale_fd = -1, r;

	r = store_make_handle(nodes->store, path_fd, &handle);
	if (r < 0)
		handle.length = 0; /* parent and name will do */
	if (name && id != CATALOG_ROOT) {
		copy = strdup(name);
		if (!copy)
			return -ENOMEM;
	}

	mutex_lock(&nodes->lock);
	r = find_or_add_locked(nodes, id, handle.length, &node);
	if (r == 0) {
		node->lookups++;
		/* Most lookups find what is known, where it is known. */
		if (copy && placed_at(node, parent, name)) {
			free(copy);
			copy = NULL;
		}
		unused = update_locked(nodes, node, &handle, parent, copy, &stale_fd);
		*ret_generation = node->generation;
	}
	mutex_unlock(&nodes->lock);

	if (r < 0)
		free(copy);
	if (stale_fd >= 0)
		(void)close(stale_fd);
	free_chain(unused);
	return r;
}

void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t count)
{
	struct node *node, *unused = NULL;

	if (id == CATALOG_ROOT)
		return;
	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	if (node) {
		node->lookups -= count < node->lookups ? count : node->lookups;
		unused = drop_unused_locked(nodes, node, NULL);
	}
	mutex_unlock(&nodes->lock);
	free_chain(unused);
}

void nodes_renamed(struct nodes *nodes, uint64_t id, uint64_t parent, const char *name)
{
	struct node *node, *unused = NULL;
	char *copy = strdup(name);
	int stale_fd = -1;

	/* Without memory the old name stays: its use finds another inode and says -ESTALE. */
	if (!copy)
		return;
	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	if (node && node->id != CATALOG_ROOT) {
		stale_fd = take_fd(node->fd);
		unused = place_locked(nodes, node, parent, copy);
		copy = NULL;
	}
	mutex_unlock(&nodes->lock);
	free(copy);
	if (stale_fd >= 0)
		(void)close(stale_fd);
	free_chain(unused);
}

void nodes_unnamed(struct nodes *nodes, uint64_t id, int path_fd)
{
	struct node *node, *unused = NULL;
	int fd = fcntl(path_fd, F_DUPFD_CLOEXEC, 3);

	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	if (node && node->id != CATALOG_ROOT) {
		if (node->fd < 0)
			node->fd = take_fd(fd);
		unused = place_locked(nodes, node, 0, NULL);
	}
	mutex_unlock(&nodes->lock);
	if (fd >= 0)
		(void)close(fd);
	free_chain(unused);
}

/* The names from the root to @node as "a\0b\0c\0"; caller frees. NULL: no memory or no path. */
static char *chain_locked(struct nodes *nodes, const struct node *node, size_t *ret_length)
{
	const struct node *at = node;
	size_t length = 0, depth = 0;
	char *names, *end;

	for (; at && at->id != CATALOG_ROOT && depth < DEPTH_MAX; depth++) {
		if (!at->name)
			return NULL;
		length += strlen(at->name) + 1;
		at = table_get(&nodes->by_id, at->parent);
	}
	if (!at || at->id != CATALOG_ROOT)
		return NULL;
	names = malloc(length + 1);
	if (!names)
		return NULL;
	end = names + length;
	*end = '\0';
	for (at = node; at->id != CATALOG_ROOT; at = table_get(&nodes->by_id, at->parent)) {
		size_t size = strlen(at->name) + 1;

		end -= size;
		memcpy(end, at->name, size);
	}
	*ret_length = length;
	return names;
}

/* Walk down name by name: a path may be longer than PATH_MAX, and no link is followed. */
static int open_chain(struct nodes *nodes, const char *names, size_t length)
{
	cleanup_close int fd = openat(nodes->store->tree_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		int next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
			return -errno;
		(void)close(fd);
		fd = next;
	}
	return take_fd(fd);
}

/* O_PATH by parent and name. -ESTALE when that leads to another inode, or nowhere. */
static int open_by_names(struct nodes *nodes, uint64_t id)
{
	cleanup_free char *names = NULL;
	cleanup_close int fd = -1;
	size_t length = 0;
	struct node *node;
	struct stat st;

	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	names = node ? chain_locked(nodes, node, &length) : NULL;
	mutex_unlock(&nodes->lock);
	if (!names)
		return -ESTALE;
	fd = open_chain(nodes, names, length);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != nodes->store->tree_device || store_node_id(nodes->store, &st) != id)
		return -ESTALE;
	return take_fd(fd);
}

/* A folder may be renamed while its path is walked: look again where it is now. */
static int open_by_names_again(struct nodes *nodes, uint64_t id)
{
	int fd = -ESTALE;

	for (int tries = 0; tries < 8 && fd == -ESTALE; tries++)
		fd = open_by_names(nodes, id);
	return fd;
}

/* From an O_PATH descriptor (consumed) to one with @flags. */
static int open_as(int path_fd, int flags)
{
	cleanup_close int fd = path_fd;

	if (fd < 0 || (flags & O_PATH))
		return take_fd(fd);
	return store_reopen(fd, flags);
}

int nodes_open(struct nodes *nodes, uint64_t id, int flags)
{
	struct store_handle handle = { .length = 0 };
	int path_fd = -1, r;
	struct node *node;
	bool known;

	if (id == CATALOG_ROOT) {
		path_fd = openat(nodes->store->tree_fd, ".", flags | O_DIRECTORY | O_CLOEXEC);
		return path_fd < 0 ? -errno : path_fd;
	}
	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	known = node != NULL;
	if (node) {
		handle = handle_of(node);
		if (node->fd >= 0)
			path_fd = fcntl(node->fd, F_DUPFD_CLOEXEC, 3);
	}
	mutex_unlock(&nodes->lock);
	if (!known)
		return -ESTALE;
	if (path_fd >= 0)
		return open_as(path_fd, flags);
	if (nodes->store->by_handle && handle.length > 0) {
		r = store_open_handle(nodes->store, &handle, flags | O_CLOEXEC);
		return r == -ENOENT ? -ESTALE : r;
	}
	return open_as(open_by_names_again(nodes, id), flags);
}

int nodes_path(struct nodes *nodes, uint64_t id, char **ret_path)
{
	size_t length = 0;
	struct node *node;
	char *names;

	mutex_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	names = node ? chain_locked(nodes, node, &length) : NULL;
	mutex_unlock(&nodes->lock);
	if (!names)
		return 0;
	for (size_t i = 0; i + 1 < length; i++)
		if (names[i] == '\0')
			names[i] = '/';
	*ret_path = names;
	return 1;
}

int nodes_climb(struct nodes *nodes, uint64_t id,
		int (*fn)(void *arg, uint64_t id, const char *name), void *arg)
{
	scoped_lock(&nodes->lock);

	for (size_t depth = 0; id != CATALOG_ROOT; depth++) {
		const struct node *node = table_get(&nodes->by_id, id);
		int r = node && node->name && depth < DEPTH_MAX ? fn(arg, id, node->name) : -ESTALE;

		if (r != 0)
			return r;
		id = node->parent;
	}
	return 0;
}

static bool is_entered_locked(const struct nodes *nodes, uint64_t id)
{
	for (size_t i = 0; i < nodes->entered_count; i++)
		if (nodes->entered[i] == id)
			return true;
	return false;
}

int nodes_enter(struct nodes *nodes, uint64_t a, uint64_t b)
{
	scoped_lock(&nodes->lock);

	/* Both or none, so that two renames in opposite directions cannot wait for each other. */
	while (is_entered_locked(nodes, a) || (b && is_entered_locked(nodes, b)))
		cond_wait(&nodes->left, &nodes->lock);
	if (nodes->entered_count + 2 > nodes->entered_max) {
		size_t max = nodes->entered_max ? 2 * nodes->entered_max : 32;
		uint64_t *more = realloc(nodes->entered, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		nodes->entered = more;
		nodes->entered_max = max;
	}
	nodes->entered[nodes->entered_count++] = a;
	if (b && b != a)
		nodes->entered[nodes->entered_count++] = b;
	return 0;
}

void nodes_leave(struct nodes *nodes, uint64_t a, uint64_t b)
{
	scoped_lock(&nodes->lock);

	for (size_t i = 0; i < nodes->entered_count;) {
		if (nodes->entered[i] == a || (b && nodes->entered[i] == b))
			nodes->entered[i] = nodes->entered[--nodes->entered_count];
		else
			i++;
	}
	cond_broadcast(&nodes->left);
}

bool nodes_list_is_kept(struct nodes *nodes, uint64_t id)
{
	const struct node *node;

	scoped_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	/* Some are forgotten, or have another name elsewhere. */
	return node && node->listed && node->children + node->children / 8 >= node->listed;
}

uint32_t nodes_changes(struct nodes *nodes, uint64_t id)
{
	const struct node *node;

	scoped_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	return node ? node->changes : 0;
}

void nodes_listed(struct nodes *nodes, uint64_t id, uint32_t changes, uint32_t names)
{
	struct node *node;

	scoped_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	if (node && node->changes == changes)
		node->listed = names;
}

void nodes_names_changed(struct nodes *nodes, uint64_t id)
{
	struct node *node;

	scoped_lock(&nodes->lock);
	node = table_get(&nodes->by_id, id);
	if (!node)
		return;
	node->listed = 0;
	node->changes++;
}

uint64_t nodes_known(struct nodes *nodes)
{
	scoped_lock(&nodes->lock);
	return nodes->by_id.used;
}

struct nodes_xattrs *nodes_xattrs(struct nodes *nodes)
{
	return &nodes->xattrs;
}
