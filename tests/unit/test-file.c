/* SPDX-License-Identifier: Apache-2.0 */

/* Files of a volume: bytes, receipts, damage, any order of changes. */
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>

#include "cart.h"

#define MODEL_BYTES (11u << 20)

/* Receiving ----------------------------------------------------------------------------- */

TEST(what_was_written_in_order_is_verified)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(9u << 20);
	struct file *file = create(cart, "A001.mov");
	uint64_t id = file_id(file);

	for (size_t at = 0; at < 9u << 20; at += 1u << 20)
		put(file, bytes + at, 1u << 20, (off_t)at);
	check_int(volume_flush(file), 0);
	check_int(state_of(cart, id), FILE_RECEIVING);
	volume_release(file);
	check_int(state_of(cart, id), FILE_RECEIVED);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 9u << 20);
	check_int(events(cart, "verified").count, 1);
}

TEST(an_empty_file_is_verified)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct file *file = create(cart, "empty");
	uint64_t id = file_id(file);

	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, "", 0);
}

TEST(a_header_mended_at_the_end_is_part_of_what_was_received)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(6u << 20);
	struct file *file = create(cart, "A001.wav");
	uint64_t id = file_id(file);

	put(file, bytes, 6u << 20, 0);
	memcpy(bytes + 4, "SIZE", 4);
	put(file, "SIZE", 4, 4);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, 6u << 20);
}

TEST(nothing_happens_to_inode_after_close)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(5u << 20);
	uint64_t id = received(cart, "clip", bytes, 5u << 20);
	struct stat before, after;

	check_int(stat(scratch_file(cart->scratch, "tree/clip"), &before), 0);
	check_int(verify(cart, id), 0);
	check_int(stat(scratch_file(cart->scratch, "tree/clip"), &after), 0);
	check_int(timespec_ns(after.st_ctim), timespec_ns(before.st_ctim));
	check_int(timespec_ns(after.st_mtim), timespec_ns(before.st_mtim));
	check_int(timespec_ns(after.st_atim), timespec_ns(before.st_atim));
	check_int(after.st_blocks, before.st_blocks);
}

TEST(file_without_a_name_is_never_verified)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct caller caller = me();
	struct file *file = create(cart, "gone");
	uint64_t id = file_id(file);

	put(file, "abc", 3, 0);
	check_int(volume_unlink(cart->volume, CATALOG_ROOT, "gone"), 0);
	check_int(volume_write(file, &caller, "def", 3, 3), 3);
	volume_release(file);
	volume_forget(cart->volume, id, 1);
	check_int(events(cart, "verified").count, 0);
	check_int(events(cart, "damaged").count, 0);
}

/* Damage -------------------------------------------------------------------------------- */

TEST(bit_flipped_before_the_read_back_is_found)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(9u << 20);
	uint64_t id = received(cart, "A001.mov", bytes, 9u << 20);
	struct counted damaged;

	flip(cart, "A001.mov", (5 << 20) + 17);
	check_int(verify(cart, id), -EBADMSG);
	check_int(state_of(cart, id), FILE_DAMAGED);
	damaged = events(cart, "damaged");
	check_int(damaged.count, 1);
	check(strstr(damaged.detail, "A001.mov"));
	check(strstr(damaged.detail, "block at 4194304"));
	check(!strstr(damaged.detail, "block at 0 "));
	check_int(events(cart, "verified").count, 0);
}

/* People get what is left of it, but no wrong byte. */
TEST(damaged_file_gives_its_good_blocks_only)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(9u << 20), *seen = malloc(9u << 20);
	uint64_t id = received(cart, "A001.mov", bytes, 9u << 20);
	struct file *file;

	check(seen);
	flip(cart, "A001.mov", (5 << 20) + 17);
	check_int(verify(cart, id), -EBADMSG);
	for (unsigned round = 0; round < 2; round++) {
		file = open_again(cart, id, O_RDONLY);
		check_int(file_passthrough_fd(file), -1);
		check_int(volume_read(file, seen, 9u << 20, 0, NULL, NULL), 4 << 20);
		check(memcmp(seen, bytes, 4 << 20) == 0);
		check_int(volume_read(file, seen, 10, 5 << 20, NULL, NULL), -EIO);
		check_int(volume_read(file, seen, 2 << 20, 8 << 20, NULL, NULL), 1 << 20);
		check(memcmp(seen, bytes + (8 << 20), 1 << 20) == 0);
		volume_release(file);
		reopen(cart);
	}
}

TEST(a_file_cut_behind_our_back_is_damaged)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise(5u << 20);
	uint64_t id = received(cart, "A001.mov", bytes, 5u << 20);

	check_int(truncate(scratch_file(cart->scratch, "tree/A001.mov"), 5 << 19), 0);
	check_int(verify(cart, id), -EBADMSG);
	check_int(state_of(cart, id), FILE_DAMAGED);
}

