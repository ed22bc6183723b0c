/* SPDX-License-Identifier: Apache-2.0 */

/* Files with blocks that are not here: a hole is never read as zeros. */
#include "cart.h"
#include "volume/place.h"

#define CLIP_BYTES (13u << 20)

/* A verified clip whose second block was evicted, as a restart finds it. */
static uint64_t clip_with_a_hole(struct cart *cart, const uint8_t *bytes)
{
	uint64_t id = received(cart, "clip", bytes, CLIP_BYTES);
	struct residency residency;
	struct digest digest;
	int fd;

	check_int(verify(cart, id), 0);
	volume_close(cart->volume);
	cart->volume = NULL;
	digest_of(bytes, CLIP_BYTES, &digest);
	residency_init(&residency, CLIP_BYTES, &digest);
	for (uint64_t block = 0; block < 4; block++)
		if (block != 1)
			residency_set(&residency, block);
	fd = open(scratch_file(cart->scratch, "tree/clip"), O_RDWR | O_CLOEXEC);
	check(fd >= 0);
	check_int(residency_write(fd, &residency), 0);
	check_int(residency_punch(fd, &residency), 0);
	(void)close(fd);
	check_int(volume_open(cart->scratch->path, VOLUME_NO_THREADS, &cart->volume), 0);
	return id;
}

struct answer {
	unsigned count;
	ssize_t result;
};

static void take_answer(void *arg, ssize_t result)
{
	struct answer *answer = arg;

	answer->count++;
	answer->result = result;
}

TEST(a_hole_is_never_read_as_zeros)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES), *seen = malloc(CLIP_BYTES);
	uint64_t id = clip_with_a_hole(cart, bytes);
	struct file *file = open_again(cart, id, O_RDONLY);
	struct answer answer = { 0 };

	check(seen);
	check_int(file_passthrough_fd(file), -1);
	check_int(volume_read(file, seen, 4 << 20, 0, take_answer, &answer), 4 << 20);
	check(memcmp(seen, bytes, 4 << 20) == 0);
	check_int(volume_read(file, seen, 8 << 20, 8 << 20, take_answer, &answer), 5 << 20);
	check(memcmp(seen, bytes + (8 << 20), 5 << 20) == 0);
	check_int(answer.count, 0);

	check_int(volume_read(file, seen, 2, (4 << 20) - 1, take_answer, &answer), -EINPROGRESS);
	volume_read_cancel(file, &answer);
	volume_release(file);
	reopen(cart); /* whatever was not answered yet is now */
	check_int(answer.count, 1);
	check_int(answer.result, -EINTR);
}

TEST(a_file_with_absent_blocks_has_no_hole)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES);
	struct file *file = open_again(cart, clip_with_a_hole(cart, bytes), O_RDONLY);

	check_int(volume_seek(file, 0, SEEK_HOLE), CLIP_BYTES);
	check_int(volume_seek(file, 5 << 20, SEEK_DATA), 5 << 20);
	check_int(volume_seek(file, CLIP_BYTES, SEEK_DATA), -ENXIO);
	volume_release(file);
}

TEST(copying_absent_blocks_is_left_to_the_kernel)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES);
	struct file *in = open_again(cart, clip_with_a_hole(cart, bytes), O_RDONLY);
	struct file *out = create(cart, "copy");

	check_int(volume_copy_range(in, 0, out, 0, CLIP_BYTES), -EXDEV);
	check_int(volume_copy_range(in, 8 << 20, out, 0, 1 << 20), 1 << 20);
	volume_release(in);
	volume_release(out);
}

TEST(cutting_to_nothing_needs_no_block)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES);
	uint64_t id = clip_with_a_hole(cart, bytes);
	struct file *file = open_again(cart, id, O_WRONLY | O_TRUNC);
	struct residency residency;

	check_int(residency_read(file_fd(file), &residency), 0);
	put(file, "new", 3, 0);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, "new", 3);
}

/* A crash between cutting and taking the xattr away. */
TEST(xattr_of_a_file_that_was_cut_is_dropped)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES);
	uint64_t id = clip_with_a_hole(cart, bytes);
	struct residency residency;
	struct file *file;

	check_int(truncate(scratch_file(cart->scratch, "tree/clip"), 0), 0);
	file = open_again(cart, id, O_RDONLY);
	check_int(residency_read(file_fd(file), &residency), 0);
	check_int(volume_read(file, bytes, 10, 0, NULL, NULL), 0);
	volume_release(file);
}

/* Whoever changed it: nobody knows which zeros are its own. */
TEST(file_whose_size_is_not_that_of_its_xattr_cannot_be_opened)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(CLIP_BYTES);
	uint64_t id = clip_with_a_hole(cart, bytes);
	struct caller caller = me();
	struct file *file;

	check_int(truncate(scratch_file(cart->scratch, "tree/clip"), CLIP_BYTES + 1), 0);
	check_int(volume_open_file(cart->volume, &caller, id, O_RDONLY, &file), -EUCLEAN);
}

static int count_row(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	(void)row;
	(*(unsigned *)arg)++;
	return 0;
}

/* A person was there first. */
TEST(what_could_not_be_placed_leaves_no_row)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	const struct version_body body = { .kind = VERSION_FILE, .mode = 0644, .size = CLIP_BYTES };
	const struct place_file file = { .body = &body, .state = FILE_EVICTED };
	struct catalog *catalog = cart->volume->catalog;
	unsigned rows = 0;

	(void)received(cart, "clip", "here", 4);
	check_int(place_file(cart->volume, "other", &file, 0), 0);
	check_int(place_file(cart->volume, "clip", &file, 0), -EEXIST);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_file(catalog, 1u << FILE_EVICTED, 0, count_row, &rows), 0);
	check_int(rows, 1);
}
