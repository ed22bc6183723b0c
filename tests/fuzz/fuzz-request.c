/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

#include "control/protocol.h"
#include "util/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Short enough that lines that are too long come often. */
#define LINE_MAX_BYTES 200u

static void take_line(const char *line, size_t length)
{
	cleanup_json json_t *request = NULL;
	cleanup_free char *path = NULL;
	const char *message;
	int64_t value;

	if (request_parse(line, length, &request, &message) < 0)
		return;
	(void)request_path(request, &path);
	(void)request_int(request, "limit", 0, 1000, 10, &value);
	(void)request_flag(request, "json");
}

/* A connection to the daemon: the first byte says in which pieces the others come. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	size_t step = length ? bytes[0] % 61 + 1 : 1, size, line_length;
	struct line_reader reader;
	char *room, *line;
	int r = 0;

	line_reader_init(&reader, LINE_MAX_BYTES);
	for (size_t at = 1; r == 0 && at < length;) {
		size_t piece = length - at < step ? length - at : step;

		r = line_reader_room(&reader, &room, &size);
		if (r < 0)
			break;
		piece = piece < size ? piece : size;
		memcpy(room, bytes + at, piece);
		line_reader_add(&reader, piece);
		at += piece;
		while ((r = line_reader_next(&reader, &line, &line_length)) == 1)
			take_line(line, line_length);
	}
	line_reader_fini(&reader);
	return 0;
}
