/* SPDX-License-Identifier: Apache-2.0 */

/* Generations: closed files written again, writes during verification, restarts. */
#include <linux/falloc.h>
#include <sys/wait.h>

#include "cart.h"

/* Generations --------------------------------------------------------------------------- */

TEST(a_closed_file_written_again_is_a_new_generation)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(9u << 20);
	uint64_t id = received(cart, "clip", bytes, 9u << 20);
	uint64_t first = row_of(cart, id).generation;
	struct file *file;

	check_int(verify(cart, id), 0);
	file = open_again(cart, id, O_RDWR);
	check_int(state_of(cart, id), FILE_VERIFIED);
	put(file, "new", 3, 100);
	memcpy(bytes + 100, "new", 3);
	check_int(state_of(cart, id), FILE_RECEIVING);
	check_int(row_of(cart, id).content, 0);
	volume_release(file);
	check_int(row_of(cart, id).generation, first + 1);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 9u << 20);
}

/* The blocks that were not written again have a witness: what was verified before. */
TEST(rot_in_the_rest_of_a_rewritten_file_is_found)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(9u << 20);
	uint64_t id = received(cart, "clip", bytes, 9u << 20);
	struct file *file;

	check_int(verify(cart, id), 0);
	file = open_again(cart, id, O_RDWR);
	put(file, "new", 3, 100);
	flip(cart, "clip", 8 << 20);
	volume_release(file);
	check_int(verify(cart, id), -EBADMSG);
	check(strstr(events(cart, "damaged").detail, "block at 8388608"));
}

TEST(opening_for_writing_without_writing_changes_nothing)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct caller caller = me();
	uint64_t id = received(cart, "clip", "abc", 3);
	uint64_t generation;
	struct file *file;

	check_int(verify(cart, id), 0);
	generation = row_of(cart, id).generation;
	file = open_again(cart, id, O_RDWR);
	check_int(file_truncate(cart->volume, &caller, id, file, 3), 0);
	check_int(volume_fallocate(file, &caller, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
	check_int(volume_fallocate(file, &caller, 0, 0, 3), 0);
	volume_release(file);
	check_int(row_of(cart, id).generation, generation);
	check_int(state_of(cart, id), FILE_VERIFIED);
}

struct intruder {
	struct file *file;
	unsigned blocks;
};

static int write_while_verifying(void *arg, uint64_t bytes)
{
	struct intruder *intruder = arg;

	(void)bytes;
	if (intruder->blocks++ == 1)
		put(intruder->file, "late", 4, 0);
	return 0;
}

TEST(write_during_verification_makes_it_give_up)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(12u << 20);
	uint64_t id = received(cart, "clip", bytes, 12u << 20);
	struct intruder intruder = { .file = open_again(cart, id, O_RDWR) };
	const struct verify_host host = { .pace = write_while_verifying,
					  .is_stopping = never,
					  .arg = &intruder };

	check_int(verify_file(cart->volume, id, VERIFY_WHILE_OPEN, &host), -ESTALE);
	check_int(state_of(cart, id), FILE_RECEIVING);
	check_int(events(cart, "verified").count, 0);
	volume_release(intruder.file);
	memcpy(bytes, "late", 4);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 12u << 20);
}

/* Restarts ------------------------------------------------------------------------------ */

TEST(received_file_is_verified_after_a_restart_against_what_was_received)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(5u << 20);
	uint64_t id = received(cart, "clip", bytes, 5u << 20);

	reopen(cart);
	check_int(state_of(cart, id), FILE_RECEIVED);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 5u << 20);
	check_int(events(cart, "received again").count, 0);
}

/* Dirty blocks are only in memory until the verifier settled them: closing keeps them. */
TEST(closing_the_volume_keeps_what_was_received_out_of_order)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(5u << 20);
	struct file *file = create(cart, "clip");
	uint64_t id = file_id(file);

	put(file, bytes + (1 << 20), 4u << 20, 1 << 20);
	put(file, bytes, 1u << 20, 0);
	volume_release(file);
	check_int(state_of(cart, id), FILE_RECEIVING);
	reopen(cart);
	check_int(state_of(cart, id), FILE_RECEIVED);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 5u << 20);
	check_int(events(cart, "received again").count, 0);
}

/* A daemon that dies with the file open. */
TEST(file_that_was_open_in_a_crash_is_received_again)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(5u << 20);
	uint64_t id = 0;
	int ends[2];
	pid_t pid;

	volume_close(cart->volume);
	cart->volume = NULL;
	check_int(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		struct file *file;

		if (volume_open(cart->scratch->path, VOLUME_NO_THREADS, &cart->volume) < 0)
			_exit(1);
		file = create(cart, "clip");
		put(file, bytes, 5u << 20, 0);
		if (catalog_flush(cart->volume->catalog) < 0)
			_exit(1);
		id = file_id(file);
		_exit(write(ends[1], &id, sizeof(id)) == (ssize_t)sizeof(id) ? 0 : 1);
	}
	check_int(read(ends[0], &id, sizeof(id)), sizeof(id));
	check_int(waitpid(pid, NULL, 0), pid);
	(void)close(ends[0]);
	(void)close(ends[1]);

	check_int(volume_open(cart->scratch->path, VOLUME_NO_THREADS, &cart->volume), 0);
	check_int(state_of(cart, id), FILE_RECEIVING);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 5u << 20);
	check_int(events(cart, "received again").count, 1);
}
