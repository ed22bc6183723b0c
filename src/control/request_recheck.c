/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/known.h"
#include "control/protocol.h"
#include "control/requests.h"
#include "util/clock.h"
#include "util/error.h"
#include "volume/manage.h"

/*
 * "recheck": are the contents {size, digest} of the files {id, generation} of "items" there, now?
 * At most RECHECK_ITEMS_MAX. What is here of a file is read from its medium, and every tier is
 * asked (what eviction asks). Takes as long as that takes; lines "progress" {bytes} meanwhile. For
 * each item, in their order, a line "checked":
 *
 *   store   good (all of it is here and was just read without a mistake), whole, device, error,
 *           errno (null: none)
 *   copies  tier, kind, offsite, device (null: not on this machine), result ("good", "missing",
 *           "damaged", "unreachable", "unconfigured", "unsettled"), error
 *
 * or {error, errno}: ESTALE when the file is not, or no longer, of that generation and content. A
 * device is an st_dev.
 */
#define RECHECK_ITEMS_MAX 256
#define PROGRESS_BYTES (1u << 20) /* a line for so many; small files need none each */

struct item {
	int64_t id, generation, size;
	struct digest digest;
	struct content_row content; /* owned */
	int result;                 /* of what was read here */
	bool is_whole;
	int64_t start_ns;
	int error; /* why it is not, or cannot be, looked at */
};

struct check {
	struct request *request;
	struct item *items; /* owned */
	size_t count;
	uint64_t unsaid_bytes;
	json_t *copies; /* of the item that is answered; owned */
};

static void check_fini(struct check *check)
{
	for (size_t i = 0; i < check->count; i++)
		content_row_fini(&check->items[i].content);
	free(check->items);
	json_decref(check->copies);
}

static int keep_on(void *arg, uint64_t bytes)
{
	struct check *check = arg;

	check->unsaid_bytes += bytes;
	if (check->unsaid_bytes < PROGRESS_BYTES)
		return 0;
	bytes = check->unsaid_bytes;
	check->unsaid_bytes = 0;
	/* Who asked may be gone, or the daemon about to end. */
	return request_emit(check->request, "progress",
			    json_pack("{s:I}", "bytes", (json_int_t)bytes));
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
	case -ENOTUNIQ:
		return "unsettled";
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

static bool is_whole(const struct node_row *node)
{
	return (node->state != FILE_EVICTED && node->state != FILE_HYDRATING) ||
	       node->resident_bytes == node->size;
}

/* 0: the file still has that content. -ESTALE. */
static int find_file(struct catalog *catalog, struct item *item)
{
	struct node_row node;
	int r = catalog_find_content(catalog, (uint64_t)item->size, &item->digest, &item->content);

	if (r > 0)
		r = catalog_get_node(catalog, (uint64_t)item->id, &node);
	if (r < 0)
		return r;
	if (r == 0 || node.generation != (uint64_t)item->generation ||
	    node.content != item->content.id || !file_state_is_verified(node.state) || node.error)
		return -ESTALE;
	item->is_whole = is_whole(&node);
	return 0;
}

/* Read what is here. Negative: nothing more is to be done. */
static int check_store(struct check *check, struct item *item)
{
	const struct request_source *source = check->request->source;

	item->error = find_file(source->catalog, item);
	if (item->error)
		return 0;
	item->start_ns = realtime_ns();
	item->result = volume_check_file(source->volume, (uint64_t)item->id, keep_on, check);
	return item->result == -ECANCELED ? item->result : 0;
}

static json_t *store_json(const struct item *item, dev_t device)
{
	return json_pack("{s:b,s:b,s:I,s:o,s:o}", "good", item->result == 0 && item->is_whole,
			 "whole", item->is_whole, "device", (json_int_t)device, "error",
			 item->result ? json_string(error_text(item->result)) : json_null(),
			 "errno",
			 item->result ? json_string(errno_name(item->result)) : json_null());
}

static json_t *error_json(int error)
{
	return json_pack("{s:s,s:s}", "error", error_text(error), "errno", errno_name(error));
}

static int answer(struct check *check, struct item *item, dev_t device)
{
	const struct request_source *source = check->request->source;
	int64_t checked_ns = 0;
	int r;

	if (item->error)
		return request_emit(check->request, "checked", error_json(item->error));
	r = catalog_get_checked(source->catalog, (uint64_t)item->id, &checked_ns);
	if (r < 0)
		return r;
	/* The check says 0, too, where there was nothing to check. */
	if (item->result == 0 && checked_ns < item->start_ns)
		item->result = -ESTALE;
	json_decref(check->copies);
	check->copies = json_array();
	r = check->copies ? volume_recheck_copies(source->volume, &item->content, add_copy, check)
			  : -ENOMEM;
	if (r < 0)
		return r;
	return request_emit(check->request, "checked",
			    json_pack("{s:o,s:o}", "store", store_json(item, device), "copies",
				      take_ptr(check->copies)));
}

static bool parse_item(const json_t *json, struct item *ret_item)
{
	return request_int(json, "id", 1, INT64_MAX, 0, &ret_item->id) == 0 && ret_item->id &&
	       request_int(json, "generation", 0, INT64_MAX, 0, &ret_item->generation) == 0 &&
	       request_int(json, "size", 0, INT64_MAX, 0, &ret_item->size) == 0 &&
	       digest_parse(json_string_or(json, "digest", ""), &ret_item->digest) == 0;
}

static int parse(struct check *check)
{
	const json_t *items = json_object_get(check->request->json, "items"), *json;
	size_t i;

	if (json_array_size(items) == 0 || json_array_size(items) > RECHECK_ITEMS_MAX)
		return -EINVAL;
	check->items = calloc(json_array_size(items), sizeof(*check->items));
	if (!check->items)
		return -ENOMEM;
	json_array_foreach(items, i, json)
	{
		if (!parse_item(json, &check->items[i]))
			return -EINVAL;
		check->count++;
	}
	return 0;
}

/* Read what is here of all. Negative: nothing more is to be done. */
static int check_stores(struct check *check)
{
	struct volume *volume = check->request->source->volume;
	uint64_t ids[RECHECK_ITEMS_MAX];
	struct live *held[RECHECK_ITEMS_MAX];
	int r = 0;

	for (size_t i = 0; i < check->count; i++)
		ids[i] = (uint64_t)check->items[i].id;
	volume_hold_files(volume, ids, check->count, held);
	for (size_t i = 0; r == 0 && i < check->count; i++)
		r = check_store(check, &check->items[i]);
	volume_let_go(held, check->count);
	return r;
}

int request_recheck(struct request *request)
{
	cleanup_with(check_fini) struct check check = { .request = request };
	struct stat st;
	int r = parse(&check);

	if (r == -EINVAL)
		return request_fail(request, r,
				    "\"items\" is an array of at most %d of {id, generation, size, "
				    "digest}",
				    RECHECK_ITEMS_MAX);
	if (r == 0 && fstat(request->source->store->root_fd, &st) < 0)
		r = -errno;
	/* The catalog is waited for twice, for all of them. */
	if (r == 0)
		r = request_barrier(request);
	if (r == 0)
		r = check_stores(&check);
	if (r == 0)
		r = request_barrier(request);
	for (size_t i = 0; r == 0 && i < check.count; i++)
		r = answer(&check, &check.items[i], st.st_dev);
	return r;
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
