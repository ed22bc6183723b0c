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

#define PUT_OFF_FROM_BYTES (32u << 10)
#define QUEUED 32 /* pieces */
/* And one for each request that is being received or handled (fs/loop.c), and for who copies. */
#define PIECES (QUEUED + 40)
/* Hashed and written so much at a time, which stays in the cache between the two. */
#define STEP_BYTES (256u << 10)
#define ROOM_BYTES (2ull << 30) /* free on the disk, or writes are not put off */
#define ROOM_LOOK_NS (100 * NS_PER_MS)
#define FAR_BYTES (1ll << 40) /* beyond, a file system's limits may be near */
#define WINDOW_BYTES (8u << 20)
#define WINDOWS 16
/*
 * Nothing is started for the medium while more pieces wait than this: where blocks are allocated
 * for the medium, writes of the same file wait, and then whoever copies does.
 */
#define KEEPS_UP 4

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

	struct pieces *pieces; /* owned */

	struct mutex lock;  /* rank 47; guards the rest */
	struct cond queued; /* a piece, or stopping: for the writer */
	struct cond room;   /* in the queue of pieces */
	struct cond begun;  /* a window and few pieces, or stopping: for the starter */
	bool running, stopping;
	bool idle;                  /* the writer waits */
	unsigned waiting;           /* for room */
	struct piece *first, *last; /* to be written, owned */
	unsigned count;             /* of them, and of those being written */
	struct window windows[WINDOWS];
	unsigned window_first, window_count;
};

struct behind *behind_new(struct volume *volume)
{
	struct behind *behind = calloc(1, sizeof(*behind));

	if (!behind)
		return NULL;
	behind->volume = volume;
	behind->pieces = pieces_new(PIECES);
	if (!behind->pieces) {
		free(behind);
		return NULL;
	}
	mutex_init(&behind->lock, 47);
	cond_init(&behind->queued);
	cond_init(&behind->room);
	cond_init(&behind->begun);
	return behind;
}

struct pieces *behind_pieces(struct behind *behind)
{
	return behind->pieces;
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

bool behind_wants(struct behind *behind, struct file *file, size_t length, off_t offset)
{
	const struct live *live = file->live;

	if (length < PUT_OFF_FROM_BYTES || length > WRITE_MAX_BYTES || offset > FAR_BYTES ||
	    !has_room(behind))
		return false;
	scoped_lock(&behind->lock);
	while (behind->running && behind->count >= QUEUED && live->behind > 0) {
		behind->waiting++;
		cond_wait(&behind->room, &behind->lock);
		behind->waiting--;
	}
	return behind->running && behind->count < QUEUED;
}

void behind_queue_locked(struct behind *behind, struct file *file, struct piece *piece,
			 size_t length, off_t offset)
{
	struct live *live = file->live;
	uint64_t end = (uint64_t)offset + length;

	mutex_assert_held(&live->lock);
	atomic_fetch_add(&file->refs, 1);
	piece->file = file;
	piece->generation = live->generation;
	piece->offset = offset;
	piece->length = length;
	piece->next = NULL;
	if (live->behind == 0)
		live->behind_size = receipt_size(live->receipt);
	if (end > live->behind_size)
		live->behind_size = end;
	live->behind++;
	scoped_lock(&behind->lock);
	if (behind->last)
		behind->last->next = piece;
	else
		behind->first = piece;
	behind->last = piece;
	behind->count++;
	if (behind->idle)
		cond_signal(&behind->queued);
}

/* The receipt hears before the write: the bytes are in the cache for both. */
static int write_steps(const struct piece *piece)
{
	struct receipt *receipt = piece->file->live->receipt;

	for (size_t done = 0; done < piece->length;) {
		size_t left = piece->length - done;
		size_t length = left < STEP_BYTES ? left : STEP_BYTES;
		off_t offset = piece->offset + (off_t)done;
		int r = receipt_write(receipt, (uint64_t)offset, piece->bytes + done, length);

		if (r == 0)
			r = write_at(piece->file->fd, piece->bytes + done, length, offset);
		if (r < 0)
			return r;
		done += length;
	}
	return 0;
}

/* Back to those to spare; whoever waits for room goes on. */
static void give_piece(struct behind *behind, struct piece *piece)
{
	piece_give(behind->pieces, piece);
	scoped_lock(&behind->lock);
	if (--behind->count == KEEPS_UP)
		cond_signal(&behind->begun);
	if (behind->waiting > 0)
		cond_broadcast(&behind->room);
}

/* The damage is told before the writer's flush can find nothing left to wait for. */
static void write_piece(struct behind *behind, struct piece *piece)
{
	struct file *file = piece->file;
	struct live *live = file->live;
	int r = write_steps(piece);

	if (r < 0)
		live_lose(live, piece->generation, r);
	mutex_lock(&live->lock);
	if (r == 0)
		behind_written_locked(behind, file, piece->offset, piece->length);
	if (--live->behind == 0)
		cond_broadcast(&live->changed);
	mutex_unlock(&live->lock);
	give_piece(behind, piece);
	file_unref(file);
}

static void *writer_main(void *arg)
{
	struct behind *behind = arg;
	struct piece *piece;

	for (;;) {
		mutex_lock(&behind->lock);
		while (!behind->first && !behind->stopping) {
			behind->idle = true;
			cond_wait(&behind->queued, &behind->lock);
		}
		behind->idle = false;
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
	if (behind->count <= KEEPS_UP)
		cond_signal(&behind->begun);
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
		while ((behind->window_count == 0 || behind->count > KEEPS_UP) && !behind->stopping)
			cond_wait(&behind->begun, &behind->lock);
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
	cond_broadcast(&behind->queued);
	cond_broadcast(&behind->room);
	cond_broadcast(&behind->begun);
	mutex_unlock(&behind->lock);
	thread_join(&behind->writer);
	thread_join(&behind->starter);
	pieces_free(behind->pieces);
	cond_fini(&behind->queued);
	cond_fini(&behind->room);
	cond_fini(&behind->begun);
	mutex_fini(&behind->lock);
	free(behind);
}
