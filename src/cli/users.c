/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/target.h"
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

static bool holds_mountpoint(int process_fd, const char *mountpoint)
{
	return link_below(process_fd, "cwd", mountpoint) ||
	       link_below(process_fd, "root", mountpoint) || fd_below(process_fd, mountpoint);
}

static ino_t mount_namespace(int fd, const char *path)
{
	struct stat st;

	return fstatat(fd, path, &st, 0) < 0 ? 0 : st.st_ino;
}

static bool mounts_store(int process_fd, const char *store)
{
	cleanup_close int fd = openat(process_fd, "mountinfo", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	cleanup_free char *line = NULL;
	bool found = false;
	size_t size = 0;

	if (!file)
		return false;
	(void)take_fd(fd);
	while (!found && getline(&line, &size, file) > 0) {
		struct mount_entry entry;

		if (mountinfo_line(line, &entry) <= 0)
			continue;
		found = strcmp(entry.store, store) == 0;
		free(entry.mountpoint);
		free(entry.store);
	}
	return found;
}

static bool mounts_store_elsewhere(int process_fd, const char *store)
{
	ino_t theirs = mount_namespace(process_fd, "ns/mnt");

	return theirs != 0 && theirs != mount_namespace(AT_FDCWD, "/proc/self/ns/mnt") &&
	       mounts_store(process_fd, store);
}

static void find_users(bool (*uses)(int process_fd, const char *what), const char *what,
		       char *ret_text, size_t size)
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
		if (fd < 0 || !uses(fd, what))
			continue;
		add_user(fd, entry->d_name, ret_text, size);
		found++;
	}
}

void users_of(const char *mountpoint, char *ret_text, size_t size)
{
	find_users(holds_mountpoint, mountpoint, ret_text, size);
}

void users_elsewhere(const char *store, char *ret_text, size_t size)
{
	find_users(mounts_store_elsewhere, store, ret_text, size);
}
