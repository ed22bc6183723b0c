/* SPDX-License-Identifier: Apache-2.0 */
/* CSV (RFC 4180) and ALE (Avid Log Exchange): clips for programs of others. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "util/cleanup.h"
#include "util/text.h"

#define LINE_END "\r\n"

/* Avid's programs take no more audio tracks. */
#define ALE_TRACKS_MAX 24

/* The first media file, split: both lie in *ret_path, which the caller frees. */
static void first_file(const json_t *clip, char **ret_path, const char **ret_folder,
		       const char **ret_name)
{
	char *path = report_text(json_array_get(json_object_get(clip, "media"), 0));
	char *slash = path ? strrchr(path, '/') : NULL;

	*ret_folder = slash ? path : "";
	*ret_name = slash ? slash + 1 : path ? path : "";
	if (slash)
		*slash = '\0';
	*ret_path = path;
}

static const char *meta_text(const json_t *clip, const char *key)
{
	return json_string_or(json_object_get(clip, "meta"), key, "");
}

/* What the file says, else its name, else the card. Caller frees; NULL without memory. */
static char *reel_of(const json_t *card, const json_t *clip)
{
	const char *reel = meta_text(clip, "reel");
	const json_t *own = json_object_get(clip, "reel");

	if (*reel)
		return strdup(reel);
	return report_text(!own || json_is_null(own) ? json_object_get(card, "reel") : own);
}

/* CSV --------------------------------------------------------------------------------------- */

static void csv_text(FILE *out, const char *text)
{
	(void)fputc(',', out);
	report_put_csv(out, text ? text : "");
}

static void csv_path(FILE *out, const json_t *value)
{
	cleanup_free char *text = report_text(value);

	csv_text(out, text);
}

static void csv_number(FILE *out, const json_t *object, const char *key)
{
	int64_t value = json_int_or(object, key, 0);

	if (value)
		(void)fprintf(out, ",\"%" PRId64 "\"", value);
	else
		csv_text(out, "");
}

static void csv_tracks(FILE *out, const json_t *meta)
{
	const json_t *list = json_object_get(meta, "tracks"), *name;
	cleanup_free char *text = NULL;
	size_t size, i;
	FILE *joined = text_open(&text, &size);

	json_array_foreach(list, i, name)
	{
		if (joined)
			(void)fprintf(joined, "%s%s", i ? " / " : "", json_string_value(name));
	}
	if (joined && fclose(joined) != 0)
		text[0] = '\0';
	csv_text(out, text);
}

static void csv_metadata(FILE *out, const json_t *meta)
{
	static const char *const texts[] = { "timecode", "end", "duration", "rate" };
	int64_t width = json_int_or(meta, "width", 0), height = json_int_or(meta, "height", 0);
	char size[48] = "";

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		csv_text(out, json_string_or(meta, texts[i], ""));
	csv_number(out, meta, "frames");
	if (width && height)
		(void)snprintf(size, sizeof(size), "%" PRId64 "x%" PRId64, width, height);
	csv_text(out, size);
	csv_text(out, json_string_or(meta, "codec", ""));
	csv_number(out, meta, "audio_channels");
	csv_number(out, meta, "audio_rate");
	csv_number(out, meta, "audio_bits");
	csv_tracks(out, meta);
	csv_text(out, json_string_or(meta, "scene", ""));
	csv_text(out, json_string_or(meta, "take", ""));
	csv_text(out, json_is_true(json_object_get(meta, "circled")) ? "yes" : "");
	csv_text(out, json_string_or(meta, "note", ""));
	csv_text(out, json_string_or(meta, "camera", ""));
	csv_text(out, json_string_or(meta, "date", ""));
}

static void csv_clip(FILE *out, const json_t *card, const json_t *clip)
{
	const json_t *meta = json_object_get(clip, "meta");
	cleanup_free char *reel = reel_of(card, clip);
	cleanup_free char *path = NULL;
	const char *folder, *name;
	char day[32];

	first_file(clip, &path, &folder, &name);
	report_put_csv(out, name);
	csv_text(out, folder);
	csv_path(out, json_object_get(clip, "name"));
	csv_text(out, reel);
	csv_metadata(out, meta);
	csv_text(out, report_day(card, day));
	csv_path(out, json_object_get(card, "path"));
	csv_text(out, json_string_or(clip, "family", ""));
	csv_number(out, clip, "files");
	csv_number(out, clip, "bytes");
	csv_number(out, clip, "verified");
	csv_number(out, clip, "damaged");
	csv_number(out, clip, "copies");
	csv_text(out, json_string_or(clip, "digest", ""));
	csv_text(out, json_string_or(meta, "error", ""));
	(void)fputs(LINE_END, out);
}

void report_write_csv(const struct report *report, FILE *out)
{
	/* The first are called as Resolve's import calls them. */
	static const char *const columns[] = {
		"File Name",
		"Clip Directory",
		"Clip Name",
		"Reel Name",
		"Start TC",
		"End TC",
		"Duration TC",
		"Frame Rate",
		"Frames",
		"Resolution",
		"Video Codec",
		"Audio Channels",
		"Sample Rate",
		"Bit Depth",
		"Tracks",
		"Scene",
		"Take",
		"Good Take",
		"Comments",
		"Camera",
		"Date",
		"Day",
		"Card",
		"Family",
		"Files",
		"Bytes",
		"Verified Files",
		"Damaged Files",
		"Copies",
		"XXH3-128",
		"Not Known Because",
	};
	const json_t *card, *clip;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		(void)fprintf(out, "%s\"%s\"", i ? "," : "", columns[i]);
	(void)fputs(LINE_END, out);
	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			csv_clip(out, card, clip);
		}
	}
}

