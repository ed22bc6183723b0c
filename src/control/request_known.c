/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "catalog/contents.h"
#include "catalog/known.h"
#include "control/protocol.h"
#include "control/requests.h"
#include "util/error.h"
#include "util/io.h"
#include "volume/manage.h"
#include "volume/media.h"

/*
 * "known": what the catalog knows of "items", at most KNOWN_ITEMS_MAX. An item is {size, digest}, a
 * content; {path}, a file of the volume; or {size} alone. For each, in their order, a line "known":
 *
 *   size_known  a content of that size exists, or did; of {size} nothing more is told
 *   digest      of the content, null: none is known (of a path: there is no file, or it is not
 *               verified yet)
 *   files       that have it now, at most KNOWN_FILES_MAX (of a path: that one): path, id,
 *               generation, state, size, mtime_ns, verified, verified_ns (when its bytes here were
 *               last read back and matched, 0 never), damaged, error, resident_bytes
 *   files_more  there are others
 *   whole_bytes of a path: what it would have if it were as long as it says; 0: it is, or nobody
 *               looked
 *   copies      of the content: tier, kind ("s3", "file"), offsite, confirmed_ns, checked_ns, bad;
 *               kind is null of a tier that mediafs.conf no longer has (then it is no copy)
 */
#define KNOWN_ITEMS_MAX 256
#define KNOWN_FILES_MAX 32

struct answer {
	struct request *request;
	json_t *line; /* owned */
};

static int add(struct answer *answer, const char *key, json_t *value)
{
	return json_object_set_new(answer->line, key, value) < 0 ? -ENOMEM : 0;
}

static json_t *file_json(const struct known_file *file)
{
	const struct node_row *node = &file->node;
	bool partial = node->state == FILE_EVICTED || node->state == FILE_HYDRATING ||
		       node->state == FILE_ANNOUNCED;

	return json_pack(
		"{s:o,s:I,s:I,s:s,s:I,s:I,s:b,s:I,s:b,s:o,s:I}", "path", json_path(file->path),
		"id", (json_int_t)node->id, "generation", (json_int_t)node->generation, "state",
		file_state_name(node->state), "size", (json_int_t)node->size, "mtime_ns",
		(json_int_t)node->mtime_ns, "verified",
		!node->error && file_state_is_verified(node->state), "verified_ns",
		(json_int_t)file->checked_ns, "damaged", node->state == FILE_DAMAGED, "error",
		node->error ? json_string(error_text(node->error)) : json_null(), "resident_bytes",
		(json_int_t)(partial ? node->resident_bytes : node->size));
}

static int add_files(struct answer *answer, const struct known_file *files, size_t count)
{
	cleanup_json json_t *list = json_array();

	for (size_t i = 0; list && i < count && i < KNOWN_FILES_MAX; i++) {
		if (json_array_append_new(list, file_json(&files[i])) < 0)
			return -ENOMEM;
	}
	if (add(answer, "files_more", json_boolean(count > KNOWN_FILES_MAX)) < 0)
		return -ENOMEM;
	return add(answer, "files", take_ptr(list));
}

static const struct tier *tier_of(const struct request *request, uint32_t id)
{
	const struct transfer_tier *tier;

	for (size_t i = 0; (tier = volume_tier(request->source->volume, i)); i++) {
		if (tier->id == id)
			return tier->tier;
	}
	return NULL;
}

static json_t *copy_json(const struct request *request, const struct copy_row *copy)
{
	const struct tier *tier = tier_of(request, copy->tier);
	bool offsite = tier && volume_tier_is_offsite(request->source->volume, tier);

	return json_pack("{s:s?,s:s?,s:b,s:I,s:I,s:b}", "tier", tier ? tier->name : NULL, "kind",
			 tier ? tier->backend->scheme : NULL, "offsite", offsite, "confirmed_ns",
			 (json_int_t)copy->confirmed_ns, "checked_ns", (json_int_t)copy->checked_ns,
			 "bad", copy->bad);
}

