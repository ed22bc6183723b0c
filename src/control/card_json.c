/* SPDX-License-Identifier: Apache-2.0 */
#include "control/card_json.h"

/* Takes @item. False without memory. */
static bool append(json_t *list, json_t *item)
{
	return json_array_append_new(list, item) == 0;
}

json_t *card_clip_json(const struct card_clip *clip)
{
	return json_pack("{s:o,s:o,s:o,s:s,s:I,s:I,s:I,s:I}", "name", json_path(clip->name), "in",
			 json_path(clip->in), "reel",
			 clip->reel ? json_path(clip->reel) : json_null(), "family",
			 clip->family->name, "files", (json_int_t)clip->files, "bytes",
			 (json_int_t)clip->bytes, "segments", (json_int_t)clip->segments, "frames",
			 (json_int_t)clip->frames);
}

static json_t *warnings_json(const struct card *card)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < card->warning_count; i++) {
		const struct card_warning *warning = &card->warnings[i];

		if (!append(list, json_pack("{s:s,s:o}", "kind", card_warning_name(warning->kind),
					    "text", json_path(warning->text)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *reels_json(const struct card *card)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < card->reel_count; i++) {
		if (!append(list, json_path(card->reels[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *families_json(const struct card *card)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < card->family_count; i++) {
		if (!append(list, json_pack("{s:s,s:o}", "name", card->families[i]->name, "title",
					    json_path(card->families[i]->title)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *clips_json(const struct card *card)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < card->clip_count; i++) {
		if (!append(list, card_clip_json(&card->clips[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *card_json(const struct card *card, bool with_clips)
{
	const char *source = card_reel_source_name(card->reel_source);
	json_t *object = json_pack(
		"{s:s,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:o,s:I}", "family",
		card->families[0]->name, "families", families_json(card), "reel",
		card->reel_count ? json_path(card->reels[0]) : json_null(), "reels",
		reels_json(card), "reel_from", source ? json_string(source) : json_null(), "camera",
		*card->camera ? json_string(card->camera) : json_null(), "files",
		(json_int_t)card->files, "bytes", (json_int_t)card->bytes, "clip_count",
		(json_int_t)card->clip_count, "other_files", (json_int_t)card->other_files,
		"junk_files", (json_int_t)card->junk_files, "warnings", warnings_json(card),
		"warnings_more", (json_int_t)card->warnings_more);

	if (object && with_clips && json_object_set_new(object, "clips", clips_json(card)) < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}