TEST(verify_close_tells_the_writer)
{
	cleanup_cart struct cart *cart = cart_new("[ingest]\nverify = close\n");
	struct file *file = create(cart, "good"), *bad = create(cart, "bad");
	uint64_t id = file_id(file);

	put(file, "good bytes", 10, 0);
	check_int(volume_flush(file), 0);
	check_int(state_of(cart, id), FILE_VERIFIED);
	volume_release(file);
	check_int(state_of(cart, id), FILE_VERIFIED);

	put(bad, "good bytes", 10, 0);
	flip(cart, "bad", 3);
	check_int(volume_flush(bad), -EIO);
	check_int(state_of(cart, file_id(bad)), FILE_DAMAGED);
	volume_release(bad);
}

TEST(damaged_file_is_written_again_only_from_nothing)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct caller caller = me();
	uint64_t id = received(cart, "clip", "good bytes", 10);
	struct file *file;

	flip(cart, "clip", 3);
	check_int(verify(cart, id), -EBADMSG);
	file = open_again(cart, id, O_WRONLY);
	check_int(volume_write(file, &caller, "x", 1, 0), -EIO);
	check_int(file_truncate(cart->volume, &caller, id, file, 5), -EIO);
	volume_release(file);
	check_int(state_of(cart, id), FILE_DAMAGED);

	file = open_again(cart, id, O_WRONLY | O_TRUNC);
	put(file, "better", 6, 0);
	volume_release(file);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, "better", 6);
}

/* pwrite() fails: the descriptor is swapped for one that cannot write. */
TEST(failed_write_is_told_and_damages)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct caller caller = me();
	struct file *file = create(cart, "clip");
	uint64_t id = file_id(file);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	put(file, "abc", 3, 0);
	check(dup2(fd, file_fd(file)) >= 0);
	(void)close(fd);
	check_int(volume_write(file, &caller, "def", 3, 3), -EBADF);
	check_int(state_of(cart, id), FILE_DAMAGED);
	check_int(volume_flush(file), -EBADF);
	check_int(volume_flush(file), 0);
	volume_release(file);
	check_int(state_of(cart, id), FILE_DAMAGED);
	check_int(verify(cart, id), -EBADMSG);
}

/* As a full disk: the writer was told, what was acknowledged is intact. */
TEST(refused_write_is_told_once_per_handle_and_the_rest_verified)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	struct caller caller = me();
	struct file *file = create(cart, "clip"), *other;
	uint64_t id = file_id(file);
	struct rlimit old, limit;

	put(file, "abc", 3, 0);
	other = open_again(cart, id, O_WRONLY);
	(void)signal(SIGXFSZ, SIG_IGN);
	check_int(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 256u << 20;
	check_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	check_int(volume_write(file, &caller, "def", 3, 256 << 20), -EFBIG);
	check_int(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_int(volume_flush(file), -EFBIG);
	check_int(volume_flush(file), 0);
	check_int(volume_fsync(other, true), -EFBIG);
	check_int(volume_fsync(other, true), 0);
	volume_release(file);
	volume_release(other);
	check_int(events(cart, "write refused").count, 1);
	check_int(verify(cart, id), 0);
	check_verified(cart, id, "abc", 3);
}

/* Any order of anything ----------------------------------------------------------------- */

struct model {
	struct cart *cart;
	uint64_t id;
	struct file *handles[3];
	unsigned handles_open;
	uint8_t *bytes; /* MODEL_BYTES; beyond the size all zero */
	size_t size;
};

static size_t any_length(void)
{
	return number(4) ? number(70000) + 1 : number(5u << 20) + 1;
}

static void model_write(struct model *model, struct file *file)
{
	size_t offset = number(3) ? number(MODEL_BYTES) : model->size;
	size_t length = any_length();
	cleanup_free uint8_t *bytes = NULL;

	if (number(8) == 0)
		offset = offset / BLOCK_BYTES * BLOCK_BYTES;
	if (offset >= MODEL_BYTES)
		return;
	if (length > MODEL_BYTES - offset)
		length = MODEL_BYTES - offset;
	bytes = noise(length);
	put(file, bytes, length, (off_t)offset);
	memcpy(model->bytes + offset, bytes, length);
	if (offset + length > model->size)
		model->size = offset + length;
}

static void model_truncate(struct model *model, struct file *file)
{
	struct caller caller = me();
	size_t size = number(6) ? number(MODEL_BYTES) : 0;

	check_int(file_truncate(model->cart->volume, &caller, model->id, number(2) ? file : NULL,
				(off_t)size),
		  0);
	if (size < model->size)
		memset(model->bytes + size, 0, model->size - size);
	model->size = size;
}

static void model_allocate(struct model *model, struct file *file)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	struct caller caller = me();
	int mode = modes[number(ARRAY_SIZE(modes))], r;
	size_t offset = number(MODEL_BYTES), length = any_length(), end;

	if (length > MODEL_BYTES - offset)
		length = MODEL_BYTES - offset;
	r = volume_fallocate(file, &caller, mode, (off_t)offset, (off_t)length);
	if (r == -EOPNOTSUPP)
		return; /* not on this file system */
	check_int(r, 0);
	end = offset + length;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > model->size)
		model->size = end;
	if (end > model->size)
		end = model->size;
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && offset < end)
		memset(model->bytes + offset, 0, end - offset);
}

