/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash/readback.h"
#include "manifest/files.h"
#include "util/cleanup.h"
#include "util/folder.h"
#include "util/clock.h"
#include "util/crew.h"

/* Hashing is bound by CPU for some formats, small files by waiting for the medium. */
#define THREADS_MIN 2
#define THREADS_MAX 8

struct hashing {
	struct tree *tree;
	_Atomic uint64_t files, bytes, cached;
	atomic_bool stopped;

	/* The caller's thread's. */
	tree_tick tick;
	void *arg;
	struct tree_progress *progress; /* borrowed */
};

struct job {
	struct hashing *hashing;
	struct hashes *hashes;
};

static int keep_on(void *arg, uint64_t bytes)
{
	struct job *job = arg;

	(void)bytes;
	return atomic_load(&job->hashing->stopped) ? 1 : 0;
}

static int take_bytes(void *arg, const void *bytes, size_t length)
{
	struct job *job = arg;
	int r = hashes_update(job->hashes, bytes, length);

	atomic_fetch_add(&job->hashing->bytes, length);
	return r;
}

/* Every value there is, in the order of the schema. */
static int take_values(struct node *node, struct hashes *hashes)
{
	struct list_hash hash = { .date_ns = realtime_ns() };

	for (size_t format = 0; format < HASH_FORMATS; format++) {
		int r;

		if (!(node->wanted & HASH_BIT(format)))
			continue;
		hash.format = (enum hash_format)format;
		r = hashes_final(hashes, hash.format, hash.bytes);
		if (r == 0)
			r = list_add_hash(&node->hashes, &node->hash_count, &hash);
		if (r < 0)
			return r;
	}
	return 0;
}

static int hash_file(struct hashing *hashing, struct node *node)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes = hashes_new(node->wanted);
	struct job job = { hashing, hashes };
	struct readback readback = { .pace = keep_on, .tap = take_bytes, .arg = &job };
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	if (!hashes)
		return -ENOMEM;
	fd = open_beneath(hashing->tree->fd, node->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	r = readback_file(fd, &readback);
	if (r < 0)
		return r;
	blockmap_fini(&readback.map);
	if (readback.source == READBACK_CACHED)
		atomic_fetch_add(&hashing->cached, 1);
	if (fstat(fd, &st) < 0)
		return -errno;
	/* Written to since the tree was looked at: the hash may be of neither state. */
	if (st.st_size != node->size || timespec_ns(st.st_mtim) != node->mtime_ns)
		return -ESTALE;
	return take_values(node, hashes);
}

static int hash_node(void *arg, unsigned worker, size_t index)
{
	struct hashing *hashing = arg;
	struct node *node = hashing->tree->nodes[index];

	(void)worker;
	if (node->folder || !node->wanted || node->hash_count)
		return 0;
	node->error = hashing->tree->known ? hashing->tree->known(hashing->tree->arg, node)
					   : hash_file(hashing, node);
	atomic_fetch_add(&hashing->files, 1);
	return 0; /* an error is the file's alone */
}

static unsigned threads_wanted(uint64_t files)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = cores < THREADS_MIN   ? THREADS_MIN
			   : cores > THREADS_MAX ? THREADS_MAX
						 : (unsigned)cores;

	return files < threads ? (unsigned)files : threads;
}

static int look(void *arg)
{
	struct hashing *hashing = arg;
	struct tree_progress *progress = hashing->progress;

	progress->files = atomic_load(&hashing->files);
	progress->bytes = atomic_load(&hashing->bytes);
	progress->cached_files = atomic_load(&hashing->cached);
	if (hashing->tick && hashing->tick(hashing->arg, progress) != 0)
		atomic_store(&hashing->stopped, true);
	return atomic_load(&hashing->stopped);
}

int tree_hash(struct tree *tree, tree_tick tick, void *arg, struct tree_progress *ret_progress)
{
	struct hashing hashing = {
		.tree = tree, .tick = tick, .arg = arg, .progress = ret_progress
	};
	struct crew crew = {
		.name = "hash",
		.count = tree->count,
		.fn = hash_node,
		.tick = look,
		.arg = &hashing,
	};
	int r;

	*ret_progress = (struct tree_progress){ 0 };
	for (size_t i = 0; i < tree->count; i++) {
		const struct node *node = tree->nodes[i];

		if (node->folder || !node->wanted || node->hash_count)
			continue;
		ret_progress->of_files++;
		ret_progress->of_bytes += (uint64_t)node->size;
	}
	if (!ret_progress->of_files)
		return 0;
	crew.threads = threads_wanted(ret_progress->of_files);
	r = crew_run(&crew);
	if (r == 0 && look(&hashing) != 0)
		r = -ECANCELED;
	return r;
}

