/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/io.h"

#define NOTHING_HELD UINT64_MAX

/* Reading for our own purposes leaves no access time; only an owner may ask for that. */
static int open_quietly(struct transfer *transfer, const char *path)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = store_open_path(transfer->store, path, flags | O_NOATIME, 0);

	return fd == -EPERM ? store_open_path(transfer->store, path, flags, 0) : fd;
}

static int open_once(struct transfer *transfer, uint64_t id, char **ret_path, int *ret_fd)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	r = catalog_path_of(transfer->catalog, id, &path);
	if (r < 0)
		return r;
	if (r == 0)
		return -ESTALE;
	fd = open_quietly(transfer, path);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || store_node_id(transfer->store, &st) != id)
		return -ESTALE;
	*ret_path = take_ptr(path);
	*ret_fd = take_fd(fd);
	return 0;
}

int transfer_open_file(struct transfer *transfer, uint64_t id, char **ret_path, int *ret_fd)
{
	int r = open_once(transfer, id, ret_path, ret_fd);

	if (r != -ESTALE)
		return r;
	/* A rename may be in the tree and not yet in the catalog. */
	r = catalog_barrier(transfer->catalog);
	return r < 0 ? r : open_once(transfer, id, ret_path, ret_fd);
}

int source_init(struct source *source, struct sender *sender, const struct content_row *content,
		const char *path, int fd)
{
	int r;

	memset(source, 0, sizeof(*source));
	source->sender = sender;
	source->row = &sender->row;
	source->content = content;
	source->path = path;
	source->fd = fd;
	source->held = NOTHING_HELD;
	source->bad_block = NOTHING_HELD;
	source->residency = malloc(sizeof(*source->residency));
	source->block = malloc(BLOCK_BYTES);
	if (!source->residency || !source->block) {
		source_fini(source);
		return -ENOMEM;
	}
	r = residency_read(fd, source->residency);
	if (r < 0) {
		source_fini(source);
		return r;
	}
	if (r == 0 || residency_full(source->residency)) {
		free(source->residency);
		source->residency = NULL;
	}
	return 0;
}

void source_fini(struct source *source)
{
	free(source->residency);
	free(source->block);
	source->residency = NULL;
	source->block = NULL;
}

/*
 * The bytes of block @index are not those that were verified. Damage, unless they were
 * rewritten since: then the catalog knows of a newer generation.
 */
static int judge_mismatch(struct source *source, uint64_t index)
{
	struct transfer *transfer = source->sender->lane->transfer;
	struct node_row node;
	int r;

	transfer->host.settle(transfer->host.arg, source->row->id);
	r = catalog_barrier(transfer->catalog);
	if (r < 0)
		return r;
	r = catalog_get_node(transfer->catalog, source->row->id, &node);
	if (r < 0)
		return r;
	if (r == 0 || node.generation != source->row->generation)
		return -ESTALE;
	source->bad_block = index;
	return -EBADMSG;
}

static int read_block(struct source *source, uint64_t index, uint8_t *buffer, size_t length)
{
	const struct content_row *content = source->content;
	struct stat st;
	int r;

	if (fstat(source->fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ESTALE; /* removed: not sent to its end for nobody */
	/* What is not here is in another tier; it comes checked. */
	if (source->residency && !residency_has(source->residency, index))
		return transfer_fetch(source->sender->lane->transfer, content, index * BLOCK_BYTES,
				      buffer, length, 0, NULL);
	r = read_at(source->fd, buffer, length, (off_t)(index * BLOCK_BYTES));
	if (r == -ENODATA)
		return judge_mismatch(source, index);
	if (r < 0)
		return r;
	if (!blockmap_check(&content->map, index, buffer, length))
		return judge_mismatch(source, index);
	return 0;
}

static int hold_block(struct source *source, uint64_t index)
{
	int r;

	if (source->held == index)
		return 0;
	source->held = NOTHING_HELD;
	r = read_block(source, index, source->block, blockmap_length(source->content->size, index));
	if (r == 0)
		source->held = index;
	return r;
}

static int read_range(struct source *source, uint64_t offset, uint8_t *buffer, size_t length)
{
	uint64_t size = source->content->size;

	if (offset > size || length > size - offset)
		return -EINVAL;
	while (length > 0) {
		uint64_t index = offset / BLOCK_BYTES;
		size_t skip = offset % BLOCK_BYTES;
		size_t whole = blockmap_length(size, index);
		size_t part = whole - skip < length ? whole - skip : length;
		int r;

		if (part == whole) {
			r = read_block(source, index, buffer, whole);
			if (r < 0)
				return r;
		} else {
			r = hold_block(source, index);
			if (r < 0)
				return r;
			memcpy(buffer, source->block + skip, part);
		}
		buffer += part;
		offset += part;
		length -= part;
	}
	return 0;
}

int source_read(void *arg, uint64_t offset, void *buffer, size_t length)
{
	struct source *source = arg;

	if (source->error == 0)
		source->error = read_range(source, offset, buffer, length);
	return source->error;
}

/* One for each content on its way to each tier; gone when it is stored. */
static void note_key(const struct source *source, char *key, size_t size)
{
	(void)snprintf(key, size, UPLOAD_NOTE_PREFIX "%" PRIu64, source->sender->lane->tier.id,
		       source->content->id);
}

int source_note(void *arg, const char *text, enum note_flags flags)
{
	const struct source *source = arg;
	struct catalog *catalog = source->sender->lane->transfer->catalog;
	char key[64];
	int r;

	note_key(source, key, sizeof(key));
	if (!text)
		return catalog_drop_meta(catalog, key);
	r = catalog_set_meta(catalog, key, text);
	return r < 0 || !(flags & NOTE_DURABLE) ? r : catalog_flush(catalog);
}

int source_recall(void *arg, char **ret_text)
{
	const struct source *source = arg;
	char key[64];

	note_key(source, key, sizeof(key));
	return catalog_get_meta(source->sender->lane->transfer->catalog, key, ret_text);
}

int source_pace(void *arg, uint64_t bytes)
{
	struct source *source = arg;
	struct lane *lane = source->sender->lane;
	struct transfer *transfer = lane->transfer;
	int r;

	lane_step_aside(lane);
	r = lane_take(lane, source->row->class, bytes);
	if (r < 0) {
		source->error = r;
		return r;
	}
	meter_add(&transfer->meter, bytes);
	scoped_lock(&transfer->lock);
	source->sender->path_done += bytes;
	return 0;
}
