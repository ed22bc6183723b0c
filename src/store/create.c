/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store/identity.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/io.h"

/* -EEXIST a store, -ENOTEMPTY something else. */
static int check_empty(int root_fd)
{
	cleanup_close int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;

	if (faccessat(root_fd, "store.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir)
		return -errno;
	(void)take_fd(fd);
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, "lost+found") != 0)
			return -ENOTEMPTY;
	}
	return -errno;
}

static int fill(int root_fd, const struct store_identity *identity, const char *settings_text)
{
	int r;

	if (mkdirat(root_fd, "tree", 0777) < 0 || mkdirat(root_fd, "run", 0755) < 0)
		return -errno;
	if (settings_text) {
		r = write_file(root_fd, "mediafs.conf", settings_text, strlen(settings_text), 0644);
		if (r < 0)
			return r;
	}
	/* Last, durable: the folder is a store from here on. */
	return identity_write(root_fd, identity);
}

static void empty(int root_fd)
{
	/* What is missing was not made yet. */
	(void)unlinkat(root_fd, "store.json", 0);
	(void)unlinkat(root_fd, "mediafs.conf", 0);
	(void)unlinkat(root_fd, "run", AT_REMOVEDIR);
	(void)unlinkat(root_fd, "tree", AT_REMOVEDIR);
}

static int create_in(const char *path, const struct store_identity *identity,
		     const char *settings_text)
{
	cleanup_close int root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (root_fd < 0)
		return -errno;
	/* Two who make a store in one place at once must not undo each other. */
	if (flock(root_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	r = check_empty(root_fd);
	if (r < 0)
		return r;
	r = fill(root_fd, identity, settings_text);
	if (r < 0)
		empty(root_fd);
	return r;
}

int store_create(const char *path, const struct store_identity *identity, const char *settings_text)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	cleanup_free char *message = NULL;
	bool made;
	int r;

	if (!site_name_ok(identity->site_name) ||
	    (identity->volume_uuid && !uuid_ok(identity->volume_uuid)))
		return -EINVAL;
	if (settings_text) {
		r = settings_parse(settings_text, strlen(settings_text), &settings, &message);
		if (r < 0)
			return r;
	}
	made = mkdir(path, 0777) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	r = made ? sync_parent(AT_FDCWD, path) : 0;
	if (r >= 0)
		r = create_in(path, identity, settings_text);
	if (r < 0 && made)
		(void)rmdir(path); /* ours, and empty again */
	return r;
}
