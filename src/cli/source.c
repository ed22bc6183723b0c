/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/folder.h"
#include "util/io.h"

/* More names than any card has: it is a whole disk. */
#define ENTRIES_MAX 2000000u
/* One descriptor a level is open. */
#define DEPTH_MAX 200u

struct walk {
	struct source *source;
	const struct card_rules *rules;
	unsigned depth;
};

/* Takes @path, also on failure. NULL with *ret_error. */
static struct source_entry *add_entry(struct source *source, char *path, int *ret_error)
{
	struct source_entry *grown = source->entries;

	if ((source->count & (source->count - 1)) == 0)
		grown = reallocarray(grown, source->count ? source->count * 2 : 1, sizeof(*grown));
	if (grown)
		source->entries = grown;
	*ret_error = !grown || !path ? -ENOMEM : source->count == ENTRIES_MAX ? -E2BIG : 0;
	if (*ret_error) {
		free(path);
		return NULL;
	}
	grown[source->count] = (struct source_entry){ .path = path };
	return &grown[source->count++];
}

static void take_stat(struct source_entry *entry, const struct stat *st)
{
	entry->mode = st->st_mode;
	entry->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	entry->mtime_ns = timespec_ns(st->st_mtim);
	entry->ctime_ns = timespec_ns(st->st_ctim);
}

/* Patterns for litter know folders by their '/'. */
static int is_litter(const struct card_rules *rules, const struct source_entry *entry)
{
	cleanup_free char *folder = NULL;

	if (!rules)
		return 0;
	if (!S_ISDIR(entry->mode))
		return card_path_is_junk(rules, entry->path);
	if (asprintf(&folder, "%s/", entry->path) < 0)
		return -ENOMEM;
	return card_path_is_junk(rules, folder);
}

static int walk_folder(struct walk *walk, int fd, const char *path, bool litter);

/* 0, or why the walk ends; what concerns the folder @at alone is its error. */
static int walk_into(struct walk *walk, int parent_fd, const char *name, size_t at)
{
	struct source *source = walk->source;
	struct source_entry *entry = &source->entries[at];
	struct stat st;
	int fd, r;

	if (walk->depth == DEPTH_MAX) {
		entry->error = -ELOOP;
		return 0;
	}
	fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		entry->error = -errno;
		close_fd_slot(&fd);
		return 0;
	}
	if (st.st_dev != source->device) {
		entry->error = -EXDEV;
		close_fd_slot(&fd);
		return 0;
	}
	walk->depth++;
	r = walk_folder(walk, fd, entry->path, entry->litter);
	walk->depth--;
	if (r == -ENOMEM || r == -E2BIG)
		return r;
	source->entries[at].error = r; /* the array may have moved */
	return 0;
}

static int walk_name(struct walk *walk, int fd, const char *path, const char *name, bool litter)
{
	struct source *source = walk->source;
	struct source_entry *entry;
	struct stat st;
	int r;

	entry = add_entry(source, path_join(path, name), &r);
	if (!entry)
		return r;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		entry->error = -errno;
	else
		take_stat(entry, &st);
	r = litter ? 1 : is_litter(walk->rules, entry);
	if (r < 0)
		return r;
	entry->litter = r;
	if (!S_ISDIR(entry->mode))
		return 0;
	return walk_into(walk, fd, name, source->count - 1);
}

/* Takes @fd. */
static int walk_folder(struct walk *walk, int fd, const char *path, bool litter)
{
	cleanup_with(names_fini) struct names names = { 0 };
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int failed = copy < 0 ? -errno : names_read(copy, ENTRIES_MAX, &names);
	int r = failed == -ENOMEM || failed == -E2BIG ? failed : 0;

	for (size_t i = 0; r == 0 && i < names.count; i++)
		r = walk_name(walk, fd, path, names.list[i], litter);
	close_fd_slot(&fd);
	return r < 0 ? r : failed;
}

