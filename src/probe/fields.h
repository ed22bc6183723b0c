/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fields: what is known of a file, as members of a JSON object. Who comes first is believed; what
 * is empty, or no text at all, is left out.
 *
 *   format             "mov", "mxf", "wav", ...
 *   timecode           of its first frame, "hh:mm:ss:ff", with drop frame "hh:mm:ss;ff"
 *   timecode_base      frames that count as a second, where fps does not say so (59.94 with 30)
 *   fps                "24000/1001"; of sound that of its timecode
 *   frames             number of pictures
 *   width, height      pixels
 *   codec              "ProRes 422 HQ", "h264"
 *   reel, scene, take, circled (true), note, project, camera, date, gamma
 *   audio_channels, audio_rate (samples a second), audio_bits, samples
 *   tracks             names of the channels
 *   whole_bytes        what the file has at least, by the lengths in it, when it is shorter
 *   again              true: another look may say more (run.c)
 */
#include <stdint.h>

#include "util/json.h"

#define FIELD_TEXT_MAX 255 /* bytes of a text; what is longer is cut */
#define FIELD_TRACKS_MAX 64

/* Blanks around it go, control characters and bytes that are no UTF-8 become blanks and '?'. */
void field_text(json_t *fields, const char *key, const char *text);

/* Only above 0. */
void field_number(json_t *fields, const char *key, int64_t value);

/* "numerator/denominator", when it can be a frame rate. */
void field_rate(json_t *fields, int64_t numerator, int64_t denominator);

/* The rate in "24000/1001", "25", "29.97" or "23.976p"; false when none is. */
_Bool field_parse_rate(const char *text, int64_t *ret_numerator, int64_t *ret_denominator);

/* One more name, cleaned as field_text() does. */
void field_track(json_t *fields, const char *name);
