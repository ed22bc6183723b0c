/* SPDX-License-Identifier: Apache-2.0 */
/* What a report concludes from what the catalog knows. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "util/cleanup.h"
#include "util/text.h"
#include "util/units.h"

/* Between two reels of one camera, at most so many are named as missing. */
#define GAP_MAX 50

const char *report_day(const json_t *card, char buffer[32])
{
	int64_t mtime_ns = json_int_or(card, "mtime_ns", 0);

	if (!mtime_ns)
		return "";
	(void)format_time(mtime_ns, buffer, 32);
	buffer[strcspn(buffer, " ")] = '\0';
	return buffer;
}

static void say(struct reasons *reasons, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct reasons *reasons, const char *format, ...)
{
	char *text;
	va_list ap;
	int r;

	if (reasons->count == sizeof(reasons->list) / sizeof(reasons->list[0]))
		return;
	va_start(ap, format);
	r = vasprintf(&text, format, ap);
	va_end(ap);
	if (r >= 0)
		reasons->list[reasons->count++] = text;
}

void reasons_fini(struct reasons *reasons)
{
	for (size_t i = 0; i < reasons->count; i++)
		free(reasons->list[i]);
	reasons->count = 0;
}

static void say_copies(const json_t *card, struct reasons *reasons)
{
	const json_t *list = json_object_get(card, "copies"), *copy;
	int64_t total = json_int_or(card, "total_files", 0);
	size_t i;

	json_array_foreach(list, i, copy)
	{
		cleanup_free char *tier = report_text(json_object_get(copy, "tier"));
		int64_t files = json_int_or(copy, "files", 0), bad = json_int_or(copy, "bad", 0);

		if (files < total)
			say(reasons, "tier %s has %" PRId64 " of %" PRId64 " files", tier, files,
			    total);
		if (bad)
			say(reasons, "tier %s: %" PRId64 " copies were found damaged or missing",
			    tier, bad);
	}
}

static void say_policy(const struct report *report, const json_t *card, struct reasons *reasons)
{
	int64_t few = json_int_or(card, "few_files", 0);

	if (few)
		say(reasons,
		    "%" PRId64 " file%s fewer copies than mediafs.conf wants (%" PRId64
		    "%s, %" PRId64 " of them off-site): %" PRId64 " and %" PRId64
		    " off-site at least",
		    few, few == 1 ? " has" : "s have", json_int_or(report->policy, "copies", 0),
		    json_is_true(json_object_get(report->policy, "distinct_devices"))
			    ? " on disks of their own"
			    : "",
		    json_int_or(report->policy, "offsite", 0), json_int_or(card, "least_copies", 0),
		    json_int_or(card, "least_offsite", 0));
}

const char *const report_verdicts[REPORT_VERDICTS] = {
	[REPORT_INCOMPLETE] = "NOT COMPLETE",
	[REPORT_FEW] = "TOO FEW COPIES",
	[REPORT_UNCHECKED] = "CARD NOT CHECKED",
};

enum report_verdict report_reasons(const struct report *report, const json_t *card,
				   struct reasons *ret_reasons)
{
	struct reasons *reasons = ret_reasons;
	int64_t total = json_int_or(card, "total_files", 0);
	int64_t damaged = json_int_or(card, "damaged", 0);
	int64_t open = total - damaged - json_int_or(card, "verified", 0);
	int64_t warnings = (int64_t)json_array_size(json_object_get(card, "warnings")) +
			   json_int_or(card, "warnings_more", 0);
	int64_t cut_off = json_int_or(card, "cut_off_files", 0);
	bool unfinished = strcmp(json_string_or(card, "state", ""), "arriving") == 0 && open <= 0;

