/* SPDX-License-Identifier: Apache-2.0 */

/* Writes that are put off: nobody sees that they are, and none is lost in silence. */
#include "cart.h"

#define PIECE_BYTES (1u << 20)

static void make_unwritable(struct file *file)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	check(fd >= 0);
	check(dup2(fd, file_fd(file)) >= 0);
	(void)close(fd);
}

TEST(size_is_right_while_writes_are_put_off)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(PIECE_BYTES);
	struct file *file = create(cart, "clip");
	struct volume_entry entry;
	struct stat st;

	put_writes_off(cart);
	for (unsigned i = 0; i < 48; i++) {
		put(file, bytes, PIECE_BYTES, (off_t)i * PIECE_BYTES);
		check_int(volume_getattr(cart->volume, file_id(file), NULL, &st), 0);
		check_int(st.st_size, (i + 1) * PIECE_BYTES);
		put(file, bytes, PIECE_BYTES, (off_t)++i * PIECE_BYTES);
		check_int(volume_lookup(cart->volume, CATALOG_ROOT, "clip", &entry), 0);
		check_int(entry.st.st_size, (i + 1) * PIECE_BYTES);
		put(file, bytes, PIECE_BYTES, (off_t)++i * PIECE_BYTES);
		check_int(volume_getattr(cart->volume, file_id(file), file, &st), 0);
		check_int(st.st_size, (i + 1) * PIECE_BYTES);
	}
	volume_release(file);
}

TEST(times_set_after_a_write_stay)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(PIECE_BYTES);
	struct stat st, values = { .st_mtim = { .tv_sec = 1234567890, .tv_nsec = 123 } };
	struct file *file = create(cart, "clip");
	struct caller caller = me();

	put_writes_off(cart);
	for (unsigned i = 0; i < 20; i++)
		put(file, bytes, PIECE_BYTES, (off_t)i * PIECE_BYTES);
	check_int(volume_setattr(cart->volume, &caller, file_id(file), file, &values, SETATTR_MTIME,
				 &st),
		  0);
	check_int(volume_flush(file), 0);
	volume_release(file);
	check_int(stat(scratch_file(cart->scratch, "tree/clip"), &st), 0);
	check_int(timespec_ns(st.st_mtim), 1234567890000000123);
}

TEST(closing_waits_for_what_was_put_off)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(40 * PIECE_BYTES);
	struct file *file = create(cart, "clip");
	uint64_t id = file_id(file);

	put_writes_off(cart);
	for (unsigned i = 0; i < 40; i++)
		put(file, bytes + i * PIECE_BYTES, PIECE_BYTES, (off_t)i * PIECE_BYTES);
	check_int(volume_flush(file), 0);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 40 * PIECE_BYTES);
}

TEST(failure_of_a_write_that_was_put_off_is_told_and_damages)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(PIECE_BYTES);
	struct file *file = create(cart, "clip");
	uint64_t id = file_id(file);
	struct caller caller = me();

	put_writes_off(cart);
	put(file, bytes, PIECE_BYTES, 0);
	check_int(volume_fsync(file, true), 0);
	make_unwritable(file);
	put(file, bytes, PIECE_BYTES, PIECE_BYTES);
	check_int(volume_flush(file), -EBADF);
	check_int(volume_write(file, &caller, bytes, PIECE_BYTES, 2 * PIECE_BYTES), -EIO);
	check_int(volume_write(file, &caller, bytes, 10, 2 * PIECE_BYTES), -EIO);
	volume_release(file);
	check_int(state_of(cart, id), FILE_DAMAGED);
	check_int(events(cart, "damaged").count, 1);
	check_int(events(cart, "verified").count, 0);
}

/* Another handle: from then on each write is in the file before it is acknowledged. */
TEST(nothing_is_put_off_before_the_eyes_of_others)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(PIECE_BYTES);
	struct file *file = create(cart, "clip"), *reader;
	struct stat st;

	put_writes_off(cart);
	put(file, bytes, PIECE_BYTES, 0);
	reader = open_again(cart, file_id(file), O_RDONLY);
	for (unsigned i = 1; i < 20; i++) {
		put(file, bytes, PIECE_BYTES, (off_t)i * PIECE_BYTES);
		check_int(fstat(file_fd(reader), &st), 0);
		check_int(st.st_size, (i + 1) * PIECE_BYTES);
	}
	volume_release(reader);
	volume_release(file);
}

static struct piece *filled(struct cart *cart, const void *bytes, size_t length)
{
	struct piece *piece = volume_take_piece(cart->volume);

	check(piece != NULL);
	memcpy(piece_bytes(piece), bytes, length);
	return piece;
}

TEST(bytes_are_handed_on_in_the_piece_they_came_in)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(4 * PIECE_BYTES);
	struct file *file = create(cart, "clip");
	struct caller caller = me();
	uint64_t id = file_id(file);

	put_writes_off(cart);
	for (unsigned i = 0; i < 4; i++) {
		struct piece *piece = filled(cart, bytes + i * PIECE_BYTES, PIECE_BYTES);

		check_int(volume_write_piece(file, &caller, &piece, PIECE_BYTES,
					     (off_t)i * PIECE_BYTES),
			  PIECE_BYTES);
		check(piece == NULL);
	}
	check_int(volume_flush(file), 0);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 4 * PIECE_BYTES);
}

/* What is written at once, or refused, leaves the piece to who received into it. */
TEST(a_piece_that_is_not_put_off_stays_the_receivers)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(PIECE_BYTES);
	struct file *file = create(cart, "clip"), *reader;
	struct piece *piece = filled(cart, bytes, PIECE_BYTES);
	struct caller caller = me();
	struct stat st;

	put_writes_off(cart);
	check_int(volume_write_piece(file, &caller, &piece, 100, 0), 100);
	check(piece != NULL);
	reader = open_again(cart, file_id(file), O_RDONLY);
	check_int(volume_write_piece(file, &caller, &piece, PIECE_BYTES, 0), PIECE_BYTES);
	check(piece != NULL);
	check_int(fstat(file_fd(reader), &st), 0);
	check_int(st.st_size, PIECE_BYTES);
	check_int(volume_write_piece(reader, &caller, &piece, PIECE_BYTES, 0), -EBADF);
	check(piece != NULL);
	volume_give_piece(cart->volume, piece);
	volume_release(reader);
	volume_release(file);
}

/* Whatever was rewritten meanwhile. */
TEST(short_pieces_arrive_in_their_order)
{
	enum { SHORT = 64 << 10, COUNT = 160 };
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(COUNT * SHORT);
	cleanup_free uint8_t *again = noise(SHORT);
	struct file *file = create(cart, "clip");
	uint64_t id = file_id(file);

	put_writes_off(cart);
	for (unsigned i = 0; i < COUNT; i++) {
		put(file, bytes + i * SHORT, SHORT, (off_t)i * SHORT);
		if (i % 10 != 9)
			continue;
		put(file, again, SHORT, (off_t)(i - 5) * SHORT);
		memcpy(bytes + (i - 5) * SHORT, again, SHORT);
	}
	check_int(volume_flush(file), 0);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, COUNT * SHORT);
}

TEST(stat_tells_to_write_in_pieces)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct file *file = create(cart, "clip");
	struct stat st;

	check_int(volume_getattr(cart->volume, file_id(file), file, &st), 0);
	check_int(st.st_blksize, WRITE_MAX_BYTES);
	volume_release(file);
}
