/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/io.h"

#define MAX_BYTES (5u * BLOCK_BYTES)
#define MAX_WRITE (1u << 20)

/* A file, its receipt, and in memory what the file holds. */
struct model {
	struct scratch *scratch;
	struct receipt *receipt;
	uint8_t *bytes;
	uint64_t size;
	int fd;
	uint64_t seed;
};

static uint64_t next_random(struct model *model)
{
	/* xorshift64: the same steps on every machine. */
	model->seed ^= model->seed << 13;
	model->seed ^= model->seed >> 7;
	model->seed ^= model->seed << 17;
	return model->seed >> 11;
}

static void begin(struct model *model, uint64_t seed)
{
	*model = (struct model){ .scratch = scratch_new(), .receipt = receipt_new() };
	model->seed = seed * 0x9e3779b97f4a7c15u | 1;
	model->bytes = calloc(1, MAX_BYTES);
	model->fd = open(scratch_file(model->scratch, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(model->receipt && model->bytes && model->fd >= 0);
}

static void end(struct model *model)
{
	receipt_free(model->receipt);
	free(model->bytes);
	(void)close(model->fd);
	scratch_free(model->scratch);
}

/* New bytes at @offset, in the file and in the model. */
static void put_bytes(struct model *model, uint64_t offset, size_t length)
{
	for (size_t i = 0; i < length; i += 8) {
		uint64_t word = next_random(model);

		memcpy(model->bytes + offset + i, &word, length - i < 8 ? length - i : 8);
	}
	check_int(write_at(model->fd, model->bytes + offset, length, (off_t)offset), 0);
	if (length && offset + length > model->size)
		model->size = offset + length;
}

static void do_write(struct model *model, uint64_t offset, size_t length, bool seen)
{
	if (offset + length > MAX_BYTES)
		length = MAX_BYTES - offset;
	put_bytes(model, offset, length);
	check_int(
		receipt_write(model->receipt, offset, seen ? model->bytes + offset : NULL, length),
		0);
}

static void do_truncate(struct model *model, uint64_t size)
{
	if (size < model->size)
		memset(model->bytes + size, 0, model->size - size);
	model->size = size;
	check_int(ftruncate(model->fd, (off_t)size), 0);
	check_int(receipt_truncate(model->receipt, size), 0);
}

static void do_touch(struct model *model, uint64_t offset, size_t length)
{
	if (offset + length > MAX_BYTES)
		length = MAX_BYTES - offset;
	put_bytes(model, offset, length);
	check_int(receipt_touch(model->receipt, offset, length), 0);
}

/* The map equals a fresh hash of the bytes; so does the whole digest, if there is one. */
static bool check_settled(struct model *model)
{
	const struct blockmap *map;
	struct digest digest, expected;
	bool whole;

	check_int(receipt_size(model->receipt), model->size);
	check_int(receipt_settle(model->receipt, model->fd), 0);
	check(!receipt_is_dirty(model->receipt));
	map = receipt_map(model->receipt);
	check_int(map->size, model->size);
	for (uint64_t i = 0; i < blockmap_count(map->size); i++)
		check(blockmap_check(map, i, model->bytes + i * BLOCK_BYTES,
				     blockmap_length(map->size, i)));
	whole = receipt_digest(model->receipt, &digest);
	if (whole) {
		digest_of(model->bytes, model->size, &expected);
		check(digest_equal(&digest, &expected));
	}
	return whole;
}

/* Offsets near what matters: block borders, the end, anywhere. */
static uint64_t some_offset(struct model *model)
{
	uint64_t offset;

	switch (next_random(model) % 4) {
	case 0:
		offset = next_random(model) % 6 * BLOCK_BYTES;
		break;
	case 1:
		offset = next_random(model) % 6 * BLOCK_BYTES + next_random(model) % 9;
		offset = offset > 4 ? offset - 4 : 0;
		break;
	case 2:
		offset = model->size;
		break;
	default:
		offset = next_random(model) % MAX_BYTES;
	}
	return offset < MAX_BYTES ? offset : MAX_BYTES;
}

static size_t some_length(struct model *model)
{
	switch (next_random(model) % 4) {
	case 0:
		return MAX_WRITE;
	case 1:
		return next_random(model) % 300;
	case 2:
		return BLOCK_BYTES;
	default:
		return next_random(model) % MAX_WRITE;
	}
}

/* What the receipt was is dropped: the file was closed and opened again, or is unknown. */
static void resume(struct model *model)
{
	struct receipt *again;

	if (next_random(model) % 4 == 0) {
		again = receipt_unknown(model->size);
	} else {
		check_int(receipt_settle(model->receipt, model->fd), 0);
		again = receipt_resume(receipt_map(model->receipt));
	}
	check(again);
	receipt_free(model->receipt);
	model->receipt = again;
}

static void some_step(struct model *model)
{
	uint64_t offset = some_offset(model);

	switch (next_random(model) % 16) {
	case 0:
		do_truncate(model, offset);
		break;
	case 1:
		do_truncate(model, next_random(model) % 3 ? model->size : 0);
		break;
	case 2:
		do_touch(model, offset, some_length(model));
		break;
	case 3:
		do_write(model, offset, some_length(model), false);
		break;
	case 4:
		resume(model);
		break;
	case 5:
	case 6:
	case 7:
		do_write(model, offset, some_length(model), true);
		break;
	default:
		do_write(model, model->size, some_length(model), true);
	}
}

TEST(after_any_steps_the_map_is_that_of_the_file)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct model model;

		begin(&model, seed);
		for (int step = 0; step < 24; step++) {
			some_step(&model);
			if (next_random(&model) % 6 == 0)
				(void)check_settled(&model);
		}
		(void)check_settled(&model);
		end(&model);
	}
}

