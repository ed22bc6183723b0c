/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Looking at one file. These run in the sandbox and do nothing but read @source. Each adds to
 * @fields (probe/fields.h) what it finds and returns 0, -ENOENT (XML of an unknown kind,
 * nothing at all), -EPROTO (no media that is known, or damaged), -EOPNOTSUPP (known, but nobody
 * says in public how it is made), -ENODATA (what tells is not here), -ENOMEM.
 */
#include "probe/source.h"
#include "util/json.h"

/* By its first bytes: sound, XML, ARRIRAW, else picture. */
int look_at_file(struct source *source, json_t *fields);

/* probe/sound.c: WAV, RF64, W64, by libsndfile; bext, iXML. */
int look_at_sound(struct source *source, json_t *fields);

/* probe/arri.c: one ARRIRAW frame. */
int look_at_arri(struct source *source, json_t *fields);

/* probe/picture.c: MOV, MP4, MXF, R3D of the RED ONE and the like, by libavformat. */
int look_at_picture(struct source *source, json_t *fields);
