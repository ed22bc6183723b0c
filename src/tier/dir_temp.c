/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary files of a directory tier: their names, and the end of those that were left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tier/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

#define TEMP_MAX_AGE_NS (24 * 3600 * NS_PER_SEC)
#define UUID_CHARS 36

int dir_temp_begin(struct dir_tier *dir, struct temp_name *temp)
{
	const char *owner = dir->tier.owner;
	char uuid[UUID_CHARS + 1];
	int r = uuid_make(uuid);

	if (r < 0)
		return r;
	(void)snprintf(temp->text, sizeof(temp->text), TEMP_PREFIX "%s%s%s", owner,
		       *owner ? "-" : "", uuid);
	scoped_lock(&dir->lock);
	temp->prev = NULL;
	temp->next = dir->temps;
	if (dir->temps)
		dir->temps->prev = temp;
	dir->temps = temp;
	return 0;
}

void dir_temp_end(struct dir_tier *dir, struct temp_name *temp)
{
	if (!temp->text[0])
		return; /* never began */
	scoped_lock(&dir->lock);
	if (temp->next)
		temp->next->prev = temp->prev;
	if (temp->prev)
		temp->prev->next = temp->next;
	else
		dir->temps = temp->next;
}

static bool is_at_work(struct dir_tier *dir, const char *name)
{
	scoped_lock(&dir->lock);
	for (const struct temp_name *temp = dir->temps; temp; temp = temp->next)
		if (strcmp(temp->text, name) == 0)
			return true;
	return false;
}

enum whose { WHOSE_OURS, WHOSE_OTHERS, WHOSE_NO_TEMP };

static enum whose whose(const struct dir_tier *dir, const char *name)
{
	char owner[UUID_CHARS + 1] = "";
	size_t length = strlen(name);

	if (strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) != 0)
		return WHOSE_NO_TEMP;
	name += strlen(TEMP_PREFIX);
	length -= strlen(TEMP_PREFIX);
	if (uuid_ok(name))
		return WHOSE_OTHERS;
	if (length != 2 * UUID_CHARS + 1 || name[UUID_CHARS] != '-')
		return WHOSE_NO_TEMP;
	memcpy(owner, name, UUID_CHARS);
	if (!uuid_ok(owner) || !uuid_ok(name + UUID_CHARS + 1))
		return WHOSE_NO_TEMP;
	return strcmp(owner, dir->tier.owner) == 0 ? WHOSE_OURS : WHOSE_OTHERS;
}

/* By ctime: the time of the last write becomes the source's before the bytes are read back. */
static bool is_old(int temp_dir_fd, const char *name, int64_t now_ns)
{
	struct stat st;

	return fstatat(temp_dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       timespec_ns(st.st_ctim) < now_ns - TEMP_MAX_AGE_NS;
}

static bool is_left_over(struct dir_tier *dir, int temp_dir_fd, const char *name, int64_t now_ns)
{
	switch (whose(dir, name)) {
	case WHOSE_OURS:
		return !is_at_work(dir, name);
	case WHOSE_OTHERS:
		return is_old(temp_dir_fd, name, now_ns);
	default:
		return false;
	}
}

void dir_sweep(struct dir_tier *dir, int temp_dir_fd, int64_t now_ns)
{
	cleanup_close int fd = openat(temp_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (!stream)
		return;
	(void)take_fd(fd); /* the stream's now */
	while ((entry = readdir(stream)) != NULL) {
		if (is_left_over(dir, temp_dir_fd, entry->d_name, now_ns))
			(void)unlinkat(temp_dir_fd, entry->d_name,
				       0); /* the next start tries again */
	}
}

void dir_sweep_once(struct dir_tier *dir, int root_fd)
{
	cleanup_close int fd = -1;

	if (atomic_exchange(&dir->swept, true))
		return;
	fd = dir_open_beneath(root_fd, TEMP_FOLDER, O_RDONLY | O_DIRECTORY);
	if (fd >= 0)
		dir_sweep(dir, fd, realtime_ns());
}
