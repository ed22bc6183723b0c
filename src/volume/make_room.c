/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/hydrate.h"
#include "volume/keeper.h"
#include "volume/tree.h"

/* Files weighed against each other in one pass. */
#define CANDIDATES 1024

/* Head and tail stay: nothing is gained from files of that few blocks. */
#define SMALLEST_BYTES (2ull * BLOCK_BYTES)

struct candidate {
	uint64_t id;
	int64_t used_ns; /* stored or read last */
};

/* A heap of the oldest ones, the newest of them on top. */
struct candidates {
	struct candidate list[CANDIDATES];
	size_t count;
};

static void sift_down(struct candidates *all)
{
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;
		struct candidate swap;

		if (child >= all->count)
			return;
		if (child + 1 < all->count &&
		    all->list[child + 1].used_ns > all->list[child].used_ns)
			child++;
		if (all->list[child].used_ns <= all->list[at].used_ns)
			return;
		swap = all->list[at];
		all->list[at] = all->list[child];
		all->list[child] = swap;
		at = child;
	}
}

static void sift_up(struct candidates *all)
{
	for (size_t at = all->count - 1; at > 0;) {
		size_t parent = (at - 1) / 2;
		struct candidate swap = all->list[at];

		if (all->list[parent].used_ns >= swap.used_ns)
			return;
		all->list[at] = all->list[parent];
		all->list[parent] = swap;
		at = parent;
	}
}

static int weigh(void *arg, const char *name, const struct node_row *row)
{
	struct candidates *all = arg;
	const struct candidate candidate = { .id = row->id, .used_ns = row->state_ns };

	(void)name;
	if ((row->flags & NODE_PINNED) || row->size <= SMALLEST_BYTES)
		return 0;
	if (row->state == FILE_EVICTED && row->resident_bytes <= SMALLEST_BYTES)
		return 0;
	if (all->count < CANDIDATES) {
		all->list[all->count++] = candidate;
		sift_up(all);
	} else if (candidate.used_ns < all->list[0].used_ns) {
		all->list[0] = candidate;
		sift_down(all);
	}
	return 0;
}

/* The backing file's access time tells of readers (the kernel keeps it, at its own pace). */
static void look_at_readers(struct volume *volume, struct candidates *all)
{
	for (size_t i = 0; i < all->count; i++) {
		cleanup_close int fd = tree_open(volume, all->list[i].id, O_PATH | O_CLOEXEC);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 &&
		    timespec_ns(st.st_atim) > all->list[i].used_ns)
			all->list[i].used_ns = timespec_ns(st.st_atim);
	}
}

static int by_use(const void *a, const void *b)
{
	const struct candidate *first = a, *second = b;

	return first->used_ns < second->used_ns ? -1 : first->used_ns > second->used_ns;
}

int64_t make_room(struct volume *volume, uint64_t bytes, bool (*stopping)(void *arg), void *arg)
{
	cleanup_free struct candidates *all = calloc(1, sizeof(*all));
	int64_t freed = 0;
	int r;

	if (!all)
		return -ENOMEM;
	r = catalog_each_file(volume->catalog,
			      1u << FILE_STORED | 1u << FILE_EVICTED | 1u << FILE_HYDRATING, 0,
			      weigh, all);
	if (r < 0)
		return r;
	look_at_readers(volume, all);
	qsort(all->list, all->count, sizeof(all->list[0]), by_use);
	for (size_t i = 0; i < all->count && (uint64_t)freed < bytes; i++) {
		int64_t gained;

		if (stopping(arg))
			return -ECANCELED;
		gained = evict_file(volume, all->list[i].id);
		if (gained == -ECANCELED)
			return gained;
		if (gained > 0)
			freed += gained;
	}
	return freed;
}