	*reasons = (struct reasons){ 0 };
	if (damaged)
		say(reasons, "%" PRId64 " of %" PRId64 " files are damaged", damaged, total);
	if (open > 0)
		say(reasons, "%" PRId64 " of %" PRId64 " files are not verified by read-back yet",
		    open, total);
	if (unfinished)
		say(reasons, "mediafs offload has not come to its end there");
	if (!report->tiers)
		say(reasons, "no tier is set up: there is no second copy");
	say_copies(card, reasons);
	say_policy(report, card, reasons);
	if (cut_off)
		say(reasons,
		    "%" PRId64 " file%s shorter than the header says, as if the copy, or the "
		    "recording, was broken off",
		    cut_off, cut_off == 1 ? " is" : "s are");
	if (warnings)
		say(reasons, "%" PRId64 " thing%s missing or odd on the card (below)", warnings,
		    warnings == 1 ? " is" : "s are");
	if (damaged || open > 0 || unfinished || total == 0)
		return REPORT_INCOMPLETE;
	return json_int_or(card, "few_files", 0) ? REPORT_FEW : REPORT_UNCHECKED;
}

/* Reels ------------------------------------------------------------------------------------- */

/* "A003" of A003R2EC, "A_0003" of A_0003_1DVA: a camera and a number. */
struct reel {
	char camera[16];
	unsigned number;
	int digits;
};

static bool parse_reel(const char *text, struct reel *ret_reel)
{
	size_t letters = 0, digits;
	struct reel reel = { 0 };

	while (isalpha((unsigned char)text[letters]) || text[letters] == '_')
		letters++;
	digits = strspn(text + letters, "0123456789");
	if (letters == 0 || letters >= sizeof(reel.camera) || digits == 0 || digits > 6)
		return false;
	memcpy(reel.camera, text, letters);
	for (size_t i = 0; i < letters; i++)
		reel.camera[i] = (char)toupper((unsigned char)reel.camera[i]);
	reel.number = (unsigned)strtoul(text + letters, NULL, 10);
	reel.digits = (int)digits;
	*ret_reel = reel;
	return true;
}

static int compare_reels(const void *a, const void *b)
{
	const struct reel *left = a, *right = b;
	int order = strcmp(left->camera, right->camera);

	if (order == 0)
		order = left->digits - right->digits;
	return order ? order : (left->number > right->number) - (left->number < right->number);
}

/* All that have a number; the caller frees *ret_reels. */
static int find_reels(const json_t *cards, struct reel **ret_reels, size_t *ret_count)
{
	struct reel *reels = NULL;
	size_t count = 0, i, j;
	const json_t *card, *name;

	json_array_foreach(cards, i, card)
	{
		json_array_foreach(json_object_get(card, "reels"), j, name)
		{
			cleanup_free char *text = report_text(name);
			struct reel *grown = reallocarray(reels, count + 1, sizeof(*reels));

			if (!text || !grown) {
				free(grown ? grown : reels);
				return -ENOMEM;
			}
			reels = grown;
			count += parse_reel(text, &reels[count]);
		}
	}
	if (count > 1)
		qsort(reels, count, sizeof(*reels), compare_reels);
	*ret_reels = reels;
	*ret_count = count;
	return 0;
}

char *report_missing_reels(const json_t *cards)
{
	cleanup_free struct reel *reels = NULL;
	char *text = NULL;
	size_t count = 0, size;
	const char *comma = "";
	FILE *out;

	if (find_reels(cards, &reels, &count) < 0)
		return NULL;
	out = text_open(&text, &size);
	for (size_t i = 1; out && i < count; i++) {
		const struct reel *before = &reels[i - 1], *reel = &reels[i];
		unsigned missing = reel->number - before->number - 1;

		if (strcmp(before->camera, reel->camera) != 0 || before->digits != reel->digits ||
		    reel->number <= before->number + 1 || missing > GAP_MAX)
			continue;
		(void)fprintf(out, "%s%s%0*u", comma, reel->camera, reel->digits,
			      before->number + 1);
		if (missing > 1)
			(void)fprintf(out, " to %s%0*u", reel->camera, reel->digits,
				      reel->number - 1);
		comma = ", ";
	}
	if (!out || fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
