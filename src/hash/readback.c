/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/readback.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#include "hash/ahead.h"
#include "hash/xxh.h"
#include "util/cleanup.h"
#include "util/io.h"

/* Smaller files are not worth a thread. */
#define AHEAD_FROM_BYTES (4ull * BLOCK_BYTES)

/* Good for every block device when the kernel does not say (before 6.1). */
#define DIRECT_ALIGN 4096u

/* Fits into the second-level cache beside what else is there. */
#define HASH_BYTES ((size_t)128 << 10)

/* 63 ms in all, and then somebody holds them. */
#define DROP_ATTEMPTS 8
#define DROP_PAUSE_NS 1000000L

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5; the same on every architecture but alpha */
#endif

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u /* Linux 6.1 */
#endif

struct reader {
	int fd;       /* the caller's */
	int own_fd;   /* opened again, or -1 */
	int fd_flags; /* of the caller's, to be put back; -1 when untouched */
	bool is_look; /* as of the readback */
	size_t align; /* of direct reads; 1 when not direct */
	uint64_t size;
	void *buffers[2]; /* owned, aligned, BLOCK_BYTES; NULL where one is enough */
	enum readback_source source;
};

static int reader_fd(const struct reader *reader)
{
	return reader->own_fd >= 0 ? reader->own_fd : reader->fd;
}

static void reader_fini(struct reader *reader)
{
	if (reader->fd_flags >= 0)
		(void)fcntl(reader->fd, F_SETFL, reader->fd_flags);
	free(reader->buffers[0]);
	free(reader->buffers[1]);
	close_fd_slot(&reader->own_fd);
}

static bool in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 &&
	       ((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC);
}

/* Open @fd's file once more. A descriptor or a negative errno. */
static int reopen(int fd, int flags)
{
	char path[32];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME | flags);
	if (again < 0 && errno == EPERM) /* neither owner nor privileged */
		again = open(path, O_RDONLY | O_CLOEXEC | flags);
	return again < 0 ? -errno : again;
}

/*
 * The alignment of direct reads as the kernel tells it: 0 when this file cannot do them;
 * *ret_sure when it really knows (file systems that silently read through the cache do not).
 */
static size_t direct_align(int fd, bool *ret_sure)
{
	/* struct statx of old headers has these two as spare words. */
	union {
		struct statx statx;
		uint32_t words[64];
	} st;
	uint32_t memory, offset;

	*ret_sure = false;
	memset(&st, 0, sizeof(st));
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st.statx) < 0 ||
	    !(st.statx.stx_mask & STATX_DIOALIGN))
		return DIRECT_ALIGN;
	memory = st.words[38]; /* stx_dio_mem_align, byte 0x98 */
	offset = st.words[39]; /* stx_dio_offset_align */
	*ret_sure = true;
	if (!memory || !offset || BLOCK_BYTES % offset || memory > BLOCK_BYTES)
		return 0;
	offset = offset < DIRECT_ALIGN ? DIRECT_ALIGN : offset;
	return memory > offset ? memory : offset;
}

/* Pages of [0, size) in the cache: 0 none, 1 some or unknown. */
static int pages_left(int fd, uint64_t size)
{
	struct {
		uint64_t offset, length;
	} range = { 0, 0 };
	struct {
		uint64_t cached, dirty, writeback, evicted, recently_evicted;
	} stat = { 0 };
	const size_t step = 1u << 30, page = (size_t)sysconf(_SC_PAGESIZE);
	cleanup_free unsigned char *present = NULL;

	if (syscall(SYS_cachestat, fd, &range, &stat, 0) == 0)
		return stat.cached != 0;
	present = malloc(step / page);
	if (!present)
		return 1;
	for (uint64_t offset = 0; offset < size; offset += step) {
		size_t length = size - offset < step ? (size_t)(size - offset) : step;
		void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
		int left = 0;

		if (map == MAP_FAILED)
			return 1;
		if (mincore(map, length, present) < 0)
			left = 1;
		for (size_t i = 0; i < (length + page - 1) / page; i++)
			left |= present[i] & 1;
		(void)munmap(map, length);
		if (left)
			return 1;
	}
	return 0;
}

