/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/report.h"
#include "util/cleanup.h"
#include "util/timecode.h"

/* A further segment makes the clip longer, when both lengths are known. */
static void add_length(json_t *meta, const json_t *answer, const char *key)
{
	int64_t sum;

	if (json_int_or(meta, key, 0) > 0 && json_int_or(answer, key, 0) > 0 &&
	    !__builtin_add_overflow(json_int_or(meta, key, 0), json_int_or(answer, key, 0), &sum))
		(void)json_object_set_new(meta, key, json_integer(sum));
	else
		(void)json_object_del(meta, key);
}

static void merge_first(json_t *meta, json_t *answer)
{
	const char *key;
	json_t *value;

	json_object_foreach(answer, key, value)
	{
		if (!json_object_get(meta, key))
			(void)json_object_set(meta, key, value);
	}
}

/* What the clip's files say, the picture before its sidecar. */
static void merge(json_t *meta, const json_t *said, const json_t *sidecars)
{
	json_t *answer;
	size_t i;

	json_array_foreach(said, i, answer)
	{
		if (i == 0) {
			merge_first(meta, answer);
		} else {
			add_length(meta, answer, "frames");
			add_length(meta, answer, "samples");
		}
	}
	json_array_foreach(sidecars, i, answer)
	{
		/* What XML cannot say is no error of the clip's. */
		(void)json_object_del(answer, "error");
		(void)json_object_del(answer, "format");
		merge_first(meta, answer);
	}
}

/* Before any other reason for what is not known of it. */
static void add_cut_off(json_t *meta, const json_t *cut_off)
{
	const json_t *first = json_array_get(cut_off, 0);
	cleanup_free char *path = report_text(json_object_get(first, "path"));
	char text[512];

	if (!first)
		return;
	(void)snprintf(text, sizeof(text),
		       "shorter than its header says: %.300s has %" PRId64 " of %" PRId64 " bytes",
		       path ? path : "?", json_int_or(first, "bytes", 0),
		       json_int_or(first, "whole_bytes", 0));
	(void)json_object_set_new(meta, "error", json_string_nocheck(text));
}

/* What follows ------------------------------------------------------------------------------ */

/* "23.976" of 24000/1001. */
static char *rate_text(int64_t numerator, int64_t denominator, char *buffer, size_t size)
{
	size_t length;

	(void)snprintf(buffer, size, "%.3f", (double)numerator / (double)denominator);
	for (length = strlen(buffer); length > 0 && buffer[length - 1] == '0';)
		buffer[--length] = '\0';
	if (length > 0 && buffer[length - 1] == '.')
		buffer[length - 1] = '\0';
	return buffer;
}

/* Frames of @base that are as long as the clip; 0 unknown. */
static uint64_t length_of(const json_t *meta, unsigned base, int64_t numerator, int64_t denominator)
{
	int64_t frames = json_int_or(meta, "frames", 0), samples = json_int_or(meta, "samples", 0);
	int64_t per_second = json_int_or(meta, "audio_rate", 0);
	unsigned whole = timecode_base(numerator, denominator);

	if (frames > 0)
		return (uint64_t)((unsigned __int128)(uint64_t)frames * base / whole);
	if (samples > 0 && per_second > 0)
		return (uint64_t)((unsigned __int128)(uint64_t)samples * (uint64_t)numerator /
				  ((unsigned __int128)(uint64_t)per_second *
				   (uint64_t)denominator));
	return 0;
}

static void add_times(json_t *meta, unsigned base, uint64_t length)
{
	const char *start = json_string_or(meta, "timecode", NULL);
	struct timecode timecode = { .base = base }, end;
	char text[TIMECODE_SIZE];

	if (!length || length >= 86400ull * base)
		return;
	if (start && timecode_parse(start, base, &timecode) == 0) {
		end = timecode_add(&timecode, length);
		(void)json_object_set_new(meta, "end", json_string(timecode_format(&end, text)));
	} else if (start) {
		(void)json_object_del(meta, "timecode"); /* not at this rate */
	}
	timecode.frame = length;
	(void)json_object_set_new(meta, "duration", json_string(timecode_format(&timecode, text)));
}

static void add_seconds(json_t *meta, int64_t numerator, int64_t denominator)
{
	int64_t frames = json_int_or(meta, "frames", 0), samples = json_int_or(meta, "samples", 0);
	int64_t per_second = json_int_or(meta, "audio_rate", 0);
	double seconds = frames > 0 && numerator > 0
				 ? (double)frames * (double)denominator / (double)numerator
			 : samples > 0 && per_second > 0 ? (double)samples / (double)per_second
							 : 0;

	if (seconds > 0)
		(void)json_object_set_new(meta, "seconds", json_real(seconds));
}

static void conclude(json_t *clip)
{
	json_t *meta = json_object_get(clip, "meta");
	int64_t numerator = 0, denominator = 1, pictures = json_int_or(clip, "frames", 0);
	unsigned base = 0;
	char text[32];

	if (json_int_or(clip, "segments", 0) >
	    (int64_t)json_array_size(json_object_get(clip, "media")))
		(void)json_object_del(meta, "frames"); /* some were not looked at */
	if (pictures > 0)
		(void)json_object_set_new(meta, "frames", json_integer(pictures));
	if (sscanf(json_string_or(meta, "fps", ""), "%" SCNd64 "/%" SCNd64, &numerator,
		   &denominator) == 2)
		base = timecode_base(numerator, denominator);
	if (base) {
		int64_t other = json_int_or(meta, "timecode_base", base);
		unsigned counted = other > 0 && other < TIMECODE_BASE_MAX ? (unsigned)other : base;

		(void)json_object_set_new(
			meta, "rate",
			json_string(rate_text(numerator, denominator, text, sizeof(text))));
		add_times(meta, counted, length_of(meta, counted, numerator, denominator));
	}
	add_seconds(meta, base ? numerator : 0, denominator);
}

int report_conclude(struct report *report)
{
	const json_t *card;
	json_t *clip;
	size_t i, j;

	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			json_t *meta = json_object();

			if (json_object_set_new(clip, "meta", meta) < 0)
				return -ENOMEM;
			merge(meta, json_object_get(clip, "said"),
			      json_object_get(clip, "sidecars"));
			add_cut_off(meta, json_object_get(clip, "cut_off"));
			conclude(clip);
		}
	}
	return 0;
}