int source_open(const char *path, const struct card_rules *rules, struct source *ret_source)
{
	struct walk walk = { ret_source, rules, 0 };
	struct stat st;
	int copy;

	*ret_source = (struct source){ .fd = -1, .top = realpath(path, NULL) };
	if (!ret_source->top)
		return -errno;
	ret_source->fd = open(ret_source->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret_source->fd < 0 || fstat(ret_source->fd, &st) < 0)
		return -errno;
	ret_source->device = st.st_dev;
	copy = openat(ret_source->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return copy < 0 ? -errno : walk_folder(&walk, copy, "", false);
}

void source_close(struct source *source)
{
	for (size_t i = 0; i < source->count; i++)
		free(source->entries[i].path);
	free(source->entries);
	free(source->top);
	close_fd_slot(&source->fd);
	*source = (struct source){ .fd = -1 };
}

uint64_t source_total(const struct source *source, uint64_t *ret_bytes)
{
	uint64_t files = 0;

	*ret_bytes = 0;
	for (size_t i = 0; i < source->count; i++) {
		const struct source_entry *entry = &source->entries[i];

		if (!S_ISREG(entry->mode) || entry->litter)
			continue;
		files++;
		*ret_bytes += entry->size;
	}
	return files;
}

static int check_stat(int fd, const struct source_entry *entry)
{
	struct source_entry now = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	take_stat(&now, &st);
	return now.mode == entry->mode && now.size == entry->size &&
			       now.mtime_ns == entry->mtime_ns && now.ctime_ns == entry->ctime_ns
		       ? 0
		       : -ESTALE;
}

int source_check(const struct source *source, const struct source_entry *entry)
{
	cleanup_close int fd = open_beneath(source->fd, entry->path, O_PATH, 0);

	return fd < 0 ? fd : check_stat(fd, entry);
}

struct hashing {
	const struct source_hash *hash;
	struct hashes *hashes; /* NULL: no formats are wanted */
};

static int keep_pace(void *arg, uint64_t bytes)
{
	const struct source_hash *hash = ((struct hashing *)arg)->hash;

	return hash->pace ? hash->pace(hash->arg, bytes) : 0;
}

static int take_bytes(void *arg, const void *bytes, size_t length)
{
	const struct hashing *hashing = arg;
	const struct source_hash *hash = hashing->hash;
	/* First: who takes them may go on with them in a thread of his own. */
	int r = hash->tap ? hash->tap(hash->arg, bytes, length) : 0;

	return r == 0 && hashing->hashes ? hashes_update(hashing->hashes, bytes, length) : r;
}

static void release(void *arg)
{
	const struct source_hash *hash = ((struct hashing *)arg)->hash;

	if (hash->release)
		hash->release(hash->arg);
}

int source_hash(const struct source *source, const struct source_entry *entry,
		struct source_hash *hash)
{
	cleanup_with(hashes_free_slot) struct hashes *hashes =
		hash->formats ? hashes_new(hash->formats) : NULL;
	/* A fifo is not waited for. */
	cleanup_close int fd =
		open_beneath(source->fd, entry->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct hashing hashing = { hash, hashes };
	struct readback readback = {
		.pace = keep_pace,
		.tap = take_bytes,
		.release = release,
		.arg = &hashing,
		.is_look = true,
	};
	int r;

	if (fd < 0)
		return fd;
	if (hash->formats && !hashes)
		return -ENOMEM;
	r = check_stat(fd, entry);
	if (r == 0)
		r = readback_file(fd, &readback);
	if (r < 0)
		return r;
	blockmap_fini(&readback.map);
	for (unsigned format = 0; r == 0 && format < HASH_FORMATS; format++) {
		if (hash->formats & HASH_BIT(format))
			r = hashes_final(hashes, format, hash->values[format]);
	}
	hash->digest = readback.digest;
	hash->from = readback.source;
	return r < 0 ? r : check_stat(fd, entry);
}
