/* SPDX-License-Identifier: Apache-2.0 */

/* What is done about what the readers found in files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/fsck_parts.h"

#define DETAIL_BYTES 1024
#define DETAIL_BLOCKS 8

#define BIT(state) (1u << (state))
#define WITH_BYTES                                                                                 \
	(BIT(FILE_RECEIVED) | BIT(FILE_VERIFIED) | BIT(FILE_QUEUED) | BIT(FILE_UPLOADING) |        \
	 BIT(FILE_STORED) | BIT(FILE_EVICTED) | BIT(FILE_HYDRATING) | BIT(FILE_DAMAGED))

static void describe(const struct fsck_file *file, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "read past the page cache:");

	for (size_t i = 0; i < file->block_count && i < DETAIL_BLOCKS && used < size; i++) {
		const struct fsck_block *block = &file->blocks[i];
		unsigned long long offset = block->index * (unsigned long long)BLOCK_BYTES;

		if (block->unreadable)
			used += (size_t)snprintf(text + used, size - used,
						 " block at %llu cannot be read;", offset);
		else
			used += (size_t)snprintf(text + used, size - used,
						 " block at %llu was %016llx is %016llx;", offset,
						 (unsigned long long)block->expected,
						 (unsigned long long)block->actual);
	}
	if (used < size)
		(void)snprintf(text + used, size - used, " %zu blocks differ", file->block_count);
}

/* Durably, before anything is mended: a repair that is cut short leaves a damaged file. */
static int mark_damaged(struct fsck *fsck, struct fsck_file *file)
{
	char detail[DETAIL_BYTES];
	int r;

	if (!fsck->can_write || file->row.state == FILE_DAMAGED)
		return 0;
	r = catalog_set_damaged(fsck->catalog, file->row.id, file->row.generation, -EBADMSG,
				STEP_DURABLE);
	if (r < 0)
		return fsck_fail(fsck, r, "cannot mark %s as damaged", file->path);
	file->row.state = FILE_DAMAGED;
	describe(file, detail, sizeof(detail));
	fsck_event(fsck, "damaged", file->path, file->has_content ? &file->content.digest : NULL,
		   detail);
	return 0;
}

static void tell_blocks(struct fsck *fsck, const struct fsck_file *file, bool healed)
{
	for (size_t i = 0; i < file->block_count; i++) {
		const struct fsck_block *block = &file->blocks[i];
		const struct fsck_finding finding = {
			.outcome = block->mended && healed ? FSCK_CORRECTED : FSCK_LEFT,
			.what = "damaged block",
			.path = file->path,
			.detail = block->mended ? "a good copy had it" : "",
			.has_block = true,
			.unreadable = block->unreadable,
			.offset = block->index * BLOCK_BYTES,
			.length = blockmap_length(file->content.map.size, block->index),
			.expected = block->expected,
			.actual = block->actual,
		};

		fsck_found(fsck, &finding);
	}
}

static int on_blocks(struct fsck *fsck, struct fsck_file *file)
{
	bool healed = fsck->can_repair && file->has_content;
	int r = mark_damaged(fsck, file);

	if (r < 0)
		return r;
	if (healed) {
		r = fsck_mend(fsck, file);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < file->block_count; i++)
		healed &= file->blocks[i].mended;
	if (healed) {
		r = fsck_heal(fsck, file);
		if (r == -ESTALE)
			healed = false;
		else if (r < 0)
			return fsck_fail(fsck, r, "cannot mark %s as repaired", file->path);
	}
	tell_blocks(fsck, file, healed);
	return 0;
}

/* The bytes have the digest that was taken; the map of their blocks in the catalog is not theirs.
 */
static int on_wrong_map(struct fsck *fsck, struct fsck_file *file)
{
	int r;

	if (fsck->can_repair) {
		r = catalog_replace_map(fsck->catalog, file->content.id, &file->read_digest,
					&file->read_map, STEP_DURABLE);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot mend the block map of %s", file->path);
		fsck_event(fsck, "map repaired", file->path, &file->read_digest,
			   "the block map in the catalog did not fit the digest");
		if (file->row.state == FILE_DAMAGED)
			r = fsck_heal(fsck, file);
		if (r < 0 && r != -ESTALE)
			return fsck_fail(fsck, r, "cannot mark %s as repaired", file->path);
	}
	fsck_tell(fsck, fsck->can_repair ? FSCK_CORRECTED : FSCK_LEFT, "wrong map", file->path,
		  "the file is right, but the catalog's map of its blocks differs in %zu of them",
		  file->block_count);
	return 0;
}

