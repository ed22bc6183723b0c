/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/known.h"
#include "control/protocol.h"
#include "control/requests.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/manage.h"

/*
 * "recheck": is the content {size, digest} of the file {id, generation} there, now? What is here of
 * the file is read from its medium, and every tier is asked (what eviction asks). Takes as long as
 * that takes; lines "progress" {bytes} meanwhile. In the last line:
 *
 *   store   good (all of it is here and was just read without a mistake), whole, device, error,
 *           errno (null: none)
 *   copies  tier, kind, offsite, device (null: not on this machine), result ("good", "missing",
 *           "damaged", "unreachable", "unconfigured"), error
 *
 * A device is an st_dev. -ESTALE when the file is not, or no longer, of that generation and
 * content.
 */
struct check {
	struct request *request;
	json_t *copies; /* owned */
};

static int keep_on(void *arg, uint64_t bytes)
{
	struct request *request = arg;

	/* Who asked may be gone, or the daemon about to end. */
	return request_emit(request, "progress", json_pack("{s:I}", "bytes", (json_int_t)bytes));
}

static const char *result_name(int result)
{
	switch (result) {
	case 0:
		return "good";
	case -ENOENT:
		return "missing";
	case -EBADMSG:
		return "damaged";
	case -ENODEV:
		return "unconfigured";
	default:
		return "unreachable";
	}
}

static int add_copy(void *arg, struct tier *tier, int result)
{
	struct check *check = arg;
	struct volume *volume = check->request->source->volume;
	json_t *device = NULL;
	dev_t number;

	if (result == 0 && tier->backend->device) {
		/* It was there a moment ago. */
		if (tier->backend->device(tier, &number) == 0)
			device = json_integer((json_int_t)number);
		else
			result = -EHOSTDOWN;
	}
	return json_array_append_new(
		       check->copies,
		       json_pack("{s:s?,s:s?,s:b,s:o,s:s,s:o}", "tier", tier ? tier->name : NULL,
				 "kind", tier ? tier->backend->scheme : NULL, "offsite",
				 tier && volume_tier_is_offsite(volume, tier), "device",
				 device ? device : json_null(), "result", result_name(result),
				 "error", result ? json_string(error_text(result)) : json_null())) <
			       0
		       ? -ENOMEM
		       : 0;
}

/* The row of the file, if it still has that content. */
static int find_file(struct request *request, uint64_t id, int64_t generation,
		     const struct content_row *content, struct node_row *ret_node)
{
	int r = request_barrier(request);

	if (r == 0)
		r = catalog_get_node(request->source->catalog, id, ret_node);
	if (r < 0)
		return r;
	return r > 0 && ret_node->generation == (uint64_t)generation &&
			       ret_node->content == content->id &&
			       file_state_is_verified(ret_node->state) && !ret_node->error
		       ? 0
		       : request_fail(request, -ESTALE, "the file was changed in the volume");
}

static bool is_whole(const struct node_row *node)
{
	return (node->state != FILE_EVICTED && node->state != FILE_HYDRATING) ||
	       node->resident_bytes == node->size;
}

static int check_store(struct request *request, uint64_t id, int64_t generation,
		       const struct content_row *content)
{
	int64_t start_ns = realtime_ns(), checked_ns = 0;
	struct node_row node;
	struct stat st;
	int r, result;

	r = find_file(request, id, generation, content, &node);
	if (r < 0)
		return r;
	result = volume_check_file(request->source->volume, id, keep_on, request);
	if (result == -ECANCELED)
		return result;
	r = request_barrier(request);
	if (r == 0)
		r = catalog_get_checked(request->source->catalog, id, &checked_ns);
	if (r < 0)
		return r;
	/* The check says 0, too, where there was nothing to check. */
	if (result == 0 && checked_ns < start_ns)
		result = -ESTALE;
	if (fstat(request->source->store->root_fd, &st) < 0)
		return -errno;
	return request_add(
		request, "store",
		json_pack("{s:b,s:b,s:I,s:o,s:o}", "good", result == 0 && is_whole(&node), "whole",
			  is_whole(&node), "device", (json_int_t)st.st_dev, "error",
			  result ? json_string(error_text(result)) : json_null(), "errno",
			  result ? json_string(errno_name(result)) : json_null()));
}

int request_recheck(struct request *request)
{
	cleanup_with(content_row_fini) struct content_row content = { 0 };
	const char *hex = json_string_or(request->json, "digest", "");
	struct check check = { request, json_array() };
	cleanup_json json_t *copies = check.copies;
	int64_t id, generation, size;
	struct digest digest;
	int r;

	if (request_int(request->json, "id", 1, INT64_MAX, 0, &id) < 0 || !id ||
	    request_int(request->json, "generation", 0, INT64_MAX, 0, &generation) < 0 ||
	    request_int(request->json, "size", 0, INT64_MAX, 0, &size) < 0 ||
	    digest_parse(hex, &digest) < 0)
		return request_fail(request, -EINVAL,
				    "\"id\", \"generation\", \"size\" and \"digest\" are wanted");
	r = catalog_find_content(request->source->catalog, (uint64_t)size, &digest, &content);
	if (r == 0)
		return request_fail(request, -ESTALE, "the volume does not have that content");
	if (r > 0)
		r = check_store(request, (uint64_t)id, generation, &content);
	if (r == 0)
		r = copies ? volume_recheck_copies(request->source->volume, &content, add_copy,
						   &check)
			   : -ENOMEM;
	return r < 0 ? r : request_add(request, "copies", take_ptr(copies));
}

int request_safe_said(struct request *request)
{
	cleanup_free char *detail = json_path_value(json_object_get(request->json, "detail"));
	const char *verdict = json_string_or(request->json, "verdict", "");
	bool safe = strcmp(verdict, "safe") == 0;
	cleanup_free char *path = NULL;
	char actor[32];
	int r = request_path(request->json, &path);

	if (r < 0 || !detail || (!safe && strcmp(verdict, "not safe") != 0))
		return request_fail(request, -EINVAL,
				    "\"path\", \"verdict\" (safe, not safe) and \"detail\" are "
				    "wanted");
	(void)snprintf(actor, sizeof(actor), "uid:%u", (unsigned)request->source->uid);
	volume_event(request->source->volume, actor, safe ? "safe to format" : "not safe", path, "",
		     detail);
	/* What is said must be in the log: where that cannot be written, it is not said. */
	return catalog_flush(request->source->catalog);
}