/* Written pages are on disk already: what is dropped is read from there again. */
static enum readback_source drop_pages(int fd, uint64_t size)
{
	/* Pages on other processors' lists need a second call, those of a journal a moment. */
	struct timespec pause = { .tv_nsec = DROP_PAUSE_NS };

	for (int attempt = 0; attempt < DROP_ATTEMPTS; attempt++) {
		if (attempt > 1) {
			(void)nanosleep(&pause, NULL);
			pause.tv_nsec *= 2;
		}
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		if (!pages_left(fd, size))
			return READBACK_DROPPED;
	}
	return READBACK_CACHED;
}

/* Read through the cache; where opening is denied (mode 0), the caller's own descriptor can. */
static void choose_plain(struct reader *reader)
{
	close_fd_slot(&reader->own_fd);
	reader->own_fd = reopen(reader->fd, 0);
	if (reader->own_fd < 0 && reader->fd_flags < 0) {
		reader->fd_flags = fcntl(reader->fd, F_GETFL);
		if (reader->fd_flags >= 0)
			(void)fcntl(reader->fd, F_SETFL, reader->fd_flags | O_NOATIME);
	}
}

static int sync_all(int fd)
{
	/* EINVAL, EROFS: a medium that is only read. */
	return fsync(fd) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}

static void choose_dropped(struct reader *reader)
{
	choose_plain(reader);
	if (reader->is_look) /* a page that stays dirty is not dropped, and seen */
		(void)sync_all(reader_fd(reader));
	reader->align = 1;
	reader->source = drop_pages(reader_fd(reader), reader->size);
}

/* Buffers for blocks of a file of @size bytes; a direct read of its end is as long as is aligned.
 */
static int get_buffers(struct reader *reader, uint64_t size)
{
	size_t align = reader->align > DIRECT_ALIGN ? reader->align : DIRECT_ALIGN;
	size_t room = size < BLOCK_BYTES ? ((size_t)size / align + 1) * align : BLOCK_BYTES;

	for (size_t i = 0; i < (size > BLOCK_BYTES ? 2 : 1); i++) {
		reader->buffers[i] = aligned_alloc(align, room);
		if (!reader->buffers[i])
			return -ENOMEM;
	}
	return 0;
}

