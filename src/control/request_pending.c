/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "control/protocol.h"
#include "control/report.h"
#include "util/error.h"

/*
 * Files that a rule keeps here are verified and stay so: they are told from those that are about
 * to be queued by the rules, in the same reading as all others, or a file that changes
 * meanwhile would be counted wrong.
 */
struct tally {
	const struct rules *rules;
	struct catalog_totals totals; /* without the ignored ones */
	uint64_t ignored;
};

static int tally_file(void *arg, const char *name, const struct node_row *row)
{
	struct tally *tally = arg;

	if (row->state <= 0 || row->state >= FILE_STATE_COUNT)
		return 0;
	if (row->state == FILE_VERIFIED && rules_ignores(tally->rules, name)) {
		tally->ignored++;
		return 0;
	}
	tally->totals.files[row->state]++;
	tally->totals.bytes[row->state] += row->size;
	return 0;
}

static int tally_all(struct request *request, const char *path, const struct node_row *node,
		     struct tally *ret_tally)
{
	cleanup_with(rules_free_slot) struct rules *rules = NULL;
	int r = report_rules(request, &rules);

	if (r < 0)
		return r;
	*ret_tally = (struct tally){ .rules = rules };
	if (S_ISDIR(node->mode))
		return catalog_each_under(request->source->catalog, node->id, tally_file,
					  ret_tally);
	return tally_file(ret_tally, path, node);
}

/* Something is on its way to a tier for sure: what is verified need not be told apart for that. */
static bool is_sending(const struct catalog_totals *totals)
{
	return totals->files[FILE_RECEIVING] + totals->files[FILE_RECEIVED] +
		       totals->files[FILE_QUEUED] + totals->files[FILE_UPLOADING] >
	       0;
}

/*
 * Answer to "pending", goal "verified" or "stored": files, bytes (all that should get there),
 * done_files, done_bytes, damaged_files, poison_files, ignored_files, tiers, tier_down,
 * tier_error, paused, rate; and the lists of "damaged" and "poison".
 *
 * With "estimate" asked for, the ignored ones may be among files and bytes while others are still
 * on their way ("estimated" is true then): all files below the path need not be read.
 */
static int find_pending(struct request *request, bool stored, struct tally *ret_tally,
			uint64_t *ret_poison)
{
	cleanup_free char *path = NULL;
	struct node_row node;
	bool estimated;
	int r = request_node(request, &path, &node);

	*ret_tally = (struct tally){ 0 };
	*ret_poison = 0;
	if (r == 0)
		r = report_totals(request, path, &node, &ret_tally->totals);
	estimated = json_is_true(json_object_get(request->json, "estimate")) &&
		    is_sending(&ret_tally->totals);
	if (r == 0 && stored && ret_tally->totals.files[FILE_VERIFIED] > 0)
		r = estimated ? request_add(request, "estimated", json_true())
			      : tally_all(request, path, &node, ret_tally);
	if (r == 0)
		r = report_damaged(request, path, REPORT_LIST_MAX);
	if (r == 0 && stored)
		r = report_poison(request, path, REPORT_LIST_MAX, ret_poison);
	return r;
}

static json_t *pending_json(const struct tally *tally, bool stored, uint64_t poison,
			    const struct volume_status *status)
{
	uint64_t files = 0, bytes = 0, done = 0, done_bytes = 0;

	for (int state = 1; state < FILE_STATE_COUNT; state++) {
		files += tally->totals.files[state];
		bytes += tally->totals.bytes[state];
		if (stored ? file_state_is_stored(state) : file_state_is_verified(state)) {
			done += tally->totals.files[state];
			done_bytes += tally->totals.bytes[state];
		}
	}
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:I}", "files", (json_int_t)files,
			 "bytes", (json_int_t)bytes, "done_files", (json_int_t)done, "done_bytes",
			 (json_int_t)done_bytes, "damaged_files",
			 (json_int_t)tally->totals.files[FILE_DAMAGED], "poison_files",
			 (json_int_t)poison, "ignored_files", (json_int_t)tally->ignored,
			 "tier_down", status->transfer.tier_down, "paused", status->transfer.paused,
			 "rate",
			 (json_int_t)(stored ? status->transfer.rate : status->verify_rate));
}

int request_pending(struct request *request)
{
	const char *goal = json_string_or(request->json, "goal", "verified");
	bool stored = strcmp(goal, "stored") == 0;
	struct volume_status status;
	struct tally tally;
	uint64_t poison;
	json_t *part;
	int r;

	if (!stored && strcmp(goal, "verified") != 0)
		return request_fail(request, -EINVAL, "the goal is \"verified\" or \"stored\"");
	r = find_pending(request, stored, &tally, &poison);
	if (r == 0)
		r = report_volume(request, &status);
	if (r < 0)
		return r;
	part = pending_json(&tally, stored, poison, &status);
	if (!part || json_object_update_new(request->final, part) < 0)
		return -ENOMEM;
	if (status.transfer.tier_down)
		r = request_add(request, "tier_error", request_tier_error(&status.transfer));
	if (r == 0)
		r = request_add(request, "mounted", json_boolean(request->source->volume != NULL));
	return r < 0 ? r : report_settings(request);
}
