/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict of `mediafs safe`: findings, and how they are told. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/safe.h"
#include "util/text.h"
#include "util/units.h"

#define NAMES_SHOWN 5 /* of each reason, to a person */
#define NAMES_JSON 1000

/* name: for JSON. text: after the count of files, or alone when it is about none. */
static const struct {
	const char *name, *text;
} reasons[] = {
	[SAFE_UNCHECKED] = { "unchecked", "could not be checked" },
	[SAFE_EMPTY] = { "empty", "there is nothing on it to check" },
	[SAFE_HOLDS_COPIES] = { "holds-copies", "formatting it would destroy copies" },
	[SAFE_UNREADABLE] = { "unreadable", "cannot be read on the card" },
	[SAFE_NOT_A_FILE] = { "not-a-file", "no regular file" },
	[SAFE_CARD_CHANGED] = { "card-changed", "the card changed while it was checked" },
	[SAFE_NEVER] = { "never-offloaded", "not in the volume: this card was never offloaded" },
	[SAFE_MISSING] = { "missing", "not in the volume" },
	[SAFE_DIFFERENT] = { "different", "the volume has other content under that name" },
	[SAFE_UNVERIFIED] = { "unverified", "not verified yet" },
	[SAFE_DAMAGED] = { "damaged", "DAMAGED in the store" },
	[SAFE_STORE] = { "store", "cannot be read in the store" },
	[SAFE_VOLUME_CHANGED] = { "volume-changed", "changed in the volume while it was checked" },
	[SAFE_COPY_DAMAGED] = { "copy-damaged", "a copy is DAMAGED" },
	[SAFE_COPY_MISSING] = { "copy-missing", "a copy is missing" },
	[SAFE_COPY_UNREACHABLE] = { "copy-unreachable", "a copy cannot be looked at" },
	[SAFE_COPY_UNSETTLED] = { "copy-unsettled",
				  "a copy is so new that another site may still write over it" },
	[SAFE_POLICY] = { "policy", "too few copies" },
	[SAFE_MANIFEST] = { "manifest", "not what the card's own manifest says" },
	[SAFE_CUT_OFF] = { "cut-off", "shorter than the header says: was the copy broken off?" },
	[SAFE_UNFINISHED] = { "unfinished", "mediafs offload has not brought all of the card: run "
					    "it again" },
};

void safe_fini(struct safe *safe)
{
	for (size_t i = 0; i < safe->finding_count; i++) {
		free(safe->findings[i].path);
		free(safe->findings[i].detail);
	}
	free(safe->findings);
	for (size_t i = 0; i < safe->count; i++) {
		free(safe->files[i].at);
		if (safe->paths)
			free(safe->paths[i]);
	}
	free(safe->files);
	free(safe->paths);
	free(safe->folder);
	free(safe->name);
	source_close(&safe->source);
	expected_free_slot(&safe->expected);
	card_rules_free(safe->rules);
	client_close(safe->client);
	target_fini(&safe->target);
	mutex_fini(&safe->lock);
}

void safe_add(struct safe *safe, enum safe_reason reason, const char *path, const char *detail, ...)
{
	struct safe_finding finding = { .reason = reason, .path = strdup(path) };
	struct safe_finding *grown;
	va_list ap;

	va_start(ap, detail);
	if (vasprintf(&finding.detail, detail, ap) < 0)
		finding.detail = NULL;
	va_end(ap);
	scoped_lock(&safe->lock);
	grown = safe->findings;
	if ((safe->finding_count & (safe->finding_count - 1)) == 0)
		grown = reallocarray(grown, safe->finding_count ? safe->finding_count * 2 : 1,
				     sizeof(*grown));
	safe->findings = grown ? grown : safe->findings;
	if (grown && finding.path && finding.detail) {
		grown[safe->finding_count++] = finding;
		return;
	}
	safe->is_out_of_memory = true;
	free(finding.path);
	free(finding.detail);
}

bool safe_is_safe(const struct safe *safe)
{
	if (safe->is_out_of_memory || safe->finding_count || !safe->count)
		return false;
	for (size_t i = 0; i < safe->count; i++) {
		if (safe->files[i].passed != PASSED_ALL)
			return false;
	}
	return true;
}

bool safe_was_checked(const struct safe *safe)
{
	bool found = safe->finding_count || safe_is_safe(safe);

	for (size_t i = 0; i < safe->finding_count; i++)
		found = found && safe->findings[i].reason != SAFE_UNCHECKED;
	return found && !safe->is_out_of_memory;
}

static uint64_t count_of(const struct safe *safe, enum safe_reason reason)
{
	uint64_t count = 0;

	for (size_t i = 0; i < safe->finding_count; i++)
		count += safe->findings[i].reason == reason;
	return count;
}

/* Into the log -------------------------------------------------------------------------- */

