/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/stat.h>

#include "control/card_json.h"
#include "control/protocol.h"
#include "control/report.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "volume/media.h"
#include "volume/offloads.h"

int offload_json(struct request *request, const struct offload *offload, bool with_clips,
		 json_t **ret_object)
{
	cleanup_json json_t *object = NULL;
	cleanup_json json_t *more = NULL;
	struct node_row row = { 0 };
	const char *broken = NULL, *cut = NULL;
	uint64_t cut_files = 0;
	int r = catalog_get_node(request->source->catalog, offload->id, &row);
	bool sealed = row.flags & NODE_SEALED;

	if (r >= 0 && request->source->volume)
		r = offload_broken_off(request->source->volume, offload, &broken);
	if (r >= 0)
		r = media_cut_off(request->source->catalog, offload, &cut, &cut_files);
	if (r < 0)
		return r;
	object = card_json(offload->card, with_clips);
	more = json_pack(
		"{s:o,s:I,s:s,s:I,s:I,s:I,s:I,s:b,s:o,s:o,s:o,s:I,s:I,s:o}", "path",
		json_path(offload->path), "id", (json_int_t)offload->id, "state",
		offload_state(offload), "total_files", (json_int_t)offload->files, "verified",
		(json_int_t)offload->verified, "stored", (json_int_t)offload->stored, "damaged",
		(json_int_t)offload->damaged, "sealed", sealed, "same_reel",
		offload->same_reel ? json_path(offload->same_reel) : json_null(), "broken_off",
		broken ? json_path(broken) : json_null(), "cut_off",
		cut ? json_path(cut) : json_null(), "cut_off_files", (json_int_t)cut_files,
		"other_bytes", (json_int_t)offload->other_bytes, "other_bytes_path",
		offload->other_bytes_path ? json_path(offload->other_bytes_path) : json_null());
	if (!object || !more || json_object_update(object, more) < 0)
		return -ENOMEM;
	*ret_object = take_ptr(object);
	return 0;
}

int report_rule_errors(struct request *request, const struct card_rules *rules)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < rules->error_count; i++) {
		if (json_array_append_new(list, json_path(rules->errors[i])) < 0) {
			json_decref(list);
			return -ENOMEM;
		}
	}
	return request_add(request, "rule_errors", list);
}

int report_offloads(struct request *request, struct card_rules **ret_rules,
		    struct offloads *ret_offloads)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	cleanup_free char *folder = path_join(request->source->store->path, "cards.d");
	cleanup_free char *path = NULL;
	struct node_row row;
	int r = request_node(request, &path, &row);

	if (r == 0 && !S_ISDIR(row.mode))
		r = request_fail(request, -ENOTDIR, "%s is no folder", path);
	if (r == 0)
		r = folder ? card_rules_load(folder, &rules) : -ENOMEM;
	if (r == 0)
		r = offloads_find(request->source->catalog, rules, row.id, path, SIZE_MAX,
				  ret_offloads);
	if (r == 0)
		*ret_rules = take_ptr(rules);
	return r;
}

/* A line "offload" a card, and in the last line rule_errors: files of rules that were left out. */
int request_offloads(struct request *request)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	cleanup_with(offloads_fini) struct offloads offloads = { 0 };
	int r = report_offloads(request, &rules, &offloads);

	for (size_t i = 0; r == 0 && i < offloads.count; i++) {
		bool clips = request_flag(request->json, "clips");
		json_t *object = NULL;

		r = offload_json(request, &offloads.list[i], clips, &object);
		if (r == 0)
			r = request_emit(request, "offload", object);
	}
	return r < 0 ? r : report_rule_errors(request, rules);
}
