/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Protocol: lines of JSON, bounded, from a peer that is not trusted. Pure, but for
 * line_send().
 */
#include <stdbool.h>
#include <stddef.h>

#include "util/json.h"

#define REQUEST_MAX_BYTES (64u << 10) /* a line to the daemon */
#define REPLY_MAX_BYTES (4u << 20)    /* a line from it: metrics are the longest */

/* Takes bytes as they come, gives whole lines. */
struct line_reader {
	char *bytes; /* owned */
	size_t used, start, size, max_line;
};

/* @max_line: of a line without its end. Memory grows only as far as needed. */
void line_reader_init(struct line_reader *reader, size_t max_line);
void line_reader_fini(struct line_reader *reader);

/* Room for at least one byte at *ret_room; -EMSGSIZE when the line is too long, -ENOMEM. */
int line_reader_room(struct line_reader *reader, char **ret_room, size_t *ret_size);
void line_reader_add(struct line_reader *reader, size_t count);

/* 1 and the next line, NUL-terminated, valid until the next call; 0 none yet; -EMSGSIZE. */
int line_reader_next(struct line_reader *reader, char **ret_line, size_t *ret_length);

/*
 * A request: one JSON object with a string "request". New reference in *ret_request.
 * -EINVAL with a static text in *ret_message otherwise.
 */
int request_parse(const char *line, size_t length, json_t **ret_request, const char **ret_message);

/* "path" of a request as checked relative path, "" when absent; caller frees. -EINVAL, -ENOMEM. */
int request_path(const json_t *request, char **ret_path);

/* Member @key as a number within [@min, @max]; @fallback when absent. -EINVAL. */
int request_int(const json_t *request, const char *key, int64_t min, int64_t max, int64_t fallback,
		int64_t *ret_value);

/* True only when member @key is true. */
bool request_flag(const json_t *request, const char *key);

/* Write @object and a line end to the socket @fd. -EPIPE, -ETIMEDOUT, ...; -EMSGSIZE too long. */
int line_send(int fd, const json_t *object, size_t max_line);

/* Symbolic name of a negative errno, for programs: "ENOENT"; "E?" when it has none. */
const char *errno_name(int error);

/* Exit code (mediafs/exit.h) for a negative errno. */
int exit_code_of(int error);
