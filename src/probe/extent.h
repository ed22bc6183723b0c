/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Extent: how long a file would be by what stands in it. A copy that was broken off is shorter, and
 * nothing else about it need be odd.
 */
#include "probe/source.h"

/*
 * The bytes that the file has at least, by the lengths in its container (MOV, MP4, R3D, MXF, RIFF,
 * RF64, W64, DPX); 0 when it says nothing, or not in time. The position of @source is its start,
 * before and after.
 */
uint64_t extent_of(struct source *source);
