/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What histories of offloads need of the catalog: in which folders files were verified since
 * somebody looked, and digests of contents besides their own.
 */
#include "catalog/catalog.h"
#include "hash/digest.h"
#include "hash/formats.h"

struct content_hash {
	enum hash_format format;
	uint8_t bytes[HASH_MAX_BYTES];
};

/*
 * Keep @hashes of the content with @size and @digest; those of formats that are kept already are
 * replaced. Queued: behind the step that makes the content. Lost without one. -ENOMEM.
 */
int catalog_put_hashes(struct catalog *catalog, uint64_t size, const struct digest *digest,
		       const struct content_hash *hashes, size_t count);

/* All that are kept of @content; *ret_count may be 0. */
int catalog_get_hashes(struct catalog *catalog, uint64_t content,
		       struct content_hash ret_hashes[HASH_FORMATS], size_t *ret_count);

/*
 * A folder in which a file was verified, in the step that verified it: no crash comes between. It
 * goes with the folder.
 */
struct unsettled {
	uint64_t folder;
	int64_t noted_ns; /* realtime: of the last file */
};

/* What is in @folder moved there, or has another name. Queued. */
int catalog_note_unsettled(struct catalog *catalog, uint64_t folder);

/* Up to @max of them, by folder, from @after on. Returns the count. */
int catalog_get_unsettled(struct catalog *catalog, uint64_t after, struct unsettled *ret_rows,
			  size_t max);

/* Queued. Nothing, if another file was verified there since @row was read. */
int catalog_clear_unsettled(struct catalog *catalog, const struct unsettled *row);

/* All of them: a catalog that was rebuilt verified what arrived long ago. Queued. */
int catalog_forget_unsettled(struct catalog *catalog);

/* Folders with NODE_SEALED, by id, from @after on; at most @max. Returns the count. */
int catalog_get_sealed(struct catalog *catalog, uint64_t after, uint64_t *ret_ids, size_t max);
