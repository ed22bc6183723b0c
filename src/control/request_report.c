/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "catalog/contents.h"
#include "catalog/known.h"
#include "control/card_json.h"
#include "control/report.h"
#include "control/report_policy.h"
#include "util/error.h"
#include "volume/media.h"
#include "volume/offloads.h"

/*
 * Answer to "report", so that nobody has to ask for each clip: for each card a line "card", and
 * behind it a line "clip" for each of its clips.
 *
 *   card   what offload_json() tells; copies [{tier, url, files, bytes, bad, checked_ns (of the one
 *          that was checked longest ago), confirmed_ns (of the newest)}]; checked_ns likewise, of
 * the bytes here (0: some never); mtime_ns of its oldest media file; manifests [{path, digest}];
 * errors [{path, error}] of damaged files; few_files (that have fewer copies than the policy
 * wants), least_copies, least_offsite (of any of them)
 *   clip   what card_clip_json() tells; verified, stored, damaged (of files); copies (tiers that
 * have all its files); mtime_ns; digest of the media file, null when there are several; media, its
 * first paths; cut_off [{path, bytes, whole_bytes}] of files that are shorter than the lengths in
 * them say; said and sidecars, what mediafs-probe says of media files that tell of the clip, and
 * of XML beside them (volume/media.h)
 *
 * While files are looked at: lines "progress" {done, files}. The last line: store, site, tiers
 * (their number), policy {copies, offsite, distinct_devices}, no_metadata (why nobody could look
 * into files, or null), rule_errors.
 */
#define TIERS_MAX POLICY_TIERS_MAX
#define MEDIA_MAX 16
#define LIST_MAX 200

struct report_tier {
	char *name, *url; /* owned */
	uint32_t id;      /* 0: the catalog has not heard of it */
};

struct tally {
	uint64_t files, verified, stored, damaged;
	uint64_t judged, few;      /* all but junk; that have fewer copies than the policy wants */
	struct policy_count least; /* of any file */
	int64_t mtime_ns;          /* of the oldest media file; 0 none */
	int64_t checked_ns; /* the bytes here, of the one checked longest ago; 0 one never was */
	struct {
		uint64_t files, bytes, bad;
		int64_t checked_ns, confirmed_ns;
	} tiers[TIERS_MAX];
};

struct clip_report {
	struct tally tally;
	json_t *media, *said, *sidecars, *cut_off; /* owned */
	uint64_t content;                          /* of the one media file */
};

struct report {
	struct request *request;
	struct report_tier tiers[TIERS_MAX];
	size_t tier_count;
	struct policy policy;
	bool is_distinct; /* the policy: the copies count once a disk */

	const struct card_rules *rules; /* borrowed */
	const char *no_meta;            /* static: why nothing was looked into, of some card */

	/* Of the card that is looked at. */
	const struct offload *offload;
	struct tally tally;
	struct clip_report *clips;  /* owned */
	json_t *manifests, *errors; /* owned */
};

static int find_tiers(struct report *report)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_free char *message = NULL;
	struct request *request = report->request;
	struct stat st;
	int r = settings_load(request->source->store->path, &settings, &message);

	if (r < 0)
		return request_fail(request, r, "%s", message ? message : error_text(r));
	for (size_t i = 0; i < settings_tier_count(settings) && i < TIERS_MAX; i++) {
		const struct settings_tier *tier = settings_tier(settings, i);
		struct report_tier *known = &report->tiers[report->tier_count++];

		known->name = strdup(tier->name);
		known->url = strdup(tier->url);
		if (!known->name || !known->url)
			return -ENOMEM;
		r = catalog_find_tier(request->source->catalog, tier->name, tier->url, &known->id);
		if (r < 0)
			return r;
	}
	if (fstat(request->source->store->root_fd, &st) < 0)
		return -errno;
	policy_init(&report->policy, settings, st.st_dev);
	report->is_distinct = settings_get(settings, SETTING_SAFE_DISTINCT);
	return 0;
}