static void model_compare(struct model *model, struct file *file)
{
	cleanup_free uint8_t *bytes = malloc(MODEL_BYTES);
	struct stat st;

	check(bytes);
	check_int(volume_read(file, bytes, MODEL_BYTES, 0, NULL, NULL), model->size);
	check(memcmp(bytes, model->bytes, model->size) == 0);
	check_int(volume_getattr(model->cart->volume, model->id, file, &st), 0);
	check_int(st.st_size, model->size);
}

static void model_step(struct model *model)
{
	struct file **slot = &model->handles[number(model->handles_open)];

	switch (number(12)) {
	case 0:
		model_truncate(model, *slot);
		break;
	case 1:
	case 2:
		model_allocate(model, *slot);
		break;
	case 3:
		check_int(volume_flush(*slot), 0);
		volume_release(*slot);
		*slot = open_again(model->cart, model->id, O_RDWR);
		break;
	case 4:
		model_compare(model, *slot);
		break;
	case 5:
		check(verify_file(model->cart->volume, model->id, 0,
				  &(struct verify_host){ .pace = NULL, .is_stopping = never }) ==
		      1);
		break;
	default:
		model_write(model, *slot);
	}
}

static void run_model(struct cart *cart, unsigned handles, void (*opened)(struct cart *cart))
{
	struct model model = { .cart = cart, .handles_open = handles };

	model.bytes = calloc(1, MODEL_BYTES);
	check(model.bytes);
	model.handles[0] = create(cart, "clip");
	model.id = file_id(model.handles[0]);
	for (unsigned round = 0; round < 25; round++) {
		for (unsigned i = round ? 0 : 1; i < handles; i++)
			model.handles[i] = open_again(cart, model.id, O_RDWR);
		for (unsigned steps = number(20); steps > 0; steps--)
			model_step(&model);
		model_compare(&model, model.handles[0]);
		for (unsigned i = 0; i < handles; i++)
			volume_release(model.handles[i]);
		if (number(3) == 0) {
			reopen(cart);
			opened(cart);
		}
		if (number(4) == 0)
			continue; /* written again before it was verified */
		check_int(verify(cart, model.id), 0);
		check_verified(cart, model.id, model.bytes, model.size);
	}
	check_int(events(cart, "damaged").count, 0);
	check_int(events(cart, "received again").count, 0);
	free(model.bytes);
}

static void as_it_is(struct cart *cart)
{
	(void)cart;
}

TEST(any_order_of_changes_by_several_handles_is_verified_as_what_it_is)
{
	cleanup_cart struct cart *cart = cart_new(NULL);

	seed = 42;
	run_model(cart, 3, as_it_is);
}

TEST(any_order_of_changes_by_several_handles_whose_writes_may_be_put_off)
{
	cleanup_cart struct cart *cart = cart_new(NULL);

	seed = 43;
	put_writes_off(cart);
	run_model(cart, 3, put_writes_off);
}

TEST(any_order_of_changes_by_one_handle_whose_writes_are_put_off)
{
	cleanup_cart struct cart *cart = cart_new(NULL);

	seed = 44;
	put_writes_off(cart);
	run_model(cart, 1, put_writes_off);
}

/* Threads ------------------------------------------------------------------------------- */

struct writer {
	struct cart *cart;
	uint64_t id;
	const uint8_t *bytes;
	unsigned index;
	unsigned failed;
	struct thread thread;
};

#define WRITERS 4
#define PIECE_BYTES (96u << 10)
#define PIECES 128

static void *write_pieces(void *arg)
{
	struct writer *writer = arg;
	struct caller caller = me();
	struct file *file;

	if (volume_open_file(writer->cart->volume, &caller, writer->id, O_WRONLY, &file) < 0) {
		writer->failed++;
		return NULL;
	}
	for (unsigned i = writer->index; i < PIECES; i += WRITERS) {
		size_t at = (size_t)i * PIECE_BYTES;

		if (volume_write(file, &caller, writer->bytes + at, PIECE_BYTES, (off_t)at) !=
		    PIECE_BYTES)
			writer->failed++;
	}
	volume_release(file);
	return NULL;
}

TEST(several_writers_of_one_file_give_one_exact_receipt)
{
	cleanup_cart struct cart *cart = cart_new(NULL);
	cleanup_free uint8_t *bytes = noise((size_t)PIECES * PIECE_BYTES);
	uint64_t id = received(cart, "clip", "x", 1);
	struct writer writers[WRITERS] = { 0 };

	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .cart = cart, .id = id, .bytes = bytes, .index = i };
		check_int(thread_start(&writers[i].thread, "writer", write_pieces, &writers[i]), 0);
	}
	while (verify(cart, id) == -ESTALE)
		; /* written meanwhile: that is the point */
	for (unsigned i = 0; i < WRITERS; i++) {
		thread_join(&writers[i].thread);
		check_int(writers[i].failed, 0);
	}
	check_int(verify(cart, id), 0);
	check_verified(cart, id, bytes, (size_t)PIECES * PIECE_BYTES);
	check_int(events(cart, "damaged").count, 0);
}
