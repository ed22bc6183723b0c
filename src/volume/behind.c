/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/io.h"

#define PIECE_BYTES (1u << 20) /* the kernel's largest write */
#define PIECE_MIN_BYTES (32u << 10)
#define PIECES 32
#define ROOM_BYTES (2ull << 30) /* free on the disk, or writes are not put off */
#define ROOM_LOOK_NS (100 * NS_PER_MS)
#define FAR_BYTES (1ll << 40) /* beyond, a file system's limits may be near */
#define WINDOW_BYTES (8u << 20)
#define WINDOWS 16

struct behind_piece {
	struct behind_piece *next;
	struct file *file; /* one ref, while queued */
	uint64_t generation;
	off_t offset;
	size_t length;
	char bytes[PIECE_BYTES];
};

struct window {
	int fd; /* owned: the handle may be closed meanwhile */
	off_t offset, length;
};

struct behind {
	/* Constant after behind_start(). */
	struct volume *volume; /* borrowed, outlives us */
	struct thread writer, starter;

	_Atomic int64_t looked_ns; /* when the room was looked at */
	_Atomic bool has_room;

	struct mutex lock; /* rank 47; guards the rest */
	struct cond changed;
	bool running, stopping;
	struct behind_piece *spare;        /* owned */
	struct behind_piece *first, *last; /* to be written, owned */
	unsigned pieces;                   /* made so far */
	struct window windows[WINDOWS];
	unsigned window_first, window_count;
};

struct behind *behind_new(struct volume *volume)
{
	struct behind *behind = calloc(1, sizeof(*behind));

	if (!behind)
		return NULL;
	behind->volume = volume;
	mutex_init(&behind->lock, 47);
	cond_init(&behind->changed);
	return behind;
}

/* Writing ------------------------------------------------------------------------------- */

/* Looked at now and then: far more is asked for than could be written meanwhile. */
static bool has_room(struct behind *behind)
{
	int64_t now_ns = monotonic_ns(), looked_ns = behind->looked_ns;
	struct statvfs vfs;

	if (looked_ns && now_ns - looked_ns < ROOM_LOOK_NS)
		return behind->has_room;
	behind->has_room = fstatvfs(behind->volume->store->root_fd, &vfs) == 0 &&
			   (uint64_t)vfs.f_bavail * vfs.f_frsize >= ROOM_BYTES;
	behind->looked_ns = now_ns;
	return behind->has_room;
}

static struct behind_piece *new_piece_locked(struct behind *behind)
{
	struct behind_piece *piece = malloc(sizeof(*piece));

	if (piece)
		behind->pieces++;
	return piece;
}

static struct behind_piece *get_piece(struct behind *behind, const struct live *live)
{
	struct behind_piece *piece;

	scoped_lock(&behind->lock);
	while (behind->running && !behind->spare && behind->pieces == PIECES && live->behind > 0)
		cond_wait(&behind->changed, &behind->lock);
	if (!behind->running)
		return NULL;
	piece = behind->spare;
	if (piece)
		behind->spare = piece->next;
	else if (behind->pieces < PIECES)
		piece = new_piece_locked(behind);
	return piece;
}

struct behind_piece *behind_take(struct behind *behind, struct file *file, const void *bytes,
				 size_t length, off_t offset)
{
	struct behind_piece *piece;

	if (length < PIECE_MIN_BYTES || length > PIECE_BYTES || offset > FAR_BYTES ||
	    !has_room(behind))
		return NULL;
	piece = get_piece(behind, file->live);
	if (!piece)
		return NULL;
	piece->file = file;
	piece->offset = offset;
	piece->length = length;
	memcpy(piece->bytes, bytes, length);
	return piece;
}

void behind_drop(struct behind *behind, struct behind_piece *piece)
{
	if (!piece)
		return;
	scoped_lock(&behind->lock);
	piece->next = behind->spare;
	behind->spare = piece;
	cond_broadcast(&behind->changed);
}

void behind_queue_locked(struct behind *behind, struct behind_piece *piece)
{
	struct live *live = piece->file->live;

	mutex_assert_held(&live->lock);
	atomic_fetch_add(&piece->file->refs, 1);
	piece->generation = live->generation;
	piece->next = NULL;
	live->behind++;
	scoped_lock(&behind->lock);
	if (behind->last)
		behind->last->next = piece;
	else
		behind->first = piece;
	behind->last = piece;
	cond_broadcast(&behind->changed);
}

