/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What several requests report. Inside control/ only. */
#include "catalog/contents.h"
#include "catalog/nodes.h"
#include "control/requests.h"
#include "transfer/rules.h"
#include "volume/manage.h"

struct card_rules;
struct offload;
struct offloads;

DEFINE_CLEANUP(struct rules *, rules_free)

#define REPORT_LIST_MAX 20 /* of files that are named one by one */

/* True when @path is @top or lies below it; @top "" holds all. */
bool path_under(const char *path, const char *top);

/* The whole volume's figures, from the daemon or the catalog alone. */
int report_volume(struct request *request, struct volume_status *ret_status);

/* By state, of @node and all below it. */
int report_totals(struct request *request, const char *path, const struct node_row *node,
		  struct catalog_totals *ret_totals);

/* Of all tiers together. */
int report_queue_totals(struct catalog *catalog, struct queue_totals *ret_totals);

/* Adds "damaged": [{path, error}], at most @max of those under @top. */
int report_damaged(struct request *request, const char *top, size_t max);

/* Adds "poison" likewise; *ret_count (may be NULL) counts all of them. */
int report_poison(struct request *request, const char *top, size_t max, uint64_t *ret_count);

/* The rules of the store's mediafs.conf. */
int report_rules(struct request *request, struct rules **ret_rules);

/*
 * Adds what limits the network now: "limit", "limit_rule", "limit_until_ns". @settings for a volume
 * that is not mounted.
 */
int report_limit(struct request *request, const struct settings *settings);

/* Adds tiers, limit, metered and pause, or "settings_error". */
int report_settings(struct request *request);

/*
 * Adds "offloads": cards at and below @path that arrive or arrived lately; of a volume that is not
 * mounted, and of one with very many names, not all of them are found.
 */
int report_arriving_offloads(struct request *request, const char *path);

/* The cards at and below member "path", by the rules of this machine and the store. */
int report_offloads(struct request *request, struct card_rules **ret_rules,
		    struct offloads *ret_offloads);

/* Adds "rule_errors": files of rules that were left out. */
int report_rule_errors(struct request *request, const struct card_rules *rules);

/*
 * An offload: what card_json() tells, path, id, state ("arriving", "verified", "stored", "damaged",
 * "empty"), verified and stored (of total_files, which counts junk too), damaged, sealed (the
 * folder itself), broken_off and cut_off (paths of clips that look as if their copies were, or
 * null), cut_off_files (how many are shorter than they say), same_reel (the path of another
 * offload, or null), other_bytes (files whose paths are there too, with other bytes),
 * other_bytes_path (the first, or null). New reference.
 */
int offload_json(struct request *request, const struct offload *offload, bool with_clips,
		 json_t **ret_object);
