/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Lines of /proc/PID/mountinfo. Source: proc_pid_mountinfo(5). */
#include <stdbool.h>

struct mountinfo {
	/* All borrowed from the line. */
	const char *device; /* "98:0" */
	char *point, *type, *source;
};

/*
 * "36 35 98:0 /root /mount/point options tags... - type source super-options", taken apart in
 * place. False when it is no such line.
 */
bool mountinfo_parse(char *line, struct mountinfo *ret_mount);
