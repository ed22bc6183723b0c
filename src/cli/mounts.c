/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/target.h"
#include "fs/mountpoint.h"
#include "util/cleanup.h"
#include "util/mountinfo.h"

int mountinfo_line(const char *line, struct mount_entry *ret_entry)
{
	cleanup_free char *copy = strdup(line);
	struct mount_entry entry;
	struct mountinfo mount;

	if (!copy)
		return -ENOMEM;
	if (!mountinfo_parse(copy, &mount) || !mountpoint_is_ours(mount.type, mount.source))
		return 0;
	entry = (struct mount_entry){ strdup(mount.point), strdup(mount.source) };
	if (!entry.mountpoint || !entry.store) {
		free(entry.mountpoint);
		free(entry.store);
		return -ENOMEM;
	}
	*ret_entry = entry;
	return 1;
}

int mounts_read(struct mounts *ret_mounts)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct mounts mounts = { 0 };
	size_t size = 0;
	int r = 0;

	if (!file)
		return -errno;
	while (r >= 0 && getline(&line, &size, file) > 0) {
		struct mount_entry entry;
		void *grown;

		r = mountinfo_line(line, &entry);
		if (r <= 0)
			continue;
		grown = reallocarray(mounts.list, mounts.count + 1, sizeof(*mounts.list));
		if (!grown) {
			free(entry.mountpoint);
			free(entry.store);
			r = -ENOMEM;
			break;
		}
		mounts.list = grown;
		mounts.list[mounts.count++] = entry;
	}
	if (r < 0) {
		mounts_fini(&mounts);
		return r;
	}
	*ret_mounts = mounts;
	return 0;
}

void mounts_fini(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->list[i].mountpoint);
		free(mounts->list[i].store);
	}
	free(mounts->list);
	*mounts = (struct mounts){ 0 };
}
