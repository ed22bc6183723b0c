/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sidecar: what XML beside or inside media says of it: a recorder's iXML, Sony's M01.XML
 * (NonRealTimeMeta), Panasonic's P2 clip. Everything may be missing, nothing is required.
 */
#include <stddef.h>

#include "util/json.h"

#define SIDECAR_MAX_BYTES (1u << 20)

/* A field of iXML for who makes its timecode: true for drop frame. */
#define SIDECAR_DROP "drop"

/*
 * Add to @fields what @bytes say. -EPROTO: no XML, has a DTD, or is beyond the limits; what was
 * read before stays. -ENOENT: it is XML of another kind. -ENOMEM.
 */
int sidecar_read(const void *bytes, size_t length, json_t *fields);
