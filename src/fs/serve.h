/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One mount, from opening the volume to closing it. */
#include <stdbool.h>

#include "fs/options.h"

struct serving {
	const struct fs_options *options;
	const char *mountpoint; /* absolute, checked */
	bool read_only;
	void (*ready)(void *arg); /* the mount answers; NULL: stay in the foreground */
	void *ready_arg;
	bool store_failed; /* out: the store could not be opened, and nothing was logged */
};

/* Returns when the mount has ended and everything is closed. Negative errno, logged. */
int serve(struct serving *serving);