static void count_copy(const struct report *report, struct tally *tally,
		       const struct copy_row *copy, uint64_t size)
{
	for (size_t i = 0; i < report->tier_count; i++) {
		__typeof__(tally->tiers[0]) *tier = &tally->tiers[i];

		if (!report->tiers[i].id || report->tiers[i].id != copy->tier)
			continue;
		if (copy->bad) {
			tier->bad++;
			continue;
		}
		if (!tier->files++ || copy->checked_ns < tier->checked_ns)
			tier->checked_ns = copy->checked_ns;
		if (copy->confirmed_ns > tier->confirmed_ns)
			tier->confirmed_ns = copy->confirmed_ns;
		tier->bytes += size;
	}
}

/* Nobody asks for copies of what computers leave on a card. */
static bool is_junk(const struct report *report, const char *path)
{
	size_t length = strlen(report->offload->path);

	return card_path_is_junk(report->rules, path + length + (length > 0));
}

/* What safe counts: whole here, or in a tier whose copy is not known to be bad. */
static void count_policy(struct report *report, const struct node_row *row,
			 const struct copy_row *copies, size_t count)
{
	struct tally *tally = &report->tally;
	bool in_tier[TIERS_MAX] = { false };
	bool in_store = file_state_is_verified(row->state) && !row->error &&
			((row->state != FILE_EVICTED && row->state != FILE_HYDRATING) ||
			 row->resident_bytes == row->size);
	struct policy_count found;

	for (size_t i = 0; i < report->tier_count; i++)
		for (size_t j = 0; report->tiers[i].id && j < count; j++)
			in_tier[i] |= copies[j].tier == report->tiers[i].id && !copies[j].bad;
	tally->few += !policy_is_met(&report->policy, in_store, in_tier, &found);
	if (!tally->judged++ || found.copies < tally->least.copies)
		tally->least.copies = found.copies;
	if (tally->judged == 1 || found.offsite < tally->least.offsite)
		tally->least.offsite = found.offsite;
}

static void count_file(struct tally *tally, const struct node_row *row, int64_t checked_ns,
		       bool media)
{
	if (!tally->files++ || checked_ns < tally->checked_ns)
		tally->checked_ns = checked_ns;
	tally->verified += !row->error && file_state_is_verified(row->state);
	tally->stored += file_state_is_stored(row->state);
	tally->damaged += row->state == FILE_DAMAGED;
	if (media && (!tally->mtime_ns || row->mtime_ns < tally->mtime_ns))
		tally->mtime_ns = row->mtime_ns;
}