/* Every block is right, so it is the digest in the catalog that was changed. */
static int on_wrong_digest(struct fsck *fsck, struct fsck_file *file)
{
	bool repair = fsck->can_write && (fsck->flags & FSCK_REPAIR_ALL);
	char expected[DIGEST_HEX_SIZE], actual[DIGEST_HEX_SIZE];
	struct node_row row = file->row;
	int r;

	digest_hex(&file->content.digest, expected);
	digest_hex(&file->read_digest, actual);
	if (repair) {
		row.generation++;
		row.state = FILE_RECEIVING;
		row.content = 0;
		row.error = 0;
		r = catalog_put_node(fsck->catalog, &row);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot have %s received again", file->path);
	}
	fsck_tell(fsck, repair ? FSCK_CORRECTED : FSCK_LEFT, "wrong digest", file->path,
		  "every block is right, but the catalog says %s and the bytes have %s%s", expected,
		  actual, repair ? "; it is received again" : "");
	return 0;
}

static int on_right(struct fsck *fsck, struct fsck_file *file)
{
	bool known = file->has_content;
	int r;

	if (file->row.state != FILE_DAMAGED) {
		if (!fsck->can_write || !known || file->cached)
			return 0;
		return catalog_set_checked(fsck->catalog, file->row.id, file->row.generation,
					   realtime_ns());
	}
	r = known && fsck->can_repair ? fsck_heal(fsck, file) : 1;
	if (r < 0 && r != -ESTALE)
		return fsck_fail(fsck, r, "cannot mark %s as repaired", file->path);
	fsck_tell(fsck, r == 0 ? FSCK_CORRECTED : FSCK_LEFT, "damaged", file->path, "%s%s",
		  error_text(file->row.error),
		  !known   ? "; nothing is known to compare it with: a person has to decide"
		  : r == 0 ? "; every block is right now"
			   : "; every block that is here is right now");
	return 0;
}

static int on_error(struct fsck *fsck, struct fsck_file *file)
{
	if (file->error == -ENOMEM)
		return fsck_fail(fsck, file->error, "cannot check %s", file->path);
	/* What has another size or inode was told by the comparison with the tree. */
	fsck_tell(fsck, file->error == -ESTALE ? FSCK_NOTE : FSCK_LEFT, "unreadable",
		  file->path ? file->path : "?", "%s", error_text(file->error));
	return 0;
}

static int on_file(struct fsck *fsck, struct fsck_file *file)
{
	if (file->error < 0)
		return on_error(fsck, file);
	fsck->report.files++;
	if (file->cached)
		fsck_tell(fsck, FSCK_NOTE, "cached", file->path,
			  "its pages would not leave memory: the medium itself was not read");
	if (file->wrong_map)
		return on_wrong_map(fsck, file);
	if (file->block_count)
		return on_blocks(fsck, file);
	if (file->wrong_digest)
		return on_wrong_digest(fsck, file);
	return on_right(fsck, file);
}

/* With FSCK_FULL they are read anyway. */
static struct fsck_ids take_touched(struct fsck *fsck)
{
	struct fsck_ids none = { 0 }, touched = fsck->touched;

	if (fsck->flags & FSCK_FULL)
		return none;
	fsck->touched = none;
	return touched;
}

int fsck_full(struct fsck *fsck)
{
	struct fsck_ids ids = take_touched(fsck);
	int r = fsck_collect(fsck, fsck->flags & FSCK_FULL ? WITH_BYTES : BIT(FILE_DAMAGED), &ids);

	if (r == 0 && ids.count) {
		r = fsck_read(fsck, &ids, 0, on_file);
		if (r < 0 && r != -ECANCELED && !fsck->report.incomplete)
			(void)fsck_fail(fsck, r, "the files could not all be read");
	}
	free(ids.ids);
	return r;
}
