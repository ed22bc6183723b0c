/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "card/card.h"
#include "util/json.h"

/*
 * What @card is, for people who asked for JSON: family and families [{name, title}], reel (null
 * unknown), reels, reel_from ("folder", "clips", "name", null), camera (null unknown), files,
 * bytes, clips [{name, in, family, files, bytes, segments, frames}] (clip_count alone
 * unless @with_clips), other_files, junk_files, warnings [{kind, text}], warnings_more. New
 * reference; NULL without memory.
 */
json_t *card_json(const struct card *card, bool with_clips);

/* What a card is made of, as clips above. */
json_t *card_clip_json(const struct card_clip *clip);