/* A card's file, with its copies, for the card and for @clip (NULL: it belongs to none). */
static int count_name(struct report *report, const struct offload_name *name, struct tally *clip,
		      bool media)
{
	struct catalog *catalog = report->request->source->catalog;
	const struct node_row *row = &name->row;
	struct known_file known = { 0 };
	struct copy_row *rows = NULL;
	size_t count = 0;
	int r = catalog_get_file(catalog, name->path, &known);

	free(known.path);
	if (r >= 0 && row->content)
		r = catalog_get_copies(catalog, row->content, &rows, &count);
	count_file(&report->tally, row, known.checked_ns, media);
	if (!is_junk(report, name->path))
		count_policy(report, row, rows, count);
	if (clip)
		count_file(clip, row, known.checked_ns, media);
	for (size_t i = 0; i < count; i++) {
		count_copy(report, &report->tally, &rows[i], row->size);
		if (clip)
			count_copy(report, clip, &rows[i], row->size);
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return r < 0 ? r : 0;
}

/* Null when it has none, or none is known; NULL without memory. */
static json_t *digest_json(const struct report *report, uint64_t content)
{
	struct content_row row;
	char hex[DIGEST_HEX_SIZE];

	if (!content || catalog_get_content(report->request->source->catalog, content, &row) <= 0)
		return json_null();
	digest_hex(&row.digest, hex);
	content_row_fini(&row);
	return json_string(hex);
}

static bool ends_with(const char *path, const char *end)
{
	size_t length = strlen(path), most = strlen(end);

	return length > most && strcasecmp(path + length - most, end) == 0;
}

static int append(json_t *list, size_t most, json_t *item)
{
	if (json_array_size(list) >= most) {
		json_decref(item);
		return 0;
	}
	return json_array_append_new(list, item) < 0 ? -ENOMEM : 0;
}

static int add_media(struct clip_report *clip, const struct offload_name *name)
{
	clip->content = json_array_size(clip->media) ? 0 : name->row.content;
	return append(clip->media, MEDIA_MAX, json_path(name->path));
}

static int add_name(struct report *report, const struct offload_name *name,
		    const struct card_place *place)
{
	struct clip_report *clip = place->clip == CARD_NO_CLIP ? NULL : &report->clips[place->clip];
	int r;

	if (!S_ISREG(name->row.mode))
		return 0;
	r = count_name(report, name, clip ? &clip->tally : NULL, place->media);
	if (r == 0 && clip && place->media)
		r = add_media(clip, name);
	if (r == 0 && name->row.state == FILE_DAMAGED)
		r = append(report->errors, LIST_MAX,
			   json_pack("{s:o,s:s}", "path", json_path(name->path), "error",
				     error_text(name->row.error ? name->row.error : -EBADMSG)));
	if (r == 0 && ends_with(name->path, ".mhl"))
		r = append(report->manifests, LIST_MAX,
			   json_pack("{s:o,s:o}", "path", json_path(name->path), "digest",
				     digest_json(report, name->row.content)));
	return r;
}

static json_t *copies_json(const struct report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < report->tier_count; i++) {
		const __typeof__(report->tally.tiers[0]) *tier = &report->tally.tiers[i];

		(void)json_array_append_new(
			list,
			json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "tier",
				  json_path(report->tiers[i].name), "url",
				  json_path(report->tiers[i].url), "files", (json_int_t)tier->files,
				  "bytes", (json_int_t)tier->bytes, "bad", (json_int_t)tier->bad,
				  "checked_ns", (json_int_t)tier->checked_ns, "confirmed_ns",
				  (json_int_t)tier->confirmed_ns));
	}
	return list;
}

static int emit_card(struct report *report)
{
	json_t *card = NULL, *more;
	int r = offload_json(report->request, report->offload, false, &card);

	if (r < 0)
		return r;
	more = json_pack("{s:o,s:I,s:I,s:O,s:O,s:I,s:I,s:I}", "copies", copies_json(report),
			 "checked_ns", (json_int_t)report->tally.checked_ns, "mtime_ns",
			 (json_int_t)report->tally.mtime_ns, "manifests", report->manifests,
			 "errors", report->errors, "few_files", (json_int_t)report->tally.few,
			 "least_copies", (json_int_t)report->tally.least.copies, "least_offsite",
			 (json_int_t)report->tally.least.offsite);
	if (!more || json_object_update_new(card, more) < 0) {
		json_decref(card);
		return -ENOMEM;
	}
	return request_emit(report->request, "card", card);
}

static int emit_clip(const struct report *report, size_t i)
{
	const struct clip_report *clip = &report->clips[i];
	json_t *object = card_clip_json(&report->offload->card->clips[i]), *more;
	json_int_t copies = 0;

	for (size_t j = 0; j < report->tier_count; j++)
		copies += clip->tally.tiers[j].files == clip->tally.files;
	more = json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:O,s:O,s:O,s:O}", "verified",
			 (json_int_t)clip->tally.verified, "stored", (json_int_t)clip->tally.stored,
			 "damaged", (json_int_t)clip->tally.damaged, "copies", copies, "mtime_ns",
			 (json_int_t)clip->tally.mtime_ns, "digest",
			 digest_json(report, clip->content), "media", clip->media, "said",
			 clip->said, "sidecars", clip->sidecars, "cut_off", clip->cut_off);
	if (!object || !more || json_object_update_new(object, more) < 0) {
		json_decref(object);
		return -ENOMEM;
	}
	return request_emit(report->request, "clip", object);
}

static int tell_progress(void *arg, size_t done, size_t files)
{
	const struct report *report = arg;

	return request_emit(
		report->request, "progress",
		json_pack("{s:I,s:I}", "done", (json_int_t)done, "files", (json_int_t)files));
}