/* ALE --------------------------------------------------------------------------------------- */

static bool in_ale(const json_t *clip)
{
	return *meta_text(clip, "rate") && *meta_text(clip, "timecode") && *meta_text(clip, "end");
}

int report_rates(const struct report *report, const char ***ret_rates, size_t *ret_count,
		 size_t *ret_left)
{
	const char **rates = NULL;
	size_t count = 0, left = 0, i, j, k;
	const json_t *card, *clip;

	json_array_foreach(report->cards, i,
			   card){ json_array_foreach(json_object_get(card, "clips"), j, clip){
		const char *rate = meta_text(clip, "rate");
	void *grown;

	if (!in_ale(clip)) {
		left++;
		continue;
	}
	for (k = 0; k < count && strcmp(rates[k], rate) != 0; k++)
		;
	if (k < count)
		continue;
	grown = reallocarray(rates, count + 1, sizeof(*rates));
	if (!grown) {
		free(rates);
		return -ENOMEM;
	}
	rates = grown;
	rates[count++] = rate;
}
}
*ret_rates = rates;
*ret_count = count;
*ret_left = left;
return 0;
}

/* 1080 or 720 where all pictures are so, else CUSTOM. */
static const char *video_format(const struct report *report, const char *rate)
{
	static const struct {
		int64_t width, height;
		const char *name;
	} formats[] = { { 1920, 1080, "1080" }, { 1280, 720, "720" } };
	const char *format = NULL;
	const json_t *card, *clip;
	size_t i, j;

	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			const json_t *meta = json_object_get(clip, "meta");
			const char *name = "CUSTOM";

			if (!in_ale(clip) || strcmp(meta_text(clip, "rate"), rate) != 0 ||
			    !json_int_or(meta, "width", 0))
				continue;
			for (size_t k = 0; k < ARRAY_SIZE(formats); k++) {
				if (json_int_or(meta, "width", 0) == formats[k].width &&
				    json_int_or(meta, "height", 0) == formats[k].height)
					name = formats[k].name;
			}
			if (format && strcmp(format, name) != 0)
				return "CUSTOM";
			format = name;
		}
	}
	return format ? format : "CUSTOM";
}

static void ale_tracks(FILE *out, const json_t *meta)
{
	int64_t channels = json_int_or(meta, "audio_channels", 0);

	if (json_int_or(meta, "width", 0))
		(void)fputc('V', out);
	for (int64_t i = 1; i <= channels && i <= ALE_TRACKS_MAX; i++)
		(void)fprintf(out, "A%" PRId64, i);
}

static void ale_text(FILE *out, const char *text)
{
	(void)fputc('\t', out);
	report_put_ale(out, text ? text : "");
}

static void ale_clip(FILE *out, const json_t *card, const json_t *clip)
{
	const json_t *meta = json_object_get(clip, "meta");
	cleanup_free char *clip_name = report_text(json_object_get(clip, "name"));
	cleanup_free char *reel = reel_of(card, clip);
	cleanup_free char *path = NULL;
	const char *folder, *name;
	bool sound = !json_int_or(meta, "width", 0);
	char day[32];

	first_file(clip, &path, &folder, &name);
	report_put_ale(out, clip_name ? clip_name : "");
	(void)fputc('\t', out);
	ale_tracks(out, meta);
	ale_text(out, meta_text(clip, "timecode"));
	ale_text(out, meta_text(clip, "end"));
	ale_text(out, reel);
	ale_text(out, name);
	ale_text(out, meta_text(clip, "duration"));
	ale_text(out, meta_text(clip, "scene"));
	ale_text(out, meta_text(clip, "take"));
	ale_text(out, sound ? "" : reel);
	ale_text(out, sound ? reel : "");
	ale_text(out, report_day(card, day));
	ale_text(out, meta_text(clip, "camera"));
	ale_text(out, meta_text(clip, "note"));
	ale_text(out, json_string_or(clip, "digest", ""));
	(void)fputs(LINE_END, out);
}

void report_write_ale(const struct report *report, const char *rate, FILE *out)
{
	const json_t *card, *clip;
	size_t i, j;

	(void)fprintf(out,
		      "Heading" LINE_END "FIELD_DELIM\tTABS" LINE_END "VIDEO_FORMAT\t%s" LINE_END
		      "AUDIO_FORMAT\t48kHz" LINE_END "FPS\t%s" LINE_END LINE_END,
		      video_format(report, rate), rate);
	(void)fputs("Column" LINE_END
		    "Name\tTracks\tStart\tEnd\tTape\tSource File\tDuration\tScene\tTake\tCamroll\t"
		    "Soundroll\tShoot Date\tCamera\tComments\tXXH3-128" LINE_END LINE_END
		    "Data" LINE_END,
		    out);
	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			if (in_ale(clip) && strcmp(meta_text(clip, "rate"), rate) == 0)
				ale_clip(out, card, clip);
		}
	}
}