static int add_whole_bytes(struct answer *answer, uint64_t content)
{
	uint64_t bytes;
	int r = media_whole_bytes(answer->request->source->catalog, content, &bytes);

	return r < 0 ? r : add(answer, "whole_bytes", json_integer((json_int_t)bytes));
}

static int add_copies(struct answer *answer, uint64_t content)
{
	cleanup_json json_t *list = json_array();
	struct copy_row *rows = NULL;
	size_t count = 0;
	int r = content ? catalog_get_copies(answer->request->source->catalog, content, &rows,
					     &count)
			: 0;

	for (size_t i = 0; i < count; i++) {
		if (r == 0 && json_array_append_new(list, copy_json(answer->request, &rows[i])) < 0)
			r = -ENOMEM;
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return r < 0 ? r : add(answer, "copies", take_ptr(list));
}

static int add_digest(struct answer *answer, const struct content_row *content)
{
	char hex[DIGEST_HEX_SIZE];

	if (!content)
		return add(answer, "digest", json_null());
	digest_hex(&content->digest, hex);
	return add(answer, "digest", json_string(hex));
}

static int answer_content(struct answer *answer, uint64_t size, const struct digest *digest)
{
	struct catalog *catalog = answer->request->source->catalog;
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct known_file *files = NULL;
	size_t count = 0;
	int found = catalog_find_content(catalog, size, digest, &content), r = found;

	if (found > 0)
		r = catalog_get_files(catalog, content.id, KNOWN_FILES_MAX + 1, &files, &count);
	if (r >= 0)
		r = add_digest(answer, found > 0 ? &content : NULL);
	if (r == 0)
		r = add_files(answer, files, count);
	known_files_free(files, count);
	return r < 0 ? r : add_copies(answer, content.id);
}

static int answer_path(struct answer *answer, const char *path)
{
	struct catalog *catalog = answer->request->source->catalog;
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	struct known_file file = { 0 };
	int found = catalog_get_file(catalog, path, &file), r = found;

	if (found > 0 && file.node.content)
		r = catalog_get_content(catalog, file.node.content, &content);
	if (r >= 0)
		r = add_digest(answer, content.id ? &content : NULL);
	if (r == 0)
		r = add_files(answer, &file, found > 0);
	free(file.path);
	if (r >= 0)
		r = add_whole_bytes(answer, content.id);
	return r < 0 ? r : add_copies(answer, content.id);
}

static int wrong_item(struct request *request)
{
	return request_fail(request, -EINVAL,
			    "\"items\" is an array of at most %d of {size, digest}, {size} or "
			    "{path}",
			    KNOWN_ITEMS_MAX);
}

static int answer_item(struct answer *answer, const json_t *item)
{
	const char *hex = json_string_or(item, "digest", NULL);
	int64_t size = json_int_or(item, "size", -1);
	struct digest digest;
	int r;

	if (json_object_get(item, "path")) {
		cleanup_free char *path = json_path_value(json_object_get(item, "path"));

		return path && path_ok(path) ? answer_path(answer, path)
					     : wrong_item(answer->request);
	}
	if (size < 0 ||
	    (json_object_get(item, "digest") && (!hex || digest_parse(hex, &digest) < 0)))
		return wrong_item(answer->request);
	r = catalog_has_size(answer->request->source->catalog, (uint64_t)size);
	if (r < 0)
		return r;
	if (add(answer, "size_known", json_boolean(r > 0)) < 0)
		return -ENOMEM;
	return hex ? answer_content(answer, (uint64_t)size, &digest) : 0;
}

int request_known(struct request *request)
{
	const json_t *items = json_object_get(request->json, "items"), *item;
	size_t i;
	int r;

	if (!json_is_array(items) || json_array_size(items) > KNOWN_ITEMS_MAX)
		return wrong_item(request);
	r = request_barrier(request);
	json_array_foreach(items, i, item)
	{
		struct answer answer = { request, json_object() };
		cleanup_json json_t *line = answer.line;

		if (r == 0)
			r = line ? answer_item(&answer, item) : -ENOMEM;
		if (r == 0)
			r = request_emit(request, "known", json_incref(line));
		if (r < 0)
			return r;
	}
	return r;
}