/* What the card's clips say of themselves. */
static int add_said(struct report *report)
{
	const struct request_source *source = report->request->source;
	cleanup_with(media_fini) struct media media = { 0 };
	const struct media_look look = {
		.catalog = source->catalog,
		.store = source->store,
		.tick = tell_progress,
		.arg = report,
	};
	int r = media_of(report->offload, &media);

	if (r == 0)
		r = media_look(&look, &media);
	for (size_t i = 0; r == 0 && i < media.count; i++) {
		const struct media_file *file = &media.files[i];
		struct clip_report *clip = &report->clips[file->clip];

		int64_t whole = json_int_or(file->said, "whole_bytes", 0);

		if (whole > 0)
			r = append(clip->cut_off, LIST_MAX,
				   json_pack("{s:o,s:I,s:I}", "path", json_path(file->name->path),
					     "bytes", (json_int_t)file->name->row.size,
					     "whole_bytes", (json_int_t)whole));
		if (r == 0 && file->said && file->kind != MEDIA_OTHER)
			r = append(file->kind == MEDIA_SIDECAR ? clip->sidecars : clip->said,
				   SIZE_MAX, json_incref(file->said));
	}
	if (media.error)
		report->no_meta = media.error;
	return r;
}

static void clip_report_fini(struct clip_report *clip)
{
	json_decref(clip->media);
	json_decref(clip->said);
	json_decref(clip->sidecars);
	json_decref(clip->cut_off);
}

static int report_card(struct report *report, const struct offload *offload)
{
	const struct card *card = offload->card;
	cleanup_json json_t *manifests = json_array(), *errors = json_array();
	cleanup_free struct clip_report *clips = calloc(card->clip_count + 1, sizeof(*clips));
	int r = clips && manifests && errors ? 0 : -ENOMEM;

	report->offload = offload;
	report->tally = (struct tally){ 0 };
	report->clips = clips;
	report->manifests = manifests;
	report->errors = errors;
	for (size_t i = 0; r == 0 && i < card->clip_count; i++) {
		clips[i].media = json_array();
		clips[i].said = json_array();
		clips[i].sidecars = json_array();
		clips[i].cut_off = json_array();
		r = clips[i].media && clips[i].said && clips[i].sidecars && clips[i].cut_off
			    ? 0
			    : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < offload->name_count; i++)
		r = add_name(report, &offload->names[i], &card->places[i]);
	if (r == 0)
		r = add_said(report);
	if (r == 0)
		r = emit_card(report);
	for (size_t i = 0; r == 0 && i < card->clip_count; i++)
		r = emit_clip(report, i);
	for (size_t i = 0; clips && i < card->clip_count; i++)
		clip_report_fini(&clips[i]);
	return r;
}

int request_report(struct request *request)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	cleanup_with(offloads_fini) struct offloads offloads = { 0 };
	struct report report = { .request = request };
	const struct store *store = request->source->store;
	int r = report_offloads(request, &rules, &offloads);

	report.rules = rules;
	if (r == 0)
		r = find_tiers(&report);
	for (size_t i = 0; r == 0 && i < offloads.count; i++)
		r = report_card(&report, &offloads.list[i]);
	for (size_t i = 0; i < report.tier_count; i++) {
		free(report.tiers[i].name);
		free(report.tiers[i].url);
	}
	if (r == 0)
		r = request_add(request, "store", json_path(store->path));
	if (r == 0)
		r = request_add(request, "site", json_path(store->site_name));
	if (r == 0)
		r = request_add(request, "tiers", json_integer((json_int_t)report.tier_count));
	if (r == 0)
		r = request_add(request, "no_metadata",
				report.no_meta ? json_string(report.no_meta) : json_null());
	if (r == 0)
		r = request_add(request, "policy",
				json_pack("{s:I,s:I,s:b}", "copies",
					  (json_int_t)report.policy.copies, "offsite",
					  (json_int_t)report.policy.offsite, "distinct_devices",
					  report.is_distinct));
	return r < 0 ? r : report_rule_errors(request, rules);
}