TEST(bytes_in_order_need_no_reading_and_give_the_whole_digest)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model model;

		begin(&model, seed);
		while (model.size < MAX_BYTES && next_random(&model) % 40) {
			do_write(&model, model.size, some_length(&model), true);
			check(!receipt_is_dirty(model.receipt));
		}
		check(check_settled(&model));
		do_write(&model, model.size, 100, true); /* goes on after settling */
		check(check_settled(&model));
		end(&model);
	}
}

TEST(space_reserved_before_is_no_reason_to_give_up_the_whole)
{
	struct model model;
	uint64_t at = 0;

	begin(&model, 1);
	do_truncate(&model, 2 * BLOCK_BYTES + 5);
	check(!check_settled(&model)); /* zeros that nobody sent */
	while (at < model.size) {
		uint64_t left = model.size - at;
		struct digest digest;

		check(!receipt_digest(model.receipt, &digest));
		do_write(&model, at, left < MAX_WRITE ? left : MAX_WRITE, true);
		at += left < MAX_WRITE ? left : MAX_WRITE;
	}
	check(!receipt_is_dirty(model.receipt));
	check(check_settled(&model));
	end(&model);
}

TEST(a_header_mended_at_the_end_costs_one_block)
{
	struct model model;

	begin(&model, 1);
	for (int i = 0; i < 17; i++)
		do_write(&model, model.size, MAX_WRITE, true);
	do_write(&model, 0, 64, true);
	do_write(&model, model.size, MAX_WRITE, true);
	check(receipt_is_dirty(model.receipt));
	check(!check_settled(&model));
	end(&model);
}

TEST(a_file_cut_to_nothing_starts_over)
{
	struct model model;

	begin(&model, 1);
	do_write(&model, 12345, MAX_WRITE, true);
	do_truncate(&model, 0);
	check(check_settled(&model));
	do_write(&model, 0, MAX_WRITE, true);
	check(check_settled(&model));
	end(&model);
}

TEST(what_was_cut_and_grown_again_is_not_what_came)
{
	static const uint64_t sizes[] = { 1000, MAX_WRITE - 1, MAX_WRITE };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct model model;

		begin(&model, 1);
		do_write(&model, 0, MAX_WRITE, true);
		do_truncate(&model, sizes[i]);
		do_truncate(&model, MAX_WRITE);
		check_int(check_settled(&model), sizes[i] == MAX_WRITE);
		do_write(&model, MAX_WRITE, MAX_WRITE, true);
		check_int(check_settled(&model), sizes[i] == MAX_WRITE);
		end(&model);
	}
}

TEST(another_size_on_disk_is_not_settled)
{
	struct model model;

	begin(&model, 1);
	do_write(&model, 0, 1000, true);
	check_int(ftruncate(model.fd, 999), 0);
	check_int(receipt_settle(model.receipt, model.fd), -ESTALE);
	end(&model);
}

TEST(offsets_beyond_what_a_file_can_have_are_refused)
{
	struct receipt *receipt = receipt_new();

	check_int(receipt_write(receipt, UINT64_MAX, "x", 1), -EFBIG);
	check_int(receipt_write(receipt, INT64_MAX, "x", 1), -EFBIG);
	check_int(receipt_touch(receipt, 1, UINT64_MAX), -EFBIG);
	check_int(receipt_truncate(receipt, UINT64_MAX), -EFBIG);
	check_int(receipt_truncate(receipt, BLOCKMAP_MAX_BYTES + 1), -EFBIG);
	check_int(receipt_write(receipt, BLOCKMAP_MAX_BYTES, "x", 1), -EFBIG);
	check_int(receipt_size(receipt), 0);
	check_int(receipt_write(receipt, 100, NULL, 0), 0);
	check_int(receipt_size(receipt), 0);
	receipt_free(receipt);
	receipt_free(NULL);
}
