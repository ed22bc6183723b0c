/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/residency.h"
#include "util/cleanup.h"
#include "volume/keeper.h"
#include "volume/seals.h"
#include "volume/tree.h"

/* Long enough for every value but the path. */
#define VALUE_MAX 64

/*
 * The row, with what the live object knows better: a newer generation, or damage. It is asked
 * first: a step that it has taken is then in the row, or queued for it.
 */
static int get_row(struct volume *volume, uint64_t id, struct node_row *ret_row)
{
	cleanup_with(live_put_slot) struct live *live = live_peek(volume, id);
	enum file_state state = FILE_RECEIVING;
	uint64_t generation = 0;
	int r;

	if (live) {
		scoped_lock(&live->lock);
		state = live->state;
		generation = live->generation;
	}
	/* What the last close led to may still be queued. */
	r = catalog_barrier(volume->catalog);
	if (r == 0)
		r = catalog_get_node(volume->catalog, id, ret_row);
	if (r <= 0 || !live)
		return r;
	if (generation != ret_row->generation) {
		ret_row->state = state;
		ret_row->generation = generation;
		ret_row->content = 0;
	} else if (state == FILE_DAMAGED) {
		ret_row->state = state;
	}
	return 1;
}

static int show_digest(struct volume *volume, const struct node_row *row, char *text)
{
	struct content_row content;
	int r;

	if (!row->content)
		return -ENODATA;
	r = catalog_get_content(volume->catalog, row->content, &content);
	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	digest_hex(&content.digest, text);
	content_row_fini(&content);
	return 0;
}

static int show_copies(struct volume *volume, const struct node_row *row, char *text)
{
	struct copy_row *copies = NULL;
	size_t count = 0, good = 0;
	int r = 0;

	if (row->content)
		r = catalog_get_copies(volume->catalog, row->content, &copies, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		good += !copies[i].bad;
		copy_row_fini(&copies[i]);
	}
	free(copies);
	(void)snprintf(text, VALUE_MAX, "%zu", good);
	return 0;
}

static int show_resident(struct volume *volume, uint64_t id, char *text)
{
	cleanup_close int fd = tree_open(volume, id, O_RDONLY | O_NONBLOCK);
	struct residency residency;
	struct stat st;
	uint64_t bytes;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = residency_read(fd, &residency);
	if (r < 0)
		return r;
	bytes = r > 0 ? residency_bytes(&residency) : (uint64_t)st.st_size;
	(void)snprintf(text, VALUE_MAX, "%" PRIu64, bytes);
	return 0;
}

/* What only a regular file has. */
static int show_file(struct volume *volume, const struct node_row *row, const char *what,
		     char *text)
{
	if (!S_ISREG(row->mode))
		return -ENODATA;
	if (strcmp(what, "digest") == 0)
		return show_digest(volume, row, text);
	if (strcmp(what, "copies") == 0)
		return show_copies(volume, row, text);
	if (strcmp(what, "resident") == 0)
		return show_resident(volume, row->id, text);
	if (strcmp(what, "state") == 0)
		(void)snprintf(text, VALUE_MAX, "%s", catalog_state_name(volume->catalog, row));
	else if (strcmp(what, "generation") == 0)
		(void)snprintf(text, VALUE_MAX, "%" PRIu64, row->generation);
	else
		return -ENODATA;
	return 0;
}

static ssize_t give_text(const char *text, void *value, size_t size)
{
	size_t length = strlen(text);

	if (size == 0)
		return (ssize_t)length;
	if (length > size)
		return -ERANGE;
	memcpy(value, text, length);
	return (ssize_t)length;
}

ssize_t virtual_get(struct volume *volume, uint64_t id, const char *name, void *value, size_t size)
{
	const char *what = name + strlen(VIRTUAL_PREFIX);
	char text[VALUE_MAX];
	struct node_row row;
	int r;

	/* Ours alone: how the backing file keeps its residency. */
	if (strcmp(name, RESIDENCY_XATTR) == 0)
		return -ENODATA;
	if (strcmp(what, "path") == 0) {
		cleanup_free char *path = volume_path_of(volume, id);

		return path ? give_text(path, value, size) : -ENOMEM;
	}
	r = get_row(volume, id, &row);
	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	if (strcmp(what, "sealed") == 0) {
		r = seals_cover(volume->seals, id);
		return r < 0 ? r : give_text(r ? "1" : "0", value, size);
	}
	if (strcmp(what, "pin") == 0)
		return give_text(row.flags & NODE_PINNED ? "1" : "0", value, size);
	r = show_file(volume, &row, what, text);
	return r < 0 ? r : give_text(text, value, size);
}

int virtual_set(struct volume *volume, uint64_t id, const char *name, const void *value,
		size_t size)
{
	const char *text = value;
	bool pin;
	int r;

	if (strcmp(name, VIRTUAL_PREFIX "pin") != 0)
		return -EPERM;
	if (value && (size != 1 || (text[0] != '0' && text[0] != '1')))
		return -EINVAL;
	pin = value && text[0] == '1';
	r = catalog_set_pin(volume->catalog, id, pin);
	/* Who sets it may ask for it next. */
	if (r == 0)
		r = catalog_barrier(volume->catalog);
	if (r == 0 && pin)
		keeper_wake(volume->keeper);
	return r;
}
