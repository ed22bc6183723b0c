/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/target.h"
#include "util/cleanup.h"

#define FS_TYPE "fuse.mediafs"

/* mountinfo writes blank, tab, newline and backslash as \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

/*
 * ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS
 * Source: proc(5), /proc/pid/mountinfo.
 */
int mountinfo_line(const char *line, struct mount_entry *ret_entry)
{
	cleanup_free char *copy = strdup(line);
	char *rest, *word, *mountpoint = NULL, *type, *source;
	struct mount_entry entry;

	if (!copy)
		return -ENOMEM;
	rest = copy;
	for (int field = 0; (word = strsep(&rest, " \n")); field++) {
		if (field == 4)
			mountpoint = word;
		if (field > 5 && strcmp(word, "-") == 0)
			break;
	}
	type = strsep(&rest, " \n");
	source = strsep(&rest, " \n");
	if (!mountpoint || !type || !source || strcmp(type, FS_TYPE) != 0)
		return 0;
	unescape(mountpoint);
	unescape(source);
	entry = (struct mount_entry){ strdup(mountpoint), strdup(source) };
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
