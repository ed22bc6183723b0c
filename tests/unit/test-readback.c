/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/readback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/io.h"

static int make_file(const char *path, size_t length)
{
	cleanup_free uint8_t *bytes = malloc(length + 1);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	uint32_t seed = 7;

	for (size_t i = 0; i < length; i++) {
		seed = seed * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	check(fd >= 0);
	check_int(write_at(fd, bytes, length, 0), 0);
	return fd;
}

/* What the page cache holds, hashed without any of readback's code. */
static void check_against_cache(int fd, const struct readback *readback)
{
	struct stat st;
	cleanup_free uint8_t *bytes = NULL;
	struct digest digest;

	check_int(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	check_int(read_at(fd, bytes, (size_t)st.st_size, 0), 0);
	check_int(readback->map.size, st.st_size);
	for (uint64_t i = 0; i < blockmap_count(readback->map.size); i++)
		check(blockmap_check(&readback->map, i, bytes + i * BLOCK_BYTES,
				     blockmap_length(readback->map.size, i)));
	digest_of(bytes, (size_t)st.st_size, &digest);
	check(digest_equal(&digest, &readback->digest));
}

static void check_sizes_in(const char *folder, enum readback_source source)
{
	static const size_t sizes[] = {
		0,
		1,
		511,
		512,
		4095,
		4096,
		4097,
		BLOCK_BYTES,
		BLOCK_BYTES - 1,
		BLOCK_BYTES + 1,
		3 * BLOCK_BYTES + 12345,
		6 * BLOCK_BYTES + 1,
	};
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/clip", folder);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cleanup_close int fd = make_file(path, sizes[i]);
		struct readback readback = { 0 };

		check_int(readback_file(fd, &readback), 0);
		check_int(readback.source, source);
		check_against_cache(fd, &readback);
		blockmap_fini(&readback.map);
	}
	check_int(unlink(path), 0);
}

TEST(every_length_is_read_back_whole)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(image_free_slot) struct image *ext4 = image_new(dir, "ext4", 64);
	cleanup_with(image_free_slot) struct image *xfs = image_new(dir, "xfs", 320);
	cleanup_with(image_free_slot) struct image *tmpfs = image_new(dir, "tmpfs", 64);

	if (ext4)
		check_sizes_in(ext4->mount, READBACK_DIRECT);
	if (xfs)
		check_sizes_in(xfs->mount, READBACK_DIRECT);
	if (tmpfs)
		check_sizes_in(tmpfs->mount, READBACK_MEMORY);
}

static void check_sees_the_disk(const struct scratch *dir, const char *type, unsigned megabytes)
{
	cleanup_with(image_free_slot) struct image *image = image_new(dir, type, megabytes);
	struct readback before = { 0 }, after = { 0 };
	cleanup_close int fd = -1;
	char path[4096];

	if (!image)
		return;
	(void)snprintf(path, sizeof(path), "%s/clip", image->mount);
	fd = make_file(path, 2 * BLOCK_BYTES + 100);
	check_int(readback_file(fd, &before), 0);
	image_flip(image, path, BLOCK_BYTES + 77);
	check_int(readback_file(fd, &after), 0);
	check_int(blockmap_mismatch(&before.map, &after.map, 0), 1);
	check(blockmap_mismatch(&before.map, &after.map, 2) == UINT64_MAX);
	check(!digest_equal(&before.digest, &after.digest));
	blockmap_fini(&before.map);
	blockmap_fini(&after.map);
}

TEST(where_direct_reads_are_not_possible_pages_are_dropped)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(image_free_slot) struct image *ext4 = image_new(dir, "ext4,data=journal", 64);

	if (ext4)
		check_sizes_in(ext4->mount, READBACK_DROPPED);
}

TEST(pages_that_do_not_go_prove_nothing)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(image_free_slot) struct image *ext4 = image_new(dir, "ext4,data=journal", 64);
	struct readback readback = { 0 };
	cleanup_close int fd = -1;
	char path[4096];
	void *map;

	if (!ext4)
		return;
	(void)snprintf(path, sizeof(path), "%s/clip", ext4->mount);
	fd = make_file(path, 8192);
	map = mmap(NULL, 8192, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	check_int(mlock(map, 8192), 0);
	check_int(readback_file(fd, &readback), 0);
	check_int(readback.source, READBACK_CACHED);
	check_int(munmap(map, 8192), 0);
	blockmap_fini(&readback.map);
}

TEST(a_bit_flipped_on_the_disk_is_seen_through_a_warm_cache)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();

	check_sees_the_disk(dir, "ext4", 64);
	check_sees_the_disk(dir, "xfs", 320);
	check_sees_the_disk(dir, "ext4,data=journal", 64);
}

TEST(a_file_that_may_not_be_read_or_written_is_read_back)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(scratch_file(dir, "clip"), 10000);
	cleanup_close int read_only = open(scratch_file(dir, "clip"), O_RDONLY | O_CLOEXEC);
	struct readback readback = { 0 };
	struct stat before, after;

	check_int(fchmod(fd, 0), 0);
	check_int(fstat(fd, &before), 0);
	check_int(readback_file(read_only, &readback), 0);
	check_int(fstat(fd, &after), 0);
	check(readback.source != READBACK_CACHED);
	check_against_cache(fd, &readback);
	check(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec &&
	      before.st_atim.tv_nsec == after.st_atim.tv_nsec && after.st_mode == before.st_mode);
	blockmap_fini(&readback.map);
}

