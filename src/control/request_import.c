/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "control/protocol.h"
#include "control/requests.h"
#include "util/error.h"
#include "volume/import.h"

static const char *const results[] = {
	[IMPORT_ADOPTED] = "adopted", [IMPORT_CONFLICT] = "conflict", [IMPORT_SAME] = "same",
	[IMPORT_WOULD] = "would",     [IMPORT_REFUSED] = "refused",   [IMPORT_FAILED] = "failed",
};

struct importing {
	struct request *request;
	int first_error;
};

static int on_object(void *arg, const struct import_object *object)
{
	struct importing *importing = arg;
	json_t *line = json_pack("{s:o,s:o,s:I,s:s}", "key", json_path(object->key), "path",
				 object->path ? json_path(object->path) : json_null(), "size",
				 (json_int_t)object->size, "result", results[object->result]);
	const char *why = object->result == IMPORT_FAILED ? error_text(object->error) : object->why;

	if (object->result == IMPORT_FAILED && !importing->first_error)
		importing->first_error = object->error;
	if (line && why && json_object_set_new(line, "error", json_string(why)) < 0) {
		json_decref(line);
		return -ENOMEM;
	}
	return line ? request_emit(importing->request, "object", line) : -ENOMEM;
}

static json_t *counts_json(const struct import_counts *counts)
{
	json_t *object =
		json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)counts->files, "bytes",
			  (json_int_t)counts->bytes, "known", (json_int_t)counts->known, "ignored",
			  (json_int_t)counts->ignored, "done_files", (json_int_t)counts->done_files,
			  "done_bytes", (json_int_t)counts->done_bytes);

	for (size_t i = 0; object && i < ARRAY_SIZE(results); i++)
		if (json_object_set_new(object, results[i],
					json_integer((json_int_t)counts->results[i])) < 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static int on_progress(void *arg, const struct import_counts *counts)
{
	struct importing *importing = arg;
	json_t *object = counts_json(counts);

	return object ? request_emit(importing->request, "progress", object) : -ENOMEM;
}

static int explain(struct request *request, int error, const char *tier)
{
	switch (error) {
	case -ENOENT:
		return request_fail(request, error, "there is no tier %s", tier ? tier : "");
	case -ENOTSUP:
		return request_fail(request, error, "%s: no bucket: only from there can be adopted",
				    tier ? tier : "the store's tiers");
	case -EROFS:
		return request_fail(request, error,
				    "the volume is mounted read-only here: import where it is "
				    "written");
	case -EINVAL:
		return request_fail(request, error, "the prefix cannot be that of an object");
	default:
		return error;
	}
}

/*
 * "import-bucket": tier, prefix, dry_run. Lines {"object": {key, path, size, result, error}} and
 * {"progress": {...}}; the last line has the members of a progress.
 */
int request_import_bucket(struct request *request)
{
	struct importing importing = { .request = request };
	const struct import_host host = { &importing, on_object, on_progress };
	const char *tier = json_string_or(request->json, "tier", NULL);
	json_t *member = json_object_get(request->json, "prefix");
	cleanup_free char *prefix = member ? json_path_value(member) : strdup("");
	bool dry = request_flag(request->json, "dry_run");
	struct import_counts counts = { 0 };
	cleanup_json json_t *part = NULL;
	char actor[32];
	int r;

	if (!prefix)
		return explain(request, -errno, tier);
	(void)snprintf(actor, sizeof(actor), "uid:%u", (unsigned)request->source->uid);
	r = volume_import(request->source->volume, tier, prefix, dry ? IMPORT_DRY_RUN : 0, actor,
			  &host, &counts);
	part = counts_json(&counts);
	if (!part || json_object_update(request->final, part) < 0)
		return -ENOMEM;
	if (r < 0)
		return explain(request, r, tier);
	if (importing.first_error)
		request->code = exit_code_of(importing.first_error);
	return 0;
}
