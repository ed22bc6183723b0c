/* SPDX-License-Identifier: Apache-2.0 */
#include "store/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

static const struct digest some_digest = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
					     16 } };

static void check_same(const struct residency *a, const struct residency *b)
{
	check_int(a->size, (int64_t)b->size);
	check_int(a->shift, b->shift);
	check_int(a->bit_count, b->bit_count);
	check_int(a->shown_ctime_ns, b->shown_ctime_ns);
	check(digest_equal(&a->digest, &b->digest));
	check(memcmp(a->bits, b->bits, sizeof(a->bits)) == 0);
}

TEST(any_size_fits_its_bitmap)
{
	static const struct {
		uint64_t size;
		unsigned shift;
		uint32_t bits;
	} cases[] = {
		{ 0, 0, 0 },
		{ 1, 0, 1 },
		{ BLOCK_BYTES, 0, 1 },
		{ BLOCK_BYTES + 1, 0, 2 },
		{ 24576ull * BLOCK_BYTES, 0, 24576 },
		{ 24576ull * BLOCK_BYTES + 1, 1, 12289 },
		{ 1ull << 50, 14, 16384 },
		{ INT64_MAX, 27, 16384 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct residency r;

		residency_init(&r, cases[i].size, &some_digest);
		check_int(r.shift, cases[i].shift);
		check_int(r.bit_count, cases[i].bits);
		check_int(residency_full(&r), cases[i].size == 0);
		check_int(residency_bytes(&r), 0);
		for (uint64_t block = 0; block < r.bit_count; block++)
			residency_set(&r, block << r.shift);
		check(residency_full(&r));
		check(residency_bytes(&r) == cases[i].size);
	}
}

TEST(ranges_are_resident_only_with_every_block)
{
	struct residency r;

	residency_init(&r, 9ull << 30, &some_digest);
	residency_set(&r, 0);
	residency_set(&r, 1);
	residency_set(&r, 2303); /* the last */
	check(residency_has_range(&r, 0, 2 * BLOCK_BYTES));
	check(!residency_has_range(&r, 0, 2 * BLOCK_BYTES + 1));
	check(!residency_has_range(&r, 2 * BLOCK_BYTES, 1));
	check(residency_has_range(&r, 2 * BLOCK_BYTES, 0));
	check(residency_has_range(&r, 2303ull * BLOCK_BYTES, UINT64_MAX));
	check(!residency_has_range(&r, 2303ull * BLOCK_BYTES - 1, 2));
	check(residency_has_range(&r, 9ull << 30, 5));
	check(!residency_has_range(&r, 0, UINT64_MAX));
	residency_set(&r, 2304); /* beyond: nothing happens */
	residency_set(&r, UINT64_MAX);
	check(!residency_has(&r, 2304));
	residency_clear(&r, 1);
	check(!residency_has(&r, 1));
	check_int(residency_bytes(&r), 2 * BLOCK_BYTES);
}

TEST(granules_are_cut_at_the_size)
{
	struct residency r;
	uint64_t offset, length;

	residency_init(&r, (24576ull * BLOCK_BYTES) + 5, &some_digest);
	check_int(r.shift, 1);
	residency_granule(&r, 3, &offset, &length);
	check_int(offset, 2 * BLOCK_BYTES);
	check_int(length, 2 * BLOCK_BYTES);
	residency_granule(&r, 24576, &offset, &length);
	check_int(offset, 24576ll * BLOCK_BYTES);
	check_int(length, 5);
	residency_granule(&r, 24578, &offset, &length);
	check_int(length, 0);
}

TEST(head_and_tail_are_kept)
{
	struct residency r;

	residency_init(&r, 10 * BLOCK_BYTES + 5, &some_digest);
	for (uint64_t block = 0; block < 11; block++)
		residency_set(&r, block);
	residency_keep_ends(&r);
	for (uint64_t block = 0; block < 11; block++) /* 1 MiB and 5 bytes: the last two */
		check_int(residency_has(&r, block), block == 0 || block >= 9);
	residency_clear(&r, 0);
	residency_keep_ends(&r);
	check(!residency_has(&r, 0));

	residency_init(&r, 100, &some_digest);
	residency_set(&r, 0);
	residency_keep_ends(&r);
	check(residency_full(&r));
	residency_init(&r, 0, &some_digest);
	residency_keep_ends(&r);
	check(residency_full(&r));
}

TEST(the_kept_ctime_is_shown_while_the_inode_is_as_we_left_it)
{
	struct residency r;

	residency_init(&r, 100, &some_digest);
	r.written_ns = 1000 * NS_PER_SEC;
	check_int(residency_ctime(&r, 1000 * NS_PER_SEC), 1000 * NS_PER_SEC);
	r.shown_ctime_ns = 5;
	check_int(residency_ctime(&r, 1000 * NS_PER_SEC - 4 * NS_PER_MS), 5);
	check_int(residency_ctime(&r, 1002 * NS_PER_SEC), 1002 * NS_PER_SEC);
	check_int(residency_ctime(&r, 998 * NS_PER_SEC), 998 * NS_PER_SEC);
	check_int(residency_ctime(&r, INT64_MIN), INT64_MIN);
}

TEST(what_is_packed_is_unpacked_and_damage_is_refused)
{
	struct residency r, back;
	uint8_t bytes[RESIDENCY_PACKED_MAX + 1] = { 0 }, bad[sizeof(bytes)];
	size_t length;

	residency_init(&r, 11ull * BLOCK_BYTES - 3, &some_digest);
	r.shown_ctime_ns = -5;
	residency_set(&r, 10);
	length = residency_pack(&r, bytes);
	check_int(length, 50);
	check(memcmp(bytes, "MFR1\0\0\0\0\0\0\0\0\2\xbf\xff\xfd\xff\xff\xff\xff\xff\xff\xff\xfb",
		     24) == 0);
	check_int(bytes[49], 4);
	check_int(residency_unpack(bytes, length, &back), 0);
	check_same(&r, &back);

	for (size_t cut = 0; cut <= length + 1; cut++)
		check_int(residency_unpack(bytes, cut, &back), cut == length ? 0 : -EUCLEAN);
	for (size_t i = 0; i < 16; i++) { /* magic, shift, zeros, size: any flip shows */
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(bad, bytes, sizeof(bad));
			bad[i] ^= (uint8_t)(1u << bit);
			/* A shift or size that needs as many bytes is another legal record. */
			if (residency_unpack(bad, length, &back) == 0)
				check(i == 4 || i >= 12);
		}
	}
	memcpy(bad, bytes, sizeof(bad));
	bad[49] |= 0x08; /* a bit beyond the last block */
	check_int(residency_unpack(bad, length, &back), -EUCLEAN);
}

