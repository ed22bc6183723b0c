/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubts: has another site written over a copy of ours, or of anybody? (catalog/doubts.h)
 *
 * That a copy is bad, and that the files it was the only one of are not stored any more, is one
 * transaction; all that follows here only makes it go faster. So a kill at any moment costs time.
 */
#include <errno.h>
#include <stdlib.h>

#include "catalog/doubts.h"
#include "catalog/known.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/live.h"
#include "volume/sync_parts.h"

/* In one round: other sites are not to wait long for the next. */
#define DOUBTS_AT_ONCE 32
/* Other files of the same bytes are found by transfer, a little later. */
#define FILES_AT_ONCE 64
/* A tier that could not be asked is asked again after this: at first none was found yet. */
#define ASK_AGAIN_NS (2 * NS_PER_SEC)

static int send_file(struct syncer *syncer, const struct doubt_row *doubt,
		     const struct content_row *content, const struct known_file *file)
{
	struct volume *volume = syncer->volume;
	const struct node_row *node = &file->node;
	const char *name = syncer_tier(syncer, doubt->tier)->name;
	char hex[DIGEST_HEX_SIZE];

	digest_hex(&content->digest, hex);
	volume_event(volume, "daemon", "overwritten", file->path, hex, doubt->key);
	if (node->state > FILE_STORED || node->state < FILE_VERIFIED) {
		log_error("%s: its copy %s in tier %s is another site's file by now, or gone, and "
			  "not all of it is here: a site that has it must send it again",
			  file->path, doubt->key, name);
		return 0;
	}
	log_warning("%s: its copy %s in tier %s is another site's file by now, or gone: it is sent "
		    "again",
		    file->path, doubt->key, name);
	if (node->state == FILE_VERIFIED)
		live_follow(volume, node->id, node->generation, FILE_VERIFIED);
	return transfer_file_verified(volume->transfer, node->id, node->generation, file->path,
				      content->size);
}

/* Another site may have told of another key already. */
static int show_again(struct volume *volume, const char *path)
{
	struct version_row *rows = NULL;
	size_t count = 0;
	int r = catalog_get_shown(volume->catalog, path, &rows, &count);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = catalog_add_unshown(volume->catalog, rows[i].path);
	version_rows_free(rows, count);
	return r;
}

static int send_again(struct syncer *syncer, const struct doubt_row *doubt,
		      const struct content_row *content)
{
	struct volume *volume = syncer->volume;
	struct known_file *files = NULL;
	size_t count = 0;
	int r = catalog_barrier(volume->catalog);

	if (r == 0)
		r = catalog_get_files(volume->catalog, content->id, FILES_AT_ONCE, &files, &count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = send_file(syncer, doubt, content, &files[i]);
		if (r == 0)
			r = show_again(volume, files[i].path);
	}
	known_files_free(files, count);
	return r;
}

enum looked { LOOK_FAILED, LOOK_DONE, LOOK_AGAIN };

/* LOOK_FAILED: its tier could not be asked; LOOK_AGAIN: it is good, and may still be written over.
 */
static int look(struct syncer *syncer, const struct doubt_row *doubt)
{
	struct volume *volume = syncer->volume;
	struct content_row content = { 0 };
	int r = catalog_get_content(volume->catalog, doubt->content, &content);

	if (r <= 0)
		return r < 0 ? r : LOOK_DONE;
	r = transfer_recheck_copy(volume->transfer, &content, doubt->tier);
	if (r == -EBADMSG || r == -ENOENT)
		r = send_again(syncer, doubt, &content);
	else if (r < 0 && !syncer_is_fatal(syncer, r))
		r = -EAGAIN;
	content_row_fini(&content);
	return r == -EAGAIN ? LOOK_FAILED : r < 0 ? r : r > 0 ? LOOK_AGAIN : LOOK_DONE;
}

/* @doubt was looked at, with this result. */
static int put_away(struct syncer *syncer, const struct doubt_row *doubt, enum looked looked)
{
	struct volume *volume = syncer->volume;
	int64_t wait_ns = volume_setting(volume, SETTING_OVERWRITE_WAIT);

	if (looked == LOOK_AGAIN)
		return catalog_put_off_doubt(volume->catalog, doubt, realtime_ns() + wait_ns);
	return catalog_clear_doubt(volume->catalog, doubt);
}

static int look_at_tier(struct syncer *syncer, uint32_t tier)
{
	struct doubt_row *rows = NULL;
	size_t count = 0, i;
	int r;

	r = catalog_get_doubts(syncer->volume->catalog, tier, realtime_ns(), DOUBTS_AT_ONCE, &rows,
			       &count);
	for (i = 0; r >= 0 && i < count; i++) {
		r = look(syncer, &rows[i]);
		if (r == LOOK_FAILED) {
			syncer->doubts_ns = monotonic_ns() + ASK_AGAIN_NS;
			break;
		}
		if (r > 0)
			r = put_away(syncer, &rows[i], (enum looked)r);
	}
	doubt_rows_free(rows, count);
	return r < 0 ? r : i > 0;
}

int doubts_run(struct syncer *syncer)
{
	struct transfer *transfer = syncer->volume->transfer;
	const struct transfer_tier *tier;
	int looked = 0, r = 0;

	if (monotonic_ns() < syncer->doubts_ns)
		return 0;
	for (size_t i = 0; r >= 0 && (tier = transfer_tier(transfer, i)); i++) {
		r = look_at_tier(syncer, tier->id);
		looked |= r > 0;
	}
	return r < 0 ? r : looked;
}

int doubts_are_due(struct syncer *syncer)
{
	struct transfer *transfer = syncer->volume->transfer;
	const struct transfer_tier *tier;
	size_t count = 0;
	int r = 0;

	if (monotonic_ns() < syncer->doubts_ns)
		return 0;
	for (size_t i = 0; r == 0 && !count && (tier = transfer_tier(transfer, i)); i++) {
		struct doubt_row *rows = NULL;

		r = catalog_get_doubts(syncer->volume->catalog, tier->id, realtime_ns(), 1, &rows,
				       &count);
		doubt_rows_free(rows, count);
	}
	return r < 0 ? r : count > 0;
}
