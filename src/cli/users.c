/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

#define USERS_MAX 5

static bool link_below(int dir_fd, const char *name, const char *mountpoint)
{
	size_t length = strlen(mountpoint);
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return strncmp(target, mountpoint, length) == 0 &&
	       (target[length] == '/' || target[length] == '\0');
}

static bool fd_below(int process_fd, const char *mountpoint)
{
	cleanup_close int fd = openat(process_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (!dir)
		return false;
	(void)take_fd(fd);
	while ((entry = readdir(dir))) {
		if (link_below(dirfd(dir), entry->d_name, mountpoint))
			return true;
	}
	return false;
}

static void add_user(int process_fd, const char *pid, char *text, size_t size)
{
	cleanup_close int fd = openat(process_fd, "comm", O_RDONLY | O_CLOEXEC);
	size_t used = strlen(text);
	char name[32] = "";
	ssize_t n = fd >= 0 ? read(fd, name, sizeof(name) - 1) : 0;

	if (n > 0)
		name[n - 1] = '\0'; /* the line's end */
	(void)snprintf(text + used, size - used, "%s%s (%s)", used ? ", " : "", name, pid);
}

void users_of(const char *mountpoint, char *ret_text, size_t size)
{
	cleanup_closedir DIR *dir = opendir("/proc");
	const struct dirent *entry;
	int found = 0;

	ret_text[0] = '\0';
	while (dir && found < USERS_MAX && (entry = readdir(dir))) {
		cleanup_close int fd = -1;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !(link_below(fd, "cwd", mountpoint) ||
				link_below(fd, "root", mountpoint) || fd_below(fd, mountpoint)))
			continue;
		add_user(fd, entry->d_name, ret_text, size);
		found++;
	}
}
