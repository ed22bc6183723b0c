/* SPDX-License-Identifier: Apache-2.0 */
#include "util/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 256u

struct text {
	char **text; /* of who opened it */
	size_t *length, room;
	bool failed;
};

/* Fewer bytes than @length: an error of the stream. */
static ssize_t add(void *cookie, const char *bytes, size_t length)
{
	struct text *text = cookie;
	size_t needed = *text->length + length + 1, room = text->room;

	if (text->failed)
		return 0;
	while (room < needed)
		room *= 2;
	if (room > text->room) {
		char *grown = realloc(*text->text, room);

		text->failed = !grown;
		if (!grown)
			return 0;
		*text->text = grown;
		text->room = room;
	}
	memcpy(*text->text + *text->length, bytes, length);
	*text->length += length;
	(*text->text)[*text->length] = '\0';
	return (ssize_t)length;
}

static int end(void *cookie)
{
	struct text *text = cookie;
	int r = text->failed ? EOF : 0;

	free(text);
	return r;
}

FILE *text_open(char **ret_text, size_t *ret_length)
{
	const cookie_io_functions_t functions = { .write = add, .close = end };
	struct text *text = malloc(sizeof(*text));
	FILE *stream = NULL;

	*ret_length = 0;
	*ret_text = calloc(1, ROOM_FIRST);
	if (text && *ret_text) {
		*text = (struct text){ ret_text, ret_length, ROOM_FIRST, false };
		stream = fopencookie(text, "w", functions);
	}
	if (!stream) {
		free(text);
		free(*ret_text);
		*ret_text = NULL;
	}
	return stream;
}