static int reader_init(struct reader *reader, int fd, bool is_look)
{
	struct stat st;
	bool sure;
	int r;

	*reader = (struct reader){
		.fd = fd, .own_fd = -1, .fd_flags = -1, .is_look = is_look, .align = 1
	};
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	reader->size = (uint64_t)st.st_size;
	/* The times too: who keeps them beside the digest takes another mtime for other bytes. */
	r = is_look ? 0 : sync_all(fd);
	if (r < 0)
		return r;

	if (in_memory(fd)) {
		choose_plain(reader);
		reader->source = READBACK_MEMORY;
	} else {
		reader->align = direct_align(fd, &sure);
		reader->own_fd = reader->align ? reopen(fd, O_DIRECT) : -1;
		reader->source = READBACK_DIRECT;
		if (reader->own_fd < 0)
			choose_dropped(reader);
		else if (!sure)
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	return get_buffers(reader, reader->size);
}

/* Direct reads have whole aligned lengths; the end of the file makes the last one short. */
static int read_direct(const struct reader *reader, void *buffer, uint64_t offset, size_t length)
{
	size_t want = (length + reader->align - 1) / reader->align * reader->align;
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(reader->own_fd, (char *)buffer + done, want - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ESTALE;
		if (done + (size_t)n >= length)
			return 0;
		if ((size_t)n < reader->align) /* cannot be asked for the rest */
			return -ESTALE;
		done += (size_t)n / reader->align * reader->align;
	}
	return 0;
}

/* Runs in the thread that reads ahead: one at a time, so @arg needs no lock. */
static int read_block(void *arg, void *buffer, uint64_t offset, size_t length)
{
	struct reader *reader = arg;
	int r;

	if (reader->source == READBACK_DIRECT) {
		r = read_direct(reader, buffer, offset, length);
		if (r != -EINVAL)
			return r;
		choose_dropped(reader); /* the file system took O_DIRECT but not the read */
	}
	r = read_at(reader_fd(reader), buffer, length, (off_t)offset);
	return r == -ENODATA ? -ESTALE : r;
}

/* The first block at or after @block that is to be read; the count of blocks when none. */
static uint64_t next_wanted(const struct readback *readback, uint64_t block, uint64_t count)
{
	while (block < count && readback->resident &&
	       !(readback->resident[block / 8] >> (block % 8) & 1))
		block++;
	return block;
}

static int begin_block(struct ahead *ahead, const struct readback *readback, void *buffer,
		       uint64_t block)
{
	size_t length = blockmap_length(readback->map.size, block);

	if (readback->pace && readback->pace(readback->arg, length) != 0)
		return -ECANCELED;
	ahead_begin(ahead, buffer, block * BLOCK_BYTES, length);
	return 0;
}

/* Both hashes of a piece while it is in the processor's cache, which a block is too large for. */
static uint64_t hash_block(const void *buffer, size_t length, struct digest_state *digest)
{
	const char *bytes = buffer;
	XXH3_state_t block;

	if (!digest)
		return block_hash(buffer, length);
	XXH3_INITSTATE(&block);
	xxh_best()->reset64(&block);
	for (size_t done = 0; done < length; done += HASH_BYTES) {
		size_t piece = length - done < HASH_BYTES ? length - done : HASH_BYTES;

		xxh_best()->update64(&block, bytes + done, piece);
		digest_update(digest, bytes + done, piece);
	}
	return xxh_best()->final64(&block);
}

/* While one block is hashed the next is read. */
static int read_all(struct reader *reader, struct ahead *ahead, struct readback *readback,
		    struct digest_state *digest)
{
	uint64_t count = blockmap_count(reader->size), next;
	bool whole = true;
	unsigned turn = 0;
	int r = 0;

	next = next_wanted(readback, 0, count);
	whole = next == 0;
	if (next < count)
		r = begin_block(ahead, readback, reader->buffers[turn], next);
	while (r == 0 && next < count) {
		uint64_t block = next;
		void *buffer = reader->buffers[turn];
		size_t length = blockmap_length(reader->size, block);

		r = ahead_wait(ahead);
		if (r < 0)
			return r;
		next = next_wanted(readback, block + 1, count);
		turn ^= 1;
		if (next < count)
			r = begin_block(ahead, readback, reader->buffers[turn], next);
		if (r == 0 && readback->tap)
			r = readback->tap(readback->arg, buffer, length);
		readback->map.hash[block] = hash_block(buffer, length, whole ? digest : NULL);
		whole = whole && next == block + 1;
	}
	if (r == 0 && whole)
		digest_final(digest, &readback->digest);
	return r;
}

static int run(struct reader *reader, struct readback *readback)
{
	cleanup_with(digest_free_slot) struct digest_state *digest = digest_new();
	struct ahead ahead;
	struct stat st;
	int r;

	if (!digest)
		return -ENOMEM;
	r = blockmap_init(&readback->map, reader->size);
	if (r < 0)
		return r;
	ahead_init(&ahead, read_block, reader, reader->size > AHEAD_FROM_BYTES ? AHEAD_THREAD : 0);
	r = read_all(reader, &ahead, readback, digest);
	ahead_fini(&ahead);
	if (r < 0)
		return r;
	if (fstat(reader->fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size == reader->size ? 0 : -ESTALE;
}

int readback_file(int fd, struct readback *readback)
{
	struct reader reader;
	int r;

	memset(&readback->map, 0, sizeof(readback->map));
	memset(&readback->digest, 0, sizeof(readback->digest));
	r = reader_init(&reader, fd, readback->is_look);
	if (r == 0)
		r = run(&reader, readback);
	if (readback->release)
		readback->release(readback->arg);
	readback->source = reader.source;
	reader_fini(&reader);
	if (r < 0) {
		blockmap_fini(&readback->map);
		memset(&readback->map, 0, sizeof(readback->map));
	}
	return r;
}
