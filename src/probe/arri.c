/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ARRIRAW frame. Its header is 4096 bytes, little-endian; of it we need
 *
 *   offset  bytes
 *        0      4  "ARRI"
 *        4      4  12 34 56 78 (of another order the other way round: not seen, not taken)
 *        8      4  where the picture begins
 *       20      4  width
 *       24      4  height
 *      668     30  camera's model, ended by a NUL
 *
 * Source: what free readers of it agree on (RawSpeed's and dnglab's decoders, MediaInfo). Where the
 * timecode is only SMPTE RDD 30 says.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe/fields.h"
#include "probe/look.h"

#define HEADER_BYTES 4096
#define SIDE_MAX 65535u /* pixels */

static uint32_t number_at(const char *header, size_t offset)
{
	uint32_t value;

	memcpy(&value, header + offset, sizeof(value));
	return le32toh(value);
}

int look_at_arri(struct source *source, json_t *fields)
{
	char header[HEADER_BYTES], camera[64];
	size_t used = 0;
	uint32_t width, height;

	while (used < sizeof(header)) {
		ssize_t n = source_read(source, header + used, sizeof(header) - used);

		if (n <= 0)
			return n < 0 ? (int)n : -EPROTO;
		used += (size_t)n;
	}
	width = number_at(header, 20);
	height = number_at(header, 24);
	if (!width || width > SIDE_MAX || !height || height > SIDE_MAX ||
	    number_at(header, 8) >= source->size)
		return -EPROTO;
	(void)snprintf(camera, sizeof(camera), "ARRI %.30s", header + 668);
	field_text(fields, "format", "ari");
	field_text(fields, "codec", "ARRIRAW");
	field_text(fields, "camera", camera);
	field_number(fields, "width", width);
	field_number(fields, "height", height);
	return 0;
}
