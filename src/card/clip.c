/* SPDX-License-Identifier: Apache-2.0 */
/* Clips: what they lack; and the card's end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "card/look.h"
#include "util/text.h"

/* Gaps that are told one by one. */
#define GAPS_MAX 8

const char *card_warning_name(enum card_warning_kind kind)
{
	static const char *const names[CARD_WARNING_COUNT] = {
		[CARD_ZERO_BYTES] = "zero-bytes",
		[CARD_MISSING_SEGMENT] = "missing-segment",
		[CARD_MISSING_FRAMES] = "missing-frames",
		[CARD_MISSING_SIDECAR] = "missing-sidecar",
		[CARD_MISSING_MEDIA] = "missing-media",
		[CARD_TWO_REELS] = "two-reels",
	};

	return names[kind];
}

const char *card_reel_source_name(enum card_reel_source source)
{
	static const char *const names[] = {
		[REEL_NONE] = NULL,
		[REEL_FROM_FOLDER] = "folder",
		[REEL_FROM_CLIPS] = "clips",
		[REEL_FROM_NAME] = "name",
	};

	return names[source];
}

int look_add_segment(struct look_clip *clip, uint64_t number)
{
	uint64_t *grown =
		reallocarray(clip->segments, clip->clip.segments + 1, sizeof(*clip->segments));

	if (!grown)
		return -ENOMEM;
	clip->segments = grown;
	grown[clip->clip.segments++] = number;
	return 0;
}

/* @first to @last are not there: the first few are kept. */
static int add_gap(struct look_clip *clip, uint64_t first, uint64_t last)
{
	struct look_gap *grown;

	if (clip->gap_count == GAPS_MAX)
		return 0;
	grown = reallocarray(clip->gaps, clip->gap_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	clip->gaps = grown;
	grown[clip->gap_count++] = (struct look_gap){ first, last };
	return 0;
}

int look_add_frame(struct look_clip *clip, uint64_t number)
{
	int r = 0;

	if (clip->clip.frames++ && number > clip->last_frame + 1) {
		clip->frames_missing += number - clip->last_frame - 1;
		r = add_gap(clip, clip->last_frame + 1, number - 1);
	}
	if (clip->clip.frames == 1 || number > clip->last_frame)
		clip->last_frame = number;
	return r;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* "4, 7 to 9". Caller frees; NULL without memory. */
static char *gaps_text(const struct look_clip *clip)
{
	char *text = NULL;
	size_t size;
	FILE *out = text_open(&text, &size);

	for (size_t i = 0; out && i < clip->gap_count; i++) {
		const struct look_gap *gap = &clip->gaps[i];

		(void)fprintf(out, "%s%" PRIu64, i ? ", " : "", gap->first);
		if (gap->last > gap->first)
			(void)fprintf(out, " to %" PRIu64, gap->last);
	}
	if (out && clip->gap_count == GAPS_MAX)
		(void)fputs(" and on", out);
	if (out && fclose(out) != 0) {
		free(text);
		text = NULL;
	}
	return text;
}

/* Segments count from 1. */
static int check_segments(struct look *look, struct look_clip *clip)
{
	cleanup_free char *text = NULL;
	uint64_t expected = 1;
	int r = 0;

	if (clip->clip.segments)
		qsort(clip->segments, clip->clip.segments, sizeof(*clip->segments),
		      compare_numbers);
	clip->gap_count = 0;
	for (size_t i = 0; r == 0 && i < clip->clip.segments; i++) {
		if (clip->segments[i] > expected)
			r = add_gap(clip, expected, clip->segments[i] - 1);
		expected = clip->segments[i] + 1;
	}
	if (r < 0 || clip->gap_count == 0)
		return r;
	text = gaps_text(clip);
	return !text ? -ENOMEM
		     : look_warn(look, CARD_MISSING_SEGMENT, "clip %s lacks segment %s",
				 clip->clip.name, text);
}

static int check_frames(struct look *look, const struct look_clip *clip)
{
	cleanup_free char *text = NULL;

	if (!clip->frames_missing)
		return 0;
	text = gaps_text(clip);
	return !text ? -ENOMEM
		     : look_warn(look, CARD_MISSING_FRAMES, "clip %s lacks %" PRIu64 " frame%s: %s",
				 clip->clip.name, clip->frames_missing,
				 clip->frames_missing == 1 ? "" : "s", text);
}

static int check_required(struct look *look, const struct look_clip *clip)
{
	unsigned bit = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < clip->clip.family->count; i++) {
		if (clip->clip.family->rules[i].role != ROLE_REQUIRED)
			continue;
		if (!(clip->required & 1u << bit % 32))
			r = look_warn(look, CARD_MISSING_SIDECAR,
				      "clip %s lacks its sidecar file (%s)", clip->clip.name,
				      clip->clip.family->title);
		bit++;
	}
	return r;
}

static int check_clip(struct look *look, struct look_clip *clip)
{
	int r;

	if (clip->clip.media == 0)
		return look_warn(
			look, CARD_MISSING_MEDIA,
			"clip %s has neither picture nor sound, only %" PRIu64 " other file%s",
			clip->clip.name, clip->clip.files, clip->clip.files == 1 ? "" : "s");
	/* Frames first: their gaps are in the clip already. */
	r = check_frames(look, clip);
	if (r == 0)
		r = check_required(look, clip);
	return r < 0 ? r : check_segments(look, clip);
}

static int compare_clips(const void *a, const void *b)
{
	const struct card_clip *left = &(*(struct look_clip *const *)a)->clip;
	const struct card_clip *right = &(*(struct look_clip *const *)b)->clip;
	int order = strcmp(left->name, right->name);

	if (order == 0)
		order = strcmp(left->in, right->in);
	return order ? order : strcmp(left->family->name, right->family->name);
}

int look_finish_clips(struct look *look)
{
	struct card *card = look->card;
	cleanup_free struct look_clip **sorted = calloc(look->clip_count + 1, sizeof(*sorted));
	size_t used = 0;
	int r = 0;

	card->clips = calloc(look->clip_count + 1, sizeof(*card->clips));
	if (!sorted || !card->clips)
		return -ENOMEM;
	for (struct look_clip *clip = look->clips; clip; clip = clip->next)
		sorted[used++] = clip;
	qsort(sorted, used, sizeof(struct look_clip *), compare_clips);
	for (size_t i = 0; r == 0 && i < used; i++) {
		r = check_clip(look, sorted[i]);
		if (card->reel_count < 2)
			free(take_ptr(sorted[i]->clip.reel));
		sorted[i]->index = (uint32_t)i;
		card->clips[card->clip_count++] = sorted[i]->clip;
		sorted[i]->clip = (struct card_clip){ 0 };
	}
	for (size_t i = 0; i < look->given_count; i++)
		card->places[i].clip = look->owners[i] ? look->owners[i]->index : CARD_NO_CLIP;
	return r;
}

static void clip_fini(struct card_clip *clip)
{
	free(clip->name);
	free(clip->in);
	free(clip->reel);
}

void look_clip_free(struct look_clip *clip)
{
	clip_fini(&clip->clip);
	free(clip->segments);
	free(clip->gaps);
	free(clip);
}

void card_free(struct card *card)
{
	if (!card)
		return;
	for (size_t i = 0; i < card->reel_count; i++)
		free(card->reels[i]);
	for (size_t i = 0; i < card->clip_count; i++)
		clip_fini(&card->clips[i]);
	for (size_t i = 0; i < card->warning_count; i++)
		free(card->warnings[i].text);
	free(card->families);
	free(card->reels);
	free(card->clips);
	free(card->places);
	free(card->warnings);
	free(card);
}
