/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/look.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "probe/extent.h"
#include "probe/fields.h"
#include "probe/sidecar.h"

#define HEAD_BYTES 16

static int look_at_xml(struct source *source, json_t *fields)
{
	cleanup_free char *bytes = NULL;
	size_t used = 0;
	int r;

	if (source->size > SIDECAR_MAX_BYTES)
		return -ENOENT;
	bytes = malloc((size_t)source->size + 1);
	if (!bytes)
		return -ENOMEM;
	while (used < source->size) {
		ssize_t n = source_read(source, bytes + used, (size_t)source->size - used);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	r = sidecar_read(bytes, used, fields);
	if (json_object_size(fields) > 0)
		(void)json_object_set_new(fields, "format", json_string("xml"));
	return r;
}

static bool begins(const char *head, size_t length, const char *with)
{
	return length >= strlen(with) && memcmp(head, with, strlen(with)) == 0;
}

static int look(struct source *source, json_t *fields)
{
	char head[HEAD_BYTES];
	ssize_t n = source_read(source, head, sizeof(head));
	size_t length;

	if (n < 0)
		return (int)n;
	length = (size_t)n;
	(void)source_seek(source, 0, SEEK_SET);
	if (length == 0)
		return -ENOENT;
	if (begins(head, length, "\xef\xbb\xbf<") || begins(head, length, "\xff\xfe<") ||
	    begins(head, length, "\xfe\xff") || begins(head, length, "<"))
		return look_at_xml(source, fields);
	/* AVI is RIFF, too. */
	if (((begins(head, length, "RIFF") || begins(head, length, "RF64") ||
	      begins(head, length, "BW64")) &&
	     length >= 12 && memcmp(head + 8, "WAVE", 4) == 0) ||
	    begins(head, length, "riff"))
		return look_at_sound(source, fields);
	if (begins(head, length, "ARRI\x12\x34\x56\x78"))
		return look_at_arri(source, fields);
	/* Later cameras' R3D: an atom's size, then its name. */
	if (length >= 8 && memcmp(head + 4, "RED2", 4) == 0)
		return -EOPNOTSUPP;
	return look_at_picture(source, fields);
}

int look_at_file(struct source *source, json_t *fields)
{
	uint64_t extent = extent_of(source);
	int r = look(source, fields);

	if (extent)
		field_number(fields, "whole_bytes", (int64_t)extent);

	(void)json_object_del(fields, SIDECAR_DROP); /* the timecode says it now */
	return r;
}