/* The damage is told before the writer's flush can find nothing left to wait for. */
static void write_piece(struct behind *behind, struct behind_piece *piece)
{
	struct file *file = piece->file;
	struct live *live = file->live;
	int r = write_at(file->fd, piece->bytes, piece->length, piece->offset);

	if (r < 0)
		live_lose(live, piece->generation, r);
	mutex_lock(&live->lock);
	if (r == 0)
		behind_written_locked(behind, file, piece->offset, piece->length);
	if (--live->behind == 0)
		cond_broadcast(&live->changed);
	mutex_unlock(&live->lock);
	behind_drop(behind, piece);
	file_unref(file);
}

static void *writer_main(void *arg)
{
	struct behind *behind = arg;
	struct behind_piece *piece;

	for (;;) {
		mutex_lock(&behind->lock);
		while (!behind->first && !behind->stopping)
			cond_wait(&behind->changed, &behind->lock);
		piece = behind->first;
		if (piece) {
			behind->first = piece->next;
			if (!behind->first)
				behind->last = NULL;
		}
		mutex_unlock(&behind->lock);
		if (!piece)
			return NULL;
		write_piece(behind, piece);
	}
}

/* Starting for the medium --------------------------------------------------------------- */

/* A full queue drops it: the read-back's sync does all that is left. */
static void add_window(struct behind *behind, int fd, uint64_t start, uint64_t end)
{
	struct window *window;
	int own;

	scoped_lock(&behind->lock);
	if (!behind->running || behind->window_count == WINDOWS)
		return;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return;
	window = &behind->windows[(behind->window_first + behind->window_count++) % WINDOWS];
	*window = (struct window){ .fd = own,
				   .offset = (off_t)start,
				   .length = (off_t)(end - start) };
	cond_broadcast(&behind->changed);
}

void behind_written_locked(struct behind *behind, struct file *file, off_t offset, size_t length)
{
	struct live *live = file->live;

	mutex_assert_held(&live->lock);
	if ((uint64_t)offset != live->window_end)
		live->window_start = live->window_end = (uint64_t)offset;
	live->window_end += length;
	if (live->window_end - live->window_start < WINDOW_BYTES)
		return;
	add_window(behind, file->fd, live->window_start, live->window_end);
	live->window_start = live->window_end;
}

static void *starter_main(void *arg)
{
	struct behind *behind = arg;
	struct window window;

	for (;;) {
		mutex_lock(&behind->lock);
		while (behind->window_count == 0 && !behind->stopping)
			cond_wait(&behind->changed, &behind->lock);
		if (behind->window_count == 0) {
			mutex_unlock(&behind->lock);
			return NULL;
		}
		window = behind->windows[behind->window_first];
		behind->window_first = (behind->window_first + 1) % WINDOWS;
		behind->window_count--;
		mutex_unlock(&behind->lock);
		/* Only a start: errors are told by the sync that waits for it. */
		(void)sync_file_range(window.fd, window.offset, window.length,
				      SYNC_FILE_RANGE_WRITE);
		(void)close(window.fd);
	}
}

/* Life ---------------------------------------------------------------------------------- */

int behind_start(struct behind *behind)
{
	int r = thread_start(&behind->writer, "behind", writer_main, behind);

	if (r == 0)
		r = thread_start(&behind->starter, "writeout", starter_main, behind);
	if (r < 0)
		return r;
	scoped_lock(&behind->lock);
	behind->running = true;
	return 0;
}

void behind_free(struct behind *behind)
{
	if (!behind)
		return;
	mutex_lock(&behind->lock);
	behind->running = false;
	behind->stopping = true;
	cond_broadcast(&behind->changed);
	mutex_unlock(&behind->lock);
	thread_join(&behind->writer);
	thread_join(&behind->starter);
	while (behind->spare) {
		struct behind_piece *piece = behind->spare;

		behind->spare = piece->next;
		free(piece);
	}
	cond_fini(&behind->changed);
	mutex_fini(&behind->lock);
	free(behind);
}