TEST(random_bytes_never_make_a_record_that_lies)
{
	uint64_t seed = 3;
	struct residency r;

	for (int round = 0; round < 50000; round++) {
		uint8_t bytes[80] = "MFR1";
		size_t length = (size_t)round % (sizeof(bytes) + 1);

		for (size_t i = round % 3 ? 4 : 0; i < sizeof(bytes); i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			bytes[i] = seed >> 40 & 3 ? 0 : (uint8_t)(seed >> 50);
		}
		if (residency_unpack(bytes, length, &r) == 0) {
			check(r.bit_count <= RESIDENCY_BITMAP_MAX * 8);
			check(residency_bytes(&r) <= r.size);
		}
	}
}

static int make_file(const struct scratch *dir, off_t size)
{
	int fd = open(scratch_file(dir, "clip"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	check(fd >= 0);
	check_int(ftruncate(fd, size), 0);
	return fd;
}

TEST(a_file_keeps_its_record_even_when_read_only)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(dir, 9 * BLOCK_BYTES);
	cleanup_close int path_fd = open(scratch_file(dir, "clip"), O_PATH | O_CLOEXEC);
	struct residency r, back;
	struct stat st;

	residency_init(&r, 9 * BLOCK_BYTES, &some_digest);
	residency_set(&r, 3);
	r.shown_ctime_ns = 77;
	check_int(residency_read(fd, &back), 0);
	check_int(fchmod(fd, 0444), 0);
	check_int(residency_write(fd, &r), 0);
	check_int(residency_read(fd, &back), 1);
	check_same(&r, &back);
	check_int(residency_read(path_fd, &back), 1);
	check_int(fstat(fd, &st), 0);
	check_int(st.st_mode & 07777, 0444);
	check_int(residency_ctime(&back, timespec_ns(st.st_ctim)), 77);
	check_int(residency_remove(fd), 0);
	check_int(residency_remove(fd), 0);
	check_int(residency_read(fd, &back), 0);
}

/* In a process of an ordinary user: 0 when all is as it must be, else the line. */
static int as_user(const struct scratch *dir)
{
	struct residency r, back;
	struct stat st;
	int fd;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return __LINE__;
	fd = open(scratch_file(dir, "clip"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 3 * BLOCK_BYTES) < 0 || fchmod(fd, 0500) < 0)
		return __LINE__;
	(void)close(fd);
	fd = open(scratch_file(dir, "clip"), O_RDONLY | O_CLOEXEC);
	residency_init(&r, 3 * BLOCK_BYTES, &some_digest);
	if (residency_write(fd, &r) != 0 || residency_read(fd, &back) != 1)
		return __LINE__;
	if (residency_punch(fd, &r) != 0)
		return __LINE__;
	if (fstat(fd, &st) < 0 || (st.st_mode & 07777) != 0500)
		return __LINE__;
	if (residency_remove(fd) != 0 || residency_read(fd, &back) != 0)
		return __LINE__;
	if (fstat(fd, &st) < 0 || (st.st_mode & 07777) != 0500)
		return __LINE__;
	return 0;
}

TEST(an_ordinary_owner_writes_records_of_files_closed_to_writing)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	int status, line[2], found = -1;
	pid_t pid;

	if (geteuid() != 0) {
		printf("skipped: needs root to become another user\n");
		return;
	}
	check_int(chmod(dir->path, 0777), 0);
	check_int(pipe(line), 0);
	pid = fork();
	if (pid == 0) {
		found = as_user(dir);
		_exit(write(line[1], &found, sizeof(found)) < 0);
	}
	check_int(waitpid(pid, &status, 0), pid);
	check_int(read(line[0], &found, sizeof(found)), sizeof(found));
	check_int(found, 0);
	(void)close(line[0]);
	(void)close(line[1]);
}

