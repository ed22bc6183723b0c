/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The virtual attributes user.mediafs.*: what the catalog knows of a file, for file managers.
 * Inside volume/ only.
 */
#include "volume/internal.h"

#define VIRTUAL_PREFIX "user.mediafs."

/* As getxattr(2): the bytes, or the size for @size 0. -ENODATA, -ERANGE. Never waits for the
 * catalog's writer unless the file is not in the catalog yet. */
ssize_t virtual_get(struct volume *volume, uint64_t id, const char *name, void *value, size_t size);

/* user.mediafs.pin: "1" or "0" (NULL unpins); everything else is -EPERM. */
int virtual_set(struct volume *volume, uint64_t id, const char *name, const void *value,
		size_t size);