const struct list_hash *node_hash(const struct node *node, enum hash_format format)
{
	for (size_t i = 0; i < node->hash_count; i++) {
		if (node->hashes[i].format == format)
			return &node->hashes[i];
	}
	return NULL;
}

/* Folders ------------------------------------------------------------------------------- */

struct value {
	uint8_t bytes[HASH_MAX_BYTES];
	size_t length;
};

struct values {
	struct value *list; /* owned */
	size_t count;
};

/* Without memory its list is NULL. */
static struct values values_new(size_t count)
{
	return (struct values){ calloc(count + 1, sizeof(struct value)), count };
}

static void values_fini(struct values *values)
{
	free(values->list);
}

static int by_bytes(const void *a, const void *b)
{
	const struct value *x = a, *y = b;

	return memcmp(x->bytes, y->bytes, x->length);
}

/* The hash over @pieces, one after the other. */
static int hash_values(enum hash_format format, const struct values *values, uint8_t *ret_bytes)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes = hashes_new(HASH_BIT(format));
	int r = hashes ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < values->count; i++)
		r = hashes_update(hashes, values->list[i].bytes, values->list[i].length);
	return r < 0 ? r : hashes_final(hashes, format, ret_bytes);
}

/* H(name || value). */
static int hash_named(enum hash_format format, const char *name, const uint8_t *bytes,
		      struct value *ret_value)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes = hashes_new(HASH_BIT(format));
	int r = hashes ? hashes_update(hashes, name, strlen(name)) : -ENOMEM;

	if (r == 0)
		r = hashes_update(hashes, bytes, hash_bytes(format));
	ret_value->length = hash_bytes(format);
	return r < 0 ? r : hashes_final(hashes, format, ret_value->bytes);
}

static const struct list_hash *structure_of(const struct node *node, enum hash_format format)
{
	for (size_t i = 0; i < node->structure_count; i++) {
		if (node->structure[i].format == format)
			return &node->structure[i];
	}
	return node->folder ? NULL : node_hash(node, format);
}

/*
 * The two hashes of @folder over its @children. Source: ASC MHL Specification v1.0, section 6.5:
 * sorted by value, raw bytes. 1: they have it; 0: not all of the children do.
 */
static int hash_folder(struct node *folder, struct node *const *children, size_t count,
		       enum hash_format format)
{
	cleanup_with(values_fini) struct values content = values_new(count);
	cleanup_with(values_fini) struct values structure = values_new(count);
	struct list_hash hash = { .format = format, .date_ns = realtime_ns() };
	int r = content.list && structure.list ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct list_hash *one = node_hash(children[i], format);
		const struct list_hash *other = structure_of(children[i], format);

		if (!one || !other)
			return 0;
		memcpy(content.list[i].bytes, one->bytes, hash_bytes(format));
		content.list[i].length = hash_bytes(format);
		r = hash_named(format, children[i]->name, other->bytes, &structure.list[i]);
	}
	if (r < 0)
		return r;
	qsort(content.list, count, sizeof(struct value), by_bytes);
	qsort(structure.list, count, sizeof(struct value), by_bytes);
	r = hash_values(format, &content, hash.bytes);
	if (r == 0)
		r = list_add_hash(&folder->hashes, &folder->hash_count, &hash);
	if (r == 0)
		r = hash_values(format, &structure, hash.bytes);
	if (r == 0)
		r = list_add_hash(&folder->structure, &folder->structure_count, &hash);
	return r < 0 ? r : 1;
}

/* Children come before their folder, so those that wait for it stand on top of a stack. */
int tree_hash_folders(struct tree *tree, unsigned formats)
{
	cleanup_free struct node **stack = calloc(tree->count + 1, sizeof(struct node *));
	size_t used = 0;
	int r = 0;

	if (!stack)
		return -ENOMEM;
	for (size_t i = 0; i < tree->count; i++) {
		struct node *node = tree->nodes[i];
		size_t first = used;

		while (node->folder && first && stack[first - 1]->parent == node)
			first--;
		for (size_t format = 0; r >= 0 && node->folder && format < HASH_FORMATS; format++) {
			if (formats & HASH_BIT(format))
				r = hash_folder(node, stack + first, used - first,
						(enum hash_format)format);
		}
		if (r < 0)
			return r;
		used = first;
		stack[used++] = node;
	}
	return 0;
}
