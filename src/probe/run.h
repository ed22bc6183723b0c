/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Run: one file, looked at by a process of its own in the sandbox. Whatever the file does to that
 * process, it costs the file's metadata and nothing else.
 */
#include "probe/source.h"
#include "util/json.h"

#define RUN_ANSWER_MAX (64u << 10) /* bytes */

/* What is done in the sandbox: probe/look.h. */
typedef int (*run_look_fn)(struct source *source, json_t *fields);

/*
 * The fields that @look gave for the file @path (below @root unless that is -1), and "error", a
 * text for people, where it gave none or not all. Takes at most @timeout_ns. -ENOMEM, -EAGAIN: no
 * process could be had.
 */
int run_probe(int root, const char *path, run_look_fn look, int64_t timeout_ns,
	      json_t **ret_fields);
