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

struct run {
	pid_t pid; /* 0: nothing runs */
	int fd;    /* owned; its answer comes from there */
	int64_t deadline_ns;
	json_t *failed; /* owned; the answer when nothing could be started */
};

/*
 * Have @look look at the file @path (below @root unless that is -1), for at most @timeout_ns. 0
 * also when there is no such file: the answer says so. -ENOMEM, -EAGAIN: no process could be had.
 */
int run_start(int root, const char *path, run_look_fn look, int64_t timeout_ns,
	      struct run *ret_run);

/*
 * Wait for the fields that it gave, and "error", a text for people, where it gave none or not all.
 * Ends @run in any case. -ENOMEM.
 */
int run_finish(struct run *run, json_t **ret_fields);
