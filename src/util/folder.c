/* SPDX-License-Identifier: Apache-2.0 */
#include "util/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"

int open_beneath(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC | O_NOFOLLOW,
				.mode = mode,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	long fd;

	do {
		fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

void names_fini(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
	*names = (struct names){ 0 };
}

static int add_name(struct names *names, const char *name)
{
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 64;
		char **grown = reallocarray(names->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		names->list = grown;
		names->room = room;
	}
	names->list[names->count] = strdup(name);
	if (!names->list[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int names_read(int fd, size_t most, struct names *ret_names)
{
	cleanup_closedir DIR *dir = fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	for (errno = 0, entry = readdir(dir); entry; errno = 0, entry = readdir(dir)) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = ret_names->count == most ? -E2BIG : add_name(ret_names, entry->d_name);
		if (r < 0)
			return r;
	}
	r = -errno;
	if (ret_names->count)
		qsort(ret_names->list, ret_names->count, sizeof(*ret_names->list), by_name);
	return r;
}