TEST(punching_frees_what_is_absent_and_nothing_else)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(dir, 0);
	cleanup_close int read_only = open(scratch_file(dir, "clip"), O_RDONLY | O_CLOEXEC);
	cleanup_free uint8_t *block = malloc(BLOCK_BYTES);
	struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 1, .tv_nsec = 123456789 } };
	struct residency r, back;
	struct stat st;

	memset(block, 0xa5, BLOCK_BYTES);
	for (int i = 0; i < 5; i++)
		check_int(write_at(fd, block, i < 4 ? BLOCK_BYTES : 5000, (off_t)i * BLOCK_BYTES),
			  0);
	check_int(futimens(fd, times), 0);
	residency_init(&r, 4 * BLOCK_BYTES + 5000, &some_digest);
	residency_set(&r, 0);
	residency_set(&r, 2);

	check_int(residency_punch(fd, &r), -EINVAL); /* not on record yet */
	check_int(residency_write(fd, &r), 0);
	residency_clear(&r, 2);
	check_int(residency_punch(fd, &r), -EINVAL); /* another record */
	residency_set(&r, 2);
	check_int(residency_punch(read_only, &r), 0);

	check_int(fstat(fd, &st), 0);
	check_int(st.st_size, 4 * BLOCK_BYTES + 5000);
	check(st.st_blocks * 512 <= 2 * BLOCK_BYTES + 65536);
	check_int(timespec_ns(st.st_mtim), 1123456789);
	check_int(residency_read(fd, &back), 1);
	back.shown_ctime_ns = 9;
	check_int(residency_ctime(&back, timespec_ns(st.st_ctim)), 9);
	for (int i = 0; i < 5; i++) {
		check_int(read_at(fd, block, 5000, (off_t)i * BLOCK_BYTES), 0);
		check_int(block[4999], i == 0 || i == 2 ? 0xa5 : 0);
	}
	check_int(ftruncate(fd, BLOCK_BYTES), 0);
	check_int(residency_punch(fd, &r), -ESTALE);
}

TEST(a_damaged_or_foreign_record_is_reported)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = make_file(dir, 9);
	struct residency back;
	uint8_t bytes[3400] = "MFR1";

	check_int(fsetxattr(fd, RESIDENCY_XATTR, "", 0, 0), 0);
	check_int(residency_read(fd, &back), -EUCLEAN);
	check_int(fsetxattr(fd, RESIDENCY_XATTR, "hello", 5, 0), 0);
	check_int(residency_read(fd, &back), -EUCLEAN);
	check_int(fsetxattr(fd, RESIDENCY_XATTR, bytes, sizeof(bytes), 0), 0);
	check_int(residency_read(fd, &back), -EUCLEAN);
}
