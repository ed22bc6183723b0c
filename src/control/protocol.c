/* SPDX-License-Identifier: Apache-2.0 */
#include "control/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mediafs/exit.h"
#include "util/io.h"

#define READ_STEP 4096u

void line_reader_init(struct line_reader *reader, size_t max_line)
{
	*reader = (struct line_reader){ .max_line = max_line };
}

void line_reader_fini(struct line_reader *reader)
{
	free(reader->bytes);
	*reader = (struct line_reader){ 0 };
}

int line_reader_room(struct line_reader *reader, char **ret_room, size_t *ret_size)
{
	size_t limit = reader->max_line + 1; /* with its end */
	size_t wanted;
	char *grown;

	if (reader->start > 0) {
		memmove(reader->bytes, reader->bytes + reader->start, reader->used - reader->start);
		reader->used -= reader->start;
		reader->start = 0;
	}
	if (reader->used >= limit)
		return -EMSGSIZE;
	if (reader->used == reader->size) {
		wanted = reader->size ? reader->size * 2 : READ_STEP;
		if (wanted > limit)
			wanted = limit;
		grown = realloc(reader->bytes, wanted);
		if (!grown)
			return -ENOMEM;
		reader->bytes = grown;
		reader->size = wanted;
	}
	*ret_room = reader->bytes + reader->used;
	*ret_size = reader->size - reader->used;
	return 0;
}

void line_reader_add(struct line_reader *reader, size_t count)
{
	reader->used += count;
}

int line_reader_next(struct line_reader *reader, char **ret_line, size_t *ret_length)
{
	size_t length = reader->used - reader->start;
	char *line, *end;

	if (length == 0)
		return 0;
	line = reader->bytes + reader->start;
	end = memchr(line, '\n', length);
	if (!end)
		return length > reader->max_line ? -EMSGSIZE : 0;
	*end = '\0';
	*ret_line = line;
	*ret_length = (size_t)(end - line);
	reader->start += *ret_length + 1;
	return 1;
}

int request_parse(const char *line, size_t length, json_t **ret_request, const char **ret_message)
{
	cleanup_json json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(request)) {
		*ret_message = "a request is one JSON object a line";
		return -EINVAL;
	}
	if (!json_is_string(json_object_get(request, "request"))) {
		*ret_message = "the object lacks \"request\"";
		return -EINVAL;
	}
	*ret_request = take_ptr(request);
	return 0;
}

int request_path(const json_t *request, char **ret_path)
{
	const json_t *member = json_object_get(request, "path");
	cleanup_free char *path = NULL;

	if (!member) {
		*ret_path = strdup("");
		return *ret_path ? 0 : -ENOMEM;
	}
	path = json_path_value(member);
	if (!path)
		return -errno;
	if (*path && !path_ok(path))
		return -EINVAL;
	*ret_path = take_ptr(path);
	return 0;
}

int request_int(const json_t *request, const char *key, int64_t min, int64_t max, int64_t fallback,
		int64_t *ret_value)
{
	const json_t *member = json_object_get(request, key);
	int64_t value = fallback;

	if (member) {
		if (!json_is_integer(member))
			return -EINVAL;
		value = json_integer_value(member);
		if (value < min || value > max)
			return -EINVAL;
	}
	*ret_value = value;
	return 0;
}

bool request_flag(const json_t *request, const char *key)
{
	return json_is_true(json_object_get(request, key));
}

int line_send(int fd, const json_t *object, size_t max_line)
{
	cleanup_free char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
	size_t length, sent = 0;
	ssize_t n;

	if (!text)
		return -ENOMEM;
	length = strlen(text);
	if (length > max_line)
		return -EMSGSIZE;
	text[length++] = '\n'; /* in place of the NUL */
	while (sent < length) {
		n = send(fd, text + sent, length - sent, MSG_NOSIGNAL);
		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return -ETIMEDOUT; /* SO_SNDTIMEO ran out: nobody reads */
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

const char *errno_name(int error)
{
	const char *name = strerrorname_np(error < 0 ? -error : error);

	return name ? name : "E?";
}

static const struct {
	int error, code;
} exit_codes[] = {
	{ EHOSTDOWN, MEDIAFS_EXIT_OFFLINE }, { EREMOTEIO, MEDIAFS_EXIT_OFFLINE },
	{ ENOTCONN, MEDIAFS_EXIT_OFFLINE },  { ETIMEDOUT, MEDIAFS_EXIT_OFFLINE },
	{ EBADMSG, MEDIAFS_EXIT_DAMAGED },   { EUCLEAN, MEDIAFS_EXIT_DAMAGED },
	{ EBUSY, MEDIAFS_EXIT_BUSY },        { ENOENT, MEDIAFS_EXIT_NO_ENTRY },
	{ ENOTDIR, MEDIAFS_EXIT_NO_ENTRY },  { EACCES, MEDIAFS_EXIT_DENIED },
	{ EPERM, MEDIAFS_EXIT_DENIED },      { EROFS, MEDIAFS_EXIT_DENIED },
	{ EINVAL, MEDIAFS_EXIT_CONFIG },     { EPROTONOSUPPORT, MEDIAFS_EXIT_VERSION },
};

int exit_code_of(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(exit_codes); i++) {
		if (exit_codes[i].error == -error)
			return exit_codes[i].code;
	}
	return MEDIAFS_EXIT_FAILED;
}