TEST(only_resident_blocks_are_read_and_then_there_is_no_digest)
{
	static const uint8_t resident[1] = { 0x5 };
	static const struct digest none;
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(scratch_file(dir, "clip"), 2 * BLOCK_BYTES + 1);
	struct readback part = { .resident = resident }, whole = { 0 };

	check_int(readback_file(fd, &whole), 0);
	check_int(readback_file(fd, &part), 0);
	check(part.map.hash[0] == whole.map.hash[0] && part.map.hash[2] == whole.map.hash[2]);
	check(part.map.hash[1] == 0);
	check(digest_equal(&part.digest, &none));
	blockmap_fini(&whole.map);
	blockmap_fini(&part.map);
}

struct pacer {
	int fd;
	uint64_t bytes;
	int calls_left;
	off_t size; /* set when the calls are used up */
};

static int pace(void *arg, uint64_t bytes)
{
	struct pacer *pacer = arg;

	pacer->bytes += bytes;
	if (pacer->calls_left-- > 0)
		return 0;
	return pacer->size < 0 ? 1 : ftruncate(pacer->fd, pacer->size);
}

TEST(pace_sees_every_byte_and_can_stop)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(scratch_file(dir, "clip"), 2 * BLOCK_BYTES + 1);
	struct pacer pacer = { .fd = fd, .calls_left = 9, .size = -1 };
	struct readback readback = { .pace = pace, .arg = &pacer };

	check_int(readback_file(fd, &readback), 0);
	check_int(pacer.bytes, 2 * BLOCK_BYTES + 1);
	blockmap_fini(&readback.map);
	pacer.calls_left = 1;
	check_int(readback_file(fd, &readback), -ECANCELED);
	check(readback.map.hash == NULL);
}

TEST(a_size_that_changes_meanwhile_is_stale)
{
	static const off_t sizes[] = { 0, BLOCK_BYTES + 3, 2 * BLOCK_BYTES - 4096,
				       9 * BLOCK_BYTES };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
		cleanup_close int fd = make_file(scratch_file(dir, "clip"), 2 * BLOCK_BYTES + 1);
		struct pacer pacer = { .fd = fd, .calls_left = 1, .size = sizes[i] };
		struct readback readback = { .pace = pace, .arg = &pacer };

		check_int(readback_file(fd, &readback), -ESTALE);
	}
}

TEST(reading_ahead_can_be_stopped_anywhere)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(scratch_file(dir, "clip"), 6 * BLOCK_BYTES + 1);

	for (int calls = 0; calls < 7; calls++) {
		struct pacer pacer = { .fd = fd, .calls_left = calls, .size = -1 };
		struct readback readback = { .pace = pace, .arg = &pacer };

		check_int(readback_file(fd, &readback), -ECANCELED);
	}
	{
		struct pacer pacer = { .fd = fd, .calls_left = 3, .size = 0 };
		struct readback readback = { .pace = pace, .arg = &pacer };

		check_int(readback_file(fd, &readback), -ESTALE);
	}
}

TEST(blocks_left_out_of_a_long_file_are_not_read)
{
	static const uint8_t resident[1] = { 0x4a }; /* 1, 3, 6 */
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(scratch_file(dir, "clip"), 6 * BLOCK_BYTES + 1);
	struct pacer pacer = { .fd = fd, .calls_left = 99, .size = -1 };
	struct readback part = { .resident = resident, .pace = pace, .arg = &pacer }, whole = { 0 };

	check_int(readback_file(fd, &whole), 0);
	check_int(readback_file(fd, &part), 0);
	check_int(pacer.bytes, 2 * BLOCK_BYTES + 1);
	for (uint64_t i = 0; i < 7; i++)
		check(part.map.hash[i] == (resident[0] >> i & 1 ? whole.map.hash[i] : 0));
	blockmap_fini(&whole.map);
	blockmap_fini(&part.map);
}

TEST(what_is_no_file_is_refused)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct readback readback = { 0 };

	check_int(readback_file(fd, &readback), -EINVAL);
	check_int(readback_file(-1, &readback), -EBADF);
}

static int hash_more(void *arg, const void *bytes, size_t length)
{
	digest_update(arg, bytes, length);
	return 0;
}

static int no_more(void *arg, const void *bytes, size_t length)
{
	(void)arg, (void)bytes, (void)length;
	return -EPIPE;
}

TEST(the_bytes_read_are_handed_on_in_order)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	int fd = make_file(scratch_file(dir, "file"), 5 * BLOCK_BYTES + 7);
	struct digest_state *state = digest_new();
	struct readback readback = { .tap = hash_more, .arg = state };
	struct digest digest;

	check_int(readback_file(fd, &readback), 0);
	digest_final(state, &digest);
	check(digest_equal(&digest, &readback.digest));
	blockmap_fini(&readback.map);
	readback.tap = no_more;
	check_int(readback_file(fd, &readback), -EPIPE);
	digest_free(state);
	(void)close(fd);
}