/* "A001R2EC (412 files, 58.2 GiB)". Caller frees. */
static char *title(const struct safe *safe)
{
	char size[32], *text;

	return asprintf(&text, "%s (%zu file%s, %s)", safe->name ? safe->name : "?", safe->count,
			safe->count == 1 ? "" : "s",
			format_bytes(safe->bytes, size, sizeof(size))) < 0
		       ? NULL
		       : text;
}

/* For the log: what it was, and the reasons with their counts. Caller frees. */
static char *summary(const struct safe *safe)
{
	cleanup_free char *name = title(safe);
	char *text = NULL;
	size_t size = 0;
	FILE *out = name ? text_open(&text, &size) : NULL;

	if (!out)
		return NULL;
	(void)fprintf(out, "%s", name);
	if (!safe->has_card)
		(void)fputs(", without the card", out);
	if (*safe->identity.uuid)
		(void)fprintf(out, ", UUID %s", safe->identity.uuid);
	for (unsigned reason = 0; reason < SAFE_REASONS; reason++) {
		uint64_t count = count_of(safe, reason);

		if (count)
			(void)fprintf(out, "; %s: %" PRIu64, reasons[reason].name, count);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* What cannot be written down is not said either. */
static void log_verdict(struct safe *safe)
{
	cleanup_free char *detail = summary(safe);
	cleanup_json json_t *final = NULL;
	int r;

	if (!safe->client || !client_is_live(safe->client))
		return;
	r = client_call(safe->client,
			detail ? json_pack("{s:s,s:o,s:s,s:o}", "request", "safe-said", "path",
					   json_path(safe->folder ? safe->folder : ""), "verdict",
					   safe_is_safe(safe) ? "safe" : "not safe", "detail",
					   json_path(detail))
			       : NULL,
			0, NULL, NULL, &final);
	if ((r < 0 || json_object_get(final, "error")) && safe_is_safe(safe))
		safe_add(safe, SAFE_UNCHECKED, "", "the verdict cannot be written to the log");
}

/* To a person --------------------------------------------------------------------------- */

static void print_reason(const struct safe *safe, enum safe_reason reason)
{
	uint64_t count = count_of(safe, reason), shown = 0, named = 0;

	if (!count)
		return;
	for (size_t i = 0; i < safe->finding_count; i++)
		named += safe->findings[i].reason == reason && *safe->findings[i].path;
	if (named)
		(void)printf("  %" PRIu64 " of %zu: %s\n", named, safe->count,
			     reasons[reason].text);
	else
		(void)printf("  %s\n", reasons[reason].text);
	for (size_t i = 0; i < safe->finding_count && shown < NAMES_SHOWN; i++) {
		const struct safe_finding *finding = &safe->findings[i];
		cleanup_free char *path = printable(finding->path);
		cleanup_free char *detail = printable(finding->detail);

		if (finding->reason != reason || !path || !detail || (!*path && !*detail))
			continue;
		shown++;
		(void)printf(*path && *detail ? "      %s  [%s]\n" : "      %s%s\n", path, detail);
	}
	if (count > shown && shown)
		(void)printf("      and %" PRIu64 " more\n", count - shown);
}

static void print_notes(const struct safe *safe)
{
	char size[32];

	for (size_t i = 0; i < safe->place_count; i++)
		(void)printf("  %s: %" PRIu64 " of %zu good copies%s\n", safe->places[i].name,
			     safe->places[i].files, safe->count,
			     safe->places[i].offsite ? ", off-site" : "");
	if (safe->spare)
		(void)printf("  note: %" PRIu64 " further copies are not good or out of reach, the "
			     "others suffice\n",
			     safe->spare);
	if (safe->manifests)
		(void)printf("  manifests on the card that were compared: %" PRIu64 "\n",
			     safe->manifests);
	if (safe->litter_files) {
		cleanup_free char *first = safe->litter ? printable(safe->litter) : NULL;

		(void)printf("  left out: %" PRIu64
			     " file%s that computers left there, %s (%s%s)\n",
			     safe->litter_files, safe->litter_files == 1 ? "" : "s",
			     format_bytes(safe->litter_bytes, size, sizeof(size)),
			     first ? first : "litter", safe->litter_files > 1 ? ", ..." : "");
	}
	if (safe->cached_files)
		(void)printf("  note: %" PRIu64 " files came from memory, not from the card\n",
			     safe->cached_files);
	if (safe->cut_off)
		(void)printf("  WARNING: %" PRIu64 " file%s shorter than the header says; the card "
			     "has the same bytes\n",
			     safe->cut_off, safe->cut_off == 1 ? " is" : "s are");
	if (!safe->has_card)
		(void)puts("  not checked: the card itself, and whether all of it was copied: put "
			   "it in and run\n"
			   "  mediafs safe CARD");
}

static void print_verdict(const struct safe *safe)
{
	cleanup_free char *text = title(safe);
	cleanup_free char *shown = text ? printable(text) : NULL;
	cleanup_free char *folder = safe->folder ? printable(safe->folder) : NULL;
	bool is_safe = safe_is_safe(safe);

	(void)printf("%s%s: %s%s%s\n", paint(is_safe ? PAINT_GOOD : PAINT_BAD),
		     !is_safe         ? "NOT SAFE"
		     : safe->has_card ? "SAFE TO FORMAT"
				      : "SAFE IN THE VOLUME",
		     shown ? shown : "?", is_safe || !safe->has_card ? "" : ": do not format it",
		     paint(PAINT_NONE));
	for (unsigned reason = 0; reason < SAFE_REASONS; reason++)
		print_reason(safe, reason);
	if (safe->is_out_of_memory)
		(void)puts("  out of memory: it could not be checked");
	if (folder)
		(void)printf("  in the volume: %s\n", *folder ? folder : "at its top");
	if (safe->client)
		(void)printf("  wanted: %" PRId64 " copies%s, %" PRId64 " of them off-site\n",
			     safe->want_copies, safe->want_distinct ? " on disks of their own" : "",
			     safe->want_offsite);
	print_notes(safe);
}

/* To a program -------------------------------------------------------------------------- */

static json_t *reason_json(const struct safe *safe, enum safe_reason reason)
{
	json_t *files = json_array();
	uint64_t shown = 0;

	for (size_t i = 0; i < safe->finding_count && shown < NAMES_JSON; i++) {
		const struct safe_finding *finding = &safe->findings[i];

		if (finding->reason != reason)
			continue;
		shown++;
		(void)json_array_append_new(files,
					    json_pack("{s:o,s:o}", "path", json_path(finding->path),
						      "detail", json_path(finding->detail)));
	}
	return json_pack("{s:s,s:s,s:I,s:o}", "reason", reasons[reason].name, "text",
			 reasons[reason].text, "count", (json_int_t)count_of(safe, reason), "files",
			 files);
}

static json_t *places_json(const struct safe *safe)
{
	json_t *list = json_array();

	for (size_t i = 0; i < safe->place_count; i++)
		(void)json_array_append_new(list,
					    json_pack("{s:s,s:b,s:I}", "tier", safe->places[i].name,
						      "offsite", safe->places[i].offsite, "files",
						      (json_int_t)safe->places[i].files));
	return list;
}

static json_t *verdict_json(const struct safe *safe)
{
	json_t *list = json_array(), *object;

	for (unsigned reason = 0; reason < SAFE_REASONS; reason++) {
		if (count_of(safe, reason))
			(void)json_array_append_new(list, reason_json(safe, reason));
	}
	object = json_pack(
		"{s:s,s:b,s:b,s:o,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "verdict",
		safe_is_safe(safe) ? "safe" : "not safe", "card_checked", safe->has_card, "checked",
		safe_was_checked(safe), "name", json_path(safe->name ? safe->name : ""), "label",
		"", "uuid", safe->identity.uuid, "device_bytes",
		(json_int_t)safe->identity.device_bytes, "files", (json_int_t)safe->count, "bytes",
		(json_int_t)safe->bytes, "litter_files", (json_int_t)safe->litter_files,
		"manifests", (json_int_t)safe->manifests, "cached_files",
		(json_int_t)safe->cached_files, "spare_bad_copies", (json_int_t)safe->spare,
		"cut_off_files", (json_int_t)safe->cut_off, "copies", places_json(safe), "reasons",
		list);
	if (!object)
		return NULL;
	(void)json_object_set_new(object, "label", json_path(safe->identity.label));
	(void)json_object_set_new(object, "folder",
				  safe->folder ? json_path(safe->folder) : json_null());
	(void)json_object_set_new(
		object, "policy",
		json_pack("{s:I,s:I,s:b}", "copies", (json_int_t)safe->want_copies, "offsite",
			  (json_int_t)safe->want_offsite, "distinct_devices", safe->want_distinct));
	return object;
}

int safe_say(struct safe *safe)
{
	json_t *object;
	int code;

	cli_progress_end(safe->cli);
	if (!safe_is_safe(safe) && !safe->finding_count)
		safe_add(safe, SAFE_UNCHECKED, "", "not all was checked");
	log_verdict(safe);
	code = safe_is_safe(safe)       ? MEDIAFS_EXIT_OK
	       : safe_was_checked(safe) ? MEDIAFS_EXIT_FAILED
					: MEDIAFS_EXIT_OFFLINE;
	if (safe->cli->json) {
		object = verdict_json(safe);
		if (object)
			(void)json_object_set_new(object, "code", json_integer(code));
		return cli_print_json(safe->cli, object, code);
	}
	print_verdict(safe);
	/* A reader that went away must not look like success. */
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_OFFLINE;
}
