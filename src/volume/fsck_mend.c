/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Damaged blocks come back from a good copy. The order: the file is DAMAGED in the catalog
 * (durable) before the first byte is written, and until all was read back from the medium and
 * found right. A block that is right is never written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash/readback.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/fsck_parts.h"

static int get_block(struct fsck *fsck, const struct copy_row *copy, const struct fsck_file *file,
		     uint64_t block, void *buffer)
{
	struct fsck_tier *tier = fsck_tier(fsck, copy->tier);
	size_t length = blockmap_length(file->content.map.size, block);
	int r;

	if (!tier || tier->error < 0)
		return tier ? tier->error : -ENOENT;
	if (!tier_key_ok(copy->key))
		return -EUCLEAN;
	r = tier->tier->backend->get(tier->tier, copy->key, block * BLOCK_BYTES, buffer, length,
				     NULL);
	if (r < 0)
		return r;
	return blockmap_check(&file->content.map, block, buffer, length) ? 0 : -EBADMSG;
}

/* From whichever copy has it right, those not known to be bad first. */
static int find_block(struct fsck *fsck, const struct fsck_file *file,
		      const struct copy_row *copies, size_t count, uint64_t block, void *buffer)
{
	int r = -ENOENT;

	for (int bad = 0; bad < 2; bad++)
		for (size_t i = 0; i < count; i++) {
			if (copies[i].bad != bad)
				continue;
			r = get_block(fsck, &copies[i], file, block, buffer);
			if (r == 0)
				return 0;
		}
	return r;
}

static int write_blocks(struct fsck *fsck, struct fsck_file *file, int fd,
			const struct copy_row *copies, size_t count)
{
	cleanup_free void *buffer = malloc(BLOCK_BYTES);
	int r;

	if (!buffer)
		return -ENOMEM;
	for (size_t i = 0; i < file->block_count; i++) {
		struct fsck_block *block = &file->blocks[i];
		size_t length = blockmap_length(file->content.map.size, block->index);

		if (fsck_stopped(fsck))
			return -ECANCELED;
		if (find_block(fsck, file, copies, count, block->index, buffer) < 0)
			continue;
		r = write_at(fd, buffer, length, (off_t)(block->index * BLOCK_BYTES));
		if (r < 0)
			return r;
		block->mended = true;
	}
	return 0;
}

static int keep_times(int fd, const struct node_row *row)
{
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		ns_timespec(row->mtime_ns),
	};

	if (fdatasync(fd) < 0 || futimens(fd, times) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* Only what the medium gives back counts as mended. */
static int prove(struct fsck_file *file, int fd)
{
	uint64_t count = blockmap_count(file->content.map.size);
	cleanup_free uint8_t *bits = calloc(1, (size_t)(count / 8 + 1));
	struct readback readback = { .resident = bits };
	int r;

	if (!bits)
		return -ENOMEM;
	for (size_t i = 0; i < file->block_count; i++)
		if (file->blocks[i].mended)
			bits[file->blocks[i].index / 8] |=
				(uint8_t)(1u << (file->blocks[i].index % 8));
	r = readback_file(fd, &readback);
	for (size_t i = 0; i < file->block_count; i++) {
		struct fsck_block *block = &file->blocks[i];

		if (block->mended && (r < 0 || readback.map.hash[block->index] != block->expected))
			block->mended = false;
	}
	if (r == 0)
		blockmap_fini(&readback.map);
	return r == -EIO ? 0 : r;
}

static int mend_from(struct fsck *fsck, struct fsck_file *file, const struct copy_row *copies,
		     size_t count)
{
	cleanup_close int fd = fsck_open_file(fsck, &file->row, file->path, O_RDWR);
	bool any = false;
	int r, kept;

	if (fd < 0)
		return fsck_fail(fsck, fd, "cannot write to %s to mend it", file->path);
	r = write_blocks(fsck, file, fd, copies, count);
	kept = keep_times(fd, &file->row);
	if (r == 0)
		r = kept;
	for (size_t i = 0; i < file->block_count; i++)
		any |= file->blocks[i].mended;
	if (r == 0 && any)
		r = prove(file, fd);
	if (r < 0 && r != -ECANCELED)
		(void)fsck_fail(fsck, r, "cannot mend %s; it stays marked as damaged", file->path);
	if (r < 0)
		for (size_t i = 0; i < file->block_count; i++)
			file->blocks[i].mended = false;
	return r == -ENOMEM || r == -ECANCELED ? r : 0;
}

int fsck_mend(struct fsck *fsck, struct fsck_file *file)
{
	struct copy_row *copies = NULL;
	size_t count = 0;
	int r = fsck_open_tiers(fsck);

	if (r == 0)
		r = catalog_get_copies(fsck->catalog, file->content.id, &copies, &count);
	if (r == 0 && count)
		r = mend_from(fsck, file, copies, count);
	for (size_t i = 0; i < count; i++)
		copy_row_fini(&copies[i]);
	free(copies);
	return r;
}

/* STORED, or EVICTED when blocks are absent; without a good copy VERIFIED: it is sent again. */
static int set_healed(struct fsck *fsck, const struct fsck_file *file, bool all_here)
{
	uint64_t generation = file->row.generation;
	int r;

	r = catalog_set_state(fsck->catalog, file->row.id, generation,
			      all_here ? FILE_STORED : FILE_EVICTED, STEP_DURABLE);
	if (r != -ESTALE || !all_here)
		return r;
	return catalog_set_state(fsck->catalog, file->row.id, generation, FILE_VERIFIED,
				 STEP_DURABLE);
}

int fsck_heal(struct fsck *fsck, const struct fsck_file *file)
{
	cleanup_close int fd = fsck_open_file(fsck, &file->row, file->path, O_RDONLY);
	cleanup_free uint8_t *bits = NULL;
	uint64_t here;
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	r = fsck_resident_blocks(fd, file->content.map.size, &bits, &here);
	if (r < 0)
		return r;
	/* A repair that was cut short wrote the last block and left the time of that. */
	r = keep_times(fd, &file->row);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = catalog_set_attributes(fsck->catalog, file->row.id, st.st_mode, (uint64_t)st.st_size,
				   timespec_ns(st.st_mtim), timespec_ns(st.st_ctim));
	if (r == 0)
		r = set_healed(fsck, file, !bits);
	if (r == 0)
		fsck_event(fsck, "repaired", file->path, &file->content.digest,
			   "every block that is here was read back and is right");
	return r;
}
