/* SPDX-License-Identifier: Apache-2.0 */
#include "util/disk.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "util/cleanup.h"

/* Volumes on encryption on an array, and one more. */
#define STACK_MAX 4

/* The folder in /sys of what @folder lies on. False: nothing, it is a disk. */
static bool go_below(char folder[PATH_MAX])
{
	char path[PATH_MAX + 16];
	cleanup_closedir DIR *stream = NULL;
	const struct dirent *entry;

	(void)snprintf(path, sizeof(path), "%s/slaves", folder);
	stream = opendir(path);
	while (stream && (entry = readdir(stream)) != NULL) {
		char below[PATH_MAX + 16 + NAME_MAX + 2];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		return realpath(below, folder) != NULL;
	}
	return false;
}

/* The folder in /sys of the disk that @device is on. False: none is known. */
static bool find_disk(dev_t device, char ret_folder[PATH_MAX])
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
	if (!realpath(path, ret_folder))
		return false;
	for (unsigned depth = 0; depth < STACK_MAX; depth++) {
		char partition[PATH_MAX + 16];

		(void)snprintf(partition, sizeof(partition), "%s/partition", ret_folder);
		if (access(partition, F_OK) == 0)
			*strrchr(ret_folder, '/') = '\0';
		if (!go_below(ret_folder))
			break;
	}
	return true;
}

bool disk_same(dev_t first, dev_t second)
{
	char one[PATH_MAX], other[PATH_MAX];

	if (first == second)
		return true;
	return find_disk(first, one) && find_disk(second, other) && strcmp(one, other) == 0;
}
